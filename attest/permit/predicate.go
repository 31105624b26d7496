package permit

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"assay/attest"
)

// Type is the predicate type of a permit. The last segment is the version that
// decides what the fields mean; a new meaning is a new type.
const Type = "https://assay.example/permit/v1"

// typeStem is Type without its version.
const typeStem = "https://assay.example/permit/v"

// schemaVersion counts the additions to Type that did not change a meaning. A
// permit with a higher one has fields that this version cannot know.
const schemaVersion = 1

// Predicate is what a permit says about its unit. A refusal notice and a notice
// that appraisal was inconclusive are the same with another verdict.
// Its JSON is described field by field by [Schema].
type Predicate struct {
	SchemaVersion  int                    `json:"schemaVersion"`
	Verdict        attest.Verdict         `json:"verdict"`
	Unit           attest.Unit            `json:"unit"`
	Identified     bool                   `json:"identified"` // whether the unit's record tells it from others of its model
	Profile        attest.ProfileRef      `json:"profile"`
	Parameters     []attest.Parameter     `json:"parameters"`
	Data           []attest.DataRef       `json:"data"`
	DecisionRule   string                 `json:"decisionRule"`
	Reasons        []attest.Reason        `json:"reasons"`
	Next           []string               `json:"next,omitempty"`
	Grades         []attest.SubjectGrade  `json:"grades"`
	Contradictions []Contradiction        `json:"contradictions"`
	AR4SI          attest.Trustworthiness `json:"ar4si"`
	Limits         []string               `json:"limits"`
	Evidence       attest.Digest          `json:"evidence"` // of the canonical JSON of attest.Evidence
	Firmware       []attest.Digest        `json:"firmware"`
	Result         attest.Digest          `json:"result"`    // of the canonical JSON of attest.Result
	Appraised      time.Time              `json:"appraised"` // whole seconds, UTC, as all times here
	Issued         time.Time              `json:"issued"`
	NotBefore      time.Time              `json:"notBefore"` // valid from this instant
	NotAfter       time.Time              `json:"notAfter"`  // up to and including this one
	Station        Station                `json:"station"`
	Tool           string                 `json:"tool"` // name and version of the program that issued it
}

// Station is who issued a permit.
type Station struct {
	Name string        `json:"name"`
	Key  attest.Digest `json:"key"` // SHA-256 of the SubjectPublicKeyInfo of the key that signed
}

// Contradiction is an [attest.Contradiction] without its sides, which stay in
// the evidence.
type Contradiction struct {
	ID      string         `json:"id"`
	Subject attest.Subject `json:"subject"`
	Name    string         `json:"name"`
	Says    string         `json:"says"`
}

// check holds what must be true of every permit, whoever makes or reads it.
func (p *Predicate) check() error {
	switch p.Verdict {
	case attest.Permitted, attest.Refused, attest.Inconclusive:
	default:
		return fmt.Errorf("%w %q", ErrVerdict, p.Verdict)
	}
	if err := checkUnit(p.Unit); err != nil {
		return fmt.Errorf("%w: %w", ErrPredicate, err)
	}
	if p.Identified != p.Unit.Identified() {
		return fmt.Errorf("%w: identified is %t, which the unit's record contradicts", ErrPredicate, p.Identified)
	}
	if p.Verdict == attest.Permitted && !p.Identified {
		return ErrUnidentified
	}
	for _, d := range append([]attest.Digest{p.Evidence, p.Result, p.Profile.Digest, p.Station.Key}, p.Firmware...) {
		if !d.Valid() {
			return fmt.Errorf("%w: %q is not a digest like sha256:<64 lower-case hex digits>; evidence, result, profile and station need one", ErrPredicate, d)
		}
	}
	for _, t := range []time.Time{p.Appraised, p.Issued, p.NotBefore, p.NotAfter} {
		if !t.Equal(t.Truncate(time.Second)) || t.Location() != time.UTC {
			return fmt.Errorf("%w: time %s is not whole seconds in UTC", ErrPredicate, t.Format(time.RFC3339Nano))
		}
	}
	if p.Station.Name == "" || p.Tool == "" {
		return fmt.Errorf("%w: station name and tool must be given", ErrPredicate)
	}
	if !p.NotAfter.After(p.NotBefore) {
		return fmt.Errorf("%w: it ends at %s and starts at %s", ErrPredicate, p.NotAfter.Format(time.RFC3339), p.NotBefore.Format(time.RFC3339))
	}
	return nil
}

// checkUnit refuses a record that is not in its one form: with two forms the
// same unit would have two digests, and a permit or revocation for one would
// not be found by the other.
func checkUnit(u attest.Unit) error {
	if u.Schema != attest.UnitSchema {
		return fmt.Errorf("unit schema %q is not %q", u.Schema, attest.UnitSchema)
	}
	for _, l := range []struct {
		name   string
		values []string
	}{{"serials", u.Serials}, {"macs", u.MACs}, {"deviceKeys", texts(u.DeviceKeys)}, {"images", texts(u.Images)}} {
		if !slices.IsSorted(l.values) || len(slices.Compact(slices.Clone(l.values))) != len(l.values) {
			return fmt.Errorf("unit %s are not sorted and without repeats", l.name)
		}
		if slices.Contains(l.values, "") {
			return fmt.Errorf("unit %s hold an empty one", l.name)
		}
	}
	for _, m := range u.MACs {
		if m != strings.ToUpper(m) || len(m) != len("00:00:5E:00:53:00") {
			return fmt.Errorf("unit MAC address %q is not written like 00:00:5E:00:53:00", m)
		}
	}
	for _, d := range slices.Concat(u.DeviceKeys, u.Images) {
		if !d.Valid() {
			return errors.New("unit deviceKeys and images must be digests like sha256:<64 lower-case hex digits>")
		}
	}
	return nil
}

func texts(ds []attest.Digest) []string {
	var s []string
	for _, d := range ds {
		s = append(s, string(d))
	}
	return s
}
