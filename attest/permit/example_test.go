package permit_test

import (
	"crypto"
	"errors"
	"fmt"
	"time"

	"assay/attest"
	"assay/attest/permit"
)

func ExampleCheck() {
	// What a station did:
	key, err := permit.NewKey(permit.ECDSAP256)
	if err != nil {
		fmt.Println(err)
		return
	}
	issued, err := permit.Issue(result, permit.IssueOptions{
		Signer:   key,
		Station:  "bench 3",
		Validity: 365 * 24 * time.Hour,
		Now:      time.Date(2026, 11, 23, 9, 30, 0, 0, time.UTC),
		Tool:     "assay 0.1",
	})
	if err != nil {
		fmt.Println(err)
		return
	}

	// What a site does with permit.sigstore.json and the station's public key:
	for _, now := range []time.Time{
		time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC),
		time.Date(2028, 1, 1, 0, 0, 0, 0, time.UTC),
	} {
		checked, err := permit.Check(issued.Bundle, permit.CheckOptions{Keys: []crypto.PublicKey{key.Public()}, Now: now})
		switch {
		case errors.Is(err, permit.ErrExpired):
			fmt.Println("ask the station for a new permit:", checked.Predicate.Unit.Name())
		case err != nil:
			fmt.Println(err)
		case checked.Permits():
			fmt.Println("may be installed:", checked.Predicate.Unit.Name())
		default:
			fmt.Println("must not be installed:", checked.Predicate.Verdict)
		}
	}
	// Output:
	// may be installed: Example Optics EO-1 EO1-000001
	// ask the station for a new permit: Example Optics EO-1 EO1-000001
}

// result is what appraisal came to.
var result = attest.Result{
	Schema:  attest.ResultSchema,
	Verdict: attest.Permitted,
	Unit: attest.Unit{
		Schema:  attest.UnitSchema,
		Maker:   "Example Optics",
		Model:   "EO-1",
		Serials: []string{"EO1-000001"},
		MACs:    []string{"00:00:5E:00:53:01"},
	},
	Profile:      attest.ProfileRef{ID: "example", Version: "1", Title: "Example", Digest: attest.DigestOf([]byte("profile"))},
	Evidence:     attest.DigestOf([]byte("evidence")),
	DecisionRule: "refused on any solid contra-evidence",
	Time:         time.Date(2026, 11, 23, 9, 29, 0, 0, time.UTC),
}
