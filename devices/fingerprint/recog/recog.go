// Package recog reads fingerprints in the format of rapid7/recog
// (fingerprints/fingerprint/example/param) and matches banners with them. The
// folder xml holds thirteen of that project's files, unchanged, with their
// licence.
//
// The format is that of recog's README and its lib/recog/fingerprint.rb: a file
// matches one kind of banner; the first fingerprint that matches names what sent
// it; a parameter is a constant (pos 0) or a group of the expression, and may
// name another in braces. Expressions are Ruby's. Go's have no look-around and
// no back-references: a fingerprint that needs them is left out and counted.
//
// What comes out is a public list's opinion about a banner, which anybody can
// send. It is a hint and never more; see [Hints].
package recog

import (
	"encoding/xml"
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Database is the fingerprints of one file. It may be shared.
type Database struct {
	Matches string // the kind of banner, as in "http_header.server"
	Skipped []Skipped

	fingerprints []*print
}

// Skipped is a fingerprint that is not used.
type Skipped struct {
	Description string
	Why         string
}

// Result is what a database says about a banner.
type Result struct {
	Description string
	Params      map[string]string // as in "hw.vendor", "os.device", "service.version"
}

// Device is the kind of device, as in "IP Camera" or "Printer", or empty.
func (r Result) Device() string {
	for _, k := range []string{"hw.device", "os.device"} {
		if v := r.Params[k]; v != "" {
			return v
		}
	}
	return ""
}

// Vendors are the names of who made the device, its system and its service, the
// device's first, each once.
func (r Result) Vendors() []string {
	var out []string
	for _, k := range []string{"hw.vendor", "os.vendor", "service.vendor"} {
		if v := r.Params[k]; v != "" && !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}

// maxBanner is how much of a banner is looked at.
const maxBanner = 16 << 10

type print struct {
	description string
	expression  string
	needs       string // what a banner must contain, in lower case, for the expression to match
	params      []param
	examples    []example

	once sync.Once
	re   *regexp.Regexp
}

type param struct {
	group       int
	name, value string
}

type example struct {
	banner string
	want   map[string]string
}

type document struct {
	XMLName      xml.Name `xml:"fingerprints"`
	Matches      string   `xml:"matches,attr"`
	Fingerprints []struct {
		Pattern     string `xml:"pattern,attr"`
		Flags       string `xml:"flags,attr"`
		Description string `xml:"description"`
		Examples    []struct {
			Attrs []xml.Attr `xml:",any,attr"`
			Text  string     `xml:",chardata"`
		} `xml:"example"`
		Params []struct {
			Pos   string `xml:"pos,attr"`
			Name  string `xml:"name,attr"`
			Value string `xml:"value,attr"`
		} `xml:"param"`
	} `xml:"fingerprint"`
}

// Parse reads a file of fingerprints. A fingerprint whose expression Go cannot
// compile is skipped; anything else that does not hold is an error.
func Parse(b []byte) (*Database, error) {
	var doc document
	if err := xml.Unmarshal(b, &doc); err != nil {
		return nil, fmt.Errorf("recog: %w", err)
	}
	d := &Database{Matches: doc.Matches}
	for i, f := range doc.Fingerprints {
		fp := &print{description: strings.Join(strings.Fields(f.Description), " ")}
		if f.Pattern == "" {
			return nil, fmt.Errorf("recog: fingerprint %d (%s): no pattern", i+1, fp.description)
		}
		flags, err := goFlags(f.Flags)
		if err != nil {
			return nil, fmt.Errorf("recog: fingerprint %d (%s): %w", i+1, fp.description, err)
		}
		fp.expression = flags + f.Pattern
		parsed, err := syntax.Parse(fp.expression, syntax.Perl)
		if err != nil {
			d.Skipped = append(d.Skipped, Skipped{fp.description, err.Error()})
			continue
		}
		fp.needs = needed(parsed)
		for _, p := range f.Params {
			group, err := strconv.Atoi(p.Pos)
			if err != nil || group < 0 || group > parsed.MaxCap() || p.Name == "" {
				return nil, fmt.Errorf("recog: fingerprint %d (%s): param %q at %q", i+1, fp.description, p.Name, p.Pos)
			}
			fp.params = append(fp.params, param{group, p.Name, p.Value})
		}
		for _, x := range f.Examples {
			e, err := newExample(x.Text, x.Attrs)
			if err != nil {
				return nil, fmt.Errorf("recog: fingerprint %d (%s): %w", i+1, fp.description, err)
			}
			fp.examples = append(fp.examples, e)
		}
		d.fingerprints = append(d.fingerprints, fp)
	}
	return d, nil
}

// goFlags writes the format's flags as Go does. Ruby's ^ and $ always match at
// lines, and what it calls multi-line lets a dot match a newline.
func goFlags(flags string) (string, error) {
	out := "(?m"
	for _, f := range strings.FieldsFunc(flags, func(r rune) bool { return r == ',' || r == '|' || r == ' ' }) {
		switch f {
		case "REG_ICASE":
			out += "i"
		case "REG_MULTILINE", "REG_DOT_NEWLINE", "REG_LINE_ANY_CRLF":
			out += "s"
		default:
			return "", fmt.Errorf("unknown flag %q", f)
		}
	}
	return out + ")", nil
}

// needed is the longest text that any match must contain, in lower case and
// ASCII only, or empty. Looking for it first spares compiling and running
// thousands of expressions that cannot match.
func needed(re *syntax.Regexp) string {
	switch re.Op {
	case syntax.OpLiteral:
		for _, r := range re.Rune {
			if r >= 128 {
				return ""
			}
		}
		return strings.ToLower(string(re.Rune))
	case syntax.OpCapture, syntax.OpPlus:
		return needed(re.Sub[0])
	case syntax.OpRepeat:
		if re.Min > 0 {
			return needed(re.Sub[0])
		}
	case syntax.OpConcat:
		best := ""
		for _, sub := range re.Sub {
			if n := needed(sub); len(n) > len(best) {
				best = n
			}
		}
		return best
	}
	return ""
}

// Match returns what the first fingerprint that matches says.
func (d *Database) Match(banner string) (Result, bool) {
	if len(banner) > maxBanner {
		banner = banner[:maxBanner]
	}
	lower := strings.ToLower(banner)
	for _, f := range d.fingerprints {
		if !strings.Contains(lower, f.needs) {
			continue
		}
		if params, ok := f.match(banner); ok {
			return Result{f.description, params}, true
		}
	}
	return Result{}, false
}

func (f *print) match(banner string) (map[string]string, bool) {
	f.once.Do(func() { f.re, _ = regexp.Compile(f.expression) })
	if f.re == nil {
		return nil, false
	}
	groups := f.re.FindStringSubmatch(banner)
	if groups == nil {
		return nil, false
	}
	out := map[string]string{}
	for _, p := range f.params {
		v := p.value
		if p.group > 0 {
			v = groups[p.group]
		}
		if v != "" {
			out[p.name] = v
		}
	}
	for name, v := range out {
		if strings.Contains(v, "{") {
			out[name] = interpolate(v, out)
		}
	}
	return out, true
}

var braces = regexp.MustCompile(`\{[a-z0-9._]+\}`)

// interpolate puts parameters into the braces of another, once: what a banner
// gave is not looked at again. One that is not known becomes a dash, as recog
// does in the identifiers that it builds so.
func interpolate(v string, params map[string]string) string {
	return braces.ReplaceAllStringFunc(v, func(name string) string {
		p, ok := params[strings.Trim(name, "{}")]
		if !ok || strings.Contains(p, "{") {
			return "-"
		}
		return p
	})
}

var errExample = errors.New("example")
