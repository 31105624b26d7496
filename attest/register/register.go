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
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite" // the database driver

	"assay/internal/durable"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

const databaseFile = "register.db"

// busyTimeout is how long a write waits for another process to finish its own.
const busyTimeout = 10 * time.Second

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
	r, err := open(ctx, dir, busyTimeout)
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
	db, err := sql.Open("sqlite", source(filepath.Join(dir, databaseFile), busy))
	if err != nil {
		return nil, err
	}
	r := &Register{db: db, blobs: blobs{filepath.Join(dir, "blobs")}}
	if err := r.prepare(ctx, dir); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	if !crashed {
		return r, nil
	}
	if r.recovery, err = r.Recover(ctx); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return r, nil
}

func (r *Register) prepare(ctx context.Context, dir string) error {
	if err := r.blobs.prepare(); err != nil {
		return err
	}
	if err := migrate(ctx, r.db); err != nil {
		return err
	}
	if err := os.Chmod(filepath.Join(dir, databaseFile), 0o600); err != nil && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	// SQLite makes its own files durable, but not the entry of a new database.
	return durable.SyncDir(dir)
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

// source is the data source name. Writing transactions take their lock at the
// start: one that reads first and then cannot upgrade would fail at once,
// whatever the busy timeout.
func source(path string, busy time.Duration) string {
	q := url.Values{"_txlock": {"immediate"}, "_pragma": {
		fmt.Sprintf("busy_timeout(%d)", busy.Milliseconds()),
		"journal_mode(WAL)",
		"synchronous(FULL)",
		"foreign_keys(1)",
	}}
	path = filepath.ToSlash(path)
	if !strings.HasPrefix(path, "/") {
		path = "/" + path // a drive letter: file:///C:/…
	}
	return (&url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}).String()
}

// migrate brings the tables up to date. Two programs may open a new register
// at the same time: the one that comes second finds the work done.
func migrate(ctx context.Context, db *sql.DB) error {
	files, err := fs.Sub(migrationFiles, "migrations")
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, db, files)
	if err != nil {
		return err
	}
	for attempt := 0; ; attempt++ {
		err := step(ctx, p)
		if err == nil || errors.Is(err, ErrNewer) || attempt == 4 || ctx.Err() != nil {
			return err
		}
		if !contended(err) {
			return err
		}
		time.Sleep(time.Duration(attempt+1) * 20 * time.Millisecond)
	}
}

func step(ctx context.Context, p *goose.Provider) error {
	have, want, err := p.GetVersions(ctx)
	if err != nil {
		return err
	}
	if have > want {
		return fmt.Errorf("%w: its schema is version %d, this program knows up to %d", ErrNewer, have, want)
	}
	if have == want {
		return nil
	}
	_, err = p.Up(ctx)
	return err
}
