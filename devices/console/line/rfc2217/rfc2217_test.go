package rfc2217

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"assay/devices"
)

// server is a console server as a test wants it: it gets the connection's far
// end and does what it likes until it returns, which closes it.
func server(t *testing.T, behave func(net.Conn)) net.Conn {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		far, err := l.Accept()
		if err != nil {
			return
		}
		defer far.Close()
		behave(far)
	}()
	near, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close(); <-done })
	return near
}

// swallow reads until the client leaves.
func swallow(c net.Conn) { io.Copy(io.Discard, c) }

// obliging answers as RFC 2217 says, with settings changed by change, until
// the client leaves; data comes back.
type obliging struct {
	conn   net.Conn
	refuse map[byte]bool
	change func(code byte, value []byte) []byte
	d      decoder
}

func (o *obliging) negotiate(verb, option byte) error {
	switch {
	case verb == will && o.refuse[option]:
		o.conn.Write([]byte{iac, dont, option})
	case verb == will:
		o.conn.Write([]byte{iac, do, option})
	case verb == do && o.refuse[option]:
		o.conn.Write([]byte{iac, wont, option})
	case verb == do:
		o.conn.Write([]byte{iac, will, option})
	}
	return nil
}

func (o *obliging) subnegotiate(option byte, body []byte) {
	value := body[1:]
	if o.change != nil {
		if value = o.change(body[0], value); value == nil {
			return
		}
	}
	o.conn.Write(command(nil, body[0]+serverOffset, value...))
}

func (o *obliging) serve() {
	buf := make([]byte, 4096)
	for {
		n, err := o.conn.Read(buf)
		if err != nil {
			return
		}
		data, err := o.d.decode(nil, buf[:n], o)
		if err != nil {
			return
		}
		o.conn.Write(encode(nil, data, true))
	}
}

// connect has a tenth of the patience that is usual.
func connect(ctx context.Context, conn net.Conn, baud int) (io.ReadWriteCloser, error) {
	return client(ctx, conn, baud, limits{agree: time.Second, settle: 300 * time.Millisecond, set: time.Second, write: time.Second})
}

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestAServerThatRefusesTheOptionIsPlainTelnetAndSaysSo(t *testing.T) {
	t.Parallel()
	near := server(t, func(c net.Conn) { (&obliging{conn: c, refuse: map[byte]bool{optComPort: true}}).serve() })
	rw, err := connect(within(t, 10*time.Second), near, 9600)
	if err != nil {
		t.Fatal(err)
	}
	defer rw.Close()
	if _, ok := rw.(interface{ SetBaud(int) error }); ok {
		t.Error("it says that it can set a rate")
	}
	if notes := rw.(*Conn).Notes(); len(notes) != 1 || !strings.Contains(notes[0], "plain Telnet") {
		t.Errorf("notes %q", notes)
	}
	echoes(t, rw, "=> \xff\r\n")
}

func echoes(t *testing.T, rw io.ReadWriter, s string) {
	t.Helper()
	if _, err := io.WriteString(rw, s); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(s))
	if _, err := io.ReadFull(rw, got); err != nil || string(got) != s {
		t.Errorf("%q came back as %q, %v", s, got, err)
	}
}

func TestAServerThatRefusesBinaryGetsACRAsTelnetWritesIt(t *testing.T) {
	t.Parallel()
	got := make(chan []byte, 1)
	near := server(t, func(c net.Conn) {
		c.Write([]byte{iac, dont, optBinary, iac, wont, optBinary, iac, do, optSGA, iac, will, optSGA, iac, dont, optComPort})
		c.Write([]byte("a\r\x00b\r\nc\xff\xff"))
		all, _ := io.ReadAll(c)
		got <- all
	})
	rw, err := connect(within(t, 10*time.Second), near, 0)
	if err != nil {
		t.Fatal(err)
	}
	if notes := rw.(*Conn).Notes(); len(notes) != 2 || !strings.Contains(notes[0], "binary") {
		t.Errorf("notes %q", notes)
	}
	b := make([]byte, 7)
	if _, err := io.ReadFull(rw, b); err != nil || string(b) != "a\rb\r\nc\xff" {
		t.Errorf("received %q, %v", b, err)
	}
	rw.Write([]byte("version\r\xff"))
	rw.Close()
	if all := <-got; !bytes.HasSuffix(all, []byte("version\r\x00\xff\xff")) {
		t.Errorf("sent %q", all)
	}
}

