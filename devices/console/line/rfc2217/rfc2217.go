// Package rfc2217 talks to a console server over Telnet with COM-PORT-OPTION:
// the bytes of a serial port both ways, and its rate, set from here.
//
// Facts are from RFC 2217 (COM-PORT-OPTION), RFC 854 and 855 (Telnet), RFC 856
// (binary transmission) and RFC 1143 (negotiation that cannot loop). The server
// is not trusted: what it may send beside data is bounded, and every wait has a
// limit.
package rfc2217

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"assay/devices"
)

// Conn is a console server's port. Read and Write may be called from different
// goroutines; Close frees both.
type Conn struct {
	conn   net.Conn
	limits limits

	writing  sync.Mutex // one message at a time
	requests sync.Mutex // one setting at a time

	mu        sync.Mutex
	changed   *sync.Cond // data, room, an option's state, a flow stop, the end
	decoder   decoder
	options   options
	reply     []byte // answers that the reader has to send
	data      []byte
	err       error // why it ended
	closing   bool
	suspended bool
	answers   chan []byte // to the setting that waits
	answering byte        // for this code
	notes     []string

	ended chan struct{} // the reader has ended
}

const maxData = 1 << 20 // received and not yet read

// limits are how long a server is waited for.
type limits struct {
	agree  time.Duration // for the answer that says whether it speaks COM-PORT-OPTION
	settle time.Duration // for answers after the one that matters
	set    time.Duration // for a setting: it may have to wait for its port to drain
	write  time.Duration // for it to take what is sent
}

var patience = limits{agree: devices.Patience, settle: time.Second, set: 5 * time.Second, write: 5 * time.Second}

// Client takes over a connection to a console server, agrees on binary
// transmission, and sets the port to 8N1 without flow control, at baud bits a
// second unless that is 0. What it returns has SetBaud (it is a [*Port]) when the
// server speaks COM-PORT-OPTION; one that refuses it is used as plain Telnet, and
// [Conn.Notes] says so. The connection is closed on an error, which wraps a
// sentinel of package devices.
func Client(ctx context.Context, conn net.Conn, baud int) (io.ReadWriteCloser, error) {
	return client(ctx, conn, baud, patience)
}

func client(ctx context.Context, conn net.Conn, baud int, l limits) (io.ReadWriteCloser, error) {
	c := &Conn{conn: conn, limits: l, ended: make(chan struct{})}
	c.changed = sync.NewCond(&c.mu)
	for _, option := range []byte{optComPort, optBinary, optSGA} {
		c.reply = c.options.ask(c.reply, will, option)
		if option != optComPort {
			c.reply = c.options.ask(c.reply, do, option)
		}
	}
	first := c.reply
	c.reply = nil
	go c.reader()
	rw, err := c.agree(ctx, first, baud)
	if err != nil {
		c.Close()
		return nil, err
	}
	return rw, nil
}

func (c *Conn) agree(ctx context.Context, first []byte, baud int) (io.ReadWriteCloser, error) {
	if err := c.send(first); err != nil {
		return nil, c.why(err)
	}
	if err := c.await(ctx, c.limits.agree, func() bool { return c.options.ours[optComPort] != asked || c.options.theirs[optComPort] == on }); err != nil {
		return nil, err
	}
	if err := c.await(ctx, c.limits.settle, func() bool { return c.options.open() == 0 }); err != nil {
		return nil, err
	}
	c.mu.Lock()
	telnet := c.options.seen > 0
	speaks := c.options.ours[optComPort] == on || c.options.theirs[optComPort] == on
	clean := c.options.ours[optBinary] == on && c.options.theirs[optBinary] == on
	c.mu.Unlock()
	if !telnet {
		return nil, fmt.Errorf("no Telnet option answered within %s: %w: is it a raw port? then write tcp:// instead of rfc2217://", c.limits.agree, devices.ErrUnreachable)
	}
	if !clean {
		c.note("the console server refuses binary transmission: bytes that are not plain text may arrive changed")
	}
	if !speaks {
		c.note("the console server refuses COM-PORT-OPTION (RFC 2217) and is used as plain Telnet: its port keeps the rate that is set on the server")
		return c, nil
	}
	p := &Port{c}
	return p, p.setUp(ctx, baud)
}

// await waits until done, which is called with c.mu held, or for d, which is no
// error: what is open then stays so.
func (c *Conn) await(ctx context.Context, d time.Duration, done func() bool) error {
	late := false
	wake := func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.changed.Broadcast()
	}
	timer := time.AfterFunc(d, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		late = true
		c.changed.Broadcast()
	})
	defer timer.Stop()
	defer context.AfterFunc(ctx, wake)()
	c.mu.Lock()
	defer c.mu.Unlock()
	for !done() && !late && c.err == nil && ctx.Err() == nil {
		c.changed.Wait()
	}
	if c.err != nil {
		return c.err
	}
	return ctx.Err()
}

