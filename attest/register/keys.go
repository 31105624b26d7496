package register

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"

	"assay/attest"
)

// maxHolders is how many units of one key are returned: two are enough to know
// that it is shared, and of a key that a whole series has there may be thousands.
const maxHolders = 100

// KeyHolders returns the units whose evidence showed a public key, by the digest
// of its SubjectPublicKeyInfo. A unit that was registered with more and with
// fewer identifiers comes once for each record of it.
func (r *Register) KeyHolders(ctx context.Context, key attest.Digest) ([]attest.Unit, error) {
	rows, err := r.db.QueryContext(ctx, `SELECT u.digest, u.identity FROM keys k JOIN units u ON u.digest = k.unit WHERE k.key = ? LIMIT ?`, key, maxHolders)
	if err != nil {
		return nil, fmt.Errorf("register: holders of key %s: %w", key, explain(err))
	}
	defer rows.Close()
	var units []attest.Unit
	for rows.Next() {
		var digest attest.Digest
		var identity []byte
		var u attest.Unit
		if err := rows.Scan(&digest, &identity); err != nil {
			return nil, fmt.Errorf("register: holders of key %s: %w", key, explain(err))
		}
		if err := json.Unmarshal(identity, &u); err != nil {
			return nil, fmt.Errorf("register: holders of key %s: %w: unit %s: %w", key, ErrDamaged, digest, err)
		}
		units = append(units, u)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("register: holders of key %s: %w", key, explain(err))
	}
	return units, nil
}

func insertKeys(ctx context.Context, tx *sql.Tx, unit attest.Digest, claims []attest.Claim) error {
	for _, c := range claims {
		if !slices.Contains(attest.KeyNames, c.Name) || !attest.Digest(c.Value).Valid() {
			continue
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO keys (key, unit) VALUES (?, ?) ON CONFLICT DO NOTHING`, c.Value, unit); err != nil {
			return err
		}
	}
	return nil
}
