package compress

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/klauspost/compress/flate"
	"github.com/ulikunitz/xz/lzma"
)

// The streams that only archives hold: DEFLATE without a header, Deflate64 as
// Windows writes it into zip files of more than 2 GiB, and lzip members. Layouts
// are from RFC 1951, from PKWARE's APPNOTE 5.5.4 with the tables in zlib's
// contrib/infback9, and from the lzip manual, "File format".
const (
	Deflate   Method = "deflate"
	Deflate64 Method = "deflate64"
	Lzip      Method = "lzip"
)

func (z *Reader) openArchived() (err error) {
	switch z.method {
	case Deflate:
		if err := z.hold(inflateMemory); err != nil {
			return err
		}
		z.decoder = flate.NewReader(z.src)
	case Deflate64:
		if err := z.hold(2 * inflate64Window); err != nil {
			return err
		}
		z.decoder = &inflate64{src: z.src, window: make([]byte, 0, 2*inflate64Window)}
	case Lzip:
		z.decoder, err = newLzip(z.src, z.hold)
	default:
		return fmt.Errorf("%w %q", ErrMethod, z.method)
	}
	return err
}

const (
	lzipMagic   = "LZIP"
	lzipHeader  = 6
	lzipTrailer = 20
)

var errLzipHeader = errors.New("no lzip header")

// lzip reads one member: an LZMA stream with fixed properties and an end mark,
// and a trailer of the CRC-32, the unpacked size and the member's size.
type lzip struct {
	src  *bufio.Reader
	lzma *lzma.Reader
	in   lzipCounter
	sum  uint32
	out  uint64
}

// lzipCounter counts what the decoder takes, byte by byte.
type lzipCounter struct {
	src *bufio.Reader
	n   uint64
}

func (c *lzipCounter) Read(p []byte) (int, error) {
	n, err := c.src.Read(p)
	c.n += uint64(n)
	return n, err
}

func (c *lzipCounter) ReadByte() (byte, error) {
	b, err := c.src.ReadByte()
	if err == nil {
		c.n++
	}
	return b, err
}

// lzipHead is what stands where an LZMA file has its header, then the source.
type lzipHead struct {
	*lzipCounter
	head []byte
}

func (h *lzipHead) Read(p []byte) (int, error) {
	if len(h.head) == 0 {
		return h.lzipCounter.Read(p)
	}
	n := copy(p, h.head)
	h.head = h.head[n:]
	return n, nil
}

func (h *lzipHead) ReadByte() (byte, error) {
	if len(h.head) == 0 {
		return h.lzipCounter.ReadByte()
	}
	b := h.head[0]
	h.head = h.head[1:]
	return b, nil
}

func newLzip(src *bufio.Reader, hold func(int64) error) (*lzip, error) {
	h, err := peek(src, lzipHeader)
	if err != nil {
		return nil, err
	}
	if string(h[:4]) != lzipMagic || h[4] != 1 {
		return nil, errLzipHeader
	}
	// The dictionary is a power of two less some sixteenths of it.
	power := h[5] & 31
	if power < 12 || power > 29 {
		return nil, fmt.Errorf("%w: dictionary of 2^%d bytes", errLzipHeader, power)
	}
	window := int64(1)<<power - int64(1)<<power/16*int64(h[5]>>5)
	if window < 1<<12 || window > maxWindow {
		return nil, fmt.Errorf("dictionary of %d bytes is none that is allowed", window)
	}
	if err := hold(window); err != nil {
		return nil, err
	}
	src.Discard(lzipHeader)
	z := &lzip{src: src, in: lzipCounter{src: src}}
	head := make([]byte, lzmaHeader)
	head[0] = 3 + 9*(0+5*2) // lc=3, lp=0, pb=2
	binary.LittleEndian.PutUint32(head[1:], uint32(window))
	for i := 5; i < lzmaHeader; i++ {
		head[i] = 0xff // until the end mark
	}
	z.lzma, err = lzma.ReaderConfig{DictCap: maxWindow}.NewReader(&lzipHead{&z.in, head})
	return z, err
}

func (z *lzip) Read(p []byte) (int, error) {
	n, err := z.lzma.Read(p)
	z.sum = crc32.Update(z.sum, crc32.IEEETable, p[:n])
	z.out += uint64(n)
	if err == io.EOF {
		err = z.end()
	}
	return n, err
}

