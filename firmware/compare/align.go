package compare

import (
	"context"
	"fmt"
)

// An image may lie inside the other at an offset: a partition in a flash, a dump
// with a header before it, one that missed its first blocks. The place is found
// by probes, short windows of the smaller image that are searched for in the
// larger one with a rolling hash, in one pass: each place where one is found
// speaks for one shift, and most voices win.

const (
	window = 64 // bytes of a probe
	probes = 64
	varied = 16        // different bytes in a window, at least: erased and filled flash is everywhere
	slack  = 256 << 10 // bytes of each stretch that are searched for a window
	hits   = 64        // places where one probe may be found
	prime  = 0x9E3779B97F4A7C15 | 1
)

// align finds the shift of B in A, and says how.
func align(ctx context.Context, a, b Image) (int64, string, error) {
	if a.Size == b.Size {
		alike, err := mostlyAlike(a, b)
		if err != nil {
			return 0, "", err
		}
		if alike {
			return 0, "both are of the same size, and compared from their first byte on", nil
		}
	}
	small, large, sign := b, a, int64(1)
	if a.Size < b.Size {
		small, large, sign = a, b, -1
	}
	wanted, err := pickProbes(ctx, small)
	if err != nil {
		return 0, "", err
	}
	votes, err := search(ctx, large, wanted)
	if err != nil {
		return 0, "", err
	}
	var best int64
	for shift, n := range votes {
		if n > votes[best] || n == votes[best] && shift != 0 && best != 0 && abs(shift) < abs(best) {
			best = shift
		}
	}
	if votes[best]*4 < len(wanted) || votes[best] == 0 {
		return 0, "no place was found where one of them lies in the other: they are compared from their first byte on", nil
	}
	switch {
	case best == 0 && a.Size == b.Size:
		return 0, "both are of the same size, and compared from their first byte on", nil
	case best == 0:
		return 0, fmt.Sprintf("%s begins as %s does", small.Name, large.Name), nil
	case best > 0 && best+small.Size <= large.Size:
		return sign * best, fmt.Sprintf("%s lies in %s, from %#x on", small.Name, large.Name, best), nil
	case best > 0:
		return sign * best, fmt.Sprintf("byte %#x of %s is the first of %s", best, large.Name, small.Name), nil
	}
	return sign * best, fmt.Sprintf("byte %#x of %s is the first of %s", -best, small.Name, large.Name), nil
}

func abs(n int64) int64 { return max(n, -n) }

// mostlyAlike looks at windows of two images of one size.
func mostlyAlike(a, b Image) (bool, error) {
	alike, telling := 0, 0
	var p, q [window]byte
	for i := range int64(probes) {
		off := a.Size / probes * i
		n := min(window, a.Size-off)
		if err := readFull(a, p[:n], off); err != nil {
			return false, err
		}
		if err := readFull(b, q[:n], off); err != nil {
			return false, err
		}
		if distinct(p[:n]) < 2 && distinct(q[:n]) < 2 || overlaps(a.Unread, off, off+n) || overlaps(b.Unread, off, off+n) {
			continue
		}
		if telling++; p == q {
			alike++
		}
	}
	return alike*2 >= telling, nil
}

// pickProbes returns windows that are spread over an image, by their hash.
func pickProbes(ctx context.Context, x Image) (map[uint64]int64, error) {
	out := map[uint64]int64{}
	twice := map[uint64]bool{}
	stretch := max(window, x.Size/probes)
	buf := make([]byte, min(slack, stretch))
	for start := int64(0); start+window <= x.Size; start += stretch {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		p := buf[:min(int64(len(buf)), x.Size-start)]
		if err := readFull(x, p, start); err != nil {
			return nil, err
		}
		for at := 0; at+window <= len(p); at += window {
			w := p[at : at+window]
			off := start + int64(at)
			if distinct(w) < varied || overlaps(x.Unread, off, off+window) {
				continue
			}
			h := hash(w)
			if _, seen := out[h]; seen {
				twice[h] = true
				continue
			}
			out[h] = off
			break
		}
	}
	for h := range twice {
		delete(out, h)
	}
	return out, nil
}

func overlaps(list []Extent, from, to int64) bool {
	for _, x := range list {
		if x.Offset < to && from < x.end() {
			return true
		}
	}
	return false
}

func distinct(p []byte) (n int) {
	var seen [256]bool
	for _, c := range p {
		if !seen[c] {
			seen[c] = true
			n++
		}
	}
	return n
}

func hash(p []byte) (h uint64) {
	for _, c := range p {
		h = h*prime + uint64(c) + 1
	}
	return h
}

// search passes over an image and counts, for each shift, the probes that speak
// for it.
func search(ctx context.Context, x Image, wanted map[uint64]int64) (map[int64]int, error) {
	votes := map[int64]int{}
	if len(wanted) == 0 || x.Size < window {
		return votes, nil
	}
	var out uint64 = 1 // prime^window
	for range window {
		out *= prime
	}
	var maybe [1 << 16]bool // by the upper bits, since nearly all windows are none
	found := map[uint64]int{}
	for h := range wanted {
		maybe[h>>48] = true
	}
	buf := make([]byte, min(chunk, x.Size))
	for start := int64(0); start+window <= x.Size; start += int64(len(buf)) - window + 1 {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		p := buf[:min(int64(len(buf)), x.Size-start)]
		if err := readFull(x, p, start); err != nil {
			return nil, err
		}
		h := hash(p[:window])
		for i := 0; ; i++ {
			if maybe[h>>48] {
				if off, ok := wanted[h]; ok && found[h] < hits {
					found[h]++
					votes[start+int64(i)-off]++
				}
			}
			if i+window >= len(p) {
				break
			}
			h = h*prime + uint64(p[i+window]) + 1 - out*(uint64(p[i])+1)
		}
	}
	return votes, nil
}
