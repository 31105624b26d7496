package lineage

import (
	"context"
	"slices"
)

// Index is where reference images are kept.
type Index interface {
	// References lists the images.
	References(ctx context.Context) ([]Reference, error)

	// Find looks features up, each once. found has the parts with that feature, a
	// row for each house that has the part; it is only valid during the call. Of a
	// feature with more than MostPostings rows some may be left out, but not the
	// number of houses up to three.
	Find(ctx context.Context, features []uint64, fn func(feature uint64, found []Posting)) error

	// Parts returns parts by their numbers. Their paths are empty.
	Parts(ctx context.Context, ids []int64) (map[int64]*Part, error)

	// Holders tells which images have the parts.
	Holders(ctx context.Context, ids []int64, fn func(part, reference int64)) error

	// Contents lists the parts of an image.
	Contents(ctx context.Context, reference int64) ([]Held, error)
}

// MostPostings is how many rows of one feature are looked at.
const MostPostings = 512

// Reference is an image of an index.
type Reference struct {
	ID      int64  `json:"-"`
	SHA256  string `json:"sha256"`
	Maker   string `json:"maker"`
	Model   string `json:"model,omitempty"`
	Version string `json:"version,omitempty"`
	Board   string `json:"board,omitempty"`

	// House numbers makers that are related, as far as is known: what only they
	// have is as rare as what one has.
	House int64 `json:"-"`
}

// Posting says that a house has a part.
type Posting struct{ House, Part int64 }

// Held is a part of an image of the index.
type Held struct {
	Part   int64
	Kind   Kind
	Path   string
	Size   int64
	Known  string
	Houses int // that have the same bytes
}

// Memory is a small index that is not kept.
type Memory struct {
	references []Reference
	parts      []*Part // by number
	numbers    map[identity]int64
	contents   map[int64][]Held
	holders    map[int64][]int64
	postings   map[uint64][]Posting
}

// Add adds an image. The reference's ID is set by the index.
func (m *Memory) Add(r Reference, p *Profile) {
	if m.numbers == nil {
		m.numbers, m.contents = make(map[identity]int64), make(map[int64][]Held)
		m.holders, m.postings = make(map[int64][]int64), make(map[uint64][]Posting)
	}
	r.ID, r.SHA256 = int64(len(m.references)+1), p.SHA256
	m.references = append(m.references, r)
	for i := range p.Parts {
		part := p.Parts[i]
		id := identity{part.Kind, part.SHA256}
		n, have := m.numbers[id]
		if !have {
			n = int64(len(m.parts))
			m.numbers[id] = n
			m.parts = append(m.parts, &part)
		}
		m.contents[r.ID] = append(m.contents[r.ID], Held{Part: n, Kind: part.Kind, Path: part.Path, Size: part.Size, Known: part.Known})
		m.holders[n] = append(m.holders[n], r.ID)
		for _, f := range part.Features() {
			if row := (Posting{r.House, n}); !slices.Contains(m.postings[f], row) {
				m.postings[f] = append(m.postings[f], row)
			}
		}
	}
}

// References implements [Index].
func (m *Memory) References(context.Context) ([]Reference, error) { return m.references, nil }

// Find implements [Index].
func (m *Memory) Find(ctx context.Context, features []uint64, fn func(uint64, []Posting)) error {
	for _, f := range features {
		if found := m.postings[f]; len(found) > 0 {
			fn(f, found)
		}
	}
	return ctx.Err()
}

// Parts implements [Index].
func (m *Memory) Parts(_ context.Context, ids []int64) (map[int64]*Part, error) {
	out := make(map[int64]*Part, len(ids))
	for _, id := range ids {
		out[id] = m.parts[id]
	}
	return out, nil
}

// Holders implements [Index].
func (m *Memory) Holders(_ context.Context, ids []int64, fn func(part, reference int64)) error {
	for _, id := range ids {
		for _, r := range m.holders[id] {
			fn(id, r)
		}
	}
	return nil
}

// Contents implements [Index].
func (m *Memory) Contents(_ context.Context, reference int64) ([]Held, error) {
	out := slices.Clone(m.contents[reference])
	for i := range out {
		var houses []int64
		for _, r := range m.holders[out[i].Part] {
			houses = append(houses, m.references[r-1].House)
		}
		slices.Sort(houses)
		out[i].Houses = len(slices.Compact(houses))
	}
	return out, nil
}
