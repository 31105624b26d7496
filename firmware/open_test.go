package firmware

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"assay/firmware/budget"
)

// toy is a format for tests: "TOY!", a state, a 32 bit size, then bytes; state 9
// panics the engine's promises by declaring children anywhere.
func init() {
	Register(Format{
		Name:   "toy",
		Source: "this test",
		Magics: []Magic{{Bytes: "TOY!"}},
		Parse: func(w *Window) (*Region, error) {
			b, err := w.Bytes(0, 9)
			if err != nil {
				return nil, fmt.Errorf("%w: %v", ErrNotFormat, err)
			}
			r := &Region{Size: int64(binary.LittleEndian.Uint32(b[5:])), State: State(b[4] % 5)}
			switch {
			case b[4] >= 5 && b[4] < 10:
				r.Children = w.Analyse(9, r.Size-9)
			case b[4] >= 10 && b[4] < 15:
				r.Contents, err = w.Unpack("toy", w.Section(9, r.Size-9), r.Size)
			case b[4] >= 15 && b[4] < 20:
				r.Children = []*Region{{Offset: w.Offset() + int64(b[5]), Size: 10}, {Offset: w.Offset() + 12, Size: 1 << 40}, {Offset: -5, Size: 20}}
			}
			return r, err
		},
	})
	Register(Format{
		Name: "late", Source: "this test",
		Magics: []Magic{{Offset: 16, Bytes: "LATE"}},
		Parse:  func(w *Window) (*Region, error) { return &Region{Size: 20, State: Proven}, nil },
	})
}

func toy(state byte, size int, payload ...byte) []byte {
	b := make([]byte, size)
	copy(b, "TOY!")
	b[4] = state
	binary.LittleEndian.PutUint32(b[5:], uint32(size))
	copy(b[9:], payload)
	return b
}

func solid(c byte, n int) []byte { return bytes.Repeat([]byte{c}, n) }

// oldData is neither erased nor text.
func oldData(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7%120) + 130
	}
	return b
}

