package report

import (
	"fmt"
	"strings"
	"time"

	"assay/firmware/inventory"
)

// section is one kind of thing that an inventory found, as a table.
type section struct {
	Title, Note string
	Head        []string
	Rows        [][]string
}

// sections are what an inventory found, what a reader asks for first at the
// front. Those without rows are left out.
func sections(inv *inventory.Report) []section {
	if inv == nil {
		return nil
	}
	all := []section{components(inv), marks(inv), passwords(inv), services(inv), keys(inv), certificates(inv), modules(inv), packages(inv), programs(inv)}
	notRead := section{Title: "Not read by the inventory", Head: []string{"what"}}
	for _, p := range inv.Problems {
		notRead.Rows = append(notRead.Rows, []string{p})
	}
	var out []section
	for _, s := range append(all, notRead) {
		if len(s.Rows) > 0 {
			out = append(out, s)
		}
	}
	return out
}

func place(path string, offset int64) string { return fmt.Sprintf("%s at %#x", path, offset) }

func components(inv *inventory.Report) section {
	s := section{
		Title: "Components", Note: "A version is what the bytes say, not a proof of what runs.",
		Head: []string{"name", "version", "known by", "where"},
	}
	for _, c := range inv.Components {
		s.Rows = append(s.Rows, []string{c.Name, c.Version, string(c.Evidence), place(c.Path, c.Offset)})
	}
	return s
}

func marks(inv *inventory.Report) section {
	s := section{
		Title: "Makers' marks", Note: "c1 is a hint, c2 solid, c3 proven. A mark is evidence to be weighed and no verdict.",
		Head: []string{"strength", "maker", "what it says", "where"},
	}
	for _, m := range inv.Marks {
		s.Rows = append(s.Rows, []string{m.Strength, m.Entity, m.Says, place(m.Path, m.Offset)})
	}
	return s
}

func passwords(inv *inventory.Report) section {
	s := section{Title: "Accounts", Note: "Hashes are not kept.", Head: []string{"account", "password", "where"}}
	for _, p := range inv.Passwords {
		kind := p.Scheme
		if p.Locked {
			kind += ", locked"
		}
		s.Rows = append(s.Rows, []string{p.Account, kind, place(p.Path, p.Offset)})
	}
	return s
}

func services(inv *inventory.Report) section {
	s := section{Title: "Started and listening", Note: "What start scripts and configuration say.", Head: []string{"kind", "program", "port", "where"}}
	for _, v := range inv.Services {
		port := v.Port
		if port != "" {
			port = "port " + port
		}
		s.Rows = append(s.Rows, []string{v.Kind, v.Program, port, fmt.Sprintf("%s line %d", v.Path, v.Line)})
	}
	return s
}

func keys(inv *inventory.Report) section {
	s := section{Title: "Keys", Note: "Private keys are named and not kept.", Head: []string{"kind", "algorithm", "format", "where"}}
	for _, k := range inv.Keys {
		kind, format := "public", k.Format
		if k.Private {
			kind = "PRIVATE"
		}
		if k.Encrypted {
			format += ", encrypted"
		}
		if k.Problem != "" {
			format += ": " + k.Problem
		}
		s.Rows = append(s.Rows, []string{kind, k.Algorithm, format, place(k.Path, k.Offset)})
	}
	return s
}

func certificates(inv *inventory.Report) section {
	s := section{Title: "Certificates", Note: "Their signatures are not verified here.", Head: []string{"subject", "issuer", "valid", "key", "where"}}
	for _, c := range inv.Certificates {
		subject, valid := c.Subject, day(c.NotBefore)+" to "+day(c.NotAfter)
		if c.CA {
			subject += " (authority)"
		}
		if c.Problem != "" {
			valid = "broken: " + c.Problem
		}
		s.Rows = append(s.Rows, []string{subject, "by " + c.Issuer, valid, c.Algorithm, place(c.Path, c.Offset)})
	}
	return s
}

func day(t time.Time) string {
	if t.IsZero() {
		return "?"
	}
	return t.UTC().Format(time.DateOnly)
}

func modules(inv *inventory.Report) section {
	s := section{Title: "Kernel modules", Head: []string{"name", "version", "built for", "license", "where"}}
	for _, m := range inv.Modules {
		s.Rows = append(s.Rows, []string{m.Name, m.Version, m.Vermagic, m.License, m.Path})
	}
	return s
}

func packages(inv *inventory.Report) section {
	s := section{Title: "Packages", Head: []string{"name", "version", "manager", "license"}}
	for _, p := range inv.Packages {
		s.Rows = append(s.Rows, []string{p.Name, p.Version, p.Manager, p.License})
	}
	return s
}

func programs(inv *inventory.Report) section {
	s := section{
		Title: "Programs and libraries", Note: "Hardening as the files show it; what is not named is absent or not told.",
		Head: []string{"where", "architecture", "type", "hardening"},
	}
	for _, f := range inv.Files {
		h := f.Hardening
		var has []string
		for _, x := range []struct{ name, answer string }{
			{"NX", string(h.NX)}, {"PIE", string(h.PIE)}, {"bind now", string(h.BindNow)}, {"canary", string(h.Canary)}, {"fortify", string(h.Fortify)},
		} {
			if x.answer == "yes" {
				has = append(has, x.name)
			}
		}
		if h.RELRO != "" && h.RELRO != "none" {
			has = append(has, h.RELRO+" RELRO")
		}
		if has == nil {
			has = []string{"none"}
		}
		s.Rows = append(s.Rows, []string{f.Path, f.Arch, f.Type, strings.Join(has, ", ")})
	}
	return s
}
