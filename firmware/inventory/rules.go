package inventory

import (
	"bytes"
	_ "embed"
	"fmt"
	"regexp"
	"slices"

	"go.yaml.in/yaml/v3"
)

//go:embed marks.yaml
var embeddedMarks []byte

const marksSchema = "assay.marks/v1"

// rule is one entry of marks.yaml; its head comment says what the fields mean.
type rule struct {
	ID              string   `yaml:"id"`
	Literal         string   `yaml:"literal"`
	Word            bool     `yaml:"word"`
	Host            bool     `yaml:"host"`
	Match           string   `yaml:"match"`
	Before          string   `yaml:"before"`
	File            string   `yaml:"file"`
	Symbol          string   `yaml:"symbol"`
	Of              string   `yaml:"of"`
	Module          string   `yaml:"module"`
	Certificate     string   `yaml:"certificate"`
	In              string   `yaml:"in"` // a file name for the examples of a rule with File
	Entity          string   `yaml:"entity"`
	Subject         string   `yaml:"subject"`
	Strength        string   `yaml:"strength"`
	Says            string   `yaml:"says"`
	Source          string   `yaml:"source"`
	Examples        []string `yaml:"examples"`
	Counterexamples []string `yaml:"counterexamples"`

	match, before, file, certificate, module *regexp.Regexp
}

// symbolRules finds the rules of what is read rather than searched for.
var symbolRules = func() (x struct {
	exports, imports      map[string][]int
	modules, certificates []int
}) {
	x.exports, x.imports = make(map[string][]int), make(map[string][]int)
	for i, r := range rules {
		switch {
		case r.Symbol != "" && r.Of == "exports":
			x.exports[r.Symbol] = append(x.exports[r.Symbol], i)
		case r.Symbol != "":
			x.imports[r.Symbol] = append(x.imports[r.Symbol], i)
		case r.Module != "":
			x.modules = append(x.modules, i)
		case r.Certificate != "":
			x.certificates = append(x.certificates, i)
		}
	}
	return x
}()

var rules = mustParseRules(embeddedMarks)

func mustParseRules(data []byte) []rule {
	list, err := parseRules(data)
	if err != nil {
		panic(err)
	}
	return list
}

// parseRules reads a marks file and refuses one with unknown fields, with a
// rule that says nothing or cites nothing, or with one that cannot match.
func parseRules(data []byte) ([]rule, error) {
	var file struct {
		Schema string `yaml:"schema"`
		Date   string `yaml:"date"`
		Rules  []rule `yaml:"rules"`
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(&file); err != nil {
		return nil, fmt.Errorf("marks: %w", err)
	}
	if file.Schema != marksSchema || file.Date == "" {
		return nil, fmt.Errorf("marks: schema %q of %q is not %s", file.Schema, file.Date, marksSchema)
	}
	seen := make(map[string]bool)
	for i := range file.Rules {
		r := &file.Rules[i]
		if seen[r.ID] {
			return nil, fmt.Errorf("marks: rule %s stands twice", r.ID)
		}
		seen[r.ID] = true
		if err := r.compile(); err != nil {
			return nil, fmt.Errorf("marks: rule %q: %w", r.ID, err)
		}
	}
	return file.Rules, nil
}

var subjects = []string{"unit", "firmware", "boot-loader", "board", "soc", "flash", "module"}

func (r *rule) compile() (err error) {
	switch {
	case r.ID == "" || r.Entity == "" || r.Says == "" || r.Source == "":
		return fmt.Errorf("id, entity, says and source are needed")
	case r.kinds() != 1:
		return fmt.Errorf("one of literal, symbol, module and certificate is needed")
	case r.Literal != "" && len(r.Literal) < minLiteral:
		return fmt.Errorf("literal %q is shorter than %d bytes and would match by chance", r.Literal, minLiteral)
	case r.Literal == "" && (r.Word || r.Host || r.Match != "" || r.Before != ""):
		return fmt.Errorf("word, host, match and before belong to a literal")
	case r.Symbol != "" && r.Of != "exports" && r.Of != "imports" || r.Symbol == "" && r.Of != "":
		return fmt.Errorf("a symbol is of exports or of imports")
	case r.Certificate != "" && r.Strength != "c1":
		return fmt.Errorf("anybody can write a name into a certificate: it is c1")
	case r.Strength != "c1" && r.Strength != "c2":
		return fmt.Errorf("strength %q is not c1 or c2", r.Strength)
	case !slices.Contains(subjects, r.Subject):
		return fmt.Errorf("subject %q is not one of %v", r.Subject, subjects)
	case len(r.Examples) == 0 || len(r.Counterexamples) == 0:
		return fmt.Errorf("examples and counterexamples are needed")
	}
	for _, c := range []struct {
		text, prefix string
		to           **regexp.Regexp
	}{{r.Match, "^", &r.match}, {r.Before, "", &r.before}, {r.File, "", &r.file}, {r.Certificate, "", &r.certificate}, {r.Module, "^", &r.module}} {
		if c.text == "" {
			continue
		}
		text := c.prefix + "(?:" + c.text + ")"
		if c.to == &r.module {
			text += "$"
		}
		if *c.to, err = regexp.Compile(text); err != nil {
			return err
		}
	}
	return nil
}

func (r *rule) kinds() (n int) {
	for _, s := range []string{r.Literal, r.Symbol, r.Module, r.Certificate} {
		if s != "" {
			n++
		}
	}
	return n
}

// find tells whether the rule matches where its literal stands in p, and how
// many bytes.
func (r *rule) find(p []byte, at int) (length int, ok bool) {
	length = len(r.Literal)
	if r.match != nil {
		loc := r.match.FindIndex(p[at:min(len(p), at+ahead)])
		if loc == nil {
			return 0, false
		}
		length = loc[1]
	}
	if r.before != nil && !r.before.Match(p[max(0, at-behind):at]) {
		return 0, false
	}
	if r.Word && (at > 0 && wordByte(p[at-1]) || at+length < len(p) && wordByte(p[at+length])) {
		return 0, false
	}
	if r.Host && !isHost(p, at, at+length) {
		return 0, false
	}
	return length, true
}

// isHost tells whether the domain at p[at:end] stands as a host name, alone or
// with others before it: not as part of a longer name, and not in the address of
// a person. Drivers of Linux name their authors at makers all over.
func isHost(p []byte, at, end int) bool {
	if end < len(p) && (wordByte(p[end]) || p[end] == '-' || p[end] == '.' && end+1 < len(p) && wordByte(p[end+1])) {
		return false
	}
	for i := at - 1; i >= max(0, at-behind); i-- {
		switch c := p[i]; {
		case c == '@':
			return false
		case wordByte(c) || c == '-' || c == '+':
			if i == at-1 {
				return false // the tail of another name
			}
		case c != '.':
			return true
		}
	}
	return at < behind
}

func wordByte(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}
