package compress

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// The xz program of Debian 12 does not know this filter, so that here its
// encoder is written out for the two forms of code that it changes: liblzma's
// src/liblzma/simple/riscv.c.

func riscvJAL(rd, to uint32) []byte {
	imm := to>>20&1<<31 | to>>1&0x3ff<<21 | to>>11&1<<20 | to>>12&0xff<<12
	return binary.LittleEndian.AppendUint32(nil, imm|rd<<7|0x6f)
}

func riscvPair(rd, second, to uint32) []byte {
	p := binary.LittleEndian.AppendUint32(nil, (to+0x800)&0xfffff000|rd<<7|0x17)
	return binary.LittleEndian.AppendUint32(p, to<<20|rd<<15|second)
}

func TestRISCVBranchesAreMadeRelativeAgain(t *testing.T) {
	const addi = 5<<7 | 0x13
	nop := []byte{0x13, 0, 0, 0}
	var plain, packed []byte
	put := func(original []byte, filtered []byte) {
		plain = append(plain, original...)
		packed = append(packed, filtered...)
	}
	at := func() uint32 { return uint32(len(plain)) + 64 }
	for i := range uint32(40) {
		put(nop, nop)
		// jal with a link register: the address is absolute, and its bits in order.
		to := (i*7919 + 2) & 0xffffe
		jal := riscvJAL(1, to)
		absolute := to + at()
		put(jal, []byte{jal[0], jal[1]&0x0f | byte(absolute>>13)&0xf0, byte(absolute >> 9), byte(absolute >> 1)})
		// jal without: left alone.
		put(riscvJAL(2, to), riscvJAL(2, to))
		// auipc and what uses it: an auipc to x2 with the second's low bits, and
		// the absolute address, big endian.
		rd := 5 + i%20
		to = i * 0x123457
		pair := riscvPair(rd, addi, to)
		second := binary.LittleEndian.Uint32(pair[4:])
		filtered := binary.LittleEndian.AppendUint32(nil, 0x17|2<<7|second<<12)
		put(pair, binary.BigEndian.AppendUint32(filtered, to+at()))
	}
	put(make([]byte, 8), make([]byte, 8))
	f, pos := newXZFilter(xzRISCV, []byte{64, 0, 0, 0})
	f.undo(packed, pos)
	if !bytes.Equal(packed, plain) {
		for i := range plain {
			if packed[i] != plain[i] {
				t.Fatalf("byte %d of %d is %#02x and not %#02x", i, len(plain), packed[i], plain[i])
			}
		}
	}
}
