package report

import (
	"context"
	"io"
	"math"

	"assay/firmware"
)

// segment is a run of bytes that belong to one region and none of its children.
type segment struct {
	off, size int64
	r         *firmware.Region
	depth     int
}

// segments cut an image along its regions and their children.
func segments(img *firmware.Image) []segment {
	var out []segment
	var walk func(list []*firmware.Region, depth int)
	add := func(off, end int64, r *firmware.Region, depth int) {
		if end > off {
			out = append(out, segment{off, end - off, r, depth})
		}
	}
	walk = func(list []*firmware.Region, depth int) {
		for _, r := range list {
			at := r.Offset
			for _, c := range r.Children {
				add(at, c.Offset, r, depth)
				walk([]*firmware.Region{c}, depth+1)
				at = c.End()
			}
			add(at, r.End(), r, depth)
		}
	}
	walk(img.Regions, 0)
	return out
}

// entropies reads an image once and returns the entropy of each of its blocks in
// bits per byte. Blocks have 256 bytes at least: fewer say little.
func entropies(ctx context.Context, r io.ReaderAt, size int64, blocks int) (bits []float64, block int64, err error) {
	block = max(256, (size+int64(blocks)-1)/int64(blocks))
	buf := make([]byte, min(block, 1<<20))
	for off := int64(0); off < size; off += block {
		var count [256]int
		end := min(off+block, size)
		for at := off; at < end; {
			if err := ctx.Err(); err != nil {
				return nil, 0, err
			}
			p := buf[:min(int64(len(buf)), end-at)]
			if n, err := r.ReadAt(p, at); n < len(p) {
				return nil, 0, err
			}
			for _, b := range p {
				count[b]++
			}
			at += int64(len(p))
		}
		bits = append(bits, entropy(&count, end-off))
	}
	return bits, block, nil
}

func entropy(count *[256]int, total int64) float64 {
	sum := 0.0
	for _, n := range count {
		if n > 0 {
			p := float64(n) / float64(total)
			sum -= p * math.Log2(p)
		}
	}
	return sum
}
