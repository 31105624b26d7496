package permit

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"assay/attest"
)

// forgery is one way to make a bundle that must not pass.
type forgery struct {
	name   string
	bundle func(t testing.TB, key crypto.Signer) []byte
	want   error
	// cosign is what the stock verifier makes of it; it knows nothing of what
	// a permit means.
	cosign bool
}

// outside changes the bundle around the signed payload.
func outside(change func(bundle map[string]any)) func(testing.TB, crypto.Signer) []byte {
	return func(t testing.TB, key crypto.Signer) []byte { return edited(t, samplePermit(t, key).Bundle, change) }
}

// inside changes the statement and signs it again with the station's own key.
func inside(change func(statement map[string]any)) func(testing.TB, crypto.Signer) []byte {
	return func(t testing.TB, key crypto.Signer) []byte {
		return signed(t, key, edited(t, payloadOf(t, samplePermit(t, key).Bundle), change))
	}
}

// rewritten changes the text of the statement and signs it again.
func rewritten(old, new string) func(testing.TB, crypto.Signer) []byte {
	return func(t testing.TB, key crypto.Signer) []byte {
		payload := string(payloadOf(t, samplePermit(t, key).Bundle))
		if !strings.Contains(payload, old) {
			t.Fatalf("no %s in %s", old, payload)
		}
		return signed(t, key, []byte(strings.Replace(payload, old, new, 1)))
	}
}

func respelled(old, new string) func(testing.TB, crypto.Signer) []byte {
	return func(t testing.TB, key crypto.Signer) []byte {
		bundle := string(samplePermit(t, key).Bundle)
		if !strings.Contains(bundle, old) {
			t.Fatalf("no %s in %s", old, bundle)
		}
		return []byte(strings.Replace(bundle, old, new, 1))
	}
}

