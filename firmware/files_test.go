package firmware

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"assay/firmware/budget"
)

// toyFS is what the files of the format "toyfs" are, for one test at a time.
var toyFS struct {
	sync.Mutex
	fs fs.FS
}

func init() {
	Register(Format{
		Name: "toyfs", Source: "this test",
		Magics: []Magic{{Bytes: "TOYFS"}},
		Parse: func(w *Window) (*Region, error) {
			return &Region{Size: w.Size(), State: Proven, FS: toyFS.fs}, nil
		},
	})
}

// openFiles analyses an image of the given files.
func openFiles(t *testing.T, files fs.FS, opts ...Option) (*Image, error) {
	t.Helper()
	toyFS.Lock()
	defer toyFS.Unlock()
	toyFS.fs = files
	image := []byte("TOYFS and what is in it")
	img, err := Open(context.Background(), bytes.NewReader(image), int64(len(image)), opts...)
	if len(img.Regions) != 1 || img.Regions[0].Format != "toyfs" {
		t.Fatalf("%v", img.Regions)
	}
	return img, err
}

func file(img *Image, name string) *File {
	for _, f := range img.Regions[0].Files {
		if f.Path == name {
			return f
		}
	}
	return nil
}

func TestEachFileIsHashedAndVisitedOnce(t *testing.T) {
	files := fstest.MapFS{}
	for i := range 300 {
		files[fmt.Sprintf("d%d/f%d", i%7, i)] = &fstest.MapFile{Data: bytes.Repeat([]byte{byte(i)}, i*31), Mode: 0o640}
	}
	files["empty"] = &fstest.MapFile{}
	var mu sync.Mutex
	visits := make(map[string]string)
	img, err := openFiles(t, files, WithVisitor(func(v Visit) {
		data, err := io.ReadAll(v.Data)
		mu.Lock()
		defer mu.Unlock()
		if _, twice := visits[v.Where]; twice || err != nil {
			t.Errorf("%s: twice %v, %v", v.Where, twice, err)
		}
		visits[v.Where] = fmt.Sprintf("%x", sha256.Sum256(data))
	}))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		f := file(img, name)
		sum := fmt.Sprintf("%x", sha256.Sum256(want.Data))
		if f == nil || f.SHA256 != sum || f.Size != int64(len(want.Data)) || visits["toyfs@0x0/"+name] != sum {
			t.Errorf("%s: %+v, visited as %s", name, f, visits["toyfs@0x0/"+name])
		}
	}
	if len(visits) != len(files) {
		t.Errorf("%d visits", len(visits))
	}
}

func TestAnImageAmongTheFilesIsAnalysed(t *testing.T) {
	inner := toy(14, 40) // Unpack of its payload
	copy(inner[20:], "TOY!\x03\x0c\x00\x00\x00")
	dump := append(append(solid('x', 5000), toy(4, 20)...), solid(0xff, 3000)...)
	files := fstest.MapFS{
		"etc/inner": {Data: inner},
		"flash.bin": {Data: dump},
		"bin/prog":  {Data: append([]byte("a program that has it amid: "), inner...)},
		"text":      {Data: []byte("nothing")},
		"notes.img": {Data: []byte("nothing either")},
	}
	readable := make(map[string]bool)
	var mu sync.Mutex
	img, err := openFiles(t, files, WithVisitor(func(v Visit) {
		if v.File.Contents == nil {
			return
		}
		var p [4]byte
		_, err := v.File.Contents.ReadAt(p[:], 0)
		mu.Lock()
		defer mu.Unlock()
		readable[v.File.Path] = err == nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, f := range img.Regions[0].Files {
		if f.Contents == nil {
			continue
		}
		found = append(found, f.Path)
		if _, err := f.Contents.ReadAt(make([]byte, 1), 0); !errors.Is(err, errDropped) {
			t.Errorf("%s: its bytes are still held: %v", f.Path, err)
		}
	}
	slices.Sort(found)
	if want := []string{"etc/inner", "flash.bin"}; !slices.Equal(found, want) || !readable["etc/inner"] || !readable["flash.bin"] {
		t.Errorf("images %q, readable in their visit %v", found, readable)
	}
	if r := file(img, "flash.bin").Contents.Regions; len(r) != 3 || r[1].Offset != 5000 {
		t.Errorf("%v", r)
	}
}

// endless is a file of zeros that claims a size.
type endless struct {
	fs.FS
	size int64
}

func (e endless) Open(name string) (fs.File, error) {
	if name == "sparse" {
		return &zeros{name: name, size: e.size}, nil
	}
	return e.FS.Open(name)
}

type zeros struct {
	name string
	size int64
}

func (z *zeros) Stat() (fs.FileInfo, error)              { return z, nil }
func (z *zeros) Name() string                            { return z.name }
func (z *zeros) Size() int64                             { return z.size }
func (z *zeros) Mode() fs.FileMode                       { return 0o644 }
func (z *zeros) ModTime() time.Time                      { return time.Time{} }
func (z *zeros) IsDir() bool                             { return false }
func (z *zeros) Sys() any                                { return nil }
func (z *zeros) Close() error                            { return nil }
func (z *zeros) Read(p []byte) (int, error)              { clear(p); return len(p), nil }
func (z *zeros) ReadAt(p []byte, off int64) (int, error) { clear(p); return len(p), nil }
func (e endless) ReadDir(name string) ([]fs.DirEntry, error) {
	list, err := fs.ReadDir(e.FS, name)
	if name == "." {
		list = append(list, fs.FileInfoToDirEntry(&zeros{name: "sparse", size: e.size}))
	}
	return list, err
}

func TestAFileOfHolesEndsWithTheBudgetAndTheOthersAreRead(t *testing.T) {
	for _, size := range []int64{7 << 20, 1 << 40, 1<<63 - 1} {
		img, err := openFiles(t, endless{fstest.MapFS{"a": {Data: []byte("x")}, "z": {Data: []byte("y")}}, size}, WithLimits(budget.Limits{Bytes: 4 << 20}))
		if !errors.Is(err, budget.ErrExceeded) {
			t.Errorf("%d bytes: %v", size, err)
		}
		if f := file(img, "sparse"); f == nil || f.SHA256 != "" || !strings.Contains(f.Problem, "budget") {
			t.Errorf("%d bytes: %+v", size, f)
		}
		if f := file(img, "a"); f == nil || f.SHA256 == "" {
			t.Errorf("%+v", f)
		}
	}
}

func TestAFileThatEndsEarlySaysSo(t *testing.T) {
	files := fstest.MapFS{"short": {Data: []byte("five.")}}
	img, err := openFiles(t, lying{files})
	if err != nil {
		t.Fatal(err)
	}
	if f := file(img, "short"); f.SHA256 != "" || !strings.Contains(f.Problem, "after 5 of 105 bytes") || len(img.Regions[0].Problems) != 1 {
		t.Errorf("%+v, %q", f, img.Regions[0].Problems)
	}
}

// lying says that files are longer than they are.
type lying struct{ fstest.MapFS }

func (l lying) ReadDir(name string) ([]fs.DirEntry, error) {
	list, err := l.MapFS.ReadDir(name)
	for i, d := range list {
		list[i] = lie{d}
	}
	return list, err
}

type lie struct{ fs.DirEntry }

func (l lie) Info() (fs.FileInfo, error) {
	st, err := l.DirEntry.Info()
	return longer{st}, err
}

type longer struct{ fs.FileInfo }

func (l longer) Size() int64 { return l.FileInfo.Size() + 100 }
