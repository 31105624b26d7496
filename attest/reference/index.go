package reference

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"assay/attest/entity"
	"assay/firmware/lineage"
	"assay/internal/database"
)

// Index is the store as lineage looks at it, as it was when it was opened.
type Index struct {
	tx     *sql.Tx
	refs   []lineage.Reference
	houses map[int64]int64 // of each maker

	// Stale is how many references are left out since their profiles were made by
	// other rules.
	Stale int
}

// cache is how much of the file a connection keeps in memory: features lie
// scattered over all of it.
const cache = `PRAGMA cache_size = -49152`

// Index opens the store for comparisons. The entity data says which makers are
// related. The caller closes the index.
func (s *Store) Index(ctx context.Context, makers *entity.Data) (*Index, error) {
	tx, err := s.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return nil, fmt.Errorf("references: %w", database.Explain(err))
	}
	x := &Index{tx: tx}
	_, err = tx.ExecContext(ctx, cache)
	if err == nil {
		err = x.load(ctx, makers)
	}
	if err != nil {
		tx.Rollback()
		return nil, fmt.Errorf("references: %w", database.Explain(err))
	}
	return x, nil
}

// house names the group of related makers that one belongs to: its outermost
// parent, or that of the one maker whom the entity data has behind the brand.
func house(d *entity.Data, id, name string) string {
	e := d.Get(id)
	if e == nil {
		e = d.Lookup(name)
	}
	if behind := d.Rebrands(name); e == nil && len(behind) == 1 && len(behind[0].Makers) == 1 {
		e = d.Get(behind[0].Makers[0])
	}
	if e == nil {
		return "=" + strings.ToLower(name)
	}
	if above := d.Ancestors(e); len(above) > 0 {
		e = above[len(above)-1]
	}
	return e.ID
}

// Close ends the comparisons.
func (x *Index) Close() error { return database.Explain(x.tx.Rollback()) }

func (x *Index) load(ctx context.Context, makers *entity.Data) error {
	x.houses = make(map[int64]int64)
	numbers := make(map[string]int64)
	rows, err := x.tx.QueryContext(ctx, `SELECT i.seq, i.digest, m.id, m.entity, m.name, i.model, i.version, i.board, i.rules FROM images i JOIN makers m ON m.id = i.maker ORDER BY i.seq`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var r lineage.Reference
		var maker, rules int64
		var id string
		if err := rows.Scan(&r.ID, &r.SHA256, &maker, &id, &r.Maker, &r.Model, &r.Version, &r.Board, &rules); err != nil {
			return err
		}
		name := house(makers, id, r.Maker)
		if numbers[name] == 0 {
			numbers[name] = int64(len(numbers) + 1)
		}
		r.House = numbers[name]
		x.houses[maker] = r.House
		r.SHA256 = strings.TrimPrefix(r.SHA256, "sha256:")
		if rules != lineage.Rules {
			x.Stale++
			continue
		}
		x.refs = append(x.refs, r)
	}
	return rows.Err()
}

// References implements [lineage.Index].
func (x *Index) References(context.Context) ([]lineage.Reference, error) { return x.refs, nil }

// each runs a statement for each key. The driver starts a goroutine for each one
// that can be cancelled, so the context is looked at in between.
func each[K any](ctx context.Context, x *Index, query string, keys []K, arg func(K) any, row func(K, *sql.Rows) error, end func(K) error) error {
	stmt, err := x.tx.PrepareContext(context.WithoutCancel(ctx), query)
	if err != nil {
		return database.Explain(err)
	}
	defer stmt.Close()
	one := func(k K) error {
		rows, err := stmt.Query(arg(k))
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			if err := row(k, rows); err != nil {
				return err
			}
		}
		if err := rows.Err(); err != nil || end == nil {
			return err
		}
		rows.Close()
		return end(k)
	}
	for i, k := range keys {
		if i%64 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if err := one(k); err != nil {
			return database.Explain(err)
		}
	}
	return nil
}

