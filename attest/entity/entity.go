// Package entity knows who makes cameras and their parts: legal names, brands,
// where each is registered, which lists name it, and the address prefixes
// registered to it.
//
// It holds facts, each with its source. Whether somebody is covered by a rule
// is a determination, and belongs to a profile. The data is embedded, dated and
// addressed by digest; files of the same schema in a data folder add to it or
// replace entities of the same id, without a rebuild.
package entity

import (
	"bytes"
	"embed"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"assay/attest"
)

//go:embed data
var embedded embed.FS

// Schema is the schema of an entity file.
const Schema = "assay.entities/v1"

// Entity is a maker of cameras or of their parts.
type Entity struct {
	ID            string    `yaml:"id" json:"id"`
	Role          string    `yaml:"role" json:"role"` // "maker" or "component"
	Makes         string    `yaml:"makes,omitempty" json:"makes,omitempty"`
	Modules       bool      `yaml:"modules,omitempty" json:"modules,omitempty"` // its address prefixes are of radio modules that others build in
	Names         []Fact    `yaml:"names,omitempty" json:"names,omitempty"`
	Aliases       []string  `yaml:"aliases,omitempty" json:"aliases,omitempty"`
	Brands        []Fact    `yaml:"brands,omitempty" json:"brands,omitempty"`
	Jurisdictions []string  `yaml:"jurisdictions" json:"jurisdictions"` // ISO 3166-1 alpha-2
	Seat          string    `yaml:"seat,omitempty" json:"seat,omitempty"`
	Parent        string    `yaml:"parent,omitempty" json:"parent,omitempty"`
	Ownership     *Owner    `yaml:"ownership,omitempty" json:"ownership,omitempty"`
	Contested     *Contest  `yaml:"contested,omitempty" json:"contested,omitempty"`
	Unverified    bool      `yaml:"unverified,omitempty" json:"unverified,omitempty"`
	Source        string    `yaml:"source,omitempty" json:"source,omitempty"`
	Listings      []Listing `yaml:"listings,omitempty" json:"listings,omitempty"`
}

// Fact is a name with the key of its source.
type Fact struct {
	Name   string `yaml:"name" json:"name"`
	Source string `yaml:"source" json:"source"`
}

// Owner is what is known of who controls an entity.
type Owner struct {
	Fact   string `yaml:"fact" json:"fact"`
	Source string `yaml:"source" json:"source"`
}

// Contest says what about an entity is disputed.
type Contest struct {
	About string `yaml:"about" json:"about"` // "jurisdiction" or "supply"
	Says  string `yaml:"says" json:"says"`
}

// Listing is an entry of a published list that names an entity.
type Listing struct {
	List      string `yaml:"list" json:"list"`
	Since     string `yaml:"since" json:"since"`
	Qualifier string `yaml:"qualifier,omitempty" json:"qualifier,omitempty"`
	Source    string `yaml:"source" json:"source"`
}

// Rebrand is a relation between a brand on a label and who makes it.
type Rebrand struct {
	Brands     []string `yaml:"brands" json:"brands"`
	Makers     []string `yaml:"makers" json:"makers"`
	Says       string   `yaml:"says" json:"says"`
	Source     string   `yaml:"source" json:"source"`
	Confidence string   `yaml:"confidence" json:"confidence"` // "low", "medium", "high"
}

// Name is the entity's first sourced name.
func (e *Entity) Name() string {
	if len(e.Names) > 0 {
		return e.Names[0].Name
	}
	if len(e.Aliases) > 0 {
		return e.Aliases[0]
	}
	return e.ID
}

// Registration is a MAC address prefix and who registered it with the IEEE.
// It says who paid for the prefix, not who built the unit.
type Registration struct {
	Prefix     string `json:"prefix"` // upper-case hexadecimal digits
	Bits       int    `json:"bits"`
	Registrant string `json:"registrant"`
	Country    string `json:"country"`
	Entity     string `json:"entity,omitempty"`
}

