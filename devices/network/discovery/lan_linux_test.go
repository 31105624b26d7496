package discovery

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"assay/attest"
	simulated "assay/devices/simulator/discovery"
	"assay/internal/peer"
)

// The tests in this file have a network of their own: two namespaces joined by
// a virtual cable, with units of the simulator, or programs that we did not
// write, at the other end. This test binary runs itself again on each side.
const (
	sideVariable = "ASSAY_DISCOVERY_TEST_SIDE" // "near" asks, "far" has the units
	unitsVar     = "ASSAY_DISCOVERY_TEST_UNITS"
)

// near runs the calling test again in a namespace of its own and returns true
// there; outside it reports what came of it and returns false.
func near(t *testing.T) bool {
	t.Helper()
	if os.Getenv(sideVariable) == "near" {
		return true
	}
	unshare, ip := peer.Need(t, "unshare", "util-linux"), peer.Need(t, "ip", "iproute2")
	flags := []string{"-n"}
	if os.Getuid() != 0 {
		flags = []string{"-rn"}
	}
	if out, err := exec.Command(unshare, append(flags, ip, "link", "add", "v0", "type", "veth", "peer", "name", "v1")...).CombinedOutput(); err != nil {
		t.Skipf("no network namespace of one's own can be made here: %v: %s", err, out)
	}
	t.Parallel() // each has a network of its own
	c := exec.Command(unshare, append(flags, os.Args[0], "-test.run", "^"+t.Name()+"$", "-test.v", "-test.count=1")...)
	c.Env = append(os.Environ(), sideVariable+"=near")
	out, err := c.CombinedOutput()
	switch {
	case err != nil:
		t.Errorf("in its own network: %v\n%s", err, out)
	case bytes.Contains(out, []byte("--- SKIP: "+t.Name())):
		t.Skipf("in its own network:\n%s", out)
	default:
		t.Logf("%s", out)
	}
	return false
}

func command(t testing.TB, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v: %s", name, args, err, out)
	}
}

// far is the other end of the cable.
type far struct {
	in  io.WriteCloser
	out *bufio.Scanner
}

// ask sends a word and returns the line that comes back.
func (f *far) ask(t *testing.T, word string) string {
	t.Helper()
	fmt.Fprintln(f.in, word)
	for f.out.Scan() {
		if answer, ok := strings.CutPrefix(f.out.Text(), "far: "); ok {
			return answer
		}
	}
	t.Fatal("the other end is gone")
	return ""
}

