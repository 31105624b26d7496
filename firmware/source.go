package firmware

import (
	"context"
	"fmt"
	"io"
	"sync/atomic"

	"assay/firmware/budget"
)

// chunkSize is how much of an image is read at one time.
const chunkSize = 128 << 10

// Reading an image again and again is what is left to an image that wants to
// stall the analysis without unpacking anything, so reading is bounded as well:
// to rereads times the image's size, and what small images may always read.
const (
	rereads   = 64
	rereadMin = 256 << 20
)

type flag = atomic.Bool

// source is the bytes of one image. While Open runs, reading them is counted
// and an error ends the analysis; afterwards (file systems read on) it is only
// reading.
type source struct {
	s    *session
	r    io.ReaderAt
	size int64
	read atomic.Int64
}

func (src *source) ReadAt(p []byte, off int64) (int, error) {
	if src.s.closed.Load() {
		return src.r.ReadAt(p, off)
	}
	if src.s.halted.Load() {
		return 0, src.s.reason()
	}
	if err := src.s.ctx.Err(); err != nil {
		src.s.stop(err)
		return 0, err
	}
	if read := src.read.Add(int64(len(p))); read/rereads > src.size && read > rereadMin {
		src.s.stop(fmt.Errorf("%w: the image makes its readers read it more than %d times", budget.ErrExceeded, rereads))
		return 0, src.s.reason()
	}
	n, err := src.r.ReadAt(p, off)
	if n == len(p) {
		return n, nil
	}
	if err == nil || (err == io.EOF && off+int64(n) < src.size) {
		err = io.ErrUnexpectedEOF
	}
	if err != io.EOF {
		err = fmt.Errorf("reading %d bytes at %#x of %#x: %w", len(p), off, src.size, err)
		src.s.stop(err)
	}
	return n, err
}

// chunks calls fn with the bytes of [start, end) piece by piece. Each p begins
// with fresh new bytes, followed by up to ahead bytes that the next piece
// begins with, so that what crosses the border of two pieces is seen whole. p
// is only valid during the call.
func (src *source) chunks(start, end int64, ahead int, fn func(off int64, p []byte, fresh int)) error {
	buf := make([]byte, min(chunkSize+int64(ahead), max(0, end-start)))
	for off, have := start, 0; off < end; {
		want := int(min(int64(len(buf)), end-off))
		if have < want {
			if _, err := src.ReadAt(buf[have:want], off+int64(have)); err != nil && err != io.EOF {
				return err
			}
		}
		fresh := want
		if off+int64(want) < end {
			fresh = want - ahead
		}
		fn(off, buf[:want], fresh)
		have = copy(buf, buf[fresh:want])
		off += int64(fresh)
	}
	return nil
}

// heldChunk is the piece size of unpacked data, so that growing copies nothing.
const heldChunk = 64 << 10

// held is unpacked data in memory.
type held struct {
	pieces [][]byte // all of heldChunk bytes but the last
	size   int64
}

func (h *held) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("offset %d is before the start", off)
	}
	n := 0
	for n < len(p) && off < h.size {
		c := copy(p[n:], h.pieces[off/heldChunk][off%heldChunk:])
		n += c
		off += int64(c)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// keeper is a reader that may have its first bytes, or all, in memory that is to
// be kept: they are then read. It charges nothing for keeping them.
type keeper interface{ Keep() ([]byte, error) }

// hold reads r to its end into memory, charging the meter for each piece. The
// data read before an error is returned beside it.
func hold(ctx context.Context, meter *budget.Meter, r io.Reader, packed int64) (*held, error) {
	h := &held{}
	add := func(p []byte) error {
		if err := meter.Hold(int64(len(p))); err != nil {
			return err
		}
		h.add(p)
		return meter.Ratio(packed, h.size)
	}
	if k, ok := r.(keeper); ok {
		p, err := k.Keep()
		if e := add(p); e != nil {
			return h, e
		}
		if err == io.EOF {
			return h, nil
		}
		if err != nil {
			return h, err
		}
	}
	buf := make([]byte, heldChunk)
	for {
		if err := ctx.Err(); err != nil {
			return h, err
		}
		n, err := fill(r, buf)
		if n > 0 {
			if err := add(append(make([]byte, 0, n), buf[:n]...)); err != nil {
				return h, err
			}
		}
		if err == io.EOF {
			return h, nil
		}
		if err != nil {
			return h, err
		}
	}
}

// add keeps p, which is not copied but where it begins amid a piece.
func (h *held) add(p []byte) {
	h.size += int64(len(p))
	if n := len(h.pieces); n > 0 && len(p) > 0 && len(h.pieces[n-1]) < heldChunk {
		last := h.pieces[n-1]
		fits := min(heldChunk-len(last), len(p))
		h.pieces[n-1] = append(last[:len(last):len(last)], p[:fits]...)
		p = p[fits:]
	}
	for len(p) > 0 {
		n := min(heldChunk, len(p))
		h.pieces = append(h.pieces, p[:n:n])
		p = p[n:]
	}
}

// fill is io.ReadFull, except that it hands on r's own error: an
// io.ErrUnexpectedEOF from a cut-off stream must not look like its end.
func fill(r io.Reader, p []byte) (int, error) {
	n := 0
	for idle := 0; n < len(p); {
		c, err := r.Read(p[n:])
		n += c
		if err != nil {
			return n, err
		}
		if c > 0 {
			idle = 0
		} else if idle++; idle > 100 {
			return n, io.ErrNoProgress
		}
	}
	return n, nil
}
