package filesystem

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

// Layouts of an inode's data.
const (
	erofsPlain   = 0
	erofsFull    = 1 // compressed, with an index of 8 bytes a cluster
	erofsInline  = 2 // plain, with the last part behind the inode
	erofsCompact = 3 // compressed, with an index of 2 or 4 bytes a cluster
	erofsChunks  = 4
	erofsLayouts = 5
)

var erofsLayoutNames = [erofsLayouts]string{"plain", "compressed", "inline", "compressed with compact indexes", "chunks"}

// erofsTypes are the file types of directory entries.
var erofsTypes = [...]uint32{0, typeFile, typeDir, typeChar, typeBlock, typeFIFO, typeSocket, typeLink}

// erofsInode is an inode.
type erofsInode struct {
	Inode
	e      *EROFS
	layout int
	length int64
	data   uint32 // where the data is, or how the chunks are, or the number of blocks
	end    int64  // of the inode and its attributes in the image
}

func (e *EROFS) inode(number uint64) (*erofsInode, error) {
	if number > uint64(e.there)/erofsSlot {
		return nil, fmt.Errorf("erofs: inode %d is outside the image", number)
	}
	at := e.meta + int64(number)*erofsSlot
	if at > e.there-32 {
		return nil, fmt.Errorf("erofs: inode %d is outside the image", number)
	}
	p := make([]byte, min(64, e.there-at))
	if err := readFull(e.r, p, at); err != nil {
		return nil, fmt.Errorf("erofs: inode %d: %w", number, err)
	}
	le := binary.LittleEndian
	format := le.Uint16(p)
	n := &erofsInode{e: e, layout: int(format >> 1 & 7), data: le.Uint32(p[16:])}
	n.Inode = Inode{Number: number, Mode: uint32(le.Uint16(p[4:]))}
	// Bit 4 says of a directory that it does not list itself.
	if format&^0x1f != 0 || n.layout >= erofsLayouts || format&0x10 != 0 && !n.is(typeDir) {
		return nil, n.bad("format %#x", format)
	}
	size := int64(32)
	if format&1 == 0 {
		n.length, n.Links = int64(le.Uint32(p[8:])), uint32(le.Uint16(p[6:]))
		n.UID, n.GID = uint32(le.Uint16(p[24:])), uint32(le.Uint16(p[26:]))
		n.ModTime = e.built
	} else {
		if size = 64; len(p) < 64 {
			return nil, n.bad("it is outside the image")
		}
		length, seconds := le.Uint64(p[8:]), le.Uint64(p[32:])
		if length > 1<<62 {
			return nil, n.bad("a size of %d bytes", length)
		}
		n.length, n.Links = int64(length), le.Uint32(p[44:])
		n.UID, n.GID = le.Uint32(p[24:]), le.Uint32(p[28:])
		n.ModTime = time.Unix(int64(seconds), int64(min(le.Uint32(p[40:]), 999_999_999))).UTC()
	}
	n.end = at + size
	if count := le.Uint16(p[2:]); count > 0 {
		n.XAttrs = true
		n.end += 12 + 4*int64(count-1)
	}
	switch {
	case n.is(typeFile), n.is(typeLink):
		n.Size = n.length
	case n.is(typeChar), n.is(typeBlock):
		n.Major, n.Minor = extDevice(0, n.data)
	case n.is(typeDir), n.is(typeFIFO), n.is(typeSocket):
	default:
		return nil, n.bad("mode %o is of no file type", n.Mode)
	}
	return n, nil
}

func (n *erofsInode) bad(format string, args ...any) error {
	return fmt.Errorf("erofs: inode %d: %w", n.Number, fmt.Errorf(format, args...))
}

func (n *erofsInode) compressed() bool { return n.layout == erofsFull || n.layout == erofsCompact }

// pieces are where the bytes of a file that is not compressed are.
func (n *erofsInode) pieces() (*pieces, error) {
	e := n.e
	p := &pieces{r: e.r, meter: e.meter, size: n.length, shared: e.shared}
	err := n.lay(p.extend)
	if err != nil {
		p.Close()
		return nil, n.bad("%w", err)
	}
	return p, nil
}

