package tftp

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"assay/devices"
)

// memory takes what is received.
type memory struct {
	mu sync.Mutex
	b  []byte
}

func (m *memory) WriteAt(p []byte, off int64) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n := int(off) + len(p); n > len(m.b) {
		m.b = append(m.b, make([]byte, n-len(m.b))...)
	}
	return copy(m.b[off:], p), nil
}

func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

func socket(t testing.TB) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

type result struct {
	n   int64
	err error
	m   *memory
}

// receiving starts a receiver and returns its address and what comes of it.
func receiving(t testing.TB, r Receiver) (net.Addr, func() result) {
	t.Helper()
	conn := socket(t)
	out := make(chan result, 1)
	if r.Dally == 0 {
		r.Dally = 50 * time.Millisecond
	}
	if r.Retry == 0 {
		r.Retry = 100 * time.Millisecond
	}
	go func() {
		m := &memory{}
		n, err := r.Receive(t.Context(), conn, m)
		out <- result{n, err, m}
	}()
	return conn.LocalAddr(), func() result {
		t.Helper()
		select {
		case x := <-out:
			return x
		case <-time.After(time.Minute):
			t.Fatal("it does not end")
			return result{}
		}
	}
}

func wrq(name, mode string, options ...string) []byte {
	b := []byte{0, opWrite}
	for _, s := range append([]string{name, mode}, options...) {
		b = append(append(b, s...), 0)
	}
	return b
}

func data(block uint16, b []byte) []byte {
	return append(binary.BigEndian.AppendUint16([]byte{0, opData}, block), b...)
}

// client is a sender for tests.
type client struct {
	conn    *net.UDPConn
	to      net.Addr
	wait    time.Duration
	blksize int
	first   uint16 // the block after 65535
	buf     [1 << 16]byte
}

// ask sends a packet until an answer comes, and returns it.
func (c *client) ask(p []byte) (packet, error) {
	for range 100 {
		if _, err := c.conn.WriteTo(p, c.to); err != nil {
			return packet{}, err
		}
		_ = c.conn.SetReadDeadline(time.Now().Add(c.wait))
		n, _, err := c.conn.ReadFrom(c.buf[:])
		if err == nil {
			return parse(c.buf[:n])
		}
	}
	return packet{}, errors.New("no answer")
}

// upload sends a file.
func (c *client) upload(name string, content []byte, options ...string) error {
	if c.blksize == 0 {
		c.blksize = defaultBlock
	}
	p, err := c.ask(wrq(name, "octet", options...))
	if err != nil {
		return err
	}
	if want := uint16(opAck); p.op != want && p.op != opOack {
		return fmt.Errorf("%+v", p)
	}
	block := uint16(1)
	for at := 0; ; block++ {
		if block == 0 {
			block = c.first
		}
		end := min(at+c.blksize, len(content))
		if err := c.block(block, content[at:end]); err != nil {
			return err
		}
		if end-at < c.blksize {
			return nil
		}
		at = end
	}
}

// block sends a block until it is acknowledged. What acknowledges an earlier one
// is not answered, as RFC 1123 has it.
func (c *client) block(number uint16, b []byte) error {
	for range 200 {
		if _, err := c.conn.WriteTo(data(number, b), c.to); err != nil {
			return err
		}
		_ = c.conn.SetReadDeadline(time.Now().Add(c.wait))
		for {
			n, _, err := c.conn.ReadFrom(c.buf[:])
			if err != nil {
				break
			}
			p, err := parse(c.buf[:n])
			if err != nil || p.op == opError {
				return fmt.Errorf("%+v: %v", p, err)
			}
			if p.op == opAck && p.block == number {
				return nil
			}
		}
	}
	return fmt.Errorf("block %d is never acknowledged", number)
}

func TestAFileComesByteByByteInBlocksOfAnySize(t *testing.T) {
	content := noise(200_000)
	for name, c := range map[string]struct {
		content []byte
		blksize int
		options []string
	}{
		"512 without options":      {content, 512, nil},
		"blksize, tsize, timeout":  {content, 1468, []string{"tsize", "200000", "blksize", "1468", "timeout", "1"}},
		"the largest block":        {content, 65464, []string{"BLKSIZE", "65464"}},
		"the smallest block":       {content[:100], 8, []string{"blksize", "8"}},
		"a whole number of blocks": {content[:1024], 512, nil},
		"nothing":                  {nil, 512, nil},
		"options of no meaning":    {content[:1000], 512, []string{"blksize", "7", "tsize", "x", "timeout", "0", "windowsize", "16", "rollover", "0"}},
	} {
		t.Run(name, func(t *testing.T) {
			to, end := receiving(t, Receiver{Name: "flash.bin", Max: 1 << 20})
			if err := (&client{conn: socket(t), to: to, wait: time.Second, blksize: c.blksize}).upload("flash.bin", c.content, c.options...); err != nil {
				t.Fatal(err)
			}
			if x := end(); x.err != nil || x.n != int64(len(c.content)) || !bytes.Equal(x.m.b, c.content) {
				t.Fatalf("%d bytes, %v", x.n, x.err)
			}
		})
	}
}

