package register

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// What a register refuses or cannot do. Tell them apart with errors.Is.
var (
	ErrNewer      = errors.New("register was changed by a newer assay; update assay to open it")
	ErrBusy       = errors.New("another program is writing to the register; try again when it has finished")
	ErrReadOnly   = errors.New("register cannot be written; check the permissions of its folder and whether its disk is mounted read-only")
	ErrFull       = errors.New("disk is full; make room and try again, nothing registered was lost")
	ErrDamaged    = errors.New("register is damaged; restore its folder from a backup")
	ErrNotFound   = errors.New("no such permit in the register")
	ErrIncomplete = errors.New("entry does not hold together")
)

// explain puts a reason that a person can act upon before the driver's words.
func explain(err error) error {
	if err == nil {
		return nil
	}
	for _, known := range []error{ErrNewer, ErrBusy, ErrReadOnly, ErrFull, ErrDamaged, ErrNotFound, ErrIncomplete} {
		if errors.Is(err, known) {
			return err
		}
	}
	if reason := reasonOf(err); reason != nil {
		return fmt.Errorf("%w (%w)", reason, err)
	}
	return err
}

func reasonOf(err error) error {
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

// contended reports whether another program was setting up the same register:
// it holds the lock, or has just made the tables.
func contended(err error) bool {
	return errors.Is(reasonOf(err), ErrBusy) || strings.Contains(err.Error(), "already exists") || strings.Contains(err.Error(), "UNIQUE constraint")
}
