package discovery

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"assay/devices/fingerprint"
)

// heard is one answer for the tests of joining.
type heard struct {
	by, from, mac, serial, endpoint string
}

func sightings(all []heard) []*sighting {
	var out []*sighting
	for i, h := range all {
		a := &answer{protocol: h.by, kind: KindCamera, endpoint: h.endpoint}
		if h.mac != "" {
			a.mac(h.mac, "mac")
		}
		if h.serial != "" {
			a.setSerial(h.serial, "serial")
		}
		out = append(out, &sighting{answer: a, seq: i + 1, from: netip.MustParseAddr(h.from), on: "eth0", at: time.Unix(1, 0)})
	}
	return out
}

// grouped writes the groups as sets of places in the list, as "1 3|2".
func grouped(groups []*group) string {
	var out []string
	for _, g := range groups {
		var s []string
		for _, m := range g.members {
			s = append(s, fmt.Sprint(m.seq))
		}
		out = append(out, strings.Join(s, " "))
	}
	return strings.Join(out, "|")
}

func TestAnswersAreJoinedIntoUnits(t *testing.T) {
	const a, b, v6 = "192.0.2.1", "192.0.2.2", "fe80::1%eth0"
	const m1, m2 = "00:00:5E:00:53:01", "00:00:5E:00:53:02"
	for name, c := range map[string]struct {
		all  []heard
		want string
	}{
		"one address, three protocols":                    {[]heard{{"sadp", a, m1, "SER-A000001", ""}, {"ws-discovery", a, "", "", "u1"}, {"ssdp", a, "", "", "u2"}}, "1 2 3"},
		"two units":                                       {[]heard{{"sadp", a, m1, "SER-A000001", ""}, {"sadp", b, m2, "SER-B000002", ""}}, "1|2"},
		"IPv4 and IPv6 of one MAC":                        {[]heard{{"sadp", a, m1, "", ""}, {"ws-discovery", v6, m1, "", ""}}, "1 2"},
		"IPv4 and IPv6 of one endpoint":                   {[]heard{{"ws-discovery", a, "", "", "3f2a"}, {"ws-discovery", v6, "", "", "3f2a"}}, "1 2"},
		"two units with the factory's MAC":                {[]heard{{"sadp", a, "00:11:22:33:44:55", "SER-A000001", ""}, {"sadp", b, "00:11:22:33:44:55", "SER-B000002", ""}}, "1|2"},
		"two units with one MAC and their own serials":    {[]heard{{"sadp", a, m1, "SER-A000001", ""}, {"sadp", b, m1, "SER-B000002", ""}}, "1|2"},
		"two addresses with one MAC and nothing else":     {[]heard{{"bosch", a, m1, "", ""}, {"bosch", b, m1, "", ""}}, "1|2"},
		"two addresses of one MAC and serial":             {[]heard{{"sadp", a, m1, "SER-A000001", ""}, {"dhip", b, m1, "SER-A000001", ""}}, "1 2"},
		"two units cloned with one endpoint":              {[]heard{{"ws-discovery", a, "", "", "3f2a"}, {"ws-discovery", b, "", "", "3f2a"}}, "1|2"},
		"two units with the serial 123456789":             {[]heard{{"sony", a, "", "123456789", ""}, {"sony", b, "", "123456789", ""}}, "1|2"},
		"two units behind one translated address":         {[]heard{{"sadp", a, m1, "SER-A000001", ""}, {"sadp", a, m2, "SER-B000002", ""}}, "1|2"},
		"a unit that lies of its MAC is one":              {[]heard{{"sadp", a, m1, "", ""}, {"dhip", a, m2, "", ""}}, "1 2"},
		"a recorder with two cards and one serial is one": {[]heard{{"sadp", a, m1, "SER-A000001", ""}, {"sadp", b, m2, "SER-A000001", ""}}, "1|2"},
		"the same, on one address":                        {[]heard{{"sadp", a, m1, "SER-A000001", ""}, {"sadp", a, m2, "SER-A000001", ""}}, "1 2"},
		"a router's MAC before two units":                 {[]heard{{"neighbour", a, m1, "", ""}, {"neighbour", b, m1, "", ""}, {"sadp", a, m2, "SER-A000001", ""}}, "1 3|2"},
		"many UPnP services of one machine":               {[]heard{{"ssdp", a, "", "", "u1"}, {"ssdp", a, "", "", "u2"}, {"upnp", a, "", "SER-A000001", "u1"}, {"upnp", a, "", "SER-B000002", "u2"}}, "1 2 3 4"},
		"a maker's prefix with nothing behind it":         {[]heard{{"sadp", a, "00:1A:07:00:00:00", "", ""}, {"sadp", v6, "00:1A:07:00:00:00", "", ""}}, "1|2"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := grouped(merge(sightings(c.all))); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

// What is joined must not depend on the order in which answers come.
func TestJoiningDoesNotDependOnTheOrder(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		var all []heard
		for range 40 {
			unit := rng.IntN(8)
			h := heard{by: []string{"sadp", "dhip", "ws-discovery", "mdns"}[rng.IntN(4)], from: fmt.Sprintf("192.0.2.%d", unit+1)}
			if rng.IntN(3) == 0 {
				h.from = fmt.Sprintf("fe80::%d%%eth0", unit+1)
			}
			if rng.IntN(2) == 0 {
				h.mac = fmt.Sprintf("00:00:5E:00:53:%02X", unit+1)
			}
			if rng.IntN(2) == 0 {
				h.serial = fmt.Sprintf("SER-%c00007", 'A'+unit)
			}
			all = append(all, h)
		}
		list := sightings(all)
		want := canonical(merge(list))
		shuffled := slices.Clone(list)
		rng.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		if got := canonical(merge(shuffled)); got != want {
			t.Fatalf("%v\n%s\n%s", all, want, got)
		}
	}
}

func canonical(groups []*group) string {
	out := strings.Split(grouped(groups), "|")
	slices.Sort(out)
	return strings.Join(out, "|")
}

func TestRowSaysWhoDisagrees(t *testing.T) {
	m := makersForTest{}
	r := &run{o: Options{Rules: fingerprint.Embedded(), Makers: m}}
	sadpAnswer := read1(t, sadp, "<ProbeMatch><DeviceDescription>DS-2CD2042WD-I</DeviceDescription><DeviceSN>DS-2CD2042WD-I20160402AACH000000002</DeviceSN><CommandPort>8000</CommandPort><MAC>00-00-5e-00-53-01</MAC><IPv4Address>192.0.2.9</IPv4Address><SoftwareVersion>V5.3.0build 150513</SoftwareVersion></ProbeMatch>")
	scopes := read1(t, wsDiscovery, probeMatch("urn:uuid:9", "dn:NetworkVideoTransmitter", "onvif://www.onvif.org/mfr/Fjordlens onvif://www.onvif.org/MAC/00:00:5e:00:53:02", ""))
	from := netip.MustParseAddr("192.0.2.1")
	u := r.row(merge([]*sighting{{answer: sadpAnswer, seq: 1, from: from}, {answer: scopes, seq: 2, from: from}})[0])
	got := map[string]Disagreement{}
	for _, d := range u.Against {
		got[d.Name] = d
		if len(d.Sides) != 2 || d.Sides[0].Value == d.Sides[1].Value {
			t.Errorf("%+v", d)
		}
	}
	if len(got) != 3 || got["mac"].Sides[0].Raw == got["mac"].Sides[1].Raw || got["maker"].Name == "" || got["address"].Name == "" {
		t.Errorf("contradictions %+v", u.Against)
	}
	if u.Maker.Entity != "hikvision" || u.Maker.Says != "Fjordlens" || u.MACs[0].Owner != "owner of 00:00:5E:00:53:01" {
		t.Errorf("%+v %+v", u.Maker, u.MACs)
	}
}

func read1(t *testing.T, p *protocol, b string) *answer { return one(t, p, []byte(b)) }

type makersForTest struct{}

func (makersForTest) Owner(mac string) (string, string) { return "owner of " + mac, "" }
func (makersForTest) House(name string) string          { return strings.ToLower(name) }
