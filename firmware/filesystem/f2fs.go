package filesystem

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"strings"
	"unicode/utf16"

	"assay/firmware"
)

// F2FS, the log-structured file system of flash cards and phones, is recognised
// by its superblock, of which there are two. Its files are not read.
func init() {
	firmware.Register(firmware.Format{
		Name:         "f2fs",
		Source:       "kernel include/linux/f2fs_fs.h, fs/f2fs/super.c, Documentation/filesystems/f2fs.rst",
		About:        "flash-friendly file system, recognised and not read",
		Integrity:    "CRC-32 of the superblock",
		Authenticity: "none",
		Magics:       []firmware.Magic{{Offset: f2fsSuperAt, Bytes: "\x10\x20\xf5\xf2"}},
		Parse:        parseF2FS,
	})
}

const (
	f2fsMagic     = 0xf2f52010
	f2fsSuperAt   = 1024
	f2fsSuperSize = 3072
	f2fsSummed    = 0x800 // a feature: the superblock has a checksum
)

var f2fsFeatures = []struct {
	bit  uint32
	name string
}{
	{0x1, "encrypt"}, {0x2, "blkzoned"}, {0x4, "atomic_write"}, {0x8, "extra_attr"}, {0x10, "project_quota"}, {0x20, "inode_checksum"}, {0x40, "flexible_inline_xattr"},
	{0x80, "quota"}, {0x100, "inode_crtime"}, {0x200, "lost_found"}, {0x400, "verity"}, {f2fsSummed, "sb_checksum"}, {0x1000, "casefold"}, {0x2000, "compression"}, {0x4000, "ro"},
}

func parseF2FS(w *firmware.Window) (*firmware.Region, error) {
	p, err := w.Bytes(f2fsSuperAt, f2fsSuperSize)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", firmware.ErrNotFormat, err)
	}
	le := binary.LittleEndian
	word := func(off int) uint32 { return le.Uint32(p[off:]) }
	blockBits, blocks := word(0x10), le.Uint64(p[0x24:])
	var places []uint32 // of segment 0, checkpoints, SIT, NAT, SSA and main area
	for off := 0x48; off <= 0x5c; off += 4 {
		places = append(places, word(off))
	}
	ordered := places[0] == places[1]
	for i := 2; i < len(places); i++ {
		ordered = ordered && places[i] > places[i-1]
	}
	switch {
	case word(0) != f2fsMagic, blockBits < 12 || blockBits > 16, word(8)+word(0xc) != blockBits, word(0x14) != 9:
		return nil, fmt.Errorf("%w: f2fs: blocks of 2^%d bytes in segments of 2^%d", firmware.ErrNotFormat, blockBits, word(0x14))
	case !ordered, blocks > 1<<40, uint64(places[5]) >= blocks, word(0x60) != 3 || word(0x64) != 1 || word(0x68) != 2:
		return nil, fmt.Errorf("%w: f2fs: its areas are not in order or its first inodes are others", firmware.ErrNotFormat)
	}
	size := int64(blocks) << blockBits
	r := &firmware.Region{Format: "f2fs", Name: f2fsLabel(p[0x7c:0x47c]), Size: min(size, w.Size()), State: firmware.Parsed, Role: firmware.RoleData}
	r.AddField("version", "%d.%d", le.Uint16(p[4:]), le.Uint16(p[6:]))
	h := hex.EncodeToString(p[0x6c:0x7c])
	r.AddField("UUID", "%s", strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-"))
	r.AddField("block size", "%d", 1<<blockBits)
	r.AddField("blocks", "%d", blocks)
	r.AddField("segments", "%d, %d of them for data", word(0x30), word(0x44))
	r.AddField("features", "%s", f2fsNames(word(0x884)))
	r.AddField("made by", "%s", extText(p[0x784:0x884]))
	r.AddField("last mounted by", "%s", extText(p[0x684:0x784]))
	r.AddField("files", "not read: this file system is only recognised")
	if size > w.Size() {
		r.AddProblem("f2fs: %d bytes are said and %d are there: the image is cut short", size, w.Size())
	}
	if at := word(0x20); word(0x884)&f2fsSummed != 0 {
		if at != f2fsSuperSize-4 {
			r.AddProblem("f2fs: the checksum is said to be at %d of the superblock", at)
			return r, nil
		}
		sum, want := ^crc32.Update(^uint32(f2fsMagic), crc32.IEEETable, p[:at]), word(f2fsSuperSize-4)
		r.AddCheck("CRC-32 of the superblock", sum == want, "computed %08x, declared %08x; nothing else is covered", sum, want)
		if sum != want {
			r.AddProblem("f2fs: the superblock's CRC-32 is %08x, and it says %08x", sum, want)
		}
	}
	second, err := w.Bytes(1<<blockBits+f2fsSuperAt, f2fsSuperSize)
	same := err == nil && bytes.Equal(p, second)
	r.AddCheck("copies of the superblock", same, "the second in block 1")
	if !same {
		r.AddProblem("f2fs: the second superblock is another or not there")
	}
	return r, nil
}

func f2fsLabel(p []byte) string {
	var units []uint16
	for ; len(p) >= 2; p = p[2:] {
		u := binary.LittleEndian.Uint16(p)
		if u == 0 {
			break
		}
		units = append(units, u)
	}
	return extText([]byte(string(utf16.Decode(units))))
}

func f2fsNames(bits uint32) string {
	var names []string
	for _, f := range f2fsFeatures {
		if bits&f.bit != 0 {
			names = append(names, f.name)
			bits &^= f.bit
		}
	}
	if bits != 0 {
		names = append(names, fmt.Sprintf("unknown %#x", bits))
	}
	return strings.Join(names, ", ")
}
