package compress

import (
	"encoding/binary"
	"errors"
	"io"
)

// The LZMA decoder proper: lzma-specification.txt of the LZMA SDK, "LZMA
// decoder". It decodes from a slice into a slice that is dictionary and
// destination in one, so that nothing is copied twice. The range coder lives in
// local variables of one long function, which is what the speed hangs on.
//
// A bit is decoded in two ways. Those that say what kind of symbol comes are
// predictable, and a branch is fastest. Those inside a literal, a length or a
// distance are not: there the branch is arithmetic with a mask, and the two
// probabilities that can be next are loaded before it is known which one is.

const (
	lzmaTop      = 1 << 24 // the range coder takes a byte below this
	lzmaProbInit = 1 << 10 // a probability of one half
	lzmaMargin   = 32      // more bytes of input than one symbol takes and looks at
	lzmaLongest  = 273     // bytes of output that one symbol makes, at most
)

var (
	errLZMAData     = errors.New("invalid LZMA data")
	errLZMADistance = errors.New("match reaches back to before the start of the data")
)

// lzmaLength decodes lengths: "The length decoding".
type lzmaLength struct {
	choice, choice2 uint16
	low, mid        [16][8]uint16
	high            [256]uint16
}

// lzmaModel is the probabilities but those of literals.
type lzmaModel struct {
	// By the state, of which there are 12, and the position.
	isMatch, isRep0Long              [16][16]uint16
	isRep, isRepG0, isRepG1, isRepG2 [16]uint16
	slots                            [4][64]uint16
	special                          [192]uint16 // 115 are used
	align                            [64]uint16  // 16 are used
	length, repLength                lzmaLength
}

var lzmaFresh = func() (m lzmaModel) {
	fill := func(p []uint16) {
		for i := range p {
			p[i] = lzmaProbInit
		}
	}
	for i := range m.isMatch {
		fill(m.isMatch[i][:])
		fill(m.isRep0Long[i][:])
	}
	for _, p := range [][]uint16{m.isRep[:], m.isRepG0[:], m.isRepG1[:], m.isRepG2[:], m.special[:], m.align[:]} {
		fill(p)
	}
	for i := range m.slots {
		fill(m.slots[i][:])
	}
	for _, l := range []*lzmaLength{&m.length, &m.repLength} {
		l.choice, l.choice2 = lzmaProbInit, lzmaProbInit
		fill(l.high[:])
		for i := range l.low {
			fill(l.low[i][:])
			fill(l.mid[i][:])
		}
	}
	return m
}()

// lzmaAfterLiteral is the state that follows a literal.
var lzmaAfterLiteral = [16]uint8{0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 4, 5}

const lzmaLiteral = 0x300 // probabilities of one literal coder

// lzmaDecoder is what lasts from one symbol to the next.
type lzmaDecoder struct {
	lzmaModel
	literals  []uint16
	lc        uint32
	lpMask    uint32
	pbMask    uint32
	state     uint32
	rep       [4]uint32
	rng, code uint32
	window    int // distances are at most this
}

// lzmaProps takes the properties apart; it fails when there are none such.
func lzmaProps(b byte) (lc, lp, pb uint32, ok bool) {
	v := uint32(b)
	return v % 9, v / 9 % 5, v / 45, v < 9*5*5
}

// literalSize is how many probabilities literals have: up to 6 MiB of them.
func literalSize(lc, lp uint32) int { return lzmaLiteral << (lc + lp) }

// properties sets lc, lp and pb. reset must follow.
func (d *lzmaDecoder) properties(lc, lp, pb uint32) {
	d.lc, d.lpMask, d.pbMask = lc, 1<<lp-1, 1<<pb-1
	n := literalSize(lc, lp) + 1024 - lzmaLiteral
	if cap(d.literals) < n {
		d.literals = make([]uint16, n)
	}
	d.literals = d.literals[:n]
}

// reset makes all probabilities one half.
func (d *lzmaDecoder) reset() {
	d.lzmaModel = lzmaFresh
	d.literals[0] = lzmaProbInit
	for n := 1; n < len(d.literals); n *= 2 {
		copy(d.literals[n:], d.literals[:n])
	}
	d.state = 0
	d.rep = [4]uint32{}
}

// start takes the 5 bytes that a range coder starts with.
func (d *lzmaDecoder) start(p []byte) error {
	if p[0] != 0 {
		return errLZMAData
	}
	d.rng, d.code = 1<<32-1, binary.BigEndian.Uint32(p[1:])
	return nil
}

