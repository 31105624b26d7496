package inventory

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"sync"

	"assay/firmware"
	"assay/firmware/budget"
)

// Collector takes the inventory of one image while it is opened.
type Collector struct {
	ctx context.Context

	mu     sync.Mutex
	found  map[any]*found // by *firmware.File or *firmware.Region
	weight int            // of all that was found
	cut    bool           // some of it was let go
	spent  error          // the first budget error
}

// found is what one file or region holds.
type found struct {
	Report
	where  string
	weight int
}

// New returns a collector with nothing in it.
func New(ctx context.Context) *Collector {
	return &Collector{ctx: ctx, found: make(map[any]*found)}
}

// Visit looks at one file; see [firmware.WithVisitor]. It may be called from
// several goroutines.
func (c *Collector) Visit(v firmware.Visit) {
	if c.ctx.Err() != nil {
		return
	}
	p := passes.Get().(*pass)
	defer p.release()
	p.begin(c, v.Where, path.Base(v.File.Path))
	p.file(v.Data, v.Data.Size())
	c.keep(v.File, p)
	if v.File.Contents != nil {
		// The file itself was searched; what it unpacks to is readable now only.
		c.regions(v.File.Contents, v.File.Contents.Regions, v.Where, false)
	}
}

// regions looks through the bytes of an image: those of its own if raw, and those
// of what its regions unpack to. Files are visited by themselves.
func (c *Collector) regions(img *firmware.Image, regions []*firmware.Region, where string, raw bool) {
	for _, r := range regions {
		if c.ctx.Err() != nil {
			return
		}
		at := path.Join(where, r.Label())
		if raw && r.Contents == nil && r.FS == nil && r.State != firmware.Erased {
			c.region(img, r, at)
		}
		c.regions(img, r.Children, at, raw)
		if r.Contents != nil {
			c.regions(r.Contents, r.Contents.Regions, at, true)
		}
	}
}

// region reads the bytes that belong to a region and to none of its children.
func (c *Collector) region(img *firmware.Image, r *firmware.Region, where string) {
	p := passes.Get().(*pass)
	defer p.release()
	p.begin(c, where, "")
	pos := r.Offset
	for i := range len(r.Children) + 1 {
		next, end := r.End(), r.End()
		if i < len(r.Children) {
			next, end = r.Children[i].Offset, r.Children[i].End()
		}
		if next > pos {
			p.search(io.NewSectionReader(img, pos, next-pos), next-pos, pos-r.Offset)
		}
		pos = end
	}
	c.keep(r, p)
}

// What is kept of all files together, before a report is made. Past it, what
// stands first by its path is kept, whoever comes first.
const (
	maxWeight = 16 << 20
	perItem   = 192
)

func (c *Collector) keep(key any, p *pass) {
	p.finish()
	if p.report.empty() {
		return
	}
	f := &found{Report: p.report, where: p.where}
	f.weight = p.report.weigh() + len(p.where)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.found[key] = f
	if c.weight += f.weight; c.weight > 2*maxWeight {
		c.trim()
	}
}

// trim lets go of what stands last. The longest run of first paths that is within
// the bound does not depend on the order in which they came.
func (c *Collector) trim() {
	if c.weight <= maxWeight {
		return
	}
	c.cut = true
	type entry struct {
		key any
		*found
	}
	var all []entry
	for k, f := range c.found {
		all = append(all, entry{k, f})
	}
	slices.SortFunc(all, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.where, b.where), cmp.Compare(a.weight, b.weight))
	})
	c.weight = 0
	for _, e := range all {
		if c.weight += e.weight; c.weight > maxWeight {
			delete(c.found, e.key)
		}
	}
	c.weight = min(c.weight, maxWeight)
}

// noteError keeps the error of a spent budget, and tells what was not read.
func (c *Collector) noteError(err error) {
	if !errors.Is(err, budget.ErrExceeded) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.spent == nil {
		c.spent = err
	}
}

