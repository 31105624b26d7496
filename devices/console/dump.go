package console

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"

	"assay/attest"
	"assay/devices"
)

const (
	blockSize = 4 << 10 // read and verified as a whole
	pieceSize = 256     // the smallest part that is read again
	rereads   = 3
)

// blankSizes are the sizes at which an area is asked to be blank before it is
// divided, largest first.
var blankSizes = []int64{4 << 20, 256 << 10, 32 << 10, blockSize}

// dump reads one mapped range of memory into a writer.
type dump struct {
	*session
	ctx      context.Context
	name     string
	address  uint64 // where offset 0 is mapped
	size     int64
	w        io.WriterAt
	at       int64 // offset in w of offset 0
	done     func(n int64)
	width    mdWidth
	order    binary.ByteOrder
	hasCRC   bool
	reached  int64 // everything below is written or known to be unread
	unread   []attest.Extent
	cause    error
	lying    int // blocks in a row on which crc32 and md disagree
	restaged func() error
}

// maxLying is how many blocks in a row crc32 and md may disagree on before the
// rest of a bank is given up.
const maxLying = 4

// run reads everything. Its error means that the line, and not a block, is lost;
// what was not reached is then unread as well.
func (d *dump) run() error {
	d.width, d.order = 8, binary.LittleEndian
	if !d.hasCRC {
		// Without a checksum nothing settles the order of a word's bytes.
		d.width = 1
	}
	for off := int64(0); off < d.size; off += blankSizes[0] {
		if err := d.area(off, min(blankSizes[0], d.size-off), 0); err != nil {
			d.miss(d.reached, d.size-d.reached, err)
			return err
		}
	}
	return nil
}

// area reads a range, divided until it is blank or one block.
func (d *dump) area(off, size int64, level int) error {
	if level == len(blankSizes)-1 {
		return d.block(off, int(size))
	}
	if d.hasCRC {
		sum, err := d.crc(off, size)
		if err != nil && !errors.Is(err, errGarbled) {
			return err
		}
		for _, fill := range []byte{0xff, 0x00} {
			if err == nil && sum == crcOf(fill, size) {
				return d.blank(off, size, fill)
			}
		}
	}
	next := blankSizes[level+1]
	for o := off; o < off+size; o += next {
		if err := d.area(o, min(next, off+size-o), level+1); err != nil {
			return err
		}
	}
	return nil
}

// crcOf is the CRC-32 of size bytes of fill.
func crcOf(fill byte, size int64) uint32 {
	block := bytes.Repeat([]byte{fill}, int(min(size, blockSize)))
	var sum uint32
	for ; size > 0; size -= blockSize {
		sum = crc32.Update(sum, crc32.IEEETable, block[:min(size, blockSize)])
	}
	return sum
}

func (d *dump) blank(off, size int64, fill byte) error {
	if err := d.write(off, bytes.Repeat([]byte{fill}, int(size))); err != nil {
		return err
	}
	d.advance(off, size)
	return nil
}

func (d *dump) advance(off, size int64) {
	d.reached = off + size
	d.done(size)
}

func (d *dump) write(off int64, b []byte) error {
	if _, err := d.w.WriteAt(b, d.at+off); err != nil {
		return fmt.Errorf("flash %s: writing the dump at %#x: %w", d.name, d.at+off, err)
	}
	return nil
}

// block reads up to blockSize bytes and keeps what proves right.
func (d *dump) block(off int64, size int) error {
	b := make([]byte, size)
	var bad []attest.Extent
	var err error
	if d.hasCRC {
		bad, err = d.verified(off, b)
	} else {
		bad, err = d.twice(off, b)
	}
	if err != nil {
		return err
	}
	good := int64(0)
	for _, x := range append(bad, attest.Extent{Offset: off + int64(size)}) {
		if x.Offset > off+good {
			if err := d.write(off+good, b[good:x.Offset-off]); err != nil {
				return err
			}
		}
		good = x.Offset + x.Size - off
		if x.Size > 0 {
			d.miss(x.Offset, x.Size, errDisagree)
		}
	}
	d.advance(off, int64(size))
	if len(bad) == 0 {
		d.lying = 0
	} else if d.lying++; d.lying >= maxLying {
		return fmt.Errorf("%s: %d blocks in a row up to %#x: %w", d.line.Name, d.lying, d.address+uint64(off), errDisagree)
	}
	return nil
}

