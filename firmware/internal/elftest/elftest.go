// Package elftest builds small ELF files for tests: sections and a symbol table,
// nothing that runs.
package elftest

import (
	"encoding/binary"
	"strings"
)

// File is what a file is built of. It is a 32-bit little-endian ARM one.
type File struct {
	Type    uint16 // 1 for an object or a kernel module, 2 for a program, 3 for a library
	Modinfo string // of .modinfo: tag=value, each ended by NUL
	Module  []byte // .gnu.linkonce.this_module
	Rodata  string
	Exports []string
	Imports []string
}

// Build returns the file's bytes.
func (f File) Build() []byte {
	le := binary.LittleEndian
	shstrtab := "\x00.modinfo\x00.gnu.linkonce.this_module\x00.shstrtab\x00.symtab\x00.strtab\x00.rodata\x00"
	out := make([]byte, 52)
	copy(out, "\x7fELF\x01\x01\x01")
	le.PutUint16(out[16:], f.Type)
	le.PutUint16(out[18:], 40)
	le.PutUint32(out[20:], 1)
	strtab := "\x00local\x00"
	symtab := make([]byte, 16)
	symbol := func(name string, info byte, section uint16) {
		symtab = le.AppendUint32(symtab, uint32(len(strtab)))
		symtab = append(symtab, make([]byte, 8)...)
		symtab = append(symtab, info, 0)
		symtab = le.AppendUint16(symtab, section)
		strtab += name + "\x00"
	}
	symbol("local", 2, 1)
	for _, name := range f.Imports {
		symbol(name, 0x10, 0)
	}
	for _, name := range f.Exports {
		symbol(name, 0x12, 1)
	}
	headers := make([]byte, 40)
	add := func(name string, kind, link int, body []byte) {
		h := make([]byte, 40)
		le.PutUint32(h, uint32(strings.Index(shstrtab, "\x00"+name+"\x00")+1))
		le.PutUint32(h[4:], uint32(kind))
		le.PutUint32(h[16:], uint32(len(out)))
		le.PutUint32(h[20:], uint32(len(body)))
		le.PutUint32(h[24:], uint32(link))
		headers = append(headers, h...)
		out = append(out, body...)
	}
	add(".shstrtab", 3, 0, []byte(shstrtab))
	add(".symtab", 2, 3, symtab)
	add(".strtab", 3, 0, []byte(strtab))
	add(".rodata", 1, 0, []byte(f.Rodata))
	if f.Modinfo != "" || f.Module != nil {
		add(".modinfo", 1, 0, []byte(f.Modinfo))
		add(".gnu.linkonce.this_module", 1, 0, f.Module)
	}
	le.PutUint32(out[32:], uint32(len(out)))
	le.PutUint16(out[46:], 40)
	le.PutUint16(out[48:], uint16(len(headers)/40))
	le.PutUint16(out[50:], 1)
	return append(out, headers...)
}
