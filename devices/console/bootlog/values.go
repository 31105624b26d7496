package bootlog

import (
	"strconv"
	"strings"

	"assay/attest"
	"assay/devices/console/chip"
	"assay/devices/console/line"
)

// boot is what one power-on says.
type boot struct {
	set      *ruleSet
	number   int
	stage    Stage
	found    []Fact
	have     map[string]bool
	board    bool     // the board has its name
	socs     []string // names of the system on chip
	mtdparts []Fact   // where partitions were named on a command line only
}

// add keeps a fact once.
func (b *boot) add(subject attest.Subject, name, value, how string, stage Stage, l logLine) {
	value = line.WithoutSecrets(printable(value))
	if value == "" || len(value) > maxValue || len(b.found) >= maxFacts {
		return
	}
	name = strings.ToLower(strings.ReplaceAll(strings.TrimSpace(name), " ", "-"))
	key := string(subject) + "\x00" + name + "\x00" + value
	if b.have[key] {
		return
	}
	if b.have == nil {
		b.have = map[string]bool{}
	}
	b.have[key] = true
	b.found = append(b.found, Fact{Subject: subject, Name: name, Value: value, Stage: stage, Boot: b.number, Line: quote(l.text), Offset: l.offset, How: how})
}

// apply turns a rule's match into facts. Whoever prints after a kernel started is
// not a boot loader, whatever the line looks like.
func (b *boot) apply(r *rule, groups []string, l logLine) {
	stage := b.stage
	if stage == Unknown {
		stage = r.stage
	}
	say := func(subject attest.Subject, name, value string) { b.add(subject, name, value, r.id, stage, l) }
	for _, t := range r.facts {
		name, value := expand(t.name, groups), strings.TrimSpace(expand(t.value, groups))
		if value == "" || len(value) > maxValue {
			continue
		}
		switch t.as {
		case "soc":
			say(t.subject, name, value)
			b.chips(value, say)
		case "board":
			if !b.board {
				b.board, name = true, attest.NameBoard
			}
			say(t.subject, name, value)
			b.chips(value, say)
		case "part":
			flashPart(t.subject, name, value, say)
		case "jedec":
			flashID(t.subject, name, value, say)
		case "bytes":
			if n, ok := parseBytes(value); ok {
				say(t.subject, name, strconv.FormatInt(n, 10))
			}
		case "mac":
			b.mac(t.subject, name, value, say)
		case "serial":
			if isSerial(value) {
				say(t.subject, name, value)
			}
		case "sensor":
			if c, ok := chip.Sensor(value); ok {
				say(t.subject, name, c.Name)
				say(t.subject, name+"-maker", c.Maker.Name)
			}
		case "radio":
			if c, ok := chip.Radio(value); ok {
				say(t.subject, name, c.Name)
				say(t.subject, name+"-maker", c.Maker.Name)
			}
		case "usb":
			// 1d6b is the kernel's own root hub.
			if vendor, _, _ := strings.Cut(value, ":"); vendor != "1d6b" {
				say(t.subject, name, value)
				if m, ok := chip.USBMaker(vendor); ok {
					say(t.subject, "usb-maker", m.Name)
				}
			}
		case "mmc":
			if n, err := strconv.ParseUint(value, 16, 8); err == nil {
				say(t.subject, name, value)
				if m, ok := chip.MMCMaker(byte(n)); ok {
					say(t.subject, attest.NameMaker, m.Name)
				}
			}
		default:
			say(t.subject, name, value)
		}
	}
}

// chips names the system on chip. The first name is the one that other channels
// are compared with, as are those that say the same more closely; a different
// one is told as what it is.
func (b *boot) chips(text string, say func(attest.Subject, string, string)) {
	for _, s := range chip.SoCByName(text) {
		if !s.Generic {
			name := attest.NameBoard
			for _, have := range b.socs {
				switch {
				case strings.HasPrefix(have, s.Name):
					name = "" // nothing new
				case !strings.HasPrefix(s.Name, have) && name != "":
					name = "also-named"
				}
			}
			if name == attest.NameBoard {
				b.socs = append(b.socs, s.Name)
			}
			if name != "" {
				say(attest.SubjectSoC, name, s.Name)
			}
		}
		say(attest.SubjectSoC, attest.NameMaker, s.Maker.Name)
	}
}