var errDisagree = fmt.Errorf("%w: md and its checksum disagree however often they are asked: check the line, or read the flash with a programmer", devices.ErrMalformed)

// verified reads b and returns the parts that never agreed with crc32.
func (d *dump) verified(off int64, b []byte) (bad []attest.Extent, err error) {
	sum, err := d.crc(off, int64(len(b)))
	if err == nil {
		for _, fill := range []byte{0xff, 0x00} {
			if sum == crcOf(fill, int64(len(b))) {
				copy(b, bytes.Repeat([]byte{fill}, len(b)))
				return nil, nil
			}
		}
	} else if !errors.Is(err, errGarbled) {
		return nil, err
	}
	known := err == nil
	got := make([]bool, len(b))
	if err := d.md(off, b, got); err != nil {
		return nil, err
	}
	if known && all(got) && crc32.ChecksumIEEE(b) == sum {
		return nil, nil
	}
	return d.mend(off, b, got)
}

// mend finds the parts of b that are wrong by asking for the checksum of each
// half, and reads only those again.
func (d *dump) mend(off int64, b []byte, got []bool) (bad []attest.Extent, err error) {
	if len(b) > pieceSize {
		half := (len(b)/2 + mdLine - 1) / mdLine * mdLine
		for _, p := range [][2]int{{0, half}, {half, len(b)}} {
			part, mark := b[p[0]:p[1]], got[p[0]:p[1]]
			at := off + int64(p[0])
			if ok, err := d.agrees(at, part, mark); err != nil {
				return nil, err
			} else if ok {
				continue
			}
			worse, err := d.mend(at, part, mark)
			if err != nil {
				return nil, err
			}
			bad = append(bad, worse...)
		}
		return bad, nil
	}
	for range rereads {
		if all(got) { // a digit was changed: any line may be the wrong one
			clear(got)
		}
		if err := d.md(off, b, got); err != nil {
			return nil, err
		}
		if ok, err := d.agrees(off, b, got); err != nil || ok {
			return nil, err
		}
	}
	return []attest.Extent{{Offset: off, Size: int64(len(b))}}, nil
}

// agrees reports whether b is complete and has the checksum that the unit
// computes.
func (d *dump) agrees(off int64, b []byte, got []bool) (bool, error) {
	if !all(got) {
		return false, nil
	}
	sum, err := d.crc(off, int64(len(b)))
	if errors.Is(err, errGarbled) {
		return false, nil
	}
	return err == nil && sum == crc32.ChecksumIEEE(b), err
}

// twice reads b until two readings in a row agree, for a loader without crc32.
func (d *dump) twice(off int64, b []byte) (bad []attest.Extent, err error) {
	for at := 0; at < len(b); at += pieceSize {
		piece := b[at:min(at+pieceSize, len(b))]
		var last []byte
		agreed := false
		for try := 0; try < 2+rereads && !agreed; try++ {
			got := make([]bool, len(piece))
			if err := d.md(off+int64(at), piece, got); err != nil {
				return nil, err
			}
			if !all(got) {
				continue
			}
			agreed = last != nil && bytes.Equal(last, piece)
			last = bytes.Clone(piece)
		}
		if !agreed {
			bad = append(bad, attest.Extent{Offset: off + int64(at), Size: int64(len(piece))})
		}
	}
	return bad, nil
}

func all(got []bool) bool {
	for _, g := range got {
		if !g {
			return false
		}
	}
	return true
}

