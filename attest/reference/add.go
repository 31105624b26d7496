package reference

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"assay/attest"
	"assay/firmware"
	"assay/firmware/lineage"
	"assay/internal/database"
)

// Add stores an image with its profile and what r says of it; Digest, Size, ID,
// Parts and Stale are filled in. Adding the same image of the same maker, model
// and version again changes what else is said of it, and is reported as not new.
func (s *Store) Add(ctx context.Context, r Reference, img *firmware.Image, p *lineage.Profile) (stored Reference, isNew bool, err error) {
	r.Digest, r.Size, r.Parts, r.Stale = attest.Digest("sha256:"+img.SHA256), img.Size, len(p.Parts), false
	if r.Added.IsZero() {
		r.Added = time.Now()
	}
	r.Added = r.Added.UTC().Truncate(time.Second)
	r.ID = r.id()
	err = r.check()
	if err == nil && p.Rules != lineage.Rules {
		err = fmt.Errorf("its profile was made by rules %d", p.Rules)
	}
	if err != nil {
		return r, false, fmt.Errorf("references: add: %w", err)
	}
	if isNew, err = s.add(ctx, &r, manifest(img), p); err != nil {
		return r, false, fmt.Errorf("references: add %s: %w", r.ID, database.Explain(err))
	}
	return r, isNew, nil
}

func (s *Store) add(ctx context.Context, r *Reference, m *Manifest, p *lineage.Profile) (isNew bool, err error) {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return false, err
	}
	defer tx.Rollback() // after a commit it does nothing
	if _, err := tx.ExecContext(ctx, cache); err != nil {
		return false, err
	}
	var seq, rules, added int64
	err = tx.QueryRowContext(ctx, `SELECT seq, rules, added FROM images WHERE id = ?`, r.ID).Scan(&seq, &rules, &added)
	switch {
	case err == nil && rules == lineage.Rules:
		r.Added = time.Unix(added, 0).UTC()
		if _, err := tx.ExecContext(ctx, `UPDATE images SET board = ?, class = ?, source = ? WHERE seq = ?`, r.Board, r.Class, r.Source, seq); err != nil {
			return false, err
		}
		return false, tx.Commit()
	case err == nil:
		if err := remove(ctx, tx, seq); err != nil {
			return false, err
		}
	case !errors.Is(err, sql.ErrNoRows):
		return false, err
	}
	w, err := newWriter(ctx, tx)
	if err != nil {
		return false, err
	}
	if err := w.image(r, m, p); err != nil {
		return false, err
	}
	return true, tx.Commit()
}

// writer has the statements that an image takes thousands of.
type writer struct {
	ctx                                             context.Context
	tx                                              *sql.Tx
	findPart, addPart, hasPart, addHold, addPosting *sql.Stmt
	maker, seq                                      int64
}

func newWriter(ctx context.Context, tx *sql.Tx) (*writer, error) {
	// The driver starts a goroutine for each statement that can be cancelled.
	w := &writer{ctx: context.WithoutCancel(ctx), tx: tx}
	for _, s := range []struct {
		to  **sql.Stmt
		sql string
	}{
		{&w.findPart, `SELECT id FROM parts WHERE sha256 = ? AND kind = ? AND rules = ?`},
		{&w.addPart, `INSERT INTO parts (sha256, kind, rules, size, known, data) VALUES (?, ?, ?, ?, ?, ?)`},
		{&w.hasPart, `SELECT EXISTS (SELECT 1 FROM holds h JOIN images i ON i.seq = h.image WHERE h.part = ? AND i.maker = ?)`},
		{&w.addHold, `INSERT INTO holds (image, part, path) VALUES (?, ?, ?)`},
		{&w.addPosting, `INSERT INTO postings (feature, maker, part) VALUES (?, ?, ?) ON CONFLICT DO NOTHING`},
	} {
		var err error
		if *s.to, err = tx.PrepareContext(w.ctx, s.sql); err != nil {
			return nil, err
		}
	}
	return w, ctx.Err()
}

