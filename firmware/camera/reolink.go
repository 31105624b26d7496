package camera

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"

	"assay/firmware"
	"assay/firmware/internal/container"
)

// reolinkPAK is the update file of Reolink and Swann: a table of sections, then
// a table with the flash partition of each, then the sections. Firmware for
// 64-bit units has the header and the places of sections in 64-bit words.
//
// The number of sections is not stored: the tables end where the first section
// begins. The CRC-32 is run without the usual inversions, over the sections up to
// the end of the file, the bytes 02 00 00 00, and the table of sections.
var reolinkPAK = firmware.Format{
	Name:         "reolink-pak",
	Source:       "vmallet pakler, pakler/__init__.py and structure.py; kaitai_struct_formats firmware/reolink.ksy",
	Magics:       []firmware.Magic{{Bytes: "\x13\x59\x72\x32"}, {Bytes: "\x23\x59\x72\x32"}},
	About:        "Reolink and Swann update: sections and the flash partitions for them",
	Integrity:    "CRC-32 over the sections and their table; not over the partition table",
	Authenticity: "none",
	Parse:        parsePAK,
}

const (
	pakPartition = 76
	pakMax       = 64 // real ones have up to about 16
	pakNowhere   = 0xffffffff
)

// pakLayout is where the fields lie in one of the two widths.
type pakLayout struct {
	name            string
	header, section int64
	word            func([]byte) uint64
	size            int
}

var (
	pak32 = pakLayout{"PAK32", 12, 64, func(b []byte) uint64 { return uint64(binary.LittleEndian.Uint32(b)) }, 4}
	pak64 = pakLayout{"PAK64", 24, 72, binary.LittleEndian.Uint64, 8}
)

// pakSlot is a partition of the flash, as the file claims it.
type pakSlot struct {
	name, device string
	start, size  int64
}

func parsePAK(w *firmware.Window) (*firmware.Region, error) {
	b, err := w.Bytes(0, pak64.header+pak64.section)
	if err != nil {
		return nil, notFormat("reolink pak: %v", err)
	}
	le := binary.LittleEndian
	l := pak32
	if le.Uint32(b[4:]) == 0 && le.Uint32(b[12:]) == 0 && le.Uint32(b[20:]) == 0 {
		l = pak64
	}
	first := declared(l.word(b[l.header+56:]))
	n := (first - l.header) / (l.section + pakPartition)
	if n < 1 || n > pakMax || (first-l.header)%(l.section+pakPartition) != 0 {
		return nil, notFormat("reolink pak: no tables end at %#x", first)
	}
	if b, err = w.Bytes(0, first); err != nil {
		return nil, notFormat("reolink pak: %v", err)
	}
	table := b[l.header : l.header+n*l.section]
	var sections []*section
	for e := table; len(e) > 0; e = e[l.section:] {
		s := &section{name: container.Text(e[:32]), off: declared(l.word(e[56:])), size: declared(l.word(e[56+l.size:]))}
		if !printable(e[:32]) || !printable(e[32:56]) {
			return nil, notFormat("reolink pak: section %d has no name", len(sections))
		}
		s.role, s.optional = roleOf(s.name), true
		s.fields = []firmware.Field{{Name: "section version", Value: container.Text(e[32:56])}}
		sections = append(sections, s)
	}
	slots := make([]pakSlot, 0, n)
	for e := b[l.header+n*l.section:]; len(e) > 0; e = e[pakPartition:] {
		slots = append(slots, pakSlot{container.Text(e[:32]), container.Text(e[36:68]), int64(le.Uint32(e[68:])), int64(le.Uint32(e[72:]))})
	}
	r := begin(w, extent(first, sections))
	r.AddField("layout", "%s", l.name)
	r.AddField("board type", "%#x", l.word(b[2*l.size:]))
	r.AddField("protection", "a CRC-32, and none over the partition table: integrity only, proves no origin; public tools replace a section and correct it")
	lay(w, r, first, sections)
	if err := pakCRC(w, r, first, table, uint32(l.word(b[l.size:]))); err != nil {
		return r, err
	}
	pakCompare(r, sections, slots)
	return r, nil
}

// pakCRC computes the CRC-32 register without inversions.
func pakCRC(w *firmware.Window, r *firmware.Region, first int64, table []byte, stated uint32) error {
	crc := &plainCRC{}
	if err := stream(w, first, r.Size-first, crc); err != nil {
		return err
	}
	crc.Write([]byte{2, 0, 0, 0})
	crc.Write(table)
	ok := crc.sum() == stated && r.State == firmware.Parsed
	r.AddCheck("CRC-32", ok, "computed %08x, declared %08x", crc.sum(), stated)
	if ok {
		r.State, r.Children = firmware.Proven, container.Covered(r.Children)
	} else {
		r.AddProblem("its CRC-32 does not hold")
	}
	return nil
}

// plainCRC is the register of CRC-32: it begins at 0 and is not inverted.
type plainCRC struct{ register uint32 }

func (c *plainCRC) Write(p []byte) (int, error) {
	c.register = ^crc32.Update(^c.register, crc32.IEEETable, p)
	return len(p), nil
}

func (c *plainCRC) sum() uint32 { return c.register }

// pakCompare holds the claimed flash layout to the sections.
func pakCompare(r *firmware.Region, sections []*section, slots []pakSlot) {
	var layout, empty []string
	for _, p := range slots {
		switch {
		case p.start == pakNowhere:
			layout = append(layout, fmt.Sprintf("%s in no place", p.name))
		default:
			layout = append(layout, fmt.Sprintf("%s at %#x+%#x on %s", p.name, p.start, p.size, p.device))
		}
	}
	r.AddField("claimed flash layout", "%s", strings.Join(layout, ", "))
	for _, s := range sections {
		if s.size == 0 {
			if s.name != "" {
				empty = append(empty, s.name)
			}
			continue
		}
		i := slices.IndexFunc(slots, func(p pakSlot) bool { return p.name == s.name })
		switch {
		case i < 0:
			r.AddProblem("%v has no partition of its name", s)
		case slots[i].start == pakNowhere:
			// It is read by the updater and not written.
		case s.size > slots[i].size:
			r.AddProblem("%v of %d bytes does not fit its partition of %d", s, s.size, slots[i].size)
		}
	}
	r.AddField("sections without bytes", "%s", strings.Join(empty, ", "))
	for i, p := range slots {
		for _, q := range slots[:i] {
			if p.size > 0 && q.size > 0 && p.start != pakNowhere && q.start != pakNowhere && p.device == q.device && p.start < q.start+q.size && q.start < p.start+p.size {
				r.AddProblem("partitions %q and %q of %s lie over each other", q.name, p.name, p.device)
			}
		}
	}
}
