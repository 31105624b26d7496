package chip

import (
	"bytes"
	"embed"
	"encoding/csv"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"
)

//go:embed data
var embedded embed.FS

// data is what the files say, as it is looked up.
type data struct {
	makers   []makerRow
	byMaker  map[string]Maker
	jep106   map[byte][]Maker
	mmc      map[byte]Maker
	flash    map[string][]Part // by the bytes of the id
	byName   map[string][]Part // by name in upper case
	names    []pattern
	sensors  []pattern
	radios   []pattern
	usb      map[string]Maker
	probes   map[string]probe
	scsysid  []sysID
	commands map[string]bool
}

type makerRow struct {
	maker  Maker
	parts  *regexp.Regexp
	source string
}

// pattern finds a name in a text.
type pattern struct {
	re       *regexp.Regexp
	template string
	soc      SoC
}

// name is the template with the upper-case form of what matched.
func (p pattern) name(text string, m []int) string {
	return string(p.re.Expand(nil, []byte(p.template), []byte(strings.ToUpper(text)), m))
}

type probe struct {
	Probe
	scsysid bool
	values  []value
}

type value struct {
	Name  string
	Maker string
	When  []struct {
		Word         int
		Mask, Equals uint32
	}
}

func (v value) holds(words []uint32) bool {
	for _, c := range v.When {
		if words[c.Word]&c.Mask != c.Equals {
			return false
		}
	}
	return true
}

type sysID struct {
	ID    uint32
	Name  string
	Maker string
	Top   []uint32
}

// load reads the embedded files once. A test loads the same bytes, so that a
// panic here does not reach a user.
var load = sync.OnceValue(func() *data {
	d, err := read()
	if err != nil {
		panic(err)
	}
	return d
})

func read() (*data, error) {
	d := &data{
		byMaker: map[string]Maker{}, jep106: map[byte][]Maker{}, mmc: map[byte]Maker{},
		flash: map[string][]Part{}, byName: map[string][]Part{}, usb: map[string]Maker{},
		probes: map[string]probe{}, commands: map[string]bool{},
	}
	for _, f := range []struct {
		name string
		read func([]byte) error
	}{
		{"makers.yaml", d.readMakers}, {"nor.csv", d.readFlashes(NOR)}, {"nand.csv", d.readFlashes(NAND)},
		{"socs.yaml", d.readSoCs}, {"parts.yaml", d.readParts},
	} {
		b, err := embedded.ReadFile("data/" + f.name)
		if err == nil {
			err = f.read(b)
		}
		if err != nil {
			return nil, fmt.Errorf("chip data %s: %w", f.name, err)
		}
	}
	return d, nil
}

// header is what every file starts with.
type header struct {
	Schema  string
	Date    string
	Sources map[string]map[string]string
}

func (h header) check(schema string, used ...string) error {
	if h.Schema != schema || h.Date == "" {
		return fmt.Errorf("schema %q of %q, want %q and a date", h.Schema, h.Date, schema)
	}
	for _, s := range used {
		if _, ok := h.Sources[s]; !ok {
			return fmt.Errorf("source %q is not among the file's sources", s)
		}
	}
	return nil
}

func decode(b []byte, into any) error {
	dec := yaml.NewDecoder(bytes.NewReader(b))
	dec.KnownFields(true)
	return dec.Decode(into)
}