// lzmaStop is why decode came back.
type lzmaStop int

const (
	lzmaFull   lzmaStop = iota // pos reached limit, or went past it by one match
	lzmaHungry                 // src has less than lzmaMargin bytes after stop
	lzmaEnd                    // the end mark
)

// decode decodes symbols from src[at:] to dst[pos:] until pos is at limit or at
// is past stop, which is lzmaMargin before the end of src. The last match may
// go past limit, as far as dst reaches. dst[base] is the first byte of the
// dictionary; base is negative when it is no longer in dst.
func (d *lzmaDecoder) decode(dst []byte, base, pos, limit int, src []byte, at, stop int) (int, int, lzmaStop, error) {
	var (
		rng, code = d.rng, d.code
		state     = d.state
		rep0      = d.rep[0]
		literals  = d.literals
		lc        = d.lc & 15
		pbMask    = d.pbMask & 15
		lpMask    = d.lpMask
		prev      byte
		why       = lzmaFull
		err       error
	)
	if pos > base && pos > 0 {
		prev = dst[pos-1]
	}
	limit = min(limit, len(dst))
symbols:
	for pos < limit {
		if at > stop {
			why = lzmaHungry
			break
		}
		posState := uint32(pos-base) & pbMask
		if rng < lzmaTop {
			rng, code = rng<<8, code<<8|uint32(src[at])
			at++
		}
		prob := &d.isMatch[state&15][posState&15]
		p := uint32(*prob)
		bound := rng >> 11 * p
		if code < bound {
			rng = bound
			*prob = uint16(p + (2048-p)>>5)
			which := (uint32(pos-base)&lpMask)<<lc + uint32(prev)>>(8-lc)
			coder := (*[1024]uint16)(literals[which*lzmaLiteral:])
			w := binary.BigEndian.Uint64(src[at:])
			var symbol uint32
			var taken int
			if state < 7 {
				symbol, taken, rng, code = lzmaPlain((*[lzmaLiteral]uint16)(coder[:]), w, rng, code)
			} else {
				symbol, taken, rng, code = lzmaMatched(coder, uint32(dst[pos-1-int(rep0)]), w, rng, code)
			}
			at += taken
			prev = byte(symbol)
			dst[pos] = prev
			pos++
			state = uint32(lzmaAfterLiteral[state&15])
			continue
		}
		rng -= bound
		code -= bound
		*prob = uint16(p - p>>5)

		if rng < lzmaTop {
			rng, code = rng<<8, code<<8|uint32(src[at])
			at++
		}
		prob = &d.isRep[state&15]
		p = uint32(*prob)
		bound = rng >> 11 * p
		lengths := &d.length
		if code < bound {
			rng = bound
			*prob = uint16(p + (2048-p)>>5)
			d.rep[3], d.rep[2], d.rep[1] = d.rep[2], d.rep[1], rep0
			if state < 7 {
				state = 7
			} else {
				state = 10
			}
			state |= 16 // a distance follows the length
		} else {
			rng -= bound
			code -= bound
			*prob = uint16(p - p>>5)
			lengths = &d.repLength
			if rng < lzmaTop {
				rng, code = rng<<8, code<<8|uint32(src[at])
				at++
			}
			prob = &d.isRepG0[state&15]
			p = uint32(*prob)
			bound = rng >> 11 * p
			if code < bound {
				rng = bound
				*prob = uint16(p + (2048-p)>>5)
				if rng < lzmaTop {
					rng, code = rng<<8, code<<8|uint32(src[at])
					at++
				}
				prob = &d.isRep0Long[state&15][posState&15]
				p = uint32(*prob)
				bound = rng >> 11 * p
				if code < bound {
					rng = bound
					*prob = uint16(p + (2048-p)>>5)
					if int64(rep0) >= int64(min(pos-base, d.window)) {
						err = errLZMADistance
						break symbols
					}
					if state < 7 {
						state = 9
					} else {
						state = 11
					}
					prev = dst[pos-1-int(rep0)]
					dst[pos] = prev
					pos++
					continue
				}
				rng -= bound
				code -= bound
				*prob = uint16(p - p>>5)
			} else {
				rng -= bound
				code -= bound
				*prob = uint16(p - p>>5)
				if rng < lzmaTop {
					rng, code = rng<<8, code<<8|uint32(src[at])
					at++
				}
				prob = &d.isRepG1[state&15]
				p = uint32(*prob)
				bound = rng >> 11 * p
				if code < bound {
					rng = bound
					*prob = uint16(p + (2048-p)>>5)
					rep0, d.rep[1] = d.rep[1], rep0
				} else {
					rng -= bound
					code -= bound
					*prob = uint16(p - p>>5)
					if rng < lzmaTop {
						rng, code = rng<<8, code<<8|uint32(src[at])
						at++
					}
					prob = &d.isRepG2[state&15]
					p = uint32(*prob)
					bound = rng >> 11 * p
					if code < bound {
						rng = bound
						*prob = uint16(p + (2048-p)>>5)
						rep0, d.rep[1], d.rep[2] = d.rep[2], rep0, d.rep[1]
					} else {
						rng -= bound
						code -= bound
						*prob = uint16(p - p>>5)
						rep0, d.rep[1], d.rep[2], d.rep[3] = d.rep[3], rep0, d.rep[1], d.rep[2]
					}
				}
			}
			if state < 7 {
				state = 8
			} else {
				state = 11
			}
		}

		// The length.
		length := 2 - 8 // less the 1 that its tree starts with, shifted
		if rng < lzmaTop {
			rng, code = rng<<8, code<<8|uint32(src[at])
			at++
		}
		p = uint32(lengths.choice)
		bound = rng >> 11 * p
		tree := &lengths.low[posState&15]
		if code < bound {
			rng = bound
			lengths.choice = uint16(p + (2048-p)>>5)
			length = 2 - 8
		} else {
			rng -= bound
			code -= bound
			lengths.choice = uint16(p - p>>5)
			if rng < lzmaTop {
				rng, code = rng<<8, code<<8|uint32(src[at])
				at++
			}
			p = uint32(lengths.choice2)
			bound = rng >> 11 * p
			if code < bound {
				rng = bound
				lengths.choice2 = uint16(p + (2048-p)>>5)
				tree = &lengths.mid[posState&15]
				length = 2
			} else {
				rng -= bound
				code -= bound
				lengths.choice2 = uint16(p - p>>5)
				tree = nil
				length = 2 + 16 - 256
			}
		}
		var symbol uint32
		var taken int
		if w := binary.BigEndian.Uint64(src[at:]); tree != nil {
			symbol, taken, rng, code = lzmaShort(tree, w, rng, code)
		} else {
			symbol, taken, rng, code = lzmaLong(&lengths.high, w, rng, code)
		}
		at += taken
		length += int(symbol)

		if state&16 != 0 {
			state &= 15
			slot, taken, r, c := lzmaSlot(&d.slots[min(length-2, 3)&3], binary.BigEndian.Uint64(src[at:]), rng, code)
			rng, code = r, c
			at += taken
			slot -= 64
			rep0 = slot
			if slot >= 4 {
				count := slot>>1 - 1
				rep0 = 2 | slot&1
				if slot < 14 {
					rep0 <<= count
					first := rep0 - slot // of this slot's probabilities, less 1
					w := binary.BigEndian.Uint64(src[at:])
					low, taken, r, c := lzmaReverse((*[64]uint16)(d.special[first:]), count, w, rng, code)
					rng, code, at = r, c, at+taken
					rep0 += low
				} else {
					for count -= 4; count > 0; count-- {
						if rng < lzmaTop {
							rng, code = rng<<8, code<<8|uint32(src[at])
							at++
						}
						rng >>= 1
						code -= rng
						zero := uint32(int32(code) >> 31)
						code += rng & zero
						rep0 = 2*rep0 + 1 + zero
					}
					w := binary.BigEndian.Uint64(src[at:])
					low, taken, r, c := lzmaReverse(&d.align, 4, w, rng, code)
					rng, code, at = r, c, at+taken
					rep0 = rep0<<4 + low
				}
				if rep0 == 1<<32-1 {
					if rng < lzmaTop {
						rng, code = rng<<8, code<<8|uint32(src[at])
						at++
					}
					why = lzmaEnd
					break symbols
				}
			}
		}
		if int64(rep0) >= int64(min(pos-base, d.window)) {
			err = errLZMADistance
			break symbols
		}
		from := pos - 1 - int(rep0)
		if length > len(dst)-pos {
			err = ErrTooLong
			break symbols
		}
		copyMatch(dst, from, pos, length)
		pos += length
		prev = dst[pos-1]
	}
	d.rng, d.code, d.state, d.rep[0] = rng, code, state, rep0
	return pos, at, why, err
}

