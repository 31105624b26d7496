package discovery

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"assay/attest"
	"assay/devices"
	"assay/devices/fingerprint"
	"assay/devices/network/internal/field"
)

// protocol is one way of asking who is there.
type protocol struct {
	name      string       // as in claims
	groups    []netip.Addr // multicast groups to ask; IPv6 ones are of the link
	broadcast bool
	listen    []int // local ports that some units answer to, whoever asked
	unicast   bool  // also asked of each address that probing found alive
	requests  []*request
	read      func(*reading) error
}

// protocols is everything that can be asked, in the order of asking: those that
// say most come first.
var protocols = []*protocol{
	sadp, dhip, wsDiscovery, mdns, ssdp, xiongmai, hanwha, bosch, vivotek, uniPRO, sony,
	foscam, dlink, vstarcam, vision360, ubiquiti, gigEVision, dahuaOld,
}

// Protocols returns the names of the protocols.
func Protocols() []string {
	var names []string
	for _, p := range protocols {
		names = append(names, p.name)
	}
	return names
}

var broadcastAll = netip.MustParseAddr("255.255.255.255")

// errNotOurs is a datagram that is no answer: another's question, or our own
// that came back.
var errNotOurs = errors.New("not an answer")

// malformed is an answer that its protocol does not allow.
func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{devices.ErrMalformed}, args...)...)
}

// reading is one datagram and what is read from it. A datagram may hold the
// answers of several units.
type reading struct {
	protocol string
	from     netip.Addr
	b        []byte
	raw      attest.Digest
	answers  []*answer
}

// Bounds on one datagram; real answers stay far below.
const (
	maxAnswersEach = 64
	maxClaims      = 40
)

// answer begins the answer of the next unit in the datagram.
func (r *reading) answer(kind Kind) *answer {
	a := &answer{protocol: r.protocol, raw: r.raw, kind: kind}
	if len(r.answers) < maxAnswersEach {
		r.answers = append(r.answers, a)
	}
	return a
}

// answer is what one unit says in one datagram.
type answer struct {
	protocol string
	raw      attest.Digest
	kind     Kind
	roles    []Kind
	claims   []attest.Claim
	seen     []fingerprint.Observation
	macs     []string
	serial   string
	endpoint string
	addrs    []netip.Addr // that the unit says it has
	services []string     // addresses of services, as it says
	describe string       // where its UPnP description is
	inactive bool
	relayed  bool // another host passed it on
	open     []int

	// Of identifying.
	marks      []attest.Mark
	children   []attest.Child
	identified *Identified
}

func (a *answer) source(place string) string { return a.protocol + " " + place }

func (a *answer) claim(subject attest.Subject, name, value, place string) {
	if value = field.Clean(value); value == "" || len(a.claims) >= maxClaims {
		return
	}
	c := attest.Claim{Subject: subject, Name: name, Value: value, Source: a.source(place), Acquisition: attest.A0, Raw: a.raw}
	if !slices.Contains(a.claims, c) {
		a.claims = append(a.claims, c)
	}
}

func (a *answer) observe(on, value, place string) {
	if value = field.Clean(value); value == "" || len(a.seen) >= maxClaims {
		return
	}
	a.seen = append(a.seen, fingerprint.Observation{On: on, Value: value, Source: a.source(place), Raw: a.raw})
}

// neutral are names that firmware for other brands gives as its maker.
var neutral = []string{"general", "private", "oem", "generic", "manufacturer", "unknown", "none", "ipc", "ipcamera", "camera", "onvif"}

func (a *answer) maker(value, place string) {
	if slices.Contains(neutral, strings.ToLower(strings.TrimSpace(value))) {
		a.claim(attest.SubjectUnit, "vendor-code", value, place)
		return
	}
	a.claim(attest.SubjectUnit, attest.NameMaker, value, place)
}

func (a *answer) model(value, place string) {
	a.claim(attest.SubjectUnit, attest.NameModel, value, place)
	a.observe("model", value, place)
}

