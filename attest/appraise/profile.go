// Package appraise turns evidence into a result under a profile.
//
// A profile is a dated, versioned YAML file with CEL rules
// (github.com/google/cel-spec). Appraisal is a pure function of evidence,
// profile, entity data and time: the same inputs give the same result, so that
// an old record can be appraised again under a new rule.
//
// Appraisal does not verify signatures; it believes what the evidence says was
// verified. Evidence that did not come from this station must be authenticated
// first, by the permit that names its digest.
package appraise

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"assay/attest"
)

//go:embed profiles/*.yaml
var shipped embed.FS

// The schemas of profile and rule files.
const (
	ProfileSchema = "assay.profile/v1"
	RulesSchema   = "assay.rules/v1"
)

// Profile is an appraisal policy for one rule of law and one kind of site.
type Profile struct {
	Schema       string      `yaml:"schema" json:"schema"`
	ID           string      `yaml:"id" json:"id"`
	Version      string      `yaml:"version" json:"version"`
	Title        string      `yaml:"title" json:"title"`
	Extends      string      `yaml:"extends" json:"extends"`
	Authority    string      `yaml:"authority" json:"authority"`
	Citation     string      `yaml:"citation" json:"citation"`
	ValidityDays int         `yaml:"validityDays" json:"validityDays"`
	Parameters   []Parameter `yaml:"parameters" json:"parameters"`
	Covers       []Coverage  `yaml:"covers" json:"covers"`
	Rules        []Rule      `yaml:"rules" json:"rules"` // the profile's own, after those that it extends
	Limits       []string    `yaml:"limits" json:"limits"`
	Decision     string      `yaml:"-" json:"decision"`

	digest  attest.Digest
	program *program
}

// Parameter is a reading that the profile leaves to who applies it.
type Parameter struct {
	Name    string   `yaml:"name" json:"name"`
	Value   string   `yaml:"value" json:"value"`
	Allowed []string `yaml:"allowed" json:"allowed"`
	Text    string   `yaml:"text" json:"text"`
}

// Coverage decides whom the profile covers. The first whose When holds wins.
type Coverage struct {
	When    string `yaml:"when" json:"when"` // CEL over e (an entity) and param
	Is      string `yaml:"is" json:"is"`     // "covered", "contested" or "no"
	Because string `yaml:"because" json:"because"`
}

// Rule is one rule of a profile; the texts are CEL expressions.
type Rule struct {
	ID       string `yaml:"id" json:"id"`
	Effect   string `yaml:"effect" json:"effect"` // an attest.Effect, or ${parameter}
	Each     string `yaml:"each,omitempty" json:"each,omitempty"`
	When     string `yaml:"when" json:"when"`
	Text     string `yaml:"text,omitempty" json:"text,omitempty"`
	Met      string `yaml:"met,omitempty" json:"met,omitempty"`
	Unmet    string `yaml:"unmet,omitempty" json:"unmet,omitempty"`
	Refs     string `yaml:"refs,omitempty" json:"refs,omitempty"`
	Next     string `yaml:"next,omitempty" json:"next,omitempty"`
	Citation string `yaml:"citation,omitempty" json:"citation,omitempty"`
}

type ruleFile struct {
	Schema   string `yaml:"schema"`
	ID       string `yaml:"id"`
	Version  string `yaml:"version"`
	Decision string `yaml:"decision"`
	Rules    []Rule `yaml:"rules"`
}

// Ref names the exact profile.
func (p *Profile) Ref() attest.ProfileRef {
	return attest.ProfileRef{ID: p.ID, Version: p.Version, Title: p.Title, Digest: p.digest}
}

// Validity is the longest that a permit under the profile may hold.
func (p *Profile) Validity() time.Duration { return time.Duration(p.ValidityDays) * 24 * time.Hour }

// ErrNoProfile is wrapped by the error for an id that no file has.
var ErrNoProfile = errors.New("no such profile")

