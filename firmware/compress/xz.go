package compress

import (
	"bufio"
	"errors"
	"fmt"
	"io"
)

// xzWalk finds the end of an .xz stream. The stream header, block headers and
// index are as in the .xz file format 1.2.1, sections 2 to 4. A block header
// need not say the block's size, so its LZMA2 chunks are stepped over by their
// headers (xz-embedded, lib/xz/xz_dec_lzma2.c). Nothing is verified here: the
// decoder does that with the same bytes.
type xzWalk struct {
	src    *bufio.Reader
	hold   func(int64) error
	state  func() (int64, error)
	check  int64 // size of a block's check
	size   int64 // of the block or index so far, for its padding to 4
	blocks uint64
	fields uint64 // index fields still to come
}

var (
	errXZHeader = errors.New("no xz stream header")
	errXZChunk  = errors.New("invalid LZMA2 control byte")
	errXZIndex  = errors.New("index does not count the blocks there are")
)

const xzMagic = "\xfd7zXZ\x00"

// xzCheckSize is by check identifier: section 2.1.1.2.
var xzCheckSize = [16]int64{0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64}

func (w *xzWalk) next() (int64, error) { return w.state() }

func (w *xzWalk) header() (int64, error) {
	h, err := peek(w.src, 12)
	if err != nil {
		return 0, err
	}
	if string(h[:6]) != xzMagic {
		return 0, errXZHeader
	}
	w.check = xzCheckSize[h[7]&15]
	w.state = w.block
	return 12, nil
}

func (w *xzWalk) block() (int64, error) {
	first, err := peek(w.src, 1)
	if err != nil {
		return 0, err
	}
	if first[0] == 0 {
		return w.index()
	}
	size := (int(first[0]) + 1) * 4
	h, err := peek(w.src, size)
	if err != nil {
		return 0, err
	}
	if err := w.hold(min(xzWindow(h), maxWindow)); err != nil {
		return 0, err
	}
	w.blocks++
	w.size = 0
	w.state = w.chunk
	return int64(size), nil
}

// xzWindow returns the dictionary size of a block header's LZMA2 filter, or 0
// where there is none to be found: the decoder will turn that header down.
func xzWindow(h []byte) int64 {
	flags, rest := h[1], h[2:]
	for range int(flags>>6) & 1 { // compressed size
		_, rest = xzInteger(rest)
	}
	for range int(flags>>7) & 1 { // uncompressed size
		_, rest = xzInteger(rest)
	}
	for range int(flags&3) + 1 {
		id, r := xzInteger(rest)
		n, r := xzInteger(r)
		if n > uint64(len(r)) {
			return 0
		}
		if id == 0x21 && n == 1 && r[0] < 40 {
			return (2 | int64(r[0]&1)) << (r[0]/2 + 11)
		}
		rest = r[n:]
	}
	return 0
}

// xzInteger reads a multibyte integer, section 1.2, and returns what follows.
func xzInteger(p []byte) (uint64, []byte) {
	var v uint64
	for i, b := range p[:min(len(p), 9)] {
		v |= uint64(b&0x7f) << (7 * i)
		if b < 0x80 {
			return v, p[i+1:]
		}
	}
	return 0, nil
}

func (w *xzWalk) chunk() (int64, error) {
	first, err := peek(w.src, 1)
	if err != nil {
		return 0, err
	}
	var n int64
	switch control := first[0]; {
	case control == 0:
		w.size++
		w.state = w.block
		return 1 + -w.size&3 + w.check, nil
	case control <= 2:
		h, err := peek(w.src, 3)
		if err != nil {
			return 0, err
		}
		n = 3 + int64(h[1])<<8 + int64(h[2]) + 1
	case control >= 0x80:
		h, err := peek(w.src, 5)
		if err != nil {
			return 0, err
		}
		n = 5 + int64(h[3])<<8 + int64(h[4]) + 1
		if control >= 0xc0 {
			n++
		}
	default:
		return 0, fmt.Errorf("%w %#02x", errXZChunk, control)
	}
	w.size += n
	return n, nil
}

func (w *xzWalk) index() (int64, error) {
	h, err := w.src.Peek(10)
	if len(h) < 2 {
		return 0, err
	}
	count, rest := xzInteger(h[1:])
	if rest == nil || count != w.blocks {
		return 0, errXZIndex
	}
	n := int64(len(h) - len(rest))
	w.size = n
	w.fields = 2 * count
	w.state = w.field
	return n, nil
}

func (w *xzWalk) field() (int64, error) {
	if w.fields == 0 {
		w.state = func() (int64, error) { return 0, io.EOF }
		const crc, footer = 4, 12
		return -w.size&3 + crc + footer, nil
	}
	h, err := w.src.Peek(9)
	if len(h) == 0 {
		return 0, err
	}
	_, rest := xzInteger(h)
	if rest == nil {
		return 0, errXZIndex
	}
	w.fields--
	n := int64(len(h) - len(rest))
	w.size += n
	return n, nil
}
