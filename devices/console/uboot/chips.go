package uboot

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"assay/attest"
	"assay/devices/console/chip"
)

// readSoC reads the registers in which a system on chip keeps its identity, where
// its name is known from what was read before: on another chip the same address is
// something else, and reading it might hang the unit.
func (r *reader) readSoC() error {
	if !r.has("md") {
		return nil
	}
	named := r.namedSoCs()
	if len(named) == 0 {
		return nil
	}
	if makers := len(named); makers > 1 && slices.ContainsFunc(named[1:], func(s chip.SoC) bool { return s.Maker != named[0].Maker }) {
		r.sink.Problem(attest.ProblemIncomplete, "uboot md", fmt.Sprintf("the unit names systems on chip of several makers (%s, %s): no identity register is read, since nobody knows what lies there", named[0].Name, named[1].Name))
		return nil
	}
	done := map[string]bool{}
	for _, soc := range named {
		for _, p := range chip.Probes(soc) {
			if done[p.ID] {
				continue
			}
			done[p.ID] = true
			if err := r.probe(soc, p); err != nil {
				return err
			}
		}
	}
	return nil
}

// namedSoCs are the systems on chip that the unit has named, each once.
func (r *reader) namedSoCs() []chip.SoC {
	var all []chip.SoC
	for key, values := range r.values {
		subject, _, _ := strings.Cut(key, " ")
		if subject != string(attest.SubjectSoC) && subject != string(attest.SubjectBoard) {
			continue
		}
		for _, v := range values {
			for _, s := range chip.SoCByName(v) {
				if !s.Generic && !slices.ContainsFunc(all, func(have chip.SoC) bool { return have.Name == s.Name }) {
					all = append(all, s)
				}
			}
		}
	}
	slices.SortFunc(all, func(a, b chip.SoC) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// probe reads one set of registers and says what they mean.
func (r *reader) probe(soc chip.SoC, p chip.Probe) error {
	var words []uint32
	for i, command := range p.Commands() {
		read := p.Reads[i]
		address := read.Address + p.Kseg
		size := read.Words * 4
		w := window{address, uint64(size)}
		if !r.reach.reads(w.start, w.size) {
			r.reach.mapped = append(r.reach.mapped, w)
		}
		answer, ok, err := r.askFor(command)
		if err != nil {
			return err
		}
		b, got := make([]byte, size), make([]bool, size)
		if parseMd([]byte(answer), address, 4, binary.LittleEndian, b, got); !ok || !all(got) {
			r.sink.Problem(attest.ProblemIncomplete, "uboot "+command, fmt.Sprintf("%s of %s could not be read", p.Says, soc.Name))
			return nil
		}
		for at := 0; at < size; at += 4 {
			words = append(words, binary.LittleEndian.Uint32(b[at:]))
		}
	}
	source := strings.Join(p.Commands(), "; ")
	if p.Gives == chip.GivesDieID {
		if id, ok := chip.DieID(p, words); ok {
			r.claim(attest.SubjectSoC, "die-id", id, source)
		}
		return nil
	}
	r.claim(attest.SubjectSoC, "chip-id", fmt.Sprintf("%08x", words), source)
	found, ok := chip.Decode(p, words)
	if !ok {
		r.sink.Problem(attest.ProblemIncomplete, "uboot "+source, fmt.Sprintf("%s of %s reads %08x, which is not in the data: is it what its name says?", p.Says, soc.Name, words))
		return nil
	}
	r.claim(attest.SubjectSoC, "register.name", found.Name, source)
	r.claim(attest.SubjectSoC, attest.NameMaker, found.Maker.Name, source)
	if found.Maker.Entity != "" {
		r.sink.Mark(attest.Mark{
			Entity: found.Maker.Entity, Subject: attest.SubjectSoC, Strength: attest.C3, Rule: "chip-id-register",
			Says:  fmt.Sprintf("its identity register says that it is a %s by %s", found.Name, found.Maker.Name),
			Match: fmt.Sprintf("%08x", words), Source: "uboot " + source, Raw: r.raw,
		})
	}
	return nil
}

// part says what a flash's JEDEC id stands for.
func (r *reader) part(id, source string) {
	b, ok := chip.ParseID(id)
	if !ok {
		return
	}
	p, ok := chip.Flash(b)
	if !ok {
		for _, m := range chip.FlashMakers(b[0]) {
			r.claim(attest.SubjectFlash, "maker-candidate", m.Name, source+" id "+chip.FormatID(b[:1]))
		}
		return
	}
	if len(p.Also) == 0 {
		r.claim(attest.SubjectFlash, attest.NameMaker, p.Maker.Name, source+" id "+p.ID)
	} else {
		for _, q := range append([]chip.Part{p}, p.Also...) {
			r.claim(attest.SubjectFlash, "maker-candidate", q.Maker.Name, source+" id "+q.ID)
		}
	}
	r.claim(attest.SubjectFlash, "jedec-part", p.Name(), source+" id "+p.ID)
}
