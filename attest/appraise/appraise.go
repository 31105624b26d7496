package appraise

import (
	"fmt"
	"maps"
	"reflect"
	"time"
	"unicode"
	"unicode/utf8"

	"assay/attest"
	"assay/attest/entity"
)

// Appraise applies the profile to the evidence. The same arguments give the
// same result. An error is a rule that could not be evaluated, never a verdict.
func Appraise(ev *attest.Evidence, p *Profile, d *entity.Data, now time.Time) (*attest.Result, error) {
	digest, err := EvidenceDigest(ev)
	if err != nil {
		return nil, err
	}
	v, err := p.view(ev, d)
	if err != nil {
		return nil, err
	}
	v.vars["now"] = now
	r := &attest.Result{
		Schema: attest.ResultSchema, Unit: ev.Unit, Profile: p.Ref(), Data: d.Refs(), Evidence: digest,
		Grades: grades(ev), DecisionRule: p.Decision, Limits: p.Limits, Time: now.UTC().Truncate(time.Second),
	}
	for _, q := range p.Parameters {
		r.Parameters = append(r.Parameters, attest.Parameter{Name: q.Name, Value: q.Value, Text: q.Text})
	}
	for _, i := range ev.Images {
		r.Firmware = append(r.Firmware, i.Digest)
	}
	for i, rule := range p.Rules {
		reasons, err := p.apply(rule, p.program.rules[i], v)
		if err != nil {
			return nil, fmt.Errorf("profile %s: %w", p.ID, err)
		}
		r.Reasons = append(r.Reasons, reasons...)
	}
	r.Verdict = verdict(r.Reasons)
	if r.Verdict == attest.Inconclusive {
		r.Next = next(r.Reasons)
	}
	r.AR4SI = trustworthiness(ev)
	return r, nil
}

// EvidenceDigest addresses evidence: SHA-256 of its canonical JSON.
func EvidenceDigest(ev *attest.Evidence) (attest.Digest, error) {
	b, err := attest.Canonical(ev)
	if err != nil {
		return "", fmt.Errorf("evidence: %w", err)
	}
	return attest.DigestOf(b), nil
}

func (p *Profile) apply(rule Rule, prog ruleProgram, v *view) ([]attest.Reason, error) {
	if rule.Each == "" {
		r, err := p.applyOnce(rule, prog, v.vars, nil)
		return r, err
	}
	var out []attest.Reason
	more := 0
	for _, item := range v.lists[rule.Each] {
		if len(out) >= maxReasons {
			more++
			continue
		}
		vars := maps.Clone(v.vars)
		vars["it"] = item
		r, err := p.applyOnce(rule, prog, vars, item)
		if err != nil {
			return nil, err
		}
		out = append(out, r...)
	}
	if more > 0 {
		out[len(out)-1].Text += fmt.Sprintf(" (%d more of the %s were not looked at by this rule.)", more, rule.Each)
	}
	return out, nil
}

// maxReasons bounds what one rule may say. A unit decides how many marks and
// problems it has, and the permit that lists the reasons must still be small
// enough to issue: a refusal must not fail on the number of its grounds.
const maxReasons = 25

func (p *Profile) applyOnce(rule Rule, prog ruleProgram, vars, item map[string]any) ([]attest.Reason, error) {
	where := "rule " + rule.ID
	holds, err := evalBool(prog.when, where+" when", vars)
	if err != nil {
		return nil, err
	}
	r := attest.Reason{Rule: rule.ID, Effect: p.effect(rule), Citation: rule.Citation}
	text := prog.text
	if r.Effect == attest.EffectRequire {
		r.Met = &holds
		if text = prog.unmet; holds {
			text = prog.met
		}
	} else if !holds {
		return nil, nil
	}
	if r.Text, err = evalString(text, where+" text", vars); err != nil {
		return nil, err
	}
	r.Text = sentence(r.Text)
	if r.Effect == attest.EffectHold || r.Met != nil && !holds {
		if r.Next, err = evalString(prog.next, where+" next", vars); err != nil {
			return nil, err
		}
	}
	if r.Citation == "" && r.Effect == attest.EffectRefuse {
		r.Citation = p.Citation
	}
	r.Refs, err = refs(prog, where, vars, item)
	return []attest.Reason{r}, err
}

// sentence starts a text with a capital, since it may quote a mark or problem
// that does not.
func sentence(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	return string(unicode.ToUpper(r)) + s[n:]
}

func refs(prog ruleProgram, where string, vars, item map[string]any) ([]string, error) {
	if prog.refs == nil {
		if id, ok := item["id"].(string); ok && id != "" {
			return []string{id}, nil
		}
		return nil, nil
	}
	v, _, err := prog.refs.Eval(vars)
	if err != nil {
		return nil, fmt.Errorf("%s refs: %w", where, err)
	}
	native, err := v.ConvertToNative(stringsType)
	if err != nil {
		return nil, fmt.Errorf("%s refs: %w", where, err)
	}
	return native.([]string), nil
}

// verdict is the decision rule: one refusing reason refuses; anything that
// stands in the way of permission leaves it open; nothing at all never permits.
func verdict(reasons []attest.Reason) attest.Verdict {
	required, open := 0, false
	for _, r := range reasons {
		switch r.Effect {
		case attest.EffectRefuse:
			return attest.Refused
		case attest.EffectHold:
			open = true
		case attest.EffectRequire:
			required++
			open = open || !*r.Met
		}
	}
	if open || required == 0 {
		return attest.Inconclusive
	}
	return attest.Permitted
}

func next(reasons []attest.Reason) []string {
	var out []string
	seen := map[string]bool{}
	for _, r := range reasons {
		if r.Next != "" && !seen[r.Next] {
			seen[r.Next] = true
			out = append(out, r.Next)
		}
	}
	return out
}

// trustworthiness derives the AR4SI vector. It affirms no more than the draft
// allows: instance identity only from a key that signed, executables only where
// the boot of signed code is enforced. Whose work a unit is has no AR4SI claim
// and does not appear here.
func trustworthiness(ev *attest.Evidence) attest.Trustworthiness {
	var t attest.Trustworthiness
	for _, c := range ev.Claims {
		switch {
		case c.Name == attest.NameDeviceKey && c.Origin() >= attest.P5:
			t.InstanceIdentity = 2 // recognized instance
		case c.Name == attest.NameBootChain && c.Origin() >= attest.P4 && c.Acquisition >= attest.A2:
			t.FileSystem = 2 // approved
		}
	}
	if t.FileSystem == 2 && deviceProven(ev) {
		t.Executables = 3 // approved at boot
	}
	for _, e := range ev.Endorsements {
		if e.Status == attest.StatusFailed {
			t.Executables, t.FileSystem = 99, 99 // cryptographic validation failed
		}
	}
	return t
}

var stringsType = reflect.TypeFor[[]string]()
