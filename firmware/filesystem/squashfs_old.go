package filesystem

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/bits"
	"path"
	"sync"
	"time"

	"assay/firmware/budget"
	"assay/firmware/compress"
)

// SquashFS before version 4: as the kernel patches of squashfs 1.0 to 3.4 had it,
// in either byte order (squashfs-tools 4.5, squashfs_fs.h and squashfs_compat.h,
// describe all of them). Fields are packed bit by bit, from the least significant
// bit on in little endian images and from the most significant one in big endian.
//
// The compressor is zlib, or what vendors put in its place without saying so:
// LZMA with a header or without.
const (
	squashOldSuper   = 119 // bytes of a version 3 superblock; the others are shorter
	squashOldMarked  = 1 << 2
	squashOldRootGID = 255
)

// OldSquashFS is a SquashFS of versions 1 to 3. It may be used from several
// goroutines.
type OldSquashFS struct {
	tree
	Major, Minor uint16
	BigEndian    bool
	Compressor   string
	Created      time.Time
	BlockSize    int64
	Inodes       uint32
	Size         int64 // bytes used
	Survey       *Survey

	archive *archive
	ctx     context.Context
	r       io.ReaderAt
	meter   *budget.Meter
	flags   byte

	uids, gids                     []uint32
	inodes, directories, fragments int64 // where the tables start
	fragmentCount                  uint32
	root                           uint64
	unpack                         func(src, dst []byte) (int, error)
	metadata                       blockCache
	seen                           map[uint64]*archiveNode
	pending                        sync.Mutex // guards the one fragment that is kept
	fragmentAt                     int64
	fragment                       []byte
}

// NewOldSquashFS reads the whole tree of a file system that starts at r's first
// byte; the contents of files are read when asked for. What is wrong with single
// files is in the survey's problems. The error wraps ErrNotSquashFS when there is
// no superblock of these versions.
func NewOldSquashFS(ctx context.Context, r io.ReaderAt, size int64, meter *budget.Meter) (*OldSquashFS, error) {
	s := &OldSquashFS{archive: newArchive(meter), ctx: ctx, r: r, meter: meter, seen: make(map[uint64]*archiveNode), fragmentAt: -1}
	s.tree, s.Survey = s.archive.tree(), &s.archive.survey
	s.metadata = blockCache{capacity: 64, meter: meter}
	defer s.metadata.drop()
	if err := s.superblock(size); err != nil {
		return nil, err
	}
	var err error
	if s.uids, err = s.owners(71, 12, 37); err == nil {
		s.gids, err = s.owners(79, 16, 38)
	}
	if err == nil {
		err = s.method()
	}
	if err != nil {
		return nil, fmt.Errorf("squashfs: %w", err)
	}
	err = s.visit(s.root, ".", 0)
	s.archive.finish()
	if err != nil {
		return s, fmt.Errorf("squashfs: %w", err)
	}
	if found := s.Survey.total(); found != int(s.Inodes) {
		s.Survey.problem("%d inodes are reached from the root and the superblock counts %d", found, s.Inodes)
	}
	return s, nil
}

// bits reads n bits that start at bit number at.
func (s *OldSquashFS) bits(p []byte, at, n int) (v uint64) {
	for i := at; i < at+n; i++ {
		if s.BigEndian {
			v = v<<1 | uint64(p[i/8]>>(7-i%8)&1)
		} else {
			v |= uint64(p[i/8]>>(i%8)&1) << (i - at)
		}
	}
	return v
}

// word reads n bytes at an offset in bytes.
func (s *OldSquashFS) word(p []byte, at, n int) uint64 { return s.bits(p, 8*at, 8*n) }

