package readout

import (
	"context"
	"fmt"

	"assay/attest"
)

// part is a range of a memory, read as a memory of its own.
type part struct {
	Source
	attest.Extent
}

// Part returns a range of a memory as a source whose offsets begin at 0.
func Part(s Source, x attest.Extent) (Source, error) {
	if x.Offset < 0 || x.Size <= 0 || x.Size > s.Size() || x.Offset > s.Size()-x.Size {
		return nil, fmt.Errorf("readout: %#x+%#x is not inside of a memory of %d bytes", x.Offset, x.Size, s.Size())
	}
	return &part{s, x}, nil
}

func (p *part) Size() int64 { return p.Extent.Size }

func (p *part) Packs() bool { return packs(p.Source) }

func (p *part) Traffic() Traffic {
	if m, ok := p.Source.(Meter); ok {
		return m.Traffic()
	}
	return Traffic{}
}

func (p *part) inWhole(ranges []attest.Extent) []attest.Extent {
	out := make([]attest.Extent, len(ranges))
	for i, r := range ranges {
		out[i] = attest.Extent{Offset: r.Offset + p.Offset, Size: r.Size}
	}
	return out
}

func (p *part) inPart(each func(attest.Extent, []byte, error) error) func(attest.Extent, []byte, error) error {
	return func(r attest.Extent, b []byte, err error) error {
		return each(attest.Extent{Offset: r.Offset - p.Offset, Size: r.Size}, b, err)
	}
}

func (p *part) Sums(ctx context.Context, ranges []attest.Extent, each func(attest.Extent, []byte, error) error) error {
	return p.Source.Sums(ctx, p.inWhole(ranges), p.inPart(each))
}

func (p *part) Read(ctx context.Context, ranges []attest.Extent, each func(attest.Extent, []byte, error) error) error {
	return p.Source.Read(ctx, p.inWhole(ranges), p.inPart(each))
}
