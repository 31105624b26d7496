package network

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net"
	"strings"
	"time"

	"assay/devices"
)

// This file keeps a TLS handshake whole, so that a verifier can see for itself
// that the unit signed it with the key of the certificate that it presented
// (RFC 8446 section 4.4.3; RFC 5246 section 7.4.3). Nothing is verified here.

// maxRecorded bounds what is kept of each side; a handshake with a long chain
// has some 10 KiB.
const maxRecorded = 256 << 10

// recorder keeps what goes over a connection.
type recorder struct {
	net.Conn
	sent, received bytes.Buffer
	keys           bytes.Buffer // in the format of SSLKEYLOGFILE
}

func (r *recorder) Read(b []byte) (int, error) {
	n, err := r.Conn.Read(b)
	keep(&r.received, b[:n])
	return n, err
}

func (r *recorder) Write(b []byte) (int, error) {
	n, err := r.Conn.Write(b)
	keep(&r.sent, b[:n])
	return n, err
}

func keep(into *bytes.Buffer, b []byte) {
	into.Write(b[:min(len(b), maxRecorded-into.Len())])
}

// watch has the handshake of a connection recorded with the secret that opens
// the unit's part of it. The connection must end with the handshake.
func (r *recorder) watch(c *tls.Config) *tls.Config {
	c = c.Clone()
	c.KeyLogWriter = &r.keys
	return c
}

func (r *recorder) handshake(ep *endpoint) *devices.Handshake {
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

// rtspsPort is where RTSP over TLS is served (IANA; ONVIF Streaming
// Specification section 5.1). A unit may hold its factory certificate there
// after the operator put another on its web server.
const rtspsPort = 322

// rtspsPatience is short: most units have nothing there.
const rtspsPatience = 3 * time.Second

// rtsps reads the certificate of the streaming port, and sends nothing in it.
func (s *session) rtsps(ctx context.Context, _ *endpoint) {
	if s.target.Port != 0 || sleep(ctx, s.o.Pace) != nil {
		return
	}
	ep := newEndpoint("rtsps", s.target.Host, rtspsPort)
	ctx, cancel := context.WithTimeout(ctx, rtspsPatience)
	defer cancel()
	s.step("%s tls handshake", ep)
	state, err := s.handshake(ctx, ep)
	switch {
	case err == nil:
		s.certificate(ep, state)
	case !errors.Is(err, devices.ErrUnreachable) && ctx.Err() == nil:
		s.problem(handshakeRequest, err)
	}
}
