package lineage

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"assay/firmware"
	_ "assay/firmware/filesystem"
	_ "assay/firmware/format"
)

// archive is a cpio archive (newc) of files, in the order of their names.
func archive(files map[string]string) []byte {
	var b bytes.Buffer
	member := func(name, data string, mode int) {
		fmt.Fprintf(&b, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00", b.Len()+1, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name)+1, 0, name)
		b.Write(make([]byte, -b.Len()&3))
		b.WriteString(data)
		b.Write(make([]byte, -b.Len()&3))
	}
	var names []string
	for n := range files {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		member(n, files[n], 0o100644)
	}
	member("TRAILER!!!", "", 0)
	return b.Bytes()
}

func profileOf(t *testing.T, image []byte) *Profile {
	t.Helper()
	c := NewCollector()
	img, err := firmware.Open(context.Background(), bytes.NewReader(image), int64(len(image)), firmware.WithVisitor(c.Visit))
	if err != nil {
		t.Fatal(err)
	}
	defer img.Release()
	return c.Profile(img)
}

func packed(t *testing.T, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	z.Write(b)
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// script is a text in which words recur as they do in programs.
func script(seed uint64, brand string) string {
	r := rand.New(rand.NewPCG(seed, 0))
	var b strings.Builder
	for range 120 {
		fmt.Fprintf(&b, "function %s_%c%c(%c) { return %s.%c%c%c(%c, '%s'); }\n", brand, 'a'+r.IntN(26), 'a'+r.IntN(26), 'a'+r.IntN(26), brand, 'a'+r.IntN(26), 'a'+r.IntN(26), 'a'+r.IntN(26), 'a'+r.IntN(26), brand)
	}
	return b.String()
}

// noise is data in which nothing is a string.
func noise(seed uint64, n int) string {
	r := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(128 + r.IntN(128))
	}
	return string(b)
}

func files(makers ...string) map[string]string {
	out := make(map[string]string)
	for _, m := range makers {
		for i := range 6 {
			seed := uint64(m[0])<<8 | uint64(i)
			out[fmt.Sprintf("opt/%s/%d.dat", m, i)] = noise(seed, 40<<10)
			out[fmt.Sprintf("opt/%s/%d.js", m, i)] = script(seed, m)
		}
	}
	return out
}

func compareWith(t *testing.T, index Index, image []byte) *Report {
	t.Helper()
	r, err := Compare(context.Background(), profileOf(t, image), index, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestLineageIsFoundThroughRenamingReBrandingAndRePacking(t *testing.T) {
	index := &Memory{}
	for i, m := range []string{"alpha", "beta", "gamma"} {
		index.Add(Reference{Maker: m, House: int64(i)}, profileOf(t, archive(files(m, "open"))))
	}
	relabelled := make(map[string]string)
	n := 0
	for name, data := range files("beta", "open") {
		if strings.HasSuffix(name, ".js") {
			data = strings.ReplaceAll(strings.ReplaceAll(data, "beta", "Northgate"), "\n", "\r\n")
		}
		n++
		relabelled[fmt.Sprintf("usr/share/x%d", n)] = data
	}
	r := compareWith(t, index, packed(t, archive(relabelled)))
	if len(r.Matches) == 0 || r.Matches[0].Reference.Maker != "beta" || r.Matches[0].Verdict != Same {
		t.Fatalf("%+v", r)
	}
	m := r.Matches[0]
	if r.Grade != "c1" || m.Grade != "c1" || m.In.Bytes < 0.95 || m.In.Parts < 0.9 || m.Exact != 6 || len(m.Parts) != 12 {
		t.Errorf("%+v", m)
	}
	hows := make(map[string]int)
	for _, p := range m.Parts {
		hows[p.How]++
	}
	if hows[Content.String()] != 6 || hows[Skeleton.String()] != 6 {
		t.Errorf("the evidence is %v", hows)
	}
	if r.Ignored.Parts != 12 || !strings.Contains(r.Ignored.Why[0].Why, "3 of the 3 makers") {
		t.Errorf("what all makers have is not ignored: %+v", r.Ignored)
	}
	if len(r.Matches) != 1 {
		t.Errorf("makers who share what everybody has: %+v", r.Matches[1:])
	}
}

func TestAnImageOfWhatEverybodyShipsAccusesNobody(t *testing.T) {
	index := &Memory{}
	for i, m := range []string{"alpha", "beta"} {
		index.Add(Reference{Maker: m, House: int64(i)}, profileOf(t, archive(files(m, "open"))))
	}
	r := compareWith(t, index, archive(files("open")))
	if r.Grade != "" || len(r.Matches) > 0 || r.Own.Parts != 0 {
		t.Errorf("%+v", r)
	}
}

func TestRelatedMakersCountAsOne(t *testing.T) {
	index := &Memory{}
	for i, house := range []int64{1, 1, 2, 3} {
		m := []string{"alpha", "alpha", "beta", "gamma"}[i]
		index.Add(Reference{Maker: fmt.Sprint(m, i), House: house}, profileOf(t, archive(files(m))))
	}
	r := compareWith(t, index, archive(files("alpha")))
	if len(r.Matches) != 2 || r.Matches[0].Parts[0].Weight != 1 || r.Matches[0].Parts[0].Makers != 1 {
		t.Errorf("%+v", r.Matches)
	}
}

func TestOneLargeFileDoesNotDecideAlone(t *testing.T) {
	index := &Memory{}
	index.Add(Reference{Maker: "alpha"}, profileOf(t, archive(map[string]string{"big": noise(1, 300<<10), "a": noise(2, 4<<10), "b": noise(3, 4<<10), "c": noise(4, 4<<10), "d": noise(5, 4<<10), "e": noise(9, 4<<10)})))
	r := compareWith(t, index, archive(map[string]string{"big": noise(1, 300<<10), "a": noise(6, 4<<10), "b": noise(7, 4<<10), "c": noise(8, 4<<10), "d": noise(10, 4<<10), "e": noise(11, 4<<10)}))
	if len(r.Matches) != 1 || r.Matches[0].Verdict != Traces || r.Grade != "" {
		t.Errorf("%+v", r.Matches)
	}
}

func TestPackedFilesAreKnownByWhatTheyHold(t *testing.T) {
	text := script(7, "brand")
	plain := profileOf(t, archive(map[string]string{"a.js": text, "b": noise(1, 300)}))
	zipped := profileOf(t, archive(map[string]string{"a.js.gz": string(packed(t, []byte(text))), "b": noise(1, 300)}))
	find := func(p *Profile) *Part {
		for i := range p.Parts {
			if p.Parts[i].Kind == Text {
				return &p.Parts[i]
			}
		}
		t.Fatalf("no text among %+v", p.Parts)
		return nil
	}
	if a, b := find(plain), find(zipped); a.SHA256 != b.SHA256 {
		t.Errorf("%+v\n%+v", a, b)
	}
}

func TestCopiesAndSmallFilesCountOnce(t *testing.T) {
	p := profileOf(t, archive(map[string]string{"a": noise(1, 500), "b": noise(1, 500), "c": "small", "d": ""}))
	if len(p.Parts) != 1 || p.Parts[0].Copies != 1 || p.Small != 2 || !strings.HasSuffix(p.Parts[0].Path, "/a") {
		t.Errorf("%+v", p)
	}
}

func TestABannerTellsABuilderWhomNotEveryMachineHas(t *testing.T) {
	for _, c := range []struct {
		name, banner string
		traits       int
	}{
		{"a builder", "Linux version 3.10.50 (jdoe@compile-7) (gcc version 4.9.4 (Vendor) ) #1 SMP Tue Jan 3 2017", 2},
		{"root on a machine of a maker's", "Linux version 3.4.35 (root@fjordlens) (gcc version 4.8.3) #3 Wed Mar 1 2017", 2},
		{"what a virtual machine comes with", "Linux version 3.4.35 (root@localhost.localdomain) (gcc version 4.8.3) #3 Wed Mar 1 2017", 0},
		{"a container", "Linux version 5.10.61 (root@3f0c1d2e4b5a) (arm-gcc) #1 Mon Jan 1 2024", 0},
		{"no build number", "Linux version 3.4.35 (jdoe@compile-7) (gcc)", 0},
	} {
		col := NewCollector()
		col.banner(c.banner, "linux@0x0")
		n := 0
		for _, p := range col.parts {
			n = len(p.Traits)
		}
		if n != c.traits {
			t.Errorf("%s: %d traits, not %d", c.name, n, c.traits)
		}
	}
	one, two := NewCollector(), NewCollector()
	one.banner("Linux version 3.10.50 (jdoe@compile-7) (gcc version 4.9.4) #1 SMP Tue Jan 3 2017", "")
	two.banner("Linux version 3.10.50 (jdoe@compile-7) (gcc version 4.9.4) #22 SMP Wed Feb 8 2017", "")
	for id := range one.parts {
		if two.parts[id] == nil {
			t.Error("the number and date of the build matter")
		}
	}
}

func TestASkeletonSeesThroughConsistentRenamingOnly(t *testing.T) {
	skeletonOf := func(s string) uint64 {
		var p Part
		p.text([]byte(s))
		v, _ := p.trait(Skeleton)
		return v
	}
	a := script(1, "hikari")
	if skeletonOf(a) == 0 {
		t.Fatal("no skeleton")
	}
	for name, b := range map[string]string{
		"another brand": script(1, "northgate"), "indented": strings.ReplaceAll(a, "{ ", "{\n\t"), "upper case": strings.ToUpper(a),
	} {
		if skeletonOf(b) != skeletonOf(a) {
			t.Errorf("%s: the skeleton changed", name)
		}
	}
	for name, b := range map[string]string{
		"another text": script(2, "hikari"), "one word put in another's place": strings.Replace(a, "return", "function", 1), "one mark changed": strings.Replace(a, "(", "[", 1),
	} {
		if skeletonOf(b) == skeletonOf(a) {
			t.Errorf("%s: the skeleton is the same", name)
		}
	}
	list := ""
	for i := range 500 {
		list += fmt.Sprintf("word%d\n", i)
	}
	if skeletonOf(list) != 0 {
		t.Error("a list of different words has a skeleton, which every such list would share")
	}
}

func TestResemblanceIsEstimatedWell(t *testing.T) {
	for _, shared := range []int{0, 250, 500, 1000} {
		var errors []float64
		for trial := range 40 {
			a, b := bottom{k: wordsKept}, bottom{k: wordsKept}
			for i := range 1000 {
				e := element(word, fmt.Appendf(nil, "%d %d", trial, i))
				a.add(e)
				if i < shared {
					b.add(e)
				} else {
					b.add(element(word, fmt.Appendf(nil, "b %d %d", trial, i)))
				}
			}
			got, _ := resemblance(a.kept, b.kept, wordsKept, whole)
			errors = append(errors, got-float64(shared)/float64(2000-shared))
		}
		var bias, spread float64
		for _, e := range errors {
			bias += e / 40
			spread += e * e / 40
		}
		if math.Abs(bias) > 0.05 || math.Sqrt(spread) > 0.12 {
			t.Errorf("%d of 1000 shared: bias %.3f, spread %.3f", shared, bias, math.Sqrt(spread))
		}
	}
}

func TestANameAloneBelongsToNoProject(t *testing.T) {
	exports := func(prefix string, n int) (out []string) {
		for i := range n {
			out = append(out, fmt.Sprintf("%s%02d", prefix, i))
		}
		return out
	}
	for _, c := range []struct {
		name, base, want string
		t                traces
	}{
		{"BusyBox", "busybox", "BusyBox", traces{has: map[string]bool{"BusyBox v": true}}},
		{"a file called busybox", "busybox", "", traces{}},
		{"a library with zlib's symbols, renamed", "libabc.so", "zlib", traces{exports: exports("inflate", 12)}},
		{"a library with some of zlib's symbols", "libabc.so", "", traces{exports: append(exports("dvr_", 12), exports("inflate", 12)...)}},
		{"a file called libc", "libc.so.6", "", traces{exports: exports("dvr_", 12)}},
		{"a C library", "renamed.so", "C library", traces{soname: "libc.so.6", exports: []string{"__libc_start_main"}}},
		{"a large program with a string of GNU's", "app", "", traces{size: 5 << 20, has: map[string]bool{"GNU coreutils": true}}},
		{"a module of the kernel's tree", "usb.ko", "Linux kernel", traces{inTree: true}},
		{"a chip maker's library", "libmpi.so", "HiSilicon MPP (chip maker's kit)", traces{exports: exports("HI_MPI_VENC_", 20)}},
	} {
		if got := c.t.project(c.base); !strings.HasPrefix(got, c.want) || c.want == "" && got != "" {
			t.Errorf("%s: %q, not %q", c.name, got, c.want)
		}
	}
	if got := projectOfText("app.js", []byte("/*! jQuery v1.7.1 jquery.com */")); !strings.HasPrefix(got, "jQuery") {
		t.Errorf("jQuery is %q", got)
	}
	if got := projectOfText("index.html", []byte("<!-- needs jQuery v1.7.1 -->")); got != "" {
		t.Errorf("a page that uses jQuery is %q", got)
	}
}

func TestAListOfProjectsThatGoesByNamesIsRefused(t *testing.T) {
	for name, entry := range map[string]string{
		"names alone":            "{name: X, class: open source, files: [x]}",
		"nothing at all":         "{name: X, class: open source}",
		"a class of its own":     "{name: X, class: mine, prefixes: [x_]}",
		"any name, any size":     "{name: X, class: open source, files: ['*'], has: [x]}",
		"an unknown field":       "{name: X, class: open source, prefixes: [x_], colour: red}",
		"a pattern that is none": "{name: X, class: open source, files: ['['], has: [x]}",
	} {
		if _, err := parseProjects([]byte("schema: assay.common/v1\ndate: '2026-01-01'\nprojects:\n- " + entry + "\n")); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestAProfileByOtherRulesIsRefused(t *testing.T) {
	if _, err := Compare(context.Background(), &Profile{Rules: Rules + 1}, &Memory{}, Options{}); err == nil {
		t.Error("compared")
	}
}

func FuzzPart(f *testing.F) {
	f.Add([]byte(script(1, "x")), "a.js")
	f.Add([]byte(noise(1, 20<<10)), "a.dat")
	f.Add([]byte("\x7fELF\x01\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x28\x00\x01\x00\x00\x00"+noise(2, 200)), "busybox")
	f.Fuzz(func(t *testing.T, data []byte, name string) {
		image := archive(map[string]string{"f": string(data)})
		p := profileOf(t, image)
		q := Part{Kind: Blob, Path: name, Size: int64(len(data))}
		c := NewCollector()
		c.part(q, name, io.NewSectionReader(bytes.NewReader(data), 0, int64(len(data))))
		index := &Memory{}
		index.Add(Reference{Maker: "m"}, p)
		if _, err := Compare(context.Background(), p, index, Options{}); err != nil {
			t.Fatal(err)
		}
		for id := range c.parts {
			part := c.parts[id]
			if len(part.Words) > wordsKept || len(part.Symbols) > symbolsKept || !slices.IsSorted(part.Words) {
				t.Fatalf("%+v", part)
			}
		}
	})
}
