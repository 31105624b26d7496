package filesystem

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"assay/firmware/budget"
)

// archive is a tree held in memory, for formats that are a row of files with
// whole paths. The files' bytes stay in the image.
type archive struct {
	top    *archiveNode
	nodes  uint64
	meter  *budget.Meter
	survey Survey
	spent  error // of a file that asked too much
}

// archiveNode is one inode; hard links are several names of one node.
type archiveNode struct {
	Inode
	r        io.ReaderAt
	off      int64                                  // of its bytes in r
	data     func() (io.ReaderAt, io.Closer, error) // of a file that is packed or in pieces, in place of r
	children map[string]*archiveNode
	counted  bool
	number   uint64 // in the order of coming into the tree
}

func newArchive(meter *budget.Meter) *archive {
	return &archive{meter: meter, top: impliedDir()}
}

func (a *archive) tree() tree {
	return tree{root: func() (node, error) { return a.top, nil }, meter: a.meter}
}

// impliedDir is a directory that only the paths of other entries speak of.
func impliedDir() *archiveNode {
	return &archiveNode{Inode: Inode{Mode: typeDir | 0o755, Links: 1}}
}

// add puts a node at a path. As when a kernel or cpio unpacks, paths are
// relative to the root even with a slash in front, missing directories are
// made, and a later entry replaces an earlier one. Unlike there, no symbolic
// link is followed, and ".." leads nowhere. The error is a spent budget; what
// cannot be in the tree is left out and a problem.
func (a *archive) add(path string, n *archiveNode) error {
	var parts []string
	for part := range strings.SplitSeq(path, "/") {
		if part == "" || part == "." {
			continue
		}
		if !validName(part) {
			a.survey.problem("%q: this path is not possible and left out", path)
			return nil
		}
		parts = append(parts, part)
	}
	if len(parts) > maxNesting {
		a.survey.problem("%.60q...: %v; left out", path, errNesting)
		return nil
	}
	if len(parts) == 0 {
		if !n.is(typeDir) {
			a.survey.problem("%q: the root is no directory; left out", path)
			return nil
		}
		a.top.Inode = n.Inode
		return nil
	}
	dir := a.top
	for i, part := range parts[:len(parts)-1] {
		next := dir.children[part]
		if next == nil {
			next = impliedDir()
			if err := a.put(dir, part, next); err != nil {
				return err
			}
		}
		if !next.is(typeDir) {
			a.survey.problem("%q: %q is no directory; left out", path, strings.Join(parts[:i+1], "/"))
			return nil
		}
		dir = next
	}
	own := parts[len(parts)-1]
	before := dir.children[own]
	if before != nil && before.is(typeDir) && n.is(typeDir) {
		before.Inode = n.Inode
		return nil
	}
	if before != nil && before != n {
		a.survey.problem("%q: is there twice; the later one is kept", path)
	}
	return a.put(dir, own, n)
}

func (a *archive) put(dir *archiveNode, name string, n *archiveNode) error {
	const size = 320 // of a node and its place in a map, about
	if err := a.meter.Hold(size + int64(len(name))); err != nil {
		return err
	}
	if dir.children == nil {
		dir.children = make(map[string]*archiveNode)
	}
	dir.children[name] = n
	if n.number == 0 {
		a.nodes++
		n.number = a.nodes
	}
	return nil
}

// affords says whether an error leaves the budget for other files: one that
// unpacks to far too much for its size does. The first one is kept.
func (a *archive) affords(err error) bool {
	if !errors.Is(err, budget.ErrExceeded) || a.meter.Bytes(0) != nil || a.meter.Entries(0) != nil {
		return false
	}
	if a.spent == nil {
		a.spent = err
	}
	return true
}

func (n *archiveNode) id() uint64 { return n.number }

// finish counts what is in the tree.
func (a *archive) finish() { a.count(a.top) }

func (a *archive) count(n *archiveNode) {
	if n.counted {
		return
	}
	n.counted = true
	a.survey.count(&n.Inode)
	for _, child := range n.children {
		a.count(child)
	}
}

func (n *archiveNode) inode() *Inode { return &n.Inode }

func (n *archiveNode) list() ([]entry, error) {
	list := make([]entry, 0, len(n.children))
	for _, name := range slices.Sorted(maps.Keys(n.children)) {
		child := n.children[name]
		list = append(list, entry{name, child.FileMode().Type(), func() (node, error) { return child, nil }})
	}
	return list, nil
}

func (n *archiveNode) lookup(name string) (node, error) {
	if child := n.children[name]; child != nil {
		return child, nil
	}
	return nil, fs.ErrNotExist
}

func (n *archiveNode) open() (io.ReaderAt, io.Closer, error) {
	if n.data != nil {
		return n.data()
	}
	if n.r == nil {
		return strings.NewReader(""), nil, nil
	}
	return io.NewSectionReader(n.r, n.off, n.Size), nil, nil
}

func (n *archiveNode) target() (string, error) {
	if n.Size == 0 || n.Size > maxTarget {
		return "", fmt.Errorf("symbolic link target of %d bytes", n.Size)
	}
	if n.r == nil {
		return "", errors.New("symbolic link whose target is not read")
	}
	p := make([]byte, n.Size)
	if _, err := n.r.ReadAt(p, n.off); err != nil && err != io.EOF {
		return "", err
	}
	return string(p), nil
}

// at is the node at a path, to which no symbolic link leads; nil for none.
func (a *archive) at(path string) *archiveNode {
	n := a.top
	for part := range strings.SplitSeq(path, "/") {
		if part == "" || part == "." {
			continue
		}
		if n = n.children[part]; n == nil {
			return nil
		}
	}
	return n
}