// superblock is struct squashfs_super_block of 3.x, which holds the fields of the
// versions before.
func (s *OldSquashFS) superblock(size int64) error {
	p := make([]byte, squashOldSuper)
	if n, err := s.r.ReadAt(p, 0); err != nil && err != io.EOF {
		return err
	} else if n < len(p) {
		return fmt.Errorf("%w: %d bytes are too few for one", ErrNotSquashFS, n)
	}
	s.BigEndian = squashOrder(p) == binary.BigEndian
	s.Major, s.Minor = uint16(s.word(p, 28, 2)), uint16(s.word(p, 30, 2))
	s.Inodes, s.flags = uint32(s.word(p, 4, 4)), p[36]
	s.Created = time.Unix(int64(s.word(p, 39, 4)), 0).UTC()
	s.root = s.word(p, 43, 8)
	log := s.word(p, 34, 2)
	s.BlockSize = int64(s.word(p, 51, 4))
	s.fragmentCount = uint32(s.word(p, 55, 4))
	switch s.Major {
	case 3:
		s.Size, s.inodes, s.directories, s.fragments = int64(s.word(p, 63, 8)), int64(s.word(p, 87, 8)), int64(s.word(p, 95, 8)), int64(s.word(p, 103, 8))
	case 1, 2:
		s.Size, s.inodes, s.directories, s.fragments = int64(s.word(p, 8, 4)), int64(s.word(p, 20, 4)), int64(s.word(p, 24, 4)), int64(s.word(p, 59, 4))
		if s.Major == 1 {
			s.BlockSize, s.fragmentCount = int64(s.word(p, 32, 2)), 0
		}
	default:
		return fmt.Errorf("%w: version %d.%d", ErrNotSquashFS, s.Major, s.Minor)
	}
	switch {
	case log < 9 || log > 20 || s.BlockSize != 1<<log || bits.OnesCount64(uint64(s.BlockSize)) != 1:
		return fmt.Errorf("%w: blocks of %d bytes, 2^%d", ErrNotSquashFS, s.BlockSize, log)
	case s.Size < 60 || s.Size > size:
		return fmt.Errorf("squashfs: superblock: %d bytes are used and %d are there: the image is cut short", s.Size, size)
	case s.inodes < 51 || s.inodes >= s.directories || s.directories >= s.Size || s.Inodes == 0:
		return fmt.Errorf("squashfs: superblock: inode table at %#x and directory table at %#x are not in order before the end at %#x", s.inodes, s.directories, s.Size)
	case s.fragmentCount > 0 && (s.fragments < 51 || s.fragments >= s.Size || int64(s.fragmentCount) > s.Size/8):
		return fmt.Errorf("squashfs: superblock: %d fragments listed at %#x", s.fragmentCount, s.fragments)
	}
	return nil
}

// method finds the compressor by the first block of inodes: nothing names it.
func (s *OldSquashFS) method() error {
	var first error
	for _, m := range []struct {
		name   string
		unpack func(src, dst []byte) (int, error)
	}{
		{"zlib", func(src, dst []byte) (int, error) { return compress.Block(compress.Zlib, src, dst) }},
		{"lzma", func(src, dst []byte) (int, error) { return compress.Block(compress.LZMA, src, dst) }},
		{"lzma without header", func(src, dst []byte) (int, error) { return compress.LZMARaw(3, 0, 2, src, dst) }},
		{"lzma behind five bytes of properties", func(src, dst []byte) (int, error) {
			if len(src) < 10 || src[0] >= 9*5*5 {
				return 0, io.ErrUnexpectedEOF
			}
			return compress.LZMARaw(uint32(src[0])%9, uint32(src[0])/9%5, uint32(src[0])/45, src[5:], dst)
		}},
		{"lzma without header, lc=0 lp=2 pb=2", func(src, dst []byte) (int, error) { return compress.LZMARaw(0, 2, 2, src, dst) }},
	} {
		s.unpack, s.Compressor = m.unpack, m.name
		n, err := s.inode(s.root)
		if err == nil && n.is(typeDir) {
			return nil
		}
		if fatal(s.ctx, err) {
			return err
		}
		if err == nil {
			err = fmt.Errorf("root inode %#x is no directory", s.root)
		}
		if first == nil {
			first = err
		}
		s.metadata.drop()
		clear(s.seen)
	}
	return fmt.Errorf("no known compressor makes sense of the inodes: %w", first)
}

// owners reads a table of ids, which is not compressed.
func (s *OldSquashFS) owners(at3, at2, count int) ([]uint32, error) {
	head := make([]byte, squashOldSuper)
	if err := readFull(s.r, head, 0); err != nil {
		return nil, err
	}
	start := int64(s.word(head, at2, 4))
	if s.Major == 3 {
		start = int64(s.word(head, at3, 8))
	}
	n := int64(head[count])
	if n == 0 {
		return nil, nil
	}
	if start < 51 || start > s.Size-4*n {
		return nil, fmt.Errorf("%d owners at %#x are outside the %d bytes", n, start, s.Size)
	}
	p := make([]byte, 4*n)
	if err := readFull(s.r, p, start); err != nil {
		return nil, err
	}
	ids := make([]uint32, n)
	for i := range ids {
		ids[i] = uint32(s.word(p, 4*i, 4))
	}
	return ids, nil
}