func (z *lzip) end() error {
	t := make([]byte, lzipTrailer)
	if _, err := io.ReadFull(z.src, t); err != nil {
		return orTruncated(err)
	}
	member := lzipHeader + z.in.n + lzipTrailer
	switch le := binary.LittleEndian; {
	case le.Uint32(t) != z.sum:
		return fmt.Errorf("its CRC-32 is %08x, the trailer says %08x", z.sum, le.Uint32(t))
	case le.Uint64(t[4:]) != z.out:
		return fmt.Errorf("it unpacks to %d bytes, the trailer says %d", z.out, le.Uint64(t[4:]))
	case le.Uint64(t[12:]) != member:
		return fmt.Errorf("it has %d bytes, the trailer says %d", member, le.Uint64(t[12:]))
	}
	return io.EOF
}

// inflate64 unpacks Deflate64: DEFLATE with a window of 64 KiB, two more
// distance codes, and a length code 285 that has 16 extra bits.
type inflate64 struct {
	src    *bufio.Reader
	window []byte // what was unpacked last; what is past given waits to be read
	given  int

	hold    uint64
	bits    uint
	lengths huffman
	dists   huffman
	stored  int  // bytes left of a stored block
	inside  bool // a block of codes
	last    bool
	copy    int // bytes left of a match
	back    int
}

const inflate64Window = 64 << 10

var errInflate64 = errors.New("invalid Deflate64 data")

var (
	inflate64LengthBase  = [29]int{3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 3}
	inflate64LengthExtra = [29]uint{0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 16}
	inflate64CodeOrder   = [19]int{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}
)

// huffman is a canonical code: how many codes there are of each length, and
// the symbols in the order of their codes.
type huffman struct {
	count  [16]uint16
	symbol [288]uint16
}

// set fails for a code that has more codes than there can be. An incomplete one
// only fails when a code that it lacks is met.
func (h *huffman) set(lengths []byte) error {
	*h = huffman{}
	for _, n := range lengths {
		h.count[n]++
	}
	h.count[0] = 0
	left := 1
	var at [16]uint16
	for n := 1; n < 16; n++ {
		if left = left<<1 - int(h.count[n]); left < 0 {
			return errInflate64
		}
		if n < 15 {
			at[n+1] = at[n] + h.count[n]
		}
	}
	for symbol, n := range lengths {
		if n != 0 {
			h.symbol[at[n]] = uint16(symbol)
			at[n]++
		}
	}
	return nil
}

// need makes n bits available.
func (z *inflate64) need(n uint) error {
	for z.bits < n {
		b, err := z.src.ReadByte()
		if err != nil {
			return orTruncated(err)
		}
		z.hold |= uint64(b) << z.bits
		z.bits += 8
	}
	return nil
}

func (z *inflate64) take(n uint) (int, error) {
	if err := z.need(n); err != nil {
		return 0, err
	}
	v := int(z.hold & (1<<n - 1))
	z.hold >>= n
	z.bits -= n
	return v, nil
}

func (z *inflate64) decode(h *huffman) (int, error) {
	code, first, index := 0, 0, 0
	for n := 1; n < 16; n++ {
		bit, err := z.take(1)
		if err != nil {
			return 0, err
		}
		code |= bit
		count := int(h.count[n])
		if code-count < first {
			return int(h.symbol[index+code-first]), nil
		}
		index += count
		first = (first + count) << 1
		code <<= 1
	}
	return 0, errInflate64
}

func (z *inflate64) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if z.given == len(z.window) {
		if err := z.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, z.window[z.given:])
	z.given += n
	return n, nil
}

// fill unpacks up to a window more, and at least a byte.
func (z *inflate64) fill() error {
	if len(z.window) > inflate64Window {
		kept := copy(z.window, z.window[len(z.window)-inflate64Window:])
		z.window = z.window[:kept]
	}
	z.given = len(z.window)
	for len(z.window) < cap(z.window) {
		err := z.step()
		if err == nil {
			continue
		}
		if len(z.window) > z.given && err == io.EOF {
			return nil
		}
		return err
	}
	return nil
}

