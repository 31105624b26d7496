package readout

import (
	"cmp"
	"slices"

	"assay/attest"
)

func compare(a, b int64) int { return cmp.Compare(a, b) }

// insert adds a piece in order and merges it with neighbours of its kind. A
// piece that was there already gives way where the new one lies.
func insert(all []Piece, p Piece) []Piece {
	if n := len(all); n == 0 || all[n-1].Offset+all[n-1].Size <= p.Offset { // the usual case
		return merge(all, p)
	}
	var out []Piece
	placed := false
	for _, have := range all {
		end := have.Offset + have.Size
		if have.Offset < p.Offset {
			out = merge(out, Piece{attest.Extent{Offset: have.Offset, Size: min(end, p.Offset) - have.Offset}, have.How})
		}
		if !placed && end > p.Offset {
			out, placed = merge(out, p), true
		}
		if start := max(have.Offset, p.Offset+p.Size); start < end {
			out = merge(out, Piece{attest.Extent{Offset: start, Size: end - start}, have.How})
		}
	}
	if !placed {
		out = merge(out, p)
	}
	return out
}

func merge(all []Piece, p Piece) []Piece {
	if n := len(all); n > 0 && all[n-1].How == p.How && all[n-1].Offset+all[n-1].Size == p.Offset {
		all[n-1].Size += p.Size
		return all
	}
	return append(all, p)
}

// without returns what of x no piece covers, widened to whole blocks.
func without(x attest.Extent, pieces []Piece, block int64) []attest.Extent {
	var out []attest.Extent
	add := func(from, to int64) {
		from, to = max(x.Offset, from/block*block), min(x.Offset+x.Size, (to+block-1)/block*block)
		if n := len(out); n > 0 && out[n-1].Offset+out[n-1].Size >= from {
			out[n-1].Size = max(out[n-1].Size, to-out[n-1].Offset)
		} else if from < to {
			out = append(out, attest.Extent{Offset: from, Size: to - from})
		}
	}
	at := x.Offset
	for _, p := range pieces {
		if p.Offset >= x.Offset+x.Size {
			break
		}
		if p.Offset > at {
			add(at, p.Offset)
		}
		at = max(at, p.Offset+p.Size)
	}
	if at < x.Offset+x.Size {
		add(at, x.Offset+x.Size)
	}
	return out
}

// split divides ranges at the multiples of size.
func split(ranges []attest.Extent, size int64) []attest.Extent {
	var out []attest.Extent
	for _, x := range ranges {
		for off := x.Offset; off < x.Offset+x.Size; {
			end := min((off/size+1)*size, x.Offset+x.Size)
			out = append(out, attest.Extent{Offset: off, Size: end - off})
			off = end
		}
	}
	return out
}

// sortedExtents puts extents in order.
func sortedExtents(all []attest.Extent) []attest.Extent {
	slices.SortFunc(all, func(a, b attest.Extent) int { return compare(a.Offset, b.Offset) })
	return all
}
