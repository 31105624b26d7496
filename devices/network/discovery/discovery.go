// Package discovery finds the cameras of a network and says of each what its
// answers say, in one row for a unit.
//
// It asks in three ways: multicast and broadcast questions of the protocols
// that cameras answer, on every interface; the table of neighbours that the
// operating system keeps; and, for networks that are given, paced connections
// to the ports that cameras listen on. Each protocol is one file, which names
// the source of its facts.
//
// Only the datagrams of one list can be sent (gate.go); each of them asks, and
// none changes, activates or resets anything. No login is ever offered. All of
// what comes back is the unit's word (acquisition A0), over a transport on
// which anyone can answer in anyone's name: a row is a lead, not evidence about
// a unit, and what is found here is to be identified and appraised next.
package discovery

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"assay/attest"
	"assay/devices"
	"assay/devices/fingerprint"
)

// Options are the settings of a run. The zero value listens on every interface
// that is up, but for the loopback, and probes nothing.
type Options struct {
	// Interfaces are the names to use; all that are up when empty. The loopback
	// is used only when it is named.
	Interfaces []string
	// Networks are probed address by address.
	Networks []netip.Prefix
	// Window is how long answers are waited for; 5 s when 0.
	Window time.Duration
	// Protocols are the names to use; all when empty.
	Protocols []string
	// Ports are probed over TCP; [Ports] when nil, none when empty.
	Ports []int
	// Rate is how many packets a second the probing may send in all; 500 when 0.
	Rate int
	// MaxPackets bounds what the probing sends; 200,000 when 0. A network that
	// is too large for it is asked less of each silent address, and the summary
	// says so.
	MaxPackets int
	// Timeout is how long a connection is waited for; 900 ms when 0, which is
	// below the time after which a kernel sends its packet again.
	Timeout time.Duration
	// NoDescriptions leaves UPnP descriptions unread.
	NoDescriptions bool
	// NoNeighbours leaves the operating system's table of neighbours unread.
	NoNeighbours bool
	// Rules are the fingerprints; the embedded ones when nil.
	Rules *fingerprint.Rules
	// Makers knows prefixes and names; nobody does when nil.
	Makers Makers
	// Keep is given each different raw answer that is behind a row. It is
	// called from several goroutines.
	Keep func(digest attest.Digest, what string, raw []byte)
	// Progress is told how far the run is, a few times a second.
	Progress func(Progress)
	// Identify asks units that were found who they are; nil asks none.
	Identify *Identify
	// Limit bounds what is kept of all answers; [DefaultLimit] when zero, or
	// [IdentifyLimit] where units are identified.
	Limit Limit
}

// Makers is what the caller knows of makers and address prefixes.
type Makers interface {
	// Owner is who registered the prefix of a MAC address, and the id of that
	// maker, or empty.
	Owner(mac string) (registrant, entity string)
	// House is the id of the topmost company of a maker, given by its id or by
	// a name that a unit used; empty when it is not known.
	House(name string) string
}

// Progress is how far a run is.
type Progress struct {
	Stage   string // "listening", "probing", "identifying"
	Elapsed time.Duration
	Left    time.Duration // of the window, or of the probing at its rate
	Sent    int           // packets, both ways of asking
	Answers int           // datagrams that came
	Units   int           // rows
	Probed  int           // addresses that are done
	Hosts   int           // addresses to probe in all
	PerSec  float64       // addresses a second

	Identified, ToIdentify int // units that were asked, and those that are next
}

// Summary is what a run came to.
type Summary struct {
	Started    time.Time        `json:"started"`
	Ended      time.Time        `json:"ended"`
	Interfaces []string         `json:"interfaces"`
	Sent       map[string]int   `json:"sent"`     // packets by protocol
	Received   map[string]int   `json:"received"` // datagrams by protocol
	Units      int              `json:"units"`
	Probed     int              `json:"probed"`
	Hosts      int              `json:"hosts"`
	Silent     int              `json:"silent"` // addresses that gave no sign of life
	Neighbours int              `json:"neighbours"`
	Lost       Lost             `json:"lost"`
	Identified *IdentifySummary `json:"identified,omitempty"`
	Problems   []attest.Problem `json:"problems,omitempty"`
}

// errNoInterface is a run that has nothing to ask on.
var errNoInterface = fmt.Errorf("%w: no interface is up that could be asked on", devices.ErrUnreachable)

// OptionError is a mistake in the options.
type OptionError struct{ says string }

func (e *OptionError) Error() string { return e.says }

func optionError(format string, args ...any) error {
	return &OptionError{fmt.Sprintf(format, args...)}
}

// Run finds units until the window and the probing have ended, and gives each
// row to each when it is new and whenever it changed, from one goroutine. When
// ctx ends early the rows so far are given and the error wraps the context's.
func Run(ctx context.Context, o Options, each func(Unit)) (*Summary, error) {
	r, err := newRun(o)
	if err != nil {
		return nil, err
	}
	return r.run(ctx, each)
}

