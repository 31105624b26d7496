package analysis

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"assay/firmware"
	"assay/firmware/budget"
	"assay/firmware/extract"
)

func TestMain(m *testing.M) {
	Main()
	os.Exit(m.Run())
}

// demo is a flash image of the demonstration, in a file.
func demo(t *testing.T, name string) *os.File {
	t.Helper()
	packed, err := os.Open("../../testdata/demo/" + name + ".bin.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	z, err := gzip.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return file(t, b)
}

func file(t *testing.T, content []byte) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "image"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if _, err := f.Write(content); err != nil {
		t.Fatal(err)
	}
	return f
}

func request(t *testing.T, f *os.File) Request {
	t.Helper()
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return Request{File: f, Size: st.Size()}
}

// plain is the JSON of what was found, less how it was confined.
func plain(t *testing.T, r *Result) string {
	t.Helper()
	b, err := json.Marshal([]any{r.Image, r.Inventory, r.Extracted, r.Lineage})
	if err != nil {
		t.Fatal(err)
	}
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	b, err = json.MarshalIndent(v, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func needsLinux(t *testing.T) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("only Linux confines children")
	}
}

func TestAConfinedAnalysisFindsTheSame(t *testing.T) {
	needsLinux(t)
	for _, name := range []string{"vendor-signed", "relabelled"} {
		f := demo(t, name)
		open, closed := request(t, f), request(t, f)
		open.Extract, closed.Extract, closed.Confine = filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b"), true
		open.Lineage, closed.Lineage = true, true
		var last int64
		closed.Progress = func(done, total int64) { last = done }
		a, err := Run(t.Context(), open)
		if err != nil {
			t.Fatal(err)
		}
		b, err := Run(t.Context(), closed)
		if err != nil {
			t.Fatal(err)
		}
		if a.Sandbox != "none" || !strings.Contains(b.Sandbox, "limits") {
			t.Errorf("%q and %q", a.Sandbox, b.Sandbox)
		}
		if plain(t, a) != plain(t, b) {
			t.Errorf("%s: what was found differs", name)
		}
		if last != closed.Size {
			t.Errorf("progress ended at %d of %d", last, closed.Size)
		}
		one, _ := os.ReadFile(filepath.Join(open.Extract, extract.ManifestName))
		two, _ := os.ReadFile(filepath.Join(closed.Extract, extract.ManifestName))
		if len(one) == 0 || !bytes.Equal(one, two) {
			t.Errorf("%s: the manifests differ", name)
		}
		p := make([]byte, 4)
		if _, err := b.Image.ReadAt(p, 0); err != nil {
			t.Errorf("the image cannot be read: %v", err)
		}
	}
}

func TestAPartOfAFileIsAnalysedFromItsOwnFirstByte(t *testing.T) {
	q := request(t, demo(t, "vendor-signed"))
	q.Offset, q.Size = 0x50000, 157854
	for _, q.Confine = range []bool{false, true} {
		r, err := Run(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		if first := r.Image.Regions[0]; first.Format != "fit" || first.Size != q.Size {
			t.Errorf("%+v", first)
		}
	}
}

func TestErrorsCrossAsWhatTheyAre(t *testing.T) {
	f := demo(t, "vendor-signed")
	for _, confine := range []bool{false, true} {
		q := request(t, f)
		q.Confine, q.Limits = confine, budget.Limits{Bytes: 1000}
		r, err := Run(t.Context(), q)
		if err != nil || !errors.Is(r.Ended, budget.ErrExceeded) || r.Image == nil {
			t.Errorf("%+v, %v", r, err)
		}
		q = request(t, f)
		q.Confine, q.Extract, q.ExtractBytes = confine, filepath.Join(t.TempDir(), "x"), 1000
		if r, err = Run(t.Context(), q); err != nil || r.ExtractEnded == nil || r.Extracted == nil || r.Extracted.Complete {
			t.Errorf("%+v, %v", r, err)
		}
		if _, err := Run(t.Context(), q); !errors.Is(err, extract.ErrNotEmpty) {
			t.Errorf("a folder that is not empty: %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := Run(ctx, request(t, f)); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
}

// said frames what a child says.
func said(parts ...[]byte) *unframed {
	var b bytes.Buffer
	for _, p := range parts {
		b.Write(p)
	}
	return &unframed{r: bufio.NewReader(&b), size: 10}
}

func frame(kind byte, p string) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(p))), p...)
}

