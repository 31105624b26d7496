// Package autoboot knows how the automatic boot of each family of boot loaders
// is stopped: by which key, whether the key may be repeated, and by which prompt
// the family is known afterwards. It is data with a reader; each family in
// autoboot.yaml names its sources and has its own examples.
//
// No key here changes anything on a unit that is already at its prompt, except
// Enter, which makes U-Boot repeat the last command: it is the key of the few
// families that take nothing else, and of none that is not recognised.
package autoboot

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"
)

//go:embed autoboot.yaml
var embedded []byte

// Mode is how keys are sent.
type Mode string

// The modes.
const (
	Repeat Mode = "repeat" // each key again and again until a prompt is there
	Once   Mode = "once"   // one string, once, with nothing before or after it
)

// Password is what a family wants of a person.
type Password string

// The ways in which a loader asks for a password. The data holds none, and none
// is ever guessed.
const (
	NoPassword Password = "none"
	After      Password = "after"   // asked for when the key was accepted
	Instead    Password = "instead" // takes the place of the key
)

// Stop is how one family is stopped.
type Stop struct {
	Family   string
	Banner   *regexp.Regexp // in all that was printed since power-on
	Keys     []string       // what to send, harmless first; empty where only a password stops it
	Mode     Mode
	Early    bool // keys have to arrive before any banner
	Password Password
	Prompts  []*regexp.Regexp // a line that is this family's prompt
	Notes    string
	Source   string
}

// Stops returns the families in the order in which they are to be recognised.
// The last one's banner matches any text.
func Stops() []Stop { return load() }

// Default reports whether s is what is left when no family is recognised.
func (s Stop) Default() bool { return s.Banner != nil && s.Banner.String() == "" }

// For returns the family whose banner is in the text that was printed since
// power-on, with the keys that its banner names put in.
func For(text []byte) Stop {
	all := load()
	for _, s := range all {
		m := s.Banner.FindSubmatchIndex(text)
		if m == nil {
			continue
		}
		keys := make([]string, len(s.Keys))
		for i, k := range s.Keys {
			keys[i] = k
			if k == "$1" {
				keys[i] = string(text[m[2]:m[3]])
			}
		}
		s.Keys = keys
		return s
	}
	return all[len(all)-1]
}

// Prompt returns the family that a line is the prompt of. The families' common
// "=> " is U-Boot's.
func Prompt(line string) (Stop, bool) {
	all := load()
	if len(line) > 64 {
		return Stop{}, false
	}
	if last := all[len(all)-1]; last.prompts(line) {
		return last, true
	}
	for _, s := range all {
		if s.prompts(line) {
			return s, true
		}
	}
	return Stop{}, false
}

func (s Stop) prompts(line string) bool {
	for _, p := range s.Prompts {
		if p.MatchString(line) {
			return true
		}
	}
	return false
}

var load = sync.OnceValue(func() []Stop {
	all, err := parse(embedded)
	if err != nil {
		panic(err) // a test parses the same bytes
	}
	return all
})

// row is a family as the file has it.
type row struct {
	Family, Banner, Notes, Source string
	Keys, Prompts                 []string
	Mode                          Mode
	Early                         bool
	Password                      Password
	Examples, Counterexamples     []string
	PromptExamples                []string `yaml:"promptExamples"`
}

// parse reads the file and checks each family against its own examples.
func parse(b []byte) ([]Stop, error) {
	var file struct {
		Schema, Date string
		Stops        []row
	}
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	if err := d.Decode(&file); err != nil {
		return nil, fmt.Errorf("autoboot data: %w", err)
	}
	if file.Schema != "assay.autoboot/v1" || file.Date == "" || len(file.Stops) == 0 {
		return nil, fmt.Errorf("autoboot data: schema %q of %q with %d families", file.Schema, file.Date, len(file.Stops))
	}
	var all []Stop
	for _, r := range file.Stops {
		s, err := r.stop()
		if err != nil {
			return nil, fmt.Errorf("autoboot data: family %q: %w", r.Family, err)
		}
		all = append(all, s)
	}
	if last := all[len(all)-1]; !last.Banner.MatchString("") {
		return nil, errors.New("autoboot data: the last family must match any text")
	}
	return all, nil
}

func (r row) stop() (Stop, error) {
	s := Stop{Family: r.Family, Keys: r.Keys, Mode: r.Mode, Early: r.Early, Password: r.Password, Notes: r.Notes, Source: r.Source}
	if r.Family == "" || r.Source == "" || len(r.Examples) == 0 {
		return s, errors.New("needs a family, a source and examples")
	}
	if (r.Mode != Repeat && r.Mode != Once) || (r.Password != NoPassword && r.Password != After && r.Password != Instead) {
		return s, fmt.Errorf("mode %q, password %q", r.Mode, r.Password)
	}
	if len(r.Keys) == 0 && r.Password == NoPassword {
		return s, errors.New("neither a key nor a password stops it")
	}
	var err error
	if s.Banner, err = regexp.Compile(r.Banner); err != nil {
		return s, err
	}
	for _, k := range r.Keys {
		if k == "" || strings.Contains(k, "$") && (k != "$1" || s.Banner.NumSubexp() != 1) {
			return s, fmt.Errorf("key %q", k)
		}
	}
	for _, x := range r.Examples {
		if !s.Banner.MatchString(x) {
			return s, fmt.Errorf("example %q does not match", x)
		}
	}
	for _, x := range r.Counterexamples {
		if s.Banner.MatchString(x) {
			return s, fmt.Errorf("counterexample %q matches", x)
		}
	}
	for _, p := range r.Prompts {
		re, err := regexp.Compile(p)
		if err != nil {
			return s, err
		}
		s.Prompts = append(s.Prompts, re)
	}
	for _, x := range r.PromptExamples {
		if !s.prompts(x) {
			return s, fmt.Errorf("prompt %q does not match", x)
		}
	}
	return s, nil
}
