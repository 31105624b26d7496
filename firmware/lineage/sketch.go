package lineage

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
)

// How many elements a sketch keeps. Resemblance is then known to about ±0.09 for
// words and ±0.12 for symbols (one standard deviation, at its worst of one half).
const (
	wordsKept   = 32
	symbolsKept = 16
)

// sum is the value of an exact trait.
func sum(t Trait, value []byte) Sum {
	h := sha256.New()
	h.Write([]byte{byte(t)})
	h.Write(value)
	return Sum{t, binary.BigEndian.Uint64(h.Sum(nil))}
}

// element hashes a member of a set: FNV-1a, whose upper bits are then mixed as in
// Steele et al., Fast splittable pseudorandom number generators, 2014.
func element(t Trait, s []byte) uint64 {
	h := uint64(14695981039346656037)
	h = (h ^ uint64(t)) * 1099511628211
	for _, c := range s {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return mix(h)
}

func mix(h uint64) uint64 {
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}

// bottom collects the k smallest of a stream of hashes.
type bottom struct {
	k    int
	kept []uint64 // sorted
}

func (b *bottom) add(h uint64) {
	if len(b.kept) == b.k && h >= b.kept[b.k-1] {
		return
	}
	i, found := slices.BinarySearch(b.kept, h)
	if found {
		return
	}
	if len(b.kept) == b.k {
		b.kept = b.kept[:b.k-1]
	}
	b.kept = slices.Insert(b.kept, i, h)
}

// resemblance estimates how much two sets have in common, from 0 to 1, by the k
// smallest elements of their union. weigh says what an element of a counts for;
// one that only b has counts whole. shared is the sum for those in both.
func resemblance(a, b []uint64, k int, weigh func(uint64) float64) (share, shared float64) {
	var union float64
	for n := 0; n < k && (len(a) > 0 || len(b) > 0); n++ {
		switch {
		case len(b) == 0 || len(a) > 0 && a[0] < b[0]:
			union += weigh(a[0])
			a = a[1:]
		case len(a) == 0 || b[0] < a[0]:
			union++
			b = b[1:]
		default:
			w := weigh(a[0])
			union, shared = union+w, shared+w
			a, b = a[1:], b[1:]
		}
	}
	if union == 0 {
		return 0, 0
	}
	return shared / union, shared
}
