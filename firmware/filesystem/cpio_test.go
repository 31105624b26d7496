//go:build linux

package filesystem_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"

	"assay/firmware"
	"assay/firmware/budget"
	"assay/firmware/filesystem"
	"assay/internal/peer"
)

func openCpio(data []byte, limits budget.Limits) (*filesystem.Cpio, error) {
	return filesystem.NewCpio(context.Background(), bytes.NewReader(data), int64(len(data)), budget.New(limits))
}

// cpio packs a directory with the real program.
func cpio(t testing.TB, source, variant string) []byte {
	t.Helper()
	var names bytes.Buffer
	if err := filepath.WalkDir(source, func(p string, _ fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(source, p)
		names.WriteString(rel + "\x00")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(peer.Need(t, "cpio", "cpio"), "-o", "-0", "--quiet", "-H", variant)
	cmd.Dir, cmd.Stdin = source, &names
	var problems strings.Builder
	cmd.Stderr = &problems
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("cpio: %v: %s", err, problems.String())
	}
	return out
}

func TestCpioReadsWhatCpioWrote(t *testing.T) {
	source := sourceTree(t)
	if os.Getuid() == 0 {
		// The older variants have no room for large owners.
		for _, name := range []string{"etc/passwd", "bin/sh"} {
			if err := os.Lchown(filepath.Join(source, name), 1001, 12); err != nil {
				t.Fatal(err)
			}
		}
		if err := syscall.Mknod(filepath.Join(source, "tmp/console"), syscall.S_IFCHR|0o600, 5<<8|1); err != nil {
			t.Logf("no device node in this test: %v", err)
		}
	}
	want := survey(t, os.DirFS(source))
	if f, ok := want["tmp/console"]; ok {
		f.Major, f.Minor = 5, 1
		want["tmp/console"] = f
	}
	for _, variant := range []string{"newc", "crc", "odc", "bin"} {
		t.Run(variant, func(t *testing.T) {
			data := cpio(t, source, variant)
			c, err := openCpio(data, budget.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			if len(c.Survey.Problems) > 0 {
				t.Errorf("problems: %q", c.Survey.Problems)
			}
			compare(t, survey(t, c), want)
			if variant == "crc" && (c.Summed < 50 || c.BadSums > 0) {
				t.Errorf("%d of %d sums are bad", c.BadSums, c.Summed)
			}
			image := analyse(t, append(bytes.Clone(data), bytes.Repeat([]byte{0x5a}, 3000)...))
			r := image.Regions[0]
			if r.Format != "cpio" || r.State != firmware.Proven || r.Size != int64(len(data)) || r.Role != firmware.RoleRAMDisk {
				t.Errorf("of %d bytes: %+v", len(data), r)
			}
		})
	}
}

func TestCpioIsAGoodFS(t *testing.T) {
	c, err := openCpio(cpio(t, tameTree(t), "newc"), budget.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if err := fstest.TestFS(c, "bin/busybox", "etc/passwd", "bin/sh", "tmp/fifo"); err != nil {
		t.Error(err)
	}
}

func TestTheCorpusCpioIsReadAsCpioReadsIt(t *testing.T) {
	data := corpusFile(t, "format/patool/test.cpio")
	c, err := openCpio(data, budget.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(peer.Need(t, "cpio", "cpio"), "-it", "--quiet")
	cmd.Stdin = bytes.NewReader(data)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range strings.Fields(strings.ReplaceAll(string(out), " ", "?")) {
		if _, err := c.Lstat(strings.Trim(strings.ReplaceAll(name, "?", " "), "/")); err != nil {
			t.Error(err)
		}
	}
}

// newc writes one entry by hand.
func newc(name string, mode, links uint32, data string) string {
	return crc(name, mode, links, data, "070701", 0)
}

func crc(name string, mode, links uint32, data, magic string, sum uint32) string {
	pad := func(s string) string { return s + strings.Repeat("\x00", -len(s)&3) }
	h := fmt.Sprintf("%s%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X", magic, 7, mode, 0, 0, links, 0, len(data), 0, 0, 5, 1, len(name)+1, sum)
	return pad(h+name+"\x00") + pad(data)
}

const (
	file = 0o100644
	dir  = 0o040755
	link = 0o120777
)

var trailer = newc("TRAILER!!!", 0, 1, "")

func TestACpioIsReadAsTheKernelWouldUnpackItOrSaysWhyNot(t *testing.T) {
	for name, c := range map[string]struct {
		archive  string
		problem  string
		err      string
		contents map[string]string // "-" for what must not be there
	}{
		"directories that are not listed":  {archive: newc("a/b/c", file, 1, "x") + trailer, contents: map[string]string{"a/b/c": "x"}},
		"paths with a slash or dot before": {archive: newc("/a", file, 1, "x") + newc("./b", file, 1, "y") + trailer, contents: map[string]string{"a": "x", "b": "y"}},
		"a path that climbs":               {archive: newc("../a", file, 1, "x") + newc("b", file, 1, "y") + trailer, problem: "not possible", contents: map[string]string{"a": "-", "b": "y"}},
		"a file twice":                     {archive: newc("a", file, 1, "x") + newc("a", file, 1, "y") + trailer, problem: "is there twice", contents: map[string]string{"a": "y"}},
		"a file under a link":              {archive: newc("a", link, 1, "/etc") + newc("a/b", file, 1, "y") + trailer, problem: "is no directory", contents: map[string]string{"etc/b": "-"}},
		"hard links with the data last":    {archive: newc("a", file, 2, "") + newc("b", file, 2, "data") + trailer, contents: map[string]string{"a": "data", "b": "data"}},
		"hard links with the data first":   {archive: newc("a", file, 2, "data") + newc("b", file, 2, "") + trailer, contents: map[string]string{"a": "data", "b": "data"}},
		"hard links that disagree":         {archive: newc("a", file, 2, "data") + newc("b", file, 2, "other") + trailer, problem: "the later are kept", contents: map[string]string{"a": "other"}},
		"a good sum":                       {archive: crc("a", file, 1, "abc", "070702", 294) + crc("TRAILER!!!", 0, 1, "", "070702", 0), contents: map[string]string{"a": "abc"}},
		"a bad sum":                        {archive: crc("a", file, 1, "abc", "070702", 295) + crc("TRAILER!!!", 0, 1, "", "070702", 0), problem: "sum to 0x00000126", contents: map[string]string{"a": "abc"}},
		"no trailer":                       {archive: newc("a", file, 1, "x"), err: "there was no trailer", contents: map[string]string{"a": "x"}},
		"an archive that is cut":           {archive: newc("a", file, 1, "x") + newc("b", file, 1, "long data")[:120], err: "cut short", contents: map[string]string{"a": "x", "b": "-"}},
		"another variant behind the first": {archive: newc("a", file, 1, "x") + crc("b", file, 1, "y", "070702", 0), err: "no newc header", contents: map[string]string{"a": "x", "b": "-"}},
		"a mode that does not exist":       {archive: newc("a", file, 1, "x") + newc("b", 0o150644, 1, ""), err: "no file type", contents: map[string]string{"a": "x"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := openCpio([]byte(c.archive), budget.Limits{})
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("error: %v", err)
			}
			if all := strings.Join(got.Survey.Problems, "\n"); (all == "") != (c.problem == "") || !strings.Contains(all, c.problem) {
				t.Errorf("problems: %s", all)
			}
			for name, want := range c.contents {
				data, err := got.ReadFile(name)
				if want == "-" {
					if err == nil {
						t.Errorf("%s is there", name)
					}
				} else if err != nil || string(data) != want {
					t.Errorf("%s: %q, %v", name, data, err)
				}
			}
		})
	}
}

func TestACpioWithManyEntriesSpendsItsBudget(t *testing.T) {
	data := strings.Repeat(newc("a", file, 1, ""), 1000)
	if c, err := openCpio([]byte(data), budget.Limits{Entries: 100}); !errors.Is(err, budget.ErrExceeded) || c.Entries != 100 {
		t.Errorf("by entries: %v", err)
	}
	var many strings.Builder
	for i := range 1000 {
		many.WriteString(newc(fmt.Sprintf("%d/%d", i, i), file, 1, ""))
	}
	if _, err := openCpio([]byte(many.String()), budget.Limits{Held: 100_000}); !errors.Is(err, budget.ErrExceeded) {
		t.Errorf("by memory: %v", err)
	}
}

func TestACpioCutOrFlippedAnywhereIsNoPanic(t *testing.T) {
	whole := []byte(newc("etc", dir, 2, "") + newc("etc/a", file, 2, "hello") + newc("etc/b", file, 2, "") + newc("l", link, 1, "etc/a") + trailer)
	for n := range whole {
		const padding = 3 // after the trailer, and no loss
		if c, err := openCpio(whole[:n], budget.Limits{}); err == nil && n < len(whole)-padding {
			t.Errorf("cut at %d: no error", n)
		} else if c != nil {
			walkAll(t, c)
		}
	}
	for bit := range len(whole) * 8 {
		flipped := bytes.Clone(whole)
		flipped[bit/8] ^= 1 << (bit % 8)
		if c, _ := openCpio(flipped, budget.Limits{}); c != nil {
			walkAll(t, c)
		}
	}
}

func FuzzCpio(f *testing.F) {
	f.Add([]byte(newc("etc", dir, 2, "") + newc("etc/a", file, 2, "hello") + newc("l", link, 1, "etc/a") + trailer))
	f.Add([]byte(crc("a", file, 1, "abc", "070702", 294) + crc("TRAILER!!!", 0, 1, "", "070702", 0)))
	f.Add([]byte("0707070000010000071006440000000000000000010000000000000000000000000200000000003a\x00abc"))
	f.Add([]byte("\xc7\x71\x00\x00\x07\x00\xa4\x81\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x03\x00a\x00abc\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := filesystem.NewCpio(context.Background(), bytes.NewReader(data), int64(len(data)), tight())
		if c == nil {
			return
		}
		if c.Size > int64(len(data)) || err == nil && c.Size == 0 {
			t.Fatalf("of %d bytes, %d are the archive's: %v", len(data), c.Size, err)
		}
		walkAll(t, c)
	})
}
