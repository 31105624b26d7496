package discovery

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"assay/attest"
	"assay/devices/fingerprint"
)

// trust orders the protocols by how well what they say of model, firmware and
// serial number has held in the field: a maker's own search before what an
// owner can type in. It decides what a row shows and nothing else.
var trust = map[string]int{
	"sadp": 20, "dhip": 19, "xiongmai": 18, "hanwha": 17, "bosch": 17, "vivotek": 17, "ipro": 17, "sony": 17, "dlink": 16, "vstarcam": 16,
	"360vision": 16, "gige-vision": 16, "ubiquiti": 16, "dahua-v1": 15, identifyName: 14, "foscam": 12, "mdns": 10, "ws-discovery": 8, "upnp": 6, "ssdp": 4, "tcp": 1, "neighbour": 0,
}

// maxRowClaims bounds a row; what a flood adds to a real unit is not shown.
const maxRowClaims = 200

// row makes what is shown of a group.
func (r *run) row(g *group) Unit {
	u := Unit{ID: g.members[0].seq, Kind: KindUnknown, Answers: len(g.members), First: g.members[0].at, Last: g.members[0].at}
	ordered := slices.Clone(g.members)
	slices.SortStableFunc(ordered, func(a, b *sighting) int { return cmp.Compare(trust[b.protocol], trust[a.protocol]) })
	var seen []fingerprint.Observation
	var marks []attest.Mark
	kinds := map[Kind]bool{}
	named := map[string]bool{}
	for _, s := range ordered {
		u.Last = latest(u.Last, s.at)
		if s.from.IsValid() && !s.relayed {
			u.Address = add(u.Address, s.from)
		}
		u.Seen, u.On = add(u.Seen, s.protocol), addNonEmpty(u.On, s.on)
		for _, x := range s.services {
			u.Services = add(u.Services, x)
		}
		for _, p := range s.open {
			u.Open = add(u.Open, p)
		}
		for _, k := range append(s.roles, s.kind) {
			kinds[k] = true
		}
		if s.inactive {
			u.State = "not activated"
		}
		seen = append(seen, s.seen...)
		if s.identified != nil {
			marks, u.Children, u.Identified = s.marks, s.children, s.identified
		}
		if s.protocol == "neighbour" && g.shares("mac", s.macs) {
			continue // a router's address before many hosts, and not the unit's
		}
		for _, c := range s.claims {
			id := string(c.Subject) + "\x00" + c.Name + "\x00" + c.Value + "\x00" + c.Source
			if !named[id] && len(u.Claims) < maxRowClaims {
				named[id] = true
				c.Channel, c.Time = "network:"+s.from.String(), s.at
				u.Claims = append(u.Claims, c)
			}
		}
	}
	for _, s := range ordered {
		for _, a := range s.addrs {
			if !slices.Contains(u.Address, a) {
				u.Claimed = add(u.Claimed, a)
			}
		}
	}
	slices.SortFunc(u.Address, byFamily)
	slices.SortFunc(u.Claimed, byFamily)
	slices.Sort(u.Open)
	u.Claims = numbered(u.Claims)
	u.setKind(kinds)
	u.Model = u.first(attest.NameModel, "onvif-hardware")
	u.Label = u.first("label")
	u.Firmware = u.first(attest.NameFirmwareVersion, "firmware")
	u.Serial = u.first(attest.NameSerial)
	r.macs(&u)
	u.Marks = append(r.o.Rules.Match(seen), marks...)
	for i := range u.Marks {
		u.Marks[i].ID, u.Marks[i].Channel = fmt.Sprintf("m%d", i+1), "network:"+u.where()
	}
	r.maker(&u)
	u.Against = r.disagreements(&u)
	u.Against = append(u.Against, r.compared(&u)...)
	for _, k := range keyOrder {
		for _, x := range sortedKeys(g.joined) {
			if x.kind == k {
				u.Joined = append(u.Joined, Join{Key: x.kind, Value: x.value})
			}
		}
	}
	return u
}

func (g *group) shares(kind string, values []string) bool {
	for _, v := range values {
		if g.apart[key{kind, v}] != "" {
			return true
		}
	}
	return false
}

