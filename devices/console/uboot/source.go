package uboot

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"regexp"
	"strings"
	"time"

	"assay/attest"
	"assay/devices"
	"assay/devices/console/readout"
)

const (
	blockSize = 4 << 10 // read and verified as a whole
	pieceSize = 256     // the smallest part that is read again
	rereads   = 3
)

// source is one flash memory as a [readout.Source].
type source struct {
	*Prompt
	memory memory
	order  binary.ByteOrder
	loaded attest.Extent // what the staging RAM holds of it
	lying  int           // blocks in a row on which crc32 and md disagree
	again  int           // pieces that were read again

	uploadFails int // in a row
}

// Source returns a memory that the prompt reads.
func (p *Prompt) Source(ctx context.Context, b devices.Bank) (readout.Source, error) {
	m, err := p.memoryOf(b)
	if err != nil {
		return nil, err
	}
	s := &source{Prompt: p, memory: m, order: binary.LittleEndian}
	if p.has32 == notAsked {
		// Something must be mapped to ask about it.
		address := m.Address
		if m.load != nil {
			address = p.reach.staging.start
		}
		if err := p.findCRC(ctx, address); err != nil {
			return nil, err
		}
	}
	return s, p.prepareUpload(ctx)
}

// findCRC asks once whether the loader has crc32.
func (p *Prompt) findCRC(ctx context.Context, address uint64) error {
	for range 1 + rereads {
		text, err := p.ask(ctx, request{command: fmt.Sprintf("crc32 %x 10", address), max: 4 << 10, patience: 2 * time.Second})
		if errors.Is(err, errRestarted) {
			err = p.regain(ctx)
			if err == nil {
				continue
			}
		}
		if errors.Is(err, errGarbled) {
			continue
		}
		if err != nil {
			return err
		}
		if crcAnswer.MatchString(text) {
			p.has32 = yes
			return nil
		}
		if unknown(text) {
			break
		}
	}
	p.has32 = no
	return nil
}

func (s *source) Size() int64  { return s.memory.Size }
func (s *source) Block() int64 { return blockSize }

// Checksum is the loader's crc32: IEEE 802.3's polynomial (U-Boot lib/crc32.c).
func (s *source) Checksum() readout.Checksum {
	if s.has32 != yes {
		return readout.Checksum{}
	}
	return readout.CRC32
}

// Traffic is what the line has carried.
func (s *source) Traffic() readout.Traffic {
	return readout.Traffic{Received: s.line.Received(), PerSecond: s.line.PerSecond(), Rereads: s.again}
}

// at gives the address at which a range can be read, after it was loaded into
// RAM where it has to be. A range lies in one window of the memory.
func (s *source) at(ctx context.Context, r attest.Extent) (uint64, error) {
	if s.memory.load == nil {
		return s.memory.Address + uint64(r.Offset), nil
	}
	if r.Offset < s.loaded.Offset || r.Offset+r.Size > s.loaded.Offset+s.loaded.Size {
		if err := s.load(ctx, r); err != nil {
			return 0, err
		}
	}
	return s.reach.staging.start + uint64(r.Offset-s.loaded.Offset), nil
}

// window is the largest range that can be looked at as one.
func (s *source) window() int64 {
	if s.memory.load == nil {
		return s.memory.Size
	}
	return int64(s.reach.staging.size) / blockSize * blockSize
}

// through repeats f after each restart of the unit.
func (s *source) through(ctx context.Context, f func() error) error {
	for {
		err := f()
		if !errors.Is(err, errRestarted) {
			return err
		}
		if err := s.regain(ctx); err != nil {
			return err
		}
		s.loaded = attest.Extent{}
	}
}

// lost reports whether an error is about the line or the unit and not about one range.
func lost(err error) bool {
	return err != nil && !errors.Is(err, errGarbled) && !errors.Is(err, errStage) && !errors.Is(err, errBad)
}

// sumsAtOnce is how many checksums one line asks for: it must fit in the 256
// characters of the shortest command buffers.
const sumsAtOnce = 6

