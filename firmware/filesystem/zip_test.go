//go:build linux

package filesystem_test

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"maps"
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

// archiveSamples are the samples of archives.
var archiveSamples = map[string]formattest.Sample{
	"ar":     {Make: func(testing.TB) []byte { return bsdAr() }, State: firmware.Parsed, Role: firmware.RoleContainer, Fuzz: "FuzzAr"},
	"tar":    {Make: func(testing.TB) []byte { return handmadeTar() }, State: firmware.Proven, Role: firmware.RoleContainer, Fuzz: "FuzzTar"},
	"yaffs2": {Make: func(testing.TB) []byte { return handmadeYAFFS(yaffsShapes["512+16"]).image }, State: firmware.Parsed, Role: firmware.RoleData, Fuzz: "FuzzYAFFS2", Midst: true},
	"zip":    {Make: func(testing.TB) []byte { return handmadeZip().bytes() }, State: firmware.Proven, Role: firmware.RoleContainer, Fuzz: "FuzzZip"},
}

func openZip(data []byte, limits budget.Limits) (*filesystem.Zip, error) {
	return filesystem.NewZip(context.Background(), bytes.NewReader(data), int64(len(data)), budget.New(limits))
}

func soundZip(t testing.TB, data []byte) *filesystem.Zip {
	t.Helper()
	f, err := openZip(data, budget.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Survey.Problems) > 0 || f.BadSums > 0 {
		t.Fatalf("%d bad sums, problems: %s", f.BadSums, strings.Join(f.Survey.Problems, "\n"))
	}
	return f
}

// packedBy runs an archiver in a directory and returns what it wrote.
func packedBy(t testing.TB, source, program, debianPackage string, args ...string) []byte {
	t.Helper()
	name := filepath.Join(t.TempDir(), "archive")
	cmd := exec.Command(peer.Need(t, program, debianPackage), append(strings.Fields(strings.ReplaceAll(args[0], "ARCHIVE", name)), args[1:]...)...)
	cmd.Dir = source
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", program, err, out)
	}
	for _, suffix := range []string{"", ".zip", ".7z"} {
		if data, err := os.ReadFile(name + suffix); err == nil {
			return data
		}
	}
	t.Fatalf("%s wrote nothing", program)
	return nil
}

// withoutPipes takes away what zip and 7z would wait for.
func withoutPipes(t testing.TB, source string) string {
	for _, name := range []string{"tmp/socket", "tmp/fifo"} {
		if err := os.Remove(filepath.Join(source, name)); err != nil {
			t.Fatal(err)
		}
	}
	return source
}

// asZip is what of a tree Info-ZIP keeps: each hard link for itself.
func asZip(want, got map[string]facts) map[string]facts {
	for name, f := range want {
		if f.Links > 1 {
			f.Links = 1
		}
		want[name] = f
	}
	want["."] = got["."]
	return want
}

func TestZipReadsWhatZipWrote(t *testing.T) {
	source := withoutPipes(t, sourceTree(t))
	for name, args := range map[string]string{
		"deflate": "-qry ARCHIVE .", "stored": "-0 -qry ARCHIVE .", "bzip2": "-Z bzip2 -qry ARCHIVE etc bin usr",
		"zip64": "-fz -qry ARCHIVE .",
	} {
		t.Run(name, func(t *testing.T) {
			data := packedBy(t, source, "zip", "zip", args)
			f := soundZip(t, data)
			got := survey(t, f)
			want := asZip(survey(t, os.DirFS(source)), got)
			if name == "bzip2" { // of what packs too well for the budget's ratio, nothing
				maps.DeleteFunc(want, func(name string, _ facts) bool {
					return name != "." && !slices.Contains([]string{"etc", "bin", "usr"}, strings.Split(name, "/")[0])
				})
			}
			for name, w := range want { // times of links are not those of their targets
				if g := got[name]; w.Target != "" {
					w.Time = g.Time
					want[name] = w
				}
			}
			compare(t, got, want)
			r := analyse(t, append(bytes.Clone(data), noise(3000)...)).Regions[0]
			if r.Format != "zip" || r.State != firmware.Proven || r.Size != int64(len(data)) || r.Role != firmware.RoleRootFS {
				t.Errorf("of %d bytes: %+v", len(data), r)
			}
		})
	}
}

