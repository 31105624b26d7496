package elf

// The tags of the dynamic section that are looked at (gABI chapter 5; GNU and
// MIPS ones from their supplements).
const (
	tagNull     = 0
	tagNeeded   = 1
	tagHash     = 4
	tagStrtab   = 5
	tagSymtab   = 6
	tagStrsz    = 10
	tagSoname   = 14
	tagRpath    = 15
	tagDebug    = 21
	tagBindNow  = 24
	tagRunpath  = 29
	tagFlags    = 30
	tagGNUHash  = 0x6ffffef5
	tagFlags1   = 0x6ffffffb
	tagMIPSSyms = 0x70000011 // MIPS_SYMTABNO

	flagBindNow = 8         // of tagFlags
	flag1Now    = 1         // of tagFlags1
	flag1PIE    = 0x8000000 // of tagFlags1
)

// dynamic reads the dynamic section as a program loader does: through its
// segment and by addresses. Section headers need not be there, or be true.
func (f *reader) dynamic() {
	var table []byte
	entry := f.pick(8, 16)
	for _, s := range f.Segments {
		if s.Type == segmentDynamic && s.FileSize > 0 {
			table = f.bytes("dynamic section", s.Offset, min(s.FileSize, uint64(maxDynamic*entry)), maxDynamic*entry)
			break
		}
	}
	if table == nil {
		return
	}
	f.dyn = make(map[int64]uint64)
	var needed []uint64
	for p := table; len(p) >= entry; p = p[entry:] {
		tag, value := int64(f.word(p)), f.word(p[entry/2:])
		if tag == tagNull {
			break
		}
		if tag == tagNeeded {
			if len(needed) == maxNeeded {
				f.problem("more than %d libraries are needed, the rest is left out", maxNeeded)
			}
			if len(needed) <= maxNeeded {
				needed = append(needed, value)
			}
			continue
		}
		if _, ok := f.dyn[tag]; !ok {
			f.dyn[tag] = value
		}
	}
	off, ok := f.offset(f.dyn[tagStrtab])
	if !ok {
		f.problem("dynamic section: its strings at %#x are in no segment", f.dyn[tagStrtab])
		return
	}
	names := f.strings("dynamic strings", off, f.dyn[tagStrsz])
	for _, n := range needed[:min(len(needed), maxNeeded)] {
		f.Needed = append(f.Needed, names.at(n))
	}
	for tag, to := range map[int64]*string{tagSoname: &f.Soname, tagRpath: &f.Rpath, tagRunpath: &f.Runpath} {
		if n, ok := f.dyn[tag]; ok {
			*to = names.at(n)
		}
	}
	f.dynamicSymbols(names, off)
}

// offset is where in the file the byte for an address is.
func (f *reader) offset(address uint64) (uint64, bool) {
	for _, s := range f.Segments {
		if s.Type == segmentLoad && address >= s.Address && address-s.Address < s.FileSize {
			return s.Offset + (address - s.Address), true
		}
	}
	return 0, false
}

func (f *reader) dynamicSymbols(names stringTable, strtab uint64) {
	off, ok := f.offset(f.dyn[tagSymtab])
	if f.dyn[tagSymtab] == 0 || !ok {
		return
	}
	n, ok := f.symbolCount(off)
	if !ok {
		f.problem("dynamic symbols: nothing says how many there are")
		return
	}
	f.SymbolTable = ".dynsym"
	f.names, f.namesAt = names, int64(strtab)
	f.table("dynamic symbols", off, n, names)
}

