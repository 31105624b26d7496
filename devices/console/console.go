// Package console reads a unit through its boot loader: it finds the U-Boot
// prompt on a serial line, stops autoboot, reads the identifiers that the
// prompt knows and dumps the flash with md, each block verified by the
// loader's own crc32. What it says comes from the boot loader, so its claims
// are of acquisition A2: a loader that lies is not found out here.
//
// It types only commands that leave the unit as it is; the list is in command.go.
//
// Facts about the prompt, the echo, the repeat on an empty line and the output
// formats are from U-Boot's cmd/mem.c, cmd/flash.c, cmd/bdinfo.c, cmd/mtd.c,
// cmd/sf.c, common/cli_readline.c and common/autoboot.c, and from the vendors'
// consoles named in autoboot.go.
package console

import (
	"context"
	"io"
	"sync"
	"time"

	"assay/devices"
	"assay/devices/console/line"
	"assay/devices/fingerprint"
)

// Options changes how a console is read. The zero value is good for a
// technician at a bench.
type Options struct {
	// Progress is told each step in words for people, as in "power-cycle the
	// unit now".
	Progress func(step string)
	// Transcript gets both directions of the line with times, passwords masked.
	Transcript io.Writer
	// Account holds the password to offer once to a boot loader that asks for
	// one. Its user is not used.
	Account *devices.Account
	// Power cycles the unit's power. Without it the person at the bench is
	// asked to, through Progress.
	Power func(context.Context) error
	// Quiet is the silence after which a unit has finished talking; 250 ms
	// when 0.
	Quiet time.Duration
	// StopTimeout is how long to wait for a boot to interrupt, 60 s when 0.
	StopTimeout time.Duration
	// Rules are the fingerprints; the embedded ones when nil.
	Rules *fingerprint.Rules
	// Port is read and written instead of the target's device.
	Port io.ReadWriteCloser
}

// Channel is a unit's serial console. It is a [devices.FlashReader]. Its methods
// must not be called from several goroutines at once, except Close.
type Channel struct {
	target  devices.Target
	options Options

	mu      sync.Mutex // guards line and closed against Close
	line    *line.Line
	closed  bool
	log     *line.Transcript
	session *session
	sink    devices.Sink
	banks   []bank
	locked  string // the words in which the loader asked for a password
}

var _ devices.FlashReader = (*Channel)(nil)

// Open returns the channel of a serial target. The device is opened by
// [Channel.Identify], whose error names what is wrong with it.
func Open(t devices.Target, o Options) *Channel {
	if o.Quiet <= 0 {
		o.Quiet = 250 * time.Millisecond
	}
	if o.StopTimeout <= 0 {
		o.StopTimeout = time.Minute
	}
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	if o.Rules == nil {
		o.Rules = fingerprint.Embedded()
	}
	_, secret, _ := o.Account.Login()
	return &Channel{target: t, options: o, log: line.NewTranscript(o.Transcript, secret)}
}

// connect opens the line and finds the prompt, once.
func (c *Channel) connect(ctx context.Context) error {
	if c.session != nil {
		return nil
	}
	l, err := c.openLine(ctx)
	if err != nil {
		return err
	}
	s := &session{
		line: l, log: c.log, quiet: c.options.Quiet, given: c.target.Baud,
		stopTimeout: c.options.StopTimeout, progress: c.options.Progress,
		account: c.options.Account, power: c.options.Power,
	}
	err = s.attach(ctx)
	c.locked = s.locked
	if err != nil {
		return err
	}
	c.session = s
	return nil
}

func (c *Channel) openLine(ctx context.Context) (*line.Line, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, io.ErrClosedPipe
	}
	if c.line != nil {
		return c.line, nil
	}
	rw := c.options.Port
	if rw == nil {
		baud := c.target.Baud
		if baud == 0 {
			baud = line.Rates[0]
		}
		p, err := line.Open(ctx, c.target.Device, baud)
		if err != nil {
			return nil, err
		}
		rw = p
	}
	c.line = line.New(c.target.String(), rw, c.log)
	return c.line, nil
}

// Close gives the port back. The unit stays at its prompt.
func (c *Channel) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	if c.line == nil {
		return nil
	}
	return c.line.Close()
}

// session is an open line and what is known about the prompt at its other end.
type session struct {
	line        *line.Line
	log         *line.Transcript
	quiet       time.Duration
	stopTimeout time.Duration
	progress    func(string)
	account     *devices.Account
	power       func(context.Context) error

	given    int // the rate that the target names, 0 when it names none
	screen   line.Screen
	prompt   string
	rejected string // a prompt that is not a boot loader's
	mute     bool   // the prompt does not echo
	boot     []byte // the boot log, as far as it was seen
	version  string // the answer to version
	locked   string // the words in which the loader asked for a password
	staging  window // RAM that may be written
	starts   int    // how often the unit was caught at boot
}
