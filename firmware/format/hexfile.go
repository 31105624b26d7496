package format

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"assay/firmware"
)

// intelHex is memory contents as lines of text: a colon, and in hexadecimal the
// number of bytes, a 16 bit address, a type, the bytes and a sum. Addresses past
// 64 KiB have lines of their own.
var intelHex = firmware.Format{
	Name:         "intel-hex",
	Source:       "Intel Hexadecimal Object File Format Specification, revision A, 1988",
	About:        "Intel HEX file",
	Integrity:    "sum of each line",
	Authenticity: "none",
	Magics:       hexMagics(":", "02", "10", "20", "04", "08", "01", "40", "80", "18", "0c", "06"),
	Parse:        func(w *firmware.Window) (*firmware.Region, error) { return parseHex(w, "intel-hex", intelRecord) },
}

// sRecord is Motorola's: S, a type, and in hexadecimal the number of bytes that
// follow, an address of two, three or four bytes, the bytes and a sum.
var sRecord = firmware.Format{
	Name:         "s-record",
	Source:       "Motorola M68000 Family Programmer's Reference Manual, appendix C",
	About:        "Motorola S-record file",
	Integrity:    "sum of each line",
	Authenticity: "none",
	Magics:       slices.Concat(hexMagics("S0", hexDigits...), hexMagics("S1", hexDigits...), hexMagics("S2", hexDigits...), hexMagics("S3", hexDigits...)),
	Parse:        func(w *firmware.Window) (*firmware.Region, error) { return parseHex(w, "s-record", motorolaRecord) },
}

// hexDigits may be the first of a count.
var hexDigits = strings.Split("0123456789abcdef", "")

func hexMagics(start string, counts ...string) (magics []firmware.Magic) {
	for _, n := range counts {
		magics = append(magics, firmware.Magic{Bytes: start + n})
		if upper := string(bytes.ToUpper([]byte(n))); upper != n {
			magics = append(magics, firmware.Magic{Bytes: start + upper})
		}
	}
	return magics
}

const (
	hexMaxLine     = 2 + 2*256 + 2 // a type, a count and 255 bytes and the line's end
	hexMinRecords  = 3             // fewer stand in other text by chance
	hexMaxSegments = 1024
)

// hexRecord is one line, without the address's upper part.
type hexRecord struct {
	kind    string // data, end, header, count, base, start or nothing
	address uint32
	data    []byte
	base    uint32 // of kind base: what is added to later addresses
}

var errHexRecord = errors.New("no record")

// intelRecord reads a line without its end. Its bytes sum to zero.
func intelRecord(line []byte) (hexRecord, error) {
	if len(line) < 11 || line[0] != ':' || len(line)%2 == 0 {
		return hexRecord{}, errHexRecord
	}
	p := make([]byte, len(line)/2)
	if _, err := hex.Decode(p, line[1:]); err != nil || int(p[0]) != len(p)-5 {
		return hexRecord{}, errHexRecord
	}
	var sum byte
	for _, b := range p {
		sum += b
	}
	if sum != 0 {
		return hexRecord{}, fmt.Errorf("the line sums to %#02x and not to 0", sum)
	}
	address, data := uint32(p[1])<<8|uint32(p[2]), p[4:len(p)-1]
	long := func(n int) (v uint32) {
		for _, b := range data[:n] {
			v = v<<8 | uint32(b)
		}
		return v
	}
	switch {
	case p[3] == 0:
		return hexRecord{kind: "data", address: address, data: data}, nil
	case p[3] == 1 && len(data) == 0:
		return hexRecord{kind: "end"}, nil
	case p[3] == 2 && len(data) == 2:
		return hexRecord{kind: "base", base: long(2) << 4}, nil
	case p[3] == 4 && len(data) == 2:
		return hexRecord{kind: "base", base: long(2) << 16}, nil
	case (p[3] == 3 || p[3] == 5) && len(data) == 4:
		return hexRecord{kind: "start", address: long(4)}, nil
	}
	return hexRecord{}, errHexRecord
}

