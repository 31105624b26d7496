// Package formattest holds every registered format to the same tests: a sample
// that is recognised, a fuzz target, a source, and that no cut or flipped byte
// of the sample breaks the sums, the budget or the program.
package formattest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"assay/firmware"
	"assay/firmware/budget"
)

// Sample is how a format's sample is made and what must be found in it.
type Sample struct {
	Make  func(t testing.TB) []byte
	State firmware.State
	Role  firmware.Role
	Fuzz  string // the name of the fuzz target

	// Midst marks a format that a part of is as good as the whole, such as a
	// program known by a banner in it: a cut sample may keep its state.
	Midst bool
}

// Small are limits that a fuzz target can afford.
var Small = budget.Limits{Bytes: 8 << 20, Held: 4 << 20, Entries: 4096}

// Check tests each format that the package at the import path registered. Its
// tests must lie in the current folder, as they do when go test runs them.
func Check(t *testing.T, pkg string, samples map[string]Sample) {
	t.Helper()
	tests := code(t)
	seen := make(map[string]bool)
	for _, f := range firmware.Formats() {
		if !registeredBy(f, pkg) {
			continue
		}
		seen[f.Name] = true
		t.Run(f.Name, func(t *testing.T) {
			s, ok := samples[f.Name]
			if !ok {
				t.Fatal("there is no sample")
			}
			if f.Source == "" {
				t.Error("it does not say where its layout is specified")
			}
			if s.Fuzz == "" || !strings.Contains(tests, "\nfunc "+s.Fuzz+"(") {
				t.Errorf("there is no fuzz target %q", s.Fuzz)
			}
			b := s.Make(t)
			recognised(t, f.Name, s, b)
			t.Run("cut", func(t *testing.T) { cut(t, f.Name, s, b) })
			t.Run("flipped", func(t *testing.T) { t.Parallel(); flipped(t, b) })
		})
	}
	for name := range samples {
		if !seen[name] {
			t.Errorf("there is a sample of %q, which %s does not register", name, pkg)
		}
	}
}

func code(t testing.TB) string {
	t.Helper()
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(b)
	}
	return all.String()
}

// registeredBy tells a package's formats by where their functions are.
func registeredBy(f firmware.Format, pkg string) bool {
	entry := reflect.ValueOf(f.Parse)
	if f.Parse == nil {
		entry = reflect.ValueOf(f.Adopt)
	}
	return strings.HasPrefix(runtime.FuncForPC(entry.Pointer()).Name(), pkg+".")
}

func recognised(t *testing.T, name string, s Sample, b []byte) {
	t.Helper()
	img := Open(t, b)
	r := First(img, name)
	if r == nil {
		t.Fatalf("not found in its sample: %v", Outline(img))
	}
	if top := img.Regions[0]; top.Size != int64(len(b)) || top.State != s.State || top.Role != s.Role {
		t.Fatalf("%s of %d bytes is %s, %q; want %d, %s, %q (%v)", top.Format, top.Size, top.State, top.Role, len(b), s.State, s.Role, top.Problems)
	}
	if len(r.Problems) > 0 {
		t.Fatalf("problems in a sound sample: %q", r.Problems)
	}
}

func cut(t *testing.T, name string, s Sample, b []byte) {
	for n := 0; n < len(b); n += 512 {
		img := Survives(t, fmt.Sprint("cut at ", n), b[:n])
		for _, r := range img.Regions {
			if r.Format == name && r.State == firmware.Proven && !s.Midst {
				t.Fatalf("cut at %d of %d, it is still proven", n, len(b))
			}
		}
	}
}

// flipped changes each bit of the first 4 KiB; with -short, every 13th. Of a
// sample of 8 KiB or more it changes fewer the larger it is, each bit of a byte
// in turn: the analysis of the whole of it takes as much longer.
func flipped(t *testing.T, b []byte) {
	step := len(b)>>13 | 1
	if testing.Short() {
		step = max(step, 13)
	}
	b = bytes.Clone(b)
	for bit := 0; bit < 8*min(len(b), 4<<10); bit += step {
		b[bit/8] ^= 1 << (bit % 8)
		Survives(t, fmt.Sprint("bit ", bit), b)
		b[bit/8] ^= 1 << (bit % 8)
	}
}

