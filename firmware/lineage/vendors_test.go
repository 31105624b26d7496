//go:build linux

package lineage_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"assay/internal/peer"
)

// The benchmark's makers are made of the programs that are installed where it
// runs: each has the files of some Debian source packages to itself, and all of
// them ship the same open source beside that. They write web pages, and libraries
// in C that are compiled anew for each version.

// shipped are source packages that every maker's images have files of.
var shipped = []string{"coreutils", "glibc", "openssl", "zlib", "util-linux", "e2fsprogs", "ncurses", "busybox", "iproute2", "dash", "tar", "gzip", "sqlite3", "libxml2", "curl"}

const (
	leastProgram, mostProgram = 12 << 10, 500 << 10
	programsEach              = 26
	sharedPrograms            = 24
)

// debian returns the programs of each installed source package.
func debian(t testing.TB) map[string][]string {
	t.Helper()
	status, err := os.Open("/var/lib/dpkg/status")
	if err != nil {
		t.Skip("the benchmark's makers are made of Debian packages")
	}
	defer status.Close()
	sources := make(map[string]string)
	var name string
	for lines := bufio.NewScanner(status); lines.Scan(); {
		if n, ok := strings.CutPrefix(lines.Text(), "Package: "); ok {
			name, sources[n] = n, n
		}
		if s, ok := strings.CutPrefix(lines.Text(), "Source: "); ok {
			sources[name], _, _ = strings.Cut(s, " ")
		}
	}
	programs := make(map[string][]string)
	lists, _ := filepath.Glob("/var/lib/dpkg/info/*.list")
	for _, list := range lists {
		pkg, _, _ := strings.Cut(strings.TrimSuffix(filepath.Base(list), ".list"), ":")
		b, err := os.ReadFile(list)
		if err != nil {
			t.Fatal(err)
		}
		for path := range strings.Lines(string(b)) {
			path = strings.TrimSpace(path)
			st, err := os.Lstat(path)
			if err == nil && st.Mode().IsRegular() && st.Size() >= leastProgram && st.Size() <= mostProgram && isProgram(path) {
				programs[sources[pkg]] = append(programs[sources[pkg]], path)
			}
		}
	}
	return programs
}

func isProgram(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	var head [4]byte
	f.Read(head[:])
	return string(head[:]) == "\x7fELF"
}

// maker is a maker of the benchmark.
type maker struct {
	name     string
	seed     uint64
	programs []string // of this machine, that no other maker has
}

// makers deals the installed source packages out.
func makers(t testing.TB, n int) (all []*maker, shared []string) {
	programs := debian(t)
	for _, s := range shipped {
		shared = append(shared, programs[s][:min(4, len(programs[s]))]...)
		delete(programs, s)
	}
	shared = shared[:min(len(shared), sharedPrograms)]
	for i := range n {
		all = append(all, &maker{name: fmt.Sprintf("maker%d", i), seed: uint64(i + 1)})
	}
	var sources []string
	for s := range programs {
		sources = append(sources, s)
	}
	order := func(s string) uint64 { h := fnv.New64a(); h.Write([]byte(s)); return h.Sum64() }
	slices.SortFunc(sources, func(a, b string) int {
		if x, y := order(a), order(b); x != y {
			return map[bool]int{true: -1, false: 1}[x < y]
		}
		return strings.Compare(a, b)
	})
	for _, s := range sources {
		m := slices.MinFunc(all, func(a, b *maker) int { return len(a.programs) - len(b.programs) })
		m.programs = append(m.programs, programs[s][:min(len(programs[s]), 8)]...)
	}
	for _, m := range all {
		if len(m.programs) < programsEach || len(shared) < sharedPrograms/2 {
			t.Skipf("too few programs are installed: %d of %d for a maker, %d shared", len(m.programs), programsEach, len(shared))
		}
	}
	return all, shared
}

// words of a maker's own invention, for pages and code.
func invent(r *rand.Rand) string {
	const c, v = "bcdfghklmnprstvz", "aeiou"
	var b strings.Builder
	for range 2 + r.IntN(3) {
		b.WriteByte(c[r.IntN(len(c))])
		b.WriteByte(v[r.IntN(len(v))])
	}
	return b.String()
}

func vocabulary(r *rand.Rand, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = invent(r)
	}
	return out
}

