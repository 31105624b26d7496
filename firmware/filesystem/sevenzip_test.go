//go:build linux

package filesystem_test

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"assay/firmware"
	"assay/firmware/budget"
	"assay/firmware/filesystem"
	"assay/firmware/internal/formattest"
	"assay/internal/peer"
)

func init() {
	archiveSamples["7z"] = formattest.Sample{Make: littleSevenZip, State: firmware.Proven, Role: firmware.RoleContainer, Fuzz: "FuzzSevenZip"}
}

func littleSevenZip(t testing.TB) []byte {
	return packedBy(t, littleTree(t), "7z", "p7zip-full", "a -bd -snl ARCHIVE.7z d etc/a etc/l")
}

func FuzzSevenZip(f *testing.F) {
	pack := func(args string) func(testing.TB) []byte {
		return func(t testing.TB) []byte {
			return packedBy(t, littleTree(t), "7z", "p7zip-full", "a -bd -snl "+args+" ARCHIVE.7z d etc")
		}
	}
	formattest.Fuzz(f, littleSevenZip, pack("-mhc=off"), pack("-mhc=off -ms=off -m0=Delta:4 -m1=LZMA"), pack("-mhc=off -mx=1 -m0=BCJ -m1=Deflate"), pack("-mhc=off -m0=Copy -psecret"),
		func(testing.TB) []byte { return handmadeSeven(anyFiles) })
}

func openSeven(data []byte, limits budget.Limits) (*filesystem.SevenZip, error) {
	return filesystem.NewSevenZip(context.Background(), bytes.NewReader(data), int64(len(data)), budget.New(limits))
}

func soundSeven(t testing.TB, data []byte) *filesystem.SevenZip {
	t.Helper()
	f, err := openSeven(data, budget.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Survey.Problems) > 0 || f.BadSums > 0 {
		t.Fatalf("%d bad sums, problems: %s", f.BadSums, strings.Join(f.Survey.Problems, "\n"))
	}
	return f
}

func TestSevenZipReadsWhat7zWrote(t *testing.T) {
	source := withoutPipes(t, sourceTree(t))
	if err := os.Remove(filepath.Join(source, "etc/long")); err != nil { // too long for it
		t.Fatal(err)
	}
	truth := survey(t, os.DirFS(source))
	for name, c := range map[string]struct{ args, methods string }{
		"as it is":            {"", "LZMA2"},
		"small solid blocks":  {"-ms=64k -mx=1", "LZMA2"},
		"BZip2":               {"-m0=BZip2 -mx=1", "BZip2"},
		"LZMA":                {"-m0=LZMA bin etc usr", "LZMA"},
		"LZMA, large lc":      {"-m0=LZMA:lc=8:lp=4:pb=0 -ms=off -mx=1 bin etc usr", "LZMA"},
		"LZMA2, not solid":    {"-m0=LZMA2 -ms=off -mx=1 bin etc usr", "LZMA2"},
		"Deflate":             {"-m0=Deflate -mx=1 bin etc usr", "Deflate"},
		"Deflate64":           {"-m0=Deflate64 -mx=1 bin etc usr", "Deflate64"},
		"Copy":                {"-m0=Copy bin etc usr", "Copy"},
		"Copy, not solid":     {"-m0=Copy -ms=off bin etc usr", "Copy"},
		"plain header":        {"-mhc=off -mx=1 bin etc usr", "LZMA2"},
		"BCJ":                 {"-m0=BCJ -m1=LZMA2 -mx=1 bin etc usr", "LZMA2 + BCJ x86"},
		"a filter of choice":  {"-mf=BCJ -mx=1 bin etc usr", "LZMA2 + BCJ x86"},
		"ARM":                 {"-m0=ARM -m1=LZMA -mx=1 bin etc usr", "LZMA + BCJ ARM"},
		"Thumb":               {"-m0=ARMT -m1=LZMA -mx=1 bin etc usr", "LZMA + BCJ Thumb"},
		"ARM64":               {"-m0=ARM64 -m1=LZMA -mx=1 bin etc usr", "LZMA + BCJ ARM64"},
		"PowerPC":             {"-m0=PPC -m1=LZMA -mx=1 bin etc usr", "LZMA + BCJ PowerPC"},
		"SPARC":               {"-m0=SPARC -m1=Deflate -mx=1 bin etc usr", "Deflate + BCJ SPARC"},
		"IA-64":               {"-m0=IA64 -m1=LZMA -mx=1 bin etc usr", "LZMA + BCJ IA-64"},
		"Delta":               {"-m0=Delta:3 -m1=LZMA -mx=1 bin etc usr", "LZMA + Delta"},
		"two filters, stored": {"-m0=Delta:2 -m1=BCJ -m2=Copy bin etc usr", "Copy + BCJ x86 + Delta"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args, _, part := strings.Cut(c.args, " bin etc")
			some := "."
			if part {
				some = "bin etc usr"
			}
			data := packedBy(t, source, "7z", "p7zip-full", "a -bd -snl "+args+" ARCHIVE.7z "+some)
			f := soundSeven(t, data)
			got := survey(t, f)
			want := make(map[string]facts)
			for name, w := range truth {
				if part && !slices.Contains(strings.Fields(some), strings.Split(name, "/")[0]) {
					continue
				}
				g := got[name]
				if w.Links > 1 {
					w.Links = 1
				}
				w.UID, w.GID = 0, 0 // which it does not keep
				if w.Target != "" {
					w.Time = g.Time // that of the target
				}
				want[name] = w
			}
			want["."] = got["."]
			compare(t, got, want)
			if f.Methods[c.methods] == 0 {
				t.Errorf("compression %v", f.Methods)
			}
			r := analyse(t, append(bytes.Clone(data), noise(3000)...)).Regions[0]
			if r.Format != "7z" || r.State != firmware.Proven || r.Size != int64(len(data)) || r.Role != firmware.RoleRootFS {
				t.Errorf("of %d bytes: %+v", len(data), r)
			}
			for _, file := range r.Files {
				if w := want[file.Path]; file.Problem != "" || w.Sum != file.SHA256 {
					t.Errorf("%s: %+v", file.Path, file)
				}
			}
			if len(r.Files)+1 < len(want) {
				t.Errorf("%d files", len(r.Files))
			}
		})
	}
}

