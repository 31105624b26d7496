package filesystem

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"path"
)

// fatScan is a walk through all directories and chains.
type fatScan struct {
	f       *FAT
	ctx     context.Context
	table   *fatTable
	claimed bitset
}

func (s *fatScan) problem(format string, args ...any) { s.f.Survey.problem(format, args...) }

func (s *fatScan) run(sector []byte, second uint32) error {
	f := s.f
	if f.there < f.Size {
		s.problem("%d bytes are said and %d are there: the image is cut short", f.Size, f.there)
	}
	if f.boot.flags&1 != 0 || f.Bits == 16 && second&0x8000 == 0 || f.Bits == 32 && second&0x08000000 == 0 {
		s.problem("it was not unmounted cleanly")
	}
	if f.boot.flags&2 != 0 || f.Bits == 16 && second&0x4000 == 0 || f.Bits == 32 && second&0x04000000 == 0 {
		s.problem("its own record says that errors were found in it")
	}
	if f.boot.tables > 1 && f.boot.mirrored {
		same, err := f.sameTables(s.ctx)
		if err != nil && s.ctx.Err() != nil {
			return err
		}
		if f.agree = same && err == nil; !f.agree {
			s.problem("the two copies of the table differ; the first is followed")
		}
	}
	if f.Bits == 32 && f.boot.backup != 0 {
		if err := s.backup(sector); err != nil {
			return err
		}
	}
	size := bitsetSize(uint64(f.boot.clusters) + 2)
	// As many clusters are claimed as are there, whatever the boot sector says.
	if most := bitsetSize(uint64(max(0, f.there-f.boot.dataAt)/f.boot.cluster) + 3); most < size {
		size = most
	}
	if err := f.meter.Hold(size); err != nil {
		return err
	}
	defer f.meter.Release(size)
	s.claimed = make(bitset, size/8)
	root, _ := f.load(0)
	if err := f.dirs.enter(0, 0, ""); err != nil {
		return err
	}
	if err := s.directory(root.(*fatNode), 0, ".", 0); err != nil {
		return err
	}
	return s.rest()
}

// backup compares the copy of the boot sector, but for its flags.
func (s *fatScan) backup(sector []byte) error {
	p := make([]byte, fatSector)
	at := int64(s.f.boot.backup) * s.f.boot.sector
	if at+fatSector > s.f.there || s.f.boot.backup >= uint32(s.f.boot.reserved) {
		s.problem("the copy of the boot sector is said to be in sector %d", s.f.boot.backup)
		return nil
	}
	if err := readFull(s.f.r, p, at); err != nil {
		return err
	}
	const flags = 65
	p[flags] = sector[flags]
	if !bytes.Equal(p[:90], sector[:90]) {
		s.problem("the copy of the boot sector in sector %d says something else", s.f.boot.backup)
	}
	return nil
}

// there tells whether a cluster is there.
func (s *fatScan) there(cluster uint32) bool {
	return s.f.valid(cluster) && uint64(cluster)/64 < uint64(len(s.claimed)) && s.f.at(cluster)+s.f.boot.cluster <= s.f.there
}

// chain follows the clusters from one on and claims each for what has the name.
// each is called for them in order, unless it is nil. The number of clusters
// claimed is returned.
func (s *fatScan) chain(first uint32, name string, each func(cluster uint32) error) (int64, error) {
	n := int64(0)
	for cluster := first; ; n++ {
		if n%4096 == 0 {
			if err := s.ctx.Err(); err != nil {
				return n, err
			}
		}
		if !s.there(cluster) {
			s.problem("%s: its chain leads to cluster %d, and there are %d", name, cluster, s.f.boot.clusters)
			return n, nil
		}
		if s.claimed.has(uint64(cluster)) {
			s.f.shared = true
			return n, s.collision(first, cluster, n, name)
		}
		s.claimed.add(uint64(cluster), 1)
		if each != nil {
			if err := each(cluster); err != nil {
				return n, err
			}
		}
		next, err := s.table.next(cluster)
		if err != nil {
			return n, err
		}
		switch {
		case s.f.isEnd(next):
			return n + 1, nil
		case next == 0 || s.f.isBad(next):
			s.problem("%s: its chain ends at cluster %d, which is marked as free or bad", name, cluster)
			return n + 1, nil
		}
		cluster = next
	}
}

