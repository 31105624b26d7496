package elf

import (
	"slices"
	"strings"
)

// Answer is yes, no, or unknown where the file does not tell; "" where the
// question does not arise.
type Answer string

// The answers.
const (
	Yes     Answer = "yes"
	No      Answer = "no"
	Unknown Answer = "unknown"
)

// Hardening is how a program or library was built against attacks, as its
// headers and symbols tell. It does not check what kernel or loader make of it.
type Hardening struct {
	NX      Answer `json:"nx,omitempty"`       // GNU_STACK asks for a stack without code
	RELRO   string `json:"relro,omitempty"`    // "none", "partial" or "full": what relocation wrote is read-only afterwards
	BindNow Answer `json:"bind_now,omitempty"` // all symbols are bound at the start
	PIE     Answer `json:"pie,omitempty"`      // a program that runs at any address
	Canary  Answer `json:"canary,omitempty"`   // it refers to __stack_chk_fail
	Fortify Answer `json:"fortify,omitempty"`  // it calls checked variants of C functions, such as __memcpy_chk
}

func answer(yes bool) Answer {
	if yes {
		return Yes
	}
	return No
}

// fortified are common C functions that glibc has checked variants of.
var fortified = []string{"fgets", "fprintf", "memcpy", "memmove", "memset", "printf", "read", "recv", "snprintf", "sprintf", "strcat", "strcpy", "strncat", "strncpy", "syslog", "vsnprintf", "vsprintf"}

func (f *reader) harden() {
	h := &f.Hardening
	canary, checked, plain := false, false, false
	for _, names := range [][]string{f.Imports, f.Exports} {
		for _, name := range names {
			switch {
			case strings.HasPrefix(name, "__stack_chk_"):
				canary = true
			case strings.HasPrefix(name, "__") && strings.HasSuffix(name, "_chk"):
				checked = true
			default:
				_, found := slices.BinarySearch(fortified, name)
				plain = plain || found
			}
		}
	}
	switch {
	case canary:
		h.Canary = Yes
	case f.SymbolTable == "":
		h.Canary = Unknown
	default:
		h.Canary = No
	}
	if f.Type != Executable && f.Type != Shared {
		return
	}
	switch {
	case checked:
		h.Fortify = Yes
	case plain:
		h.Fortify = No
	default:
		h.Fortify = Unknown
	}
	h.NX = No
	relro := false
	for _, s := range f.Segments {
		switch s.Type {
		case segmentGNUStack:
			h.NX = answer(s.Flags&segmentExecute == 0)
		case segmentGNURelro:
			relro = true
		}
	}
	_, now := f.dyn[tagBindNow]
	now = now || f.dyn[tagFlags]&flagBindNow != 0 || f.dyn[tagFlags1]&flag1Now != 0
	if f.dyn != nil {
		h.BindNow = answer(now)
	}
	switch {
	case relro && (now || f.dyn == nil):
		h.RELRO = "full"
	case relro:
		h.RELRO = "partial"
	default:
		h.RELRO = "none"
	}
	_, debug := f.dyn[tagDebug]
	switch {
	case f.Type == Executable:
		h.PIE = No
	case f.dyn[tagFlags1]&flag1PIE != 0 || f.Interpreter != "" && f.Soname == "" || debug && f.Soname == "":
		h.PIE = Yes
	}
}