// cable joins this namespace to one with the units at 192.0.2.1, .2 and so on.
func cable(t *testing.T, units ...string) *far {
	t.Helper()
	c := exec.Command("unshare", "-n", os.Args[0], "-test.run", "^TestFarSide$", "-test.count=1", "-test.v")
	c.Env = append(os.Environ(), sideVariable+"=far", unitsVar+"="+strings.Join(units, " "))
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.Stderr = os.Stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	f := &far{in: in, out: bufio.NewScanner(out)}
	f.out.Buffer(nil, 16<<20)
	t.Cleanup(func() { in.Close(); go io.Copy(io.Discard, out); c.Wait() })
	f.ask(t, "hello")
	command(t, "ip", "link", "set", "lo", "up")
	command(t, "ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1")
	command(t, "ip", "link", "set", "v1", "netns", strconv.Itoa(c.Process.Pid))
	command(t, "ip", "addr", "add", "192.0.2.250/24", "dev", "v0")
	command(t, "ip", "link", "set", "v0", "up")
	if got := f.ask(t, "start"); got != "ready" {
		t.Fatal(got)
	}
	for range 50 { // the link-local address is tentative for a while
		if out, _ := exec.Command("ip", "-6", "addr", "show", "dev", "v0").Output(); bytes.Contains(out, []byte("fe80")) && !bytes.Contains(out, []byte("tentative")) {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	return f
}

func addressOf(n int) string { return fmt.Sprintf("192.0.2.%d", n) }

// TestFarSide is the other end of the cable and no test by itself.
func TestFarSide(t *testing.T) {
	if os.Getenv(sideVariable) != "far" {
		t.Skip("runs as the other end of TestLAN…")
	}
	say := func(format string, args ...any) { fmt.Printf("far: "+format+"\n", args...) }
	words := bufio.NewScanner(os.Stdin)
	var fleet *simulated.Fleet
	for words.Scan() {
		switch word := words.Text(); word {
		case "hello":
			say("hello")
		case "start":
			command(t, "ip", "link", "set", "lo", "up")
			command(t, "ip", "link", "set", "v1", "address", "00:00:5e:00:53:fe")
			command(t, "ip", "link", "set", "v1", "up")
			var placed []*simulated.Placed
			for i, name := range strings.Fields(os.Getenv(unitsVar)) {
				command(t, "ip", "addr", "add", addressOf(i+1)+"/24", "dev", "v1")
				if name == "-" {
					continue
				}
				u, err := simulated.Load(name)
				if err != nil {
					t.Fatal(err)
				}
				placed = append(placed, &simulated.Placed{Unit: u, N: i + 1, Addr: netip.MustParseAddr(addressOf(i + 1))})
			}
			if len(placed) > 0 {
				var err error
				if fleet, err = simulated.Start(t.Context(), "v1", placed...); err != nil {
					t.Fatal(err)
				}
				defer fleet.Close()
			}
			say("ready")
		case "heard":
			b, _ := json.Marshal(fleet.Heard())
			say("%s", b)
		case "asked":
			b, _ := json.Marshal(fleet.Asked())
			say("%s", b)
		default: // a program to run, until the end
			p := exec.Command("sh", "-c", word)
			log, _ := os.Create(filepath.Join(os.TempDir(), "far-"+strconv.Itoa(os.Getpid())+".log"))
			p.Stdout, p.Stderr = log, log
			if err := p.Start(); err != nil {
				say("%v", err)
				continue
			}
			defer func() { p.Process.Kill(); p.Wait(); log.Close(); os.Remove(log.Name()) }()
			say("started")
		}
	}
}

// found runs a discovery and returns the rows as they were last.
func found(t *testing.T, o Options) (map[string]Unit, *Summary) {
	t.Helper()
	if o.Window == 0 {
		o.Window = 2500 * time.Millisecond
	}
	rows := map[int]Unit{}
	s, err := Run(context.Background(), o, func(u Unit) {
		for _, id := range u.Replaces {
			delete(rows, id)
		}
		rows[u.ID] = u
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != s.Units {
		t.Errorf("%d rows were shown, %d are in the summary", len(rows), s.Units)
	}
	out := map[string]Unit{}
	for _, u := range rows {
		key := u.where()
		for out[key].ID != 0 {
			key += "'"
		}
		out[key] = u
	}
	return out, s
}

func TestLANFindsEveryUnit(t *testing.T) {
	if !near(t) {
		return
	}
	want := []struct {
		name, entity, model, serial string
		kind                        Kind
		seen                        []string
		state                       string
		against                     []string
	}{
		{"hikvision", "hikvision", "NG-C4000-I", "NG-C4000-I20190314CCRRA00000001", KindCamera, []string{"sadp", "ws-discovery"}, "", nil},
		{"hikvision-new", "hikvision", "DS-7616NI-X", "DS-7616NI-X1620230314CCRRB00000002WCVU", KindRecorder, []string{"sadp"}, "not activated", []string{"address"}},
		{"dahua", "dahua", "IPC-HX4000", "4X00000PAG000003", KindCamera, []string{"dhip"}, "not activated", nil},
		{"onvif", "", "FL-200", "", KindCamera, []string{"ws-discovery"}, "", nil},
		{"axis", "axis", "AXIS M5014", "02A55A000005", KindCamera, []string{"mdns", "ssdp", "upnp"}, "", nil},
		{"hanwha", "hanwha", "XNF-9010RV", "", KindCamera, []string{"hanwha"}, "", nil},
		{"bosch", "keenfinity", "FLEXIDOME 5100i", "4047547340010000007", KindCamera, []string{"bosch"}, "", nil},
		{"vivotek", "vivotek", "FD8166", "", KindCamera, []string{"vivotek"}, "", nil},
		{"sony", "sony", "SNC-X100", "40000009", KindCamera, []string{"sony"}, "", nil},
		{"ipro", "ipro", "WV-S1536L", "", KindCamera, []string{"ipro"}, "", nil},
		{"xiongmai", "xiongmai", "", "aabbccddee000011", KindCamera, []string{"xiongmai"}, "", nil},
		{"foscam", "", "", "02A55A00000C", KindCamera, []string{"foscam"}, "", nil},
		{"dlink", "", "DCS-932L", "", KindCamera, []string{"dlink"}, "", nil},
		{"vstarcam", "", "", "VSTA000014ABCDE", KindCamera, []string{"vstarcam"}, "", nil},
		{"360vision", "360vision", "IPDOME", "90000157", KindCamera, []string{"360vision"}, "", nil},
		{"ubiquiti", "ubiquiti", "U7PG2", "", KindOther, []string{"ubiquiti"}, "", nil},
		{"gige-vision", "", "FL-M5", "M5000017", KindCamera, []string{"gige-vision"}, "", nil},
		{"dahua-v1", "dahua", "IPC-F1000", "PZC3EW000018", KindCamera, []string{"dahua-v1"}, "", nil},
		{"relabelled", "hikvision", "DS-2CD2042WD-I", "DS-2CD2042WD-I20160402AACHA00000019", KindCamera, []string{"dhip", "sadp"}, "", []string{"serial", "model", "version", "maker", "mac"}},
	}
	var names []string
	for _, w := range want {
		names = append(names, w.name)
	}
	f := cable(t, names...)
	var mu sync.Mutex
	var kept []attest.Digest
	rows, s := found(t, Options{Keep: func(d attest.Digest, _ string, b []byte) {
		if attest.DigestOf(b) != d {
			t.Error("a digest that is not of its bytes")
		}
		mu.Lock()
		defer mu.Unlock()
		kept = append(kept, d)
	}})
	for i, w := range want {
		u, ok := rows[addressOf(i+1)]
		if !ok {
			t.Errorf("%s at %s was not found", w.name, addressOf(i+1))
			continue
		}
		seen := slices.Sorted(slices.Values(slices.DeleteFunc(slices.Clone(u.Seen), func(p string) bool { return p == neighbourName })))
		if u.Maker.Entity != w.entity || u.Model != w.model || u.Serial != w.serial || u.Kind != w.kind || u.State != w.state || !slices.Equal(seen, w.seen) {
			t.Errorf("%s: maker %q model %q serial %q kind %q state %q seen %v\nwant %+v", w.name, u.Maker.Entity, u.Model, u.Serial, u.Kind, u.State, seen, w)
		}
		var against []string
		for _, d := range u.Against {
			// All units of the simulator sit on one network card, which is not theirs.
			if d.Name == "mac" && !slices.Contains(w.against, "mac") && slices.ContainsFunc(d.Sides, func(s Side) bool { return strings.HasPrefix(s.Source, neighbourName) }) {
				t.Errorf("%s: the card's address before many units is held against one: %v", w.name, d)
			}
			if !slices.Contains(against, d.Name) {
				against = append(against, d.Name)
			}
			for _, x := range d.Sides {
				if x.Value == "" || x.Source == "" || x.Raw == "" && d.Name != "address" {
					t.Errorf("%s: %s: a side without what it says: %+v", w.name, d.Name, x)
				}
			}
		}
		if !slices.Equal(against, w.against) {
			t.Errorf("%s: contradictions %v, want %v", w.name, against, w.against)
		}
		for _, c := range u.Claims {
			if c.Raw != "" && !slices.Contains(kept, c.Raw) && c.Source != "neighbour table" {
				t.Errorf("%s: the raw answer behind %s %s was not kept", w.name, c.Name, c.Source)
			}
		}
	}
	if len(rows) != len(want) {
		t.Errorf("%d rows for %d units", len(rows), len(want))
	}
	var heard []simulated.Heard
	if err := json.Unmarshal([]byte(f.ask(t, "heard")), &heard); err != nil || len(heard) == 0 {
		t.Fatal(len(heard), err)
	}
	for _, h := range heard {
		if h.From == netip.MustParseAddr("192.0.2.250") && !allowed(h.Port, h.Bytes) {
			t.Errorf("port %d heard %q, which is no question", h.Port, h.Bytes[:min(len(h.Bytes), 80)])
		}
	}
	for _, p := range s.Problems {
		t.Errorf("problem: %+v", p)
	}
	t.Logf("sent %v, received %v, lost %+v, neighbours %d", s.Sent, s.Received, s.Lost, s.Neighbours)
}

func TestLANBoundsHostileAnswers(t *testing.T) {
	if !near(t) {
		return
	}
	f := cable(t, "hostile-flood", "hostile-huge", "hostile-redirect", "hikvision")
	rows, s := found(t, Options{Limit: Limit{Answers: 20_000, PerSource: 32, Bytes: 64 << 20, Datagrams: 2_000}})
	if u := rows[addressOf(4)]; u.Maker.Entity != "hikvision" || u.Serial != "NG-C4000-I20190314CCRRA00000004" {
		t.Errorf("the honest unit was lost: %+v", u)
	}
	if s.Lost.PerSource == 0 || s.Lost.Deaf == 0 {
		t.Errorf("a flood of 10,000 answers, and the loss is not said: %+v", s.Lost)
	}
	flood := 0
	for where := range rows {
		if strings.HasPrefix(where, addressOf(1)) && strings.Trim(where, addressOf(1)+"'") == "" {
			flood++
		}
	}
	if flood > 40 {
		t.Errorf("%d rows for one address that floods", flood)
	}
	if u := rows[addressOf(2)]; u.Serial != "HUGE000002" {
		t.Errorf("the huge answer: %+v", u.Serial)
	}
	var asked map[string]int
	if err := json.Unmarshal([]byte(f.ask(t, "asked")), &asked); err != nil {
		t.Fatal(err)
	}
	for what, n := range asked {
		if strings.HasPrefix(what, "GET ") && (what != "GET /desc.xml" || n != 1) {
			t.Errorf("%s was asked for %d times", what, n)
		}
	}
	if asked["GET /desc.xml"] != 1 {
		t.Errorf("the harmless description was not asked for: %v", asked)
	}
	var says []string
	for _, p := range s.Problems {
		says = append(says, p.Says)
	}
	all := strings.Join(says, "\n")
	for _, want := range []string{"not the host that answered", "not a plain path", "status 302"} {
		if !strings.Contains(all, want) {
			t.Errorf("no problem says %q:\n%s", want, all)
		}
	}
}

func TestLANListsWhatIsNoCamera(t *testing.T) {
	if !near(t) {
		return
	}
	avahi := peer.Need(t, "avahi-daemon", "avahi-daemon")
	minidlna := peer.Need(t, "minidlnad", "minidlna")
	wsdd := peer.Need(t, "wsdd", "wsdd")
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	f := cable(t, "-")
	conf := write("avahi.conf", "[server]\nhost-name=printhost\nuse-ipv4=yes\nuse-ipv6=no\nenable-dbus=no\nallow-interfaces=v1\n[publish]\npublish-workstation=yes\n[rlimits]\n")
	dlna := write("minidlna.conf", "network_interface=v1\nmedia_dir="+dir+"\ndb_dir="+dir+"/db\nlog_dir="+dir+"\nfriendly_name=Attic\nport=8200\nserial=12345678\nmodel_number=1\n")
	for _, c := range []string{
		"exec " + avahi + " --no-drop-root --no-chroot --no-rlimits -f " + conf,
		"exec " + minidlna + " -S -f " + dlna + " -P " + dir + "/minidlna.pid",
		"exec " + wsdd + " -i v1 -n OFFICE-PC",
	} {
		if got := f.ask(t, c); got != "started" {
			t.Fatal(got)
		}
	}
	time.Sleep(4 * time.Second) // they probe for their names first
	rows, s := found(t, Options{Window: 5 * time.Second})
	u := rows[addressOf(1)]
	if u.Kind.Surveillance() || !slices.Contains(append(u.Roles, u.Kind), KindMediaServer) || !slices.Contains(append(u.Roles, u.Kind), KindComputer) {
		t.Errorf("the other machine is %s, %v, seen by %v", u.Kind, u.Roles, u.Seen)
	}
	for _, p := range []string{"mdns", "ssdp", "upnp", "ws-discovery"} {
		if !slices.Contains(u.Seen, p) {
			t.Errorf("%s did not see it: %v", p, u.Seen)
		}
	}
	if u.Maker.Entity != "" {
		t.Errorf("it counts as made by %s", u.Maker.Entity)
	}
	v6 := false
	for _, u := range rows {
		for _, a := range u.Address {
			v6 = v6 || a.Is6() && slices.Contains(u.Seen, "ws-discovery")
		}
	}
	if !v6 {
		t.Error("nothing answered over IPv6")
	}
	for where, u := range rows {
		t.Logf("%s: %s %v %q seen %v joined %v apart %v", where, u.Kind, u.Roles, u.Label, u.Seen, u.Joined, u.Apart)
	}
	t.Logf("received %v problems %v", s.Received, s.Problems)
}

// transmitted is how many packets left by an interface.
func transmitted(t *testing.T, name string) int {
	t.Helper()
	out, err := exec.Command("ip", "-j", "-s", "link", "show", "dev", name).Output() // /sys may be of another namespace
	var links []struct {
		Stats struct {
			TX struct{ Packets int }
		} `json:"stats64"`
	}
	if err != nil || json.Unmarshal(out, &links) != nil || len(links) != 1 {
		t.Fatalf("%v: %s", err, out)
	}
	return links[0].Stats.TX.Packets
}

func TestLANSilentNetworkCostsWhatWasSet(t *testing.T) {
	if !near(t) {
		return
	}
	cable(t, "-")
	command(t, "ip", "route", "add", "198.18.0.0/16", "via", addressOf(1))
	before := transmitted(t, "v0")
	_, s := found(t, Options{
		Window: 500 * time.Millisecond, Networks: []netip.Prefix{netip.MustParsePrefix("198.18.0.0/16")},
		Rate: 4000, MaxPackets: 3000, Timeout: 250 * time.Millisecond, Protocols: []string{"sadp"},
	})
	sent := transmitted(t, "v0") - before
	if s.Sent["tcp"] != 3000 || s.Hosts != 65534 || s.Probed != 3000 || s.Silent != 3000 {
		t.Errorf("%d packets to %d of %d addresses, %d silent", s.Sent["tcp"], s.Probed, s.Hosts, s.Silent)
	}
	// Beside the probes there are two rounds of one question, joining a group, and resolving the router.
	if sent < 2900 || sent > 3040 {
		t.Errorf("%d packets left the machine, 3,000 were set", sent)
	}
	if len(s.Problems) != 1 || !strings.Contains(s.Problems[0].Says, "62534 of 65534 addresses were not asked") {
		t.Errorf("what was left out is not said: %+v", s.Problems)
	}
}

func TestLANThousandUnitsAnswerOneMulticast(t *testing.T) {
	if testing.Short() || !near(t) {
		return
	}
	command(t, "ip", "link", "set", "lo", "up")
	command(t, "ip", "link", "set", "lo", "multicast", "on")
	command(t, "ip", "route", "add", "224.0.0.0/4", "dev", "lo")
	var placed []*simulated.Placed
	a := netip.MustParseAddr("127.84.0.1")
	for i := range 1000 {
		u, err := simulated.Load([]string{"hikvision", "dahua", "onvif", "relabelled"}[i%4])
		if err != nil {
			t.Fatal(err)
		}
		placed = append(placed, &simulated.Placed{Unit: u, N: i + 1, Addr: a})
		a = a.Next()
	}
	f, err := simulated.Start(t.Context(), "lo", placed...)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	_, s := found(t, Options{Interfaces: []string{"lo"}, Window: 4 * time.Second})
	sent := 0
	for _, n := range s.Sent {
		sent += n
	}
	// A round that is lost in full buffers is made up for by the second one.
	if s.Units != 1000 {
		t.Errorf("%d of 1,000 units", s.Units)
	}
	t.Logf("%s, %d packets sent, received %v, lost %+v", s.Ended.Sub(s.Started), sent, s.Received, s.Lost)
}
