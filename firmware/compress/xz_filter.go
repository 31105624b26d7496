package compress

import "encoding/binary"

// Filters that an .xz block may have before LZMA2: the .xz file format 1.2.1,
// sections 5.3.2 and 5.3.3. Each turns the absolute addresses of branches,
// which pack better, back into relative ones. What an instruction set's branches
// look like is from liblzma's src/liblzma/simple (0BSD) and checked against it.

// xzFilter undoes a filter in place on p, whose first byte is number pos of the
// block, and returns how much of p is done. The rest is to be given again with
// more behind it, or stays as it is where the block ends.
type xzFilter interface {
	undo(p []byte, pos uint32) int
}

// Filter identifiers.
const (
	xzDelta    = 0x03
	xzX86      = 0x04
	xzPowerPC  = 0x05
	xzIA64     = 0x06
	xzARM      = 0x07
	xzARMThumb = 0x08
	xzSPARC    = 0x09
	xzARM64    = 0x0a
	xzRISCV    = 0x0b
	xzLZMA2    = 0x21
)

// branches is a filter without memory: all but x86's.
type branches func(p []byte, pos uint32) int

func (f branches) undo(p []byte, pos uint32) int { return f(p, pos) }

var xzBranches = map[uint64]struct {
	filter branches
	align  uint32
}{
	xzPowerPC:  {undoPowerPC, 4},
	xzIA64:     {undoIA64, 16},
	xzARM:      {undoARM, 4},
	xzARMThumb: {undoARMThumb, 2},
	xzSPARC:    {undoSPARC, 4},
	xzARM64:    {undoARM64, 4},
	xzRISCV:    {undoRISCV, 2},
}

// newXZFilter returns the filter of an identifier, or nil when there is none
// with these properties; and the position that the block starts at.
func newXZFilter(id uint64, props []byte) (xzFilter, uint32) {
	if id == xzDelta {
		if len(props) != 1 {
			return nil, 0
		}
		return &delta{distance: int(props[0]) + 1}, 0
	}
	start := uint32(0)
	switch len(props) {
	case 0:
	case 4:
		start = binary.LittleEndian.Uint32(props)
	default:
		return nil, 0
	}
	if id == xzX86 {
		return &x86{}, start
	}
	b, ok := xzBranches[id]
	if !ok || start%b.align != 0 {
		return nil, 0
	}
	return b.filter, start
}

// delta stores differences between bytes that are a distance apart.
type delta struct {
	distance int
	history  [256]byte
	at       uint8
}

func (f *delta) undo(p []byte, _ uint32) int {
	for i := range p {
		p[i] += f.history[uint8(f.distance)+f.at]
		f.history[f.at] = p[i]
		f.at--
	}
	return len(p)
}

func undoARM(p []byte, pos uint32) int {
	i := 0
	for ; i+4 <= len(p); i += 4 {
		if q := p[i : i+4 : i+4]; q[3] == 0xeb { // BL, always
			v := uint32(q[0]) | uint32(q[1])<<8 | uint32(q[2])<<16
			v -= (pos + uint32(i) + 8) >> 2
			q[0], q[1], q[2] = byte(v), byte(v>>8), byte(v>>16)
		}
	}
	return i
}

func undoARMThumb(p []byte, pos uint32) int {
	i := 0
	for ; i+4 <= len(p); i += 2 {
		q := p[i : i+4 : i+4]
		if q[1]&0xf8 != 0xf0 || q[3]&0xf8 != 0xf8 { // the two halves of BL
			continue
		}
		v := uint32(q[1]&7)<<19 | uint32(q[0])<<11 | uint32(q[3]&7)<<8 | uint32(q[2])
		v -= (pos + uint32(i) + 4) >> 1
		q[1], q[0] = 0xf0|byte(v>>19)&7, byte(v>>11)
		q[3], q[2] = 0xf8|byte(v>>8)&7, byte(v)
		i += 2
	}
	return i
}

func undoARM64(p []byte, pos uint32) int {
	le := binary.LittleEndian
	i := 0
	for ; i+4 <= len(p); i += 4 {
		at := pos + uint32(i)
		v := le.Uint32(p[i:])
		switch {
		case v>>26 == 0x25: // BL
			le.PutUint32(p[i:], 0x25<<26|(v-at>>2)&0x03ffffff)
		case v&0x9f000000 == 0x90000000: // ADRP, of ±512 MiB
			page := v>>29&3 | v>>3&0x1ffffc
			if (page+0x20000)&0x1c0000 != 0 {
				continue
			}
			page -= at >> 12
			v = v&0x9000001f | page&3<<29 | page&0x3fffc<<3
			v |= -(page & 0x20000) & 0xe00000
			le.PutUint32(p[i:], v)
		}
	}
	return i
}

func undoPowerPC(p []byte, pos uint32) int {
	be := binary.BigEndian
	i := 0
	for ; i+4 <= len(p); i += 4 {
		if v := be.Uint32(p[i:]); v&0xfc000003 == 0x48000001 { // bl
			be.PutUint32(p[i:], 0x48000001|(v-pos-uint32(i))&0x03fffffc)
		}
	}
	return i
}