func TestZipReadsWhat7zAndBsdtarWrote(t *testing.T) {
	source := littleTree(t)
	if err := os.WriteFile(filepath.Join(source, "etc/zeros"), make([]byte, 300_000), 0o600); err != nil {
		t.Fatal(err)
	}
	want := survey(t, os.DirFS(source))
	pack := func(method string) func() []byte {
		return func() []byte {
			return packedBy(t, source, "7z", "p7zip-full", "a -tzip -bd -snl -mm="+method+" ARCHIVE.zip .")
		}
	}
	for name, made := range map[string]func() []byte{
		"Copy": pack("Copy"), "Deflate": pack("Deflate"), "Deflate64": pack("Deflate64"), "BZip2": pack("BZip2"), "LZMA": pack("LZMA"), "xz": pack("xz"),
		"bsdtar": func() []byte { return packedBy(t, source, "bsdtar", "libarchive-tools", "--format zip -cf ARCHIVE .") },
		"bsdtar stored": func() []byte {
			return packedBy(t, source, "bsdtar", "libarchive-tools", "--format zip --options compression=store -cf ARCHIVE .")
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := soundZip(t, made())
			got := survey(t, f)
			for name, w := range want {
				if w.Mode.IsDir() {
					continue
				}
				if g := got[name]; g.Sum != w.Sum || g.Target != w.Target || g.Mode != w.Mode || w.Sum != "" && g.Time != w.Time {
					t.Errorf("%s: %v and not %v", name, g, w)
				}
			}
		})
	}
}

