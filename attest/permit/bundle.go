package permit

import (
	"encoding/base64"
	"encoding/json"
	"fmt"

	"assay/attest"
)

// Forms of the envelope: sigstore/protobuf-specs sigstore_bundle.proto and
// sigstore_rekor.proto, secure-systems-lab/dsse envelope.md.
const (
	mediaType   = "application/vnd.dev.sigstore.bundle.v0.3+json"
	payloadType = "application/vnd.in-toto+json"
	maxBundle   = 1 << 20
)

// Bundle is a Sigstore bundle v0.3 with a bare key, as [ParseBundle] allows it.
type Bundle struct {
	MediaType string   `json:"mediaType"`
	Material  Material `json:"verificationMaterial"`
	Envelope  Envelope `json:"dsseEnvelope"`
}

// Material is what a verifier needs beside its trusted keys.
type Material struct {
	PublicKey   *PublicKey   `json:"publicKey,omitempty"`
	Certificate any          `json:"certificate,omitempty"`
	Chain       any          `json:"x509CertificateChain,omitempty"`
	TlogEntries []TlogEntry  `json:"tlogEntries,omitempty"`
	Timestamps  *TimestampVD `json:"timestampVerificationData,omitempty"`
}

// PublicKey hints at the signer's key: base64 of the SHA-256 of its
// SubjectPublicKeyInfo. It is not authenticated.
type PublicKey struct {
	Hint string `json:"hint,omitempty"`
}

// TlogEntry is a proof of inclusion in a transparency log.
type TlogEntry struct {
	LogIndex          string          `json:"logIndex"`
	LogID             LogID           `json:"logId"`
	KindVersion       KindVersion     `json:"kindVersion"`
	IntegratedTime    string          `json:"integratedTime,omitempty"`
	InclusionProof    *InclusionProof `json:"inclusionProof,omitempty"`
	CanonicalizedBody string          `json:"canonicalizedBody,omitempty"`
}

// LogID names a log by the hash of its key.
type LogID struct {
	KeyID string `json:"keyId"`
}

// KindVersion is the form of a log entry.
type KindVersion struct {
	Kind    string `json:"kind"`
	Version string `json:"version"`
}

// InclusionProof is a Merkle audit path (RFC 6962 section 2.1.1) and the signed
// tree head that it leads to.
type InclusionProof struct {
	LogIndex   string     `json:"logIndex"`
	RootHash   string     `json:"rootHash"`
	TreeSize   string     `json:"treeSize"`
	Hashes     []string   `json:"hashes,omitempty"`
	Checkpoint Checkpoint `json:"checkpoint"`
}

// Checkpoint is a signed tree head (C2SP tlog-checkpoint).
type Checkpoint struct {
	Envelope string `json:"envelope"`
}

// TimestampVD holds RFC 3161 timestamps.
type TimestampVD struct {
	RFC3161 []Timestamp `json:"rfc3161Timestamps,omitempty"`
}

// Timestamp is one RFC 3161 timestamp, base64.
type Timestamp struct {
	Signed string `json:"signedTimestamp"`
}

// Envelope is a DSSE envelope.
type Envelope struct {
	Payload     string      `json:"payload"`
	PayloadType string      `json:"payloadType"`
	Signatures  []Signature `json:"signatures"`
}

// Signature is one signature of an envelope, base64.
type Signature struct {
	Sig   string `json:"sig"`
	KeyID string `json:"keyid,omitempty"`
}

// ParseBundle reads the outer form of a permit, the same way whatever its
// payload: at most 1 MiB of JSON with known, unrepeated fields, media type
// v0.3, a bare public key, one signature, no keyid. It verifies no signature
// and looks into no payload, log entry or timestamp.
func ParseBundle(b []byte) (*Bundle, error) {
	if len(b) > maxBundle {
		return nil, fmt.Errorf("permit: %w: %d bytes", ErrTooLarge, len(b))
	}
	bundle, err := parseBundle(b)
	if err != nil {
		return nil, fmt.Errorf("permit: %w", err)
	}
	return bundle, nil
}

func parseBundle(b []byte) (*Bundle, error) {
	if err := scan(b); err != nil {
		return nil, err
	}
	// The media type comes first: what another version of the format calls its
	// fields is no fault of theirs.
	var head struct {
		MediaType string `json:"mediaType"`
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFields, err)
	}
	if head.MediaType != mediaType {
		return nil, fmt.Errorf("%w: media type is %q", ErrMediaType, head.MediaType)
	}
	var bundle Bundle
	if _, err := decode(b, &bundle); err != nil {
		return nil, err
	}
	if m := bundle.Material; m.PublicKey == nil || m.Certificate != nil || m.Chain != nil {
		return nil, ErrMaterial
	}
	if n := len(bundle.Envelope.Signatures); n != 1 {
		return nil, fmt.Errorf("%w, not %d", ErrSignatureCount, n)
	}
	if id := bundle.Envelope.Signatures[0].KeyID; id != "" {
		return nil, fmt.Errorf("%w: %q", ErrKeyID, id)
	}
	return &bundle, nil
}

// newBundle is the minimum that both cosign and sigstore-go accept.
func newBundle(key attest.Digest, e Envelope) ([]byte, error) {
	return attest.Canonical(Bundle{
		MediaType: mediaType,
		Material:  Material{PublicKey: &PublicKey{Hint: hint(key)}},
		Envelope:  e,
	})
}

func (e *Envelope) payload() ([]byte, error) { return unbase64("payload", e.Payload) }

func (e *Envelope) signature() ([]byte, error) { return unbase64("sig", e.Signatures[0].Sig) }

// unbase64 takes one spelling only: the DSSE specification allows URL-safe
// base64 too, and Go's decoder skips line breaks, so that one permit would
// have many forms.
func unbase64(field, s string) ([]byte, error) {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || base64.StdEncoding.EncodeToString(b) != s {
		return nil, fmt.Errorf("%w: %s", ErrEncoding, field)
	}
	return b, nil
}

// pae is the DSSE pre-authentication encoding, the bytes that are signed
// (secure-systems-lab/dsse protocol.md).
func pae(payloadType string, payload []byte) []byte {
	return fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(payloadType), payloadType, len(payload), payload)
}