func cat(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func mustOpen(t testing.TB, b []byte, opts ...Option) *Image {
	t.Helper()
	img, err := Open(context.Background(), bytes.NewReader(b), int64(len(b)), opts...)
	if err != nil {
		t.Fatal(err)
	}
	check(t, img)
	return img
}

// check holds an image to its promise.
func check(t testing.TB, img *Image) {
	t.Helper()
	if !covers(img.Regions, 0, img.Size) {
		t.Fatalf("the regions do not partition %d bytes: %s", img.Size, lines(img))
	}
	var sum int64
	for _, n := range img.Tally() {
		sum += n
	}
	if sum != img.Size {
		t.Fatalf("tally %v does not sum to %d", img.Tally(), img.Size)
	}
	img.Walk(func(path []*Region, holder *Image, r *Region) error {
		if r.Offset < 0 || r.Size <= 0 || r.End() > holder.Size {
			t.Fatalf("%s at %#x of %d bytes is outside its image of %d", r.Format, r.Offset, r.Size, holder.Size)
		}
		return nil
	})
}

func lines(img *Image) string {
	var b strings.Builder
	for _, r := range img.Regions {
		name := r.Format
		if name == "" {
			name = "-"
		}
		fmt.Fprintf(&b, "%#x+%#x %s %s\n", r.Offset, r.Size, name, r.State)
	}
	return b.String()
}

func TestGapsAreErasedResidueOrOpaque(t *testing.T) {
	for _, c := range []struct {
		name  string
		bytes []byte
		want  string
	}{
		{"an erased chip is one region", solid(0xff, 100_000), "0x0+0x186a0 - erased\n"},
		{"erased values do not mix", cat(solid(0xff, 8192), solid(0, 8192)), "0x0+0x2000 - erased\n0x2000+0x2000 - erased\n"},
		{"a short erased run in unknown data is part of it", cat(oldData(5000), solid(0xff, 4000), oldData(5000)), "0x0+0x36b0 - opaque\n"},
		{"a sector of it is not", cat(oldData(5000), solid(0xff, 4096), oldData(5000)), "0x0+0x1388 - opaque\n0x1388+0x1000 - erased\n0x2388+0x1388 - opaque\n"},
		{"the end of the chip needs only a little", cat(oldData(5000), solid(0xff, 20)), "0x0+0x1388 - opaque\n0x1388+0x14 - erased\n"},
		{"but more than a few bytes", cat(oldData(5000), solid(0xff, 3)), "0x0+0x138b - opaque\n"},
		{"padding to the next sector is erased", cat(toy(4, 4090), solid(0, 6), oldData(5000)), "0x0+0xffa toy proven\n0xffa+0x6 - erased\n0x1000+0x1388 - opaque\n"},
		{"old data to the erase block's end is residue", cat(toy(4, 5000), oldData(3000), solid(0xff, 65536-8000)), "0x0+0x1388 toy proven\n0x1388+0xbb8 - residue\n0x1f40+0xe0c0 - erased\n"},
		{"old data past the block's end is not called so", cat(toy(4, 5000), oldData(70_000)), "0x0+0x1388 toy proven\n0x1388+0xec78 - residue\n0x10000+0x24f8 - opaque\n"},
		{"data behind a region that ends a sector is not residue", cat(toy(4, 4096), oldData(3000)), "0x0+0x1000 toy proven\n0x1000+0xbb8 - opaque\n"},
		{"data behind a region amid a sector is not residue", cat(oldData(100), toy(4, 500), oldData(3000)), "0x0+0x64 - opaque\n0x64+0x1f4 toy proven\n0x258+0xbb8 - opaque\n"},
		{"a claimed partition extends the residue", cat(toy(4, 20), []byte("mtdparts=nor:128k(a),-(b)\x00"), oldData(131072-46), oldData(70_000)), "0x0+0x14 toy proven\n0x14+0x1ffec - residue\n0x20000+0x11170 - opaque\n"},
		{"regions follow each other", cat(toy(3, 10), toy(4, 11), toy(0, 12)), "0x0+0xa toy parsed\n0xa+0xb toy proven\n0x15+0xc toy opaque\n"},
		{"a magic away from the start counts from it", cat(oldData(3), solid(1, 16), []byte("LATE"), oldData(9)), "0x0+0x3 - opaque\n0x3+0x14 late proven\n0x17+0x9 - opaque\n"},
		{"what lies inside a region is not found again", toy(4, 100, toy(4, 20)...), "0x0+0x64 toy proven\n"},
		{"nothing has no regions", nil, ""},
		{"one byte is a region", []byte{7}, "0x0+0x1 - opaque\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := lines(mustOpen(t, c.bytes)); got != c.want {
				t.Errorf("got\n%swant\n%s", got, c.want)
			}
		})
	}
}

func TestAMagicAcrossTwoPiecesIsFound(t *testing.T) {
	for shift := range 8 {
		b := cat(oldData(chunkSize-shift), toy(4, 50), oldData(100))
		if r := mustOpen(t, b).Regions[1]; r.Format != "toy" || r.Offset != int64(chunkSize-shift) {
			t.Errorf("shift %d: %+v", shift, r)
		}
	}
}

func TestADeclaredSizePastTheEndIsCutAndSaid(t *testing.T) {
	b := toy(3, 100)[:60]
	r := mustOpen(t, b).Regions[0]
	if r.Size != 60 || len(r.Problems) != 1 || !strings.Contains(r.Problems[0], "declares 100 bytes and only 60") {
		t.Fatalf("%+v", r)
	}
}

func TestChildrenOutOfPlaceAreLeftOutAndSaid(t *testing.T) {
	r := mustOpen(t, toy(15, 100)).Regions[0]
	if len(r.Children) != 0 || len(r.Problems) == 0 {
		t.Fatalf("%d children, problems %q", len(r.Children), r.Problems)
	}
}

