package compress

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"

	"crypto/sha256"
)

// The .xz file format 1.2.1, sections 2 to 4. One stream is decoded; its end is
// known because nothing past it is taken.

const (
	xzMagic  = "\xfd7zXZ\x00"
	xzFooter = "YZ"

	// xzBuffer is what a source must be able to peek: a chunk, and what the
	// decoder looks at past it.
	xzBuffer = lzma2MaxPacked + 2*lzmaMargin
)

var (
	errXZHeader  = errors.New("no xz stream header")
	errXZBlock   = errors.New("invalid xz block header")
	errXZFilters = errors.New("xz filters that are not known")
	errXZCheck   = errors.New("xz check that is not known")
	errXZSum     = errors.New("xz check does not match")
	errXZSize    = errors.New("xz block has another size than its header says")
	errXZIndex   = errors.New("xz index does not describe the blocks there are")
	errXZFooter  = errors.New("xz footer does not match its stream")
)

// Checks: section 2.1.1.2.
const (
	xzCheckNone   = 0
	xzCheckCRC32  = 1
	xzCheckCRC64  = 4
	xzCheckSHA256 = 10
)

var xzCheckSizes = map[byte]int{xzCheckNone: 0, xzCheckCRC32: 4, xzCheckCRC64: 8, xzCheckSHA256: 32}

// xzSource is a bufio.Reader, or a slice.
type xzSource interface {
	Peek(n int) ([]byte, error)
	Discard(n int) (int, error)
}

// sliceSource is a source all of which is there.
type sliceSource struct{ p []byte }

func (s *sliceSource) Peek(n int) ([]byte, error) {
	if n > len(s.p) {
		return s.p, io.EOF
	}
	return s.p[:n], nil
}

func (s *sliceSource) Discard(n int) (int, error) {
	n = min(n, len(s.p))
	s.p = s.p[n:]
	return n, nil
}

type xzState int

const (
	xzAtHeader xzState = iota
	xzAtBlock
	xzAtChunk
	xzInChunk
	xzAtBlockEnd
	xzAtIndex
	xzInIndex
	xzAtIndexEnd
)

// xzDecoder decodes one stream, a piece with each step.
type xzDecoder struct {
	lzma2
	src   xzSource
	hold  func(int64) error
	win   lzmaWindow
	fixed bool // win.buf is where a block is wanted: it does not move or grow
	whole bool // all blocks are wanted in win.buf, which grows

	state   xzState
	checkID byte
	check   xzCheck

	chunk    lzma2Chunk // what is left of it
	filters  []xzFilterAt
	staged   []byte // with filters: what is not handed out yet
	stagedAt int    // how much of it was

	// Of the block.
	start                int   // where it starts in win.buf, when that holds all
	header               int64 // size of its header
	packed, unpacked     int64
	wantPacked, wantSize int64 // as its header says, or -1

	// Of the index: what it should say, and what it says.
	blocks, records xzRecords
	indexSize       int64
	indexSum        uint32
}

// xzRecords sums up an index, so that it need not be kept.
type xzRecords struct {
	count, unpadded, unpacked uint64
	sum                       uint64
}

func (r *xzRecords) add(unpadded, unpacked uint64) {
	r.count++
	r.unpadded += unpadded
	r.unpacked += unpacked
	var p [16]byte
	binary.LittleEndian.PutUint64(p[:], unpadded)
	binary.LittleEndian.PutUint64(p[8:], unpacked)
	r.sum = crc64.Update(r.sum, crc64Table, p[:])
}

// xzFilterAt is a filter and how far it came.
type xzFilterAt struct {
	xzFilter
	pos  uint32 // of the byte that comes next
	done int    // bytes of staged
}

var crc64Table = crc64.MakeTable(crc64.ECMA)

// xzCheck computes a block's check.
type xzCheck struct {
	crc32  uint32
	crc64  uint64
	sha256 hash.Hash
}

func (c *xzCheck) reset(id byte) {
	c.crc32, c.crc64 = 0, 0
	if id == xzCheckSHA256 {
		c.sha256 = sha256.New()
	}
}

func (c *xzCheck) write(id byte, p []byte) {
	switch id {
	case xzCheckCRC32:
		c.crc32 = crc32.Update(c.crc32, crc32.IEEETable, p)
	case xzCheckCRC64:
		c.crc64 = crc64.Update(c.crc64, crc64Table, p)
	case xzCheckSHA256:
		c.sha256.Write(p)
	}
}

func (c *xzCheck) sum(id byte) []byte {
	switch id {
	case xzCheckCRC32:
		return binary.LittleEndian.AppendUint32(nil, c.crc32)
	case xzCheckCRC64:
		return binary.LittleEndian.AppendUint64(nil, c.crc64)
	case xzCheckSHA256:
		return c.sha256.Sum(nil)
	}
	return nil
}

