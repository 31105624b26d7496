package fingerprint

import (
	"slices"
	"strings"
	"time"

	"assay/attest"
)

// Fact is what a maker's way of writing a value says beyond the value: when the
// unit was made, for which market, on which platform, for whom. It is the unit's
// word like the value itself.
type Fact struct {
	Grammar string // id of the grammar, as in "hikvision-serial"
	Subject attest.Subject
	Name    string
	Value   string
}

// Names of facts, beside those of package attest.
const (
	FactRegion        = "region"        // the market that the unit was made for, as the maker abbreviates it
	FactMadeMonth     = "made-month"    // year and month, where no day is given
	FactShortSerial   = "short-serial"  // the part of a serial number that counts units
	FactPlatform      = "platform-code" // what the maker calls the hardware that the firmware is for
	FactCustomer      = "customer"      // whom the firmware was built for, as the maker abbreviates it
	FactFactoryModel  = "factory-model" // the model that updates go by, whatever the label
	FactSerialEnd     = "serial-end"    // some characters of the short serial number
	FactRealmSerial   = "realm-serial"  // a whole serial number in a login realm
	FactIDMAC         = "id-mac"        // the MAC address that an identifier ends with
	FactCertificate   = "certificate-mac"
	FactIDSerialStart = "id-serial-start" // the first characters of the short serial number that an identifier begins with
)

// isoDate is how dates are written in claims.
const isoDate = "2006-01-02"

// grammar reads the values of some places. Where a value is not of the grammar
// it returns nothing.
type grammar struct {
	id     string
	on     []string
	says   string // what the grammar is, for the documentation
	source string
	read   func(value string) []Fact
}

// grammars is in the order of makers; each is beside the facts of its maker.
var grammars = slices.Concat(hikvisionGrammars, dahuaGrammars, otherGrammars)

// Grammar describes one way of writing values that [Decode] reads.
type Grammar struct {
	ID     string
	On     []string
	Says   string
	Source string
}

// Grammars lists what [Decode] reads.
func Grammars() []Grammar {
	var out []Grammar
	for _, g := range grammars {
		out = append(out, Grammar{g.id, slices.Clone(g.on), g.says, g.source})
	}
	return out
}

// maxDecoded is longer than any value of a grammar.
const maxDecoded = 512

// Decode returns the facts in a value that was seen at a place, by every grammar
// that it follows.
func Decode(on, value string) []Fact {
	if len(value) > maxDecoded {
		return nil
	}
	var out []Fact
	for _, g := range grammars {
		if !slices.Contains(g.on, on) {
			continue
		}
		for _, f := range g.read(strings.TrimSpace(value)) {
			f.Grammar = g.id
			out = append(out, f)
		}
	}
	return out
}

func fact(subject attest.Subject, name, value string) Fact {
	return Fact{Subject: subject, Name: name, Value: value}
}

// macOf writes twelve hexadecimal digits as claims do; ok is false for what is
// no address of a unit.
func macOf(hex string) (string, bool) {
	if len(hex) != 12 || strings.Trim(hex, "0123456789abcdefABCDEF") != "" || strings.Trim(hex, "0") == "" || strings.Trim(hex, "fF") == "" {
		return "", false
	}
	var parts []string
	for i := 0; i < 12; i += 2 {
		parts = append(parts, strings.ToUpper(hex[i:i+2]))
	}
	return strings.Join(parts, ":"), true
}

// date reads a date that must be one a camera can have.
func date(layout, value string) (time.Time, bool) {
	t, err := time.Parse(layout, value)
	if err != nil || t.Year() < 1995 || t.Year() > 2099 {
		return time.Time{}, false
	}
	return t, true
}
