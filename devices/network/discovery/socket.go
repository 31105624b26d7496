package discovery

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"

	"assay/attest"
	"assay/devices"
	"assay/devices/network/internal/field"
)

// iface is one interface that is asked on.
type iface struct {
	net.Interface
	prefixes []netip.Prefix
	v4       bool // has an IPv4 address
	v6       bool // has an IPv6 address of the link
}

func (i iface) loopback() bool { return i.Flags&net.FlagLoopback != 0 }

// interfaces returns those of the names, or all that are up.
func interfaces(names []string) ([]iface, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("interfaces: %w", err)
	}
	var out []iface
	var have []string
	for _, i := range all {
		have = append(have, i.Name)
		x := iface{Interface: i}
		addrs, err := i.Addrs()
		if err != nil {
			continue
		}
		for _, a := range addrs {
			p, err := netip.ParsePrefix(a.String())
			if err != nil {
				continue
			}
			x.prefixes = append(x.prefixes, p.Masked())
			x.v4 = x.v4 || p.Addr().Is4()
			x.v6 = x.v6 || p.Addr().Is6() && (p.Addr().IsLinkLocalUnicast() || x.loopback())
		}
		if len(names) == 0 && (i.Flags&net.FlagUp == 0 || x.loopback()) || len(names) > 0 && !slices.Contains(names, i.Name) {
			continue
		}
		if len(names) > 0 && i.Flags&net.FlagUp == 0 {
			return nil, optionError("interface %s is down", i.Name)
		}
		out = append(out, x)
	}
	for _, n := range names {
		if !slices.Contains(have, n) {
			return nil, optionError("no interface %q: there are %s", n, strings.Join(have, ", "))
		}
	}
	return out, nil
}

// socket is one UDP socket of a protocol. It asks on every interface, and takes
// answers from any port.
type socket struct {
	protocol *protocol
	conn     *net.UDPConn
	port     int // 0 for one of the system's choice, by which is asked
	p4       *ipv4.PacketConn
	p6       *ipv6.PacketConn
	told     bool // the system tells on which interface an answer came
}

// open makes the sockets: for each protocol one to ask by over IPv4 and, where
// it has a group there, IPv6, and one for each port that answers come to
// whoever asked. What cannot be opened is a problem, and the rest goes on.
func (r *run) open() []*socket {
	var out []*socket
	add := func(p *protocol, network string, port int) {
		s, err := r.listen(p, network, port)
		if err != nil {
			what := fmt.Sprintf("%s: cannot listen on UDP port %d, so answers sent there are missed: %s", p.name, port, field.Reason(err))
			if port == 0 {
				what = fmt.Sprintf("%s: cannot ask over %s: %s", p.name, network, field.Reason(err))
			}
			r.problem(attest.ProblemAccess, p.name, "%s", what)
			return
		}
		out = append(out, s)
	}
	v4, v6 := false, false
	for _, i := range r.ifaces {
		v4, v6 = v4 || i.v4, v6 || i.v6
	}
	for _, n := range r.o.Networks {
		v4, v6 = v4 || n.Addr().Is4(), v6 || n.Addr().Is6()
	}
	for _, p := range protocols {
		if len(r.o.Protocols) > 0 && !slices.Contains(r.o.Protocols, p.name) {
			continue
		}
		if v4 {
			add(p, "udp4", 0)
			for _, port := range p.listen {
				add(p, "udp4", port)
			}
		}
		if v6 && p.groupV6() {
			add(p, "udp6", 0)
		}
	}
	return out
}

func (p *protocol) groupV6() bool {
	for _, g := range p.groups {
		if g.Is6() {
			return true
		}
	}
	return false
}

