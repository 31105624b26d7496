package compress

import (
	"encoding/binary"
	"errors"
	"hash/adler32"
	"io"
	"math/bits"
)

// DEFLATE from a slice into a slice: RFC 1951. A decoder of streams must stop
// and go on at each byte; this one is given all there is, takes eight bytes of
// input at a time, and finds a symbol with one look into a table.

var (
	errDeflate     = errors.New("invalid DEFLATE data")
	errDeflateCode = errors.New("invalid DEFLATE code lengths")
	errDeflateBack = errors.New("DEFLATE match reaches back to before the start of the data")
	errZlibHeader  = errors.New("no zlib header")
	errZlibSum     = errors.New("zlib checksum does not match")
)

// An entry of a table: in the low 8 bits, how many bits the code has; then how
// many extra bits follow it; and in the upper half the literal, or the least
// length or distance, or where the second table is.
const (
	inflateLiteral = 1 << 15
	inflateEnd     = 1 << 14
	inflateSecond  = 1 << 13 // the extra bits are the index into a second table
	inflateBad     = 1 << 12 // no code has these bits

	inflateLitBits  = 11
	inflateDistBits = 8
	inflateLongest  = 15

	// Each second table serves at least two codes.
	inflateLitTable  = 1<<inflateLitBits + 288/2<<(inflateLongest-inflateLitBits)
	inflateDistTable = 1<<inflateDistBits + 32/2<<(inflateLongest-inflateDistBits)
)

// inflater is room for the tables of one block.
type inflater struct {
	lit     [inflateLitTable]uint32
	dist    [inflateDistTable]uint32
	lengths [288 + 32]uint8
}

// inflateLits and inflateDists are what symbols stand for, as entries:
// section 3.2.5.
var inflateLits, inflateDists = func() (lits [288]uint32, dists [32]uint32) {
	for i := range 256 {
		lits[i] = inflateLiteral | uint32(i)<<16
	}
	lits[256] = inflateEnd
	for i, least := 0, uint32(3); i < 28; i++ {
		extra := uint32(max(0, i/4-1))
		lits[257+i] = least<<16 | extra<<8
		least += 1 << extra
	}
	lits[285], lits[286], lits[287] = 258<<16, inflateBad, inflateBad
	for i, least := 0, uint32(1); i < 30; i++ {
		extra := uint32(max(0, i/2-1))
		dists[i] = least<<16 | extra<<8
		least += 1 << extra
	}
	dists[30], dists[31] = inflateBad, inflateBad
	return lits, dists
}()

// inflateTable fills a table whose first part is looked up with width bits.
func inflateTable(table, symbols []uint32, lengths []uint8, width uint) error {
	var count [inflateLongest + 1]int
	for _, n := range lengths {
		count[n]++
	}
	count[0] = 0
	longest := uint(0)
	left := 1 // codes that are still free, of the length at hand
	var next [inflateLongest + 2]uint32
	for n := uint(1); n <= inflateLongest; n++ {
		if left = 2*left - count[n]; left < 0 {
			return errDeflateCode
		}
		next[n+1] = (next[n] + uint32(count[n])) << 1
		if count[n] > 0 {
			longest = n
		}
	}
	// One code alone may have one bit, half of which is then not used, and there
	// may be no code at all when none is used: section 3.2.7.
	if left > 0 && longest > 1 {
		return errDeflateCode
	}
	first := uint32(1) << width
	if left > 0 {
		for i := range table[:first] {
			table[i] = inflateBad | 1
		}
	}
	var second, end uint32 = 0, first
	if longest > width {
		second = 1 << (longest - width)
		clear(table[:first])
	}
	for symbol, n := range lengths {
		if n == 0 {
			continue
		}
		code := bits.Reverse32(next[n]) >> (32 - n)
		next[n]++
		if uint(n) <= width {
			entry := symbols[symbol] + uint32(n)
			for i := code; i < first; i += 1 << n {
				table[i] = entry
			}
			continue
		}
		prefix := code & (first - 1)
		if table[prefix] == 0 {
			table[prefix] = inflateSecond | end<<16 | uint32(longest-width)<<8 | uint32(width)
			end += second
		}
		entry := symbols[symbol] + uint32(n) - uint32(width)
		part := table[table[prefix]>>16:][:second]
		for i := code >> width; i < second; i += 1 << (uint(n) - width) {
			part[i] = entry
		}
	}
	return nil
}

