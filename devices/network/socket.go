package network

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"assay/attest"
	"assay/devices"
)

// What the protocols with a socket of their own share: which of a unit's ports are
// asked, the gate that every byte sent has to pass, and the bounds of what is read.

// port is where a protocol with a socket of its own listens.
type port struct {
	scheme string
	number int
}

// message is one thing that a protocol with a socket of its own can send, as
// people read it; the protocol's gate is what holds it.
type message struct{ transport, text string }

// gateFunc says whether these bytes may be sent. Each call of Write is one message,
// and is let through or refused as a whole.
type gateFunc func([]byte) bool

// socketPatience is how long a port may take to accept a connection. A unit that
// answered over HTTP accepts at once, and a port behind a filter never does.
const socketPatience = 3 * time.Second

// quiet is how long a unit may pause within an answer that does not say where it
// ends, or that is shorter than it says.
const quiet = 2 * time.Second

var (
	errQuiet  = errors.New("fell quiet before the end of the answer")
	errEnough = errors.New("more than is read of one answer")
)

// overSockets asks the protocols that have a socket of their own, one after the
// other. A port where nothing listens is no problem. reached says that the unit
// answered over HTTP; one that did not is left alone after maxStrikes ports in a
// row that did not even refuse.
func (s *session) overSockets(ctx context.Context, reached bool) {
	s.loggingIn = false
	for _, p := range protocols {
		if p.talk == nil || !s.wanted(p) {
			continue
		}
		for _, at := range s.portsOf(p) {
			if ctx.Err() != nil || !reached && s.silent >= maxStrikes {
				return
			}
			if s.met[at.scheme] {
				continue // answered on another of its ports
			}
			p.talk(s, ctx, newEndpoint(at.scheme, s.target.Host, at.number))
		}
	}
}

// SocketSchemes are the protocols that have a socket of their own, as the keys of
// [Options.Ports].
func SocketSchemes() []string {
	var all []string
	for _, p := range protocols {
		for _, at := range p.ports {
			if !slices.Contains(all, at.scheme) {
				all = append(all, at.scheme)
			}
		}
	}
	return all
}

// UsualPorts are where the protocols that have a socket of their own listen, by
// scheme.
func UsualPorts() map[string][]int {
	all := map[string][]int{}
	for _, p := range protocols {
		for _, at := range p.ports {
			all[at.scheme] = append(all[at.scheme], at.number)
		}
	}
	return all
}

// portsOf are the ports to ask a protocol at. A target that names its port is that
// port only: behind a router's forwarding the others belong to other units.
func (s *session) portsOf(p *protocol) []port {
	switch {
	case s.o.Ports == nil && s.target.Port != 0:
		return nil
	case s.o.Ports == nil:
		return p.ports
	}
	var at []port
	for _, usual := range p.ports {
		for _, n := range s.o.Ports[usual.scheme] {
			if given := (port{usual.scheme, n}); !slices.Contains(at, given) {
				at = append(at, given)
			}
		}
	}
	return at
}

// answers notes that the unit speaks a scheme on the endpoint.
func (s *session) answers(a *answer, ep *endpoint) {
	s.met[ep.scheme] = true
	s.speaks(a)
	if s.once("endpoint " + ep.String()) {
		s.claim(a, attest.SubjectNetwork, "service", ep.String(), "address")
	}
}

// wire is one connection to the unit, through which only what the gate knows is
// sent, and of which no more than a bound is read.
type wire struct {
	net.Conn
	ep   *endpoint
	gate gateFunc
	left int64
	stop func() bool // of the watch on the context
}

func (w *wire) Write(b []byte) (int, error) {
	if !w.gate(b) {
		return 0, errNotAllowed{w.ep.scheme, fmt.Sprintf("message of %d bytes", len(b))}
	}
	return w.Conn.Write(b)
}

func (w *wire) Read(b []byte) (int, error) {
	if w.left <= 0 {
		return 0, errEnough
	}
	n, err := w.Conn.Read(b[:min(int64(len(b)), w.left)])
	w.left -= int64(n)
	return n, err
}

// open reports whether the unit has not hung up since its last answer, nor said
// anything more.
func (w *wire) open() bool {
	w.SetReadDeadline(time.Now().Add(5 * time.Millisecond)) // not past: that would not look
	n, err := w.Conn.Read(make([]byte, 1))
	var timeout net.Error
	return n == 0 && errors.As(err, &timeout) && timeout.Timeout()
}

