package lineage

import (
	"cmp"
	"fmt"
	"slices"
)

// Grade is what lineage is worth against a maker, at most: a hint. Shared code
// has innocent explanations.
const Grade = "c1"

// Verdict says in a word how much two images share.
type Verdict string

// The verdicts. From Related on there is a hint of grade [Grade].
const (
	Identical Verdict = "identical" // the same image, byte by byte
	Same      Verdict = "same"      // most of one is in the other: another version, build or brand
	Related   Verdict = "related"   // a part that chance and open source do not explain
	Traces    Verdict = "traces"    // too little to say anything
)

func rankOf(v Verdict) int { return slices.Index([]Verdict{Traces, Related, Same, Identical}, v) }

// The thresholds, from the benchmark in quality_test.go (docs/benchmarks.md,
// Lineage). Images of one source score 0.16 and more, also where two thirds of the
// code are another's; those that share open source alone stay under 0.02 in an
// index of six makers. In an index of one they stay under 0.1 where the list knows
// what is shared, and reached 0.32 with a list that knew little of it.
const (
	sameScore    = 0.60
	relatedScore = 0.15
	weakScore    = 0.35 // in the place of relatedScore, where rarity tells little
	leastParts   = 3    // that must be shared, unless it is most of an image
	leastBytes   = 64 << 10
)

// Amount counts shared code. Both numbers are weighted: a part counts for its
// rarity, and for the share of it that is the same.
type Amount struct {
	Bytes float64 `json:"bytes"`
	Parts float64 `json:"parts"`
}

func (a *Amount) add(weight float64, size int64, share float64) {
	a.Bytes += weight * share * float64(size)
	a.Parts += weight * share
}

func (a Amount) of(total Amount) Amount {
	ratio := func(n, of float64) float64 {
		if of == 0 {
			return 0
		}
		return min(1, n/of)
	}
	return Amount{ratio(a.Bytes, total.Bytes), ratio(a.Parts, total.Parts)}
}

// score is the mean of both shares: one large file must not decide alone, nor
// many small ones.
func (a Amount) score() float64 { return (a.Bytes + a.Parts) / 2 }

// Report is what a comparison found.
type Report struct {
	Image     string    `json:"image"` // SHA-256
	Size      int64     `json:"size"`
	Parts     int       `json:"parts"` // files, regions and banners that were compared
	Own       Amount    `json:"own"`   // what is not common, weighted
	Grade     string    `json:"grade,omitempty"`
	Says      string    `json:"says"`
	Weighting Weighting `json:"weighting"`
	Matches   []Match   `json:"matches"` // best first
	Ignored   Ignored   `json:"ignored"`
	Problems  []string  `json:"problems,omitempty"`
}

// Weighting says how well common code was told from a maker's own.
type Weighting struct {
	References int    `json:"references"`
	Makers     int    `json:"makers"` // that are not known to be related
	Projects   int    `json:"projects"`
	Weak       bool   `json:"weak"`
	Says       string `json:"says"`
}

// Ignored is what did not count since everybody has it.
type Ignored struct {
	Parts int         `json:"parts"`
	Bytes int64       `json:"bytes"`
	Small int         `json:"small"` // files too small to tell anything
	Why   []IgnoredBy `json:"why"`   // by the most bytes
}

// IgnoredBy is one reason and what it applied to.
type IgnoredBy struct {
	Why   string   `json:"why"`
	Parts int      `json:"parts"`
	Bytes int64    `json:"bytes"`
	Paths []string `json:"paths"` // a few
}

// Match is a reference and what the image shares with it.
type Match struct {
	Reference Reference       `json:"reference"`
	Verdict   Verdict         `json:"verdict"`
	Grade     string          `json:"grade,omitempty"`
	Score     float64         `json:"score"` // the greater of the two containments, each the mean of its shares by bytes and by parts
	In        Amount          `json:"in"`    // the share of the image that is in the reference
	Has       Amount          `json:"has"`   // the share of the reference that is in the image; too low rather than too high
	Shared    Amount          `json:"shared"`
	Exact     int             `json:"exact"` // parts with the same bytes
	Kinds     map[Kind]Amount `json:"kinds"` // what is shared, by kind
	Parts     []Shared        `json:"parts"` // what counts most
	More      int             `json:"more"`  // shared parts that are not listed
}

// Shared is a part of the image and what it shares with a part of a reference.
type Shared struct {
	Path      string  `json:"path"`
	Reference string  `json:"reference"` // the path there
	Kind      Kind    `json:"kind"`
	Size      int64   `json:"size"`
	Share     float64 `json:"share"` // of it that is the same
	How       string  `json:"how"`
	Weight    float64 `json:"weight"` // what it counts for: 1, less for what others have too
	Makers    int     `json:"makers"` // in the index, that have it or the like
}

const (
	mostShared = 100 // parts of a match that are listed
	mostPaths  = 8   // of one reason to ignore
	mostWhys   = 60
)

