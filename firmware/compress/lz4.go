package compress

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"

	"github.com/pierrec/lz4/v4"
)

const (
	lz4Magic       = 0x184d2204
	lz4LegacyMagic = 0x184c2102
	lz4LegacyBlock = 8 << 20 // each block but the last unpacks to this
)

var (
	errLZ4Header = errors.New("no LZ4 frame header")
	errLZ4Block  = errors.New("no LZ4 block of a size that its frame allows")
)

// lz4Walk finds the end of an LZ4 frame: lz4_Frame_format.md.
type lz4Walk struct {
	src      *bufio.Reader
	state    func() (int64, error)
	maxBlock int64
	blockSum int64 // size of the checksum after each block
	frameSum int64 // size of the checksum after the end mark
}

func (w *lz4Walk) next() (int64, error) { return w.state() }

func (w *lz4Walk) header() (int64, error) {
	h, err := peek(w.src, 6)
	if err != nil {
		return 0, err
	}
	flags, descriptor := h[4], h[5]
	if binary.LittleEndian.Uint32(h) != lz4Magic || flags>>6 != 1 || descriptor>>4&7 < 4 {
		return 0, errLZ4Header
	}
	w.maxBlock = 1 << (8 + 2*(descriptor>>4&7))
	if flags&0x10 != 0 {
		w.blockSum = 4
	}
	if flags&0x04 != 0 {
		w.frameSum = 4
	}
	n := int64(7)
	if flags&0x08 != 0 { // content size
		n += 8
	}
	if flags&0x01 != 0 { // dictionary ID
		n += 4
	}
	w.state = w.block
	return n, nil
}

func (w *lz4Walk) block() (int64, error) {
	h, err := peek(w.src, 4)
	if err != nil {
		return 0, err
	}
	const stored = 1 << 31
	word := binary.LittleEndian.Uint32(h)
	if word == 0 {
		w.state = func() (int64, error) { return 0, io.EOF }
		return 4 + w.frameSum, nil
	}
	size := int64(word &^ stored)
	if size > w.maxBlock {
		return 0, errLZ4Block
	}
	return 4 + size + w.blockSum, nil
}

// lz4Legacy reads the frame that "lz4 -l" and the kernel's build write: a magic,
// then blocks that each unpack to 8 MiB, the last one to less. There is no end
// mark. A block of less than 8 MiB is the end; after a full one, so is the end
// of the source or a size that no block can have.
type lz4Legacy struct {
	src           *bufio.Reader
	hold          func(int64) error
	packed, block []byte
	rest          []byte
	last          bool
}

func newLZ4Legacy(src *bufio.Reader, hold func(int64) error) (*lz4Legacy, error) {
	h, err := peek(src, 4)
	if err != nil {
		return nil, err
	}
	if binary.LittleEndian.Uint32(h) != lz4LegacyMagic {
		return nil, errLZ4Header
	}
	src.Discard(4)
	return &lz4Legacy{src: src, hold: hold}, nil
}

func (z *lz4Legacy) Read(p []byte) (int, error) {
	for len(z.rest) == 0 {
		if z.last {
			return 0, io.EOF
		}
		if err := z.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, z.rest)
	z.rest = z.rest[n:]
	return n, nil
}

func (z *lz4Legacy) next() error {
	h, err := z.src.Peek(4)
	if err != nil && err != io.EOF {
		return err
	}
	size := uint32(0)
	if len(h) == 4 {
		size = binary.LittleEndian.Uint32(h)
	}
	if size == 0 || size > uint32(lz4.CompressBlockBound(lz4LegacyBlock)) {
		if first := z.block == nil; first {
			return errLZ4Block
		}
		z.last = true
		return nil
	}
	if err := z.hold(lz4LegacyBlock + 2*int64(size)); err != nil {
		return err
	}
	z.src.Discard(4)
	if z.packed, err = readBlock(z.src, z.packed, int(size)); err != nil {
		return err
	}
	if z.block == nil {
		z.block = make([]byte, lz4LegacyBlock)
	}
	n, err := lz4.UncompressBlock(z.packed, z.block)
	if err != nil {
		return err
	}
	z.rest = z.block[:n]
	z.last = n < lz4LegacyBlock
	return nil
}

// readBlock reads n bytes into buf, growing it as bytes come: the size is the
// input's claim.
func readBlock(src io.Reader, buf []byte, n int) ([]byte, error) {
	const step = 256 << 10
	buf = buf[:0]
	for len(buf) < n {
		at := len(buf)
		want := min(n-at, max(step, at))
		if cap(buf) < at+want {
			grown := make([]byte, at, at+want)
			copy(grown, buf)
			buf = grown
		}
		buf = buf[:at+want]
		if _, err := io.ReadFull(src, buf[at:]); err != nil {
			return buf[:at], orTruncated(err)
		}
	}
	return buf, nil
}
