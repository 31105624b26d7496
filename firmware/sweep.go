package firmware

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"slices"
	"sync/atomic"

	"assay/firmware/budget"
)

// table finds the formats whose magic may be at a byte by its first two bytes,
// so that one pass serves all formats.
type table struct {
	formats []Format
	pairs   [1 << 16]uint8  // by two bytes, little endian: what may stand there
	hot     [1 << 10]uint64 // the same as one bit each, which a processor keeps at hand
	lists   [1 << 16]uint16 // by the first two bytes of a magic: which of magics, from 1 on
	magics  []candidates
	every   []candidate // formats tried at aligned places
	step    int64       // greatest common divisor of their alignments; 0 for none
	longest int
	heads   []Magic // all magics, by their offsets
}

// candidates are the magics that begin with the same two bytes.
type candidates struct {
	keys []magicKey // of each in list, close together
	list []candidate
}

// candidate is a magic of a format, from the byte on by which it is looked for.
type candidate struct {
	format int
	magic  Magic
	before string // what of the magic is before that
}

// magicKey is what stands in the eight bytes from a place on and in the eight
// before it, as far as a magic says.
type magicKey struct{ from, fromMask, before, beforeMask uint64 }

func (c *candidate) key() (k magicKey) {
	var b, m [8]byte
	for i := range copy(b[:], c.magic.Bytes) {
		m[i] = 0xff
	}
	k.from, k.fromMask = binary.LittleEndian.Uint64(b[:]), binary.LittleEndian.Uint64(m[:])
	b, m = [8]byte{}, [8]byte{}
	for i := range min(8, len(c.before)) {
		b[7-i], m[7-i] = c.before[len(c.before)-1-i], 0xff
	}
	k.before, k.beforeMask = binary.LittleEndian.Uint64(b[:]), binary.LittleEndian.Uint64(m[:])
	return k
}

// striking is where to look for a magic: at the two bytes, with the one behind
// them, that are the least common. Leading ones often are what an erased or sparse
// part of any image is full of, or small numbers and addresses, as in programs.
func striking(magic string) int {
	best, least := 0, math.MaxInt
	for k := 0; k+2 < len(magic); k++ {
		a, b, c := common[magic[k]], common[magic[k+1]], common[magic[k+2]]
		if cost := a*b + b*c; cost < least {
			best, least = k, cost
		}
	}
	return best
}

// common says how common a byte is, roughly.
var common = func() (table [256]int) {
	for c := range table {
		switch {
		case c == 0, c == 0xFF:
			table[c] = 20
		case c <= 0x10, c&(c-1) == 0, c >= 0xF0:
			table[c] = 4
		case c >= 'a' && c <= 'z', c == ' ', c == 0xC0, c == 0x60:
			table[c] = 2
		default:
			table[c] = 1
		}
	}
	return table
}()

// built is the table of all formats, made anew when one was registered since.
var built atomic.Pointer[table]

func currentTable() *table {
	formats := Formats()
	if t := built.Load(); t != nil && len(t.formats) == len(formats) {
		return t
	}
	t := newTable(formats)
	built.Store(t)
	return t
}

func newTable(formats []Format) *table {
	t := &table{formats: formats, longest: 2}
	for i, f := range formats {
		for _, m := range f.Magics {
			t.longest = max(t.longest, len(m.Bytes))
			k := striking(m.Bytes)
			before := m.Bytes[:k]
			m = Magic{Offset: m.Offset + int64(k), Bytes: m.Bytes[k:]}
			key := pair(m.Bytes[0], m.Bytes[1])
			t.mark(key, starts)
			if len(m.Bytes) > 2 {
				t.mark(pair(m.Bytes[1], m.Bytes[2]), started)
			} else {
				for c := range 256 {
					t.mark(pair(m.Bytes[1], byte(c)), started)
				}
			}
			if t.lists[key] == 0 {
				t.magics = append(t.magics, candidates{})
				t.lists[key] = uint16(len(t.magics))
			}
			list := &t.magics[t.lists[key]-1]
			c := candidate{i, m, before}
			list.keys, list.list = append(list.keys, c.key()), append(list.list, c)
		}
		t.heads = append(t.heads, f.Magics...)
		if f.Every > 0 {
			t.every = append(t.every, candidate{format: i})
			t.step = gcd(t.step, f.Every)
		}
	}
	slices.SortStableFunc(t.heads, func(a, b Magic) int { return compare(a.Offset, b.Offset) })
	return t
}

// What may stand at two bytes: the start of a magic, or its second byte and what
// follows. So it is enough to look at every other byte.
const (
	starts = 1 << iota
	started
)

func (t *table) mark(key uint16, what uint8) {
	t.pairs[key] |= what
	t.hot[key>>6] |= 1 << (key & 63)
}

