// Package database opens SQLite files and brings their tables up to date, and
// says what went wrong in words that a person can act upon.
//
// What was committed survives a crash of the program at any moment, and of the
// machine as far as the disk keeps its promise to sync: the files are in
// write-ahead-log mode with synchronous=FULL
// (sqlite.org/pragma.html#pragma_synchronous).
package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// What can be wrong with a file. Tell them apart with errors.Is.
var (
	ErrNewer    = errors.New("it was changed by a newer assay; update assay to open it")
	ErrBusy     = errors.New("another program is writing to it; try again when it has finished")
	ErrReadOnly = errors.New("it cannot be written; check the permissions of its folder and whether its disk is mounted read-only")
	ErrFull     = errors.New("the disk is full; make room and try again, nothing stored was lost")
	ErrDamaged  = errors.New("it is damaged; restore its folder from a backup")
)

// BusyTimeout is how long a write usually waits for another process to finish its
// own.
const BusyTimeout = 10 * time.Second

// Open opens the file, makes it if there is none, and applies the migrations. A
// file with newer tables than these is refused with [ErrNewer].
func Open(ctx context.Context, path string, migrations fs.FS, busy time.Duration) (*sql.DB, error) {
	db, err := sql.Open("sqlite", Source(path, busy))
	if err != nil {
		return nil, err
	}
	if err := migrate(ctx, db, migrations); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	if err := os.Chmod(path, 0o600); err != nil && !errors.Is(err, fs.ErrPermission) {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// Source is the data source name. Writing transactions take their lock at the
// start: one that reads first and then cannot upgrade would fail at once,
// whatever the busy timeout.
func Source(path string, busy time.Duration) string {
	q := url.Values{"_txlock": {"immediate"}, "_pragma": {
		fmt.Sprintf("busy_timeout(%d)", busy.Milliseconds()),
		"journal_mode(WAL)",
		"synchronous(FULL)",
		"foreign_keys(1)",
	}}
	path = strings.ReplaceAll(path, string(os.PathSeparator), "/")
	if !strings.HasPrefix(path, "/") {
		path = "/" + path // a drive letter: file:///C:/…
	}
	return (&url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}).String()
}

// migrate brings the tables up to date. Two programs may open a new file at the
// same time: the one that comes second finds the work done.
func migrate(ctx context.Context, db *sql.DB, files fs.FS) error {
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

// Reason is the error of this package that is behind one of the driver or the
// system, or nil.
func Reason(err error) error {
	var e *sqlite.Error
	if errors.As(err, &e) {
		switch e.Code() & 0xff { // the upper bits are the extended code
		case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
			return ErrBusy
		case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN:
			return ErrReadOnly
		case sqlite3.SQLITE_FULL:
			return ErrFull
		case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
			return ErrDamaged
		}
		return nil
	}
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return ErrFull
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return ErrReadOnly
	}
	return nil
}

// Explain puts a reason that a person can act upon before the driver's words,
// unless the error has one of these already.
func Explain(err error, known ...error) error {
	if err == nil {
		return nil
	}
	for _, k := range append([]error{ErrNewer, ErrBusy, ErrReadOnly, ErrFull, ErrDamaged}, known...) {
		if errors.Is(err, k) {
			return err
		}
	}
	if reason := Reason(err); reason != nil {
		return fmt.Errorf("%w (%w)", reason, err)
	}
	return err
}

// contended reports whether another program was setting up the same file: it
// holds the lock, or has just made the tables.
func contended(err error) bool {
	return errors.Is(Reason(err), ErrBusy) || strings.Contains(err.Error(), "already exists") || strings.Contains(err.Error(), "UNIQUE constraint")
}