// Fuzz opens mutations of a sample. Whatever they are, the analysis ends within
// its budget and the image adds up.
func Fuzz(f *testing.F, seeds ...func(testing.TB) []byte) {
	f.Add([]byte{})
	for _, seed := range seeds {
		f.Add(seed(f))
	}
	f.Fuzz(func(t *testing.T, b []byte) { Survives(t, "this", b) })
}

// Open analyses sound bytes.
func Open(t testing.TB, b []byte) *firmware.Image {
	t.Helper()
	img, err := firmware.Open(context.Background(), bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	Adds(t, img)
	return img
}

// Survives opens hostile bytes: the error may only be a spent budget, and the
// image adds up.
func Survives(t testing.TB, what string, b []byte) *firmware.Image {
	t.Helper()
	img, err := firmware.Open(context.Background(), bytes.NewReader(b), int64(len(b)), firmware.WithLimits(Small))
	if err != nil && !errors.Is(err, budget.ErrExceeded) {
		t.Fatalf("%s: %v", what, err)
	}
	Adds(t, img)
	return img
}

// Adds holds an image to its promise: regions partition it, children lie inside
// their parents in order, and the tally sums to the size.
func Adds(t testing.TB, img *firmware.Image) {
	t.Helper()
	var pos, sum int64
	for _, r := range img.Regions {
		if r.Offset != pos || r.Size <= 0 {
			t.Fatalf("region %s at %#x of %d bytes does not follow %#x", r.Format, r.Offset, r.Size, pos)
		}
		inside(t, r)
		pos = r.End()
	}
	if pos != img.Size {
		t.Fatalf("regions end at %d, the image at %d", pos, img.Size)
	}
	for _, n := range img.Tally() {
		if n < 0 {
			t.Fatalf("tally %v", img.Tally())
		}
		sum += n
	}
	if sum != img.Size {
		t.Fatalf("tally %v does not sum to %d", img.Tally(), img.Size)
	}
}

func inside(t testing.TB, r *firmware.Region) {
	t.Helper()
	pos := r.Offset
	for _, c := range r.Children {
		if c.Offset < pos || c.Size <= 0 || c.End() > r.End() {
			t.Fatalf("child %s [%#x, %#x) of %s [%#x, %#x) is out of place", c.Format, c.Offset, c.End(), r.Format, r.Offset, r.End())
		}
		inside(t, c)
		pos = c.End()
	}
	if r.Contents != nil {
		Adds(t, r.Contents)
	}
	for _, f := range r.Files {
		if f.Contents != nil {
			Adds(t, f.Contents)
		}
	}
}

// First returns the first region of a format at any depth.
func First(img *firmware.Image, format string) *firmware.Region {
	var found *firmware.Region
	img.Walk(func(_ []*firmware.Region, _ *firmware.Image, r *firmware.Region) error {
		if found == nil && r.Format == format {
			found = r
		}
		return nil
	})
	return found
}

// Outline is one line a top-level region.
func Outline(img *firmware.Image) []string {
	var lines []string
	for _, r := range img.Regions {
		name := r.Format
		if name == "" {
			name = r.State.String()
		}
		lines = append(lines, fmt.Sprintf("%#x+%#x %s %s", r.Offset, r.Size, name, r.State))
	}
	return lines
}

// Noise is the same bytes on each run, without erased ones and without magics
// at even places.
func Noise(n int, seed uint64) []byte {
	rng := rand.New(rand.NewPCG(seed, 7))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32()) | 1
		if b[i] == 0xff {
			b[i] = 0x71
		}
	}
	return b
}

// Text packs well.
func Text(n int) []byte {
	var b bytes.Buffer
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "line %d of a file that packs well enough to be worth it\n", i)
	}
	return b.Bytes()[:n]
}
