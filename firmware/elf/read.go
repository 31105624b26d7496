package elf

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
)

// reader fills a File.
type reader struct {
	File
	r    io.ReaderAt
	size int64

	phoff, shoff         uint64
	phentsize, shentsize int
	phnum, shnum, strndx int
	dyn                  map[int64]uint64 // the first value of each tag but DT_NEEDED
	failed               error            // of r
}

func (f *reader) problem(format string, args ...any) {
	switch {
	case len(f.Problems) < maxProblems:
		f.Problems = append(f.Problems, fmt.Sprintf(format, args...))
	case len(f.Problems) == maxProblems:
		f.Problems = append(f.Problems, "more problems are not listed")
	}
}

// bytes reads n bytes at off, nil with a problem where they are not all there.
func (f *reader) bytes(what string, off, n uint64, limit int) []byte {
	switch {
	case !inside(off, n, f.size):
		f.problem("%s: %d bytes at %#x reach outside the file of %d", what, n, off, f.size)
		return nil
	case n > uint64(limit):
		f.problem("%s: %d bytes are more than the %d that are read", what, n, limit)
		return nil
	}
	p := make([]byte, n)
	if _, err := f.r.ReadAt(p, int64(off)); err != nil && err != io.EOF {
		if f.failed == nil {
			f.failed = fmt.Errorf("%s at %#x: %w", what, off, err)
		}
		return nil
	}
	return p
}

// word reads an address-sized number.
func (f *reader) word(p []byte) uint64 {
	if f.Bits == 64 {
		return f.Order.Uint64(p)
	}
	return uint64(f.Order.Uint32(p))
}

// pick chooses between what the two classes have.
func (f *reader) pick(in32, in64 int) int {
	if f.Bits == 64 {
		return in64
	}
	return in32
}

// header reads the ELF header (gABI chapter 4, Elf32_Ehdr and Elf64_Ehdr).
func (f *reader) header() error {
	var p [64]byte
	n, err := f.r.ReadAt(p[:min(64, max(0, f.size))], 0)
	if err != nil && err != io.EOF {
		return err
	}
	if n < 52 || string(p[:4]) != "\x7fELF" {
		return fmt.Errorf("%w: no magic", ErrNotELF)
	}
	switch p[4] {
	case 1:
		f.Bits = 32
	case 2:
		f.Bits = 64
	default:
		return fmt.Errorf("%w: class %d", ErrNotELF, p[4])
	}
	switch p[5] {
	case 1:
		f.Order = binary.LittleEndian
	case 2:
		f.Order = binary.BigEndian
	default:
		return fmt.Errorf("%w: byte order %d", ErrNotELF, p[5])
	}
	f.ABI = p[7]
	f.Type, f.Machine = Type(f.Order.Uint16(p[16:])), Machine(f.Order.Uint16(p[18:]))
	if n < f.pick(52, 64) || p[6] != 1 || f.Order.Uint32(p[20:]) != 1 {
		return fmt.Errorf("%w: version %d or a header cut short", ErrNotELF, p[6])
	}
	at := 24
	next := func() uint64 {
		v := f.word(p[at:])
		at += f.pick(4, 8)
		return v
	}
	f.Entry, f.phoff, f.shoff = next(), next(), next()
	f.Flags = f.Order.Uint32(p[at:])
	half := func(i int) int { return int(f.Order.Uint16(p[at+4+2*i:])) }
	f.phentsize, f.phnum, f.shentsize, f.shnum, f.strndx = half(1), half(2), half(3), half(4), half(5)
	return nil
}

func (f *reader) segments() {
	if f.phnum == 0 || f.phoff == 0 {
		return
	}
	entry := f.pick(32, 56)
	if f.phentsize != entry {
		f.problem("program headers of %d bytes, not %d, are not read", f.phentsize, entry)
		return
	}
	if f.phnum > maxSegments {
		f.problem("%d program headers, of which %d are read", f.phnum, maxSegments)
		f.phnum = maxSegments
	}
	p := f.bytes("program headers", f.phoff, uint64(f.phnum*entry), maxSegments*entry)
	for ; len(p) >= entry; p = p[entry:] {
		var s Segment
		s.Type = f.Order.Uint32(p)
		if f.Bits == 64 {
			s.Flags = f.Order.Uint32(p[4:])
			s.Offset, s.Address, s.FileSize, s.MemorySize, s.Alignment = f.word(p[8:]), f.word(p[16:]), f.word(p[32:]), f.word(p[40:]), f.word(p[48:])
		} else {
			s.Offset, s.Address, s.FileSize, s.MemorySize, s.Flags, s.Alignment = f.word(p[4:]), f.word(p[8:]), f.word(p[16:]), f.word(p[20:]), f.Order.Uint32(p[24:]), f.word(p[28:])
		}
		f.Segments = append(f.Segments, s)
	}
}

