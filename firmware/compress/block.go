package compress

import (
	"bytes"
	"compress/bzip2"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// ErrTooLong is wrapped by [Block]'s error when a block unpacks to more than
// its destination has room for.
var ErrTooLong = errors.New("unpacks to more than there is room for")

// Block unpacks one block into dst and returns its unpacked size. dst never
// grows: a block that unpacks to more is an error. Nothing is charged, because
// the caller made dst. Bytes of src after the end of the block are not looked
// at, except with LZ4, LZO and Zstandard, where they are an error.
func Block(m Method, src, dst []byte) (n int, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("%s block of %d bytes: %w", m, len(src), err)
		}
	}()
	defer guard(&err)
	switch m {
	case None:
		if len(src) > len(dst) {
			return 0, ErrTooLong
		}
		return copy(dst, src), nil
	case LZ4, LZ4Legacy:
		return lz4.UncompressBlock(src, dst)
	case LZO:
		return lzoBlock(src, dst)
	case Zstd:
		return zstdBlock(src, dst)
	case Zlib:
		z := inflaters.Get().(*inflater)
		n, err = zlibBlock(z, src, dst)
		inflaters.Put(z)
		return n, err
	case XZ:
		z := xzDecoders.Get().(*xzDecoder)
		n, err = xzBlock(z, src, dst)
		z.src, z.win.buf = nil, nil
		xzDecoders.Put(z)
		return n, err
	case LZMA:
		z := lzmaDecoders.Get().(*lzmaDecoder)
		n, err = lzmaBlock(z, src, dst)
		lzmaDecoders.Put(z)
		return n, err
	case MicroLZMA:
		return microLZMA(src, dst)
	case Gzip:
		z, err := gzip.NewReader(bytes.NewReader(src))
		if err != nil {
			return 0, err
		}
		z.Multistream(false)
		return fill(z, dst)
	case Bzip2:
		return fill(bzip2.NewReader(bytes.NewReader(src)), dst)
	}
	return 0, ErrMethod
}

// microLZMA reads an LZMA stream without header, whose first byte, always 0, is
// replaced by the complement of the properties (liblzma's microlzma). Neither
// its size nor its end is in it, and it may hold more than dst has room for.
func microLZMA(src, dst []byte) (int, error) {
	if len(src) < 6 || len(dst) == 0 {
		return 0, io.ErrUnexpectedEOF
	}
	lc, lp, pb, ok := lzmaProps(^src[0])
	if !ok {
		return 0, errLZMAData
	}
	d := lzmaDecoders.Get().(*lzmaDecoder)
	defer lzmaDecoders.Put(d)
	d.properties(lc, lp, pb)
	d.reset()
	d.window = len(dst) + lzmaSpare
	if err := d.start(append([]byte{0}, src[1:5]...)); err != nil {
		return 0, err
	}
	// The last match may reach past what is wanted.
	room := make([]byte, len(dst)+lzmaSpare)
	n, _, why, err := d.decodeTail(room, 0, 0, len(dst), src, 5, false)
	n = copy(dst, room[:n])
	if err == nil && why == lzmaEnd && n < len(dst) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// fill reads r to its end into dst.
func fill(r io.Reader, dst []byte) (int, error) {
	n := 0
	for n < len(dst) {
		k, err := r.Read(dst[n:])
		n += k
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
	// One byte more, so that what is too long is seen and a checksum at the
	// end is verified.
	var more [1]byte
	switch k, err := io.ReadFull(r, more[:]); {
	case k > 0:
		return n, ErrTooLong
	case err == io.EOF:
		return n, nil
	default:
		return n, err
	}
}

// Decoders are kept, for their tables: a file system has thousands of blocks.
// One that panicked is not put back.
var (
	inflaters    = sync.Pool{New: func() any { return &inflater{} }}
	xzDecoders   = sync.Pool{New: func() any { return &xzDecoder{} }}
	lzmaDecoders = sync.Pool{New: func() any { return &lzmaDecoder{} }}
)

// zstdBlocks decodes into slices only, so that it needs no goroutine; the
// capacity of the destination is its limit.
var zstdBlocks = sync.OnceValues(func() (*zstd.Decoder, error) {
	return zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(maxWindow),
		zstd.WithDecoderLowmem(true), zstd.WithDecodeAllCapLimit(true))
})

func zstdBlock(src, dst []byte) (int, error) {
	z, err := zstdBlocks()
	if err != nil {
		return 0, err
	}
	out, err := z.DecodeAll(src, dst[:0:len(dst)])
	if errors.Is(err, zstd.ErrDecoderSizeExceeded) {
		err = ErrTooLong
	}
	if err != nil {
		return 0, err
	}
	return len(out), nil
}
