package lineage

import (
	"crypto/sha256"
	"io"
	"slices"
	"strings"

	"assay/firmware/elf"
)

// Bounds of what tells anything: small code and small sets are alike by chance.
const (
	leastCode     = 1 << 10 // bytes of .text or .rodata for an exact trait
	leastSet      = 8       // symbols in a set for an exact trait
	leastWord     = 6       // bytes of a string
	mostWord      = 256
	maxRead       = 64 << 20 // bytes of one file beyond which only its digest counts
	maxRodata     = 64       // sections .rodata*, of which objects have many
	chunk         = 64 << 10
	maxBuildIDLen = 64
)

// linkers make these symbols, whoever's program it is.
var linkerSymbols = []string{
	"_init", "_fini", "_start", "__start", "_end", "_edata", "_etext", "end", "edata", "etext", "__bss_start", "__bss_start__",
	"__bss_end__", "_bss_end__", "__end__", "__data_start", "data_start", "main", "_IO_stdin_used", "_fp_hw", "_fbss", "_ftext",
	"_fdata", "_gp", "_gp_disp", "__RLD_MAP", "_DYNAMIC_LINKING", "__dso_handle", "__libc_csu_init", "__libc_csu_fini",
	"_ITM_deregisterTMCloneTable", "_ITM_registerTMCloneTable", "__gmon_start__", "_Jv_RegisterClasses", "init_module",
	"cleanup_module", "__this_module",
}

// code fills in what an ELF file shows. It returns the text that common.yaml
// looks at.
func (p *Part) code(f *elf.File, r io.ReaderAt, size int64) *traces {
	switch {
	case f.Module != nil:
		p.Kind = Module
	case f.Type == elf.Shared && f.Interpreter == "" || f.Soname != "":
		p.Kind = Library
	case f.Type == elf.Relocatable:
		p.Kind = Blob
	default:
		p.Kind = Program
	}
	seen := &traces{soname: f.Soname, size: size}
	if id := f.BuildID; len(id) >= 16 && len(id) <= 2*maxBuildIDLen {
		p.Traits = append(p.Traits, sum(BuildID, []byte(id)))
	}
	p.extents(f, r, size, seen)
	p.symbols(f, seen)
	return seen
}

// extents digests the code and constants, and samples the strings in the latter.
// A program without section headers is taken whole.
func (p *Part) extents(f *elf.File, r io.ReaderAt, size int64, seen *traces) {
	words := bottom{k: wordsKept}
	constants, rodata := sha256.New(), int64(0)
	sections := 0
	for i := range f.Sections {
		s := &f.Sections[i]
		off, n := s.Extent(size)
		if n == 0 || f.Machine == 0 {
			continue
		}
		switch {
		case s.Name == ".text" && n >= leastCode:
			if _, had := p.trait(Code); had {
				continue
			}
			h := sha256.New()
			if _, err := io.CopyN(h, io.NewSectionReader(r, off, n), n); err == nil {
				p.Traits = append(p.Traits, sum(Code, h.Sum(nil)))
			}
		case strings.HasPrefix(s.Name, ".rodata") && sections < maxRodata:
			sections++
			rodata += n
			scanWords(io.TeeReader(io.NewSectionReader(r, off, n), constants), func(w []byte) { words.add(element(word, w)); seen.word(w) })
		}
	}
	if rodata >= leastCode {
		p.Traits = append(p.Traits, sum(Constants, constants.Sum(nil)))
	}
	if len(f.Sections) == 0 {
		p.segment(f, r, size)
		scanWords(io.NewSectionReader(r, 0, size), func(w []byte) { words.add(element(word, w)); seen.word(w) })
	}
	p.Words = words.kept
}

// segment digests the executable segment in the place of .text.
func (p *Part) segment(f *elf.File, r io.ReaderAt, size int64) {
	for _, s := range f.Segments {
		if s.Type != 1 || s.Flags&1 == 0 || s.FileSize < leastCode || s.Offset > uint64(size) || s.FileSize > uint64(size)-s.Offset {
			continue
		}
		h := sha256.New()
		if _, err := io.Copy(h, io.NewSectionReader(r, int64(s.Offset), int64(s.FileSize))); err == nil {
			p.Traits = append(p.Traits, sum(Code, h.Sum(nil)))
		}
		return
	}
}

func (p *Part) symbols(f *elf.File, seen *traces) {
	exports, imports := ownNames(f.Exports), ownNames(f.Imports)
	seen.exports = exports
	if len(exports) >= leastSet {
		p.Traits = append(p.Traits, sum(Exports, []byte(strings.Join(exports, "\x00"))))
	}
	if len(imports) >= leastSet {
		p.Traits = append(p.Traits, sum(Imports, []byte(strings.Join(imports, "\x00"))))
	}
	if m := f.Module; m != nil {
		seen.inTree = m.Field("intree") == "Y"
		p.Traits = append(p.Traits, sum(ModuleAPI, []byte(strings.Join(slices.Concat([]string{m.Name, m.Vermagic}, exports, []string{""}, imports), "\x00"))))
	}
	names := bottom{k: symbolsKept}
	for _, n := range exports {
		names.add(element(symbol, []byte(n)))
	}
	p.Symbols = names.kept
}

// ownNames sorts names, each once, without those that every program has and
// without the versions that C libraries add to theirs.
func ownNames(names []string) []string {
	own := make([]string, 0, len(names))
	for _, n := range names {
		n, _, _ = strings.Cut(n, "@")
		if n != "" && !slices.Contains(linkerSymbols, n) {
			own = append(own, n)
		}
	}
	slices.Sort(own)
	return slices.Compact(own)
}

// scanWords finds the strings of a binary: runs of printable bytes. A long one
// is cut into pieces.
func scanWords(r io.Reader, found func([]byte)) {
	buf := make([]byte, chunk)
	run := make([]byte, 0, mostWord)
	end := func() {
		if len(run) >= leastWord {
			found(run)
		}
		run = run[:0]
	}
	for {
		n, err := r.Read(buf)
		for _, c := range buf[:n] {
			if c >= ' ' && c < 0x7f || c == '\t' {
				if run = append(run, c); len(run) == mostWord {
					end()
				}
			} else if len(run) > 0 {
				end()
			}
		}
		if err != nil {
			end()
			return
		}
	}
}
