package permit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"assay/attest"
)

// statementType is that of in-toto/attestation spec/v1/statement.md.
const statementType = "https://in-toto.io/Statement/v1"

// statement is an in-toto Statement v1 about one unit.
type statement struct {
	Type          string    `json:"_type"`
	Subject       []subject `json:"subject"`
	PredicateType string    `json:"predicateType"`
	Predicate     Predicate `json:"predicate"`
}

type subject struct {
	Name   string            `json:"name"`
	Digest map[string]string `json:"digest"`
}

// subjectOf names a unit by its identity record.
func subjectOf(u attest.Unit) (subject, error) {
	identity, err := attest.Canonical(u)
	if err != nil {
		return subject{}, fmt.Errorf("identity record: %w", err)
	}
	hex := attest.DigestOf(identity).Hex()
	return subject{Name: "urn:assay:unit:" + hex[:16], Digest: map[string]string{"sha256": hex}}, nil
}

// parseStatement reads a payload. What it is comes before what it holds, so
// that a permit of a newer version is called that and not malformed.
func parseStatement(payloadAs string, payload []byte) (*statement, error) {
	if payloadAs != payloadType {
		return nil, fmt.Errorf("%w: its type is %q", ErrPayloadType, payloadAs)
	}
	if err := scan(payload); err != nil {
		return nil, fmt.Errorf("payload: %w", err)
	}
	if err := parseHead(payload); err != nil {
		return nil, err
	}
	var s statement
	canonical, err := decode(payload, &s)
	if err != nil {
		return nil, fmt.Errorf("payload: %w", err)
	}
	if !bytes.Equal(canonical, payload) {
		return nil, fmt.Errorf("%w, at byte %d", ErrNotCanonical, firstDifference(canonical, payload))
	}
	if err := s.checkSubject(); err != nil {
		return nil, err
	}
	return &s, s.Predicate.check()
}

func parseHead(payload []byte) error {
	var head struct {
		Type          string          `json:"_type"`
		PredicateType string          `json:"predicateType"`
		Predicate     json.RawMessage `json:"predicate"`
	}
	if err := json.Unmarshal(payload, &head); err != nil {
		return fmt.Errorf("payload: %w: %w", ErrFields, err)
	}
	if head.Type != statementType {
		return fmt.Errorf("%w: its type is %q", ErrStatementType, head.Type)
	}
	if head.PredicateType != Type {
		version, ok := strings.CutPrefix(head.PredicateType, typeStem)
		if n, err := strconv.Atoi(version); ok && err == nil && n > 1 {
			return fmt.Errorf("%w: permit version %d", ErrNewer, n)
		}
		return fmt.Errorf("%w: its predicate type is %q", ErrPredicateType, head.PredicateType)
	}
	var predicate struct {
		SchemaVersion int `json:"schemaVersion"`
	}
	if err := json.Unmarshal(head.Predicate, &predicate); err != nil {
		return fmt.Errorf("payload: %w: %w", ErrFields, err)
	}
	if n := predicate.SchemaVersion; n > schemaVersion {
		return fmt.Errorf("%w: permit schema version %d", ErrNewer, n)
	} else if n < schemaVersion {
		return fmt.Errorf("%w: schemaVersion is %d, the first is 1", ErrPredicate, n)
	}
	return nil
}

func (s *statement) checkSubject() error {
	if n := len(s.Subject); n != 1 {
		return fmt.Errorf("%w, not %d", ErrSubjectCount, n)
	}
	want, err := subjectOf(s.Predicate.Unit)
	if err != nil {
		return err
	}
	got := s.Subject[0]
	if len(got.Digest) != 1 || got.Digest["sha256"] != want.Digest["sha256"] || got.Name != want.Name {
		return fmt.Errorf("%w, %s", ErrSubject, want.Name)
	}
	return nil
}
