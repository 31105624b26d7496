package compress

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"assay/firmware/budget"
)

// agreeWhole compares All with what reading in pieces gave.
func agreeWhole(t *testing.T, m Method, packed, pieces []byte, piecesErr error) {
	t.Helper()
	for _, total := range []int64{-1, int64(len(pieces)), 10, 1 << 20} {
		meter := budget.New(budget.Limits{Ratio: 1 << 40, Held: 96 << 20})
		z, err := NewReader(t.Context(), m, bytes.NewReader(packed), -1, meter)
		if err != nil {
			if piecesErr == nil {
				t.Fatal(err)
			}
			continue
		}
		p, ok, err := z.All(total)
		if !ok {
			p, err = io.ReadAll(z)
		}
		// Where a stream breaks, how much came before depends on the steps.
		same := bytes.Equal(p, pieces) || err != nil && (bytes.HasPrefix(p, pieces) || bytes.HasPrefix(pieces, p))
		if errors.Is(err, errFault) || (err == nil) != (piecesErr == nil) || !same {
			t.Fatalf("%s, thought to be %d: whole: %d bytes, %v; in pieces: %d bytes, %v", m, total, len(p), err, len(pieces), piecesErr)
		}
		if _, err := z.Read(make([]byte, 1)); err == nil {
			t.Fatal("there is more behind the end")
		}
		z.Close()
		if err := meter.Hold(96 << 20); err != nil {
			t.Fatalf("memory was not given back: %v", err)
		}
	}
}

func TestAStreamReadWholeIsWhatItIsInPieces(t *testing.T) {
	samples := hello(t)
	list := map[Method][][]byte{XZ: {samples[XZ]}, LZMA: {samples[LZMA], lzmaSample(t, 1), lzmaSample(t, 2)}, Gzip: {samples[Gzip]}}
	for _, props := range [][]byte{{xzX86, 0}, {xzARM, 0}, {xzDelta, 1, 3}, {xzARMThumb, 0, xzPowerPC, 0}} {
		list[XZ] = append(list[XZ], withFilters(samples[XZ], props))
	}
	for m, all := range list {
		for _, packed := range all {
			step := max(1, len(packed)/200)
			for n := 0; n <= len(packed); n += step {
				flipped := bytes.Clone(packed)
				flipped[min(n, len(packed)-1)] ^= 0x10
				for _, p := range [][]byte{packed[:n], flipped, packed} {
					var pieces []byte
					z, err := NewReader(t.Context(), m, bytes.NewReader(p), -1, budget.New(budget.Limits{Ratio: 1 << 40}))
					if err == nil {
						pieces, err = io.ReadAll(z)
					}
					agreeWhole(t, m, p, pieces, err)
				}
			}
		}
	}
}
