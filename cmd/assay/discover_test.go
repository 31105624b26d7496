package main

import (
	"bytes"
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/rogpeppe/go-internal/testscript"

	"assay/attest"
	"assay/attest/entity"
	"assay/devices/network/discovery"
	responders "assay/devices/simulator/discovery"
)

// startResponders runs units that answer search protocols, each on an address
// of its own from the first on; Linux has all of 127.0.0.0/8.
func startResponders(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) >= 2, "responders FIRST-ADDRESS NAME...")
	a, err := netip.ParseAddr(args[0])
	ts.Check(err)
	var placed []*responders.Placed
	for i, name := range args[1:] {
		u, err := responders.Load(name)
		ts.Check(err)
		placed = append(placed, &responders.Placed{Unit: u, N: i + 1, Addr: a})
		a = a.Next()
	}
	f, err := responders.Start(context.Background(), "", placed...)
	ts.Check(err)
	ts.Defer(func() { f.Close() })
}

func discoverRow(id int, from string, change func(*discovery.Unit)) discovery.Unit {
	u := discovery.Unit{
		ID: id, Kind: discovery.KindCamera, Model: "DS-2CD2042WD-I", Serial: "DS-2CD2042WD-I20160402AACH000000002",
		Address: []netip.Addr{netip.MustParseAddr(from)}, Seen: []string{"sadp", "neighbour"},
	}
	u.Maker.Entity, u.Maker.Strength = "hikvision", attest.C2
	if change != nil {
		change(&u)
	}
	return u
}

func TestDiscoverRowsFitTheirLines(t *testing.T) {
	u := discoverRow(1, "2001:db8:1234:5678:9abc:def0:1234:5678", func(u *discovery.Unit) {
		u.Model = strings.Repeat("摄像机", 30)
		u.Seen = discovery.Protocols()
		u.Firmware = strings.Repeat("9", 400)
	})
	for _, width := range []int{60, 80, 100, 120} {
		for _, line := range []string{discoverLine(u, width), discoverHead(width)} {
			if n := utf8.RuneCountInString(line); n != width {
				t.Errorf("%d columns, want %d: %s", n, width, line)
			}
		}
	}
	if l := discoverLine(u, 80); !strings.Contains(l, "hikvision ") || !strings.Contains(l, "…0402AACH000000002") {
		t.Error(l)
	}
}

// On a pipe a row is printed when it has settled, again when it changed, and
// not while it does.
func TestDiscoverPrintsSettledRowsOnce(t *testing.T) {
	data, err := entity.Load()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	v := &textView{discoverRows: &discoverRows{data: data, units: map[int]discovery.Unit{}}, out: &out}
	v.unit(discoverRow(1, "192.0.2.1", nil))
	v.unit(discoverRow(2, "192.0.2.2", nil))
	v.settle(time.Hour)
	if out.Len() != 0 {
		t.Errorf("printed at once: %s", out.String())
	}
	v.settle(0)
	v.unit(discoverRow(1, "192.0.2.1", func(u *discovery.Unit) { u.Seen = append(u.Seen, "dhip") }))
	v.unit(discoverRow(2, "192.0.2.2", func(u *discovery.Unit) { u.Answers = 7 })) // nothing that is shown
	v.settle(0)
	if got := out.String(); strings.Count(got, "+ ") != 2 || strings.Count(got, "~ ") != 1 || strings.Count(got, "\n") != 3 {
		t.Errorf("\n%s", got)
	}
	v.unit(discoverRow(1, "192.0.2.1", func(u *discovery.Unit) { u.Replaces = []int{2} }))
	if len(v.units) != 1 {
		t.Errorf("%d rows after one replaced the other", len(v.units))
	}
}

func TestDiscoverSaysWhatWasLost(t *testing.T) {
	var out bytes.Buffer
	discoverSummary(&out, &discovery.Summary{Lost: discovery.Lost{Full: 12, Deaf: 3}, Problems: []attest.Problem{{Says: "sadp: cannot listen"}}}, 1)
	for _, want := range []string{"12 answers with the table full", "3 of addresses that flood", "cannot listen"} {
		if !strings.Contains(strings.Join(strings.Fields(out.String()), " "), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

func TestHouseIsTheTopmostCompany(t *testing.T) {
	data, err := entity.Load()
	if err != nil {
		t.Fatal(err)
	}
	m := makers{data}
	if a, b := m.House("EZVIZ"), m.House("hikvision"); a != b || a == "" {
		t.Errorf("%q and %q are of one house", a, b)
	}
	if h := m.House("Fjordlens Unknown AS"); h != "" {
		t.Error(h)
	}
}
