package line

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"assay/devices"
	"assay/internal/ser2net"
)

// served starts a real console server whose port is a pseudo-terminal, and returns
// its two addresses and the far end of that port.
func served(t *testing.T) (tcp, rfc2217 string, unit *os.File) {
	t.Helper()
	master, slave := terminal(t)
	// Numbers of terminals are used again: other tests must not take this one for
	// a unit that they lost.
	if err := unix.Flock(int(slave.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		t.Fatal(err)
	}
	tcp, rfc2217 = ser2net.Start(t, slave.Name())
	return tcp, rfc2217, master
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func rate(t *testing.T, master *os.File) int {
	t.Helper()
	s, err := unix.IoctlGetTermios(int(master.Fd()), unix.TCGETS2)
	if err != nil {
		t.Fatal(err)
	}
	return int(s.Ospeed)
}

// every byte, and the ones that Telnet and terminals treat apart, in bad company.
func everyByte() []byte {
	b := []byte("\r\x00\r\n\n\r\xff\xff\xff\x00\xff\xfa\xff\xf0\r\r\x00\x00\x11\x13\xff")
	for i := range 256 {
		b = append(b, byte(i))
	}
	for i := range 256 {
		b = append(b, byte(255-i), '\r')
	}
	return b
}

func TestEveryByteArrivesThroughARealConsoleServerBothWays(t *testing.T) {
	tcp, rfc, unit := served(t)
	for _, device := range []string{tcp, rfc} {
		t.Run(device[:3], func(t *testing.T) {
			p, err := Open(t.Context(), device, 115200)
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			want := everyByte()
			if _, err := p.Write(want); err != nil {
				t.Fatal(err)
			}
			got := make([]byte, len(want))
			if _, err := io.ReadFull(unit, got); err != nil || !bytes.Equal(got, want) {
				t.Errorf("the unit got %q, %v", got, err)
			}
			go unit.Write(want)
			clear(got)
			if _, err := io.ReadFull(p, got); err != nil || !bytes.Equal(got, want) {
				t.Errorf("we got %q, %v", got, err)
			}
			if n, ok := p.(interface{ Notes() []string }); ok && len(n.Notes()) > 0 {
				t.Errorf("notes %q", n.Notes())
			}
		})
		time.Sleep(300 * time.Millisecond)
	}
}

func TestTheRateOfARealConsoleServersPortIsSetFromHere(t *testing.T) {
	_, rfc, unit := served(t)
	p, err := Open(t.Context(), rfc, 57600)
	if err != nil {
		t.Fatal(err)
	}
	l := New("serial:"+rfc, p, nil)
	defer l.Close()
	if got := rate(t, unit); got != 57600 {
		t.Errorf("opened at %d baud", got)
	}
	if !l.HasRate() {
		t.Fatal("no rate can be set")
	}
	for _, baud := range Rates {
		if err := l.SetBaud(baud); err != nil {
			if !errors.Is(err, ErrRate) {
				t.Errorf("%d: %v", baud, err)
			}
			t.Logf("%v", err)
			continue
		}
		if got := rate(t, unit); got != baud {
			t.Errorf("set %d baud, the port is at %d", baud, got)
		}
	}
}

func TestABusyConsoleServerSaysSo(t *testing.T) {
	tcp, rfc, _ := served(t)
	first, err := Open(t.Context(), rfc, 115200)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if _, err := Open(t.Context(), rfc, 115200); !errors.Is(err, devices.ErrAccess) || !strings.Contains(err.Error(), "in use") {
		t.Errorf("second Telnet client: %v", err)
	}
	p, err := Open(t.Context(), tcp, 115200)
	if err != nil {
		t.Fatal(err)
	}
	l := New("serial:"+tcp, p, nil)
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for err = error(ErrQuiet); err == nil || errors.Is(err, ErrQuiet); {
		_, err = l.Next(ctx, time.Second)
	}
	if !errors.Is(err, ErrGone) || !errors.Is(err, devices.ErrAccess) {
		t.Errorf("second raw client: %v", err)
	}
	t.Log(err)
}