type run struct {
	o       Options
	table   *table
	ifaces  []iface
	started time.Time
	hosts   *hostGate
	pace    *pacer
	queue   queue

	mu       sync.Mutex
	sent     map[string]int
	problems []attest.Problem
	probed   int // addresses done
	total    int // addresses to probe
	silent   int
	fetched  map[string]bool // descriptions that were asked for
	fetching sync.WaitGroup
	inFlight int // descriptions on their way
	ctx      context.Context
	until    time.Time // when waiting for answers ends
	probing  bool
	done     map[netip.Addr]bool // addresses that gave a sign of life and were probed

	identifying *identifier
}

func newRun(o Options) (*run, error) {
	if o.Window <= 0 {
		o.Window = 5 * time.Second
	}
	if o.Ports == nil {
		o.Ports = Ports
	}
	if o.Rate <= 0 {
		o.Rate = 500
	}
	if o.MaxPackets <= 0 {
		o.MaxPackets = 200_000
	}
	if o.Timeout <= 0 {
		o.Timeout = 900 * time.Millisecond
	}
	if o.Rules == nil {
		o.Rules = fingerprint.Embedded()
	}
	for _, p := range o.Ports {
		if p < 1 || p > 65535 {
			return nil, optionError("port %d is not from 1 to 65535", p)
		}
	}
	for _, name := range o.Protocols {
		if !slices.ContainsFunc(protocols, func(p *protocol) bool { return p.name == name }) {
			return nil, optionError("no protocol %q: there are %s", name, strings.Join(Protocols(), ", "))
		}
	}
	for _, n := range o.Networks {
		if !n.IsValid() {
			return nil, optionError("a network is not valid")
		}
		if size(n) > maxHosts {
			return nil, optionError("network %s: more than %d addresses: name smaller ones", n, maxHosts)
		}
	}
	if o.Identify != nil && o.Limit == (Limit{}) {
		o.Limit = IdentifyLimit
	}
	r := &run{
		o: o, table: newTable(o.Limit), sent: map[string]int{}, fetched: map[string]bool{}, done: map[netip.Addr]bool{},
		hosts: newHostGate(2), pace: newPacer(o.Rate), queue: queue{waiting: make(chan datagram, maxQueued)},
	}
	var err error
	r.ifaces, err = interfaces(o.Interfaces)
	return r, err
}

func (r *run) run(parent context.Context, each func(Unit)) (*Summary, error) {
	ctx, stop := context.WithCancel(parent)
	defer stop()
	r.ctx, r.started = ctx, time.Now()
	r.until = r.started.Add(r.o.Window)
	sockets := r.open()
	if len(sockets) == 0 && len(r.o.Networks) == 0 {
		return nil, errNoInterface
	}
	r.identifying = r.newIdentifier()
	var readers, parsers, work sync.WaitGroup
	for _, s := range sockets {
		readers.Go(func() { s.read(r) })
	}
	for range 2 {
		parsers.Go(func() { r.queue.parse(r) })
	}
	if !r.o.NoNeighbours {
		r.neighbours()
	}
	work.Go(func() { r.ask(ctx, sockets) })
	if len(r.o.Networks) > 0 {
		r.probing = true
		work.Go(func() { r.probe(ctx, sockets) })
	}
	asked := make(chan struct{})
	go func() { work.Wait(); close(asked) }()

	show := &shower{run: r, each: each, shown: map[int]string{}}
	r.wait(ctx, asked, show)
	lost := dropped(sockets)
	stop()
	for _, s := range sockets {
		s.conn.Close()
	}
	readers.Wait()
	close(r.queue.waiting)
	parsers.Wait()
	<-asked
	r.fetching.Wait()
	r.identifying.stop()
	r.table.lost.Busy += lost
	if !r.o.NoNeighbours {
		r.neighbours()
	}
	show.update()
	summary := r.summary(show.rows)
	if err := parent.Err(); err != nil {
		return summary, fmt.Errorf("discovery stopped early: %w", err)
	}
	return summary, nil
}

// wait shows rows as they come until the window has ended and everything was
// asked, or ctx ends.
func (r *run) wait(ctx context.Context, asked <-chan struct{}, show *shower) {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	done := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-asked:
			asked, done = nil, true
		case <-tick.C:
		}
		show.tick()
		r.mu.Lock()
		until, inFlight := r.until, r.inFlight
		r.mu.Unlock()
		switch now := time.Now(); {
		case !done || now.Before(until):
		case !r.identifying.idle() || show.more(): // units may be found by the last answers
		case inFlight == 0, now.After(until.Add(descriptionPatience)):
			return
		}
	}
}

func (r *run) problem(kind attest.ProblemKind, source, format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := attest.Problem{Kind: kind, Channel: "network", Source: source, Says: fmt.Sprintf(format, args...)}
	if len(r.problems) < 200 && !slices.Contains(r.problems, p) {
		r.problems = append(r.problems, p)
	}
}

func (r *run) count(protocol string, n int) {
	r.mu.Lock()
	r.sent[protocol] += n
	r.mu.Unlock()
}
