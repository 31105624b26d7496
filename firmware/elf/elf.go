// Package elf reads what an ELF file says of itself: machine and type, sections
// with their extents, the libraries and symbols it needs and offers, its build
// identifier, how it was hardened, and what a kernel module says in .modinfo.
//
//	f, err := elf.Read(r, size)
//	if errors.Is(err, elf.ErrNotELF) { ... }
//	f.Arch()                        // "arm", "mipsel", "aarch64"
//	f.BuildID, f.Soname, f.Needed
//	f.Imports, f.Exports            // names of symbols
//	f.Sections[i].Name, .Offset, .Size
//	f.Hardening.RELRO               // "full"
//	f.Module.Vermagic               // f.Module is nil unless it is a kernel module
//
// Files are hostile: debug/elf of the standard library allocates what headers
// claim, this package only what its limits allow and the file can hold. Nothing
// is loaded or relocated, debug information is not read, and no claim of the
// file is checked against its code.
//
// Facts are from the System V ABI (gABI 4.1, chapters 4 and 5), its processor
// supplements, the Linux Standard Base Core 5.0 (GNU_STACK, GNU_RELRO, symbol
// versions) and, for modules, include/linux/module.h and moduleparam.h.
package elf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

// ErrNotELF is wrapped by the error of Read for bytes that do not begin with a
// sane ELF header.
var ErrNotELF = errors.New("not an ELF file")

// Bounds on what is read. A file that goes past one says so in its Problems.
const (
	maxSegments = 256
	maxSections = 1 << 14
	maxStrings  = 8 << 20 // bytes of one string table
	maxSymbols  = 1 << 17
	maxName     = 4096 // bytes of one name
	maxNeeded   = 512
	maxDynamic  = 4096 // entries of the dynamic section
	maxNotes    = 64 << 10
	maxModinfo  = 1 << 20
	maxProblems = 16
)

// File is what was read. Text is as it stands in the file and may hold any byte
// but NUL.
type File struct {
	Bits    int              // 32 or 64
	Order   binary.ByteOrder // of its numbers
	ABI     uint8            // EI_OSABI
	Type    Type
	Machine Machine
	Flags   uint32 // e_flags, of the processor's supplement
	Entry   uint64

	Segments []Segment
	Sections []Section // none in a file whose section headers were stripped

	Interpreter string // the program loader, "" for a static program or a library
	BuildID     string // of the NT_GNU_BUILD_ID note, lower-case hex
	Soname      string
	Needed      []string // libraries, in the order of loading
	Rpath       string   // DT_RPATH
	Runpath     string   // DT_RUNPATH

	// Imports and Exports are the names of the global symbols that the file
	// wants from others and has for others, in the order of the table named by
	// SymbolTable: ".dynsym" where there is a dynamic section, found through it
	// as a program loader finds it; otherwise ".symtab", as in objects, kernel
	// modules and static programs; "" where there is none.
	Imports, Exports []string
	SymbolTable      string

	Comments  []string // of .comment: the compilers
	Hardening Hardening
	Module    *Module // nil unless it is a kernel module

	Problems []string // what is broken, or was not read

	names   stringTable // of Imports and Exports
	namesAt int64
}

// Segment is an entry of the program header table.
type Segment struct {
	Type, Flags                                      uint32
	Offset, Address, FileSize, MemorySize, Alignment uint64
}

// Section is an entry of the section header table. Its extent may lie outside
// the file; see [File.Extent].
type Section struct {
	Name                                    string
	Type                                    uint32
	Flags, Address, Offset, Size, EntrySize uint64
	Link, Info                              uint32
}

// Read reads the headers and tables of an ELF file of size bytes. What is broken
// behind a sane header is left out and told in Problems; the error is for bytes
// that are no ELF file, and for reading r.
func Read(r io.ReaderAt, size int64) (*File, error) {
	f := &reader{r: r, size: size}
	if err := f.header(); err != nil {
		return nil, fmt.Errorf("elf: %w", err)
	}
	f.segments()
	f.sections()
	f.interpreter()
	f.notes()
	f.dynamic()
	f.symbols()
	f.comments()
	f.module()
	f.harden()
	if f.failed != nil {
		return &f.File, fmt.Errorf("elf: %w", f.failed)
	}
	return &f.File, nil
}

// Section returns the first section of that name, or nil.
func (f *File) Section(name string) *Section {
	for i := range f.Sections {
		if f.Sections[i].Name == name {
			return &f.Sections[i]
		}
	}
	return nil
}

// NameOffset returns where in the file a name of Imports or Exports stands.
func (f *File) NameOffset(name string) (int64, bool) {
	i := strings.Index(string(f.names), name+"\x00")
	return f.namesAt + int64(i), i >= 0
}

// Extent returns where in a file of size bytes a section's own bytes are; n is 0
// for a section without any and for one that reaches outside.
func (s *Section) Extent(size int64) (off, n int64) {
	if s.Type == sectionNoBits || s.Type == sectionNull || !inside(s.Offset, s.Size, size) {
		return 0, 0
	}
	return int64(s.Offset), int64(s.Size)
}

// inside tells whether n bytes at off lie in size bytes.
func inside(off, n uint64, size int64) bool {
	return off <= uint64(size) && n <= uint64(size)-off
}

// The types of sections and segments that are looked at, and their flags.
const (
	SectionAlloc   = 2 // flag: the section is in memory when the program runs
	SectionExecute = 4 // flag: it holds code

	sectionNull   = 0
	sectionSymtab = 2
	sectionNote   = 7
	sectionNoBits = 8
	sectionDynsym = 11

	segmentLoad     = 1
	segmentDynamic  = 2
	segmentInterp   = 3
	segmentNote     = 4
	segmentGNUStack = 0x6474e551
	segmentGNURelro = 0x6474e552

	segmentExecute = 1 // flag
)
