package compress

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
)

// An LZMA-alone header is 13 bytes without a magic (lzma-specification.txt,
// "Lzma file format"): properties, dictionary size, unpacked size or -1.
const lzmaHeader = 13

var errLZMAHeader = errors.New("no LZMA header")

// lzmaWindow returns the memory for the dictionary, from the header.
func lzmaWindow(src *bufio.Reader) (int64, error) {
	h, err := peek(src, lzmaHeader)
	if err != nil {
		return 0, err
	}
	if h[0] >= 9*5*5 {
		return 0, errLZMAHeader
	}
	window := int64(binary.LittleEndian.Uint32(h[1:]))
	if window > maxWindow {
		return 0, fmt.Errorf("dictionary of %d bytes is larger than the %d that are allowed", window, maxWindow)
	}
	if size := int64(binary.LittleEndian.Uint64(h[5:])); size >= 0 {
		window = min(window, size)
	}
	return window, nil
}

// plausibleLZMA says whether a header is one that encoders write. Most of the
// 2^104 headers decode to something, so the rules are narrow: lc + lp <= 4 as
// liblzma demands, a dictionary of 2^n or 3*2^n from 4 KiB to 64 MiB, a size of
// 1 byte to 1 GiB or unknown, and the zero that every range coder starts with.
func plausibleLZMA(h []byte) bool {
	if len(h) < lzmaHeader+1 || h[0] >= 9*5*5 || h[0]%9+h[0]/9%5 > 4 || h[13] != 0 {
		return false
	}
	window := binary.LittleEndian.Uint32(h[1:])
	if window < 4<<10 || window > maxWindow {
		return false
	}
	for window&1 == 0 {
		window >>= 1
	}
	size := int64(binary.LittleEndian.Uint64(h[5:]))
	return (window == 1 || window == 3) && (size == -1 || size > 0 && size <= 1<<30)
}