// motorolaRecord reads a line without its end. Its bytes sum to 0xff.
func motorolaRecord(line []byte) (hexRecord, error) {
	if len(line) < 10 || line[0] != 'S' || line[1] < '0' || line[1] > '9' || len(line)%2 != 0 {
		return hexRecord{}, errHexRecord
	}
	width := map[byte]int{'0': 2, '1': 2, '2': 3, '3': 4, '5': 2, '6': 3, '7': 4, '8': 3, '9': 2}[line[1]]
	p := make([]byte, len(line)/2-1)
	if _, err := hex.Decode(p, line[2:]); err != nil || width == 0 || int(p[0]) != len(p)-1 || len(p) < width+2 {
		return hexRecord{}, errHexRecord
	}
	var sum byte
	for _, b := range p {
		sum += b
	}
	if sum != 0xff {
		return hexRecord{}, fmt.Errorf("the line sums to %#02x and not to 0xff", sum)
	}
	r := hexRecord{data: p[1+width : len(p)-1]}
	for _, b := range p[1 : 1+width] {
		r.address = r.address<<8 | uint32(b)
	}
	switch line[1] {
	case '0':
		r.kind = "header"
	case '1', '2', '3':
		r.kind = "data"
	case '5', '6':
		r.kind = "count"
	default:
		r.kind = "end"
	}
	if len(r.data) > 0 && (r.kind == "count" || r.kind == "end") {
		return hexRecord{}, errHexRecord
	}
	return r, nil
}

// hexFile is what the lines say.
type hexFile struct {
	w       *firmware.Window
	r       *firmware.Region
	name    string
	record  func([]byte) (hexRecord, error)
	runs    []hexRun // in the order of the lines
	base    uint32
	records int
	data    uint32 // lines of data
	bad     int    // lines whose sum does not hold
	ended   bool
	counted bool // a line says how many lines of data there are, and is right
	held    int64
}

// hexRun is bytes in a row.
type hexRun struct {
	address  int64
	data     []byte
	from, to int64 // the lines
}

func parseHex(w *firmware.Window, name string, record func([]byte) (hexRecord, error)) (*firmware.Region, error) {
	// Most places have no digits behind the magic.
	start, err := w.Bytes(0, 10)
	if err != nil || !isHex(start[2:]) {
		return nil, notFormat("%s: it begins with %q", name, start)
	}
	f := &hexFile{w: w, name: name, record: record, r: &firmware.Region{Role: firmware.RoleContainer, State: firmware.Parsed}}
	err = f.lines()
	// What is held while the lines are read is not what comes of it.
	defer func() { w.Meter().Release(f.held) }()
	if f.records < hexMinRecords && !(f.ended && f.data > 0) || f.data == 0 {
		if err == nil {
			err = notFormat("%s: %d lines", name, f.records)
		}
		return nil, err
	}
	f.r.AddField("lines", "%d", f.records)
	f.r.AddCheck("sums of lines", f.bad == 0, "%d of %d hold", f.records-f.bad, f.records)
	// S-records without an entry point may end with their count.
	whole := f.ended || f.counted
	if !whole {
		f.r.AddProblem("%s: there is no last line", name)
	}
	if err != nil {
		return f.r, fmt.Errorf("%s: %w", name, err)
	}
	if err := f.segments(); err != nil {
		return f.r, err
	}
	if whole && f.bad == 0 && len(f.r.Problems) == 0 {
		f.r.State = firmware.Proven
		for _, c := range f.r.Children {
			c.State = firmware.Proven
		}
	}
	return f.r, nil
}

func isHex(p []byte) bool {
	return !bytes.ContainsFunc(p, func(r rune) bool {
		return !(r >= '0' && r <= '9' || r >= 'a' && r <= 'f' || r >= 'A' && r <= 'F')
	})
}

// lines reads records until one is none. Empty lines are not part of a format,
// but programs write them.
func (f *hexFile) lines() error {
	for !f.ended {
		if err := f.w.Context().Err(); err != nil {
			return err
		}
		step := int64(64 << 10)
		if f.r.Size == 0 {
			step = 2 * hexMaxLine
		}
		p, err := f.w.Bytes(f.r.Size, min(step, f.w.Size()-f.r.Size))
		if err != nil {
			return err
		}
		used, more, err := f.block(p, f.r.Size+int64(len(p)) == f.w.Size())
		f.r.Size += int64(used)
		if err != nil || !more {
			return err
		}
	}
	return nil
}

// block reads the whole lines of p.
func (f *hexFile) block(p []byte, last bool) (used int, more bool, err error) {
	for !f.ended {
		line := p[used:]
		n := bytes.IndexAny(line[:min(len(line), hexMaxLine)], "\r\n")
		switch {
		case n < 0 && !last && len(line) < hexMaxLine:
			return used, true, nil
		case n < 0 && (!last || len(line) >= hexMaxLine):
			return used, false, nil
		case n < 0:
			n = len(line)
		}
		if n == 0 && len(line) == 0 {
			return used, false, nil
		}
		r, err := f.record(line[:n])
		if errors.Is(err, errHexRecord) {
			return used, false, nil
		}
		if err := f.w.Meter().Entries(1); err != nil {
			return used, false, err
		}
		if f.records++; err != nil {
			if f.bad++; f.records == 1 {
				return used, false, nil
			}
			f.r.AddProblem("%s: line %d: %v; left out", f.name, f.records, err)
		} else if err := f.add(r, f.r.Size+int64(used), int64(n)); err != nil {
			return used, false, err
		}
		used += n
		for ends := 0; ends < 4 && used < len(p) && (p[used] == '\r' || p[used] == '\n'); ends++ {
			used++
		}
	}
	return used, false, nil
}

