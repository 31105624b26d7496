package discovery

import (
	"context"
	"errors"
	"math"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"syscall"
	"time"

	"assay/attest"
)

// Ports are those that cameras were seen to listen on in the field, the
// commonest first: HTTP, RTSP and HTTPS; Hikvision 8000; Dahua 37777; Xiongmai
// 34567 and its ONVIF 8899; ONVIF elsewhere 8080, 2020, 5000, 6688, 10080; RTSP
// over TLS 322; Reolink 9000; Foscam 88; UPnP 49152.
var Ports = []int{80, 554, 443, 8000, 37777, 34567, 8080, 8899, 2020, 322, 9000, 88, 5000, 6688, 10080, 49152}

// firstPorts is how many of the ports every address of a large network is asked
// on; the others are asked of what showed life.
const firstPorts = 3

// maxHosts is the largest network that can be given.
const maxHosts = 1 << 20

// size is how many addresses of a network are probed.
func size(p netip.Prefix) int {
	bits := p.Addr().BitLen() - p.Bits()
	if bits > 30 {
		return math.MaxInt
	}
	if p.Addr().Is4() && bits >= 2 {
		return 1<<bits - 2 // without the network's own and the broadcast address
	}
	return 1 << bits
}

// eachHost calls f for each address of a network until it returns false.
func eachHost(p netip.Prefix, f func(netip.Addr) bool) {
	a := p.Masked().Addr()
	if p.Addr().Is4() && p.Bits() <= 30 {
		a = a.Next()
	}
	for n := size(p); n > 0 && a.IsValid(); n-- {
		if !f(a) {
			return
		}
		a = a.Next()
	}
}

// plan is how much of each address can be asked within the bound on packets.
type plan struct {
	hosts  int
	asked  int  // addresses that are asked at all
	first  int  // ports of each
	all    bool // every port of each, and every question by UDP
	budget int  // packets left
}

func (r *run) plan(questions int) *plan {
	p := &plan{budget: r.o.MaxPackets}
	for _, n := range r.o.Networks {
		p.hosts += size(n)
	}
	p.asked = p.hosts
	switch ports := len(r.o.Ports); {
	case p.hosts*(ports+questions) <= p.budget:
		p.first, p.all = ports, true
	case ports == 0:
		p.asked = min(p.hosts, p.budget/max(questions, 1))
	default:
		p.first = min(ports, firstPorts, max(p.budget/p.hosts, 1))
		p.asked = min(p.hosts, p.budget/p.first)
	}
	return p
}

// probe asks every address of the networks, at the rate and within the number
// of packets that were set. It holds one connection to an address at a time.
func (r *run) probe(ctx context.Context, sockets []*socket) {
	defer func() {
		r.mu.Lock()
		r.probing = false
		if linger := time.Now().Add(min(r.o.Window, 2*time.Second)); linger.After(r.until) {
			r.until = linger
		}
		r.mu.Unlock()
	}()
	unicast := map[bool][]*socket{} // by whether it is of IPv6
	questions := 0
	for _, s := range sockets {
		if s.port == 0 && s.protocol.unicast {
			unicast[s.p6 != nil] = append(unicast[s.p6 != nil], s)
			if s.p6 == nil {
				for _, q := range s.protocol.requests {
					if q.over(false) {
						questions++
					}
				}
			}
		}
	}
	p := r.plan(questions)
	r.mu.Lock()
	r.total = p.hosts
	r.mu.Unlock()
	if p.asked < p.hosts {
		r.problem(attest.ProblemIncomplete, "tcp", "%d of %d addresses were not asked at all: %d packets are too few; raise the number or name smaller networks", p.hosts-p.asked, p.hosts, r.o.MaxPackets)
	} else if !p.all {
		r.problem(attest.ProblemIncomplete, "tcp", "addresses that gave no sign of life were asked on %d of %d ports, for %d packets do not reach for all of %d addresses", p.first, len(r.o.Ports), r.o.MaxPackets, p.hosts)
	}

	work := make(chan netip.Addr)
	var workers sync.WaitGroup
	// As many wait at once as the rate sends within the time that one waits.
	for range min(int(float64(r.o.Rate)*r.o.Timeout.Seconds())+16, 1000, p.asked) {
		workers.Go(func() {
			for a := range work {
				r.probeHost(ctx, p, a, unicast[a.Is6()])
			}
		})
	}
	asked := 0
	for _, n := range r.o.Networks {
		eachHost(n, func(a netip.Addr) bool {
			if asked++; asked > p.asked {
				return false
			}
			select {
			case work <- a:
				return true
			case <-ctx.Done():
				return false
			}
		})
	}
	close(work)
	workers.Wait()
}

