package filesystem

import (
	"bytes"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
)

// A listing is a row of headers, each with up to 256 entries whose inodes lie
// in one metadata block of the inode table.
const squashEntries = 256

// record is one entry of a listing.
type record struct {
	name   []byte // valid during the call
	kind   uint16 // basic inode type
	ref    uint64
	number uint32
	header int64 // where its header is, in bytes from the listing's start
	first  bool  // of its header
}

func (n *squashNode) listing() cursor {
	return cursor{
		s: n.s, what: "directory table",
		at:  int64(n.s.super.directoryTable) + int64(n.dirBlock),
		end: n.s.dirEnd,
		off: int(n.dirOffset),
	}
}

// records calls fn for each entry from a header on, which is skip bytes into
// the listing, until it returns false or an error.
func (n *squashNode) records(c cursor, skip int64, fn func(record) (bool, error)) error {
	name := make([]byte, squashEntries)
	for left := n.dirSize - skip; left > 0; {
		r := record{header: n.dirSize - left, first: true}
		at := c.read
		head, err := n.listHeader(&c)
		if err != nil {
			return err
		}
		left -= c.read - at
		for range head.count {
			at := c.read
			size, err := n.listEntry(&c, head, &r)
			if err != nil {
				return err
			}
			if size > maxName+1 {
				return n.bad("listing: name of %d bytes", size)
			}
			if left -= c.read - at + int64(size); left < 0 {
				return n.bad("listing: an entry reaches past its %d bytes", n.dirSize)
			}
			r.name = name[:size]
			if err := c.next(r.name); err != nil {
				return err
			}
			more, err := fn(r)
			if err != nil || !more {
				return err
			}
			r.first = false
		}
	}
	return nil
}

// listHeader is what the entries after it have in common.
type listHeader struct {
	count, start, base uint32
}

func (n *squashNode) listHeader(c *cursor) (h listHeader, err error) {
	switch n.s.super.major {
	case 1, 2:
		v, err := c.fields(8, 24)
		return listHeader{uint32(v[0]) + 1, uint32(v[1]), 0}, err
	case 3:
		v, err := c.fields(8, 32, 32)
		return listHeader{uint32(v[0]) + 1, uint32(v[1]), uint32(v[2])}, err
	}
	var p [12]byte
	if err := c.next(p[:]); err != nil {
		return h, err
	}
	o := n.s.super.order
	count := o.Uint32(p[:])
	if count >= squashEntries {
		return h, n.bad("listing: header of %d entries, and %d are possible", uint64(count)+1, squashEntries)
	}
	return listHeader{count + 1, o.Uint32(p[4:]), o.Uint32(p[8:])}, nil
}

// listEntry reads an entry up to its name and returns the name's size.
func (n *squashNode) listEntry(c *cursor, h listHeader, r *record) (int, error) {
	var offset, kind, number uint16
	var size int
	switch n.s.super.major {
	case 1, 2:
		v, err := c.fields(13, 3, 8)
		if err != nil {
			return 0, err
		}
		offset, kind, size = uint16(v[0]), uint16(v[1]), int(v[2])
	case 3:
		v, err := c.fields(13, 3, 8, 16)
		if err != nil {
			return 0, err
		}
		offset, kind, size, number = uint16(v[0]), uint16(v[1]), int(v[2]), uint16(v[3])
	default:
		var p [8]byte
		if err := c.next(p[:]); err != nil {
			return 0, err
		}
		o := n.s.super.order
		offset, number, kind, size = o.Uint16(p[:]), o.Uint16(p[2:]), o.Uint16(p[4:]), int(o.Uint16(p[6:]))
	}
	r.ref = uint64(h.start)<<16 | uint64(offset)
	r.number = h.base + uint32(int32(int16(number)))
	r.kind = kind
	return size + 1, nil
}

// index is where a header of a large listing is and the first name behind it.
type index struct {
	offset int64 // in bytes from the listing's start
	block  uint32
	name   []byte // valid during the call
}

func (n *squashNode) eachIndex(c *cursor, fn func(index) bool) error {
	if n.indexes == 0 {
		return nil
	}
	name := make([]byte, squashEntries)
	for range n.indexes {
		widths := []int{32, 32, 32}
		switch n.s.super.major {
		case 2:
			widths = []int{27, 29, 8}
		case 3:
			widths = []int{32, 32, 8}
		}
		v, err := c.fields(widths...)
		if err != nil {
			return err
		}
		size := v[2] + 1
		if size > maxName+1 {
			return n.bad("directory index: name of %d bytes", size)
		}
		if err := c.next(name[:size]); err != nil {
			return err
		}
		x := index{int64(v[0]), uint32(v[1]), name[:size]}
		if x.offset > n.dirSize {
			return n.bad("directory index: offset %d is past the listing's %d bytes", x.offset, n.dirSize)
		}
		if !fn(x) {
			break
		}
	}
	return nil
}

