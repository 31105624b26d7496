// Package console reads a unit through its serial console: it finds out what is
// at the other end of the line, gets to a prompt, and hands over to the package
// that speaks to it: uboot for a boot loader, shell for Linux. It never changes a
// setting on a unit.
//
// Facts about how boots are stopped are from U-Boot's common/autoboot.c and the
// vendors' consoles named in autoboot.go.
package console

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"assay/attest"
	"assay/devices"
	"assay/devices/console/line"
	"assay/devices/console/readout"
	"assay/devices/console/uboot"
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
	// Power cycles the unit's power, as [power.Cycle] does. What it tells to
	// [power.WithLog]'s log is kept in the transcript. It is not called again
	// before it has returned. Without it the person at the bench is
	// asked to, through Progress.
	Power func(context.Context) error
	// Quiet is the silence after which a unit has finished talking; 250 ms
	// when 0.
	Quiet time.Duration
	// StopTimeout is how long to wait for a boot to interrupt, 60 s when 0, or to
	// listen to, 5 minutes when 0.
	StopTimeout time.Duration
	// LoaderOnly refuses what the unit's operating system says: it is the boot
	// loader or nothing.
	LoaderOnly bool
	// ListenOnly sends nothing at all: it hears one boot and says what that says.
	ListenOnly bool
	// SwitchRate has a boot loader that can go on at this rate, in bits a second,
	// while the flash is read, and back at the end. 0 leaves the rate alone.
	SwitchRate int
	// Upload has a boot loader that can send its flash over the network.
	Upload *uboot.Upload
	// Rules are the fingerprints; the embedded ones when nil.
	Rules *fingerprint.Rules
	// Port is read and written instead of the target's device.
	Port io.ReadWriteCloser
}

// Channel is a unit's serial console. It is a [devices.FlashChecker]. Its methods
// must not be called from several goroutines at once, except Close.
type Channel struct {
	target  devices.Target
	options Options

	mu     sync.Mutex // guards line and closed against Close
	line   *line.Line
	closed bool
	log    *line.Transcript
	prompt prompt // nil before it was found
	sink   devices.Sink
	finder *finder
}

var _ devices.FlashChecker = (*Channel)(nil)