// page writes a script as a maker's web interface has them. edition changes a
// tenth of it.
func page(seed, number, edition uint64, brand string) []byte {
	r := rand.New(rand.NewPCG(seed, number))
	edit := rand.New(rand.NewPCG(seed^edition<<32, number))
	v := vocabulary(r, 40)
	pick := func() string { return v[r.IntN(len(v))] }
	var b bytes.Buffer
	fmt.Fprintf(&b, "// %s web client\nvar %s = {};\n", brand, brand)
	for range 60 {
		f, x, y, z := pick(), pick(), pick(), pick()
		if edit.IntN(10) == 0 {
			x, y = invent(edit), invent(edit)
		}
		switch r.IntN(3) {
		case 0:
			fmt.Fprintf(&b, "%s.%s = function(%s, %s) {\n  if (%s > %d) { return %s.%s(%s); }\n  return %s + '%s';\n};\n", brand, f, x, y, x, r.IntN(99), brand, z, y, y, pick())
		case 1:
			fmt.Fprintf(&b, "$('#%s_%s').bind('click', function() { %s.%s(%s.val(), '%s'); });\n", x, y, brand, f, z, pick())
		case 2:
			fmt.Fprintf(&b, "for (var %s = 0; %s < %s.length; %s++) { %s[%s] = %s(%s, %d); }\n", x, x, y, x, z, x, f, y, r.IntN(9))
		}
	}
	return b.Bytes()
}

// library writes C source. edition changes a few functions and adds one.
func library(seed, number, edition uint64, brand string) string {
	r := rand.New(rand.NewPCG(seed, 1000+number))
	v := vocabulary(r, 60)
	prefix := invent(r)
	var b strings.Builder
	b.WriteString("#include <stdio.h>\n#include <string.h>\n#include <stdlib.h>\n")
	fmt.Fprintf(&b, "const char *%s_banner = \"%s media library\";\n", prefix, brand)
	function := func(i int, r *rand.Rand) {
		pick := func() string { return v[r.IntN(len(v))] }
		fmt.Fprintf(&b, "int %s_%s_%d(int a, char *s) {\n  static int state[%d];\n  int i, x = a * %d;\n", prefix, pick(), i, 8+r.IntN(24), 3+r.IntN(1000))
		fmt.Fprintf(&b, "  if (!s) { fprintf(stderr, \"%s: %s %s is not %s (%%d)\\n\", a); return -%d; }\n", pick(), pick(), pick(), pick(), 1+r.IntN(40))
		fmt.Fprintf(&b, "  for (i = 0; i < a; i++) { x ^= s[i %% %d] << (i & %d); state[x & 7] += x; }\n", 7+r.IntN(90), 1+r.IntN(7))
		fmt.Fprintf(&b, "  if (strcmp(s, \"%s/%s\") == 0) { char *p = malloc(%d); sprintf(p, \"%s=%%d;%s\", x); puts(p); free(p); }\n  return x + state[%d];\n}\n", pick(), pick(), 64+r.IntN(400), pick(), pick(), r.IntN(8))
	}
	for i := range 24 {
		if i%9 == 4 && edition > 0 {
			function(i, rand.New(rand.NewPCG(seed^edition<<40, number<<8|uint64(i))))
			function(i+1000, r) // keeps the rest as it is
			continue
		}
		function(i, r)
	}
	return b.String()
}

// compiled keeps what compile made: all makers compile the same open source.
var compiled sync.Map

