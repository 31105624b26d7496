package filesystem

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

// Types of logical clusters.
const (
	erofsLiteral = 0 // the start of data that is not compressed
	erofsHead    = 1 // the start of compressed data
	erofsWithin  = 2
	erofsHead2   = 3 // the same with the second algorithm
)

// Advice in the header of a compressed inode's index.
const (
	erofsTwoBytes   = 0x1
	erofsLarge      = 0x2 // | 0x4: data of many blocks
	erofsTail       = 0x8 // the last data is behind the index
	erofsInterlaced = 0x10
	erofsFragment   = 0x20

	erofsCount   = 1 << 11 // beside the number of blocks that compressed data takes
	erofsPartial = 1 << 15 // more is packed than belongs to the file here

	erofsMaxPacked   = 1 << 20
	erofsMaxUnpacked = 12 << 20
)

// erofsIndexHeader is in front of the index.
type erofsIndexHeader struct {
	fragment   uint64 // offset in the packed inode
	tail       int64  // bytes of the last data
	advice     uint16
	algorithms [2]byte
	shift      uint // of a logical cluster
	whole      bool // the whole file is in the packed inode
	at         int64
}

func (n *erofsInode) indexHeader() (h erofsIndexHeader, err error) {
	at := (n.end + 7) &^ 7
	p := make([]byte, 8)
	if at > n.e.there-8 {
		return h, errErofsOutside
	}
	if err := readFull(n.e.r, p, at); err != nil {
		return h, err
	}
	le := binary.LittleEndian
	h = erofsIndexHeader{
		fragment: uint64(le.Uint32(p)), tail: int64(le.Uint16(p[2:])), advice: le.Uint16(p[4:]),
		algorithms: [2]byte{p[6] & 15, p[6] >> 4}, shift: n.e.bits + uint(p[7]&7), at: at + 8,
	}
	if p[7]>>7 != 0 {
		h.whole, h.fragment = true, le.Uint64(p)&^(1<<63)
		return h, nil
	}
	if n.layout == erofsFull {
		h.at += 8
	}
	return h, nil
}

// erofsCluster is what the index says of a logical cluster.
type erofsCluster struct {
	kind    byte
	offset  int64  // in the cluster, where the data begins
	block   uint32 // of the data
	blocks  uint32 // within data: how many blocks it takes, where that is said here
	partial bool
	next    int64 // where the index goes on
}

// erofsIndex reads an index from its start, in packs of up to 16 clusters.
type erofsIndex struct {
	n      *erofsInode
	h      erofsIndexHeader
	total  int64
	first  int64 // clusters in packs of 4 bytes each, before those of 2
	twos   int64 // clusters in packs of 2 bytes each
	pack   []erofsCluster
	packAt int64 // first cluster of the pack
}

func (n *erofsInode) index(h erofsIndexHeader) (*erofsIndex, error) {
	block := int64(1) << n.e.bits
	x := &erofsIndex{n: n, h: h, total: (n.length + block - 1) / block}
	size := 8 * x.total
	if n.layout == erofsCompact {
		if h.advice&erofsTwoBytes != 0 && h.shift > 12 || h.shift > 14 {
			return nil, fmt.Errorf("a compact index of clusters of 2^%d bytes", h.shift)
		}
		x.first = (32 - h.at%32) % 32 / 4
		if h.advice&erofsTwoBytes != 0 && x.first < x.total {
			x.twos = (x.total - x.first) &^ 15
		}
		size = 4*(x.total-x.twos) + 2*x.twos
	}
	if x.total > n.e.there || h.at > n.e.there || size > n.e.there-h.at {
		return nil, fmt.Errorf("an index of %d clusters at %#x is outside the image", x.total, h.at)
	}
	return x, nil
}

// cluster returns what the index says of a cluster.
func (x *erofsIndex) cluster(i int64) (erofsCluster, error) {
	if i < x.packAt || i >= x.packAt+int64(len(x.pack)) {
		if err := x.read(i); err != nil {
			return erofsCluster{}, err
		}
	}
	return x.pack[i-x.packAt], nil
}

func (x *erofsIndex) read(i int64) error {
	at, count, width, first := x.h.at+8*i, int64(1), int64(8), i
	if x.n.layout == erofsCompact {
		switch {
		case i < x.first:
			first, count, width = i&^1, 2, 4
			at = x.h.at + 4*first
		case i < x.first+x.twos:
			first, count, width = i-(i-x.first)%16, 16, 2
			at = x.h.at + 4*x.first + 2*(first-x.first)
		default:
			first, count, width = i-(i-x.first-x.twos)%2, 2, 4
			at = x.h.at + 4*x.first + 2*x.twos + 4*(first-x.first-x.twos)
		}
	}
	p := make([]byte, count*width)
	if err := x.n.e.meter.Bytes(int64(len(p))); err != nil {
		return err
	}
	if at > x.n.e.there-int64(len(p)) {
		return errErofsOutside
	}
	if err := readFull(x.n.e.r, p, at); err != nil {
		return err
	}
	x.packAt = first
	if x.n.layout == erofsCompact {
		x.pack = x.unpackIndex(p, count)
	} else {
		x.pack = x.fullIndex(p)
	}
	for k := range x.pack {
		x.pack[k].next = at + int64(len(p))
	}
	return nil
}

func (x *erofsIndex) fullIndex(p []byte) []erofsCluster {
	le := binary.LittleEndian
	advice := le.Uint16(p)
	c := erofsCluster{kind: byte(advice & 3), offset: int64(le.Uint16(p[2:])), block: le.Uint32(p[4:]), partial: advice&erofsPartial != 0}
	if c.kind == erofsWithin {
		c.block, c.partial = 0, false
		if distance := uint32(le.Uint16(p[4:])); distance&erofsCount != 0 {
			c.blocks = distance &^ erofsCount
		}
	}
	return []erofsCluster{c}
}

