//go:build linux

package filesystem_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"assay/firmware"
	"assay/firmware/budget"
	"assay/firmware/filesystem"
	_ "assay/firmware/format"
)

func mkfsUBIFS(t testing.TB, source string, args ...string) []byte {
	t.Helper()
	image := filepath.Join(t.TempDir(), "image.ubifs")
	run(t, "mkfs.ubifs", "mtd-utils", append([]string{"-r", source, "-o", image}, args...)...)
	data, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// soundUBIFS opens an image and proves it.
func soundUBIFS(t testing.TB, image []byte) (*filesystem.UBIFS, *filesystem.Survey) {
	t.Helper()
	u, err := filesystem.NewUBIFS(bytes.NewReader(image), int64(len(image)), budget.New(budget.Limits{}))
	if err != nil {
		t.Fatal(err)
	}
	found, err := u.Prove(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if len(found.Problems) > 0 {
		t.Fatalf("problems: %s", strings.Join(found.Problems, "\n"))
	}
	return u, found
}

// nand is a usual geometry: LEBs of 128 KiB blocks less two pages of 2 KiB.
var nand = []string{"-m", "2048", "-e", "126976", "-c", "200"}

func TestUBIFSReadsWhatMkfsWrote(t *testing.T) {
	source := sourceTree(t)
	want := survey(t, os.DirFS(source))
	devices := filepath.Join(t.TempDir(), "devices")
	if err := os.WriteFile(devices, []byte("/tmp/console c 600 0 5 5 1 0 0 -\n/tmp/disk b 660 0 6 259 300 0 0 -\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]facts{
		"tmp/console": {Mode: 0o600 | fs.ModeDevice | fs.ModeCharDevice, GID: 5, Major: 5, Minor: 1},
		"tmp/disk":    {Mode: 0o660 | fs.ModeDevice, GID: 6, Major: 259, Minor: 300},
	} {
		f.Links = 1
		want[name] = f
	}
	for name, args := range map[string][]string{
		"lzo":                     append([]string{"-x", "lzo"}, nand...),
		"zlib":                    append([]string{"-x", "zlib"}, nand...),
		"zstd":                    append([]string{"-x", "zstd"}, nand...),
		"no compression":          append([]string{"-x", "none"}, nand...),
		"two compressors":         append([]string{"-x", "favor_lzo"}, nand...),
		"the test hash":           append([]string{"-k", "test"}, nand...),
		"a fanout of 3":           append([]string{"-f", "3"}, nand...),
		"a fanout of 100":         append([]string{"-f", "100"}, nand...),
		"small pages":             {"-m", "512", "-e", "15872", "-c", "800"},
		"sub-pages":               {"-m", "512", "-e", "129024", "-c", "100"},
		"large pages":             {"-m", "4096", "-e", "253952", "-c", "100"},
		"NOR":                     {"-m", "8", "-e", "65408", "-c", "300"},
		"fixed up at first mount": append([]string{"-F"}, nand...),
	} {
		t.Run(name, func(t *testing.T) {
			u, _ := soundUBIFS(t, mkfsUBIFS(t, source, append(args, "-D", devices)...))
			got := survey(t, u)
			want := maps.Clone(want)
			for _, made := range []string{"tmp/console", "tmp/disk"} {
				f := want[made]
				f.Time = got[made].Time // mkfs.ubifs gives them its own
				want[made] = f
			}
			compare(t, got, want)
		})
	}
}

func TestAUBIFSInUBIIsProvenInItsVolume(t *testing.T) {
	source := sourceTree(t)
	want := survey(t, os.DirFS(source))
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "root"), mkfsUBIFS(t, source, nand...), 0o644); err != nil {
		t.Fatal(err)
	}
	ini := fmt.Sprintf("[r]\nmode=ubi\nimage=%s/root\nvol_id=0\nvol_type=dynamic\nvol_name=rootfs\nvol_flags=autoresize\nvol_size=20MiB\n", dir)
	if err := os.WriteFile(filepath.Join(dir, "ini"), []byte(ini), 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, "ubinize", "mtd-utils", "-p", "128KiB", "-m", "2048", "-o", filepath.Join(dir, "image"), filepath.Join(dir, "ini"))
	image, err := os.ReadFile(filepath.Join(dir, "image"))
	if err != nil {
		t.Fatal(err)
	}
	r := analyse(t, image).Regions[0]
	if r.Format != "ubi" || r.State != firmware.Proven || len(r.Children) != 1 || r.Children[0].Role != firmware.RoleRootFS {
		t.Fatalf("%+v", r)
	}
	inner := r.Children[0].Contents.Regions[0]
	if inner.Format != "ubifs" || inner.State != firmware.Proven || inner.FS == nil {
		t.Fatalf("%+v", inner)
	}
	compare(t, survey(t, inner.FS), want)
}

func TestUBIFSKeepsToWhatAnFSMustDo(t *testing.T) {
	u, _ := soundUBIFS(t, mkfsUBIFS(t, littleTree(t), nand...))
	if err := fstest.TestFS(u, "etc/a", "etc/b", "c", "d"); err != nil {
		t.Error(err)
	}
}

func TestUBIFSFindsEachOfManyNames(t *testing.T) {
	u, found := soundUBIFS(t, mkfsUBIFS(t, manyFiles(t), nand...))
	if found.Files != 3000 {
		t.Errorf("%d files", found.Files)
	}
	list, err := fs.ReadDir(u, ".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		if _, err := u.ReadFile(e.Name()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestUBIFSReadsAnywhereInAFile(t *testing.T) {
	source := sourceTree(t)
	u, _ := soundUBIFS(t, mkfsUBIFS(t, source, nand...))
	for _, name := range []string{"lib/1m+9", "lib/mixed", "lib/4k", "etc/one", "lib/zeros"} {
		want, err := os.ReadFile(filepath.Join(source, name))
		if err != nil {
			t.Fatal(err)
		}
		f, err := u.Open(name)
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
	}
}

func TestEncryptedUBIFSIsSaidToBe(t *testing.T) {
	dir := t.TempDir()
	key := filepath.Join(dir, "key")
	if err := os.WriteFile(key, noise(64), 0o600); err != nil {
		t.Fatal(err)
	}
	image := mkfsUBIFS(t, littleTree(t), append([]string{"-C", "AES-256-XTS", "-K", key, "-b", "0123456789abcdef"}, nand...)...)
	r := analyse(t, image).Regions[0]
	if r.Format != "ubifs" || r.State == firmware.Proven || !strings.Contains(strings.Join(r.Problems, "\n"), "are encrypted (fscrypt)") || len(r.Problems) != 2 || !strings.Contains(r.Problems[1], "of 7 files could not be read whole") {
		t.Fatalf("%+v", r)
	}
	names := 0
	err := fs.WalkDir(r.FS, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		names++
		if !strings.HasPrefix(d.Name(), "fscrypt:") {
			t.Errorf("the name %q", d.Name())
		}
		if _, err := fs.Lstat(r.FS, name); err != nil {
			t.Error(err)
		}
		if d.Type().IsRegular() {
			if _, err := r.FS.Open(name); err == nil || !strings.Contains(err.Error(), "encrypted") {
				t.Errorf("%s was opened: %v", name, err)
			}
		}
		return nil
	})
	if err != nil || names != 6 {
		t.Errorf("%d names, %v", names, err)
	}
}

func TestTheUBIFSOfTheCorpusIsProven(t *testing.T) {
	image := corpusFile(t, "format/ubi/test.ubifs")
	r := analyse(t, image).Regions[0]
	if r.Format != "ubifs" || r.State != firmware.Proven || r.Size != int64(len(image)) {
		t.Fatalf("%+v", r)
	}
	for name, f := range survey(t, r.FS) {
		t.Logf("%s %v %d %.12s", name, f.Mode, f.Size, f.Sum)
	}
}