var errErofsOutside = errors.New("its data is outside the image")

// lay calls each for the parts of a file that is not compressed.
func (n *erofsInode) lay(each func(piece) error) error {
	if n.layout == erofsChunks {
		return n.layChunks(each)
	}
	e, block := n.e, int64(1)<<n.e.bits
	whole := n.length
	if n.layout == erofsInline {
		whole = n.length / block * block
		if tail := n.length - whole; tail > 0 && (n.end%block+tail > block || n.end+tail > e.there) {
			return fmt.Errorf("its last %d bytes at %#x cross a block", tail, n.end)
		}
	}
	if whole > 0 {
		at := int64(n.data) << e.bits
		if at > e.there || whole > e.there-at {
			return errErofsOutside
		}
		if err := each(piece{0, at, whole}); err != nil {
			return err
		}
	}
	if whole == n.length {
		return nil
	}
	return each(piece{whole, n.end, n.length - whole})
}

// layChunks reads the addresses of chunks, which are of a power of 2 of blocks.
func (n *erofsInode) layChunks(each func(piece) error) error {
	const indexes, nothing = 0x20, 1<<32 - 1
	e := n.e
	format := n.data & 0xffff
	shift := e.bits + uint(format&0x1f)
	if format&^0x3f != 0 || shift > 47 {
		return fmt.Errorf("chunks of format %#x", format)
	}
	unit := int64(4)
	if format&indexes != 0 {
		unit = 8
	}
	table := (n.end + unit - 1) &^ (unit - 1)
	count := (n.length + 1<<shift - 1) >> shift
	if table > e.there || count > (e.there-table)/unit {
		return fmt.Errorf("%d chunks at %#x are outside the image", count, table)
	}
	buf := make([]byte, min(4096, count*unit))
	for i := int64(0); i < count; i++ {
		at := i * unit % int64(len(buf))
		if at == 0 {
			part := buf[:min(int64(len(buf)), (count-i)*unit)]
			if err := e.meter.Bytes(int64(len(part))); err != nil {
				return err
			}
			if err := readFull(e.r, part, table+i*unit); err != nil {
				return err
			}
		}
		block, device := binary.LittleEndian.Uint32(buf[at:]), uint16(0)
		if unit == 8 {
			device, block = binary.LittleEndian.Uint16(buf[at+2:]), binary.LittleEndian.Uint32(buf[at+4:])
		}
		if block == nothing {
			continue
		}
		first, size := int64(block)<<e.bits, min(1<<shift, n.length-i<<shift)
		switch {
		case device != 0:
			return fmt.Errorf("its chunk %d is on device %d, which is not in the image", i, device)
		case first > e.there || size > e.there-first:
			return errErofsOutside
		}
		if err := each(piece{i << shift, first, size}); err != nil {
			return err
		}
	}
	return nil
}

func (n *erofsInode) inode() *Inode          { return &n.Inode }
func (n *erofsInode) list() ([]entry, error) { return n.e.dirs.list(n.Number) }

func (n *erofsInode) lookup(name string) (node, error) { return n.e.dirs.lookup(n.Number, name) }

// readCloser reads a file and gives back memory in the end.
type readCloser interface {
	io.ReaderAt
	io.Closer
}

func (n *erofsInode) contents() (readCloser, error) {
	if n.compressed() {
		return n.unpack(false)
	}
	return n.pieces()
}

func (n *erofsInode) open() (io.ReaderAt, io.Closer, error) {
	r, err := n.contents()
	if err != nil {
		return nil, nil, err
	}
	return r, r, nil
}

func (n *erofsInode) target() (string, error) {
	if n.length == 0 || n.length > maxTarget {
		return "", n.bad("symbolic link target of %d bytes", n.length)
	}
	r, err := n.contents()
	if err != nil {
		return "", err
	}
	defer r.Close()
	p := make([]byte, n.length)
	if _, err := r.ReadAt(p, 0); err != nil && err != io.EOF {
		return "", n.bad("%w", err)
	}
	return string(p), nil
}
