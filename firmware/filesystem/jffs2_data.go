package filesystem

import (
	"cmp"
	"container/heap"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"sort"
	"sync"

	"assay/firmware/compress"
)

// Compressions of a node's data. Number 4, a copy, was never written.
const (
	jffs2None      = 0
	jffs2Zero      = 1
	jffs2RTime     = 2
	jffs2RubinMIPS = 3
	jffs2DynRubin  = 5
	jffs2Zlib      = 6
	jffs2LZO       = 7
	jffs2LZMA      = 8 // OpenWrt's
)

// A node holds a page, which mkfs.jffs2 lets one choose up to an erase block.
const jffs2MaxPage = 1 << 20

func (p *jffs2Piece) end() int64 { return int64(p.offset) + int64(p.size) }

func (p *jffs2Piece) plausible() error {
	switch p.method {
	case jffs2None:
		if p.packed != p.size {
			return fmt.Errorf("%d uncompressed bytes are said to be %d", p.packed, p.size)
		}
	case jffs2Zero:
	case jffs2RTime, jffs2RubinMIPS, jffs2DynRubin, jffs2Zlib, jffs2LZO, jffs2LZMA:
		if p.size > jffs2MaxPage || p.packed > jffs2MaxPage || p.size == 0 || p.packed == 0 {
			return fmt.Errorf("%d bytes compressed to %d, and a node holds at most %d", p.size, p.packed, jffs2MaxPage)
		}
	default:
		return fmt.Errorf("compression %d is not one that is read", p.method)
	}
	if p.end() > 1<<32 {
		return fmt.Errorf("%d bytes at %#x reach past 4 GiB", p.size, p.offset)
	}
	return nil
}

// jffs2Fragment is a stretch of a file whose newest piece is one.
type jffs2Fragment struct {
	start, end int64
	piece      *jffs2Piece
}

// jffs2Cover orders pieces by version, newest first, and for the same version
// that first which is later in the log.
type jffs2Cover []*jffs2Piece

func (c jffs2Cover) Len() int      { return len(c) }
func (c jffs2Cover) Swap(i, j int) { c[i], c[j] = c[j], c[i] }
func (c jffs2Cover) Less(i, j int) bool {
	return c[i].version > c[j].version || c[i].version == c[j].version && c[i].at > c[j].at
}
func (c *jffs2Cover) Push(x any) { *c = append(*c, x.(*jffs2Piece)) }
func (c *jffs2Cover) Pop() any {
	last := (*c)[len(*c)-1]
	*c = (*c)[:len(*c)-1]
	return last
}

// fragments says which piece holds which bytes of the file: each byte is that
// of the newest node that states it. What no node states is a hole.
func (n *jffs2File) fragments() []jffs2Fragment {
	byStart := make([]*jffs2Piece, len(n.pieces))
	edges := make([]int64, 0, 2*len(n.pieces))
	for i := range n.pieces {
		byStart[i] = &n.pieces[i]
		edges = append(edges, int64(n.pieces[i].offset), n.pieces[i].end())
	}
	slices.SortFunc(byStart, func(a, b *jffs2Piece) int { return cmp.Compare(a.offset, b.offset) })
	slices.Sort(edges)
	var list []jffs2Fragment
	var cover jffs2Cover
	for i, at := range edges {
		for len(byStart) > 0 && int64(byStart[0].offset) == at {
			heap.Push(&cover, byStart[0])
			byStart = byStart[1:]
		}
		for len(cover) > 0 && cover[0].end() <= at {
			heap.Pop(&cover)
		}
		if len(cover) == 0 || at >= n.Size || edges[i+1] == at {
			continue
		}
		end := min(edges[i+1], n.Size)
		if last := len(list) - 1; last >= 0 && list[last].piece == cover[0] && list[last].end == at {
			list[last].end = end
			continue
		}
		list = append(list, jffs2Fragment{at, end, cover[0]})
	}
	return list
}

// jffs2Data reads a file's bytes.
type jffs2Data struct {
	n    *jffs2File
	list []jffs2Fragment
	held int64

	mu   sync.Mutex
	buf  []byte // what have unpacks to
	have *jffs2Piece
}

func newJFFS2Data(n *jffs2File) (*jffs2Data, error) {
	const size = 100 // of a piece's fragments, and of finding them
	d := &jffs2Data{n: n, held: size * int64(len(n.pieces))}
	if err := n.f.meter.Hold(d.held); err != nil {
		return nil, err
	}
	d.list = n.fragments()
	return d, nil
}

