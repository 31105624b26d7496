// Package reference keeps reference images: firmware whose maker, model and
// version somebody vouches for. It is the index that lineage compares with, and
// has the digests of each reference's regions and files with their paths.
//
// Who vouches is a class of its own and never rendered as another: what a maker
// publishes (2) and what the operator vouches for, such as a golden unit (3). The
// store records that; it verifies nothing and raises no grade.
package reference

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"assay/attest"
	"assay/firmware/lineage"
	"assay/internal/database"
	"assay/internal/durable"
)

// Class says who vouches for a reference.
type Class int

// The classes. Class 1, vendor-rooted cryptography, needs no reference.
const (
	Published Class = 2 // the maker published the image or its digest
	Operator  Class = 3 // the operator vouches for it: a golden unit
)

var classNames = map[Class]string{Published: "published", Operator: "operator"}

func (c Class) String() string { return classNames[c] }

// ParseClass reads the name of a class.
func ParseClass(s string) (Class, error) {
	for c, name := range classNames {
		if s == name {
			return c, nil
		}
	}
	return 0, fmt.Errorf("class %q is not published or operator", s)
}

// Reference is an image and what somebody says of it.
type Reference struct {
	ID      string // first 16 hexadecimal digits of a digest over image, maker, model and version
	Digest  attest.Digest
	Size    int64
	Entity  string // the maker's id in the entity data, "" for one that it does not know
	Maker   string
	Model   string
	Version string
	Board   string
	Class   Class
	Source  string // who vouches for it, and how it came here
	Added   time.Time
	Parts   int
	Stale   bool // its profile was made by other rules; add it again to compare with it
}

// ErrNotFound is wrapped by the error for a reference that is not there.
var ErrNotFound = errors.New("no such reference")

func (r *Reference) id() string {
	maker := r.Entity
	if maker == "" {
		maker = "=" + strings.ToLower(r.Maker)
	}
	sum := sha256.Sum256([]byte(strings.Join([]string{string(r.Digest), maker, strings.ToLower(r.Model), r.Version}, "\x00")))
	return hex.EncodeToString(sum[:8])
}

func (r *Reference) check() error {
	switch {
	case r.Digest.Hex() == "":
		return fmt.Errorf("%.80q is no digest", r.Digest)
	case r.Maker == "":
		return errors.New("it has no maker")
	case classNames[r.Class] == "":
		return fmt.Errorf("class %d is neither %d nor %d", r.Class, Published, Operator)
	}
	for _, s := range []string{r.Entity, r.Maker, r.Model, r.Version, r.Board, r.Source} {
		if len(s) > 512 {
			return fmt.Errorf("%.40q… is too long", s)
		}
	}
	return nil
}

//go:embed migrations/*.sql
var migrationFiles embed.FS

const databaseFile = "references.db"

// Store is an open store of references. It may be used by several goroutines, and
// the same folder by several processes of one machine.
type Store struct{ db *sql.DB }

// Open opens the store in dir and makes it if there is none.
func Open(ctx context.Context, dir string) (*Store, error) {
	s, err := open(ctx, dir)
	if err != nil {
		return nil, fmt.Errorf("references %s: %w", dir, database.Explain(err))
	}
	return s, nil
}

func open(ctx context.Context, dir string) (*Store, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := durable.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	migrations, err := fs.Sub(migrationFiles, "migrations")
	if err != nil {
		return nil, err
	}
	db, err := database.Open(ctx, filepath.Join(dir, databaseFile), migrations, database.BusyTimeout)
	if err != nil {
		return nil, err
	}
	if err := durable.SyncDir(dir); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &Store{db}, nil
}

// Close closes the store.
func (s *Store) Close() error { return database.Explain(s.db.Close()) }

// List returns the references, newest first.
func (s *Store) List(ctx context.Context) ([]Reference, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT i.id, i.digest, i.size, m.entity, m.name, i.model, i.version, i.board, i.class, i.source, i.added, i.rules,
		(SELECT count(*) FROM holds h WHERE h.image = i.seq) FROM images i JOIN makers m ON m.id = i.maker ORDER BY i.seq DESC`)
	if err != nil {
		return nil, fmt.Errorf("references: %w", database.Explain(err))
	}
	defer rows.Close()
	var list []Reference
	for rows.Next() {
		var r Reference
		var added, rules int64
		if err := rows.Scan(&r.ID, &r.Digest, &r.Size, &r.Entity, &r.Maker, &r.Model, &r.Version, &r.Board, &r.Class, &r.Source, &added, &rules, &r.Parts); err != nil {
			return nil, fmt.Errorf("references: %w", database.Explain(err))
		}
		r.Added, r.Stale = time.Unix(added, 0).UTC(), rules != lineage.Rules
		list = append(list, r)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("references: %w", database.Explain(err))
	}
	return list, nil
}

// Manifest lists the regions and files of a reference with their digests.
func (s *Store) Manifest(ctx context.Context, id string) (*Manifest, error) {
	m, err := s.manifest(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("references: %.40q: %w", id, database.Explain(err, ErrNotFound))
	}
	return m, nil
}

func (s *Store) manifest(ctx context.Context, id string) (*Manifest, error) {
	var seq int64
	var files []byte
	err := s.db.QueryRowContext(ctx, `SELECT seq, files FROM images WHERE id = ?`, id).Scan(&seq, &files)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	m := &Manifest{}
	if m.Files, err = unpackFiles(files); err != nil {
		return nil, fmt.Errorf("%w: %w", database.ErrDamaged, err)
	}
	rows, err := s.db.QueryContext(ctx, `SELECT path, offset, size, format, role, state, digest FROM regions WHERE image = ? ORDER BY path`, seq)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var r Region
		if err := rows.Scan(&r.Path, &r.Offset, &r.Size, &r.Format, &r.Role, &r.State, &r.SHA256); err != nil {
			return nil, err
		}
		m.Regions = append(m.Regions, r)
	}
	return m, rows.Err()
}
