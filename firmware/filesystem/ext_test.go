//go:build linux

package filesystem_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/therootcompany/xz"

	"assay/firmware"
	"assay/firmware/budget"
	"assay/firmware/filesystem"
	"assay/firmware/internal/formattest"
)

// smallExt is a file system of the kind in little room.
func smallExt(t testing.TB, kind string) []byte {
	t.Helper()
	args := []string{"-t", kind, "-b", "1024", "-N", "24", "-m", "0", "-O", "^resize_inode,^has_journal"}
	image := mkfsExt(t, littleTree(t), "90K", args...)
	if kind == "ext3" {
		image = debugfs(t, image, "feature has_journal") // on another device: a journal has 1 MiB or more
	}
	return image
}

func TestTheDamageOfAnExtIsTold(t *testing.T) {
	big := func(t *testing.T) []byte {
		return mkfsExt(t, littleTree(t), "2M", "-t", "ext4", "-b", "1024", "-O", "^has_journal,^resize_inode")
	}
	for name, c := range map[string]struct {
		commands []string
		want     []string
	}{
		"a block free in the bitmap":        {[]string{"freeb 1500"}, nil},
		"a block in use by nothing":         {[]string{"setb 1500 3"}, []string{"3 blocks are in use in the bitmaps and belong to nothing", "1 block groups have other numbers of free blocks"}},
		"a file's block free in the bitmap": {[]string{"freeb 80 200"}, []string{"blocks are in use and free in the bitmaps"}},
		"a link count":                      {[]string{"sif c links_count 5"}, []string{"has 1 links and says 5"}},
		"a directory's link count":          {[]string{"sif etc links_count 9"}, []string{"has 2 links and says 9"}},
		"an inode without a name":           {[]string{"unlink d"}, []string{"1 inodes in use have no name in any directory"}},
		"an inode that is not in use":       {[]string{"freei d"}, []string{"d: inode 13 is not in use", "240 inodes are free and its descriptor says"}},
		"two files with the same blocks":    {[]string{"set_inode_field d block[0] 0x0001f30a", "sif d block[1] 4", "sif d block[2] 0", "sif d block[3] 0", "sif d block[4] 30", "sif d block[5] 40"}, []string{"are in use by another or not there"}},
		"blocks outside":                    {[]string{"sif d block[0] 0x0001f30a", "sif d block[1] 4", "sif d block[3] 0", "sif d block[4] 1", "sif d block[5] 90000"}, []string{"are in use by another or not there, the first at block 90000"}},
		"an extent tree without a header":   {[]string{"sif c block[0] 5"}, []string{"there is no header"}},
		"a count of blocks":                 {[]string{"sif c blocks 8"}, []string{"blocks and says 8"}},
		"a journal that was not replayed":   {[]string{"feature needs_recovery"}, []string{"its journal may hold newer data"}},
		"a file system in use":              {[]string{"ssv state 0"}, []string{"it was not unmounted cleanly"}},
		"errors on record":                  {[]string{"ssv state 3"}, []string{"errors were found in it"}},
		"an encrypted file":                 {[]string{"sif c flags 0x80800"}, []string{"the names and contents of 1 inodes are encrypted (fscrypt)"}},
		"an encrypted directory":            {[]string{"sif etc flags 0x80800"}, []string{"the names and contents of 1 inodes are encrypted (fscrypt)"}},
		"the root's parent":                 {[]string{"unlink etc/..", "ln c etc/.."}, []string{"etc: its parent is inode"}},
		"a number of free blocks":           {[]string{"ssv free_blocks_count 7"}, []string{"the superblock says 7 blocks"}},
		"a feature nobody knows":            {[]string{"ssv feature_incompat 0x82c2"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			r := analyse(t, debugfs(t, big(t), c.commands...)).Regions[0]
			all := strings.Join(r.Problems, "\n")
			if r.Format != "ext4" || (len(c.want) > 0) == (r.State == firmware.Proven) {
				t.Errorf("%s %s: %s", r.Format, r.State, all)
			}
			for _, want := range c.want {
				if !strings.Contains(all, want) {
					t.Errorf("%q is not in:\n%s", want, all)
				}
			}
		})
	}
}

