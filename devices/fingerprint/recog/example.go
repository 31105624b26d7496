package recog

import (
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"strings"
)

// newExample reads an example: its text, perhaps in base64, and the parameters
// that must come of it as attributes.
func newExample(text string, attrs []xml.Attr) (example, error) {
	e := example{banner: text, want: map[string]string{}}
	for _, a := range attrs {
		switch {
		case a.Name.Local == "_encoding" && a.Value == "base64":
			raw, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), ""))
			if err != nil {
				return e, fmt.Errorf("%w: base64: %w", errExample, err)
			}
			e.banner = string(raw)
		case strings.HasPrefix(a.Name.Local, "_"):
			return e, fmt.Errorf("%w: unknown attribute %s=%q", errExample, a.Name.Local, a.Value)
		default:
			e.want[a.Name.Local] = a.Value
		}
	}
	return e, nil
}

// Verify runs the examples that the fingerprints carry, each against its own
// fingerprint, and returns how many there were and what is wrong with them.
func (d *Database) Verify() (examples int, wrong []error) {
	for _, f := range d.fingerprints {
		for _, e := range f.examples {
			examples++
			if !strings.Contains(strings.ToLower(e.banner), f.needs) {
				wrong = append(wrong, fmt.Errorf("%s: %w %q: does not contain %q", f.description, errExample, e.banner, f.needs))
				continue
			}
			got, ok := f.match(e.banner)
			if !ok {
				wrong = append(wrong, fmt.Errorf("%s: %w %q does not match", f.description, errExample, e.banner))
				continue
			}
			for name, want := range e.want {
				if got[name] != want {
					wrong = append(wrong, fmt.Errorf("%s: %w %q: %s is %q, want %q", f.description, errExample, e.banner, name, got[name], want))
				}
			}
		}
	}
	return examples, wrong
}