func signed(t testing.TB, key crypto.Signer, payload []byte) []byte {
	t.Helper()
	b, err := sign(key, payload)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func envelope(b map[string]any) map[string]any { return b["dsseEnvelope"].(map[string]any) }

func signature0(b map[string]any) map[string]any {
	return envelope(b)["signatures"].([]any)[0].(map[string]any)
}

func predicate(s map[string]any) map[string]any { return s["predicate"].(map[string]any) }

func subject0(s map[string]any) map[string]any { return s["subject"].([]any)[0].(map[string]any) }

// flipped changes one letter of base64 text in its middle.
func flipped(v any) string {
	b := []byte(v.(string))
	if i := len(b) / 2; b[i] == 'A' {
		b[i] = 'B'
	} else {
		b[i] = 'A'
	}
	return string(b)
}

func otherUnit() map[string]any {
	return map[string]any{"schema": attest.UnitSchema, "maker": "Example Optics", "serials": []any{"EO1-000002"}}
}

func digestOfUnit(t testing.TB, u any) string {
	b, err := attest.Canonical(u)
	if err != nil {
		t.Fatal(err)
	}
	return attest.DigestOf(b).Hex()
}

func forgeries(t testing.TB) []forgery {
	other := digestOfUnit(t, otherUnit())
	return []forgery{
		{"a tampered payload", outside(func(b map[string]any) { envelope(b)["payload"] = flipped(envelope(b)["payload"]) }), ErrSignature, false},
		{"a payload of refusal under the signature of a permit", func(t testing.TB, key crypto.Signer) []byte {
			return edited(t, samplePermit(t, key).Bundle, func(b map[string]any) {
				p := strings.Replace(string(payloadOf(t, samplePermit(t, key).Bundle)), `"permitted"`, `"refused"`, 1)
				envelope(b)["payload"] = base64.StdEncoding.EncodeToString([]byte(p))
			})
		}, ErrSignature, false},
		{"a tampered signature", outside(func(b map[string]any) { signature0(b)["sig"] = flipped(signature0(b)["sig"]) }), ErrSignature, false},
		{"an empty signature", outside(func(b map[string]any) { signature0(b)["sig"] = "" }), ErrSignature, false},
		{"the signature of another key", func(t testing.TB, _ crypto.Signer) []byte { return samplePermit(t, newKey(t, ECDSAP256)).Bundle }, ErrSignature, false},
		{"a second signature", outside(func(b map[string]any) {
			envelope(b)["signatures"] = []any{signature0(b), signature0(b)}
		}), ErrSignatureCount, false},
		{"no signature", outside(func(b map[string]any) { envelope(b)["signatures"] = []any{} }), ErrSignatureCount, false},
		{"a keyid", outside(func(b map[string]any) { signature0(b)["keyid"] = "station" }), ErrKeyID, false},
		{"an unknown field in the bundle", outside(func(b map[string]any) { b["note"] = "x" }), ErrFields, false},
		{"an unknown field in the envelope", outside(func(b map[string]any) { envelope(b)["note"] = "x" }), ErrFields, false},
		{"a field in other case", respelled(`"payload":`, `"Payload":`), ErrFields, false},
		{"null for a field", respelled(`{"sig":`, `{"keyid":null,"sig":`), ErrFields, true},
		{"a repeated key in the bundle", respelled(`"mediaType":`, `"mediaType":"x","mediaType":`), ErrDuplicateKey, false},
		{"a repeated key in other case", respelled(`"payload":`, `"PAYLOAD":"","payload":`), ErrDuplicateKey, false},
		{"an older media type", outside(func(b map[string]any) { b["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=0.2" }), ErrMediaType, true},
		{"a newer media type", outside(func(b map[string]any) { b["mediaType"] = "application/vnd.dev.sigstore.bundle.v0.4+json" }), ErrMediaType, false},
		{"a certificate for a key", outside(func(b map[string]any) {
			b["verificationMaterial"] = map[string]any{"certificate": map[string]any{"rawBytes": "AA=="}}
		}), ErrMaterial, false},
		{"no key hint", outside(func(b map[string]any) { b["verificationMaterial"] = map[string]any{} }), ErrMaterial, false},
		{"the hint of another key", outside(func(b map[string]any) {
			b["verificationMaterial"] = map[string]any{"publicKey": map[string]any{"hint": "AA=="}}
		}), ErrStation, true},
		{"another payload type", outside(func(b map[string]any) { envelope(b)["payloadType"] = "text/plain" }), ErrSignature, false},
		{"another payload type, signed", func(t testing.TB, key crypto.Signer) []byte {
			payload := payloadOf(t, samplePermit(t, key).Bundle)
			sig, err := messageSigner{key}.SignMessage(bytes.NewReader(pae("text/plain", payload)))
			if err != nil {
				t.Fatal(err)
			}
			return edited(t, samplePermit(t, key).Bundle, func(b map[string]any) {
				envelope(b)["payload"] = base64.StdEncoding.EncodeToString(payload)
				envelope(b)["payloadType"] = "text/plain"
				signature0(b)["sig"] = base64.StdEncoding.EncodeToString(sig)
			})
		}, ErrPayloadType, false},
		{"base64 over two lines", outside(func(b map[string]any) {
			s := envelope(b)["payload"].(string)
			envelope(b)["payload"] = s[:4] + "\n" + s[4:]
		}), ErrEncoding, false},
		{"a bundle that is cut off", func(t testing.TB, key crypto.Signer) []byte {
			b := samplePermit(t, key).Bundle
			return b[:len(b)/2]
		}, ErrSyntax, false},
		{"an empty file", func(testing.TB, crypto.Signer) []byte { return nil }, ErrSyntax, false},
		{"two bundles in one file", func(t testing.TB, key crypto.Signer) []byte {
			b := samplePermit(t, key).Bundle
			return append(bytes.Clone(b), b...)
		}, ErrSyntax, false},
		{"an abyss of brackets", func(testing.TB, crypto.Signer) []byte { return bytes.Repeat([]byte("["), maxBundle) }, ErrSyntax, false},
		{"a bundle over the size limit", func(testing.TB, crypto.Signer) []byte { return bytes.Repeat([]byte(" "), maxBundle+1) }, ErrTooLarge, false},

		{"another subject digest", inside(func(s map[string]any) { subject0(s)["digest"] = map[string]any{"sha256": other} }), ErrSubject, false},
		{"another unit than the subject", inside(func(s map[string]any) { predicate(s)["unit"] = otherUnit() }), ErrSubject, true},
		{"another subject name", inside(func(s map[string]any) { subject0(s)["name"] = "urn:assay:unit:0000000000000000" }), ErrSubject, true},
		{"a second digest of the subject", inside(func(s map[string]any) { subject0(s)["digest"].(map[string]any)["sha512"] = "00" }), ErrSubject, false},
		{"unit and subject swapped for another unit's", inside(func(s map[string]any) {
			predicate(s)["unit"] = otherUnit()
			s["subject"] = []any{map[string]any{"name": "urn:assay:unit:" + other[:16], "digest": map[string]any{"sha256": other}}}
		}), ErrIdentity, false},
		{"two subjects", inside(func(s map[string]any) {
			s["subject"] = []any{subject0(s), map[string]any{"name": "urn:assay:unit:" + other[:16], "digest": map[string]any{"sha256": other}}}
		}), ErrSubjectCount, true},
		{"no subject", inside(func(s map[string]any) { s["subject"] = []any{} }), ErrSubjectCount, false},
		{"another statement type", inside(func(s map[string]any) { s["_type"] = "https://in-toto.io/Statement/v0.1" }), ErrStatementType, true},
		{"another predicate type", inside(func(s map[string]any) { s["predicateType"] = "https://slsa.dev/provenance/v1" }), ErrPredicateType, false},
		{"an unknown version", inside(func(s map[string]any) { s["predicateType"] = "https://assay.example/permit/v2" }), ErrNewer, false},
		{"an unknown schema version", inside(func(s map[string]any) {
			predicate(s)["schemaVersion"] = 2
			predicate(s)["novelty"] = true
		}), ErrNewer, true},
		{"no schema version", inside(func(s map[string]any) { delete(predicate(s), "schemaVersion") }), ErrPredicate, true},
		{"an unknown field in the predicate", inside(func(s map[string]any) { predicate(s)["note"] = "x" }), ErrFields, true},
		{"a missing field in the predicate", inside(func(s map[string]any) { delete(predicate(s), "limits") }), ErrFields, true},
		{"a predicate that is a list", inside(func(s map[string]any) { s["predicate"] = []any{} }), ErrFields, false},
		{"no predicate", inside(func(s map[string]any) { delete(s, "predicate") }), ErrFields, true},
		{"a repeated verdict", rewritten(`"verdict":"permitted"`, `"verdict":"refused","verdict":"permitted"`), ErrDuplicateKey, false},
		{"a payload with spaces", rewritten(`"verdict":`, `"verdict": `), ErrNotCanonical, true},
		{"a payload with an escape that is not needed", rewritten(`"permitted"`, `"\u0070ermitted"`), ErrNotCanonical, true},
		{"a payload with a number in another form", rewritten(`"schemaVersion":1`, `"schemaVersion":1.0`), ErrFields, true},
		{"a payload that is cut off", rewritten(`}]}`, `}]`), ErrSyntax, false},
		{"an unknown verdict", inside(func(s map[string]any) { predicate(s)["verdict"] = "tolerated" }), ErrVerdict, true},
		{"another station key", inside(func(s map[string]any) {
			predicate(s)["station"].(map[string]any)["key"] = string(attest.DigestOf(nil))
		}), ErrStation, true},
		{"a permission for an unidentified unit", inside(func(s map[string]any) {
			u := map[string]any{"schema": attest.UnitSchema, "model": "EO-1"}
			predicate(s)["unit"], predicate(s)["identified"] = u, false
			d := digestOfUnit(t, u)
			s["subject"] = []any{map[string]any{"name": "urn:assay:unit:" + d[:16], "digest": map[string]any{"sha256": d}}}
		}), ErrUnidentified, false},
		{"an end before the start", inside(func(s map[string]any) { predicate(s)["notAfter"] = "2020-01-01T00:00:00Z" }), ErrPredicate, true},
		{"a time with a fraction", inside(func(s map[string]any) { predicate(s)["notAfter"] = "2027-01-01T00:00:00.5Z" }), ErrPredicate, true},
		{"a time in another zone", inside(func(s map[string]any) { predicate(s)["notAfter"] = "2027-01-01T00:00:00+01:00" }), ErrPredicate, true},
		{"evidence without a digest", inside(func(s map[string]any) { predicate(s)["evidence"] = "../../etc/passwd" }), ErrPredicate, true},
		{"an expired permit", inside(func(s map[string]any) {
			predicate(s)["notAfter"] = "2026-11-23T09:30:00Z"
			predicate(s)["notBefore"] = "2026-11-22T09:30:00Z"
		}), ErrExpired, true},
		{"a permit that is not valid yet", inside(func(s map[string]any) { predicate(s)["notBefore"] = "2026-11-24T09:30:00Z" }), ErrNotYetValid, true},
	}
}

// later is when forgeries are checked.
var later = issued.Add(time.Hour)

func TestEveryForgeryIsRefusedForItsOwnReason(t *testing.T) {
	key := newKey(t, ECDSAP256)
	identity := samplePermit(t, key).Identity
	for _, f := range forgeries(t) {
		c, err := Check(f.bundle(t, key), CheckOptions{Keys: []crypto.PublicKey{key.Public()}, Identity: identity, Now: later})
		if !errors.Is(err, f.want) {
			t.Errorf("%s: %v; want %v", f.name, err, f.want)
			continue
		}
		if dated := f.want == ErrExpired || f.want == ErrNotYetValid; dated != (c != nil) {
			t.Errorf("%s: checked %+v", f.name, c)
		}
		if c != nil && c.Permits() {
			t.Errorf("%s: it permits", f.name)
		}
		if strings.Contains(err.Error(), "\n") || len(err.Error()) > 400 {
			t.Errorf("%s: no clear message: %v", f.name, err)
		}
		for _, g := range forgeries(t) {
			if g.want != f.want && errors.Is(err, g.want) {
				t.Errorf("%s: %v is also %v", f.name, err, g.want)
			}
		}
	}
}

func TestAPermitIsValidFromItsFirstToItsLastInstant(t *testing.T) {
	key := newKey(t, Ed25519)
	p := samplePermit(t, key)
	end := p.Predicate.NotAfter
	for _, c := range []struct {
		now  time.Time
		want State
	}{{issued.Add(-time.Nanosecond), NotYetValid}, {issued, Valid}, {end, Valid}, {end.Add(time.Nanosecond), Expired}} {
		got, err := Check(p.Bundle, CheckOptions{Keys: []crypto.PublicKey{key.Public()}, Now: c.now})
		if got == nil || got.State != c.want || (err == nil) != (c.want == Valid) {
			t.Errorf("%s: %+v, %v", c.now, got, err)
		}
	}
}

func TestTheIdentityMustBeThatOfThePermit(t *testing.T) {
	key := newKey(t, Ed25519)
	p := samplePermit(t, key)
	for name, identity := range map[string][]byte{
		"an empty file":   {},
		"another unit":    []byte(`{"schema":"https://assay.example/unit/v1","serials":["EO1-000002"]}`),
		"a line break":    append(bytes.Clone(p.Identity), '\n'),
		"other spelling":  bytes.Replace(p.Identity, []byte(`":"`), []byte(`": "`), 1),
		"one bit changed": append(bytes.Clone(p.Identity[:len(p.Identity)-1]), ']'),
	} {
		if _, err := Check(p.Bundle, CheckOptions{Keys: []crypto.PublicKey{key.Public()}, Identity: identity, Now: issued}); !errors.Is(err, ErrIdentity) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestKeysThatPermitsAreNotSignedWithAreRefused(t *testing.T) {
	p := samplePermit(t, newKey(t, Ed25519))
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	rsaKey, _ := rsa.GenerateKey(rand.Reader, 2048)
	for _, c := range []struct {
		name string
		keys []crypto.PublicKey
		want error
		says string
	}{
		{"no key", nil, ErrNoKeys, ""},
		{"P-384", []crypto.PublicKey{p384.Public()}, ErrKeyKind, "P-384"},
		{"RSA", []crypto.PublicKey{rsaKey.Public()}, ErrKeyKind, "RSA"},
		{"a text", []crypto.PublicKey{"key"}, ErrKeyKind, "string"},
	} {
		if _, err := Check(p.Bundle, CheckOptions{Keys: c.keys, Now: issued}); !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	for _, key := range []crypto.Signer{p384, rsaKey} {
		if _, err := Issue(sampleResult(), sampleOptions(key)); !errors.Is(err, ErrKeyKind) {
			t.Errorf("issue with %T: %v", key, err)
		}
	}
}

// TestTheSecondFormOfAnECDSASignatureIsTheSamePermit shows why a permit is not
// named by the digest of its file: from (r, s) anyone can make (r, n-s).
func TestTheSecondFormOfAnECDSASignatureIsTheSamePermit(t *testing.T) {
	key := newKey(t, ECDSAP256)
	p := samplePermit(t, key)
	twin := edited(t, p.Bundle, func(b map[string]any) {
		sig, _ := base64.StdEncoding.DecodeString(signature0(b)["sig"].(string))
		signature0(b)["sig"] = base64.StdEncoding.EncodeToString(negated(t, sig))
	})
	c, err := Check(twin, CheckOptions{Keys: []crypto.PublicKey{key.Public()}, Now: issued})
	if err != nil || bytes.Equal(twin, p.Bundle) || c.Digest != p.Digest {
		t.Errorf("%v, %+v", err, c)
	}
}

func TestSpaceAndOrderAroundThePayloadDoNotMatter(t *testing.T) {
	key := newKey(t, Ed25519)
	p := samplePermit(t, key)
	var spaced bytes.Buffer
	if err := json.Indent(&spaced, p.Bundle, "", "  "); err != nil {
		t.Fatal(err)
	}
	if _, err := Check(append(spaced.Bytes(), '\n'), CheckOptions{Keys: []crypto.PublicKey{key.Public()}, Now: issued}); err != nil {
		t.Error(err)
	}
}

func negated(t *testing.T, sig []byte) []byte {
	t.Helper()
	var rs struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(sig, &rs); err != nil {
		t.Fatal(err)
	}
	rs.S.Sub(elliptic.P256().Params().N, rs.S)
	out, err := asn1.Marshal(rs)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func BenchmarkCheck(b *testing.B) {
	for _, kind := range []KeyKind{ECDSAP256, Ed25519} {
		key := newKey(b, kind)
		p := samplePermit(b, key)
		b.Run(string(kind), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Check(p.Bundle, CheckOptions{Keys: []crypto.PublicKey{key.Public()}, Identity: p.Identity, Now: issued}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
