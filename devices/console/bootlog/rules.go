package bootlog

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"

	"assay/attest"
)

//go:embed rules.yaml
var embedded []byte

// rule is one kind of line.
type rule struct {
	id     string
	has    []string
	not    []string
	re     *regexp.Regexp
	starts Stage
	in     []Stage
	stage  Stage
	facts  []template
}

// template is a fact that a rule gives.
type template struct {
	subject attest.Subject
	name    string
	value   string
	as      string
}

type ruleSet struct {
	rules        []rule
	placeholders map[string]string // MAC to whose it is
}

var rules = sync.OnceValue(func() *ruleSet {
	r, err := parseRules(embedded)
	if err != nil {
		panic(err) // a test parses the same bytes
	}
	return r
})

// match returns the groups of a rule's pattern in a line.
func (r *rule) match(text string, stage Stage) []string {
	if len(r.in) > 0 && stage != Unknown && !holds(r.in, stage) {
		return nil
	}
	if !containsAny(text, r.has) || containsAny(text, r.not) {
		return nil
	}
	return r.re.FindStringSubmatch(text)
}

func containsAny(text string, words []string) bool {
	for _, w := range words {
		if strings.Contains(text, w) {
			return true
		}
	}
	return false
}

func holds(in []Stage, s Stage) bool {
	for _, i := range in {
		if i == s {
			return true
		}
	}
	return false
}

var group = regexp.MustCompile(`\$\d`)

// expand puts the groups into a template.
func expand(s string, groups []string) string {
	return group.ReplaceAllStringFunc(s, func(g string) string {
		if n := int(g[1] - '0'); n < len(groups) {
			return groups[n]
		}
		return ""
	})
}

var stages = map[string]Stage{"": Unknown, "rom": ROM, "loader": Loader, "kernel": Kernel, "userland": Userland}

// kinds are the ways in which a value is read.
var kinds = map[string]bool{"": true, "soc": true, "board": true, "part": true, "jedec": true, "bytes": true, "mac": true, "serial": true, "sensor": true, "radio": true, "usb": true, "mmc": true}

type rulesFile struct {
	Schema, Date string
	Sources      map[string]map[string]string
	Placeholders []struct{ Mac, Of, Source string }
	Rules        []struct {
		ID, Match, Starts, Stage, Source string
		Has, Not, In                     []string
		Facts                            []struct{ On, Name, Value, As string }
		Examples                         map[string][]string
		Counterexamples                  []string
	}
}

// parseRules reads a rules file and checks each rule against its own examples.
func parseRules(b []byte) (*ruleSet, error) {
	var file rulesFile
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	if err := d.Decode(&file); err != nil {
		return nil, fmt.Errorf("bootlog rules: %w", err)
	}
	if file.Schema != "assay.bootlog-rules/v1" || file.Date == "" {
		return nil, fmt.Errorf("bootlog rules: schema %q of %q", file.Schema, file.Date)
	}
	set := &ruleSet{placeholders: map[string]string{}}
	for _, p := range file.Placeholders {
		if file.Sources[p.Source] == nil || formatMAC(p.Mac) != p.Mac {
			return nil, fmt.Errorf("bootlog rules: placeholder %q: source %q", p.Mac, p.Source)
		}
		set.placeholders[p.Mac] = p.Of
	}
	seen := map[string]bool{}
	for i := range file.Rules {
		f := &file.Rules[i]
		r := rule{id: f.ID, has: f.Has, not: f.Not, starts: stages[f.Starts], stage: max(stages[f.Stage], stages[f.Starts])}
		err := func() (err error) {
			if f.ID == "" || seen[f.ID] || len(f.Has) == 0 || len(f.Examples) == 0 || len(f.Counterexamples) == 0 || file.Sources[f.Source] == nil {
				return errors.New("needs an id of its own, has, a source, examples and counterexamples")
			}
			seen[f.ID] = true
			for _, s := range append([]string{f.Starts, f.Stage}, f.In...) {
				if _, ok := stages[s]; !ok {
					return fmt.Errorf("stage %q", s)
				}
			}
			for _, s := range f.In {
				r.in = append(r.in, stages[s])
				r.stage = max(r.stage, stages[s])
			}
			for _, t := range f.Facts {
				if t.On == "" || t.Name == "" || t.Value == "" || !kinds[t.As] {
					return fmt.Errorf("fact %+v", t)
				}
				r.facts = append(r.facts, template{attest.Subject(t.On), t.Name, t.Value, t.As})
			}
			r.re, err = regexp.Compile(f.Match)
			return err
		}()
		if err != nil {
			return nil, fmt.Errorf("bootlog rules: rule %q: %w", f.ID, err)
		}
		set.rules = append(set.rules, r)
	}
	var wrong []error
	for i := range set.rules {
		if err := set.check(&set.rules[i], file.Rules[i].Examples, file.Rules[i].Counterexamples); err != nil {
			wrong = append(wrong, fmt.Errorf("bootlog rules: rule %q: %w", set.rules[i].id, err))
		}
	}
	return set, errors.Join(wrong...)
}

// check runs a rule alone on its examples, in the first stage in which it holds.
func (set *ruleSet) check(r *rule, examples map[string][]string, counterexamples []string) error {
	stage := Unknown
	if len(r.in) > 0 {
		stage = r.in[0]
	}
	var wrong []error
	for text, want := range examples {
		groups := r.match(text, stage)
		if groups == nil {
			wrong = append(wrong, fmt.Errorf("example %q does not match", text))
			continue
		}
		b := boot{set: set, stage: stage}
		b.apply(r, groups, logLine{text: text})
		var got []string
		for _, f := range b.found {
			got = append(got, fmt.Sprintf("%s %s = %s", f.Subject, f.Name, f.Value))
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			wrong = append(wrong, fmt.Errorf("example %q says %q, want %q", text, got, want))
		}
	}
	for _, text := range counterexamples {
		groups := r.match(text, stage)
		b := boot{set: set, stage: stage}
		if groups != nil {
			b.apply(r, groups, logLine{text: text})
		}
		if len(b.found) > 0 || groups != nil && len(r.facts) == 0 {
			wrong = append(wrong, fmt.Errorf("counterexample %q says %v", text, b.found))
		}
	}
	return errors.Join(wrong...)
}
