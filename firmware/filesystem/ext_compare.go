package filesystem

// compare holds the bitmaps and counts against what was found in use.
func (p *extProof) compare() error {
	s := p.e.super
	var freeBlocks, freeInodes uint64
	lost, wasted, miscounted := uint64(0), uint64(0), 0
	for _, g := range p.groups {
		if err := p.ctx.Err(); err != nil {
			return err
		}
		freeBlocks += uint64(g.freeBlocks) << s.clusterBits
		freeInodes += uint64(g.freeInodes)
		if !p.e.inside(g.first, g.blocks) || p.skipped[g.number] {
			continue
		}
		if g.flags&extBlocksUnused != 0 {
			if n := p.claimed.count(g.first, g.blocks) - p.static[g.number]; n > 0 {
				p.problem("block group %d: %d blocks are in use and its bitmap is said not to be needed", g.number, n)
			}
			continue
		}
		bitmap, err := p.e.block(g.blockBitmap)
		if err != nil {
			return err
		}
		perBitmap := uint64(s.blocksPerGroup) >> s.clusterBits
		if s.summed && !p.sum(s.low(extCRC(s.seed, bitmap[:perBitmap/8]), g.blockSum)) {
			p.problem("block group %d: its block bitmap has another CRC-32C", g.number)
		}
		free := uint32(0)
		cluster := uint64(1) << s.clusterBits
		for i := uint64(0); i<<s.clusterBits < g.blocks; i++ {
			said := bitmap[i/8]>>(i%8)&1 != 0
			first := g.first + i<<s.clusterBits
			used := p.claimed.count(first, min(cluster, g.first+g.blocks-first)) > 0
			switch {
			case used && !said:
				lost++
			case said && !used:
				wasted++
			}
			if !said {
				free++
			}
		}
		if free != g.freeBlocks {
			miscounted++
		}
	}
	if lost > 0 {
		p.problem("%d blocks are in use and free in the bitmaps", lost)
	}
	if wasted > 0 {
		p.problem("%d blocks are in use in the bitmaps and belong to nothing", wasted)
	}
	if miscounted > 0 {
		p.problem("%d block groups have other numbers of free blocks than their descriptors say", miscounted)
	}
	if len(p.groups) == int(s.groups) && (freeBlocks != s.freeBlocks || freeInodes != uint64(s.freeInodes)) {
		p.problem("the superblock says %d blocks and %d inodes are free, the block groups %d and %d", s.freeBlocks, s.freeInodes, freeBlocks, freeInodes)
	}
	return nil
}
