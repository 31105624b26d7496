// Package line carries bytes to and from a unit's console: a serial port, a
// pseudo-terminal or a console server. It keeps both directions with their
// times, knows what a terminal would show of them, and never waits without a
// bound.
package line

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"go.bug.st/serial"

	"assay/attest"
	"assay/devices"
	"assay/devices/console/line/rfc2217"
)

// Line carries bytes to and from a unit. One goroutine of its own reads;
// whoever calls [Line.Next] owns what was read. All but Close are for one
// goroutine at a time.
type Line struct {
	Name string // for messages, as in "serial:/dev/ttyUSB0"
	Log  *Transcript

	rw   io.ReadWriteCloser
	baud int
	came int64 // bytes that were received

	chunks chan []byte
	stop   chan struct{}
	once   sync.Once
	done   chan struct{} // closed when the reader has ended
	err    error         // why it ended; read after chunks is closed
}

// What Next tells apart.
var (
	// ErrQuiet says that nothing came within the time that Next was given.
	ErrQuiet = errors.New("nothing received")
	// ErrGone marks a line that ended: an adapter pulled, a terminal closed.
	ErrGone = errors.New("the line is gone")
	// ErrRate says that the port does not do a rate; the others may work.
	ErrRate = errors.New("the port does not do this rate")
)

// New starts to read rw, which [Line.Close] closes. log may be nil.
func New(name string, rw io.ReadWriteCloser, log *Transcript) *Line {
	if log == nil {
		log = &Transcript{}
	}
	l := &Line{Name: name, rw: rw, Log: log, chunks: make(chan []byte, 64), stop: make(chan struct{}), done: make(chan struct{})}
	for _, n := range l.Notes() {
		log.Remark("%s: %s", name, n)
	}
	go l.reader()
	return l
}

// Notes says what a person should know about the port: that a console server
// does less than was asked of it.
func (l *Line) Notes() []string {
	if n, ok := l.rw.(interface{ Notes() []string }); ok {
		return n.Notes()
	}
	return nil
}

// gather is how long the reader waits for more after a short read: a port that
// hands over byte by byte would cost a system call for each.
const gather = 2 * time.Millisecond

func (l *Line) reader() {
	defer close(l.done)
	defer close(l.chunks)
	buf := make([]byte, 4096)
	for empty := 0; empty < 100; {
		n, err := l.rw.Read(buf)
		if n > 0 {
			empty = 0
			select {
			case l.chunks <- append([]byte(nil), buf[:n]...):
			case <-l.stop:
				l.err = io.ErrClosedPipe
				return
			}
		}
		if err != nil {
			l.err = err
			return
		}
		if n == 0 { // a serial port's way to say that a read timed out
			empty++
			time.Sleep(time.Millisecond)
		} else if n < 64 {
			time.Sleep(gather)
		}
	}
	l.err = io.ErrNoProgress
}

// Next returns what comes within d, or [ErrQuiet].
func (l *Line) Next(ctx context.Context, d time.Duration) ([]byte, error) {
	select { // a timer costs more than a chunk that is already there
	case b, ok := <-l.chunks:
		return l.took(b, ok)
	default:
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case b, ok := <-l.chunks:
		return l.took(b, ok)
	case <-timer.C:
		return nil, ErrQuiet
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Poll returns what has come already, or [ErrQuiet].
func (l *Line) Poll() ([]byte, error) {
	select {
	case b, ok := <-l.chunks:
		return l.took(b, ok)
	default:
		return nil, ErrQuiet
	}
}

func (l *Line) took(b []byte, ok bool) ([]byte, error) {
	if !ok {
		return nil, l.gone(l.err)
	}
	l.came += int64(len(b))
	l.Log.received(b)
	return b, nil
}

func (l *Line) gone(cause error) error {
	if devices.ProblemKindOf(cause) != attest.ProblemIncomplete { // it says what is wrong
		return fmt.Errorf("%s: %w: %w; what was read is kept", l.Name, ErrGone, cause)
	}
	return fmt.Errorf("%s: %w: %w (%w): was the adapter or the unit unplugged? what was read is kept", l.Name, devices.ErrUnreachable, ErrGone, cause)
}

// Send writes b.
func (l *Line) Send(b string) error { return l.send(b, b) }

// SendSecret writes a secret and its end, as Enter, of which the transcript
// shows the end only.
func (l *Line) SendSecret(secret, end string) error { return l.send(secret+end, "***"+end) }

// Type writes what a person types. The transcript shows it by lines, and of one
// that is hidden, a password, its end only.
func (l *Line) Type(b []byte, hidden bool) error {
	l.Log.typed(b, hidden)
	return l.write(string(b))
}

func (l *Line) send(b, shown string) error {
	l.Log.sent([]byte(shown))
	return l.write(b)
}

func (l *Line) write(b string) error {
	if _, err := io.WriteString(l.rw, b); err != nil {
		return l.gone(err)
	}
	return nil
}

// rateSetter is a port whose rate can be set. A socket has none.
type rateSetter interface{ SetBaud(baud int) error }

// HasRate reports whether the line's rate can be set.
func (l *Line) HasRate() bool { _, ok := l.rw.(rateSetter); return ok }

// SetBaud sets the rate, in bits a second, where the line has one.
func (l *Line) SetBaud(baud int) error {
	l.baud = baud
	p, ok := l.rw.(rateSetter)
	if !ok {
		return nil
	}
	err := p.SetBaud(baud)
	if pe := (*serial.PortError)(nil); errors.Is(err, rfc2217.ErrRate) || errors.As(err, &pe) && pe.Code() == serial.InvalidSpeed {
		return fmt.Errorf("%s: %w: %w: %w", l.Name, ErrRate, err, devices.ErrUnreachable)
	}
	if err != nil {
		return fmt.Errorf("%s: setting %d baud: %w: %w", l.Name, baud, devices.ErrUnreachable, err)
	}
	return nil
}

// Baud is the rate that was set last, 0 before.
func (l *Line) Baud() int { return l.baud }

// Time is how long n bytes take one way at the line's rate, with a start and a
// stop bit for each.
func (l *Line) Time(n int) time.Duration {
	return time.Duration(n) * 10 * time.Second / time.Duration(max(l.baud, 300))
}

// Received is how many bytes have come.
func (l *Line) Received() int64 { return l.came }

// PerSecond is how many bytes the line can pass in a second, 0 where it has no
// rate.
func (l *Line) PerSecond() int {
	if !l.HasRate() {
		return 0
	}
	return l.baud / 10
}

// Close ends the line and closes its port.
func (l *Line) Close() error {
	var err error
	l.once.Do(func() {
		close(l.stop)
		err = l.rw.Close()
		select {
		case <-l.done:
		case <-time.After(time.Second): // a Read that ignores Close; its chunk is dropped
		}
	})
	return err
}

// Pause waits for d, or until the context ends.
func Pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