// md reads len(b) bytes at off. What the line garbled stays unmarked in got.
func (d *dump) md(off int64, b []byte, got []bool) error {
	address := d.address + uint64(off)
	for d.width > 1 && (len(b)%int(d.width) != 0 || address%uint64(d.width) != 0) {
		d.width /= 2
	}
	// Seventy-eight characters are the longest line, of md.b with an address
	// of sixteen digits; the rest is room for a message in between.
	lines := (len(b) + mdLine - 1) / mdLine
	d.log.Mute()
	text, err := d.askThrough(request{
		command:  fmt.Sprintf("md.%s %x %x", d.width.letter(), address, len(b)/int(d.width)),
		max:      2*lines*90 + 16<<10,
		patience: 2 * time.Second,
		complete: func(text []byte) bool { return bytes.Count(text, []byte("\n")) > lines },
	})
	d.log.Unmute()
	switch {
	case errors.Is(err, errGarbled):
		return nil
	case err != nil:
		return err
	case unknown(text) || strings.HasPrefix(text, "md - "):
		return d.narrower()
	}
	parseMd([]byte(text), address, d.width, d.order, b, got)
	if d.width > 1 && !some(got) {
		other := binary.ByteOrder(binary.BigEndian)
		if d.order == other {
			other = binary.LittleEndian
		}
		if parseMd([]byte(text), address, d.width, other, b, got); some(got) {
			d.order = other
			return nil
		}
		if len(text) < 200 { // a refusal in the loader's own words
			return d.narrower()
		}
	}
	return nil
}

// narrower gives up a form of md that this loader does not have.
func (d *dump) narrower() error {
	if d.width == 1 {
		return fmt.Errorf("%s: the prompt has no md: %w: read the flash with a programmer", d.line.Name, devices.ErrAccess)
	}
	d.width /= 2
	return nil
}

func some(got []bool) bool {
	for _, g := range got {
		if g {
			return true
		}
	}
	return false
}

// crcAnswer matches the answer of crc32: its range and its sum. Its first word
// is "CRC32" or "crc32" after the hash command's build options.
var crcAnswer = regexp.MustCompile(`(?im)^crc32 for ([0-9a-f]{1,16}) \.\.\. ([0-9a-f]{1,16}) ==> ([0-9a-f]{8})$`)

// crc asks for the checksum of a range. A garbled answer is asked for again.
func (d *dump) crc(off, size int64) (uint32, error) {
	address := d.address + uint64(off)
	for range rereads {
		text, err := d.askThrough(request{
			command:  fmt.Sprintf("crc32 %x %x", address, size),
			max:      4 << 10,
			patience: devices.Patience,
			complete: crcAnswer.Match,
		})
		if errors.Is(err, errGarbled) {
			continue
		}
		if err != nil {
			return 0, err
		}
		m := crcAnswer.FindStringSubmatch(text)
		if m == nil {
			continue
		}
		from, err1 := strconv.ParseUint(m[1], 16, 64)
		to, err2 := strconv.ParseUint(m[2], 16, 64)
		sum, err3 := strconv.ParseUint(m[3], 16, 32)
		if err1 == nil && err2 == nil && err3 == nil && from == address && to == address+uint64(size)-1 {
			return uint32(sum), nil
		}
	}
	return 0, fmt.Errorf("%s: crc32 of %#x+%#x: %w", d.line.Name, address, size, errGarbled)
}

// maxRestarts bounds how often a unit may restart in the middle of a dump. A
// watchdog that cannot be fed restarts it every minute or so.
const maxRestarts = 100

// askThrough asks again after a restart of the unit.
func (d *dump) askThrough(r request) (string, error) {
	for {
		text, err := d.ask(d.ctx, r)
		if !errors.Is(err, errRestarted) {
			return text, err
		}
		if d.starts >= maxRestarts {
			return "", fmt.Errorf("%s: restarted %d times: %w: is a watchdog or the power supply resetting it?", d.line.Name, d.starts, devices.ErrUnreachable)
		}
		if err := d.resume(d.ctx); err != nil {
			return "", err
		}
		if d.restaged != nil {
			if err := d.restaged(); err != nil && !errors.Is(err, errRestarted) {
				return "", err
			}
		}
	}
}

// miss records a range that is not in the dump. Neighbours become one.
func (d *dump) miss(off, size int64, cause error) {
	if size <= 0 {
		return
	}
	if d.cause == nil {
		d.cause = cause
	}
	if n := len(d.unread); n > 0 && d.unread[n-1].Offset+d.unread[n-1].Size == d.at+off {
		d.unread[n-1].Size += size
		return
	}
	d.unread = append(d.unread, attest.Extent{Offset: d.at + off, Size: size})
}
