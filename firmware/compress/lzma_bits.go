package compress

import "math/bits"

// Trees of bits: "Bit tree decoding" of lzma-specification.txt. Each function
// is given the next 8 bytes of the input, more than it can take, and returns
// the leaf, how many bytes it took, and the range coder. They differ in the
// tree's depth, which the compiler must know to leave out bounds checks.
//
// Which bit comes cannot be predicted, so there is no branch on it: what follows
// each of the two is worked out, and one is selected.

// lzmaPlain decodes a literal.
func lzmaPlain(tree *[lzmaLiteral]uint16, in uint64, rng, code uint32) (symbol uint32, taken int, _, _ uint32) {
	p := uint32(tree[1])
	for symbol = 1; symbol < 0x100; {
		if rng < lzmaTop {
			rng, code = rng<<8, code<<8|uint32(in>>56)
			in <<= 8
			taken++
		}
		next0, next1 := uint32(tree[2*symbol]), uint32(tree[2*symbol+1])
		bound := rng >> 11 * p
		less, borrow := bits.Sub64(uint64(code), uint64(bound), 0)
		zero := uint32(-borrow) // all ones when the bit is 0
		tree[symbol] = uint16(p - uint32(int32(p-(2048-31)&zero)>>5))
		symbol = 2*symbol + 1 + zero
		r, c := rng-bound, uint32(less)
		if code < bound {
			r = bound
		}
		if code < bound {
			next1 = next0
		}
		if code < bound {
			c = code
		}
		rng, code, p = r, c, next1
	}
	return symbol, taken, rng, code
}

// lzmaMatched decodes a literal after a match. As long as its bits are those of
// the byte at the last distance, they have probabilities of their own.
func lzmaMatched(tree *[1024]uint16, match uint32, in uint64, rng, code uint32) (symbol uint32, taken int, _, _ uint32) {
	offset := uint32(0x100)
	match <<= 1
	own := match & offset
	at := offset + own + 1
	p := uint32(tree[at&0x3ff])
	for symbol = 1; symbol < 0x100; {
		if rng < lzmaTop {
			rng, code = rng<<8, code<<8|uint32(in>>56)
			in <<= 8
			taken++
		}
		match <<= 1
		offset0, offset1 := offset&^own, own
		at0 := offset0 + match&offset0 + 2*symbol
		at1 := offset1 + match&offset1 + 2*symbol + 1
		next0, next1 := uint32(tree[at0&0x3ff]), uint32(tree[at1&0x3ff])
		bound := rng >> 11 * p
		less, borrow := bits.Sub64(uint64(code), uint64(bound), 0)
		zero := uint32(-borrow)
		tree[at&0x3ff] = uint16(p - uint32(int32(p-(2048-31)&zero)>>5))
		symbol = 2*symbol + 1 + zero
		offset = offset1 ^ (offset0^offset1)&zero
		own = match & offset
		at = offset + own + symbol
		r, c := rng-bound, uint32(less)
		if code < bound {
			r = bound
		}
		if code < bound {
			next1 = next0
		}
		if code < bound {
			c = code
		}
		rng, code, p = r, c, next1
	}
	return symbol, taken, rng, code
}

// lzmaShort decodes lengths to 17.
func lzmaShort(tree *[8]uint16, in uint64, rng, code uint32) (symbol uint32, taken int, _, _ uint32) {
	p := uint32(tree[1])
	for symbol = 1; symbol < 8; {
		if rng < lzmaTop {
			rng, code = rng<<8, code<<8|uint32(in>>56)
			in <<= 8
			taken++
		}
		next0, next1 := uint32(tree[2*symbol%8]), uint32(tree[(2*symbol+1)%8])
		bound := rng >> 11 * p
		less, borrow := bits.Sub64(uint64(code), uint64(bound), 0)
		zero := uint32(-borrow)
		tree[symbol] = uint16(p - uint32(int32(p-(2048-31)&zero)>>5))
		symbol = 2*symbol + 1 + zero
		r, c := rng-bound, uint32(less)
		if code < bound {
			r = bound
		}
		if code < bound {
			next1 = next0
		}
		if code < bound {
			c = code
		}
		rng, code, p = r, c, next1
	}
	return symbol, taken, rng, code
}

// lzmaSlot decodes the slot of a distance.
func lzmaSlot(tree *[64]uint16, in uint64, rng, code uint32) (symbol uint32, taken int, _, _ uint32) {
	p := uint32(tree[1])
	for symbol = 1; symbol < 64; {
		if rng < lzmaTop {
			rng, code = rng<<8, code<<8|uint32(in>>56)
			in <<= 8
			taken++
		}
		next0, next1 := uint32(tree[2*symbol%64]), uint32(tree[(2*symbol+1)%64])
		bound := rng >> 11 * p
		less, borrow := bits.Sub64(uint64(code), uint64(bound), 0)
		zero := uint32(-borrow)
		tree[symbol] = uint16(p - uint32(int32(p-(2048-31)&zero)>>5))
		symbol = 2*symbol + 1 + zero
		r, c := rng-bound, uint32(less)
		if code < bound {
			r = bound
		}
		if code < bound {
			next1 = next0
		}
		if code < bound {
			c = code
		}
		rng, code, p = r, c, next1
	}
	return symbol, taken, rng, code
}

// lzmaLong decodes a long length.
func lzmaLong(tree *[256]uint16, in uint64, rng, code uint32) (symbol uint32, taken int, _, _ uint32) {
	p := uint32(tree[1])
	for symbol = 1; symbol < 256; {
		if rng < lzmaTop {
			rng, code = rng<<8, code<<8|uint32(in>>56)
			in <<= 8
			taken++
		}
		next0, next1 := uint32(tree[2*symbol%256]), uint32(tree[(2*symbol+1)%256])
		bound := rng >> 11 * p
		less, borrow := bits.Sub64(uint64(code), uint64(bound), 0)
		zero := uint32(-borrow)
		tree[symbol] = uint16(p - uint32(int32(p-(2048-31)&zero)>>5))
		symbol = 2*symbol + 1 + zero
		r, c := rng-bound, uint32(less)
		if code < bound {
			r = bound
		}
		if code < bound {
			next1 = next0
		}
		if code < bound {
			c = code
		}
		rng, code, p = r, c, next1
	}
	return symbol, taken, rng, code
}

// lzmaReverse decodes count bits, the lowest first: the low bits of a distance.
func lzmaReverse(tree *[64]uint16, count uint32, in uint64, rng, code uint32) (low uint32, taken int, _, _ uint32) {
	p := uint32(tree[1])
	symbol := uint32(1)
	for end := uint32(1) << (count & 7); symbol < end; {
		if rng < lzmaTop {
			rng, code = rng<<8, code<<8|uint32(in>>56)
			in <<= 8
			taken++
		}
		next0, next1 := uint32(tree[2*symbol%64]), uint32(tree[(2*symbol+1)%64])
		bound := rng >> 11 * p
		less, borrow := bits.Sub64(uint64(code), uint64(bound), 0)
		zero := uint32(-borrow)
		tree[symbol%64] = uint16(p - uint32(int32(p-(2048-31)&zero)>>5))
		symbol = 2*symbol + 1 + zero
		r, c := rng-bound, uint32(less)
		if code < bound {
			r = bound
		}
		if code < bound {
			next1 = next0
		}
		if code < bound {
			c = code
		}
		rng, code, p = r, c, next1
	}
	return bits.Reverse32(symbol-1<<(count&7)) >> (-count & 31), taken, rng, code
}
