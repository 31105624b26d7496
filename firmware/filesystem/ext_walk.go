package filesystem

import (
	"encoding/binary"
	"fmt"
	"path"
)

// walk goes through the directories from the root.
func (p *extProof) walk() error {
	e := p.e
	root, err := e.inode(extRoot)
	if err == nil && !root.is(typeDir) {
		err = fmt.Errorf("the root is no directory")
	}
	if err != nil {
		p.problem("%v", err)
		e.lost = true
		return nil
	}
	if err := e.dirs.enter(extRoot, extRoot, ""); err != nil {
		return err
	}
	if err := p.reach(root, extRoot, ".", 0); err != nil {
		return err
	}
	e.marks = p.marks()
	if n := p.flags[extEncrypted]; n > 0 {
		p.problem("the names and contents of %d inodes are encrypted (fscrypt) and not readable", n)
	}
	if n := p.flags[extCompressed]; n > 0 && e.super.incompat(extCompression) {
		p.problem("%d inodes are compressed and not readable", n)
	}
	if err := p.readJournal(); fatal(p.ctx, err) {
		return err
	} else if err != nil {
		p.problem("journal: %v", err)
	}
	unnamed, first := 0, uint32(0)
	for number, seen := range p.inodes {
		want := seen.names
		if seen.dir && seen.links == 1 {
			want = 1 // more than 65,000 directories are not counted
		}
		switch {
		case !seen.reached:
			if unnamed++; first == 0 || number < first {
				first = number
			}
		case seen.names > 0 && want != seen.links:
			p.problem("inode %d has %d links and says %d", number, want, seen.links)
		}
	}
	if unnamed > 0 {
		p.problem("%d inodes in use have no name in any directory, the first is %d", unnamed, first)
	}
	for block, x := range p.xattrs {
		if x.said != x.found {
			p.problem("block %d of extended attributes is that of %d inodes and says %d", block, x.found, x.said)
		}
	}
	return nil
}

// reach takes in an inode under a name.
func (p *extProof) reach(n *extInode, parent uint32, name string, depth int) error {
	number := uint32(n.Number)
	seen := p.inodes[number]
	if seen == nil {
		p.problem("%s: inode %d is not in use", name, number)
		if err := p.take(n); err != nil {
			return err
		}
		if seen = p.inodes[number]; seen == nil {
			return nil
		}
	}
	first := seen.names == 0
	seen.names++
	seen.reached = true
	if !first {
		return nil
	}
	p.e.Survey.count(&n.Inode)
	switch {
	case n.is(typeDir) && depth > maxNesting:
		p.problem("%s: %v", name, errNesting)
	case n.is(typeDir):
		seen.names++ // its own "."
		return p.directory(n, parent, name, depth)
	case n.is(typeLink) && n.flags&extEncrypted == 0:
		if _, err := n.target(); fatal(p.ctx, err) {
			return err
		} else if err != nil {
			p.problem("%s: %v", name, err)
		}
	case n.is(typeLink), n.is(typeFile), n.is(typeBlock), n.is(typeChar), n.is(typeFIFO), n.is(typeSocket):
	default:
		p.problem("%s: mode %o is of no file type", name, n.Mode)
	}
	return nil
}

