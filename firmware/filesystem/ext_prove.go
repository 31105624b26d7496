package filesystem

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// extProof is a walk through all of a file system.
type extProof struct {
	e       *Ext
	ctx     context.Context
	groups  []extGroup
	held    int64
	claimed bitset // blocks that belong to something
	doubly  uint64 // claims of blocks that belong to something else already
	static  map[uint32]uint64
	skipped map[uint32]bool // groups whose inodes are not looked at
	inodes  map[uint32]*extSeen
	orphans map[uint32]bool
	xattrs  map[uint64]*extShared
	flags   map[uint32]int
}

// extSeen is what is known of an inode in use.
type extSeen struct {
	links, names uint32
	dir, reached bool
}

// extShared is a block of extended attributes, which many inodes may have.
type extShared struct{ said, found uint32 }

var errExtOverlap = errors.New("blocks are claimed by more files than there are blocks; the walk ends here")

func newExtProof(ctx context.Context, e *Ext) *extProof {
	return &extProof{
		e: e, ctx: ctx, static: make(map[uint32]uint64), skipped: make(map[uint32]bool), inodes: make(map[uint32]*extSeen),
		orphans: make(map[uint32]bool), xattrs: make(map[uint64]*extShared), flags: make(map[uint32]int),
	}
}

func (p *extProof) hold(n int64) error {
	if err := p.e.meter.Hold(n); err != nil {
		return err
	}
	p.held += n
	return nil
}

func (p *extProof) close() { p.e.meter.Release(p.held) }

func (p *extProof) problem(format string, args ...any) { p.e.Survey.problem(format, args...) }

