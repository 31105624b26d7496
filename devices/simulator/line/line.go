// Package line is the wire between a console and whoever reads it, as it is in
// the field: it passes so many bytes a second and no more, loses and flips
// some, lets the kernel speak in the middle, and comes off its socket. What is
// at its far end may be real: an emulator's pseudo-terminal, a shell.
package line

import (
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"time"
)

// Config is what a line does to the bytes that a unit sends. The zero value
// passes them on.
type Config struct {
	// Rate is how many bytes a second pass each way: 11520 at 115200 baud 8N1.
	// 0: as many as come.
	Rate int
	// LoseOneIn and FlipOneIn lose, or flip a bit of, one byte of so many.
	LoseOneIn, FlipOneIn int
	// Inject is put in after each InjectEvery bytes, as a kernel's message is.
	Inject      string
	InjectEvery int64
	// PullAfter are the numbers of bytes after which the plug comes off, one
	// for each [Line.Plug].
	PullAfter []int64
	Seed      uint64
}

// ErrPulled is what a [Port] says after its plug came off.
var ErrPulled = errors.New("the plug came off")

// Line is a wire to a far end. Bytes that come while nothing is plugged in are
// lost.
type Line struct {
	far    io.ReadWriteCloser
	config Config
	noise  *rand.Rand
	done   chan struct{}

	mu    sync.Mutex
	port  *Port
	plugs int
	count int64 // bytes that the unit sent
	next  int64 // count at which Inject comes
}

// New starts a line to far, which [Line.Close] closes.
func New(far io.ReadWriteCloser, c Config) *Line {
	l := &Line{far: far, config: c, noise: rand.New(rand.NewPCG(c.Seed, 1)), next: c.InjectEvery, done: make(chan struct{})}
	go l.carry()
	return l
}

// slice is how long bytes are gathered before they are handed over, as an
// adapter on USB does.
const slice = 4 * time.Millisecond

// idle is how long a read must wait for the line to count as idle meanwhile.
const idle = time.Millisecond

// carry passes the far end's bytes to whatever is plugged in, at the line's rate.
func (l *Line) carry() {
	defer close(l.done)
	buf := make([]byte, 4096)
	if n := l.config.Rate * int(slice) / int(time.Second); l.config.Rate > 0 {
		buf = buf[:max(1, min(n, len(buf)))]
	}
	var free time.Time // when the line has passed what it was given
	for {
		asked := time.Now()
		n, err := l.far.Read(buf)
		if n > 0 && l.config.Rate > 0 {
			// The line was idle only if there was nothing to pass. That we wake up
			// late is not its idleness: what has come meanwhile follows at once.
			if now := time.Now(); free.IsZero() || free.Before(now) && now.Sub(asked) > idle {
				free = now
			}
			free = free.Add(time.Duration(n) * time.Second / time.Duration(l.config.Rate))
			time.Sleep(time.Until(free))
		}
		l.deliver(buf[:n])
		if err != nil {
			l.unplug(io.EOF)
			return
		}
	}
}

func (l *Line) deliver(b []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []byte
	for _, c := range b {
		l.count++
		if p := l.port; p != nil && p.pullAt > 0 && l.count >= p.pullAt {
			p.give(out, ErrPulled)
			l.port, out = nil, nil
		}
		if l.config.LoseOneIn > 0 && l.noise.IntN(l.config.LoseOneIn) == 0 {
			continue
		}
		if l.config.FlipOneIn > 0 && l.noise.IntN(l.config.FlipOneIn) == 0 {
			c ^= 1 << l.noise.IntN(8)
		}
		out = append(out, c)
		if l.config.InjectEvery > 0 && l.count >= l.next {
			l.next += l.config.InjectEvery
			out = append(out, l.config.Inject...)
		}
	}
	if l.port != nil {
		l.port.give(out, nil)
	}
}

// Plug connects to the line. What was plugged in before is pulled.
func (l *Line) Plug() *Port {
	l.unplug(ErrPulled)
	l.mu.Lock()
	defer l.mu.Unlock()
	p := &Port{line: l, ready: make(chan struct{}, 1)}
	if l.plugs < len(l.config.PullAfter) {
		p.pullAt = l.count + l.config.PullAfter[l.plugs]
	}
	l.plugs++
	l.port = p
	return p
}

func (l *Line) unplug(cause error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.port != nil {
		l.port.give(nil, cause)
		l.port = nil
	}
}

// Count is how many bytes the unit has sent.
func (l *Line) Count() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count
}

// Close ends the line and its far end.
func (l *Line) Close() error {
	err := l.far.Close()
	<-l.done
	return err
}

// Port is one end of a line, to be read and written as a serial port.
type Port struct {
	line   *Line
	pullAt int64
	ready  chan struct{} // filled when there is something new

	mu    sync.Mutex
	in    []byte
	err   error
	free  time.Time // when the line has passed what was written
	baud  int
	wrote int64
}

func (p *Port) give(b []byte, err error) {
	p.mu.Lock()
	p.in = append(p.in, b...)
	if err != nil && p.err == nil {
		p.err = err
	}
	p.mu.Unlock()
	select {
	case p.ready <- struct{}{}:
	default:
	}
}

// Read returns what has come, and waits until something has.
func (p *Port) Read(b []byte) (int, error) {
	for {
		p.mu.Lock()
		n := copy(b, p.in)
		p.in = p.in[n:]
		err := p.err
		p.mu.Unlock()
		if n > 0 {
			return n, nil
		}
		if err != nil {
			return 0, err
		}
		<-p.ready
	}
}

// Write passes bytes to the unit, and returns when the line has taken them.
func (p *Port) Write(b []byte) (int, error) {
	p.mu.Lock()
	err := p.err
	if now := time.Now(); p.free.Before(now) {
		p.free = now
	}
	if p.line.config.Rate > 0 {
		p.free = p.free.Add(time.Duration(len(b)) * time.Second / time.Duration(p.line.config.Rate))
	}
	free := p.free
	p.wrote += int64(len(b))
	p.mu.Unlock()
	if err != nil {
		return 0, err
	}
	time.Sleep(time.Until(free))
	return p.line.far.Write(b)
}

// SetBaud accepts any rate: a line of one rate only passes what it passes.
func (p *Port) SetBaud(baud int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.baud = baud
	return nil
}

// Close pulls the plug.
func (p *Port) Close() error {
	p.give(nil, io.ErrClosedPipe)
	p.line.mu.Lock()
	defer p.line.mu.Unlock()
	if p.line.port == p {
		p.line.port = nil
	}
	return nil
}
