package attest

import (
	"fmt"
	"strconv"
)

// Origin says how well it is proven that a subject comes from where it is said
// to come from.
type Origin uint8

// The origins, weakest first.
const (
	P0 Origin = iota // none
	P1               // self-declared
	P2               // corroborated by independent channels
	P3               // content-matched to a reference value
	P4               // vendor-signed bytes
	P5               // fresh nonce signed by a vendor-certified device key (IEEE 802.1AR)
	P6               // hardware-rooted quote over boot measurements
)

var originWords = [...]string{
	"none", "self-declared", "corroborated", "content-matched", "vendor-signed", "instance-proven", "hardware-rooted",
}

func (o Origin) String() string { return "P" + strconv.Itoa(int(o)) }

// Words describes the origin for people, as in "vendor-signed".
func (o Origin) Words() string {
	if int(o) < len(originWords) {
		return originWords[o]
	}
	return o.String()
}

// MarshalText writes the origin as P0 to P6.
func (o Origin) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// UnmarshalText reads P0 to P6.
func (o *Origin) UnmarshalText(b []byte) error {
	return unmarshalGrade(b, 'P', uint8(P0), uint8(P6), (*uint8)(o))
}

// Acquisition says who could have lied on the way from the subject to us.
type Acquisition uint8

// The acquisitions, least independent first.
const (
	A0 Acquisition = iota // network self-report
	A1                    // operating-system shell on the unit
	A2                    // boot loader
	A3                    // SoC boot ROM with a loader of ours
	A4                    // direct flash read
)

var acquisitionWords = [...]string{
	"self-report", "operating-system shell", "boot loader", "boot ROM", "direct flash read",
}

func (a Acquisition) String() string { return "A" + strconv.Itoa(int(a)) }

// Words describes the acquisition for people, as in "boot loader".
func (a Acquisition) Words() string {
	if int(a) < len(acquisitionWords) {
		return acquisitionWords[a]
	}
	return a.String()
}

// MarshalText writes the acquisition as A0 to A4.
func (a Acquisition) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText reads A0 to A4.
func (a *Acquisition) UnmarshalText(b []byte) error {
	return unmarshalGrade(b, 'A', uint8(A0), uint8(A4), (*uint8)(a))
}

// Strength grades a [Mark], the sign of somebody's work on a subject. When a
// profile covers that somebody it is contra-evidence.
type Strength uint8

// The strengths, weakest first.
const (
	C1 Strength = 1 + iota // hint: an OUI, a string
	C2                     // solid: a key, driver, flash magic or protocol grammar that only the maker's code has
	C3                     // proven: a valid signature by the maker's key, a chip-id register
)

func (s Strength) String() string { return "c" + strconv.Itoa(int(s)) }

// MarshalText writes the strength as c1 to c3.
func (s Strength) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads c1 to c3.
func (s *Strength) UnmarshalText(b []byte) error {
	return unmarshalGrade(b, 'c', uint8(C1), uint8(C3), (*uint8)(s))
}

func unmarshalGrade(b []byte, letter byte, low, high uint8, into *uint8) error {
	if len(b) != 2 || b[0] != letter || b[1] < '0'+low || b[1] > '0'+high {
		return fmt.Errorf("grade %q is not one of %c%d to %c%d", b, letter, low, letter, high)
	}
	*into = b[1] - '0'
	return nil
}