func (d *data) readMakers(b []byte) error {
	var file struct {
		header `yaml:",inline"`
		Makers []struct {
			ID, Name, Entity, Parts, Source string
			Jep106, Mmc                     []byte
		}
	}
	if err := decode(b, &file); err != nil {
		return err
	}
	for _, m := range file.Makers {
		if err := file.check("assay.chip-makers/v1", m.Source); err != nil {
			return fmt.Errorf("maker %q: %w", m.ID, err)
		}
		row := makerRow{maker: Maker{m.Name, m.Entity}, source: m.Source}
		if _, twice := d.byMaker[m.ID]; twice || m.Name == "" || m.Entity == "" {
			return fmt.Errorf("maker %q: needs a name and an entity, once", m.ID)
		}
		if m.Parts != "" {
			re, err := regexp.Compile(m.Parts)
			if err != nil {
				return fmt.Errorf("maker %q: %w", m.ID, err)
			}
			row.parts = re
		}
		d.byMaker[m.ID] = row.maker
		d.makers = append(d.makers, row)
		for _, id := range m.Jep106 {
			d.jep106[id] = append(d.jep106[id], row.maker)
		}
		for _, id := range m.Mmc {
			d.mmc[id] = row.maker
		}
	}
	return nil
}

// maker returns the maker of an id that reading has checked.
func (d *data) maker(id string) Maker { return d.byMaker[id] }

func (d *data) known(maker string) error {
	if _, ok := d.byMaker[maker]; !ok {
		return fmt.Errorf("maker %q is not in makers.yaml", maker)
	}
	return nil
}

func (d *data) readFlashes(kind Kind) func([]byte) error {
	return func(b []byte) error {
		r := csv.NewReader(bytes.NewReader(b))
		r.Comment = '#'
		r.FieldsPerRecord = 5
		rows, err := r.ReadAll()
		if err != nil {
			return err
		}
		for _, row := range rows[1:] {
			id, err := hex.DecodeString(row[0])
			if err != nil || len(id) < 2 {
				return fmt.Errorf("id %q is not bytes in hexadecimal", row[0])
			}
			size, err := strconv.ParseInt(row[3], 10, 64)
			if err != nil || size <= 0 {
				return fmt.Errorf("id %s: size %q", row[0], row[3])
			}
			if err := d.known(row[1]); err != nil {
				return fmt.Errorf("id %s: %w", row[0], err)
			}
			p := Part{Maker: d.maker(row[1]), Kind: kind, ID: FormatID(id), Names: d.ownFirst(row[1], strings.Split(row[2], "/")), Size: size, Source: row[4]}
			d.flash[string(id)] = append(d.flash[string(id)], p)
			for _, n := range p.Names {
				key := strings.ToUpper(n)
				d.byName[key] = append(d.byName[key], p)
			}
		}
		return nil
	}
}

// ownFirst puts the names that are the maker's own before those under which
// others sold the part.
func (d *data) ownFirst(maker string, names []string) []string {
	var own, others []string
	for _, m := range d.makers {
		if m.maker != d.maker(maker) || m.parts == nil {
			continue
		}
		for _, n := range names {
			if m.parts.MatchString(strings.ToUpper(n)) {
				own = append(own, n)
			} else {
				others = append(others, n)
			}
		}
		return append(own, others...)
	}
	return names
}

