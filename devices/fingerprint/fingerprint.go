// Package fingerprint says what a unit's answers tell about who made it,
// whatever its label claims. The rules are data: each names the place it looks
// at, what it looks for, whose work that is, how strong a sign it is, where the
// knowledge comes from, and its own examples and counterexamples, which are
// checked whenever rules are loaded.
//
// A rule looks at what the unit says of itself, so a modified unit can forge or
// remove every tell: a mark accuses, and the absence of marks clears nobody.
// Who registered a MAC prefix is not looked at here; it is a fact that
// appraisal has.
package fingerprint

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"

	"assay/attest"
)

//go:embed rules.yaml
var embedded []byte

// Schema is the schema of a rules file.
const Schema = "assay.fingerprints/v1"

// Observation is one value that was seen, and where.
type Observation struct {
	On     string        // a [Place], as in "http.server" or "isapi.namespace"
	Value  string        // as the unit sent it
	Source string        // the request and place in its answer, for the mark
	Raw    attest.Digest // the bytes it was read from
}

// Rule is one tell.
type Rule struct {
	ID              string          `yaml:"id"`
	On              []string        `yaml:"on"`
	Match           string          `yaml:"match"` // RE2
	Entity          string          `yaml:"entity"`
	Subject         attest.Subject  `yaml:"subject"`
	Strength        attest.Strength `yaml:"strength"`
	Part            bool            `yaml:"part"`    // too common to hint alone: counts in a Together only, and has no strength
	Grammar         bool            `yaml:"grammar"` // on the shape that a maker gives its values, which a new label does not change
	Says            string          `yaml:"says"`
	Source          string          `yaml:"source"`
	Examples        []string        `yaml:"examples"`
	Counterexamples []string        `yaml:"counterexamples"`

	re *regexp.Regexp
}

// Together is a mark made by several rules, each too weak to decide alone, that
// matched in different places.
type Together struct {
	ID              string          `yaml:"id"`
	Among           []string        `yaml:"among"` // ids of rules
	Needs           int             `yaml:"needs"` // how many of them, each in a place of its own
	Entity          string          `yaml:"entity"`
	Subject         attest.Subject  `yaml:"subject"`
	Strength        attest.Strength `yaml:"strength"`
	Says            string          `yaml:"says"`
	Source          string          `yaml:"source"`
	Examples        [][]Seen        `yaml:"examples"`
	Counterexamples [][]Seen        `yaml:"counterexamples"`
}

// Seen is an observation as an example of a [Together] writes it.
type Seen struct {
	On    string `yaml:"on"`
	Value string `yaml:"value"`
}

// FalseTell is something that looks like a maker's work and is not: copied
// names, what the whole industry uses. No rule may take it for that maker's.
type FalseTell struct {
	ID        string   `yaml:"id"`
	LooksLike []string `yaml:"looks_like"` // entities that must not be accused
	Says      string   `yaml:"says"`
	Source    string   `yaml:"source"`
	Examples  [][]Seen `yaml:"examples"`
}

// Rules is a checked set of rules. It does not change and may be shared.
type Rules struct {
	date     string
	digest   attest.Digest
	rules    []Rule
	together []Together
	false    []FalseTell
}

// Embedded returns the rules that ship with the program.
var Embedded = sync.OnceValue(func() *Rules {
	r, err := Parse(embedded)
	if err != nil {
		panic(err) // a test parses the same bytes
	}
	return r
})

// Parse reads a rules file and checks it: unknown fields, rules without an
// example, and examples that the rule itself contradicts are errors.
func Parse(b []byte) (*Rules, error) {
	var file struct {
		Schema   string     `yaml:"schema"`
		Date     string     `yaml:"date"`
		Rules    []Rule     `yaml:"rules"`
		Together []Together `yaml:"together"`

		FalseTells []FalseTell `yaml:"false_tells"`
	}
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	if err := d.Decode(&file); err != nil {
		if errors.Is(err, io.EOF) {
			err = errors.New("empty file")
		}
		return nil, fmt.Errorf("fingerprint rules: %w", err)
	}
	if file.Schema != Schema {
		return nil, fmt.Errorf("fingerprint rules: schema %q is not %q", file.Schema, Schema)
	}
	r := &Rules{date: file.Date, digest: attest.DigestOf(b), rules: file.Rules, together: file.Together, false: file.FalseTells}
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("fingerprint rules: %w", err)
	}
	return r, nil
}