// collision names a cluster that is claimed already: by the same chain or by
// another.
func (s *fatScan) collision(first, at uint32, steps int64, name string) error {
	for cluster := first; steps > 0; steps-- {
		if cluster == at {
			s.problem("%s: its chain is a loop, which comes back to cluster %d", name, at)
			return nil
		}
		next, err := s.table.next(cluster)
		if err != nil {
			return err
		}
		cluster = next
	}
	s.problem("%s: its chain is cross-linked at cluster %d with that of another file", name, at)
	return nil
}

func (s *fatScan) directory(n *fatNode, parent uint32, name string, depth int) error {
	f := s.f
	f.Survey.count(&n.Inode)
	if depth > maxNesting {
		s.problem("%s: %v", name, errNesting)
		return nil
	}
	l := &fatListing{s: s, name: name, own: n.first, parent: parent, root: n.Number == 0}
	if l.root && f.Bits != 32 {
		p := make([]byte, max(0, min(f.boot.dataAt, f.there)-f.boot.rootAt))
		if err := readFull(f.r, p, f.boot.rootAt); err != nil && len(p) > 0 {
			return err
		}
		if err := l.block(p, f.boot.rootAt); err != nil {
			return err
		}
	} else {
		buf := make([]byte, f.boot.cluster)
		_, err := s.chain(n.first, name, func(cluster uint32) error {
			if l.ended {
				return nil
			}
			if err := readFull(f.r, buf, f.at(cluster)); err != nil {
				return err
			}
			return l.block(buf, f.at(cluster))
		})
		if err != nil {
			return err
		}
	}
	if !l.root && l.dots != 2 {
		s.problem("%s: it has no \".\" or no \"..\"", name)
	}
	for _, twice := range f.dirs.put(n.Number, l.entries) {
		s.problem("%s: %q is there twice; the first is kept", name, twice)
	}
	above := n.first
	if l.root {
		above = 0 // also where the root has a cluster
	}
	for _, e := range f.dirs.dirs[n.Number] {
		if err := s.ctx.Err(); err != nil {
			return err
		}
		loaded, err := f.load(e.number)
		if err != nil {
			return err
		}
		child, full := loaded.(*fatNode), path.Join(name, e.name)
		if child.is(typeDir) {
			if err = f.dirs.enter(child.Number, n.Number, e.name); err == nil {
				err = s.directory(child, above, full, depth+1)
			}
		} else {
			err = s.file(child, full)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *fatScan) file(n *fatNode, name string) error {
	s.f.Survey.count(&n.Inode)
	if n.first == 0 {
		if n.Size > 0 {
			s.problem("%s: it has %d bytes and no cluster", name, n.Size)
		}
		return nil
	}
	have, err := s.chain(n.first, name, nil)
	if err != nil {
		return err
	}
	if want := (n.Size + s.f.boot.cluster - 1) / s.f.boot.cluster; have != want {
		s.problem("%s: its %d bytes need %d clusters and it has %d", name, n.Size, want, have)
	}
	return nil
}

// rest goes through the whole table: what is in use belongs to a file.
func (s *fatScan) rest() error {
	f := s.f
	lost, first := int64(0), uint32(0)
	for cluster := uint32(2); f.valid(cluster) && s.there(cluster); cluster++ {
		if cluster%4096 == 0 {
			if err := s.ctx.Err(); err != nil {
				return err
			}
		}
		next, err := s.table.next(cluster)
		if err != nil {
			return err
		}
		switch {
		case next == 0:
			f.free++
		case f.isBad(next):
			f.damaged++
		case !s.claimed.has(uint64(cluster)):
			if lost++; lost == 1 {
				first = cluster
			}
		}
	}
	if lost > 0 {
		s.problem("%d clusters are in use and belong to no file, the first is %d", lost, first)
	}
	return s.info()
}

// info reads what a FAT32 says of its free clusters, which is a hint only.
func (s *fatScan) info() error {
	f := s.f
	at := int64(f.boot.infoSector) * f.boot.sector
	if f.Bits != 32 || f.boot.infoSector == 0 || f.boot.infoSector == 0xffff || at+fatSector > f.there {
		return nil
	}
	p := make([]byte, fatSector)
	if err := readFull(f.r, p, at); err != nil {
		return err
	}
	le := binary.LittleEndian
	if string(p[:4]) != "RRaA" || string(p[484:488]) != "rrAa" {
		s.problem("sector %d holds no information on free clusters", f.boot.infoSector)
		return nil
	}
	if said := le.Uint32(p[488:]); said != 1<<32-1 {
		f.said = fmt.Sprint(said)
	}
	return nil
}
