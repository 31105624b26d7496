//go:build linux

package filesystem_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"assay/firmware/budget"
	"assay/firmware/filesystem"
	"assay/firmware/internal/formattest"
	"assay/internal/peer"
)

func openAr(data []byte, limits budget.Limits) (*filesystem.Ar, error) {
	return filesystem.NewAr(context.Background(), bytes.NewReader(data), int64(len(data)), budget.New(limits))
}

func TestArReadsWhatArWrote(t *testing.T) {
	dir := t.TempDir()
	long := "a name that is longer than the sixteen bytes of a header.o"
	files := map[string][]byte{"a.o": text(5001), "b": nil, long: text(3000), "sixteen-bytes--.": []byte("x")}
	args := []string{"rcU", filepath.Join(dir, "lib.a")}
	for name, data := range files {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, data, 0o640); err != nil {
			t.Fatal(err)
		}
		args = append(args, p)
	}
	run(t, "ar", "binutils", args...)
	data := contents(t, filepath.Join(dir, "lib.a"))
	f, err := openAr(data, budget.Limits{})
	if err != nil || len(f.Survey.Problems) > 0 || f.Variant != "GNU" || f.Size != int64(len(data)) {
		t.Fatalf("%+v, %v, %q", f, err, f.Survey.Problems)
	}
	for name, want := range files {
		got, err := f.ReadFile(name)
		st, _ := f.Stat(name)
		disk, _ := os.Stat(filepath.Join(dir, name))
		if err != nil || !bytes.Equal(got, want) || st.Mode() != disk.Mode() || st.ModTime().Unix() != disk.ModTime().Unix() {
			t.Errorf("%s: %d bytes, %v, %v", name, len(got), st, err)
		}
	}
}

func TestALibraryHasItsSymbolTableAsAFile(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.s"), []byte(".globl camera\ncamera:\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, "as", "binutils", "-o", filepath.Join(dir, "a.o"), filepath.Join(dir, "a.s"))
	run(t, "ar", "binutils", "rcs", filepath.Join(dir, "lib.a"), filepath.Join(dir, "a.o"))
	f, err := openAr(contents(t, filepath.Join(dir, "lib.a")), budget.Limits{})
	if err != nil || f.Kind != "library" {
		t.Fatalf("%+v, %v", f, err)
	}
	if p, err := f.ReadFile("symbol table"); err != nil || !bytes.Contains(p, []byte("camera\x00")) {
		t.Errorf("%q, %v", p, err)
	}
}

func TestADebianPackageIsAnArOfTars(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "p/DEBIAN"), 0o755); err != nil {
		t.Fatal(err)
	}
	control := "Package: camera\nVersion: 1\nArchitecture: all\nMaintainer: nobody <nobody@example.org>\nDescription: a sample\n"
	if err := os.WriteFile(filepath.Join(dir, "p/DEBIAN/control"), []byte(control), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "p/etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "p/etc/camera"), text(20_000), 0o644); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "p.deb")
	if out, err := exec.Command(peer.Need(t, "dpkg-deb", "dpkg"), "--root-owner-group", "-Znone", "-b", filepath.Join(dir, "p"), name).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	data := contents(t, name)
	r := analyse(t, data).Regions[0]
	if r.Format != "ar" || r.Field("kind") != "package (deb or ipk)" || len(r.Problems) > 0 || r.Size != int64(len(data)) {
		t.Fatalf("%+v", r)
	}
	f, err := openAr(data, budget.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	inner, err := f.ReadFile("data.tar")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := soundTar(t, inner).ReadFile("etc/camera"); err != nil || !bytes.Equal(got, text(20_000)) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func arMember(name, data string) string {
	s := fmt.Sprintf("%-16s%-12d%-6d%-6d%-8o%-10d`\n%s", name, 1_600_000_000, 7, 8, 0o100644, len(data), data)
	return s + strings.Repeat("\n", len(s)%2)
}

func bsdAr() []byte {
	return []byte("!<arch>\n" + arMember("a", "hello") + arMember("#1/24", "a much longer name.o\x00\x00\x00\x00data"))
}

func TestAnArIsReadOrSaysWhyNot(t *testing.T) {
	for name, c := range map[string]struct {
		members  string
		problem  string
		contents map[string]string
	}{
		"BSD's long names":         {string(bsdAr()[8:]), "", map[string]string{"a": "hello", "a much longer name.o": "data"}},
		"a name twice":             {arMember("a/", "x") + arMember("a/", "y"), "is there 2 times", map[string]string{"a": "x", "a (2)": "y"}},
		"a name that climbs":       {arMember("#1/8", "../../b\x00x") + arMember("a", "y"), "not possible", map[string]string{"a": "y"}},
		"a place past the names":   {arMember("//", "long/\n") + arMember("/77", "x"), "no place in the table", nil},
		"a name longer than it":    {arMember("#1/99", "x") + arMember("a", "y"), "is not there", map[string]string{"a": "y"}},
		"a member that is cut":     {arMember("a", "x") + arMember("b", strings.Repeat("y", 99))[:90], "cut short", map[string]string{"a": "x", "b": strings.Repeat("y", 30)}},
		"a size that is no number": {arMember("a", "x") + strings.Replace(arMember("b", "y"), "1         `", "x         `", 1), "invalid syntax", map[string]string{"a": "x"}},
		"what follows is no ar":    {arMember("a", "x") + strings.Repeat("other data ", 20), "", map[string]string{"a": "x"}},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := openAr([]byte("!<arch>\n"+c.members), budget.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			if all := strings.Join(f.Survey.Problems, "\n"); (all == "") != (c.problem == "") || !strings.Contains(all, c.problem) {
				t.Errorf("problems: %s", all)
			}
			for name, want := range c.contents {
				if got, err := f.ReadFile(name); err != nil || string(got) != want {
					t.Errorf("%s: %q, %v", name, got, err)
				}
			}
		})
	}
	if _, err := openAr([]byte("!<arch>\n"+strings.Repeat("no header ", 20)), budget.Limits{}); !errors.Is(err, filesystem.ErrNotAr) {
		t.Errorf("%v", err)
	}
	if _, err := openAr([]byte("!<arch>\n"+strings.Repeat(arMember("a", ""), 20)), budget.Limits{Entries: 5}); !errors.Is(err, budget.ErrExceeded) {
		t.Errorf("%v", err)
	}
}

func FuzzAr(f *testing.F) {
	f.Add(bsdAr())
	f.Add([]byte("!<arch>\n" + arMember("//", "a longer name than sixteen/\n") + arMember("/0", "x") + arMember("/", "")))
	f.Fuzz(func(t *testing.T, data []byte) {
		if a, err := filesystem.NewAr(context.Background(), bytes.NewReader(data), int64(len(data)), tight()); a != nil {
			if a.Size > int64(len(data)) || err == nil && a.Size < 68 {
				t.Fatalf("of %d bytes, %d are the archive's", len(data), a.Size)
			}
			walkAll(t, a)
		}
		formattest.Survives(t, "this", data)
	})
}
