package lineage

import (
	"bytes"
	_ "embed"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"
)

//go:embed common.yaml
var embeddedCommon []byte

const commonSchema = "assay.common/v1"

// project is an entry of common.yaml; its head says what the fields mean.
type project struct {
	Name     string   `yaml:"name"`
	Class    string   `yaml:"class"`
	Files    []string `yaml:"files"`
	Has      []string `yaml:"has"`
	Most     int64    `yaml:"most"`
	Prefixes []string `yaml:"prefixes"`
	Text     []string `yaml:"text"`
	Source   string   `yaml:"source"`
}

// Read when first wanted: most commands compare nothing.
var (
	projects   = sync.OnceValue(func() []project { return mustParseProjects(embeddedCommon) })
	projectHas = sync.OnceValue(func() map[string][]string { return allHas(projects()) })
)

func mustParseProjects(data []byte) []project {
	list, err := parseProjects(data)
	if err != nil {
		panic(err)
	}
	return list
}

func parseProjects(data []byte) ([]project, error) {
	var file struct {
		Schema   string    `yaml:"schema"`
		Date     string    `yaml:"date"`
		Source   string    `yaml:"source"`
		Projects []project `yaml:"projects"`
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(&file); err != nil {
		return nil, fmt.Errorf("common projects: %w", err)
	}
	if file.Schema != commonSchema || file.Date == "" {
		return nil, fmt.Errorf("common projects: schema %q, date %q", file.Schema, file.Date)
	}
	for _, p := range file.Projects {
		if p.Name == "" || p.Class != "open source" && p.Class != "chip maker's kit" {
			return nil, fmt.Errorf("common projects: %q has class %q", p.Name, p.Class)
		}
		if len(p.Prefixes) == 0 && len(p.Text) == 0 && (len(p.Files) == 0 || len(p.Has) == 0) {
			return nil, fmt.Errorf("common projects: %q is recognised by nothing but a name", p.Name)
		}
		if slices.ContainsFunc(p.Files, func(f string) bool { return (f == "*" || f == "*.so") && len(p.Has) > 0 }) && p.Most == 0 {
			return nil, fmt.Errorf("common projects: %q takes files of any name and any size", p.Name)
		}
		for _, pattern := range p.Files {
			if _, err := path.Match(pattern, ""); err != nil {
				return nil, fmt.Errorf("common projects: %q: %s: %w", p.Name, pattern, err)
			}
		}
	}
	return file.Projects, nil
}

// allHas are the literals of all projects, by their first four bytes, so that
// each string of a file is looked at once.
func allHas(list []project) map[string][]string {
	all := make(map[string][]string)
	for _, p := range list {
		for _, h := range p.Has {
			if k := h[:min(4, len(h))]; !slices.Contains(all[k], h) {
				all[k] = append(all[k], h)
			}
		}
	}
	return all
}

// traces are what common.yaml looks at in an ELF file.
type traces struct {
	soname  string
	size    int64
	exports []string // sorted
	has     map[string]bool
	inTree  bool
}

// word notes the literals that a string of the file begins with.
func (t *traces) word(w []byte) {
	if len(w) < 4 {
		return
	}
	for _, h := range projectHas()[string(w[:4])] {
		if len(w) >= len(h) && string(w[:len(h)]) == h {
			if t.has == nil {
				t.has = make(map[string]bool)
			}
			t.has[h] = true
		}
	}
}

// least symbols, and the share of them that must have a project's prefixes.
const (
	leastPrefixed = 8
	mostlyOwn     = 0.6
)

// project names the project that a file belongs to, "" for none. A name alone
// never does: whoever wants his code overlooked could choose it.
func (t *traces) project(base string) string {
	if t.inTree {
		return "Linux kernel tree (open source; the module says so)"
	}
	for _, p := range projects() {
		if t.prefixed(p.Prefixes) || t.named(base, p) {
			return p.Name + " (" + p.Class + ")"
		}
	}
	return ""
}

func (t *traces) prefixed(prefixes []string) bool {
	if len(prefixes) == 0 || len(t.exports) < leastPrefixed {
		return false
	}
	n := 0
	for _, e := range t.exports {
		if slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(e, p) }) {
			n++
		}
	}
	return float64(n) >= mostlyOwn*float64(len(t.exports))
}

func (t *traces) named(base string, p project) bool {
	if len(p.Has) == 0 || p.Most > 0 && t.size > p.Most || !matches(p.Files, base) && !matches(p.Files, t.soname) {
		return false
	}
	return slices.ContainsFunc(p.Has, func(h string) bool {
		_, exported := slices.BinarySearch(t.exports, h)
		return exported || t.has[h]
	})
}

func matches(patterns []string, name string) bool {
	return name != "" && slices.ContainsFunc(patterns, func(p string) bool {
		ok, _ := path.Match(p, name)
		return ok
	})
}

// projectOfText looks at the beginning of a text, where projects put their name
// and licence.
func projectOfText(base string, b []byte) string {
	head := b[:min(len(b), 1<<10)]
	for _, p := range projects() {
		if len(p.Text) > 0 && (len(p.Files) == 0 || matches(p.Files, strings.ToLower(base))) && slices.ContainsFunc(p.Text, func(s string) bool { return bytes.Contains(head, []byte(s)) }) {
			return p.Name + " (" + p.Class + ")"
		}
	}
	return ""
}
