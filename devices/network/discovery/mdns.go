package discovery

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"assay/attest"
)

// Multicast DNS (RFC 6762) with the service types of DNS-SD (RFC 6763) that
// cameras announce (UniversalScanner's Axis.cs and Arecont.cs for theirs; the
// lists of public scanners for the others), and those by which printers and
// computers are known for what they are. The questions want a unicast answer (RFC 6762, section 5.4), and come
// from a port of our own, so a responder answers them as a legacy resolver's.
var mdns = &protocol{
	name:    "mdns",
	groups:  []netip.Addr{netip.MustParseAddr("224.0.0.251"), netip.MustParseAddr("ff02::fb")},
	listen:  []int{mdnsPort},
	unicast: true,
	requests: []*request{
		mdnsAsk("_axis-video", "_axis-nvr", "_arec"),
		mdnsAsk("_rtsp", "_http", "_psia", "_onvif", "_nvr", "_camera", "_CGI"),
		mdnsAsk("_ipp", "_printer", "_pdl-datastream", "_scanner", "_smb", "_afpovertcp", "_nfs", "_googlecast", "_airplay", "_workstation"),
	},
	read: readMDNS,
}

const mdnsPort = 5353

// mdnsAsk is one question for the instances of each type.
func mdnsAsk(types ...string) *request {
	b := bytesOf(uint32(0), uint16(len(types)), uint32(0), uint16(0))
	for _, t := range types {
		b += bytesOf(len(t), t, 4, "_tcp", 5, "local", 0, uint16(typePTR), uint16(0x8001))
	}
	return &request{protocol: "mdns", asks: "PTR " + strings.Join(types, " "), port: mdnsPort, head: b}
}

// serviceKinds are what a unit that offers a service is.
var serviceKinds = map[string]Kind{
	"_axis-video": KindCamera, "_axis-nvr": KindRecorder, "_arec": KindCamera, "_psia": KindCamera, "_onvif": KindCamera, "_camera": KindCamera, "_nvr": KindRecorder,
	"_ipp": KindPrinter, "_ipps": KindPrinter, "_printer": KindPrinter, "_pdl-datastream": KindPrinter, "_scanner": KindPrinter,
	"_smb": KindComputer, "_workstation": KindComputer, "_afpovertcp": KindStorage, "_nfs": KindStorage, "_adisk": KindStorage,
	"_googlecast": KindMediaPlayer, "_airplay": KindMediaPlayer,
}

// dnsHost gathers the records of one host in a message. A reflector may answer
// for several.
type dnsHost struct {
	instances []dnsName
	txt       []string
	addrs     []netip.Addr
}

func readMDNS(r *reading) error {
	records, response, broken := dnsRecordsOf(r.b)
	if !response && broken == nil {
		return errNotOurs
	}
	for _, host := range gather(records).hosts() {
		readHost(r, host)
	}
	switch {
	case broken != nil:
		return malformed("dns: %v", broken)
	case len(r.answers) == 0:
		return errNotOurs
	}
	return nil
}

// dnsRecords are the records of a message that matter here, by their names.
type dnsRecords struct {
	instances []dnsName
	target    map[string]string // of SRV
	txt       map[string][]string
	addrs     map[string][]netip.Addr
}

func gather(records []dnsRecord) *dnsRecords {
	m := &dnsRecords{target: map[string]string{}, txt: map[string][]string{}, addrs: map[string][]netip.Addr{}}
	instance := func(n dnsName) {
		if name, _ := cutInstance(n); name != "" && !slices.ContainsFunc(m.instances, func(x dnsName) bool { return x.key() == n.key() }) {
			m.instances = append(m.instances, n)
		}
	}
	for _, r := range records {
		k := r.name.key()
		switch r.kind {
		case typePTR:
			instance(r.target)
		case typeSRV:
			m.target[k] = r.target.key()
			instance(r.name)
		case typeTXT:
			m.txt[k] = append(m.txt[k], r.text...)
		case typeA, typeAAAA:
			m.addrs[k] = append(m.addrs[k], r.addr)
		}
	}
	return m
}

