package extract

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"assay/firmware"
	_ "assay/firmware/all"
)

// member is a file of a cpio archive, newc.
type member struct {
	name         string
	mode         uint32
	data         string
	inode        int
	major, minor uint32
}

func file(name, data string) member { return member{name: name, mode: 0o100644, data: data} }

func cpio(list ...member) []byte {
	var b bytes.Buffer
	for i, m := range append(list, member{name: "TRAILER!!!"}) {
		if m.inode == 0 {
			m.inode = 1000 + i
		}
		links := 1
		fmt.Fprintf(&b, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X", m.inode, m.mode, 7, 9, links, 1_600_000_000, len(m.data),
			0, 0, m.major, m.minor, len(m.name)+1, 0)
		b.WriteString(m.name + "\x00")
		for b.Len()%4 != 0 {
			b.WriteByte(0)
		}
		b.WriteString(m.data)
		for b.Len()%4 != 0 {
			b.WriteByte(0)
		}
	}
	return b.Bytes()
}

func zipped(data []byte) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write(data)
	z.Close()
	return b.Bytes()
}

// hostileNames are what no disk should be given as it is.
var hostileNames = []string{
	"CON", "con.txt", "nul", "Com1.log", "lpt\u00b3", "conin$", "a:b", "back\\slash", "trail.", "trail ", "what?", "new\nline", "\x1b[2J", "\u202egnp.exe", "bad\xff\xfename",
	"README", "readme", "Readme", "stra\u00dfe", "STRASSE", "caf\u00e9", "cafe\u0301", "CAFE\u0301", "x.contents", "app.tar.contents", "unpacked", "Unpacked.bin",
	"~deep", "cpio@0x0", "opaque@0x0.bin", "manifest.jsonl", "...", " ", "%41", "A", "a", strings.Repeat("n", 255), strings.Repeat("\u6f22", 85), strings.Repeat("N", 255) + "x", "\u212a", "k", "K",
}

func hostile() []byte {
	members := []member{
		file("etc/passwd", "root:x"), {name: "bin/su", mode: 0o104755, data: "su"}, {name: "empty", mode: 0o040700},
		{name: "dev/console", mode: 0o020600, major: 5, minor: 1}, {name: "dev/mtdblock0", mode: 0o060600, major: 31}, {name: "run/pipe", mode: 0o010600},
		{name: "lib/up", mode: 0o120777, data: "../../../../../../etc/shadow"}, {name: "lib/root", mode: 0o120777, data: "/etc"}, {name: "lib/odd", mode: 0o120777, data: "\xff"},
		file("home/app.tar", string(cpio(file("inner/a", "inner a"), member{name: "only", mode: 0o040755}))),
		file("home/app.gz", string(zipped(cpio(file("deeper/b", "deeper b"), file("c.bin", string(zipped(cpio(file("deepest", "deepest"))))))))),
		file("Dir/a", "1"), file("dir/a", "2"), file("DIR/A", "3"),
	}
	for i, n := range hostileNames {
		members = append(members, file("odd/"+n, fmt.Sprintf("content %d", i)))
		members = append(members, file(n, fmt.Sprintf("at the top %d", i)))
	}
	path := ""
	for i := range 40 {
		path += fmt.Sprintf("%02d-%s/", i, strings.Repeat("d", 60))
	}
	members = append(members, file(path+"bottom", "deep"), file(path+"BOTTOM", "deep too"))
	return cpio(members...)
}

func run(t *testing.T, image []byte, o Options) (string, *Summary, error) {
	t.Helper()
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	x, err := New(t.Context(), root, o)
	if err != nil {
		t.Fatal(err)
	}
	img, err := firmware.Open(t.Context(), bytes.NewReader(image), int64(len(image)), firmware.WithVisitor(x.Visit))
	if err != nil {
		t.Fatal(err)
	}
	s, err := x.Finish(img, err)
	return dir, s, err
}

func read(t *testing.T, dir string) (Header, []Entry) {
	t.Helper()
	f, err := os.Open(filepath.Join(dir, ManifestName))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	var h Header
	var list []Entry
	for first := true; lines.Scan(); first = false {
		var e Entry
		var v any = &e
		if first {
			v = &h
		}
		d := json.NewDecoder(bytes.NewReader(lines.Bytes()))
		d.DisallowUnknownFields()
		if err := d.Decode(v); err != nil {
			t.Fatalf("%s: %v", lines.Text(), err)
		}
		if !first {
			list = append(list, e)
		}
	}
	return h, list
}

