package firmware

import (
	"context"
	"fmt"
	"io"
	"sync/atomic"

	"assay/firmware/budget"
)

// maxBytes bounds one Window.Bytes call: headers are small, and what is larger
// is to be streamed.
const maxBytes = 4 << 20

// Window is what a format may see: the bytes from its first byte to the end of
// what holds it. Its offsets count from there.
type Window struct {
	x         *extent
	off, size int64
	held      atomic.Int64 // charged by Unpack and View; given back when the region is turned down
}

// ReadAt reads at an offset from the window's first byte; io.EOF at its end.
func (w *Window) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off > w.size {
		return 0, fmt.Errorf("offset %#x is outside the %#x bytes there are", off, w.size)
	}
	if int64(len(p)) <= w.size-off {
		return w.x.ReadAt(p, w.off+off)
	}
	n, err := w.x.ReadAt(p[:w.size-off], w.off+off)
	if err == nil {
		err = io.EOF
	}
	return n, err
}

// Size is the number of bytes in the window.
func (w *Window) Size() int64 { return w.size }

// Offset is the window's first byte, counted from the start of the image, as
// the offsets of regions are.
func (w *Window) Offset() int64 { return w.off }

// Context is the analysis's.
func (w *Window) Context() context.Context { return w.x.s.ctx }

// Meter is the analysis's purse.
func (w *Window) Meter() *budget.Meter { return w.x.s.meter }

// Section returns n bytes from off on, fewer at the window's end.
func (w *Window) Section(off, n int64) *io.SectionReader {
	return io.NewSectionReader(w, off, max(0, min(n, w.size-off)))
}

// Bytes returns a copy of n bytes at off. Past the window's end, or for more
// than 4 MiB, it returns an error and allocates nothing.
func (w *Window) Bytes(off, n int64) ([]byte, error) {
	if off < 0 || n < 0 || off > w.size || n > w.size-off {
		return nil, fmt.Errorf("%w: %d bytes at %#x are wanted and it ends at %#x", io.ErrUnexpectedEOF, n, off, w.size)
	}
	if n > maxBytes {
		return nil, fmt.Errorf("%d bytes at %#x are more than the %d read at one time", n, off, maxBytes)
	}
	p := make([]byte, n)
	if _, err := w.ReadAt(p, off); err != nil && err != io.EOF {
		return nil, err
	}
	return p, nil
}

// Peek is Bytes for a first look: it copies nothing that the sweep has at hand.
// What it returns is only to be read, and only until the window is read again.
func (w *Window) Peek(off, n int64) ([]byte, error) {
	at := w.off + off - w.x.bufOff
	if off < 0 || n < 0 || off > w.size || n > w.size-off || at < 0 || at+n > int64(len(w.x.buf)) {
		return w.Bytes(off, n)
	}
	return w.x.buf[at : at+n], nil
}

// Analyse partitions a part of the window. The regions have absolute offsets
// and sum to size, cut at the window's end.
func (w *Window) Analyse(off, size int64) []*Region { return w.analyse(off, size, false) }

// AnalyseFlash is Analyse for a part that is a flash image itself: in it, bytes
// between the declared end of a region and the next erase boundary are residue.
func (w *Window) AnalyseFlash(off, size int64) []*Region { return w.analyse(off, size, true) }

func (w *Window) analyse(off, size int64, flash bool) []*Region {
	off = min(max(off, 0), w.size)
	size = min(max(size, 0), w.size-off)
	inner := &extent{source: w.x.source, depth: w.x.depth + 1, start: w.off + off, end: w.off + off + size, flash: flash}
	regions := inner.partition()
	w.held.Add(inner.held)
	return regions
}

// Unpack reads r to its end into memory and analyses what it yields. packed is
// the size of the packed form, for the bound on expansion; the bytes held are
// charged to the meter, while the work of decompressing is r's to charge, as
// every [assay/firmware/compress.Reader] does. When r fails, the image of what
// came before is returned beside the error, which name introduces.
func (w *Window) Unpack(name string, r io.Reader, packed int64) (*Image, error) {
	s := w.x.s
	if err := s.meter.Depth(w.x.depth + 1); err != nil {
		s.note(err)
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	data, err := hold(s.ctx, s.meter, r, packed)
	w.held.Add(data.size)
	s.note(err)
	if err != nil {
		err = fmt.Errorf("%s: unpacking ended after %d bytes: %w", name, data.size, err)
	}
	img := s.image(data, data.size, w.x.depth+1, false)
	w.held.Add(img.held)
	return img, err
}

// Flash tells whether the window is in a flash image, where erase blocks count,
// and not in the payload of a container or in something unpacked.
func (w *Window) Flash() bool { return w.x.flash }
