package line

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"assay/devices"
	"assay/internal/peer"
)

// ser2net starts a real console server whose port is a pseudo-terminal, and
// returns its two addresses and the far end of that port.
func ser2net(t *testing.T) (tcp, rfc2217 string, unit *os.File) {
	t.Helper()
	program := peer.Need(t, "ser2net", "ser2net")
	master, slave, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := term.MakeRaw(int(slave.Fd())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close(); slave.Close() })
	raw, telnet := freePort(t), freePort(t)
	config := filepath.Join(t.TempDir(), "ser2net.yaml")
	text := fmt.Sprintf(`%%YAML 1.1
---
connection: &raw
  accepter: tcp,127.0.0.1,%d
  connector: serialdev,%[3]s,115200n81,local
connection: &telnet
  accepter: telnet(rfc2217),tcp,127.0.0.1,%[2]d
  connector: serialdev,%[3]s,115200n81,local
`, raw, telnet, slave.Name())
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	c := exec.Command(program, "-n", "-u", "-c", config)
	c.Stdout, c.Stderr = &log, &log
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Process.Kill()
		c.Wait()
		if t.Failed() {
			t.Logf("ser2net: %s", log.String())
		}
	})
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", telnet))
		if err == nil {
			conn.Close()
			break
		}
		if time.Now().After(end) {
			t.Fatalf("ser2net does not listen: %v\n%s", err, log.String())
		}
	}
	time.Sleep(200 * time.Millisecond) // it gives the port back after the visit above
	return fmt.Sprintf("tcp://127.0.0.1:%d", raw), fmt.Sprintf("rfc2217://127.0.0.1:%d", telnet), master
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
	tcp, rfc, unit := ser2net(t)
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
	_, rfc, unit := ser2net(t)
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
	tcp, rfc, _ := ser2net(t)
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