func TestBlockNumbersBeginAnewBehind65535(t *testing.T) {
	content := noise(70_000 * 8)
	for _, first := range []uint16{0, 1} {
		to, end := receiving(t, Receiver{Name: "flash.bin", Max: 1 << 20})
		if err := (&client{conn: socket(t), to: to, wait: time.Second, blksize: 8, first: first}).upload("flash.bin", content, "blksize", "8"); err != nil {
			t.Fatal(err)
		}
		if x := end(); x.err != nil || !bytes.Equal(x.m.b, content) {
			t.Fatalf("from %d on: %d bytes, %v", first, x.n, x.err)
		}
	}
}

// badLine carries packets both ways, and loses, doubles and delays some.
type badLine struct {
	front, back *net.UDPConn
	server      net.Addr
	mu          sync.Mutex
	client      net.Addr
	r           *rand.Rand
	rate        float64 // of each kind
	forward     int     // packets towards the server
	lose        int     // the one of these that is lost
}

func newBadLine(t testing.TB, server net.Addr, rate float64, lose int) *badLine {
	l := &badLine{front: socket(t), back: socket(t), server: server, r: rand.New(rand.NewPCG(1, 2)), rate: rate, lose: lose}
	go l.pump(l.front, func(from net.Addr, p []byte) {
		l.mu.Lock()
		l.client = from
		l.forward++
		lost := l.forward == l.lose
		l.mu.Unlock()
		if lost {
			return
		}
		l.carry(p, l.back, func() net.Addr { return l.server })
	})
	go l.pump(l.back, func(_ net.Addr, p []byte) {
		l.carry(p, l.front, func() net.Addr { l.mu.Lock(); defer l.mu.Unlock(); return l.client })
	})
	return l
}

func (l *badLine) pump(c *net.UDPConn, each func(net.Addr, []byte)) {
	buf := make([]byte, 1<<16)
	for {
		n, from, err := c.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			each(from, bytes.Clone(buf[:n]))
		}
	}
}

func (l *badLine) carry(p []byte, over *net.UDPConn, to func() net.Addr) {
	l.mu.Lock()
	fate := l.r.Float64()
	l.mu.Unlock()
	send := func() { _, _ = over.WriteTo(p, to()) }
	switch {
	case fate < l.rate: // lost
	case fate < 2*l.rate:
		send()
		send()
	case fate < 3*l.rate:
		time.AfterFunc(3*time.Millisecond, send) // overtaken by what comes after it
	default:
		send()
	}
}

func TestLostDoubledAndLatePacketsChangeNothing(t *testing.T) {
	content := noise(1 << 20)
	to, end := receiving(t, Receiver{Name: "flash.bin", Max: 1 << 21, Retry: 20 * time.Millisecond, Dally: time.Second})
	line := newBadLine(t, to, 0.03, 0)
	if err := (&client{conn: socket(t), to: line.front.LocalAddr(), wait: 30 * time.Millisecond, blksize: 1024}).upload("flash.bin", content, "blksize", "1024"); err != nil {
		t.Fatal(err)
	}
	if x := end(); x.err != nil || !bytes.Equal(x.m.b, content) {
		t.Fatalf("%d bytes, %v", x.n, x.err)
	}
}

// A sender that answers each acknowledgement with the next block, however often
// it has come, sends everything twice once a packet was doubled, unless the
// receiver lets doubled blocks pass in silence.
func TestADoubledBlockIsNotAcknowledgedTwice(t *testing.T) {
	to, end := receiving(t, Receiver{Name: "flash.bin", Max: 1 << 20, Retry: 10 * time.Second})
	c := &client{conn: socket(t), to: to, wait: time.Second}
	if _, err := c.ask(wrq("flash.bin", "octet")); err != nil {
		t.Fatal(err)
	}
	block := noise(512)
	for range 3 {
		if _, err := c.conn.WriteTo(data(1, block), to); err != nil {
			t.Fatal(err)
		}
	}
	answers := 0
	for {
		_ = c.conn.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		if _, _, err := c.conn.ReadFrom(c.buf[:]); err != nil {
			break
		}
		answers++
	}
	if answers != 1 {
		t.Errorf("%d answers to a block that came three times", answers)
	}
	if err := c.block(2, nil); err != nil {
		t.Fatal(err)
	}
	if x := end(); x.err != nil || x.n != 512 {
		t.Fatalf("%d, %v", x.n, x.err)
	}
}

