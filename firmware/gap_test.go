package firmware

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"assay/firmware/budget"
)

// slowRuns is what runs is to return, byte by byte.
func slowRuns(x *extent, p []byte) []run {
	var list []run
	for i := 0; i < len(p); {
		j := i
		for j < len(p) && p[j] == p[i] {
			j++
		}
		if p[i] == 0 || p[i] == 0xFF {
			toSector := i == 0 && int64(j) >= sector
			toEnd := j == len(p) && (j-i >= padding || i == 0)
			if j-i >= sector || toSector || toEnd {
				list = append(list, run{int64(i), int64(j), p[i]})
			}
		}
		i = j
	}
	return list
}

func opened(p []byte) *extent {
	s := &session{ctx: context.Background(), meter: budget.New(budget.Limits{}), table: currentTable()}
	return &extent{source: &source{s: s, r: bytes.NewReader(p), size: int64(len(p))}, end: int64(len(p))}
}

func TestErasedRunsAreFoundWhereverTheyLie(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for round := range 300 {
		var p []byte
		for len(p) < 3*chunkSize && rng.IntN(40) > 0 {
			switch rng.IntN(3) {
			case 0:
				p = append(p, solid(0xFF, rng.IntN(3*sector))...)
			case 1:
				p = append(p, solid(0, rng.IntN(chunkSize))...)
			case 2:
				p = append(p, solid('x', rng.IntN(2*sector))...)
			}
		}
		x := opened(p)
		got, err := x.runs(0, int64(len(p)))
		if err != nil {
			t.Fatal(err)
		}
		if want := slowRuns(x, p); !slices.Equal(got, want) {
			t.Fatalf("round %d, %d bytes:\n got %v\nwant %v", round, len(p), got, want)
		}
	}
}

func TestStringsAcrossPiecesAreSeenOnceAndWhole(t *testing.T) {
	for _, at := range []int{0, 1, chunkSize - 130, chunkSize - 60, chunkSize - 9, chunkSize - 1, chunkSize, chunkSize + 1} {
		for _, n := range []int{8, 30, 119, 120, 121, 400, chunkSize + 300} {
			p := solid(1, at)
			s := fmt.Appendf(nil, "7%0*d!", n-2, 7)
			p = append(append(p, s...), solid(1, 50)...)
			x := opened(p)
			r := &sealing{src: x.source, size: int64(len(p))}
			r.look()
			if want := string(s[:min(n, maxText)]); len(r.strings) != 1 || r.strings[0] != want {
				t.Errorf("%d bytes at %d: %d strings %.200q", n, at, len(r.strings), r.strings)
			}
		}
	}
}

func TestAMagicIsFoundAtEachPlace(t *testing.T) {
	for at := range 40 {
		for tail := range 10 {
			p := append(append(solid('x', at), toy(3, 12)...), solid('x', tail)...)
			img, err := Open(context.Background(), bytes.NewReader(p), int64(len(p)))
			if err != nil {
				t.Fatal(err)
			}
			r := img.Regions[min(1, at)]
			if r.Format != "toy" || r.Offset != int64(at) {
				t.Fatalf("at %d, %d behind: %v", at, tail, r)
			}
		}
	}
}

// BenchmarkSweep is the search for magics alone.
func BenchmarkSweep(b *testing.B) {
	x := opened(random(16 << 20))
	x.s.closed.Store(true) // benchmarks read more often than one analysis may
	b.SetBytes(x.size)
	b.ReportAllocs()
	for b.Loop() {
		if r := x.find(0, x.end); r != nil {
			b.Fatal(r)
		}
	}
}

// BenchmarkGap is all that is said of unknown bytes.
func BenchmarkGap(b *testing.B) {
	x := opened(random(16 << 20))
	x.s.closed.Store(true) // benchmarks read more often than one analysis may
	b.SetBytes(x.size)
	b.ReportAllocs()
	for b.Loop() {
		img := &Image{src: x.source, Regions: x.gap(0, x.end, nil)}
		var all unsealed
		all.regions(img, img.Regions)
		x.s.seal(all.list).finish()
	}
}

func random(n int) []byte {
	rng := rand.New(rand.NewPCG(3, 4))
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(rng.Uint32())
	}
	return p
}
