package compress

import (
	"bytes"
	"compress/bzip2"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"sync"

	"github.com/anchore/go-lzo"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/therootcompany/xz"
	"github.com/ulikunitz/xz/lzma"
)

// ErrTooLong is wrapped by [Block]'s error when a block unpacks to more than
// its destination has room for.
var ErrTooLong = errors.New("unpacks to more than there is room for")

// maxBlockWindow bounds the dictionary of an xz or LZMA block. No format's
// blocks are larger than SquashFS's, and a dictionary larger than the block is
// of no use.
const maxBlockWindow = 1 << 20

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
		n, err = lzo.Decompress(src, dst)
		if errors.Is(err, lzo.ErrOutputOverrun) {
			err = ErrTooLong
		}
		return n, err
	case Zstd:
		return zstdBlock(src, dst)
	case Zlib:
		return pooled(&zlibReaders, src, dst)
	case XZ:
		return pooled(&xzReaders, src, dst)
	case LZMA:
		z, err := lzma.ReaderConfig{DictCap: maxBlockWindow}.NewReader(bytes.NewReader(src))
		if err != nil {
			return 0, err
		}
		return fill(z, dst)
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
	window := 1 << max(12, bits.Len(uint(len(dst)-1)))
	head := make([]byte, 0, lzmaHeader+len(src))
	head = append(head, ^src[0])
	head = binary.LittleEndian.AppendUint32(head, uint32(window))
	head = binary.LittleEndian.AppendUint64(head, ^uint64(0))
	head = append(append(head, 0), src[1:]...)
	z, err := lzma.ReaderConfig{DictCap: window}.NewReader(bytes.NewReader(head))
	if err != nil {
		return 0, err
	}
	n, err := io.ReadFull(z, dst)
	if err != nil {
		// The decoder reads ahead and meets the end of src; what it has unpacked
		// before is still there.
		var more int
		more, _ = io.ReadFull(z, dst[n:])
		if n += more; n == len(dst) {
			err = nil
		}
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

// resetter is a decoder that can be used again, which saves its windows and
// tables: a file system has thousands of blocks.
type resetter interface {
	io.Reader
	reset(src *bytes.Reader) error
}

func pooled(pool *sync.Pool, src, dst []byte) (int, error) {
	z, ok := pool.Get().(resetter)
	if !ok {
		return 0, errFault
	}
	if err := z.reset(bytes.NewReader(src)); err != nil {
		pool.Put(z)
		return 0, err
	}
	// A decoder that panics is not put back.
	n, err := fill(z, dst)
	pool.Put(z)
	return n, err
}

type zlibBlocks struct{ io.ReadCloser }

// reset makes the decoder on first use, since zlib.NewReader wants a header.
func (z *zlibBlocks) reset(src *bytes.Reader) (err error) {
	if z.ReadCloser == nil {
		z.ReadCloser, err = zlib.NewReader(src)
		return err
	}
	return z.ReadCloser.(zlib.Resetter).Reset(src, nil)
}

type xzBlocks struct{ *xz.Reader }

func (z *xzBlocks) reset(src *bytes.Reader) error {
	if err := z.Reset(src); err != nil {
		return err
	}
	z.Multistream(false)
	return nil
}

var (
	zlibReaders = sync.Pool{New: func() any { return &zlibBlocks{} }}
	xzReaders   = sync.Pool{New: func() any {
		z, err := xz.NewReader(nil, maxBlockWindow)
		if err != nil {
			return err
		}
		return &xzBlocks{z}
	}}
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
