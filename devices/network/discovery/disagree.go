package discovery

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"assay/attest"
)

// disagreements are the answers of one unit that cannot all be true. Protocols
// write the same thing in their own ways, so values that one contains the other
// of agree; what an owner can type in (labels) is not compared.
func (r *run) disagreements(u *Unit) []Disagreement {
	var out []Disagreement
	for _, n := range []struct {
		subject attest.Subject
		name    string
		same    func(a, b string) bool
		says    string
	}{
		{attest.SubjectUnit, attest.NameSerial, contained, "two serial numbers for one unit: it is relabelled or lies, or two units answer here"},
		{attest.SubjectUnit, attest.NameModel, contained, "two models for one unit: it is relabelled or lies, or two units answer here"},
		{attest.SubjectFirmware, attest.NameFirmwareVersion, contained, "two firmware versions for one unit"},
		{attest.SubjectUnit, attest.NameMaker, r.sameHouse, "the unit gives itself two makers"},
		{attest.SubjectUnit, "activated", strings.EqualFold, "the unit is and is not activated"},
	} {
		if d, ok := differ(u.Claims, n.subject, n.name, n.same); ok {
			d.Says = n.says
			out = append(out, d)
		}
	}
	return slices.Concat(out, r.makersDiffer(u), macsDiffer(u), addressDiffers(u))
}

// differ finds two claims of different protocols that do not agree. A protocol
// that says several values, as of several services, agrees where one does.
func differ(claims []attest.Claim, subject attest.Subject, name string, same func(a, b string) bool) (Disagreement, bool) {
	by := map[string][]attest.Claim{}
	var order []string
	for _, c := range claims {
		if c.Subject != subject || c.Name != name || placeholderText(c.Value) {
			continue
		}
		p := protocolOf(c.Source)
		if by[p] == nil {
			order = append(order, p)
		}
		by[p] = append(by[p], c)
	}
	for i, p := range order {
		for _, q := range order[i+1:] {
			agrees := slices.ContainsFunc(by[p], func(a attest.Claim) bool {
				return slices.ContainsFunc(by[q], func(b attest.Claim) bool { return same(a.Value, b.Value) })
			})
			if !agrees {
				return Disagreement{Name: name, Sides: []Side{side(by[p][0]), side(by[q][0])}}, true
			}
		}
	}
	return Disagreement{}, false
}

func side(c attest.Claim) Side { return Side{c.Value, c.Source, c.Raw} }

func protocolOf(source string) string {
	p, _, _ := strings.Cut(source, " ")
	return p
}

// contained reports whether one value is the other, or part of it, whatever the
// case and punctuation.
func contained(a, b string) bool {
	a, b = alphanumeric(a), alphanumeric(b)
	return a == "" || b == "" || strings.Contains(a, b) || strings.Contains(b, a)
}

func alphanumeric(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r > 127:
			return r
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		}
		return -1
	}, s)
}

func (r *run) house(name string) string {
	if r.o.Makers == nil || name == "" {
		return ""
	}
	return r.o.Makers.House(name)
}

// sameHouse reports whether two names are of one company, as far as is known.
func (r *run) sameHouse(a, b string) bool {
	if contained(a, b) {
		return true
	}
	x, y := r.house(a), r.house(b)
	return x != "" && x == y
}

// makersDiffer compares the marks with each other and with the name that the
// unit gives itself. Two hints are not enough: makers share much.
func (r *run) makersDiffer(u *Unit) []Disagreement {
	var out []Disagreement
	var solid []attest.Mark
	for _, m := range u.Marks {
		if m.Strength >= attest.C2 && !slices.ContainsFunc(solid, func(x attest.Mark) bool { return r.sameHouse(x.Entity, m.Entity) }) {
			solid = append(solid, m)
		}
	}
	if len(solid) > 1 {
		a, b := solid[0], solid[1]
		out = append(out, Disagreement{
			Name: "maker", Says: fmt.Sprintf("its answers are the work of two makers, %s and %s", a.Entity, b.Entity),
			Sides: []Side{{a.Entity + ": " + a.Says, a.Source, a.Raw}, {b.Entity + ": " + b.Says, b.Source, b.Raw}},
		})
	}
	if len(solid) == 0 {
		return out
	}
	for _, c := range u.Claims {
		if c.Name != attest.NameMaker || r.house(c.Value) == "" || r.sameHouse(c.Value, solid[0].Entity) {
			continue
		}
		return append(out, Disagreement{
			Name: "maker", Says: fmt.Sprintf("it calls itself %s, and its answers are the work of %s", c.Value, solid[0].Entity),
			Sides: []Side{side(c), {solid[0].Entity + ": " + solid[0].Says, solid[0].Source, solid[0].Raw}},
		})
	}
	return out
}

// macsDiffer compares the MAC addresses of the protocols, and of the table of
// neighbours, which is what the network saw. A unit with two interfaces has
// two, which the text says.
func macsDiffer(u *Unit) []Disagreement {
	d, ok := differ(u.Claims, attest.SubjectUnit, attest.NameMAC, func(a, b string) bool { return a == b || placeholderMAC(a) != "" || placeholderMAC(b) != "" })
	if !ok {
		return nil
	}
	d.Says = "two MAC addresses for one unit: it has two interfaces, or one of the answers lies"
	return []Disagreement{d}
}

// addressDiffers compares where a unit answered from with where it says it is.
func addressDiffers(u *Unit) []Disagreement {
	for _, c := range u.Claims {
		if c.Name != "address" || c.Subject != attest.SubjectNetwork {
			continue
		}
		said, err := netip.ParseAddr(c.Value)
		if err != nil || !said.Is4() || said.IsLinkLocalUnicast() {
			continue
		}
		var from []string
		for _, a := range u.Address {
			if a == said {
				from = nil
				break
			}
			if a.Is4() {
				from = append(from, a.String())
			}
		}
		if len(from) > 0 {
			return []Disagreement{{
				Name: "address", Says: "it answers from another address than it says it has: translated on the way, changed since, or another's answer",
				Sides: []Side{side(c), {strings.Join(from, " "), "source of the datagrams", ""}},
			}}
		}
	}
	return nil
}