// inflateOrder is in which order the lengths of code length codes come.
var inflateOrder = [19]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// inflate decodes src into dst and returns how much of each there is.
func (z *inflater) inflate(src, dst []byte) (at, pos int, err error) {
	var word uint64 // bits that come next, lowest first
	have := 0       // how many of them are there; negative past the end of src
	fill := func() {
		for have <= 56 && at < len(src) {
			word |= uint64(src[at]) << uint(have&63)
			have += 8
			at++
		}
	}
	take := func(n int) uint32 {
		v := uint32(word & (1<<uint(n) - 1))
		word >>= uint(n)
		have -= n
		return v
	}
	for last := false; !last; {
		fill()
		last = take(1) == 1
		switch kind := take(2); kind {
		case 0:
			take(have & 7)
			at -= have >> 3
			word, have = 0, 0
			if len(src)-at < 4 {
				return at, pos, io.ErrUnexpectedEOF
			}
			n := int(binary.LittleEndian.Uint16(src[at:]))
			if n != int(^binary.LittleEndian.Uint16(src[at+2:])) {
				return at, pos, errDeflate
			}
			at += 4
			if n > len(src)-at {
				return at, pos, io.ErrUnexpectedEOF
			}
			if n > len(dst)-pos {
				return at, pos, ErrTooLong
			}
			copy(dst[pos:], src[at:at+n])
			at, pos = at+n, pos+n
			continue
		case 1:
			l := z.lengths[:]
			for i := range l {
				switch {
				case i < 144:
					l[i] = 8
				case i < 256:
					l[i] = 9
				case i < 280:
					l[i] = 7
				case i < 288:
					l[i] = 8
				default:
					l[i] = 5
				}
			}
			err = z.tables(288, 32)
		case 2:
			nlit, ndist, ncode := int(take(5))+257, int(take(5))+1, int(take(4))+4
			if nlit > 286 || ndist > 30 {
				return at, pos, errDeflateCode
			}
			var codes [19]uint8
			for _, i := range inflateOrder[:ncode] {
				fill()
				codes[i] = uint8(take(3))
			}
			var symbols [19]uint32
			for i := range symbols {
				symbols[i] = uint32(i) << 16
			}
			if err = inflateTable(z.dist[:], symbols[:], codes[:], 7); err != nil {
				return at, pos, err
			}
			for i := 0; i < nlit+ndist; {
				fill()
				e := z.dist[word&127]
				if e&inflateBad != 0 {
					return at, pos, errDeflate
				}
				take(int(e & 255))
				n, v := 1, uint8(e>>16)
				switch v {
				case 16:
					if i == 0 {
						return at, pos, errDeflateCode
					}
					n, v = 3+int(take(2)), z.lengths[i-1]
				case 17:
					n, v = 3+int(take(3)), 0
				case 18:
					n, v = 11+int(take(7)), 0
				}
				if have < 0 {
					return at, pos, io.ErrUnexpectedEOF
				}
				if n > nlit+ndist-i {
					return at, pos, errDeflateCode
				}
				for range n {
					z.lengths[i] = v
					i++
				}
			}
			if z.lengths[256] == 0 {
				return at, pos, errDeflateCode
			}
			err = z.tables(nlit, ndist)
		default:
			err = errDeflate
		}
		if have < 0 {
			err = io.ErrUnexpectedEOF
		}
		if err == nil {
			at, pos, word, have, err = z.block(src, dst, at, pos, word, have)
		}
		if err != nil {
			return at, pos, err
		}
	}
	return at - have>>3, pos, nil
}

// tables makes the tables of a block with so many lengths of each kind.
func (z *inflater) tables(nlit, ndist int) error {
	if err := inflateTable(z.lit[:], inflateLits[:], z.lengths[:nlit], inflateLitBits); err != nil {
		return err
	}
	return inflateTable(z.dist[:], inflateDists[:], z.lengths[nlit:nlit+ndist], inflateDistBits)
}

