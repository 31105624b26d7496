package firmware

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// partition accounts for every byte of the extent.
func (x *extent) partition() []*Region {
	if x.start == x.end {
		return nil
	}
	if err := x.s.meter.Depth(x.depth); err != nil {
		x.s.note(err)
		return []*Region{{Offset: x.start, Size: x.end - x.start, Problems: []string{"not analysed: " + err.Error()}}}
	}
	found := x.sweep(x.prove())
	parts := make([]*Region, 0, 2*len(found)+1)
	pos := x.start
	var before *Region
	for _, r := range found {
		parts = append(parts, x.gap(pos, r.Offset, before)...)
		parts = append(parts, r)
		pos, before = r.End(), r
	}
	return x.adopt(append(parts, x.gap(pos, x.end, before)...))
}

// prove looks for regions at the places that partition tables claim, all of them
// at the same time. Only proven ones are fixed before the sweep: what is merely
// plausible there has no precedence over what the sweep finds.
func (x *extent) prove() []*Region {
	places := boundaries(x.claims)
	found := make([]*Region, len(places))
	held := make([]int64, len(places))
	var wait sync.WaitGroup
	var next atomic.Int64
	work := func() {
		for {
			i := int(next.Add(1)) - 1
			if i >= len(places) || x.s.halted.Load() {
				return
			}
			if places[i] < x.start || places[i] >= x.end {
				continue
			}
			one := &extent{source: x.source, depth: x.depth, start: x.start, end: x.end, flash: x.flash, claims: x.claims}
			found[i] = one.at(places[i], x.end)
			held[i] = one.held
		}
	}
	for range min(runtime.GOMAXPROCS(0), len(places)) - 1 {
		wait.Go(work)
	}
	work()
	wait.Wait()

	var placed []*Region
	pos := x.start
	for i, r := range found {
		if r == nil || r.State != Proven || r.Offset < pos {
			x.s.meter.Release(held[i])
			continue
		}
		placed = append(placed, r)
		pos = r.End()
		x.held += held[i]
	}
	return placed
}

// sweep fills the gaps between placed regions. A region of the sweep that
// reaches into a placed one takes its bytes over when it is itself proven (the
// claim pointed into it); otherwise it is read again as ending there.
func (x *extent) sweep(placed []*Region) []*Region {
	var found []*Region
	for pos := x.start; pos < x.end && !x.s.halted.Load(); {
		for len(placed) > 0 && placed[0].Offset < pos {
			placed = placed[1:]
		}
		limit := x.end
		if len(placed) > 0 {
			limit = placed[0].Offset
		}
		r := x.find(pos, limit)
		if r != nil && r.End() > limit && r.State != Proven {
			cut := x.at(r.Offset, limit)
			if cut == nil {
				cut = &Region{Offset: r.Offset, Size: limit - r.Offset, Format: r.Format, Problems: r.Problems}
				cut.AddProblem("%s at %#x declares %d bytes, but %s is proven at %#x inside them", r.Format, r.Offset, r.Size, placed[0].Format, limit)
			}
			r = cut
		}
		if r == nil {
			if len(placed) == 0 {
				break
			}
			r = placed[0]
		}
		found = append(found, r)
		pos = r.End()
	}
	if x.s.halted.Load() {
		found = append(found, after(found, placed)...)
	}
	return found
}

// after returns the placed regions behind the last one found: what was proven
// before the analysis was stopped is not lost.
func after(found, placed []*Region) []*Region {
	for len(found) > 0 && len(placed) > 0 && placed[0].Offset < found[len(found)-1].End() {
		placed = placed[1:]
	}
	return placed
}

// adopt lets formats join parts, and holds them to it that no byte is lost.
func (x *extent) adopt(parts []*Region) []*Region {
	for _, f := range x.s.table.formats {
		if f.Adopt == nil || x.s.halted.Load() {
			continue
		}
		w := &Window{x: x, off: x.start, size: x.end - x.start}
		joined := f.Adopt(w, parts)
		if joined == nil || !covers(joined, x.start, x.end) {
			x.s.meter.Release(w.held.Load())
			continue
		}
		x.held += w.held.Load()
		for _, r := range joined {
			x.inside(r)
		}
		parts = joined
	}
	return parts
}

// covers tells whether the regions are a partition of [start, end).
func covers(regions []*Region, start, end int64) bool {
	for _, r := range regions {
		if r.Offset != start || r.Size <= 0 {
			return false
		}
		start = r.End()
	}
	return start == end
}