// where names the row in messages.
func (u *Unit) where() string {
	switch {
	case len(u.Address) > 0:
		return u.Address[0].String()
	case len(u.Claimed) > 0:
		return u.Claimed[0].String()
	}
	return "?"
}

// first is the value of the best source for the first name that has one.
func (u *Unit) first(names ...string) string {
	for _, n := range names {
		for _, c := range u.Claims {
			if c.Name == n && (c.Subject == attest.SubjectUnit || c.Subject == attest.SubjectFirmware) {
				return c.Value
			}
		}
	}
	return ""
}

func (u *Unit) setKind(kinds map[Kind]bool) {
	for k := range kinds {
		if weight[k] > weight[u.Kind] {
			u.Kind = k
		}
	}
	if u.Kind == KindUnknown && len(u.Seen) == 1 && u.Seen[0] == "neighbour" {
		u.Kind = KindNeighbour
	}
	for k := range kinds {
		if k != u.Kind && weight[k] > weight[KindOther] {
			u.Roles = append(u.Roles, k)
		}
	}
	slices.Sort(u.Roles)
}

// macs gathers the addresses, who registered them, and which tell nothing.
func (r *run) macs(u *Unit) {
	for _, c := range u.Claims {
		if c.Name != attest.NameMAC || slices.ContainsFunc(u.MACs, func(m MAC) bool { return m.Address == c.Value }) {
			continue
		}
		m := MAC{Address: c.Value, Source: c.Source, Placeholder: placeholderMAC(c.Value)}
		if r.o.Makers != nil && m.Placeholder == "" {
			m.Owner, m.Entity = r.o.Makers.Owner(m.Address)
		}
		u.MACs = append(u.MACs, m)
	}
}

// maker is the entity of the strongest mark; without marks the owner of the
// MAC's prefix; and beside it the name that the unit gives itself.
func (r *run) maker(u *Unit) {
	u.Maker.Says = u.first(attest.NameMaker)
	// Of marks as strong as each other, those of the maker who has more count.
	marks := map[string]int{}
	for _, m := range u.Marks {
		marks[m.Entity]++
	}
	best := -1
	for i, m := range u.Marks {
		if best < 0 || m.Strength > u.Marks[best].Strength ||
			m.Strength == u.Marks[best].Strength && marks[m.Entity] > marks[u.Marks[best].Entity] {
			best = i
		}
	}
	if best >= 0 {
		m := u.Marks[best]
		u.Maker.Entity, u.Maker.Strength, u.Maker.By = m.Entity, m.Strength, m.Rule
		return
	}
	for _, m := range u.MACs {
		if m.Entity != "" {
			u.Maker.Entity, u.Maker.By = m.Entity, "oui"
			return
		}
	}
	if u.Maker.Says != "" {
		u.Maker.By = "claim"
	}
}

func latest[T interface{ After(T) bool }](a, b T) T {
	if b.After(a) {
		return b
	}
	return a
}

func add[T comparable](list []T, x T) []T {
	if slices.Contains(list, x) || len(list) >= 64 {
		return list
	}
	return append(list, x)
}

func addNonEmpty(list []string, x string) []string {
	if x == "" {
		return list
	}
	return add(list, x)
}

// byFamily puts IPv4 first, and addresses of the link last.
func byFamily(a, b netip.Addr) int {
	rank := func(x netip.Addr) int {
		switch {
		case x.Is4() && !x.IsLinkLocalUnicast():
			return 0
		case x.Is4():
			return 1
		case !x.IsLinkLocalUnicast():
			return 2
		}
		return 3
	}
	return cmp.Or(cmp.Compare(rank(a), rank(b)), a.Compare(b))
}

func sortedKeys[V any](m map[key]V) []key {
	var out []key
	for k := range m {
		out = append(out, k)
	}
	slices.SortFunc(out, func(a, b key) int { return cmp.Or(strings.Compare(a.kind, b.kind), strings.Compare(a.value, b.value)) })
	return out
}

func numbered(claims []attest.Claim) []attest.Claim {
	for i := range claims {
		claims[i].ID = fmt.Sprintf("c%d", i+1)
	}
	return claims
}
