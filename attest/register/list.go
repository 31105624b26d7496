package register

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"time"

	"assay/attest"
)

// Record is a permit as the register lists it.
type Record struct {
	Sequence       int64 // order of registration, from 1
	ID             string
	Unit           attest.Unit
	UnitDigest     attest.Digest
	EvidenceDigest attest.Digest
	Verdict        attest.Verdict
	Profile        string
	Station        string
	StationKey     attest.Digest
	Issued         time.Time
	NotBefore      time.Time
	NotAfter       time.Time
}

// Filter narrows a list; each field that is set must match.
type Filter struct {
	Serial  string // whole, in any case
	MAC     string // in any usual notation
	Maker   string // whole, in any case
	Verdict attest.Verdict
	Unit    string // digest of the identity record, its first digits, or the subject urn:assay:unit:…
	Before  int64  // only records registered before this sequence number, to go on with a list
	Limit   int    // at most so many; 0 for all
}

const columns = `p.seq, p.id, u.identity, p.unit, p.verdict, p.profile, p.station, p.station_key, p.issued, p.not_before, p.not_after, p.evidence`

// List returns the records that match, newest first.
func (r *Register) List(ctx context.Context, f Filter) ([]Record, error) {
	where, args, err := f.where()
	if err != nil {
		return nil, fmt.Errorf("register: list: %w", err)
	}
	rows, err := r.db.QueryContext(ctx, `SELECT `+columns+` FROM permits p JOIN units u ON u.digest = p.unit WHERE `+where, args...)
	if err != nil {
		return nil, fmt.Errorf("register: list: %w", explain(err))
	}
	defer rows.Close()
	var records []Record
	for rows.Next() {
		record, err := scan(rows)
		if err != nil {
			return nil, fmt.Errorf("register: list: %w", explain(err))
		}
		records = append(records, *record)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("register: list: %w", explain(err))
	}
	return records, nil
}

func (f Filter) where() (string, []any, error) {
	conditions, args := []string{"TRUE"}, []any(nil)
	add := func(condition string, values ...any) {
		conditions, args = append(conditions, condition), append(args, values...)
	}
	if f.Serial != "" {
		add(`p.unit IN (SELECT unit FROM identifiers WHERE kind = 'serial' AND value = ?)`, f.Serial)
	}
	if f.MAC != "" {
		mac, err := normalMAC(f.MAC)
		if err != nil {
			return "", nil, err
		}
		add(`p.unit IN (SELECT unit FROM identifiers WHERE kind = 'mac' AND value = ?)`, mac)
	}
	if f.Maker != "" {
		add(`u.maker = ?`, f.Maker)
	}
	if f.Verdict != "" {
		add(`p.verdict = ?`, f.Verdict)
	}
	if f.Unit != "" {
		from := "sha256:" + strings.ToLower(strings.TrimPrefix(strings.TrimPrefix(f.Unit, "urn:assay:unit:"), "sha256:"))
		add(`p.unit >= ? AND p.unit < ?`, from, from+"g") // the first character after the hexadecimal digits
	}
	if f.Before > 0 {
		add(`p.seq < ?`, f.Before)
	}
	order := ` ORDER BY p.seq DESC`
	if f.Limit > 0 {
		order += fmt.Sprintf(` LIMIT %d`, f.Limit)
	}
	return strings.Join(conditions, " AND ") + order, args, nil
}

func normalMAC(s string) (string, error) {
	if len(s) == 12 {
		s = s[:4] + "." + s[4:8] + "." + s[8:]
	}
	mac, err := net.ParseMAC(s)
	if err != nil {
		return "", fmt.Errorf("%q is not a MAC address like 00:00:5E:00:53:00", s)
	}
	return strings.ToUpper(mac.String()), nil
}

func scan(row interface{ Scan(...any) error }, more ...any) (*Record, error) {
	var r Record
	var identity []byte
	var issued, notBefore, notAfter int64
	err := row.Scan(append([]any{&r.Sequence, &r.ID, &identity, &r.UnitDigest, &r.Verdict, &r.Profile, &r.Station, &r.StationKey, &issued, &notBefore, &notAfter, &r.EvidenceDigest}, more...)...)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(identity, &r.Unit); err != nil {
		return nil, fmt.Errorf("%w: unit %s: %w", ErrDamaged, r.UnitDigest, err)
	}
	r.Issued, r.NotBefore, r.NotAfter = time.Unix(issued, 0).UTC(), time.Unix(notBefore, 0).UTC(), time.Unix(notAfter, 0).UTC()
	return &r, nil
}