// symbolCount finds the number of dynamic symbols, which no tag but that of MIPS
// tells: the System V hash table has one chain entry a symbol, in the GNU one the
// longest chain ends with the last symbol, and section headers tell too.
func (f *reader) symbolCount(symtab uint64) (uint64, bool) {
	if n, ok := f.dyn[tagMIPSSyms]; ok && f.Machine == 8 {
		return n, true
	}
	if off, ok := f.offset(f.dyn[tagHash]); ok && f.dyn[tagHash] != 0 {
		if p := f.bytes("hash table", off, 8, 8); p != nil {
			return uint64(f.Order.Uint32(p[4:])), true
		}
	}
	if off, ok := f.offset(f.dyn[tagGNUHash]); ok && f.dyn[tagGNUHash] != 0 {
		if n, ok := f.gnuCount(off); ok {
			return n, true
		}
	}
	entry := uint64(f.pick(16, 24))
	for _, s := range f.Sections {
		if s.Type == sectionDynsym && s.Offset == symtab {
			return s.Size / entry, true
		}
	}
	// Linkers put the names right behind the symbols.
	if off, ok := f.offset(f.dyn[tagStrtab]); ok && off > symtab && (off-symtab)%entry == 0 {
		return (off - symtab) / entry, true
	}
	return 0, false
}

// gnuCount follows the chain that the highest bucket begins. A table without any
// chain does not tell: a program that exports nothing has one.
func (f *reader) gnuCount(off uint64) (uint64, bool) {
	head := f.bytes("GNU hash table", off, 16, 16)
	if head == nil {
		return 0, false
	}
	buckets, first, bloom := uint64(f.Order.Uint32(head)), uint64(f.Order.Uint32(head[4:])), uint64(f.Order.Uint32(head[8:]))
	at := off + 16 + bloom*uint64(f.Bits/8)
	table := f.bytes("GNU hash buckets", at, 4*buckets, 4*maxSymbols)
	if table == nil {
		return 0, false
	}
	var last uint64
	for ; len(table) >= 4; table = table[4:] {
		last = max(last, uint64(f.Order.Uint32(table)))
	}
	if last < first {
		return 0, false
	}
	at += 4*buckets + 4*(last-first)
	for last < maxSymbols && inside(at, 4, f.size) {
		chain := f.bytes("GNU hash chain", at, min(4096, uint64(f.size)-at)&^3, 4096)
		if chain == nil {
			return 0, false
		}
		for at += uint64(len(chain)); len(chain) > 0; chain = chain[4:] {
			last++
			if f.Order.Uint32(chain)&1 != 0 {
				return last, true
			}
		}
	}
	return 0, false
}

// symbols reads the static symbol table of a file that has no dynamic one.
func (f *reader) symbols() {
	if f.SymbolTable != "" {
		return
	}
	for _, s := range f.Sections {
		if s.Type != sectionSymtab || uint64(s.Link) >= uint64(len(f.Sections)) {
			continue
		}
		link := f.Sections[s.Link]
		f.SymbolTable = ".symtab"
		f.names, f.namesAt = f.strings("names of symbols", link.Offset, link.Size), int64(link.Offset)
		f.table("symbols", s.Offset, s.Size/uint64(f.pick(16, 24)), f.names)
		return
	}
}

// table reads the global symbols of a table (gABI chapter 4, Symbol Table).
func (f *reader) table(what string, off, n uint64, names stringTable) {
	const local, section, fileName = 0, 3, 4
	const internal, hidden = 1, 2
	entry := f.pick(16, 24)
	if n > maxSymbols {
		f.problem("%s: %d, of which %d are read", what, n, maxSymbols)
		n = maxSymbols
	}
	p := f.bytes(what, off, n*uint64(entry), maxSymbols*entry)
	work := 0 // symbols can share a long name
	for ; len(p) >= entry; p = p[entry:] {
		kind, other, index := p[f.pick(12, 4)], p[f.pick(13, 5)], f.Order.Uint16(p[f.pick(14, 6):])
		if kind>>4 == local || kind&15 == section || kind&15 == fileName {
			continue
		}
		name := names.at(uint64(f.Order.Uint32(p)))
		if work += len(name); name == "" {
			work += maxName
		}
		if work > 4*maxStrings {
			f.problem("%s: their names are too long to be read all", what)
			return
		}
		switch {
		case name == "":
		case index == 0:
			f.Imports = append(f.Imports, name)
		case other&3 != internal && other&3 != hidden:
			f.Exports = append(f.Exports, name)
		}
	}
}
