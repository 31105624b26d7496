package discovery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"assay/attest"
	"assay/devices"
	"assay/devices/network"
)

// Units that were found are asked who they are over HTTP and the sockets of
// cameras, by package network: its allowlist is all that can be sent, and no
// login is offered. What comes of it is one more answer of the row.
//
// A unit is asked once, by one connection at a time. Together with the probing,
// or with its description, that is at most two sockets. All units share one
// rate of requests.

// Identify is how units are identified. The zero value works.
type Identify struct {
	Units int // at once; 64 when 0
	Rate  int // requests and connections a second to all units together; 500 when 0
	// Patience is how long one unit may take in all; 2 min when 0. What it said
	// until then is kept.
	Patience time.Duration
	// Compare finds what cannot all be true of what a unit said; nil finds nothing.
	Compare func([]attest.Claim, []attest.Mark) []attest.Contradiction
}

// Identified is how far identifying a unit came.
type Identified struct {
	At       netip.Addr       `json:"at"` // the address that was asked
	Requests int              `json:"requests"`
	Problems []attest.Problem `json:"problems,omitempty"`
}

// IdentifySummary is what identifying came to.
type IdentifySummary struct {
	Units     int     `json:"units"` // that were asked
	Spoke     int     `json:"spoke"` // of them, those that said anything
	Requests  int     `json:"requests"`
	PerSecond float64 `json:"perSecond"` // requests, from the first to the last
	AtOnce    int     `json:"atOnce"`    // units, at most
}

// identifyName is the pseudo-protocol of what identifying brought.
const identifyName = "identify"

// Bounds on what one unit may make a run keep.
const (
	maxIdentifyClaims   = 150
	maxIdentifyMarks    = 64
	maxIdentifyProblems = 10
	maxIdentifyChildren = 64
	maxIdentifyText     = 512
)

// identifier asks units, so many at once.
type identifier struct {
	run  *run
	o    Identify
	pace *pacer

	waiting map[int]*lead       // rows to ask, by id; of the shower's goroutine
	known   map[netip.Addr]bool // addresses that were asked or are next
	queue   chan *lead
	left    atomic.Int64 // leads that are queued or asked
	working sync.WaitGroup

	mu          sync.Mutex
	sum         IdentifySummary
	now         int
	first, last time.Time
}

// lead is a unit to ask.
type lead struct {
	at   netip.Addr
	web  []int // ports of its web servers; 0 is the usual ones
	open []int // ports that accepted a connection
}

func (r *run) newIdentifier() *identifier {
	if r.o.Identify == nil {
		return nil
	}
	i := &identifier{run: r, o: *r.o.Identify, waiting: map[int]*lead{}, known: map[netip.Addr]bool{}}
	i.o.Units = cmp.Or(max(i.o.Units, 0), 64)
	i.o.Patience = cmp.Or(max(i.o.Patience, 0), 2*time.Minute)
	i.pace = newPacer(cmp.Or(max(i.o.Rate, 0), 500))
	i.queue = make(chan *lead, r.table.limit.Answers) // there are no more rows than answers
	for range i.o.Units {
		i.working.Go(i.work)
	}
	return i
}

// consider notes a row that is to be asked: a camera or recorder, or something
// that accepts connections on the ports of cameras and does not say what it is.
// What says that it is something else is left alone.
func (i *identifier) consider(u *Unit) {
	for _, id := range u.Replaces {
		delete(i.waiting, id)
	}
	if !u.Kind.Surveillance() && (u.Kind != KindUnknown || len(u.Open) == 0) {
		delete(i.waiting, u.ID)
		return
	}
	if slices.ContainsFunc(u.Address, func(a netip.Addr) bool { return i.known[a] }) {
		delete(i.waiting, u.ID)
		return
	}
	at := slices.IndexFunc(u.Address, func(a netip.Addr) bool { return !a.Is6() || !a.IsLinkLocalUnicast() })
	if at < 0 {
		if len(u.Address) > 0 {
			i.run.problem(attest.ProblemIncomplete, identifyName, "%s has an address of the link only: not identified", u.Address[0])
		}
		return
	}
	i.waiting[u.ID] = &lead{u.Address[at], webPorts(u, u.Address[at]), u.Open}
}

// webPorts are where the web server and the ONVIF service of a unit are, as far
// as is known: at most two, since each costs a round of requests.
func webPorts(u *Unit, at netip.Addr) []int {
	ports := []int{}
	usual := len(u.Open) == 0 || slices.Contains(u.Open, 80) || slices.Contains(u.Open, 443)
	if usual {
		ports = append(ports, 0)
	}
	for _, s := range u.Services {
		x, err := url.Parse(s)
		if err != nil || x.Scheme != "http" && x.Scheme != "https" || x.Hostname() != at.String() {
			continue
		}
		if n, err := strconv.Atoi(x.Port()); err == nil && n != 80 && n != 443 {
			ports = append(ports, n)
		}
	}
	if !usual {
		for _, n := range []int{8899, 8080, 2020, 88, 5000, 6688, 10080} {
			if slices.Contains(u.Open, n) && !slices.Contains(ports, n) {
				ports = append(ports, n)
			}
		}
	}
	if len(ports) == 0 {
		ports = append(ports, 0)
	}
	return ports[:min(len(ports), 2)]
}

