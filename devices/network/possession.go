package network

import (
	"bytes"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"net"
	"strings"

	"assay/devices"
)

// This file keeps a TLS handshake whole, so that a verifier can see for itself
// that the unit signed it with the key of the certificate that it presented
// (RFC 8446 section 4.4.3; RFC 5246 section 7.4.3). Nothing is verified here.

// maxRecorded bounds what is kept of each side; a handshake with a long chain
// has some 10 KiB.
const maxRecorded = 256 << 10

// tap keeps what goes over a connection.
type tap struct {
	net.Conn
	sent, received bytes.Buffer
	keys           bytes.Buffer // in the format of SSLKEYLOGFILE
}

func (r *tap) Read(b []byte) (int, error) {
	n, err := r.Conn.Read(b)
	keep(&r.received, b[:n])
	return n, err
}

func (r *tap) Write(b []byte) (int, error) {
	n, err := r.Conn.Write(b)
	keep(&r.sent, b[:n])
	return n, err
}

func keep(into *bytes.Buffer, b []byte) {
	into.Write(b[:min(len(b), maxRecorded-into.Len())])
}

// watch has the handshake of a connection recorded with the secret that opens
// the unit's part of it. The connection must end with the handshake.
func (r *tap) watch(c *tls.Config) *tls.Config {
	c = c.Clone()
	c.KeyLogWriter = &r.keys
	return c
}

func (r *tap) handshake(ep *endpoint) *devices.Handshake {
	return &devices.Handshake{
		Protocol: ep.scheme, Address: ep.address,
		Sent: r.sent.Bytes(), Received: r.received.Bytes(), Secret: serverSecret(r.keys.String()),
	}
}

func serverSecret(log string) []byte {
	for line := range strings.Lines(log) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "SERVER_HANDSHAKE_TRAFFIC_SECRET" {
			secret, _ := hex.DecodeString(f[2])
			return secret
		}
	}
	return nil
}

// possession hands the handshake over and keeps it as an artefact.
func (s *session) possession(ep *endpoint) {
	sink, ok := s.sink.(devices.HandshakeSink)
	if !ok || ep.shook == nil {
		return
	}
	h := *ep.shook
	raw, err := json.Marshal(h)
	if err != nil {
		return
	}
	h.Raw = s.sink.Artefact("application/vnd.assay.tls-handshake+json", "tls handshake with "+ep.address, raw)
	sink.Handshake(h)
}
