package register

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"strings"

	"assay/attest"
)

// Registered is a permit and everything under it but the artefacts' bytes, for
// which there is [Register.Artefact].
type Registered struct {
	Record
	Bundle    []byte
	Identity  []byte
	Evidence  []byte
	Result    []byte
	Artefacts []attest.Artefact
}

// Get returns a permit by its id, whole: what is not what was registered is
// [ErrDamaged]. An unknown id is [ErrNotFound].
func (r *Register) Get(ctx context.Context, id string) (*Registered, error) {
	g, err := r.get(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("register: permit %.40q: %w", id, explain(err))
	}
	return g, nil
}

func (r *Register) get(ctx context.Context, id string) (*Registered, error) {
	row := r.db.QueryRowContext(ctx, `SELECT `+columns+`, p.bundle, p.result
		FROM permits p JOIN units u ON u.digest = p.unit WHERE p.id = ?`, strings.ToLower(id))
	var g Registered
	record, err := scan(row, &g.Bundle, &g.Result)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	g.Record = *record
	if g.Evidence, err = r.blobs.read(g.EvidenceDigest); err != nil {
		return nil, err
	}
	if g.Identity, err = attest.Canonical(g.Unit); err != nil {
		return nil, err
	}
	entry := Entry{Bundle: g.Bundle, Identity: g.Identity, Evidence: g.Evidence, Result: g.Result}
	p, evidence, err := entry.check()
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrDamaged, err)
	}
	if p.ID() != g.ID {
		return nil, fmt.Errorf("%w: its bundle is that of permit %s", ErrDamaged, p.ID())
	}
	g.Artefacts = evidence.Artefacts
	return &g, nil
}

// Artefact writes the bytes of an artefact to w. After an error what was
// written must not be used.
func (r *Register) Artefact(ctx context.Context, d attest.Digest, w io.Writer) error {
	if err := r.blobs.copy(ctx, w, d); err != nil {
		return fmt.Errorf("register: artefact: %w", explain(err))
	}
	return nil
}