// seek returns the place of the last indexed header at or before a name.
func (n *squashNode) seek(name string) (c cursor, skip int64, err error) {
	c = n.listing()
	tail := n.tail
	err = n.eachIndex(&tail, func(x index) bool {
		if string(x.name) > name {
			return false
		}
		skip = x.offset
		c.at = int64(n.s.super.directoryTable) + int64(x.block)
		c.off = int((x.offset + int64(n.dirOffset)) % squashMetadata)
		return true
	})
	return c, skip, err
}

func (n *squashNode) lookup(name string) (node, error) {
	c, skip, err := n.seek(name)
	if err != nil {
		return nil, err
	}
	var found node
	err = n.records(c, skip, func(r record) (bool, error) {
		if string(r.name) != name {
			return true, nil
		}
		found, err = n.child(r.ref, name)
		return false, err
	})
	if err != nil {
		return nil, err
	}
	if found == nil {
		return nil, fs.ErrNotExist
	}
	return found, nil
}

func (n *squashNode) child(ref uint64, name string) (*squashNode, error) {
	child, err := n.s.inode(ref)
	if err != nil {
		return nil, err
	}
	if child.is(typeDir) {
		if err := n.s.edges.add(ref, edge{n.ref, name}); err != nil {
			return nil, child.bad("%w", err)
		}
	}
	return child, nil
}

// list leaves out names that no directory can have; Prove reports them.
func (n *squashNode) list() ([]entry, error) {
	if err := n.s.meter.Bytes(n.dirSize); err != nil {
		return nil, err
	}
	var held int64
	defer func() { n.s.meter.Release(held) }()
	var list []entry
	err := n.records(n.listing(), 0, func(r record) (bool, error) {
		name := string(r.name)
		if !validName(name) {
			return true, nil
		}
		const size = 160 // of an entry and its closure, about
		if err := n.s.meter.Hold(size); err != nil {
			return false, err
		}
		held += size
		kind := uint32(0)
		if int(r.kind) < len(squashTypes) {
			kind = squashTypes[r.kind]
		}
		list = append(list, entry{name, (&Inode{Mode: kind}).FileMode().Type(), func() (node, error) { return n.child(r.ref, name) }})
		return true, nil
	})
	byName := func(a, b entry) int { return strings.Compare(a.name, b.name) }
	if !slices.IsSortedFunc(list, byName) {
		slices.SortStableFunc(list, byName)
	}
	list = slices.CompactFunc(list, func(a, b entry) bool { return a.name == b.name })
	return list, err
}

// checkIndex compares the directory index with the listing. The kernel finds
// names by the index, so one that disagrees hides files that are listed.
func (n *squashNode) checkIndex() (string, error) {
	headers := make(map[int64]string, n.indexes)
	tail := n.tail
	err := n.eachIndex(&tail, func(x index) bool {
		headers[x.offset] = string(x.name)
		return true
	})
	if err != nil || len(headers) == 0 {
		return "", err
	}
	err = n.records(n.listing(), 0, func(r record) (bool, error) {
		if want, ok := headers[r.header]; ok && r.first && bytes.Equal(r.name, []byte(want)) {
			delete(headers, r.header)
		}
		return true, nil
	})
	if len(headers) > 0 && err == nil {
		return fmt.Sprintf("%d of %d entries of the directory index lead nowhere", len(headers), n.indexes), nil
	}
	return "", err
}

// edge is the one place where a directory is.
type edge struct {
	parent uint64
	name   string
}

// edges makes the directories a tree: each may be in one place only, so that
// neither a loop nor a ladder of doubled links can be walked without end.
type edges struct {
	sync.Mutex
	of     map[uint64]edge
	most   int
	frozen bool // after a walk of the whole, which has seen all that may be there
}

var errSecondPlace = fmt.Errorf("this directory is already at another place")

func (e *edges) add(ref uint64, at edge) error {
	e.Lock()
	defer e.Unlock()
	switch first, ok := e.of[ref]; {
	case ok && first == at:
		return nil
	case ok:
		return errSecondPlace
	case e.frozen:
		return fmt.Errorf("the walk of the file system ended before this directory")
	case len(e.of) >= e.most:
		return fmt.Errorf("there are more directories than the %d inodes", e.most)
	}
	e.of[ref] = at
	return nil
}

func (e *edges) freeze() {
	e.Lock()
	e.frozen = true
	e.Unlock()
}