// Sums asks for several checksums with each command line.
func (s *source) Sums(ctx context.Context, ranges []attest.Extent, each func(attest.Extent, []byte, error) error) error {
	for len(ranges) > 0 {
		n := 1
		for n < min(sumsAtOnce, len(ranges)) && ranges[n].Offset+ranges[n].Size-ranges[0].Offset <= s.window() && ranges[n].Offset >= ranges[0].Offset {
			n++
		}
		sums, err := s.sums(ctx, ranges[:n])
		if lost(err) {
			return err
		}
		for i, r := range ranges[:n] {
			var sum []byte
			if i < len(sums) {
				sum = sums[i]
			}
			problem := err
			if sum == nil && problem == nil {
				problem = fmt.Errorf("%s: crc32 of %#x+%#x: %w", s.line.Name, r.Offset, r.Size, errGarbled)
			}
			if sum != nil {
				problem = nil
			}
			if err := each(r, sum, problem); err != nil {
				return err
			}
		}
		ranges = ranges[n:]
	}
	return nil
}

// sums returns the checksum of each range, nil for one that could not be had.
func (s *source) sums(ctx context.Context, ranges []attest.Extent) (sums [][]byte, err error) {
	last := ranges[len(ranges)-1]
	whole := attest.Extent{Offset: ranges[0].Offset, Size: last.Offset + last.Size - ranges[0].Offset}
	if whole.Size > s.window() {
		return nil, fmt.Errorf("%w: %d bytes do not fit in the staging RAM", errBad, whole.Size)
	}
	err = s.through(ctx, func() error {
		start, err := s.at(ctx, whole)
		if err != nil {
			return err
		}
		sums = make([][]byte, len(ranges))
		for range rereads {
			var commands []string
			missing := false
			for i, r := range ranges {
				if sums[i] == nil {
					missing = true
					commands = append(commands, fmt.Sprintf("crc32 %x %x", start+uint64(r.Offset-whole.Offset), r.Size))
				}
			}
			if !missing {
				return nil
			}
			answers := 0
			text, err := s.ask(ctx, request{
				command: strings.Join(commands, "; "), max: 16 << 10, patience: devices.Patience,
				complete: func(text []byte) bool {
					answers = bytes.Count(text, []byte("==> "))
					return answers >= len(commands)
				},
			})
			if errors.Is(err, errGarbled) {
				continue
			}
			if err != nil {
				return err
			}
			for i, r := range ranges {
				if sum, ok := crcIn(text, start+uint64(r.Offset-whole.Offset), r.Size); ok {
					sums[i] = binary.BigEndian.AppendUint32(nil, sum)
				}
			}
		}
		return nil
	})
	return sums, err
}

// crcAnswer matches the answer of crc32: its range and its sum. Its first word
// is "CRC32" or "crc32" after the hash command's build options.
var crcAnswer = regexp.MustCompile(`(?im)^crc32 for ([0-9a-f]{1,16}) \.\.\. ([0-9a-f]{1,16}) ==> ([0-9a-f]{8})$`)

// crcIn finds the checksum of one range in an answer.
func crcIn(text string, start uint64, size int64) (uint32, bool) {
	for _, m := range crcAnswer.FindAllStringSubmatch(text, -1) {
		if number(m[1]) == start && number(m[2]) == start+uint64(size)-1 {
			return uint32(number(m[3])), true
		}
	}
	return 0, false
}

