package network

import (
	"bytes"
	"context"
	"crypto/tls"
	"net"
	"testing"
	"time"

	"assay/devices"
	"assay/devices/simulator"
	"assay/internal/devicepki"
)

// handshakes is a sink that takes them.
type handshakes struct {
	memory
	got []devices.Handshake
}

func (h *handshakes) Handshake(x devices.Handshake) { h.got = append(h.got, x) }

// The unit's web server and its streaming port each give a handshake, and what
// is handed over ends before anything is asked.
func TestHandshakesAreHandedOver(t *testing.T) {
	c, err := simulator.Load("vendor-signed")
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.Start(context.Background(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	leaf := devicepki.Root(t, "Root").Issue(devicepki.Device{CN: "FD-220", Serial: "FLB2-000117"})
	cert, err := tls.LoadX509KeyPair(leaf.Cert, leaf.Key)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}})
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	asked := make(chan int, 16)
	go func() {
		for {
			conn, err := stream.Accept()
			if err != nil {
				return
			}
			go func(conn net.Conn) {
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
				var b bytes.Buffer
				n, _ := b.ReadFrom(conn)
				asked <- int(n)
			}(conn)
		}
	}()
	target, err := devices.ParseTarget(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	h := &handshakes{}
	o := Options{Pace: time.Millisecond, Timeout: time.Second, Ports: map[string][]int{"rtsps": {stream.Addr().(*net.TCPAddr).Port}}}
	if err := Open(target, o).Identify(context.Background(), h); err != nil {
		t.Fatal(err)
	}
	if len(h.got) != 2 || h.got[0].Address != s.Addr || h.got[1].Protocol != "rtsps" || h.got[1].Address != stream.Addr().String() {
		t.Fatalf("handshakes: %d", len(h.got))
	}
	for _, x := range h.got {
		if len(x.Sent) == 0 || len(x.Received) == 0 || len(x.Secret) == 0 || !x.Raw.Valid() {
			t.Errorf("%s: %d bytes sent, %d received, secret of %d", x.Address, len(x.Sent), len(x.Received), len(x.Secret))
		}
	}
	if n := <-asked; n != 0 {
		t.Errorf("%d bytes were sent behind the handshake that is kept", n)
	}
}

func TestTheSecretOfAHandshake(t *testing.T) {
	log := "CLIENT_HANDSHAKE_TRAFFIC_SECRET aa 01\nSERVER_HANDSHAKE_TRAFFIC_SECRET aa 0203\nCLIENT_TRAFFIC_SECRET_0 aa 04\n"
	if got := serverSecret(log); !bytes.Equal(got, []byte{2, 3}) {
		t.Errorf("%x", got)
	}
	if serverSecret("CLIENT_RANDOM aa bb\n") != nil {
		t.Error("TLS 1.2 needs none, and its master secret is not kept")
	}
}

func TestATapKeepsABoundedPart(t *testing.T) {
	var b bytes.Buffer
	for range 100 {
		keep(&b, make([]byte, 8<<10))
	}
	if b.Len() != maxRecorded {
		t.Errorf("%d bytes", b.Len())
	}
}