func (r *run) listen(p *protocol, network string, port int) (*socket, error) {
	lc := net.ListenConfig{}
	if port != 0 {
		lc.Control = func(_, _ string, c syscall.RawConn) error { return reuse(c) }
	}
	any := "0.0.0.0"
	if network == "udp6" {
		any = "::"
	}
	c, err := lc.ListenPacket(r.ctx, network, net.JoinHostPort(any, fmt.Sprint(port)))
	if err != nil {
		return nil, err
	}
	s := &socket{protocol: p, conn: c.(*net.UDPConn), port: port}
	_ = s.conn.SetReadBuffer(2 << 20) // a thousand units answer at once; less is taken where the system allows less
	if network == "udp6" {
		s.p6 = ipv6.NewPacketConn(s.conn)
		s.told = s.p6.SetControlMessage(ipv6.FlagInterface, true) == nil
		return s, nil
	}
	s.p4 = ipv4.NewPacketConn(s.conn)
	s.told = s.p4.SetControlMessage(ipv4.FlagInterface, true) == nil
	if port == 0 {
		return s, nil
	}
	for _, g := range p.groups {
		if !g.Is4() {
			continue
		}
		for _, i := range r.ifaces {
			if !i.v4 {
				continue
			}
			if err := s.p4.JoinGroup(&i.Interface, &net.UDPAddr{IP: g.AsSlice()}); err != nil {
				r.problem(attest.ProblemAccess, p.name, "%s: cannot join the group %s on %s, so answers sent there are missed: %s", p.name, g, i.Name, field.Reason(err))
			}
		}
	}
	return s, nil
}

// send is the last thing before the wire: it lets through only what allowed
// holds.
func (s *socket) send(b []byte, to netip.AddrPort, on *iface) error {
	if !allowed(int(to.Port()), b) {
		return errNotAllowed{int(to.Port()), len(b)}
	}
	if on == nil {
		_, err := s.conn.WriteToUDPAddrPort(b, to)
		return err
	}
	if s.p6 != nil {
		_, err := s.p6.WriteTo(b, &ipv6.ControlMessage{IfIndex: on.Index}, net.UDPAddrFromAddrPort(netip.AddrPortFrom(to.Addr().WithZone(on.Name), to.Port())))
		return err
	}
	if to.Addr().IsMulticast() {
		if err := s.p4.SetMulticastInterface(&on.Interface); err != nil {
			return err
		}
		if on.loopback() {
			_ = s.p4.SetMulticastLoopback(true)
		}
	}
	var cm *ipv4.ControlMessage
	if s.told {
		cm = &ipv4.ControlMessage{IfIndex: on.Index}
	}
	_, err := s.p4.WriteTo(b, cm, net.UDPAddrFromAddrPort(to))
	return err
}

// read takes what comes until the socket is closed.
func (s *socket) read(r *run) {
	buf := make([]byte, 64<<10)
	for {
		var n, index int
		var src net.Addr
		var err error
		switch {
		case s.p6 != nil:
			var cm *ipv6.ControlMessage
			if n, cm, src, err = s.p6.ReadFrom(buf); cm != nil {
				index = cm.IfIndex
			}
		default:
			var cm *ipv4.ControlMessage
			if n, cm, src, err = s.p4.ReadFrom(buf); cm != nil {
				index = cm.IfIndex
			}
		}
		if err != nil {
			if errors.Is(err, net.ErrClosed) || r.ctx.Err() != nil {
				return
			}
			continue // Windows reports an ICMP refusal of something sent before
		}
		from := src.(*net.UDPAddr).AddrPort().Addr().Unmap()
		if r.table.hear(s.protocol.name, from) {
			r.queue.put(r, datagram{s.protocol, from, r.named(index), slices.Clone(buf[:n])})
		}
	}
}

// datagram is one that waits to be read.
type datagram struct {
	protocol *protocol
	from     netip.Addr
	on       string
	b        []byte
}

// queue lies between the sockets and the parsers, so that a thousand answers at
// once do not overflow a socket's buffer. Its bytes are bounded.
type queue struct {
	waiting chan datagram
	bytes   atomic.Int64
}

const (
	maxQueued      = 32_768
	maxQueuedBytes = 32 << 20
)

func (q *queue) put(r *run, d datagram) {
	if q.bytes.Add(int64(len(d.b))) <= maxQueuedBytes {
		select {
		case q.waiting <- d:
			return
		default:
		}
	}
	q.bytes.Add(-int64(len(d.b)))
	r.table.mu.Lock()
	r.table.lost.Busy++
	r.table.mu.Unlock()
}

// parse reads datagrams until the queue is closed and empty.
func (q *queue) parse(r *run) {
	for d := range q.waiting {
		q.bytes.Add(-int64(len(d.b)))
		r.take(d.protocol, d.from, d.on, d.b)
	}
}

// named is the interface of an index, when it is known.
func (r *run) named(index int) string {
	for _, i := range r.ifaces {
		if i.Index == index {
			return i.Name
		}
	}
	return ""
}

