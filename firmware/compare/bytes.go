package compare

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"encoding/hex"
	"math/bits"
	"slices"
)

const (
	chunk      = 1 << 20 // bytes read at a time
	firstGap   = 32      // differences closer than this are listed as one
	maxExtents = 4096    // that are listed
	maxPlaces  = 4096
	quoted     = 16 // bytes of a difference
)

// walker compares the bytes that both images have, in the order of offsets in A.
type walker struct {
	ctx        context.Context
	a, b       Image
	report     *Report
	gap        int64
	bufA, bufB []byte
	open       *Difference // the last one, which the next byte may still join
	pair       *pair
}

// run compares [from, to) of A.
func (w *walker) run(from, to int64) error {
	if from >= to {
		return nil
	}
	w.bufA, w.bufB = make([]byte, min(chunk, to-from)), make([]byte, min(chunk, to-from))
	shift := w.report.Shift
	skip := append(slices.Clone(w.a.Unread), moved(w.b.Unread, shift)...)
	slices.SortFunc(skip, func(x, y Extent) int { return cmp.Compare(x.Offset, y.Offset) })
	for _, p := range pairs(w.a, w.b, shift, from, to) {
		w.pair = &p
		at := p.start
		for _, s := range append(skip, Extent{Offset: to}) {
			if s.end() <= at && s.Size > 0 {
				continue
			}
			if s.Offset > at {
				if err := w.compare(at, min(s.Offset, p.end)); err != nil {
					return err
				}
			}
			if at = min(max(at, s.end()), p.end); at == p.end {
				break
			}
		}
		w.flush()
	}
	w.report.Unread = to - from - w.report.Compared
	return nil
}

func moved(list []Extent, by int64) (out []Extent) {
	for _, x := range list {
		out = append(out, Extent{x.Offset + by, x.Size})
	}
	return out
}

// compare compares a run of bytes in one pair of regions.
func (w *walker) compare(from, to int64) error {
	for off := from; off < to; {
		if err := w.ctx.Err(); err != nil {
			return err
		}
		n := min(int64(len(w.bufA)), to-off)
		a, b := w.bufA[:n], w.bufB[:n]
		if err := readFull(w.a, a, off); err != nil {
			return err
		}
		if err := readFull(w.b, b, off-w.report.Shift); err != nil {
			return err
		}
		w.report.Compared += n
		if !bytes.Equal(a, b) {
			w.differ(off, a, b)
		}
		off += n
	}
	return nil
}

// differ notes each byte that differs in two buffers, which begin at off in A.
func (w *walker) differ(off int64, a, b []byte) {
	for i := 0; i < len(a); {
		if i+8 <= len(a) && binary.LittleEndian.Uint64(a[i:]) == binary.LittleEndian.Uint64(b[i:]) {
			i += 8
			continue
		}
		for end := min(i+8, len(a)); i < end; i++ {
			if a[i] != b[i] {
				w.note(off+int64(i), a[i:], b[i:])
			}
		}
	}
}

// note counts one byte that differs, the first of a and b.
func (w *walker) note(at int64, a, b []byte) {
	flipped := int64(bits.OnesCount8(a[0] ^ b[0]))
	p := w.pair.place(w.report)
	p.Differing++
	p.Bits += flipped
	p.Last = at
	if p.Differing == 1 {
		p.First = at
	}
	w.report.Differing++
	w.report.Bits += flipped
	w.report.ByClass[p.Class]++
	if d := w.open; d != nil && d.Place == w.pair.index && at-(d.A+d.Size) < w.gap {
		d.Size, d.Differing = at-d.A+1, d.Differing+1
		return
	}
	w.flush()
	n := min(quoted, len(a))
	w.open = &Difference{
		A: at, B: at - w.report.Shift, Size: 1, Differing: 1, Place: w.pair.index, BytesA: hex.EncodeToString(a[:n]), BytesB: hex.EncodeToString(b[:n]),
	}
}

// flush ends the open difference. Where there are more than are listed, those
// close to each other are joined, over wider and wider gaps.
func (w *walker) flush() {
	if w.open == nil {
		return
	}
	d := *w.open
	w.open = nil
	if n := 2 * int(min(d.Size, quoted)); len(d.BytesA) > n {
		d.BytesA, d.BytesB = d.BytesA[:n], d.BytesB[:n]
	}
	r := w.report
	const widest = 1 << 30
	for len(r.Extents) >= maxExtents && w.gap < widest {
		w.gap *= 8
		r.Joined = w.gap
		r.Extents = join(r.Extents, w.gap)
	}
	if len(r.Extents) >= maxExtents {
		r.MoreExtents++
		return
	}
	r.Extents = append(r.Extents, d)
}

func join(list []Difference, gap int64) []Difference {
	out := list[:1]
	for _, d := range list[1:] {
		last := &out[len(out)-1]
		if d.Place == last.Place && d.A-(last.A+last.Size) < gap {
			last.Size, last.Differing = d.A+d.Size-last.A, last.Differing+d.Differing
			continue
		}
		out = append(out, d)
	}
	return out
}
