//go:build linux

package filesystem_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"golang.org/x/sys/unix"

	"assay/firmware/budget"
	"assay/firmware/filesystem"
)

var compressors = []string{"gzip", "lzma", "lzo", "xz", "lz4", "zstd"}

func mksquashfs(t testing.TB, source string, args ...string) []byte {
	t.Helper()
	image := filepath.Join(t.TempDir(), "image.sqfs")
	run(t, "mksquashfs", "squashfs-tools", append([]string{source, image, "-noappend", "-no-progress", "-quiet"}, args...)...)
	data, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// sound opens an image and proves it.
func sound(t testing.TB, image []byte) (*filesystem.SquashFS, *filesystem.Survey) {
	t.Helper()
	s, err := filesystem.NewSquashFS(bytes.NewReader(image), int64(len(image)), budget.New(budget.Limits{}))
	if err != nil {
		t.Fatal(err)
	}
	found, err := s.Prove(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if len(found.Problems) > 0 {
		t.Fatalf("problems: %s", strings.Join(found.Problems, "\n"))
	}
	return s, found
}

func TestSquashFSReadsWhatMksquashfsWrote(t *testing.T) {
	source := sourceTree(t)
	want := survey(t, os.DirFS(source))
	nodes := []string{
		"-p", "tmp/console c 600 0 5 5 1", "-p", "tmp/disk b 660 0 6 259 300", "-p", "tmp/big c 666 0 0 4095 1048575",
	}
	for name, f := range map[string]facts{
		"tmp/console": {Mode: 0o600 | fs.ModeDevice | fs.ModeCharDevice, GID: 5, Major: 5, Minor: 1},
		"tmp/disk":    {Mode: 0o660 | fs.ModeDevice, GID: 6, Major: 259, Minor: 300},
		"tmp/big":     {Mode: 0o666 | fs.ModeDevice | fs.ModeCharDevice, Major: 4095, Minor: 1048575},
	} {
		f.Links = 1
		want[name] = f
	}
	for _, compressor := range compressors {
		variants := map[string][]string{
			"as it is":      nil,
			"no fragments":  {"-no-fragments"},
			"stored":        {"-noI", "-noD", "-noF", "-noX"},
			"tail ends":     {"-tailends", "-no-exports"},
			"stored data":   {"-noD", "-noId", "-always-use-fragments"},
			"owned by root": {"-all-root"},
		}
		switch compressor {
		case "xz":
			variants["filters"] = []string{"-Xbcj", "x86,arm,armthumb,powerpc,sparc,ia64"}
			variants["small dictionary"] = []string{"-Xdict-size", "50%"}
		case "gzip":
			variants["options"] = []string{"-Xcompression-level", "3", "-Xwindow-size", "10", "-Xstrategy", "default,huffman_only"}
		case "lz4":
			variants["high compression"] = []string{"-Xhc"}
		case "lzo":
			variants["options"] = []string{"-Xalgorithm", "lzo1x_1_15"}
		}
		for _, size := range []string{"4K", "128K", "1M"} {
			for name, args := range variants {
				if name == "small dictionary" && size == "4K" {
					continue // it would be under the least, 8 KiB
				}
				if testing.Short() && size != "128K" {
					continue
				}
				t.Run(fmt.Sprintf("%s in blocks of %s, %s", compressor, size, name), func(t *testing.T) {
					args := append([]string{"-comp", compressor, "-b", size}, args...)
					s, _ := sound(t, mksquashfs(t, source, append(args, nodes...)...))
					got := survey(t, s)
					want := maps.Clone(want)
					for name, f := range want {
						if name == "tmp" {
							f.Time = got["tmp"].Time
						}
						if name == "tmp/console" || name == "tmp/disk" || name == "tmp/big" {
							f.Time = got[name].Time // mksquashfs gives them its own
						}
						if args[len(args)-1] == "-all-root" {
							f.UID, f.GID = 0, 0
						}
						want[name] = f
					}
					compare(t, got, want)
				})
			}
		}
	}
}

func TestSquashFSFindsEachOfThreeThousandFilesByName(t *testing.T) {
	source := manyFiles(t)
	want := survey(t, os.DirFS(source))
	for _, compressor := range compressors {
		s, found := sound(t, mksquashfs(t, source, "-comp", compressor))
		if found.Files != 3000 {
			t.Errorf("%s: %d files", compressor, found.Files)
		}
		compare(t, survey(t, s), want)
		for name, f := range want {
			if st, err := fs.Stat(s, name); err != nil || f.Mode.IsRegular() && st.Size() != f.Size {
				t.Fatalf("%s: %v", name, err)
			}
		}
		if _, err := fs.Stat(s, "a rather long name that is not there"); err == nil {
			t.Errorf("%s: a name that is not there was found", compressor)
		}
	}
}

func TestSquashFSReadsExtendedAttributes(t *testing.T) {
	source := sourceTree(t)
	shared := bytes.Repeat([]byte("shared by several "), 50) // which is stored once
	want := map[string]map[string]string{
		"etc/passwd":  {"user.comment": "x", "user.empty": "", "user.shared": string(shared)},
		"usr":         {"user.comment": "of a directory", "user.shared": string(shared)},
		"bin/busybox": {"security.capability": "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", "trusted.overlay.opaque": "y"},
		"bin/sh":      {"trusted.of.a.link": "l"},
	}
	for i := range 40 {
		want[fmt.Sprintf("etc/small%02d", i)] = map[string]string{"user.number": fmt.Sprint(i), "user.long": strings.Repeat(fmt.Sprint("v", i%3), 300)}
	}
	for name, list := range want {
		for attr, value := range list {
			if err := lsetxattr(filepath.Join(source, name), attr, value); err != nil {
				t.Logf("%s of %s: %v", attr, name, err)
				delete(list, attr)
			}
		}
		if len(list) == 0 {
			delete(want, name)
		}
	}
	if len(want) == 0 {
		t.Skip("this file system keeps no extended attributes")
	}
	want["bin/cp"] = want["bin/busybox"] // two names of one file
	for _, args := range [][]string{{"-comp", "xz"}, {"-comp", "lzo", "-b", "4K"}, {"-noX"}, {"-comp", "zstd", "-no-exports"}} {
		s, found := sound(t, mksquashfs(t, source, append(args, "-xattrs")...))
		if found.XAttrs != len(want)-1 {
			t.Errorf("%v: %d inodes have them, and %d should", args, found.XAttrs, len(want)-1)
		}
		for name := range survey(t, s) {
			st, err := fs.Lstat(s, name)
			if err != nil {
				t.Fatal(err)
			}
			i := st.Sys().(*filesystem.Inode)
			list, err := i.ReadXAttrs()
			if err != nil {
				t.Errorf("%v: %s: %v", args, name, err)
			}
			got := make(map[string]string)
			for _, a := range list {
				got[a.Name] = string(a.Value)
			}
			if len(got)+len(want[name]) > 0 && !maps.Equal(got, want[name]) || i.XAttrs != (len(got) > 0) {
				t.Errorf("%v: %s: %q and not %q", args, name, got, want[name])
			}
		}
	}
}

func lsetxattr(name, attr, value string) error {
	return unix.Lsetxattr(name, attr, []byte(value), 0)
}

func TestAnAttributeThatIsNotThereIsAProblem(t *testing.T) {
	source := t.TempDir()
	name := filepath.Join(source, "f")
	if err := os.WriteFile(name, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := lsetxattr(name, "user.a", "b"); err != nil {
		t.Skip(err)
	}
	image := mksquashfs(t, source, "-xattrs", "-noI", "-noX", "-noId", "-no-exports")
	good := bytes.Clone(image)
	at := bytes.Index(image, []byte("\x00\x00\x01\x00a\x01\x00\x00\x00b"))
	if at < 0 {
		t.Fatal("the attribute is not found in the image")
	}
	for what, change := range map[string]func([]byte){
		"type":       func(p []byte) { p[at] = 9 },
		"name":       func(p []byte) { p[at+2] = 200 },
		"value":      func(p []byte) { p[at+7] = 0xff },
		"value here": func(p []byte) { p[at+1] = 1 },
		"table":      func(p []byte) { copy(p[56:], p[72:80]) },
	} {
		copy(image, good)
		change(image)
		s, err := filesystem.NewSquashFS(bytes.NewReader(image), int64(len(image)), budget.New(budget.Limits{}))
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		found, err := s.Prove(context.Background())
		if err != nil || len(found.Problems) == 0 {
			t.Errorf("%s: no problem, %v", what, err)
		}
	}
}

func TestSquashFSIsAGoodFS(t *testing.T) {
	s, _ := sound(t, mksquashfs(t, tameTree(t), "-comp", "zstd"))
	if err := fstest.TestFS(s, "bin/busybox", "etc/passwd", "lib/128k+5", "bin/sh", "tmp/fifo"); err != nil {
		t.Error(err)
	}
}

// tameTree is sourceTree without the links that lead nowhere, which fstest does
// not allow.
func tameTree(t testing.TB) string {
	source := sourceTree(t)
	for _, name := range []string{"etc/dangling", "etc/long", "etc/self"} {
		if err := os.Remove(filepath.Join(source, name)); err != nil {
			t.Fatal(err)
		}
	}
	return source
}

func TestSquashFSOpensANameThatIsNotUTF8(t *testing.T) {
	source := t.TempDir()
	const name = "caf\xe9"
	if err := os.WriteFile(filepath.Join(source, name), []byte("latin"), 0o644); err != nil {
		t.Fatal(err)
	}
	s, _ := sound(t, mksquashfs(t, source))
	if got, err := fs.ReadFile(s, name); err != nil || string(got) != "latin" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestSquashFSReadsAnywhereInAFile(t *testing.T) {
	source := sourceTree(t)
	s, _ := sound(t, mksquashfs(t, source, "-b", "4K"))
	for _, name := range []string{"lib/1m+9", "lib/mixed", "lib/4k", "etc/one", "lib/zeros"} {
		want, err := os.ReadFile(filepath.Join(source, name))
		if err != nil {
			t.Fatal(err)
		}
		f, err := s.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		r := f.(io.ReaderAt)
		for off := 0; off <= len(want); off += 1 + len(want)/40 {
			for _, n := range []int{1, 4095, 4096, 10_000} {
				p := make([]byte, n)
				got, err := r.ReadAt(p, int64(off))
				if !bytes.Equal(p[:got], want[off:min(off+n, len(want))]) || (got < n) != (err == io.EOF) {
					t.Fatalf("%s: %d bytes at %d: %d, %v", name, n, off, got, err)
				}
			}
		}
		f.Close()
		if _, err := r.ReadAt(make([]byte, 1), 0); err == nil {
			t.Errorf("%s can be read after it is closed", name)
		}
		if got, err := s.ReadFile(name); err != nil || !bytes.Equal(got, want) {
			t.Errorf("ReadFile %s: %d bytes, %v", name, len(got), err)
		}
	}
}

func TestSquashFSLinksLeadInsideTheImageOrNowhere(t *testing.T) {
	s, _ := sound(t, mksquashfs(t, sourceTree(t)))
	for name, want := range map[string]string{"bin/ls": "bin/busybox", "bin/sh": "bin/busybox", "etc/climbs": "etc/passwd", "opt/a b/ö": "usr/a b/ö"} {
		got, err := fs.ReadFile(s, name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if w, _ := fs.ReadFile(s, want); !bytes.Equal(got, w) {
			t.Errorf("%s is not %s", name, want)
		}
	}
	for _, name := range []string{"etc/dangling", "etc/self", "etc/long"} {
		if _, err := s.Open(name); err == nil {
			t.Errorf("%s leads somewhere", name)
		}
		if _, err := s.Lstat(name); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"../etc/passwd", "/etc/passwd", "etc/", "", "etc/./passwd", "etc/passwd/x"} {
		if _, err := s.Open(name); err == nil {
			t.Errorf("%q was opened", name)
		}
	}
}

func TestSquashFSIsReadByManyAtOnce(t *testing.T) {
	source := sourceTree(t)
	want := survey(t, os.DirFS(source))
	s, _ := sound(t, mksquashfs(t, source, "-b", "4K"))
	var readers sync.WaitGroup
	for range 8 {
		readers.Go(func() {
			for name, f := range want {
				if !f.Mode.IsRegular() {
					continue
				}
				data, err := s.ReadFile(name)
				if sum := fmt.Sprintf("%x", sha256.Sum256(data)); err != nil || sum != f.Sum {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
	readers.Wait()
}

// counting counts how often each place of an image is read.
type counting struct {
	io.ReaderAt
	mu    sync.Mutex
	reads map[int64]int
}

func (c *counting) ReadAt(p []byte, off int64) (int, error) {
	c.mu.Lock()
	c.reads[off]++
	c.mu.Unlock()
	return c.ReaderAt.ReadAt(p, off)
}

func TestAFragmentThatManyWantIsUnpackedOnce(t *testing.T) {
	source := t.TempDir()
	for i := range 300 {
		if err := os.WriteFile(filepath.Join(source, fmt.Sprintf("%03d", i)), text(1000+i), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	image := mksquashfs(t, source, "-b", "64K")
	c := &counting{ReaderAt: bytes.NewReader(image), reads: make(map[int64]int)}
	s, err := filesystem.NewSquashFS(c, int64(len(image)), budget.New(budget.Limits{}))
	if err != nil {
		t.Fatal(err)
	}
	var readers sync.WaitGroup
	for range 8 {
		readers.Go(func() {
			for i := range 300 {
				if data, err := s.ReadFile(fmt.Sprintf("%03d", i)); err != nil || !bytes.Equal(data, text(1000+i)) {
					t.Errorf("%d: %v", i, err)
				}
			}
		})
	}
	readers.Wait()
	// All data is fragments, which are in front of the inodes.
	inodes := int64(binary.LittleEndian.Uint64(image[64:]))
	for at, n := range c.reads {
		if at >= 96 && at < inodes && n != 1 {
			t.Errorf("the fragment at %#x was read %d times", at, n)
		}
	}
}

func TestALargeReadUnpacksSeveralBlocksAndEndsAtTheFirstBrokenOne(t *testing.T) {
	source := t.TempDir()
	want := noise(3<<20 + 77)
	for i := range want {
		if i%3 == 0 {
			want[i] = 'a'
		}
	}
	if err := os.WriteFile(filepath.Join(source, "large"), want, 0o644); err != nil {
		t.Fatal(err)
	}
	image := mksquashfs(t, source, "-b", "128K", "-comp", "xz")
	for _, size := range []int{1, 4096, 100_000, 1 << 20, 4 << 20} {
		s, _ := sound(t, image)
		f, err := s.Open("large")
		if err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		buf := make([]byte, size)
		if size == 1 {
			_, err = got.ReadFrom(io.LimitReader(f, 1000))
		} else {
			_, err = io.CopyBuffer(struct{ io.Writer }{&got}, struct{ io.Reader }{f}, buf)
		}
		if err != nil || !bytes.Equal(got.Bytes(), want[:got.Len()]) || size > 1 && got.Len() != len(want) {
			t.Errorf("in pieces of %d: %d bytes, %v", size, got.Len(), err)
		}
	}
	// The block in the middle of the first MiB is broken.
	at := len(image) / 2 / 3
	image[at] ^= 0x55
	s, _ := sound(t, image)
	f, err := s.Open("large")
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4<<20)
	n, err := f.(io.ReaderAt).ReadAt(buf, 0)
	if err == nil || err == io.EOF || n%(128<<10) != 0 || n == 0 || n > 2<<20 || !bytes.Equal(buf[:n], want[:n]) {
		t.Errorf("%d bytes, %v", n, err)
	}
}
