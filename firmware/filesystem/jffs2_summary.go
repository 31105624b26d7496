package filesystem

import (
	"cmp"
	"context"
	"fmt"
	"slices"
)

// A summary repeats the headers of an erase block's nodes at the block's end. A
// kernel that reads summaries sees only the nodes they list, and one that does
// not sees all: where the two differ, units with the same image run different
// files, so that it is a problem.

// Bytes of the entries in a summary, of a directory entry without its name.
const (
	jffs2SumInode  = 18
	jffs2SumDirent = 24
	jffs2SumXAttr  = 18
	jffs2SumXRef   = 6

	jffs2MaxSummary = 1 << 20
)

func (f *JFFS2) loadSummary(ctx context.Context, n jffs2Node) error {
	p, err := f.fixed(n, jffs2SumSize, 24, 28)
	if err != nil {
		return err
	}
	size := n.length - jffs2SumSize
	if size > jffs2MaxSummary {
		return fmt.Errorf("summary of %d bytes", size)
	}
	if err := f.verify(ctx, n.at+jffs2SumSize, size, f.order.Uint32(p[24:])); err != nil {
		return err
	}
	list := make([]byte, size)
	if err := f.read(list, n.at+jffs2SumSize); err != nil {
		return err
	}
	f.Nodes.Summaries++
	if size < 8 || f.order.Uint32(list[size-4:]) != jffs2SumMagic {
		return fmt.Errorf("summary without its marker")
	}
	block := n.at - int64(f.order.Uint32(list[size-8:]))
	listed := make(map[int64]bool)
	list = list[:size-8]
	for range f.order.Uint32(p[12:]) {
		entry, kind, off := f.summaryEntry(list)
		if entry == nil {
			return fmt.Errorf("summary of %d nodes is cut short", f.order.Uint32(p[12:]))
		}
		list = list[len(entry):]
		at := block + off
		if listed[at] = true; !f.agrees(entry, kind, at) {
			f.survey.problem("summary at %#x lists a node of type %#04x at %#x that is another there: what units see depends on whether they read summaries", n.at, kind, at)
		}
	}
	i, _ := f.logIndex(block)
	for _, other := range f.log[i:] {
		if other.at >= n.at {
			break
		}
		if !other.obsolete && !listed[other.at] && (other.kind == jffs2Inode || other.kind == jffs2Dirent) {
			f.survey.problem("summary at %#x leaves out the node at %#x: what units see depends on whether they read summaries", n.at, other.at)
		}
	}
	return nil
}

// summaryEntry splits off the list's first entry; it is nil when there is none.
func (f *JFFS2) summaryEntry(list []byte) (entry []byte, kind uint16, off int64) {
	if len(list) < jffs2SumXRef {
		return nil, 0, 0
	}
	size, place := 0, 0
	switch kind = f.order.Uint16(list); kind {
	case jffs2Inode:
		size, place = jffs2SumInode, 10
	case jffs2Dirent:
		if size, place = jffs2SumDirent, 6; len(list) >= size {
			size += int(list[22])
		}
	case jffs2XAttr:
		size, place = jffs2SumXAttr, 10
	case jffs2XRef:
		size, place = jffs2SumXRef, 2
	default:
		return nil, kind, 0
	}
	if len(list) < size {
		return nil, kind, 0
	}
	return list[:size], kind, int64(f.order.Uint32(list[place:]))
}

func (f *JFFS2) logIndex(at int64) (int, bool) {
	return slices.BinarySearchFunc(f.log, at, func(n jffs2Node, at int64) int { return cmp.Compare(n.at, at) })
}

// agrees compares an entry with the node that it is of, which may have become
// obsolete since.
func (f *JFFS2) agrees(entry []byte, kind uint16, at int64) bool {
	i, ok := f.logIndex(at)
	if !ok || f.log[i].kind != kind {
		return false
	}
	p := make([]byte, min(f.log[i].length, jffs2DirentSize+maxName))
	if f.read(p, at) != nil {
		return false
	}
	same := func(entryOff, nodeOff, n int) bool {
		return nodeOff+n <= len(p) && string(entry[entryOff:entryOff+n]) == string(p[nodeOff:nodeOff+n])
	}
	switch kind {
	case jffs2Inode: // inode, version, length
		return same(2, 12, 8) && same(14, 4, 4)
	case jffs2Dirent: // length; directory and version; inode; name's length and type; name
		return same(2, 4, 4) && same(10, 12, 8) && same(18, 20, 4) && same(22, 28, 2) && same(24, 40, int(entry[22]))
	}
	return true
}
