package filesystem

import (
	"context"
	"encoding/binary"
	"fmt"
	"path"
	"strings"
)

// erofsWalk goes through all directories from the root.
type erofsWalk struct {
	e    *EROFS
	ctx  context.Context
	seen map[uint64]*erofsSeen
}

// erofsSeen is what is known of an inode that has a name.
type erofsSeen struct {
	links, names uint32
	one          bool // a directory whose links are not counted
}

func (w *erofsWalk) problem(format string, args ...any) { w.e.Survey.problem(format, args...) }

func (w *erofsWalk) run() error {
	defer func() { w.e.meter.Release(80 * int64(len(w.seen))) }()
	e := w.e
	root, err := e.inode(e.root)
	if err == nil && !root.is(typeDir) {
		err = fmt.Errorf("the root is no directory")
	}
	if err != nil {
		e.lost = true
		return err
	}
	if err := e.dirs.enter(e.root, e.root, ""); err != nil {
		return err
	}
	if err := w.reach(root, e.root, ".", 0); err != nil {
		return err
	}
	packed := uint64(0)
	if e.incompatible&erofsFragments != 0 && e.packed != 0 {
		n, err := e.inode(e.packed)
		if err == nil {
			err = w.data(n)
		}
		if fatal(w.ctx, err) {
			return err
		} else if err != nil {
			w.problem("the inode of fragments: %v", err)
		}
		packed = 1
	}
	if found := uint64(len(w.seen)); found != e.inodes && found+packed != e.inodes {
		w.problem("%d inodes are reached from the root and the superblock counts %d", found, e.inodes)
	}
	for number, seen := range w.seen {
		if seen.names != seen.links && !seen.one {
			w.problem("inode %d has %d links and says %d", number, seen.names, seen.links)
		}
	}
	if e.devices > 0 && e.incompatible&erofsDevices != 0 {
		w.problem("data of its files is on %d other devices, which are not in the image", e.devices)
	}
	e.shared = e.stored > e.there
	return nil
}

// reach takes in an inode under a name.
func (w *erofsWalk) reach(n *erofsInode, parent uint64, name string, depth int) error {
	if seen := w.seen[n.Number]; seen != nil {
		seen.names++
		return nil
	}
	if err := w.e.meter.Hold(80); err != nil {
		return err
	}
	seen := &erofsSeen{links: n.Links, names: 1, one: n.is(typeDir) && n.Links == 1}
	w.seen[n.Number] = seen
	w.e.Survey.count(&n.Inode)
	switch {
	case n.is(typeDir) && depth > maxNesting:
		w.problem("%s: %v", name, errNesting)
	case n.is(typeDir):
		seen.names++
		return w.directory(n, parent, name, depth)
	case n.is(typeFile), n.is(typeLink):
		err := w.data(n)
		if err == nil && n.is(typeLink) {
			_, err = n.target()
		}
		if fatal(w.ctx, err) {
			return err
		} else if err != nil {
			w.problem("%s: %v", name, err)
		}
	}
	return nil
}

// data looks whether all that a file's map leads to is there.
func (w *erofsWalk) data(n *erofsInode) error {
	w.e.layouts[n.layout]++
	var err error
	if n.compressed() {
		err = n.extents(func(x erofsExtent) error {
			if !x.fragment {
				return w.ctx.Err()
			}
			d := &erofsData{n: n, list: []erofsExtent{x}}
			err := d.openPacked()
			if d.packed != nil {
				d.packed.Close()
			}
			return err
		})
	} else {
		err = n.lay(func(p piece) error {
			w.e.stored = min(w.e.stored+p.size, 1<<62)
			return w.ctx.Err()
		})
	}
	if err != nil && w.ctx.Err() == nil {
		err = n.bad("%w", err)
	}
	return err
}

