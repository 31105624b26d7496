package chip

import "fmt"

// Probe is a set of registers that a system on chip keeps its identity in.
// Reading them changes nothing; nothing is ever written.
type Probe struct {
	ID    string
	Gives Gives
	Reads []Read
	Says  string // what the registers are
	// Kseg is what a MIPS boot loader adds to a physical address.
	Kseg   uint64
	Source string
}

// Gives is what a probe finds out.
type Gives string

// What probes find out.
const (
	GivesSoC     Gives = "soc"     // the part, or its family
	GivesPackage Gives = "package" // the part among those that share a die
	GivesDieID   Gives = "die-id"  // the serial number of this one chip
)

// Read is one read of a probe.
type Read struct {
	Address uint64 // physical
	Words   int    // 32-bit words
}

// Commands are the reads as U-Boot's prompt takes them, in order. Their words,
// one answer after the other, are what [Decode] takes.
func (p Probe) Commands() []string {
	var all []string
	for _, r := range p.Reads {
		all = append(all, fmt.Sprintf("md.l %x %x", r.Address+p.Kseg, r.Words))
	}
	return all
}

// Words is how many 32-bit words the reads give in all.
func (p Probe) Words() int {
	n := 0
	for _, r := range p.Reads {
		n += r.Words
	}
	return n
}

// Probes returns the registers that may be read on a system on chip known by
// name. There are none for one of which only the maker is known: on another
// chip the same address is something else.
func Probes(soc SoC) []Probe {
	if soc.Generic {
		return nil
	}
	var all []Probe
	for _, id := range soc.probes {
		all = append(all, load().probes[id].Probe)
	}
	return all
}

// Allowed reports whether a command is one that a probe makes.
func Allowed(command string) bool { return load().commands[command] }

// Decode tells the system on chip from the words that a probe's reads gave. ok
// is false for values that are not in the data, which includes those of an
// address with nothing behind it.
func Decode(p Probe, words []uint32) (soc SoC, ok bool) {
	d := load()
	have, known := d.probes[p.ID]
	if !known || len(words) < have.Words() || have.Gives == GivesDieID {
		return SoC{}, false
	}
	if have.scsysid {
		return d.decodeSCSysID(p, words)
	}
	for _, v := range have.values {
		if v.holds(words) {
			return SoC{Name: v.Name, Family: p.ID, Maker: d.maker(v.Maker), Source: have.Source}, true
		}
	}
	return SoC{}, false
}

// DieID writes the serial number that a probe of [GivesDieID] read, highest word
// first. ok is false for one of zeros or ones throughout.
func DieID(p Probe, words []uint32) (id string, ok bool) {
	if p.Gives != GivesDieID || len(words) < p.Words() {
		return "", false
	}
	for i := p.Words() - 1; i >= 0; i-- {
		id += fmt.Sprintf("%08x", words[i])
		ok = ok || words[i] != 0 && words[i] != 0xffffffff
	}
	return id, ok
}

// decodeSCSysID puts the id together as OpenIPC's ipctool does: newer chips hold
// all of it in the first register, older ones a byte in each of the four.
func (d *data) decodeSCSysID(p Probe, words []uint32) (SoC, bool) {
	id := words[0]
	if words[0]>>16&0xff == 0 {
		id = words[0]&0xff | words[1]&0xff<<8 | words[2]&0xff<<16 | words[3]&0xff<<24
	}
	top := words[0] >> 24
	for _, v := range d.scsysid {
		if v.ID != id {
			continue
		}
		holds := len(v.Top) == 0
		for _, t := range v.Top {
			holds = holds || t == top
		}
		if holds {
			return SoC{Name: v.Name, Family: p.ID, Maker: d.maker(v.Maker), Source: p.Source}, true
		}
	}
	return SoC{}, false
}
