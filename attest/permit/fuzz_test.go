package permit

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"testing"

	"assay/attest"
)

// fuzzKey is no secret: with it the fuzzer's bundles can hold.
var fuzzKey = ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))

func FuzzCheck(f *testing.F) {
	p := samplePermit(f, fuzzKey)
	f.Add(p.Bundle)
	for _, g := range forgeries(f) {
		if b := g.bundle(f, fuzzKey); len(b) < 1<<16 {
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := Check(b, CheckOptions{Keys: []crypto.PublicKey{fuzzKey.Public()}, Now: issued})
		if c != nil {
			holds(t, c)
		}
		if (err == nil) != (c != nil && c.State == Valid) {
			t.Errorf("%v and %+v", err, c)
		}
	})
}

// FuzzStatement goes past the signature, which a fuzzer cannot.
func FuzzStatement(f *testing.F) {
	for _, g := range forgeries(f) {
		if b, err := ParseBundle(g.bundle(f, fuzzKey)); err == nil {
			if payload, err := b.Envelope.payload(); err == nil {
				f.Add(payload)
			}
		}
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		s, err := parseStatement(payloadType, payload)
		if err != nil {
			return
		}
		again, err := attest.Canonical(s)
		if err != nil || !bytes.Equal(again, payload) {
			t.Errorf("%v: %s was read from %s", err, again, payload)
		}
	})
}

func FuzzKeys(f *testing.F) {
	public, err := EncodePublic(fuzzKey.Public())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(public)
	f.Add([]byte(encryptedPKCS8))
	f.Add([]byte("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\ne30=\n-----END ENCRYPTED SIGSTORE PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if keys, err := LoadPublic(b); err == nil && len(keys) == 0 {
			t.Error("no keys and no error")
		}
		if key, err := LoadPrivate(b, nil); err == nil && checkKind(key.Public()) != nil {
			t.Error("a key that cannot sign permits")
		}
	})
}

// holds repeats what a permit that was accepted must be.
func holds(t *testing.T, c *Checked) {
	t.Helper()
	if c.Predicate.Verdict == attest.Permitted && !c.Predicate.Unit.Identified() {
		t.Error("a permission for an unidentified unit")
	}
	if c.Key != Fingerprint(fuzzKey.Public()) || c.Predicate.Station.Key != c.Key {
		t.Error("a permit of another key")
	}
}