// begin makes ready for a stream.
func (z *xzDecoder) begin(src xzSource) {
	z.src = src
	z.state = xzAtHeader
	z.blocks, z.records = xzRecords{}, xzRecords{}
	z.filters, z.staged, z.stagedAt = z.filters[:0], z.staged[:0], 0
	z.win.base, z.win.pos, z.win.out = 0, 0, 0
}

// xzBlock decodes a stream into dst.
func xzBlock(z *xzDecoder, src, dst []byte) (int, error) {
	z.fixed = true
	z.win = lzmaWindow{buf: dst}
	z.begin(&sliceSource{src})
	for {
		err := z.step()
		if err == io.EOF {
			return z.win.pos, nil
		}
		if err != nil {
			return z.win.pos, err
		}
	}
}

func (z *xzDecoder) Read(p []byte) (int, error) {
	for {
		if len(z.filters) == 0 && z.win.out < z.win.pos {
			n := copy(p, z.win.buf[z.win.out:z.win.pos])
			z.win.out += n
			return n, nil
		}
		if ready := z.ready(); z.stagedAt < ready {
			n := copy(p, z.staged[z.stagedAt:ready])
			z.stagedAt += n
			return n, nil
		}
		if err := z.step(); err != nil {
			return 0, err
		}
	}
}

// need returns the next n bytes.
func (z *xzDecoder) need(n int) ([]byte, error) {
	p, err := z.src.Peek(n)
	if len(p) >= n {
		return p, nil
	}
	return p, orTruncated(err)
}

func (z *xzDecoder) step() error {
	switch z.state {
	case xzAtHeader:
		return z.streamHeader()
	case xzAtBlock:
		return z.blockHeader()
	case xzAtChunk:
		return z.chunkHeader()
	case xzInChunk:
		return z.chunkData()
	case xzAtBlockEnd:
		return z.blockEnd()
	case xzAtIndex:
		return z.index()
	case xzInIndex:
		return z.record()
	}
	return z.indexEnd()
}

func (z *xzDecoder) streamHeader() error {
	h, err := z.need(12)
	if err != nil {
		return err
	}
	if string(h[:6]) != xzMagic || crc32.ChecksumIEEE(h[6:8]) != binary.LittleEndian.Uint32(h[8:]) || h[6] != 0 || h[7] > 15 {
		return errXZHeader
	}
	if _, ok := xzCheckSizes[h[7]]; !ok {
		return fmt.Errorf("%w: %d", errXZCheck, h[7])
	}
	z.checkID = h[7]
	z.src.Discard(12)
	z.state = xzAtBlock
	return nil
}

func (z *xzDecoder) blockHeader() error {
	first, err := z.need(1)
	if err != nil {
		return err
	}
	if first[0] == 0 {
		z.state = xzAtIndex
		return nil
	}
	size := (int(first[0]) + 1) * 4
	h, err := z.need(size)
	if err != nil {
		return err
	}
	window, err := z.parseBlockHeader(h)
	if err != nil {
		return err
	}
	z.src.Discard(size)
	z.header, z.packed, z.unpacked = int64(size), 0, 0
	z.check.reset(z.checkID)
	z.state = xzAtChunk
	if z.fixed {
		z.start = z.win.pos
		z.restart(len(z.win.buf))
		return nil
	}
	z.win.hold = z.hold
	z.restart(int(window))
	if z.whole {
		z.start = z.win.pos
		return nil
	}
	z.staged, z.stagedAt = z.staged[:0], 0
	z.win.begin(window, z.wantSize)
	return nil
}

// parseBlockHeader takes in a block header, section 3.1, and returns the size of
// the dictionary.
func (z *xzDecoder) parseBlockHeader(h []byte) (int64, error) {
	body, sum := h[:len(h)-4], binary.LittleEndian.Uint32(h[len(h)-4:])
	flags := body[1]
	if crc32.ChecksumIEEE(body) != sum || flags&0x3c != 0 {
		return 0, errXZBlock
	}
	rest := body[2:]
	z.wantPacked, z.wantSize = -1, -1
	for _, f := range []struct {
		bit  byte
		want *int64
	}{{0x40, &z.wantPacked}, {0x80, &z.wantSize}} {
		if flags&f.bit == 0 {
			continue
		}
		v, r := xzInteger(rest)
		if r == nil {
			return 0, errXZBlock
		}
		*f.want, rest = int64(v), r
	}
	z.filters = z.filters[:0]
	for left := int(flags & 3); ; left-- {
		id, r := xzInteger(rest)
		n, r := xzInteger(r)
		if r == nil || n > uint64(len(r)) {
			return 0, errXZBlock
		}
		props := r[:n]
		rest = r[n:]
		if left == 0 {
			window, ok := int64(0), id == xzLZMA2 && n == 1
			if ok {
				window, ok = lzma2Window(props[0])
			}
			if !ok {
				return 0, fmt.Errorf("%w: %#x is last", errXZFilters, id)
			}
			for _, b := range rest {
				if b != 0 {
					return 0, errXZBlock
				}
			}
			if window > maxWindow && !z.fixed {
				return 0, errWindow(window)
			}
			return window, nil
		}
		f, start := newXZFilter(id, props)
		if f == nil {
			return 0, fmt.Errorf("%w: %#x", errXZFilters, id)
		}
		z.filters = append(z.filters, xzFilterAt{xzFilter: f, pos: start})
	}
}

