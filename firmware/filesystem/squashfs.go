package filesystem

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"slices"
	"strings"
	"sync"
	"time"

	"assay/firmware/budget"
	"assay/firmware/compress"
)

const (
	squashSuper      = 96      // bytes of a version 4 superblock
	squashMetadata   = 8 << 10 // bytes a metadata block unpacks to, at most
	squashMinBlock   = 4 << 10
	squashMaxBlock   = 1 << 20
	squashNothing    = 1<<64 - 1 // start of a table that is not there
	squashNoFragment = 1<<32 - 1
	squashNoXattr    = 1<<32 - 1
)

// squashMethods is by the superblock's compression number.
var squashMethods = [...]struct {
	name   string
	method compress.Method
}{
	1: {"gzip", compress.Zlib}, // squashfs says gzip and means zlib
	2: {"lzma", compress.LZMA},
	3: {"lzo", compress.LZO},
	4: {"xz", compress.XZ},
	5: {"lz4", compress.LZ4},
	6: {"zstd", compress.Zstd},
}

// Superblock flags.
const (
	squashFlagExport  = 1 << 7
	squashFlagOptions = 1 << 10
)

var squashFlags = []struct {
	bit  uint16
	name string
}{
	{1 << 0, "uncompressed inodes"}, {1 << 1, "uncompressed data"}, {1 << 3, "uncompressed fragments"},
	{1 << 4, "no fragments"}, {1 << 5, "always fragments"}, {1 << 6, "duplicates removed"},
	{squashFlagExport, "exportable"}, {1 << 8, "uncompressed xattrs"}, {1 << 9, "no xattrs"},
	{squashFlagOptions, "compressor options"}, {1 << 11, "uncompressed ids"},
}

// ErrNotSquashFS says that there is no SquashFS superblock at all.
var ErrNotSquashFS = errors.New("no squashfs superblock")

// SquashFSVersionError is a SquashFS that is recognised but not read.
type SquashFSVersionError struct {
	Major, Minor uint16
	BigEndian    bool
	Size         int64 // bytes used, as its superblock says
}

func (e *SquashFSVersionError) Error() string {
	order := "little"
	if e.BigEndian {
		order = "big"
	}
	return fmt.Sprintf("squashfs %d.%d (%s endian) is recognised but not read", e.Major, e.Minor, order)
}

// superblock is struct squashfs_super_block without its magic and version.
type superblock struct {
	inodes      uint32
	created     time.Time
	blockSize   uint32
	fragments   uint32
	compression uint16
	flags       uint16
	ids         uint16
	root        uint64
	used        int64

	idTable, xattrTable, inodeTable, directoryTable, fragmentTable, exportTable uint64
}

// SquashFS is a SquashFS 4.0 file system, little endian, with any of its six
// compressors. It may be used from several goroutines.
//
// What it reads is checked as it is read: sizes, places and names. Whether the
// whole is sound is what [SquashFS.Prove] finds out.
type SquashFS struct {
	tree
	super   superblock
	method  compress.Method
	options string
	r       io.ReaderAt
	meter   *budget.Meter
	dirEnd  int64 // where the directory table ends at the latest

	metadata  blockCache
	fragments blockCache
	buffers   sync.Pool // *[]byte of a block's size

	edges edges
}

// NewSquashFS reads the superblock of a file system that starts at r's first
// byte and has at most size bytes. Unpacked bytes are charged to the meter as
// they are read, again each time they are unpacked.
//
// The error wraps ErrNotSquashFS, is a *SquashFSVersionError, or says what is
// wrong with a superblock that is one.
func NewSquashFS(r io.ReaderAt, size int64, meter *budget.Meter) (*SquashFS, error) {
	head := make([]byte, squashSuper)
	if size < squashSuper {
		return nil, fmt.Errorf("%w: %d bytes are too few for one", ErrNotSquashFS, size)
	}
	if _, err := r.ReadAt(head, 0); err != nil && err != io.EOF {
		return nil, fmt.Errorf("squashfs: superblock: %w", err)
	}
	if err := squashVersion(head); err != nil {
		return nil, err
	}
	s := &SquashFS{super: parseSuperblock(head), r: r, meter: meter}
	if err := s.validate(size); err != nil {
		return nil, fmt.Errorf("squashfs: superblock: %w", err)
	}
	s.method = squashMethods[s.super.compression].method
	s.metadata = blockCache{capacity: 128, meter: meter}
	s.fragments = blockCache{capacity: 2, meter: meter}
	s.edges.of = map[uint64]edge{s.super.root: {}}
	s.edges.most = int(s.super.inodes)
	s.tree = tree{root: func() (node, error) { return s.inode(s.super.root) }, meter: meter}
	s.dirEnd = s.directoryEnd()
	if s.super.flags&squashFlagOptions != 0 {
		if err := s.readOptions(); err != nil {
			return nil, err
		}
	}
	root, err := s.inode(s.super.root)
	if err != nil {
		return nil, err
	}
	if !root.is(typeDir) {
		return nil, fmt.Errorf("squashfs: root inode %#x is no directory", s.super.root)
	}
	return s, nil
}