// spend takes a packet from what may be sent and waits for its turn.
func (r *run) spend(ctx context.Context, p *plan, protocol string) bool {
	r.mu.Lock()
	ok := p.budget > 0
	if ok {
		p.budget--
		r.sent[protocol]++
	}
	r.mu.Unlock()
	return ok && r.pace.wait(ctx)
}

func (r *run) probeHost(ctx context.Context, p *plan, a netip.Addr, unicast []*socket) {
	var open []int
	alive, gone, asked := false, false, false
	for i, port := range r.o.Ports {
		if i >= p.first && !alive || ctx.Err() != nil {
			break
		}
		if alive && !asked {
			asked = true
			r.askHost(ctx, p, a, unicast)
		}
		if !r.spend(ctx, p, "tcp") {
			break
		}
		switch r.connect(ctx, a, port) {
		case accepted:
			open, alive = append(open, port), true
		case refused:
			alive = true
		case unreachable:
			gone = true
		}
		if gone && !alive {
			break
		}
	}
	if !asked && (alive || p.all && !gone || len(r.o.Ports) == 0) {
		r.askHost(ctx, p, a, unicast)
	}
	if len(open) > 0 {
		r.opened(a, open)
	}
	r.mu.Lock()
	r.probed++
	if alive {
		r.done[a] = true
	} else {
		r.silent++
	}
	r.mu.Unlock()
}

// askHost puts the questions that also work for one address.
func (r *run) askHost(ctx context.Context, p *plan, a netip.Addr, sockets []*socket) {
	for _, s := range sockets {
		for _, q := range s.protocol.requests {
			if !q.over(s.p6 != nil) {
				continue
			}
			if !r.spend(ctx, p, s.protocol.name) {
				return
			}
			if err := s.send(q.bytes(newUUID(q)), netip.AddrPortFrom(a, uint16(q.port)), nil); err != nil && !errors.Is(err, syscall.ECONNREFUSED) {
				return // no route to it
			}
		}
	}
}

// opened keeps the ports that accepted a connection.
func (r *run) opened(a netip.Addr, ports []int) {
	x := &answer{protocol: "tcp", kind: KindUnknown, open: ports}
	for _, p := range ports {
		x.claim(attest.SubjectNetwork, "tcp-port", strconv.Itoa(p), "connect")
	}
	r.table.keep(x, a, "", time.Now())
}

// outcome is what came of a connection.
type outcome int

const (
	silent outcome = iota
	accepted
	refused     // nothing listens there, and the host lives
	unreachable // the network says that there is no such host
)

func (r *run) connect(ctx context.Context, a netip.Addr, port int) outcome {
	if !r.hosts.acquire(ctx, a) {
		return silent
	}
	defer r.hosts.release(a)
	d := net.Dialer{Timeout: r.o.Timeout}
	c, err := d.DialContext(ctx, "tcp", netip.AddrPortFrom(a, uint16(port)).String())
	if err == nil {
		c.Close()
		return accepted
	}
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return silent
	}
	switch errno {
	case syscall.ECONNREFUSED, syscall.ECONNRESET, wsaRefused:
		return refused
	case syscall.EHOSTUNREACH, syscall.ENETUNREACH, wsaHostUnreachable, wsaNetUnreachable:
		return unreachable
	case syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS:
		r.problem(attest.ProblemIncomplete, "tcp", "the system allows no more connections at once (%v), so addresses may be missed: lower the rate", errno)
	}
	return silent
}

// What Windows says instead of the errors above.
const (
	wsaNetUnreachable  = syscall.Errno(10051)
	wsaRefused         = syscall.Errno(10061)
	wsaHostUnreachable = syscall.Errno(10065)
)