// unpackIndex reads a pack: entries of some bits each, and at its end the block
// from which on the data of the pack lies in a row.
func (x *erofsIndex) unpackIndex(p []byte, count int64) []erofsCluster {
	le := binary.LittleEndian
	width := uint(len(p)-4) * 8 / uint(count)
	low := max(x.h.shift, uint(bits.Len(erofsCount)))
	block := le.Uint32(p[len(p)-4:])
	large := x.h.advice&erofsLarge != 0
	pack := make([]erofsCluster, count)
	for i := range pack {
		bit := width * uint(i)
		v := le.Uint32(append(append([]byte(nil), p[bit/8:min(uint(len(p)), bit/8+4)]...), 0, 0, 0, 0)) >> (bit % 8)
		value, kind := v&(1<<low-1), byte(v>>low&3)
		c := erofsCluster{kind: kind}
		switch {
		case kind != erofsWithin:
			c.offset = int64(value)
			if !large {
				block++
				c.block = block
				break
			}
			c.block = block
			block++ // unless the next entry says how many
		case large && value&erofsCount != 0:
			c.blocks = value &^ erofsCount
			if i > 0 {
				block-- // counted with the head
			}
			block += c.blocks
		}
		pack[i] = c
	}
	return pack
}

// erofsExtent is a part of a file that is packed by itself.
type erofsExtent struct {
	at, size  int64 // in the file
	off       int64 // of the packed data in the image, or in the packed inode
	packed    int64
	algorithm byte
	literal   bool
	partial   bool
	fragment  bool
}

const erofsExtentSize = 56 // bytes of memory

// extents calls each for all of a compressed file's extents.
func (n *erofsInode) extents(each func(erofsExtent) error) error {
	if n.length == 0 {
		return nil
	}
	h, err := n.indexHeader()
	if err != nil {
		return err
	}
	if h.whole {
		return each(erofsExtent{size: n.length, off: int64(h.fragment), fragment: true})
	}
	x, err := n.index(h)
	if err != nil {
		return err
	}
	last := (n.length - 1) >> h.shift
	var cur *erofsExtent
	for i := int64(0); i <= last; i++ {
		c, err := x.cluster(i)
		if err != nil {
			return err
		}
		at := i<<h.shift + c.offset
		switch {
		case c.kind == erofsWithin && cur == nil:
			return fmt.Errorf("cluster %d is within data that begins nowhere", i)
		case c.kind == erofsWithin:
			continue
		case c.offset >= 1<<h.shift:
			return fmt.Errorf("cluster %d: data at %d in it", i, c.offset)
		case at >= n.length:
			continue // what begins past the end is none
		case cur == nil && at != 0 || cur != nil && at <= cur.at:
			return fmt.Errorf("cluster %d: data at %d of the file is out of order", i, at)
		}
		if cur != nil {
			cur.size = at - cur.at
			if err := n.emit(x, *cur, each); err != nil {
				return err
			}
		}
		cur = &erofsExtent{at: at, off: int64(c.block) << n.e.bits, literal: c.kind == erofsLiteral, partial: c.partial, algorithm: h.algorithms[0]}
		if c.kind == erofsHead2 {
			cur.algorithm = h.algorithms[1]
		}
		if cur.packed, err = x.packedSize(i, c, last); err != nil {
			return err
		}
	}
	cur.size = n.length - cur.at
	c, err := x.cluster(last)
	if err != nil {
		return err
	}
	switch {
	case h.advice&erofsTail != 0:
		cur.off, cur.packed = c.next, h.tail
	case h.advice&erofsFragment != 0:
		high := uint64(0)
		if n.layout == erofsFull {
			high = uint64(cur.off>>n.e.bits) << 32
		}
		cur.off, cur.packed, cur.fragment = int64((high|h.fragment)&^(1<<63)), 0, true
	}
	return n.emit(x, *cur, each)
}

// packedSize is how many bytes the data that begins in a cluster takes.
func (x *erofsIndex) packedSize(i int64, c erofsCluster, last int64) (int64, error) {
	one := int64(1) << x.h.shift
	large := uint16(erofsLarge)
	if c.kind == erofsHead2 {
		large = erofsLarge << 1
	}
	if x.h.advice&large == 0 || i == last {
		return one, nil
	}
	next, err := x.cluster(i + 1)
	if err != nil || next.blocks == 0 {
		return one, err
	}
	return int64(next.blocks) << x.n.e.bits, nil
}

// emit checks an extent before it is passed on.
func (n *erofsInode) emit(x *erofsIndex, e erofsExtent, each func(erofsExtent) error) error {
	switch {
	case e.fragment:
	case e.size > erofsMaxUnpacked || e.packed > erofsMaxPacked || e.packed <= 0:
		return fmt.Errorf("data at %d of the file: %d bytes in %d", e.at, e.size, e.packed)
	case e.off > n.e.there || e.packed > n.e.there-e.off:
		return fmt.Errorf("data at %d of the file: %d bytes at %#x are outside the image", e.at, e.packed, e.off)
	case e.literal && e.size > e.packed:
		return fmt.Errorf("data at %d of the file: %d bytes that are not packed, in %d", e.at, e.size, e.packed)
	case !e.literal && int(e.algorithm) >= len(erofsAlgorithms):
		return fmt.Errorf("data at %d of the file: algorithm %d is not known", e.at, e.algorithm)
	}
	return each(e)
}
