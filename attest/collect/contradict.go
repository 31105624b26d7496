package collect

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"assay/attest"
	"assay/attest/entity"
	"assay/devices/fingerprint"
)

// ContradictionRule is one way in which what a unit says of itself, or what
// others say of it, cannot all be true.
type ContradictionRule struct {
	ID   string
	Says string // what must hold, and what it means when it does not

	find func(*said) []attest.Contradiction
}

// ContradictionRules lists the rules, in the order in which they are applied.
// None of them asks whom a profile covers: a clean unit that contradicts itself
// is held back as well.
//
// Each is made so that an honest unit keeps it, a test says so for each maker,
// and where makers differ in what they do the rule lets both pass.
func ContradictionRules() []ContradictionRule {
	return []ContradictionRule{
		{"two-makers", "Two sources name makers of different houses.", twoMakers},
		{"same-value", "Two sources give the unit different models, serial numbers, boards, systems on chip or versions, of which it has one.", differentValues},
		{"label-against-marks", "The maker that the unit names, and solid signs (c2) of another house's work.", labelAgainstMarks},
		{"label-against-grammar", "The maker that the unit names, and values in the grammar that only another house writes: a serial number, a version, a namespace, a login realm.", labelAgainstGrammar},
		{"marks-of-two-makers", "Solid signs (c2) of two houses in one unit: a relabelled unit, two units behind one address, or a recorder that passes its cameras on.", marksOfTwoMakers},
		{"maker-against-registrant", "The maker that the unit names, and a MAC address whose prefix another maker of cameras registered. Makers of radio modules do not count.", makerAgainstRegistrant},
		{"mac-against-identifier", "An identifier that its grammar ends in the MAC address (Hikvision's deviceID, Axis's serial number and certificate), and no such MAC address.", macAgainstIdentifier},
		{"mac-against-wire", "The MAC address seen on the wire, of one maker's prefix, and the addresses that the unit claims, of another's.", macAgainstWire},
		{"serial-tail", "The short serial number that the unit gives, and the end of its whole serial number.", serialTail},
		{"realm-against-serial", "The serial number, or part of it, that a login realm names, and the serial number.", realmAgainstSerial},
		{"model-against-serial", "The model, and the model that the serial number begins with.", modelAgainstSerial},
		{"model-against-factory", "The model, and the one that the maker's updates go by, which relabelling does not change.", modelAgainstFactory},
		{"region-abroad", "A serial number of a unit for the market of mainland China, and a site elsewhere: imported past the maker, often with firmware changed for it. Needs the site's country.", regionAbroad},
		{"date-in-future", "A date of making or of building firmware that has not come yet.", dateInFuture},
		{"firmware-before-unit", "Firmware that is years older than the unit: units are made with firmware of the months before, and not of long before.", firmwareBeforeUnit},
		{"key-shared", "A TLS or SSH key that another unit of the register has too: it proves the identity of neither.", keyShared},
	}
}

// said is the evidence as the rules look at it.
type said struct {
	claims  []*attest.Claim
	marks   []attest.Mark
	d       *entity.Data
	rules   *fingerprint.Rules
	now     time.Time
	unit    attest.Unit
	holders map[string][]attest.Unit // units of the register by the key they have
}

// maxSides bounds what a rule looks at, and maxContradictions what it may say: a
// unit decides how many claims it makes.
const (
	maxSides          = 64
	maxContradictions = 8
)

// Contradictions are what cannot all be true of what a unit said by the rules of
// [ContradictionRules], for who has claims and marks and no session. The register
// is not asked.
func Contradictions(claims []attest.Claim, marks []attest.Mark, d *entity.Data, now time.Time) []attest.Contradiction {
	return crossCheck(&attest.Evidence{Claims: slices.Clone(claims), Marks: marks, Started: now}, d, nil)
}

func contradictions(s *said) []attest.Contradiction {
	var out []attest.Contradiction
	for _, r := range ContradictionRules() {
		found := r.find(s)
		if len(found) > maxContradictions {
			found = found[:maxContradictions]
		}
		for _, x := range found {
			x.Rule = r.ID
			out = append(out, x)
		}
	}
	return out
}

