//go:build linux

package filesystem_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"assay/firmware"
	"assay/firmware/budget"
	"assay/firmware/filesystem"
)

func genromfs(t testing.TB, source string, args ...string) []byte {
	t.Helper()
	image := filepath.Join(t.TempDir(), "image.romfs")
	run(t, "genromfs", "genromfs", append([]string{"-d", source, "-f", image}, args...)...)
	return contents(t, image)
}

func openROMFS(data []byte) (*filesystem.ROMFS, error) {
	return filesystem.NewROMFS(context.Background(), bytes.NewReader(data), int64(len(data)), budget.New(budget.Limits{}))
}

// asROMFS is what of a tree ROMFS keeps: whether a file may be executed.
func asROMFS(want map[string]facts) map[string]facts {
	modes := map[fs.FileMode]fs.FileMode{0: 0o644, fs.ModeDir: 0o644, fs.ModeSymlink: 0o777, fs.ModeNamedPipe: 0o644, fs.ModeSocket: 0o644}
	for name, f := range want {
		kind := f.Mode.Type()
		mode := kind | modes[kind]
		if f.Mode&0o111 != 0 && (kind == 0 || kind == fs.ModeDir) {
			mode |= 0o111
		}
		f.Mode, f.Time, f.UID, f.GID = mode, -62135596800, 0, 0
		want[name] = f
	}
	return want
}

func TestROMFSReadsWhatGenromfsWrote(t *testing.T) {
	source := sourceTree(t)
	want := asROMFS(survey(t, os.DirFS(source)))
	for name, args := range map[string][]string{"as it is": nil, "a volume": {"-V", "camera"}, "a long name": {"-V", strings.Repeat("v", 40)}, "aligned data": {"-a", "4096"}} {
		t.Run(name, func(t *testing.T) {
			image := genromfs(t, source, args...)
			f, err := openROMFS(image)
			if err != nil || len(f.Survey.Problems) > 0 {
				t.Fatalf("%v: %q", err, f.Survey.Problems)
			}
			compare(t, survey(t, f), want)
			if r := analyse(t, append(bytes.Clone(image), noise(5000)...)).Regions[0]; r.Format != "romfs" || r.State != firmware.Proven || r.Size != int64(len(image)) || r.Role != firmware.RoleRootFS {
				t.Errorf("of %d bytes: %+v", len(image), r)
			}
		})
	}
}

func TestROMFSIsAGoodFS(t *testing.T) {
	f, err := openROMFS(genromfs(t, tameTree(t)))
	if err != nil {
		t.Fatal(err)
	}
	if err := fstest.TestFS(f, "bin/busybox", "etc/passwd", "bin/sh", "tmp/fifo"); err != nil {
		t.Error(err)
	}
}

func TestTheROMFSImagesOfTheCorpusAreProven(t *testing.T) {
	for image, want := range map[string]map[string]string{
		"format/generic_fs/romfs.img": {"testfile2": "This is the second test file", "generic folder/test file 3_.txt": "The third test file!"},
		"format/binwalk/romfs.bin":    {"lsb-release": "DISTRIB_ID=Ubuntu\n"},
	} {
		r := analyse(t, corpusFile(t, image)).Regions[0]
		if r.Format != "romfs" || r.State != firmware.Proven || r.Size != 1024 {
			t.Fatalf("%s: %+v", image, r)
		}
		for name, text := range want {
			if data, err := fs.ReadFile(r.FS, name); err != nil || !strings.HasPrefix(string(data), text) {
				t.Errorf("%s: %q, %v", name, data, err)
			}
		}
	}
}

// Where smallROMFS has its headers.
const (
	romRoot = 32 + 32*iota
	romA
	romLink
	romDir
	romNode
	romEnd
)

// smallROMFS has the file "a" of no bytes, a hard link "l" to it and a directory
// "d" with the device "c".
func smallROMFS() []byte {
	var p []byte
	word := func(v ...uint32) {
		for _, x := range v {
			p = binary.BigEndian.AppendUint32(p, x)
		}
	}
	name := func(s string) { p = append(p, s+strings.Repeat("\x00", 16-len(s))...) }
	p = append(p, "-rom1fs-"...)
	word(romEnd, 0)
	name("volume")
	word(romA|9, romRoot, 0, 0)
	name(".")
	word(romLink|2, 0, 0, 0)
	name("a")
	word(romDir, romA, 0, 0)
	name("l")
	word(0|9, romNode, 0, 0)
	name("d")
	word(0|5, 5<<16|1, 0, 0)
	name("c")
	return summedROMFS(p)
}

// summedROMFS corrects all sums of an image like smallROMFS.
func summedROMFS(p []byte) []byte {
	fix := func(p []byte) {
		clear(p[12:16])
		var sum uint32
		for i := 0; i+4 <= len(p); i += 4 {
			sum += binary.BigEndian.Uint32(p[i:])
		}
		binary.BigEndian.PutUint32(p[12:], -sum)
	}
	for at := romRoot; at+32 <= len(p); at += 32 {
		fix(p[at : at+32])
	}
	if len(p) >= 16 {
		fix(p[:min(len(p), 512)])
	}
	return p
}

