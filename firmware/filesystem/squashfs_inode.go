package filesystem

import (
	"encoding/binary"
	"fmt"
	"io"
	"time"
)

// Inode types; the extended one of a type is 7 more.
const (
	squashDir = iota + 1
	squashFile
	squashLink
	squashBlock
	squashChar
	squashFIFO
	squashSocket
	squashExtended = 7
)

// squashTypes gives the file type of a basic inode type.
var squashTypes = [...]uint32{
	squashDir: typeDir, squashFile: typeFile, squashLink: typeLink, squashBlock: typeBlock,
	squashChar: typeChar, squashFIFO: typeFIFO, squashSocket: typeSocket,
}

// squashNode is an inode of a SquashFS.
type squashNode struct {
	Inode
	s        *SquashFS
	ref      uint64 // block offset in the inode table << 16 | offset in the block
	tail     cursor // what follows the fixed part: block sizes, index, target
	extended bool

	parent    uint32 // of a directory: its parent's number
	dirBlock  uint32 // of a directory: where its listing is in the table
	dirOffset uint16
	dirSize   int64
	indexes   uint16

	start      uint64 // of a file: its first data block
	fragment   uint32
	fragOffset uint32
	blocks     uint64
}

func (n *squashNode) id() uint64 { return n.ref + 1 }

func (n *squashNode) inode() *Inode { return &n.Inode }

// inode reads the inode at a reference.
func (s *SquashFS) inode(ref uint64) (*squashNode, error) {
	n := &squashNode{s: s, ref: ref}
	if ref>>16 > uint64(s.super.used) || ref&0xffff >= squashMetadata {
		return nil, fmt.Errorf("squashfs: inode table: there is no place %#x", ref)
	}
	n.tail = cursor{
		s: s, what: "inode table",
		at:  int64(s.super.inodeTable) + int64(ref>>16),
		end: int64(s.super.directoryTable),
		off: int(ref & 0xffff),
	}
	if err := n.parse(); err != nil {
		return nil, err
	}
	return n, nil
}

func (n *squashNode) parse() error {
	var head [16]byte
	if err := n.tail.next(head[:]); err != nil {
		return err
	}
	le := binary.LittleEndian
	kind := le.Uint16(head[:])
	if n.extended = kind > squashExtended; n.extended {
		kind -= squashExtended
	}
	if kind < squashDir || kind > squashSocket {
		return n.bad("type %d does not exist", le.Uint16(head[:]))
	}
	n.Mode = squashTypes[kind] | uint32(le.Uint16(head[2:]))&0o7777
	n.ModTime = time.Unix(int64(le.Uint32(head[8:])), 0).UTC()
	n.Number = uint64(le.Uint32(head[12:]))
	n.Links = 1
	var err error
	if n.UID, err = n.s.id(le.Uint16(head[4:])); err != nil {
		return n.bad("owner: %w", err)
	}
	if n.GID, err = n.s.id(le.Uint16(head[6:])); err != nil {
		return n.bad("group: %w", err)
	}
	switch kind {
	case squashDir:
		return n.parseDir()
	case squashFile:
		return n.parseFile()
	case squashLink:
		return n.parseLink()
	case squashBlock, squashChar:
		return n.parseDevice()
	}
	return n.parseOther()
}

func (n *squashNode) bad(format string, args ...any) error {
	return fmt.Errorf("squashfs: inode at %#x:%d: %w", n.s.super.inodeTable+n.ref>>16, n.ref&0xffff, fmt.Errorf(format, args...))
}

