package filesystem

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"assay/firmware/budget"
)

// build makes the tree of what the log left.
func (f *YAFFS2) build() error {
	if root := f.objects[yaffsRoot]; root != nil && root.header != nil {
		f.archive.top.Inode = root.header.inode(yaffsRoot)
		f.archive.top.Mode = f.archive.top.Mode&^typeMask | typeDir
	}
	f.archive.top.Number = yaffsRoot
	children := make(map[uint32][]uint32)
	for _, number := range slices.Sorted(maps.Keys(f.objects)) {
		o := f.objects[number]
		switch {
		case number == yaffsRoot:
		case o.shadow || o.header != nil && (o.header.parent == yaffsDeleted || o.header.parent == yaffsUnlinked):
			f.Deleted++
		case o.header == nil && len(o.pieces) > 0:
			f.problem("object %d: %d chunks of data and no header", number, len(o.pieces))
		case o.header != nil && number > yaffsDeleted:
			children[o.header.parent] = append(children[o.header.parent], number)
		}
	}
	nodes := make(map[uint32]*archiveNode)
	var links []uint32
	if err := f.fill(f.archive.top, yaffsRoot, children, nodes, &links, 0); err != nil {
		return err
	}
	if len(children[yaffsLost]) > 0 {
		lost := impliedDir()
		if err := f.archive.put(f.archive.top, "lost+found", lost); err != nil {
			return err
		}
		if err := f.fill(lost, yaffsLost, children, nodes, &links, 1); err != nil {
			return err
		}
	}
	for _, number := range slices.Sorted(maps.Keys(f.objects)) {
		if o := f.objects[number]; o.header != nil && !o.visited && !o.shadow && number > yaffsDeleted && o.header.parent != yaffsDeleted && o.header.parent != yaffsUnlinked {
			f.problem("object %d, %.60q: its parent %d leads to no root", number, o.header.name, o.header.parent)
		}
	}
	return f.join(nodes, links)
}

// fill lists a directory. Hard links are left for later.
func (f *YAFFS2) fill(dir *archiveNode, number uint32, children map[uint32][]uint32, nodes map[uint32]*archiveNode, links *[]uint32, depth int) error {
	nodes[number] = dir
	if depth > maxNesting {
		f.problem("object %d: %v", number, errNesting)
		return nil
	}
	for _, child := range children[number] {
		o := f.objects[child]
		if o.visited {
			continue
		}
		o.visited = true
		if o.header.kind == yaffsHardLink {
			*links = append(*links, child)
			continue
		}
		n := f.node(child, o)
		nodes[child] = n
		if err := f.name(dir, child, o.header.name, n); err != nil {
			return err
		}
		if n.is(typeDir) {
			if err := f.fill(n, child, children, nodes, links, depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

// name puts a node into a directory. An object without a name has one by its
// number, as the driver shows it.
func (f *YAFFS2) name(dir *archiveNode, number uint32, name string, n *archiveNode) error {
	if name == "" {
		name = fmt.Sprintf("obj%d", number)
	}
	switch {
	case !validName(name):
		f.problem("object %d: the name %.60q is not possible and left out", number, name)
		return nil
	case !dir.is(typeDir):
		f.problem("object %d, %.60q: its parent is no directory; left out", number, name)
		return nil
	case dir.children[name] != nil:
		f.problem("%.60q: is there twice in one directory; the object with the higher number is kept", name)
	}
	return f.archive.put(dir, name, n)
}

// join makes the hard links, which are objects of their own.
func (f *YAFFS2) join(nodes map[uint32]*archiveNode, links []uint32) error {
	for _, number := range links {
		h := f.objects[number].header
		n, dir := nodes[h.equivalent], nodes[h.parent]
		if n == nil || n.is(typeDir) {
			f.problem("object %d, %.60q: a hard link to object %d, which is no file; left out", number, h.name, h.equivalent)
			continue
		}
		n.Links++
		if err := f.name(dir, number, h.name, n); err != nil {
			return err
		}
	}
	return nil
}

func (f *YAFFS2) node(number uint32, o *yaffsObject) *archiveNode {
	n := &archiveNode{Inode: o.header.inode(number)}
	switch n.Mode & typeMask {
	case typeLink:
		n.Size = int64(len(o.header.alias))
		n.r = strings.NewReader(o.header.alias)
	case typeFile:
		n.Size = o.size
		o.sorted = slices.SortedFunc(maps.Values(o.pieces), func(a, b yaffsPiece) int { return cmp.Compare(a.number, b.number) })
		n.data = func() (io.ReaderAt, io.Closer, error) {
			return &yaffsData{f.r, o.sorted, o.size, f.layout.data(), f.archive.meter}, nil, nil
		}
	}
	return n
}

// yaffsData reads a file. What no chunk has is zeros, and charged as unpacked.
type yaffsData struct {
	r      io.ReaderAt
	pieces []yaffsPiece
	size   int64
	chunk  int64
	meter  *budget.Meter
}

func (d *yaffsData) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("an offset before the start")
	}
	if off >= d.size {
		return 0, io.EOF
	}
	var end error
	if int64(len(p)) > d.size-off {
		p, end = p[:d.size-off], io.EOF
	}
	for done := 0; done < len(p); {
		at := off + int64(done)
		inside := at % d.chunk
		rest := p[done:min(int64(len(p)), int64(done)+d.chunk-inside)]
		i, found := slices.BinarySearchFunc(d.pieces, at/d.chunk+1, func(piece yaffsPiece, n int64) int { return cmp.Compare(int64(piece.number), n) })
		stored := 0
		if found {
			stored = int(max(0, min(int64(len(rest)), int64(d.pieces[i].bytes)-inside)))
			if err := readFull(d.r, rest[:stored], d.pieces[i].at+inside); stored > 0 && err != nil {
				return done, err
			}
		}
		if err := d.meter.Bytes(int64(len(rest) - stored)); err != nil {
			return done + stored, err
		}
		clear(rest[stored:])
		done += len(rest)
	}
	return len(p), end
}