func TestZipReadsWhatGoWrote(t *testing.T) {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for i := range 300 {
		w, err := z.Create(fmt.Sprintf("d%d/f%d", i%7, i))
		if err != nil {
			t.Fatal(err)
		}
		w.Write(text(i * 100))
	}
	z.SetComment("a comment")
	z.Close()
	f := soundZip(t, b.Bytes())
	for i := range 300 {
		if got, err := f.ReadFile(fmt.Sprintf("d%d/f%d", i%7, i)); err != nil || !bytes.Equal(got, text(i*100)) {
			t.Fatalf("%d: %v", i, err)
		}
	}
	if f.Comment != "a comment" || f.Size != int64(b.Len()) || f.Entries != 300 {
		t.Errorf("%+v", f)
	}
	// Cut before the directory, the sizes are only known from unpacking.
	cut := b.Bytes()[:bytes.Index(b.Bytes(), []byte("PK\x01\x02"))]
	f, err := openZip(cut, budget.Limits{})
	if err != nil || f.Entries != 300 || f.Directory || f.Size != int64(len(cut)) || f.BadSums > 0 {
		t.Fatalf("%+v, %v", f, err)
	}
	if got, err := f.ReadFile("d5/f299"); err != nil || !bytes.Equal(got, text(29900)) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func TestAZipIsAGoodFS(t *testing.T) {
	f := soundZip(t, packedBy(t, withoutPipes(t, tameTree(t)), "zip", "zip", "-qry ARCHIVE ."))
	if err := fstest.TestFS(f, "bin/busybox", "etc/passwd", "bin/sh"); err != nil {
		t.Error(err)
	}
}

func TestEncryptedMembersOfAZipAreListedAndSaidNotToBeRead(t *testing.T) {
	source := littleTree(t)
	for want, data := range map[string][]byte{
		"encrypted, ZipCrypto": packedBy(t, source, "zip", "zip", "-qry -P secret ARCHIVE etc"),
		"encrypted, AES-256":   packedBy(t, source, "7z", "p7zip-full", "a -tzip -bd -psecret -mem=AES256 ARCHIVE.zip etc"),
		"encrypted, AES-128":   packedBy(t, source, "7z", "p7zip-full", "a -tzip -bd -psecret -mem=AES128 ARCHIVE.zip etc"),
	} {
		f := soundZip(t, data)
		if f.Unread[want] < 2 {
			t.Errorf("%s: %v", want, f.Unread)
		}
		if st, err := f.Lstat("etc/a"); err != nil || st.Size() != 5000 {
			t.Errorf("%v, %v", st, err)
		}
		if _, err := f.ReadFile("etc/a"); err == nil || !strings.Contains(err.Error(), want+": not read") {
			t.Errorf("read: %v", err)
		}
		if r := analyse(t, data).Regions[0]; r.State != firmware.Parsed || !strings.Contains(r.Field("not read"), want) {
			t.Errorf("%+v", r)
		}
	}
}

func TestAZipBehindAProgramIsReadWithEitherBaseOfOffsets(t *testing.T) {
	source := littleTree(t)
	dir := t.TempDir()
	program := noise(5000)
	plain := packedBy(t, source, "zip", "zip", "-qr ARCHIVE etc c")
	name := filepath.Join(dir, "x")
	if err := os.WriteFile(name, append(bytes.Clone(program), plain...), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, "zip", "zip", "-qA", name)
	for base, data := range map[string][]byte{"": append(bytes.Clone(program), plain...), "-5000": contents(t, name)} {
		r := analyse(t, data).Regions
		if len(r) != 2 || r[1].Format != "zip" || r[1].State != firmware.Proven || r[1].Offset != 5000 || r[1].Field("offsets count from") != base {
			t.Errorf("%q: %+v", base, r[len(r)-1])
		}
	}
}

func TestTheCorpusZipsAreReadAsUnzipReadsThem(t *testing.T) {
	dahua := corpusFile(t, "format/dahua/dh.bin")
	f := soundZip(t, dahua)
	if !strings.HasPrefix(f.Variant, "Dahua") || f.Size != int64(len(dahua)) {
		t.Errorf("%q, %d of %d bytes", f.Variant, f.Size, len(dahua))
	}
	name := filepath.Join(t.TempDir(), "dh.zip")
	if err := os.WriteFile(name, append([]byte("PK"), dahua[2:]...), 0o600); err != nil {
		t.Fatal(err)
	}
	files := 0
	for member, got := range survey(t, f) {
		if got.Sum == "" {
			continue
		}
		files++
		data, err := f.ReadFile(member)
		if want := run(t, "unzip", "unzip", "-p", name, member); err != nil || !bytes.Equal(data, want) {
			t.Errorf("%s: %q and not %q, %v", member, data, want, err)
		}
	}
	if files != 3 {
		t.Errorf("%d files", files)
	}

	data := corpusFile(t, "format/binwalk/zip_truncated.bin")
	f, err := openZip(data, budget.Limits{})
	if err != nil || f.Directory || f.Size != int64(len(data)) || f.Entries != 4 || f.Summed != 2 || f.BadSums != 0 {
		t.Errorf("%+v, %v", f, err)
	}
	if all := strings.Join(f.Survey.Problems, "\n"); !strings.Contains(all, "breaks off at 0x567ce, after 3 members") {
		t.Errorf("problems: %s", all)
	}
}

// zipFile is an archive written by hand, right or wrong.
type zipFile struct {
	members []zipPart
	variant int // 0 usual, 1 Dahua's, 2 HiChip's
	junk    map[int]string
	hidden  map[int]bool // members that the directory leaves out
	central func(i int, h []byte)
	local   func(i int, h []byte)
	end     func(e []byte)
	comment string
	offsets map[int]int // of the local header, in place of its own
}

type zipPart struct {
	name, data string
	mode       uint32
}

func handmadeZip() *zipFile {
	return &zipFile{members: []zipPart{{"d/", "", dir}, {"d/a", "hello", file}, {"b", strings.Repeat("camera ", 30), file}, {"l", "d/a", link}}, comment: "by hand"}
}

func (z *zipFile) bytes() []byte {
	le := binary.LittleEndian
	magic := [][3]string{{"PK\x03\x04", "PK\x01\x02", "PK\x05\x06"}, {"PK\x03\x04", "PK\x01\x02", "PK\x05\x06"}, {"PK\x03\x07", "PK\x01\x08", "PK\x05\x09"}}[z.variant]
	var b, dir []byte
	count := 0
	for i, m := range z.members {
		b = append(b, z.junk[i]...)
		at := len(b)
		if off, ok := z.offsets[i]; ok {
			at = off
		}
		common := le.AppendUint16(le.AppendUint16(le.AppendUint16(nil, 20), 0), 0)
		common = le.AppendUint16(le.AppendUint16(common, 0x6000), 0x5a21)
		common = le.AppendUint32(common, crc32.ChecksumIEEE([]byte(m.data)))
		common = le.AppendUint32(le.AppendUint32(common, uint32(len(m.data))), uint32(len(m.data)))
		common = le.AppendUint16(le.AppendUint16(common, uint16(len(m.name))), 0)
		local := append(append([]byte(magic[0]), common...), m.name...)
		if z.local != nil {
			z.local(i, local)
		}
		b = append(append(b, local...), m.data...)
		if z.hidden[i] {
			continue
		}
		count++
		c := append(append([]byte(magic[1]), 20, 3), common...)
		c = append(c, make([]byte, 6)...)
		c = le.AppendUint32(le.AppendUint32(c, m.mode<<16), uint32(at))
		c = append(c, m.name...)
		if z.central != nil {
			z.central(i, c)
		}
		dir = append(dir, c...)
	}
	if z.variant == 1 {
		copy(b, "DH")
	}
	b = append(b, z.junk[len(z.members)]...)
	e := append([]byte(magic[2]), 0, 0, 0, 0)
	e = le.AppendUint16(le.AppendUint16(e, uint16(count)), uint16(count))
	e = le.AppendUint32(le.AppendUint32(e, uint32(len(dir))), uint32(len(b)))
	e = append(le.AppendUint16(e, uint16(len(z.comment))), z.comment...)
	if z.end != nil {
		z.end(e)
	}
	return append(append(b, dir...), e...)
}

func TestZipMembersOfZstandardAreRead(t *testing.T) {
	data := text(50_000)
	cmd := exec.Command(peer.Need(t, "zstd", "zstd"), "-q", "-c")
	cmd.Stdin = bytes.NewReader(data)
	packed, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	z := &zipFile{members: []zipPart{{"a", string(packed), file}}}
	le := binary.LittleEndian
	edit := func(method, sums int) func(int, []byte) {
		return func(_ int, h []byte) {
			le.PutUint16(h[method:], 93)
			le.PutUint32(h[sums:], crc32.ChecksumIEEE(data))
			le.PutUint32(h[sums+8:], uint32(len(data)))
		}
	}
	z.local, z.central = edit(8, 14), edit(10, 16)
	f := soundZip(t, z.bytes())
	if got, err := f.ReadFile("a"); err != nil || !bytes.Equal(got, data) || f.Methods["zstd"] != 1 || f.Summed != 1 {
		t.Errorf("%d bytes, %v, %v", len(got), err, f.Methods)
	}
}

func TestTheCorpusFileWithAZipInItsMidstIsCarved(t *testing.T) {
	image := analyse(t, corpusFile(t, "format/generic_carver/carving_test_file"))
	r := formattest.First(image, "zip")
	if r == nil || r.Offset != 0x80 || r.Size != 0xac || r.State != firmware.Proven {
		t.Fatalf("%v", formattest.Outline(image))
	}
	if data, err := fs.ReadFile(r.FS, "foo"); err != nil || len(data) != 16 {
		t.Errorf("%q, %v", data, err)
	}
}

func TestPoisonedZipsAreReadAndNamed(t *testing.T) {
	for i, want := range []string{"PKZIP", "Dahua: DH for the first PK", "HiChip and Instar HD: other numbers behind PK"} {
		z := handmadeZip()
		z.variant = i
		data := z.bytes()
		f := soundZip(t, data)
		if got, err := f.ReadFile("d/a"); err != nil || string(got) != "hello" || f.Variant != want {
			t.Errorf("%q: %q, %v", f.Variant, got, err)
		}
		if r := analyse(t, data); len(r.Regions) != 1 || r.Regions[0].State != firmware.Proven || r.Regions[0].Field("variant") != want {
			t.Errorf("%s: %v", want, formattest.Outline(r))
		}
	}
	z := handmadeZip()
	z.members = append(z.members, zipPart{"InstallDesc", "{}", file})
	if r := analyse(t, z.bytes()).Regions[0]; !strings.Contains(r.Field("variant"), "Xiongmai") {
		t.Errorf("%+v", r.Fields)
	}
}

func TestAZipThatSaysTwoThingsOrHidesOneIsNamedForIt(t *testing.T) {
	le := binary.LittleEndian
	for name, c := range map[string]struct {
		change   func(z *zipFile)
		problem  string
		contents map[string]string // "-" for what cannot be read
	}{
		"nothing":                    {func(*zipFile) {}, "", map[string]string{"d/a": "hello", "l": "hello"}},
		"another name in the header": {func(z *zipFile) { z.local = at(2, 30, 'x') }, `disagree on the name: "b" and "x"`, map[string]string{"b": z30()}},
		"another CRC-32":             {func(z *zipFile) { z.local = at(2, 14, 1) }, "disagree on the CRC-32", map[string]string{"b": z30()}},
		"another size":               {func(z *zipFile) { z.local = at(2, 22, 9) }, "disagree on the size: 210 and 9", map[string]string{"b": z30()}},
		"another compression":        {func(z *zipFile) { z.local = at(2, 8, 8) }, "disagree on the compression: stored and deflate", map[string]string{"b": z30()}},
		"encryption in one of them":  {func(z *zipFile) { z.local = at(2, 6, 1) }, "disagree on the flags", map[string]string{"b": z30()}},
		"a CRC-32 that does not hold": {func(z *zipFile) { z.local, z.central = at(2, 14, 1), at(2, 16, 1) },
			"the archive says", map[string]string{"b": z30()}},
		"a member that the directory leaves out":   {func(z *zipFile) { z.hidden = map[int]bool{2: true} }, "is not in the central directory", map[string]string{"b": z30()}},
		"the first member left out":                {func(z *zipFile) { z.hidden = map[int]bool{0: true} }, "is not in the central directory", map[string]string{"b": z30()}},
		"a hidden member with the name of another": {func(z *zipFile) { z.members[2].name = "d/a"; z.hidden = map[int]bool{2: true} }, "has another of this name", map[string]string{"d/a": "hello"}},
		"bytes between members":                    {func(z *zipFile) { z.junk = map[int]string{2: "hidden bytes"} }, "", map[string]string{"b": z30()}},
		"bytes before the directory":               {func(z *zipFile) { z.junk = map[int]string{4: "hidden bytes"} }, "", map[string]string{"b": z30()}},
		"two members at one place":                 {func(z *zipFile) { z.offsets = map[int]int{2: 32} }, "is not read", map[string]string{"d/a": "hello", "b": "-"}},
		"a path that climbs":                       {func(z *zipFile) { z.members[2].name = "../b" }, "not possible", map[string]string{"d/a": "hello"}},
		"a path from the root":                     {func(z *zipFile) { z.members[2].name = "/b" }, "absolute", map[string]string{"b": z30()}},
		"a backslash":                              {func(z *zipFile) { z.members[2].name = `d\b` }, "backslashes", map[string]string{`d\b`: z30()}},
		"a name twice":                             {func(z *zipFile) { z.members[2].name = "d/a" }, "is there twice", map[string]string{"d/a": z30()}},
		"names that differ in case":                {func(z *zipFile) { z.members[2].name = "d/A" }, "only in case", map[string]string{"d/A": z30()}},
		"a size that no file has": {func(z *zipFile) {
			z.central = func(i int, h []byte) {
				if i == 2 {
					le.PutUint32(h[20:], 1<<30)
				}
			}
		}, "reach into the central directory", map[string]string{"b": "-"}},
		"an offset to no header":           {func(z *zipFile) { z.offsets = map[int]int{2: 40} }, "no local header", map[string]string{"b": "-"}},
		"an end record that counts wrong":  {func(z *zipFile) { z.end = func(e []byte) { e[10], e[8] = 3, 3 } }, "its end record says 3", map[string]string{"b": z30()}},
		"an end record with another place": {func(z *zipFile) { z.end = func(e []byte) { e[16] ^= 3 } }, "not where its end record says", map[string]string{"b": z30()}},
		"a comment that is cut":            {func(z *zipFile) { z.end = func(e []byte) { e[20] = 99 } }, "comment is cut short", map[string]string{"b": z30()}},
		"a compression that is not read":   {func(z *zipFile) { z.local, z.central = at(2, 8, 98), at(2, 10, 98) }, "", map[string]string{"b": "-"}},
	} {
		t.Run(name, func(t *testing.T) {
			z := handmadeZip()
			c.change(z)
			data := z.bytes()
			f, err := openZip(data, budget.Limits{})
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
						t.Errorf("%s is read", name)
					}
				} else if err != nil || string(got) != want {
					t.Errorf("%s: %.20q, %v", name, got, err)
				}
			}
			r := analyse(t, data).Regions[0]
			if proven := r.State == firmware.Proven; r.Format != "zip" || r.Size != int64(len(data)) || proven != (name == "nothing") {
				t.Errorf("%+v", r)
			}
			formattest.Survives(t, name, data)
		})
	}
}

