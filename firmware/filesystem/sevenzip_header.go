package filesystem

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"time"
	"unicode/utf16"

	"assay/firmware/budget"
)

// The header of a 7z archive: 7zFormat.txt. It is numbers of variable length,
// among them counts of what follows. Whatever is counted takes bits or bytes of
// the header, so that no count can be larger than what is left of it: that is
// looked at before anything is allocated.

// Property IDs.
const (
	sevenEnd              = 0x00
	sevenHeader           = 0x01
	sevenArchiveProps     = 0x02
	sevenMoreStreams      = 0x03
	sevenMainStreams      = 0x04
	sevenFilesInfo        = 0x05
	sevenPackInfo         = 0x06
	sevenUnpackInfo       = 0x07
	sevenSubStreams       = 0x08
	sevenSizes            = 0x09
	sevenDigests          = 0x0a
	sevenFolders          = 0x0b
	sevenUnpackSizes      = 0x0c
	sevenNumUnpackStreams = 0x0d
	sevenEmptyStream      = 0x0e
	sevenEmptyFile        = 0x0f
	sevenAnti             = 0x10
	sevenNames            = 0x11
	sevenModTime          = 0x14
	sevenAttributes       = 0x15
	sevenEncodedHeader    = 0x17
)

const sevenLargest = 1 << 62 // of sizes and offsets, so that two can be added

const sevenLongestName = 32767 // characters: what Windows allows a path

var errSevenHeader = errors.New("header")

// sevenCursor reads a header. Its first error stays, and all it reads after
// that is zero.
type sevenCursor struct {
	p     []byte
	meter *budget.Meter
	err   error
}

func (c *sevenCursor) fail(format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf("%w: %w", errSevenHeader, fmt.Errorf(format, args...))
	}
	c.p = nil
}

// hold pays for what is about to be allocated.
func (c *sevenCursor) hold(n int64) bool {
	if c.err == nil {
		if err := c.meter.Hold(n); err != nil {
			c.err, c.p = err, nil
		}
	}
	return c.err == nil
}

func (c *sevenCursor) take(n uint64) []byte {
	if n > uint64(len(c.p)) {
		c.fail("%d bytes where %d are left", n, len(c.p))
		return nil
	}
	p := c.p[:n]
	c.p = c.p[n:]
	return p
}

func (c *sevenCursor) byte() byte {
	if p := c.take(1); p != nil {
		return p[0]
	}
	return 0
}

// number is a NUMBER: as many bytes follow the first as it has leading ones,
// and its other bits are the highest.
func (c *sevenCursor) number() uint64 {
	first := c.byte()
	n := bits.LeadingZeros8(^first)
	var b [8]byte
	copy(b[:], c.take(uint64(n)))
	v := binary.LittleEndian.Uint64(b[:])
	if n < 7 {
		v |= uint64(first&(1<<(7-n)-1)) << (8 * n)
	}
	return v
}

func (c *sevenCursor) size(what string) int64 {
	v := c.number()
	if v > sevenLargest {
		c.fail("%s of %d bytes", what, v)
		return 0
	}
	return int64(v)
}

// count is a number of things that take at least a byte each.
func (c *sevenCursor) count(what string) int {
	v := c.number()
	if v > uint64(len(c.p)) {
		c.fail("%d %s in the %d bytes that are left", v, what, len(c.p))
		return 0
	}
	return int(v)
}

// expect takes an ID that must be there.
func (c *sevenCursor) expect(id uint64, what string) {
	if got := c.number(); got != id && c.err == nil {
		c.fail("%s: %#02x where %#02x belongs", what, got, id)
	}
}

// sevenBits is a vector of bits, the first the highest of a byte; nil is all ones.
type sevenBits []byte

func (b sevenBits) has(i int) bool { return b == nil || b[i/8]<<(i%8)&0x80 != 0 }

func (c *sevenCursor) bits(n int) sevenBits {
	if p := c.take(uint64(n+7) / 8); p != nil {
		return p
	}
	return sevenBits{} // nothing is read of it, as either n or the cursor ended
}

// defined is a vector with a byte in front that says whether it is all ones.
func (c *sevenCursor) defined(n int) sevenBits {
	if c.byte() != 0 {
		return nil
	}
	return c.bits(n)
}

// sevenSum is a CRC-32, where there is one.
type sevenSum struct {
	crc   uint32
	known bool
}

// digests gives up to n CRCs to set. Those that are defined take four bytes
// each, which count checks.
func (c *sevenCursor) digests(n int, set func(i int, sum sevenSum)) {
	defined := c.defined(n)
	for i := 0; i < n && c.err == nil; i++ {
		if !defined.has(i) {
			continue
		}
		if p := c.take(4); p != nil {
			set(i, sevenSum{binary.LittleEndian.Uint32(p), true})
		}
	}
}

// sevenPack is a packed stream.
type sevenPack struct {
	at, size int64 // counted from the start of the archive
	sum      sevenSum
}

// sevenStreams is a StreamsInfo.
type sevenStreams struct {
	packs   []sevenPack
	folders []*sevenFolder
}