func TestAChildThatDoesNotKeepToWhatWasAgreedIsNotBelieved(t *testing.T) {
	endless := func() io.Reader {
		return io.MultiReader(bytes.NewReader(frame(frameResult, `"`)), &forever{frame(frameResult, strings.Repeat("a", maxFrame))})
	}
	for name, r := range map[string]io.Reader{
		"nothing":         said(),
		"half a head":     said([]byte{'r', 0}),
		"no end":          said(frame(frameResult, `{"Status":"x"}`)),
		"a huge frame":    said([]byte{'r', 0xff, 0xff, 0xff, 0xff}),
		"unknown frames":  said(frame('x', "path")),
		"odd progress":    said(frame(frameProgress, "1")),
		"half a frame":    said([]byte{'r', 0, 0, 0, 9, 'x'}),
		"an endless text": &unframed{r: bufio.NewReader(endless())},
	} {
		n, err := io.Copy(io.Discard, r)
		if err == nil || n > maxResult {
			t.Errorf("%s: %d bytes, %v", name, n, err)
		}
	}
	u := said(frame(frameResult, `{"a`), frame(frameResult, ""), frame(frameProgress, strings.Repeat("\xff", 16)), frame(frameResult, `":1}`), frame(frameEnd, ""), frame('x', "not read"))
	called := false
	u.progress = func(int64, int64) { called = true }
	if b, err := io.ReadAll(u); err != nil || string(b) != `{"a":1}` || called {
		t.Errorf("%q %v, progress %v", b, err, called)
	}
}

// forever repeats itself.
type forever struct{ p []byte }

func (f *forever) Read(p []byte) (int, error) {
	n := 0
	for n+len(f.p) <= len(p) {
		n += copy(p[n:], f.p)
	}
	if n == 0 {
		n = copy(p, f.p[:len(p)])
		f.p = append(f.p[n:len(f.p):len(f.p)], f.p[:n]...)
	}
	return n, nil
}

func TestWhatAChildSaysIsMadePrintable(t *testing.T) {
	f := &failure{Says: "\x1b[2J" + strings.Repeat("a", 10_000)}
	if got := f.Error(); strings.Contains(got, "\x1b") || len(got) > 4096 {
		t.Errorf("%d bytes: %.20q", len(got), got)
	}
	if !errors.Is((&failure{Exceeded: true}).err(), budget.ErrExceeded) || errors.Is((&failure{}).err(), budget.ErrExceeded) || (*failure)(nil).err() != nil {
		t.Error("errors are not what they were")
	}
}

func FuzzAnswer(f *testing.F) {
	image := []byte("an image of some bytes, nothing that is known")
	img, err := firmware.Open(context.Background(), bytes.NewReader(image), int64(len(image)))
	if err != nil {
		f.Fatal(err)
	}
	good, _ := json.Marshal(answer{Image: img})
	f.Add(append(frame(frameResult, string(good)), frame(frameEnd, "")...))
	f.Add(frame(frameResult, `{"Image":{"size":45,"regions":[null]}}`))
	f.Add(append(frame(frameResult, `{"Image":{"size":45,"sha256":"","problems":["x"],"regions":[{"offset":0,"size":45,"state":"erased","children":[{"offset":44,"size":9223372036854775807}],"files":[null]}]}}`), frame(frameEnd, "")...))
	f.Fuzz(func(t *testing.T, b []byte) {
		u := &unframed{r: bufio.NewReader(bytes.NewReader(b)), size: int64(len(image))}
		var a answer
		if json.NewDecoder(u).Decode(&a) != nil || a.Image == nil || firmware.Restore(a.Image, bytes.NewReader(image), int64(len(image))) != nil {
			return
		}
		var sum int64
		for _, n := range a.Image.Tally() {
			sum += n
		}
		if sum != a.Image.Size {
			t.Errorf("%d of %d bytes", sum, a.Image.Size)
		}
	})
}