func TestSettingsThatTheServerChangesAreNotTakenForSet(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(code byte, value []byte) []byte
		is     error
		says   string
	}{
		"another rate": {func(code byte, v []byte) []byte {
			if code == comBaudRate {
				return []byte{0, 0, 0x25, 0x80}
			}
			return v
		}, ErrRate, "it is at 9600"},
		"seven bits": {func(code byte, v []byte) []byte {
			if code == comDataSize {
				return []byte{7}
			}
			return v
		}, devices.ErrUnreachable, "8 data bits"},
		"a rate of three bytes": {func(code byte, v []byte) []byte {
			if code == comBaudRate {
				return []byte{1, 2, 3}
			}
			return v
		}, errOther, "SET-BAUDRATE"},
	} {
		t.Run(name, func(t *testing.T) {
			near := server(t, func(conn net.Conn) { (&obliging{conn: conn, change: c.change}).serve() })
			_, err := connect(within(t, 20*time.Second), near, 115200)
			if !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestARateMayBeToldAsTheClockDividesItAndAfterAnOlderOne(t *testing.T) {
	t.Parallel()
	var far net.Conn
	near := server(t, func(conn net.Conn) {
		far = conn
		(&obliging{conn: conn, change: func(code byte, v []byte) []byte {
			if code == comBaudRate {
				far.Write(command(nil, comBaudRate+serverOffset, 0, 0, 0x25, 0x80)) // unasked
				return binary.BigEndian.AppendUint32(nil, binary.BigEndian.Uint32(v)*1007/1000)
			}
			if code == comControl || code == comStopSize {
				return nil
			}
			return v
		}}).serve()
	})
	rw, err := connect(within(t, 20*time.Second), near, 115200)
	if err != nil {
		t.Fatal(err)
	}
	defer rw.Close()
	if notes := rw.(*Port).Notes(); len(notes) != 2 || !strings.Contains(notes[0], "stop bit") {
		t.Errorf("notes %q", notes)
	}
	if err := rw.(*Port).SetBaud(9600); err != nil {
		t.Error(err)
	}
}

func TestNoticesOfLineAndModemAreNoData(t *testing.T) {
	t.Parallel()
	near := server(t, func(c net.Conn) {
		c.Write(command(nil, 7+serverOffset, 0xff))
		c.Write(command(nil, 6+serverOffset, 0x60))
		c.Write(command(nil, comSignature)) // it asks who we are
		c.Write([]byte{iac, 241, iac, 249, iac, sb, optComPort, iac, se, iac, sb, iac, se})
		(&obliging{conn: c}).serve()
	})
	rw, err := connect(within(t, 10*time.Second), near, 115200)
	if err != nil {
		t.Fatal(err)
	}
	defer rw.Close()
	echoes(t, rw, "clean")
}

func TestAServerThatHoldsTheFlowIsWaitedForAndGivenUp(t *testing.T) {
	t.Parallel()
	var far net.Conn
	started := make(chan struct{})
	purged := make(chan bool, 1)
	near := server(t, func(c net.Conn) {
		far = c
		o := &obliging{conn: c}
		o.change = func(code byte, v []byte) []byte {
			if code == comPurge {
				purged <- true
			}
			return v
		}
		close(started)
		o.serve()
	})
	rw, err := connect(within(t, 10*time.Second), near, 115200)
	if err != nil {
		t.Fatal(err)
	}
	<-started
	hold := func() { far.Write(append(command(nil, comSuspend+serverOffset), "held"...)) }
	hold()
	io.ReadFull(rw, make([]byte, 4)) // the notice is in force
	time.AfterFunc(100*time.Millisecond, func() { far.Write(command(nil, comResume+serverOffset)) })
	echoes(t, rw, "after the hold")
	hold()
	io.ReadFull(rw, make([]byte, 4))
	if _, err := rw.Write([]byte("x")); err == nil || !strings.Contains(err.Error(), "holds the flow") {
		t.Errorf("%v", err)
	}
	rw.Close()
	select {
	case <-purged:
	case <-time.After(5 * time.Second):
		t.Error("what was held is not thrown away")
	}
}

// dripping sends a byte at a time.
type dripping struct{ net.Conn }

func (d dripping) Write(b []byte) (int, error) {
	for i := range b {
		if _, err := d.Conn.Write(b[i : i+1]); err != nil {
			return i, err
		}
		time.Sleep(time.Millisecond)
	}
	return len(b), nil
}

func TestASlowServerIsWaitedFor(t *testing.T) {
	t.Parallel()
	near := server(t, func(c net.Conn) {
		time.Sleep(300 * time.Millisecond)
		(&obliging{conn: dripping{c}}).serve()
	})
	rw, err := connect(within(t, 20*time.Second), near, 115200)
	if err != nil {
		t.Fatal(err)
	}
	defer rw.Close()
	if err := rw.(*Port).SetBaud(57600); err != nil {
		t.Error(err)
	}
	echoes(t, rw, "slow \xff\xff\r\n")
}

func TestAServerThatTakesNothingIsGivenUp(t *testing.T) {
	t.Parallel()
	near := server(t, func(c net.Conn) {
		for _, option := range []byte{optComPort, optBinary, optSGA} {
			c.Write([]byte{iac, dont, option, iac, wont, option})
		}
		io.ReadFull(c, make([]byte, 1<<20)) // and then no more
		time.Sleep(3 * time.Second)
	})
	rw, err := connect(within(t, 20*time.Second), near, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer rw.Close()
	end := time.Now().Add(20 * time.Second)
	for err == nil && time.Now().Before(end) {
		_, err = rw.Write(make([]byte, 1<<20))
	}
	if err == nil {
		t.Error("everything was taken")
	}
}

func TestHostileServers(t *testing.T) {
	t.Parallel()
	forever := func(b ...byte) func(net.Conn) {
		return func(c net.Conn) {
			go swallow(c)
			for {
				if _, err := c.Write(bytes.Repeat(b, 64)); err != nil {
					return
				}
			}
		}
	}
	for name, c := range map[string]struct {
		behave func(net.Conn)
		is     error
		says   string
	}{
		"endless requests":           {forever(iac, do, 99), devices.ErrHostile, "does not stop"},
		"on and off again":           {forever(iac, will, optEcho, iac, wont, optEcho), devices.ErrHostile, "does not stop"},
		"a subnegotiation that goes": {func(c net.Conn) { c.Write([]byte{iac, sb, optComPort}); forever('x')(c) }, devices.ErrHostile, "does not stop"},
		"it hangs up":                {func(c net.Conn) {}, io.EOF, ""},
		"requests and takes nothing": {func(c net.Conn) {
			for {
				if _, err := c.Write([]byte{iac, do, 99, iac, will, 98}); err != nil {
					return
				}
			}
		}, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rw, err := connect(within(t, 20*time.Second), server(t, c.behave), 115200)
			if err == nil {
				rw.Close()
				t.Fatal("it was taken for a console server")
			}
			if c.is != nil && !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestAServerThatIsSilentOrNoTelnetIsGivenUp(t *testing.T) {
	t.Parallel()
	for name, behave := range map[string]func(net.Conn){
		"silent": swallow,
		"raw":    func(c net.Conn) { c.Write([]byte("U-Boot 2023.01\r\n=> ")); swallow(c) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := connect(within(t, 30*time.Second), server(t, behave), 115200)
			if !errors.Is(err, devices.ErrUnreachable) || !strings.Contains(err.Error(), "tcp://") {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestAClientThatIsCalledOffReturnsAtOnce(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	if _, err := connect(ctx, server(t, swallow), 0); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestCloseFreesWhoeverReads(t *testing.T) {
	t.Parallel()
	rw, err := connect(within(t, 10*time.Second), server(t, func(c net.Conn) { (&obliging{conn: c}).serve() }), 0)
	if err != nil {
		t.Fatal(err)
	}
	freed := make(chan error, 1)
	go func() {
		_, err := rw.Read(make([]byte, 1))
		freed <- err
	}()
	time.Sleep(20 * time.Millisecond)
	rw.Close()
	if err := <-freed; !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v", err)
	}
	if err := rw.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

func TestAFloodThatNobodyReadsIsNotTakenInWhole(t *testing.T) {
	t.Parallel()
	near := server(t, func(c net.Conn) {
		o := &obliging{conn: c}
		go func() {
			for {
				if _, err := c.Write(bytes.Repeat([]byte("flood "), 1000)); err != nil {
					return
				}
			}
		}()
		o.serve()
	})
	rw, err := connect(within(t, 20*time.Second), near, 0)
	if rw == nil { // answers stuck behind the flood are an error, and no hang
		t.Log(err)
		return
	}
	defer rw.Close()
	time.Sleep(200 * time.Millisecond)
	c := rw.(*Port).Conn
	c.mu.Lock()
	n := len(c.data)
	c.mu.Unlock()
	if n > maxData+16<<10 {
		t.Errorf("%d bytes are held", n)
	}
}

// ear keeps what a decoder tells it.
type ear struct {
	options options
	out     []byte
	subs    int
}

func (e *ear) negotiate(verb, option byte) (err error) {
	e.out, err = e.options.receive(e.out, verb, option)
	return err
}

func (e *ear) subnegotiate(_ byte, body []byte) { e.subs++ }

// What a server sends is decoded alike however the network cuts it, gives no more
// data than it has bytes, and no more answers than requests; what is encoded
// decodes to itself.
func FuzzDecoder(f *testing.F) {
	f.Add([]byte("plain\r\x00text\r\n"), uint8(3), true)
	f.Add([]byte{iac, will, 44, iac, do, 0, 'x', iac, iac, iac, sb, 44, 101, 0, 1, 0xc2, 0, iac, se, 'y'}, uint8(1), false)
	f.Add([]byte{iac, sb, 44, 107, iac, iac, iac, do, 1, iac}, uint8(2), true)
	f.Fuzz(func(t *testing.T, b []byte, step uint8, bin bool) {
		whole, cut := decoder{binary: bin}, decoder{binary: bin}
		var a, c ear
		want, err := whole.decode(nil, b, &a)
		if len(want) > len(b) || len(a.out) > 3*a.options.seen {
			t.Fatalf("%d bytes of data and %d of answers from %d", len(want), len(a.out), len(b))
		}
		var got []byte
		var err2 error
		for rest := b; len(rest) > 0 && err2 == nil; {
			n := min(len(rest), int(step)+1)
			got, err2 = cut.decode(got, rest[:n], &c)
			rest = rest[n:]
		}
		if !bytes.Equal(got, want) || !bytes.Equal(a.out, c.out) || a.subs != c.subs || (err == nil) != (err2 == nil) {
			t.Fatalf("in pieces of %d: %q, whole: %q", int(step)+1, got, want)
		}
		back := decoder{binary: bin}
		if plain, err := back.decode(nil, encode(nil, b, bin), &ear{}); err != nil || !bytes.Equal(plain, b) && bin {
			t.Fatalf("%q encodes to what decodes as %q, %v", b, plain, err)
		}
	})
}
