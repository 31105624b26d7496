// Package bootlog reads what a camera says of itself while it boots: who made its
// boot loader, system on chip, flash, sensor and radio, how its flash is parted,
// which kernel runs, which addresses and serial numbers it has.
//
// It works on text that was listened to, so it proves nothing by itself: any
// program of the unit can print any line. Claims made from it are self-declared
// (P1). A line that a boot loader printed before a kernel started is of
// acquisition A2, everything after that A1.
//
// What lines mean is data, in rules.yaml, each rule with its source and its own
// examples. What takes more than one line (partition tables, what was typed at a
// prompt, several power-ons in one log) is code here. Nothing is invented: a
// value that does not resolve gives no fact, and a test holds that logs without
// a fact in them give none.
package bootlog

import (
	"assay/attest"
)

// Fact is one thing that a log says.
type Fact struct {
	Subject attest.Subject
	Name    string
	Value   string
	Stage   Stage  // who was printing
	Boot    int    // the power-on that it belongs to, 1 the first in the log
	Line    string // the line, made safe to print, with values of secrets masked
	Offset  int    // of the line in the text
	How     string // the rule, or what it was concluded from
}

// Stage is how far a boot is.
type Stage uint8

// The stages. A log that starts in the middle begins as Unknown.
const (
	Unknown Stage = iota
	ROM           // the boot ROM and what it loads first
	Loader
	Kernel
	Userland
)

func (s Stage) String() string {
	return [...]string{"unknown", "rom", "loader", "kernel", "userland"}[min(s, Userland)]
}

// Acquisition is A2 for what was printed before a kernel ran, else A1: a boot
// loader could not have been asked otherwise either.
func (s Stage) Acquisition() attest.Acquisition {
	if s == ROM || s == Loader {
		return attest.A2
	}
	return attest.A1
}

// Bounds on a log. A real one is under 1 MiB; what is beyond is not read.
const (
	maxText  = 8 << 20
	maxLine  = 4 << 10 // of a line, as a terminal shows it
	maxLines = 200_000
	maxFacts = 4_000
	maxBoots = 16
	maxValue = maxLine
)

// Parse returns the facts of a log, those of the last power-on first, then those
// that only earlier ones show. Where a fact of which there can be one differs
// between power-ons, a fact of the name "boot-difference" says so. It never
// fails: a text without facts has none.
func Parse(text []byte) []Fact {
	p := parser{text: text, rules: rules()}
	for l := range lines(text) {
		if !p.line(l) {
			break
		}
	}
	p.endBoot()
	return p.facts()
}
