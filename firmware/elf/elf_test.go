package elf

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"assay/firmware/internal/elftest"
)

// sample builds a small program or library: one segment that is the whole file,
// and what points into it.
type byteOrder interface {
	binary.ByteOrder
	binary.AppendByteOrder
}

type sample struct {
	bits     int
	order    byteOrder
	machine  Machine
	kind     Type
	sections bool
	gnuHash  bool
	exports  bool // what it exports is in the hash table
}

const base = 0x10000

func (s sample) String() string {
	return fmt.Sprintf("%d bits %v machine %v %v, sections %v, GNU hash %v with exports %v", s.bits, s.order, s.machine, s.kind, s.sections, s.gnuHash, s.exports)
}

func (s sample) build() []byte {
	var out []byte
	half := func(v int) { out = s.order.AppendUint16(out, uint16(v)) }
	word := func(v int) { out = s.order.AppendUint32(out, uint32(v)) }
	addr := func(v int) {
		if s.bits == 64 {
			out = s.order.AppendUint64(out, uint64(v))
		} else {
			word(v)
		}
	}
	pick := func(a, b int) int {
		if s.bits == 64 {
			return b
		}
		return a
	}
	type extent struct{ off, size int }
	start := pick(52, 64) + 6*pick(32, 56)
	out = make([]byte, start)
	add := func(fill func()) extent {
		for len(out)%8 != 0 {
			out = append(out, 0)
		}
		e := extent{off: len(out)}
		fill()
		e.size = len(out) - e.off
		return e
	}
	names := "\x00libdl.so\x00libc.so.6\x00libx.so.1\x00/opt/lib\x00/opt/run\x00memcpy\x00__stack_chk_fail\x00first\x00second\x00third\x00hidden\x00"
	name := func(n string) int { return strings.Index(names, "\x00"+n+"\x00") + 1 }
	interp := add(func() { out = append(out, "/lib/ld-musl.so.1\x00"...) })
	note := add(func() {
		word(4)
		word(4)
		word(1)
		out = append(out, "GNU\x00abcd"...)
		word(4)
		word(20)
		word(3)
		out = append(out, "GNU\x000123456789abcdefghij"...)
	})
	dynsym := add(func() {
		sym := func(n string, info, other, index int) {
			if s.bits == 64 {
				word(name(n))
				out = append(out, byte(info), byte(other))
				half(index)
				addr(0)
				addr(0)
				return
			}
			word(name(n))
			addr(0)
			addr(0)
			out = append(out, byte(info), byte(other))
			half(index)
		}
		out = append(out, make([]byte, pick(16, 24))...)
		sym("memcpy", 0x12, 0, 0)
		sym("__stack_chk_fail", 0x12, 0, 0)
		sym("hidden", 0x12, 2, 1)
		sym("first", 0x12, 0, 1)
		sym("second", 0x21, 0, 1)
		sym("third", 0x12, 0, 1)
	})
	dynstr := add(func() { out = append(out, names...) })
	hash := add(func() {
		if s.gnuHash && !s.exports {
			for _, v := range []int{1, 1, 1, 0} {
				word(v)
			}
			addr(0)
			word(0)
			return
		}
		if s.gnuHash {
			for _, v := range []int{2, 4, 1, 0} { // buckets, first hashed, bloom words, shift
				word(v)
			}
			addr(-1) // bloom
			word(4)
			word(5)
			word(0x11 | 1)
			word(0x20)
			word(0x30 | 1)
			return
		}
		word(1)
		word(7)
		out = append(out, make([]byte, 4*8)...)
	})
	dynamic := add(func() {
		hashTag := tagHash
		if s.gnuHash {
			hashTag = tagGNUHash
		}
		for _, d := range [][2]int{
			{tagNeeded, name("libdl.so")}, {tagNeeded, name("libc.so.6")}, {tagRpath, name("/opt/lib")}, {tagRunpath, name("/opt/run")},
			{hashTag, base + hash.off}, {tagStrtab, base + dynstr.off}, {tagStrsz, dynstr.size}, {tagSymtab, base + dynsym.off},
			{tagFlags, flagBindNow}, {tagSoname, name("libx.so.1")}, {tagNull, 0},
		} {
			if s.kind == Shared || d[0] != tagSoname {
				addr(d[0])
				addr(d[1])
			}
		}
	})
	comment := add(func() { out = append(out, "GCC: (Buildroot 2019.02) 8.3.0\x00"...) })
	shstrtab := "\x00.dynsym\x00.dynstr\x00.dynamic\x00.comment\x00.bss\x00.shstrtab\x00"
	strs := add(func() { out = append(out, shstrtab...) })
	var shoff extent
	if s.sections {
		shoff = add(func() {
			section := func(n string, kind, flags, address int, e extent, link, info, entry int) {
				word(max(0, strings.Index(shstrtab, "\x00"+n+"\x00")+1))
				word(kind)
				addr(flags)
				addr(address)
				addr(e.off)
				addr(e.size)
				word(link)
				word(info)
				addr(1)
				addr(entry)
			}
			out = append(out, make([]byte, pick(40, 64))...)
			section(".dynsym", sectionDynsym, SectionAlloc, base+dynsym.off, dynsym, 2, 1, pick(16, 24))
			section(".dynstr", 3, SectionAlloc, base+dynstr.off, dynstr, 0, 0, 0)
			section(".dynamic", 6, SectionAlloc, base+dynamic.off, dynamic, 2, 0, pick(8, 16))
			section(".comment", 1, 0, 0, comment, 0, 0, 0)
			section(".bss", sectionNoBits, SectionAlloc, 0x90000, extent{len(out), 1 << 30}, 0, 0, 0)
			section(".shstrtab", 3, 0, 0, strs, 0, 0, 0)
		})
	}
	body := out
	out = nil
	class, data := byte(pick(1, 2)), byte(1)
	if s.order.String() == "BigEndian" {
		data = 2
	}
	out = append(out, 0x7f, 'E', 'L', 'F', class, data, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	half(int(s.kind))
	half(int(s.machine))
	word(1)
	addr(base)
	addr(pick(52, 64))
	addr(shoff.off)
	word(0x5000400)
	for _, v := range []int{pick(52, 64), pick(32, 56), 6, pick(40, 64)} {
		half(v)
	}
	if s.sections {
		half(7)
		half(6)
	} else {
		half(0)
		half(0)
	}
	segment := func(kind, flags int, e extent) {
		word(kind)
		if s.bits == 64 {
			word(flags)
		}
		addr(e.off)
		addr(base + e.off)
		addr(base + e.off)
		addr(e.size)
		addr(e.size)
		if s.bits == 32 {
			word(flags)
		}
		addr(4)
	}
	segment(segmentLoad, 5, extent{0, len(body)})
	if s.kind == Shared {
		segment(segmentGNURelro, 4, dynamic)
	} else {
		segment(segmentInterp, 4, interp)
	}
	segment(segmentNote, 4, note)
	segment(segmentDynamic, 6, dynamic)
	segment(segmentGNUStack, 6, extent{})
	segment(0, 0, extent{})
	copy(body, out)
	return body
}

func samples() (list []sample) {
	for _, m := range []struct {
		bits    int
		order   byteOrder
		machine Machine
	}{{32, binary.LittleEndian, 40}, {32, binary.BigEndian, 8}, {64, binary.LittleEndian, 183}, {64, binary.BigEndian, 21}} {
		for _, kind := range []Type{Executable, Shared} {
			for _, sections := range []bool{false, true} {
				for _, hash := range []struct{ gnu, exports bool }{{false, true}, {true, true}, {true, false}} {
					list = append(list, sample{m.bits, m.order, m.machine, kind, sections, hash.gnu, hash.exports})
				}
			}
		}
	}
	return list
}

func read(t *testing.T, b []byte) *File {
	t.Helper()
	f, err := Read(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestFilesOfBothSizesAndOrdersAreReadWithAndWithoutSections(t *testing.T) {
	for _, s := range samples() {
		f := read(t, s.build())
		if len(f.Problems) > 0 {
			t.Errorf("%v: problems %q", s, f.Problems)
		}
		got := fmt.Sprint(f.Bits, f.Order, f.Type, f.Machine, f.Interpreter, f.BuildID, f.Soname, f.Needed, f.Rpath, f.Runpath, f.Imports, f.Exports, f.SymbolTable, f.Hardening)
		interp, soname, hardening := "/lib/ld-musl.so.1", "", "{yes none yes no yes no}"
		if s.kind == Shared {
			interp, soname, hardening = "", "libx.so.1", "{yes full yes  yes no}"
		}
		want := fmt.Sprint(s.bits, s.order, s.kind, s.machine, interp, fmt.Sprintf("%x", "0123456789abcdefghij"), soname, []string{"libdl.so", "libc.so.6"}, "/opt/lib", "/opt/run",
			[]string{"memcpy", "__stack_chk_fail"}, []string{"first", "second", "third"}, ".dynsym", hardening)
		if at, ok := f.NameOffset("second"); !ok || !bytes.HasPrefix(s.build()[at:], []byte("second\x00")) {
			t.Errorf("%v: the name stands at %d", s, at)
		}
		if got != want {
			t.Errorf("%v:\ngot  %s\nwant %s", s, got, want)
		}
		if s.sections && (f.Section(".dynsym") == nil || !slices.Equal(f.Comments, []string{"GCC: (Buildroot 2019.02) 8.3.0"})) {
			t.Errorf("%v: sections %+v comments %q", s, f.Sections, f.Comments)
		}
	}
}

func TestTheArchitectureIsNamedWithSizeAndOrder(t *testing.T) {
	for want, f := range map[string]File{
		"arm":          {Bits: 32, Order: binary.LittleEndian, Machine: 40},
		"armeb":        {Bits: 32, Order: binary.BigEndian, Machine: 40},
		"mipsel":       {Bits: 32, Order: binary.LittleEndian, Machine: 8},
		"mips64":       {Bits: 64, Order: binary.BigEndian, Machine: 8},
		"aarch64":      {Bits: 64, Order: binary.LittleEndian, Machine: 183},
		"riscv32":      {Bits: 32, Order: binary.LittleEndian, Machine: 243},
		"x86-64":       {Bits: 64, Order: binary.LittleEndian, Machine: 62},
		"csky":         {Bits: 32, Order: binary.LittleEndian, Machine: 252},
		"machine 9999": {Bits: 32, Order: binary.LittleEndian, Machine: 9999},
	} {
		if got := f.Arch(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestOtherBytesAreNoELFFile(t *testing.T) {
	good := samples()[0].build()
	for name, change := range map[string]func(b []byte) []byte{
		"nothing":             func([]byte) []byte { return nil },
		"a cut header":        func(b []byte) []byte { return b[:51] },
		"another magic":       func(b []byte) []byte { b[0] = 0x7e; return b },
		"no class":            func(b []byte) []byte { b[4] = 3; return b },
		"no order":            func(b []byte) []byte { b[5] = 0; return b },
		"another version":     func(b []byte) []byte { b[6] = 2; return b },
		"a cut 64-bit header": func(b []byte) []byte { b[4] = 2; return b[:63] },
	} {
		b := change(slices.Clone(good))
		if _, err := Read(bytes.NewReader(b), int64(len(b))); !errors.Is(err, ErrNotELF) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// module builds a kernel module.
func module(info string, this []byte) []byte {
	return elftest.File{Type: 1, Modinfo: info, Module: this, Exports: []string{"osal_init"}, Imports: []string{"printk"}}.Build()
}

func TestAKernelModuleTellsItsNameAndKernel(t *testing.T) {
	this := make([]byte, 128)
	copy(this[12:], "hi_osal")
	f := read(t, module("license=Proprietary\x00vermagic=4.9.37 SMP mod_unload ARMv7 p2v8 \x00depends=\x00parm=a:b\x00parm=c:d\x00", this))
	if m := f.Module; m == nil || m.Name != "hi_osal" || m.Vermagic != "4.9.37 SMP mod_unload ARMv7 p2v8 " || m.License != "Proprietary" || len(m.Fields) != 5 {
		t.Errorf("%+v", f.Module)
	}
	if !slices.Equal(f.Imports, []string{"printk"}) || !slices.Equal(f.Exports, []string{"osal_init"}) || f.SymbolTable != ".symtab" {
		t.Errorf("imports %q exports %q of %q", f.Imports, f.Exports, f.SymbolTable)
	}
	if f := read(t, module("name=ov\x00", this)); f.Module.Name != "ov" || f.Hardening.NX != "" {
		t.Errorf("%+v %+v", f.Module, f.Hardening)
	}
	if f := read(t, module("", make([]byte, 8))); f.Module != nil {
		t.Errorf("a module of nothing: %+v", f.Module)
	}
}

func TestWhatHeadersClaimIsNotAllocated(t *testing.T) {
	for _, s := range samples() {
		good := s.build()
		for at := 24; at < min(len(good), 700); at++ {
			b := slices.Clone(good)
			for i := at; i < at+4 && i < len(b); i++ {
				b[i] = 0x7f
			}
			if allocated := testing.AllocsPerRun(1, func() { _, _ = Read(bytes.NewReader(b), int64(len(b))) }); allocated > 4000 {
				t.Fatalf("%v: %v allocations with 0x7f7f7f7f at %d", s, allocated, at)
			}
		}
		for n := range len(good) {
			_, _ = Read(bytes.NewReader(good[:n]), int64(n))
		}
	}
}

func TestManySymbolsWithOneLongNameAreCutShort(t *testing.T) {
	b := module("name=x\x00", make([]byte, 128))
	const n = maxSymbols
	le := binary.LittleEndian
	at := len(b)
	for range n {
		b = le.AppendUint32(b, 0)
		b = append(b, make([]byte, 8)...)
		b = append(b, 0x12, 0, 1, 0)
	}
	names := len(b)
	b = append(b, bytes.Repeat([]byte{'a'}, maxName)...)
	shoff := int(le.Uint32(b[32:]))
	le.PutUint32(b[shoff+2*40+16:], uint32(at))
	le.PutUint32(b[shoff+2*40+20:], 16*n)
	le.PutUint32(b[shoff+3*40+16:], uint32(names))
	le.PutUint32(b[shoff+3*40+20:], maxName)
	if f := read(t, b); len(f.Exports) != 0 || len(f.Problems) != 1 {
		t.Errorf("%d exports, problems %q", len(f.Exports), f.Problems)
	}
}

func TestTheProgramsOfThisMachineReadAsWithTheStandardLibrary(t *testing.T) {
	var paths []string
	for _, pattern := range []string{"/usr/bin/*", "/usr/sbin/*", "/usr/lib/*-linux-gnu/lib*.so.*", "/usr/lib/gcc/*/*/*.o"} {
		found, _ := filepath.Glob(pattern)
		paths = append(paths, found...)
	}
	compared := 0
	for _, path := range paths {
		if st, err := os.Stat(path); err != nil || !st.Mode().IsRegular() || st.Size() > 8<<20 || compared >= 300 {
			continue
		}
		b, err := os.ReadFile(path)
		if err != nil || !bytes.HasPrefix(b, []byte("\x7fELF")) {
			continue
		}
		compared++
		compare(t, path, b)
	}
	if compared == 0 {
		t.Skip("no ELF programs here")
	}
	t.Logf("%d files", compared)
}

func TestSamplesReadAsWithTheStandardLibrary(t *testing.T) {
	for _, s := range samples() {
		if s.sections {
			compare(t, s.String(), s.build())
		}
	}
}

func compare(t *testing.T, path string, b []byte) {
	t.Helper()
	peer, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	f := read(t, b)
	if len(f.Problems) > 0 {
		t.Errorf("%s: problems %q", path, f.Problems)
	}
	if uint16(f.Type) != uint16(peer.Type) || uint16(f.Machine) != uint16(peer.Machine) || f.Entry != peer.Entry || f.Order != peer.ByteOrder || len(f.Segments) != len(peer.Progs) || len(f.Sections) != len(peer.Sections) {
		t.Errorf("%s: header %+v, want %+v", path, f, peer.FileHeader)
		return
	}
	for i, s := range peer.Sections {
		g := f.Sections[i]
		if g.Name != s.Name || g.Offset != s.Offset || g.Size != s.FileSize && s.Type != elf.SHT_NOBITS || g.Type != uint32(s.Type) || g.Flags != uint64(s.Flags) || g.Link != s.Link || g.Info != s.Info || g.EntrySize != s.Entsize || g.Address != s.Addr {
			t.Errorf("%s: section %d is %+v, want %+v", path, i, g, s.SectionHeader)
		}
	}
	for i, s := range peer.Progs {
		g := f.Segments[i]
		if g.Type != uint32(s.Type) || g.Flags != uint32(s.Flags) || g.Offset != s.Off || g.Address != s.Vaddr || g.FileSize != s.Filesz || g.MemorySize != s.Memsz || g.Alignment != s.Align {
			t.Errorf("%s: segment %d is %+v, want %+v", path, i, g, s.ProgHeader)
		}
	}
	needed, _ := peer.ImportedLibraries()
	if !slices.Equal(f.Needed, needed) {
		t.Errorf("%s: needs %q, want %q", path, f.Needed, needed)
	}
	for tag, got := range map[elf.DynTag]string{elf.DT_SONAME: f.Soname, elf.DT_RPATH: f.Rpath, elf.DT_RUNPATH: f.Runpath} {
		want, _ := peer.DynString(tag)
		if strings.Join(want, "") != got {
			t.Errorf("%s: %v is %q, want %q", path, tag, got, want)
		}
	}
	symbols, err := peer.DynamicSymbols()
	if f.SymbolTable == ".symtab" {
		symbols, err = peer.Symbols()
	}
	if err != nil && len(f.Imports)+len(f.Exports) > 0 {
		t.Errorf("%s: symbols where the library finds none: %v", path, err)
	}
	var imports, exports []string
	for _, s := range symbols {
		kind, bind, seen := elf.ST_TYPE(s.Info), elf.ST_BIND(s.Info), elf.ST_VISIBILITY(s.Other)
		switch {
		case bind == elf.STB_LOCAL || kind == elf.STT_SECTION || kind == elf.STT_FILE || s.Name == "":
		case s.Section == elf.SHN_UNDEF:
			imports = append(imports, s.Name)
		case seen != elf.STV_HIDDEN && seen != elf.STV_INTERNAL:
			exports = append(exports, s.Name)
		}
	}
	if !slices.Equal(f.Imports, imports) || !slices.Equal(f.Exports, exports) {
		t.Errorf("%s: %d imports and %d exports, want %d and %d", path, len(f.Imports), len(f.Exports), len(imports), len(exports))
	}
}

func FuzzRead(f *testing.F) {
	for _, s := range samples() {
		f.Add(s.build())
	}
	this := make([]byte, 128)
	copy(this[12:], "hi_osal")
	f.Add(module("license=GPL\x00vermagic=4.9.37 \x00", this))
	f.Fuzz(func(t *testing.T, b []byte) {
		file, err := Read(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			if !errors.Is(err, ErrNotELF) {
				t.Fatal(err)
			}
			return
		}
		for i := range file.Sections {
			if off, n := file.Sections[i].Extent(int64(len(b))); off < 0 || n < 0 || off+n > int64(len(b)) {
				t.Fatalf("section %+v of %d bytes", file.Sections[i], len(b))
			}
		}
		_ = file.Arch()
	})
}

func BenchmarkRead(b *testing.B) {
	data := samples()[0].build()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Read(bytes.NewReader(data), int64(len(data))); err != nil {
			b.Fatal(err)
		}
	}
}
