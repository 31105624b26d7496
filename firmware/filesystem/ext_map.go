package filesystem

import (
	"encoding/binary"
	"fmt"
)

const (
	extExtentMagic = 0xf30a
	extMaxDepth    = 5
	extMaxLength   = 32768 // blocks of an extent; what is above says that it is not written
	extDirect      = 12    // block numbers in an inode, before those of block maps
)

// extRun is a row of blocks of a file.
type extRun struct {
	at, block, count uint64
	unwritten        bool // reads as zeros
}

// extWalk goes through a block map in the order of the file. Each block of the
// map is shown to node, which tells whether to read it, and each row of data to
// run; their errors end the walk. What is wrong with the map itself is told to
// fault, and the checksums of its blocks to sum, if there is one.
type extWalk struct {
	n     *extInode
	node  func(block uint64) (bool, error)
	run   func(extRun) error
	fault func(error)
	sum   func(ok bool, where string)
	next  uint64 // the first block of the file that may come
}

func (w *extWalk) walk() error {
	if w.n.flags&extExtents != 0 {
		return w.extents(w.n.raw[0x28:0x28+extMapSize], -1, 0)
	}
	numbers := make([]uint32, extMapSize/4)
	for i := range numbers {
		numbers[i] = binary.LittleEndian.Uint32(w.n.raw[0x28+4*i:])
	}
	for i, number := range numbers[:extDirect] {
		if err := w.data(uint64(i), uint64(number)); err != nil {
			return err
		}
	}
	per := uint64(w.n.e.super.blockSize / 4)
	at, span := uint64(extDirect), per
	for level, number := range numbers[extDirect:] {
		if err := w.indirect(uint64(number), at, level); err != nil {
			return err
		}
		at += span
		span *= per
	}
	return nil
}

// data takes in one block of a map of single blocks.
func (w *extWalk) data(at, block uint64) error {
	if block == 0 {
		return nil
	}
	return w.run(extRun{at: at, block: block, count: 1})
}

// indirect reads a block of numbers, of blocks of such numbers where level is
// above 0.
func (w *extWalk) indirect(block, at uint64, level int) error {
	if block == 0 {
		return nil
	}
	p, err := w.read(block)
	if p == nil {
		return err
	}
	per := uint64(len(p) / 4)
	span := uint64(1)
	for range level {
		span *= per
	}
	for i := range per {
		number := uint64(binary.LittleEndian.Uint32(p[4*i:]))
		if level == 0 {
			err = w.data(at+i, number)
		} else {
			err = w.indirect(number, at+i*span, level-1)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// read returns a block of the map, or nil when it is not to be read.
func (w *extWalk) read(block uint64) ([]byte, error) {
	if ok, err := w.node(block); !ok || err != nil {
		return nil, err
	}
	p, err := w.n.e.block(block)
	if err != nil {
		w.fault(fmt.Errorf("block %d of its map: %w", block, err))
		return nil, nil
	}
	return p, nil
}

// extents reads a node of an extent tree: in the inode, or in a block of its
// own, which ends in a checksum.
func (w *extWalk) extents(p []byte, depth int, block uint64) error {
	le := binary.LittleEndian
	entries, room, own := int(le.Uint16(p[2:])), int(le.Uint16(p[4:])), int(le.Uint16(p[6:]))
	where := "extents"
	if block != 0 {
		where = fmt.Sprintf("extents in block %d", block)
	}
	switch {
	case le.Uint16(p) != extExtentMagic:
		w.fault(fmt.Errorf("%s: there is no header", where))
		return nil
	case entries > room || 12+12*room > len(p) || own > extMaxDepth || depth >= 0 && own != depth:
		w.fault(fmt.Errorf("%s: %d of %d entries at depth %d in %d bytes", where, entries, room, own, len(p)))
		return nil
	}
	if tail := 12 + 12*room; w.sum != nil && block != 0 && tail+4 <= len(p) {
		w.sum(extCRC(w.n.sumSeed(), p[:tail]) == le.Uint32(p[tail:]), where)
	}
	for i := range entries {
		at := p[12+12*i:]
		first := uint64(le.Uint32(at))
		if first < w.next {
			w.fault(fmt.Errorf("%s: entry %d is for block %d of the file, and %d is the next", where, i, first, w.next))
			return nil
		}
		if own == 0 {
			if err := w.extent(at, first); err != nil {
				return err
			}
			continue
		}
		child := uint64(le.Uint32(at[4:])) | uint64(le.Uint16(at[8:]))<<32
		q, err := w.read(child)
		if err == nil && q != nil {
			err = w.extents(q, own-1, child)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *extWalk) extent(p []byte, first uint64) error {
	le := binary.LittleEndian
	r := extRun{at: first, block: uint64(le.Uint32(p[8:])) | uint64(le.Uint16(p[6:]))<<32, count: uint64(le.Uint16(p[4:]))}
	if r.count > extMaxLength {
		r.count, r.unwritten = r.count-extMaxLength, true
	}
	if r.count == 0 || r.at+r.count > 1<<32 {
		w.fault(fmt.Errorf("extent of %d blocks at block %d of the file", r.count, r.at))
		return nil
	}
	w.next = r.at + r.count
	return w.run(r)
}

// pieces are where a file's bytes are. Their number is bounded by the blocks of
// the map, of which none is read twice.
func (n *extInode) pieces() (*pieces, error) {
	e := n.e
	p := &pieces{r: e.r, meter: e.meter, size: n.length, shared: e.shared}
	seen := make(map[uint64]bool)
	var fault error
	w := extWalk{n: n, fault: func(err error) {
		if fault == nil {
			fault = err
		}
	}}
	w.node = func(block uint64) (bool, error) {
		if seen[block] || !e.inside(block, 1) {
			return false, fmt.Errorf("block %d of its map is outside the file system or in a loop", block)
		}
		seen[block] = true
		return true, e.meter.Hold(64)
	}
	w.run = func(r extRun) error {
		switch size := e.super.blockSize; {
		case r.unwritten || int64(r.at) > n.length/size:
			return nil
		case !e.inside(r.block, r.count):
			return fmt.Errorf("block %d of the file: blocks %d to %d are outside the file system", r.at, r.block, r.block+r.count-1)
		default:
			return p.extend(piece{int64(r.at) * size, int64(r.block) * size, int64(r.count) * size})
		}
	}
	err := w.walk()
	e.meter.Release(64 * int64(len(seen)))
	if err == nil {
		err = fault
	}
	if err != nil {
		p.Close()
		return nil, n.bad("%w", err)
	}
	return p, nil
}
