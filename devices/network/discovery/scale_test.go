//go:build linux

package discovery

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	simulated "assay/devices/simulator/discovery"
)

// fleet runs n units on addresses of the loopback, which Linux has all of.
func fleet(tb testing.TB, first string, n int, names ...string) *simulated.Fleet {
	tb.Helper()
	var units []*simulated.Unit
	for _, name := range names {
		u, err := simulated.Load(name)
		if err != nil {
			tb.Fatal(err)
		}
		units = append(units, u)
	}
	a := netip.MustParseAddr(first)
	var placed []*simulated.Placed
	for i := range n {
		placed = append(placed, &simulated.Placed{Unit: units[i%len(units)], N: i + 1, Addr: a})
		a = a.Next()
	}
	f, err := simulated.Start(tb.Context(), "", placed...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { f.Close() })
	return f
}

// loopback are options by which only addresses of the loopback are asked.
func loopback(network string) Options {
	return Options{
		Interfaces: []string{"lo"}, Networks: []netip.Prefix{netip.MustParsePrefix(network)}, Ports: []int{},
		Protocols: []string{"sadp", "dhip", "ws-discovery"}, Window: 800 * time.Millisecond, NoNeighbours: true, Rate: 5000,
	}
}

func TestProbingFindsUnitsThatHearNoMulticast(t *testing.T) {
	fleet(t, "127.81.0.1", 6, "hikvision", "dahua", "onvif")
	l, err := net.Listen("tcp", "127.81.0.6:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	o := loopback("127.81.0.0/29")
	o.Ports = []int{port}
	rows, s := found(t, o)
	for i, maker := range []string{"hikvision", "dahua", "", "hikvision", "dahua", ""} {
		u := rows[netip.AddrFrom4([4]byte{127, 81, 0, byte(i + 1)}).String()]
		if u.Kind != KindCamera || u.Maker.Entity != maker {
			t.Errorf("unit %d: %s by %q", i+1, u.Kind, u.Maker.Entity)
		}
	}
	if u := rows["127.81.0.6"]; !slices.Equal(u.Open, []int{port}) || !slices.Contains(u.Seen, "tcp") {
		t.Errorf("open ports %v, seen %v", u.Open, u.Seen)
	}
	if s.Probed != 6 || s.Hosts != 6 || len(rows) != 6 {
		t.Errorf("%d of %d probed, %d rows", s.Probed, s.Hosts, len(rows))
	}
}

func TestRunEndsWithItsContextAndKeepsWhatWasFound(t *testing.T) {
	fleet(t, "127.82.0.1", 2, "dahua")
	o := loopback("127.82.0.0/30")
	o.Window = time.Hour
	ctx, stop := context.WithCancel(context.Background())
	o.Progress = func(p Progress) {
		if p.Units == 2 {
			stop()
		}
	}
	rows := map[int]Unit{}
	began := time.Now()
	s, err := Run(ctx, o, func(u Unit) { rows[u.ID] = u })
	if !errors.Is(err, context.Canceled) || s == nil || len(rows) != 2 || s.Units != 2 {
		t.Errorf("%v, %+v, %d rows", err, s, len(rows))
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it took %s to end", took)
	}
}

func TestOptionsThatMeanNothingAreRefused(t *testing.T) {
	for want, o := range map[string]Options{
		"no protocol":  {Protocols: []string{"telepathy"}},
		"no interface": {Interfaces: []string{"nosuch0"}},
		"addresses":    {Networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}},
		"65535":        {Ports: []int{70000}},
		"not valid":    {Networks: []netip.Prefix{{}}},
	} {
		_, err := Run(context.Background(), o, nil)
		var option *OptionError
		if !errors.As(err, &option) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", want, err)
		}
	}
}

func TestTableIsBounded(t *testing.T) {
	table := newTable(Limit{Answers: 100, PerSource: 5, Bytes: 1 << 20, Datagrams: 50})
	r := &run{table: table, o: Options{}, fetched: map[string]bool{}, ctx: context.Background()}
	a := netip.MustParseAddr("192.0.2.1")
	answer := func(i int) []byte {
		return []byte("<ProbeMatch><DeviceSN>" + strings.Repeat("x", i) + "</DeviceSN></ProbeMatch>")
	}
	for i := range 60 {
		if table.hear("sadp", a) {
			r.take(sadp, a, "", answer(i%7))
		}
	}
	for i := range 300 {
		from := netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
		r.take(sadp, from, "", answer(3))
	}
	l := table.lost
	if len(table.sightings) != 100 || l.Full != 205 || l.PerSource == 0 || l.Deaf != 10 || l.Repeated == 0 || !l.Any() {
		t.Errorf("%d kept, lost %+v", len(table.sightings), l)
	}
}

// Every answer that a flood of spoofed sources can bring is joined in bounded
// time.
func TestManySpoofedAnswersAreJoinedInTime(t *testing.T) {
	var all []heard
	for i := range 10_000 {
		all = append(all, heard{"sadp", netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}).String(), "00:00:5E:00:53:01", "", "one-endpoint"})
	}
	list := sightings(all)
	began := time.Now()
	groups := merge(list)
	if took := time.Since(began); took > 10*time.Second || len(groups) != 10_000 {
		t.Errorf("%d groups in %s", len(groups), took)
	}
}

// BenchmarkThousandUnits finds a thousand units on the loopback by asking each
// address, and reports the time of one run, the memory of the process with the
// units in it, and the packets.
func BenchmarkThousandUnits(b *testing.B) {
	fleet(b, "127.83.0.1", 1000, "hikvision", "dahua", "onvif", "relabelled")
	b.ResetTimer()
	for range b.N {
		o := loopback("127.83.0.0/22")
		o.Rate, o.Window = 2000, 2*time.Second
		n := 0
		s, err := Run(context.Background(), o, func(u Unit) { n++ })
		if err != nil {
			b.Fatal(err)
		}
		if s.Units != 1000 || s.Lost.Any() {
			b.Errorf("%d of 1,000 units, lost %+v", s.Units, s.Lost)
		}
		sent := 0
		for _, x := range s.Sent {
			sent += x
		}
		b.ReportMetric(s.Ended.Sub(s.Started).Seconds(), "s/run")
		b.ReportMetric(float64(sent), "packets")
		b.ReportMetric(float64(n), "rows-shown")
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		b.ReportMetric(float64(m.Sys)/(1<<20), "MiB-process")
		var u syscall.Rusage
		if syscall.Getrusage(syscall.RUSAGE_SELF, &u) == nil {
			b.ReportMetric(float64(u.Maxrss)/1024, "MiB-peak")
		}
	}
}