func (f *hexFile) add(r hexRecord, at, size int64) error {
	switch r.kind {
	case "base":
		f.base = r.base
	case "end":
		f.ended = true
		if f.name == "s-record" && r.address != 0 {
			f.r.AddField("entry point", "%#08x", r.address)
		}
	case "start":
		f.r.AddField("entry point", "%#08x", r.address)
	case "header":
		f.r.AddField("header", "%s", text(r.data))
	case "count":
		if f.counted = r.address == f.data; !f.counted {
			f.r.AddProblem("%s: %d lines of data, and a line counts %d", f.name, f.data, r.address)
		}
	case "data":
		f.data++
		f.counted = false
		return f.put(int64(f.base)+int64(r.address), r.data, at, at+size)
	}
	return nil
}

// put adds bytes to the run that they continue, which most do.
func (f *hexFile) put(address int64, data []byte, from, to int64) error {
	if len(data) == 0 {
		return nil
	}
	held := int64(len(data))
	last := len(f.runs) - 1
	if last < 0 || f.runs[last].address+int64(len(f.runs[last].data)) != address {
		held += 64
		f.runs = append(f.runs, hexRun{address: address, from: from})
		last++
	}
	if err := f.w.Meter().Bytes(int64(len(data))); err != nil {
		return err
	}
	if err := f.w.Meter().Hold(held); err != nil {
		return err
	}
	f.held += held
	f.runs[last].to = to
	f.runs[last].data = append(f.runs[last].data, data...)
	return nil
}

// hexSegment is bytes in a row, put together from runs.
type hexSegment struct {
	address, end int64
	from, to     int64 // the lines
	parts        []io.Reader
}

// segments sorts the runs, joins those in a row and analyses what they hold, each
// at its lines. Where lines are out of order they all are one image, in the
// order of addresses.
func (f *hexFile) segments() error {
	slices.SortStableFunc(f.runs, func(a, b hexRun) int { return cmp.Compare(a.address, b.address) })
	var list []hexSegment
	for _, run := range f.runs {
		end := run.address + int64(len(run.data))
		if last := len(list) - 1; last >= 0 && run.address <= list[last].end {
			if s := &list[last]; run.address < s.end {
				f.r.AddProblem("%s: %d bytes at %#08x are there twice: the contents are not put together", f.name, min(s.end, end)-run.address, run.address)
				return nil
			}
			s := &list[last]
			s.end, s.from, s.to = end, min(s.from, run.from), max(s.to, run.to)
			s.parts = append(s.parts, bytes.NewReader(run.data))
			continue
		}
		list = append(list, hexSegment{run.address, end, run.from, run.to, []io.Reader{bytes.NewReader(run.data)}})
	}
	f.r.AddField("segments", "%d", len(list))
	apart := len(list) > 1 && len(list) <= hexMaxSegments
	for i, s := range list {
		if i < 64 {
			f.r.AddField(fmt.Sprintf("segment %d", i), "%#08x to %#08x, %d bytes", s.address, s.end, s.end-s.address)
		}
		apart = apart && (i == 0 || list[i-1].to <= s.from)
	}
	if !apart {
		var parts []io.Reader
		for _, s := range list {
			parts = append(parts, s.parts...)
		}
		return f.unpack(f.r, parts)
	}
	for _, s := range list {
		c := &firmware.Region{Offset: f.w.Offset() + s.from, Size: s.to - s.from, Name: fmt.Sprintf("%#08x", s.address), State: firmware.Parsed}
		f.r.Children = append(f.r.Children, c)
		if err := f.unpack(c, s.parts); err != nil {
			return err
		}
	}
	return nil
}

func (f *hexFile) unpack(r *firmware.Region, parts []io.Reader) (err error) {
	r.Contents, err = f.w.Unpack(fmt.Sprintf("%s at %#x", f.name, f.w.Offset()), io.MultiReader(parts...), r.Size)
	if r.Contents != nil {
		if role := soleRole(r.Contents); role != firmware.RoleNone {
			r.Role = role
		}
	}
	return err
}
