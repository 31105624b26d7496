package permit

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"time"

	"assay/attest"
)

// State is where a moment lies in a permit's validity period.
type State string

// The states.
const (
	Valid       State = "valid"
	Expired     State = "expired"
	NotYetValid State = "not yet valid"
)

// CheckOptions says what to check a permit against.
type CheckOptions struct {
	Keys     []crypto.PublicKey // of the stations that are trusted; one must have signed
	Identity []byte             // identity.json of the unit at hand; nil to leave that open
	Now      time.Time          // zero for the current time
}

// Checked is a permit that holds.
type Checked struct {
	Permit
	Key   attest.Digest // fingerprint of the key that signed
	State State
}

// Permits reports whether the unit may be installed: the verdict is permitted
// and the permit is valid. A refusal notice that holds permits nothing.
func (c *Checked) Permits() bool {
	return c.Predicate.Verdict == attest.Permitted && c.State == Valid
}

// Check verifies a permit: its form (every field known, nothing repeated, one
// spelling), the signature by one of the keys, the subject, the unit if an
// identity record is given, and the validity period. Every refusal wraps one of
// the package's errors.
//
// For [ErrExpired] and [ErrNotYetValid] the permit is returned with the error,
// as everything else about it holds. In every other case it is nil.
//
// Check does not look at revocation, at a proof of inclusion in a register
// or a timestamp that the bundle may carry, nor at when a station's key was
// valid. Nor can it know whether the identity record is that of the unit in
// front of you: that takes reading the unit.
func Check(bundle []byte, o CheckOptions) (*Checked, error) {
	b, err := ParseBundle(bundle)
	if err != nil {
		return nil, err
	}
	c, err := check(b, o)
	if c != nil {
		c.Bundle = bundle
	}
	if err != nil {
		return c, fmt.Errorf("permit: %w", err)
	}
	return c, nil
}

func check(b *Bundle, o CheckOptions) (*Checked, error) {
	payload, err := b.Envelope.payload()
	if err != nil {
		return nil, err
	}
	// The signature comes first: nothing that a stranger wrote is interpreted.
	key, err := verify(&b.Envelope, payload, o.Keys)
	if err != nil {
		return nil, err
	}
	s, err := parseStatement(b.Envelope.PayloadType, payload)
	if err != nil {
		return nil, err
	}
	p := s.Predicate
	if p.Station.Key != key {
		return nil, fmt.Errorf("%w: it names %s, and %s signed", ErrStation, p.Station.Key, key)
	}
	if b.Material.PublicKey.Hint != hint(key) {
		return nil, fmt.Errorf("%w: the bundle's key hint is %.60q", ErrStation, b.Material.PublicKey.Hint)
	}
	if o.Identity != nil && attest.DigestOf(o.Identity).Hex() != s.Subject[0].Digest["sha256"] {
		return nil, fmt.Errorf("%w: permit is for %s (%s), the record's digest is %s", ErrIdentity, s.Subject[0].Name, p.Unit.Name(), attest.DigestOf(o.Identity))
	}
	identity, err := attest.Canonical(p.Unit)
	if err != nil {
		return nil, fmt.Errorf("identity record: %w", err)
	}
	c := &Checked{Permit: Permit{Digest: attest.DigestOf(payload), Predicate: p, Identity: identity}, Key: key}
	c.State, err = p.stateAt(o.Now)
	return c, err
}

func (p *Predicate) stateAt(now time.Time) (State, error) {
	if now.IsZero() {
		now = time.Now()
	}
	if now.Before(p.NotBefore) {
		return NotYetValid, fmt.Errorf("%w: it starts at %s and now is %s", ErrNotYetValid, p.NotBefore.Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	if now.After(p.NotAfter) {
		return Expired, fmt.Errorf("%w: it ended at %s and now is %s", ErrExpired, p.NotAfter.Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	return Valid, nil
}

// verify returns the fingerprint of the key among keys that signed.
func verify(e *Envelope, payload []byte, keys []crypto.PublicKey) (attest.Digest, error) {
	if len(keys) == 0 {
		return "", ErrNoKeys
	}
	sig, err := e.signature()
	if err != nil {
		return "", err
	}
	message := pae(e.PayloadType, payload)
	sum := sha256.Sum256(message)
	for _, key := range keys {
		if err := checkKind(key); err != nil {
			return "", err
		}
		ok := false
		switch k := key.(type) {
		case *ecdsa.PublicKey:
			ok = ecdsa.VerifyASN1(k, sum[:], sig)
		case ed25519.PublicKey:
			ok = ed25519.Verify(k, message, sig)
		}
		if ok {
			return Fingerprint(key), nil
		}
	}
	return "", fmt.Errorf("%w (%d given)", ErrSignature, len(keys))
}