// onDiskTree lists the files below a folder with their contents.
func onDiskTree(t *testing.T, dir string) map[string]string {
	t.Helper()
	tree := make(map[string]string)
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, name)
		rel = filepath.ToSlash(rel)
		st, err := d.Info()
		if err != nil {
			return err
		}
		switch {
		case d.IsDir():
			tree[rel+"/"] = ""
		case d.Type().IsRegular():
			b, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			tree[rel] = string(b)
		default:
			t.Errorf("%s is a %v", rel, st.Mode())
		}
		if m := st.Mode(); m&(fs.ModeSetuid|fs.ModeSetgid) != 0 || m.Perm()&0o077 != 0 && os.PathSeparator == '/' && rel != "." {
			t.Errorf("%s has the mode %v", rel, m)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func TestEveryFileIsWrittenUnderANameThatAllDisksTake(t *testing.T) {
	dir, s, err := run(t, hostile(), Options{})
	if err != nil || !s.Complete {
		t.Fatalf("%+v: %v", s, err)
	}
	tree := onDiskTree(t, dir)
	h, list := read(t, dir)
	if !h.Complete || h.Files != s.Files || h.Bytes != s.Bytes {
		t.Errorf("%+v, expected %+v", h, s)
	}
	written, keys := 0, make(map[string]string)
	for _, e := range list {
		if e.Problem != "" {
			t.Errorf("%s %q: %s", e.Where, e.Path, e.Problem)
		}
		if e.Type != "file" {
			continue
		}
		written++
		content, ok := tree[e.Disk]
		if sum := sha256.Sum256([]byte(content)); !ok || hex.EncodeToString(sum[:]) != e.SHA256 {
			t.Errorf("%q is not on disk as %q", e.Path, e.Disk)
		}
		if e.PathRaw != "" {
			if raw, err := base64.StdEncoding.DecodeString(e.PathRaw); err != nil || !strings.Contains(string(raw), "\xff\xfe") {
				t.Errorf("%q: %q %v", e.Path, raw, err)
			}
		}
	}
	if want := 14 - 7 + 3 + 3 + 2*len(hostileNames) + 2 - 3; written < want {
		t.Errorf("%d files, expected %d at least", written, want)
	}
	for name := range tree {
		name = strings.TrimSuffix(name, "/")
		if other, taken := keys[folded(name)]; taken {
			t.Errorf("%q and %q are one file on some disks", name, other)
		}
		keys[folded(name)] = name
		for part := range strings.SplitSeq(name, "/") {
			if part == "." {
				continue
			}
			if isDevice(part) || len(part) > 255 || strings.ContainsAny(part, "<>:\"\\|?*\x00\n\x1b") || strings.TrimRight(part, ". ") != part {
				t.Errorf("%q is on disk", name)
			}
		}
		if len(name) > 4*maxPath {
			t.Errorf("a path of %d bytes", len(name))
		}
	}
	for name, want := range map[string]string{
		"cpio@0x0/etc/passwd":                                               "root:x",
		"cpio@0x0/home/app.tar.contents/cpio@0x0/inner/a":                   "inner a",
		"cpio@0x0/home/app.gz.contents/gzip@0x0/unpacked/cpio@0x0/deeper/b": "deeper b",
		"cpio@0x0/home/app.gz.contents/gzip@0x0/unpacked/cpio@0x0/c.bin.contents/gzip@0x0/unpacked/cpio@0x0/deepest": "deepest",
		"cpio@0x0/empty/": "", "cpio@0x0/home/app.tar.contents/cpio@0x0/only/": "",
		"cpio@0x0/odd/_CON": "content 0", "cpio@0x0/odd/README": "content 15", "cpio@0x0/odd/a%3Ab": "content 6",
	} {
		if got, ok := tree[name]; !ok || got != want {
			t.Errorf("%s: %q %v", name, got, ok)
		}
	}
}

func TestLinksDevicesOwnersAndTimesAreDataInTheManifest(t *testing.T) {
	dir, _, err := run(t, hostile(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, list := read(t, dir)
	at := func(path string) Entry {
		i := slices.IndexFunc(list, func(e Entry) bool { return e.Where == "cpio@0x0" && e.Path == path })
		if i < 0 {
			t.Fatalf("%s is not listed", path)
		}
		return list[i]
	}
	if e := at("bin/su"); e.Mode != "4755" || e.UID == nil || *e.UID != 7 || *e.GID != 9 || e.Modified != "2020-09-13T12:26:40Z" {
		t.Errorf("%+v", e)
	}
	if e := at("lib/up"); e.Type != "link" || e.Target != "../../../../../../etc/shadow" || e.Disk != "" {
		t.Errorf("%+v", e)
	}
	if e := at("lib/odd"); e.RawLink != "/w==" {
		t.Errorf("%+v", e)
	}
	if e := at("dev/console"); e.Type != "device" || e.Device != "character 5:1" || e.Disk != "" {
		t.Errorf("%+v", e)
	}
	if e := at("dev/mtdblock0"); e.Device != "block 31:0" {
		t.Errorf("%+v", e)
	}
	if e := at("run/pipe"); e.Type != "pipe" {
		t.Errorf("%+v", e)
	}
}

func TestTheSameImageGivesTheSameFiles(t *testing.T) {
	one, _, _ := run(t, hostile(), Options{})
	two, _, _ := run(t, hostile(), Options{})
	a, b := onDiskTree(t, one), onDiskTree(t, two)
	if len(a) != len(b) {
		t.Fatalf("%d and %d files", len(a), len(b))
	}
	for name, content := range a {
		if other, ok := b[name]; !ok || other != content {
			t.Errorf("%q differs", name)
		}
	}
}

func TestRegionsThatAreNoFileSystemsAreWrittenByTheirLabels(t *testing.T) {
	noise := bytes.Repeat([]byte("nothing that is known. "), 100)
	image := append(append([]byte{}, noise...), bytes.Repeat([]byte{0xff}, 8192-len(noise))...)
	image = append(image, zipped([]byte("plain text, unpacked"))...)
	dir, s, err := run(t, image, Options{})
	if err != nil || !s.Complete {
		t.Fatalf("%+v: %v", s, err)
	}
	tree := onDiskTree(t, dir)
	if got := tree["opaque@0x0.bin"]; got != string(noise) {
		t.Errorf("%d bytes in %v", len(got), tree)
	}
	if got := tree["gzip@0x2000/unpacked.bin"]; got != "plain text, unpacked" {
		t.Errorf("%q", got)
	}
	for name := range tree {
		if strings.HasPrefix(name, "erased") {
			t.Errorf("%s was written", name)
		}
	}
}

func TestMoreThanMayBeWrittenIsLeftOutAndSaid(t *testing.T) {
	big := strings.Repeat("x", 100_000)
	dir, s, err := run(t, cpio(file("a", big), file("b", "small"), file("c", big+"y"), file("d", "small")), Options{Bytes: 150_000})
	if err == nil || s.Complete || !strings.Contains(s.Reason, "150000") || s.Bytes > 150_000 {
		t.Errorf("%+v: %v", s, err)
	}
	h, list := read(t, dir)
	missing := 0
	for _, e := range list {
		if e.Type == "file" && e.Disk == "" {
			missing++
			if e.Problem != "not written" {
				t.Errorf("%+v", e)
			}
		}
	}
	if h.Complete || missing != 1 {
		t.Errorf("%+v, %d are missing", h, missing)
	}
}

func TestAFolderThatHoldsSomethingIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "mine"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if _, err := New(t.Context(), root, Options{}); !errors.Is(err, ErrNotEmpty) {
		t.Error(err)
	}
}

func TestAnInterruptedExtractionSaysSo(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	x, err := New(ctx, root, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if h, _ := read(t, dir); h.Complete || h.Reason == "" {
		t.Errorf("before the first file: %+v", h)
	}
	var list []member
	for i := range 100 {
		list = append(list, file(fmt.Sprintf("f%02d", i), "content"))
	}
	image := cpio(list...)
	n := 0
	img, err := firmware.Open(ctx, bytes.NewReader(image), int64(len(image)), firmware.WithVisitor(func(v firmware.Visit) {
		x.mu.Lock()
		if n++; n == 10 {
			cancel()
		}
		x.mu.Unlock()
		x.Visit(v)
	}))
	s, err := x.Finish(img, err)
	if !errors.Is(err, context.Canceled) || s.Complete {
		t.Errorf("%+v: %v", s, err)
	}
	h, entries := read(t, dir)
	if h.Complete || !strings.Contains(h.Reason, "interrupted") || len(entries) < 100 {
		t.Errorf("%+v, %d entries", h, len(entries))
	}
}

func TestNoFormatHasANameThatADiskWouldNotTake(t *testing.T) {
	for _, f := range firmware.Formats() {
		if onDisk(f.Name) != f.Name || strings.ContainsAny(f.Name, "@~/ ") {
			t.Errorf("%q", f.Name)
		}
	}
}

func FuzzName(f *testing.F) {
	for _, n := range hostileNames {
		f.Add(n, n+"x")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		n := names{make(map[uint64]struct{})}
		seen := make(map[string]bool)
		for _, name := range []string{a, b, a} {
			got := n.take("dir", name)
			base := strings.TrimPrefix(got, "dir/")
			if strings.ContainsAny(base, "/\\:\x00") || base == "" || base == "." || base == ".." || len(base) > 255 || isDevice(base) {
				t.Errorf("%q became %q", name, got)
			}
			if !fs.ValidPath(got) || seen[folded(got)] {
				t.Errorf("%q became %q", name, got)
			}
			seen[folded(got)] = true
		}
	})
}