func TestExtMetadataWithAnotherChecksumIsTold(t *testing.T) {
	image := mkfsExt(t, littleTree(t), "2M", "-t", "ext4", "-b", "1024", "-O", "^has_journal,^resize_inode")
	if r := analyse(t, image).Regions[0]; len(r.Checks) != 3 {
		t.Fatalf("%+v", r.Checks)
	}
	for name, c := range map[string]struct {
		at   int
		want string
	}{
		"the superblock":        {1024 + 0x258, "the superblock's CRC-32C is"},
		"a group's descriptor":  {2048 + 0x3c, "block group 0: its descriptor has another checksum"},
		"an inode":              {-1, "its CRC-32C is"},
		"names in a directory":  {bytes.Index(image, []byte("\x03\x02etc")) + 3, "its block at 0 has the CRC-32C"},
		"the end of the bitmap": {-2, "its block bitmap has another CRC-32C"},
	} {
		t.Run(name, func(t *testing.T) {
			damaged := bytes.Clone(image)
			block := func(off int) int { return 1024 * (int(damaged[off]) | int(damaged[off+1])<<8) }
			switch c.at {
			case -1:
				c.at = block(2048+8) + 256 + 0x98 // the root's i_version_hi
			case -2:
				c.at = block(2048) + 1023
			}
			damaged[c.at] ^= 1
			r := analyse(t, damaged).Regions[0]
			if !strings.Contains(strings.Join(r.Problems, "\n"), c.want) || r.State != firmware.Parsed {
				t.Errorf("%s: %q", r.State, r.Problems)
			}
			if !slices.ContainsFunc(r.Checks, func(c firmware.Check) bool { return !c.OK && c.Worth == firmware.IntegrityOnly }) {
				t.Errorf("no check failed: %+v", r.Checks)
			}
		})
	}
}

func TestTheEncryptedFilesOfAnExtAreNotRead(t *testing.T) {
	image := mkfsExt(t, littleTree(t), "2M", "-t", "ext4", "-b", "1024", "-O", "^has_journal")
	e := readExt(t, debugfs(t, image, "sif c flags 0x80800", "sif etc flags 0x80800"))
	if _, err := e.Open("c"); err == nil || !strings.Contains(err.Error(), "encrypted") {
		t.Errorf("opened: %v", err)
	}
	list, err := e.ReadDir("etc")
	if err != nil || len(list) != 3 || !strings.HasPrefix(list[0].Name(), "fscrypt:") {
		t.Fatalf("%v, %v", list, err)
	}
	if _, err := fs.Lstat(e, "etc/"+list[0].Name()); err != nil {
		t.Error(err)
	}
}

// sparse is an image of which only some bytes are not zero.
type sparse struct {
	size int64
	at   map[int64][]byte // in pieces of 4 KiB
}

