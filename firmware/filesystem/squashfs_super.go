package filesystem

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/bits"
	"strings"
	"time"
)

// squashVariants says what a magic stands for: binwalk 3,
// src/signatures/squashfs.rs; unblob, handlers/filesystem/squashfs.py; Freetz's
// patches of squashfs-tools.
var squashVariants = map[string]string{
	"hsqs": "", "sqsh": "", // the kernel's, little and big endian
	"sqlz": "sqlz, an LZMA patch of squashfs 3", "zlqs": "zlqs, an LZMA patch of squashfs 3",
	"shsq": "shsq, as Broadcom and D-Link have it", "qshs": "qshs, as Broadcom and D-Link have it",
	"tqsh": "tqsh, DD-WRT", "hsqt": "hsqt, DD-WRT",
}

// superblock is struct squashfs_super_block of version 4, or
// squashfs_super_block_3, which has the fields of the versions before in it.
type superblock struct {
	magic        string
	major, minor uint16
	order        squashOrder
	inodes       uint32
	created      time.Time
	blockSize    uint32
	blockLog     uint16
	fragments    uint32
	compression  uint16 // of version 4
	flags        uint16
	ids          uint16 // of version 4
	root         uint64
	used         int64
	avm          bool // the time is the size, as AVM's tools write it

	idTable, xattrTable, inodeTable, directoryTable, fragmentTable, exportTable uint64

	// Of the versions before 4: owners, which are not packed.
	uids, gids         int
	uidTable, gidTable uint64
}

// squashOrder is a byte order. Unlike with the interface of package binary, what
// it reads from need not be on the heap.
type squashOrder struct{ big bool }

func (o squashOrder) Uint16(p []byte) uint16 {
	if o.big {
		return binary.BigEndian.Uint16(p)
	}
	return binary.LittleEndian.Uint16(p)
}

func (o squashOrder) Uint32(p []byte) uint32 {
	if o.big {
		return binary.BigEndian.Uint32(p)
	}
	return binary.LittleEndian.Uint32(p)
}

func (o squashOrder) Uint64(p []byte) uint64 {
	if o.big {
		return binary.BigEndian.Uint64(p)
	}
	return binary.LittleEndian.Uint64(p)
}

// squashSupers is the superblock's size by version.
var squashSupers = [...]int{1: 51, 2: 63, 3: 119, 4: 96}

const (
	squashSuperLeast = 96  // bytes that an image must have
	squashSuperMost  = 119 // bytes of the largest superblock
)

func (b *superblock) size() uint64 { return uint64(squashSupers[b.major]) }

// pointer is the size of an entry of the arrays that say where metadata is.
func (b *superblock) pointer() uint64 {
	if b.major < 3 {
		return 4
	}
	return 8
}

// word is the size of a data block's size word.
func (b *superblock) word() int {
	if b.major == 1 {
		return 2
	}
	return 4
}

// numbered says whether inodes have numbers, and listings and directories those
// of others: since version 3.
func (b *superblock) numbered() bool { return b.major >= 3 }

// sorted says whether the kernel counts on sorted listings: since version 2.1.
func (b *superblock) sorted() bool { return b.major > 2 || b.major == 2 && b.minor >= 1 }

func (b *superblock) orderName() string {
	if b.order.big {
		return "big endian"
	}
	return "little endian"
}