// all returns claims of a subject and name, one for each value and source.
func (s *said) all(subject attest.Subject, names ...string) []*attest.Claim {
	var out []*attest.Claim
	seen := map[[2]string]bool{}
	for _, c := range s.claims {
		key := [2]string{c.Value, c.Channel + c.Source}
		if c.Subject != subject || !slices.Contains(names, c.Name) || c.Value == "" || seen[key] {
			continue
		}
		seen[key] = true
		if out = append(out, c); len(out) == maxSides {
			break
		}
	}
	return out
}

// of keeps the claims that a grammar made.
func of(claims []*attest.Claim, grammars ...string) []*attest.Claim {
	return slices.DeleteFunc(slices.Clone(claims), func(c *attest.Claim) bool {
		return !slices.ContainsFunc(grammars, func(g string) bool { return strings.HasPrefix(c.Source, grammarPrefix+g+" of ") })
	})
}

// grammarPrefix is what the sources of facts begin with, before the grammar and
// the source of the value that it read.
const grammarPrefix = "grammar "

// readFrom is the source of the value that a fact was read from.
func readFrom(c *attest.Claim) string {
	if !strings.HasPrefix(c.Source, grammarPrefix) {
		return c.Source
	}
	_, source, _ := strings.Cut(c.Source, " of ")
	return source
}

func between(subject attest.Subject, name, says string, sides ...attest.Side) []attest.Contradiction {
	return []attest.Contradiction{{Subject: subject, Name: name, Says: says, Sides: sides}}
}

func quote(c *attest.Claim) string { return fmt.Sprintf("%q (%s)", c.Value, c.Source) }

func markSide(m attest.Mark) attest.Side {
	return attest.Side{Ref: m.ID, Value: m.Match, Source: strings.TrimSpace(m.Channel + " " + m.Source)}
}

// nobody are names in maker fields that neutral firmware and careless
// integrators leave there: they name no maker, so nothing contradicts them.
var nobody = []string{"general", "private", "h264", "h265", "onvif", "ipc", "ipcam", "ipcamera", "networkcamera", "nvt", "camera", "unknown", "none", "na", "oem", "default", "manufacturer"}

// labels are the claims of who made the unit that name somebody.
func (s *said) labels() []*attest.Claim {
	return slices.DeleteFunc(s.all(attest.SubjectUnit, attest.NameMaker), func(c *attest.Claim) bool { return slices.Contains(nobody, letters(c.Value)) })
}

func twoMakers(s *said) []attest.Contradiction {
	labels := s.labels()
	x, ok := disagreement(labels, func(a, b *attest.Claim) bool { return agree(a.Subject, a.Name, a.Value, b.Value, s.d) })
	if !ok {
		return nil
	}
	return []attest.Contradiction{x}
}

func differentValues(s *said) []attest.Contradiction {
	var out []attest.Contradiction
	for _, k := range compared {
		if !k.single || k.subject == attest.SubjectUnit && k.name == attest.NameMaker {
			continue
		}
		x, ok := disagreement(s.all(k.subject, k.name), func(a, b *attest.Claim) bool { return agree(k.subject, k.name, a.Value, b.Value, s.d) })
		if ok {
			out = append(out, x)
		}
	}
	return out
}

// makersMark reports whether a mark speaks of who made the product, and not a
// part of it.
func (s *said) makersMark(m attest.Mark) (*entity.Entity, bool) {
	e := s.d.Get(m.Entity)
	return e, e != nil && e.Role == "maker" && !partOnly(m.Subject) && m.Subject != attest.SubjectBoard
}

// labelAgainst holds each label against marks that are of another house. One
// contradiction a label and house says enough; each mark speaks for itself.
func (s *said) labelAgainst(is func(attest.Mark) bool, says func(c *attest.Claim, m attest.Mark, maker *entity.Entity) string) []attest.Contradiction {
	var out []attest.Contradiction
	told := map[string]bool{}
	for _, c := range s.labels() {
		label := s.d.Lookup(c.Value)
		for _, m := range s.marks {
			maker, ok := s.makersMark(m)
			if !ok || !is(m) || label != nil && sameHouse(s.d, label, maker) {
				continue
			}
			key := letters(c.Value) + "|" + m.Entity
			if told[key] {
				continue
			}
			told[key] = true
			out = append(out, between(attest.SubjectUnit, attest.NameMaker, says(c, m, maker), side(c), markSide(m))...)
		}
	}
	return out
}