func TestWhatIsNotExpectedIsRefusedAndChangesNothing(t *testing.T) {
	to, end := receiving(t, Receiver{Name: "flash.bin", Max: 1 << 20, Retry: 10 * time.Second})
	other := &client{conn: socket(t), to: to, wait: time.Second}
	for name, p := range map[string][]byte{
		"another name":      wrq("/etc/passwd", "octet"),
		"a path":            wrq("../flash.bin", "octet"),
		"text mode":         wrq("flash.bin", "netascii"),
		"mail mode":         wrq("flash.bin", "mail"),
		"a read request":    append([]byte{0, opRead}, "flash.bin\x00octet\x00"...),
		"data at once":      data(1, []byte("x")),
		"an acknowledgment": ack(7),
		"an unknown opcode": {0, 9, 1, 2},
		"no NUL at its end": []byte("\x00\x02flash.bin\x00octet"),
		"an odd option":     wrq("flash.bin", "octet", "blksize"),
		"too long":          wrq("flash.bin", "octet", strings.Repeat("x", 600), "1"),
	} {
		if got, err := other.ask(p); err != nil || got.op != opError {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	for _, p := range [][]byte{{}, {0}, {0, opError}, failure(1, "I refuse"), oack(nil)} { // nothing, or errors: not answered for ever
		_, _ = other.conn.WriteTo(p, to)
	}
	content := noise(3000)
	c := &client{conn: socket(t), to: to, wait: time.Second}
	if _, err := c.ask(wrq("flash.bin", "octet")); err != nil {
		t.Fatal(err)
	}
	if err := c.block(1, content[:512]); err != nil {
		t.Fatal(err)
	}
	// A stranger in the middle of it.
	for _, p := range [][]byte{data(2, []byte("forged")), wrq("flash.bin", "octet")} {
		if got, err := other.ask(p); err != nil || got.op == opAck || got.op == opOack {
			t.Errorf("%+v, %v", got, err)
		}
	}
	_, _ = other.conn.WriteTo(failure(0, "stop"), to)
	for i := 1; i < 6; i++ {
		if err := c.block(uint16(i+1), content[512*i:min(512*(i+1), 3000)]); err != nil {
			t.Fatal(err)
		}
	}
	if x := end(); x.err != nil || !bytes.Equal(x.m.b, content) {
		t.Fatalf("%d bytes, %v", x.n, x.err)
	}
}

func TestAnUploadThatCannotBeTakenIsOneClearError(t *testing.T) {
	begin := func(options ...string) func(c *client) {
		return func(c *client) { _, _ = c.ask(wrq("flash.bin", "octet", options...)) }
	}
	for name, c := range map[string]struct {
		do   func(c *client)
		n    int64
		is   error
		says string
	}{
		"stated too large":    {begin("tsize", "5000"), 0, devices.ErrHostile, "5000 bytes or more, and 4096"},
		"too large":           {func(c *client) { c.upload("flash.bin", noise(5000)) }, 4096, devices.ErrHostile, "4096 are expected"},
		"shorter than stated": {func(c *client) { c.upload("flash.bin", noise(1000), "tsize", "2000") }, 1000, devices.ErrMalformed, "1000 bytes and was to have 2000"},
		"a block too long": {func(c *client) {
			begin()(c)
			_ = c.block(1, noise(513))
		}, 0, devices.ErrMalformed, "513 bytes where 512"},
		"given up": {func(c *client) {
			begin()(c)
			_ = c.block(1, noise(512))
			_, _ = c.conn.WriteTo(failure(0, "user \x1babort"), c.to)
		}, 512, devices.ErrMalformed, `"user .abort"`},
		"cut off": {func(c *client) {
			begin()(c)
			_ = c.block(1, noise(512))
		}, 512, devices.ErrUnreachable, "nothing new for 1.5s, after 512 bytes"},
		"another name only": {func(c *client) { _, _ = c.ask(wrq("kernel.bin", "octet")) }, 0, devices.ErrUnreachable, `what came was refused: a file named "kernel.bin"`},
		"nothing":           {func(*client) {}, 0, devices.ErrUnreachable, "network cable"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			to, end := receiving(t, Receiver{Name: "flash.bin", Max: 4096, Idle: 1500 * time.Millisecond})
			c.do(&client{conn: socket(t), to: to, wait: 200 * time.Millisecond})
			x := end()
			if !errors.Is(x.err, c.is) || !strings.Contains(x.err.Error(), c.says) || x.n != c.n {
				t.Errorf("%d bytes, %v", x.n, x.err)
			}
		})
	}
}

func TestOnlyTheAddressesThatWereNamedAreListenedTo(t *testing.T) {
	to, end := receiving(t, Receiver{Name: "flash.bin", Max: 4096, From: netip.MustParsePrefix("192.0.2.0/24"), Idle: 300 * time.Millisecond})
	c := &client{conn: socket(t), to: to, wait: 10 * time.Millisecond}
	_, _ = c.conn.WriteTo(wrq("flash.bin", "octet"), to)
	_ = c.conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	if n, _, err := c.conn.ReadFrom(c.buf[:]); err == nil {
		t.Errorf("a stranger was answered: %q", c.buf[:n])
	}
	if x := end(); !errors.Is(x.err, devices.ErrUnreachable) {
		t.Error(x.err)
	}
}

func TestASenderThatBeginsAnewAfterAStallIsTakenAnew(t *testing.T) {
	to, end := receiving(t, Receiver{Name: "flash.bin", Max: 4096, Retry: 20 * time.Millisecond})
	first := &client{conn: socket(t), to: to, wait: time.Second}
	if _, err := first.ask(wrq("flash.bin", "octet")); err != nil {
		t.Fatal(err)
	}
	if err := first.block(1, noise(512)); err != nil {
		t.Fatal(err)
	}
	time.Sleep(100 * time.Millisecond)
	content := noise(700)
	if err := (&client{conn: socket(t), to: to, wait: time.Second}).upload("flash.bin", content); err != nil {
		t.Fatal(err)
	}
	if x := end(); x.err != nil || x.n != 700 || !bytes.Equal(x.m.b[:700], content) {
		t.Fatalf("%d, %v", x.n, x.err)
	}
}

func TestTheEndOfAContextEndsIt(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	conn := socket(t)
	time.AfterFunc(50*time.Millisecond, cancel)
	if _, err := Receive(ctx, conn, "flash.bin", 100, &memory{}); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Millisecond)) // it is left open
	if _, _, err := conn.ReadFrom(make([]byte, 10)); errors.Is(err, net.ErrClosed) {
		t.Fatal(err)
	}
	conn.Close()
	if _, err := Receive(t.Context(), conn, "flash.bin", 100, &memory{}); !errors.Is(err, devices.ErrUnreachable) {
		t.Fatal(err)
	}
	if _, err := Receive(t.Context(), conn, "", 100, &memory{}); err == nil {
		t.Fatal("a file without a name")
	}
}

