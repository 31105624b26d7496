package filesystem

import (
	"encoding/binary"
	"fmt"
)

// extDirent is an entry of a directory.
type extDirent struct {
	inode uint32
	kind  byte
	name  []byte
}

// extRecordLength decodes a record's length: blocks of 64 KiB need one bit more
// than there is.
func extRecordLength(v uint16, block int64) int {
	n := int(v)
	if block < extMaxBlock {
		return n
	}
	if n == 0xffff || n == 0 {
		return extMaxBlock
	}
	return n&^3 | n&3<<16
}

// records calls each for the entries of one block of a directory, or of the part
// of one that an inode holds. Unused ones are passed over; the nodes of an index
// are such. The error says what is wrong with the block.
func (s *extSuper) records(p []byte, each func(extDirent) error) (wrong, err error) {
	le := binary.LittleEndian
	for at := 0; at < len(p); {
		if len(p)-at < 8 {
			return fmt.Errorf("%d bytes are left at %d", len(p)-at, at), nil
		}
		size := extRecordLength(le.Uint16(p[at+4:]), s.blockSize)
		name := int(p[at+6])
		kind := p[at+7]
		if !s.incompat(extFileType) {
			name, kind = int(le.Uint16(p[at+6:])), 0
		}
		d := extDirent{inode: le.Uint32(p[at:]), kind: kind}
		if size < 8 || size%4 != 0 || size > len(p)-at || d.inode != 0 && 8+name > size {
			return fmt.Errorf("a record of %d bytes at %d with a name of %d", size, at, name), nil
		}
		if d.inode != 0 {
			d.name = p[at+8:][:name]
			if err := each(d); err != nil {
				return nil, err
			}
		}
		at += size
	}
	return nil, nil
}

// extBlockSum computes the checksum of a directory's block: of entries, whose
// last record is unused and holds it, or of a node of the index, where it stands
// behind the room for its entries. ok is false when there is no place for one.
func (n *extInode) blockSum(p []byte, first bool) (sum, want uint32, ok bool) {
	le := binary.LittleEndian
	if at := n.countAt(p, first); at > 0 {
		room, count := int(le.Uint16(p[at:])), int(le.Uint16(p[at+2:]))
		tail := at + 8*room
		if count > room || tail+8 > len(p) {
			return 0, 0, false
		}
		sum = extCRC(n.sumSeed(), p[:at+8*count])
		sum = extCRC(extCRC(sum, p[tail:tail+4]), make([]byte, 4))
		return sum, le.Uint32(p[tail+4:]), true
	}
	tail := p[len(p)-12:]
	if le.Uint32(tail) != 0 || le.Uint16(tail[4:]) != 12 || tail[6] != 0 || tail[7] != 0xde {
		return 0, 0, false
	}
	return extCRC(n.sumSeed(), p[:len(p)-12]), le.Uint32(tail[8:]), true
}

// countAt is where a node of an index has the number of its entries, or 0 for a
// block of names.
func (n *extInode) countAt(p []byte, first bool) int {
	le := binary.LittleEndian
	switch {
	case n.flags&extIndexed == 0:
		return 0
	case first:
		return 32
	case le.Uint32(p) == 0 && extRecordLength(le.Uint16(p[4:]), int64(len(p))) == len(p):
		return 8
	}
	return 0
}
