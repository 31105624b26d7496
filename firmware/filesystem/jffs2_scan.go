package filesystem

import (
	"context"
	"fmt"
	"io"
)

// A scan ends where so many bytes behind a node there is still none and the
// bytes are not erased. Erase blocks of the usual flashes are no larger.
const jffs2Foreign = 256 << 10

// jffs2Node is a node whose header holds.
type jffs2Node struct {
	at, length int64
	kind       uint16 // with jffs2Accurate
	obsolete   bool
}

func (n jffs2Node) end() int64 { return n.at + n.length }

// next is where the following node may start.
func (n jffs2Node) next() int64 { return (n.end() + 3) &^ 3 }

// jffs2Run is a stretch of bytes that are neither a node's nor erased.
type jffs2Run struct{ start, end int64 }

// jffs2Version is what one file system states once: a version of an inode, or
// of an entry in a directory.
type jffs2Version struct {
	kind           uint16
	inode, version uint32
}

type jffs2Stated struct {
	at   int64
	sums uint64
}

// jffs2Scan is the pass that finds nodes.
type jffs2Scan struct {
	*JFFS2
	size  int64
	buf   []byte // the bytes at bufAt
	bufAt int64
	seen  map[jffs2Version]jffs2Stated
}

// scan fills the log. As in the kernel, nodes start at multiples of four bytes,
// and where one is not sound the search goes on four bytes further.
func (f *JFFS2) scan(ctx context.Context, size int64) error {
	s := &jffs2Scan{JFFS2: f, size: size, seen: make(map[jffs2Version]jffs2Stated)}
	var last int64 // end of the last node
	for f.scanned < size {
		if err := ctx.Err(); err != nil {
			return err
		}
		at := f.scanned
		p, err := s.peek(at)
		if err != nil {
			return err
		}
		if n := erasedWords(p); n > 0 {
			f.scanned += n
			continue
		}
		if at-last > jffs2Foreign {
			return nil
		}
		n, ok := s.node(p, at)
		if !ok {
			if err := s.addDirty(at, min(at+4, size)); err != nil {
				return err
			}
			f.scanned = min(at+4, size)
			continue
		}
		if s.another(n, p) {
			f.other = at
			return nil
		}
		if err := f.keep(n); err != nil {
			return err
		}
		last, f.scanned = n.end(), min(n.next(), size)
	}
	return nil
}

func (s *jffs2Scan) node(p []byte, at int64) (jffs2Node, bool) {
	if len(p) < jffs2Header || s.order.Uint16(p) != s.magic {
		return jffs2Node{}, false
	}
	n, err := s.header(p, s.size-at)
	if err != nil {
		s.Nodes.BadHeaders++
		s.survey.problem("node at %#x: %v; skipped", at, err)
		return n, false
	}
	n.at = at
	return n, true
}

// another says whether a sound node states differently what a node before has
// stated, so that it must be of another file system, in a partition that
// follows without a gap. Nodes closer than an erase block can be are of one.
func (s *jffs2Scan) another(n jffs2Node, p []byte) bool {
	word := func(off int) uint32 { return s.order.Uint32(p[off:]) }
	var sums uint64
	switch {
	case n.obsolete || s.Old:
		return false
	case n.kind == jffs2Inode && n.length >= jffs2InodeSize && jffs2CRC(p[:60]) == word(64):
		sums = uint64(word(64))<<32 | uint64(word(60))
	case n.kind == jffs2Dirent && n.length > jffs2DirentSize && jffs2CRC(p[:32]) == word(32):
		sums = uint64(word(32))<<32 | uint64(word(36))
	default:
		return false
	}
	key := jffs2Version{n.kind, word(12), word(16)}
	before, ok := s.seen[key]
	if !ok {
		s.seen[key] = jffs2Stated{n.at, sums}
		return false
	}
	if before.sums == sums {
		return false // garbage collection copies nodes as they are
	}
	if n.at-before.at >= jffs2MinBlock {
		return true
	}
	s.survey.problem("nodes at %#x and %#x both state version %d of inode %d; the later is kept", before.at, n.at, key.version, key.inode)
	return false
}

func (f *JFFS2) keep(n jffs2Node) error {
	if err := f.meter.Entries(1); err != nil {
		return err
	}
	const size = 112 // of a node in the log and among the versions seen, about
	if err := f.meter.Hold(size); err != nil {
		return err
	}
	f.log = append(f.log, n)
	return nil
}

// erasedWords is how many bytes p begins with that are erased, in whole words.
func erasedWords(p []byte) int64 {
	n := 0
	for n < len(p) && p[n] == 0xff {
		n++
	}
	if n == len(p) {
		return int64(n)
	}
	return int64(n &^ 3)
}

func (f *JFFS2) addDirty(start, end int64) error {
	if n := len(f.dirty); n > 0 && f.dirty[n-1].end == start {
		f.dirty[n-1].end = end
		return nil
	}
	const size = 16
	if err := f.meter.Hold(size); err != nil {
		return err
	}
	f.dirty = append(f.dirty, jffs2Run{start, end})
	return nil
}

// peek returns bytes at an offset: all there are, or at least the fixed part of
// any node.
func (s *jffs2Scan) peek(at int64) ([]byte, error) {
	if skip := at - s.bufAt; skip >= 0 && skip+min(jffs2InodeSize, s.size-at) <= int64(len(s.buf)) {
		return s.buf[skip:], nil
	}
	const page = 64 << 10
	if s.buf == nil {
		s.buf = make([]byte, min(page, s.size))
	}
	s.buf, s.bufAt = s.buf[:min(int64(cap(s.buf)), s.size-at)], at
	n, err := s.r.ReadAt(s.buf, at)
	if n == len(s.buf) {
		return s.buf, nil
	}
	s.buf = s.buf[:0]
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return nil, fmt.Errorf("at %#x: %w", at, err)
}