func labelAgainstMarks(s *said) []attest.Contradiction {
	return s.labelAgainst(
		func(m attest.Mark) bool { return m.Strength >= attest.C2 },
		func(c *attest.Claim, m attest.Mark, maker *entity.Entity) string {
			return fmt.Sprintf("the label says %q (%s), but %s: that is the work of %s", c.Value, c.Source, m.Says, maker.Name())
		})
}

// labelAgainstGrammar speaks of those whom no solid mark accuses already.
func labelAgainstGrammar(s *said) []attest.Contradiction {
	solid := map[string]bool{}
	for _, m := range s.marks {
		if m.Strength >= attest.C2 {
			solid[m.Entity] = true
		}
	}
	return s.labelAgainst(
		func(m attest.Mark) bool { return s.rules.Grammar(m.Rule) && !solid[m.Entity] },
		func(c *attest.Claim, m attest.Mark, maker *entity.Entity) string {
			return fmt.Sprintf("the label says %q (%s), but %s (%q): that is how %s writes it", c.Value, c.Source, m.Says, m.Match, maker.Name())
		})
}

func marksOfTwoMakers(s *said) []attest.Contradiction {
	var first attest.Mark
	var of *entity.Entity
	for _, m := range s.marks {
		maker, ok := s.makersMark(m)
		switch {
		case !ok || m.Strength < attest.C2:
		case of == nil:
			first, of = m, maker
		case !sameHouse(s.d, of, maker):
			return between(attest.SubjectUnit, attest.NameMaker,
				fmt.Sprintf("%s: that is the work of %s; and %s: that is the work of %s", first.Says, of.Name(), m.Says, maker.Name()),
				markSide(first), markSide(m))
		}
	}
	return nil
}

func regionAbroad(s *said) []attest.Contradiction {
	for _, region := range of(s.all(attest.SubjectUnit, fingerprint.FactRegion), "hikvision-serial") {
		for _, site := range s.all(attest.SubjectUnit, NameSiteCountry) {
			if region.Value == "CH" && !strings.EqualFold(site.Value, "CN") {
				return between(attest.SubjectUnit, fingerprint.FactRegion,
					fmt.Sprintf("the serial number says that the unit was made for mainland China (region CH, %s), and it is to stand in %s", readFrom(region), site.Value),
					side(region), side(site))
			}
		}
	}
	return nil
}

func keyShared(s *said) []attest.Contradiction {
	var out []attest.Contradiction
	told := map[string]bool{}
	for _, c := range s.all(attest.SubjectNetwork, attest.KeyNames...) {
		for _, other := range s.holders[c.Value] {
			if told[c.Value] || !s.unit.Identified() || !other.Identified() || sharesIdentifier(s.unit, other) {
				continue
			}
			told[c.Value] = true
			out = append(out, between(attest.SubjectNetwork, c.Name,
				fmt.Sprintf("the %s %s (%s) is also that of another unit in the register, %s: a key that units share proves the identity of none", c.Name, c.Value, c.Source, other.Name()),
				side(c), attest.Side{Value: other.Name(), Source: "register"})...)
		}
	}
	return out
}

// sharesIdentifier reports whether two records can be of one unit. What a unit
// says of itself may grow with the login that is given, so one identifier in
// common is enough.
func sharesIdentifier(a, b attest.Unit) bool {
	for _, x := range a.Serials {
		if slices.ContainsFunc(b.Serials, func(y string) bool { return agree(attest.SubjectUnit, attest.NameSerial, x, y, nil) }) {
			return true
		}
	}
	return slices.ContainsFunc(a.MACs, func(m string) bool { return slices.Contains(b.MACs, m) })
}
