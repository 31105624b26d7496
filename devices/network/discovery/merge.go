package discovery

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// Answers are joined into units by what they have in common: a MAC address, a
// serial number, the UUID of an endpoint, and the address they came from. None
// of these is always a unit's own. Factories give one MAC or UUID to a whole
// batch, several units sit behind one translated address, and one unit has
// several addresses. So a key joins only where nothing speaks against it:
//
//   - a value known as a placeholder joins nothing;
//   - a MAC, serial number or UUID that answers have from two IPv4 addresses of
//     one interface joins them only if a second key agrees;
//   - two groups of answers are never joined when one protocol gave them
//     different identities, or answered for them from two IPv4 addresses of
//     one interface: whole batches are cloned, identity and all.
//
// What was shared and did not join is said on the row. The outcome does not
// depend on the order in which answers came, but for equal claims to a group.

// key is one thing that answers may have in common.
type key struct {
	kind  string // "mac", "serial", "endpoint", "address"
	value string
}

// keyOrder is the order of joining: what is hardest to share by accident first.
var keyOrder = []string{"mac", "serial", "endpoint", "address"}

// keys are those of an answer that may join it to others.
func (s *sighting) keys() []key {
	var out []key
	for _, m := range s.macs {
		if placeholderMAC(m) == "" {
			out = append(out, key{"mac", m})
		}
	}
	if k := serialKey(s.serial); k != "" {
		out = append(out, key{"serial", k})
	}
	if s.endpoint != "" && !placeholderText(s.endpoint) {
		out = append(out, key{"endpoint", s.endpoint})
	}
	if s.from.IsValid() && !s.relayed {
		out = append(out, key{"address", s.from.String()})
	}
	return out
}

// serialKey is a serial number as it is compared, or empty for one that many
// units have. A MAC address in its place is one, whatever its notation.
func serialKey(s string) string {
	s = strings.ToUpper(s)
	if len(s) < 6 || placeholderText(s) {
		return ""
	}
	return s
}

// placeholderText tells values that stand for none: one character repeated, or
// a run such as 123456789.
func placeholderText(s string) bool {
	var b []byte
	for i := range len(s) {
		c := s[i] | 0x20
		if c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || s[i] >= '0' && s[i] <= '9' {
			b = append(b, s[i])
		}
	}
	if len(b) == 0 {
		return true
	}
	same, run := true, true
	for i := 1; i < len(b); i++ {
		same = same && b[i] == b[0]
		run = run && (b[i] == b[i-1]+1 || b[i] == '0' && b[i-1] == '9')
	}
	return same || run
}

// placeholderMACs are addresses that manuals, kits and factories use for many
// units.
var placeholderMACs = map[string]string{
	"00:11:22:33:44:55": "an example that factories leave in",
	"00:12:34:56:78:9A": "an example that factories leave in",
	"00:12:34:56:78:90": "an example that factories leave in",
	"12:34:56:78:9A:BC": "an example that factories leave in",
	"01:23:45:67:89:AB": "an example that factories leave in",
	"00:01:02:03:04:05": "an example that factories leave in",
	"02:00:00:00:00:00": "what a phone gives instead of its own",
	"AA:BB:CC:DD:EE:FF": "an example that factories leave in",
}

// placeholderMAC says why an address tells nothing, or nothing.
func placeholderMAC(m string) string {
	if why := placeholderMACs[m]; why != "" {
		return why
	}
	var b [6]int
	if n, _ := fmt.Sscanf(m, "%X:%X:%X:%X:%X:%X", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5]); n == 6 {
		switch {
		case b[0]&1 != 0:
			return "a group's address, and no unit's"
		case b[3] == 0 && b[4] == 0 && b[5] == 0:
			return "a maker's prefix with nothing behind it"
		}
	}
	return ""
}

// group is the answers of one unit.
type group struct {
	members []*sighting
	keys    map[key]bool
	ident   map[string]*identity // by protocol
	joined  map[key]bool
	apart   map[key]string // keys that did not join, and why
}

// identity is what one protocol said of who a group is.
type identity struct {
	macs    map[string]bool
	serials map[string]bool
	at      map[place]bool // IPv4 addresses that it answered from
}

// place is an address on an interface.
type place struct {
	on   string
	addr netip.Addr
}

// manyHosts are protocols by which one host speaks for several units or
// services, so that two identities in them are no contradiction.
var manyHosts = map[string]bool{"mdns": true, "ssdp": true, "upnp": true, "neighbour": true, "tcp": true}

func newGroup(s *sighting) *group {
	id := &identity{macs: map[string]bool{}, serials: map[string]bool{}, at: map[place]bool{}}
	if s.from.Is4() && !s.relayed {
		id.at[place{s.on, s.from}] = true
	}
	if !manyHosts[s.protocol] {
		for _, m := range s.macs {
			id.macs[m] = true
		}
		if s.serial != "" {
			id.serials[strings.ToUpper(s.serial)] = true
		}
	}
	g := &group{
		members: []*sighting{s}, keys: map[key]bool{}, ident: map[string]*identity{s.protocol: id}, joined: map[key]bool{}, apart: map[key]string{},
	}
	for _, k := range s.keys() {
		g.keys[k] = true
	}
	return g
}

