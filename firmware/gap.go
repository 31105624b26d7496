package firmware

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"math"
	"slices"
)

// Erase blocks of the NOR flashes that cameras boot from: 4 KiB sectors, 64 KiB
// blocks. A run of one erased value counts from a sector on; a shorter one only
// as the padding that ends a region's sector or the whole gap.
const (
	sector  = 4 << 10
	block   = 64 << 10
	padding = 16
)

// gap accounts for bytes that no format recognised: erased runs, residue behind
// the region before, and the opaque rest.
func (x *extent) gap(start, end int64, before *Region) []*Region {
	if start == end {
		return nil
	}
	if x.s.halted.Load() {
		return []*Region{{Offset: start, Size: end - start, Problems: []string{"not analysed: " + x.s.reason().Error()}}}
	}
	runs, err := x.runs(start, end)
	if err != nil {
		return []*Region{{Offset: start, Size: end - start, Problems: []string{"not analysed: " + err.Error()}}}
	}
	var parts []*Region
	pos, slack := start, x.slack(start, end, before, runs)
	written := func(to int64) {
		if cut := min(to, slack); pos < cut {
			parts = append(parts, x.describe(pos, cut, Residue))
			pos = cut
		}
		if pos < to {
			parts = append(parts, x.describe(pos, to, Opaque))
			pos = to
		}
	}
	for _, e := range runs {
		written(e.start)
		parts = append(parts, x.describe(e.start, e.end, Erased))
		pos = e.end
	}
	written(end)
	return parts
}

// slack is the end of what may be residue behind a region that starts at a
// sector of a flash. Where the region ends amid a sector and that is not clean
// to its end, it is the end of the erase block: nothing new begins between. A
// partition that a table claims for the region may extend it. What begins at a
// sector of its own, outside a claim, is not called residue.
func (x *extent) slack(start, end int64, before *Region, runs []run) int64 {
	if !x.flash || before == nil || before.Offset != x.up(before.Offset, sector) {
		return start
	}
	slack := start
	if clean := len(runs) > 0 && runs[0].start == start && runs[0].end >= x.up(start, sector); !clean && start != x.up(start, sector) {
		slack = x.up(start, block)
	}
	for _, l := range x.claims {
		for _, p := range l.parts {
			if p.Offset == before.Offset {
				slack = max(slack, p.Offset+p.Size)
			}
		}
	}
	return min(slack, end)
}

// up is the next multiple of n, counted from the start of the extent.
func (x *extent) up(off, n int64) int64 {
	return x.start + (off-x.start+n-1)/n*n
}

type run struct{ start, end int64 }

// runs returns the erased runs of a gap.
func (x *extent) runs(start, end int64) ([]run, error) {
	var list []run
	cur := run{start, start}
	var value byte
	flush := func() {
		n := cur.end - cur.start
		toSector := cur.start == start && start != x.up(start, sector) && cur.end >= x.up(start, sector)
		toEnd := cur.end == end && (n >= padding || cur.start == start)
		if n >= sector || n > 0 && (toSector || toEnd) {
			list = append(list, cur)
		}
	}
	err := x.chunks(start, end, 0, func(off int64, p []byte, _ int) {
		for i := 0; i < len(p); {
			c := p[i]
			if c != 0xFF && c != 0 {
				flush()
				i += written(p[i:])
				cur = run{off + int64(i), off + int64(i)}
				continue
			}
			if c != value || cur.start == cur.end {
				flush()
				cur, value = run{off + int64(i), off + int64(i)}, c
			}
			i += same(p[i:], c)
			cur.end = off + int64(i)
		}
	})
	flush()
	return list, err
}

// written counts the bytes up to the first erased one.
func written(p []byte) int {
	for i, c := range p {
		if c == 0xFF || c == 0 {
			return i
		}
	}
	return len(p)
}

// same counts how often p begins with c.
func same(p []byte, c byte) int {
	i := 0
	for i < len(p) && p[i] == c {
		i++
	}
	return i
}

// describe hashes a stretch and says what can be said of unknown bytes.
func (x *extent) describe(start, end int64, state State) *Region {
	r := &Region{Offset: start, Size: end - start, State: state}
	if err := x.s.meter.Entries(1); err != nil {
		x.s.stop(err)
		r.AddProblem("not analysed: %v", err)
		return r
	}
	h := sha256.New()
	var counts [4][256]int64
	var texts texts
	err := x.chunks(start, end, 0, func(_ int64, p []byte, _ int) {
		h.Write(p)
		if state == Erased {
			return
		}
		tallyBytes(&counts, p)
		texts.add(p)
	})
	if err != nil {
		r.AddProblem("not read: %v", err)
		return r
	}
	r.SHA256 = hex.EncodeToString(h.Sum(nil))
	if state != Erased {
		r.Entropy = entropy(&counts, r.Size)
		r.Strings = texts.list()
	}
	return r
}

// tallyBytes counts into four tables, which spares the processor the wait for
// the same counter that runs of one byte would cause.
func tallyBytes(counts *[4][256]int64, p []byte) {
	for ; len(p) >= 4; p = p[4:] {
		counts[0][p[0]]++
		counts[1][p[1]]++
		counts[2][p[2]]++
		counts[3][p[3]]++
	}
	for _, c := range p {
		counts[0][c]++
	}
}

// entropy is Shannon's, in bits per byte, rounded to a thousandth.
func entropy(counts *[4][256]int64, size int64) float64 {
	var sum float64
	for c := range 256 {
		if n := counts[0][c] + counts[1][c] + counts[2][c] + counts[3][c]; n > 0 {
			p := float64(n) / float64(size)
			sum -= p * math.Log2(p)
		}
	}
	return math.Round(sum*1000) / 1000
}

const (
	maxTexts = 8
	minText  = 8
	maxText  = 120
)

// texts keeps the longest printable strings of a stretch, in the order they
// stand in.
type texts struct {
	cur  []byte
	kept []string
}

func (t *texts) add(p []byte) {
	for i := 0; i < len(p); {
		if len(t.cur) == 0 && i+minText <= len(p) {
			// A string that is long enough and starts here or in the next bytes
			// covers the last of them.
			last := i + minText - 1
			if !isText[p[last]] {
				i = last + 1
				continue
			}
			for last > i && isText[p[last-1]] {
				last--
			}
			i = last
		}
		for i < len(p) && isText[p[i]] {
			if len(t.cur) < maxText {
				t.cur = append(t.cur, p[i])
			}
			i++
		}
		if i < len(p) {
			t.flush()
			i++
		}
	}
}

var isText = func() (table [256]bool) {
	for c := ' '; c <= '~'; c++ {
		table[c] = true
	}
	return table
}()

func (t *texts) flush() {
	s := bytes.TrimSpace(t.cur)
	t.cur = t.cur[:0]
	if len(s) < minText || bytes.Count(s, s[:1]) == len(s) || slices.Contains(t.kept, string(s)) {
		return
	}
	if len(t.kept) < maxTexts {
		t.kept = append(t.kept, string(s))
		return
	}
	shortest := 0
	for i, k := range t.kept {
		if len(k) < len(t.kept[shortest]) {
			shortest = i
		}
	}
	if len(s) > len(t.kept[shortest]) {
		t.kept = append(slices.Delete(t.kept, shortest, shortest+1), string(s))
	}
}

func (t *texts) list() []string {
	if len(t.cur) > 0 {
		t.flush()
	}
	return t.kept
}
