package lineage

// What a shared trait is worth as the share of a part that is the same. A
// sketch's share is its estimate.
var worth = map[Trait]float64{
	Content: 1, Code: 1, BuildID: 0.95, Skeleton: 0.9, Constants: 0.9, ModuleAPI: 0.8, KernelFrom: 1, Builder: 0.5,
}

// The least estimates that count. With these, and rarity, images of different
// sources share under 0.02 in the benchmark of quality_test.go.
const (
	leastMatch    = 0.35
	leastShared   = 6    // elements of sketches that two parts must share, for an estimate
	similar       = 0.5  // from here on a part counts as the same thing in another build
	wordsOfKin    = 0.2  // two libraries with the same symbols and other strings are two implementations
	wordsOfImport = 0.25 // the same of programs with the same imports
)

// match says how much of two parts is the same, and by what. weigh says what an
// element of a's sketches counts for.
func match(a, b *Part, weigh func(uint64) float64) (share float64, how Trait) {
	if (a.Kind == Banner) != (b.Kind == Banner) {
		return 0, 0
	}
	best := func(s float64, t Trait) {
		if s > share {
			share, how = s, t
		}
	}
	sets := 0 // of symbols, that are the same
	for _, s := range a.Traits {
		v, ok := b.trait(s.Trait)
		if !ok || v != s.Value {
			continue
		}
		if w := worth[s.Trait]; w > 0 {
			best(w, s.Trait)
		} else {
			sets++
		}
	}
	if share >= worth[Constants] {
		return share, how
	}
	words, sharedWords := resemblance(a.Words, b.Words, wordsKept, weigh)
	symbols, sharedSymbols := resemblance(a.Symbols, b.Symbols, symbolsKept, weigh)
	if sharedWords+sharedSymbols < leastShared {
		return share, how
	}
	enough := func(a, b []uint64) bool { return len(a) >= leastSet && len(b) >= leastSet }
	haveWords, haveSymbols := enough(a.Words, b.Words), enough(a.Symbols, b.Symbols)
	var kin float64
	switch {
	case haveWords && haveSymbols && words >= wordsOfKin:
		kin = (words + symbols) / 2
	case haveWords && !haveSymbols:
		kin = words
		if words >= wordsOfImport && sets > 0 {
			kin = max(words, 0.6)
		}
	case haveSymbols && !haveWords && len(a.Symbols) == symbolsKept && len(b.Symbols) == symbolsKept:
		kin = 0.8 * symbols
	}
	if kin >= leastMatch {
		how := word
		if symbols > words {
			how = symbol
		}
		best(kin, how)
	}
	return share, how
}

func whole(uint64) float64 { return 1 }
