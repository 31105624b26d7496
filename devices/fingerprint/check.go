package fingerprint

import (
	"errors"
	"fmt"
	"regexp"
	"slices"

	"assay/attest"
)

func (r *Rules) check() error {
	if r.date == "" {
		return errors.New("no date")
	}
	ids := map[string]bool{}
	for i := range r.rules {
		rule := &r.rules[i]
		if ids[rule.ID] {
			return fmt.Errorf("rule %q: id used twice", rule.ID)
		}
		ids[rule.ID] = true
		if err := rule.check(); err != nil {
			return fmt.Errorf("rule %q: %w", rule.ID, err)
		}
	}
	for i := range r.together {
		t := &r.together[i]
		if ids[t.ID] {
			return fmt.Errorf("rule %q: id used twice", t.ID)
		}
		for _, id := range t.Among {
			if !ids[id] {
				return fmt.Errorf("rule %q: among: no rule %q", t.ID, id)
			}
		}
		ids[t.ID] = true
	}
	for i := range r.together {
		if err := r.checkTogether(&r.together[i]); err != nil {
			return fmt.Errorf("rule %q: %w", r.together[i].ID, err)
		}
	}
	for _, f := range r.false {
		if err := r.checkFalseTell(f); err != nil {
			return fmt.Errorf("false tell %q: %w", f.ID, err)
		}
	}
	return nil
}

func (r *Rules) checkFalseTell(f FalseTell) error {
	if f.ID == "" || f.Says == "" || f.Source == "" || len(f.LooksLike) == 0 || len(f.Examples) == 0 {
		return errors.New("needs id, looks_like, says, source and examples")
	}
	for i, x := range f.Examples {
		if err := knownPlaces(x); err != nil {
			return err
		}
		for _, m := range r.Match(observations(x)) {
			if slices.Contains(f.LooksLike, m.Entity) {
				return fmt.Errorf("example %d makes mark %s of %s", i+1, m.Rule, m.Entity)
			}
		}
	}
	return nil
}

func (r *Rule) check() error {
	strength := r.Strength
	if r.Part {
		if strength != 0 {
			return errors.New("a part has no strength: it makes no mark of its own")
		}
		strength = attest.C1
	}
	if err := checkMark(r.ID, r.Entity, r.Subject, strength, r.Says, r.Source); err != nil {
		return err
	}
	for _, on := range r.On {
		if !knownPlace(on) {
			return fmt.Errorf("on: no place %q", on)
		}
	}
	if len(r.On) == 0 || len(r.Examples) == 0 {
		return errors.New("needs on and examples")
	}
	re, err := regexp.Compile(r.Match)
	if err != nil {
		return fmt.Errorf("match: %w", err)
	}
	if re.MatchString("") {
		return errors.New("match: matches the empty string")
	}
	r.re = re
	for _, x := range r.Examples {
		if !re.MatchString(x) {
			return fmt.Errorf("example %q does not match", x)
		}
	}
	for _, x := range r.Counterexamples {
		if re.MatchString(x) {
			return fmt.Errorf("counterexample %q matches", x)
		}
	}
	return nil
}

func (r *Rules) checkTogether(t *Together) error {
	if err := checkMark(t.ID, t.Entity, t.Subject, t.Strength, t.Says, t.Source); err != nil {
		return err
	}
	if t.Needs < 2 || len(t.Among) < t.Needs || len(t.Examples) == 0 {
		return errors.New("needs two or more among its rules, and examples")
	}
	for _, x := range slices.Concat(t.Examples, t.Counterexamples) {
		if err := knownPlaces(x); err != nil {
			return err
		}
	}
	for i, x := range t.Examples {
		if !r.makes(t.ID, x) {
			return fmt.Errorf("example %d does not match", i+1)
		}
	}
	for i, x := range t.Counterexamples {
		if r.makes(t.ID, x) {
			return fmt.Errorf("counterexample %d matches", i+1)
		}
	}
	return nil
}

func knownPlaces(seen []Seen) error {
	for _, s := range seen {
		if !knownPlace(s.On) {
			return fmt.Errorf("an example is on %q, which is no place", s.On)
		}
	}
	return nil
}

func observations(seen []Seen) []Observation {
	var out []Observation
	for _, s := range seen {
		out = append(out, Observation{On: s.On, Value: s.Value})
	}
	return out
}

// makes reports whether the observations make a mark by the rule id.
func (r *Rules) makes(id string, seen []Seen) bool {
	for _, m := range r.Match(observations(seen)) {
		if m.Rule == id {
			return true
		}
	}
	return false
}

func checkMark(id, entity string, subject attest.Subject, strength attest.Strength, says, source string) error {
	if id == "" || entity == "" || subject == "" || says == "" || source == "" {
		return errors.New("needs id, entity, subject, says and source")
	}
	if strength != attest.C1 && strength != attest.C2 {
		return errors.New("strength is not c1 or c2: a string proves nothing")
	}
	return nil
}
