package reference

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"assay/attest/entity"
	"assay/firmware"
	"assay/firmware/lineage"
)

// The shape of a camera's image: how many of its parts are of each kind, how many
// elements their sketches have, and how they come to be shared. The numbers are
// those of the root file systems of Linux cameras: two hundred programs and
// libraries, eighty modules, some hundreds of web files and pictures.
const (
	programs  = 220
	modules   = 80
	texts     = 250
	data      = 300
	openShare = 0.35 // of programs and modules, that are open source
)

// synthetic makes profiles as a market of makers would: each has models, which
// share most of their files, in versions, of which each changes some. Open source
// comes in builds of each maker, whose sketches are alike.
type synthetic struct {
	makers, models, versions int
}

func (s synthetic) profile(maker, model, version int) *lineage.Profile {
	p := &lineage.Profile{Rules: lineage.Rules, Size: 16 << 20}
	sum := sha256.Sum256(fmt.Appendf(nil, "%d/%d/%d", maker, model, version))
	p.SHA256 = hex.EncodeToString(sum[:])
	add := func(kind lineage.Kind, i, symbols, words int) {
		r := rand.New(rand.NewPCG(uint64(i), uint64(kind[0])))
		open := float64(i%100) < 100*openShare && symbols > 0
		source, build := uint64(maker)<<32|uint64(i), uint64(maker)
		if !open && r.IntN(3) == 0 {
			source |= uint64(model+1) << 20 // only this model has it
		}
		if open {
			source = uint64(i) | 1<<60
		}
		// A file changes with every fourth version, at a time of its own.
		build = build<<16 | uint64((version+i)/4)
		p.Parts = append(p.Parts, part(kind, source, build, symbols, words, fmt.Sprintf("squashfs@0x200000/usr/lib/%s-%d-%d", kind, maker, i)))
	}
	for i := range programs {
		add(lineage.Program, i, 16, 32)
	}
	for i := range modules {
		add(lineage.Module, i, 12, 16)
	}
	for i := range texts {
		add(lineage.Text, i, 0, 32)
	}
	for i := range data {
		add(lineage.Blob, i, 0, 0)
	}
	return p
}

// part makes a part of some source, in a build that changes a quarter of it.
func part(kind lineage.Kind, source, build uint64, symbols, words int, path string) lineage.Part {
	p := lineage.Part{Kind: kind, Path: path, Size: 4<<10 + int64(source%97)<<10}
	p.SHA256 = sha256.Sum256(fmt.Appendf(nil, "%s %d %d", kind, source, build))
	exact := func(t lineage.Trait, salt uint64) {
		h := sha256.Sum256(fmt.Appendf(nil, "%d %s %d %d", t, kind, source, salt))
		p.Traits = append(p.Traits, lineage.Sum{Trait: t, Value: binary.LittleEndian.Uint64(h[:])})
	}
	exact(lineage.Content, build)
	if symbols > 0 {
		exact(lineage.Code, build)
		exact(lineage.Constants, build)
		exact(lineage.Imports, build>>2)
	}
	sketch := func(n int, salt uint64) (out []uint64) {
		stable, changed := rand.New(rand.NewPCG(source, salt)), rand.New(rand.NewPCG(source^build<<24, salt))
		for i := range n {
			e := stable.Uint64()
			if i%4 == 3 {
				e = changed.Uint64()
			}
			out = append(out, e>>8)
		}
		slices.Sort(out)
		return out
	}
	p.Symbols, p.Words = sketch(symbols, 1), sketch(words, 2)
	return p
}

func (s synthetic) store(tb testing.TB, dir string) *Store {
	tb.Helper()
	ctx := context.Background()
	store, err := Open(ctx, dir)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { store.Close() })
	for maker := range s.makers {
		for model := range s.models {
			for version := range s.versions {
				p := s.profile(maker, model, version)
				img := &firmware.Image{Size: p.Size, SHA256: p.SHA256}
				r := Reference{Maker: fmt.Sprintf("Maker %d", maker), Model: fmt.Sprint(model), Version: fmt.Sprint(version), Class: Operator}
				if _, _, err := store.Add(ctx, r, img, p); err != nil {
					tb.Fatal(err)
				}
			}
		}
	}
	return store
}

// BenchmarkLineage compares an image with an index of 1,000: of 25 makers, each
// with 8 models in 5 versions.
func BenchmarkLineage(b *testing.B) {
	s := synthetic{25, 8, 5}
	dir := b.TempDir()
	start := time.Now()
	store := s.store(b, dir)
	b.Logf("added %d images in %s", s.makers*s.models*s.versions, time.Since(start).Round(time.Millisecond))
	var bytes int64
	for _, name := range []string{databaseFile, databaseFile + "-wal"} {
		if st, err := os.Stat(filepath.Join(dir, name)); err == nil {
			bytes += st.Size()
		}
	}
	makers, err := entity.Load()
	if err != nil {
		b.Fatal(err)
	}
	// A later version than any in the index, of a maker in the middle.
	q := s.profile(s.makers/2, 1, s.versions+2)
	features := 0
	for i := range q.Parts {
		features += len(q.Parts[i].Features())
	}
	b.Logf("an image has %d parts and %d features; the index has %d MiB", len(q.Parts), features, bytes>>20)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		n++
		x, err := store.Index(context.Background(), makers)
		if err != nil {
			b.Fatal(err)
		}
		r, err := lineage.Compare(context.Background(), q, x, lineage.Options{})
		if err != nil {
			b.Fatal(err)
		}
		if err := x.Close(); err != nil {
			b.Fatal(err)
		}
		if len(r.Matches) == 0 || r.Matches[0].Reference.Maker != fmt.Sprintf("Maker %d", s.makers/2) || r.Matches[0].Verdict == lineage.Traces {
			b.Fatalf("%+v", r.Says)
		}
	}
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.TotalAlloc-before.TotalAlloc)/float64(n)/(1<<20), "MiB/op")
}
