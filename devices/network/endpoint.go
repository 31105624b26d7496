package network

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"assay/attest"
	"assay/devices"
	"assay/devices/network/internal/field"
)

// endpoint is one scheme and port of the unit.
type endpoint struct {
	scheme  string
	host    string
	address string // host:port
	config  *tls.Config
	weak    bool               // TLS only with settings that no longer protect
	strikes int                // answers in a row that were cut off or did not come
	shook   *devices.Handshake // the last handshake, as it went over the wire
}

func newEndpoint(scheme, host string, port int) *endpoint {
	return &endpoint{scheme: scheme, host: host, address: net.JoinHostPort(host, strconv.Itoa(port))}
}

func (ep *endpoint) String() string { return ep.scheme + "://" + ep.address }

// web says that HTTP is spoken there.
func (ep *endpoint) web() bool { return ep.scheme == "http" || ep.scheme == "https" }

// maxStrikes is how many answers in a row may go wrong before an endpoint is
// left alone: a unit that drips or stays silent must not hold a session up
// once for each request.
const maxStrikes = 3

var (
	errHungUp  = errors.New("hung up")
	errGivenUp = errors.New("given up")
)

// answer is what came back on a request.
type answer struct {
	request *request
	status  int
	header  http.Header
	body    []byte
	raw     attest.Digest
	sent    time.Time
	took    time.Duration
	cut     bool // the unit ended the connection before the end it had announced
}

// client makes a client for one request. Keeping connections alive would save
// handshakes, but a kept connection that breaks makes net/http send the request
// again, and with it the login.
func (s *session) client(ep *endpoint) (*http.Client, *http.Transport) {
	transport := &http.Transport{
		DialContext:            ep.dial,
		DialTLSContext:         ep.dial,
		ResponseHeaderTimeout:  s.o.Timeout,
		MaxResponseHeaderBytes: 64 << 10,
		MaxConnsPerHost:        1,
		DisableKeepAlives:      true,
		DisableCompression:     true, // no Accept-Encoding: no bomb to unpack
	}
	return &http.Client{
		Transport:     gate{transport},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, transport
}

// dial connects to the endpoint whatever address it is asked for.
func (ep *endpoint) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, ep.address)
	if err != nil {
		return nil, err
	}
	if ep.scheme == "https" {
		secure := tls.Client(conn, ep.config)
		if err := secure.HandshakeContext(ctx); err != nil {
			conn.Close()
			return nil, err
		}
		conn = secure
	}
	return &patient{Conn: conn, asked: make(chan struct{})}, nil
}

// patient reads nothing before something was asked: what a server says unasked
// net/http would write to the log of the program.
type patient struct {
	net.Conn
	asked chan struct{}
	once  sync.Once
}

func (p *patient) Read(b []byte) (int, error) {
	<-p.asked
	return p.Conn.Read(b)
}

func (p *patient) Write(b []byte) (int, error) {
	p.once.Do(func() { close(p.asked) })
	return p.Conn.Write(b)
}

func (p *patient) Close() error {
	p.once.Do(func() { close(p.asked) })
	return p.Conn.Close()
}

// credential is what a request proves itself with; the zero value is nothing.
type credential struct {
	authorization string // HTTP header
	security      string // SOAP header
}

// send asks one question. An answer whose connection broke early comes back
// with what there is of it and cut set; any other error comes without answer.
// What was received is kept as an artefact in either case.
func (s *session) send(ctx context.Context, ep *endpoint, r *request, with credential) (*answer, error) {
	if ep.strikes >= maxStrikes {
		return nil, fmt.Errorf("%w: not asked, since the last %d answers of %s did not come or were cut off", errGivenUp, maxStrikes, ep)
	}
	if err := s.turn(ctx, s.o.Pace); err != nil {
		return nil, err
	}
	s.step("%s %s", ep, r.source())
	ctx, cancel := context.WithTimeout(ctx, s.o.Timeout)
	defer cancel()
	req, err := r.build(ctx, ep, with)
	if err != nil {
		return nil, err
	}
	client, transport := s.client(ep)
	defer transport.CloseIdleConnections()
	a := &answer{request: r, sent: s.now()}
	start := time.Now()
	resp, err := client.Do(req)
	if err != nil {
		return nil, s.strike(ep, connectError(ep, err))
	}
	defer resp.Body.Close()
	a.took = time.Since(start)
	a.status, a.header = resp.StatusCode, resp.Header
	err = s.readBody(a, resp)
	a.body = redacted(a.body)
	a.raw = s.sink.Artefact("application/http", r.source(), s.wire(a))
	if err != nil {
		err = fmt.Errorf("%s: %w", ep, err)
	}
	if err != nil && !a.cut { // real firmware announces wrong lengths on each answer
		return a, s.strike(ep, err)
	}
	ep.strikes = 0
	return a, err
}

