package station

import (
	"io"
	"os"
	"testing"
	"time"

	"assay/attest"
	"assay/attest/permit"
	"assay/attest/register"
)

// What a unit showed when it was certified is found when another shows it.
func TestTheRegisterKnowsWhoHasAKey(t *testing.T) {
	ctx, h := t.Context(), Home(t.TempDir())
	key := attest.DigestOf([]byte("a key"))
	units, err := h.keyHolders(ctx, key)
	if err != nil || len(units) != 0 {
		t.Fatalf("without a register: %+v, %v", units, err)
	}
	if _, err := os.Stat(h.path("register")); err == nil {
		t.Fatal("looking made a register")
	}

	signer, err := permit.NewKey(permit.ECDSAP256)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 26, 9, 0, 0, 0, time.UTC)
	unit := attest.Unit{Schema: attest.UnitSchema, Maker: "Example Optics", Serials: []string{"EO1-000001"}}
	evidence, err := attest.Canonical(attest.Evidence{
		Schema: attest.EvidenceSchema, Unit: unit, Started: now, Ended: now,
		Claims: []attest.Claim{{Subject: attest.SubjectNetwork, Name: attest.NameTLSKey, Value: string(key)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	result := attest.Result{
		Schema: attest.ResultSchema, Verdict: attest.Inconclusive, Unit: unit, Time: now,
		Profile:  attest.ProfileRef{ID: "test", Version: "1", Digest: attest.DigestOf([]byte("profile"))},
		Evidence: attest.DigestOf(evidence),
	}
	p, err := permit.Issue(result, permit.IssueOptions{Signer: signer, Station: "bench", Validity: time.Hour, Now: now, Tool: "assay"})
	if err != nil {
		t.Fatal(err)
	}
	reg, err := h.Register(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := reg.Add(ctx, register.Entry{Bundle: p.Bundle, Identity: p.Identity, Evidence: evidence, Result: p.Result, Artefacts: map[attest.Digest]io.Reader{}}); err != nil {
		t.Fatal(err)
	}
	if err := reg.Close(); err != nil {
		t.Fatal(err)
	}
	units, err = h.keyHolders(ctx, key)
	if err != nil || len(units) != 1 || units[0].Serials[0] != "EO1-000001" {
		t.Errorf("%+v, %v", units, err)
	}
}
