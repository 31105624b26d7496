package filesystem

import "math/bits"

// bitset is a set of small numbers.
type bitset []uint64

func newBitset(n uint64) bitset { return make(bitset, (n+63)/64) }

// bitsetSize is how many bytes a set of numbers below n takes.
func bitsetSize(n uint64) int64 { return int64((n + 63) / 64 * 8) }

func (b bitset) has(i uint64) bool { return b[i/64]>>(i%64)&1 != 0 }

// add puts a row of numbers into the set and returns how many were there before.
func (b bitset) add(first, count uint64) (before uint64) {
	b.words(first, count, func(word *uint64, mask uint64) {
		before += uint64(bits.OnesCount64(*word & mask))
		*word |= mask
	})
	return before
}

// count tells how many of a row of numbers are in the set.
func (b bitset) count(first, count uint64) (n uint64) {
	b.words(first, count, func(word *uint64, mask uint64) { n += uint64(bits.OnesCount64(*word & mask)) })
	return n
}

func (b bitset) words(first, count uint64, each func(word *uint64, mask uint64)) {
	for count > 0 {
		n := min(count, 64-first%64)
		each(&b[first/64], ^uint64(0)>>(64-n)<<(first%64))
		first, count = first+n, count-n
	}
}
