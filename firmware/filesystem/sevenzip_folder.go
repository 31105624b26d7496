package filesystem

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strings"

	"assay/firmware/budget"
	"assay/firmware/compress"
)

// sevenFolder is a row of coders that unpack one stream, of one file or, where
// the archive is solid, of many behind each other.
type sevenFolder struct {
	coders   []sevenCoder // in the order that they unpack in, when the folder is read
	outSizes []int64      // of the coders' outputs, in the header's order
	mainOut  int
	numPacks int
	packs    []sevenPack
	size     int64
	sum      sevenSum
	subs     []sevenSub
	unread   string // why it is not read
	fault    error
	methods  string

	open sevenOpen
}

// sevenSub is one file in a folder.
type sevenSub struct {
	at, size int64
	sum      sevenSum
}

// sumsItsFile says whether the folder's sum is that of its only file.
func (f *sevenFolder) sumsItsFile() bool { return len(f.subs) == 1 && f.sum.known }

type sevenCoder struct {
	id    uint64
	props []byte
	in    int // how many inputs
	out   int // and outputs
	place int // of its output in the folder, when it has one
}

// Method IDs, from the LZMA SDK's DOC/Methods.txt and, of the two compressions
// that only derivatives of 7-Zip have, the Codec IDs of 7-Zip ZS.
const (
	sevenCopy  = 0x00
	sevenBCJ2  = 0x0303011b
	sevenAES   = 0x06f10701
	sevenZstd  = 0x04f71101
	sevenLZ4   = 0x04f71104
	sevenIDMax = 8
)

var sevenMethods = map[uint64]struct {
	name   string
	stream compress.Method
	filter uint64 // as compress.Unfilter has it
}{
	sevenCopy: {"Copy", compress.None, 0},
	0x21:      {"LZMA2", compress.LZMA2, 0},
	0x030101:  {"LZMA", compress.LZMA, 0},
	0x040108:  {"Deflate", compress.Deflate, 0},
	0x040109:  {"Deflate64", compress.Deflate64, 0},
	0x040202:  {"BZip2", compress.Bzip2, 0},
	sevenZstd: {"zstd", compress.Zstd, 0},
	sevenLZ4:  {"LZ4", compress.LZ4, 0},

	0x03: {"Delta", "", 3},
	0x04: {"BCJ x86", "", 4}, 0x03030103: {"BCJ x86", "", 4},
	0x05: {"BCJ PowerPC", "", 5}, 0x03030205: {"BCJ PowerPC", "", 5},
	0x06: {"BCJ IA-64", "", 6}, 0x03030401: {"BCJ IA-64", "", 6},
	0x07: {"BCJ ARM", "", 7}, 0x03030501: {"BCJ ARM", "", 7},
	0x08: {"BCJ Thumb", "", 8}, 0x03030701: {"BCJ Thumb", "", 8},
	0x09: {"BCJ SPARC", "", 9}, 0x03030805: {"BCJ SPARC", "", 9},
	0x0a: {"BCJ ARM64", "", 10},
	0x0b: {"BCJ RISC-V", "", 11},
}

// sevenOthers are methods that are known and not read.
var sevenOthers = map[uint64]string{
	sevenBCJ2: "BCJ2", sevenAES: "encrypted, AES-256", 0x030401: "PPMd",
	0x04f71102: "Brotli", 0x04f71105: "LZ5", 0x04f71106: "Lizard", 0x030302: "Swap2", 0x030304: "Swap4",
}

const (
	sevenMaxCoders  = 32 // streams of a folder, 7-Zip's own limit
	sevenMaxReading = 4  // coders of a folder that is read: SZ_NUM_CODERS_IN_FOLDER_MAX of the SDK's 7z.h
)

// folder reads a Folder: its coders and which output feeds which input.
func (c *sevenCursor) folder() *sevenFolder {
	f := &sevenFolder{}
	n := c.number()
	if n == 0 || n > sevenMaxCoders {
		c.fail("a folder of %d coders", n)
		return f
	}
	const held = 64
	if !c.hold(held * int64(n)) {
		return f
	}
	ins, outs := 0, 0
	for range int(n) {
		coder := c.coder()
		ins, outs = ins+coder.in, outs+coder.out
		f.coders = append(f.coders, coder)
		if c.err == nil && (ins > sevenMaxCoders || outs > sevenMaxCoders || outs == 0) {
			c.fail("a folder of %d inputs and %d outputs", ins, outs)
		}
		if c.err != nil {
			return f
		}
	}
	f.outSizes = make([]int64, outs)
	from := slices.Repeat([]int{-1}, ins) // what output each input has
	used := make([]bool, outs)
	for range outs - 1 {
		in, out := c.number(), c.number()
		if in >= uint64(ins) || out >= uint64(outs) || from[in] >= 0 || used[out] {
			c.fail("bind pair of input %d and output %d", in, out)
			return f
		}
		from[in], used[out] = int(out), true
	}
	f.mainOut = slices.Index(used, false)
	if f.numPacks = ins - (outs - 1); f.numPacks < 1 {
		c.fail("a folder of %d inputs, all of them from the %d outputs", ins, outs)
		return f
	}
	if f.numPacks > 1 {
		packed := make([]bool, ins)
		for range f.numPacks {
			in := c.number()
			if in >= uint64(ins) || from[in] >= 0 || packed[in] {
				c.fail("packed stream for input %d", in)
				return f
			}
			packed[in] = true
		}
	}
	if f.name(); f.unread == "" {
		if !f.order(from) {
			c.fail("coders that feed each other in a circle")
		}
		f.name()
	}
	return f
}

