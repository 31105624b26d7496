package filesystem

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"

	"assay/firmware/budget"
	"assay/firmware/compress"
)

const (
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
	squashFlagCheck   = 1 << 2 // before version 4
	squashFlagExport  = 1 << 7
	squashFlagOptions = 1 << 10
)

var squashFlags = []struct {
	bit  uint16
	name string
}{
	{1 << 0, "uncompressed inodes"}, {1 << 1, "uncompressed data"}, {squashFlagCheck, "check bytes"}, {1 << 3, "uncompressed fragments"},
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

// SquashFS is a SquashFS of the versions 1 to 4, in either byte order, with any
// of version 4's six compressors or what vendors put in the place of zlib. It may
// be used from several goroutines.
//
// What it reads is checked as it is read: sizes, places and names. Whether the
// whole is sound is what [SquashFS.Prove] finds out.
type SquashFS struct {
	tree
	super   *superblock
	codec   *squashCodec
	options string
	r       io.ReaderAt
	meter   *budget.Meter
	dirEnd  int64 // where the directory table ends at the latest

	metadata  blockCache
	fragments blockCache
	buffers   sync.Pool     // *[]byte of a block's size
	workers   chan struct{} // one for each block that may be unpacked beside its reader

	edges edges
}

// NewSquashFS reads the superblock of a file system that starts at r's first
// byte and has at most size bytes. Unpacked bytes are charged to the meter as
// they are read, again each time they are unpacked.
//
// The error wraps ErrNotSquashFS, is a *SquashFSVersionError, or says what is
// wrong with a superblock that is one.
func NewSquashFS(r io.ReaderAt, size int64, meter *budget.Meter) (*SquashFS, error) {
	if size < squashSuperLeast {
		return nil, fmt.Errorf("%w: %d bytes are too few for one", ErrNotSquashFS, size)
	}
	head := make([]byte, min(size, squashSuperMost))
	if _, err := r.ReadAt(head, 0); err != nil && err != io.EOF {
		return nil, fmt.Errorf("squashfs: superblock: %w", err)
	}
	super, err := parseSuperblock(head)
	if err != nil {
		return nil, err
	}
	s := &SquashFS{super: super, r: r, meter: meter}
	if err := s.validate(size); err != nil {
		return nil, fmt.Errorf("squashfs: superblock: %w", err)
	}
	s.codec = newSquashCodec(super)
	s.metadata = blockCache{capacity: 128, meter: meter}
	s.fragments = blockCache{capacity: s.keptFragments(), meter: meter}
	s.workers = make(chan struct{}, runtime.GOMAXPROCS(0)-1)
	s.edges.of = map[uint64]edge{s.super.root: {}}
	s.edges.most = int(s.super.inodes)
	s.tree = tree{root: func() (node, error) { return s.inode(s.super.root) }, meter: meter}
	s.dirEnd = s.directoryEnd()
	if super.major == 4 && s.super.flags&squashFlagOptions != 0 {
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

// keptFragments is how many fragment blocks are kept: one for each reader that
// may be at work, since the small files of a directory are in one block, and
// little enough for a file system to leave others their part of the memory.
func (s *SquashFS) keptFragments() int {
	const little = 2 << 20
	size := int64(s.super.blockSize)
	n := max(little/size, int64(runtime.GOMAXPROCS(0))+2)
	return int(max(2, min(n, s.meter.Limits().Held/16/size)))
}

func (s *SquashFS) readOptions() error {
	block, err := s.metadataBlock("compressor options", int64(s.super.size()), s.super.used)
	if err != nil {
		return err
	}
	p := block.data
	word := func(i int) uint32 {
		if len(p) < 4*i+4 {
			return 0
		}
		return s.super.order.Uint32(p[4*i:])
	}
	switch squashMethods[s.super.compression].method {
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
		if s.super.major < 4 && f.bit > squashFlagExport {
			break // what one byte holds
		}
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
