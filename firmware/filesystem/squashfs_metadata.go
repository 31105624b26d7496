package filesystem

import (
	"encoding/binary"
	"fmt"
	"io"
)

// Inodes, directories and tables are rows of metadata blocks: a 16-bit header
// with the size and, in its top bit, "stored", then the block.

// metadataBlock returns the block at an offset. It must end before end. What
// names the table in errors.
func (s *SquashFS) metadataBlock(what string, at, end int64) (*block, error) {
	if b := s.metadata.get(at); b != nil && b.next <= end {
		return b, nil
	}
	b, err := s.metadata.load(at, func() (*block, error) { return s.readMetadata(at, end) }, nil)
	if err == nil && b.next > end {
		err = fmt.Errorf("reaches past its table, which ends at %#x", end)
	}
	if err != nil {
		return nil, fmt.Errorf("squashfs: %s: metadata block at %#x: %w", what, at, err)
	}
	return b, nil
}

func (s *SquashFS) readMetadata(at, end int64) (*block, error) {
	head := make([]byte, 2, 3)
	if s.super.major < 4 && s.super.flags&squashFlagCheck != 0 {
		head = head[:3] // with a byte of 0xff
	}
	if at < int64(s.super.size()) || at > end-int64(len(head)) {
		return nil, fmt.Errorf("outside its table, which ends at %#x", end)
	}
	if _, err := s.r.ReadAt(head, at); err != nil && err != io.EOF {
		return nil, err
	}
	const stored = 1 << 15
	word := s.super.order.Uint16(head)
	if s.super.avm {
		word = binary.LittleEndian.Uint16(head)
	}
	size := int64(word &^ stored)
	if size == 0 || size > squashMetadata {
		return nil, fmt.Errorf("of %d bytes, and 1 to %d are possible", size, squashMetadata)
	}
	at += int64(len(head))
	if size > end-at {
		return nil, fmt.Errorf("of %d bytes reaches past its table, which ends at %#x", size, end)
	}
	packed := make([]byte, size)
	if _, err := s.r.ReadAt(packed, at); err != nil && err != io.EOF {
		return nil, err
	}
	b := &block{data: packed, next: at + size}
	if word&stored == 0 {
		b.data = make([]byte, squashMetadata)
		n, err := s.codec.unpack(packed, b.data)
		if err != nil {
			return nil, err
		}
		b.data = b.data[:n]
	}
	if len(b.data) == 0 {
		return nil, fmt.Errorf("is empty")
	}
	return b, s.meter.Bytes(int64(len(b.data)))
}

// cursor reads on in a row of metadata blocks. It is a value: a copy keeps its
// place.
type cursor struct {
	s    *SquashFS
	what string
	at   int64 // the block that the next byte is in
	end  int64
	off  int // in it
	read int64
}

func (c *cursor) next(p []byte) error {
	for len(p) > 0 {
		b, err := c.s.metadataBlock(c.what, c.at, c.end)
		if err != nil {
			return err
		}
		if c.off >= len(b.data) {
			if c.off > len(b.data) {
				return fmt.Errorf("squashfs: %s: offset %d in the block at %#x of %d bytes", c.what, c.off, c.at, len(b.data))
			}
			c.at, c.off = b.next, 0
			continue
		}
		n := copy(p, b.data[c.off:])
		c.off += n
		c.read += int64(n)
		p = p[n:]
	}
	return nil
}

// table is a row of entries of one size in metadata blocks; an array of the
// blocks' offsets is at start, after the blocks.
type table struct {
	name     string
	start    uint64
	entries  uint64
	size     uint64 // of an entry
	optional bool
}

func (t table) blocks() uint64 { return (t.entries*t.size + squashMetadata - 1) / squashMetadata }

func (s *SquashFS) idTable() table {
	return table{"id", s.super.idTable, uint64(s.super.ids), 4, false}
}
func (s *SquashFS) fragmentTable() table {
	return table{"fragment", s.super.fragmentTable, uint64(s.super.fragments), 2 * s.super.pointer(), false}
}
func (s *SquashFS) exportTable() table {
	return table{"export", s.super.exportTable, uint64(s.super.inodes), 8, true}
}
func (s *SquashFS) tables() []table {
	if s.super.major < 4 {
		return []table{s.fragmentTable(), s.exportTable()}
	}
	return []table{s.idTable(), s.fragmentTable(), s.exportTable()}
}

// lookup reads entry i of a table into p.
func (s *SquashFS) tableEntry(t table, i uint64, p []byte) error {
	if i >= t.entries || t.start == squashNothing {
		return fmt.Errorf("squashfs: %s table of %d entries has no entry %d", t.name, t.entries, i)
	}
	at := i * t.size
	start, err := s.tableBlock(t, at/squashMetadata)
	if err != nil {
		return err
	}
	c := cursor{s: s, what: t.name + " table", at: start, end: s.super.used, off: int(at % squashMetadata)}
	return c.next(p)
}

func (s *SquashFS) tableBlock(t table, i uint64) (int64, error) {
	var p [8]byte
	n := s.super.pointer()
	if _, err := s.r.ReadAt(p[:n], int64(t.start+n*i)); err != nil && err != io.EOF {
		return 0, fmt.Errorf("squashfs: %s table: %w", t.name, err)
	}
	at := s.super.order.Uint64(p[:])
	if n == 4 {
		at = uint64(s.super.order.Uint32(p[:]))
	}
	if at > uint64(s.super.used) {
		return 0, fmt.Errorf("squashfs: %s table: block %d is at %#x, past the end at %#x", t.name, i, at, s.super.used)
	}
	return int64(at), nil
}

// directoryEnd is where the next structure after the directory table starts:
// the blocks of another table, or its array of offsets.
func (s *SquashFS) directoryEnd() int64 {
	end := s.super.used
	lower := func(at uint64) {
		if at > s.super.directoryTable && at < uint64(end) {
			end = int64(at)
		}
	}
	lower(s.super.xattrTable)
	if at, err := s.firstXattrBlock(); err == nil {
		lower(at)
	}
	for _, t := range s.super.owners() {
		if t.count > 0 {
			lower(t.start)
		}
	}
	for _, t := range s.tables() {
		if t.start == squashNothing || t.entries == 0 && s.super.major < 4 {
			continue
		}
		lower(t.start)
		if t.entries == 0 {
			continue
		}
		if at, err := s.tableBlock(t, 0); err == nil {
			lower(uint64(at))
		}
	}
	return end
}

// fields reads the next fields of the given widths in bits: the structures of
// the versions before 4 are packed bit by bit, from the lowest bit on in little
// endian images, from the highest in big endian ones.
func (c *cursor) fields(widths ...int) (v [8]uint64, err error) {
	var p [48]byte
	bits := 0
	for _, n := range widths {
		bits += n
	}
	if err := c.next(p[:bits/8]); err != nil {
		return v, err
	}
	big := c.s.super.order.big
	at := 0
	for i, n := range widths {
		for range n {
			if big {
				v[i] = v[i]<<1 | uint64(p[at/8]>>(7-at%8)&1)
			}
			at++
		}
		for k := at - n; k < at && !big; k++ {
			v[i] |= uint64(p[k/8]>>(k%8)&1) << (k - at + n)
		}
	}
	return v, nil
}