// parseSuperblock reads a superblock from bytes that are as many as the largest
// has, or all there are. The version is at the same place in all versions, and
// says the byte order: vendors' magics do not.
func parseSuperblock(p []byte) (*superblock, error) {
	b := &superblock{magic: string(p[:4])}
	if _, ok := squashVariants[b.magic]; !ok {
		return nil, ErrNotSquashFS
	}
	if v := binary.BigEndian.Uint16(p[28:]); v >= 1 && v <= 4 {
		b.order.big = true
	}
	b.major, b.minor = b.order.Uint16(p[28:]), b.order.Uint16(p[30:])
	if b.major < 1 || b.major > 4 {
		return nil, fmt.Errorf("%w: there is no version %d.%d", ErrNotSquashFS, b.major, b.minor)
	}
	if b.magic == "hsqs" && b.order.big || b.magic == "sqsh" && !b.order.big {
		return nil, fmt.Errorf("%w: magic %q is not %s", ErrNotSquashFS, b.magic, b.orderName())
	}
	if len(p) < squashSupers[b.major] {
		return nil, fmt.Errorf("%w: %d bytes are too few for one of version %d", ErrNotSquashFS, len(p), b.major)
	}
	if b.major == 4 {
		b.parse4(p)
	} else {
		b.parse123(p)
	}
	// Vendors' LZMA variants of 1 to 3 put anything into the minor version.
	if b.major == 4 && b.minor > 1 || b.blockLog < 9 || b.blockLog > 20 {
		return nil, fmt.Errorf("%w: version %d.%d with blocks of 2^%d bytes", ErrNotSquashFS, b.major, b.minor, b.blockLog)
	}
	if b.major == 4 && b.minor == 1 {
		return nil, &SquashFSVersionError{b.major, b.minor, b.order.big, b.used}
	}
	return b, nil
}

func (b *superblock) parse4(p []byte) {
	o := b.order
	b.inodes, b.fragments = o.Uint32(p[4:]), o.Uint32(p[16:])
	b.created = time.Unix(int64(o.Uint32(p[8:])), 0).UTC()
	b.blockSize, b.blockLog = o.Uint32(p[12:]), o.Uint16(p[22:])
	b.compression, b.flags, b.ids = o.Uint16(p[20:]), o.Uint16(p[24:]), o.Uint16(p[26:])
	b.root, b.used = o.Uint64(p[32:]), int64(o.Uint64(p[40:]))
	b.avm = int64(o.Uint32(p[8:])) == b.used
	for i, at := range []*uint64{&b.idTable, &b.xattrTable, &b.inodeTable, &b.directoryTable, &b.fragmentTable, &b.exportTable} {
		*at = o.Uint64(p[48+8*i:])
	}
}

func (b *superblock) parse123(p []byte) {
	o := b.order
	b.inodes = o.Uint32(p[4:])
	b.flags, b.uids, b.gids = uint16(p[36]), int(p[37]), int(p[38])
	b.created = time.Unix(int64(o.Uint32(p[39:])), 0).UTC()
	b.root, b.blockLog = o.Uint64(p[43:]), o.Uint16(p[34:])
	b.xattrTable, b.exportTable, b.fragmentTable = squashNothing, squashNothing, squashNothing
	word := func(at int) uint64 { return uint64(o.Uint32(p[at:])) }
	b.used, b.uidTable, b.gidTable = int64(word(8)), word(12), word(16)
	b.inodeTable, b.directoryTable = word(20), word(24)
	if b.major == 1 {
		b.blockSize = uint32(o.Uint16(p[32:]))
		return
	}
	b.blockSize, b.fragments, b.fragmentTable = o.Uint32(p[51:]), o.Uint32(p[55:]), word(59)
	if b.major == 2 {
		return
	}
	b.used = int64(o.Uint64(p[63:]))
	for i, at := range []*uint64{&b.uidTable, &b.gidTable, &b.inodeTable, &b.directoryTable, &b.fragmentTable} {
		*at = o.Uint64(p[71+8*i:])
	}
	if b.flags&squashFlagExport != 0 { // 3.0 has no such table
		b.exportTable = o.Uint64(p[111:])
	}
}

// squashSmallest is the size of the smallest inode by version.
var squashSmallest = [...]uint64{1: 4, 2: 4, 3: 16, 4: 20}