func (z *inflate64) step() error {
	switch {
	case z.copy > 0:
		n := min(z.copy, cap(z.window)-len(z.window))
		for range n {
			z.window = append(z.window, z.window[len(z.window)-z.back])
		}
		z.copy -= n
		return nil
	case z.stored > 0:
		b, err := z.take(8)
		if err != nil {
			return err
		}
		z.window = append(z.window, byte(b))
		z.stored--
		return nil
	case z.inside:
		return z.code()
	case z.last:
		// What was read ahead of the end is given back: fewer than 8 bits
		// are left then.
		return io.EOF
	}
	return z.block()
}

func (z *inflate64) code() error {
	symbol, err := z.decode(&z.lengths)
	switch {
	case err != nil:
		return err
	case symbol < 256:
		z.window = append(z.window, byte(symbol))
		return nil
	case symbol == 256:
		z.inside = false
		return nil
	}
	symbol -= 257
	if symbol >= len(inflate64LengthBase) {
		return errInflate64
	}
	extra, err := z.take(inflate64LengthExtra[symbol])
	if err != nil {
		return err
	}
	length := inflate64LengthBase[symbol] + extra
	if symbol, err = z.decode(&z.dists); err != nil {
		return err
	}
	if symbol >= 32 {
		return errInflate64
	}
	back, shift := symbol, uint(0)
	if symbol > 3 {
		shift = uint(symbol/2 - 1)
		back = (2 + symbol&1) << shift
	}
	if extra, err = z.take(shift); err != nil {
		return err
	}
	if back += extra + 1; back > len(z.window) {
		return fmt.Errorf("%w: a match %d bytes back, and there are %d", errInflate64, back, len(z.window))
	}
	z.copy, z.back = length, back
	return nil
}

func (z *inflate64) block() error {
	head, err := z.take(3)
	if err != nil {
		return err
	}
	z.last = head&1 != 0
	switch head >> 1 {
	case 0:
		z.take(z.bits & 7) // to the next byte
		size, err := z.take(16)
		if err != nil {
			return err
		}
		not, err := z.take(16)
		if err != nil {
			return err
		}
		if size != ^not&0xffff {
			return errInflate64
		}
		z.stored = size
		return nil
	case 1:
		z.inside = true
		return z.fixed()
	case 2:
		z.inside = true
		return z.dynamic()
	}
	return errInflate64
}

func (z *inflate64) fixed() error {
	lengths := make([]byte, 288+32)
	for i := range lengths {
		switch {
		case i < 144:
			lengths[i] = 8
		case i < 256:
			lengths[i] = 9
		case i < 280:
			lengths[i] = 7
		case i < 288:
			lengths[i] = 8
		default:
			lengths[i] = 5
		}
	}
	if err := z.lengths.set(lengths[:288]); err != nil {
		return err
	}
	return z.dists.set(lengths[288:])
}

func (z *inflate64) dynamic() error {
	v, err := z.take(14)
	if err != nil {
		return err
	}
	literals, dists, codes := v&31+257, v>>5&31+1, v>>10+4
	if literals > 286 {
		return errInflate64
	}
	lengths := make([]byte, 19, 286+32)
	for _, at := range inflate64CodeOrder[:codes] {
		n, err := z.take(3)
		if err != nil {
			return err
		}
		lengths[at] = byte(n)
	}
	if err := z.lengths.set(lengths); err != nil {
		return err
	}
	for lengths = lengths[:0]; len(lengths) < literals+dists; {
		symbol, err := z.decode(&z.lengths)
		if err != nil {
			return err
		}
		value, repeat, width := byte(symbol), 1, uint(0)
		switch symbol {
		case 16:
			if len(lengths) == 0 {
				return errInflate64
			}
			value, repeat, width = lengths[len(lengths)-1], 3, 2
		case 17:
			value, repeat, width = 0, 3, 3
		case 18:
			value, repeat, width = 0, 11, 7
		}
		more, err := z.take(width)
		if err != nil {
			return err
		}
		if repeat += more; repeat > literals+dists-len(lengths) {
			return errInflate64
		}
		for range repeat {
			lengths = append(lengths, value)
		}
	}
	if lengths[256] == 0 {
		return errInflate64
	}
	if err := z.lengths.set(lengths[:literals]); err != nil {
		return err
	}
	return z.dists.set(lengths[literals:])
}