// decodeTail is decode for the end of the input, which is all of src. Symbols
// are decoded one by one with zeros after src, and one that took any of these
// is not there.
func (d *lzmaDecoder) decodeTail(dst []byte, base, pos, limit int, src []byte, at int) (int, int, lzmaStop, error) {
	if stop := len(src) - lzmaMargin; at <= stop {
		var why lzmaStop
		var err error
		if pos, at, why, err = d.decode(dst, base, pos, limit, src, at, stop); err != nil || why != lzmaHungry {
			return pos, at, why, err
		}
	}
	var tail [3 * lzmaMargin]byte
	n, t := copy(tail[:], src[at:]), 0
	for pos < min(limit, len(dst)) {
		p, taken, why, err := d.decode(dst, base, pos, pos+1, tail[:], t, n)
		if taken > n {
			return pos, len(src), lzmaHungry, io.ErrUnexpectedEOF
		}
		pos, t = p, taken
		if err != nil || why == lzmaEnd {
			return pos, at + t, why, err
		}
	}
	return pos, at + t, lzmaFull, nil
}

// finish takes the last byte, if one is due, and says whether the range coder
// is where its encoder ended it.
func (d *lzmaDecoder) finish(src []byte, at int) (int, bool, error) {
	if d.rng < lzmaTop {
		if at >= len(src) {
			return at, false, io.ErrUnexpectedEOF
		}
		d.rng, d.code = d.rng<<8, d.code<<8|uint32(src[at])
		at++
	}
	return at, d.code == 0, nil
}

