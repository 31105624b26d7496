package inventory

import (
	"errors"
	"strings"

	"assay/firmware/elf"
)

// elf notes what an ELF file says of itself, and what its symbols tell.
func (p *pass) elf() {
	f, err := elf.Read(p.data, p.size)
	if errors.Is(err, elf.ErrNotELF) {
		p.report.Files = append(p.report.Files, ELF{Path: p.where, Type: "broken", Problems: []string{word(err.Error())}})
		return
	}
	if err != nil {
		p.failed("elf", err)
	}
	if f == nil {
		return
	}
	e := ELF{
		Path: p.where, Arch: f.Arch(), Type: f.Type.String(), Interpreter: word(f.Interpreter), BuildID: f.BuildID,
		Soname: word(f.Soname), Rpath: word(f.Runpath), Hardening: f.Hardening,
	}
	if e.Rpath == "" {
		e.Rpath = word(f.Rpath)
	}
	for _, n := range f.Needed[:min(len(f.Needed), 64)] {
		e.Needed = append(e.Needed, word(n))
	}
	if len(f.Comments) > 0 {
		e.Compiler = word(f.Comments[0])
	}
	for _, s := range f.Problems[:min(len(f.Problems), 4)] {
		e.Problems = append(e.Problems, word(s))
	}
	p.report.Files = append(p.report.Files, e)
	p.symbols(f)
	if m := f.Module; m != nil {
		p.module(f, m)
	}
}

func (p *pass) symbols(f *elf.File) {
	for _, name := range f.Exports {
		for _, i := range symbolRules.exports[name] {
			p.symbolMark(f, i, name)
		}
		for _, k := range kitsOf[name] {
			if f.Type == elf.Shared && k.file.MatchString(p.base) {
				p.kit(f, k)
			}
		}
	}
	for _, name := range f.Imports {
		for _, i := range symbolRules.imports[name] {
			p.symbolMark(f, i, name)
		}
	}
}

func (p *pass) symbolMark(f *elf.File, rule int, name string) {
	if r := &rules[rule]; p.seen[rule] || r.file != nil && !r.file.MatchString(p.base) {
		return
	}
	p.addMark(rule, p.symbolOffset(f, name), strings.Clone(name))
}

// symbolOffset is where a symbol's name stands in the file.
func (p *pass) symbolOffset(f *elf.File, name string) int64 {
	off, _ := f.NameOffset(name)
	return off
}

var kitsOf = func() map[string][]kit {
	m := make(map[string][]kit)
	for _, k := range kits {
		m[k.symbol] = append(m[k.symbol], k)
	}
	return m
}()

// kit notes a maker's library, unless its text already told its version.
func (p *pass) kit(f *elf.File, k kit) {
	for _, have := range p.pending {
		if have.component.Name == k.name {
			return
		}
	}
	for _, have := range p.report.Components {
		if have.Name == k.name {
			return
		}
	}
	p.report.Components = append(p.report.Components, Component{
		Name: k.name, Evidence: BySymbols, Path: p.where, Offset: p.symbolOffset(f, k.symbol), Match: k.symbol,
	})
}

func (p *pass) module(f *elf.File, m *elf.Module) {
	p.report.Modules = append(p.report.Modules, Module{
		Name: word(m.Name), Version: word(m.Version), Vermagic: strings.TrimSpace(word(m.Vermagic)),
		License: word(m.License), Depends: word(m.Depends), Path: p.where,
	})
	var at int64
	if s := f.Section(".modinfo"); s != nil {
		at, _ = s.Extent(p.size)
	}
	for _, i := range symbolRules.modules {
		if rules[i].module.MatchString(m.Name) {
			p.addMark(i, at, word(m.Name))
		}
	}
}