func (w *writer) image(r *Reference, m *Manifest, p *lineage.Profile) error {
	if _, err := w.tx.ExecContext(w.ctx, `INSERT INTO makers (entity, name) VALUES (?, ?) ON CONFLICT DO NOTHING`, r.Entity, r.Maker); err != nil {
		return err
	}
	if err := w.tx.QueryRowContext(w.ctx, `SELECT id FROM makers WHERE entity = ? AND name = ?`, r.Entity, r.Maker).Scan(&w.maker); err != nil {
		return err
	}
	files, err := packFiles(m.Files)
	if err != nil {
		return err
	}
	done, err := w.tx.ExecContext(w.ctx, `INSERT INTO images (id, digest, size, maker, model, version, board, class, source, added, rules, small, files)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		r.ID, r.Digest, r.Size, w.maker, r.Model, r.Version, r.Board, r.Class, r.Source, r.Added.Unix(), p.Rules, p.Small, files)
	if err != nil {
		return err
	}
	if w.seq, err = done.LastInsertId(); err != nil {
		return err
	}
	for _, g := range m.Regions {
		_, err := w.tx.ExecContext(w.ctx, `INSERT INTO regions (image, path, offset, size, format, role, state, digest) VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
			w.seq, g.Path, g.Offset, g.Size, g.Format, g.Role, g.State, g.SHA256)
		if err != nil {
			return err
		}
	}
	for i := range p.Parts {
		if err := w.part(&p.Parts[i]); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) part(p *lineage.Part) error {
	var id int64
	err := w.findPart.QueryRow(p.SHA256[:], p.Kind, lineage.Rules).Scan(&id)
	indexed := false
	switch {
	case err == nil:
		if err := w.hasPart.QueryRow(id, w.maker).Scan(&indexed); err != nil {
			return err
		}
	case errors.Is(err, sql.ErrNoRows):
		done, err := w.addPart.Exec(p.SHA256[:], p.Kind, lineage.Rules, p.Size, p.Known, encode(p))
		if err != nil {
			return err
		}
		if id, err = done.LastInsertId(); err != nil {
			return err
		}
	default:
		return err
	}
	if _, err := w.addHold.Exec(w.seq, id, p.Path); err != nil {
		return err
	}
	if indexed {
		return nil
	}
	for _, f := range p.Features() {
		if _, err := w.addPosting.Exec(int64(f), w.maker, id); err != nil {
			return err
		}
	}
	return nil
}

// Remove forgets a reference.
func (s *Store) Remove(ctx context.Context, id string) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("references: remove: %w", database.Explain(err))
	}
	defer tx.Rollback()
	var seq int64
	err = tx.QueryRowContext(ctx, `SELECT seq FROM images WHERE id = ?`, id).Scan(&seq)
	if errors.Is(err, sql.ErrNoRows) {
		err = ErrNotFound
	}
	if err == nil {
		err = remove(ctx, tx, seq)
	}
	if err == nil {
		err = tx.Commit()
	}
	if err != nil {
		return fmt.Errorf("references: remove %.40q: %w", id, database.Explain(err, ErrNotFound))
	}
	return nil
}

// remove takes an image out, the postings that only it accounts for, and the parts
// and the maker that nobody has any more.
func remove(ctx context.Context, tx *sql.Tx, seq int64) error {
	var maker int64
	if err := tx.QueryRowContext(ctx, `SELECT maker FROM images WHERE seq = ?`, seq).Scan(&maker); err != nil {
		return err
	}
	orphans, err := orphaned(ctx, tx, seq, maker)
	if err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	drop, err := tx.PrepareContext(ctx, `DELETE FROM postings WHERE feature = ? AND maker = ? AND part = ?`)
	if err != nil {
		return err
	}
	var unreadable []int64
	for id, p := range orphans {
		if p == nil {
			unreadable = append(unreadable, id)
			continue
		}
		for _, f := range p.Features() {
			if _, err := drop.Exec(int64(f), maker, id); err != nil {
				return err
			}
		}
	}
	if len(unreadable) > 0 { // their postings are looked for one by one
		ids, err := json.Marshal(unreadable)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM postings WHERE maker = ? AND part IN (SELECT value FROM json_each(?))`, maker, string(ids)); err != nil {
			return err
		}
	}
	for _, q := range []string{`DELETE FROM holds WHERE image = ?`, `DELETE FROM regions WHERE image = ?`, `DELETE FROM images WHERE seq = ?`} {
		if _, err := tx.ExecContext(ctx, q, seq); err != nil {
			return err
		}
	}
	for id := range orphans {
		if _, err := tx.ExecContext(ctx, `DELETE FROM parts WHERE id = ? AND NOT EXISTS (SELECT 1 FROM holds WHERE part = parts.id)`, id); err != nil {
			return err
		}
	}
	_, err = tx.ExecContext(ctx, `DELETE FROM makers WHERE id = ? AND NOT EXISTS (SELECT 1 FROM images WHERE maker = makers.id)`, maker)
	return err
}

// orphaned are the parts of an image that no other image of the maker has; nil for
// one that is damaged, or was written by another version.
func orphaned(ctx context.Context, tx *sql.Tx, seq, maker int64) (map[int64]*lineage.Part, error) {
	rows, err := tx.QueryContext(ctx, `SELECT p.id, p.data FROM holds h JOIN parts p ON p.id = h.part WHERE h.image = ?
		AND NOT EXISTS (SELECT 1 FROM holds o JOIN images i ON i.seq = o.image WHERE o.part = h.part AND o.image <> h.image AND i.maker = ?)`, seq, maker)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	out := make(map[int64]*lineage.Part)
	for rows.Next() {
		var id int64
		var data []byte
		if err := rows.Scan(&id, &data); err != nil {
			return nil, err
		}
		p := &lineage.Part{}
		if decode(data, p) != nil {
			p = nil
		}
		out[id] = p
	}
	return out, rows.Err()
}
