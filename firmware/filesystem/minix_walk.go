package filesystem

import (
	"context"
	"path"
	"strings"
)

// minixWalk goes through all directories from the root and claims the blocks of
// all files.
type minixWalk struct {
	m       *Minix
	ctx     context.Context
	held    int64
	claimed bitset
	doubly  uint64
	seen    map[uint64]*extSeen
}

func (w *minixWalk) problem(format string, args ...any) { w.m.Survey.problem(format, args...) }

func (w *minixWalk) hold(n int64) error {
	if err := w.m.meter.Hold(n); err != nil {
		return err
	}
	w.held += n
	return nil
}

func (w *minixWalk) run(root *minixNode) error {
	if err := w.hold(bitsetSize(w.m.there)); err != nil {
		return err
	}
	w.claimed = newBitset(w.m.there)
	if err := w.m.dirs.enter(minixRoot, minixRoot, ""); err != nil {
		return err
	}
	if err := w.reach(root, minixRoot, ".", 0); err != nil {
		return err
	}
	for number, seen := range w.seen {
		if seen.names != seen.links {
			w.problem("inode %d has %d links and says %d", number, seen.names, seen.links)
		}
	}
	if w.m.BigEndian {
		return nil
	}
	return w.compare()
}

// reach takes in an inode under a name.
func (w *minixWalk) reach(n *minixNode, parent uint64, name string, depth int) error {
	if seen := w.seen[n.Number]; seen != nil {
		seen.names++
		return nil
	}
	if err := w.hold(80); err != nil {
		return err
	}
	w.seen[n.Number] = &extSeen{links: n.Links, names: 1}
	w.m.Survey.count(&n.Inode)
	if n.mapped() {
		if err := w.claim(n, name); err != nil {
			return err
		}
	}
	switch {
	case n.is(typeDir) && depth > maxNesting:
		w.problem("%s: %v", name, errNesting)
	case n.is(typeDir):
		w.seen[n.Number].names++
		return w.directory(n, parent, name, depth)
	case n.is(typeLink):
		if _, err := n.target(); fatal(w.ctx, err) {
			return err
		} else if err != nil {
			w.problem("%s: %v", name, err)
		}
	case n.is(typeFile), n.is(typeBlock), n.is(typeChar), n.is(typeFIFO), n.is(typeSocket):
	default:
		w.problem("%s: mode %o is of no file type", name, n.Mode)
	}
	return nil
}

func (w *minixWalk) claim(n *minixNode, name string) error {
	taken, past := 0, 0
	claim := func(block uint64) (bool, error) {
		if !w.m.inside(block) {
			taken++
			return false, nil
		}
		if w.claimed.add(block, 1) == 0 {
			return true, nil
		}
		taken++
		w.m.shared = true
		if w.doubly++; w.doubly > w.m.there {
			return false, errExtOverlap
		}
		return false, w.ctx.Err()
	}
	err := n.walk(claim, func(at, block uint64) error {
		if int64(at) >= (n.length+w.m.block-1)/w.m.block {
			past++
		}
		_, err := claim(block)
		return err
	})
	if taken > 0 {
		w.problem("%s: %d of its blocks are in use by another or not there", name, taken)
	}
	if past > 0 {
		w.problem("%s: %d of its blocks are past its end at %d bytes", name, past, n.length)
	}
	return err
}