func (s sparse) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	for n < len(p) && off < s.size {
		page := s.at[off>>12]
		part := p[n:min(int64(len(p)), int64(n)+4096-off&4095, int64(n)+s.size-off)]
		clear(part)
		if page != nil {
			copy(part, page[off&4095:])
		}
		n, off = n+len(part), off+int64(len(part))
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func TestALargeSparseExtTakesLittleMemory(t *testing.T) {
	image := mkfsSparse(t, "4G", "-t", "ext4")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	e, err := filesystem.NewExt(context.Background(), image, image.size, budget.New(budget.Limits{}))
	runtime.ReadMemStats(&after)
	if err != nil || len(e.Survey.Problems) > 0 || e.Size != 4<<30 {
		t.Fatalf("%v, %d bytes: %q", err, e.Size, e.Survey.Problems)
	}
	if spent := after.TotalAlloc - before.TotalAlloc; spent > 24<<20 {
		t.Errorf("%d bytes were allocated", spent)
	}
	data, err := e.ReadFile("etc/a")
	if err != nil || !bytes.Equal(data, text(5000)) {
		t.Errorf("%d bytes: %v", len(data), err)
	}
}

func TestAFileOfHolesIsReadWithinTheBudget(t *testing.T) {
	image := mkfsExt(t, littleTree(t), "2M", "-t", "ext4", "-b", "1024", "-O", "^has_journal")
	image = debugfs(t, image, fmt.Sprint("sif d size ", int64(4)<<30))
	e := soundExt(t, image)
	f, err := e.Open("d")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n, err := io.Copy(io.Discard, f)
	if !errors.Is(err, budget.ErrExceeded) || n < 1<<29 {
		t.Errorf("%d bytes: %v", n, err)
	}
	p := make([]byte, 10)
	if n, err := f.(io.ReaderAt).ReadAt(p, 4<<30-5); n == 10 || err == nil {
		t.Errorf("%d bytes: %v", n, err)
	}
}

func TestACopyOfASuperblockIsNoFileSystem(t *testing.T) {
	image := mkfsExt(t, littleTree(t), "20M", "-t", "ext4", "-b", "1024", "-O", "^has_journal")
	for _, r := range analyse(t, image[8192<<10:]).Regions {
		if r.Format != "" {
			t.Errorf("%s at %#x", r.Format, r.Offset)
		}
	}
}

func TestAnExtAmongOtherDataIsFoundWhole(t *testing.T) {
	image := smallExt(t, "ext2")
	img := append(append(noise(4096), image...), noise(5000)...)
	r := formattest.First(analyse(t, img), "ext2")
	if r == nil || r.Offset != 4096 || r.Size != int64(len(image)) || r.State != firmware.Proven {
		t.Errorf("%+v", r)
	}
}

func TestAnExtCutShortIsReadAsFarAsItGoes(t *testing.T) {
	image := smallExt(t, "ext4")
	r := analyse(t, image[:80<<10]).Regions[0]
	if r.Format != "ext4" || r.State != firmware.Parsed || r.Size != 80<<10 || !strings.Contains(r.Problems[0], "the image is cut short") {
		t.Fatalf("%s %s: %q", r.Format, r.State, r.Problems)
	}
	if _, err := fs.Stat(r.FS, "etc/a"); err != nil {
		t.Error(err)
	}
}

func unxz(t testing.TB, packed []byte) []byte {
	t.Helper()
	r, err := xz.NewReader(bytes.NewReader(packed), 0)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestTheCorpusExt3IsProven(t *testing.T) {
	image := unxz(t, corpusFile(t, "format/sevenz/ext3.img.xz"))
	r := analyse(t, image).Regions[0]
	t.Logf("%+v", r)
	if r.Format != "ext3" || r.State != firmware.Proven || len(r.Problems) > 0 {
		t.Errorf("%s %s: %q", r.Format, r.State, r.Problems)
	}
}

func attackExt(t testing.TB, img []byte) {
	t.Helper()
	e, err := filesystem.NewExt(context.Background(), bytes.NewReader(img), int64(len(img)), tight())
	if err != nil && !errors.Is(err, budget.ErrExceeded) && !errors.Is(err, filesystem.ErrNotExt) {
		t.Fatalf("an error that is none of the budget: %v", err)
	}
	if e != nil {
		walkAll(t, e)
	}
}

func FuzzExt(f *testing.F) {
	f.Add([]byte{})
	if _, err := exec.LookPath("mke2fs"); err == nil {
		for _, kind := range []string{"ext2", "ext3", "ext4"} {
			f.Add(smallExt(f, kind))
		}
	}
	f.Fuzz(func(t *testing.T, img []byte) { attackExt(t, img) })
}