// compile builds a library, stripped, with the given optimisation.
func compile(t testing.TB, source, flag string) []byte {
	if b, ok := compiled.Load(flag + source); ok {
		return b.([]byte)
	}
	gcc := peer.Need(t, "gcc", "gcc")
	dir := t.TempDir()
	in, out := filepath.Join(dir, "x.c"), filepath.Join(dir, "x.so")
	if err := os.WriteFile(in, []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	if msg, err := exec.Command(gcc, "-shared", "-fPIC", "-s", "-w", flag, "-o", out, in).CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v: %s", err, msg)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	compiled.Store(flag+source, b)
	return b
}

// tree is the files of an image, by path.
type tree map[string][]byte

// edition says how a maker's image is made.
type edition struct {
	number   uint64
	optimise string
	brand    string
	share    float64 // of the maker's programs that are in it
	other    *maker  // whose programs fill up the rest
	rename   bool
	rebrand  bool // in the constants of programs, too
}

const (
	pages       = 12
	libraries   = 3
	openLibrary = 3 // open source that each maker compiles himself
)

// build makes the files of an image.
func (m *maker) build(t testing.TB, shared []string, e edition) tree {
	files := make(tree)
	read := func(path string) []byte {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for _, p := range shared {
		files["usr/bin/"+filepath.Base(p)] = read(p)
	}
	own := int(e.share * programsEach)
	for i, p := range m.programs[:programsEach] {
		b := []byte(nil)
		switch {
		case i < own:
			if b = read(p); e.rebrand {
				b = rebrand(b)
			}
		case e.other != nil:
			b = read(e.other.programs[i])
		default:
			continue
		}
		name := "opt/app/" + filepath.Base(p)
		if e.rename {
			name = fmt.Sprintf("app/bin/module_%02d", i)
		}
		files[name] = b
	}
	seed := func(i, n int) uint64 {
		if float64(i) < e.share*float64(n) || e.other == nil {
			return m.seed
		}
		return e.other.seed
	}
	for i := range pages {
		name := fmt.Sprintf("opt/web/%s.js", invent(rand.New(rand.NewPCG(m.seed, uint64(i)))))
		if e.rename {
			name = fmt.Sprintf("srv/www/p%d.js", i)
		}
		files[name] = page(seed(i, pages), uint64(i), e.number, e.brand)
	}
	var mu sync.Mutex
	var wait sync.WaitGroup
	build := func(name, source string) {
		wait.Go(func() {
			b := compile(t, source, e.optimise)
			mu.Lock()
			defer mu.Unlock()
			files[name] = b
		})
	}
	for i := range libraries {
		name := fmt.Sprintf("opt/lib/lib%s%d.so", m.name, i)
		if e.rename {
			name = fmt.Sprintf("usr/lib/libm%d.so.1", i)
		}
		build(name, library(seed(i, libraries), uint64(i), e.number, e.brand))
	}
	for i := range openLibrary {
		// The same release, with the flags of each maker.
		flag := []string{"-O1", "-O2", "-Os"}[m.seed%3]
		name, source := fmt.Sprintf("usr/lib/libopen%d.so", i), library(0, uint64(i), 0, "open project")
		wait.Go(func() {
			b := compile(t, source, flag)
			mu.Lock()
			defer mu.Unlock()
			files[name] = b
		})
	}
	wait.Wait()
	return files
}

// rebrand changes some strings of a program without moving any, as a hex editor
// does.
func rebrand(b []byte) []byte {
	for _, w := range []string{"error", "Usage", "version", "invalid"} {
		b = bytes.ReplaceAll(b, []byte(w), []byte(strings.ToUpper(w)))
	}
	return b
}

// packing is a way to make an image of files.
type packing func(t testing.TB, dir, out string)

func squash(compressor string) packing {
	return func(t testing.TB, dir, out string) {
		run(t, dir, peer.Need(t, "mksquashfs", "squashfs-tools"), dir, out, "-comp", compressor, "-noappend", "-all-root", "-quiet", "-no-progress", "-processors", "2")
	}
}

func jffs2(t testing.TB, dir, out string) {
	run(t, dir, peer.Need(t, "mkfs.jffs2", "mtd-utils"), "-r", dir, "-o", out, "-e", "0x10000", "-l", "-n", "-U")
}

func cpioGzip(t testing.TB, dir, out string) {
	program := peer.Need(t, "cpio", "cpio")
	list := exec.Command(program, "-o", "-H", "newc", "--quiet")
	list.Dir = dir
	var names []string
	_ = filepath.WalkDir(dir, func(p string, _ os.DirEntry, _ error) error {
		if rel, _ := filepath.Rel(dir, p); rel != "." {
			names = append(names, rel)
		}
		return nil
	})
	list.Stdin = strings.NewReader(strings.Join(names, "\n"))
	b, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	z, _ := gzip.NewWriterLevel(&packed, gzip.BestSpeed)
	z.Write(b)
	z.Close()
	if err := os.WriteFile(out, packed.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

func run(t testing.TB, dir, program string, args ...string) {
	t.Helper()
	c := exec.Command(program, args...)
	c.Dir = dir
	if b, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", program, err, b)
	}
}

func (p packing) image(t testing.TB, files tree) string {
	t.Helper()
	dir := t.TempDir()
	for name, b := range files {
		path := filepath.Join(dir, "root", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	out := filepath.Join(dir, "image.bin")
	p(t, filepath.Join(dir, "root"), out)
	return out
}
