package compress

import "fmt"

// RawLZMA unpacks a block of LZMA that has no header, as vendors' file systems
// have it, into dst. It ends with its end mark, or where dst is full or src is
// taken. What is returned is how much of dst and of src there is; a block whose
// properties were right takes all of src.
func RawLZMA(lc, lp, pb uint8, src, dst []byte) (n, taken int, err error) {
	defer guard(&err)
	if lc > 8 || lp > 4 || pb > 4 {
		return 0, 0, fmt.Errorf("lzma block: %w: lc=%d lp=%d pb=%d", errLZMAHeader, lc, lp, pb)
	}
	z := lzmaDecoders.Get().(*lzmaDecoder)
	z.properties(uint32(lc), uint32(lp), uint32(pb))
	n, taken, err = rawBlock(z, src, dst, -1, true)
	lzmaDecoders.Put(z)
	if err != nil {
		err = fmt.Errorf("lzma block of %d bytes: %w", len(src), err)
	}
	return n, taken, err
}