func (d *jffs2Data) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.n == nil {
		return nil
	}
	d.n.f.meter.Release(d.held + int64(cap(d.buf)))
	d.n, d.list, d.buf, d.have = nil, nil, nil, nil
	return nil
}

func (d *jffs2Data) ReadAt(p []byte, off int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.n == nil {
		return 0, fs.ErrClosed
	}
	if off < 0 {
		return 0, fs.ErrInvalid
	}
	done := 0
	for done < len(p) && off < d.n.Size {
		n, err := d.readFragment(p[done:min(int64(len(p)), int64(done)+d.n.Size-off)], off)
		done += n
		off += int64(n)
		if err != nil {
			return done, err
		}
	}
	if done < len(p) {
		return done, io.EOF
	}
	return done, nil
}

func (d *jffs2Data) readFragment(p []byte, off int64) (int, error) {
	i := sort.Search(len(d.list), func(i int) bool { return d.list[i].end > off })
	if i == len(d.list) || d.list[i].start > off || d.list[i].piece.method == jffs2Zero {
		switch {
		case i < len(d.list) && d.list[i].start > off:
			p = p[:min(int64(len(p)), d.list[i].start-off)]
		case i < len(d.list):
			p = p[:min(int64(len(p)), d.list[i].end-off)]
		}
		clear(p)
		return len(p), d.n.f.meter.Bytes(int64(len(p)))
	}
	fragment := d.list[i]
	p = p[:min(int64(len(p)), fragment.end-off)]
	piece := fragment.piece
	skip := off - int64(piece.offset)
	if piece.method == jffs2None {
		if err := d.n.f.meter.Bytes(int64(len(p))); err != nil {
			return 0, err
		}
		return len(p), d.n.f.read(p, piece.at+skip)
	}
	if d.have != piece {
		d.have = nil
		if err := d.unpack(piece); err != nil {
			return 0, fmt.Errorf("inode %d: node data at %#x: %w", d.n.Number, piece.at, err)
		}
		d.have = piece
	}
	return copy(p, d.buf[skip:]), nil
}

// unpack fills buf with a piece, which must yield exactly what it says.
func (d *jffs2Data) unpack(piece *jffs2Piece) error {
	meter := d.n.f.meter
	if err := meter.Bytes(int64(piece.size)); err != nil {
		return err
	}
	if grow := int64(piece.size) - int64(cap(d.buf)); grow > 0 {
		if err := meter.Hold(grow); err != nil {
			return err
		}
		d.buf = make([]byte, piece.size)
	}
	d.buf = d.buf[:piece.size]
	packed := make([]byte, piece.packed)
	if err := d.n.f.read(packed, piece.at); err != nil {
		return err
	}
	n, err := piece.decode(packed, d.buf)
	if err == nil && n != len(d.buf) {
		err = fmt.Errorf("it unpacks to %d bytes and not to %d", n, len(d.buf))
	}
	return err
}

func (p *jffs2Piece) decode(packed, dst []byte) (int, error) {
	switch p.method {
	case jffs2RTime:
		return unpackRTime(packed, dst)
	case jffs2RubinMIPS, jffs2DynRubin:
		return unpackRubin(packed, dst)
	case jffs2Zlib:
		return compress.Block(compress.Zlib, packed, dst)
	case jffs2LZO:
		return compress.Block(compress.LZO, packed, dst)
	}
	// OpenWrt stores the bare stream of an encoder that is always set up as
	// lc=0, lp=0, pb=0 with a dictionary of 8 KiB. The header in front of an
	// LZMA file says the same: properties, dictionary, unpacked size.
	head := make([]byte, 13, 13+len(packed))
	binary.LittleEndian.PutUint32(head[1:], 8<<10)
	binary.LittleEndian.PutUint64(head[5:], uint64(len(dst)))
	return compress.Block(compress.LZMA, append(head, packed...), dst)
}

var errRTime = errors.New("rtime: it ends too early or yields too much")

// unpackRTime reads pairs of a byte and how many bytes to repeat from behind
// where that byte was met last.
func unpackRTime(src, dst []byte) (int, error) {
	var behind [256]int
	n := 0
	for ; n < len(dst); src = src[2:] {
		if len(src) < 2 {
			return n, errRTime
		}
		value, repeat := src[0], int(src[1])
		from := behind[value]
		dst[n] = value
		n++
		behind[value] = n
		if repeat > len(dst)-n {
			return n, errRTime
		}
		for range repeat {
			dst[n] = dst[from]
			n++
			from++
		}
	}
	return n, nil
}
