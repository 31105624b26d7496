package elf

import (
	"bytes"
	"strings"
)

// Module is what a Linux kernel module says in .modinfo.
type Module struct {
	Name     string
	Vermagic string // the kernel it was built for, with the options that must agree
	License  string
	Version  string
	Depends  string   // other modules, separated by commas
	Fields   []string // all of .modinfo, each as tag=value
}

func (f *reader) module() {
	info, this := f.Section(".modinfo"), f.Section(".gnu.linkonce.this_module")
	if f.Type != Relocatable || info == nil || info.Type == sectionNoBits {
		return
	}
	m := &Module{}
	for part := range bytes.SplitSeq(f.bytes(".modinfo", info.Offset, min(info.Size, maxModinfo), maxModinfo), []byte{0}) {
		if len(part) == 0 {
			continue
		}
		if len(m.Fields) == 4096 || len(part) > maxName {
			f.problem(".modinfo is not kept whole")
			break
		}
		m.Fields = append(m.Fields, string(part))
	}
	for tag, to := range map[string]*string{"name": &m.Name, "vermagic": &m.Vermagic, "license": &m.License, "version": &m.Version, "depends": &m.Depends} {
		*to = m.Field(tag)
	}
	if m.Name == "" && this != nil && this.Type != sectionNoBits {
		// struct module begins with its state, two pointers of a list, and the
		// name; tag name= is as young as Linux 4.15.
		at := uint64(f.pick(12, 24))
		if this.Size >= at+56 {
			m.Name = text(f.bytes("struct module", this.Offset+at, 56, 56))
		}
	}
	if len(m.Fields) > 0 || m.Name != "" {
		f.Module = m
	}
}

// Field is the first value of a tag, "" where there is none.
func (m *Module) Field(tag string) string {
	for _, s := range m.Fields {
		if name, value, ok := strings.Cut(s, "="); ok && name == tag {
			return value
		}
	}
	return ""
}
