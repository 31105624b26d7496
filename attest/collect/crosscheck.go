package collect

import (
	"fmt"
	"slices"
	"strings"

	"assay/attest"
	"assay/attest/entity"
	"assay/attest/internal/proof"
	"assay/devices/console/bootlog"
	"assay/devices/fingerprint"
)

// compared are the claims that several channels may speak of. Where single is
// set a unit has one such value, so two different ones are a contradiction.
var compared = []struct {
	subject attest.Subject
	name    string
	single  bool
}{
	{attest.SubjectUnit, attest.NameMaker, true},
	{attest.SubjectUnit, attest.NameModel, true},
	{attest.SubjectUnit, attest.NameSerial, true},
	{attest.SubjectUnit, attest.NameMAC, false},
	{attest.SubjectBoard, attest.NameBoard, true},
	{attest.SubjectSoC, attest.NameBoard, true},
	{attest.SubjectSoC, attest.NameMaker, true},
	{attest.SubjectFirmware, attest.NameFirmwareVersion, true},
	{attest.SubjectBootLoader, attest.NameFirmwareVersion, true},
}

// crossCheck raises claims that independent channels agree on, and returns
// what cannot all be true ([ContradictionRules]). Two protocols of one channel
// are one witness: the same firmware answers both, so they can contradict each
// other and never corroborate.
//
// holders says which units of the register have the keys that this one showed.
func crossCheck(e *attest.Evidence, d *entity.Data, holders map[string][]attest.Unit) []attest.Contradiction {
	s := &said{marks: e.Marks, d: d, rules: fingerprint.Embedded(), now: e.Started, unit: identity(e), holders: holders}
	for i := range e.Claims {
		s.claims = append(s.claims, &e.Claims[i])
	}
	for _, k := range compared {
		var group []*attest.Claim
		for _, c := range s.claims {
			if c.Subject == k.subject && c.Name == k.name && c.Value != "" {
				group = append(group, c)
			}
		}
		corroborate(group, func(a, b *attest.Claim) bool { return agree(k.subject, k.name, a.Value, b.Value, d) })
	}
	return contradictions(s)
}

func corroborate(group []*attest.Claim, same func(a, b *attest.Claim) bool) {
	if !slices.ContainsFunc(group, func(c *attest.Claim) bool { return witness(c.Channel) != witness(group[0].Channel) }) {
		return // one witness, however many claims it makes
	}
	for _, a := range group {
		for _, b := range group {
			if witness(a.Channel) != witness(b.Channel) && same(a, b) {
				a.Raise(proof.Corroborated(), b.ID)
			}
		}
	}
}

// witness is the kind of a channel. Two addresses of one unit are one witness.
func witness(channel string) string {
	kind, _, _ := strings.Cut(channel, ":")
	return kind
}

func disagreement(group []*attest.Claim, same func(a, b *attest.Claim) bool) (attest.Contradiction, bool) {
	for i, a := range group {
		for _, b := range group[i+1:] {
			if same(a, b) {
				continue
			}
			return attest.Contradiction{
				Subject: a.Subject, Name: a.Name,
				Says:  fmt.Sprintf("%s of the %s: %q by %s (%s), %q by %s (%s)", a.Name, a.Subject, a.Value, a.Source, a.Channel, b.Value, b.Source, b.Channel),
				Sides: []attest.Side{side(a), side(b)},
			}, true
		}
	}
	return attest.Contradiction{}, false
}

func side(c *attest.Claim) attest.Side {
	return attest.Side{Ref: c.ID, Value: c.Value, Source: c.Channel + " " + c.Source}
}

// agree compares two values as the field writes them.
func agree(subject attest.Subject, name, a, b string, d *entity.Data) bool {
	if name == attest.NameMaker && d != nil {
		if x, y := d.Lookup(a), d.Lookup(b); x != nil && y != nil {
			return sameHouse(d, x, y)
		}
	}
	x, y := letters(a), letters(b)
	if x == y {
		return x != ""
	}
	// A short form is often part of the long one: "S3L" and "Ambarella S3L",
	// a serial number with and without the model before it. Three characters
	// are the least that says anything.
	switch {
	case subject == attest.SubjectSoC, subject == attest.SubjectBoard, name == attest.NameSerial, name == attest.NameModel:
		short, long := x, y
		if len(short) > len(long) {
			short, long = long, short
		}
		return len(short) >= 3 && (strings.HasPrefix(long, short) || strings.HasSuffix(long, short))
	}
	return false
}

// letters keeps what carries meaning: letters and digits, in one case.
func letters(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= '0' && r <= '9', r >= 'a' && r <= 'z', r > 127:
			return r
		case r >= 'A' && r <= 'Z':
			return r + 32
		}
		return -1
	}, s)
}

func partOnly(s attest.Subject) bool {
	return s == attest.SubjectSoC || s == attest.SubjectFlash || s == attest.SubjectModule
}

func sameHouse(d *entity.Data, a, b *entity.Entity) bool {
	return a == b || slices.Contains(d.Ancestors(a), b) || slices.Contains(d.Ancestors(b), a)
}

// identity is the record of the one unit: what its claims say that no twin shares.
func identity(e *attest.Evidence) attest.Unit {
	u := attest.Unit{Schema: attest.UnitSchema}
	for _, c := range e.Claims {
		switch {
		case c.Name == attest.NameMAC:
			if mac, ok := formatMAC(c.Value); ok && !bootlog.Placeholder(mac) && !slices.Contains(u.MACs, mac) {
				u.MACs = append(u.MACs, mac)
			}
		case c.Subject != attest.SubjectUnit:
		case c.Name == attest.NameMaker && u.Maker == "":
			u.Maker = c.Value
		case c.Name == attest.NameModel && u.Model == "":
			u.Model = c.Value
		case c.Name == attest.NameSerial && c.Value != "" && !slices.Contains(u.Serials, c.Value):
			u.Serials = append(u.Serials, c.Value)
		case c.Name == attest.NameDeviceKey && c.Origin() >= attest.P5 && attest.Digest(c.Value).Valid() && !slices.Contains(u.DeviceKeys, attest.Digest(c.Value)):
			u.DeviceKeys = append(u.DeviceKeys, attest.Digest(c.Value))
		}
	}
	if !u.Identified() {
		for _, i := range e.Images {
			if !slices.Contains(u.Images, i.Digest) {
				u.Images = append(u.Images, i.Digest)
			}
		}
	}
	slices.Sort(u.Serials)
	slices.Sort(u.MACs)
	slices.Sort(u.DeviceKeys)
	slices.Sort(u.Images)
	return u
}

func formatMAC(s string) (string, bool) {
	hex := letters(s)
	if len(hex) != 12 || strings.Trim(hex, "0123456789abcdef") != "" {
		return "", false
	}
	var b strings.Builder
	for i := 0; i < 12; i += 2 {
		if i > 0 {
			b.WriteByte(':')
		}
		b.WriteString(strings.ToUpper(hex[i : i+2]))
	}
	return b.String(), true
}