// Read reads block by block. It gives up where loader and line keep
// contradicting each other.
func (s *source) Read(ctx context.Context, ranges []attest.Extent, each func(attest.Extent, []byte, error) error) error {
	if s.upload != nil {
		ranges = s.joined(ranges)
	}
	for _, r := range ranges {
		if s.upload != nil {
			var b []byte
			var came bool
			err := s.through(ctx, func() (err error) {
				b, came, err = s.over(ctx, r)
				return err
			})
			if lost(err) {
				return err
			}
			if came {
				if err := each(r, b, nil); err != nil {
					return err
				}
				continue
			}
		}
		for off := r.Offset; off < r.Offset+r.Size; off += blockSize {
			b := make([]byte, min(blockSize, r.Offset+r.Size-off))
			var bad []attest.Extent
			err := s.through(ctx, func() (err error) {
				bad, err = s.block(ctx, off, b)
				return err
			})
			if lost(err) {
				return err
			}
			if err != nil {
				if err := each(attest.Extent{Offset: off, Size: int64(len(b))}, nil, err); err != nil {
					return err
				}
				continue
			}
			if err := give(off, b, bad, each); err != nil {
				return err
			}
			if len(bad) == 0 {
				s.lying = 0
			} else if s.lying++; s.lying >= maxLying {
				return fmt.Errorf("%s: %d blocks in a row up to %#x: %w", s.line.Name, s.lying, off, errDisagree)
			}
		}
	}
	return nil
}

// joined makes neighbours one range, as far as one window of the memory holds them.
func (s *source) joined(ranges []attest.Extent) []attest.Extent {
	var out []attest.Extent
	for _, r := range ranges {
		if n := len(out); n > 0 && out[n-1].Offset+out[n-1].Size == r.Offset && out[n-1].Size+r.Size <= min(s.window(), stagingMax) {
			out[n-1].Size += r.Size
			continue
		}
		out = append(out, r)
	}
	return out
}

// maxLying is how many blocks in a row crc32 and md may disagree on before the
// rest is given up.
const maxLying = 4

var errDisagree = fmt.Errorf("%w: md and its checksum disagree however often they are asked: check the line, or read the flash with a programmer", devices.ErrMalformed)

// give passes on the parts of a block, good and bad.
func give(off int64, b []byte, bad []attest.Extent, each func(attest.Extent, []byte, error) error) error {
	good := int64(0)
	for _, x := range append(bad, attest.Extent{Offset: off + int64(len(b))}) {
		if x.Offset > off+good {
			if err := each(attest.Extent{Offset: off + good, Size: x.Offset - off - good}, b[good:x.Offset-off], nil); err != nil {
				return err
			}
		}
		if x.Size > 0 {
			if err := each(x, nil, errDisagree); err != nil {
				return err
			}
		}
		good = x.Offset + x.Size - off
	}
	return nil
}

// block reads b and returns the parts that never came right.
func (s *source) block(ctx context.Context, off int64, b []byte) (bad []attest.Extent, err error) {
	start, err := s.at(ctx, attest.Extent{Offset: off, Size: int64(len(b))})
	if err != nil {
		return nil, err
	}
	if s.has32 != yes {
		return s.twice(ctx, off, start, b)
	}
	got := make([]bool, len(b))
	sum, known, err := s.md(ctx, start, b, got)
	if err != nil {
		return nil, err
	}
	if known && all(got) && crc32.ChecksumIEEE(b) == sum {
		return nil, nil
	}
	return s.mend(ctx, off, start, b, got)
}

// mend finds the parts of b that are wrong by asking for the checksum of each
// half, and reads only those again.
func (s *source) mend(ctx context.Context, off int64, start uint64, b []byte, got []bool) (bad []attest.Extent, err error) {
	if len(b) > pieceSize {
		half := (len(b)/2 + mdLine - 1) / mdLine * mdLine
		for _, p := range [][2]int{{0, half}, {half, len(b)}} {
			part, mark := b[p[0]:p[1]], got[p[0]:p[1]]
			if ok, err := s.agrees(ctx, start+uint64(p[0]), part, mark); err != nil {
				return nil, err
			} else if ok {
				continue
			}
			worse, err := s.mend(ctx, off+int64(p[0]), start+uint64(p[0]), part, mark)
			if err != nil {
				return nil, err
			}
			bad = append(bad, worse...)
		}
		return bad, nil
	}
	for range rereads {
		s.again++
		if all(got) { // a digit was changed: any line may be the wrong one
			clear(got)
		}
		sum, known, err := s.md(ctx, start, b, got)
		if err != nil {
			return nil, err
		}
		if known && all(got) && crc32.ChecksumIEEE(b) == sum {
			return nil, nil
		}
	}
	return []attest.Extent{{Offset: off, Size: int64(len(b))}}, nil
}

