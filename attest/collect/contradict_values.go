package collect

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"assay/attest"
	"assay/attest/entity"
	"assay/devices/console/bootlog"
	"assay/devices/fingerprint"
)

// The rules on addresses, serial numbers, models and dates.

// addresses are the unit's MAC addresses that mean something: no placeholder,
// and none that was made up on the spot (locally administered).
func (s *said) addresses() []*attest.Claim {
	return slices.DeleteFunc(s.all(attest.SubjectUnit, attest.NameMAC), func(c *attest.Claim) bool {
		mac, ok := formatMAC(c.Value)
		return !ok || bootlog.Placeholder(mac) || local(mac)
	})
}

// local tells a locally administered address: the second bit of its first byte.
func local(mac string) bool {
	b, err := strconv.ParseUint(mac[:2], 16, 8)
	return err == nil && b&2 != 0
}

// onTheWire tells an address that was seen in a neighbour table or a frame, and
// not in an answer of the unit.
func onTheWire(c *attest.Claim) bool {
	return slices.ContainsFunc([]string{"arp", "ndp", "neighbour"}, func(p string) bool { return c.Source == p || strings.HasPrefix(c.Source, p+" ") })
}

// near tells addresses that one unit may have: makers number the interfaces of a
// unit in a row.
func near(a, b string) bool {
	x, errX := strconv.ParseUint(letters(a), 16, 48)
	y, errY := strconv.ParseUint(letters(b), 16, 48)
	return errX == nil && errY == nil && x>>8 == y>>8 && max(x, y)-min(x, y) <= 16
}

// registrant is the maker of cameras that registered an address, or nil: nobody
// known, or a maker of modules.
func (s *said) registrant(mac string) (*entity.Entity, entity.Registration) {
	r, ok := s.d.OUI(mac)
	if !ok {
		return nil, r
	}
	e := s.d.Get(r.Entity)
	if e == nil || e.Role != "maker" || e.Modules {
		return nil, r
	}
	return e, r
}

func makerAgainstRegistrant(s *said) []attest.Contradiction {
	for _, c := range s.labels() {
		label := s.d.Lookup(c.Value)
		if label == nil {
			continue // a name that nobody knows may be a brand of the registrant
		}
		for _, mac := range s.addresses() {
			owner, r := s.registrant(mac.Value)
			if owner == nil || sameHouse(s.d, label, owner) {
				continue
			}
			return between(attest.SubjectUnit, attest.NameMaker,
				fmt.Sprintf("the label says %q (%s), and the MAC address %s (%s) has a prefix registered to %s", c.Value, c.Source, mac.Value, mac.Source, r.Registrant),
				side(c), side(mac))
		}
	}
	return nil
}

func macAgainstIdentifier(s *said) []attest.Contradiction {
	var out []attest.Contradiction
	for _, id := range s.all(attest.SubjectUnit, fingerprint.FactIDMAC, fingerprint.FactCertificate) {
		var other *attest.Claim
		agrees := false
		for _, mac := range s.addresses() {
			if readFrom(mac) == readFrom(id) {
				continue // the address was read from the same identifier
			}
			if near(mac.Value, id.Value) || agree(mac.Subject, attest.NameMAC, mac.Value, id.Value, nil) {
				agrees = true
				break
			}
			if other == nil {
				other = mac
			}
		}
		if other == nil || agrees {
			continue
		}
		out = append(out, between(attest.SubjectUnit, attest.NameMAC,
			fmt.Sprintf("by its grammar %s names the MAC address %s, and the unit's is %s (%s)", readFrom(id), id.Value, other.Value, other.Source),
			side(id), side(other))...)
	}
	return out
}

// macAgainstWire lets a unit pass whose second interface has the prefix of its
// radio module, or of nobody in the data.
func macAgainstWire(s *said) []attest.Contradiction {
	for _, wire := range s.addresses() {
		if !onTheWire(wire) {
			continue
		}
		seen, _ := s.registrant(wire.Value)
		for _, mac := range s.addresses() {
			claimed, _ := s.registrant(mac.Value)
			if onTheWire(mac) || seen == nil || claimed == nil || sameHouse(s.d, seen, claimed) {
				continue
			}
			return between(attest.SubjectUnit, attest.NameMAC,
				fmt.Sprintf("on the wire the unit has the MAC address %s of %s, and it claims %s (%s) of %s", wire.Value, seen.Name(), mac.Value, mac.Source, claimed.Name()),
				side(wire), side(mac))
		}
	}
	return nil
}

func serialTail(s *said) []attest.Contradiction {
	for _, whole := range of(s.all(attest.SubjectUnit, fingerprint.FactShortSerial), "hikvision-serial") {
		for _, short := range s.all(attest.SubjectUnit, NameSubSerial) {
			if letters(whole.Value) == letters(short.Value) {
				continue
			}
			return between(attest.SubjectUnit, attest.NameSerial,
				fmt.Sprintf("the short serial number is %s, and the whole one (%s) ends in %s", quote(short), readFrom(whole), whole.Value),
				side(short), side(whole))
		}
	}
	return nil
}

