//go:build unix

package main

import (
	"slices"
	"strings"
	"testing"

	"assay/attest"
	"assay/devices/simulator/console"
)

// flipping is the vendor's unit with its flash behind sf, of which so many
// readings get one bit of the signed kernel wrong.
func flipping(flips int) func(*console.Config) {
	return func(c *console.Config) {
		image := c.NOR[0].Image
		c.NOR = nil
		c.SPI = &console.Flash{Size: 2 << 20, Part: "MX25L12835F", JEDEC: "c2 20 18", Image: image}
		c.RAM = console.Range{Start: 0x80000000, Size: 0x10000000}
		c.Bdinfo = []string{"-> start    = 0x80000000", "-> size     = 0x10000000", "relocaddr   = 0x8FF80000"}
		c.Quirks.SPIFlips, c.Quirks.SPIFlipAt = flips, 0x60000
	}
}

func TestABitThatFlipsOnTheWayFromTheChipIsNotATamperedCamera(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.trust()
	b.write("flash.bin", b.demo("vendor-signed"))
	// Both loadings of the first reading, which have to agree, are wrong alike.
	s := simulatedConsole(t, "vendor-signed", b.path("flash.bin"), flipping(2))
	b.run("certify", serial(s.Device), "--out", "unit")
	ev := b.evidenceOf("unit")
	if slices.ContainsFunc(ev.Endorsements, func(e attest.Endorsement) bool { return e.Status == attest.StatusFailed }) {
		t.Errorf("a signature failed: %+v", ev.Endorsements)
	}
	if !slices.ContainsFunc(ev.Problems, func(p attest.Problem) bool { return strings.Contains(p.Says, "reading 2 differs") }) {
		t.Errorf("nothing is said of it: %+v", ev.Problems)
	}

	// A bit that is wrong however often it is read is a bit of the flash.
	s = simulatedConsole(t, "vendor-signed", b.path("flash.bin"), flipping(100))
	b.run("certify", serial(s.Device), "--out", "tampered")
	ev = b.evidenceOf("tampered")
	if !slices.ContainsFunc(ev.Endorsements, func(e attest.Endorsement) bool { return e.Status == attest.StatusFailed }) {
		t.Errorf("no signature failed: %+v", ev.Endorsements)
	}
	if !slices.ContainsFunc(ev.Claims, func(c attest.Claim) bool { return c.Name == "reread" && c.Value == "identical" }) {
		t.Error("it was not read twice")
	}
}
