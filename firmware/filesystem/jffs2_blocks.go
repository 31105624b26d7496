package filesystem

import "slices"

// The range of erase blocks that flashes have.
const (
	jffs2MinBlock = 4 << 10
	jffs2MaxBlock = 4 << 20

	// Where nothing shows the erase block: that of mkfs.jffs2 and of most NOR.
	jffs2AssumedBlock = 64 << 10
)

// jffs2SumMagic ends an erase block that has a summary, after the place of the
// summary node in the block.
const jffs2SumMagic = 0x02851885

// bound cuts the log where another file system begins and finds the end.
func (f *JFFS2) bound() {
	f.EraseBlock, f.phase = f.findBlocks()
	limit := f.scanned
	if f.other > 0 {
		if limit = f.blockStart(f.other); limit <= 0 || f.EraseBlock == 0 {
			limit = f.other
		}
	}
	var end, next int64
	for i, n := range f.log {
		// A block without nodes that is not erased is not of the file system.
		if n.end() > limit || i > 0 && f.isDirty(f.blockEnd(end), f.blockStart(n.at)) {
			f.log = f.log[:i]
			break
		}
		end, next = n.end(), min(n.next(), limit)
	}
	f.Size = next
	if tail := min(f.blockEnd(end), limit); tail > next && !f.isDirty(next, tail) {
		f.Size = tail
	}
	for _, run := range f.dirty {
		f.Nodes.Dirty += max(0, min(run.end, f.Size)-run.start)
	}
}

// findBlocks infers the erase blocks, most telling signs first: summaries say
// where in their block they are and end it, clean markers begin blocks, and
// where a node did not fit any more, the next one begins a block. An image that
// has none of these in two blocks does not show its erase block.
func (f *JFFS2) findBlocks() (block, phase int64) {
	var clean, moved []int64
	for i, n := range f.log {
		switch {
		case n.kind == jffs2Summary && !n.obsolete && n.length >= jffs2SumSize+8:
			if block, phase := f.summaryBlock(n); f.fits(block, phase) {
				return block, phase
			}
		case n.kind == jffs2Clean:
			clean = append(clean, n.at)
		}
		if i > 0 {
			if end := f.log[i-1].next(); n.at > end && !f.isDirty(end, n.at) {
				moved = append(moved, n.at)
			}
		}
	}
	if len(clean) > 1 {
		if block := evenBlocks(clean[0], clean[1:]); f.fits(block, clean[0]%block) {
			return block, clean[0] % block
		}
	}
	if block := f.filledBlock(min(evenBlocks(0, moved), 2*jffs2MaxBlock)); f.fits(block, 0) {
		return block, 0
	}
	return 0, 0
}

// filledBlock looks for blocks smaller than block: nodes that fill one to its
// end leave no gap, but then none crosses the border and one starts at it.
func (f *JFFS2) filledBlock(block int64) int64 {
	for half := block / 2; f.fits(half, 0); half /= 2 {
		if slices.ContainsFunc(f.log, func(n jffs2Node) bool { return n.at&(2*half-1) == half }) {
			block = half
		}
	}
	return block
}

// summaryBlock is what the marker at a summary's end says about its block.
func (f *JFFS2) summaryBlock(n jffs2Node) (block, phase int64) {
	var p [8]byte
	if got, _ := f.r.ReadAt(p[:], n.end()-8); got < len(p) || f.order.Uint32(p[4:]) != jffs2SumMagic {
		return 0, 0
	}
	start := n.at - int64(f.order.Uint32(p[:]))
	if block = n.end() - start; block <= 0 {
		return 0, 0
	}
	return block, (start%block + block) % block
}

// evenBlocks is the largest power of two that divides the distances.
func evenBlocks(from int64, places []int64) int64 {
	var all int64 = 1 << 62
	for _, at := range places {
		all |= at - from
	}
	return all & -all
}

// fits says whether a flash can have such erase blocks and no node crosses one.
func (f *JFFS2) fits(block, phase int64) bool {
	if block < jffs2MinBlock || block > jffs2MaxBlock || block&(block-1) != 0 {
		return false
	}
	return !slices.ContainsFunc(f.log, func(n jffs2Node) bool {
		return (n.at-phase)&^(block-1) != (n.end()-1-phase)&^(block-1)
	})
}

func (f *JFFS2) blockStart(at int64) int64 {
	block := f.EraseBlock
	if block == 0 {
		block = jffs2AssumedBlock
	}
	return (at-f.phase)&^(block-1) + f.phase
}

func (f *JFFS2) blockEnd(at int64) int64 {
	block := f.EraseBlock
	if block == 0 {
		block = jffs2AssumedBlock
	}
	return (at-f.phase+block-1)&^(block-1) + f.phase
}

// isDirty says whether there are bytes in [start, end) that are neither a
// node's nor erased.
func (f *JFFS2) isDirty(start, end int64) bool {
	i, _ := slices.BinarySearchFunc(f.dirty, start, func(run jffs2Run, start int64) int {
		if run.end <= start {
			return -1
		}
		return 1
	})
	return i < len(f.dirty) && f.dirty[i].start < end
}