// Find implements [lineage.Index].
func (x *Index) Find(ctx context.Context, features []uint64, fn func(uint64, []lineage.Posting)) error {
	var found []lineage.Posting
	query := fmt.Sprintf(`SELECT maker, part FROM postings WHERE feature = ? LIMIT %d`, lineage.MostPostings)
	var maker, part int64
	return each(ctx, x, query, features, func(f uint64) any { return int64(f) }, func(_ uint64, rows *sql.Rows) error {
		if err := rows.Scan(&maker, &part); err != nil {
			return err
		}
		found = append(found, lineage.Posting{House: x.houses[maker], Part: part})
		return nil
	}, func(f uint64) error {
		if len(found) == lineage.MostPostings {
			more, err := x.otherMakers(int64(f), maker)
			if err != nil {
				return err
			}
			found = append(found, more...)
		}
		if len(found) > 0 {
			fn(f, found)
		}
		found = found[:0]
		return nil
	})
}

// otherMakers finds a part of each further maker with a feature that has too many
// rows to be read, until there are enough to call it common.
func (x *Index) otherMakers(feature, after int64) (found []lineage.Posting, err error) {
	for len(found) < 8 {
		var part int64
		err := x.tx.QueryRow(`SELECT maker, part FROM postings WHERE feature = ? AND maker > ? LIMIT 1`, feature, after).Scan(&after, &part)
		if errors.Is(err, sql.ErrNoRows) {
			return found, nil
		}
		if err != nil {
			return nil, err
		}
		found = append(found, lineage.Posting{House: x.houses[after], Part: part})
	}
	return found, nil
}

// Parts implements [lineage.Index].
func (x *Index) Parts(ctx context.Context, ids []int64) (map[int64]*lineage.Part, error) {
	out := make(map[int64]*lineage.Part, len(ids))
	var sum, data []byte
	err := each(ctx, x, fmt.Sprintf(`SELECT sha256, kind, size, known, data FROM parts WHERE id = ? AND rules = %d`, lineage.Rules), ids, func(id int64) any { return id }, func(id int64, rows *sql.Rows) error {
		p := &lineage.Part{}
		if err := rows.Scan(&sum, &p.Kind, &p.Size, &p.Known, &data); err != nil {
			return err
		}
		copy(p.SHA256[:], sum)
		if err := decode(data, p); err != nil {
			return fmt.Errorf("%w: part %d: %w", database.ErrDamaged, id, err)
		}
		out[id] = p
		return nil
	}, nil)
	return out, err
}

// Holders implements [lineage.Index].
func (x *Index) Holders(ctx context.Context, ids []int64, fn func(part, reference int64)) error {
	var image int64
	return each(ctx, x, `SELECT image FROM holds WHERE part = ?`, ids, func(id int64) any { return id }, func(id int64, rows *sql.Rows) error {
		if err := rows.Scan(&image); err != nil {
			return err
		}
		fn(id, image)
		return nil
	}, nil)
}

// Contents implements [lineage.Index].
func (x *Index) Contents(ctx context.Context, reference int64) ([]lineage.Held, error) {
	makers := make(map[int64]map[int64]bool)
	var list []lineage.Held
	rows, err := x.tx.QueryContext(ctx, `SELECT p.id, p.kind, h.path, p.size, p.known FROM holds h JOIN parts p ON p.id = h.part WHERE h.image = ?`, reference)
	if err != nil {
		return nil, database.Explain(err)
	}
	defer rows.Close()
	for rows.Next() {
		var h lineage.Held
		if err := rows.Scan(&h.Part, &h.Kind, &h.Path, &h.Size, &h.Known); err != nil {
			return nil, database.Explain(err)
		}
		list = append(list, h)
	}
	if err := rows.Err(); err != nil {
		return nil, database.Explain(err)
	}
	rows.Close()
	rows, err = x.tx.QueryContext(ctx, `SELECT DISTINCT h.part, i.maker FROM holds h JOIN holds o ON o.part = h.part JOIN images i ON i.seq = o.image WHERE h.image = ?`, reference)
	if err != nil {
		return nil, database.Explain(err)
	}
	defer rows.Close()
	for rows.Next() {
		var part, maker int64
		if err := rows.Scan(&part, &maker); err != nil {
			return nil, database.Explain(err)
		}
		if makers[part] == nil {
			makers[part] = make(map[int64]bool)
		}
		makers[part][x.houses[maker]] = true
	}
	for i := range list {
		list[i].Houses = len(makers[list[i].Part])
	}
	return list, database.Explain(rows.Err())
}