func (w *minixWalk) directory(n *minixNode, parent uint64, name string, depth int) error {
	m := w.m
	list, err := w.listing(n, parent, name)
	if fatal(w.ctx, err) {
		return err
	} else if err != nil {
		w.problem("%s: %v", name, err)
	}
	for _, twice := range m.dirs.put(n.Number, list) {
		w.problem("%s: %q is there twice; the first is kept", name, twice)
	}
	for _, own := range m.dirs.dirs[n.Number] {
		if err := w.ctx.Err(); err != nil {
			return err
		}
		full := path.Join(name, own.name)
		child, err := m.inode(own.number)
		if fatal(w.ctx, err) {
			return err
		} else if err != nil {
			w.problem("%s: %v", full, err)
			continue
		}
		if child.is(typeDir) {
			if m.dirs.known(child.Number) {
				w.problem("%s: the directory is in another place as well", full)
				continue
			}
			if err := m.dirs.enter(child.Number, n.Number, own.name); err != nil {
				return err
			}
			w.seen[n.Number].names++
		}
		if err := w.reach(child, n.Number, full, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (w *minixWalk) listing(n *minixNode, parent uint64, name string) ([]listed, error) {
	m := w.m
	size, skip := m.record(), 2
	if m.Version == 3 {
		skip = 4
	}
	if n.length%int64(size) != 0 {
		w.problem("%s: it has %d bytes, and an entry has %d", name, n.length, size)
	}
	data, err := n.pieces()
	if err != nil {
		return nil, err
	}
	defer data.Close()
	var list []listed
	dots := map[string]uint64{".": n.Number, "..": parent}
	p := make([]byte, m.block)
	for at := int64(0); at < n.length; at += m.block {
		if err := w.ctx.Err(); err != nil {
			return list, err
		}
		block := p[:min(m.block, n.length-at)]
		if _, err := data.ReadAt(block, at); err != nil {
			return list, err
		}
		for ; len(block) >= size; block = block[size:] {
			number := uint64(m.order.Uint16(block))
			if m.Version == 3 {
				number = uint64(m.order.Uint32(block))
			}
			if number == 0 {
				continue
			}
			own, _, _ := strings.Cut(string(block[skip:size]), "\x00")
			if want, ok := dots[own]; ok {
				if number != want {
					w.problem("%s: its %q is inode %d and not %d", name, own, number, want)
				}
				delete(dots, own)
				continue
			}
			if err := m.dirs.charge(own); err != nil {
				return list, err
			}
			if !validName(own) {
				w.problem("%s: the name %q is not possible and left out", name, own)
				continue
			}
			kind := uint32(0)
			if child, err := m.inode(number); err == nil {
				kind = child.Mode & typeMask
			}
			list = append(list, listed{own, number, kind})
		}
	}
	if len(dots) > 0 {
		w.problem("%s: it has no \".\" or no \"..\"", name)
	}
	return list, nil
}

// compare holds the bitmaps against what was found in use. In that of inodes bit
// 0 is set; in that of blocks it is the one before the first of data.
func (w *minixWalk) compare() error {
	m := w.m
	free, lost, wasted, err := w.bits(2, m.inodes+1, func(i uint64) bool { return i == 0 || w.seen[i] != nil })
	if err != nil {
		return err
	}
	if m.freeInodes = free; lost > 0 || wasted > 0 {
		w.problem("%d inodes are in use and free in the bitmap, %d are not in use and not free in it", lost, wasted)
	}
	free, lost, wasted, err = w.bits(2+m.inodeMap, m.zones-m.first+1, func(i uint64) bool {
		block := m.first + i - 1
		return i == 0 || block < m.there && w.claimed.has(block)
	})
	if m.freeZones = free; lost > 0 || wasted > 0 {
		w.problem("%d blocks are in use and free in the bitmap, %d are not in use and not free in it", lost, wasted)
	}
	return err
}

func (w *minixWalk) bits(block, count uint64, used func(i uint64) bool) (free, lost, wasted uint64, err error) {
	p := make([]byte, w.m.block)
	per := 8 * uint64(len(p))
	for i := uint64(0); i < count; i++ {
		if i%per == 0 {
			if err := w.ctx.Err(); err != nil {
				return free, lost, wasted, err
			}
			if block+i/per >= w.m.there {
				return free, lost, wasted, nil
			}
			if err := readFull(w.m.r, p, int64(block+i/per)*w.m.block); err != nil {
				return free, lost, wasted, err
			}
		}
		said := p[i%per/8]>>(i%8)&1 != 0
		switch is := used(i); {
		case is && !said:
			lost++
		case said && !is:
			wasted++
		}
		if !said {
			free++
		}
	}
	return free, lost, wasted, nil
}