// metadataBlock is a 16-bit size, whose top bit says "stored", perhaps a mark of
// one byte, and up to 8 KiB packed.
func (s *OldSquashFS) metadataBlock(at int64) (*block, error) {
	if b := s.metadata.get(at); b != nil {
		return b, nil
	}
	head := make([]byte, 2, 3)
	if s.flags&squashOldMarked != 0 {
		head = head[:3]
	}
	if at < 0 || at > s.Size-int64(len(head)) {
		return nil, fmt.Errorf("metadata block at %#x is outside the %d bytes", at, s.Size)
	}
	if err := readFull(s.r, head, at); err != nil {
		return nil, err
	}
	word := int64(s.word(head, 0, 2))
	size := word &^ 0x8000
	if size == 0 {
		size = 0x8000
	}
	at2 := at + int64(len(head))
	if size > squashMetadata || size > s.Size-at2 {
		return nil, fmt.Errorf("metadata block at %#x of %d bytes", at, size)
	}
	packed := make([]byte, size)
	if err := readFull(s.r, packed, at2); err != nil {
		return nil, err
	}
	b := &block{data: packed, next: at2 + size}
	if word&0x8000 == 0 {
		b.data = make([]byte, squashMetadata)
		n, err := s.unpack(packed, b.data)
		if err != nil || n == 0 {
			return nil, fmt.Errorf("metadata block at %#x: unpacks to %d bytes: %w", at, n, errors.Join(err))
		}
		b.data = b.data[:n]
	}
	if err := s.meter.Bytes(int64(len(b.data))); err != nil {
		return nil, err
	}
	s.metadata.put(at, b)
	return b, nil
}

// oldCursor reads on in a row of metadata blocks.
type oldCursor struct {
	s   *OldSquashFS
	at  int64
	off int
}

func (c *oldCursor) next(n int) ([]byte, error) {
	p := make([]byte, 0, min(n, squashMetadata))
	for len(p) < n {
		b, err := c.s.metadataBlock(c.at)
		if err != nil {
			return nil, err
		}
		if c.off > len(b.data) {
			return nil, fmt.Errorf("offset %d in the metadata block at %#x of %d bytes", c.off, c.at, len(b.data))
		}
		if c.off == len(b.data) {
			c.at, c.off = b.next, 0
			continue
		}
		k := min(n-len(p), len(b.data)-c.off)
		p = append(p, b.data[c.off:c.off+k]...)
		c.off += k
	}
	return p, nil
}

// oldInode is an inode as it lies there.
type oldInode struct {
	Inode
	size      int64 // of a listing or a file
	start     int64 // of data, or of a listing in its table
	offset    int   // of a listing in its block
	frag      uint32
	fragOff   uint32
	tail      oldCursor // block sizes, or a link's target
	linkBytes int
}

// fields reads the next fields of the given widths in bits.
func (s *OldSquashFS) fields(c *oldCursor, widths ...int) ([]uint64, error) {
	total := 0
	for _, w := range widths {
		total += w
	}
	p, err := c.next(total / 8)
	if err != nil {
		return nil, err
	}
	list := make([]uint64, len(widths))
	at := 0
	for i, w := range widths {
		list[i] = s.bits(p, at, w)
		at += w
	}
	return list, nil
}

// Inode types of version 2 and 3; version 1 counts them with the owner.
const (
	oldDir = iota + 1
	oldFile
	oldLink
	oldBlock
	oldChar
	oldFIFO
	oldSocket
	oldLongDir
	oldLongFile
)

func (s *OldSquashFS) inode(ref uint64) (*oldInode, error) {
	at := int64(ref >> 16)
	if at > s.directories-s.inodes {
		return nil, fmt.Errorf("inode %#x is outside its table", ref)
	}
	c := oldCursor{s: s, at: s.inodes + at, off: int(ref & 0xffff)}
	n, err := s.readInode(&c)
	if err != nil {
		return nil, fmt.Errorf("inode %#x: %w", ref, err)
	}
	return n, nil
}

