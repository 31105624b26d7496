package register

import (
	"bytes"
	"context"
	"crypto"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"assay/attest"
	"assay/attest/permit"
	"assay/internal/database"
)

var issued = time.Date(2026, 11, 23, 9, 30, 0, 0, time.UTC)

// bench makes entries that are all different, and all of one flash image.
type bench struct {
	key   crypto.Signer
	shout []byte // an artefact that all evidence shares
}

func newBench(t testing.TB) *bench {
	t.Helper()
	key, err := permit.NewKey(permit.ECDSAP256)
	if err != nil {
		t.Fatal(err)
	}
	return &bench{key, bytes.Repeat([]byte("U-Boot 2016.11\n"), 1000)}
}

func (b *bench) entry(t testing.TB, n int, change ...func(*attest.Result)) Entry {
	t.Helper()
	unit := attest.Unit{
		Schema: attest.UnitSchema, Maker: "Example Optics", Model: "EO-1",
		Serials: []string{fmt.Sprintf("EO1-%06d", n)}, MACs: []string{fmt.Sprintf("00:00:5E:00:53:%02X", n%256)},
	}
	answer := fmt.Appendf(nil, "serialNumber=%d", n)
	evidence, err := attest.Canonical(attest.Evidence{
		Schema: attest.EvidenceSchema, Tool: "assay 0.1", Started: issued, Ended: issued, Unit: unit,
		Claims: []attest.Claim{
			{Subject: attest.SubjectNetwork, Name: attest.NameTLSKey, Value: string(keyOf(n))},
			{Subject: attest.SubjectNetwork, Name: attest.NameTLSKey, Value: "no digest"},
		},
		Artefacts: []attest.Artefact{
			{Digest: attest.DigestOf(b.shout), MediaType: "text/plain", Size: int64(len(b.shout)), What: "boot log"},
			{Digest: attest.DigestOf(answer), MediaType: "text/plain", Size: int64(len(answer)), What: "answer"},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	result := attest.Result{
		Schema: attest.ResultSchema, Verdict: attest.Permitted, Unit: unit, Time: issued,
		Profile:  attest.ProfileRef{ID: "uk-hcws386", Version: "1", Digest: attest.DigestOf([]byte("profile"))},
		Evidence: attest.DigestOf(evidence),
	}
	for _, c := range change {
		c(&result)
	}
	p, err := permit.Issue(result, permit.IssueOptions{Signer: b.key, Station: "bench 3", Validity: time.Hour, Now: issued, Tool: "assay 0.1"})
	if err != nil {
		t.Fatal(err)
	}
	return Entry{Bundle: p.Bundle, Identity: p.Identity, Evidence: evidence, Result: p.Result, Artefacts: map[attest.Digest]io.Reader{
		attest.DigestOf(b.shout): bytes.NewReader(b.shout),
		attest.DigestOf(answer):  bytes.NewReader(answer),
	}}
}

// keyOf is the TLS key of the nth unit: the first nine share one.
func keyOf(n int) attest.Digest {
	if n < 10 {
		n = 0
	}
	return attest.DigestOf(fmt.Appendf(nil, "key %d", n))
}

func openAt(t testing.TB, dir string) *Register {
	t.Helper()
	r, err := Open(context.Background(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func TestWhatWasAddedComesBackWhole(t *testing.T) {
	ctx := t.Context()
	dir := filepath.Join(t.TempDir(), "a folder?with#odd%20 name")
	b, r := newBench(t), openAt(t, dir)
	e := b.entry(t, 1)
	id, err := r.Add(ctx, e)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := r.Add(ctx, b.entry(t, 2)); err != nil || again == id {
		t.Fatalf("second: %s, %v", again, err)
	}
	g, err := r.Get(ctx, strings.ToUpper(id))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(g.Bundle, e.Bundle) || !bytes.Equal(g.Identity, e.Identity) || !bytes.Equal(g.Evidence, e.Evidence) || !bytes.Equal(g.Result, e.Result) ||
		g.Unit.Serials[0] != "EO1-000001" || g.Verdict != attest.Permitted || !g.Issued.Equal(issued) || len(g.Artefacts) != 2 {
		t.Errorf("%+v", g.Record)
	}
	var shout bytes.Buffer
	if err := r.Artefact(ctx, g.Artefacts[0].Digest, &shout); err != nil || !bytes.Equal(shout.Bytes(), b.shout) {
		t.Errorf("artefact: %v, %d bytes", err, shout.Len())
	}
	if _, err := os.Stat(filepath.Join(dir, databaseFile)); err != nil {
		t.Error(err)
	}
}

func TestAddingAPermitAgainChangesNothing(t *testing.T) {
	ctx := t.Context()
	b, r := newBench(t), openAt(t, t.TempDir())
	e := b.entry(t, 1)
	first, err := r.Add(ctx, e)
	if err != nil {
		t.Fatal(err)
	}
	e.Artefacts = nil // they are in the register
	second, err := r.Add(ctx, e)
	if err != nil || second != first {
		t.Errorf("%s, then %s, %v", first, second, err)
	}
	if list, _ := r.List(ctx, Filter{}); len(list) != 1 {
		t.Errorf("%d records", len(list))
	}
}

func TestAnEntryThatDoesNotHoldTogetherIsRefused(t *testing.T) {
	ctx := t.Context()
	b := newBench(t)
	other := b.entry(t, 99)
	for name, spoil := range map[string]func(*Entry){
		"no bundle":                       func(e *Entry) { e.Bundle = nil },
		"another unit's identity":         func(e *Entry) { e.Identity = other.Identity },
		"another unit's evidence":         func(e *Entry) { e.Evidence = other.Evidence },
		"another unit's result":           func(e *Entry) { e.Result = other.Result },
		"no artefacts":                    func(e *Entry) { e.Artefacts = nil },
		"an artefact that nothing lists":  func(e *Entry) { e.Artefacts[attest.DigestOf([]byte("x"))] = strings.NewReader("x") },
		"an artefact that is cut off":     func(e *Entry) { e.Artefacts[attest.DigestOf(b.shout)] = bytes.NewReader(b.shout[:10]) },
		"an artefact that never ends":     func(e *Entry) { e.Artefacts[attest.DigestOf(b.shout)] = endless{} },
		"an artefact that is another one": func(e *Entry) { e.Artefacts[attest.DigestOf(b.shout)] = bytes.NewReader(make([]byte, len(b.shout))) },
	} {
		r := openAt(t, t.TempDir())
		e := b.entry(t, 1)
		spoil(&e)
		if id, err := r.Add(ctx, e); !errors.Is(err, ErrIncomplete) || id != "" {
			t.Errorf("%s: %v", name, err)
		}
		if list, _ := r.List(ctx, Filter{}); len(list) != 0 {
			t.Errorf("%s: %d records", name, len(list))
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestListFindsByWhatIsKnownOfAUnit(t *testing.T) {
	ctx := t.Context()
	b, r := newBench(t), openAt(t, t.TempDir())
	var ids []string
	var units []attest.Digest
	for n := range 4 {
		e := b.entry(t, n, func(r *attest.Result) {
			if n == 3 {
				r.Verdict, r.Unit.Maker = attest.Refused, "Other Optics"
			}
		})
		id, err := r.Add(ctx, e)
		if err != nil {
			t.Fatal(err)
		}
		ids, units = append(ids, id), append(units, attest.DigestOf(e.Identity))
	}
	for _, c := range []struct {
		name   string
		filter Filter
		want   []int
	}{
		{"everything, newest first", Filter{}, []int{3, 2, 1, 0}},
		{"a page", Filter{Limit: 2}, []int{3, 2}},
		{"the next page", Filter{Limit: 2, Before: 3}, []int{1, 0}},
		{"a serial number in another case", Filter{Serial: "eo1-000002"}, []int{2}},
		{"part of a serial number", Filter{Serial: "EO1"}, nil},
		{"a MAC address with dashes", Filter{MAC: "00-00-5e-00-53-01"}, []int{1}},
		{"a MAC address without separators", Filter{MAC: "00005e005301"}, []int{1}},
		{"a maker in another case", Filter{Maker: "other OPTICS"}, []int{3}},
		{"a verdict", Filter{Verdict: attest.Refused}, []int{3}},
		{"a unit by its digest", Filter{Unit: string(units[2])}, []int{2}},
		{"a unit by its subject", Filter{Unit: "urn:assay:unit:" + units[2].Hex()[:16]}, []int{2}},
		{"two that contradict", Filter{Serial: "EO1-000001", Verdict: attest.Refused}, nil},
		{"an injection", Filter{Serial: "' OR '1'='1"}, nil},
	} {
		got, err := r.List(ctx, c.filter)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		var have, want []string
		for _, g := range got {
			have = append(have, g.ID)
		}
		for _, i := range c.want {
			want = append(want, ids[i])
		}
		if fmt.Sprint(have) != fmt.Sprint(want) {
			t.Errorf("%s: %v, want %v", c.name, have, want)
		}
	}
	if _, err := r.List(ctx, Filter{MAC: "00:00"}); err == nil {
		t.Error("half a MAC address was looked up")
	}
}

func TestExportWritesEverythingUnderAPermit(t *testing.T) {
	ctx := t.Context()
	b, r := newBench(t), openAt(t, t.TempDir())
	e := b.entry(t, 1)
	id, err := r.Add(ctx, e)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "out")
	if err := r.Export(ctx, id, dir); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]byte{
		permit.BundleFile: e.Bundle, permit.IdentityFile: e.Identity, EvidenceFile: e.Evidence, ResultFile: e.Result,
		filepath.Join(ArtefactsFolder, attest.DigestOf(b.shout).Hex()): b.shout,
	} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := r.Export(ctx, "0123456789abcdef", dir); !errors.Is(err, ErrNotFound) {
		t.Errorf("an unknown permit: %v", err)
	}
}

func TestDamageIsNoticed(t *testing.T) {
	ctx := t.Context()
	b, r := newBench(t), openAt(t, t.TempDir())
	e := b.entry(t, 1)
	id, err := r.Add(ctx, e)
	if err != nil {
		t.Fatal(err)
	}
	path, _ := r.blobs.path(attest.DigestOf(e.Evidence))
	os.WriteFile(path, []byte("{}"), 0o600)
	if _, err := r.Get(ctx, id); !errors.Is(err, ErrDamaged) {
		t.Errorf("changed evidence: %v", err)
	}
	os.Remove(path)
	if _, err := r.Get(ctx, id); !errors.Is(err, ErrDamaged) {
		t.Errorf("no evidence: %v", err)
	}
	if f, err := r.Recover(ctx); err != nil || len(f.Missing) != 1 || f.Missing[0] != attest.DigestOf(e.Evidence) {
		t.Errorf("recover: %+v, %v", f, err)
	}
	shout, _ := r.blobs.path(attest.DigestOf(b.shout))
	os.WriteFile(shout, []byte("x"), 0o600)
	if err := r.Artefact(ctx, attest.DigestOf(b.shout), io.Discard); !errors.Is(err, ErrDamaged) {
		t.Errorf("changed artefact: %v", err)
	}
	if _, err := r.db.Exec(`UPDATE permits SET result = x'00'`); err != nil {
		t.Fatal(err)
	}
	os.WriteFile(path, e.Evidence, 0o600)
	if _, err := r.Get(ctx, id); !errors.Is(err, ErrDamaged) {
		t.Errorf("changed result: %v", err)
	}
}

func TestOpenRefusesWhatItCannotUse(t *testing.T) {
	ctx := t.Context()
	newer := t.TempDir()
	r := openAt(t, newer)
	if _, err := r.db.Exec(`INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, 1)`); err != nil {
		t.Fatal(err)
	}
	r.Close()
	if _, err := Open(ctx, newer); !errors.Is(err, ErrNewer) {
		t.Errorf("newer: %v", err)
	}
	garbage := t.TempDir()
	os.WriteFile(filepath.Join(garbage, databaseFile), bytes.Repeat([]byte("not a database "), 1000), 0o600)
	if _, err := Open(ctx, garbage); !errors.Is(err, ErrDamaged) {
		t.Errorf("garbage: %v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	os.WriteFile(file, nil, 0o600)
	if _, err := Open(ctx, file); err == nil {
		t.Error("opened a file as a register")
	}
}

func TestAWriteThatCannotBeMadeSaysWhyAndLosesNothing(t *testing.T) {
	ctx := t.Context()
	for _, c := range []struct {
		name     string
		obstruct func(t *testing.T, dir string, r *Register)
		want     error
	}{
		{"locked", func(t *testing.T, dir string, _ *Register) {
			other, err := sql.Open("sqlite", database.Source(filepath.Join(dir, databaseFile), 0))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { other.Close() })
			if _, err := other.Begin(); err != nil {
				t.Fatal(err)
			}
		}, ErrBusy},
		{"read-only", func(t *testing.T, _ string, r *Register) { pragma(t, r, "query_only = 1") }, ErrReadOnly},
		{"full", func(t *testing.T, _ string, r *Register) { pragma(t, r, "max_page_count = 1") }, ErrFull},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			r, err := open(ctx, dir, 50*time.Millisecond)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			r.db.SetMaxOpenConns(1) // pragmas are a connection's
			b := newBench(t)
			first, err := r.Add(ctx, b.entry(t, 1))
			if err != nil {
				t.Fatal(err)
			}
			c.obstruct(t, dir, r)
			for n := 2; err == nil && n < 200; n++ {
				_, err = r.Add(ctx, b.entry(t, n))
			}
			if !errors.Is(err, c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v", err)
			}
			if _, err := r.Get(ctx, first); err != nil {
				t.Errorf("the first permit: %v", err)
			}
		})
	}
}

func pragma(t *testing.T, r *Register, p string) {
	t.Helper()
	if _, err := r.db.Exec("PRAGMA " + p); err != nil {
		t.Fatal(err)
	}
}

func TestManyMayOpenAndAddAtOnce(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	b := newBench(t)
	const programs, permits = 4, 5
	errs := make(chan error, programs*permits)
	var group sync.WaitGroup
	for p := range programs {
		group.Go(func() {
			r, err := Open(ctx, dir)
			if err != nil {
				errs <- err
				return
			}
			defer r.Close()
			for n := range permits {
				if _, err := r.Add(ctx, b.entry(t, p*permits+n)); err != nil {
					errs <- err
				}
			}
		})
	}
	group.Wait()
	close(errs)
	for err := range errs {
		t.Error(err)
	}
	if list, err := openAt(t, dir).List(ctx, Filter{}); len(list) != programs*permits || err != nil {
		t.Errorf("%d records, %v", len(list), err)
	}
}

func TestTheDatabaseIsSetToSurviveAPowerCut(t *testing.T) {
	r := openAt(t, t.TempDir())
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "busy_timeout": "10000"} {
		var got string
		if err := r.db.QueryRow("PRAGMA " + pragma).Scan(&got); err != nil || got != want {
			t.Errorf("%s is %s, %v", pragma, got, err)
		}
	}
}

func BenchmarkAdd(b *testing.B) {
	bench, r := newBench(b), openAt(b, b.TempDir())
	entries := make([]Entry, b.N)
	for n := range entries {
		entries[n] = bench.entry(b, n)
	}
	b.ResetTimer()
	for _, e := range entries {
		if _, err := r.Add(b.Context(), e); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "permits/s")
}