func undoSPARC(p []byte, pos uint32) int {
	be := binary.BigEndian
	i := 0
	for ; i+4 <= len(p); i += 4 {
		v := be.Uint32(p[i:])
		if v>>22 != 0x100 && v>>22 != 0x1ff { // call, near
			continue
		}
		v = (v<<2 - pos - uint32(i)) >> 2
		be.PutUint32(p[i:], 0x40000000|-(v>>22&1)<<22&0x3fffffff|v&0x3fffff)
	}
	return i
}

// ia64Slots says which of a bundle's three slots can be branches, by template.
var ia64Slots = [32]uint8{
	16: 4, 17: 4, 18: 6, 19: 6, 22: 7, 23: 7, 24: 4, 25: 4, 28: 4, 29: 4,
}

func undoIA64(p []byte, pos uint32) int {
	i := 0
	for ; i+16 <= len(p); i += 16 {
		slots := ia64Slots[p[i]&31]
		for slot := range 3 {
			if slots>>slot&1 == 0 {
				continue
			}
			bit := 5 + 41*slot
			q := p[i+bit/8:][:6]
			word := uint64(binary.LittleEndian.Uint32(q)) | uint64(binary.LittleEndian.Uint16(q[4:]))<<32
			v := word >> (bit % 8)
			if v>>37&15 != 5 || v>>9&7 != 0 { // br.call
				continue
			}
			to := uint32(v>>13&0xfffff) | uint32(v>>36&1)<<20
			to -= (pos + uint32(i)) >> 4
			v &^= 0x8fffff << 13
			v |= uint64(to&0xfffff)<<13 | uint64(to&0x100000)<<(36-20)
			word = word&(1<<(bit%8)-1) | v<<(bit%8)
			binary.LittleEndian.PutUint32(q, uint32(word))
			binary.LittleEndian.PutUint16(q[4:], uint16(word>>32))
		}
	}
	return i
}

// undoRISCV knows jal with the link registers, and auipc with the instruction
// that uses it. Such a pair was stored as an auipc to x2, with the other
// instruction's low bits in its upper ones, and the address, big endian.
func undoRISCV(p []byte, pos uint32) int {
	le, be := binary.LittleEndian, binary.BigEndian
	i := 0
	for ; i+8 <= len(p); i += 2 {
		switch {
		case p[i] == 0xef && p[i+1]&0x0d == 0: // jal x1 or x5
			b1 := uint32(p[i+1])
			to := b1&0xf0<<13 | uint32(p[i+2])<<9 | uint32(p[i+3])<<1
			to -= pos + uint32(i)
			p[i+1] = byte(b1&0x0f | to>>8&0xf0)
			p[i+2] = byte(to>>16&0x0f | to>>7&0x10 | to<<4&0xe0)
			p[i+3] = byte(to>>4&0x7f | to>>13&0x80)
			i += 4 - 2
		case p[i]&0x7f == 0x17: // auipc
			first := le.Uint32(p[i:])
			second := le.Uint32(p[i+4:])
			if first&0xe80 != 0 { // not to x0 or x2: one that was left alone, or escaped
				if (first<<8^(second-3))&0xf8003 != 0 {
					i += 6 - 2
					continue
				}
				to := first&0xfffff000 + second>>20
				first, second = 0x17|2<<7|second<<12, to
			} else {
				base := first >> 27
				if (first-0x3117)<<18 >= base&0x1d {
					i += 4 - 2
					continue
				}
				to := be.Uint32(p[i+4:]) - pos - uint32(i)
				second = first>>12 | to<<20
				first = 0x17 | base<<7 | (to+0x800)&0xfffff000
			}
			le.PutUint32(p[i:], first)
			le.PutUint32(p[i+4:], second)
			i += 8 - 2
		}
	}
	return i
}

// x86 is call and jmp with 32-bit operands. Their opcodes are common as bytes
// of operands, too, so that the encoder leaves those alone that an opcode just
// before makes unlikely, and both must remember these: bit n of recent is set
// when there was one n+1 bytes ago.
type x86 struct{ recent uint32 }

func (f *x86) undo(p []byte, pos uint32) int {
	sign := func(b byte) bool { return b == 0 || b == 0xff }
	i, last := 0, -1 // last is where the last opcode was
	recent := f.recent
	for ; i+4 < len(p); i++ {
		if p[i]&0xfe != 0xe8 {
			continue
		}
		if gap := i - last; gap > 3 {
			recent = 0
		} else if recent = recent << (gap - 1) & 7; recent != 0 {
			if b := p[i+4-x86Reach[recent]]; recent == 3 || recent > 4 || sign(b) {
				last = i
				recent = recent<<1 | 1
				continue
			}
		}
		last = i
		if !sign(p[i+4]) {
			recent = recent<<1 | 1
			continue
		}
		q := p[i+1 : i+5]
		v := binary.LittleEndian.Uint32(q)
		var to uint32
		for {
			to = v - (pos + uint32(i) + 5)
			if recent == 0 {
				break
			}
			shift := 8 * x86Reach[recent]
			if !sign(byte(to >> (24 - shift))) {
				break
			}
			v = to ^ (1<<(32-shift) - 1)
		}
		to &= 0x1ffffff
		to |= -(to & 0x1000000)
		binary.LittleEndian.PutUint32(q, to)
		i += 4
		recent = 0
	}
	if gap := i - last; gap > 3 {
		f.recent = 0
	} else {
		f.recent = recent << (gap - 1)
	}
	return i
}

// x86Reach is how far back the operand of an opcode before reaches.
var x86Reach = [8]int{0, 1, 2, 2, 3, 3, 3, 3}