// next queues the rows whose probing is done, so that what is known of their
// ports spares them connections.
func (i *identifier) next() {
	for id, l := range i.waiting {
		if !i.run.probedYet(l.at) {
			continue
		}
		delete(i.waiting, id)
		if !i.known[l.at] && len(i.known) < cap(i.queue) {
			i.known[l.at] = true
			i.left.Add(1)
			i.queue <- l
		}
	}
}

// idle reports whether there is nothing left to ask.
func (i *identifier) idle() bool { return i == nil || len(i.waiting) == 0 && i.left.Load() == 0 }

// stop waits for the units that are being asked; the context has ended, or
// nothing is left.
func (i *identifier) stop() {
	if i != nil {
		close(i.queue)
		i.working.Wait()
	}
}

func (i *identifier) work() {
	for l := range i.queue {
		if i.run.ctx.Err() == nil {
			i.ask(l)
		}
		i.left.Add(-1)
	}
}

// ask identifies one unit and keeps what it says as an answer.
func (i *identifier) ask(l *lead) {
	ctx, stop := context.WithTimeout(i.run.ctx, i.o.Patience)
	defer stop()
	if !i.run.hosts.acquire(ctx, l.at) {
		return
	}
	defer i.run.hosts.release(l.at)
	i.begin()
	defer i.end()
	f := &findings{keep: i.run.o.Keep, answer: &answer{protocol: identifyName, kind: KindUnknown, identified: &Identified{At: l.at}}}
	requests := 0
	turn := func(ctx context.Context) error {
		if !i.pace.wait(ctx) {
			return ctx.Err()
		}
		requests++
		i.request()
		return nil
	}
	for n, port := range l.web {
		o := network.Options{Rules: i.run.o.Rules, Turn: turn}
		if n > 0 {
			o.Ports = map[string][]int{} // the sockets were asked with the first
		} else {
			o.Ports = i.run.socketPorts(l)
		}
		t := devices.Target{Kind: devices.KindNetwork, Host: l.at.String(), Port: port}
		err := network.Open(t, o).Identify(ctx, f)
		switch {
		case i.run.ctx.Err() != nil:
			f.Problem(attest.ProblemIncomplete, identifyName, "stopped early")
		case ctx.Err() != nil:
			f.Problem(attest.ProblemIncomplete, identifyName, fmt.Sprintf("given up after %s", i.o.Patience))
		case err != nil && !(n > 0 && errors.Is(err, devices.ErrUnreachable)):
			f.Problem(devices.ProblemKindOf(err), identifyName, plain(err))
		}
		if ctx.Err() != nil {
			break
		}
	}
	a := f.finish()
	a.identified.Requests = requests
	if i.run.table.keep(a, l.at, "", time.Now()) && len(a.claims) > 0 {
		i.mu.Lock()
		i.sum.Spoke++
		i.mu.Unlock()
	}
}

func (i *identifier) begin() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.sum.Units++
	i.now++
	i.sum.AtOnce = max(i.sum.AtOnce, i.now)
}

func (i *identifier) end() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.now--
}

func (i *identifier) request() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.last = time.Now()
	if i.sum.Requests == 0 {
		i.first = i.last
	}
	i.sum.Requests++
}

func (i *identifier) summary() *IdentifySummary {
	if i == nil {
		return nil
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	s := i.sum
	if took := i.last.Sub(i.first).Seconds(); took > 0 {
		s.PerSecond = float64(s.Requests-1) / took
	}
	return &s
}

// state is how many units are to be asked, and how many were.
func (i *identifier) state() (all, done int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.sum.Units - i.now + int(i.left.Load()) + len(i.waiting), i.sum.Units - i.now
}

// probedYet reports whether the probing of an address is over, or was never to be.
func (r *run) probedYet(a netip.Addr) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.probing || r.done[a] || !slices.ContainsFunc(r.o.Networks, func(n netip.Prefix) bool { return n.Contains(a) })
}

// socketPorts are where the protocols with a socket of their own are asked: at
// their usual ports, without those that probing saw closed.
func (r *run) socketPorts(l *lead) map[string][]int {
	closed := func(port int) bool {
		return len(l.open) > 0 && slices.Contains(r.o.Ports, port) && !slices.Contains(l.open, port)
	}
	ports := map[string][]int{}
	for scheme, usual := range network.UsualPorts() {
		for _, n := range usual {
			if !closed(n) {
				ports[scheme] = append(ports[scheme], n)
			}
		}
	}
	return ports
}

