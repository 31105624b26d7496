//go:build linux

package lineage_test

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"testing"

	"assay/firmware"
	_ "assay/firmware/filesystem"
	_ "assay/firmware/format"
	"assay/firmware/lineage"
)

// profile analyses an image as the command does.
func profile(t testing.TB, path string) *lineage.Profile {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	c := lineage.NewCollector()
	img, err := firmware.Open(context.Background(), f, st.Size(), firmware.WithVisitor(c.Visit))
	if err != nil {
		t.Fatal(err)
	}
	defer img.Release()
	return c.Profile(img)
}

// query is an image to compare, and the maker that should be found, "" for none.
type query struct {
	what, maker string
	profile     *lineage.Profile
}

// tally counts how the answers agree with what the images were made of.
type tally struct {
	queries, first    int // with a maker to find; that had it in first place
	relevant, claimed int // pairs of image and reference: of one source; given as related
	correct           int // of those, rightly
	wrong             int // queries that accused another maker
	lowest, highest   float64
	confused          float64        // the highest score of a pair of different sources
	hows              map[string]int // the evidence in pairs of one source
}

func (s *tally) precision() float64 { return ratio(s.correct, s.claimed) }
func (s *tally) recall() float64    { return ratio(s.correct, s.relevant) }

func ratio(n, of int) float64 {
	if of == 0 {
		return 1
	}
	return float64(n) / float64(of)
}

// TestQuality measures lineage on a few images whose sources are known.
func TestQuality(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds a dozen images")
	}
	// Three makers are few, so that the stricter threshold holds.
	whole, _ := quality(t, 3, 1)
	if whole.recall() < 0.6 || whole.first < whole.queries {
		t.Errorf("images of the same source are missed: recall %.3f, %d of %d in first place", whole.recall(), whole.first, whole.queries)
	}
}

// BenchmarkLineage measures the same on more images. Its figures are in
// docs/benchmarks.md.
func BenchmarkLineage(b *testing.B) {
	for b.Loop() {
		whole, weak := quality(b, 6, 3)
		b.ReportMetric(whole.precision(), "precision")
		b.ReportMetric(whole.recall(), "recall")
		b.ReportMetric(ratio(whole.first, whole.queries), "first")
		b.ReportMetric(weak.precision(), "weak-precision")
		b.ReportMetric(weak.recall(), "weak-recall")
	}
}

// quality makes an index of some makers' images, and compares relabelled and
// later ones with it, and those of makers that are not in it.
func quality(t testing.TB, known, unknown int) (whole, weak *tally) {
	all, shared := makers(t, known+unknown)
	index := &lineage.Memory{}
	small := make([]*lineage.Memory, known) // one maker each
	for i, m := range all[:known] {
		small[i] = &lineage.Memory{}
		for v, pack := range []packing{squash("gzip"), squash("xz")} {
			p := profile(t, pack.image(t, m.build(t, shared, edition{number: uint64(v), optimise: "-O2", brand: m.name, share: 1 - 0.15*float64(v)})))
			for _, to := range []*lineage.Memory{index, small[i]} {
				to.Add(lineage.Reference{Maker: m.name, Model: fmt.Sprintf("v%d", v+1), House: int64(i)}, p)
			}
		}
	}
	var queries []query
	for i, m := range all[:known] {
		other := all[known+i%unknown]
		for _, q := range []struct {
			what string
			pack packing
			e    edition
		}{
			{"a later version, in JFFS2", jffs2, edition{number: 3, optimise: "-Os", brand: m.name, share: 0.85}},
			{"relabelled, renamed and rebuilt, in cpio", cpioGzip, edition{number: 4, optimise: "-O3", brand: "acme", share: 0.6, other: other, rename: true, rebrand: true}},
			{"a third of it in a brand's own", squash("lzo"), edition{number: 5, optimise: "-Os", brand: "zenith", share: 0.34, other: other, rename: true, rebrand: true}},
		} {
			queries = append(queries, query{q.what, m.name, profile(t, q.pack.image(t, m.build(t, shared, q.e)))})
		}
	}
	for _, m := range all[known:] {
		queries = append(queries, query{"another maker's", "", profile(t, squash("zstd").image(t, m.build(t, shared, edition{number: 1, optimise: "-O2", brand: m.name, share: 1})))})
	}

	byKind := map[string]*tally{}
	whole = &tally{lowest: 1}
	for _, q := range queries {
		if byKind[q.what] == nil {
			byKind[q.what] = &tally{lowest: 1}
		}
		measure(t, q, index, []*tally{whole, byKind[q.what]})
	}
	weak = &tally{lowest: 1}
	for _, q := range queries {
		for _, one := range small {
			measure(t, q, one, []*tally{weak})
		}
	}
	for what, s := range map[string]*tally{"all": whole, "weak: an index of one maker": weak} {
		t.Logf("%-45s %d queries, first place %d; pairs: precision %.3f recall %.3f; wrongly accused %d; scores of the same source %.2f to %.2f, of others up to %.3f",
			what, s.queries, s.first, s.precision(), s.recall(), s.wrong, s.lowest, s.highest, s.confused)
	}
	for what, s := range byKind {
		t.Logf("%-45s %d queries, first place %d; pairs: precision %.3f recall %.3f; scores %.2f to %.2f, of others up to %.3f; evidence %v", what, s.queries, s.first, s.precision(), s.recall(), s.lowest, s.highest, s.confused, s.hows)
	}
	return whole, weak
}