func z30() string { return strings.Repeat("camera ", 30) }

// at sets one byte of one header.
func at(member, off int, value byte) func(int, []byte) {
	return func(i int, h []byte) {
		if i == member {
			h[off] = value
		}
	}
}

func TestAZipBombOfOverlappingMembersIsNotUnpacked(t *testing.T) {
	z := &zipFile{offsets: map[int]int{}}
	for i := range 2000 {
		z.members = append(z.members, zipPart{fmt.Sprintf("f%04d", i), "", file})
		z.offsets[i] = 0
	}
	z.members[0].data = strings.Repeat("\x00", 100_000)
	z.central = func(i int, h []byte) {
		if i > 0 {
			copy(h[16:28], binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, crc32.ChecksumIEEE(make([]byte, 100_000))), 100_000), 100_000))
		}
	}
	meter := budget.New(budget.Limits{})
	data := z.bytes()
	f, err := filesystem.NewZip(context.Background(), bytes.NewReader(data), int64(len(data)), meter)
	if err != nil || f.Summed != 2000-1999 || f.Unread["damaged"] != 1999 {
		t.Fatalf("%d summed, %v, %v", f.Summed, f.Unread, err)
	}
	if _, err := f.ReadFile("f0007"); err == nil || !strings.Contains(err.Error(), "inside of") {
		t.Errorf("%v", err)
	}
}