// Profiles returns the ids of the profiles that are shipped or in extra, sorted.
func Profiles(extra ...fs.FS) ([]string, error) {
	files, err := readAll(extra)
	if err != nil {
		return nil, err
	}
	var ids []string
	for id, f := range files {
		if f.schema == ProfileSchema {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids, nil
}

// Load reads the profile of an id, shipped or from a *.yaml file at the top of
// an extra file system, where a later one replaces an earlier one. set gives
// parameters other values than the profile's own.
func Load(id string, set map[string]string, extra ...fs.FS) (*Profile, error) {
	files, err := readAll(extra)
	if err != nil {
		return nil, err
	}
	f, ok := files[id]
	if !ok || f.schema != ProfileSchema {
		ids, _ := Profiles(extra...)
		return nil, fmt.Errorf("%w: %q; there are %s", ErrNoProfile, id, strings.Join(ids, ", "))
	}
	var p Profile
	if err := decode(f.bytes, &p); err != nil {
		return nil, fmt.Errorf("profile %s: %w", f.name, err)
	}
	parts := [][]byte{f.bytes}
	if p.Extends != "" {
		base, ok := files[p.Extends]
		if !ok || base.schema != RulesSchema {
			return nil, fmt.Errorf("profile %s: extends %q, which is no rules file", f.name, p.Extends)
		}
		var r ruleFile
		if err := decode(base.bytes, &r); err != nil {
			return nil, fmt.Errorf("rules %s: %w", base.name, err)
		}
		p.Decision = strings.TrimSpace(r.Decision)
		p.Rules = append(r.Rules, p.Rules...)
		parts = append(parts, base.bytes)
	}
	if err := p.set(set); err != nil {
		return nil, fmt.Errorf("profile %s: %w", p.ID, err)
	}
	if err := p.lint(); err != nil {
		return nil, fmt.Errorf("profile %s: %w", f.name, err)
	}
	// The digest is over both files, so that a changed decision rule is another profile.
	p.digest = attest.DigestOf(bytes.Join(parts, []byte{0}))
	if p.program, err = p.compile(); err != nil {
		return nil, fmt.Errorf("profile %s: %w", f.name, err)
	}
	return &p, nil
}

func (p *Profile) set(values map[string]string) error {
	for name, v := range values {
		i := slices.IndexFunc(p.Parameters, func(q Parameter) bool { return q.Name == name })
		if i < 0 {
			return fmt.Errorf("it has no parameter %q", name)
		}
		if !slices.Contains(p.Parameters[i].Allowed, v) {
			return fmt.Errorf("parameter %s: %q is not one of %s", name, v, strings.Join(p.Parameters[i].Allowed, ", "))
		}
		p.Parameters[i].Value = v
	}
	return nil
}

var parameterRef = regexp.MustCompile(`^\$\{([a-z-]+)\}$`)

// effect resolves a rule's effect through the parameters.
func (p *Profile) effect(r Rule) attest.Effect {
	m := parameterRef.FindStringSubmatch(r.Effect)
	if m == nil {
		return attest.Effect(r.Effect)
	}
	for _, q := range p.Parameters {
		if q.Name == m[1] {
			return attest.Effect(q.Value)
		}
	}
	return ""
}

func (p *Profile) lint() error {
	switch {
	case p.ID == "" || p.Version == "" || p.Title == "" || p.Citation == "":
		return errors.New("id, version, title and citation must be given")
	case p.ValidityDays < 1 || p.ValidityDays > 3650:
		return fmt.Errorf("validityDays %d is not from 1 to 3650", p.ValidityDays)
	case len(p.Rules) == 0:
		return errors.New("it has no rules")
	}
	for _, q := range p.Parameters {
		if !slices.Contains(q.Allowed, q.Value) {
			return fmt.Errorf("parameter %s: value %q is not allowed by its own list", q.Name, q.Value)
		}
	}
	for i, c := range p.Covers {
		if !slices.Contains([]string{"covered", "contested", "no"}, c.Is) {
			return fmt.Errorf("covers %d: %q is not covered, contested or no", i+1, c.Is)
		}
	}
	seen := map[string]bool{}
	for _, r := range p.Rules {
		if r.ID == "" || seen[r.ID] {
			return fmt.Errorf("rule id %q is missing or used twice", r.ID)
		}
		seen[r.ID] = true
		switch p.effect(r) {
		case attest.EffectRefuse, attest.EffectHold, attest.EffectReport:
			if r.Text == "" {
				return fmt.Errorf("rule %s: it has no text", r.ID)
			}
		case attest.EffectRequire:
			if r.Met == "" || r.Unmet == "" || r.Each != "" {
				return fmt.Errorf("rule %s: require needs met and unmet, and no each", r.ID)
			}
		default:
			return fmt.Errorf("rule %s: effect %q is not known", r.ID, r.Effect)
		}
	}
	return nil
}

type profileFile struct {
	name, schema string
	bytes        []byte
}

func readAll(extra []fs.FS) (map[string]profileFile, error) {
	sub, err := fs.Sub(shipped, "profiles")
	if err != nil {
		return nil, err
	}
	out := map[string]profileFile{}
	for _, fsys := range append([]fs.FS{sub}, extra...) {
		names, err := fs.Glob(fsys, "*.yaml")
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			b, err := fs.ReadFile(fsys, name)
			if err != nil {
				return nil, err
			}
			var head struct {
				Schema string `yaml:"schema"`
				ID     string `yaml:"id"`
			}
			if err := yaml.Unmarshal(b, &head); err != nil {
				return nil, fmt.Errorf("profile %s: %w", name, err)
			}
			if head.Schema != ProfileSchema && head.Schema != RulesSchema {
				return nil, fmt.Errorf("profile %s: schema %q is not %q or %q", name, head.Schema, ProfileSchema, RulesSchema)
			}
			out[head.ID] = profileFile{name, head.Schema, b}
		}
	}
	return out, nil
}

func decode(b []byte, into any) error {
	dec := yaml.NewDecoder(bytes.NewReader(b))
	dec.KnownFields(true)
	return dec.Decode(into)
}