// Data is the facts that a session works with.
type Data struct {
	entities map[string]*Entity
	byName   map[string]string
	oui      map[string]Registration
	rebrands []Rebrand
	refs     []attest.DataRef
}

type file struct {
	Schema   string                       `yaml:"schema"`
	Date     string                       `yaml:"date"`
	Sources  map[string]map[string]string `yaml:"sources"`
	Entities []*Entity                    `yaml:"entities"`
	Rebrands []Rebrand                    `yaml:"rebrands"`
}

// Load reads the embedded data and then every *.yaml file at the top of each
// extra file system, in the order given. A file that does not hold is an error
// that names the file and the entity.
func Load(extra ...fs.FS) (*Data, error) {
	d := &Data{entities: map[string]*Entity{}, byName: map[string]string{}, oui: map[string]Registration{}}
	sub, err := fs.Sub(embedded, "data")
	if err != nil {
		return nil, err
	}
	for _, fsys := range append([]fs.FS{sub}, extra...) {
		names, err := fs.Glob(fsys, "*.yaml")
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			if err := d.readEntities(fsys, name); err != nil {
				return nil, fmt.Errorf("entity data %s: %w", name, err)
			}
		}
	}
	if err := d.readOUI(sub, "oui.csv"); err != nil {
		return nil, fmt.Errorf("entity data oui.csv: %w", err)
	}
	return d, d.index()
}

func (d *Data) readEntities(fsys fs.FS, name string) error {
	b, err := fs.ReadFile(fsys, name)
	if err != nil {
		return err
	}
	var f file
	dec := yaml.NewDecoder(bytes.NewReader(b))
	dec.KnownFields(true)
	if err := dec.Decode(&f); err != nil {
		return err
	}
	if f.Schema != Schema {
		return fmt.Errorf("schema %q is not %q", f.Schema, Schema)
	}
	if f.Date == "" {
		return errors.New("it has no date")
	}
	for _, e := range f.Entities {
		if err := e.check(f.Sources); err != nil {
			return fmt.Errorf("entity %q: %w", e.ID, err)
		}
		d.entities[e.ID] = e
	}
	d.rebrands = append(d.rebrands, f.Rebrands...)
	d.refs = append(d.refs, attest.DataRef{Name: path.Base(name), Date: f.Date, Digest: attest.DigestOf(b)})
	return nil
}

func (e *Entity) check(sources map[string]map[string]string) error {
	if e.ID == "" {
		return errors.New("it has no id")
	}
	if e.Role != "maker" && e.Role != "component" {
		return fmt.Errorf("role %q is not maker or component", e.Role)
	}
	if len(e.Jurisdictions) == 0 {
		return errors.New("it has no jurisdiction")
	}
	if e.Contested != nil && e.Contested.About != "jurisdiction" && e.Contested.About != "supply" {
		return fmt.Errorf("contested about %q is not jurisdiction or supply", e.Contested.About)
	}
	if !e.Unverified && e.Source == "" {
		return errors.New("its jurisdiction has no source and is not marked unverified")
	}
	cited := []string{e.Source}
	for _, n := range slices.Concat(e.Names, e.Brands) {
		cited = append(cited, n.Source)
	}
	for _, l := range e.Listings {
		cited = append(cited, l.Source)
	}
	for _, s := range cited {
		if _, ok := sources[s]; s != "" && !ok {
			return fmt.Errorf("source %q is not among the file's sources", s)
		}
	}
	return nil
}

func (d *Data) readOUI(fsys fs.FS, name string) error {
	b, err := fs.ReadFile(fsys, name)
	if err != nil {
		return err
	}
	r := csv.NewReader(bytes.NewReader(b))
	r.FieldsPerRecord = 5
	r.ReuseRecord = true
	for line := 1; ; line++ {
		rec, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if line == 1 {
			continue
		}
		bits, err := strconv.Atoi(rec[1])
		if err != nil || len(rec[0])*4 != bits {
			return fmt.Errorf("line %d: prefix %q is not %s bits", line, rec[0], rec[1])
		}
		d.oui[strings.Clone(rec[0])] = Registration{
			Prefix: strings.Clone(rec[0]), Bits: bits, Registrant: strings.Clone(rec[2]),
			Country: strings.Clone(rec[3]), Entity: strings.Clone(rec[4]),
		}
	}
	d.refs = append(d.refs, attest.DataRef{Name: name, Date: d.refs[0].Date, Digest: attest.DigestOf(b)})
	return nil
}

