package line

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"assay/attest"
	"assay/devices"
	"assay/devices/console/line/rfc2217"
)

// openServer opens a port of a console server, such as ser2net. A raw port is
// bytes alone; the rate of one that speaks RFC 2217 can be set.
func openServer(ctx context.Context, device string, baud int) (io.ReadWriteCloser, error) {
	address, telnet := strings.CutPrefix(device, devices.SchemeRFC2217)
	if !telnet {
		address = strings.TrimPrefix(device, devices.SchemeTCP)
	}
	d := net.Dialer{Timeout: devices.Patience, KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 4}}
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, dialError(device, err)
	}
	s := &socket{Conn: conn}
	if !telnet {
		return s, nil
	}
	rw, err := rfc2217.Client(ctx, s, baud)
	if err != nil {
		return nil, serverError(device, err)
	}
	return rw, nil
}

func dialError(device string, err error) error {
	what := "is the console server switched on, and in this network?"
	var dns *net.DNSError
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		what = "nothing listens there: is the port the one that the console server has for this line (for ser2net, see /etc/ser2net.yaml)?"
	case errors.As(err, &dns):
		what = "the name is not known"
	}
	return fmt.Errorf("console server %s: %w: %w: %s", device, devices.ErrUnreachable, err, what)
}

func serverError(device string, err error) error {
	if devices.ProblemKindOf(err) == attest.ProblemIncomplete && !errors.Is(err, context.Canceled) { // no sentinel in it
		err = fmt.Errorf("%w: %w", devices.ErrUnreachable, err)
	}
	return fmt.Errorf("console server %s: %w", device, err)
}

// socket is a connection to a console server. A Write that the server does not
// take ends, and a server that hangs up at once is quoted: one whose port is in
// use says so in words and closes.
type socket struct {
	net.Conn
	head []byte // the first bytes of the connection
}

const headMax = 256

func (s *socket) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	if len(s.head) <= headMax {
		s.head = append(s.head, b[:min(n, headMax+1)]...)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
		err = s.hungUp(err)
	}
	return n, err
}

func (s *socket) hungUp(cause error) error {
	words := readable(s.head)
	if len(s.head) > headMax || len(words) < 4 {
		return fmt.Errorf("the console server closed the connection: %w", cause)
	}
	kind := devices.ErrUnreachable
	if l := strings.ToLower(words); strings.Contains(l, "in use") || strings.Contains(l, "busy") || strings.Contains(l, "denied") {
		kind = devices.ErrAccess
	}
	return fmt.Errorf("the console server said %q and closed the connection: %w: %w", words, kind, cause)
}

// readable is the printable text in b, in one line.
func readable(b []byte) string {
	return strings.Join(strings.FieldsFunc(string(b), func(r rune) bool { return r < 0x20 || r > 0x7e }), " ")
}

func (s *socket) Write(b []byte) (int, error) {
	if err := s.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return 0, err
	}
	return s.Conn.Write(b)
}