func (s *OldSquashFS) readInode(c *oldCursor) (*oldInode, error) {
	owner := 8
	if s.Major == 1 {
		owner = 4
	}
	base, err := s.fields(c, 4, 12, owner, owner)
	if err != nil {
		return nil, err
	}
	n := &oldInode{Inode: Inode{Mode: uint32(base[1]), Links: 1}, frag: squashNoFragment}
	kind, uid := base[0], base[2]
	if s.Major == 1 {
		if kind == 0 { // a fifo or a socket, whose type follows
			more, err := s.fields(c, 4, 4)
			if err != nil {
				return nil, err
			}
			kind, uid = more[0], 16*more[1]+uid
		} else {
			kind, uid = (kind-1)%5+1, 16*((kind-1)/5)+uid
		}
	}
	n.UID = s.owner(s.uids, uid)
	if gid := base[3]; gid == squashOldRootGID&(1<<owner-1) {
		n.GID = n.UID
	} else {
		n.GID = s.owner(s.gids, gid)
	}
	if s.Major == 3 {
		more, err := s.fields(c, 32, 32)
		if err != nil {
			return nil, err
		}
		n.ModTime, n.Number = time.Unix(int64(int32(more[0])), 0).UTC(), more[1]
	}
	types := [...]uint32{oldDir: typeDir, oldFile: typeFile, oldLink: typeLink, oldBlock: typeBlock, oldChar: typeChar, oldFIFO: typeFIFO, oldSocket: typeSocket, oldLongDir: typeDir, oldLongFile: typeFile}
	if kind == 0 || int(kind) >= len(types) {
		return nil, fmt.Errorf("type %d", kind)
	}
	n.Mode |= types[kind]
	return n, s.rest(c, n, kind)
}

// rest reads what an inode of its type has behind the part common to all.
func (s *OldSquashFS) rest(c *oldCursor, n *oldInode, kind uint64) error {
	three := s.Major == 3
	read := func(widths ...int) []uint64 { return nil }
	var err error
	read = func(widths ...int) []uint64 {
		list, e := s.fields(c, widths...)
		if e != nil && err == nil {
			err = e
		}
		if e != nil {
			return make([]uint64, len(widths))
		}
		return list
	}
	if three && kind != oldFile {
		n.Links = uint32(read(32)[0])
	}
	switch kind {
	case oldDir, oldLongDir:
		size := map[bool]int{false: 19, true: 27}[kind == oldLongDir]
		v := read(size, 13)
		n.size, n.offset = int64(v[0]), int(v[1])
		if three {
			n.start = int64(read(32)[0])
			n.size -= 3
		} else {
			n.ModTime = time.Unix(int64(int32(read(32)[0])), 0).UTC()
			n.start = int64(read(24)[0])
		}
		n.size = max(n.size, 0)
	case oldFile, oldLongFile:
		if !three {
			n.ModTime = time.Unix(int64(int32(read(32)[0])), 0).UTC()
			n.start = int64(read(32)[0])
		} else {
			n.start = int64(read(64)[0])
		}
		if s.Major > 1 {
			v := read(32, 32)
			n.frag, n.fragOff = uint32(v[0]), uint32(v[1])
		}
		width := 32
		if kind == oldLongFile {
			width = 64
		}
		n.size = int64(read(width)[0])
		if n.size < 0 || n.start < 0 || n.start > s.Size {
			return fmt.Errorf("a file of %d bytes at %#x", n.size, n.start)
		}
		n.Size = n.size
	case oldLink:
		n.linkBytes = int(read(16)[0])
		n.Size = int64(n.linkBytes)
	case oldBlock, oldChar:
		dev := uint32(read(16)[0])
		n.Major, n.Minor = dev>>8, dev&0xff
	}
	n.tail = *c
	return err
}

func (s *OldSquashFS) owner(ids []uint32, i uint64) uint32 {
	if i < uint64(len(ids)) {
		return ids[i]
	}
	s.Survey.problem("owner %d is not among the %d there are", i, len(ids))
	return 0
}

