package compare

import (
	"io/fs"
	"path"
	"slices"
	"strings"

	"assay/firmware"
)

// Bounds on what a report lists.
const (
	maxChanges   = 1000 // of files, in a file system
	maxVariables = 200
	maxInside    = 1000
)

// item is a region that is compared by what it holds.
type item struct {
	region *firmware.Region
	path   string // labels, outermost first
	exact  string // the same, with offsets as in A
	loose  string // formats and names alone: blocks under wear-levelling move
	class  Class
}

// inside compares what the regions of both images hold, as far as they are not
// the same byte by byte: files, variables, volumes.
func (r *Report) inside(a, b Image) {
	if r.Differing == 0 {
		return
	}
	for _, m := range match(items(a, 0), items(b, r.Shift)) {
		x, y := m[0].region, m[1].region
		if x.SHA256 != "" && x.SHA256 == y.SHA256 {
			continue
		}
		switch x.Format {
		case "ubi":
			r.volumes(m[0].path, x, y)
		case "u-boot-env":
			r.variables(m[0].path, x, y)
		}
		if len(x.Files)+len(y.Files) > 0 {
			r.files(m[0], m[1])
		}
	}
}

func items(x Image, shift int64) (out []item) {
	for _, f := range x.Found {
		_ = f.Image.Walk(func(around []*firmware.Region, _ *firmware.Image, r *firmware.Region) error {
			if r.Format != "ubi" && r.Format != "u-boot-env" && len(r.Files) == 0 {
				return nil
			}
			it := item{region: r}
			top := *append(slices.Clip(around), r)[0]
			top.Offset += f.Offset
			var labels, names []string
			for _, p := range append(slices.Clip(around), r) {
				labels = append(labels, p.Label())
				names = append(names, p.Format+":"+p.Name)
			}
			labels[0] = top.Label()
			it.path = strings.Join(labels, "/")
			top.Offset += shift
			labels[0] = top.Label()
			it.exact, it.loose = strings.Join(labels, "/"), strings.Join(names, "/")
			it.class = classOf(r)
			for _, p := range around {
				if c := classOf(p); c == ClassImmutable && !slices.Contains(tables, p.Format) && p.Format != "ubi-volume" {
					it.class = c // whatever is packed in something to which nothing writes
				}
			}
			out = append(out, it)
			return nil
		})
	}
	return out
}

// classOf is the class of a region for itself.
func classOf(r *firmware.Region) Class {
	c, _ := spot{path: []*firmware.Region{r}}.class()
	return c
}

// match pairs the items of two images: those at the same place first, then those
// of the same formats and names, in their order.
func match(a, b []item) (out [][2]item) {
	for _, key := range []func(item) string{func(i item) string { return i.exact }, func(i item) string { return i.loose }} {
		there := map[string][]item{}
		for _, y := range b {
			there[key(y)] = append(there[key(y)], y)
		}
		var restA, restB []item
		for _, x := range a {
			list := there[key(x)]
			if len(list) == 0 {
				restA = append(restA, x)
				continue
			}
			out = append(out, [2]item{x, list[0]})
			there[key(x)] = list[1:]
		}
		for _, y := range b {
			if list := there[key(y)]; len(list) > 0 && list[0].region == y.region {
				restB = append(restB, y)
				there[key(y)] = list[1:]
			}
		}
		a, b = restA, restB
	}
	return out
}