// hosts groups the instances by the host that their SRV records name. Without
// such records, or where they all name one, everything is of one host.
func (m *dnsRecords) hosts() []*dnsHost {
	if len(m.instances) == 0 {
		return nil
	}
	var order []string
	by := map[string]*dnsHost{}
	for _, i := range m.instances {
		target := m.target[i.key()]
		h := by[target]
		if h == nil {
			h = &dnsHost{addrs: m.addrs[target]}
			by[target], order = h, append(order, target)
		}
		h.instances = append(h.instances, i)
		h.txt = append(h.txt, m.txt[i.key()]...)
	}
	if lone := by[""]; len(order) == 2 && lone != nil {
		for target, h := range by { // what has no SRV record is of the one host that has
			if target != "" {
				h.instances, h.txt = append(h.instances, lone.instances...), append(h.txt, lone.txt...)
				return []*dnsHost{h}
			}
		}
	}
	var out []*dnsHost
	for _, target := range order {
		out = append(out, by[target])
	}
	if len(out) == 1 && len(out[0].addrs) == 0 {
		for _, t := range m.txt { // names that do not fit: one host all the same
			out[0].txt = append(out[0].txt, t...)
		}
		for _, a := range m.addrs {
			out[0].addrs = append(out[0].addrs, a...)
		}
	}
	return out
}

var (
	axisInstance    = regexp.MustCompile(`^(.+?) - ([0-9A-Fa-f]{12})$`)
	arecontInstance = regexp.MustCompile(`^ARECONT (AV ?[0-9A-Za-z]+)-AV([0-9A-Fa-f]{6})$`)
)

func readHost(r *reading, h *dnsHost) {
	a := r.answer(KindUnknown)
	for _, i := range h.instances {
		name, service := cutInstance(i)
		if name == "" {
			continue
		}
		a.claim(attest.SubjectNetwork, "service", service, "PTR")
		a.observe("mdns.service", service, "PTR")
		if k, ok := serviceKinds[service]; ok {
			a.role(k)
		}
		a.label(name, "instance of "+service)
		switch m := axisInstance.FindStringSubmatch(name); {
		case m != nil && (service == "_axis-video" || service == "_axis-nvr"):
			a.model(m[1], "instance of "+service)
			a.observe("mdns.instance", name, "instance of "+service)
			a.setSerial(strings.ToUpper(m[2]), "instance of "+service)
			a.mac(m[2], "instance of "+service)
		case service == "_arec":
			if m := arecontInstance.FindStringSubmatch(name); m != nil {
				a.model(m[1], "instance of _arec")
				a.mac("001A07"+m[2], "instance of _arec, after Arecont's prefix")
			}
		}
	}
	slices.Sort(h.txt) // maps have no order
	for _, t := range slices.Compact(h.txt) {
		readTXT(a, t)
	}
	for _, x := range h.addrs {
		a.address(x.String(), "A")
	}
}

// readTXT reads a key and value of DNS-SD. Keys in use differ by maker; these
// are of Axis, of printers (Bonjour Printing Specification) and of Google Cast.
func readTXT(a *answer, t string) {
	key, value, ok := strings.Cut(t, "=")
	if !ok {
		return
	}
	switch place := "TXT " + key; strings.ToLower(key) {
	case "macaddress":
		a.mac(value, place)
	case "ty", "md", "model":
		a.model(value, place)
	case "usb_mfg", "manufacturer", "vendor":
		a.maker(value, place)
	case "serialnumber", "serial", "sn":
		a.setSerial(value, place)
	case "firmware", "fv", "version":
		a.firmware(value, place)
	case "fn", "note":
		a.label(value, place)
	}
}

// cutInstance parts the labels "Front door", "_axis-video", "_tcp", "local"
// into an instance's name and service type.
func cutInstance(n dnsName) (name, service string) {
	for i := 2; i < len(n); i++ {
		if strings.EqualFold(n[i], "_tcp") && strings.HasPrefix(n[i-1], "_") {
			return strings.Join(n[:i-1], "."), strings.ToLower(n[i-1])
		}
	}
	return "", ""
}