// Ref names the rules in evidence and results.
func (r *Rules) Ref() attest.DataRef {
	return attest.DataRef{Name: "fingerprints", Date: r.date, Digest: r.digest}
}

// Entities returns the ids of the entities that the rules accuse, sorted.
func (r *Rules) Entities() []string {
	var ids []string
	for _, rule := range r.rules {
		ids = append(ids, rule.Entity)
	}
	for _, t := range r.together {
		ids = append(ids, t.Entity)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// All returns the rules, their combinations and the false tells, in the order of
// the file.
func (r *Rules) All() ([]Rule, []Together, []FalseTell) {
	return slices.Clone(r.rules), slices.Clone(r.together), slices.Clone(r.false)
}

// Grammar reports whether the rule of an id looks at the shape that a maker
// gives its values, which holds however the unit is labelled.
func (r *Rules) Grammar(id string) bool {
	return slices.ContainsFunc(r.rules, func(x Rule) bool { return x.ID == id && x.Grammar })
}

// hit is one rule and the observation that it matched.
type hit struct {
	rule *Rule
	seen Observation
}

// Match returns the marks that the observations make, in the order of the
// rules. The same tell seen twice makes one mark. The caller fills in the
// channel.
func (r *Rules) Match(seen []Observation) []attest.Mark {
	var marks []attest.Mark
	var hits []hit
	for i := range r.rules {
		rule := &r.rules[i]
		var matches []string
		for _, o := range seen {
			match, ok := rule.match(o)
			if !ok {
				continue
			}
			hits = append(hits, hit{rule, o})
			if rule.Part || slices.Contains(matches, match) {
				continue
			}
			matches = append(matches, match)
			marks = append(marks, attest.Mark{
				Entity: rule.Entity, Subject: rule.Subject, Strength: rule.Strength, Rule: rule.ID,
				Says: rule.Says, Match: match, Source: o.Source, Raw: o.Raw,
			})
		}
	}
	for i := range r.together {
		if mark, ok := r.together[i].match(hits); ok {
			marks = append(marks, mark)
		}
	}
	return marks
}

func (r *Rule) match(o Observation) (string, bool) {
	if !slices.Contains(r.On, o.On) {
		return "", false
	}
	m := r.re.FindStringIndex(o.Value)
	if m == nil {
		return "", false
	}
	return o.Value[m[0]:m[1]], true
}

// place is where a tell was seen. All that ONVIF gives is one place: proxies and
// video management software pass the fields of a camera behind them on together.
func (o Observation) place() string {
	if strings.HasPrefix(o.On, "onvif.") || strings.HasPrefix(o.Source, "onvif ") {
		return "onvif"
	}
	return o.On
}

// match wants different rules that matched in different places: one string that
// satisfies two rules is one tell.
func (t *Together) match(hits []hit) (attest.Mark, bool) {
	mark := attest.Mark{Entity: t.Entity, Subject: t.Subject, Strength: t.Strength, Rule: t.ID, Says: t.Says}
	var rules, places []string
	for _, h := range hits {
		if !slices.Contains(t.Among, h.rule.ID) || slices.Contains(rules, h.rule.ID) || slices.Contains(places, h.seen.place()) {
			continue
		}
		rules, places = append(rules, h.rule.ID), append(places, h.seen.place())
		if len(rules) == 1 {
			mark.Match, mark.Source, mark.Raw = h.rule.ID, h.seen.Source, h.seen.Raw
			continue
		}
		mark.Match += " + " + h.rule.ID
		mark.Source += "; " + h.seen.Source
	}
	return mark, len(rules) >= t.Needs
}