func (w *erofsWalk) directory(n *erofsInode, parent uint64, name string, depth int) error {
	e := w.e
	list, err := w.listing(n, parent, name)
	if fatal(w.ctx, err) {
		return err
	} else if err != nil {
		w.problem("%s: %v", name, err)
	}
	for _, twice := range e.dirs.put(n.Number, list) {
		w.problem("%s: %q is there twice; the first is kept", name, twice)
	}
	for _, own := range e.dirs.dirs[n.Number] {
		if err := w.ctx.Err(); err != nil {
			return err
		}
		full := path.Join(name, own.name)
		child, err := e.inode(own.number)
		if fatal(w.ctx, err) {
			return err
		} else if err != nil {
			w.problem("%s: %v", full, err)
			continue
		}
		if !child.is(own.kind) {
			w.problem("%s: it is listed as of type %o and is of mode %o", full, own.kind, child.Mode)
		}
		if child.is(typeDir) {
			if e.dirs.known(child.Number) {
				w.problem("%s: the directory is in another place as well", full)
				continue
			}
			if err := e.dirs.enter(child.Number, n.Number, own.name); err != nil {
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

// listing reads a directory: in each block entries of a fixed size, whose number
// follows from where the first name is, and their names behind them.
func (w *erofsWalk) listing(n *erofsInode, parent uint64, name string) ([]listed, error) {
	e := w.e
	w.e.layouts[n.layout]++
	if n.compressed() {
		return nil, n.bad("a directory that is compressed")
	}
	data, err := n.pieces()
	if err != nil {
		return nil, err
	}
	defer data.Close()
	var list []listed
	previous := ""
	block := make([]byte, 1<<e.bits)
	for at := int64(0); at < n.length; at += int64(len(block)) {
		if err := w.ctx.Err(); err != nil {
			return list, err
		}
		p := block[:min(int64(len(block)), n.length-at)]
		// Blocks of hostile directories may be those of many.
		if err := e.meter.Bytes(int64(len(p))); err != nil {
			return list, err
		}
		if _, err := data.ReadAt(p, at); err != nil {
			return list, err
		}
		err := erofsEntries(p, func(own string, number uint64, kind byte) error {
			switch own {
			case ".", "..":
				if want := map[string]uint64{".": n.Number, "..": parent}[own]; number != want {
					w.problem("%s: its %q is inode %d and not %d", name, own, number, want)
				}
				previous = max(previous, own)
				return nil
			}
			if err := e.dirs.charge(own); err != nil {
				return err
			}
			if own <= previous {
				w.problem("%s: %q is out of order after %q: units may not find it", name, own, previous)
			}
			previous = own
			if !validName(own) {
				w.problem("%s: the name %q is not possible and left out", name, own)
				return nil
			}
			typ := uint32(0)
			if int(kind) < len(erofsTypes) {
				typ = erofsTypes[kind]
			}
			list = append(list, listed{own, number, typ})
			return nil
		})
		if err != nil {
			return list, err
		}
	}
	return list, nil
}

func erofsEntries(p []byte, each func(name string, number uint64, kind byte) error) error {
	const size = 12
	le := binary.LittleEndian
	if len(p) < size {
		return fmt.Errorf("a block of %d bytes", len(p))
	}
	first := int(le.Uint16(p[8:]))
	if first < size || first%size != 0 || first > len(p) {
		return fmt.Errorf("its first name is at %d", first)
	}
	for at := 0; at < first; at += size {
		begin, end := int(le.Uint16(p[at+8:])), len(p)
		if at+size < first {
			end = int(le.Uint16(p[at+size+8:]))
		}
		if begin < first || begin > end || end > len(p) {
			return fmt.Errorf("a name from %d to %d", begin, end)
		}
		name := string(p[begin:end])
		if at+size == first {
			name, _, _ = strings.Cut(name, "\x00")
		}
		if err := each(name, le.Uint64(p[at:]), p[at+10]); err != nil {
			return err
		}
	}
	return nil
}
