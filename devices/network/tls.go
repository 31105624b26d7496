package network

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"

	"assay/attest"
	"assay/devices"
)

var errKeyChanged = errors.New("the TLS key is another than at the start of the session")

// handshake connects with settings of today, and when the unit cannot, with
// those of its time: TLS 1.0, RSA key exchange, CBC, 3DES. Neither authenticates
// the unit: no certificate is verified, its key is pinned for the session and
// kept as evidence. RSA keys below 1024 bits and negative serial numbers work
// only in a program built with //go:debug rsa1024min=0 and x509negativeserial=1.
// Of servers that know only finite-field Diffie-Hellman or SSL 3 no more than the
// certificate can be read ([session.bareCertificate]).
//
// The first handshake offers HTTP/2 beside HTTP/1.1, to hear what the unit chooses;
// those that carry requests offer nothing, since they speak HTTP/1.1.
func (s *session) handshake(ctx context.Context, ep *endpoint) (*tls.ConnectionState, error) {
	strong := &tls.Config{InsecureSkipVerify: true, ServerName: ep.host, MinVersion: tls.VersionTLS12}
	first := strong.Clone()
	if ep.web() {
		first.NextProtos = []string{"h2", "http/1.1"}
	}
	state, strongErr := s.tryHandshake(ctx, ep, first)
	if strongErr == nil {
		ep.config = pinned(strong, state)
		return state, nil
	}
	if errors.Is(strongErr, devices.ErrUnreachable) && !errors.Is(strongErr, errHungUp) || ctx.Err() != nil {
		return nil, strongErr
	}
	weak := weakConfig()
	weak.ServerName = ep.host
	state, err := s.tryHandshake(ctx, ep, weak)
	switch {
	case err != nil && s.bareCertificate(ctx, ep):
		return nil, fmt.Errorf("%w (nor with the settings of old firmware; its certificate was read, and nothing over it)", err)
	case err != nil:
		return nil, fmt.Errorf("%w (nor with the settings of old firmware)", err)
	}
	ep.config, ep.weak = pinned(weak, state), true
	return state, nil
}

func weakConfig() *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, CipherSuites: everySuite()}
}

func everySuite() []uint16 {
	var ids []uint16
	for _, c := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		ids = append(ids, c.ID)
	}
	return ids
}

func (s *session) tryHandshake(ctx context.Context, ep *endpoint, config *tls.Config) (*tls.ConnectionState, error) {
	if err := s.turn(ctx, 0); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.o.Timeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", ep.address)
	if err != nil {
		return nil, connectError(ep, err)
	}
	defer conn.Close()
	watched := &tap{Conn: conn}
	client := tls.Client(watched, watched.watch(config))
	if err := client.HandshakeContext(ctx); err != nil {
		var record tls.RecordHeaderError
		if errors.As(err, &record) {
			return nil, fmt.Errorf("%w: %s: does not speak TLS", devices.ErrMalformed, ep)
		}
		return nil, connectError(ep, err)
	}
	state := client.ConnectionState()
	ep.shook = watched.handshake(ep)
	return &state, nil
}

func pinned(c *tls.Config, state *tls.ConnectionState) *tls.Config {
	c = c.Clone()
	pin := sha256.Sum256(state.PeerCertificates[0].RawSubjectPublicKeyInfo)
	c.VerifyConnection = func(now tls.ConnectionState) error {
		if sha256.Sum256(now.PeerCertificates[0].RawSubjectPublicKeyInfo) != pin {
			return errKeyChanged
		}
		return nil
	}
	return c
}

// certificate claims what the unit presented. That it also holds the key is
// shown by the handshake; whose key that is, is not checked here.
func (s *session) certificate(ep *endpoint, state *tls.ConnectionState) {
	var chain [][]byte
	for _, c := range state.PeerCertificates {
		chain = append(chain, c.Raw)
	}
	version := tls.VersionName(state.Version) + " " + tls.CipherSuiteName(state.CipherSuite)
	if ep.weak {
		version += " (weak: not protected against a listener)"
	}
	if ep.web() && s.secure == nil {
		s.secure = ep
	}
	a := s.presented(ep, state.PeerCertificates[0], chain, version)
	s.claim(a, attest.SubjectNetwork, "tls-alpn", state.NegotiatedProtocol, "ALPN")
	s.possession(ep)
}

// presented claims a chain of certificates, and how it came.
func (s *session) presented(ep *endpoint, leaf *x509.Certificate, certificates [][]byte, version string) *answer {
	var chain bytes.Buffer
	for _, raw := range certificates {
		pem.Encode(&chain, &pem.Block{Type: "CERTIFICATE", Bytes: raw})
	}
	r := &request{protocol: "tls", operation: "handshake"}
	if !ep.web() {
		r.protocol = ep.scheme // another certificate than that of HTTPS on some units
	}
	source := "certificate chain of " + ep.address
	a := &answer{request: r, raw: s.sink.Artefact("application/pem-certificate-chain", r.protocol+" "+source, chain.Bytes())}
	s.claim(a, attest.SubjectNetwork, "tls-chain", string(a.raw), source)
	s.claim(a, attest.SubjectNetwork, "tls-leaf", string(attest.DigestOf(leaf.Raw)), "leaf certificate")
	s.claim(a, attest.SubjectNetwork, attest.NameTLSKey, string(keyDigest(leaf)), "subjectPublicKeyInfo")
	s.claim(a, attest.SubjectNetwork, "tls-subject", leaf.Subject.String(), "subject")
	s.claim(a, attest.SubjectNetwork, "tls-issuer", leaf.Issuer.String(), "issuer")
	s.claim(a, attest.SubjectNetwork, "tls-version", version, "negotiated")
	s.observe(a, "tls.subject", leaf.Subject.String(), "subject")
	s.observe(a, "tls.issuer", leaf.Issuer.String(), "issuer")
	s.protocol(a, "tls")
	return a
}

func keyDigest(c *x509.Certificate) attest.Digest {
	return attest.DigestOf(c.RawSubjectPublicKeyInfo)
}
