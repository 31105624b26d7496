package reference

import (
	"encoding/binary"
	"errors"

	"assay/firmware/lineage"
)

// encode writes the traits and sketches of a part: three lists, each with its
// length before it; a trait is its number and eight bytes, an element eight bytes.
func encode(p *lineage.Part) []byte {
	b := binary.AppendUvarint(nil, uint64(len(p.Traits)))
	for _, t := range p.Traits {
		b = binary.LittleEndian.AppendUint64(append(b, byte(t.Trait)), t.Value)
	}
	for _, sketch := range [][]uint64{p.Symbols, p.Words} {
		b = binary.AppendUvarint(b, uint64(len(sketch)))
		for _, e := range sketch {
			b = binary.LittleEndian.AppendUint64(b, e)
		}
	}
	return b
}

var errPart = errors.New("a part is damaged")

func decode(b []byte, p *lineage.Part) error {
	count := func(size int) (int, bool) {
		n, used := binary.Uvarint(b)
		if used <= 0 || n > uint64((len(b)-used)/size) {
			return 0, false
		}
		b = b[used:]
		return int(n), true
	}
	n, ok := count(9)
	if !ok {
		return errPart
	}
	p.Traits = make([]lineage.Sum, n)
	for i := range p.Traits {
		p.Traits[i] = lineage.Sum{Trait: lineage.Trait(b[0]), Value: binary.LittleEndian.Uint64(b[1:])}
		b = b[9:]
	}
	for _, sketch := range []*[]uint64{&p.Symbols, &p.Words} {
		n, ok := count(8)
		if !ok {
			return errPart
		}
		*sketch = make([]uint64, n)
		for i := range *sketch {
			(*sketch)[i] = binary.LittleEndian.Uint64(b)
			b = b[8:]
		}
	}
	if len(b) > 0 {
		return errPart
	}
	return nil
}