func (w *wire) Close() error {
	w.stop()
	return w.Conn.Close()
}

// connect opens a socket, with TLS where the endpoint has settings for it. nil
// means that nothing listens there.
func (s *session) connect(ctx context.Context, ep *endpoint, gate gateFunc) *wire {
	if s.turn(ctx, s.o.Pace) != nil {
		return nil
	}
	s.step("%s connect", ep)
	dialing, cancel := context.WithTimeout(ctx, min(s.o.Timeout, socketPatience))
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(dialing, "tcp", ep.address)
	var timeout net.Error
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		s.silent++
		return nil
	case err != nil:
		return nil
	}
	s.silent = 0
	if ep.config != nil {
		secure := tls.Client(conn, ep.config)
		handshaking, cancel := context.WithTimeout(ctx, s.o.Timeout)
		defer cancel()
		if err := secure.HandshakeContext(handshaking); err != nil {
			conn.Close()
			s.problem(&request{protocol: ep.scheme, operation: "handshake"}, connectError(ep, err))
			return nil
		}
		conn = secure
	}
	conn.SetDeadline(time.Now().Add(s.o.Timeout))
	return &wire{Conn: conn, ep: ep, gate: gate, left: s.o.MaxBody, stop: context.AfterFunc(ctx, func() { conn.Close() })}
}

// receive reads until whole says that the answer is complete. What came is
// returned with any error: errHungUp and errQuiet say that the answer just ended,
// an error that wraps [devices.ErrHostile] that reading was given up.
func (s *session) receive(w *wire, bound int64, whole func([]byte) bool) ([]byte, error) {
	var got []byte
	start := time.Now()
	end := start.Add(s.o.Timeout)
	pause, grace := min(quiet, s.o.Timeout/2), min(dripGrace, s.o.Timeout/4)
	w.left = min(bound, s.o.MaxBody)
	buf := make([]byte, 8<<10)
	for {
		deadline := end
		if next := time.Now().Add(pause); len(got) > 0 && next.Before(end) {
			deadline = next
		}
		w.SetDeadline(deadline)
		n, err := w.Read(buf)
		got = append(got, buf[:n]...)
		var timeout net.Error
		switch spent := time.Since(start); {
		case whole(got):
			return got, nil
		case errors.Is(err, errEnough):
			n := len(got)
			return got[:min(n, keptOfCut)], fmt.Errorf("%w: %s: answer of more than %d bytes: reading stopped, its first %d bytes are kept", devices.ErrHostile, w.ep, n, min(n, keptOfCut))
		case errors.As(err, &timeout) && timeout.Timeout() && len(got) > 0 && time.Now().Before(end):
			return got, errQuiet
		case errors.As(err, &timeout) && timeout.Timeout() && len(got) > 0:
			return got, fmt.Errorf("%w: %s: answer still not whole after %s and %d bytes: reading stopped", devices.ErrHostile, w.ep, s.o.Timeout, len(got))
		case errors.As(err, &timeout) && timeout.Timeout():
			return got, fmt.Errorf("%w: %s: no answer in time", devices.ErrUnreachable, w.ep)
		case err == io.EOF, err != nil && len(got) > 0:
			return got, errHungUp
		case err != nil:
			return got, connectError(w.ep, err)
		case spent > grace && float64(len(got)) < dripRate*(spent-grace/2).Seconds():
			return got, fmt.Errorf("%w: %s: answer drips, %d bytes in %s: reading stopped", devices.ErrHostile, w.ep, len(got), spent.Round(time.Millisecond))
		}
	}
}

// ended reports whether an answer just came to an end, whole or not.
func ended(err error) bool {
	return err == nil || errors.Is(err, errHungUp) || errors.Is(err, errQuiet)
}

// short is the error of an answer that ended before it was whole.
func short(ep *endpoint, err error, n int) error {
	return fmt.Errorf("%w: %s: %w, after %d bytes", devices.ErrMalformed, ep, err, n)
}

// saidOver keeps what was received and makes an answer of it.
func (s *session) saidOver(r *request, mediaType string, raw []byte) *answer {
	raw = redacted(raw)
	return &answer{request: r, body: raw, raw: s.sink.Artefact(mediaType, r.source(), []byte(s.mask(string(raw)))), sent: s.now()}
}