func (s *session) strike(ep *endpoint, err error) error {
	ep.strikes++
	return err
}

func (r *request) build(ctx context.Context, ep *endpoint, with credential) (*http.Request, error) {
	body := r.body
	if r.operation != "" {
		body = envelopeOpen + with.security + bodyOpen + r.body + envelopeClose
	}
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, r.method, ep.String()+r.uri, reader)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "assay")
	req.Header.Set("Accept", "*/*")
	if r.accept != "" {
		req.Header.Set("Accept", r.accept)
	}
	if r.contentType != "" {
		req.Header.Set("Content-Type", r.contentType)
	}
	if with.authorization != "" {
		req.Header.Set("Authorization", with.authorization)
	}
	return req, nil
}

// The slowest progress that is still an answer: the grace first, then this many
// bytes a second on average.
const (
	dripGrace = 2 * time.Second
	dripRate  = 512
)

// keptOfCut is how much of an answer is kept that went over a bound.
const keptOfCut = 64 << 10

func (s *session) readBody(a *answer, resp *http.Response) error {
	if e := resp.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		a.body, _ = io.ReadAll(io.LimitReader(resp.Body, 512))
		return fmt.Errorf("%w: packed with %q though no packing was offered: not unpacked", devices.ErrHostile, clean(e))
	}
	grace := min(dripGrace, s.o.Timeout/4)
	start := time.Now()
	buf := make([]byte, 8<<10)
	for {
		n, err := resp.Body.Read(buf)
		a.body = append(a.body, buf[:n]...)
		spent := time.Since(start)
		switch {
		case int64(len(a.body)) > s.o.MaxBody:
			a.body = a.body[:min(len(a.body), keptOfCut)]
			return fmt.Errorf("%w: answer of more than %d bytes: reading stopped, its first %d bytes are kept", devices.ErrHostile, s.o.MaxBody, len(a.body))
		case err == io.EOF:
			return nil
		case errors.Is(err, context.DeadlineExceeded):
			return fmt.Errorf("%w: answer still not whole after %s and %d bytes: reading stopped", devices.ErrHostile, s.o.Timeout, len(a.body))
		case errors.Is(err, context.Canceled):
			return err
		case err != nil:
			a.cut = true
			return fmt.Errorf("%w: connection ended after %d bytes, before the end of the answer (%s)", devices.ErrMalformed, len(a.body), reason(err))
		case spent > grace && float64(len(a.body)) < dripRate*(spent-grace/2).Seconds():
			return fmt.Errorf("%w: answer drips, %d bytes in %s: reading stopped", devices.ErrHostile, len(a.body), spent.Round(time.Millisecond))
		}
	}
}

// wire writes the answer down as it is kept. net/http has parsed the header, so
// its order and letter case are not the unit's.
func (s *session) wire(a *answer) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\n", a.status, http.StatusText(a.status))
	a.header.Write(&b)
	b.WriteString("\r\n")
	b.Write(a.body)
	return []byte(s.mask(b.String()))
}

// connectError says in one line why no answer came.
func connectError(ep *endpoint, err error) error {
	var refused errNotAllowed
	var timeout net.Error
	switch {
	case errors.As(err, &refused):
		return refused
	case errors.Is(err, context.Canceled):
		return context.Canceled
	case strings.Contains(err.Error(), "response headers exceeded"), strings.Contains(err.Error(), "too many 1xx"):
		return fmt.Errorf("%w: %s: header of more than 64 KiB: reading stopped", devices.ErrHostile, ep)
	case errors.Is(err, errKeyChanged):
		return fmt.Errorf("%w: %s: %w", devices.ErrHostile, ep, errKeyChanged)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w: %s: connection refused", devices.ErrUnreachable, ep)
	case errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Errorf("%w: %s: no answer in time", devices.ErrUnreachable, ep)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE),
		strings.Contains(err.Error(), "forcibly closed"): // Windows has its own numbers
		return fmt.Errorf("%w: %s: %w before answering", devices.ErrUnreachable, ep, errHungUp)
	case strings.Contains(err.Error(), "malformed"), strings.Contains(err.Error(), "tls:"), strings.Contains(err.Error(), "x509:"):
		return fmt.Errorf("%w: %s: %s", devices.ErrMalformed, ep, reason(err))
	}
	return fmt.Errorf("%w: %s: %s", devices.ErrUnreachable, ep, reason(err))
}

// reason is the innermost text of an error of net/http, printable and short;
// it may quote what the unit sent.
func reason(err error) string { return field.Reason(err) }

// turn waits for the pause before a request, and for the caller's leave to send it.
func (s *session) turn(ctx context.Context, pause time.Duration) error {
	if err := sleep(ctx, pause); err != nil || s.o.Turn == nil {
		return err
	}
	return s.o.Turn(ctx)
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