// squashMagics are the kernel's in both byte orders, and what vendors put in its
// place: binwalk 3 src/signatures/squashfs.rs, unblob handlers/filesystem/squashfs.py.
var squashMagics = map[string]string{
	"hsqs": "as in the kernel", "sqsh": "as in the kernel",
	"sqlz": "sqlz, for LZMA", "zlqs": "zlqs, for LZMA",
	"qshs": "qshs, in some vendors' LZMA variants", "shsq": "shsq, in some vendors' LZMA variants",
	"tqsh": "tqsh, of DD-WRT", "hsqt": "hsqt, of DD-WRT",
}

// squashOrder tells the byte order by the version, which is at the same place in
// all of them: the magics of vendors do not.
func squashOrder(head []byte) binary.ByteOrder {
	if v := binary.BigEndian.Uint16(head[28:]); v >= 1 && v <= 4 {
		return binary.BigEndian
	}
	return binary.LittleEndian
}

// squashVersion tells version 4.0 little endian from all else. Version 3 and
// before have the version at the same place: struct squashfs_super_block_3.
func squashVersion(head []byte) error {
	if squashMagics[string(head[:4])] == "" {
		return ErrNotSquashFS
	}
	order := squashOrder(head)
	big := order == binary.BigEndian
	e := &SquashFSVersionError{Major: order.Uint16(head[28:]), Minor: order.Uint16(head[30:]), BigEndian: big}
	blockLog := order.Uint16(head[22:])
	switch e.Major {
	case 1, 2:
		blockLog = order.Uint16(head[34:])
		e.Size = int64(order.Uint32(head[8:]))
	case 3:
		blockLog = order.Uint16(head[34:])
		e.Size = int64(order.Uint64(head[63:]))
	case 4:
		e.Size = int64(order.Uint64(head[40:]))
	default:
		return fmt.Errorf("%w: there is no version %d.%d", ErrNotSquashFS, e.Major, e.Minor)
	}
	// Vendors' LZMA variants of 1 to 3 put anything into the minor version.
	if e.Major == 4 && e.Minor > 1 || blockLog < 9 || blockLog > 20 {
		return fmt.Errorf("%w: version %d.%d with blocks of 2^%d bytes", ErrNotSquashFS, e.Major, e.Minor, blockLog)
	}
	if e.Major == 4 && e.Minor == 0 && !big {
		return nil
	}
	return e
}

func parseSuperblock(p []byte) superblock {
	le := binary.LittleEndian
	return superblock{
		inodes:         le.Uint32(p[4:]),
		created:        time.Unix(int64(le.Uint32(p[8:])), 0).UTC(),
		blockSize:      le.Uint32(p[12:]),
		fragments:      le.Uint32(p[16:]),
		compression:    le.Uint16(p[20:]),
		flags:          le.Uint16(p[24:]),
		ids:            le.Uint16(p[26:]),
		root:           le.Uint64(p[32:]),
		used:           int64(le.Uint64(p[40:])),
		idTable:        le.Uint64(p[48:]),
		xattrTable:     le.Uint64(p[56:]),
		inodeTable:     le.Uint64(p[64:]),
		directoryTable: le.Uint64(p[72:]),
		fragmentTable:  le.Uint64(p[80:]),
		exportTable:    le.Uint64(p[88:]),
	}
}