func TestSevenZipReadsWhatBsdtarWrote(t *testing.T) {
	source := littleTree(t)
	want := survey(t, os.DirFS(source))
	for _, method := range []string{"store", "deflate", "bzip2", "lzma1", "lzma2"} {
		f := soundSeven(t, packedBy(t, source, "bsdtar", "libarchive-tools", "--format 7zip --options compression="+method+" -cf ARCHIVE ."))
		got := survey(t, f)
		for name, w := range want {
			if g := got[name]; g.Sum != w.Sum || g.Target != w.Target || g.Mode != w.Mode || w.Sum != "" && g.Time != w.Time {
				t.Errorf("%s: %s: %v and not %v", method, name, g, w)
			}
		}
	}
}

func TestASevenZipIsAGoodFS(t *testing.T) {
	f := soundSeven(t, packedBy(t, withoutPipes(t, tameTree(t)), "7z", "p7zip-full", "a -bd -snl -mx=1 ARCHIVE.7z ."))
	if err := fstest.TestFS(f, "bin/busybox", "etc/passwd", "bin/sh"); err != nil {
		t.Error(err)
	}
}

func TestWhatOfASevenZipIsNotReadIsListedAndSaid(t *testing.T) {
	source := littleTree(t)
	for want, args := range map[string]string{
		"encrypted, AES-256": "-psecret",
		"PPMd":               "-m0=PPMd",
		"BCJ2":               "-m0=BCJ2 -m1=LZMA -m2=LZMA -m3=LZMA -mb0:1 -mb0s1:2 -mb0s2:3",
	} {
		data := packedBy(t, source, "7z", "p7zip-full", "a -bd -snl "+args+" ARCHIVE.7z .")
		f := soundSeven(t, data)
		if f.Unread[want] != 4 {
			t.Errorf("%s: %v", want, f.Unread)
		}
		if st, err := f.Lstat("etc/a"); err != nil || st.Size() != 5000 {
			t.Errorf("%v, %v", st, err)
		}
		if _, err := f.ReadFile("etc/a"); err == nil || !strings.Contains(err.Error(), want+": not read") {
			t.Errorf("read: %v", err)
		}
		if r := analyse(t, data).Regions[0]; r.State != firmware.Parsed || r.Size != int64(len(data)) || !strings.Contains(r.Field("not read"), want) {
			t.Errorf("%+v", r)
		}
	}
	data := packedBy(t, source, "7z", "p7zip-full", "a -bd -psecret -mhe=on ARCHIVE.7z .")
	if r := analyse(t, data).Regions[0]; r.State != firmware.Parsed || r.Size != int64(len(data)) || r.Field("header form") != "encrypted, AES-256" || r.FS != nil || len(r.Problems) > 0 {
		t.Errorf("%+v", r)
	}
}

func TestTheFirstOfSeveralVolumesIsRecognised(t *testing.T) {
	source := littleTree(t)
	name := filepath.Join(t.TempDir(), "x.7z")
	cmd := exec.Command(peer.Need(t, "7z", "p7zip-full"), "a", "-bd", "-v16k", name, ".")
	cmd.Dir = source
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	r := analyse(t, contents(t, name+".001")).Regions[0]
	if r.Format != "7z" || r.State != firmware.Opaque || r.Size != 16<<10 || !strings.Contains(strings.Join(r.Problems, "\n"), "the first of several volumes") {
		t.Errorf("%+v", r)
	}
	whole := append(append([]byte(nil), contents(t, name+".001")...), append(contents(t, name+".002"), contents(t, name+".003")...)...)
	if r := analyse(t, whole).Regions[0]; r.State != firmware.Proven || r.Size != int64(len(whole)) {
		t.Errorf("%+v", r)
	}
}

// countedReader says how many packed bytes are read.
type countedReader struct {
	*bytes.Reader
	n int64
}

