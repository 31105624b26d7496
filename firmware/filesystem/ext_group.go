package filesystem

import (
	"encoding/binary"
	"fmt"
)

// Flags of a group descriptor, where descriptors have checksums.
const (
	extInodesUnused = 0x1 // the inode bitmap is not written
	extBlocksUnused = 0x2 // the block bitmap is not written
)

// extGroup is a block group's descriptor.
type extGroup struct {
	number                               uint32
	first, blocks                        uint64 // of the group
	blockBitmap, inodeBitmap, inodeTable uint64
	freeBlocks, freeInodes, unusedInodes uint32
	blockSum, inodeSum                   uint32 // of the bitmaps
	flags                                uint16
	sound                                bool // its checksum holds, or it has none
}

// descriptorAt is the block that a descriptor is in.
func (s *extSuper) descriptorAt(group uint32) uint64 {
	per := uint32(s.blockSize / s.descSize)
	index := group / per
	if !s.incompat(extMetaBG) || index < s.firstMetaBG {
		return s.superBlock(0) + 1 + uint64(index)
	}
	first := index * per
	at := s.superBlock(first)
	if s.hasBackup(first) {
		at++
	}
	return at
}

// groupStart is a group's first block.
func (s *extSuper) groupStart(group uint32) uint64 {
	return uint64(s.firstData) + uint64(group)*uint64(s.blocksPerGroup)
}

// superBlock is the block that a group's copy of the superblock is in. Clusters
// of blocks of 1 KiB begin at block 0, and it is in block 1 all the same.
func (s *extSuper) superBlock(group uint32) uint64 {
	return max(s.groupStart(group), uint64(extSuperAt/s.blockSize))
}

func (e *Ext) group(number uint32) (extGroup, error) {
	s := e.super
	per := uint32(s.blockSize / s.descSize)
	block, err := e.block(s.descriptorAt(number))
	if err != nil {
		return extGroup{}, fmt.Errorf("descriptor of block group %d: %w", number, err)
	}
	p := block[int64(number%per)*s.descSize:][:s.descSize]
	le := binary.LittleEndian
	g := extGroup{number: number, first: s.groupStart(number), flags: le.Uint16(p[0x12:])}
	g.blocks = min(uint64(s.blocksPerGroup), s.blocks-g.first)
	wide := func(lo, hi int) uint64 {
		v := uint64(le.Uint32(p[lo:]))
		if s.descSize >= 64 {
			v |= uint64(le.Uint32(p[hi:])) << 32
		}
		return v
	}
	half := func(lo, hi int) uint32 {
		v := uint32(le.Uint16(p[lo:]))
		if s.descSize >= 64 {
			v |= uint32(le.Uint16(p[hi:])) << 16
		}
		return v
	}
	g.blockBitmap, g.inodeBitmap, g.inodeTable = wide(0, 0x20), wide(4, 0x24), wide(8, 0x28)
	g.freeBlocks, g.freeInodes, g.unusedInodes = half(0xc, 0x2c), half(0xe, 0x2e), half(0x1c, 0x32)
	g.blockSum, g.inodeSum = half(0x18, 0x38), half(0x1a, 0x3a)
	want := le.Uint16(p[0x1e:])
	switch {
	case s.summed:
		sum := extCRC(extCRC32(s.seed, number), p[:0x1e])
		sum = extCRC(extCRC(sum, []byte{0, 0}), p[0x20:])
		g.sound = uint16(sum) == want
	case s.readOnly(extGDTChecksum):
		sum := extCRC16(extCRC16(^uint16(0), s.uuid[:]), le.AppendUint32(nil, number))
		g.sound = extCRC16(extCRC16(sum, p[:0x1e]), p[0x20:]) == want
	default:
		g.sound, g.flags, g.unusedInodes = true, 0, 0
	}
	return g, nil
}

// low compares with a checksum of which small descriptors have half.
func (s *extSuper) low(sum, want uint32) bool {
	if s.descSize < 64 {
		return uint16(sum) == uint16(want)
	}
	return sum == want
}

// tableBlocks is how many blocks the inodes of a group take.
func (s *extSuper) tableBlocks() uint64 {
	return (uint64(s.inodesPerGroup)*uint64(s.inodeSize) + uint64(s.blockSize) - 1) / uint64(s.blockSize)
}

// static calls claim for the blocks that hold copies of the superblock and of
// the descriptors.
func (s *extSuper) static(group uint32, claim func(first, count uint64)) {
	start := s.superBlock(group)
	backup := s.hasBackup(group)
	if backup {
		claim(s.groupStart(group), start-s.groupStart(group)+1)
	}
	per := uint32(s.blockSize / s.descSize)
	index := group / per
	if s.incompat(extMetaBG) && index >= s.firstMetaBG {
		// The descriptors of these groups are in the first, second and last.
		if in := group % per; in == 0 || in == 1 || in == per-1 {
			at := start
			if backup {
				at++
			}
			claim(at, 1)
		}
		return
	}
	if !backup {
		return
	}
	count := (uint64(s.groups) + uint64(per) - 1) / uint64(per)
	if s.incompat(extMetaBG) {
		count = min(count, uint64(s.firstMetaBG))
	} else {
		count += uint64(s.reservedGDT)
	}
	claim(start+1, count)
}