func (c *sevenCursor) coder() sevenCoder {
	coder := sevenCoder{in: 1, out: 1}
	flags := c.byte()
	if flags&0xc0 != 0 || flags&15 > sevenIDMax {
		c.fail("coder flags %#02x", flags)
		return coder
	}
	var id [8]byte
	p := c.take(uint64(flags & 15))
	copy(id[8-len(p):], p)
	coder.id = binary.BigEndian.Uint64(id[:])
	if flags&0x10 != 0 {
		in, out := c.number(), c.number()
		if in > sevenMaxCoders || out > sevenMaxCoders {
			c.fail("coder of %d inputs and %d outputs", in, out)
			return coder
		}
		coder.in, coder.out = int(in), int(out)
	}
	if flags&0x20 != 0 {
		p := c.take(c.number())
		if c.hold(int64(len(p))) {
			coder.props = bytes.Clone(p)
		}
	}
	return coder
}

// name says what the coders are, in the order that they are in, and why the folder is not read.
func (f *sevenFolder) name() {
	var names []string
	for _, c := range f.coders {
		m, ok := sevenMethods[c.id]
		if ok && c.in == 1 && c.out == 1 {
			names = append(names, m.name)
			continue
		}
		name := sevenOthers[c.id]
		if name == "" {
			name = fmt.Sprintf("method %#x", c.id)
		}
		names = append(names, name)
		if f.unread == "" || c.id == sevenAES {
			f.unread = name
		}
	}
	if f.unread == "" && len(f.coders) > sevenMaxReading {
		f.unread = fmt.Sprintf("%d coders", len(f.coders))
	}
	f.methods = strings.Join(names, " + ")
}

// order puts coders of one input and one output each into the order that they
// unpack in. It fails when some feed each other.
func (f *sevenFolder) order(from []int) bool {
	order := make([]sevenCoder, 0, len(f.coders))
	place := make([]int, 0, len(f.coders))
	for at := f.mainOut; at >= 0; at = from[at] {
		if len(place) == len(f.coders) {
			return false
		}
		place = append(place, at)
	}
	if len(place) != len(f.coders) {
		return false
	}
	for _, at := range slices.Backward(place) {
		f.coders[at].place = at
		order = append(order, f.coders[at])
	}
	f.coders = order
	return true
}

// sevenStream is the unpacked bytes of a folder.
type sevenStream struct {
	io.Reader
	first   *compress.Reader // of the packed bytes
	frames  *sevenFrames     // in its place
	readers []*compress.Reader
}

func (s *sevenStream) Close() error {
	if s.frames != nil && s.frames.z != nil {
		s.frames.z.Close()
	}
	for _, z := range s.readers {
		z.Close()
	}
	return nil
}

// left is how many packed bytes were not needed, once all was read.
func (s *sevenStream) left(packed int64) int64 {
	if s.first == nil {
		return 0
	}
	return packed - s.first.Consumed()
}

// stream unpacks a folder that is read from its start.
func (f *sevenFolder) stream(ctx context.Context, r io.ReaderAt, meter *budget.Meter) (*sevenStream, error) {
	pack := f.packs[0]
	s := &sevenStream{Reader: io.NewSectionReader(r, pack.at, pack.size)}
	packed := pack.size
	for i, c := range f.coders {
		m, size := sevenMethods[c.id], f.outSizes[c.place]
		if m.filter != 0 {
			u, err := compress.Unfilter(m.filter, c.props, s.Reader)
			if err != nil {
				s.Close()
				return nil, fmt.Errorf("%s: %w", m.name, err)
			}
			s.Reader, packed = u, size
			continue
		}
		if i == 0 && (c.id == sevenZstd || c.id == sevenLZ4) {
			s.frames = &sevenFrames{ctx: ctx, r: r, at: pack.at, end: pack.at + pack.size, method: m.stream, meter: meter}
			s.Reader, packed = s.frames, size
			continue
		}
		z, err := compress.NewRawReader(ctx, m.stream, c.props, s.Reader, packed, size, meter)
		if err != nil {
			s.Close()
			return nil, fmt.Errorf("%s: %w", m.name, err)
		}
		s.readers = append(s.readers, z)
		if i == 0 {
			s.first = z
		}
		s.Reader, packed = z, size
	}
	return s, nil
}

// sevenFrames is frames behind each other, with frames to skip between them, as
// encoders of several threads write them for zstd and LZ4.
type sevenFrames struct {
	ctx     context.Context
	r       io.ReaderAt
	at, end int64
	method  compress.Method
	meter   *budget.Meter
	z       *compress.Reader
}

func (s *sevenFrames) Read(p []byte) (int, error) {
	for {
		if s.z == nil {
			if err := s.next(); err != nil {
				return 0, err
			}
		}
		n, err := s.z.Read(p)
		if err == io.EOF {
			s.at += s.z.Consumed()
			s.z.Close()
			s.z, err = nil, nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

// next opens the next frame, which is paid for as an entry: there may be very
// many that unpack to nothing.
func (s *sevenFrames) next() (err error) {
	const magic, header = 0x184d2a50, 8
	for s.at < s.end {
		if err := s.meter.Entries(1); err != nil {
			return err
		}
		h, err := readSome(s.r, s.at, header)
		if err != nil {
			return err
		}
		if len(h) < header || binary.LittleEndian.Uint32(h)&^15 != magic {
			left := s.end - s.at
			s.z, err = compress.NewReader(s.ctx, s.method, io.NewSectionReader(s.r, s.at, left), left, s.meter)
			return err
		}
		s.at += header + int64(binary.LittleEndian.Uint32(h[4:]))
	}
	return io.EOF
}