// quiet counts the bytes of p, in twos, that no magic can start in or before.
// The last few are for the caller to look at. A shift of one by a variable number
// costs more than a branch that is never taken: each test is one of a bit.
func (t *table) quiet(p []byte) int {
	hot := &t.hot
	n := len(p)
	for ; len(p) >= 8; p = p[8:] {
		v := binary.LittleEndian.Uint64(p)
		if hot[uint16(v)>>6]>>(v&63)&1 != 0 {
			return n - len(p)
		}
		if v >>= 16; hot[uint16(v)>>6]>>(v&63)&1 != 0 {
			return n - len(p) + 2
		}
		if v >>= 16; hot[uint16(v)>>6]>>(v&63)&1 != 0 {
			return n - len(p) + 4
		}
		if v >>= 16; hot[uint16(v)>>6]>>(v&63)&1 != 0 {
			return n - len(p) + 6
		}
	}
	return n - len(p)
}

// distance is how far it is from an offset in an extent to the next place where a
// format without magic is looked for; far when there is none.
func (t *table) distance(off, far int64) int64 {
	if t.step == 0 {
		return far
	}
	return (t.step - off%t.step) % t.step
}

func pair(a, b byte) uint16 { return uint16(a) | uint16(b)<<8 }

func gcd(a, b int64) int64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// extent is a part of an image that is partitioned by itself: the whole of it,
// or the payload of a container.
type extent struct {
	*source
	depth      int
	start, end int64
	flash      bool     // erase blocks count from start, and residue is to be told
	claims     []layout // of the outermost extent only
	held       int64    // charged for what its regions unpacked

	buf    []byte // what peek read last
	bufOff int64
	spare  *Window // of a format that turned the bytes down
}

// find returns the first region that starts in [pos, limit) and may reach to
// the extent's end, or nil.
func (x *extent) find(pos, limit int64) *Region {
	for off := pos; off < limit && !x.s.halted.Load(); {
		p := x.peek(off)
		n := int(min(int64(len(p)), limit-off))
		if off+int64(len(p)) < x.end {
			n = min(n, len(p)-x.s.table.longest+1)
		}
		if n <= 0 {
			return nil
		}
		if r := x.scan(pos, off, p, n); r != nil {
			return r
		}
		off += int64(n)
		if x.depth == 0 && x.s.progress != nil {
			x.s.progress(off, x.size)
		}
	}
	return nil
}

// peek returns bytes from off on: a whole magic at least, unless the extent
// ends. They are kept, so that a dense row of small regions is read once.
func (x *extent) peek(off int64) []byte {
	have := x.bufOff + int64(len(x.buf)) - off
	if off >= x.bufOff && (have > int64(x.s.table.longest) || have > 0 && off+have == x.end) {
		return x.buf[off-x.bufOff:]
	}
	want := min(chunkSize, x.end-off)
	if int64(cap(x.buf)) < want {
		x.buf = make([]byte, want)
	}
	x.buf, x.bufOff = x.buf[:want], off
	if _, err := x.ReadAt(x.buf, off); err != nil && err != io.EOF {
		x.buf = x.buf[:0]
	}
	return x.buf
}

// scan looks for candidates whose magic begins in the first n bytes of p, which
// is the image at offset at.
func (x *extent) scan(pos, at int64, p []byte, n int) *Region {
	t := x.s.table
	aligned := int(t.distance(at-x.start, int64(n)))
	for i := 0; i < n; {
		if dead := erasedRun(p[i:]); dead >= sector {
			// Nothing begins with a whole sector of erased bytes. A magic may begin
			// with the last of them.
			i += dead - t.longest
			aligned = i + int(t.distance(at+int64(i)-x.start, int64(n)))
			continue
		}
		// Up to the next aligned place, and there.
		if r := x.magics(pos, at, p, i, min(aligned, n)); r != nil {
			return r
		}
		if x.s.halted.Load() {
			return nil
		}
		i = aligned
		if i < n {
			if r := x.alignedAt(at + int64(i)); r != nil {
				return r
			}
			aligned += int(t.step)
		}
	}
	return nil
}

// magics looks for magics that begin in [from, to) of p, two bytes at a step.
func (x *extent) magics(pos, at int64, p []byte, from, to int) *Region {
	t := x.s.table
	for i := from; i <= to; i += 2 {
		i += t.quiet(p[i:min(to+1, len(p))])
		if i > to || i+1 >= len(p) {
			break
		}
		what := t.pairs[pair(p[i], p[i+1])]
		if what&started != 0 && i > from {
			if r := x.magicAt(pos, at, p, i-1); r != nil {
				return r
			}
		}
		if what&starts != 0 && i < to {
			if r := x.magicAt(pos, at, p, i); r != nil {
				return r
			}
		}
		if x.s.halted.Load() {
			return nil
		}
	}
	// A magic of two bytes may be the last of all.
	if last := len(p) - 2; last >= from && last < to && (last-from)%2 == 1 {
		return x.magicAt(pos, at, p, last)
	}
	return nil
}