func (c *comparison) report() *Report {
	r := &Report{Image: c.p.SHA256, Size: c.p.Size, Parts: len(c.p.Parts), Own: c.total, Matches: []Match{}, Problems: c.p.Problems}
	r.Weighting = Weighting{References: len(c.refs), Makers: c.houses, Projects: len(projects()), Weak: c.houses < fewMakers}
	r.Weighting.Says = fmt.Sprintf("common code is told by %d unrelated makers in the index and a list of %d projects", c.houses, len(projects()))
	if r.Weighting.Weak {
		r.Weighting.Says = fmt.Sprintf("weak: it takes an index of %d unrelated makers to tell common code, and this one has %d; a list of %d projects has to do, so more must be shared before it counts", fewMakers, c.houses, len(projects()))
	}
	r.Ignored = c.ignored()
	return r
}

func (c *comparison) ignored() Ignored {
	out := Ignored{Small: c.p.Small, Why: []IgnoredBy{}}
	at := make(map[string]int)
	for i := range c.parts {
		p := &c.parts[i]
		if p.why == "" {
			continue
		}
		out.Parts++
		out.Bytes += p.Size
		n, seen := at[p.why]
		if !seen {
			n = len(out.Why)
			at[p.why] = n
			out.Why = append(out.Why, IgnoredBy{Why: p.why})
		}
		w := &out.Why[n]
		w.Parts++
		w.Bytes += p.Size
		if len(w.Paths) < mostPaths {
			w.Paths = append(w.Paths, p.Path)
		}
	}
	slices.SortStableFunc(out.Why, func(a, b IgnoredBy) int { return cmp.Compare(b.Bytes, a.Bytes) })
	out.Why = out.Why[:min(len(out.Why), mostWhys)]
	return out
}

// explain says what the image shares with one reference, and how much of that
// reference it is.
func (c *comparison) explain(r Reference) (*Match, error) {
	contents, err := c.index.Contents(c.ctx, r.ID)
	if err != nil {
		return nil, err
	}
	m := &Match{Reference: r, Kinds: make(map[Kind]Amount)}
	has := make(map[int64]*Held, len(contents))
	for i := range contents {
		has[contents[i].Part] = &contents[i]
	}
	type part struct{ share, weight float64 }
	back := make(map[int64]part) // by the reference's part
	for i := range c.parts {
		p := &c.parts[i]
		if p.weight == 0 {
			continue
		}
		found := false
		for _, k := range p.kin {
			there := has[k.part]
			if there == nil {
				continue
			}
			if k.share > back[k.part].share {
				back[k.part] = part{k.share, p.weight}
			}
			if found {
				continue
			}
			found = true
			m.Shared.add(p.weight, p.Size, k.share)
			kind := m.Kinds[p.Kind]
			kind.add(p.weight, p.Size, k.share)
			m.Kinds[p.Kind] = kind
			if k.how == Content {
				m.Exact++
			}
			m.Parts = append(m.Parts, Shared{p.Path, there.Path, p.Kind, p.Size, k.share, k.how.String(), p.weight, p.houses})
		}
	}
	var total, shared Amount
	for _, h := range contents {
		if b, ok := back[h.Part]; ok {
			total.add(b.weight, h.Size, 1)
			shared.add(b.weight, h.Size, b.share)
		} else if h.Known == "" {
			total.add(c.rarity(h.Houses), h.Size, 1)
		}
	}
	m.In, m.Has = m.Shared.of(c.total), shared.of(total)
	m.Score = max(m.In.score(), m.Has.score())
	c.judge(m)
	slices.SortStableFunc(m.Parts, func(a, b Shared) int {
		return cmp.Or(cmp.Compare(b.counts(), a.counts()), cmp.Compare(b.Weight*b.Share, a.Weight*a.Share))
	})
	if m.More = max(0, len(m.Parts)-mostShared); m.More > 0 {
		m.Parts = m.Parts[:mostShared]
	}
	return m, nil
}

func (s *Shared) counts() float64 { return s.Weight * s.Share * float64(s.Size) }

func (c *comparison) judge(m *Match) {
	least := relatedScore
	if c.houses < fewMakers {
		least = weakScore
	}
	enough := m.Shared.Bytes >= leastBytes && (m.Shared.Parts >= leastParts || m.Score >= sameScore)
	switch {
	case m.Reference.SHA256 == c.p.SHA256:
		m.Verdict = Identical
	case enough && m.Score >= sameScore:
		m.Verdict = Same
	case enough && m.Score >= least:
		m.Verdict = Related
	default:
		m.Verdict = Traces
		return
	}
	m.Grade = Grade
}

// conclude puts the whole into one sentence.
func (r *Report) conclude() {
	if r.Weighting.References == 0 {
		r.Says = "there are no references to compare with"
		return
	}
	if len(r.Matches) == 0 || r.Matches[0].Grade == "" {
		r.Says = "no reference shares enough code with this image to say anything; that proves nothing about who made it"
		return
	}
	m := r.Matches[0]
	r.Grade = m.Grade
	r.Says = fmt.Sprintf("hint (%s): %s by %s; shared code has innocent explanations, such as a common supplier, and is no proof of who made the unit",
		m.Grade, map[Verdict]string{
			Identical: "this is the same image as one", Same: "most of this image's own code is in one, or most of one is in it", Related: "this image shares code with one",
		}[m.Verdict], m.Reference.Maker)
}