// visit puts an inode into the tree, and what is in it.
func (s *OldSquashFS) visit(ref uint64, name string, depth int) error {
	if err := s.ctx.Err(); err != nil {
		return err
	}
	if known := s.seen[ref]; known != nil {
		if known.is(typeDir) {
			s.Survey.problem("%s: the directory is in another place as well; left out here", name)
			return nil
		}
		known.Links++
		return s.archive.add(name, known)
	}
	n, err := s.inode(ref)
	if err == nil && n.is(typeLink) && (n.linkBytes == 0 || n.linkBytes > maxTarget) {
		err = fmt.Errorf("symbolic link of %d bytes", n.linkBytes)
	}
	if fatal(s.ctx, err) {
		return err
	}
	if err != nil {
		s.Survey.problem("%s: %v", name, err)
		return nil
	}
	node := &archiveNode{Inode: n.Inode}
	s.seen[ref] = node
	switch {
	case n.is(typeLink):
		target, err := n.tail.next(n.linkBytes)
		if err != nil {
			s.Survey.problem("%s: %v", name, err)
			return fatalOnly(s.ctx, err)
		}
		node.r = sliceReader(target)
	case n.is(typeFile):
		if err := s.file(n, node); err != nil {
			s.Survey.problem("%s: %v", name, err)
			return fatalOnly(s.ctx, err)
		}
	}
	if err := s.archive.add(name, node); err != nil || !n.is(typeDir) {
		return err
	}
	if depth > maxNesting {
		s.Survey.problem("%s: %v", name, errNesting)
		return nil
	}
	err = s.list(n, name, depth)
	if err != nil && !fatal(s.ctx, err) {
		s.Survey.problem("%s: %v", name, err)
		err = nil
	}
	return err
}

func fatalOnly(ctx context.Context, err error) error {
	if fatal(ctx, err) {
		return err
	}
	return nil
}