func (c *countedReader) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.Reader.ReadAt(p, off)
	c.n += int64(n)
	return n, err
}

func TestASolidFolderIsNotUnpackedOnceAFile(t *testing.T) {
	source := t.TempDir()
	const files, size = 100, 40_000
	for i := range files { // by their extensions, in whose order 7z packs them, they are backwards
		if err := os.WriteFile(filepath.Join(source, fmt.Sprintf("f%03d.%03d", i, files-i)), noise(size+i), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	data := packedBy(t, source, "7z", "p7zip-full", "a -bd -mx=1 -mqs=on -m0=LZMA:d=64k ARCHIVE.7z .")
	read := func(limits budget.Limits) (int64, int, *budget.Meter) {
		r := &countedReader{Reader: bytes.NewReader(data)}
		meter := budget.New(limits)
		f, err := filesystem.NewSevenZip(context.Background(), r, int64(len(data)), meter)
		if err != nil || !f.Solid || f.Folders != 1 {
			t.Fatalf("%+v, %v", f, err)
		}
		r.n = 0
		unread := 0
		for i := range files {
			got, err := f.ReadFile(fmt.Sprintf("f%03d.%03d", i, files-i))
			if err != nil {
				if !strings.Contains(err.Error(), "unpacked 8 times already") {
					t.Fatal(err)
				}
				unread++
			} else if !bytes.Equal(got, noise(size+i)) {
				t.Fatalf("%d: %d bytes", i, len(got))
			}
		}
		return r.n, unread, meter
	}
	n, unread, meter := read(budget.Limits{})
	if n > 3*int64(len(data)) || unread > 0 {
		t.Errorf("%d bytes of %d were read, %d files were not", n, len(data), unread)
	}
	if err := meter.Hold(budget.DefaultHeld - 1<<20); err != nil {
		t.Errorf("still held after all files were read: %v", err)
	}
	// One that is too large is unpacked for many files at once.
	n, unread, meter = read(budget.Limits{Held: 8 << 20})
	if n > 3*int64(len(data)) || unread > 0 {
		t.Errorf("%d bytes of %d were read, %d files were not", n, len(data), unread)
	}
	if err := meter.Hold(7 << 20); err != nil {
		t.Errorf("still held after all files were read: %v", err)
	}
	// Of one that is far too large, not all can be read.
	n, unread, _ = read(budget.Limits{Held: 450 << 10})
	if n > 10*int64(len(data)) || unread == 0 || unread == files {
		t.Errorf("%d bytes of %d were read, %d files were not", n, len(data), unread)
	}
}

func TestASolidFolderTooLargeToBeHeldCanBeReadAgain(t *testing.T) {
	source := t.TempDir()
	for i := range 25 {
		if err := os.WriteFile(filepath.Join(source, fmt.Sprintf("f%03d", i)), noise(60_000+i), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	data := packedBy(t, source, "7z", "p7zip-full", "a -bd -mx=1 ARCHIVE.7z .")
	r := &countedReader{Reader: bytes.NewReader(data)}
	f, err := filesystem.NewSevenZip(context.Background(), r, int64(len(data)), budget.New(budget.Limits{Held: 4 << 20}))
	if err != nil {
		t.Fatal(err)
	}
	r.n = 0
	for range 2 {
		for i := range 25 {
			if got, err := f.ReadFile(fmt.Sprintf("f%03d", i)); err != nil || !bytes.Equal(got, noise(60_000+i)) {
				t.Fatalf("%d: %v", i, err)
			}
		}
	}
	img, err := firmware.Open(context.Background(), bytes.NewReader(data), int64(len(data)), firmware.WithLimits(budget.Limits{Held: 4 << 20}))
	if err != nil || img.Regions[0].State != firmware.Proven || img.Regions[0].Field("too large to be held") == "" {
		t.Errorf("%+v, %v", img.Regions[0], err)
	}
	for _, file := range img.Regions[0].Files {
		if file.Problem != "" {
			t.Errorf("%s: %s", file.Path, file.Problem)
		}
	}
	if r.n > 4*int64(len(data)) { // two passes each time
		t.Errorf("%d bytes of %d were read", r.n, len(data))
	}
}

func TestTheCorpusSevenZipIsReadAs7zReadsIt(t *testing.T) {
	data := corpusFile(t, "format/binwalk/7z.bin")
	f := soundSeven(t, data)
	got, err := f.ReadFile("lsb-release")
	name := filepath.Join(t.TempDir(), "x.7z")
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if want := run(t, "7z", "p7zip-full", "x", "-so", name, "lsb-release"); err != nil || len(got) != 104 || !bytes.Equal(got, want) {
		t.Errorf("%q and not %q, %v", got, want, err)
	}
	if st, err := fs.Stat(f, "lsb-release"); err != nil || st.Mode() != 0o644 || st.ModTime().UTC().Year() != 2024 {
		t.Errorf("%v, %v", st, err)
	}
	if r := analyse(t, data).Regions[0]; r.State != firmware.Proven || r.Size != 0xda {
		t.Errorf("%+v", r)
	}
}