func TestAZipThatUnpacksToMoreThanTheBudgetSaysSo(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "zeros"), make([]byte, 30<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	data := packedBy(t, dir, "zip", "zip", "-q9 ARCHIVE zeros")
	if _, err := openZip(data, budget.Limits{Bytes: 4 << 20}); !errors.Is(err, budget.ErrExceeded) {
		t.Errorf("%v", err)
	}
	f := soundZip(t, data)
	if n, err := io.Copy(io.Discard, must(f.Open("zeros"))); n != 30<<20 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	many := handmadeZip().bytes()
	if _, err := openZip(many, budget.Limits{Entries: 3}); !errors.Is(err, budget.ErrExceeded) {
		t.Errorf("%v", err)
	}
}

func must(f fs.File, err error) fs.File {
	if err != nil {
		panic(err)
	}
	return f
}

func TestAPackedFileIsReadInAnyOrder(t *testing.T) {
	dir := t.TempDir()
	want := text(700_000)
	if err := os.WriteFile(filepath.Join(dir, "f"), want, 0o600); err != nil {
		t.Fatal(err)
	}
	data := packedBy(t, dir, "zip", "zip", "-q ARCHIVE f")
	for _, held := range []int64{0, 200_000} { // the latter is too little for the file
		f, err := openZip(data, budget.Limits{Held: held})
		if err != nil {
			t.Fatal(err)
		}
		r := must(f.Open("f")).(interface {
			io.ReaderAt
			io.Closer
		})
		for _, off := range []int64{600_000, 5, 300_000, 299_000, 699_990, 0} {
			p := make([]byte, 10)
			if n, err := r.ReadAt(p, off); n != 10 || !bytes.Equal(p, want[off:off+10]) || err != nil && err != io.EOF {
				t.Errorf("at %d: %q, %v", off, p, err)
			}
		}
		r.Close()
	}
}

