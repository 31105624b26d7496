package discovery

import (
	"bufio"
	"net/netip"
	"regexp"
	"strings"
	"time"

	"assay/attest"
	"assay/devices/network/internal/field"
)

// The table of neighbours is what this machine's kernel saw of MAC addresses on
// the link (ARP, RFC 826; Neighbor Discovery, RFC 4861). Of all that is read
// here it alone is not the unit's word, but that of the wire, where anyone on
// the link can still lie. A router that answers for others has one MAC before
// many addresses.

const neighbourName = "neighbour"

// neighbour is one entry of the table.
type neighbour struct {
	addr netip.Addr
	mac  string
	on   string
}

// maxNeighbours bounds what is taken of the table.
const maxNeighbours = 16_384

// neighbours keeps the table's entries on the interfaces in use.
func (r *run) neighbours() {
	list, err := neighbourTable()
	if err != nil {
		r.problem(attest.ProblemIncomplete, neighbourName, "the table of neighbours cannot be read: %s", field.Reason(err))
		return
	}
	names := map[string]bool{}
	for _, i := range r.ifaces {
		names[i.Name] = true
	}
	for i, n := range list {
		if i == maxNeighbours {
			r.problem(attest.ProblemIncomplete, neighbourName, "%d of the table's %d entries are used", maxNeighbours, len(list))
			break
		}
		if n.on != "" && !names[n.on] {
			continue
		}
		a := &answer{protocol: neighbourName, kind: KindNeighbour}
		a.mac(n.mac, "table")
		if len(a.macs) > 0 && !n.addr.IsMulticast() && placeholderMAC(a.macs[0]) == "" {
			r.table.keep(a, n.addr, n.on, time.Now())
		}
	}
}

var (
	arpAddress = regexp.MustCompile(`\b(\d{1,3}(?:\.\d{1,3}){3})\b`)
	arpMAC     = regexp.MustCompile(`\b([0-9A-Fa-f]{1,2}(?:[:-][0-9A-Fa-f]{1,2}){5})\b`)
	arpOn      = regexp.MustCompile(`\bon (\S+)`)
)

// parseARP reads what the program arp prints, on macOS "? (192.0.2.1) at
// 0:0:5e:0:53:1 on en0 …", on Windows rows of address and MAC.
func parseARP(text string) []neighbour {
	var out []neighbour
	s := bufio.NewScanner(strings.NewReader(text))
	for s.Scan() && len(out) < maxNeighbours {
		ip, mac := arpAddress.FindString(s.Text()), arpMAC.FindString(s.Text())
		addr, err := netip.ParseAddr(ip)
		if err != nil || mac == "" {
			continue
		}
		parts := strings.FieldsFunc(mac, func(r rune) bool { return r == ':' || r == '-' })
		for i, p := range parts {
			if len(p) == 1 {
				parts[i] = "0" + p
			}
		}
		n := neighbour{addr: addr, mac: strings.Join(parts, ":")}
		if on := arpOn.FindStringSubmatch(s.Text()); on != nil {
			n.on = on[1]
		}
		out = append(out, n)
	}
	return out
}