// endMark decodes a symbol that must be the end mark, after which the range
// coder must be finished.
func (d *lzmaDecoder) endMark(position int, src []byte, at int) (int, error) {
	bit := func(prob *uint16) uint32 {
		if d.rng < lzmaTop {
			next := byte(0)
			if at < len(src) {
				next = src[at]
			}
			d.rng, d.code = d.rng<<8, d.code<<8|uint32(next)
			at++
		}
		p := uint32(lzmaProbInit) // a direct bit is one of even chance
		if prob != nil {
			p = uint32(*prob)
		}
		bound := d.rng >> 11 * p
		if prob == nil {
			bound = d.rng >> 1
		}
		if d.code < bound {
			d.rng = bound
			return 0
		}
		d.code -= bound
		if d.rng -= bound; prob == nil {
			d.rng = bound
		}
		return 1
	}
	tree := func(probs []uint16) uint32 {
		symbol := uint32(1)
		for symbol < uint32(len(probs)) {
			symbol = 2*symbol + bit(&probs[symbol])
		}
		return symbol - uint32(len(probs))
	}
	posState := uint32(position) & d.pbMask
	if bit(&d.isMatch[d.state][posState]) == 0 || bit(&d.isRep[d.state]) == 1 {
		return at, ErrTooLong
	}
	l, length := &d.length, uint32(3)
	switch {
	case bit(&l.choice) == 0:
		length = tree(l.low[posState][:])
	case bit(&l.choice2) == 0:
		tree(l.mid[posState][:])
	default:
		tree(l.high[:])
	}
	slot := tree(d.slots[min(length, 3)][:])
	ones := slot == 63
	for i := 0; ones && i < 26; i++ {
		ones = bit(nil) == 1
	}
	for symbol := uint32(1); ones && symbol < 16; symbol = 2*symbol + 1 {
		ones = bit(&d.align[symbol]) == 1
	}
	if !ones {
		return at, ErrTooLong
	}
	at, finished, err := d.finish(src, at)
	if at > len(src) {
		return len(src), io.ErrUnexpectedEOF
	}
	if err == nil && !finished {
		err = errLZMAData
	}
	return at, err
}

// copyMatch copies n bytes inside dst from a place to a later one; where the
// two overlap, what was copied is copied again. Bytes after the match may be
// overwritten, and their own symbols write them anew.
func copyMatch(dst []byte, from, to, n int) {
	if to-from >= 8 && len(dst)-to >= n+16 {
		// Most matches are short: two words need no loop.
		s, t := dst[from:to+n], dst[to:to+n+16]
		binary.LittleEndian.PutUint64(t, binary.LittleEndian.Uint64(s))
		binary.LittleEndian.PutUint64(t[8:], binary.LittleEndian.Uint64(dst[from+8:]))
		if n > 64 && to-from >= n {
			copy(t[16:n], s[16:])
			return
		}
		for i := 16; i < n; i += 8 {
			binary.LittleEndian.PutUint64(t[i:], binary.LittleEndian.Uint64(s[i:]))
		}
		return
	}
	t, s := dst[to:to+n], dst[from:]
	for i := range t {
		t[i] = s[i]
	}
}