// validate checks what everything else relies on. The block size's logarithm,
// stored beside it, was checked to be a sane one by squashVersion.
func (s *SquashFS) validate(size int64) error {
	b := &s.super
	switch {
	case b.blockSize < squashMinBlock || b.blockSize > squashMaxBlock || bits.OnesCount32(b.blockSize) != 1:
		return fmt.Errorf("block size of %d bytes is no power of two from 4 KiB to 1 MiB", b.blockSize)
	case b.compression == 0 || int(b.compression) >= len(squashMethods):
		return fmt.Errorf("compressor %d is none of the six there are", b.compression)
	case b.used < squashSuper:
		return fmt.Errorf("%d bytes used are too few", b.used)
	case b.used > size:
		return fmt.Errorf("%d bytes are used and %d are there: the image is cut short", b.used, size)
	case b.inodes == 0 || b.ids == 0:
		return fmt.Errorf("%d inodes and %d owners", b.inodes, b.ids)
	case b.inodeTable < squashSuper || b.inodeTable >= b.directoryTable || b.directoryTable >= uint64(b.used):
		return fmt.Errorf("inode table at %#x and directory table at %#x are not in order before the end at %#x", b.inodeTable, b.directoryTable, b.used)
	}
	// The smallest inode has 20 bytes, the smallest metadata block 3.
	if most := (b.directoryTable - b.inodeTable) / 3 * squashMetadata / 20; uint64(b.inodes) > most {
		return fmt.Errorf("%d inodes do not fit into the %d bytes of the inode table", b.inodes, b.directoryTable-b.inodeTable)
	}
	for _, t := range s.tables() {
		if t.start == squashNothing {
			if t.entries == 0 || t.optional {
				continue
			}
			return fmt.Errorf("%s table of %d entries is nowhere", t.name, t.entries)
		}
		if t.start < squashSuper || t.start > uint64(b.used) || t.blocks()*8 > uint64(b.used)-t.start {
			return fmt.Errorf("%s table of %d entries at %#x reaches past the end at %#x", t.name, t.entries, t.start, b.used)
		}
	}
	return nil
}

func (s *SquashFS) readOptions() error {
	block, err := s.metadataBlock("compressor options", squashSuper, s.super.used)
	if err != nil {
		return err
	}
	p := block.data
	word := func(i int) uint32 {
		if len(p) < 4*i+4 {
			return 0
		}
		return binary.LittleEndian.Uint32(p[4*i:])
	}
	switch s.method {
	case compress.Zlib:
		s.options = fmt.Sprintf("level %d, window %d, strategies %#x", word(0), word(1)&0xffff, word(1)>>16)
	case compress.LZO:
		s.options = fmt.Sprintf("algorithm %d, level %d", word(0), word(1))
	case compress.XZ:
		s.options = fmt.Sprintf("dictionary %d", word(0))
		var filters []string
		for i, name := range []string{"x86", "powerpc", "ia64", "arm", "armthumb", "sparc"} {
			if word(1)>>i&1 != 0 {
				filters = append(filters, name)
			}
		}
		if len(filters) > 0 {
			s.options += ", filters " + strings.Join(filters, " ")
		}
	case compress.LZ4:
		s.options = fmt.Sprintf("format %d, flags %#x", word(0), word(1))
	case compress.Zstd:
		s.options = fmt.Sprintf("level %d", word(0))
	}
	return nil
}

func (s *SquashFS) flagNames() string {
	var names []string
	for _, f := range squashFlags {
		if s.super.flags&f.bit != 0 {
			names = append(names, f.name)
		}
	}
	return strings.Join(names, ", ")
}

// buffer returns room for one data block.
func (s *SquashFS) buffer() *[]byte {
	if p, ok := s.buffers.Get().(*[]byte); ok {
		return p
	}
	p := make([]byte, s.super.blockSize)
	return &p
}

// blockCache keeps the last unpacked blocks by their place. What the meter has
// no memory for is not kept.
type blockCache struct {
	capacity int
	meter    *budget.Meter
	mu       sync.Mutex
	blocks   map[int64]*block
	order    []int64 // oldest first
}

// block is an unpacked block; next is where the following one starts.
type block struct {
	data []byte
	next int64
}

func (c *blockCache) get(at int64) *block {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.blocks[at]
}

func (c *blockCache) put(at int64, b *block) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.blocks[at] != nil {
		return
	}
	if len(c.order) == c.capacity {
		c.meter.Release(int64(cap(c.blocks[c.order[0]].data)))
		delete(c.blocks, c.order[0])
		c.order = slices.Delete(c.order, 0, 1)
	}
	if c.meter.Hold(int64(cap(b.data))) != nil {
		return
	}
	if c.blocks == nil {
		c.blocks = make(map[int64]*block)
	}
	c.blocks[at] = b
	c.order = append(c.order, at)
}

// drop gives the memory back.
func (c *blockCache) drop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, b := range c.blocks {
		c.meter.Release(int64(cap(b.data)))
	}
	c.blocks, c.order = nil, nil
}
