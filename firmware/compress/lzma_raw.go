package compress

import (
	"fmt"
	"io"
)

// LZMARaw unpacks LZMA data that has no header, with the given properties, into
// dst, which is the dictionary as well. It ends where dst or src does, and returns
// the bytes made: where src ends first, what its last bits stand for by chance may
// be among them, a symbol at most.
func LZMARaw(lc, lp, pb uint32, src, dst []byte) (n int, err error) {
	defer guard(&err)
	if len(src) < 5 || lc > 8 || lp > 4 || pb > 4 {
		return 0, fmt.Errorf("lzma: %w", io.ErrUnexpectedEOF)
	}
	var d lzmaDecoder
	d.properties(lc, lp, pb)
	d.reset()
	if err := d.start(src); err != nil {
		return 0, fmt.Errorf("lzma: %w", err)
	}
	n, _, _, err = d.decodeTail(dst, 0, 0, len(dst), src, 5)
	if err == io.ErrUnexpectedEOF && n > 0 {
		err = nil
	}
	if err != nil {
		err = fmt.Errorf("lzma: %w", err)
	}
	return n, err
}
