package network

import (
	"assay/attest"
	"assay/devices/fingerprint"
)

// grammars claims what makers' ways of writing serial numbers, versions and
// identifiers say beyond the values: the facts of package fingerprint, each once
// a place that it was read from. They are the unit's word like the values.
func (s *session) grammars() {
	for _, o := range s.seen {
		for _, f := range fingerprint.Decode(o.On, o.Value) {
			source := "grammar " + f.Grammar + " of " + o.Source
			if !s.once("fact " + source + " " + f.Name + " " + f.Value) {
				continue
			}
			s.sink.Claim(attest.Claim{
				Subject: f.Subject, Name: f.Name, Value: s.mask(f.Value), Source: source, Acquisition: attest.A0, Raw: o.Raw,
			})
		}
	}
}
