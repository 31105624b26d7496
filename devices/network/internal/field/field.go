// Package field makes the values in a unit's answers fit to keep and to print:
// they come from the unit and may hold anything.
package field

import (
	"errors"
	"net"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxValue is far beyond any identifier; a longer one is kept in the artefact
// only.
const MaxValue = 512

// Clean makes a value fit to print: no control or format characters, single
// spaces, valid UTF-8, bounded.
func Clean(v string) string {
	v = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == utf8.RuneError || unicode.Is(unicode.Cf, r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(v, " "))
	v = strings.Join(strings.Fields(v), " ")
	if len(v) <= MaxValue {
		return v
	}
	v = v[:MaxValue]
	for !utf8.ValidString(v) {
		v = v[:len(v)-1]
	}
	return v + "…"
}

// MAC writes an address in the notation of [attest.Unit], upper case with
// colons. ok is false for what is no address, or nobody's.
func MAC(v string) (mac string, ok bool) {
	v = strings.TrimSpace(v)
	if len(v) == 12 {
		v = v[:4] + "." + v[4:8] + "." + v[8:]
	}
	hw, err := net.ParseMAC(v)
	if err != nil || len(hw) != 6 || strings.Trim(hw.String(), "0:") == "" || strings.Trim(hw.String(), "f:") == "" {
		return "", false
	}
	return strings.ToUpper(hw.String()), true
}

// Reason is the innermost error's text, short and fit to print.
func Reason(err error) string {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			break
		}
		err = inner
	}
	text := Clean(err.Error())
	if len(text) > 120 {
		text = strings.ToValidUTF8(text[:120], "") + "…"
	}
	return text
}