func flashPart(subject attest.Subject, name, value string, say func(attest.Subject, string, string)) {
	if bare := strings.TrimRight(strings.ToLower(value), "0123456789"); bare == "nor" || bare == "nand" || bare == "spi" || bare == "flash" {
		return // a driver's name, not a part's
	}
	say(subject, name, value)
	p, ok := chip.FlashByName(value)
	if !ok {
		return
	}
	sayMakers(subject, p, say)
	if p.Size > 0 && len(p.Also) == 0 {
		say(subject, "size", strconv.FormatInt(p.Size, 10))
	}
}

// flashID keeps as much of an id as the data knows it by, since drivers print
// what the chip sent after it as well.
func flashID(subject attest.Subject, name, value string, say func(attest.Subject, string, string)) {
	id, ok := chip.ParseID(value)
	if !ok {
		return
	}
	p, known := chip.Flash(id)
	if !known {
		say(subject, name, chip.FormatID(id[:min(3, len(id))]))
		return
	}
	say(subject, name, p.ID)
	sayMakers(subject, p, say)
	if len(p.Also) == 0 {
		say(subject, "part-by-id", p.Name())
		say(subject, "size", strconv.FormatInt(p.Size, 10))
	}
}

func sayMakers(subject attest.Subject, p chip.Part, say func(attest.Subject, string, string)) {
	if len(p.Also) == 0 {
		say(subject, attest.NameMaker, p.Maker.Name)
		return
	}
	names := p.Maker.Name
	for _, other := range p.Also {
		names += " or " + other.Maker.Name
	}
	say(subject, "maker-candidates", names)
}

// mac tells the unit's address from one that thousands share.
func (b *boot) mac(subject attest.Subject, name, value string, say func(attest.Subject, string, string)) {
	mac := formatMAC(value)
	if mac == "" {
		return
	}
	if _, ok := b.set.placeholders[mac]; ok {
		name = "placeholder-mac"
	} else if first, _ := strconv.ParseUint(mac[:2], 16, 8); first&1 != 0 {
		return // of a group, not of a unit
	}
	say(subject, name, mac)
}

// Placeholder reports whether an address is one that boot loaders and kits ship
// with, and that says nothing about a unit. mac may be in any usual form.
func Placeholder(mac string) bool {
	_, ok := rules().placeholders[formatMAC(mac)]
	return ok
}

// formatMAC writes an address in upper case with colons, or returns "".
func formatMAC(s string) string {
	s = strings.ToUpper(strings.ReplaceAll(s, "-", ":"))
	if len(s) != 17 {
		return ""
	}
	for i, c := range s {
		if i%3 == 2 && c != ':' || i%3 != 2 && !strings.ContainsRune("0123456789ABCDEF", c) {
			return ""
		}
	}
	return s
}

// isSerial reports whether a value can be a serial number: not a driver's name,
// not zeros.
func isSerial(s string) bool {
	return strings.ContainsAny(s, "123456789") && !strings.HasPrefix(s, "tty") && !strings.Contains(s, "@")
}

// parseBytes reads "64 MiB", "16 MB", "16384 Kbytes", "16 M".
func parseBytes(s string) (int64, bool) {
	number, unit, _ := strings.Cut(strings.TrimSpace(s), " ")
	f, err := strconv.ParseFloat(number, 64)
	if err != nil || !(f > 0) || unit == "" {
		return 0, false
	}
	shift := map[byte]int{'k': 10, 'K': 10, 'M': 20, 'G': 30}[unit[0]]
	if f *= float64(int64(1) << shift); shift == 0 || f > 1<<50 {
		return 0, false
	}
	return int64(f), true
}
