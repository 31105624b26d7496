package firmware

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"

	"assay/firmware/internal/blank"
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
		parts = append(parts, x.erased(e))
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

// run is a stretch of one byte.
type run struct {
	start, end int64
	value      byte
}

// runs returns the erased runs of a gap.
func (x *extent) runs(start, end int64) ([]run, error) {
	var list []run
	var cur run
	flush := func() {
		n := cur.end - cur.start
		toSector := cur.start == start && start != x.up(start, sector) && cur.end >= x.up(start, sector)
		toEnd := cur.end == end && (n >= padding || cur.start == start)
		if n >= sector || n > 0 && (toSector || toEnd) {
			list = append(list, cur)
		}
		cur = run{}
	}
	err := x.chunks(start, end, 0, func(off int64, p []byte, _ int) {
		for i := 0; i < len(p); {
			c := p[i]
			if c != 0xFF && c != 0 {
				flush()
				i = nextRun(p, i)
				continue
			}
			if c != cur.value || cur.start == cur.end {
				flush()
				cur = run{off + int64(i), off + int64(i), c}
			}
			i += blank.Run(p[i:], c)
			cur.end = off + int64(i)
		}
	})
	flush()
	return list, err
}

// erasedRun counts how many bytes of one erased value p begins with.
func erasedRun(p []byte) int {
	if p[0] != 0xFF && p[0] != 0 {
		return 0
	}
	return blank.Run(p, p[0])
}

// nextRun returns where the next run of erased bytes that may count begins, or
// the end of p. One that counts by its length stands at a multiple of half a
// sector; a shorter one counts only at the end, and there too p may go on.
func nextRun(p []byte, from int) int {
	const probe = sector / 2
	at := (from + probe) / probe * probe
	for at < len(p) && p[at] != 0xFF && p[at] != 0 {
		at += probe
	}
	if at >= len(p) {
		if at = len(p) - 1; p[at] != 0xFF && p[at] != 0 {
			return len(p)
		}
	}
	for c := p[at]; at > from && p[at-1] == c; {
		at--
	}
	return at
}

// describe makes a region of a stretch of unknown bytes.
func (x *extent) describe(start, end int64, state State) *Region {
	r := &Region{Offset: start, Size: end - start, State: state}
	if err := x.s.meter.Entries(1); err != nil {
		x.s.stop(err)
		r.AddProblem("not analysed: %v", err)
		return r
	}
	r.gap = unknown
	return r
}

// erased makes a region of a run, which was read when it was found.
func (x *extent) erased(e run) *Region {
	r := &Region{Offset: e.start, Size: e.end - e.start, State: Erased}
	if err := x.s.meter.Entries(1); err != nil {
		x.s.stop(err)
		r.AddProblem("not analysed: %v", err)
		return r
	}
	if r.gap = ofZeros; e.value != 0 {
		r.gap = ofOnes
	}
	return r
}

// tallyBytes counts into four tables, which spares the processor the wait for
// the same counter that runs of one byte would cause.
func tallyBytes(counts *[4][256]int64, p []byte) {
	for ; len(p) >= 8; p = p[8:] {
		v := binary.LittleEndian.Uint64(p)
		counts[0][byte(v)]++
		counts[1][byte(v>>8)]++
		counts[2][byte(v>>16)]++
		counts[3][byte(v>>24)]++
		counts[0][byte(v>>32)]++
		counts[1][byte(v>>40)]++
		counts[2][byte(v>>48)]++
		counts[3][byte(v>>56)]++
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
// stand in. Pieces are to be given with maxText bytes of the next one behind
// them, so that a string across their border is seen whole.
type texts struct {
	kept []string
	over int  // bytes of the next piece that the last string covers
	goes bool // and it goes on behind them
}

// add looks for strings that start in the first fresh bytes of p.
func (t *texts) add(p []byte, fresh int) {
	i := min(t.over, len(p))
	if t.goes {
		i += written(p[i:])
	}
	t.goes = t.goes && i == len(p)
	for i < fresh && i+minText <= len(p) {
		// A string that is long enough and starts at i covers all of these.
		last := i + minText - 1
		for last >= i && isText[p[last]] {
			last--
		}
		if last >= i {
			i = last + 1
			continue
		}
		n := minText + written(p[i+minText:])
		t.keep(p[i : i+min(n, maxText)])
		i += n
		t.goes = i == len(p)
	}
	t.over = max(0, i-fresh)
}

// written counts the printable bytes that p begins with.
func written(p []byte) int {
	for i, c := range p {
		if !isText[c] {
			return i
		}
	}
	return len(p)
}

var isText = func() (table [256]bool) {
	for c := ' '; c <= '~'; c++ {
		table[c] = true
	}
	return table
}()

func (t *texts) keep(s []byte) {
	s = bytes.TrimSpace(s)
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