type fullDisk struct{}

func (fullDisk) WriteAt([]byte, int64) (int, error) { return 0, io.ErrShortWrite }

func TestWhatCannotBeKeptIsAnError(t *testing.T) {
	conn := socket(t)
	go func() {
		c := &client{conn: socket(t), to: conn.LocalAddr(), wait: time.Second}
		_ = c.upload("flash.bin", noise(10))
	}()
	if _, err := Receive(t.Context(), conn, "flash.bin", 100, fullDisk{}); !errors.Is(err, io.ErrShortWrite) {
		t.Fatal(err)
	}
}

func FuzzPacket(f *testing.F) {
	for _, p := range [][]byte{wrq("flash.bin", "octet", "tsize", "1", "blksize", "1468"), data(1, []byte("x")), ack(9), failure(3, "full"), oack([]option{{"tsize", "1"}}), {0, 1, 0}} {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := parse(b)
		if err != nil {
			return
		}
		switch p.op {
		case opRead, opWrite:
			if p.request.name == "" || strings.Contains(p.request.name+p.request.mode, "\x00") || len(p.request.options) > maxOptions {
				t.Fatalf("%+v", p)
			}
			for _, o := range p.request.options {
				if n, ok := o.number(8, 100); ok && (n < 8 || n > 100) {
					t.Fatalf("%+v", o)
				}
			}
		case opData:
			if !bytes.Equal(data(p.block, p.data), b) {
				t.Fatalf("%+v", p)
			}
		case opError:
			if strings.ContainsAny(p.message, "\n\x1b\x00") {
				t.Fatalf("%q", p.message)
			}
		}
	})
}

func BenchmarkReceive(b *testing.B) {
	content := noise(4 << 20)
	for _, blksize := range []int{512, 1468, 65464} {
		b.Run(fmt.Sprintf("blksize %d", blksize), func(b *testing.B) {
			b.SetBytes(int64(len(content)))
			for b.Loop() {
				to, end := receiving(b, Receiver{Name: "flash.bin", Max: 8 << 20, Dally: time.Nanosecond})
				if err := (&client{conn: socket(b), to: to, wait: time.Second, blksize: blksize}).upload("flash.bin", content, "blksize", fmt.Sprint(blksize)); err != nil {
					b.Fatal(err)
				}
				if x := end(); x.err != nil || x.n != int64(len(content)) {
					b.Fatal(x.err)
				}
			}
		})
	}
}
