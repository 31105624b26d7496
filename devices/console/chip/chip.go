// Package chip knows the chips of a camera: whose flash answers with which
// JEDEC id, which system on chip goes by which name, in which registers it
// keeps its identity and what their values mean, and who makes an image sensor
// or radio of a given name.
//
// It is data with a small reader. The sources are named in the files under
// data: Linux's, U-Boot's and flashrom's tables of flashes, OpenIPC's ipctool for
// the registers, and what boot loaders and device trees print. A name or id is
// what the unit says of itself; that the part is genuine is not checked.
//
// Every maker carries the id under which the entity data has its seat.
package chip

import (
	"bytes"
	"encoding/hex"
	"slices"
	"strings"
)

// Maker is who makes a chip.
type Maker struct {
	Name   string
	Entity string // id in the entity data
}

// Kind tells what sort of flash a part is.
type Kind string

// The kinds of flash.
const (
	NOR  Kind = "SPI NOR"
	NAND Kind = "SPI NAND"
)

// Part is a flash as its id names it.
type Part struct {
	Maker Maker
	Kind  Kind
	ID    string   // "c8 40 18"; the id of the table, which may be longer or shorter than the one asked for
	Names []string // every name that the part is sold under, the commonest source's first
	Size  int64    // bytes
	// Also are the parts of other makers that answer with the same id.
	Also   []Part
	Source string
}

// Name is the part's first name in upper case.
func (p Part) Name() string {
	if len(p.Names) == 0 {
		return ""
	}
	return strings.ToUpper(p.Names[0])
}

// Flash returns the part that answers RDID with id, which may be followed by
// bytes that say no more. Where the first byte stands for several makers the
// others decide, and where two makers share the whole id both are in the part.
// ok is false for an id that is not in the data.
func Flash(id []byte) (part Part, ok bool) {
	d := load()
	for n := min(len(id), 8); n >= 2; n-- {
		if parts := d.flash[string(id[:n])]; len(parts) > 0 {
			part = parts[0]
			part.Also = slices.Clone(parts[1:])
			return part, true
		}
	}
	return Part{}, false
}

// FlashByName returns the part of a name, as "GD25Q128" in a boot log. Where
// only the start of the name is known the part has nothing but its maker.
func FlashByName(name string) (part Part, ok bool) {
	d := load()
	for one := range strings.SplitSeq(name, "/") {
		key := strings.ToUpper(strings.TrimSpace(one))
		if parts := d.byName[key]; len(parts) > 0 {
			part = parts[0]
			part.Also = slices.Clone(parts[1:])
			return part, true
		}
	}
	key := strings.ToUpper(strings.TrimSpace(name))
	for _, m := range d.makers {
		if m.parts != nil && len(key) <= 64 && m.parts.MatchString(key) {
			return Part{Maker: m.maker, Names: []string{strings.TrimSpace(name)}, Source: m.source}, true
		}
	}
	return Part{}, false
}

// FlashMakers returns the makers whose flashes name themselves with the first
// byte of a JEDEC id. Several share one where the JEP106 bank is left out.
func FlashMakers(first byte) []Maker { return load().jep106[first] }

// MMCMaker returns the maker with a manufacturer id of an eMMC's CID.
func MMCMaker(mid byte) (Maker, bool) {
	m, ok := load().mmc[mid]
	return m, ok
}

// SoC is a system on chip, or a family of them where no more is known.
type SoC struct {
	Name   string // as its maker writes it, "Hi3518EV300"
	Family string
	Maker  Maker
	// Generic is set where only the maker is known.
	Generic bool
	Source  string
	probes  []string
}

// SoCByName returns the systems on chip that a text names, in its order: a
// banner, a line of /proc/cpuinfo, a "compatible" of a device tree. It finds
// nothing in a text that names none, and never guesses.
func SoCByName(text string) []SoC {
	if len(text) > maxText {
		text = text[:maxText]
	}
	type found struct {
		SoC
		at int
	}
	var all []found
	for _, n := range load().names {
		for _, m := range n.re.FindAllStringSubmatchIndex(text, 8) {
			s := n.soc
			s.Name = n.name(text, m)
			if !slices.ContainsFunc(all, func(f found) bool { return f.Name == s.Name && f.Maker == s.Maker }) {
				all = append(all, found{s, m[0]})
			}
		}
	}
	specific := func(m Maker) bool {
		return slices.ContainsFunc(all, func(f found) bool { return f.Maker == m && !f.Generic })
	}
	all = slices.DeleteFunc(all, func(f found) bool { return f.Generic && specific(f.Maker) })
	slices.SortStableFunc(all, func(a, b found) int { return a.at - b.at })
	socs := make([]SoC, 0, len(all))
	for _, f := range all {
		socs = append(socs, f.SoC)
	}
	return socs
}

// maxText bounds what is searched for names: a line, or a short answer.
const maxText = 64 << 10

// Sensor returns the image sensor that a text names, as "soif23mipi".
func Sensor(text string) (Component, bool) { return first(load().sensors, text) }

// Radio returns the radio that a text names, as the driver "8188fu".
func Radio(text string) (Component, bool) { return first(load().radios, text) }

// USBMaker returns the maker of a radio, modem or sensor inside a camera by its
// USB vendor id of four hexadecimal digits.
func USBMaker(vendor string) (Maker, bool) {
	m, ok := load().usb[strings.ToLower(vendor)]
	return m, ok
}

// Component is a sensor or radio as its name tells.
type Component struct {
	Name   string
	Maker  Maker
	Source string
}

func first(from []pattern, text string) (Component, bool) {
	if len(text) > maxText {
		text = text[:maxText]
	}
	best, at := Component{}, -1
	for _, p := range from {
		if m := p.re.FindStringSubmatchIndex(text); m != nil && (at < 0 || m[0] < at) {
			best, at = Component{Name: p.name(text, m), Maker: p.soc.Maker, Source: p.soc.Source}, m[0]
		}
	}
	return best, at >= 0
}

// ParseID reads a JEDEC id as loaders and kernels print it: "0xc8 0x40 0x18",
// "c8 40 18", "c84018", "0xC2,0x20,0x18".
func ParseID(s string) ([]byte, bool) {
	if len(s) > 64 {
		return nil, false
	}
	var id []byte
	for _, f := range strings.FieldsFunc(s, func(r rune) bool { return strings.ContainsRune(" ,:;-\t", r) }) {
		f = strings.TrimPrefix(strings.ToLower(f), "0x")
		if len(f) == 1 {
			f = "0" + f
		}
		b, err := hex.DecodeString(f)
		if err != nil {
			return nil, false
		}
		id = append(id, b...)
	}
	if len(id) < 2 || len(id) > 8 || bytes.Count(id, id[:1]) == len(id) && (id[0] == 0 || id[0] == 0xff) {
		return nil, false
	}
	return id, true
}

// FormatID writes an id as "c8 40 18".
func FormatID(id []byte) string {
	var b strings.Builder
	for i := range id {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(hex.EncodeToString(id[i : i+1]))
	}
	return b.String()
}

// Makers returns every maker in the data.
func Makers() []Maker {
	var all []Maker
	for _, m := range load().makers {
		all = append(all, m.maker)
	}
	return all
}