func (d *data) readSoCs(b []byte) error {
	var file struct {
		header `yaml:",inline"`
		Names  []struct {
			Family, Maker, Match, Name, Source string
			Generic                            bool
			Probes                             []string
			Examples                           map[string]string
			Counterexamples                    []string
		}
		Probes []struct {
			ID     string
			Gives  Gives
			Kseg   uint64
			Reads  []Read
			Decode string
			Says   string
			Source string
			Values []value
		}
		Scsysid []sysID
	}
	if err := decode(b, &file); err != nil {
		return err
	}
	for _, p := range file.Probes {
		have := probe{Probe: Probe{ID: p.ID, Gives: p.Gives, Reads: p.Reads, Says: p.Says, Kseg: p.Kseg, Source: p.Source}, scsysid: p.Decode == "scsysid", values: p.Values}
		if err := file.check("assay.chip-socs/v1", p.Source); err != nil {
			return fmt.Errorf("probe %q: %w", p.ID, err)
		}
		for _, v := range p.Values {
			if err := d.known(v.Maker); err != nil {
				return fmt.Errorf("probe %q: %w", p.ID, err)
			}
			for _, c := range v.When {
				if c.Word < 0 || c.Word >= have.Words() || c.Equals&^c.Mask != 0 {
					return fmt.Errorf("probe %q: %s: a condition that cannot hold", p.ID, v.Name)
				}
			}
		}
		if have.scsysid && have.Words() != 4 {
			return fmt.Errorf("probe %q: scsysid takes four words", p.ID)
		}
		d.probes[p.ID] = have
		for _, c := range have.Commands() {
			d.commands[c] = true
		}
	}
	for _, v := range file.Scsysid {
		if err := d.known(v.Maker); err != nil {
			return fmt.Errorf("scsysid %#x: %w", v.ID, err)
		}
	}
	d.scsysid = file.Scsysid
	for _, n := range file.Names {
		if err := file.check("assay.chip-socs/v1", n.Source); err != nil {
			return fmt.Errorf("name %q: %w", n.Match, err)
		}
		for _, id := range n.Probes {
			if _, ok := d.probes[id]; !ok {
				return fmt.Errorf("name %q: no probe %q", n.Match, id)
			}
		}
		p, err := d.pattern(n.Maker, n.Match, n.Name, n.Source, n.Examples, n.Counterexamples)
		if err != nil {
			return err
		}
		p.soc.Family, p.soc.Generic, p.soc.probes = n.Family, n.Generic, n.Probes
		d.names = append(d.names, p)
	}
	return nil
}

// pattern compiles one entry and runs its examples.
func (d *data) pattern(maker, match, name, source string, examples map[string]string, counterexamples []string) (pattern, error) {
	re, err := regexp.Compile(match)
	if err != nil {
		return pattern{}, err
	}
	if err := d.known(maker); err != nil {
		return pattern{}, fmt.Errorf("name %q: %w", match, err)
	}
	p := pattern{re: re, template: name, soc: SoC{Maker: d.maker(maker), Source: source}}
	if len(examples) == 0 || len(counterexamples) == 0 {
		return p, fmt.Errorf("name %q: needs examples and counterexamples", match)
	}
	for text, want := range examples {
		m := re.FindStringSubmatchIndex(text)
		if m == nil {
			return p, fmt.Errorf("name %q: example %q does not match", match, text)
		}
		if got := p.name(text, m); want != "" && got != want {
			return p, fmt.Errorf("name %q: example %q is %q, want %q", match, text, got, want)
		}
	}
	for _, text := range counterexamples {
		if re.MatchString(text) {
			return p, fmt.Errorf("name %q: counterexample %q matches", match, text)
		}
	}
	return p, nil
}

func (d *data) readParts(b []byte) error {
	type row struct {
		Maker, Match, Name, Source string
		Examples, Counterexamples  []string
	}
	var file struct {
		header  `yaml:",inline"`
		Sensors []row
		Radios  []row
		Usb     []struct{ ID, Maker, Source string }
	}
	if err := decode(b, &file); err != nil {
		return err
	}
	patterns := func(rows []row) (all []pattern, err error) {
		for _, r := range rows {
			if err := file.check("assay.chip-parts/v1", r.Source); err != nil {
				return nil, fmt.Errorf("part %q: %w", r.Match, err)
			}
			if r.Name == "" {
				r.Name = "$1"
			}
			examples := map[string]string{}
			for _, x := range r.Examples {
				examples[x] = ""
			}
			p, err := d.pattern(r.Maker, r.Match, r.Name, r.Source, examples, r.Counterexamples)
			if err != nil {
				return nil, err
			}
			all = append(all, p)
		}
		return all, nil
	}
	var err error
	if d.sensors, err = patterns(file.Sensors); err != nil {
		return err
	}
	if d.radios, err = patterns(file.Radios); err != nil {
		return err
	}
	for _, u := range file.Usb {
		if err := errors.Join(d.known(u.Maker), file.check("assay.chip-parts/v1", u.Source)); err != nil {
			return fmt.Errorf("usb %s: %w", u.ID, err)
		}
		d.usb[u.ID] = d.maker(u.Maker)
	}
	return nil
}