// ask sends every question twice, on every interface, with pauses between so
// that neither a switch nor a cheap unit is flooded.
func (r *run) ask(ctx context.Context, sockets []*socket) {
	again := min(r.o.Window/3, 2*time.Second)
	for round := range 2 {
		if round > 0 && !sleep(ctx, time.Until(r.started.Add(again))) {
			return
		}
		for _, s := range sockets {
			if s.port != 0 {
				continue
			}
			for _, q := range s.protocol.requests {
				for i := range r.ifaces {
					if q.over(s.p6 != nil) && !r.askOn(ctx, s, q, &r.ifaces[i]) {
						return
					}
				}
			}
		}
	}
}

// between is the pause between two questions.
const between = 10 * time.Millisecond

func (r *run) askOn(ctx context.Context, s *socket, q *request, on *iface) bool {
	for _, to := range s.targets(q, on) {
		err := s.send(q.bytes(newUUID(q)), to, on)
		if err != nil {
			r.problem(attest.ProblemAccess, q.protocol, "%s on %s to %s: %s", q.protocol, on.Name, to.Addr().WithZone(""), why(err))
			continue
		}
		r.count(q.protocol, 1)
		if !sleep(ctx, between) {
			return false
		}
	}
	return true
}

// targets are the addresses of everyone on an interface.
func (s *socket) targets(q *request, on *iface) []netip.AddrPort {
	var out []netip.AddrPort
	port := uint16(q.port)
	for _, g := range s.protocol.groups {
		if g.Is6() == (s.p6 != nil) && (g.Is6() && on.v6 || g.Is4() && on.v4) && (on.Flags&net.FlagMulticast != 0 || on.loopback()) {
			out = append(out, netip.AddrPortFrom(g, port))
		}
	}
	if !s.protocol.broadcast || s.p6 != nil || !on.v4 || on.Flags&net.FlagBroadcast == 0 {
		return out
	}
	if s.told { // the interface can be chosen, and units with a foreign address hear this one
		return append(out, netip.AddrPortFrom(broadcastAll, port))
	}
	for _, p := range on.prefixes {
		if a, ok := lastOf(p); ok {
			out = append(out, netip.AddrPortFrom(a, port))
		}
	}
	return out
}

// lastOf is the broadcast address of an IPv4 network.
func lastOf(p netip.Prefix) (netip.Addr, bool) {
	if !p.Addr().Is4() || p.Bits() > 30 {
		return netip.Addr{}, false
	}
	a := p.Masked().Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		a[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom4(a), true
}

// newUUID is a random one, in the case that the protocol has.
func newUUID(q *request) string {
	if q.hole != uuidHole {
		return ""
	}
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	u := fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
	if q.protocol == "sadp" {
		return strings.ToUpper(u)
	}
	return u
}

// why says what to do about a question that could not be sent.
func why(err error) string {
	text := field.Reason(err)
	switch {
	case errors.Is(err, syscall.EPERM), errors.Is(err, syscall.EACCES):
		return text + ": a firewall or the system forbids it; allow UDP to that address and ask again"
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		return text + ": there is no route for it; add one, or name another interface"
	}
	return text
}

func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// take reads one datagram and keeps what it says.
func (r *run) take(p *protocol, from netip.Addr, on string, b []byte) {
	digest, ok := r.table.admit(p.name, from, b)
	if !ok {
		return
	}
	reading := &reading{protocol: p.name, from: from, b: b, raw: digest}
	err := p.read(reading)
	if errors.Is(err, errNotOurs) && len(reading.answers) == 0 {
		r.table.refuse(false)
		return
	}
	if err != nil {
		r.table.refuse(true)
		r.problem(devices.ProblemKindOf(err), p.name, "%s: %s", from, plain(err))
	}
	now, kept := time.Now(), false
	for _, a := range reading.answers {
		// A reflector or proxy answers for units that are not where it is.
		a.relayed = len(reading.answers) > 1 && len(a.addrs) > 0 && !slices.Contains(a.addrs, from.WithZone(""))
		if r.table.keep(a, from, on, now) {
			kept = true
			if a.describe != "" {
				r.describe(a.describe, from)
			}
		}
	}
	if kept && r.o.Keep != nil {
		r.o.Keep(digest, p.name+" from "+from.String(), b)
	}
}
