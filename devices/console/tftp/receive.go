// Package tftp receives one file by TFTP: the flash of a unit whose boot loader
// or shell uploads it (U-Boot's tftpput, "tftp ADDRESS NAME SIZE" of HiSilicon's
// and Xiongmai's loaders, SigmaStar's sfbin, BusyBox tftp -p).
//
// RFC 1350 with the options of RFC 2347, 2348 (blksize) and 2349 (tsize,
// timeout). It takes write requests in octet mode only, and one file of one name
// from one sender; whatever else comes is refused and changes nothing. TFTP has
// no checksum beyond UDP's, which a sender may leave out: what was received is to
// be checked against a checksum that the unit computes.
//
// All packets go through the one connection that the caller opened, where RFC
// 1350 has a server answer from a new port: a firewall then needs one rule, and
// every client takes the port that the first answer comes from.
package tftp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"assay/devices"
)

// Receiver says what is to be received. The zero value of a field is its default.
type Receiver struct {
	Name  string        // of the file, exactly
	Max   int64         // bytes that are taken at most
	From  netip.Prefix  // addresses that are listened to; all by default
	Idle  time.Duration // how long nothing new may come, before the request and after; 30 s
	Retry time.Duration // after which the last answer is sent again; 1 s
	Dally time.Duration // how long the last answer is repeated at need, once all is there; 2 s
	// Progress is told how many bytes have come.
	Progress func(n int64)
}

// Receive receives the file of a name, of max bytes at most, into w, with the
// defaults of a [Receiver].
func Receive(ctx context.Context, conn net.PacketConn, name string, max int64, w io.WriterAt) (n int64, err error) {
	return Receiver{Name: name, Max: max}.Receive(ctx, conn, w)
}

const (
	defaultIdle  = 30 * time.Second
	defaultRetry = time.Second
	defaultDally = 2 * time.Second
	maxRefusals  = 256 // that are answered; more are ignored
	maxRestarts  = 8   // of an upload that its sender began anew
	maxNetErrors = 64  // in a row

	// A packet that comes again within this part of the time to a repetition was
	// doubled on the way; later, its sender had no answer.
	doubled = 5

	// Each repetition of an answer waits so much longer than the one before.
	// tftp-hpa starts its own timer of 5 s anew at each answer, also at one that
	// it has had, so that answers at a steady pace would keep it from ever
	// sending a lost block again.
	backOff = 8
)

// Receive receives one file into w, in its order, and returns its size. On an
// error n bytes are there. The error wraps a sentinel of package devices, or is
// that of ctx or of w. conn is left open.
func (r Receiver) Receive(ctx context.Context, conn net.PacketConn, w io.WriterAt) (n int64, err error) {
	if r.Name == "" || r.Max <= 0 {
		return 0, fmt.Errorf("tftp: a name and a size are needed, not %q and %d", r.Name, r.Max)
	}
	for _, d := range []struct {
		v *time.Duration
		d time.Duration
	}{{&r.Idle, defaultIdle}, {&r.Retry, defaultRetry}, {&r.Dally, defaultDally}} {
		if *d.v <= 0 {
			*d.v = d.d
		}
	}
	t := &transfer{Receiver: r, conn: conn, w: w, buf: make([]byte, maxBlock+5), heard: time.Now()}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	defer func() {
		stop()
		_ = conn.SetReadDeadline(time.Time{})
	}()
	err = t.run(ctx)
	if err != nil {
		err = fmt.Errorf("tftp: receive %q: %w", r.Name, err)
	}
	return t.size, err
}

// transfer is one upload.
type transfer struct {
	Receiver
	conn net.PacketConn
	w    io.WriterAt
	buf  []byte

	peer     net.Addr // who uploads; nil before the request
	request  []byte   // the request as it came
	block    uint16   // the last block that came
	started  bool     // a block came
	size     int64
	stated   int64 // tsize; 0 when not stated
	blksize  int
	retry    time.Duration // agreed, or the receiver's own
	wait     time.Duration // until the answer is repeated
	answer   []byte        // the last one
	answered time.Time
	heard    time.Time // when something new came
	done     bool

	refused   int
	refusal   string // the last one, for the error that nothing came
	restarts  int
	netErrors int
}

