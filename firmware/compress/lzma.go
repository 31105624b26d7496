package compress

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// An LZMA-alone header is 13 bytes without a magic (lzma-specification.txt,
// "Lzma file format"): properties, dictionary size, unpacked size or -1.
const lzmaHeader = 13

var errLZMAHeader = errors.New("no LZMA header")

// parseLZMA takes an LZMA-alone header apart. size is -1 when it is not known.
func parseLZMA(h []byte) (window, size int64, err error) {
	if _, _, _, ok := lzmaProps(h[0]); !ok {
		return 0, 0, errLZMAHeader
	}
	size = int64(binary.LittleEndian.Uint64(h[5:]))
	if size < -1 {
		return 0, 0, fmt.Errorf("%w: size of %d bytes", errLZMAHeader, uint64(size))
	}
	return int64(binary.LittleEndian.Uint32(h[1:])), size, nil
}

// lzmaBlock decodes an LZMA-alone stream into dst.
func lzmaBlock(d *lzmaDecoder, src, dst []byte) (int, error) {
	if len(src) < lzmaHeader {
		return 0, io.ErrUnexpectedEOF
	}
	_, size, err := parseLZMA(src)
	if err != nil {
		return 0, err
	}
	lc, lp, pb, _ := lzmaProps(src[0])
	d.properties(lc, lp, pb)
	if size > int64(len(dst)) {
		return 0, ErrTooLong
	}
	n, _, err := rawBlock(d, src[lzmaHeader:], dst, int(size), false)
	return n, err
}

// rawBlock decodes LZMA without a header into dst: size bytes, or as far as the
// end mark when size is -1, or, when it is loose, as far as dst or src. The
// decoder has its properties. It returns how much of dst and src there is.
func rawBlock(d *lzmaDecoder, src, dst []byte, size int, loose bool) (pos, at int, err error) {
	if len(src) < 5 {
		return 0, 0, io.ErrUnexpectedEOF
	}
	d.reset()
	if err := d.start(src); err != nil {
		return 0, 0, err
	}
	d.window = len(dst)
	known := size >= 0
	if known {
		dst = dst[:size]
	}
	pos, at, why, err := d.decodeTail(dst, 0, 0, len(dst), src, 5, loose)
	if err != nil {
		return pos, at, err
	}
	if why == lzmaEnd {
		switch {
		case d.code != 0:
			err = errLZMAData
		case known && pos != size:
			err = io.ErrUnexpectedEOF
		}
		return pos, at, err
	}
	// Full. Where the size was known there need not be an end mark.
	at, finished, err := d.finish(src, at)
	if err != nil || (known || loose) && finished {
		return pos, at, err
	}
	at, err = d.endMark(pos, src, at)
	return pos, at, err
}

// lzmaStream decodes an LZMA-alone stream. Nothing past its end is taken.
type lzmaStream struct {
	lzmaDecoder
	src  *bufio.Reader
	win  lzmaWindow
	left int64 // of what it unpacks to, or negative when that is not known
	made int64
	done bool

	taken int64 // of the source, without a header
}

func newLZMAStream(src *bufio.Reader, hold func(int64) error) (*lzmaStream, error) {
	h, err := peek(src, lzmaHeader)
	if err != nil {
		return nil, err
	}
	window, size, err := parseLZMA(h)
	if err != nil {
		return nil, err
	}
	props := h[0]
	src.Discard(lzmaHeader)
	return openLZMA(src, props, window, size, hold)
}

// openLZMA is for a stream whose header was taken. size is what it unpacks to,
// or -1 when only its end mark tells.
func openLZMA(src *bufio.Reader, props byte, window, size int64, hold func(int64) error) (*lzmaStream, error) {
	// Encoders write the dictionary that they were set to; only what comes out
	// can be reached back to.
	if size >= 0 {
		window = min(window, size)
	}
	window = max(window, lzmaLeastWindow)
	if window > maxWindow {
		return nil, errWindow(window)
	}
	lc, lp, pb, _ := lzmaProps(props)
	literals := 2 * int64(literalSize(lc, lp))
	if err := hold(literals); err != nil {
		return nil, err
	}
	h, err := peek(src, 5)
	if err != nil {
		return nil, err
	}
	z := &lzmaStream{src: src, taken: 5}
	z.win.hold = func(n int64) error { return hold(literals + n) }
	z.properties(lc, lp, pb)
	z.reset()
	if err := z.start(h); err != nil {
		return nil, err
	}
	src.Discard(5)
	z.window = int(window)
	z.win.begin(window, size)
	z.left = size
	return z, nil
}

// lzmaLeastWindow is what a smaller dictionary size stands for:
// lzma-specification.txt, "Lzma file format".
const lzmaLeastWindow = 4 << 10

func (z *lzmaStream) Read(p []byte) (int, error) {
	w := &z.win
	for w.out == w.pos {
		if z.done {
			return 0, io.EOF
		}
		if err := z.step(); err != nil {
			return 0, err
		}
	}
	n := copy(p, w.buf[w.out:w.pos])
	w.out += n
	return n, nil
}

func (z *lzmaStream) step() error {
	w := &z.win
	p, err := z.src.Peek(max(z.src.Buffered(), 2*lzmaMargin))
	if err != nil && err != io.EOF {
		return err
	}
	if z.left == 0 {
		return z.end(p)
	}
	limit, full := w.limit()
	if full != nil {
		return full
	}
	limit = min(limit, w.pos+maxRead)
	dst := w.buf
	if z.left > 0 && z.left < int64(len(dst)-w.pos) {
		dst = dst[:w.pos+int(z.left)]
	}
	from := w.pos
	var at int
	var why lzmaStop
	if err == nil {
		w.pos, at, why, err = z.decode(dst, w.base, w.pos, limit, p, 0, len(p)-lzmaMargin)
	} else {
		w.pos, at, why, err = z.decodeTail(dst, w.base, w.pos, limit, p, 0, false)
	}
	z.take(min(at, len(p)))
	n := int64(w.pos - from)
	z.made += n
	if z.left > 0 {
		z.left -= n
	}
	if err == nil && why == lzmaEnd {
		z.done = true
		switch {
		case z.code != 0:
			err = errLZMAData
		case z.left > 0:
			err = io.ErrUnexpectedEOF
		}
	}
	return err
}

// end is where a stream of known size has unpacked to it. It may have an end
// mark nevertheless.
func (z *lzmaStream) end(p []byte) error {
	at, finished, err := z.finish(p, 0)
	if err == nil && !finished {
		at, err = z.endMark(int(z.made&15), p, at)
	}
	z.take(min(at, len(p)))
	z.done = true
	return err
}

func (z *lzmaStream) take(n int) {
	z.src.Discard(n)
	z.taken += int64(n)
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
