package permit

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/dsse"

	"assay/attest"
)

// IssueOptions says who issues a permit and for how long.
type IssueOptions struct {
	Signer         crypto.Signer          // ECDSA P-256 or Ed25519; may live in a TPM, HSM or KMS
	Station        string                 // name of the issuing station
	Validity       time.Duration          // from Now on, in whole seconds
	Now            time.Time              // zero for the current time
	Tool           string                 // name and version of the issuing program
	Contradictions []attest.Contradiction // those of the evidence, which a result only refers to
}

// Issue signs the result. It does not judge it: that the verdict follows from
// the evidence is appraisal's word.
//
// A permission is refused with [ErrUnidentified] when nothing in the unit's
// record tells it from its twins. Refusals and inconclusive notices are issued
// for such a unit too, since a unit that hides who it is must not escape its
// notice; they are marked as not identified, and their subject then stands for
// a record that other units may share. Only the evidence digest, and whole
// images in the record where there are any, tie them to this unit.
func Issue(result attest.Result, o IssueOptions) (*Permit, error) {
	p, err := issue(result, o)
	if err != nil {
		return nil, fmt.Errorf("permit: issue: %w", err)
	}
	return p, nil
}

func issue(result attest.Result, o IssueOptions) (*Permit, error) {
	if o.Signer == nil {
		return nil, errors.New("no key to sign with")
	}
	if err := checkKind(o.Signer.Public()); err != nil {
		return nil, err
	}
	if result.Schema != attest.ResultSchema {
		return nil, fmt.Errorf("result schema %q is not %q", result.Schema, attest.ResultSchema)
	}
	if o.Validity < time.Second {
		return nil, fmt.Errorf("validity of %s is under a second: a permit must be valid for some time, and expire", o.Validity)
	}
	canonicalResult, err := attest.Canonical(result)
	if err != nil {
		return nil, fmt.Errorf("result: %w", err)
	}
	predicate := predicateOf(result, o)
	predicate.Result = attest.DigestOf(canonicalResult)
	if err := predicate.check(); err != nil {
		return nil, err
	}
	s := statement{Type: statementType, PredicateType: Type, Predicate: predicate}
	about, err := subjectOf(predicate.Unit)
	if err != nil {
		return nil, err
	}
	s.Subject = []subject{about}
	payload, err := attest.Canonical(s)
	if err != nil {
		return nil, err
	}
	bundle, err := sign(o.Signer, payload)
	if err != nil {
		return nil, err
	}
	// Nothing leaves that Check would not take: a worn-out token, a key that
	// is not the signer's, a predicate over the size limit.
	c, err := Check(bundle, CheckOptions{Keys: []crypto.PublicKey{o.Signer.Public()}, Now: predicate.NotBefore})
	if err != nil {
		return nil, fmt.Errorf("made a permit that does not hold: %w", err)
	}
	p := c.Permit
	p.Result = canonicalResult
	return &p, nil
}

func predicateOf(r attest.Result, o IssueOptions) Predicate {
	now := o.Now
	if now.IsZero() {
		now = time.Now()
	}
	now = now.UTC().Truncate(time.Second)
	return Predicate{
		SchemaVersion:  schemaVersion,
		Verdict:        r.Verdict,
		Unit:           r.Unit,
		Identified:     r.Unit.Identified(),
		Profile:        r.Profile,
		Parameters:     list(r.Parameters),
		Data:           list(r.Data),
		DecisionRule:   r.DecisionRule,
		Reasons:        list(r.Reasons),
		Next:           r.Next,
		Grades:         list(r.Grades),
		Contradictions: summaries(o.Contradictions),
		AR4SI:          r.AR4SI,
		Limits:         list(r.Limits),
		Evidence:       r.Evidence,
		Firmware:       list(r.Firmware),
		Appraised:      r.Time.UTC().Truncate(time.Second),
		Issued:         now,
		NotBefore:      now,
		NotAfter:       now.Add(o.Validity.Truncate(time.Second)),
		Station:        Station{Name: o.Station, Key: Fingerprint(o.Signer.Public())},
		Tool:           o.Tool,
	}
}

// list is s, and never null in JSON.
func list[T any](s []T) []T { return append([]T{}, s...) }

// maxContradictions keeps a unit from escaping its notice by contradicting
// itself until the notice is over the size limit.
const maxContradictions = 256

func summaries(cs []attest.Contradiction) []Contradiction {
	s := []Contradiction{}
	for i, c := range cs {
		if i == maxContradictions {
			return append(s, Contradiction{Subject: attest.SubjectUnit, Says: fmt.Sprintf("and %d more, in the evidence", len(cs)-i)})
		}
		s = append(s, Contradiction{ID: c.ID, Subject: c.Subject, Name: c.Name, Says: c.Says})
	}
	return s
}

// sign wraps the payload into a bundle.
func sign(key crypto.Signer, payload []byte) ([]byte, error) {
	b, err := dsse.WrapSigner(messageSigner{key}, payloadType).SignMessage(bytes.NewReader(payload))
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	var e Envelope
	if err := json.Unmarshal(b, &e); err != nil {
		return nil, fmt.Errorf("sign: envelope: %w", err)
	}
	return newBundle(Fingerprint(key.Public()), e)
}

// messageSigner lets sigstore sign with any crypto.Signer: its own loaders take
// keys in memory only, and a station's key may live in a TPM.
type messageSigner struct{ key crypto.Signer }

func (s messageSigner) PublicKey(...signature.PublicKeyOption) (crypto.PublicKey, error) {
	return s.key.Public(), nil
}

func (s messageSigner) SignMessage(r io.Reader, _ ...signature.SignOption) ([]byte, error) {
	message, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	if _, ok := s.key.Public().(ed25519.PublicKey); ok {
		return s.key.Sign(rand.Reader, message, crypto.Hash(0))
	}
	h := crypto.SHA256.New()
	h.Write(message)
	return s.key.Sign(rand.Reader, h.Sum(nil), crypto.SHA256)
}
