package recog

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"

	"assay/attest"
	"assay/devices/fingerprint"
)

//go:embed xml/*.xml hints.yaml
var files embed.FS

// banners are the places whose values recog has a file for, and the forms that
// the file expects them in.
var banners = []struct {
	on, file string
	forms    func(string) []string
}{
	{"http.server", "http_servers.xml", asIs},
	{"http.title", "html_title.xml", asIs},
	{"http.cookie", "http_cookies.xml", asIs},
	{"http.realm", "http_wwwauth.xml", challenges},
	{"favicon.md5", "favicons.xml", asIs},
	{"rtsp.server", "rtsp_servers.xml", asIs},
	{"snmp.sysdescr", "snmp_sysdescr.xml", asIs},
	{"snmp.sysobjectid", "snmp_sysobjid.xml", undotted},
	{"ssh.banner", "ssh_banners.xml", sshSoftware},
	{"telnet.banner", "telnet_banners.xml", asIs},
	{"ftp.banner", "ftp_banners.xml", uncoded},
	{"tls.subject", "x509_subjects.xml", asIs},
	{"tls.issuer", "x509_issuers.xml", asIs},
}

func asIs(v string) []string     { return []string{v} }
func undotted(v string) []string { return []string{strings.TrimPrefix(v, ".")} }
func uncoded(v string) []string {
	return []string{strings.TrimPrefix(strings.TrimPrefix(v, "220"), " ")}
}

// challenges rebuilds the header from its realm. A nonce is expected by some.
func challenges(realm string) []string {
	return []string{`Digest realm="` + realm + `", nonce=""`, `Basic realm="` + realm + `"`}
}

// sshSoftware is what comes behind SSH-2.0-.
func sshSoftware(v string) []string {
	if parts := strings.SplitN(v, "-", 3); len(parts) == 3 && parts[0] == "SSH" {
		return []string{parts[2]}
	}
	return nil
}

// loaded reads a file of the folder when it is first needed.
var loaded = func() map[string]func() *Database {
	out := map[string]func() *Database{}
	for _, b := range banners {
		out[b.file] = sync.OnceValue(func() *Database {
			raw, err := files.ReadFile(path.Join("xml", b.file))
			if err == nil {
				var d *Database
				if d, err = Parse(raw); err == nil {
					return d
				}
			}
			panic(err) // a test parses the same bytes
		})
	}
	return out
}()

// Identify returns what recog says about a value that was observed, the first
// fingerprint's word.
func Identify(o fingerprint.Observation) (Result, bool) {
	r, _, ok := identify(o)
	return r, ok
}

func identify(o fingerprint.Observation) (r Result, file string, ok bool) {
	for _, b := range banners {
		if b.on != o.On {
			continue
		}
		for _, form := range b.forms(o.Value) {
			if r, ok := loaded[b.file]().Match(form); ok {
				return r, b.file, true
			}
		}
	}
	return Result{}, "", false
}

type vendor struct {
	Vendor  string         `yaml:"vendor"`
	Entity  string         `yaml:"entity"`
	Subject attest.Subject `yaml:"subject"`
	Any     bool           `yaml:"any"`
}

// Correction is a label of recog's that is wrong, and what is right.
type Correction struct {
	File        string         `yaml:"file"`
	Description string         `yaml:"description"`
	Entity      string         `yaml:"entity"`
	Subject     attest.Subject `yaml:"subject"`
	Why         string         `yaml:"why"`
	Source      string         `yaml:"source"`
}

type meaning struct {
	Schema    string       `yaml:"schema"`
	Date      string       `yaml:"date"`
	Cameras   []string     `yaml:"cameras"`
	Vendors   []vendor     `yaml:"vendors"`
	Overrides []Correction `yaml:"overrides"`
}

func parseMeaning(b []byte) (*meaning, error) {
	var m meaning
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	if err := d.Decode(&m); err != nil {
		return nil, fmt.Errorf("recog hints: %w", err)
	}
	if m.Schema != "assay.recog/v1" || m.Date == "" {
		return nil, errors.New("recog hints: no schema assay.recog/v1, or no date")
	}
	for _, o := range m.Overrides {
		if o.Why == "" || o.Source == "" {
			return nil, fmt.Errorf("recog hints: override %q says not why, or not where from", o.Description)
		}
	}
	return &m, nil
}

var embedded = sync.OnceValue(func() *meaning {
	b, err := files.ReadFile("hints.yaml")
	if err == nil {
		var m *meaning
		if m, err = parseMeaning(b); err == nil {
			return m
		}
	}
	panic(err) // a test parses the same bytes
})

// Rule is the rule that marks of [Hints] carry.
const Rule = "recog"

// Hints returns what recog's public list makes of the observations: hints (c1),
// at most one for each maker, and only of a maker of cameras. Where the list is
// known to be wrong the hint says what is right, or there is none. The caller
// fills in the channel.
func Hints(seen []fingerprint.Observation) []attest.Mark {
	var out []attest.Mark
	for _, o := range seen {
		r, file, ok := identify(o)
		if !ok {
			continue
		}
		m, ok := embedded().hint(r, file)
		if !ok || slices.ContainsFunc(out, func(x attest.Mark) bool { return x.Entity == m.Entity }) {
			continue
		}
		m.Match, m.Source, m.Raw = o.Value, o.Source, o.Raw
		out = append(out, m)
	}
	return out
}

func (m *meaning) hint(r Result, file string) (attest.Mark, bool) {
	mark := attest.Mark{Subject: attest.SubjectFirmware, Strength: attest.C1, Rule: Rule}
	for _, o := range m.Overrides {
		if o.File == file && o.Description == r.Description {
			mark.Entity, mark.Says = o.Entity, fmt.Sprintf("recog says %q of it; in truth %s", r.Description, o.Why)
			if o.Subject != "" {
				mark.Subject = o.Subject
			}
			return mark, o.Entity != ""
		}
	}
	camera := slices.Contains(m.Cameras, r.Device())
	for _, name := range r.Vendors() {
		for _, v := range m.Vendors {
			if v.Vendor != name || !v.Any && !camera {
				continue
			}
			mark.Entity, mark.Says = v.Entity, fmt.Sprintf("recog says that it is %q, by %s", r.Description, name)
			if v.Subject != "" {
				mark.Subject = v.Subject
			}
			return mark, true
		}
	}
	return mark, false
}

// Corrections lists the labels of recog's that are not taken at their word.
func Corrections() []Correction { return slices.Clone(embedded().Overrides) }

// Camera reports whether recog takes what it names for something that sees or
// records.
func (r Result) Camera() bool { return slices.Contains(embedded().Cameras, r.Device()) }
