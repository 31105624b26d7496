package readout

import (
	"bytes"
	crand "crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"

	"assay/attest"
)

// Sample is the part of what did not travel that was read all the same.
type Sample struct {
	// Seed of the choice: math/rand/v2's ChaCha8, drawn after the unit had
	// given its checksums, so that it could not know what would be asked.
	Seed   string          `json:"seed"`
	Of     int             `json:"of"`     // blocks that did not travel
	Blocks []attest.Extent `json:"blocks"` // that were read
	// Differ are those whose bytes are not what the unit's checksum promised.
	Differ []attest.Extent `json:"differ,omitempty"`
}

// Detects is the chance that a sample shows a change that touches m of the
// blocks that did not travel: 1 - C(of-m, n)/C(of, n), the hypergeometric
// distribution.
func (s *Sample) Detects(m int) float64 {
	if m <= 0 || s.Of <= 0 {
		return 0
	}
	miss := 1.0
	for i := range len(s.Blocks) {
		miss *= max(0, float64(s.Of-m-i)) / float64(s.Of-i)
	}
	return 1 - miss
}

// sample reads some of what the unit gave checksums of only. Bytes that differ
// from what its checksum promised replace what was taken for them.
func (r *run) sample() error {
	if r.o.Sample <= 0 {
		return nil
	}
	var unseen []attest.Extent
	for _, p := range r.report.Pieces {
		if p.How != Read {
			unseen = append(unseen, p.Extent)
		}
	}
	unseen = split(unseen, r.source.Block())
	var seed [32]byte
	if _, err := crand.Read(seed[:]); err != nil {
		return fmt.Errorf("readout: seed: %w", err)
	}
	s := &Sample{Seed: hex.EncodeToString(seed[:]), Of: len(unseen)}
	r.report.Sample = s
	s.Blocks = Choose(seed, unseen, r.o.Sample)
	return r.source.Read(r.ctx, s.Blocks, func(x attest.Extent, b []byte, err error) error {
		if err != nil {
			r.miss(x, err)
			return nil
		}
		want := make([]byte, len(b))
		if _, err := r.expected(want, x.Offset); err != nil {
			return err
		}
		if !bytes.Equal(want, b) {
			s.Differ = append(s.Differ, x)
		}
		return r.write(x, b, Read)
	})
}

// Choose returns n of the blocks, in order, as a seed has it: anyone with the
// seed chooses the same.
func Choose(seed [32]byte, blocks []attest.Extent, n int) []attest.Extent {
	var chosen []attest.Extent
	for _, i := range rand.New(rand.NewChaCha8(seed)).Perm(len(blocks))[:min(n, len(blocks))] {
		chosen = append(chosen, blocks[i])
	}
	return sortedExtents(chosen)
}

// expected reads what the dump has, from the reference or from what is blank.
func (r *run) expected(b []byte, off int64) (int, error) {
	for _, p := range r.report.Pieces {
		if off < p.Offset || off >= p.Offset+p.Size {
			continue
		}
		if p.How == AsReference {
			n, err := r.o.Reference.ReadAt(b, off)
			if errors.Is(err, io.EOF) && n == len(b) {
				err = nil
			}
			return n, err
		}
	}
	if reader, ok := r.store.(io.ReaderAt); ok {
		return reader.ReadAt(b, off)
	}
	return 0, errors.New("readout: a sample needs a store that can be read")
}
