// Package compress unpacks the compressed streams and blocks found in firmware,
// within a budget, and says where each stream ends.
//
// LZMA, xz, blocks of zlib and LZO have decoders of their own here, for speed and
// for the exact end of a stream in a flash that goes on after it; the others are
// libraries, with what they lack: that end, bounded windows, and one way to call
// all of them. Layouts are from RFC 1950 to 1952 (zlib, DEFLATE, gzip), RFC 8878
// (Zstandard), the .xz file format 1.2.1, the LZMA SDK's lzma-specification.txt,
// the kernel's Documentation/staging/lzo.rst, lz4's lz4_Frame_format.md, lzop
// 1.04's lzop.c and bzip2 1.0.8's decompress.c.
package compress

import (
	"bufio"
	"compress/bzip2"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"assay/firmware/budget"
)

// Method names a compression, as a stream ([NewReader]) or a block ([Block]).
type Method string

// The methods. LZO is a lzop file as a stream and raw LZO1X as a block; LZ4 is
// a frame as a stream and a raw block as a block.
const (
	None      Method = "none"
	Gzip      Method = "gzip"
	Zlib      Method = "zlib"
	XZ        Method = "xz"
	LZMA      Method = "lzma"
	MicroLZMA Method = "microlzma" // of blocks only
	LZO       Method = "lzo"
	LZ4       Method = "lz4"
	LZ4Legacy Method = "lz4-legacy"
	Zstd      Method = "zstd"
	Bzip2     Method = "bzip2"
)

// maxWindow bounds a dictionary or window: 64 MiB is what xz -9 and zstd
// --ultra -22 --long=26 use, and no camera has the memory for more.
const maxWindow = 64 << 20

// ErrMethod is returned for a method that is not one of the constants.
var ErrMethod = errors.New("unknown compression method")

// Reader unpacks one stream. It is not safe for concurrent use.
type Reader struct {
	ctx     context.Context
	method  Method
	meter   *budget.Meter
	packed  int64
	raw     counter
	src     *bufio.Reader
	walk    *spans // of the methods whose decoders read ahead
	decoder io.Reader
	close   func()
	out     int64
	held    int64
	err     error
}

// NewReader returns a reader of the one stream of method m that starts at r's
// first byte: one gzip member, one Zstandard or LZ4 frame, one xz stream. What
// follows it, even another stream of the same kind, is not touched.
//
// At most packed bytes of r are read when packed is not negative. The unpacked
// bytes are charged to the meter as they are read; the expansion is measured
// against packed, or against what was read of r when packed is negative. The
// memory for windows is held until Close.
//
// Checksums in the stream are verified, and a failed one is an error at its
// end; LZMA and legacy LZ4 have none.
func NewReader(ctx context.Context, m Method, r io.Reader, packed int64, meter *budget.Meter) (*Reader, error) {
	return newReader(ctx, m, r, packed, meter, (*Reader).open)
}

func newReader(ctx context.Context, m Method, r io.Reader, packed int64, meter *budget.Meter, open func(*Reader) error) (*Reader, error) {
	z := &Reader{ctx: ctx, method: m, meter: meter, packed: packed}
	z.raw = counter{ctx: ctx, r: r}
	if packed >= 0 {
		z.raw.r = io.LimitReader(r, packed)
	}
	z.src = bufio.NewReaderSize(&z.raw, 16<<10)
	if err := open(z); err != nil {
		err = z.wrap(err)
		z.Close()
		return nil, err
	}
	return z, nil
}

// Memory that decoders take, measured or from their source, where the stream
// does not say it.
const (
	inflateMemory = 64 << 10
	bzip2Memory   = 4 << 20
	lz4Memory     = 8 << 20
)

