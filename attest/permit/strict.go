package permit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/gowebpki/jcs"

	"assay/attest"
)

// maxDepth is well over the six levels that a permit has.
const maxDepth = 32

// scan refuses JSON that two readers could understand differently: repeated
// keys, also where they differ in case only, which encoding/json takes for the
// same; and anything after the value.
func scan(b []byte) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := scanValue(d, 0); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: more data after the JSON value, at byte %d", ErrSyntax, d.InputOffset())
	}
	return nil
}

func scanValue(d *json.Decoder, depth int) error {
	t, err := d.Token()
	if err != nil {
		return syntax(d, err)
	}
	delim, ok := t.(json.Delim)
	if !ok {
		return nil
	}
	if depth == maxDepth {
		return fmt.Errorf("%w: nested deeper than %d levels, at byte %d", ErrSyntax, maxDepth, d.InputOffset())
	}
	seen := map[string]bool{}
	for d.More() {
		if delim == '{' {
			t, err := d.Token()
			if err != nil {
				return syntax(d, err)
			}
			key := strings.ToLower(t.(string))
			if seen[key] {
				return fmt.Errorf("%w: %.40q, at byte %d", ErrDuplicateKey, t, d.InputOffset())
			}
			seen[key] = true
		}
		if err := scanValue(d, depth+1); err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil {
		return syntax(d, err)
	}
	return nil
}

func syntax(d *json.Decoder, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it ends at byte %d", ErrSyntax, d.InputOffset())
	}
	return fmt.Errorf("%w: at byte %d: %w", ErrSyntax, d.InputOffset(), err)
}

// decode reads scanned JSON into v and returns its canonical form. It refuses
// every field that v does not have. Writing v again must give the same values:
// this catches what encoding/json forgives, such as missing fields, fields in
// other case, null, and invalid UTF-8.
func decode(b []byte, v any) ([]byte, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return nil, fmt.Errorf("%w: %s", ErrFields, strings.TrimPrefix(err.Error(), "json: "))
	}
	again, err := attest.Canonical(v)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFields, err)
	}
	given, err := jcs.Transform(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSyntax, err)
	}
	if !bytes.Equal(again, given) {
		return nil, fmt.Errorf("%w: missing, misspelled or mistyped at %.60q", ErrFields, given[firstDifference(again, given):])
	}
	return given, nil
}

func firstDifference(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}