func TestContentsAreAnalysedWithTheirOwnOffsets(t *testing.T) {
	img := mustOpen(t, cat(oldData(9), toy(14, 200, cat(oldData(30), toy(9, 60, toy(4, 20)...))...)))
	var got []string
	img.Walk(func(path []*Region, holder *Image, r *Region) error {
		got = append(got, fmt.Sprintf("%d %d %#x+%d %s", len(path), holder.Size, r.Offset, r.Size, r.Format))
		return nil
	})
	want := []string{"0 209 0x0+9 ", "0 209 0x9+200 toy", "1 191 0x0+30 ", "1 191 0x1e+60 toy", "2 191 0x27+20 toy", "2 191 0x3b+31 ", "1 191 0x5a+101 "}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
	inner := img.Regions[1].Contents
	b, err := io.ReadAll(inner.Section(inner.Regions[1]))
	if err != nil || len(b) != 60 || string(b[:4]) != "TOY!" {
		t.Errorf("section: %q, %v", b, err)
	}
}

func TestHashesAreOfTheExtents(t *testing.T) {
	b := cat(toy(4, 20), oldData(100))
	img := mustOpen(t, b)
	for _, r := range img.Regions {
		if want := mustOpen(t, b[r.Offset:r.End()]).SHA256; r.SHA256 != want {
			t.Errorf("%s at %#x: %s, want %s", r.Format, r.Offset, r.SHA256, want)
		}
	}
}

func TestOpaqueBytesSayTheirEntropyAndStrings(t *testing.T) {
	b := cat(oldData(2000), []byte("\x00a string that stays\x00"), oldData(10))
	r := mustOpen(t, b).Regions[0]
	if r.Entropy < 6 || r.Entropy > 8 || !slices.Contains(r.Strings, "a string that stays") {
		t.Fatalf("entropy %v, strings %q", r.Entropy, r.Strings)
	}
}

// broken fails from an offset on.
type broken struct {
	r    io.ReaderAt
	from int64
}

var errDisk = errors.New("bad sector")

func (b broken) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > b.from {
		return 0, errDisk
	}
	return b.r.ReadAt(p, off)
}

func TestAReadErrorEndsTheAnalysisAndTheImageStillAddsUp(t *testing.T) {
	b := cat(toy(4, 20), oldData(500_000))
	img, err := Open(context.Background(), broken{bytes.NewReader(b), 300_000}, int64(len(b)))
	if !errors.Is(err, errDisk) {
		t.Fatalf("err = %v", err)
	}
	check(t, img)
	if len(img.Problems) == 0 {
		t.Error("the image does not say that it was not read")
	}
	if _, err = Open(context.Background(), bytes.NewReader(b), int64(len(b))+1); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a short reader: err = %v", err)
	}
	if _, err = Open(context.Background(), bytes.NewReader(b), -1); err == nil {
		t.Error("a negative size was accepted")
	}
}

func TestACancelledContextEndsTheAnalysis(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	b := oldData(1 << 20)
	img, err := Open(ctx, bytes.NewReader(b), int64(len(b)), WithProgress(func(done, _ int64) { cancel() }))
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("err = %v", err)
	}
	check(t, img)
}

func TestASpentBudgetKeepsWhatWasFound(t *testing.T) {
	b := cat(toy(4, 20), toy(14, 5000, solid(7, 4000)...), toy(4, 30))
	for name, l := range map[string]budget.Limits{"held": {Held: 100}, "ratio and depth are free": {}} {
		img, err := Open(context.Background(), bytes.NewReader(b), int64(len(b)), WithLimits(l))
		check(t, img)
		if (err != nil) != (name == "held") || err != nil && !errors.Is(err, budget.ErrExceeded) {
			t.Errorf("%s: err = %v", name, err)
		}
		if len(img.Regions) != 3 {
			t.Errorf("%s: regions\n%s", name, lines(img))
		}
	}
	many := bytes.Repeat(toy(4, 10), 100)
	img, err := Open(context.Background(), bytes.NewReader(many), int64(len(many)), WithLimits(budget.Limits{Entries: 50}))
	if !errors.Is(err, budget.ErrExceeded) {
		t.Fatalf("entries: err = %v", err)
	}
	check(t, img)
	if len(img.Regions) < 50 {
		t.Errorf("%d regions kept", len(img.Regions))
	}
}

