//go:build linux

package filesystem_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"assay/firmware"
	"assay/firmware/budget"
	"assay/firmware/filesystem"
	"assay/firmware/internal/formattest"
)

func openTar(data []byte, limits budget.Limits) (*filesystem.Tar, error) {
	return filesystem.NewTar(context.Background(), bytes.NewReader(data), int64(len(data)), budget.New(limits))
}

func soundTar(t testing.TB, data []byte) *filesystem.Tar {
	t.Helper()
	f, err := openTar(data, budget.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Survey.Problems) > 0 {
		t.Fatalf("problems: %s", strings.Join(f.Survey.Problems, "\n"))
	}
	return f
}

func TestTarReadsWhatTarAndBsdtarWrote(t *testing.T) {
	source := sourceTree(t)
	for _, name := range []string{"tmp/socket", "etc/long"} { // which no tar and not all have room for
		if err := os.Remove(filepath.Join(source, name)); err != nil {
			t.Fatal(err)
		}
	}
	if os.Getuid() == 0 {
		if err := os.Lchown(filepath.Join(source, "bin/sh"), 2_000_000, 12); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Mknod(filepath.Join(source, "tmp/console"), syscall.S_IFCHR|0o600, 5<<8|1); err != nil {
			t.Logf("no device node in this test: %v", err)
		}
	}
	// A path of more than 100 bytes, and a name of more than 100.
	old := filepath.Join(t.TempDir(), "old")
	if err := os.CopyFS(old, os.DirFS(filepath.Join(source, "bin"))); err != nil {
		t.Logf("links are not copied: %v", err)
	}
	for name, c := range map[string]struct{ variant, program, debian, args, source string }{
		"tar gnu":          {"gnu", "tar", "tar", "--format=gnu -cf ARCHIVE .", source},
		"tar gnu sparse":   {"gnu", "tar", "tar", "--format=gnu -S -cf ARCHIVE .", source},
		"tar oldgnu":       {"gnu", "tar", "tar", "--format=oldgnu -S -cf ARCHIVE .", source},
		"tar posix":        {"pax", "tar", "tar", "--format=posix -cf ARCHIVE .", source},
		"tar posix sparse": {"pax", "tar", "tar", "--format=posix -S -cf ARCHIVE .", source},
		"sparse 0.0":       {"pax", "tar", "tar", "--format=posix -S --sparse-version=0.0 -cf ARCHIVE .", source},
		"sparse 0.1":       {"pax", "tar", "tar", "--format=posix -S --sparse-version=0.1 -cf ARCHIVE .", source},
		"sparse 1.0":       {"pax", "tar", "tar", "--format=posix -S --sparse-version=1.0 -cf ARCHIVE .", source},
		"tar ustar":        {"ustar", "tar", "tar", "--format=ustar -cf ARCHIVE bin lib tmp d", source},
		"tar v7":           {"v7", "tar", "tar", "--format=v7 -cf ARCHIVE bin lib d", source},
		"bsdtar pax":       {"pax", "bsdtar", "libarchive-tools", "--format pax -cf ARCHIVE .", source},
		"bsdtar ustar":     {"ustar", "bsdtar", "libarchive-tools", "--format ustar -cf ARCHIVE bin lib tmp d", source},
		"bsdtar gnutar":    {"gnu", "bsdtar", "libarchive-tools", "--format gnutar -cf ARCHIVE .", source},
	} {
		t.Run(name, func(t *testing.T) {
			data := packedBy(t, c.source, c.program, c.debian, c.args)
			f := soundTar(t, data)
			if f.Variant != c.variant && !strings.HasPrefix(name, "bsdtar pax") {
				t.Errorf("variant %s", f.Variant)
			}
			got, want := survey(t, f), survey(t, os.DirFS(c.source))
			if dev, ok := want["tmp/console"]; ok {
				dev.Major, dev.Minor = 5, 1
				want["tmp/console"] = dev
			}
			for name, w := range want {
				if _, ok := got[name]; !ok && !strings.HasSuffix(c.args, " .") {
					delete(want, name)
					continue
				}
				// Outside of what was named, the other name of a hard link.
				if w.Links > 1 && !strings.HasSuffix(c.args, " .") {
					w.Links = got[name].Links
				}
				want[name] = w
			}
			if !strings.HasSuffix(c.args, " .") {
				want["."] = got["."]
				if len(want) < 10 {
					t.Fatalf("%d entries", len(want))
				}
			}
			compare(t, got, want)
			r := analyse(t, append(bytes.Clone(data), noise(3000)...)).Regions[0]
			if r.Format != "tar" || r.State != firmware.Proven || r.Size != int64(len(data)) {
				t.Errorf("of %d bytes: %+v", len(data), r)
			}
		})
	}
}

