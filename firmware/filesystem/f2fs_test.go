//go:build linux

package filesystem_test

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"assay/firmware"
	"assay/firmware/internal/formattest"
)

// smallF2FS has the superblocks of an F2FS and nothing else.
func smallF2FS(testing.TB) []byte {
	le := binary.LittleEndian
	p := make([]byte, 3072)
	for off, v := range map[int]uint32{
		0: 0xf2f52010, 4: 1 | 16<<16, 8: 9, 0xc: 3, 0x10: 12, 0x14: 9, 0x18: 1, 0x1c: 1, 0x20: 3068, 0x24: 8, 0x30: 7, 0x44: 1,
		0x48: 2, 0x4c: 2, 0x50: 3, 0x54: 4, 0x58: 5, 0x5c: 6, 0x60: 3, 0x64: 1, 0x68: 2, 0x884: 0x800,
	} {
		le.PutUint32(p[off:], v)
	}
	for i, c := range "camera" {
		le.PutUint16(p[0x7c+2*i:], uint16(c))
	}
	copy(p[0x684:], "Linux version 6.1")
	le.PutUint32(p[3068:], ^crc32.Update(^uint32(0xf2f52010), crc32.IEEETable, p[:3068]))
	image := make([]byte, 8<<12)
	copy(image[1024:], p)
	copy(image[4096+1024:], p)
	return image
}

func TestF2FSIsRecognisedAndSaidNotToBeRead(t *testing.T) {
	r := analyse(t, smallF2FS(t)).Regions[0]
	if r.Format != "f2fs" || r.State != firmware.Parsed || r.Name != "camera" || r.FS != nil || !strings.HasPrefix(r.Field("files"), "not read") || len(r.Problems) > 0 {
		t.Errorf("%+v", r)
	}
	damaged := smallF2FS(t)
	damaged[1024+0x700] ^= 1
	r = analyse(t, damaged).Regions[0]
	if all := strings.Join(r.Problems, "\n"); !strings.Contains(all, "the superblock's CRC-32 is") || !strings.Contains(all, "the second superblock is another") {
		t.Error(all)
	}
}

func TestF2FSOfMkfsIsRecognised(t *testing.T) {
	file := filepath.Join(ramDir(t), "image")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, 64<<20); err != nil {
		t.Fatal(err)
	}
	run(t, "mkfs.f2fs", "f2fs-tools", "-l", "camera", "-O", "extra_attr,sb_checksum", file)
	image, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	r := analyse(t, image).Regions[0]
	if r.Format != "f2fs" || r.Name != "camera" || r.Size != 64<<20 || len(r.Problems) > 0 || len(r.Checks) != 2 || !r.Checks[0].OK || !r.Checks[1].OK {
		t.Errorf("%+v", r)
	}
}

func TestTheCorpusF2FSIsRecognised(t *testing.T) {
	image := unxz(t, corpusFile(t, "format/generic_fs/f2fs.img.xz"))
	r := analyse(t, image).Regions[0]
	if r.Format != "f2fs" || r.State != firmware.Parsed || r.Field("version") != "1.11" || r.Size != 9728*4096 || r.Size != int64(len(image)) ||
		r.Field("UUID") != "b061b212-ca3f-4857-b483-1f9f35404e6c" || len(r.Problems) > 0 {
		t.Errorf("%+v", r)
	}
}

func smallExFAT(t testing.TB) []byte {
	file := filepath.Join(ramDir(t), "image")
	if err := os.WriteFile(file, make([]byte, 256<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, "mkfs.exfat", "exfatprogs", "-c", "4K", "-b", "4K", file)
	image, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func TestExFATIsRecognisedAndSaidNotToBeRead(t *testing.T) {
	image := smallExFAT(t)
	img := analyse(t, image)
	r := img.Regions[0]
	if r.Format != "exfat" || r.State != firmware.Parsed || r.FS != nil || r.Size != int64(len(image)) || len(r.Checks) != 2 || !r.Checks[0].OK || !r.Checks[1].OK || !strings.HasPrefix(r.Field("files"), "not read") {
		t.Errorf("%v %+v", formattest.Outline(img), r)
	}
	damaged := bytes.Clone(image)
	damaged[120] ^= 1
	if r := analyse(t, damaged).Regions[0]; !strings.Contains(strings.Join(r.Problems, "\n"), "checksum of the boot region is") {
		t.Errorf("%+v", r)
	}
	damaged[106] |= 2
	if r := analyse(t, damaged).Regions[0]; !strings.Contains(strings.Join(r.Problems, "\n"), "not unmounted cleanly") {
		t.Errorf("%+v", r)
	}
}

func FuzzF2FS(f *testing.F) { formattest.Fuzz(f, smallF2FS) }

func FuzzExFAT(f *testing.F) {
	formattest.Fuzz(f, func(testing.TB) []byte {
		p := make([]byte, 24*512)
		copy(p, "\xeb\x76\x90EXFAT   ")
		copy(p[510:], "\x55\xaa")
		le := binary.LittleEndian
		for off, v := range map[int]uint32{72: 64, 80: 24, 84: 1, 88: 32, 92: 4, 96: 2, 104: 0x100, 108: 9 | 3<<8 | 1<<16} {
			le.PutUint32(p[off:], v)
		}
		return p
	})
}
