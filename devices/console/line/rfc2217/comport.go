package rfc2217

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"assay/devices"
)

// COM-PORT-OPTION's commands to the server (RFC 2217 section 3). The server
// answers with the same number and serverOffset.
const (
	comSignature    = 0
	comBaudRate     = 1
	comDataSize     = 2
	comParity       = 3
	comStopSize     = 4
	comControl      = 5
	comSuspend      = 8
	comResume       = 9
	comLineMask     = 10
	comModemMask    = 11
	comPurge        = 12
	serverOffset    = 100
	controlNoFlow   = 1 // SET-CONTROL: no flow control at all
	parityNone      = 1
	stopOne         = 1
	purgeToTheUnit  = 2 // PURGE-DATA: what the server has not sent to the unit
	signatureOfOurs = "assay"
)

// ErrRate says that the server does not set a rate that was asked for.
var ErrRate = errors.New("the console server does not set this rate")

// Port is a console server's port whose rate can be set.
type Port struct{ *Conn }

// SetBaud sets the rate, in bits a second, and waits until the server says that
// it has. The error wraps [ErrRate] when the server keeps another one.
func (p *Port) SetBaud(baud int) error {
	return p.set(context.Background(), baud)
}

func (p *Port) set(ctx context.Context, baud int) error {
	got, err := p.setting(ctx, comBaudRate, binary.BigEndian.AppendUint32(nil, uint32(baud)), func(b []byte) bool {
		return len(b) == 4 && near(binary.BigEndian.Uint32(b), uint32(baud))
	})
	if errors.Is(err, errOther) && len(got) == 4 {
		return fmt.Errorf("%w: asked for %d, it is at %d", ErrRate, baud, binary.BigEndian.Uint32(got))
	}
	if err != nil {
		return fmt.Errorf("SET-BAUDRATE %d: %w", baud, err)
	}
	return nil
}

// near allows for a server that tells the rate its clock divides down to.
func near(a, b uint32) bool {
	difference := max(a, b) - min(a, b)
	return uint64(difference)*50 <= uint64(b)
}

// setUp makes the port 8N1 without flow control, and sets its rate unless baud is
// 0. Binary answers need all eight bits; the rest is the consoles' custom.
func (p *Port) setUp(ctx context.Context, baud int) error {
	if baud != 0 {
		if err := p.set(ctx, baud); err != nil {
			return err
		}
	}
	for _, s := range []struct {
		command, value byte
		what           string
		must           bool
	}{
		{comDataSize, 8, "8 data bits", true},
		{comParity, parityNone, "no parity", true},
		{comStopSize, stopOne, "one stop bit", false},
		{comControl, controlNoFlow, "no flow control", false},
	} {
		_, err := p.setting(ctx, s.command, []byte{s.value}, func(b []byte) bool { return len(b) == 1 && b[0] == s.value })
		switch {
		case err == nil:
		case errors.Is(err, errOther), errors.Is(err, errNoAnswer):
			if s.must {
				return fmt.Errorf("the console server does not set %s (%w): %w", s.what, err, devices.ErrUnreachable)
			}
			p.note("the console server does not say that it set %s", s.what)
		default:
			return err
		}
	}
	// The unit's modem lines and line errors are of no use here.
	return p.send(command(command(nil, comLineMask, 0), comModemMask, 0))
}

var (
	errOther    = errors.New("it answers with another value")
	errNoAnswer = errors.New("no answer")
)

// setting sends a setting and waits for the answer that accepts it. A server may
// tell an older value first, so another value is final only after a moment.
func (p *Port) setting(ctx context.Context, code byte, value []byte, accepts func([]byte) bool) (got []byte, err error) {
	p.requests.Lock()
	defer p.requests.Unlock()
	answers := make(chan []byte, 16)
	p.mu.Lock()
	p.answers, p.answering = answers, code+serverOffset
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		p.answers = nil
		p.mu.Unlock()
	}()
	if err := p.send(command(nil, code, value...)); err != nil {
		return nil, p.why(err)
	}
	deadline := time.NewTimer(p.limits.set)
	defer deadline.Stop()
	err = errNoAnswer
	for {
		select {
		case b := <-answers:
			if accepts(b) {
				return b, nil
			}
			got, err = b, errOther
			deadline.Reset(p.limits.set / 10)
		case <-deadline.C:
			return got, err
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-p.ended:
			return nil, p.failure()
		}
	}
}

// command appends one command of COM-PORT-OPTION.
func command(dst []byte, code byte, value ...byte) []byte {
	dst = append(dst, iac, sb, optComPort, code)
	dst = encode(dst, value, true)
	return append(dst, iac, se)
}