func attackZip(t testing.TB, data []byte) {
	t.Helper()
	f, err := filesystem.NewZip(context.Background(), bytes.NewReader(data), int64(len(data)), tight())
	if f == nil {
		if err == nil {
			t.Fatal("neither an archive nor an error")
		}
		return
	}
	if f.Size > int64(len(data)) || err == nil && f.Size <= 0 {
		t.Fatalf("of %d bytes, %d are the archive's", len(data), f.Size)
	}
	walkAll(t, f)
}

func TestAZipCutOrFlippedAnywhereIsNoPanic(t *testing.T) {
	image := handmadeZip().bytes()
	for n := range image {
		attackZip(t, image[:n])
	}
	for bit := range len(image) * 8 {
		flipped := bytes.Clone(image)
		flipped[bit/8] ^= 1 << (bit % 8)
		attackZip(t, flipped)
	}
}

func FuzzZip(f *testing.F) {
	f.Add(handmadeZip().bytes())
	for v := 1; v < 3; v++ {
		z := handmadeZip()
		z.variant = v
		f.Add(z.bytes())
	}
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	w, _ := z.Create("a")
	w.Write([]byte("streamed, streamed, streamed"))
	z.Close()
	f.Add(b.Bytes())
	f.Add(b.Bytes()[:60])
	f.Fuzz(func(t *testing.T, data []byte) {
		attackZip(t, data)
		formattest.Survives(t, "this", data)
	})
}