func (p *extProof) run() error {
	if err := p.hold(bitsetSize(p.e.there)); err != nil {
		return err
	}
	p.claimed = newBitset(p.e.there)
	for _, step := range []func() error{p.readGroups, p.readOrphans, p.scan, p.walk, p.compare} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// claim takes blocks for one thing. False says that they are not all there or
// not all free.
func (p *extProof) claim(first, count uint64) (bool, error) {
	if !p.e.inside(first, count) {
		return false, nil
	}
	before := p.claimed.add(first, count)
	if p.doubly += before; before > 0 {
		p.e.shared = true
	}
	if p.doubly > p.e.there {
		return false, errExtOverlap
	}
	return before == 0, nil
}

func (p *extProof) readGroups() error {
	e, s := p.e, p.e.super
	for number := range s.groups {
		if err := p.ctx.Err(); err != nil {
			return err
		}
		if !e.inside(s.descriptorAt(number), 1) {
			p.problem("the descriptors of block groups %d to %d are not there", number, s.groups-1)
			break
		}
		g, err := e.group(number)
		if err != nil {
			return err
		}
		if err := p.hold(120); err != nil {
			return err
		}
		if err := e.meter.Hold(8); err != nil {
			return err
		}
		p.groups = append(p.groups, g)
		e.tables = append(e.tables, g.inodeTable)
		if s.summed || s.readOnly(extGDTChecksum) {
			if e.groups++; !g.sound {
				e.badGroups++
				p.problem("block group %d: its descriptor has another checksum", number)
			}
		}
		if s.hasBackup(number) && number > 0 && e.inside(s.superBlock(number), 1) {
			if err := p.backup(number); err != nil {
				return err
			}
		}
	}
	var lost error
	for _, g := range p.groups {
		s.static(g.number, func(first, count uint64) {
			if fresh, err := p.claim(first, count); err != nil {
				lost = err
			} else if !fresh && e.inside(first, count) {
				p.problem("block group %d: its copy of the superblock or the descriptors at block %d is in use by another", g.number, first)
			}
		})
		for _, part := range []struct {
			what         string
			first, count uint64
		}{{"block bitmap", g.blockBitmap, 1}, {"inode bitmap", g.inodeBitmap, 1}, {"inode table", g.inodeTable, s.tableBlocks()}} {
			fresh, err := p.claim(part.first, part.count)
			if err != nil {
				return err
			}
			if !fresh || part.first <= s.superBlock(0) {
				p.problem("block group %d: its %s at block %d is in use by another or not there", g.number, part.what, part.first)
				p.skipped[g.number] = true
			}
		}
	}
	if s.mmpBlock != 0 {
		if fresh, err := p.claim(s.mmpBlock, 1); err != nil || !fresh {
			p.problem("the block of the multiple mount protection, %d, is in use by another or not there", s.mmpBlock)
		}
	}
	for _, g := range p.groups {
		if g.flags&extBlocksUnused != 0 && e.inside(g.first, g.blocks) {
			p.static[g.number] = p.claimed.count(g.first, g.blocks)
		}
	}
	return lost
}

// backup looks whether a group's copy of the superblock is one of this file
// system.
func (p *extProof) backup(group uint32) error {
	q := make([]byte, extSuperSize)
	if err := p.e.read(q, p.e.super.superBlock(group), 0); err != nil {
		return err
	}
	p.e.backups++
	le := binary.LittleEndian
	if le.Uint16(q[0x38:]) == extMagic && string(q[0x68:0x78]) == string(p.e.super.uuid[:]) && le.Uint32(q[4:]) == uint32(p.e.super.blocks) && le.Uint16(q[0x5a:]) == uint16(group) {
		p.e.intact++
		return nil
	}
	if p.e.super.revision > 0 {
		p.problem("block group %d: its copy of the superblock is none of this file system", group)
	}
	return nil
}

// readOrphans follows the list of inodes that were deleted while in use.
func (p *extProof) readOrphans() error {
	for number := p.e.super.lastOrphan; number != 0 && !p.orphans[number]; {
		if err := p.hold(32); err != nil {
			return err
		}
		n, err := p.e.inode(number)
		if err != nil {
			p.problem("list of orphans: %v", err)
			break
		}
		p.orphans[number] = true
		number = n.deleted
	}
	p.e.orphans = len(p.orphans)
	return nil
}

// scan reads all inodes in use.
func (p *extProof) scan() error {
	s := p.e.super
	for _, g := range p.groups {
		if err := p.ctx.Err(); err != nil {
			return err
		}
		if g.flags&extInodesUnused != 0 || p.skipped[g.number] {
			continue
		}
		bitmap, err := p.e.block(g.inodeBitmap)
		if err != nil {
			return err
		}
		if s.summed && !p.sum(s.low(extCRC(s.seed, bitmap[:s.inodesPerGroup/8]), g.inodeSum)) {
			p.problem("block group %d: its inode bitmap has another CRC-32C", g.number)
		}
		free := uint32(0)
		for i := range s.inodesPerGroup {
			if bitmap[i/8]>>(i%8)&1 == 0 {
				free++
				continue
			}
			number := g.number*s.inodesPerGroup + i + 1
			if i >= s.inodesPerGroup-min(s.inodesPerGroup, g.unusedInodes) {
				p.problem("inode %d is in use and in the part of its table that is said to be unused", number)
			}
			n, err := p.e.inode(number)
			if err != nil {
				return err
			}
			if err := p.take(n); err != nil {
				return err
			}
		}
		if free != g.freeInodes {
			p.problem("block group %d: %d inodes are free and its descriptor says %d", g.number, free, g.freeInodes)
		}
	}
	return nil
}

// sum counts a checksum.
func (p *extProof) sum(ok bool) bool {
	p.e.sums++
	if !ok {
		p.e.badSums++
	}
	return ok
}

// take claims what belongs to an inode in use.
func (p *extProof) take(n *extInode) error {
	s, number := p.e.super, uint32(n.Number)
	reserved := number < s.firstInode && number != extRoot
	if reserved && n.Mode == 0 && n.sectors == 0 {
		return nil
	}
	if err := p.hold(64); err != nil {
		return err
	}
	p.inodes[number] = &extSeen{links: n.Links, dir: n.is(typeDir), reached: reserved || p.hidden(n)}
	if s.summed && !p.sum(n.badSum == "") {
		p.problem("inode %d: %s", number, n.badSum)
	}
	for _, f := range extMarks {
		if n.flags&f.bit != 0 {
			p.flags[f.bit]++
		}
	}
	if n.Links == 0 && !reserved && !p.orphans[number] && n.flags&extEAInode == 0 {
		p.problem("inode %d is in use and has no links", number)
	}
	own, err := p.blocks(n)
	if err != nil {
		return err
	}
	if n.attributes != 0 {
		if err := p.attributes(n); err != nil {
			return err
		}
		own += 1 << s.clusterBits
	}
	unit := uint64(s.blockSize / 512)
	if n.flags&extHuge != 0 {
		unit = 1
	}
	if own*unit != n.sectors && s.clusterBits == 0 && !s.incompat(extEAInodes) && number != extBadBlocks {
		p.problem("inode %d: it has %d blocks and says %d", number, own*unit, n.sectors)
	}
	return nil
}

// extMarks are flags of inodes that are told of.
var extMarks = []struct {
	bit  uint32
	name string
}{
	{extEncrypted, "encrypted (fscrypt)"}, {extVerity, "with fs-verity, whose hashes are not verified here"}, {extCompressed, "compressed"},
	{extCasefold, "without regard to case"}, {extInline, "held in their inode"}, {extIndexed, "indexed directories"}, {extEAInode, "values of extended attributes"},
}

func (p *extProof) marks() string {
	var list []string
	for _, f := range extMarks {
		if n := p.flags[f.bit]; n > 0 {
			list = append(list, fmt.Sprintf("%d %s", n, f.name))
		}
	}
	return strings.Join(list, ", ")
}

// hidden tells of inodes that have no name.
func (p *extProof) hidden(n *extInode) bool {
	s, number := p.e.super, uint32(n.Number)
	if n.flags&extEAInode != 0 || number == s.journalInode || s.compat(extOrphanFile) && number == s.orphanFile || p.orphans[number] {
		return true
	}
	for _, quota := range s.quotas {
		if number == quota {
			return true
		}
	}
	return false
}

// blocks claims the blocks of an inode's map and counts them.
func (p *extProof) blocks(n *extInode) (own uint64, err error) {
	number := uint32(n.Number)
	if !n.mapped() && number != extBadBlocks {
		return 0, nil
	}
	s := p.e.super
	last := (uint64(n.length) + uint64(s.blockSize) - 1) / uint64(s.blockSize)
	taken, first, past := uint64(0), uint64(0), uint64(0)
	claim := func(block, count uint64) (bool, error) {
		own += count
		// The blocks of these two are such that belong to something else as well:
		// bad ones, and those that descriptors are to grow into.
		if number == extBadBlocks || number == extResize && p.e.inside(block, count) && p.claimed.has(block) {
			return p.e.inside(block, count), nil
		}
		fresh, err := p.claim(block, count)
		if !fresh || block <= s.superBlock(0) {
			if taken++; taken == 1 {
				first = block
			}
		}
		return fresh, err
	}
	w := extWalk{n: n, node: func(block uint64) (bool, error) { return claim(block, 1) }, fault: func(err error) { p.problem("inode %d: %v", number, err) }}
	w.run = func(r extRun) error {
		if r.at+r.count > last && !r.unwritten && number != extResize && n.flags&extVerity == 0 {
			past += min(r.count, r.at+r.count-last)
		}
		_, err := claim(r.block, r.count)
		return err
	}
	if s.summed {
		w.sum = func(ok bool, where string) {
			if !p.sum(ok) {
				p.problem("inode %d: %s have another CRC-32C", number, where)
			}
		}
	}
	err = w.walk()
	if taken > 0 {
		p.problem("inode %d: %d of its blocks or extents are in use by another or not there, the first at block %d", number, taken, first)
	}
	if past > 0 && n.Number >= uint64(s.firstInode) {
		p.problem("inode %d: %d of its blocks are past its end at %d bytes", number, past, n.length)
	}
	return own, err
}

// attributes takes in an inode's block of extended attributes.
func (p *extProof) attributes(n *extInode) error {
	block := n.attributes
	if known := p.xattrs[block]; known != nil {
		known.found++
		return nil
	}
	if err := p.hold(64); err != nil {
		return err
	}
	own := &extShared{found: 1}
	p.xattrs[block] = own
	fresh, err := p.claim(block, 1)
	if err != nil {
		return err
	}
	if !fresh {
		own.said = 1
		p.problem("inode %d: its extended attributes at block %d are in use by another or not there", n.Number, block)
		return nil
	}
	q, err := p.e.block(block)
	if err != nil {
		return err
	}
	le, s := binary.LittleEndian, p.e.super
	if le.Uint32(q) != extXattrMagic || le.Uint32(q[8:]) != 1 {
		own.said = 1
		p.problem("inode %d: there are no extended attributes at block %d", n.Number, block)
		return nil
	}
	own.said = le.Uint32(q[4:])
	want := le.Uint32(q[16:])
	clear(q[16:20])
	if s.summed && !p.sum(extCRC(extCRC(s.seed, le.AppendUint64(nil, block)), q) == want) {
		p.problem("block %d of extended attributes has another CRC-32C", block)
	}
	return nil
}