// streams reads a StreamsInfo to its end. Packed streams must lie before end.
func (c *sevenCursor) streams(end int64) *sevenStreams {
	s := &sevenStreams{}
	subs := false
	for c.err == nil {
		switch id := c.number(); id {
		case sevenEnd:
			if !subs {
				c.oneEach(s)
			}
			c.assign(s)
			return s
		case sevenPackInfo:
			c.packInfo(s, end)
		case sevenUnpackInfo:
			c.unpackInfo(s)
		case sevenSubStreams:
			if subs {
				c.fail("files of folders are there twice")
			}
			c.subStreams(s)
			subs = true
		default:
			c.fail("%#02x among the streams", id)
		}
	}
	return s
}

func (c *sevenCursor) packInfo(s *sevenStreams, end int64) {
	at := c.size("packed streams' place")
	n := c.count("packed streams")
	const held = 32
	if s.packs != nil {
		c.fail("packed streams are there twice")
	}
	if at > end-sevenStart {
		c.fail("packed streams at %d of %d bytes", at, end)
	}
	if !c.hold(held * int64(n)) {
		return
	}
	s.packs = make([]sevenPack, n)
	at += sevenStart
	sized := n == 0
	for c.err == nil {
		switch id := c.number(); id {
		case sevenEnd:
			if !sized {
				c.fail("packed streams without sizes")
			}
			return
		case sevenSizes:
			if sized && n > 0 {
				c.fail("sizes of packed streams are there twice")
			}
			sized = true
			for i := range s.packs {
				size := c.size("packed stream")
				if size > end-at {
					c.fail("packed stream of %d bytes at %#x reaches past %#x", size, at, end)
					return
				}
				s.packs[i].at, s.packs[i].size = at, size
				at += size
			}
		case sevenDigests:
			c.digests(n, func(i int, sum sevenSum) { s.packs[i].sum = sum })
		default:
			c.fail("%#02x among the packed streams", id)
		}
	}
}

func (c *sevenCursor) unpackInfo(s *sevenStreams) {
	c.expect(sevenFolders, "folders")
	n := c.count("folders")
	if c.byte() != 0 {
		c.fail("folders are in an additional stream, which is not read")
	}
	const held = 320 // of a folder without its coders
	if s.folders != nil {
		c.fail("folders are there twice")
	}
	if !c.hold(held * int64(n)) {
		return
	}
	s.folders = make([]*sevenFolder, n)
	for i := range s.folders {
		if s.folders[i] = c.folder(); c.err != nil {
			return
		}
	}
	c.expect(sevenUnpackSizes, "sizes of folders")
	for _, f := range s.folders {
		for i := range f.outSizes {
			f.outSizes[i] = c.size("coder's output")
		}
		f.size = f.outSizes[f.mainOut]
	}
	for c.err == nil {
		switch id := c.number(); id {
		case sevenEnd:
			return
		case sevenDigests:
			c.digests(n, func(i int, sum sevenSum) { s.folders[i].sum = sum })
		default:
			c.fail("%#02x among the folders", id)
		}
	}
}

// subStreams is which files a folder unpacks to.
func (c *sevenCursor) subStreams(s *sevenStreams) {
	if !c.hold(8 * int64(len(s.folders))) {
		return
	}
	var counts []int
	id := c.number()
	if id == sevenNumUnpackStreams {
		counts = make([]int, len(s.folders))
		for i := range counts {
			counts[i] = c.count("files of a folder")
		}
		id = c.number()
	}
	if !c.allot(s, counts) {
		return
	}
	if id == sevenSizes {
		c.subSizes(s)
		id = c.number()
	} else {
		for _, f := range s.folders {
			if len(f.subs) > 1 {
				c.fail("files of a folder without sizes")
			} else if len(f.subs) == 1 {
				f.subs[0].size = f.size
			}
		}
	}
	if id == sevenDigests {
		c.subSums(s)
		id = c.number()
	}
	if id != sevenEnd {
		c.fail("%#02x among the files of folders", id)
	}
}

// allot makes room for the files of folders, one each where counts are nil. All
// but the first of a folder have a size in what follows, of a byte or more.
func (c *sevenCursor) allot(s *sevenStreams, counts []int) bool {
	const held = 40
	count := func(i int) int {
		if counts == nil {
			return 1
		}
		return counts[i]
	}
	var total, sizes int64
	for i := range s.folders {
		total += int64(count(i))
		sizes += int64(max(count(i)-1, 0))
	}
	if sizes > int64(len(c.p)) {
		c.fail("%d files of folders in the %d bytes that are left", total, len(c.p))
	}
	if !c.hold(held * total) {
		return false
	}
	for i, f := range s.folders {
		f.subs = make([]sevenSub, count(i))
		if f.sumsItsFile() {
			f.subs[0].sum = f.sum
		}
	}
	return true
}

// subSizes has one size fewer than there are files: the last is what is left.
func (c *sevenCursor) subSizes(s *sevenStreams) {
	for _, f := range s.folders {
		var at int64
		for i := range f.subs {
			size := f.size - at
			if i < len(f.subs)-1 {
				size = c.size("file")
			}
			if size > f.size-at {
				c.fail("files of more than the %d bytes of their folder", f.size)
				return
			}
			f.subs[i].at, f.subs[i].size = at, size
			at += size
		}
	}
}

