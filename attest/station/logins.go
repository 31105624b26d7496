package station

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"assay/devices"
	"assay/internal/database"
	"assay/internal/durable"
)

//go:embed logins_migrations/*.sql
var loginMigrations embed.FS

// LockWindow is how long a login that a unit did not take is not offered to it
// again. Hikvision locks for 30 minutes and Dahua for 1800 seconds; the minute is
// for clocks.
const LockWindow = 31 * time.Minute

// logins is the ledger of a station: which login was offered to which unit and not
// accepted. It holds no password, and of the user's name a keyed hash only.
type logins struct {
	ctx context.Context
	db  *sql.DB
	key []byte
	now func() time.Time
}

var _ devices.Ledger = (*logins)(nil)

// remember lets the request's accounts remember over runs. The returned function
// closes the ledger.
func (h Home) remember(ctx context.Context, r Request) (func(), error) {
	if r.Account == nil && r.ONVIFAccount == nil {
		return func() {}, nil
	}
	now := time.Now
	if r.Now != nil {
		now = r.Now
	}
	l, err := openLogins(context.WithoutCancel(ctx), h.path("logins"), now)
	if err != nil {
		return nil, fmt.Errorf("ledger of logins: %w", err)
	}
	for _, a := range []*devices.Account{r.Account, r.ONVIFAccount} {
		if a != nil {
			a.Remember(l, r.Again)
		}
	}
	return func() {
		for _, a := range []*devices.Account{r.Account, r.ONVIFAccount} {
			if a != nil {
				a.Remember(nil, false)
			}
		}
		_ = l.db.Close()
	}, nil
}

func openLogins(ctx context.Context, dir string, now func() time.Time) (*logins, error) {
	if err := durable.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	key, err := loginKey(filepath.Join(dir, "key"))
	if err != nil {
		return nil, err
	}
	migrations, err := fs.Sub(loginMigrations, "logins_migrations")
	if err != nil {
		return nil, err
	}
	db, err := database.Open(ctx, filepath.Join(dir, "logins.db"), migrations, database.BusyTimeout)
	if err != nil {
		return nil, err
	}
	return &logins{ctx: ctx, db: db, key: key, now: now}, nil
}

// loginKey reads the key, or makes it. Where two programs make it at once, the
// one that came first is taken.
func loginKey(path string) ([]byte, error) {
	for range 2 {
		key, err := os.ReadFile(path)
		if err == nil && len(key) == sha256.Size {
			return key, nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		key = make([]byte, sha256.Size)
		if _, err := rand.Read(key); err != nil {
			return nil, err
		}
		temporary := path + "." + hex.EncodeToString(key[:8])
		if err := durable.Write(temporary, 0o600, durable.Bytes(key)); err != nil {
			return nil, err
		}
		err = os.Link(temporary, path)
		if err != nil && !errors.Is(err, fs.ErrExist) {
			err = os.Rename(temporary, path) // a file system without links
		}
		_ = os.Remove(temporary)
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("%s is no key of %d bytes; remove it", path, sha256.Size)
}

func (l *logins) account(user string) string {
	mac := hmac.New(sha256.New, l.key)
	mac.Write([]byte(user))
	return hex.EncodeToString(mac.Sum(nil))
}

// Earlier implements [devices.Ledger].
func (l *logins) Earlier(user string, units []string) error {
	for _, unit := range units {
		var at int64
		err := l.db.QueryRowContext(l.ctx, `SELECT at FROM logins WHERE unit = ? AND account = ?`, unit, l.account(user)).Scan(&at)
		if errors.Is(err, sql.ErrNoRows) {
			continue
		}
		if err != nil {
			return fmt.Errorf("ledger of logins: %w", err)
		}
		offered := time.Unix(at, 0)
		if until := offered.Add(LockWindow); l.now().Before(until) {
			return fmt.Errorf("an earlier run offered it to this unit (%s) at %s and it was not taken; units lock an account after 3 to 5 wrong logins, for up to 30 minutes: "+
				"wait until %s, or offer it again at your own risk with --again", unit, offered.Format(time.TimeOnly), until.Format(time.TimeOnly))
		}
	}
	return nil
}

// Offering implements [devices.Ledger]. What is too old to count goes away with it.
func (l *logins) Offering(user string, units []string) error {
	now := l.now()
	return l.write(func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(l.ctx, `DELETE FROM logins WHERE at < ?`, now.Add(-LockWindow).Unix()); err != nil {
			return err
		}
		for _, unit := range units {
			if _, err := tx.ExecContext(l.ctx, `INSERT INTO logins (unit, account, at) VALUES (?, ?, ?) ON CONFLICT (unit, account) DO UPDATE SET at = excluded.at`,
				unit, l.account(user), now.Unix()); err != nil {
				return err
			}
		}
		return nil
	})
}

// Accepted implements [devices.Ledger].
func (l *logins) Accepted(user string, units []string) error {
	return l.write(func(tx *sql.Tx) error {
		for _, unit := range units {
			if _, err := tx.ExecContext(l.ctx, `DELETE FROM logins WHERE unit = ? AND account = ?`, unit, l.account(user)); err != nil {
				return err
			}
		}
		return nil
	})
}

func (l *logins) write(do func(*sql.Tx) error) error {
	tx, err := l.db.BeginTx(l.ctx, nil)
	if err != nil {
		return fmt.Errorf("ledger of logins: %w", err)
	}
	if err := do(tx); err != nil {
		return fmt.Errorf("ledger of logins: %w", errors.Join(err, tx.Rollback()))
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("ledger of logins: %w", err)
	}
	return nil
}
