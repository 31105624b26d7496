package discovery

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/net/ipv4"
)

// Fleet is units that run.
type Fleet struct {
	ctx     context.Context
	stop    context.CancelFunc
	units   []*Placed
	at      map[netip.Addr]*Placed
	sockets map[netip.AddrPort]*ipv4.PacketConn
	other   *ipv4.PacketConn // answers from another port leave by it
	servers []*http.Server
	wait    sync.WaitGroup

	mu    sync.Mutex
	log   map[string]int // questions by port, as "37020"
	sent  int
	heard []Heard
}

// Start runs units until Close or the end of ctx. Their addresses must be the
// machine's, as all of 127.0.0.0/8 is on Linux. on is the interface whose
// multicast and broadcast they hear: they share one socket for each port then,
// so that a thousand units need no thousand sockets. With an empty on each
// listens on its own address alone, and whoever looks for them may run on the
// same machine.
func Start(ctx context.Context, on string, units ...*Placed) (*Fleet, error) {
	f := &Fleet{units: units, at: map[netip.Addr]*Placed{}, sockets: map[netip.AddrPort]*ipv4.PacketConn{}, log: map[string]int{}}
	f.ctx, f.stop = context.WithCancel(ctx)
	var iface *net.Interface
	if on != "" {
		var err error
		if iface, err = net.InterfaceByName(on); err != nil {
			return nil, fmt.Errorf("fleet: %w", err)
		}
	}
	joined := map[string]bool{}
	for _, u := range units {
		f.at[u.Addr] = u
		for i := range u.Answers {
			a := &u.Answers[i]
			at := netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(a.Port))
			if iface == nil {
				at = netip.AddrPortFrom(u.Addr, uint16(a.Port))
			}
			if err := f.listen(at); err != nil {
				return nil, errors.Join(err, f.Close())
			}
			key := strconv.Itoa(a.Port) + a.Group
			if iface == nil || a.Group == "" || joined[key] {
				continue
			}
			joined[key] = true
			if err := f.sockets[at].JoinGroup(iface, &net.UDPAddr{IP: net.ParseIP(a.Group)}); err != nil {
				return nil, errors.Join(fmt.Errorf("fleet: group %s on %s: %w", a.Group, on, err), f.Close())
			}
			_ = f.sockets[at].SetMulticastInterface(iface)
		}
		if u.Describe != nil {
			if err := f.serve(u); err != nil {
				return nil, errors.Join(err, f.Close())
			}
		}
	}
	c, err := net.ListenPacket("udp4", "0.0.0.0:0")
	if err != nil {
		return nil, errors.Join(fmt.Errorf("fleet: %w", err), f.Close())
	}
	f.other = ipv4.NewPacketConn(c)
	for at, s := range f.sockets {
		f.wait.Go(func() { f.read(at, s) })
	}
	context.AfterFunc(f.ctx, f.shut)
	return f, nil
}

func (f *Fleet) listen(at netip.AddrPort) error {
	if f.sockets[at] != nil {
		return nil
	}
	lc := net.ListenConfig{Control: reuse}
	c, err := lc.ListenPacket(f.ctx, "udp4", at.String())
	if err != nil {
		return fmt.Errorf("fleet: %w", err)
	}
	p := ipv4.NewPacketConn(c)
	if err := p.SetControlMessage(ipv4.FlagDst|ipv4.FlagInterface, true); err != nil {
		c.Close()
		return fmt.Errorf("fleet: %s: %w", at, err)
	}
	f.sockets[at] = p
	return nil
}

func (f *Fleet) serve(u *Placed) error {
	l, err := net.Listen("tcp", net.JoinHostPort(u.Addr.String(), strconv.Itoa(u.Describe.Port)))
	if err != nil {
		return fmt.Errorf("fleet: %w", err)
	}
	s := &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		f.log[r.Method+" "+r.URL.RequestURI()]++
		f.mu.Unlock()
		switch {
		case u.Describe.Redirect != "":
			http.Redirect(w, r, u.Describe.Redirect, http.StatusFound)
		case r.URL.Path == u.Describe.Path:
			fmt.Fprint(w, u.fill(u.Describe.Body, nil, 0))
		default:
			http.NotFound(w, r)
		}
	})}
	f.servers = append(f.servers, s)
	f.wait.Go(func() { _ = s.Serve(l) })
	return nil
}

