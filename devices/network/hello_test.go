package network

import (
	"bytes"
	"encoding/binary"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// sslRecords are a ServerHello and a Certificate of SSL 3.0, which no server that
// can be installed speaks any more.
func sslRecords(certificate []byte) []byte {
	message := func(kind byte, body []byte) []byte {
		return append([]byte{kind, byte(len(body) >> 16), byte(len(body) >> 8), byte(len(body))}, body...)
	}
	sized := func(b []byte) []byte {
		return append([]byte{byte(len(b) >> 16), byte(len(b) >> 8), byte(len(b))}, b...)
	}
	hello := append(append([]byte{3, 0}, bytes.Repeat([]byte{9}, 32)...), 0, 0, 0x0a, 0)
	all := slices.Concat(message(helloServer, hello), message(helloCertificate, sized(sized(certificate))), message(helloDone, nil))
	var records []byte
	for len(all) > 0 {
		n := min(len(all), 200) // over several records
		records = append(binary.BigEndian.AppendUint16(append(records, recordHandshake, 3, 0), uint16(n)), all[:n]...)
		all = all[n:]
	}
	return records
}

func TestSilentServerIsNotGreetedAgain(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var greeted atomic.Int32
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			greeted.Add(1)
			defer conn.Close()
		}
	}()
	m := new(memory)
	s := newSession(Open(target(t, "https://"+l.Addr().String()), Options{Timeout: 200 * time.Millisecond, Pace: time.Millisecond}), m)
	ep := &endpoint{scheme: "https", host: "127.0.0.1", address: l.Addr().String()}
	s.survey(t.Context(), ep)
	if s.bareCertificate(t.Context(), ep) || greeted.Load() != 2 || len(m.problems) != 2 {
		t.Errorf("greeted %d times\n%s", greeted.Load(), m)
	}
}

func TestCertificateOfAnSSL3Server(t *testing.T) {
	_, tlsServer := start(t, "vendor-signed", nil)
	probe := newSession(Open(target(t, tlsServer.URL), Options{}), new(memory))
	state, err := probe.tryHandshake(t.Context(), &endpoint{scheme: "https", host: "127.0.0.1", address: tlsServer.Addr}, weakConfig())
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			hello := make([]byte, 4096)
			n, _ := conn.Read(hello)
			switch {
			case n < 11 || hello[0] != recordHandshake:
			case hello[9] == 3 && hello[10] == 0:
				conn.Write(sslRecords(state.PeerCertificates[0].Raw))
				conn.Read(hello)
			default:
				conn.Write([]byte{recordAlert, 3, 0, 0, 2, 2, 70})
			}
			conn.Close()
		}
	}()
	m, err := identify(t, "https://"+l.Addr().String(), Options{Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if got := m.values("tls-version"); len(got) != 1 || !strings.HasPrefix(got[0], "network SSL 3.0 TLS_RSA_WITH_3DES_EDE_CBC_SHA (transport not authenticated") {
		t.Errorf("version %q\n%s", got, m)
	}
	has(t, m, "tls-subject", "network CN=flb2-000117.fjordlens.example,O=Fjordlens AS")
}