func (n *squashNode) parseDir() error {
	le := binary.LittleEndian
	if !n.extended {
		var p [16]byte
		if err := n.tail.next(p[:]); err != nil {
			return err
		}
		n.dirBlock, n.Links = le.Uint32(p[:]), le.Uint32(p[4:])
		n.dirSize, n.dirOffset = int64(le.Uint16(p[8:])), le.Uint16(p[10:])
		n.parent = le.Uint32(p[12:])
	} else {
		var p [24]byte
		if err := n.tail.next(p[:]); err != nil {
			return err
		}
		n.Links, n.dirSize = le.Uint32(p[:]), int64(le.Uint32(p[4:]))
		n.dirBlock, n.parent = le.Uint32(p[8:]), le.Uint32(p[12:])
		n.indexes, n.dirOffset = le.Uint16(p[16:]), le.Uint16(p[18:])
		n.XAttrs = le.Uint32(p[20:]) != squashNoXattr
	}
	// The size counts 3 bytes for "." and "..", which are not stored.
	n.dirSize = max(0, n.dirSize-3)
	if n.dirOffset >= squashMetadata && n.dirSize > 0 {
		return n.bad("listing starts at %d in a block", n.dirOffset)
	}
	return nil
}

func (n *squashNode) parseFile() error {
	le := binary.LittleEndian
	var size uint64
	if !n.extended {
		var p [16]byte
		if err := n.tail.next(p[:]); err != nil {
			return err
		}
		n.start, n.fragment = uint64(le.Uint32(p[:])), le.Uint32(p[4:])
		n.fragOffset, size = le.Uint32(p[8:]), uint64(le.Uint32(p[12:]))
	} else {
		var p [40]byte
		if err := n.tail.next(p[:]); err != nil {
			return err
		}
		n.start, size = le.Uint64(p[:]), le.Uint64(p[8:])
		n.Links, n.fragment = le.Uint32(p[24:]), le.Uint32(p[28:])
		n.fragOffset = le.Uint32(p[32:])
		n.XAttrs = le.Uint32(p[36:]) != squashNoXattr
	}
	if size > 1<<62 {
		return n.bad("size of %d bytes", size)
	}
	n.Size = int64(size)
	n.blocks = size / uint64(n.s.super.blockSize)
	if n.fragment == squashNoFragment && size%uint64(n.s.super.blockSize) != 0 {
		n.blocks++
	}
	return nil
}

func (n *squashNode) parseLink() error {
	var p [8]byte
	if err := n.tail.next(p[:]); err != nil {
		return err
	}
	n.Links = binary.LittleEndian.Uint32(p[:])
	n.Size = int64(binary.LittleEndian.Uint32(p[4:]))
	if n.Size == 0 || n.Size > maxTarget {
		return n.bad("symbolic link target of %d bytes", n.Size)
	}
	if !n.extended {
		return nil
	}
	c := n.tail
	if err := c.next(make([]byte, n.Size)); err != nil {
		return err
	}
	return n.parseXattr(&c)
}

func (n *squashNode) parseDevice() error {
	var p [8]byte
	if err := n.tail.next(p[:]); err != nil {
		return err
	}
	n.Links = binary.LittleEndian.Uint32(p[:])
	// new_encode_dev of the kernel: 12 bits major, 20 bits minor around it.
	dev := binary.LittleEndian.Uint32(p[4:])
	n.Major, n.Minor = dev>>8&0xfff, dev&0xff|dev>>12&0xfff00
	if n.extended {
		return n.parseXattr(&n.tail)
	}
	return nil
}

func (n *squashNode) parseOther() error {
	var p [4]byte
	if err := n.tail.next(p[:]); err != nil {
		return err
	}
	n.Links = binary.LittleEndian.Uint32(p[:])
	if n.extended {
		return n.parseXattr(&n.tail)
	}
	return nil
}

func (n *squashNode) parseXattr(c *cursor) error {
	var p [4]byte
	if err := c.next(p[:]); err != nil {
		return err
	}
	n.XAttrs = binary.LittleEndian.Uint32(p[:]) != squashNoXattr
	return nil
}

func (n *squashNode) target() (string, error) {
	p := make([]byte, n.Size)
	c := n.tail
	if err := c.next(p); err != nil {
		return "", err
	}
	return string(p), nil
}

func (n *squashNode) open() (io.ReaderAt, io.Closer, error) {
	f, err := newSquashData(n)
	return f, f, err
}

// id returns a user or group number.
func (s *SquashFS) id(i uint16) (uint32, error) {
	var p [4]byte
	if err := s.tableEntry(s.idTable(), uint64(i), p[:]); err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint32(p[:]), nil
}
