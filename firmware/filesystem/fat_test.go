//go:build linux

package filesystem_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"assay/firmware"
	"assay/firmware/budget"
	"assay/firmware/filesystem"
	"assay/firmware/internal/formattest"
	"assay/internal/peer"
)

// mkfsFAT makes a file system of so many KiB and copies what a FAT can hold of a
// directory into it.
func mkfsFAT(t testing.TB, source string, size int, args ...string) []byte {
	t.Helper()
	image := filepath.Join(ramDir(t), "image.fat")
	args = append([]string{"-n", "CAMERA", "-i", "12345678", "-C"}, args...)
	run(t, "mkfs.fat", "dosfstools", append(args, image, fmt.Sprint(size))...)
	entries, err := os.ReadDir(source)
	if err != nil {
		t.Fatal(err)
	}
	mcopy := []string{"-i", image, "-s", "-m", "-n", "-Q"}
	for _, e := range entries {
		mcopy = append(mcopy, filepath.Join(source, e.Name()))
	}
	if len(entries) > 0 {
		cmd := exec.Command(peer.Need(t, "mcopy", "mtools"), append(mcopy, "::/")...)
		cmd.Env = append(os.Environ(), "TZ=UTC", "LC_ALL=C.UTF-8")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("mcopy: %v\n%s", err, out)
		}
	}
	data, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// fatTree is what a FAT can hold of a source tree.
