//go:build linux

package filesystem_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io/fs"
	"os/exec"
	"strings"
	"testing"

	"assay/firmware"
	"assay/firmware/budget"
	"assay/firmware/filesystem"
)

// sealEROFS computes the checksum of a changed superblock.
func sealEROFS(image []byte) {
	block := image[1024:4096]
	clear(block[4:8])
	binary.LittleEndian.PutUint32(block[4:], ^crc32.Checksum(block, crc32.MakeTable(crc32.Castagnoli)))
}

func TestTheDamageOfAnEROFSIsTold(t *testing.T) {
	image := mkfsEROFS(t, littleTree(t), "-zlz4hc", "-T1600000000", "-Eforce-inode-compact")
	le := binary.LittleEndian
	e := soundEROFS(t, image)
	inode := func(name string) int {
		st, err := fs.Lstat(e, name)
		if err != nil {
			t.Fatal(err)
		}
		return int(le.Uint32(image[1024+40:]))<<12 + 32*int(st.Sys().(*filesystem.Inode).Number)
	}
	c, etc, b := inode("c"), inode("etc"), inode("etc/b")
	for name, k := range map[string]struct {
		change func(p []byte)
		want   string
	}{
		"the superblock's checksum":       {func(p []byte) { p[1024+64] ^= 1 }, "the superblock's CRC-32C is"},
		"a number of inodes":              {func(p []byte) { p[1024+16]++; sealEROFS(p) }, "inodes are reached from the root and the superblock counts"},
		"a feature nobody knows":          {func(p []byte) { p[1024+82] = 1; sealEROFS(p) }, "features that this reader does not know: unknown 0x10000"},
		"an inode that is none":           {func(p []byte) { p[c] = 0xff }, "c: erofs: inode"},
		"an inode of another type":        {func(p []byte) { p[c+5] = 0xa1 }, "c: it is listed as of type 100000 and is of mode 120"},
		"a link count":                    {func(p []byte) { p[c+6] = 9 }, "has 1 links and says 9"},
		"data outside":                    {func(p []byte) { le.PutUint32(p[c+8:], 1<<30) }, "c: erofs: inode"},
		"an index that begins in between": {func(p []byte) { p[b+32+8+1] = p[b+32+8+1]&^0x30 | 0x20 }, "is within data that begins nowhere"},
		"a directory's first name":        {func(p []byte) { p[etc+32+8] = 7 }, "etc: its first name is at 7"},
		"a directory out of order":        {func(p []byte) { p[bytes.Index(p, []byte("...ab"))+3] = 'z' }, "is out of order after"},
		"an image cut short":              {nil, "the image is cut short"},
	} {
		t.Run(name, func(t *testing.T) {
			damaged := bytes.Clone(image)
			if k.change != nil {
				k.change(damaged)
			} else {
				damaged = damaged[:len(damaged)-4096]
			}
			r := analyse(t, damaged).Regions[0]
			if r.Format != "erofs" || r.State != firmware.Parsed || !strings.Contains(strings.Join(r.Problems, "\n"), k.want) {
				t.Errorf("%s %s: %q", r.Format, r.State, r.Problems)
			}
		})
	}
}

func TestDamagedDataOfAnEROFSIsNotRead(t *testing.T) {
	image := mkfsEROFS(t, littleTree(t), "-zlz4hc", "-T1600000000")
	at := bytes.Index(image, []byte("camera"))
	copy(image[at+1:], bytes.Repeat([]byte{0xff}, 200))
	e := soundEROFS(t, image)
	failed := 0
	for _, name := range []string{"etc/a", "etc/b", "c"} {
		if _, err := e.ReadFile(name); err != nil {
			failed++
		}
	}
	if failed == 0 {
		t.Error("all files could be read")
	}
}

func attackEROFS(t testing.TB, img []byte) {
	t.Helper()
	e, err := filesystem.NewEROFS(context.Background(), bytes.NewReader(img), int64(len(img)), tight())
	if err != nil && !errors.Is(err, budget.ErrExceeded) && !errors.Is(err, filesystem.ErrNotEROFS) {
		t.Fatalf("an error that is none of the budget: %v", err)
	}
	if e != nil {
		walkAll(t, e)
	}
}

func FuzzEROFS(f *testing.F) {
	f.Add([]byte{})
	if _, err := exec.LookPath("mkfs.erofs"); err == nil {
		for _, args := range [][]string{{"-T1"}, {"-zlz4", "-T1"}, {"-zlz4hc", "-C16384", "-Eztailpacking", "-T1"}, {"-zlz4", "-Elegacy-compress"}, {"--chunksize=4096"}} {
			f.Add(mkfsEROFS(f, littleTree(f), args...))
		}
	}
	f.Fuzz(func(t *testing.T, img []byte) { attackEROFS(t, img) })
}
