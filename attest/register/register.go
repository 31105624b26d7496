// Package register keeps every permit, refusal notice and the evidence under
// it, so that none is lost once it was issued: a SQLite database (register.db)
// and a folder of files named by their digest (blobs).
//
// What [Register.Add] returned without an error survives a crash of the program
// at any moment, and of the machine as far as the disk keeps its promise to
// sync: files first, each written beside its place, synced and renamed; then
// one transaction in write-ahead-log mode with synchronous=FULL
// (sqlite.org/pragma.html#pragma_synchronous). A crash in between leaves files
// that no permit names, which do no harm, and never a permit without its
// evidence.
//
// The register stores permits; it does not vouch for them. It verifies no
// signature: whoever takes a permit out checks it with the permit package.
package register

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"assay/internal/database"
	"assay/internal/durable"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

const databaseFile = "register.db"

// Register is an open register. It may be used by several goroutines, and the
// same folder by several processes of one machine; a network file system is no
// place for it (sqlite.org/wal.html).
type Register struct {
	db       *sql.DB
	blobs    blobs
	recovery *Recovery
}

// Open opens the register in dir and makes it if there is none. When the last
// program did not close it, Open looks for what a crash left behind; see
// [Register.Recovery].
//
// A register that a newer version has changed is refused with [ErrNewer].
func Open(ctx context.Context, dir string) (*Register, error) {
	r, err := open(ctx, dir, database.BusyTimeout)
	if err != nil {
		return nil, fmt.Errorf("register %s: %w", dir, explain(err))
	}
	return r, nil
}

func open(ctx context.Context, dir string, busy time.Duration) (*Register, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := durable.MkdirAll(filepath.Join(dir, "blobs"), 0o700); err != nil {
		return nil, err
	}
	crashed := leftOpen(dir)
	r := &Register{blobs: blobs{filepath.Join(dir, "blobs")}}
	if err := r.blobs.prepare(); err != nil {
		return nil, err
	}
	migrations, err := fs.Sub(migrationFiles, "migrations")
	if err != nil {
		return nil, err
	}
	if r.db, err = database.Open(ctx, filepath.Join(dir, databaseFile), migrations, busy); err != nil {
		return nil, err
	}
	// SQLite makes its own files durable, but not the entry of a new database.
	if err := durable.SyncDir(dir); err != nil {
		return nil, errors.Join(err, r.db.Close())
	}
	if !crashed {
		return r, nil
	}
	if r.recovery, err = r.Recover(ctx); err != nil {
		return nil, errors.Join(err, r.db.Close())
	}
	return r, nil
}

// Close closes the register. It waits for the work under way.
func (r *Register) Close() error { return explain(r.db.Close()) }

// leftOpen reports whether the write-ahead log has content: the last one to
// close a database folds it in and removes it. It is also there while another
// process has the register open, when looking for leftovers costs time only.
func leftOpen(dir string) bool {
	s, err := os.Stat(filepath.Join(dir, databaseFile+"-wal"))
	return err == nil && s.Size() > 0
}