// findings is the sink of one unit: it makes one answer of what the unit says,
// bounded.
type findings struct {
	mu     sync.Mutex
	answer *answer
	keep   func(attest.Digest, string, []byte)
	lost   int
}

var _ devices.ChildSink = (*findings)(nil)

func (f *findings) Artefact(_, what string, raw []byte) attest.Digest {
	d := attest.DigestOf(raw)
	if f.keep != nil {
		f.keep(d, what, raw)
	}
	return d
}

func (f *findings) Claim(c attest.Claim) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.answer.claims) >= maxIdentifyClaims {
		f.lost++
		return ""
	}
	c.Value, c.Source = short(c.Value), short(c.Source)
	if !slices.Contains(f.answer.claims, c) {
		f.answer.claims = append(f.answer.claims, c)
	}
	return fmt.Sprintf("i%d", len(f.answer.claims))
}

func (f *findings) Mark(m attest.Mark) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.answer.marks) >= maxIdentifyMarks {
		f.lost++
		return ""
	}
	m.Match, m.Source = short(m.Match), short(m.Source)
	f.answer.marks = append(f.answer.marks, m)
	return ""
}

func (f *findings) Child(c attest.Child) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.answer.children) >= maxIdentifyChildren {
		f.lost++
		return ""
	}
	for _, s := range []*string{&c.Slot, &c.Maker, &c.Model, &c.Serial, &c.Firmware, &c.Address, &c.MAC, &c.Protocol, &c.Source} {
		*s = short(*s)
	}
	c.Channel = "network:" + f.answer.identified.At.String()
	c.ID = fmt.Sprintf("k%d", len(f.answer.children)+1)
	f.answer.children = append(f.answer.children, c)
	return c.ID
}

func (f *findings) Problem(kind attest.ProblemKind, source, says string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := attest.Problem{Kind: kind, Channel: "network:" + f.answer.identified.At.String(), Source: source, Says: short(says)}
	if at := &f.answer.identified.Problems; len(*at) < maxIdentifyProblems {
		*at = append(*at, p)
	}
}

func short(s string) string { return s[:min(len(s), maxIdentifyText)] }

// webOnly are the protocols that anything may speak.
var webOnly = []string{"http", "https", "rtsp", "rtsps", "ssh", "telnet", "ftp", "snmp"}

// finish says what the unit is, and by what it may be joined to other answers.
func (f *findings) finish() *answer {
	f.mu.Lock()
	defer f.mu.Unlock()
	a := f.answer
	if f.lost > 0 {
		a.identified.Problems = append(a.identified.Problems, attest.Problem{Kind: attest.ProblemHostile, Channel: "network:" + a.identified.At.String(),
			Source: identifyName, Says: fmt.Sprintf("%d more claims and marks than are kept of one unit", f.lost)})
	}
	for _, c := range a.claims {
		switch {
		case c.Name == attest.NameProtocol && !slices.Contains(webOnly, c.Value):
			a.role(KindCamera)
		case c.Name == attest.NameRecorder:
			a.role(KindRecorder)
		case c.Name == attest.NameMAC && len(a.macs) < 8 && !slices.Contains(a.macs, c.Value):
			a.macs = append(a.macs, c.Value)
		case c.Subject == attest.SubjectUnit && c.Name == attest.NameSerial && a.serial == "":
			a.serial = c.Value
		}
	}
	for _, m := range a.marks { // recog's name makers of everything
		if !strings.HasPrefix(m.Rule, "recog") && (m.Subject == attest.SubjectUnit || m.Subject == attest.SubjectFirmware) {
			a.role(KindCamera)
		}
	}
	a.raw = attest.DigestOf([]byte(identifyName + " " + a.identified.At.String()))
	return a
}

// compared are the contradictions of an identified row that the row's own
// comparison has not said in other words.
func (r *run) compared(u *Unit) []Disagreement {
	if u.Identified == nil || r.o.Identify == nil || r.o.Identify.Compare == nil {
		return nil
	}
	raw := map[string]attest.Digest{}
	for _, c := range u.Claims {
		raw[c.ID] = c.Raw
	}
	for _, m := range u.Marks {
		raw[m.ID] = m.Raw
	}
	var out []Disagreement
	for _, x := range r.o.Identify.Compare(u.Claims, u.Marks) {
		if slices.Contains(saidAlready, x.Rule) && slices.ContainsFunc(u.Against, func(d Disagreement) bool { return d.Name == x.Name }) {
			continue
		}
		d := Disagreement{Name: x.Name, Says: x.Says}
		for _, s := range x.Sides {
			d.Sides = append(d.Sides, Side{s.Value, s.Source, raw[s.Ref]})
		}
		out = append(out, d)
	}
	return out
}

// saidAlready are the rules of collecting that compare what [run.disagreements]
// compares too.
var saidAlready = []string{"two-makers", "same-value", "label-against-marks", "marks-of-two-makers"}