func fatTree(t testing.TB) string {
	t.Helper()
	root := sourceTree(t)
	for _, name := range []string{"bin/sh", "bin/ls", "etc/climbs", "etc/dangling", "etc/self", "etc/long", "opt", "tmp/fifo", "tmp/socket", "d"} {
		if err := os.RemoveAll(filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	deep := filepath.Join(root, strings.Repeat("deep/", 15))
	if err := os.MkdirAll(deep, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"SHORT.TXT", "lower.txt", "LOWER.txt2", "UPPER.txt", "kind.TXT", "Mixed.Txt", "no type", ".hidden", "many.dots.in.it", "ÄÖ", "日本語 ★.jpg", "exactly13char", strings.Repeat("thirteen char", 3)} {
		if err := os.WriteFile(filepath.Join(deep, name), []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	when := time.Unix(1_600_000_002, 0)
	err := filepath.WalkDir(root, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chtimes(p, when, when)
	})
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func TestFATReadsWhatMtoolsWrote(t *testing.T) {
	source := fatTree(t)
	want := survey(t, os.DirFS(source))
	for name, f := range want {
		f.UID, f.GID, f.Links, f.Mode = 0, 0, 1, 0o755|f.Mode.Type()
		if f.Mode.IsDir() {
			f.Links = 0
		}
		want[name] = f
	}
	for name, c := range map[string]struct {
		bits, size int
		args       []string
	}{
		"FAT12":                           {12, 8000, []string{"-F", "12"}},
		"FAT12 with one table":            {12, 8000, []string{"-F", "12", "-f", "1"}},
		"FAT16":                           {16, 12000, []string{"-F", "16"}},
		"FAT16 in clusters of one sector": {16, 12000, []string{"-F", "16", "-s", "1"}},
		"FAT16 in sectors of 2 KiB":       {16, 40000, []string{"-F", "16", "-S", "2048", "-s", "1"}},
		"FAT32":                           {32, 40000, []string{"-F", "32"}},
		"FAT32 with one table":            {32, 36000, []string{"-F", "32", "-f", "1"}},
	} {
		t.Run(name, func(t *testing.T) {
			image := mkfsFAT(t, source, c.size, c.args...)
			r := analyse(t, image).Regions[0]
			if r.Format != "fat" || r.State != firmware.Proven || r.Field("kind") != fmt.Sprint("FAT", c.bits) || r.Name != "CAMERA" || r.Size != int64(len(image)) || len(r.Problems) > 0 {
				t.Fatalf("%s %s %s %q of %d of %d: %q", r.Format, r.Field("kind"), r.State, r.Name, r.Size, len(image), r.Problems)
			}
			if r.Role != firmware.RoleRootFS || r.Field("serial number") != "12345678" || !strings.HasPrefix(r.Field("times"), "local") {
				t.Errorf("%+v", r)
			}
			got := survey(t, r.FS)
			root := got["."]
			root.Time = want["."].Time // it has none
			got["."] = root
			compare(t, got, want)
		})
	}
}

func smallFAT(t testing.TB) []byte {
	source := littleTree(t)
	if err := os.Remove(filepath.Join(source, "etc/l")); err != nil {
		t.Fatal(err)
	}
	return mkfsFAT(t, source, 80, "-F", "12", "-r", "16", "-s", "1")
}

// fatField changes an entry of a table of 12 bits.
func fat12(image []byte, table int, cluster, value uint16) {
	size := int(binary.LittleEndian.Uint16(image[22:])) * 512
	p := image[512+table*size+int(cluster)*3/2:]
	v := binary.LittleEndian.Uint16(p)
	if cluster%2 == 0 {
		v = v&0xf000 | value
	} else {
		v = v&0xf | value<<4
	}
	binary.LittleEndian.PutUint16(p, v)
}

func both(cluster, value uint16) func([]byte) {
	return func(image []byte) {
		fat12(image, 0, cluster, value)
		fat12(image, 1, cluster, value)
	}
}

func TestTheDamageOfAFATIsTold(t *testing.T) {
	image := smallFAT(t)
	f, err := filesystem.NewFAT(context.Background(), bytes.NewReader(image), int64(len(image)), budget.New(budget.Limits{}))
	if err != nil || len(f.Survey.Problems) > 0 {
		t.Fatalf("%v: %q", err, f.Survey.Problems)
	}
	// mcopy writes "c", of 79 clusters, and then etc, with "a" of 10 and "b" of 18.
	entry := func(name string) int {
		return bytes.Index(image, []byte(fmt.Sprintf("%-11s", name)))
	}
	c, etc, a := entry("C"), entry("ETC"), entry("A")
	first := func(at int) uint16 { return binary.LittleEndian.Uint16(image[at+26:]) }
	for name, k := range map[string]struct {
		change func([]byte)
		want   string
	}{
		"a loop":                     {both(first(c)+5, first(c)+2), "c: its chain is a loop, which comes back to cluster"},
		"a cross-link":               {both(first(a)+3, first(c)+2), "etc/a: its chain is cross-linked at cluster"},
		"a chain that ends early":    {both(first(a)+3, 0xfff), "etc/a: its 5000 bytes need 10 clusters and it has 4"},
		"lost clusters":              {both(first(a)+3, 0xfff), "6 clusters are in use and belong to no file"},
		"a chain into nowhere":       {both(first(a)+3, 0xf00), "etc/a: its chain leads to cluster 3840"},
		"a chain to a free cluster":  {both(first(a)+3, 0), "is marked as free or bad"},
		"tables that differ":         {func(p []byte) { fat12(p, 1, first(a)+3, 0xfff) }, "the two copies of the table differ"},
		"a size":                     {func(p []byte) { p[a+29] ^= 0x40 }, "clusters and it has 10"},
		"a file system in use":       {func(p []byte) { p[37] |= 1 }, "it was not unmounted cleanly"},
		"errors on record":           {func(p []byte) { p[37] |= 2 }, "errors were found in it"},
		"a directory without dots":   {func(p []byte) { p[bytes.Index(p, []byte(".          "))] = 0x78 }, "etc: it has no \".\" or no \"..\""},
		"a directory in itself":      {func(p []byte) { p[a+11] |= 0x10; binary.LittleEndian.PutUint16(p[a+26:], first(etc)) }, "etc/a: its chain is cross-linked"},
		"a name with a slash":        {func(p []byte) { p[a] = '/' }, "the name \"/\" is not possible"},
		"a date":                     {func(p []byte) { p[a+24], p[a+25] = 0xff, 0xff }, "its date 0xffff is none"},
		"an image cut short":         {nil, "the image is cut short"},
		"a deleted entry is no harm": {func(p []byte) { p[a] = 0xe5 }, "10 clusters are in use and belong to no file"},
	} {
		t.Run(name, func(t *testing.T) {
			damaged := bytes.Clone(image)
			if k.change != nil {
				k.change(damaged)
			} else {
				damaged = damaged[:60<<10]
			}
			r := analyse(t, damaged).Regions[0]
			if r.Format != "fat" || r.State != firmware.Parsed || !strings.Contains(strings.Join(r.Problems, "\n"), k.want) {
				t.Errorf("%s %s: %q", r.Format, r.State, r.Problems)
			}
		})
	}
}

func TestFATAndMBRAreNotMistakenForEachOther(t *testing.T) {
	image := smallFAT(t)
	disk := make([]byte, 512, 1<<20)
	copy(disk[446:], "\x80\x00\x00\x00\x01\x00\x00\x00")
	binary.LittleEndian.PutUint32(disk[454:], 1)
	binary.LittleEndian.PutUint32(disk[458:], uint32(len(image)/512))
	copy(disk[510:], "\x55\xaa")
	disk = append(disk, image...)
	img := analyse(t, disk)
	if r := img.Regions[0]; r.Format != "mbr" || len(r.Children) != 1 || r.Children[0].Format != "fat" || r.Children[0].State != firmware.Proven {
		t.Errorf("%v %+v", formattest.Outline(img), r.Children)
	}
	if r := formattest.First(analyse(t, image), "mbr"); r != nil {
		t.Errorf("a FAT is also %+v", r)
	}
	// A boot sector with a parameter block but nothing behind it is neither.
	for _, r := range analyse(t, append(bytes.Clone(image[:512]), noise(4096)...)).Regions {
		if r.Format != "" {
			t.Errorf("%s at %#x", r.Format, r.Offset)
		}
	}
}

func TestTheCorpusFATIsProven(t *testing.T) {
	image := unxz(t, corpusFile(t, "format/sevenz/fat.img.xz"))
	r := analyse(t, image).Regions[0]
	t.Logf("%+v", r)
	if r.Format != "fat" || r.State != firmware.Proven || len(r.Problems) > 0 {
		t.Errorf("%s %s: %q", r.Format, r.State, r.Problems)
	}
}

func attackFAT(t testing.TB, img []byte) {
	t.Helper()
	f, err := filesystem.NewFAT(context.Background(), bytes.NewReader(img), int64(len(img)), tight())
	if err != nil && !errors.Is(err, budget.ErrExceeded) && !errors.Is(err, filesystem.ErrNotFAT) {
		t.Fatalf("an error that is none of the budget: %v", err)
	}
	if f != nil {
		walkAll(t, f)
	}
}

func FuzzFAT(f *testing.F) {
	f.Add([]byte{})
	if _, err := exec.LookPath("mkfs.fat"); err == nil {
		f.Add(smallFAT(f))
		f.Add(mkfsFAT(f, f.TempDir(), 300, "-F", "32", "-s", "1", "-f", "1"))
	}
	f.Fuzz(func(t *testing.T, img []byte) { attackFAT(t, img) })
}