func (t *transfer) run(ctx context.Context) error {
	for {
		limit := t.Idle
		if t.done {
			limit = t.Dally
		}
		end := t.heard.Add(limit)
		next := end
		if t.peer != nil && !t.done && t.answered.Add(t.wait).Before(end) {
			next = t.answered.Add(t.wait)
		}
		if err := t.conn.SetReadDeadline(next); err != nil {
			return fmt.Errorf("%w: %w", devices.ErrUnreachable, err)
		}
		if err := ctx.Err(); err != nil { // after the deadline was set, or it would undo what the end of ctx set
			if t.peer != nil && !t.done {
				t.send(t.peer, failure(codeUndefined, "cancelled"))
			}
			return err
		}
		n, from, err := t.conn.ReadFrom(t.buf)
		switch {
		case err == nil:
			t.netErrors = 0
			if err := t.packet(from, t.buf[:n]); err != nil {
				return err
			}
		case ctx.Err() != nil:
		case errors.Is(err, os.ErrDeadlineExceeded):
			if now := time.Now(); !now.Before(end) {
				if t.done {
					return nil
				}
				return t.silent()
			} else if t.peer != nil && !t.done {
				t.wait *= backOff
				t.again()
			}
		default:
			// Windows reports here that an earlier answer met a closed port.
			if t.netErrors++; t.netErrors > maxNetErrors || errors.Is(err, net.ErrClosed) {
				return fmt.Errorf("%w: %w", devices.ErrUnreachable, err)
			}
		}
	}
}

func (t *transfer) silent() error {
	if t.peer != nil {
		return fmt.Errorf("%w: %v sent nothing new for %s, after %d bytes: look at the unit's network cable", devices.ErrUnreachable, t.peer, t.Idle, t.size)
	}
	says := "the unit's network cable, its address and this machine's, a firewall before this port"
	if t.refusal != "" {
		says = "what came was refused: " + t.refusal
	}
	return fmt.Errorf("%w: nothing was uploaded in %s to %v; look at: %s", devices.ErrUnreachable, t.Idle, t.conn.LocalAddr(), says)
}

// packet takes one packet. What it returns ends the upload.
func (t *transfer) packet(from net.Addr, b []byte) error {
	if !t.listened(from) {
		return nil
	}
	p, err := parse(b)
	mine := t.peer != nil && from.String() == t.peer.String()
	switch {
	case err != nil:
		t.refuse(from, codeIllegal, err.Error())
	case p.op == opWrite && !(mine && (t.started || t.done)):
		return t.begin(from, p.request, b)
	case p.op == opRead:
		t.refuse(from, codeAccess, fmt.Sprintf("a request to read %q", printable(p.request.name)))
	case mine && p.op == opData:
		return t.take(p)
	case mine && p.op == opError && !t.done:
		return fmt.Errorf("%w: the unit gave up after %d bytes: error %d, %q", devices.ErrMalformed, t.size, p.code, p.message)
	case !mine && (p.op == opData || p.op == opAck):
		t.refuse(from, codeUnknownID, "data without a request")
	}
	return nil
}

// listened tells whether an address is one of those that are listened to.
func (t *transfer) listened(from net.Addr) bool {
	if !t.From.IsValid() {
		return true
	}
	u, ok := from.(*net.UDPAddr)
	if !ok {
		return false
	}
	a, ok := netip.AddrFromSlice(u.IP)
	return ok && t.From.Contains(a.Unmap())
}

// begin takes a write request.
func (t *transfer) begin(from net.Addr, q request, raw []byte) error {
	switch {
	case q.name != t.Name:
		t.refuse(from, codeAccess, fmt.Sprintf("a file named %q", printable(q.name)))
		return nil
	case q.mode != "octet":
		t.refuse(from, codeIllegal, fmt.Sprintf("a transfer in mode %q, which changes bytes; it has to be octet", printable(q.mode)))
		return nil
	case t.peer != nil && from.String() == t.peer.String() && bytes.Equal(raw, t.request):
		t.repeat() // our answer was lost
		return nil
	case t.done, t.peer != nil && !t.anew(from):
		t.refuse(from, codeAccess, fmt.Sprintf("a second upload, from %v", from))
		return nil
	}
	t.peer, t.request = from, slices.Clone(raw)
	t.block, t.started, t.size, t.stated = 0, false, 0, 0
	t.blksize, t.retry, t.heard = defaultBlock, t.Retry, time.Now()
	var agreed []option
	for _, o := range q.options {
		if slices.ContainsFunc(agreed, func(a option) bool { return a.name == o.name }) {
			continue
		}
		switch o.name {
		case "blksize":
			if n, ok := o.number(minBlock, maxBlock); ok {
				t.blksize = int(n)
				agreed = append(agreed, option{o.name, fmt.Sprint(n)})
			}
		case "timeout":
			if n, ok := o.number(1, 255); ok {
				t.retry = min(time.Duration(n)*time.Second, t.Idle/3)
				agreed = append(agreed, option{o.name, fmt.Sprint(n)})
			}
		case "tsize":
			if n, ok := o.number(0, 1<<62); ok {
				t.stated = n
				agreed = append(agreed, option{o.name, fmt.Sprint(n)})
			}
		}
	}
	if t.stated > t.Max {
		return t.full(t.stated)
	}
	if len(agreed) > 0 {
		t.reply(oack(agreed))
	} else {
		t.reply(ack(0))
	}
	return nil
}

