package register

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"assay/attest"
)

// Recovery is what is in the register's folder but not in its tables, and the
// other way round.
type Recovery struct {
	Orphans     int // blobs that no permit needs: an Add that a crash, or an error, cut short
	OrphanBytes int64
	Unfinished  int             // temporary files of a crashed program, removed
	Missing     []attest.Digest // blobs that a permit needs and that are gone: damage, restore them from a backup
}

// unfinishedAge is when a temporary file cannot be another program's work in
// progress any more.
const unfinishedAge = 24 * time.Hour

// Recovery is what [Open] found, or nil where the register had been closed
// properly.
func (r *Register) Recovery() *Recovery { return r.recovery }

// Recover compares the folder of blobs with the tables. Blobs that no permit
// needs are counted and kept: they may be evidence of the permit that a crash
// interrupted, and adding it again finds them in place. It takes time in
// proportion to the number of blobs, and does not read them.
func (r *Register) Recover(ctx context.Context) (*Recovery, error) {
	var found Recovery
	if err := r.walkBlobs(ctx, &found); err != nil {
		return nil, fmt.Errorf("register: recover: %w", explain(err))
	}
	if err := r.findMissing(ctx, &found); err != nil {
		return nil, fmt.Errorf("register: recover: %w", explain(err))
	}
	return &found, nil
}

func (r *Register) walkBlobs(ctx context.Context, found *Recovery) error {
	needed, err := r.db.PrepareContext(ctx, `SELECT EXISTS (SELECT 1 FROM evidence WHERE digest = ?1) OR EXISTS (SELECT 1 FROM artefacts WHERE digest = ?1)`)
	if err != nil {
		return err
	}
	defer needed.Close()
	return filepath.WalkDir(r.blobs.dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		s, err := entry.Info()
		if err != nil {
			return nil // renamed by another program since
		}
		if strings.HasPrefix(entry.Name(), ".assay-") {
			if time.Since(s.ModTime()) > unfinishedAge && os.Remove(path) == nil {
				found.Unfinished++
			}
			return nil
		}
		var is bool
		if err := needed.QueryRowContext(ctx, "sha256:"+entry.Name()).Scan(&is); err != nil {
			return err
		}
		if !is {
			found.Orphans++
			found.OrphanBytes += s.Size()
		}
		return nil
	})
}

func (r *Register) findMissing(ctx context.Context, found *Recovery) error {
	rows, err := r.db.QueryContext(ctx, `SELECT digest FROM evidence UNION SELECT digest FROM artefacts`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var d attest.Digest
		if err := rows.Scan(&d); err != nil {
			return err
		}
		if !r.blobs.has(d) {
			found.Missing = append(found.Missing, d)
		}
	}
	return rows.Err()
}

// Verify asks SQLite whether the database is sound.
func (r *Register) Verify(ctx context.Context) error {
	var says string
	if err := r.db.QueryRowContext(ctx, `PRAGMA integrity_check(1)`).Scan(&says); err != nil {
		return fmt.Errorf("register: verify: %w", explain(err))
	}
	if says != "ok" {
		return fmt.Errorf("register: verify: %w: %s", ErrDamaged, says)
	}
	return nil
}