func TestAWrongROMFSIsNamedForWhatIsWrong(t *testing.T) {
	put := binary.BigEndian.PutUint32
	for name, c := range map[string]struct {
		change func(p []byte)
		want   string
	}{
		"nothing":                       {func([]byte) {}, ""},
		"a chain that runs in a circle": {func(p []byte) { put(p[romDir:], romA|9) }, "already listed"},
		"a directory that holds itself": {func(p []byte) { put(p[romDir+4:], romDir) }, "already listed"},
		"a link to a directory":         {func(p []byte) { put(p[romLink+4:], romDir) }, "link to a directory"},
		"a link to the root":            {func(p []byte) { put(p[romLink+4:], romRoot) }, "link to a directory"},
		"a link to itself":              {func(p []byte) { put(p[romLink+4:], romLink) }, "hard links in a row"},
		"a link outside the image":      {func(p []byte) { put(p[romLink+4:], 1<<30) }, "outside the"},
		"a file past the end":           {func(p []byte) { put(p[romA+8:], 1<<31) }, "past the end"},
		"a name with a slash":           {func(p []byte) { p[romA+17] = '/' }, "is not possible"},
		"a name twice":                  {func(p []byte) { p[romLink+16] = 'a' }, "is there twice"},
		"a next file outside the image": {func(p []byte) { put(p[romDir:], 1<<30|9) }, "outside the"},
		"a root that is a file":         {func(p []byte) { put(p[romRoot:], romA|2) }, "no directory"},
		"an image that is cut":          {func(p []byte) { put(p[8:], romEnd+16) }, "is cut short"},
	} {
		t.Run(name, func(t *testing.T) {
			image := smallROMFS()
			c.change(image)
			f, err := openROMFS(summedROMFS(image))
			if err != nil {
				t.Fatal(err)
			}
			if all := strings.Join(f.Survey.Problems, "\n"); (all == "") != (c.want == "") || !strings.Contains(all, c.want) {
				t.Errorf("problems: %s", all)
			}
			walkAll(t, f)
		})
	}
}

func TestAROMFSWithABadSumIsNotProven(t *testing.T) {
	image := smallROMFS()
	if r := analyse(t, image).Regions[0]; r.State != firmware.Proven || len(r.Problems) > 0 {
		t.Fatalf("%+v", r)
	}
	image[romA+20] ^= 1
	r := analyse(t, image).Regions[0]
	if r.Format != "romfs" || r.State != firmware.Parsed || r.Checks[0].OK || r.Checks[1].OK || len(r.Problems) != 2 {
		t.Errorf("%+v", r)
	}
}

func TestTheMagicOfAROMFSInAProgramIsNone(t *testing.T) {
	image := append([]byte("-rom1fs-"), text(2000)...)
	if _, err := openROMFS(image); !errors.Is(err, filesystem.ErrNotROMFS) {
		t.Errorf("%v", err)
	}
}

func TestAROMFSLinkAndDeviceAreRead(t *testing.T) {
	f, err := openROMFS(smallROMFS())
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]filesystem.Inode{
		"l":   {Number: romA, Mode: 0o100644, Links: 2},
		"d/c": {Number: romNode, Mode: 0o020600, Links: 1, Major: 5, Minor: 1},
	} {
		st, err := fs.Stat(f, name)
		if err != nil {
			t.Fatal(err)
		}
		if got := *st.Sys().(*filesystem.Inode); got != want {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if _, err := filesystem.NewROMFS(context.Background(), bytes.NewReader(smallROMFS()), romEnd, budget.New(budget.Limits{Entries: 3})); !errors.Is(err, budget.ErrExceeded) {
		t.Errorf("past the budget: %v", err)
	}
}

func attackROMFS(t testing.TB, data []byte, size int64) {
	t.Helper()
	f, err := filesystem.NewROMFS(context.Background(), bytes.NewReader(data), size, tight())
	if f == nil {
		if err == nil {
			t.Fatal("neither a file system nor an error")
		}
		return
	}
	if f.Size > size {
		t.Fatalf("of %d bytes, %d are the file system's", size, f.Size)
	}
	walkAll(t, f)
}

func TestAROMFSCutOrFlippedAnywhereIsNoPanic(t *testing.T) {
	image := smallROMFS()
	for n := range image {
		attackROMFS(t, image[:n], int64(n))
		attackROMFS(t, image[:n], int64(len(image)))
	}
	for bit := range len(image) * 8 {
		flipped := bytes.Clone(image)
		flipped[bit/8] ^= 1 << (bit % 8)
		attackROMFS(t, flipped, int64(len(flipped)))
	}
}

func FuzzROMFS(f *testing.F) {
	f.Add(smallROMFS())
	f.Fuzz(func(t *testing.T, data []byte) { attackROMFS(t, data, int64(len(data))) })
}
