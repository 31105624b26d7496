package provenance

import (
	"cmp"
	"slices"

	"assay/attest"
)

// merge sorts extents and joins those that touch or overlap.
func merge(in []attest.Extent) []attest.Extent {
	in = slices.Clone(in)
	slices.SortFunc(in, func(a, b attest.Extent) int { return cmp.Compare(a.Offset, b.Offset) })
	var out []attest.Extent
	for _, x := range in {
		if x.Size <= 0 {
			continue
		}
		if n := len(out); n > 0 && x.Offset <= out[n-1].Offset+out[n-1].Size {
			out[n-1].Size = max(out[n-1].Size, x.Offset+x.Size-out[n-1].Offset)
			continue
		}
		out = append(out, x)
	}
	return out
}

// subtract returns the parts of x that none of the merged extents covers.
func subtract(x attest.Extent, covered []attest.Extent) []attest.Extent {
	var out []attest.Extent
	pos, end := x.Offset, x.Offset+x.Size
	for _, c := range covered {
		if c.Offset+c.Size <= pos {
			continue
		}
		if c.Offset >= end {
			break
		}
		if c.Offset > pos {
			out = append(out, attest.Extent{Offset: pos, Size: c.Offset - pos})
		}
		pos = c.Offset + c.Size
	}
	if pos < end {
		out = append(out, attest.Extent{Offset: pos, Size: end - pos})
	}
	return out
}