// validate checks what everything else relies on.
func (s *SquashFS) validate(size int64) error {
	b := s.super
	least := uint32(squashMinBlock)
	if b.major < 4 {
		least = 512
	}
	switch {
	case b.blockSize < least || b.blockSize > squashMaxBlock || bits.OnesCount32(b.blockSize) != 1:
		return fmt.Errorf("block size of %d bytes is no power of two from 4 KiB to 1 MiB", b.blockSize)
	case b.major < 4 && b.blockSize != 1<<b.blockLog:
		return fmt.Errorf("block size of %d bytes is not 2^%d", b.blockSize, b.blockLog)
	case b.major == 4 && (b.compression == 0 || int(b.compression) >= len(squashMethods)):
		return fmt.Errorf("compressor %d is none of the six there are", b.compression)
	case b.used < int64(b.size()):
		return fmt.Errorf("%d bytes used are too few", b.used)
	case b.used > size:
		return fmt.Errorf("%d bytes are used and %d are there: the image is cut short", b.used, size)
	case b.inodes == 0 || b.major == 4 && b.ids == 0 || b.major < 4 && b.uids == 0:
		return fmt.Errorf("%d inodes and %d owners", b.inodes, int(b.ids)+b.uids)
	case b.inodeTable < b.size() || b.inodeTable >= b.directoryTable || b.directoryTable >= uint64(b.used):
		return fmt.Errorf("inode table at %#x and directory table at %#x are not in order before the end at %#x", b.inodeTable, b.directoryTable, b.used)
	}
	// The smallest metadata block has 3 bytes.
	if most := (b.directoryTable - b.inodeTable) / 3 * squashMetadata / squashSmallest[b.major]; uint64(b.inodes) > most {
		return fmt.Errorf("%d inodes do not fit into the %d bytes of the inode table", b.inodes, b.directoryTable-b.inodeTable)
	}
	for _, t := range s.tables() {
		if t.start == squashNothing {
			if t.entries == 0 || t.optional {
				continue
			}
			return fmt.Errorf("%s table of %d entries is nowhere", t.name, t.entries)
		}
		if t.entries == 0 && b.major < 4 {
			continue
		}
		if t.start < b.size() || t.start > uint64(b.used) || t.blocks()*b.pointer() > uint64(b.used)-t.start {
			return fmt.Errorf("%s table of %d entries at %#x reaches past the end at %#x", t.name, t.entries, t.start, b.used)
		}
	}
	for _, t := range b.owners() {
		if t.count > 0 && (t.start < b.size() || t.start > uint64(b.used) || 4*uint64(t.count) > uint64(b.used)-t.start) {
			return fmt.Errorf("table of %d owners at %#x reaches past the end at %#x", t.count, t.start, b.used)
		}
	}
	return nil
}

// squashOwners is a table of user or group numbers of the versions before 4.
type squashOwners struct {
	start uint64
	count int
}

func (b *superblock) owners() []squashOwners {
	return []squashOwners{{b.uidTable, b.uids}, {b.gidTable, b.gids}}
}

func (s *SquashFS) owner(t squashOwners, i uint64) (uint32, error) {
	if i >= uint64(t.count) {
		return 0, fmt.Errorf("squashfs: table of %d owners at %#x has no entry %d", t.count, t.start, i)
	}
	var p [4]byte
	if _, err := s.r.ReadAt(p[:], int64(t.start+4*i)); err != nil && err != io.EOF {
		return 0, err
	}
	return s.super.order.Uint32(p[:]), nil
}

// variant says in what an image differs from the kernel's.
func (b *superblock) variant() string {
	var list []string
	if v := squashVariants[b.magic]; v != "" {
		list = append(list, v)
	}
	switch {
	case b.avm && b.order.big:
		list = append(list, "AVM: the time is the size, and the sizes of metadata blocks are little endian")
	case b.avm:
		list = append(list, "AVM: the time is the size")
	case b.major < 4 && b.minor > 1:
		list = append(list, fmt.Sprintf("minor version %d", b.minor))
	}
	return strings.Join(list, "; ")
}
