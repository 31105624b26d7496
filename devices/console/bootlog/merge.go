package bootlog

import (
	"fmt"
	"slices"
	"strings"

	"assay/attest"
)

// endBoot adds what is known only at the end of a power-on.
func (p *parser) endBoot() {
	if p.boot == nil || p.anyTable {
		return
	}
	for _, f := range p.mtdparts {
		p.add(f.Subject, f.Name, f.Value, f.How, f.Stage, logLine{text: f.Line, offset: f.Offset})
	}
}

// facts puts the power-ons together: the last one's, then what only earlier ones
// say, then what differs.
func (p *parser) facts() []Fact {
	if len(p.boots) == 0 {
		return nil
	}
	last := p.boots[len(p.boots)-1]
	b := *last
	all := slices.Clone(last.found)
	named := map[string]bool{}
	for _, f := range last.found {
		named[key(f)] = true
	}
	for i := len(p.boots) - 2; i >= 0; i-- {
		var more []string
		for _, f := range p.boots[i].found {
			if (!named[key(f)] || several[f.Name] && !b.says(f) || b.closer(f)) && len(all) < maxFacts {
				all = append(all, f)
				more = append(more, key(f))
			}
		}
		for _, k := range more {
			named[k] = true
		}
	}
	return append(all, p.differences()...)
}

// several are the facts of which a unit has more than one.
var several = map[string]bool{
	attest.NameMAC: true, "prompt": true, "usb-id": true, "usb-maker": true, "radio": true, "radio-maker": true,
	"sensor": true, "sensor-maker": true, "kernel-module": true, "secure-boot": true,
}

// says reports whether this power-on has the fact as well.
func (b boot) says(f Fact) bool {
	return slices.ContainsFunc(b.found, func(g Fact) bool { return key(f) == key(g) && f.Value == g.Value })
}

// closer reports whether a fact names the same system on chip as this power-on
// does, and says more of it.
func (b boot) closer(f Fact) bool {
	if f.Subject != attest.SubjectSoC || f.Name != attest.NameBoard {
		return false
	}
	for _, have := range b.socs {
		if len(f.Value) <= len(have) || !strings.HasPrefix(f.Value, have) {
			return false
		}
	}
	return true
}

func key(f Fact) string { return string(f.Subject) + " " + f.Name }

// differences compares each power-on with the one before it, in the facts of
// which both have exactly one.
func (p *parser) differences() []Fact {
	var all []Fact
	for i := 1; i < len(p.boots); i++ {
		before, now := single(p.boots[i-1].found), single(p.boots[i].found)
		for _, f := range p.boots[i].found {
			old, ok := before[key(f)]
			if _, one := now[key(f)]; !ok || !one || old.Value == f.Value || several[f.Name] || f.Name == "random-mac" || f.Name == "autoboot-delay" || len(all) >= 256 {
				continue
			}
			f.How = fmt.Sprintf("%s of the power-ons %d and %d", f.How, i, i+1)
			f.Value = fmt.Sprintf("%s %s: %q, then %q", f.Subject, f.Name, old.Value, f.Value)
			f.Subject, f.Name = attest.SubjectUnit, "boot-difference"
			all = append(all, f)
		}
	}
	return all
}

// single returns the facts of which there is one.
func single(found []Fact) map[string]Fact {
	one := map[string]Fact{}
	twice := map[string]bool{}
	for _, f := range found {
		if _, ok := one[key(f)]; ok {
			twice[key(f)] = true
		}
		one[key(f)] = f
	}
	for k := range twice {
		delete(one, k)
	}
	return one
}