func TestReadingAgainAndAgainEndsWithTheBudget(t *testing.T) {
	src := &source{s: &session{ctx: context.Background(), meter: budget.New(budget.Limits{})}, r: bytes.NewReader(make([]byte, 1<<20)), size: 1 << 20}
	var err error
	buf := make([]byte, 1<<20)
	for n := 0; err == nil && n < 1000; n++ {
		_, err = src.ReadAt(buf, 0)
	}
	if !errors.Is(err, budget.ErrExceeded) {
		t.Fatalf("err = %v", err)
	}
}

func TestMemoryOfRejectedAndReleasedImagesIsGivenBack(t *testing.T) {
	m := budget.New(budget.Limits{Held: 10_000})
	b := toy(14, 5000, solid(7, 4000)...)
	for range 10 {
		img, err := Open(context.Background(), bytes.NewReader(b), int64(len(b)), WithMeter(m))
		if err != nil {
			t.Fatal(err)
		}
		img.Release()
		img.Release()
	}
}

func TestProgressGrowsToTheSize(t *testing.T) {
	b := cat(oldData(300_000), toy(4, 20), oldData(300_000))
	last := int64(0)
	mustOpen(t, b, WithProgress(func(done, total int64) {
		if done < last || total != int64(len(b)) {
			t.Errorf("%d of %d after %d", done, total, last)
		}
		last = done
	}))
	if last != int64(len(b)) {
		t.Errorf("it ended at %d", last)
	}
}

func TestAnImageIsReadableJSON(t *testing.T) {
	b, err := json.Marshal(mustOpen(t, cat(toy(4, 20), solid(0xff, 5000))))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"state":"proven"`, `"state":"erased"`, `"format":"toy"`, `"offset":0`, `"size":5020`} {
		if !bytes.Contains(b, []byte(want)) {
			t.Errorf("%s is not in %s", want, b)
		}
	}
	var s State
	for i := range stateNames {
		text, err := State(i).MarshalText()
		if err != nil || s.UnmarshalText(text) != nil || s != State(i) {
			t.Errorf("state %d does not survive", i)
		}
	}
	if s.UnmarshalText([]byte("perfect")) == nil {
		t.Error("an unknown state was accepted")
	}
}

func TestRegisterRefusesAFormatThatCannotWork(t *testing.T) {
	for name, f := range map[string]Format{
		"no name":         {Parse: func(*Window) (*Region, error) { return nil, nil }},
		"no function":     {Name: "x"},
		"a short magic":   {Name: "x", Magics: []Magic{{Bytes: "a"}}, Parse: func(*Window) (*Region, error) { return nil, nil }},
		"no parse of its": {Name: "x", Every: 4, Adopt: func(*Window, []*Region) []*Region { return nil }},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: accepted", name)
				}
			}()
			Register(f)
		}()
	}
}

func FuzzOpen(f *testing.F) {
	f.Add(cat(toy(4, 20), oldData(100), solid(0xff, 5000), toy(14, 60, toy(9, 30)...)))
	f.Add([]byte("mtdparts=a:1k(x),2k@0(y)ro,-(z);b:1m\x00TOY!\x04\x10\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		img, err := Open(context.Background(), bytes.NewReader(b), int64(len(b)), WithLimits(budget.Limits{Held: 1 << 20, Entries: 4096}))
		if err != nil && !errors.Is(err, budget.ErrExceeded) {
			t.Fatal(err)
		}
		check(t, img)
	})
}