func (a *answer) label(value, place string) { a.claim(attest.SubjectUnit, "label", value, place) }

func (a *answer) setSerial(value, place string) {
	if value = field.Clean(value); value == "" {
		return
	}
	a.serial = value
	a.claim(attest.SubjectUnit, attest.NameSerial, value, place)
	a.observe("serial", value, place)
	if s, ok := fingerprint.ParseHikvisionSerial(value); ok {
		a.claim(attest.SubjectUnit, "region", s.Region, "grammar hikvision-serial of "+place)
		a.claim(attest.SubjectUnit, attest.NameBuildDate, s.Made.Format("2006-01-02"), "grammar hikvision-serial of "+place)
	}
}

func (a *answer) firmware(value, place string) {
	if value = field.Clean(value); value == "" {
		return
	}
	version, built := fingerprint.ParseFirmware(value)
	a.claim(attest.SubjectFirmware, attest.NameFirmwareVersion, version, place)
	a.observe("version", version, place)
	if !built.IsZero() {
		a.claim(attest.SubjectFirmware, attest.NameBuildDate, built.Format("2006-01-02"), place)
	}
}

func (a *answer) mac(value, place string) {
	mac, ok := field.MAC(value)
	if !ok || len(a.macs) >= 8 || slices.Contains(a.macs, mac) {
		return
	}
	a.macs = append(a.macs, mac)
	a.claim(attest.SubjectUnit, attest.NameMAC, mac, place)
}

// address is one that the unit says it has. It may be a factory default that
// many units say, so nothing is joined by it.
func (a *answer) address(value, place string) {
	value, _, _ = strings.Cut(strings.TrimSpace(value), "/")
	addr, err := netip.ParseAddr(value)
	if err != nil || addr.IsUnspecified() || addr.IsMulticast() || addr == broadcastAll || len(a.addrs) >= 8 {
		return
	}
	addr = addr.Unmap().WithZone("")
	if !slices.Contains(a.addrs, addr) {
		a.addrs = append(a.addrs, addr)
	}
	a.claim(attest.SubjectNetwork, "address", addr.String(), place)
}

func (a *answer) service(value, place string) {
	if value = field.Clean(value); value == "" || len(a.services) >= 16 || slices.Contains(a.services, value) {
		return
	}
	a.services = append(a.services, value)
	a.claim(attest.SubjectNetwork, "xaddr", value, place)
}

// role adds a kind; the heaviest one is what the unit is.
func (a *answer) role(k Kind) {
	if !slices.Contains(a.roles, k) && len(a.roles) < 8 {
		a.roles = append(a.roles, k)
	}
	if weight[k] > weight[a.kind] {
		a.kind = k
	}
}

// spoke notes that an answer had the shape that only this protocol has.
func (a *answer) spoke(shape string) { a.observe("udp.answer", a.protocol, shape) }

// record is a datagram of fixed places. Reading past its end gives nothing.
type record []byte

func (r record) at(offset, size int) []byte {
	if offset < 0 || size < 0 || offset > len(r) {
		return nil
	}
	return r[offset:min(offset+size, len(r))]
}

// text is up to the first nought.
func (r record) text(offset, size int) string {
	b := r.at(offset, size)
	if i := slices.Index(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}

// macText writes the six bytes there as an address.
func (r record) macText(offset int) string {
	b := r.at(offset, 6)
	if len(b) < 6 {
		return ""
	}
	return fmt.Sprintf("%02X:%02X:%02X:%02X:%02X:%02X", b[0], b[1], b[2], b[3], b[4], b[5])
}

// ipText writes the four bytes there as an address.
func (r record) ipText(offset int) string {
	a, ok := netip.AddrFromSlice(r.at(offset, 4))
	if !ok {
		return ""
	}
	return a.String()
}

// digits is a version of four numbers, as several makers write it.
func digits(b []byte) string {
	var s []string
	for _, c := range b {
		s = append(s, fmt.Sprint(c))
	}
	return strings.Join(s, ".")
}
