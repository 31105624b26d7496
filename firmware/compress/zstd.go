package compress

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// zstdWalk finds the end of a Zstandard frame: RFC 8878, section 3.1.1.
// Skippable frames before it belong to it, as pzstd writes them.
type zstdWalk struct {
	src      *bufio.Reader
	hold     func(int64) error
	state    func() (int64, error)
	checksum int64 // size of the content checksum
}

var (
	errZstdHeader = errors.New("no Zstandard frame header")
	errZstdBlock  = errors.New("invalid Zstandard block header")
)

const (
	zstdMagic      = 0xfd2fb528
	zstdMaxBlock   = 128 << 10
	skippableMagic = 0x184d2a50 // low 4 bits are free
)

func (w *zstdWalk) next() (int64, error) { return w.state() }

func (w *zstdWalk) header() (int64, error) {
	h, err := peek(w.src, 5)
	if err != nil {
		return 0, err
	}
	switch magic := binary.LittleEndian.Uint32(h); {
	case magic&^15 == skippableMagic:
		if h, err = peek(w.src, 8); err != nil {
			return 0, err
		}
		return 8 + int64(binary.LittleEndian.Uint32(h[4:])), nil
	case magic != zstdMagic:
		return 0, errZstdHeader
	}
	descriptor := h[4]
	single := descriptor&0x20 != 0
	n := 5
	if !single {
		n++
	}
	n += [4]int{0, 1, 2, 4}[descriptor&3]
	sizeAt := n
	n += [4]int{0, 2, 4, 8}[descriptor>>6]
	if single && descriptor>>6 == 0 {
		n++
	}
	if h, err = peek(w.src, n); err != nil {
		return 0, err
	}
	window := uint64(1<<10) << (h[5] >> 3)
	window += window / 8 * uint64(h[5]&7)
	if single {
		var size [8]byte
		copy(size[:], h[sizeAt:])
		window = binary.LittleEndian.Uint64(size[:])
	}
	if window > maxWindow {
		return 0, fmt.Errorf("window of %d bytes is larger than the %d that are allowed", window, maxWindow)
	}
	// The decoder keeps the window and what it decoded past it.
	if err := w.hold(2*int64(window) + zstdMaxBlock); err != nil {
		return 0, err
	}
	if descriptor&4 != 0 {
		w.checksum = 4
	}
	w.state = w.block
	return int64(n), nil
}

func (w *zstdWalk) block() (int64, error) {
	h, err := peek(w.src, 3)
	if err != nil {
		return 0, err
	}
	v := int64(h[0]) | int64(h[1])<<8 | int64(h[2])<<16
	last, kind, size := v&1 != 0, v>>1&3, v>>3
	if size > zstdMaxBlock || kind == 3 {
		return 0, errZstdBlock
	}
	const runLength = 1
	if kind == runLength {
		size = 1
	}
	if last {
		size += w.checksum
		w.state = func() (int64, error) { return 0, io.EOF }
	}
	return 3 + size, nil
}
