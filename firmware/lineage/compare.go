package lineage

import (
	"cmp"
	"context"
	"fmt"
	"slices"
)

// Options adjust [Compare].
type Options struct {
	Top int // how many references to report; default 10
}

// fewMakers is how many unrelated makers an index needs before rarity tells
// common code from a maker's own.
const fewMakers = 5

// Compare holds an image against the references of an index.
func Compare(ctx context.Context, p *Profile, index Index, o Options) (*Report, error) {
	if p.Rules != Rules {
		return nil, fmt.Errorf("lineage: the profile was made by rules %d, and these are %d", p.Rules, Rules)
	}
	if o.Top <= 0 {
		o.Top = 10
	}
	c := &comparison{ctx: ctx, p: p, index: index, at: make(map[int64]int), postings: make(map[uint64]*posting)}
	for _, step := range []func() error{c.references, c.find, c.candidates, c.weigh, c.hold} {
		if err := step(); err != nil {
			return nil, fmt.Errorf("lineage: %w", err)
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	r := c.report()
	for _, at := range c.rank(o.Top) {
		m, err := c.explain(c.refs[at])
		if err != nil {
			return nil, fmt.Errorf("lineage: %w", err)
		}
		r.Matches = append(r.Matches, *m)
	}
	slices.SortStableFunc(r.Matches, func(a, b Match) int {
		return cmp.Or(cmp.Compare(rankOf(b.Verdict), rankOf(a.Verdict)), cmp.Compare(b.Score, a.Score))
	})
	r.conclude()
	return r, nil
}

// comparison is the state of one Compare.
type comparison struct {
	ctx   context.Context
	p     *Profile
	index Index

	refs   []Reference
	at     map[int64]int // of a reference, by its number
	houses int

	postings map[uint64]*posting
	inHouses map[int64][]int64 // of each part that was found

	parts   []compared // of the image, as in p
	holders map[int64][]int64
	scores  []Amount // by reference
	total   Amount   // of the image's own
}

// posting is what is known of a feature of the image.
type posting struct {
	houses int // up to a few
	parts  []int64
}

// compared is a part of the image and what resembles it.
type compared struct {
	*Part
	kin    []kin // best first
	houses int   // that have it or something similar
	rare   float64
	weight float64 // what it counts for, from 0 for what everybody has
	why    string  // it counts for nothing
}

// kin is a part of the index that resembles one of the image.
type kin struct {
	part  int64
	share float64
	how   Trait
}

func (c *comparison) references() error {
	refs, err := c.index.References(c.ctx)
	if err != nil {
		return err
	}
	houses := make(map[int64]bool)
	for i, r := range refs {
		c.at[r.ID] = i
		houses[r.House] = true
	}
	c.refs, c.houses = refs, len(houses)
	return nil
}

// find looks up all features of the image.
func (c *comparison) find() error {
	var features []uint64
	for i := range c.p.Parts {
		if c.p.Parts[i].Known == "" {
			features = append(features, c.p.Parts[i].Features()...)
		}
	}
	slices.Sort(features)
	c.inHouses = make(map[int64][]int64)
	return c.index.Find(c.ctx, slices.Compact(features), func(f uint64, found []Posting) {
		p := &posting{parts: make([]int64, 0, len(found))}
		var houses []int64
		for _, row := range found {
			if len(houses) < 16 && !slices.Contains(houses, row.House) {
				houses = append(houses, row.House)
			}
			if in := c.inHouses[row.Part]; !slices.Contains(in, row.House) {
				c.inHouses[row.Part] = append(in, row.House)
			}
			p.parts = append(p.parts, row.Part)
		}
		slices.Sort(p.parts)
		p.parts = slices.Compact(p.parts)
		p.houses = len(houses)
		c.postings[f] = p
	})
}

// candidates finds what resembles each part of the image.
func (c *comparison) candidates() error {
	worthwhile := make([][]int64, len(c.p.Parts))
	all := make(map[int64]bool)
	for i := range c.p.Parts {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		if c.p.Parts[i].Known != "" {
			continue
		}
		worthwhile[i] = c.promising(&c.p.Parts[i])
		for _, id := range worthwhile[i] {
			all[id] = true
		}
	}
	ids := make([]int64, 0, len(all))
	for id := range all {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	parts, err := c.index.Parts(c.ctx, ids)
	if err != nil {
		return err
	}
	c.parts = make([]compared, len(c.p.Parts))
	for i := range c.parts {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		c.parts[i] = c.compare(&c.p.Parts[i], worthwhile[i], parts)
	}
	return nil
}

// promising are the parts of the index with an exact trait of the part, or with
// as many elements of its sketches as an estimate needs.
func (c *comparison) promising(p *Part) []int64 {
	count := make(map[int64]int)
	for _, t := range p.Traits {
		if found := c.postings[t.Value]; found != nil && worth[t.Trait] > 0 {
			for _, id := range found.parts {
				count[id] += leastShared
			}
		}
	}
	for _, sketch := range [][]uint64{p.Symbols, p.Words} {
		for _, e := range sketch {
			if found := c.postings[e]; found != nil {
				for _, id := range found.parts {
					count[id]++
				}
			}
		}
	}
	var ids []int64
	for id, n := range count {
		if n >= leastShared {
			ids = append(ids, id)
		}
	}
	return ids
}

// compare matches one part with its candidates, twice: as they are, for who has
// the like; and by their rare elements only, for what that is worth.
func (c *comparison) compare(p *Part, ids []int64, parts map[int64]*Part) compared {
	out := compared{Part: p, why: p.Known, rare: 1}
	if p.Known != "" {
		return out
	}
	var houses []int64
	for _, id := range ids {
		other := parts[id]
		if other == nil {
			continue
		}
		if plain, _ := match(p, other, whole); plain >= similar {
			if other.Known != "" {
				out.why = "like a file of " + other.Known
			}
			for _, h := range c.inHouses[id] {
				if !slices.Contains(houses, h) {
					houses = append(houses, h)
				}
			}
		}
		if share, how := match(p, other, c.elementWeight); share > 0 {
			out.kin = append(out.kin, kin{id, share, how})
		}
	}
	slices.SortFunc(out.kin, func(a, b kin) int { return cmp.Or(cmp.Compare(b.share, a.share), cmp.Compare(a.part, b.part)) })
	out.houses = len(houses)
	if n := len(p.Symbols) + len(p.Words); n >= leastSet {
		var sum float64
		for _, sketch := range [][]uint64{p.Symbols, p.Words} {
			for _, e := range sketch {
				sum += c.elementWeight(e)
			}
		}
		out.rare = sum / float64(n)
	}
	return out
}

func (c *comparison) elementWeight(e uint64) float64 {
	if p := c.postings[e]; p != nil {
		return c.rarity(p.houses)
	}
	return 1
}

// rarity is what something counts for that so many unrelated makers have. What
// three have, or all there are, is common.
func (c *comparison) rarity(houses int) float64 {
	switch {
	case houses <= 1:
		return 1
	case houses >= 3 || houses >= c.houses:
		return 0
	}
	return 0.25
}

// mostlyCommon is the share of rare elements below which a part counts for
// nothing.
const mostlyCommon = 0.1

func (c *comparison) weigh() error {
	for i := range c.parts {
		p := &c.parts[i]
		switch {
		case p.why != "":
		case c.rarity(p.houses) == 0:
			p.why = fmt.Sprintf("%d of the %d makers in the index have it or the like", p.houses, c.houses)
		case p.rare < mostlyCommon:
			p.why = "made of strings and symbols that several makers in the index have"
		default:
			p.weight = c.rarity(p.houses) * p.rare
		}
		c.total.add(p.weight, p.Size, 1)
	}
	return nil
}

// hold adds up what each reference shares.
func (c *comparison) hold() error {
	var ids []int64
	for i := range c.parts {
		if c.parts[i].weight > 0 {
			for _, k := range c.parts[i].kin {
				ids = append(ids, k.part)
			}
		}
	}
	slices.Sort(ids)
	c.holders = make(map[int64][]int64)
	err := c.index.Holders(c.ctx, slices.Compact(ids), func(part, reference int64) {
		c.holders[part] = append(c.holders[part], reference)
	})
	if err != nil {
		return err
	}
	c.scores = make([]Amount, len(c.refs))
	done := make([]int, len(c.refs)) // the last part that was counted for a reference
	for i := range c.parts {
		p := &c.parts[i]
		if p.weight == 0 {
			continue
		}
		for _, k := range p.kin {
			for _, id := range c.holders[k.part] {
				if at, ok := c.at[id]; ok && done[at] <= i {
					done[at] = i + 1
					c.scores[at].add(p.weight, p.Size, k.share)
				}
			}
		}
	}
	return nil
}

// rank orders the references by what they share, and keeps those that share
// anything.
func (c *comparison) rank(top int) []int {
	var order []int
	for at := range c.refs {
		if c.scores[at].Parts > 0 || c.refs[at].SHA256 == c.p.SHA256 {
			order = append(order, at)
		}
	}
	score := func(at int) float64 {
		if c.refs[at].SHA256 == c.p.SHA256 {
			return 2
		}
		return c.scores[at].of(c.total).score()
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(score(b), score(a)) })
	return order[:min(len(order), top)]
}
