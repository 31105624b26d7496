package bootlog

import (
	"fmt"

	"assay/attest"
	"assay/devices"
	"assay/devices/console/chip"
	"assay/devices/fingerprint"
)

// Claims gives the facts to the sink as claims of the acquisition of who printed
// them. raw is the digest of the log as an artefact, source how it was got, as
// in "boot log". Each claim quotes its line.
func Claims(facts []Fact, sink devices.Sink, raw attest.Digest, source string) {
	for _, f := range facts {
		sink.Claim(attest.Claim{
			Subject: f.Subject, Name: f.Name, Value: f.Value,
			Source:      fmt.Sprintf("%s, power-on %d, offset %d, %s: %q", source, f.Boot, f.Offset, f.How, f.Line),
			Acquisition: f.Stage.Acquisition(), Raw: raw,
		})
	}
}

// maxObserved bounds the lines that fingerprint rules look at. An application
// that logs without end repeats itself, and each line counts once.
const maxObserved = 20_000

// Observations are what fingerprint rules look at: every line that the log has
// ("console.line"), and what the facts say under the names that loaders' answers
// have ("uboot.prompt", "uboot.version", "soc", "serial", "version").
func Observations(text []byte, facts []Fact, raw attest.Digest, source string) []fingerprint.Observation {
	var all []fingerprint.Observation
	observe := func(on, value, where string) {
		all = append(all, fingerprint.Observation{On: on, Value: value, Source: source + " " + where, Raw: raw})
	}
	for _, f := range facts {
		where := fmt.Sprintf("offset %d", f.Offset)
		switch {
		case f.Subject == attest.SubjectBootLoader && f.Name == "prompt":
			observe("uboot.prompt", f.Value, where)
		case f.Subject == attest.SubjectBootLoader && f.Name == attest.NameFirmwareVersion:
			observe("uboot.version", f.Value, where)
		case f.Subject == attest.SubjectFirmware && f.Name == attest.NameFirmwareVersion:
			observe("version", f.Value, where)
		case f.Subject == attest.SubjectUnit && f.Name == attest.NameSerial:
			observe("serial", f.Value, where)
		case f.Subject == attest.SubjectSoC && f.Name == attest.NameBoard:
			for _, s := range chip.SoCByName(f.Value) {
				observe("soc", s.Maker.Name+" "+s.Name, where)
			}
		}
	}
	seen := map[string]bool{}
	for l := range lines(text) {
		if seen[l.text] || isHexDump(l.text) {
			continue
		}
		if len(seen) >= maxObserved {
			break
		}
		seen[l.text] = true
		observe("console.line", l.text, fmt.Sprintf("offset %d", l.offset))
	}
	return all
}
