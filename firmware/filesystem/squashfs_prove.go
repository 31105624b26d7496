package filesystem

import (
	"context"
	"errors"
	"fmt"
	"path"

	"assay/firmware/budget"
)

// Prove walks the inode and directory tables from the root and finds out
// whether they are one sound tree: every inode that the superblock counts is
// reached, and nothing else is in the tables; each directory is in one place;
// names are sorted and possible; the directory indexes and the export table
// lead where they should; all owners, blocks and fragments that inodes speak of
// exist, and all extended attributes can be read. Contents of data blocks are not
// looked at.
//
// What is wrong is in the survey's problems, and the walk goes on. The error is
// the context's, or wraps budget.ErrExceeded; what was found before is in the
// survey beside it. Directories that a finished walk did not reach cannot be
// opened afterwards.
func (s *SquashFS) Prove(ctx context.Context) (*Survey, error) {
	p := &squashProof{s: s, ctx: ctx, survey: &Survey{}, attributes: make(map[uint32]bool)}
	defer s.metadata.drop()
	err := p.run()
	if fatal(ctx, err) {
		return p.survey, err
	}
	if err != nil {
		p.survey.problem("%v", err)
	}
	s.edges.freeze()
	return p.survey, nil
}

// fatal tells an error that ends the analysis from one that says something
// about the image.
func fatal(ctx context.Context, err error) bool {
	return err != nil && (errors.Is(err, budget.ErrExceeded) || ctx.Err() != nil)
}

type squashProof struct {
	s      *SquashFS
	ctx    context.Context
	survey *Survey
	refs   []uint64            // by inode number: reference + 1, or 0
	met    map[uint64]struct{} // references, where inodes have no numbers

	attributes map[uint32]bool // entries of extended attributes that were read

	reached                  uint32
	inodesLeft, listingsLeft int64 // bytes of the tables that the walk has not met
}

var errOverlap = errors.New("inodes or listings overlap: together they have more bytes than their table; the walk ends here")

func (p *squashProof) run() error {
	s := p.s
	var err error
	if p.inodesLeft, err = p.tableBytes("inode table", int64(s.super.inodeTable), int64(s.super.directoryTable)); err != nil {
		return err
	}
	if p.listingsLeft, err = p.tableBytes("directory table", int64(s.super.directoryTable), s.dirEnd); err != nil {
		return err
	}
	held := 8 * int64(s.super.inodes)
	if !s.super.numbered() {
		held *= 4
	}
	if err := s.meter.Hold(held); err != nil {
		return err
	}
	defer s.meter.Release(held)
	if s.super.numbered() {
		p.refs = make([]uint64, s.super.inodes+1)
	} else {
		p.met = make(map[uint64]struct{})
	}
	root, err := s.inode(s.super.root)
	if err != nil {
		return err
	}
	if err := p.visit(root, ".", 0); err != nil {
		return err
	}
	if p.reached != s.super.inodes {
		p.survey.problem("%d inodes are reached from the root and the superblock counts %d", p.reached, s.super.inodes)
	}
	if p.inodesLeft > 0 {
		p.survey.problem("%d bytes of the inode table belong to no file", p.inodesLeft)
	}
	if p.listingsLeft > 0 {
		p.survey.problem("%d bytes of the directory table belong to no directory", p.listingsLeft)
	}
	return p.exports()
}

// tableBytes unpacks a whole table and returns its size. A table ends in a
// whole block.
func (p *squashProof) tableBytes(what string, at, end int64) (int64, error) {
	var sum int64
	for at < end {
		if err := p.ctx.Err(); err != nil {
			return sum, err
		}
		b, err := p.s.metadataBlock(what, at, end)
		if err != nil {
			return sum, err
		}
		sum += int64(len(b.data))
		at = b.next
	}
	return sum, nil
}

// visit takes in one inode, the first time its number is met.
func (p *squashProof) visit(n *squashNode, name string, depth int) error {
	if first, err := p.first(n, name); !first {
		return err
	}
	p.reached++
	p.survey.count(&n.Inode)
	size, err := p.length(n)
	if fatal(p.ctx, err) {
		return err
	}
	if err != nil {
		p.survey.problem("%s: %v", name, err)
	}
	if p.inodesLeft -= size; p.inodesLeft < 0 {
		return errOverlap
	}
	if n.XAttrs && !p.attributes[n.xattr] {
		p.attributes[n.xattr] = true // which many files share
		if _, err := n.ReadXAttrs(); fatal(p.ctx, err) {
			return err
		} else if err != nil {
			p.survey.problem("%s: %v", name, err)
		}
	}
	if n.is(typeDir) {
		return p.directory(n, name, depth)
	}
	return nil
}