func (d *Data) index() error {
	for id, e := range d.entities {
		if e.Parent != "" && d.entities[e.Parent] == nil {
			return fmt.Errorf("entity data: entity %q: parent %q is not in the data", id, e.Parent)
		}
		for _, n := range slices.Concat(e.Names, e.Brands) {
			d.byName[normal(n.Name)] = id
		}
	}
	// An alias never displaces a legal name or brand, and an id is an alias of itself.
	for id, e := range d.entities {
		for _, a := range append(slices.Clone(e.Aliases), id) {
			if k := normal(a); d.byName[k] == "" {
				d.byName[k] = id
			}
		}
	}
	return nil
}

// Refs names the data files with their dates and digests.
func (d *Data) Refs() []attest.DataRef { return d.refs }

// Get returns the entity of an id, or nil.
func (d *Data) Get(id string) *Entity { return d.entities[id] }

// Ancestors returns the entity's parents, nearest first.
func (d *Data) Ancestors(e *Entity) []*Entity {
	var out []*Entity
	for p := d.entities[e.Parent]; p != nil && !slices.Contains(out, p) && p != e; p = d.entities[p.Parent] {
		out = append(out, p)
	}
	return out
}

// Lookup finds the entity that a name on a label or in a protocol stands for:
// a legal name, brand, alias or id, whatever its case, punctuation and company
// form. It returns nil for a name it does not know; it never guesses.
func (d *Data) Lookup(name string) *Entity {
	k := normal(name)
	if k == "" {
		return nil
	}
	return d.entities[d.byName[k]]
}

// companyForms are words that a label leaves off or spells as it likes.
var companyForms = []string{"co", "ltd", "limited", "inc", "corp", "corporation", "ab", "as", "gmbh", "ag", "kg", "sa", "llc", "plc", "technologies", "technology", "communications"}

// normal reduces a name to its distinctive words. "AXIS" and "Axis
// Communications AB" must meet; "TP-Link Systems" and "TP-Link Technologies"
// must not, so a company form is dropped only behind the first word.
func normal(name string) string {
	words := strings.FieldsFunc(strings.ToLower(name), func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r > 127)
	})
	if len(words) == 0 {
		return ""
	}
	if strings.HasPrefix(strings.Join(words, " "), "tp link") {
		companyForms := []string{"co", "ltd", "inc"}
		return strings.Join(slices.DeleteFunc(words, func(w string) bool { return slices.Contains(companyForms, w) }), " ")
	}
	out := words[:1]
	for _, w := range words[1:] {
		if !slices.Contains(companyForms, w) {
			out = append(out, w)
		}
	}
	return strings.Join(out, " ")
}

// OUI finds the registration of a MAC address, longest prefix first. ok is
// false for one that is not in the data, which says nothing about its maker.
func (d *Data) OUI(mac string) (Registration, bool) {
	hex := strings.Map(func(r rune) rune {
		switch {
		case r >= '0' && r <= '9', r >= 'A' && r <= 'F':
			return r
		case r >= 'a' && r <= 'f':
			return r - 32
		}
		return -1
	}, mac)
	if len(hex) != 12 {
		return Registration{}, false
	}
	for _, n := range []int{9, 7, 6} {
		if r, ok := d.oui[hex[:n]]; ok {
			return r, true
		}
	}
	return Registration{}, false
}

// Rebrands returns the relations that name the brand.
func (d *Data) Rebrands(brand string) []Rebrand {
	k := normal(brand)
	var out []Rebrand
	for _, r := range d.rebrands {
		if k != "" && slices.ContainsFunc(r.Brands, func(b string) bool { return normal(b) == k }) {
			out = append(out, r)
		}
	}
	return out
}
