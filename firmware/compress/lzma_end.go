package compress

import "io"

// How LZMA data ends: with its input, with an end mark, or where it has unpacked
// to a known size.

// decodeTail is decode for the end of the input, which is all of src. Symbols
// are decoded one by one with zeros after src, and one that took any of these
// is not there. When it is loose, all is well where the range coder is finished
// at the end of src.
func (d *lzmaDecoder) decodeTail(dst []byte, base, pos, limit int, src []byte, at int, loose bool) (int, int, lzmaStop, error) {
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
		if loose && t+1 >= n {
			rng, code := d.rng, d.code
			if end, finished, err := d.finish(src, at+t); finished && err == nil && end == len(src) {
				return pos, end, lzmaFull, nil
			}
			d.rng, d.code = rng, code
		}
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