// xzInteger reads a multibyte integer, section 1.2, and returns what follows, or
// nil when there is none.
func xzInteger(p []byte) (uint64, []byte) {
	var v uint64
	for i, b := range p[:min(len(p), 9)] {
		v |= uint64(b&0x7f) << (7 * i)
		if b == 0 && i > 0 {
			break // not the shortest form
		}
		if b < 0x80 {
			return v, p[i+1:]
		}
	}
	return 0, nil
}

func (z *xzDecoder) blockEnd() error {
	size := xzCheckSizes[z.checkID]
	padding := int(-z.packed & 3)
	p, err := z.need(padding + size)
	if err != nil {
		return err
	}
	for _, b := range p[:padding] {
		if b != 0 {
			return errXZBlock
		}
	}
	if z.fixed || z.whole {
		block := z.win.buf[z.start:z.win.pos]
		// The last filter of the encoder is the first to be undone.
		for i := len(z.filters) - 1; i >= 0; i-- {
			z.filters[i].undo(block, z.filters[i].pos)
		}
		if z.fixed || len(z.filters) > 0 {
			z.check.write(z.checkID, block)
		}
		z.start = z.win.pos
	} else if len(z.filters) > 0 && z.filter(true) {
		return nil // to be handed out before the check is looked at
	}
	if string(p[padding:]) != string(z.check.sum(z.checkID)) {
		return errXZSum
	}
	if z.wantPacked >= 0 && z.wantPacked != z.packed || z.wantSize >= 0 && z.wantSize != z.unpacked {
		return errXZSize
	}
	z.src.Discard(padding + size)
	z.blocks.add(uint64(z.header+z.packed)+uint64(size), uint64(z.unpacked))
	z.state = xzAtBlock
	return nil
}

// index reads the number of records: section 4.
func (z *xzDecoder) index() error {
	z.indexSize, z.indexSum = 0, 0
	p, err := z.src.Peek(10)
	if len(p) < 2 {
		return orTruncated(err)
	}
	count, rest := xzInteger(p[1:])
	if rest == nil || count != z.blocks.count {
		return z.indexError(p, 10)
	}
	z.take(p[:len(p)-len(rest)])
	z.state = xzInIndex
	return nil
}

// take takes bytes of the index.
func (z *xzDecoder) take(p []byte) {
	z.indexSum = crc32.Update(z.indexSum, crc32.IEEETable, p)
	z.indexSize += int64(len(p))
	z.src.Discard(len(p))
}

// indexError tells an index that is cut short from a wrong one.
func (z *xzDecoder) indexError(p []byte, want int) error {
	if len(p) < want {
		for _, b := range p {
			if b < 0x80 {
				return errXZIndex
			}
		}
		return io.ErrUnexpectedEOF
	}
	return errXZIndex
}

func (z *xzDecoder) record() error {
	if z.records.count == z.blocks.count {
		if z.records != z.blocks {
			return errXZIndex
		}
		z.state = xzAtIndexEnd
		return nil
	}
	p, err := z.src.Peek(18)
	if len(p) == 0 {
		return orTruncated(err)
	}
	unpadded, rest := xzInteger(p)
	unpacked, rest := xzInteger(rest)
	if rest == nil {
		return z.indexError(p, 18)
	}
	z.records.add(unpadded, unpacked)
	z.take(p[:len(p)-len(rest)])
	return nil
}

// indexEnd reads the end of the index and the footer: section 2.1.2.
func (z *xzDecoder) indexEnd() error {
	const crc, footer = 4, 12
	padding := int(-z.indexSize & 3)
	p, err := z.need(padding + crc + footer)
	if err != nil {
		return err
	}
	for _, b := range p[:padding] {
		if b != 0 {
			return errXZIndex
		}
	}
	z.indexSum = crc32.Update(z.indexSum, crc32.IEEETable, p[:padding])
	z.indexSize += int64(padding) + crc
	f := p[padding+crc:]
	le := binary.LittleEndian
	if le.Uint32(p[padding:]) != z.indexSum {
		return errXZIndex
	}
	if string(f[10:]) != xzFooter || crc32.ChecksumIEEE(f[4:10]) != le.Uint32(f) ||
		(int64(le.Uint32(f[4:]))+1)*4 != z.indexSize || f[8] != 0 || f[9] != z.checkID {
		return errXZFooter
	}
	z.src.Discard(padding + crc + footer)
	return io.EOF
}