func TestATarIsAGoodFS(t *testing.T) {
	source := tameTree(t)
	if err := os.Remove(filepath.Join(source, "tmp/socket")); err != nil {
		t.Fatal(err)
	}
	f := soundTar(t, packedBy(t, source, "tar", "tar", "-S -cf ARCHIVE ."))
	if err := fstest.TestFS(f, "bin/busybox", "etc/passwd", "bin/sh", "tmp/fifo", "lib/sparse"); err != nil {
		t.Error(err)
	}
}

func TestTheCorpusTarIsReadAsTarReadsIt(t *testing.T) {
	data := corpusFile(t, "format/patool/test.tar")
	f := soundTar(t, data)
	files := 0
	for name, got := range survey(t, f) {
		if got.Sum == "" {
			continue
		}
		files++
		cmd := exec.Command("tar", "-xOf", "-", name)
		cmd.Stdin = bytes.NewReader(data)
		want, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := f.ReadFile(name); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if files != 3 || f.Size != 10240 && f.Size != 10240-512*2 && !f.Ended {
		t.Errorf("%d files, ends at %d", files, f.Size)
	}
	if r := analyse(t, data); len(r.Regions) != 1 || r.Regions[0].State != firmware.Proven {
		t.Errorf("%v", formattest.Outline(r))
	}
	if r := analyse(t, corpusFile(t, "format/generic_carver/fake_tar.tar")); formattest.First(r, "tar") != nil {
		t.Errorf("the fake is %v", formattest.Outline(r))
	}
}

type tarEntry struct {
	tar.Header
	data string
}

func makeTar(entries ...tarEntry) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		e.Size = int64(len(e.data))
		if e.ModTime.IsZero() {
			e.ModTime = time.Unix(1_600_000_000, 0)
		}
		if err := w.WriteHeader(&e.Header); err != nil {
			panic(err)
		}
		w.Write([]byte(e.data))
	}
	w.Close()
	return b.Bytes()
}

func tarFile(name, data string) tarEntry {
	return tarEntry{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644}, data}
}

func handmadeTar() []byte {
	return makeTar(tarEntry{tar.Header{Typeflag: tar.TypeDir, Name: "d/", Mode: 0o755}, ""}, tarFile("d/a", "hello"), tarFile(strings.Repeat("long/", 60)+"b", "deep"),
		tarEntry{tar.Header{Typeflag: tar.TypeSymlink, Name: "l", Linkname: "d/a", Mode: 0o777}, ""}, tarEntry{tar.Header{Typeflag: tar.TypeLink, Name: "h", Linkname: "d/a"}, ""},
		tarEntry{tar.Header{Typeflag: tar.TypeChar, Name: "c", Devmajor: 5, Devminor: 1, Mode: 0o600}, ""})
}

// resum sets the checksum of the header at an offset right.
func resum(p []byte, at int) {
	h := p[at : at+512]
	copy(h[148:156], "        ")
	sum := 0
	for _, b := range h {
		sum += int(b)
	}
	copy(h[148:156], fmt.Sprintf("%06o\x00 ", sum))
}

func TestATarIsReadOrSaysWhyNot(t *testing.T) {
	edit := func(change func(p []byte)) func() []byte {
		return func() []byte {
			p := makeTar(tarFile("a", "x"), tarFile("b", "y"))
			change(p)
			return p
		}
	}
	for name, c := range map[string]struct {
		archive  func() []byte
		problem  string
		contents map[string]string // "-" for what must not be there
	}{
		"two files":          {edit(func([]byte) {}), "", map[string]string{"a": "x", "b": "y"}},
		"a path that climbs": {func() []byte { return makeTar(tarFile("../a", "x"), tarFile("b", "y")) }, "not possible", map[string]string{"b": "y"}},
		"a file twice":       {func() []byte { return makeTar(tarFile("a", "x"), tarFile("a", "y")) }, "is there twice", map[string]string{"a": "y"}},
		"a hard link to nothing": {func() []byte {
			return makeTar(tarFile("a", "x"), tarEntry{tar.Header{Typeflag: tar.TypeLink, Name: "h", Linkname: "../../etc/passwd"}, ""})
		}, "no file before it", map[string]string{"a": "x", "h": "-"}},
		"a second header with a bad sum": {edit(func(p []byte) { p[1024+148] ^= 1 }), "no header at 0x400", map[string]string{"a": "x", "b": "-"}},
		"a file that is cut":             {func() []byte { return makeTar(tarFile("a", "x"), tarFile("b", strings.Repeat("y", 2000)))[:2000] }, "cut short", map[string]string{"a": "x"}},
		"no end":                         {func() []byte { return makeTar(tarFile("a", "x"))[:1024] }, "has no end", map[string]string{"a": "x"}},
		"half an end":                    {func() []byte { return makeTar(tarFile("a", "x"))[:1536] }, "a lone block", map[string]string{"a": "x"}},
		"a type that is not known":       {edit(func(p []byte) { p[1024+156] = 'Q'; resum(p, 1024) }), "taken for a file", map[string]string{"b": "y"}},
		"a volume label":                 {edit(func(p []byte) { p[1024+156] = 'V'; resum(p, 1024) }), "is not read", map[string]string{"a": "x", "b": "-"}},
		"a size in base 256":             {edit(func(p []byte) { copy(p[1024+124:], "\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01"); resum(p, 1024) }), "", map[string]string{"b": "y"}},
		"a size below zero":              {edit(func(p []byte) { copy(p[1024+124:], "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"); resum(p, 1024) }), "no header at 0x400", map[string]string{"b": "-"}},
		"a size of 2^70":                 {edit(func(p []byte) { copy(p[1024+124:], "\x80\x00\x40\x00\x00\x00\x00\x00\x00\x00\x00\x01"); resum(p, 1024) }), "no header at 0x400", map[string]string{"b": "-"}},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := openTar(c.archive(), budget.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			if all := strings.Join(f.Survey.Problems, "\n"); (all == "") != (c.problem == "") || !strings.Contains(all, c.problem) {
				t.Errorf("problems: %s", all)
			}
			for name, want := range c.contents {
				got, err := f.ReadFile(name)
				if want == "-" {
					if err == nil {
						t.Errorf("%s is there", name)
					}
				} else if err != nil || string(got) != want {
					t.Errorf("%s: %q, %v", name, got, err)
				}
			}
		})
	}
}