func realmAgainstSerial(s *said) []attest.Contradiction {
	tails := of(s.all(attest.SubjectUnit, fingerprint.FactShortSerial), "hikvision-serial")
	for _, end := range s.all(attest.SubjectUnit, fingerprint.FactSerialEnd) {
		if len(tails) == 0 || slices.ContainsFunc(tails, func(t *attest.Claim) bool { return fingerprint.SerialEnd(t.Value, end.Value) }) {
			continue
		}
		return between(attest.SubjectUnit, attest.NameSerial,
			fmt.Sprintf("the login realm (%s) names the serial number's characters %q, and it ends in %s (%s)", readFrom(end), end.Value, tails[0].Value, readFrom(tails[0])),
			side(end), side(tails[0]))
	}
	serials := s.all(attest.SubjectUnit, attest.NameSerial, attest.NameMAC)
	for _, realm := range s.all(attest.SubjectUnit, fingerprint.FactRealmSerial) {
		other := slices.IndexFunc(serials, func(c *attest.Claim) bool { return c.Name == attest.NameSerial })
		if other < 0 || slices.ContainsFunc(serials, func(c *attest.Claim) bool {
			return agree(attest.SubjectUnit, attest.NameSerial, c.Value, realm.Value, nil)
		}) {
			continue
		}
		return between(attest.SubjectUnit, attest.NameSerial,
			fmt.Sprintf("the login realm (%s) names the serial number %q, and the unit says %s", readFrom(realm), realm.Value, quote(serials[other])),
			side(realm), side(serials[other]))
	}
	return nil
}

// modelAgainstSerial compares beginnings only: a recorder's serial number has
// the count of its channels in the model, and blanks and slashes differ.
func modelAgainstSerial(s *said) []attest.Contradiction {
	for _, c := range s.all(attest.SubjectUnit, attest.NameSerial) {
		serial, ok := fingerprint.ParseHikvisionSerial(c.Value)
		if !ok {
			continue
		}
		for _, model := range s.all(attest.SubjectUnit, attest.NameModel) {
			if family(model.Value, serial.Model) {
				continue
			}
			return between(attest.SubjectUnit, attest.NameModel,
				fmt.Sprintf("the model is %s, and the serial number (%s) is of a %s", quote(model), c.Source, serial.Model),
				side(model), side(c))
		}
	}
	return nil
}

// modelAgainstFactory lets a unit pass whose updates go by a sister model of the
// same family, as honest ones do: an IPC-HDW5831R takes those of IPC-HDW5830R.
func modelAgainstFactory(s *said) []attest.Contradiction {
	for _, factory := range s.all(attest.SubjectUnit, fingerprint.FactFactoryModel) {
		for _, model := range s.all(attest.SubjectUnit, attest.NameModel) {
			if family(unprefixed(model.Value), unprefixed(factory.Value)) {
				continue
			}
			return between(attest.SubjectUnit, attest.NameModel,
				fmt.Sprintf("the model is %s, and updates go by %q (%s)", quote(model), factory.Value, readFrom(factory)),
				side(model), side(factory))
		}
	}
	return nil
}

func unprefixed(model string) string {
	for _, p := range []string{"DHI-", "DH-"} {
		if rest, ok := strings.CutPrefix(model, p); ok {
			return rest
		}
	}
	return model
}

// family reports whether two models begin alike for at least half of the
// shorter one.
func family(a, b string) bool {
	x, y := letters(a), letters(b)
	n := 0
	for n < len(x) && n < len(y) && x[n] == y[n] {
		n++
	}
	return n > 0 && 2*n >= min(len(x), len(y))
}

// dates are claims that parse as a day.
func dates(claims []*attest.Claim) map[*attest.Claim]time.Time {
	out := map[*attest.Claim]time.Time{}
	for _, c := range claims {
		for _, layout := range []string{"2006-01-02", "2006-01"} {
			if t, err := time.Parse(layout, c.Value); err == nil {
				out[c] = t
			}
		}
	}
	return out
}

// dateInFuture allows a day for time zones and one for our own clock.
func dateInFuture(s *said) []attest.Contradiction {
	claims := slices.Concat(
		s.all(attest.SubjectUnit, attest.NameBuildDate, fingerprint.FactMadeMonth),
		s.all(attest.SubjectFirmware, attest.NameBuildDate),
		s.all(attest.SubjectBootLoader, attest.NameBuildDate))
	days := dates(claims)
	for _, c := range claims {
		if t, ok := days[c]; ok && t.After(s.now.AddDate(0, 0, 2)) {
			today := s.now.Format("2006-01-02")
			return between(c.Subject, c.Name,
				fmt.Sprintf("the %s of the %s is %s, and today is %s", c.Name, c.Subject, quote(c), today),
				side(c), attest.Side{Value: today, Source: "clock of this station"})
		}
	}
	return nil
}

// oldFirmware is how much older than the unit firmware may be. A strict order
// would accuse honest units: one made in May 2023 leaves the factory with
// firmware of August 2022.
const oldFirmware = 3 * 365 * 24 * time.Hour

func firmwareBeforeUnit(s *said) []attest.Contradiction {
	made := s.all(attest.SubjectUnit, attest.NameBuildDate, fingerprint.FactMadeMonth)
	built := s.all(attest.SubjectFirmware, attest.NameBuildDate)
	days := dates(slices.Concat(made, built))
	for _, m := range made {
		for _, b := range built {
			unit, ok1 := days[m]
			firmware, ok2 := days[b]
			if !ok1 || !ok2 || unit.Sub(firmware) <= oldFirmware {
				continue
			}
			return between(attest.SubjectUnit, m.Name,
				fmt.Sprintf("the unit was made on %s, and its firmware was built on %s, years before", quote(m), quote(b)),
				side(m), side(b))
		}
	}
	return nil
}