// agrees reports whether b is complete and has the checksum that the unit
// computes.
func (s *source) agrees(ctx context.Context, start uint64, b []byte, got []bool) (bool, error) {
	if !all(got) {
		return false, nil
	}
	text, err := s.ask(ctx, request{
		command: fmt.Sprintf("crc32 %x %x", start, len(b)), max: 4 << 10, patience: devices.Patience, complete: crcAnswer.Match,
	})
	if errors.Is(err, errGarbled) {
		return false, nil
	}
	sum, ok := crcIn(text, start, int64(len(b)))
	return ok && sum == crc32.ChecksumIEEE(b), err
}

// twice reads b until two readings in a row agree, for a loader without crc32.
func (s *source) twice(ctx context.Context, off int64, start uint64, b []byte) (bad []attest.Extent, err error) {
	// Without a checksum nothing settles the order of a word's bytes.
	s.width = 1
	for at := 0; at < len(b); at += pieceSize {
		piece := b[at:min(at+pieceSize, len(b))]
		var last []byte
		agreed := false
		for try := 0; try < 2+rereads && !agreed; try++ {
			got := make([]bool, len(piece))
			if _, _, err := s.md(ctx, start+uint64(at), piece, got); err != nil {
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

func some(got []bool) bool {
	for _, g := range got {
		if g {
			return true
		}
	}
	return false
}

// md reads len(b) bytes at an address and, where the loader has it, their
// checksum with the same line of commands: what is typed while md prints is
// lost, so a command of its own would leave the line idle meanwhile. What the
// line garbled stays unmarked in got.
func (s *source) md(ctx context.Context, start uint64, b []byte, got []bool) (sum uint32, known bool, err error) {
	width := s.width
	for width > 1 && (len(b)%int(width) != 0 || start%uint64(width) != 0) {
		width /= 2
	}
	command := fmt.Sprintf("md.%s %x %x", width.letter(), start, len(b)/int(width))
	if s.has32 == yes {
		command += fmt.Sprintf("; crc32 %x %x", start, len(b))
	}
	// Seventy-eight characters are the longest line, of md.b with an address
	// of sixteen digits; the rest is room for a message in between.
	lines := (len(b) + mdLine - 1) / mdLine
	s.line.Log.Mute()
	text, err := s.ask(ctx, request{
		command: command, max: 2*lines*90 + 16<<10, patience: 2 * time.Second,
		complete: func(text []byte) bool {
			if s.has32 == yes {
				return crcAnswer.Match(text[max(0, len(text)-160):])
			}
			return bytes.Count(text, []byte("\n")) > lines
		},
	})
	s.line.Log.Unmute()
	switch {
	case errors.Is(err, errGarbled):
		return 0, false, nil
	case err != nil:
		return 0, false, err
	}
	sum, known = crcIn(text, start, int64(len(b)))
	if unknown(text) || strings.HasPrefix(text, "md - ") {
		return 0, false, s.narrower(width)
	}
	parseMd([]byte(text), start, width, s.order, b, got)
	if width > 1 && !some(got) {
		other := binary.ByteOrder(binary.BigEndian)
		if s.order == other {
			other = binary.LittleEndian
		}
		if parseMd([]byte(text), start, width, other, b, got); some(got) {
			s.order = other
		} else if len(text) < 300 { // a refusal in the loader's own words
			return 0, false, s.narrower(width)
		}
	}
	return sum, known, nil
}

// narrower gives up a form of md that this loader does not have.
func (s *source) narrower(width mdWidth) error {
	if width == 1 {
		return fmt.Errorf("%s: the prompt has no md: %w: read the flash with a programmer", s.line.Name, devices.ErrAccess)
	}
	s.width = width / 2
	return nil
}