// volumes compares the volumes of two UBI devices by name.
func (r *Report) volumes(where string, a, b *firmware.Region) {
	named := func(x *firmware.Region) map[string]*firmware.Region {
		m := map[string]*firmware.Region{}
		for _, v := range x.Children {
			if v.Format == "ubi-volume" && v.Contents != nil && m[v.Name] == nil {
				m[v.Name] = v
			}
		}
		return m
	}
	va, vb := named(a), named(b)
	var names []string
	for n := range va {
		names = append(names, n)
	}
	for n := range vb {
		if va[n] == nil {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	for _, n := range names {
		if va[n] == nil || vb[n] == nil {
			r.addInside(Inside{Class: ClassUnknown, Why: "a volume that is in one image only"}, where, va[n], vb[n])
			continue
		}
		la, lb := va[n].Contents.Regions, vb[n].Contents.Regions
		for i := range max(len(la), len(lb)) {
			var x, y *firmware.Region
			if i < len(la) {
				x = la[i]
			}
			if i < len(lb) {
				y = lb[i]
			}
			if x != nil && y != nil && x.SHA256 == y.SHA256 && x.SHA256 != "" || harmless(x) && harmless(y) {
				continue
			}
			p := pair{a: inner(x), b: inner(y)}
			class, why := p.verdict()
			if class != ClassMutable {
				r.addInside(Inside{Class: class, Why: why}, where+"/"+n, x, y)
			}
		}
	}
	if len(names) == 0 {
		r.addInside(Inside{Class: ClassUnknown, Why: "no volume could be read, so that what moved cannot be told from what changed"}, where, a, b)
	}
}

func inner(r *firmware.Region) spot {
	if r == nil {
		return spot{}
	}
	return spot{path: []*firmware.Region{r}}
}

// harmless is erased flash, or none.
func harmless(r *firmware.Region) bool { return r == nil || r.State == firmware.Erased }

func (r *Report) addInside(i Inside, where string, a, b *firmware.Region) {
	if len(r.Inside) >= maxInside {
		return
	}
	if a != nil {
		i.A = describe(a)
		i.A.Path = where + "/" + i.A.Path
	}
	if b != nil {
		i.B = describe(b)
		i.B.Path = where + "/" + i.B.Path
	}
	r.Inside = append(r.Inside, i)
}

// variables compares two environments. The fields that the format adds by itself
// have blanks in their names, which a variable has not.
func (r *Report) variables(where string, a, b *firmware.Region) {
	values := func(x *firmware.Region) (m map[string]string, order []string) {
		m = map[string]string{}
		for _, f := range x.Fields {
			if _, ok := m[f.Name]; !ok && !strings.Contains(f.Name, " ") {
				m[f.Name] = f.Value
				order = append(order, f.Name)
			}
		}
		return m, order
	}
	va, order := values(a)
	vb, more := values(b)
	for _, n := range more {
		if _, ok := va[n]; !ok {
			order = append(order, n)
		}
	}
	for _, n := range order {
		x, inA := va[n]
		y, inB := vb[n]
		if (x != y || inA != inB) && len(r.Variables) < maxVariables {
			r.Variables = append(r.Variables, Variable{Place: where, Name: n, A: x, B: y, InA: inA, InB: inB})
		}
	}
}

// files compares two file systems by the paths, modes and digests of their files.
func (r *Report) files(a, b item) {
	d := FileSystem{Class: a.class, A: a.path, B: b.path, Changes: []FileChange{}}
	if b.class == ClassImmutable {
		d.Class = b.class
	}
	add := func(c FileChange) {
		if len(d.Changes) == maxChanges {
			d.More++
			return
		}
		d.Changes = append(d.Changes, c)
	}
	there := make(map[string]*firmware.File, len(b.region.Files))
	for _, f := range b.region.Files {
		there[f.Path] = f
	}
	for _, f := range a.region.Files {
		g := there[f.Path]
		delete(there, f.Path)
		if g == nil {
			d.OnlyA++
			add(FileChange{Path: f.Path, What: "only in A", Program: program(f), A: stateOf(f)})
		} else if what := changed(f, g); what != "" {
			d.Changed++
			add(FileChange{Path: f.Path, What: what, Program: program(f) || program(g), A: stateOf(f), B: stateOf(g)})
		}
	}
	for _, g := range b.region.Files {
		if there[g.Path] == g {
			d.OnlyB++
			add(FileChange{Path: g.Path, What: "only in B", Program: program(g), B: stateOf(g)})
		}
	}
	if d.OnlyA+d.OnlyB+d.Changed > 0 {
		r.FileSystems = append(r.FileSystems, d)
	}
}

func changed(f, g *firmware.File) string {
	switch {
	case f.Mode.Type() != g.Mode.Type():
		return "type"
	case f.Target != g.Target:
		return "target"
	case f.Size != g.Size || f.SHA256 != g.SHA256 && f.SHA256 != "" && g.SHA256 != "":
		return "content"
	case f.SHA256 != g.SHA256:
		return "unread"
	case f.Mode != g.Mode:
		return "mode"
	}
	return ""
}

// program tells whether a unit would execute a file or load it into what runs.
func program(f *firmware.File) bool {
	ext := path.Ext(f.Path)
	return f.Mode.IsRegular() && (f.Mode&0o111 != 0 || ext == ".ko" || ext == ".so" || strings.Contains(path.Base(f.Path), ".so.")) ||
		f.Mode&fs.ModeSymlink != 0 && strings.Contains("/"+f.Path, "bin/")
}

func stateOf(f *firmware.File) *FileState {
	return &FileState{Size: f.Size, SHA256: f.SHA256, Mode: f.Mode.String(), Target: f.Target}
}