func TestASparseTarFileOfAnySizeIsReadWithinTheBudget(t *testing.T) {
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "huge"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("end"), 1<<40); err != nil {
		t.Skipf("no sparse files here: %v", err)
	}
	f.Close()
	data := packedBy(t, dir, "tar", "tar", "-S -cf ARCHIVE huge")
	archive := soundTar(t, data)
	if st, err := archive.Stat("huge"); err != nil || st.Size() != 1<<40+3 {
		t.Fatalf("%v, %v", st, err)
	}
	p := make([]byte, 10)
	if _, err := must(archive.Open("huge")).(interface {
		ReadAt([]byte, int64) (int, error)
	}).ReadAt(p, 1<<40-7); err != nil || string(p) != "\x00\x00\x00\x00\x00\x00\x00end" {
		t.Errorf("%q, %v", p, err)
	}
	if _, err := archive.ReadFile("huge"); !errors.Is(err, budget.ErrExceeded) {
		t.Errorf("%v", err)
	}
	if _, err := openTar(handmadeTar(), budget.Limits{Entries: 2}); !errors.Is(err, budget.ErrExceeded) {
		t.Errorf("%v", err)
	}
}

func attackTar(t testing.TB, data []byte) {
	t.Helper()
	f, err := filesystem.NewTar(context.Background(), bytes.NewReader(data), int64(len(data)), tight())
	if f == nil {
		if err == nil {
			t.Fatal("neither an archive nor an error")
		}
		return
	}
	if f.Size > int64(len(data)) || err == nil && f.Size < 512 {
		t.Fatalf("of %d bytes, %d are the archive's: %v", len(data), f.Size, err)
	}
	walkAll(t, f)
}

func TestATarCutOrFlippedAnywhereIsNoPanic(t *testing.T) {
	image := handmadeTar()
	for n := 0; n < len(image); n += 61 {
		attackTar(t, image[:n])
	}
	for at := 0; at+512 <= len(image); at += 512 {
		for bit := 0; bit < 8*512; bit += 37 {
			flipped := bytes.Clone(image)
			flipped[at+bit/8] ^= 1 << (bit % 8)
			resum(flipped, at)
			attackTar(t, flipped)
		}
	}
}

func FuzzTar(f *testing.F) {
	f.Add(handmadeTar(), uint16(0))
	for _, variant := range []string{"--format=oldgnu", "--format=posix", "--format=posix --sparse-version=0.1", "--format=posix --sparse-version=0.0"} {
		dir := f.TempDir()
		s, err := os.Create(filepath.Join(dir, "s"))
		if err != nil {
			f.Fatal(err)
		}
		for i := range int64(8) {
			s.WriteAt([]byte("x"), i<<16)
		}
		s.Close()
		args := append(strings.Fields(variant), "-S", "-cf", filepath.Join(dir, "t"), "-C", dir, "s")
		if exec.Command("tar", args...).Run() == nil {
			f.Add(contents(f, filepath.Join(dir, "t")), uint16(1))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, header uint16) {
		if at := 512 * int(header); at+512 <= len(data) {
			data = bytes.Clone(data)
			resum(data, at)
		}
		attackTar(t, data)
		formattest.Survives(t, "this", data)
	})
}
