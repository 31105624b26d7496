package filesystem

import "errors"

// Rubin's compressions of the kernel's fs/jffs2/compr_rubin.c: each bit of a byte
// has its own probability, and all go through one
// arithmetic coder of 16 bits. Rubinmips has fixed probabilities; dynrubin keeps
// those of the data in eight bytes before it.
const (
	rubinUpper   = 1 << 15
	rubinLower   = rubinUpper - 1
	rubinMIPSOf  = 1043
	dynRubinOf   = 256
	dynRubinHead = 8
)

var rubinMIPS = [8]uint32{277, 249, 290, 267, 229, 341, 212, 241}

var errRubin = errors.New("rubin: it is not as long as its data take")

// unpackRubin reads either. Kernels since 2.6.10 have their numbers the wrong
// way round, so that the number does not tell them apart, but the length does:
// the decoder takes just the bits that the encoder put. No kernel packs with
// rubinmips, so that it comes second.
func unpackRubin(src, dst []byte) (int, error) {
	if len(src) > dynRubinHead {
		var bits [8]uint32
		for i := range bits {
			bits[i] = uint32(src[i])
		}
		if n, used := rubin(dynRubinOf, bits, src[dynRubinHead:], dst); n == len(dst) && used == len(src)-dynRubinHead {
			return n, nil
		}
	}
	n, used := rubin(rubinMIPSOf, rubinMIPS, src, dst)
	if n < len(dst) || used != len(src) {
		return n, errRubin
	}
	return n, nil
}

// rubin fills dst, as far as src reaches, and says how many bytes it took.
func rubin(of uint32, ones [8]uint32, src, dst []byte) (n, used int) {
	var low, code uint32
	span, at := uint32(2*rubinUpper), 0
	short := false
	pull := func() (bit uint32) {
		if at>>3 >= len(src) {
			short = true
			return 0
		}
		bit = uint32(src[at>>3]>>(7-at&7)) & 1
		at++
		return bit
	}
	for range 16 {
		code = code<<1 | pull()
	}
	for n < len(dst) {
		var value byte
		for bit, one := range ones {
			for low >= rubinUpper || span+low <= rubinUpper {
				low = low & rubinLower << 1
				span <<= 1
				code = code&rubinLower<<1 | pull()
			}
			zero := uint32(uint64(of-one) * uint64(span) / uint64(of))
			zero = min(max(zero, 1), span-1)
			if code >= low+zero {
				value |= 1 << bit
				low += zero
				zero = span - zero
			}
			span = zero
		}
		if short {
			break
		}
		dst[n] = value
		n++
	}
	return n, (at + 7) / 8
}