func measure(t testing.TB, q query, index lineage.Index, into []*tally) {
	t.Helper()
	r, err := lineage.Compare(context.Background(), q.profile, index, lineage.Options{Top: 1000})
	if err != nil {
		t.Fatal(err)
	}
	refs, _ := index.References(context.Background())
	relevant := 0
	for _, ref := range refs {
		if ref.Maker == q.maker {
			relevant++
		}
	}
	for _, s := range into {
		s.relevant += relevant
		if relevant > 0 {
			s.queries++
			if len(r.Matches) > 0 && r.Matches[0].Reference.Maker == q.maker {
				s.first++
			}
		}
		accused := false
		for _, m := range r.Matches {
			right := m.Reference.Maker == q.maker
			if right {
				s.lowest, s.highest = min(s.lowest, m.Score), max(s.highest, m.Score)
				for _, p := range m.Parts {
					if s.hows == nil {
						s.hows = make(map[string]int)
					}
					s.hows[fmt.Sprintf("%s: %s", p.Kind, p.How)]++
				}
			} else {
				s.confused = max(s.confused, m.Score)
			}
			if m.Grade == "" {
				continue
			}
			s.claimed++
			if right {
				s.correct++
			} else {
				accused = true
			}
		}
		if accused {
			s.wrong++
			t.Errorf("%s of %q: %s", q.what, q.maker, r.Says)
			for _, m := range r.Matches[:1] {
				for _, p := range m.Parts[:min(10, len(m.Parts))] {
					t.Logf("  %+v", p)
				}
			}
		}
	}
}

// BenchmarkProfile measures what lineage adds to the analysis of an image.
func BenchmarkProfile(b *testing.B) {
	all, shared := makers(b, 2)
	image := packing(cpioGzip).image(b, all[0].build(b, shared, edition{optimise: "-O2", brand: "brand", share: 1}))
	for _, c := range []struct {
		name    string
		lineage bool
	}{{"analysis alone", false}, {"with lineage", true}} {
		b.Run(c.name, func(b *testing.B) {
			f, err := os.Open(image)
			if err != nil {
				b.Fatal(err)
			}
			defer f.Close()
			st, err := f.Stat()
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				visited := int64(0)
				collector := lineage.NewCollector()
				img, err := firmware.Open(context.Background(), f, st.Size(), firmware.WithVisitor(func(v firmware.Visit) {
					atomic.AddInt64(&visited, v.File.Size)
					if c.lineage {
						collector.Visit(v)
					}
				}))
				if err != nil {
					b.Fatal(err)
				}
				collector.Profile(img)
				img.Release()
				b.SetBytes(visited)
			}
		})
	}
}
