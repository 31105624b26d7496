package compress

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"assay/firmware/budget"
)

// Streams without a header of their own, whose properties and size stand
// elsewhere: in the header of a 7z archive. Properties are from the LZMA SDK's
// DOC/lzma-specification.txt and, of LZMA2 and the filters, the .xz file format
// 1.2.1, section 5.3, which has the same.

// LZMA2 is a row of chunks, of [NewRawReader] only.
const LZMA2 Method = "lzma2"

var errProperties = errors.New("no such properties")

// NewRawReader is NewReader for a stream that has no header: of LZMA and LZMA2
// with their properties, and of every other method as NewReader reads it, for
// which there are none. size is what it unpacks to, or -1 when only its end tells.
func NewRawReader(ctx context.Context, m Method, props []byte, r io.Reader, packed, size int64, meter *budget.Meter) (*Reader, error) {
	return newReader(ctx, m, r, packed, meter, func(z *Reader) error { return z.openRaw(props, size) })
}

func (z *Reader) openRaw(props []byte, size int64) (err error) {
	defer guard(&err)
	switch z.method {
	case LZMA:
		if len(props) != 5 {
			return fmt.Errorf("%w: %d bytes of them", errProperties, len(props))
		}
		if _, _, _, ok := lzmaProps(props[0]); !ok {
			return fmt.Errorf("%w: %#02x", errProperties, props[0])
		}
		z.decoder, err = openLZMA(z.src, props[0], int64(binary.LittleEndian.Uint32(props[1:])), size, z.hold)
		return err
	case LZMA2:
		if len(props) != 1 {
			return fmt.Errorf("%w: %d bytes of them", errProperties, len(props))
		}
		window, ok := lzma2Window(props[0])
		if !ok {
			return fmt.Errorf("%w: %#02x", errProperties, props[0])
		}
		if size >= 0 {
			window = max(min(window, size), lzmaLeastWindow)
		}
		if window > maxWindow {
			return errWindow(window)
		}
		z.src = bufio.NewReaderSize(&z.raw, xzBuffer)
		z.decoder = newLZMA2Stream(z.src, window, size, z.hold)
		return nil
	}
	if len(props) > 0 && z.method == None {
		return fmt.Errorf("%w: %d bytes of them", errProperties, len(props))
	}
	return z.open()
}

// lzma2Window is the size of the dictionary that a byte of properties stands for.
func lzma2Window(props byte) (window int64, ok bool) {
	if props < 40 {
		return (2 | int64(props&1)) << (props/2 + 11), true
	}
	return 1<<32 - 1, props == 40
}

func errWindow(window int64) error {
	return fmt.Errorf("dictionary of %d bytes is larger than the %d that are allowed", window, maxWindow)
}

// lzma2Stream is the chunks of an .xz block, without the block.
type lzma2Stream struct{ xz xzDecoder }

func newLZMA2Stream(src *bufio.Reader, window, size int64, hold func(int64) error) *lzma2Stream {
	z := xzDecoder{hold: hold}
	z.begin(src)
	z.state = xzAtChunk
	z.wantSize = size
	z.win.hold = hold
	z.restart(int(window))
	z.win.begin(window, size)
	return &lzma2Stream{z}
}

func (s *lzma2Stream) Read(p []byte) (int, error) {
	z := &s.xz
	w := &z.win
	for w.out == w.pos {
		if z.state == xzAtBlockEnd {
			if z.wantSize >= 0 && z.unpacked < z.wantSize {
				return 0, io.ErrUnexpectedEOF
			}
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

// Unfilter undoes one of the filters that an .xz file may have, by its
// identifier there: delta 3, and the branches of x86 4, PowerPC 5, IA-64 6,
// ARM 7, Thumb 8, SPARC 9, ARM64 10 and RISC-V 11.
func Unfilter(id uint64, props []byte, r io.Reader) (io.Reader, error) {
	f, start := newXZFilter(id, props)
	if f == nil {
		return nil, fmt.Errorf("%w: %#x with %d bytes of properties", errXZFilters, id, len(props))
	}
	return &unfiltered{r: r, f: f, pos: start, buf: make([]byte, 0, 32<<10)}, nil
}

type unfiltered struct {
	r        io.Reader
	f        xzFilter
	pos      uint32 // of the first byte that is not done
	buf      []byte
	at, done int // of buf: handed out, and undone
	err      error
}

func (u *unfiltered) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for u.at == u.done {
		if u.err != nil {
			return 0, u.err
		}
		u.next()
	}
	n := copy(p, u.buf[u.at:u.done])
	u.at += n
	return n, nil
}

// next reads on until something can be handed out. The last bytes, too few for
// an instruction, are as they were.
func (u *unfiltered) next() {
	kept := copy(u.buf[:cap(u.buf)], u.buf[u.done:])
	u.at, u.done = 0, 0
	n, err := readFull(u.r, u.buf[kept:cap(u.buf)])
	u.buf = u.buf[:kept+n]
	u.done = u.f.undo(u.buf, u.pos)
	u.pos += uint32(u.done)
	if err != nil {
		u.done, u.err = len(u.buf), err
	}
}

// readFull is [io.ReadFull] with the reader's own error.
func readFull(r io.Reader, p []byte) (n int, err error) {
	for idle := 0; n < len(p) && err == nil; idle++ {
		var more int
		if more, err = r.Read(p[n:]); more > 0 {
			n += more
			idle = 0
		} else if idle > 100 && err == nil {
			err = io.ErrNoProgress
		}
	}
	return n, err
}
