package devices

import "assay/attest"

// Handshake is one TLS handshake with a unit as it went over the wire: the
// certificates that the unit presented, and what it signed with their key. It
// is what a verifier needs to see for itself that the unit holds the key, and
// holds no secret of the unit or of the operator: nothing was sent after it.
type Handshake struct {
	Protocol string `json:"protocol"` // that the port speaks inside TLS: "https", "rtsps"
	Address  string `json:"address"`  // host:port
	// Sent and Received are the records of both sides up to the end of the
	// handshake. The random that makes it fresh is in the ClientHello.
	Sent     []byte `json:"sent"`
	Received []byte `json:"received"`
	// Secret is TLS 1.3's server handshake traffic secret (RFC 8446 section
	// 7.1), which opens the unit's part of this handshake and nothing else.
	// Empty below TLS 1.3, where that part is readable.
	Secret []byte `json:"secret,omitempty"`

	Raw attest.Digest `json:"-"` // the artefact that holds all this
}

// HandshakeSink is a sink that takes handshakes. A channel that meets a sink
// which does not keeps the certificates only.
type HandshakeSink interface {
	Sink
	Handshake(Handshake)
}