func (z *Reader) open() (err error) {
	defer guard(&err)
	switch z.method {
	case None:
		z.decoder = z.src
	case Gzip:
		if err := z.hold(inflateMemory); err != nil {
			return err
		}
		member, err := gzip.NewReader(z.src)
		if err != nil {
			return err
		}
		member.Multistream(false)
		z.decoder = member
	case Zlib:
		if err := z.hold(inflateMemory); err != nil {
			return err
		}
		z.decoder, err = zlib.NewReader(z.src)
	case XZ:
		z.src = bufio.NewReaderSize(&z.raw, xzBuffer)
		x := &xzDecoder{hold: z.hold}
		x.begin(z.src)
		z.decoder = x
	case LZMA:
		z.decoder, err = newLZMAStream(z.src, z.hold)
	case LZO:
		z.decoder, err = newLzop(z.src, z.hold)
	case LZ4:
		if err := z.hold(lz4Memory); err != nil {
			return err
		}
		w := &lz4Walk{src: z.src}
		w.state = w.header
		z.walk = &spans{src: z.src, next: w.next}
		z.decoder = lz4.NewReader(z.walk)
	case LZ4Legacy:
		z.decoder, err = newLZ4Legacy(z.src, z.hold)
	case Zstd:
		w := &zstdWalk{src: z.src, hold: z.hold}
		w.state = w.header
		// One decoder and no read-ahead: it then works in the caller's
		// goroutine, and nothing outlives a reader that was never closed.
		z.walk = &spans{src: z.src, next: w.next}
		frame, err := zstd.NewReader(z.walk, zstd.WithDecoderConcurrency(1),
			zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderMaxMemory(maxWindow))
		if err != nil {
			return err
		}
		z.decoder, z.close = frame, frame.Close
	case Bzip2:
		if err := z.hold(bzip2Memory); err != nil {
			return err
		}
		z.decoder = bzip2.NewReader(&bzip2Gate{src: z.src})
	default:
		return z.openArchived()
	}
	return err
}

// maxRead bounds one call of a decoder, so that the budget and the context are
// looked at in between.
const maxRead = 256 << 10

// Read returns unpacked bytes, io.EOF at the stream's end, and an error that
// wraps io.ErrUnexpectedEOF when the stream is cut short.
func (z *Reader) Read(p []byte) (int, error) {
	if z.err != nil || len(p) == 0 {
		return 0, z.err
	}
	if err := z.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := z.decode(p[:min(len(p), maxRead)])
	if err == io.EOF && z.walk != nil && !z.walk.whole() {
		err = io.ErrUnexpectedEOF
	}
	z.out += int64(n)
	if e := z.charge(int64(n)); e != nil {
		err = e
	}
	if err != nil && err != io.EOF {
		err = z.wrap(err)
	}
	z.err = err
	return n, err
}

func (z *Reader) decode(p []byte) (n int, err error) {
	defer guard(&err)
	return z.decoder.Read(p)
}

func (z *Reader) charge(n int64) error {
	if err := z.meter.Bytes(n); err != nil {
		return err
	}
	in := z.packed
	if in < 0 {
		in = z.raw.n
	}
	return z.meter.Ratio(in, z.out)
}

// Consumed is the number of bytes of the source that belong to the stream. It
// is exact once Read has returned io.EOF; after an error it is how far the
// decoder came.
func (z *Reader) Consumed() int64 { return z.raw.n - int64(z.src.Buffered()) }

// Close gives the memory back. It does not close the source.
func (z *Reader) Close() error {
	if z.close != nil {
		z.close()
		z.close = nil
	}
	z.meter.Release(z.held)
	z.held = 0
	if z.err == nil {
		z.err = errClosed
	}
	return nil
}

var errClosed = errors.New("read of a closed stream")

// hold charges the meter so that n bytes are held in all.
func (z *Reader) hold(n int64) error {
	if n <= z.held {
		return nil
	}
	if err := z.meter.Hold(n - z.held); err != nil {
		return err
	}
	z.held = n
	return nil
}

func (z *Reader) wrap(err error) error {
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("%s: at packed byte %d: %w", z.method, z.Consumed(), err)
}

// errFault marks a decoder that panicked.
var errFault = errors.New("the decoder broke down on this input")

// guard turns a panic in a decoder, which is other people's code given hostile
// input, into an error of this one stream.
func guard(err *error) {
	if fault := recover(); fault != nil {
		*err = fmt.Errorf("%w: %v", errFault, fault)
	}
}

// counter counts what was taken from the source. A decoder may eat much input
// without any output, so the context is looked at here too.
type counter struct {
	ctx context.Context
	r   io.Reader
	n   int64
}

func (c *counter) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}