// Notes says what a person should know about the connection.
func (c *Conn) Notes() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.notes...)
}

func (c *Conn) note(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.notes) < 16 {
		c.notes = append(c.notes, fmt.Sprintf(format, args...))
	}
}

func (c *Conn) reader() {
	defer close(c.ended)
	buf := make([]byte, 16<<10)
	var unsent error
	for {
		n, err := c.conn.Read(buf)
		reply, bad := c.take(buf[:n])
		if unsent != nil && errors.Is(err, os.ErrDeadlineExceeded) {
			err = unsent
		} else if err == nil {
			err = bad
		}
		if err != nil {
			c.end(err)
			return
		}
		if len(reply) > 0 && unsent == nil {
			// A server that hung up says why before that.
			if unsent = c.send(reply); unsent != nil {
				c.conn.SetReadDeadline(time.Now().Add(c.limits.settle))
			}
		}
		c.makeRoom()
	}
}

// take decodes what came.
func (c *Conn) take(b []byte) (reply []byte, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.data, err = c.decoder.decode(c.data, b, (*negotiator)(c))
	reply, c.reply = c.reply, nil
	c.changed.Broadcast()
	return reply, err
}

// makeRoom waits while nobody reads what came.
func (c *Conn) makeRoom() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.data) >= maxData && !c.closing {
		c.changed.Wait()
	}
}

func (c *Conn) end(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		err = net.ErrClosed
	}
	c.err = err
	c.changed.Broadcast()
}

func (c *Conn) failure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// negotiator is the connection as its decoder sees it, with mu held.
type negotiator Conn

func (n *negotiator) negotiate(verb, option byte) (err error) {
	n.reply, err = n.options.receive(n.reply, verb, option)
	n.decoder.binary = n.options.theirs[optBinary] == on
	return err
}

func (n *negotiator) subnegotiate(option byte, body []byte) {
	if option != optComPort || len(body) == 0 {
		return
	}
	code, value := body[0], body[1:]
	switch {
	case code == comSignature && len(value) == 0, code == comSignature+serverOffset && len(value) == 0:
		n.reply = command(n.reply, comSignature, []byte(signatureOfOurs)...)
	case code == comSuspend+serverOffset, code == comSuspend:
		n.suspended = true
	case code == comResume+serverOffset, code == comResume:
		n.suspended = false
	case n.answers != nil && code == n.answering:
		select {
		case n.answers <- bytes.Clone(value):
		default: // a flood of answers: those that came first will do
		}
	}
	// NOTIFY-LINESTATE, NOTIFY-MODEMSTATE and the rest change nothing here.
}

// Read returns what the port received.
func (c *Conn) Read(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.data) == 0 && c.err == nil && !c.closing {
		c.changed.Wait()
	}
	if len(c.data) == 0 {
		if c.closing {
			return 0, net.ErrClosed
		}
		return 0, c.err
	}
	n := copy(b, c.data)
	if c.data = c.data[n:]; len(c.data) == 0 {
		c.data = nil
	}
	c.changed.Broadcast()
	return n, nil
}

// Write sends to the port. It gives up after five seconds in which the server
// takes nothing or holds the flow.
func (c *Conn) Write(b []byte) (int, error) {
	if err := c.await(context.Background(), c.limits.write, func() bool { return !c.suspended }); err != nil {
		return 0, err
	}
	c.mu.Lock()
	binary, suspended := c.options.ours[optBinary] == on, c.suspended
	c.mu.Unlock()
	if suspended {
		return 0, errors.New("the console server holds the flow: its port's far end takes nothing")
	}
	if err := c.send(encode(nil, b, binary)); err != nil {
		return 0, c.why(err)
	}
	return len(b), nil
}

// why prefers what the server said before it hung up to the error of a write that
// came too late.
func (c *Conn) why(err error) error {
	select {
	case <-c.ended:
		return c.failure()
	case <-time.After(c.limits.settle):
		return err
	}
}

// send writes one message whole.
func (c *Conn) send(b []byte) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	if err := c.conn.SetWriteDeadline(time.Now().Add(c.limits.write)); err != nil {
		return err
	}
	_, err := c.conn.Write(b)
	return err
}

// Close ends the connection. What the server could not yet give to the unit is
// thrown away, so that nothing is typed after this program left.
func (c *Conn) Close() error {
	c.mu.Lock()
	again := c.closing
	c.closing = true
	held := c.suspended && c.err == nil
	c.changed.Broadcast()
	c.mu.Unlock()
	if again {
		return nil
	}
	if held {
		_ = c.send(command(nil, comPurge, purgeToTheUnit))
	}
	err := c.conn.Close()
	<-c.ended
	return err
}