func (f *Fleet) shut() {
	for _, s := range f.sockets {
		s.Close()
	}
	for _, s := range f.servers {
		s.Close()
	}
	if f.other != nil {
		f.other.Close()
	}
}

// Close stops the units and waits for them.
func (f *Fleet) Close() error {
	f.stop()
	f.shut()
	f.wait.Wait()
	return nil
}

// Asked returns how many questions came, by port, and requests for
// descriptions by method and path.
func (f *Fleet) Asked() map[string]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := map[string]int{}
	for k, v := range f.log {
		out[k] = v
	}
	return out
}

// Sent is how many answers left.
func (f *Fleet) Sent() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sent
}

// Heard is a datagram that came to a port of the units.
type Heard struct {
	Port  int
	From  netip.Addr
	Bytes []byte
}

// Heard returns the first thousand datagrams that came, so that a test can see
// what was asked.
func (f *Fleet) Heard() []Heard {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.heard)
}

func (f *Fleet) read(at netip.AddrPort, s *ipv4.PacketConn) {
	port := int(at.Port())
	buf := make([]byte, 4<<10) // questions are short, and a fleet has thousands of sockets
	for {
		n, cm, src, err := s.ReadFrom(buf)
		if err != nil {
			if f.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		from := src.(*net.UDPAddr)
		question := slices.Clone(buf[:n])
		var dst netip.Addr
		if cm != nil {
			dst, _ = netip.AddrFromSlice(cm.Dst.To4())
		}
		f.mu.Lock()
		f.log[strconv.Itoa(port)]++
		if len(f.heard) < 1000 {
			f.heard = append(f.heard, Heard{port, from.AddrPort().Addr().Unmap(), question})
		}
		f.mu.Unlock()
		f.answer(port, s, question, from, dst)
	}
}

func (f *Fleet) answer(port int, s *ipv4.PacketConn, question []byte, from *net.UDPAddr, dst netip.Addr) {
	asked := f.units
	if u := f.at[dst]; u != nil {
		asked = []*Placed{u}
	} else if dst.IsValid() && !dst.IsMulticast() && dst.As4()[3] != 255 {
		return // an address of the machine that no unit has
	}
	for _, u := range asked {
		for i := range u.Answers {
			a := &u.Answers[i]
			if a.Port != port || !a.asks(question) || dst.IsMulticast() && dst.String() != a.Group {
				continue
			}
			reply := func() { f.reply(s, u, a, question, from) }
			if a.Delay == 0 {
				reply()
				continue
			}
			h := fnv.New32a() // its own share of the delay, the same in every run
			fmt.Fprint(h, u.Addr, port, i)
			f.wait.Add(1)
			time.AfterFunc(a.Delay*time.Duration(h.Sum32()%1000)/1000, func() {
				defer f.wait.Done()
				reply()
			})
		}
	}
}

func (f *Fleet) reply(s *ipv4.PacketConn, u *Placed, a *Answer, question []byte, from *net.UDPAddr) {
	out, to := s, *from
	if a.From == "other" {
		out = f.other
	}
	if port, err := strconv.Atoi(a.To); err == nil {
		to.Port = port
	} else if a.To == "group" {
		out, to = s, net.UDPAddr{IP: net.ParseIP(a.Group), Port: a.Port}
	}
	cm := &ipv4.ControlMessage{Src: u.Addr.AsSlice()}
	for i := range max(a.Repeat, 1) {
		if f.ctx.Err() != nil {
			return
		}
		if _, err := out.WriteTo(u.bytes(a, question, i), cm, &to); err != nil {
			return
		}
		f.mu.Lock()
		f.sent++
		f.mu.Unlock()
	}
}