// block decodes the symbols of a block.
func (z *inflater) block(src, dst []byte, at, pos int, word uint64, have int) (int, int, uint64, int, error) {
	for {
		if at+8 <= len(src) {
			word |= binary.LittleEndian.Uint64(src[at:]) << uint(have&63)
			at += (63 - have) >> 3
			have |= 56
		} else {
			for have <= 56 && at < len(src) {
				word |= uint64(src[at]) << uint(have&63)
				have += 8
				at++
			}
		}
		// 56 bits are enough for two short literals and then the longest match
		// but for its distance.
		e := z.lit[word&(1<<inflateLitBits-1)]
		if e&inflateLiteral != 0 && pos+2 < len(dst) {
			word >>= e & 63
			have -= int(e & 255)
			dst[pos] = byte(e >> 16)
			pos++
			e = z.lit[word&(1<<inflateLitBits-1)]
			if e&inflateLiteral != 0 {
				word >>= e & 63
				have -= int(e & 255)
				dst[pos] = byte(e >> 16)
				pos++
				e = z.lit[word&(1<<inflateLitBits-1)]
			}
		}
		if e&inflateSecond != 0 {
			word >>= e & 63
			have -= int(e & 255)
			e = z.lit[int(e>>16)+int(word&(1<<(e>>8&15)-1))]
		}
		word >>= e & 63
		have -= int(e & 255)
		if have < 0 {
			return at, pos, word, have, io.ErrUnexpectedEOF
		}
		if e&inflateLiteral != 0 {
			if pos >= len(dst) {
				return at, pos, word, have, ErrTooLong
			}
			dst[pos] = byte(e >> 16)
			pos++
			continue
		}
		if e&(inflateEnd|inflateBad) != 0 {
			if e&inflateEnd != 0 {
				return at, pos, word, have, nil
			}
			return at, pos, word, have, errDeflate
		}
		extra := e >> 8 & 15
		length := int(e>>16) + int(word&(1<<extra-1))
		word >>= extra
		have -= int(extra)

		if have < 2*inflateLongest {
			if at+8 <= len(src) && have >= 0 {
				word |= binary.LittleEndian.Uint64(src[at:]) << uint(have&63)
				at += (63 - have) >> 3
				have |= 56
			} else {
				for have <= 56 && at < len(src) && have >= 0 {
					word |= uint64(src[at]) << uint(have&63)
					have += 8
					at++
				}
			}
		}
		e = z.dist[word&(1<<inflateDistBits-1)]
		if e&inflateSecond != 0 {
			word >>= e & 63
			have -= int(e & 255)
			e = z.dist[int(e>>16)+int(word&(1<<(e>>8&15)-1))]
		}
		word >>= e & 63
		extra = e >> 8 & 15
		distance := int(e>>16) + int(word&(1<<extra-1))
		word >>= extra
		have -= int(e&255) + int(extra)
		switch {
		case have < 0:
			return at, pos, word, have, io.ErrUnexpectedEOF
		case e&inflateBad != 0:
			return at, pos, word, have, errDeflate
		case distance > pos:
			return at, pos, word, have, errDeflateBack
		case length > len(dst)-pos:
			return at, pos, word, have, ErrTooLong
		}
		copyMatch(dst, pos-distance, pos, length)
		pos += length
	}
}

// zlibBlock decodes a zlib stream, RFC 1950, into dst.
func zlibBlock(z *inflater, src, dst []byte) (int, error) {
	if len(src) < 2 {
		return 0, io.ErrUnexpectedEOF
	}
	if src[0]&15 != 8 || src[0]>>4 > 7 || binary.BigEndian.Uint16(src)%31 != 0 || src[1]&0x20 != 0 {
		return 0, errZlibHeader
	}
	at, n, err := z.inflate(src[2:], dst)
	if err != nil {
		return n, err
	}
	at += 2
	if len(src)-at < 4 {
		return n, io.ErrUnexpectedEOF
	}
	if binary.BigEndian.Uint32(src[at:]) != adler32.Checksum(dst[:n]) {
		return n, errZlibSum
	}
	return n, nil
}