func (x *extent) alignedAt(at int64) *Region {
	for _, c := range x.s.table.every {
		if (at-x.start)%x.s.table.formats[c.format].Every != 0 {
			continue
		}
		if r := x.try(c.format, at, x.end); r != nil {
			return r
		}
	}
	return nil
}

// magicAt tries the formats that have a magic at byte i of p, which is the image
// at an offset, and start at pos or later, and returns the best accounted for, the
// earlier registered of equals.
func (x *extent) magicAt(pos, off int64, p []byte, i int) *Region {
	t := x.s.table
	number := t.lists[pair(p[i], p[i+1])]
	if number == 0 {
		return nil
	}
	var best *Region
	here, back := t.magics[number-1], i >= 8
	var from, before uint64
	if len(p)-i >= 8 {
		from = binary.LittleEndian.Uint64(p[i:])
	} else {
		var b [8]byte
		copy(b[:], p[i:])
		from = binary.LittleEndian.Uint64(b[:])
	}
	if back {
		before = binary.LittleEndian.Uint64(p[i-8:])
	}
	for n, k := range here.keys {
		if (from^k.from)&k.fromMask != 0 || back && (before^k.before)&k.beforeMask != 0 {
			continue
		}
		c := &here.list[n]
		at := off + int64(i)
		start := at - c.magic.Offset
		if start < pos || !bytes.HasPrefix(p[i:], []byte(c.magic.Bytes)) || !x.has(at-int64(len(c.before)), c.before) {
			continue
		}
		best = better(best, x.try(c.format, start, x.end))
		if best != nil && best.State == Proven {
			break
		}
	}
	return best
}

// has tells whether these bytes stand at a place.
func (x *extent) has(at int64, bytes string) bool {
	if bytes == "" {
		return true
	}
	if at < x.start {
		return false
	}
	if i := at - x.bufOff; i >= 0 && i+int64(len(bytes)) <= int64(len(x.buf)) {
		return string(x.buf[i:i+int64(len(bytes))]) == bytes
	}
	p := make([]byte, len(bytes))
	_, err := x.ReadAt(p, at)
	return err == nil && string(p) == bytes
}

func better(a, b *Region) *Region {
	if a == nil || b != nil && b.State > a.State {
		return b
	}
	return a
}

// at returns what some format recognises at exactly this place.
func (x *extent) at(off, limit int64) *Region {
	t := x.s.table
	var best *Region
	for i, f := range t.formats {
		if x.mayBe(f, off) {
			best = better(best, x.try(i, off, limit))
		}
		if best != nil && best.State == Proven {
			break
		}
	}
	return best
}

func (x *extent) mayBe(f Format, off int64) bool {
	for _, m := range f.Magics {
		p := make([]byte, len(m.Bytes))
		if off+m.Offset+int64(len(p)) > x.end {
			continue
		}
		if _, err := x.ReadAt(p, off+m.Offset); err == nil && string(p) == m.Bytes {
			return true
		}
	}
	return f.Every > 0 && (off-x.start)%f.Every == 0
}

// try parses one format at one place and makes the region it returns keep to
// the window, whatever the parser made of hostile bytes.
func (x *extent) try(format int, start, limit int64) *Region {
	f := x.s.table.formats[format]
	if f.Parse == nil || start >= limit || x.s.halted.Load() {
		return nil
	}
	w := x.spare
	if x.spare = nil; w == nil {
		w = new(Window)
	}
	*w = Window{x: x, off: start, size: limit - start}
	r, err := f.Parse(w)
	if err != nil {
		x.s.note(err)
	}
	if r == nil || r.Size <= 0 {
		x.s.meter.Release(w.held.Load())
		x.spare = w
		return nil
	}
	x.held += w.held.Load()
	if r.Size > w.size {
		r.AddProblem("%s at %#x declares %d bytes and only %d are there", f.Name, start, r.Size, w.size)
		r.Size = w.size
	}
	r.Offset = start
	if r.Format == "" {
		r.Format = f.Name
	}
	if err != nil && !errors.Is(err, budget.ErrExceeded) {
		r.AddProblem("%v", err)
	}
	x.inside(r)
	if err := x.s.meter.Entries(int64(1 + len(r.Children))); err != nil {
		x.s.stop(err)
	}
	return r
}

// inside drops children that do not lie within their parent, one after the
// other: a format that lets overlapping ones through must not break the sums.
func (x *extent) inside(r *Region) {
	slices.SortStableFunc(r.Children, func(a, b *Region) int { return compare(a.Offset, b.Offset) })
	kept, end := r.Children[:0], r.Offset
	for _, c := range r.Children {
		if c.Offset < end || c.Size <= 0 || c.Size > r.End()-c.Offset {
			r.AddProblem("a part at %#x of %d bytes overlaps its neighbours and is left out", c.Offset, c.Size)
			continue
		}
		kept, end = append(kept, c), c.End()
	}
	r.Children = kept
}

func compare(a, b int64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