func (p *extProof) directory(n *extInode, parent uint32, name string, depth int) error {
	e, s := p.e, p.e.super
	l := extListing{p: p, n: n, parent: parent, name: name}
	if err := l.read(); err != nil {
		return err
	}
	for _, twice := range e.dirs.put(n.Number, l.entries) {
		p.problem("%s: %q is there twice; the first is kept", name, twice)
	}
	for _, own := range e.dirs.dirs[n.Number] {
		if err := p.ctx.Err(); err != nil {
			return err
		}
		full := path.Join(name, own.name)
		child, err := e.inode(uint32(own.number))
		if fatal(p.ctx, err) {
			return err
		} else if err != nil {
			p.problem("%s: %v", full, err)
			continue
		}
		if s.incompat(extFileType) && !child.is(own.kind) {
			p.problem("%s: it is listed as of type %o and is of mode %o", full, own.kind, child.Mode)
		}
		if child.is(typeDir) {
			if e.dirs.known(child.Number) {
				p.problem("%s: the directory is in another place as well", full)
				continue
			}
			if err := e.dirs.enter(child.Number, n.Number, own.name); err != nil {
				return err
			}
			p.inodes[uint32(n.Number)].names++ // its ".."
		}
		if err := p.reach(child, uint32(n.Number), full, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// extListing reads the names in one directory.
type extListing struct {
	p       *extProof
	n       *extInode
	parent  uint32
	name    string
	entries []listed
	dots    [2]bool
}

func (l *extListing) read() error {
	p, n := l.p, l.n
	if n.flags&extInline != 0 {
		held := n.held()
		if len(held) < extMapSize || n.length > int64(len(held)) {
			p.problem("%s: %d bytes of names are said to be in its inode", l.name, n.length)
			return nil
		}
		l.dots = [2]bool{true, true}
		l.isParent(binary.LittleEndian.Uint32(held))
		if err := l.block(held[4:extMapSize]); err != nil {
			return err
		}
		return l.block(held[extMapSize:max(extMapSize, n.length)])
	}
	data, err := n.pieces()
	if fatal(p.ctx, err) {
		return err
	} else if err != nil {
		p.problem("%s: %v", l.name, err)
		return nil
	}
	defer data.Close()
	size := p.e.super.blockSize
	covered := int64(0)
	for _, part := range data.list {
		for at := part.at; at < min(part.at+part.size, n.length); at += size {
			if err := p.ctx.Err(); err != nil {
				return err
			}
			block := make([]byte, size)
			if _, err := data.ReadAt(block, at); err != nil {
				if fatal(p.ctx, err) {
					return err
				}
				p.problem("%s: %v", l.name, err)
				return nil
			}
			covered += size
			l.verify(block, at)
			if err := l.block(block); err != nil {
				return err
			}
		}
	}
	if covered != n.length || n.length == 0 {
		p.problem("%s: it has %d bytes, of which %d are there", l.name, n.length, covered)
	}
	if l.dots != [2]bool{true, true} {
		p.problem("%s: it has no \".\" or no \"..\"", l.name)
	}
	return nil
}

func (l *extListing) verify(block []byte, at int64) {
	if !l.p.e.super.summed {
		return
	}
	sum, want, ok := l.n.blockSum(block, at == 0)
	switch {
	case !l.p.sum(ok && sum == want) && !ok:
		l.p.problem("%s: its block at %d has no checksum", l.name, at)
	case sum != want:
		l.p.problem("%s: its block at %d has the CRC-32C %08x, and it says %08x", l.name, at, sum, want)
	}
}

func (l *extListing) block(block []byte) error {
	wrong, err := l.p.e.super.records(block, l.entry)
	if wrong != nil {
		l.p.problem("%s: %v; the rest of the block is not read", l.name, wrong)
	}
	return err
}

func (l *extListing) entry(d extDirent) error {
	p, own := l.p, string(d.name)
	switch own {
	case ".":
		l.dots[0] = true
		if uint64(d.inode) != l.n.Number {
			p.problem("%s: its own entry leads to inode %d", l.name, d.inode)
		}
		return nil
	case "..":
		l.dots[1] = true
		l.isParent(d.inode)
		return nil
	}
	if l.n.flags&extEncrypted != 0 {
		own = sealName(d.name)
	}
	if err := p.e.dirs.charge(own); err != nil {
		return err
	}
	if !validName(own) {
		p.problem("%s: the name %q is not possible and left out", l.name, own)
		return nil
	}
	kind := uint32(0)
	if int(d.kind) < len(extDirTypes) {
		kind = extDirTypes[d.kind]
	}
	if !p.e.super.incompat(extFileType) {
		n, err := p.e.inode(d.inode)
		if fatal(p.ctx, err) {
			return err
		} else if err == nil {
			kind = n.Mode & typeMask
		}
	}
	l.entries = append(l.entries, listed{own, uint64(d.inode), kind})
	return nil
}

func (l *extListing) isParent(number uint32) {
	if number != l.parent {
		l.p.problem("%s: its parent is inode %d by its own entry and %d by where it is", l.name, number, l.parent)
	}
}

// readJournal says what the journal holds.
func (p *extProof) readJournal() error {
	e, s := p.e, p.e.super
	if !s.compat(extHasJournal) {
		return nil
	}
	if s.journalInode == 0 {
		e.journal = "on another device"
		return nil
	}
	n, err := e.inode(s.journalInode)
	if err != nil {
		return err
	}
	data, err := n.contents()
	if err != nil {
		return err
	}
	defer data.Close()
	q := make([]byte, 1024)
	if _, err := data.ReadAt(q, 0); err != nil {
		return err
	}
	const magic, version1, version2 = 0xc03b3998, 3, 4
	be := binary.BigEndian
	kind, start := be.Uint32(q[4:]), be.Uint32(q[0x1c:])
	if be.Uint32(q) != magic || kind != version1 && kind != version2 {
		return fmt.Errorf("inode %d holds none", n.Number)
	}
	e.journal = fmt.Sprintf("%d bytes, empty", n.length)
	if start != 0 {
		e.journal = fmt.Sprintf("%d bytes, with transactions from number %d on", n.length, be.Uint32(q[0x18:]))
	}
	if start != 0 && !s.incompat(extRecover) {
		p.problem("journal: it holds transactions, and the superblock does not say so")
	}
	return nil
}
