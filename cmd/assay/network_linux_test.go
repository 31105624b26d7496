package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"assay/attest"
	"assay/devices/network/discovery"
	"assay/devices/simulator/town"
	"assay/internal/peer"
)

// A town of simulated units, and who looks at it. Units and visitors are alone in
// a network namespace of their own, so that the units have their usual ports.

// townProgram runs units until its input ends, and says on each line that comes
// what visits they had.
func townProgram() {
	first, n := netip.MustParseAddr(os.Args[1]), 0
	fmt.Sscan(os.Args[2], &n)
	from := 0
	fmt.Sscan(os.Args[3], &from)
	all, err := town.Residents(first, n)
	if err == nil {
		var t *town.Town
		if t, err = town.Start(context.Background(), all[from:min(from+townEach, n)]); err == nil {
			fmt.Println("ready")
			for in := bufio.NewScanner(os.Stdin); in.Scan(); {
				_ = json.NewEncoder(os.Stdout).Encode(t.Visits())
			}
			return
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// townEach is how many units a process has: each needs some four descriptors, of
// which a process may have 20,000 or less.
const townEach = 2500

// townFirst is the address of the first unit.
var townFirst = netip.MustParseAddr("127.90.0.1")

// townProcess is a process of units.
type townProcess struct {
	in  io.WriteCloser
	out *bufio.Reader
	cmd *exec.Cmd
}

func startTown(tb testing.TB, n int) []*townProcess {
	tb.Helper()
	var all []*townProcess
	for from := 0; from < n; from += townEach {
		p := &townProcess{cmd: exec.Command("town", townFirst.String(), fmt.Sprint(n), fmt.Sprint(from))}
		p.in, _ = p.cmd.StdinPipe()
		out, _ := p.cmd.StdoutPipe()
		p.out = bufio.NewReader(out)
		p.cmd.Stderr = os.Stderr
		if err := p.cmd.Start(); err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() { p.in.Close(); _ = p.cmd.Wait() })
		all = append(all, p)
	}
	for _, p := range all {
		if s, err := p.out.ReadString('\n'); s != "ready\n" {
			tb.Fatalf("units: %q, %v", s, err)
		}
	}
	return all
}

// visits are those to all processes together.
func visits(tb testing.TB, all []*townProcess) town.Visits {
	tb.Helper()
	var sum town.Visits
	for _, p := range all {
		fmt.Fprintln(p.in)
		line, err := p.out.ReadBytes('\n')
		if err != nil {
			tb.Fatal(err)
		}
		var v town.Visits
		if err := json.Unmarshal(line, &v); err != nil {
			tb.Fatal(err)
		}
		sum.Connections += v.Connections
		sum.Most = max(sum.Most, v.Most)
		sum.Over += v.Over
		sum.Requests += v.Requests
		sum.Writes += v.Writes
		sum.Logins += v.Logins
		sum.Questions += v.Questions
	}
	return sum
}

const insideVariable = "ASSAY_TOWN_TEST_INSIDE"

// alone runs the calling test or benchmark again in a network namespace of its own
// and returns true there.
func alone(tb testing.TB, args ...string) bool {
	tb.Helper()
	if os.Getenv(insideVariable) != "" {
		if out, err := exec.Command(peer.Need(tb, "ip", "iproute2"), "link", "set", "lo", "up").CombinedOutput(); err != nil {
			tb.Fatalf("%v: %s", err, out)
		}
		return true
	}
	unshare := peer.Need(tb, "unshare", "util-linux")
	flags := "-n"
	if os.Getuid() != 0 {
		flags = "-rn"
	}
	if out, err := exec.Command(unshare, flags, "true").CombinedOutput(); err != nil {
		tb.Skipf("no network namespace of one's own can be made here: %v: %s", err, out)
	}
	c := exec.Command(unshare, append([]string{flags, os.Args[0], "-test.timeout=60m"}, args...)...)
	c.Env = append(os.Environ(), insideVariable+"=1", "ASSAY="+program(tb))
	out, err := c.CombinedOutput()
	if err != nil {
		tb.Errorf("in its own network: %v", err)
	}
	fmt.Printf("%s", out)
	return false
}

// townSize is how many units the benchmarks have.
func townSize(tb testing.TB) int {
	n := 1000
	if s := os.Getenv("ASSAY_TOWN"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			tb.Fatalf("ASSAY_TOWN: %v", err)
		}
	}
	return n
}

// networkOf is the smallest network that has the units.
func networkOf(n int) string {
	bits := 32
	for 1<<(32-bits)-2 < n {
		bits--
	}
	return netip.PrefixFrom(townFirst, bits).Masked().String()
}

// BenchmarkNetwork finds, identifies and attributes a town (ASSAY_TOWN units, 1,000
// unless said) with assay discover --identify, and reports what it took and how many
// makers were named. It is not timed against anything.
func BenchmarkNetwork(b *testing.B) {
	if !alone(b, "-test.run=^$", "-test.bench=^BenchmarkNetwork$", "-test.benchtime=1x") {
		return
	}
	n := townSize(b)
	units := startTown(b, n)
	residents, err := town.Residents(townFirst, n)
	if err != nil {
		b.Fatal(err)
	}
	out := filepath.Join(b.TempDir(), "out.json")
	b.ResetTimer()
	cmd := exec.Command("peak", os.Getenv("ASSAY"), "discover", "--json", "--identify", "--interface", "lo", "--ports", "80,443,554",
		"--protocol", "sadp,dhip,ws-discovery,xiongmai,mdns", "--rate", "2000", "--request-rate", "1000", "--units-at-once", "128", networkOf(n))
	cmd.Env, cmd.Stderr = append(os.Environ(), "ASSAY_PEAK_OUT="+out, "ASSAY_HOME="+b.TempDir()), os.Stderr
	began := time.Now()
	kilobytes, err := cmd.Output()
	if err != nil {
		b.Fatal(err)
	}
	took := time.Since(began)
	b.StopTimer()
	v := visits(b, units)
	rows, summary := discovered(b, out)
	seen := namedBy(residents, rows)
	peak, _ := strconv.ParseFloat(strings.TrimSpace(string(kilobytes)), 64)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(took.Seconds(), "s/town")
	b.ReportMetric(peak/1024, "MiB-peak")
	b.ReportMetric(float64(v.Most), "sockets/unit-most")
	fmt.Printf("\n%d units in %s: %.1f s, %.0f MiB at most; a unit had %d sockets open at once at most, %d units more than two; %d connections, %d HTTP and socket requests, %d logins, %d of them writes; %d search questions\n",
		n, networkOf(n), took.Seconds(), peak/1024, v.Most, v.Over, v.Connections, v.Requests, v.Logins, v.Writes, v.Questions)
	packets := 0
	for _, x := range summary.Sent {
		packets += x
	}
	fmt.Printf("\npackets of discovery %d; identified %+v; lost %+v; problems %d\n", packets, *summary.Identified, summary.Lost, len(summary.Problems))
	fmt.Printf("%s", seen)
}

// discovered reads the rows that were left at the end of a run.
func discovered(tb testing.TB, path string) (map[netip.Addr]discovery.Unit, *discovery.Summary) {
	tb.Helper()
	f, err := os.Open(path)
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	byID := map[int]discovery.Unit{}
	var summary *discovery.Summary
	for d := json.NewDecoder(f); ; {
		var o discoverOutput
		if err := d.Decode(&o); err == io.EOF {
			break
		} else if err != nil {
			tb.Fatal(err)
		}
		if o.Unit != nil {
			for _, id := range o.Unit.Replaces {
				delete(byID, id)
			}
			byID[o.Unit.ID] = *o.Unit
		}
		if o.Summary != nil {
			summary = o.Summary
		}
	}
	rows := map[netip.Addr]discovery.Unit{}
	for _, u := range byID {
		for _, a := range u.Address {
			rows[a] = u
		}
	}
	return rows, summary
}

// namedBy is, for each kind, how its maker was named.
func namedBy(residents []town.Resident, rows map[netip.Addr]discovery.Unit) string {
	t := newTally()
	for _, r := range residents {
		u := rows[r.Addr]
		how := "no row"
		switch {
		case u.ID == 0:
		case r.Other && u.Kind.Surveillance():
			how = "WRONG: called a camera"
		case r.Other:
			how = "right: no camera"
		case r.Maker == "" && u.Maker.Entity != "" && u.Maker.Strength >= attest.C2:
			how = "WRONG: " + u.Maker.Entity
		case r.Maker == "":
			how = "right: nobody's"
		case u.Maker.Entity == r.Maker && u.Maker.Strength >= attest.C2:
			how = "right: c2"
		case u.Maker.Entity == r.Maker:
			how = "right: hint"
		case u.Maker.Entity != "" && u.Maker.Strength >= attest.C2:
			how = "WRONG: " + u.Maker.Entity
		default:
			how = "not named"
		}
		t.add(r, how)
		if r.Label != "" && slices.ContainsFunc(u.Against, func(d discovery.Disagreement) bool { return d.Name == attest.NameMaker }) {
			t.unmasked++
		}
	}
	return t.String()
}

// tally counts outcomes by kind.
type tally struct {
	kinds                             []string
	by                                map[string]map[string]int
	cameras, right, labelled, correct int
	unmasked                          int
}

func newTally() *tally { return &tally{by: map[string]map[string]int{}} }

func (t *tally) add(r town.Resident, how string) {
	if t.by[r.Name] == nil {
		t.by[r.Name] = map[string]int{}
		t.kinds = append(t.kinds, r.Name)
	}
	t.by[r.Name][how]++
	right := strings.HasPrefix(how, "right")
	if r.Maker != "" {
		t.cameras++
		if right {
			t.right++
		}
	}
	if r.Label != "" {
		t.labelled++
		if right {
			t.correct++
		}
	}
}

func (t *tally) String() string {
	var b strings.Builder
	slices.Sort(t.kinds)
	for _, k := range t.kinds {
		fmt.Fprintf(&b, "  %-22s %v\n", k, t.by[k])
	}
	fmt.Fprintf(&b, "  true maker named: %d of %d (%.1f %%); of those sold under another name %d of %d, %d of them with the contradiction shown\n",
		t.right, t.cameras, 100*float64(t.right)/float64(max(t.cameras, 1)), t.correct, t.labelled, t.unmasked)
	return b.String()
}

// nmapScripts are those of nmap that read what a camera says of itself, without
// guessing at logins.
const nmapScripts = "http-title,http-server-header,http-auth,http-favicon,http-headers,rtsp-methods,ssl-cert"

// nmapNames are the words that count as naming a maker.
var nmapNames = map[string][]string{
	"hikvision": {"hikvision"}, "dahua": {"dahua"}, "uniview": {"uniview"}, "tvt": {"tvt"}, "xiongmai": {"xiongmai", "netsurveillance", "xmeye"},
	"reolink": {"reolink"}, "axis": {"axis"}, "hanwha": {"hanwha", "wisenet", "samsung", "ipolis"}, "vivotek": {"vivotek"}, "ipro": {"i-pro", "panasonic"}, "sony": {"sony"},
}

// BenchmarkNetworkNmap has nmap look at the same town.
func BenchmarkNetworkNmap(b *testing.B) {
	nmap := peer.Need(b, "nmap", "nmap")
	if !alone(b, "-test.run=^$", "-test.bench=^BenchmarkNetworkNmap$", "-test.benchtime=1x") {
		return
	}
	n := townSize(b)
	units := startTown(b, n)
	residents, err := town.Residents(townFirst, n)
	if err != nil {
		b.Fatal(err)
	}
	out := filepath.Join(b.TempDir(), "out.xml")
	args := []string{"-n", "-Pn", "-sS", "-T4", "-p", "80,443,554,34567", "--script", nmapScripts, "-oX", out}
	if os.Getuid() != 0 {
		args[2] = "-sT"
	}
	if extra := os.Getenv("ASSAY_NMAP"); extra != "" {
		args = append(args, strings.Fields(extra)...)
	}
	last := residents[n-1].Addr
	for _, r := range residents {
		args = append(args, r.Addr.String())
	}
	cmd := exec.Command("peak", append([]string{nmap}, args...)...)
	b.ResetTimer()
	began := time.Now()
	kilobytes, err := cmd.Output()
	if err != nil {
		b.Fatal(err)
	}
	took := time.Since(began)
	b.StopTimer()
	v := visits(b, units)
	hosts := nmapHosts(b, out)
	t := newTally()
	for _, r := range residents {
		text := strings.ToLower(hosts[r.Addr])
		how := "not named"
		named := func(maker string) bool {
			return slices.ContainsFunc(nmapNames[maker], func(w string) bool { return strings.Contains(text, w) })
		}
		switch {
		case text == "":
			how = "no row"
		case r.Maker == "":
			how = "right: nobody's"
			for m := range nmapNames {
				if named(m) {
					how = "mentions " + m
				}
			}
		case named(r.Maker):
			how = "right: mentioned"
		}
		t.add(r, how)
	}
	peak, _ := strconv.ParseFloat(strings.TrimSpace(string(kilobytes)), 64)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(took.Seconds(), "s/town")
	b.ReportMetric(peak/1024, "MiB-peak")
	b.ReportMetric(float64(v.Most), "sockets/unit-most")
	fmt.Printf("\n%d units up to %s: %.1f s, %.0f MiB at most; a unit had %d sockets open at once at most, %d units more than two; %d connections, %d requests, %d of them not known to read only, %d with a login; %d search questions\n%s",
		n, last, took.Seconds(), peak/1024, v.Most, v.Over, v.Connections, v.Requests, v.Writes, v.Logins, v.Questions, t)
}

// nmapHosts is all that nmap wrote of each address.
func nmapHosts(tb testing.TB, path string) map[netip.Addr]string {
	tb.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	var run struct {
		Hosts []struct {
			Address []struct {
				Addr string `xml:"addr,attr"`
			} `xml:"address"`
			Inner []byte `xml:",innerxml"`
		} `xml:"host"`
	}
	if err := xml.NewDecoder(bytes.NewReader(raw)).Decode(&run); err != nil {
		tb.Fatal(err)
	}
	hosts := map[netip.Addr]string{}
	for _, h := range run.Hosts {
		for _, a := range h.Address {
			if addr, err := netip.ParseAddr(a.Addr); err == nil {
				hosts[addr] = string(h.Inner)
			}
		}
	}
	return hosts
}