// conflict says why two groups are not one unit, or nothing: some protocol gave
// both an identity and nothing of the two agrees.
func conflict(a, b *group) string {
	why := ""
	for p, x := range a.ident {
		y := b.ident[p]
		if y == nil {
			continue
		}
		if w := x.conflict(y, p); w != "" && (why == "" || w < why) { // the same of several, in every run
			why = w
		}
	}
	return why
}

func (x *identity) conflict(y *identity, p string) string {
	switch {
	case twoPlaces(x.at, y.at):
		return p + " answers from several addresses"
	case meet(x.serials, y.serials):
	case len(x.serials) > 0 && len(y.serials) > 0:
		return p + " gives different serial numbers"
	case len(x.macs) > 0 && len(y.macs) > 0 && !meet(x.macs, y.macs):
		return p + " gives different MAC addresses"
	}
	return ""
}

// twoPlaces reports whether an interface has two different addresses in the two
// sets.
func twoPlaces(a, b map[place]bool) bool {
	for x := range a {
		for y := range b {
			if x.on == y.on && x.addr != y.addr {
				return true
			}
		}
	}
	return false
}

func meet[K comparable](a, b map[K]bool) bool {
	for k := range a {
		if b[k] {
			return true
		}
	}
	return false
}

// absorb makes one group of two.
func (g *group) absorb(o *group) {
	g.members = append(g.members, o.members...)
	maps.Copy(g.keys, o.keys)
	for p, id := range o.ident {
		if g.ident[p] == nil {
			g.ident[p] = id
			continue
		}
		maps.Copy(g.ident[p].macs, id.macs)
		maps.Copy(g.ident[p].serials, id.serials)
		maps.Copy(g.ident[p].at, id.at)
	}
	maps.Copy(g.joined, o.joined)
	for k, why := range o.apart {
		g.apart[k] = why
	}
}

// merge joins answers into groups, in the order of their first answer.
func merge(all []*sighting) []*group {
	at := make([]*group, len(all)) // by place in all
	index := map[*sighting]int{}
	byKey := map[key][]*sighting{}
	for i, s := range all {
		at[i], index[s] = newGroup(s), i
		for _, k := range s.keys() {
			byKey[k] = append(byKey[k], s)
		}
	}
	keys := slices.SortedFunc(maps.Keys(byKey), func(a, b key) int {
		return cmp.Or(cmp.Compare(slices.Index(keyOrder, a.kind), slices.Index(keyOrder, b.kind)), cmp.Compare(a.value, b.value))
	})
	for _, k := range keys {
		members := byKey[k]
		if len(members) < 2 {
			continue
		}
		spread := k.kind != "address" && spreadOut(members)
		var heads []*group // groups that hold this key and stay apart
		for _, s := range members {
			g := at[index[s]]
			joined := false
			for _, h := range heads {
				if h == g {
					joined = true
					break
				}
			}
			if joined {
				continue
			}
			for _, h := range heads {
				why := conflict(h, g)
				if why == "" && spread && !agree(h, g, k) {
					why = "it answers from several addresses, and nothing else of them agrees"
				}
				if why != "" {
					h.apart[k], g.apart[k] = why, why
					continue
				}
				h.absorb(g)
				for _, m := range g.members {
					at[index[m]] = h
				}
				h.joined[k] = true
				joined = true
				break
			}
			if !joined {
				heads = append(heads, g)
			}
			if len(heads) > maxHeads {
				break // what comes after stays apart
			}
		}
	}
	var out []*group
	seen := map[*group]bool{}
	for _, g := range at {
		if !seen[g] {
			seen[g] = true
			slices.SortFunc(g.members, func(a, b *sighting) int { return cmp.Compare(a.seq, b.seq) })
			out = append(out, g)
		}
	}
	return out
}

// maxHeads bounds the work for a key that a whole batch, or a flood, has: what
// comes after is not joined by it.
const maxHeads = 64

// spreadOut reports whether answers with one key came from two IPv4 addresses
// of one interface.
func spreadOut(members []*sighting) bool {
	first := map[string]netip.Addr{}
	for _, s := range members {
		if !s.from.Is4() {
			continue
		}
		if a, ok := first[s.on]; ok && a != s.from {
			return true
		}
		first[s.on] = s.from
	}
	return false
}

// agree reports whether two groups share an address, or a second identity
// beside k.
func agree(a, b *group, k key) bool {
	if len(a.keys) > len(b.keys) {
		a, b = b, a
	}
	for x := range a.keys {
		if x != k && b.keys[x] {
			return true
		}
	}
	return false
}
