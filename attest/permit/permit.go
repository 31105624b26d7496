// Package permit issues and checks permits: what appraisal concluded about one
// unit, signed by a station, in a form that others can verify without this
// program.
//
// A permit is an in-toto Statement v1 (in-toto/attestation spec/v1) whose only
// subject is the unit's identity record and whose predicate is [Predicate], in
// a DSSE envelope (secure-systems-lab/dsse protocol.md), in a Sigstore bundle
// v0.3 (sigstore/protobuf-specs) with a bare ECDSA P-256 or Ed25519 key. Stock
// `cosign verify-blob-attestation` verifies its signature and subject offline.
//
// The subject is never a firmware digest: verifiers accept a statement when any
// of its subjects matches, so that the permit of one camera would serve every
// other with the same firmware.
//
// A refusal notice is a permit with verdict refused, so a genuine bundle is not
// yet a permission: ask [Checked.Permits].
package permit

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"assay/attest"
	"assay/internal/durable"
)

// Names of the files that [Permit.Write] makes.
const (
	BundleFile   = "permit.sigstore.json"
	IdentityFile = "identity.json"
)

// Permit is a signed permit or notice and the identity record that it is for.
type Permit struct {
	Digest    attest.Digest // of the signed payload, which names the permit for good
	Predicate Predicate
	Bundle    []byte // Sigstore bundle v0.3, JSON
	Identity  []byte // canonical JSON of the unit's record, the subject of the statement
	Result    []byte // canonical JSON of the result; empty when the permit was read back
}

// ID is the short name of a permit: the first 16 hexadecimal digits of its
// digest. It does not change when a proof of inclusion joins the bundle, nor by
// the second valid form that every ECDSA signature has.
func (p *Permit) ID() string { return p.Digest.Hex()[:16] }

// Read takes a permit apart without any question of who signed it or when it is
// valid, for those who keep permits rather than rely on them. Everything else
// that [Check] checks is checked.
func Read(bundle []byte) (*Permit, error) {
	b, err := ParseBundle(bundle)
	if err != nil {
		return nil, err
	}
	payload, err := b.Envelope.payload()
	if err != nil {
		return nil, fmt.Errorf("permit: %w", err)
	}
	s, err := parseStatement(b.Envelope.PayloadType, payload)
	if err != nil {
		return nil, fmt.Errorf("permit: %w", err)
	}
	identity, err := attest.Canonical(s.Predicate.Unit)
	if err != nil {
		return nil, fmt.Errorf("permit: identity record: %w", err)
	}
	return &Permit{Digest: attest.DigestOf(payload), Predicate: s.Predicate, Bundle: bundle, Identity: identity}, nil
}

// Write puts the permit and its identity record into dir, which it makes if
// needed. Each file is there whole or not at all, the permit last. A different
// permit that is already in dir is never overwritten: the error is then
// [fs.ErrExist].
func (p *Permit) Write(dir string) error {
	if err := durable.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("permit: write: %w", err)
	}
	path := filepath.Join(dir, BundleFile)
	there, err := os.ReadFile(path)
	if err == nil && !bytes.Equal(there, p.Bundle) {
		return fmt.Errorf("permit: write: %s holds another permit; choose another folder: %w", path, fs.ErrExist)
	}
	if err := durable.Write(filepath.Join(dir, IdentityFile), 0o644, durable.Bytes(p.Identity)); err != nil {
		return fmt.Errorf("permit: write: %w", err)
	}
	if there != nil {
		return nil
	}
	if err := durable.Create(path, 0o644, durable.Bytes(p.Bundle)); err != nil {
		return fmt.Errorf("permit: write: %w", err)
	}
	return nil
}

// hint is how a bundle points at its key.
func hint(key attest.Digest) string {
	sum, err := hex.DecodeString(key.Hex())
	if err != nil {
		return ""
	}
	return base64.StdEncoding.EncodeToString(sum)
}
