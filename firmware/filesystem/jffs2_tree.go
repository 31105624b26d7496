package filesystem

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"time"
)

// jffs2Types are the file types of directory entries: DT_* of dirent.h.
var jffs2Types = map[byte]uint32{1: typeFIFO, 2: typeChar, 4: typeDir, 6: typeBlock, 8: typeFile, 10: typeLink, 12: typeSocket}

// build makes the tree from the names. The root has no name and often no node.
func (f *JFFS2) build(ctx context.Context) error {
	if !f.root.is(typeDir) {
		f.survey.problem("inode 1, the root, has mode %o and is no directory; taken as one", f.root.Mode)
		f.root.Inode = Inode{Number: 1, Mode: typeDir | 0o755}
	}
	f.root.Size, f.root.Links, f.root.reached = 0, 2, true
	err := f.root.fill(ctx, ".", 0)
	for _, n := range f.inodes {
		if !n.reached && n.Mode != 0 {
			f.Nodes.Nameless++
		}
	}
	return err
}

// fill completes an inode that the walk met first under this name.
func (n *jffs2File) fill(ctx context.Context, name string, depth int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, sequence := range n.xattrs {
		n.XAttrs = n.XAttrs || sequence&1 == 0
	}
	switch n.Mode & typeMask {
	case typeDir:
		return n.fillDir(ctx, name, depth)
	case typeChar, typeBlock:
		if err := n.readDevice(); err != nil {
			n.f.survey.problem("%s: %v", name, err)
		}
		n.Size = 0
	case typeLink:
		n.Size = int64(n.newest.size)
		if _, err := n.target(); err != nil {
			n.f.survey.problem("%s: %v", name, err)
		}
	case typeFile:
	case typeFIFO, typeSocket:
		n.Size = 0
	default:
		n.f.survey.problem("%s: mode %o is of no file type", name, n.Mode)
	}
	n.f.survey.count(&n.Inode)
	return nil
}

func (n *jffs2File) fillDir(ctx context.Context, name string, depth int) error {
	n.Size = 0
	// A directory's times are not written again when a name in it changes.
	if len(n.names) > 0 && (n.newest.at == 0 || n.changed.version > n.version) {
		n.ModTime = time.Unix(int64(n.changed.time), 0).UTC()
	}
	n.f.survey.count(&n.Inode)
	if depth > maxNesting {
		n.f.survey.problem("%s: %v", name, errNesting)
		return nil
	}
	problem := n.f.survey.problem
	for _, own := range slices.Sorted(maps.Keys(n.names)) {
		stated := n.names[own]
		if stated.inode == 0 {
			continue
		}
		full := path.Join(name, own)
		child := n.f.inodes[stated.inode]
		switch {
		case !validName(own):
			problem("%s: the name %q is not possible and left out", name, own)
			continue
		case child == nil || child.newest.at == 0:
			problem("%s: inode %d has no sound node; left out", full, stated.inode)
			continue
		case child.reached && child.is(typeDir):
			problem("%s: inode %d is a directory that is already at another place; left out", full, stated.inode)
			continue
		case !child.is(jffs2Types[stated.kind]):
			problem("%s: listed as of type %d and has mode %o", full, stated.kind, child.Mode)
		}
		child.Links++
		if child.is(typeDir) {
			child.Links++ // its own "."
			n.Links++
		}
		if !child.reached {
			child.reached = true
			if err := child.fill(ctx, full, depth+1); err != nil {
				return err
			}
		}
		n.children = append(n.children, entry{own, child.FileMode().Type(), func() (node, error) { return child, nil }})
	}
	return nil
}

func (n *jffs2File) inode() *Inode          { return &n.Inode }
func (n *jffs2File) list() ([]entry, error) { return slices.Clone(n.children), nil }

func (n *jffs2File) lookup(name string) (node, error) {
	i, ok := slices.BinarySearchFunc(n.children, name, func(e entry, name string) int { return strings.Compare(e.name, name) })
	if !ok {
		return nil, fs.ErrNotExist
	}
	return n.children[i].load()
}

// small reads the bytes of the newest node, which a kernel takes as they are
// where they are no file's.
func (n *jffs2File) small(limit uint32) ([]byte, error) {
	p := n.newest
	if p.method != jffs2None || p.size == 0 || p.size > limit {
		return nil, fmt.Errorf("inode %d: %d bytes of compression %d, where at most %d uncompressed ones belong", n.Number, p.size, p.method, limit)
	}
	b := make([]byte, p.size)
	return b, n.f.read(b, p.at)
}

func (n *jffs2File) target() (string, error) {
	b, err := n.small(maxTarget)
	return string(b), err
}

// readDevice reads a device number in either of the kernel's encodings.
func (n *jffs2File) readDevice() error {
	b, err := n.small(4)
	if err != nil {
		return err
	}
	switch len(b) {
	case 2:
		v := uint32(n.f.order.Uint16(b))
		n.Major, n.Minor = v>>8, v&0xff
	case 4:
		v := n.f.order.Uint32(b)
		n.Major, n.Minor = v>>8&0xfff, v&0xff|v>>12&0xfff00
	default:
		return fmt.Errorf("inode %d: device number of %d bytes", n.Number, len(b))
	}
	return nil
}

func (n *jffs2File) open() (io.ReaderAt, io.Closer, error) {
	d, err := newJFFS2Data(n)
	return d, d, err
}
