package register

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"io"
	"slices"

	"assay/attest"
	"assay/attest/permit"
)

// Entry is a permit and everything under it.
type Entry struct {
	Bundle    []byte                      // permit.sigstore.json
	Identity  []byte                      // identity.json, canonical
	Evidence  []byte                      // canonical JSON of attest.Evidence
	Result    []byte                      // canonical JSON of attest.Result
	Artefacts map[attest.Digest]io.Reader // what the evidence lists; those already in the register may be left out and are not read
}

// Add registers a permit and returns its id once everything is durable. Adding
// the same permit again changes nothing.
//
// An entry that does not hold together is refused with [ErrIncomplete] before
// anything is written to the database: the permit must read well, name the
// identity record, evidence and result that come with it, and every artefact
// that the evidence lists must be given or in the register already. Add does not
// verify the permit's signature.
func (r *Register) Add(ctx context.Context, e Entry) (string, error) {
	p, evidence, err := e.check()
	if err != nil {
		return "", fmt.Errorf("register: add: %w", err)
	}
	if err := r.putBlobs(ctx, p, evidence, e); err != nil {
		return "", fmt.Errorf("register: add permit %s: %w", p.ID(), explain(err))
	}
	if err := r.insert(ctx, p, evidence, e); err != nil {
		return "", fmt.Errorf("register: add permit %s: %w", p.ID(), explain(err))
	}
	return p.ID(), nil
}

func (e *Entry) check() (*permit.Permit, *attest.Evidence, error) {
	p, err := permit.Read(e.Bundle)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrIncomplete, err)
	}
	if !bytes.Equal(e.Identity, p.Identity) {
		return nil, nil, fmt.Errorf("%w: permit %s is for another identity record", ErrIncomplete, p.ID())
	}
	for _, part := range []struct {
		name  string
		bytes []byte
		want  attest.Digest
	}{{"evidence", e.Evidence, p.Predicate.Evidence}, {"result", e.Result, p.Predicate.Result}} {
		if got := attest.DigestOf(part.bytes); got != part.want {
			return nil, nil, fmt.Errorf("%w: permit %s rests on %s %s, and %s was given", ErrIncomplete, p.ID(), part.name, part.want, got)
		}
	}
	evidence, err := attest.ParseEvidence(e.Evidence)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: permit %s: %w", ErrIncomplete, p.ID(), err)
	}
	for d := range e.Artefacts {
		if !slices.ContainsFunc(evidence.Artefacts, func(a attest.Artefact) bool { return a.Digest == d }) {
			return nil, nil, fmt.Errorf("%w: artefact %s is not listed in the evidence", ErrIncomplete, d)
		}
	}
	return p, evidence, nil
}

// putBlobs stores the artefacts, then the evidence that lists them: evidence in
// the folder always has its artefacts, even where a crash keeps its permit out.
func (r *Register) putBlobs(ctx context.Context, p *permit.Permit, evidence *attest.Evidence, e Entry) error {
	for _, a := range evidence.Artefacts {
		given := e.Artefacts[a.Digest]
		if given == nil && !r.blobs.has(a.Digest) {
			return fmt.Errorf("%w: evidence lists artefact %s (%s), which is neither given nor registered", ErrIncomplete, a.Digest, a.What)
		}
		if err := r.blobs.put(ctx, a.Digest, a.Size, given); err != nil {
			return err
		}
	}
	return r.blobs.put(ctx, p.Predicate.Evidence, int64(len(e.Evidence)), bytes.NewReader(e.Evidence))
}

func (r *Register) insert(ctx context.Context, p *permit.Permit, evidence *attest.Evidence, e Entry) error {
	tx, err := r.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // after a commit it does nothing
	unit := attest.DigestOf(e.Identity)
	if err := insertUnit(ctx, tx, unit, p); err != nil {
		return err
	}
	if err := insertKeys(ctx, tx, unit, evidence.Claims); err != nil {
		return err
	}
	if err := insertEvidence(ctx, tx, p.Predicate.Evidence, int64(len(e.Evidence)), evidence.Artefacts); err != nil {
		return err
	}
	q := p.Predicate
	_, err = tx.ExecContext(ctx, `INSERT INTO permits
		(digest, id, unit, evidence, verdict, profile, station, station_key, issued, not_before, not_after, bundle, result)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (digest) DO NOTHING`,
		p.Digest, p.ID(), unit, q.Evidence, q.Verdict, q.Profile.ID, q.Station.Name, q.Station.Key,
		q.Issued.Unix(), q.NotBefore.Unix(), q.NotAfter.Unix(), e.Bundle, e.Result)
	if err != nil {
		return err
	}
	return tx.Commit()
}

func insertUnit(ctx context.Context, tx *sql.Tx, digest attest.Digest, p *permit.Permit) error {
	u := p.Predicate.Unit
	_, err := tx.ExecContext(ctx, `INSERT INTO units (digest, maker, model, identity) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING`,
		digest, u.Maker, u.Model, p.Identity)
	if err != nil {
		return err
	}
	for kind, values := range map[string][]string{"serial": u.Serials, "mac": u.MACs} {
		for _, v := range values {
			_, err := tx.ExecContext(ctx, `INSERT INTO identifiers (kind, value, unit) VALUES (?, ?, ?) ON CONFLICT DO NOTHING`, kind, v, digest)
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func insertEvidence(ctx context.Context, tx *sql.Tx, digest attest.Digest, size int64, artefacts []attest.Artefact) error {
	if _, err := tx.ExecContext(ctx, `INSERT INTO evidence (digest, size) VALUES (?, ?) ON CONFLICT DO NOTHING`, digest, size); err != nil {
		return err
	}
	for _, a := range artefacts {
		_, err := tx.ExecContext(ctx, `INSERT INTO artefacts (evidence, digest, media_type, size, what) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
			digest, a.Digest, a.MediaType, a.Size, a.What)
		if err != nil {
			return err
		}
	}
	return nil
}