// Report looks through the bytes of img that are in no file, and puts all that
// was found in the order of the image. The error is the context's or a spent
// budget's; the report beside it holds what was found before.
//
// It does not look into encrypted or opaque data beyond its plain bytes, nor at
// what a file system holds in no file, such as deleted ones.
func (c *Collector) Report(img *firmware.Image) (*Report, error) {
	c.regions(img, img.Regions, "", true)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.trim()
	m := merge{perRule: make(map[string]int), known: make(map[[4]string]bool), report: &Report{}}
	if c.cut {
		m.problem("more was found than is kept; what stands last by its path is left out")
	}
	_ = Walk(img, func(where string, r *firmware.Region, f *firmware.File) error {
		var key any = r
		if f != nil {
			key = f
		}
		if one := c.found[key]; one != nil {
			first := len(m.report.Components)
			m.add(&one.Report)
			if f != nil {
				m.applets(m.report.Components[first:], r, f)
			}
		}
		return nil
	})
	m.kernels()
	err := c.ctx.Err()
	if err == nil {
		err = c.spent
	}
	if err != nil {
		err = fmt.Errorf("inventory: %w", err)
	}
	return m.report, err
}

// merge makes one report of many, within the bounds.
type merge struct {
	report  *Report
	perRule map[string]int
	known   map[[4]string]bool // what is listed once for a file system
	full    map[string]bool    // lists that ended
}

func (m *merge) problem(text string) {
	switch n := len(m.report.Problems); {
	case n < maxProblems:
		m.report.Problems = append(m.report.Problems, text)
	case n == maxProblems:
		m.report.Problems = append(m.report.Problems, "more problems are not listed")
	}
}

// once tells whether something is new in its file system.
func (m *merge) once(what, name, version, where string) bool {
	key := [4]string{what, name, version, holder(where)}
	if m.known[key] {
		return false
	}
	m.known[key] = true
	return true
}

func (m *merge) add(r *Report) {
	for _, c := range r.Components {
		if m.once("component", c.Name, c.Version+"\x00"+c.Match, c.Path) {
			add(m, "components", &m.report.Components, maxComponents, c)
		}
	}
	for _, k := range r.Marks {
		if m.perRule[k.Rule]++; m.perRule[k.Rule] <= maxPerRule {
			m.report.Marks = append(m.report.Marks, k)
		}
	}
	for _, c := range r.Certificates {
		if c.SHA256 == "" || m.once("certificate", c.SHA256, "", c.Path) {
			add(m, "certificates", &m.report.Certificates, maxCertificates, c)
		}
	}
	for _, k := range r.Keys {
		if k.SPKI == "" || m.once("key", k.SPKI, fmt.Sprint(k.Private), k.Path) {
			add(m, "keys", &m.report.Keys, maxKeys, k)
		}
	}
	add(m, "modules", &m.report.Modules, maxModules, r.Modules...)
	add(m, "packages", &m.report.Packages, maxPackages, r.Packages...)
	add(m, "ELF files", &m.report.Files, maxFiles, r.Files...)
	add(m, "passwords", &m.report.Passwords, maxPasswords, r.Passwords...)
	add(m, "services", &m.report.Services, maxServices, r.Services...)
	for _, p := range r.Problems {
		m.problem(p)
	}
}

func add[T any](m *merge, what string, list *[]T, limit int, more ...T) {
	room := limit - len(*list)
	if room < len(more) {
		more = more[:room]
		if m.full == nil {
			m.full = make(map[string]bool)
		}
		if !m.full[what] {
			m.full[what] = true
			m.problem(fmt.Sprintf("there are more %s than the %d that are listed", what, limit))
		}
	}
	*list = append(*list, more...)
}

// kernels adds the kernels that only modules tell of: what they were built for,
// where no banner of that version was found.
func (m *merge) kernels() {
	for _, mod := range m.report.Modules {
		version, _, _ := strings.Cut(mod.Vermagic, " ")
		banner := func(c Component) bool { return c.Name == "Linux" && c.Version == version }
		if version == "" || slices.ContainsFunc(m.report.Components, banner) {
			continue
		}
		add(m, "components", &m.report.Components, maxComponents, Component{
			Name: "Linux", Version: version, Evidence: ByVermagic, Path: mod.Path, Match: mod.Vermagic,
		})
	}
}

func (r *Report) empty() bool { return r.weigh() == 0 }

// weigh is about how much memory a report takes.
func (r *Report) weigh() int {
	n := perItem * (len(r.Components) + len(r.Marks) + len(r.Modules) + len(r.Packages) + 2*len(r.Files) + 2*len(r.Certificates) + len(r.Keys) + len(r.Passwords) + len(r.Services))
	for _, p := range r.Problems {
		n += len(p)
	}
	for _, f := range r.Files {
		n += 32 * len(f.Needed)
	}
	return n
}