// list reads a directory: headers of a count, each before its entries.
func (s *OldSquashFS) list(n *oldInode, name string, depth int) error {
	c := oldCursor{s: s, at: s.directories + n.start, off: n.offset}
	if n.start > s.Size-s.directories {
		return fmt.Errorf("its listing at %#x is outside its table", n.start)
	}
	head, entry := []int{8, 24}, []int{13, 3, 8}
	if s.Major == 3 {
		head, entry = []int{8, 32, 32}, []int{13, 3, 8, 16}
	}
	width := func(list []int) (sum int64) {
		for _, w := range list {
			sum += int64(w) / 8
		}
		return sum
	}
	headBytes, entryBytes := width(head), int64(3)
	if s.Major == 3 {
		entryBytes = 5
	}
	for left := n.size; left >= headBytes; {
		h, err := s.fields(&c, head...)
		if err != nil {
			return err
		}
		left -= headBytes
		for range h[0] + 1 {
			e, err := s.fields(&c, entry...)
			if err != nil {
				return err
			}
			own, err := c.next(int(e[2]) + 1)
			if err != nil {
				return err
			}
			if left -= entryBytes + int64(len(own)); left < 0 {
				return errors.New("its listing is shorter than its entries")
			}
			if err := s.meter.Entries(1); err != nil {
				return err
			}
			if !validName(string(own)) {
				s.Survey.problem("%s: the name %q is not possible and left out", name, own)
				continue
			}
			if err := s.visit(h[1]<<16|e[0], path.Join(name, string(own)), depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

// file reads the list of a file's blocks.
func (s *OldSquashFS) file(n *oldInode, node *archiveNode) error {
	blocks := n.size / s.BlockSize
	if n.frag == squashNoFragment && n.size%s.BlockSize != 0 {
		blocks++
	}
	width := 4
	if s.Major == 1 {
		width = 2
	}
	// A block size is at least a byte of the table that it is in, packed.
	if blocks > (s.directories-s.inodes)*squashMetadata/int64(width) {
		return fmt.Errorf("%d blocks are more than its table can list", blocks)
	}
	var list []dataBlock
	at := n.start
	for range blocks {
		p, err := n.tail.next(width)
		if err != nil {
			return err
		}
		word := uint32(s.word(p, 0, width))
		if s.Major == 1 {
			// 15 bits of size and one for "stored".
			size := word & 0x7fff
			if size == 0 {
				size = 0x8000
			}
			word = size | word>>15&1*squashStored
		}
		size := int64(word & squashSizeMask)
		if size > s.BlockSize || at > s.Size-size {
			return fmt.Errorf("data block of %d bytes at %#x", size, at)
		}
		if err := s.meter.Hold(16); err != nil {
			return err
		}
		list = append(list, dataBlock{at, word})
		at += size
	}
	d := &oldData{s: s, size: n.size, blocks: list, frag: n.frag, fragOff: int64(n.fragOff)}
	node.data = func() (io.ReaderAt, io.Closer, error) { return &oldReader{oldData: d, have: -1}, nil, nil }
	return nil
}

// oldData is where a file's bytes are.
type oldData struct {
	s       *OldSquashFS
	size    int64
	blocks  []dataBlock
	frag    uint32
	fragOff int64
}

// oldReader keeps the block that it unpacked last.
type oldReader struct {
	*oldData
	mu   sync.Mutex
	have int
	buf  []byte
}

func (d *oldReader) ReadAt(p []byte, off int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if off < 0 {
		return 0, fs.ErrInvalid
	}
	done := 0
	for done < len(p) && off < d.size {
		i := int(off / d.s.BlockSize)
		if i != d.have {
			d.have = -1
			if err := d.load(i); err != nil {
				return done, err
			}
			d.have = i
		}
		n := copy(p[done:], d.buf[off%d.s.BlockSize:])
		done, off = done+n, off+int64(n)
	}
	if done < len(p) {
		return done, io.EOF
	}
	return done, nil
}

func (d *oldReader) load(i int) error {
	length := min(d.s.BlockSize, d.size-int64(i)*d.s.BlockSize)
	if d.buf == nil {
		d.buf = make([]byte, d.s.BlockSize)
	}
	d.buf = d.buf[:length]
	if i >= len(d.blocks) {
		whole, err := d.s.fragmentBlock(d.frag)
		if err != nil {
			return err
		}
		if d.fragOff > int64(len(whole))-length {
			return fmt.Errorf("its last %d bytes at %d are not in the %d of fragment %d", length, d.fragOff, len(whole), d.frag)
		}
		copy(d.buf, whole[d.fragOff:])
		return nil
	}
	b := d.blocks[i]
	if b.word&squashSizeMask == 0 {
		clear(d.buf)
		return d.s.meter.Bytes(length)
	}
	n, err := d.s.unpackBlock(b, d.buf)
	if err == nil && n != len(d.buf) {
		err = fmt.Errorf("it unpacks to %d bytes and not to %d", n, len(d.buf))
	}
	if err != nil {
		return fmt.Errorf("data block %d at %#x: %w", i, b.at, err)
	}
	return nil
}

func (s *OldSquashFS) unpackBlock(b dataBlock, dst []byte) (int, error) {
	packed := make([]byte, b.word&squashSizeMask)
	if err := readFull(s.r, packed, b.at); err != nil {
		return 0, err
	}
	if b.word&squashStored != 0 {
		return copy(dst, packed), s.meter.Bytes(int64(len(packed)))
	}
	n, err := s.unpack(packed, dst)
	if err != nil {
		return n, err
	}
	return n, s.meter.Bytes(int64(n))
}

// fragmentBlock unpacks a block of the ends of files. The last one is kept.
func (s *OldSquashFS) fragmentBlock(i uint32) ([]byte, error) {
	if i >= s.fragmentCount {
		return nil, fmt.Errorf("fragment %d of %d", i, s.fragmentCount)
	}
	s.pending.Lock()
	defer s.pending.Unlock()
	if s.fragmentAt == int64(i) {
		return s.fragment, nil
	}
	entry, index := int64(8), int64(4)
	if s.Major == 3 {
		entry, index = 16, 8
	}
	where := int64(i) * entry
	p := make([]byte, index)
	at := s.fragments + where/squashMetadata*index
	if at > s.Size-index {
		return nil, fmt.Errorf("fragment %d is listed outside the image", i)
	}
	if err := readFull(s.r, p, at); err != nil {
		return nil, err
	}
	c := oldCursor{s: s, at: int64(s.word(p, 0, int(index))), off: int(where % squashMetadata)}
	e, err := c.next(int(index) + 4)
	if err != nil {
		return nil, err
	}
	b := dataBlock{int64(s.word(e, 0, int(index))), uint32(s.word(e, int(index), 4))}
	size := int64(b.word & squashSizeMask)
	if size == 0 || size > s.BlockSize || b.at < 0 || b.at > s.Size-size {
		return nil, fmt.Errorf("fragment %d of %d bytes at %#x", i, size, b.at)
	}
	data := make([]byte, s.BlockSize)
	n, err := s.unpackBlock(b, data)
	if err != nil {
		return nil, fmt.Errorf("fragment %d at %#x: %w", i, b.at, err)
	}
	s.fragmentAt, s.fragment = int64(i), data[:n]
	return s.fragment, nil
}

// sliceReader reads from bytes.
type sliceReader []byte

func (r sliceReader) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off > int64(len(r)) {
		return 0, io.EOF
	}
	n := copy(p, r[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}