// anew tells whether a sender that has an upload under way may begin anew, as
// U-Boot does from another port when it has waited too long: from the same
// address, and only when the earlier one has stalled.
func (t *transfer) anew(from net.Addr) bool {
	a, ok := from.(*net.UDPAddr)
	b, also := t.peer.(*net.UDPAddr)
	if !ok || !also || !a.IP.Equal(b.IP) || time.Since(t.heard) < 2*t.Retry || t.restarts == maxRestarts {
		return false
	}
	t.restarts++
	return true
}

// take takes a block of data.
func (t *transfer) take(p packet) error {
	want := t.block + 1 // 0 after 65535, as nearly all senders count; a few begin again at 1
	if t.done || t.started && p.block == t.block {
		// Answering each doubled packet at once would double all that follow (the
		// sorcerer's apprentice, RFC 1123 section 4.2.3.1). A sender whose
		// acknowledgement was lost comes again later than this.
		if p.block == t.block {
			t.repeat()
		}
		return nil
	}
	if p.block != want && !(want == 0 && p.block == 1) {
		return nil // an older one that was late
	}
	if len(p.data) > t.blksize {
		t.send(t.peer, failure(codeIllegal, "block too long"))
		return fmt.Errorf("%w: a block of %d bytes where %d were agreed, after %d bytes", devices.ErrMalformed, len(p.data), t.blksize, t.size)
	}
	if t.size+int64(len(p.data)) > t.Max {
		return t.full(t.size + int64(len(p.data)))
	}
	if _, err := t.w.WriteAt(p.data, t.size); err != nil {
		t.send(t.peer, failure(codeFull, "cannot be kept"))
		return fmt.Errorf("writing at %#x: %w", t.size, err)
	}
	t.size += int64(len(p.data))
	t.block, t.started, t.heard = p.block, true, time.Now()
	if t.Progress != nil {
		t.Progress(t.size)
	}
	if len(p.data) < t.blksize {
		if t.stated > 0 && t.size != t.stated {
			t.send(t.peer, failure(codeUndefined, "not the size that was stated"))
			return fmt.Errorf("%w: the upload ended after %d bytes and was to have %d", devices.ErrMalformed, t.size, t.stated)
		}
		t.done = true
	}
	t.reply(ack(p.block))
	return nil
}

func (t *transfer) full(n int64) error {
	t.send(t.peer, failure(codeFull, "too large"))
	return fmt.Errorf("%w: %d bytes or more, and %d are expected at most", devices.ErrHostile, n, t.Max)
}

func (t *transfer) reply(b []byte) {
	t.answer, t.wait = b, t.retry
	t.again()
}

// again sends the last answer.
func (t *transfer) again() {
	t.answered = time.Now()
	t.send(t.peer, t.answer)
}

// repeat sends the last answer, unless that has just been done.
func (t *transfer) repeat() {
	if time.Since(t.answered) >= t.retry/doubled {
		t.again()
	}
}

// refuse answers what is not wanted. Errors are never answered with errors.
func (t *transfer) refuse(to net.Addr, code uint16, what string) {
	t.refusal = fmt.Sprintf("%s, from %v", what, to)
	if t.refused++; t.refused <= maxRefusals {
		t.send(to, failure(code, "not taken here"))
	}
}

// send sends a packet. One that is not sent is as good as lost on the way.
func (t *transfer) send(to net.Addr, b []byte) { _, _ = t.conn.WriteTo(b, to) }