// subSums has the sums that the folders do not have already.
func (c *sevenCursor) subSums(s *sevenStreams) {
	n := 0
	for _, f := range s.folders {
		if !f.sumsItsFile() {
			n += len(f.subs)
		}
	}
	defined, i := c.defined(n), 0
	for _, f := range s.folders {
		if f.sumsItsFile() {
			continue
		}
		for j := range f.subs {
			if c.err != nil {
				return
			}
			if defined.has(i) {
				if p := c.take(4); p != nil {
					f.subs[j].sum = sevenSum{binary.LittleEndian.Uint32(p), true}
				}
			}
			i++
		}
	}
}

// oneEach is for streams that say nothing of the files in folders.
func (c *sevenCursor) oneEach(s *sevenStreams) {
	if c.allot(s, nil) {
		for _, f := range s.folders {
			f.subs[0].size = f.size
		}
	}
}

// assign gives the folders their packed streams.
func (c *sevenCursor) assign(s *sevenStreams) {
	at := 0
	for _, f := range s.folders {
		if f.numPacks > len(s.packs)-at {
			c.fail("folders want more than the %d packed streams", len(s.packs))
			return
		}
		f.packs = s.packs[at : at+f.numPacks]
		at += f.numPacks
	}
	if at != len(s.packs) {
		c.fail("folders have %d of the %d packed streams", at, len(s.packs))
	}
}

// sevenMember is what the header says of a file.
type sevenMember struct {
	name       string
	attributes uint32
	known      bool // the attributes are
	modTime    time.Time
	empty      bool // it has no stream
	file       bool // an empty one that is no directory
	anti       bool // what an update deletes
}

// files reads the FilesInfo.
func (c *sevenCursor) files() []sevenMember {
	n := c.count("files")
	if c.err == nil {
		if err := c.meter.Entries(int64(n)); err != nil {
			c.err = err
		}
	}
	const held = 112 // of a member without its name
	if !c.hold(held * int64(n)) {
		return nil
	}
	files := make([]sevenMember, n)
	var empty []int
	for c.err == nil {
		id := c.number()
		if id == sevenEnd {
			return files
		}
		p := sevenCursor{p: c.take(c.number()), meter: c.meter, err: c.err}
		switch id {
		case sevenEmptyStream:
			flags := p.bits(n)
			if len(empty) > 0 {
				p.fail("empty streams are there twice")
			}
			for i := 0; i < n && p.err == nil; i++ {
				if flags.has(i) {
					files[i].empty = true
					empty = append(empty, i)
				}
			}
		case sevenEmptyFile, sevenAnti:
			flags := p.bits(len(empty))
			for i := 0; i < len(empty) && p.err == nil; i++ {
				if m := &files[empty[i]]; id == sevenAnti {
					m.anti = flags.has(i)
				} else {
					m.file = flags.has(i)
				}
			}
		case sevenNames:
			p.external()
			p.names(files)
		case sevenModTime:
			p.each(n, 8, func(i int, v []byte) { files[i].modTime = fileTime(binary.LittleEndian.Uint64(v)) })
		case sevenAttributes:
			p.each(n, 4, func(i int, v []byte) { files[i].attributes, files[i].known = binary.LittleEndian.Uint32(v), true })
		}
		if c.err == nil && p.err != nil {
			c.err = fmt.Errorf("property %#02x of files: %w", id, p.err)
		}
	}
	return nil
}

func (c *sevenCursor) external() {
	if c.byte() != 0 {
		c.fail("it is in an additional stream, which is not read")
	}
}

// each reads a value of some width for each file that has one.
func (c *sevenCursor) each(n int, width uint64, set func(i int, v []byte)) {
	defined := c.defined(n)
	c.external()
	for i := 0; i < n && c.err == nil; i++ {
		if !defined.has(i) {
			continue
		}
		if v := c.take(width); v != nil {
			set(i, v)
		}
	}
}

// names are of UTF-16 with a zero behind each.
func (c *sevenCursor) names(files []sevenMember) {
	if !c.hold(2 * int64(len(c.p))) {
		return
	}
	var units []uint16
	for i := range files {
		for units = units[:0]; ; {
			p := c.take(2)
			if p == nil {
				return
			}
			u := binary.LittleEndian.Uint16(p)
			if u == 0 {
				break
			}
			if len(units) == sevenLongestName {
				c.fail("a name of more than %d characters", sevenLongestName)
				return
			}
			units = append(units, u)
		}
		files[i].name = string(utf16.Decode(units))
	}
}

// fileTime is a FILETIME: 100 ns from 1601 on. What no year of four digits has is
// none.
func fileTime(v uint64) time.Time {
	const epoch = 11_644_473_600 // seconds from 1601 to 1970
	sec := int64(v/1e7) - epoch
	if v == 0 || sec >= 253_402_300_800 {
		return time.Time{}
	}
	return time.Unix(sec, int64(v%1e7)*100)
}
