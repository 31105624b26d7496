package discovery

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"os/exec"
	"testing"
	"time"

	"assay/attest"
	"assay/devices/simulator/town"
	"assay/internal/peer"
)

// settle starts n units of a town at an address and returns them and the options
// that find them.
func settle(t *testing.T, first string, n int, network string) (*town.Town, []town.Resident, Options) {
	t.Helper()
	residents, err := town.Residents(netip.MustParseAddr(first), n)
	if err != nil {
		t.Fatal(err)
	}
	units, err := town.Start(t.Context(), residents)
	if err != nil {
		t.Skipf("the usual ports cannot be had here: %v", err)
	}
	t.Cleanup(func() { units.Close() })
	o := loopback(network)
	o.Ports, o.Protocols = []int{80, 443, 554}, append(o.Protocols, "mdns")
	o.Identify = &Identify{Rate: 5000}
	return units, residents, o
}

// Each unit is asked once, over one connection at a time, without login and
// without a request that could write, and what it says refines its row.
func TestIdentifyingRefinesRowsAndHarmsNobody(t *testing.T) {
	units, residents, o := settle(t, "127.84.0.1", 100, "127.84.0.0/25")
	o.Identify.Compare = func(claims []attest.Claim, marks []attest.Mark) []attest.Contradiction {
		return []attest.Contradiction{{Name: "test", Says: "compared", Sides: []attest.Side{{Ref: "c1", Value: "v"}}}}
	}
	rows, s := found(t, o)
	for _, r := range residents {
		u := rows[r.Addr.String()]
		if u.Kind.Surveillance() == r.Other {
			t.Errorf("%s %s: %s", r.Name, r.Addr, u.Kind)
		}
		if r.Label != "" && r.Maker == "hikvision" && (u.Maker.Entity != "hikvision" || u.Maker.Strength < attest.C2) {
			t.Errorf("%s, sold as %s: made by %+v", r.Addr, r.Label, u.Maker)
		}
		if u.Identified != nil && (len(u.Against) == 0 || u.Against[len(u.Against)-1].Sides[0].Raw != u.Claims[0].Raw) {
			t.Errorf("%s: contradictions %+v", r.Addr, u.Against)
		}
		if r.Maker == "" && u.Maker.Strength >= attest.C2 {
			t.Errorf("%s %s: taken for %s", r.Name, r.Addr, u.Maker.Entity)
		}
	}
	v := units.Visits()
	if v.Most > 2 || v.Writes != 0 || v.Logins != 0 || v.Requests == 0 {
		t.Errorf("visits %+v", v)
	}
	if i := s.Identified; i.Units != 97 || i.Spoke != 97 || i.AtOnce > 64 { // three printers say what they are
		t.Errorf("%+v", i)
	}
}

func TestIdentifyingKeepsToItsRateAndUnitsAtOnce(t *testing.T) {
	_, _, o := settle(t, "127.84.1.1", 8, "127.84.1.0/28")
	o.Identify = &Identify{Rate: 40, Units: 2}
	_, s := found(t, o)
	if i := s.Identified; i.AtOnce != 2 || i.PerSecond > 44 || i.Requests < 50 {
		t.Errorf("%+v", i)
	}
}

func TestIdentifyingKeepsWhatWasFoundWhenItIsStopped(t *testing.T) {
	_, _, o := settle(t, "127.84.2.1", 8, "127.84.2.0/28")
	o.Identify = &Identify{Rate: 20}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	o.Progress = func(p Progress) {
		if p.Stage == "identifying" && p.Elapsed > 4*time.Second {
			stop()
		}
	}
	rows := map[int]Unit{}
	s, err := Run(ctx, o, func(u Unit) {
		for _, id := range u.Replaces {
			delete(rows, id)
		}
		rows[u.ID] = u
	})
	if !errors.Is(err, context.Canceled) || s == nil {
		t.Fatalf("%v, %+v", err, s)
	}
	partly := 0
	for _, u := range rows {
		if u.Identified != nil && len(u.Identified.Problems) > 0 && len(u.Claims) > 0 {
			partly++
		}
	}
	if partly == 0 || s.Identified.Units != 8 {
		t.Errorf("%d of %d rows have what came before the end, %+v", partly, len(rows), s.Identified)
	}
}

// A unit that says nothing to an end costs its patience and holds up no other.
func TestIdentifyingGivesASilentUnitUp(t *testing.T) {
	_, _, o := settle(t, "127.84.3.1", 1, "127.84.3.0/30")
	l, err := net.Listen("tcp", "127.84.3.2:80")
	if err != nil {
		t.Skip(err)
	}
	defer l.Close()
	o.Identify = &Identify{Patience: 2 * time.Second}
	rows, _ := found(t, o)
	if u := rows["127.84.3.2"]; u.Identified == nil || len(u.Identified.Problems) == 0 {
		t.Errorf("%+v", u.Identified)
	}
	if u := rows["127.84.3.1"]; u.Kind != KindCamera && u.Kind != KindRecorder {
		t.Errorf("the other is %s", u.Kind)
	}
}

// The bound on packets holds for a network of silence, whether what is found
// would be identified or not: the kernel's count of what left the interface.
func TestSilenceCostsNoMoreThanThePacketsThatWereSet(t *testing.T) {
	if !near(t) {
		return
	}
	ip := peer.Need(t, "ip", "iproute2")
	for _, args := range [][]string{
		{"link", "add", "v0", "type", "veth", "peer", "name", "v1"}, {"link", "set", "v0", "arp", "off"}, {"addr", "add", "10.99.0.1/16", "dev", "v0"}, {"link", "set", "v0", "up"}, {"link", "set", "v1", "up"},
	} {
		if out, err := exec.Command(ip, args...).CombinedOutput(); err != nil {
			t.Skipf("no cable with nobody at its end: %v: %s", err, out)
		}
	}
	left := func() int {
		out, err := exec.Command(ip, "-s", "-j", "link", "show", "v0").Output()
		var links []struct {
			Stats struct {
				TX struct {
					Packets int `json:"packets"`
				} `json:"tx"`
			} `json:"stats64"`
		}
		if err := errors.Join(err, json.Unmarshal(out, &links)); err != nil || len(links) != 1 {
			t.Fatalf("%v: %s", err, out)
		}
		return links[0].Stats.TX.Packets
	}
	const most = 3000
	before := left()
	s, err := Run(t.Context(), Options{
		Interfaces: []string{"v0"}, Networks: []netip.Prefix{netip.MustParsePrefix("10.99.0.0/16")}, Protocols: []string{"sadp"},
		Rate: 20_000, MaxPackets: most, Timeout: 100 * time.Millisecond, Window: 100 * time.Millisecond, NoNeighbours: true, Identify: &Identify{},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	sent := left() - before
	const searching = 40 // multicast, broadcast, and the kernel's own
	if sent > most+searching || s.Sent["tcp"] > most || s.Identified.Requests != 0 {
		t.Errorf("%d packets left, %v counted, identified %+v", sent, s.Sent, s.Identified)
	}
	t.Logf("%d packets left for %d addresses, counted %v", sent, s.Hosts, s.Sent)
}