// first says whether an inode was not met before.
func (p *squashProof) first(n *squashNode, name string) (bool, error) {
	if p.met != nil {
		if _, known := p.met[n.ref]; known {
			return false, nil
		}
		if uint32(len(p.met)) >= p.s.super.inodes {
			return false, fmt.Errorf("%s: there are more inodes than the %d that the superblock counts", name, p.s.super.inodes)
		}
		p.met[n.ref] = struct{}{}
		return true, nil
	}
	if n.Number == 0 || n.Number >= uint64(len(p.refs)) {
		p.survey.problem("%s: inode number %d, and there are %d", name, n.Number, len(p.refs)-1)
		return false, nil
	}
	if known := p.refs[n.Number]; known != 0 {
		if known != n.ref+1 {
			p.survey.problem("%s: inode number %d is another file's, too", name, n.Number)
		}
		return false, nil
	}
	p.refs[n.Number] = n.ref + 1
	return true, nil
}

// length reads an inode to its end, checks what is in its tail, and returns its
// size in the table.
func (p *squashProof) length(n *squashNode) (int64, error) {
	c := n.tail
	switch {
	case n.is(typeDir):
		err := n.eachIndex(&c, func(index) bool { return true })
		return c.read, err
	case n.is(typeLink):
		size := c.read + n.Size
		if n.extended {
			size += 4
		}
		_, err := n.target()
		return size, err
	case n.is(typeFile):
		if n.blocks > uint64(p.inodesLeft)/uint64(p.s.super.word()) {
			return 0, errOverlap
		}
		if err := n.blocksFrom(&c, func(dataBlock) error { return nil }); err != nil {
			return c.read, err
		}
		if n.fragment == squashNoFragment {
			return c.read, nil
		}
		_, err := p.s.fragment(n.fragment)
		if tail := n.Size % int64(p.s.super.blockSize); err == nil && int64(n.fragOffset)+tail > int64(p.s.super.blockSize) {
			err = n.bad("its last %d bytes at %d are outside a fragment", tail, n.fragOffset)
		}
		return c.read, err
	}
	return c.read, nil
}

func (p *squashProof) directory(n *squashNode, name string, depth int) error {
	if depth > maxNesting {
		p.survey.problem("%s: %v", name, errNesting)
		return nil
	}
	if p.listingsLeft -= n.dirSize; p.listingsLeft < 0 {
		return errOverlap
	}
	previous := ""
	err := n.records(n.listing(), 0, func(r record) (bool, error) {
		if err := p.ctx.Err(); err != nil {
			return false, err
		}
		if err := p.s.meter.Entries(1); err != nil {
			return false, err
		}
		own := string(r.name)
		full := path.Join(name, own)
		if !validName(own) {
			p.survey.problem("%s: the name %q is not possible and left out", name, own)
			return true, nil
		}
		if own == previous || own < previous && p.s.super.sorted() {
			p.survey.problem("%s: %q is out of order after %q: units may not find it", name, own, previous)
		}
		previous = own
		child, err := n.child(r.ref, own)
		if err != nil {
			if !fatal(p.ctx, err) {
				p.survey.problem("%s: %v", full, err)
				err = nil
			}
			return err == nil, err
		}
		if p.s.super.numbered() && child.Number != uint64(r.number) || int(r.kind) >= len(squashTypes) || !child.is(squashTypes[r.kind]) {
			p.survey.problem("%s: listed as inode %d of type %d and is inode %d of mode %o", full, r.number, r.kind, child.Number, child.Mode)
		}
		if p.s.super.numbered() && child.is(typeDir) && uint64(child.parent) != n.Number {
			p.survey.problem("%s: its parent is inode %d by its own inode and %d by where it is", full, child.parent, n.Number)
		}
		return true, p.visit(child, full, depth+1)
	})
	if err != nil && !fatal(p.ctx, err) && !errors.Is(err, errOverlap) {
		p.survey.problem("%s: %v", name, err)
		return nil
	}
	if err != nil {
		return err
	}
	wrong, err := n.checkIndex()
	if wrong != "" {
		p.survey.problem("%s: %s", name, wrong)
	}
	if err != nil && !fatal(p.ctx, err) {
		p.survey.problem("%s: %v", name, err)
		err = nil
	}
	return err
}

// exports compares the export table, by which NFS finds inodes, with the tree.
func (p *squashProof) exports() error {
	t := p.s.exportTable()
	if t.start == squashNothing {
		return nil
	}
	wrong := 0
	for number := uint64(1); number < uint64(len(p.refs)); number++ {
		var ref [8]byte
		if err := p.s.tableEntry(t, number-1, ref[:]); err != nil {
			return err
		}
		if p.s.super.order.Uint64(ref[:])+1 != p.refs[number] {
			wrong++
		}
	}
	if wrong > 0 {
		return fmt.Errorf("%d of %d entries of the export table lead to another inode than the tree", wrong, t.entries)
	}
	return nil
}