// Open returns the channel of a serial target. The device is opened by
// [Channel.Identify], whose error names what is wrong with it.
func Open(t devices.Target, o Options) *Channel {
	if o.Quiet <= 0 {
		o.Quiet = 250 * time.Millisecond
	}
	if o.StopTimeout <= 0 && o.ListenOnly {
		o.StopTimeout = 5 * time.Minute // a whole boot, and the wait for somebody to switch it on
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

// connect opens the line and finds a prompt, once.
func (c *Channel) connect(ctx context.Context) error {
	if c.prompt != nil {
		return nil
	}
	l, err := c.openLine(ctx)
	if err != nil {
		return err
	}
	c.finder = &finder{
		line: l, log: c.log, quiet: c.options.Quiet, given: c.target.Baud,
		stopTimeout: c.options.StopTimeout, progress: c.options.Progress, rules: c.options.Rules,
		account: c.options.Account, power: c.options.Power, loaderOnly: c.options.LoaderOnly, listenOnly: c.options.ListenOnly, upload: c.options.Upload,
	}
	if c.prompt, err = c.finder.find(ctx); err != nil {
		return err
	}
	if p, ok := c.prompt.(*uboot.Prompt); ok && c.options.SwitchRate != 0 {
		if err := p.SwitchRate(ctx, c.options.SwitchRate); err != nil {
			c.options.Progress(err.Error())
			c.sink.Problem(devices.ProblemKindOf(err), "uboot baudrate", err.Error())
			if errors.Is(err, devices.ErrUnreachable) {
				return err
			}
		}
	}
	return nil
}

// leaveTimeout bounds how long a unit's loader may take to leave as it was found.
const leaveTimeout = 5 * time.Second

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
	if p, ok := c.prompt.(*uboot.Prompt); ok && c.options.SwitchRate != 0 && !c.closed {
		ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
		if err := p.Leave(ctx); err != nil {
			c.log.Remark("%v", err)
		}
		cancel()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	if c.line == nil {
		return nil
	}
	return c.line.Close()
}

// Identify finds a prompt and reads what it knows about the unit. The transcript
// becomes an artefact however it ends.
func (c *Channel) Identify(ctx context.Context, sink devices.Sink) error {
	c.sink = sink
	defer c.keepTranscript()
	err := c.connect(ctx)
	c.claimFound()
	if err != nil {
		return err
	}
	return c.prompt.Identify(ctx, sink)
}

// keepTranscript gives the sink what the line said since the last time.
func (c *Channel) keepTranscript() {
	if text := c.log.Take(); c.sink != nil && len(text) > 0 {
		c.sink.Artefact("text/plain", "console transcript of "+c.target.String(), text)
	}
}

// claimFound tells what is at the other end, and of a loader that asked for a
// password, whether or not it was let in: it is a sign of hardening.
func (c *Channel) claimFound() {
	f := c.finder
	if f == nil {
		return
	}
	if f.locked != "" {
		c.sink.Claim(attest.Claim{Subject: attest.SubjectBootLoader, Name: "console-lock", Value: "password: " + f.locked, Source: "uboot autoboot", Acquisition: attest.A2})
	}
	if f.found != "" {
		c.sink.Claim(attest.Claim{Subject: attest.SubjectUnit, Name: "console", Value: f.found, Source: "console"})
	}
}

// Banks returns the flash memories that the prompt showed.
func (c *Channel) Banks(context.Context) ([]devices.Bank, error) {
	if c.prompt == nil {
		return nil, c.notYet()
	}
	return c.prompt.Banks(), nil
}

func (c *Channel) notYet() error {
	return fmt.Errorf("%s: %w: the flash is not known before the unit is identified", c.target, devices.ErrUnreachable)
}

// Source returns a bank as it is read through the prompt.
func (c *Channel) Source(ctx context.Context, b devices.Bank) (readout.Source, error) {
	if c.prompt == nil {
		return nil, c.notYet()
	}
	return c.prompt.Source(ctx, b)
}

// ReadBank reads a bank into w. An area whose checksum is that of 0xFF or 0x00
// throughout is not sent but written as such: a unit that lies about it is not
// found out, as it would not be about the bytes.
func (c *Channel) ReadBank(ctx context.Context, b devices.Bank, w io.WriterAt, progress devices.Progress) error {
	source, err := c.Source(ctx, b)
	if err != nil {
		return err
	}
	defer c.keepTranscript()
	o := readout.Options{}
	if progress != nil {
		o.Progress = func(s readout.State) { progress(s.Done, s.Total) }
	}
	report, err := readout.Run(ctx, source, unkept{w}, o)
	if report == nil {
		return err
	}
	if err != nil {
		c.log.Remark("reading %s: %v", b.Name, err)
	}
	c.claimReadout(b, report)
	return unread(b.Name, report, err)
}

// Reread reads a bank again: its checksums anew, and the bytes of what is not as
// it was. A unit that has no checksum sends everything again.
func (c *Channel) Reread(ctx context.Context, b devices.Bank, first io.ReaderAt, w io.WriterAt, progress devices.Progress) ([]attest.Extent, error) {
	source, err := c.Source(ctx, b)
	if err != nil {
		return nil, err
	}
	defer c.keepTranscript()
	store := &second{first: first, w: w}
	o := readout.Options{}
	if source.Checksum().Of != nil {
		o.Reference = &readout.Reference{ReaderAt: first, Size: b.Size}
	}
	if progress != nil {
		o.Progress = func(s readout.State) { progress(s.Done, s.Total) }
	}
	report, err := readout.Run(ctx, source, store, o)
	if report != nil {
		err = unread(b.Name, report, err)
	}
	return store.differ, err
}

// second is the store of a second reading.
type second struct {
	first  io.ReaderAt
	w      io.WriterAt
	differ []attest.Extent
}

func (s *second) WriteAt(b []byte, off int64) (int, error) {
	was := make([]byte, len(b))
	if n, err := s.first.ReadAt(was, off); n < len(was) {
		return 0, err
	}
	if bytes.Equal(was, b) {
		return len(b), nil
	}
	s.differ = append(s.differ, attest.Extent{Offset: off, Size: int64(len(b))})
	return s.w.WriteAt(b, off)
}

func (s *second) Done(readout.Piece) error { return nil }

// claimReadout says how the bytes of a bank came about: what did not travel is
// known by a checksum only, which the unit computed itself.
func (c *Channel) claimReadout(b devices.Bank, r *readout.Report) {
	s := r.State()
	value := fmt.Sprintf("%d bytes read", s.Read)
	if s.Blank > 0 {
		value += fmt.Sprintf(", %d blank by the unit's own %s", s.Blank, r.Checksum)
	}
	if s.Unread > 0 {
		value += fmt.Sprintf(", %d unread", s.Unread)
	}
	c.sink.Claim(attest.Claim{Subject: attest.SubjectFlash, Name: "readout", Value: value, Source: "flash " + b.Name, Acquisition: b.Acquisition})
}

// unkept is a store that needs no record.
type unkept struct{ io.WriterAt }

func (unkept) Done(readout.Piece) error { return nil }

// unread is the error that names what of a bank could not be read.
func unread(bank string, r *readout.Report, cause error) error {
	if len(r.Unread) == 0 {
		return cause
	}
	e := &devices.UnreadError{Bank: bank, Cause: cause}
	for _, u := range r.Unread {
		e.Extents = append(e.Extents, u.Extent)
		if e.Cause == nil {
			e.Cause = u.Cause
		}
	}
	return e
}