// section decodes a section header; its name is an offset yet.
func (f *reader) section(p []byte) (s Section, name uint32) {
	name, s.Type = f.Order.Uint32(p), f.Order.Uint32(p[4:])
	if f.Bits == 64 {
		s.Flags, s.Address, s.Offset, s.Size = f.word(p[8:]), f.word(p[16:]), f.word(p[24:]), f.word(p[32:])
		s.Link, s.Info, s.EntrySize = f.Order.Uint32(p[40:]), f.Order.Uint32(p[44:]), f.word(p[56:])
	} else {
		s.Flags, s.Address, s.Offset, s.Size = f.word(p[8:]), f.word(p[12:]), f.word(p[16:]), f.word(p[20:])
		s.Link, s.Info, s.EntrySize = f.Order.Uint32(p[24:]), f.Order.Uint32(p[28:]), f.word(p[36:])
	}
	return s, name
}

func (f *reader) sections() {
	if f.shoff == 0 {
		return
	}
	entry := f.pick(40, 64)
	if f.shentsize != entry {
		f.problem("section headers of %d bytes, not %d, are not read", f.shentsize, entry)
		return
	}
	n, strndx := uint64(f.shnum), uint64(f.strndx)
	if n == 0 || strndx == 0xffff { // the numbers that do not fit are in the first header
		p := f.bytes("first section header", f.shoff, uint64(entry), entry)
		if p == nil {
			return
		}
		first, _ := f.section(p)
		if n == 0 {
			n = first.Size
		}
		if strndx == 0xffff {
			strndx = uint64(first.Link)
		}
	}
	if n > maxSections {
		f.problem("%d section headers, of which %d are read", n, maxSections)
		n = maxSections
	}
	table := f.bytes("section headers", f.shoff, n*uint64(entry), maxSections*entry)
	if table == nil {
		return
	}
	var names stringTable
	if strndx < n {
		s, _ := f.section(table[strndx*uint64(entry):])
		names = f.strings("section names", s.Offset, s.Size)
	}
	f.Sections = make([]Section, 0, n)
	for p := table; len(p) >= entry; p = p[entry:] {
		s, name := f.section(p)
		s.Name = names.at(uint64(name))
		if s.Type != sectionNull && s.Type != sectionNoBits && !inside(s.Offset, s.Size, f.size) {
			f.problem("section %q: %d bytes at %#x reach outside the file", s.Name, s.Size, s.Offset)
		}
		f.Sections = append(f.Sections, s)
	}
}

// stringTable hands out names without copies.
type stringTable string

func (f *reader) strings(what string, off, n uint64) stringTable {
	if n > maxStrings && inside(off, n, f.size) {
		f.problem("%s: %d bytes, of which %d are read", what, n, maxStrings)
		n = maxStrings
	}
	return stringTable(f.bytes(what, off, n, maxStrings))
}

// at is the string at an offset, "" where there is none.
func (s stringTable) at(off uint64) string {
	if off >= uint64(len(s)) {
		return ""
	}
	t := string(s[off:min(uint64(len(s)), off+maxName)])
	return t[:max(0, strings.IndexByte(t, 0))]
}

func (f *reader) interpreter() {
	for _, s := range f.Segments {
		if s.Type == segmentInterp && s.FileSize <= maxName {
			f.Interpreter = text(f.bytes("interpreter", s.Offset, s.FileSize, maxName))
			return
		}
	}
}

// text is a string up to its NUL.
func text(p []byte) string {
	p, _, _ = bytes.Cut(p, []byte{0})
	return string(p)
}

// notes looks for the build identifier (gABI chapter 5, Note Section).
func (f *reader) notes() {
	for _, s := range f.Segments {
		if s.Type == segmentNote && f.BuildID == "" {
			f.note(s.Offset, s.FileSize, s.Alignment)
		}
	}
	seen := 0
	for i := range f.Sections {
		s := &f.Sections[i]
		if s.Type != sectionNote || f.BuildID != "" {
			continue
		}
		if seen++; seen > 16 {
			return
		}
		f.note(s.Offset, s.Size, 4)
	}
}

func (f *reader) note(off, n, align uint64) {
	const buildID = 3
	p := f.bytes("notes", off, n, maxNotes)
	if align != 8 {
		align = 4
	}
	round := func(n uint64) uint64 { return (n + align - 1) &^ (align - 1) }
	for len(p) >= 12 {
		name, desc, kind := uint64(f.Order.Uint32(p)), uint64(f.Order.Uint32(p[4:])), f.Order.Uint32(p[8:])
		start := round(12 + name)
		end := start + desc
		if end > uint64(len(p)) {
			return
		}
		if kind == buildID && name == 4 && string(p[12:16]) == "GNU\x00" && desc > 0 && desc <= 64 {
			f.BuildID = hex.EncodeToString(p[start:end])
			return
		}
		p = p[min(uint64(len(p)), round(end)):]
	}
}

// comments reads .comment, to which each object adds its compiler.
func (f *reader) comments() {
	s := f.Section(".comment")
	if s == nil || s.Type == sectionNoBits {
		return
	}
	n := min(s.Size, maxName)
	for part := range bytes.SplitSeq(f.bytes(".comment", s.Offset, n, maxName), []byte{0}) {
		if len(part) > 0 && len(f.Comments) < 16 {
			f.Comments = append(f.Comments, string(part))
		}
	}
}
