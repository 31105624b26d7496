package collect

import (
	"encoding/json"
	"fmt"
	"slices"

	"assay/attest"
	"assay/attest/provenance"
	"assay/devices"
)

// handshake is one that a channel had with the unit.
type handshake struct {
	devices.Handshake
	channel string
}

// maxHandshakes is more than a unit has TLS ports that are looked at.
const maxHandshakes = 16

// Handshake keeps a TLS handshake for the end of the session, when it is known
// by what names the unit goes.
func (k *sink) Handshake(h devices.Handshake) {
	k.s.mu.Lock()
	defer k.s.mu.Unlock()
	if len(k.s.handshakes) >= maxHandshakes {
		k.s.problem(attest.ProblemIncomplete, k.channel, h.Address, fmt.Sprintf("the certificate of %s was not verified: %d others were", h.Address, maxHandshakes))
		return
	}
	k.s.handshakes = append(k.s.handshakes, handshake{h, k.channel})
}

// verifyDevice verifies the device certificates (IEEE 802.1AR) that the unit
// presented. A genuine certificate of another unit than it says it is
// contradicts it.
func (s *Session) verifyDevice() []attest.Contradiction {
	var out []attest.Contradiction
	if len(s.handshakes) == 0 {
		return nil
	}
	e := &s.evidence
	model := identity(e).Model
	serials, macs, said := ownWords(e)
	seen := map[string]bool{}
	for _, h := range s.handshakes {
		sink := &sink{s: s, channel: h.channel}
		source := "certificate chain of " + h.Address
		d, err := provenance.VerifyDevice(source, h.Sent, h.Received, h.Secret, s.o.Anchors, model, serials, macs, s.o.Now())
		if err != nil {
			sink.Problem(attest.ProblemIncomplete, h.Protocol+" "+h.Address, fmt.Sprintf("the handshake could not be verified: %v", err))
			continue
		}
		if d.SelfSigned() && d.Endorsement.Status == attest.StatusUnanchored {
			continue // a web server's own; what it says is among the claims
		}
		d.Endorsement.ID = fmt.Sprintf("endorsement-%d", len(e.Endorsements)+1)
		d.Endorsement.Detail = clean(d.Endorsement.Detail)
		e.Endorsements = append(e.Endorsements, d.Endorsement)
		key := d.Endorsement.Key + string(d.Endorsement.Status)
		if seen[key] {
			continue // the same certificate at another port
		}
		seen[key] = true
		if m, ok := d.Mark(); ok {
			m.Raw = h.Raw
			sink.Mark(m)
		}
		for _, against := range d.Comparison.Against {
			if d.Endorsement.Status != attest.StatusUnmatched {
				break
			}
			out = append(out, attest.Contradiction{
				Subject: attest.SubjectUnit, Name: attest.NameSerial, Rule: "device-certificate",
				Says:  fmt.Sprintf("the unit proves to be another than it says: its device certificate (%s) has %s", source, clean(against)),
				Sides: append([]attest.Side{{Ref: d.Endorsement.ID, Value: clean(d.Names.Subject), Source: h.channel + " " + source}}, said...),
			})
		}
		if d.Proven() {
			s.proven(sink, h, d, model, len(serials) == 0, len(macs) == 0)
		}
	}
	return out
}

// ownWords are the serial numbers and addresses by which the unit goes.
func ownWords(e *attest.Evidence) (serials, macs []string, sides []attest.Side) {
	for i := range e.Claims {
		c := &e.Claims[i]
		into := &serials
		switch {
		case c.Name == attest.NameMAC && (c.Subject == attest.SubjectUnit || c.Subject == attest.SubjectNetwork):
			into = &macs
		case c.Name == attest.NameSerial && c.Subject == attest.SubjectUnit:
		default:
			continue
		}
		if c.Value != "" && !slices.Contains(*into, c.Value) {
			*into = append(*into, c.Value)
			if len(sides) < 8 {
				sides = append(sides, side(c))
			}
		}
	}
	return serials, macs, sides
}

// proven makes the claims of a device certificate whose key the unit holds: the
// key, and the names for which the unit itself has no word.
func (s *Session) proven(sink *sink, h handshake, d *provenance.Device, model string, noSerial, noMAC bool) {
	source := "device certificate of " + h.Address
	claim := func(subject attest.Subject, name, value, field string) {
		if value == "" {
			return
		}
		c := attest.Claim{Subject: subject, Name: name, Value: value, Source: source + " " + field, Acquisition: attest.A0, Raw: h.Raw}
		d.Grade(&c)
		sink.Claim(c)
	}
	claim(attest.SubjectUnit, attest.NameDeviceKey, d.Endorsement.Key, "subjectPublicKeyInfo")
	claim(attest.SubjectModule, attest.NameSerial, d.Names.HardwareSerial, "hardwareModuleName hwSerialNum")
	if noSerial {
		claim(attest.SubjectUnit, attest.NameSerial, d.Names.Serial, "subject serialNumber")
	}
	for _, m := range d.Names.MACs {
		if mac, ok := formatMAC(m); ok && noMAC {
			claim(attest.SubjectUnit, attest.NameMAC, mac, "subject")
		}
	}
	for _, m := range s.o.Models {
		if !m.Speaks(d.Endorsement.Maker, model) {
			continue
		}
		trust := s.trustSink()
		raw, _ := json.Marshal(m)
		trust.Claim(attest.Claim{
			Subject: attest.SubjectFirmware, Name: attest.NameSignedBoot, Value: provenance.SignedBootEnforced,
			Source: fmt.Sprintf("model endorsement %s: %s", m.ID, m.Source), Raw: trust.Artefact("application/json", "model endorsement "+m.ID, raw),
		})
	}
}

// trustSink takes what the trust store says of the unit's model.
func (s *Session) trustSink() *sink { return &sink{s: s, channel: attest.ChannelTrust} }
