package appraise_test

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"assay/attest"
	"assay/attest/appraise"
	"assay/attest/collect"
	"assay/attest/entity"
	"assay/devices"
	"assay/devices/fingerprint"
	"assay/devices/fingerprint/recog"
)

// described is a unit of testdata/attribution.yaml.
type described struct {
	Name         string
	Country      string
	Observations []struct{ On, Value, Source string }
	Claims       []string

	Marks          map[string]attest.Strength // the strongest of each entity
	Contradictions []string                   // ids of rules
	UK, NDAA       attest.Verdict
	Reasons, Not   []string // rules that must be, and must not be, among the UK reasons
}

// channel is a network channel that finds what is described: marks and facts are
// made as the real one makes them.
type channel struct {
	t *testing.T
	u described
}

func (c channel) Close() error { return nil }

func (c channel) Identify(_ context.Context, s devices.Sink) error {
	raw := s.Artefact("text/plain", "answer", []byte(c.u.Name))
	for _, x := range c.u.Claims {
		what, source, ok1 := strings.Cut(x, " @ ")
		name, value, ok2 := strings.Cut(what, " = ")
		subject, name, ok3 := strings.Cut(name, " ")
		if !ok1 || !ok2 || !ok3 {
			c.t.Fatalf("claim %q is not \"subject name = value @ source\"", x)
		}
		s.Claim(attest.Claim{Subject: attest.Subject(subject), Name: name, Value: value, Source: source, Raw: raw})
	}
	var seen []fingerprint.Observation
	for _, o := range c.u.Observations {
		if o.Source == "" {
			protocol, field, _ := strings.Cut(o.On, ".")
			o.Source = protocol + " " + field
		}
		seen = append(seen, fingerprint.Observation{On: o.On, Value: o.Value, Source: o.Source, Raw: raw})
		for _, f := range fingerprint.Decode(o.On, o.Value) {
			s.Claim(attest.Claim{Subject: f.Subject, Name: f.Name, Value: f.Value, Source: "grammar " + f.Grammar + " of " + o.Source, Raw: raw})
		}
	}
	for _, m := range slices.Concat(fingerprint.Embedded().Match(seen), recog.Hints(seen)) {
		s.Mark(m)
	}
	return nil
}

// TestUnitsAsTheyAnswer goes the whole way from what a unit answers to the
// verdict: marks, contradictions and reasons.
func TestUnitsAsTheyAnswer(t *testing.T) {
	b, err := os.ReadFile("testdata/attribution.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var units []described
	if err := yaml.Unmarshal(b, &units); err != nil {
		t.Fatal(err)
	}
	if len(units) < 20 {
		t.Fatalf("%d units", len(units))
	}
	d, err := entity.Load(os.DirFS("testdata/entities"))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 26, 9, 0, 0, 0, time.UTC)
	for _, u := range units {
		t.Run(u.Name, func(t *testing.T) {
			s, err := collect.New(t.TempDir(), collect.Options{Entities: d, Country: u.Country, Now: func() time.Time { return now }})
			if err != nil {
				t.Fatal(err)
			}
			target, err := devices.ParseTarget("192.0.2.1")
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Collect(t.Context(), target, channel{t, u}); err != nil {
				t.Fatal(err)
			}
			ev, err := s.Evidence(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range ev.Claims {
				if c.Grade() != "P1@A0" {
					t.Errorf("%s %s is %s: one address is one witness, however many protocols answer", c.Subject, c.Name, c.Grade())
				}
			}
			marks := map[string]attest.Strength{}
			for _, m := range ev.Marks {
				marks[m.Entity] = max(marks[m.Entity], m.Strength)
			}
			for _, entity := range slices.Sorted(keys(marks, u.Marks)) {
				if marks[entity] != u.Marks[entity] {
					t.Errorf("marks of %s are at most %s, want %s", entity, marks[entity], u.Marks[entity])
				}
			}
			var broken []string
			for _, x := range ev.Contradictions {
				if !slices.Contains(broken, x.Rule) {
					broken = append(broken, x.Rule)
				}
			}
			slices.Sort(broken)
			slices.Sort(u.Contradictions)
			if !slices.Equal(broken, u.Contradictions) {
				t.Errorf("contradictions %q, want %q", broken, u.Contradictions)
			}
			for id, want := range map[string]attest.Verdict{"uk-sensitive-site": u.UK, "us-ndaa-889": u.NDAA} {
				p, err := appraise.Load(id, nil)
				if err != nil {
					t.Fatal(err)
				}
				r, err := appraise.Appraise(ev, p, d, now)
				if err != nil {
					t.Fatal(err)
				}
				if r.Verdict != want {
					t.Errorf("%s: %s, want %s", id, r.Verdict, want)
				}
				if r.Verdict == attest.Permitted {
					t.Errorf("%s: the network's word alone permits", id)
				}
				if id != "uk-sensitive-site" {
					continue
				}
				var rules []string
				for _, x := range r.Reasons {
					rules = append(rules, x.Rule)
				}
				for _, want := range u.Reasons {
					if !slices.Contains(rules, want) {
						t.Errorf("no reason %s among %q", want, rules)
					}
				}
				for _, not := range u.Not {
					if slices.Contains(rules, not) {
						t.Errorf("reason %s, which there must not be", not)
					}
				}
			}
		})
	}
}

func keys(sets ...map[string]attest.Strength) func(func(string) bool) {
	all := map[string]bool{}
	for _, s := range sets {
		for k := range s {
			all[k] = true
		}
	}
	return func(yield func(string) bool) {
		for k := range all {
			if !yield(k) {
				return
			}
		}
	}
}
