package permit

import (
	"bytes"
	"crypto"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"assay/attest"
)

var issued = time.Date(2026, 11, 23, 9, 30, 0, 0, time.UTC)

func sampleResult() attest.Result {
	met := true
	return attest.Result{
		Schema:  attest.ResultSchema,
		Verdict: attest.Permitted,
		Unit: attest.Unit{
			Schema:  attest.UnitSchema,
			Maker:   "Example Optics",
			Model:   "EO-1 <outdoor> & more",
			Serials: []string{"EO1-000001"},
			MACs:    []string{"00:00:5E:00:53:01"},
		},
		Profile:      attest.ProfileRef{ID: "uk-hcws386", Version: "2026-11-01", Title: "Sensitive sites", Digest: attest.DigestOf([]byte("profile"))},
		Parameters:   []attest.Parameter{{Name: "board", Value: "P2@A2", Text: "the board at least P2@A2"}},
		Data:         []attest.DataRef{{Name: "entities", Date: "2026-11-20", Digest: attest.DigestOf([]byte("entities"))}},
		Evidence:     attest.DigestOf([]byte("evidence")),
		Firmware:     []attest.Digest{attest.DigestOf([]byte("firmware"))},
		Reasons:      []attest.Reason{{Rule: "maker-allowed", Effect: attest.EffectRequire, Met: &met, Text: "the maker is allowed", Refs: []string{"c1"}}},
		Grades:       []attest.SubjectGrade{{Subject: attest.SubjectFirmware, Origin: attest.P4, Acquisition: attest.A2, Claim: "c1"}},
		AR4SI:        attest.Trustworthiness{InstanceIdentity: 2, Executables: 2, Hardware: -1},
		DecisionRule: "refused on any solid contra-evidence",
		Limits:       []string{"says nothing about the lens"},
		Time:         issued.Add(-time.Minute),
	}
}

func sampleOptions(key crypto.Signer) IssueOptions {
	return IssueOptions{Signer: key, Station: "bench 3", Validity: 365 * 24 * time.Hour, Now: issued, Tool: "assay 0.1",
		Contradictions: []attest.Contradiction{{ID: "x1", Subject: attest.SubjectUnit, Name: "model", Rule: "r", Says: "two models", Sides: []attest.Side{{Ref: "c1"}}}}}
}

func newKey(t testing.TB, kind KeyKind) crypto.Signer {
	t.Helper()
	key, err := NewKey(kind)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func samplePermit(t testing.TB, key crypto.Signer) *Permit {
	t.Helper()
	p, err := Issue(sampleResult(), sampleOptions(key))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestAnIssuedPermitHoldsAndSaysWhatTheResultSaid(t *testing.T) {
	for _, kind := range []KeyKind{ECDSAP256, Ed25519} {
		key := newKey(t, kind)
		p := samplePermit(t, key)
		c, err := Check(p.Bundle, CheckOptions{Keys: []crypto.PublicKey{newKey(t, Ed25519).Public(), key.Public()}, Identity: p.Identity, Now: issued})
		if err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		if !c.Permits() || c.State != Valid || c.Key != Fingerprint(key.Public()) || c.ID() != p.ID() {
			t.Errorf("%s: %+v", kind, c)
		}
		r := sampleResult()
		got := c.Predicate
		if got.Unit.Serials[0] != "EO1-000001" || got.Evidence != r.Evidence || got.Firmware[0] != r.Firmware[0] ||
			got.Grades[0] != r.Grades[0] || got.AR4SI != r.AR4SI || got.Contradictions[0].Says != "two models" ||
			got.Result != attest.DigestOf(p.Result) || !got.NotAfter.Equal(issued.Add(365*24*time.Hour)) {
			t.Errorf("%s: predicate %+v", kind, got)
		}
		if want, _ := attest.Canonical(r.Unit); !bytes.Equal(c.Identity, want) || !bytes.Equal(p.Identity, want) {
			t.Errorf("%s: identity %s", kind, c.Identity)
		}
		back, err := Read(p.Bundle)
		if err != nil || back.ID() != p.ID() || !bytes.Equal(back.Identity, p.Identity) {
			t.Errorf("%s: Read: %v, %+v", kind, err, back)
		}
	}
}

func TestARefusalNoticeHoldsAndPermitsNothing(t *testing.T) {
	key := newKey(t, Ed25519)
	for _, v := range []attest.Verdict{attest.Refused, attest.Inconclusive} {
		r := sampleResult()
		r.Verdict = v
		p, err := Issue(r, sampleOptions(key))
		if err != nil {
			t.Fatal(err)
		}
		c, err := Check(p.Bundle, CheckOptions{Keys: []crypto.PublicKey{key.Public()}, Now: issued})
		if err != nil || c.Permits() {
			t.Errorf("%s: %v, permits %t", v, err, c.Permits())
		}
	}
}

func TestOnlyANoticeIsIssuedForAnUnidentifiedUnit(t *testing.T) {
	key := newKey(t, ECDSAP256)
	r := sampleResult()
	r.Unit.Serials, r.Unit.MACs = nil, nil
	if _, err := Issue(r, sampleOptions(key)); !errors.Is(err, ErrUnidentified) {
		t.Errorf("permission: %v", err)
	}
	r.Unit.Images = []attest.Digest{attest.DigestOf([]byte("flash"))}
	if _, err := Issue(r, sampleOptions(key)); !errors.Is(err, ErrUnidentified) {
		t.Errorf("permission by image: %v", err)
	}
	r.Verdict = attest.Refused
	p, err := Issue(r, sampleOptions(key))
	if err != nil {
		t.Fatal(err)
	}
	if p.Predicate.Identified {
		t.Error("the notice says that the unit is identified")
	}
}

func TestIssueRefusesWhatCheckWouldNotTake(t *testing.T) {
	for name, spoil := range map[string]func(*attest.Result, *IssueOptions){
		"no key":                          func(_ *attest.Result, o *IssueOptions) { o.Signer = nil },
		"no validity":                     func(_ *attest.Result, o *IssueOptions) { o.Validity = 0 },
		"no station":                      func(_ *attest.Result, o *IssueOptions) { o.Station = "" },
		"no tool":                         func(_ *attest.Result, o *IssueOptions) { o.Tool = "" },
		"no evidence":                     func(r *attest.Result, _ *IssueOptions) { r.Evidence = "" },
		"no profile digest":               func(r *attest.Result, _ *IssueOptions) { r.Profile.Digest = "sha256:1" },
		"another result schema":           func(r *attest.Result, _ *IssueOptions) { r.Schema = "x" },
		"another unit schema":             func(r *attest.Result, _ *IssueOptions) { r.Unit.Schema = "" },
		"an unknown verdict":              func(r *attest.Result, _ *IssueOptions) { r.Verdict = "PERMITTED" },
		"serials out of order":            func(r *attest.Result, _ *IssueOptions) { r.Unit.Serials = []string{"b", "a"} },
		"serials repeated":                func(r *attest.Result, _ *IssueOptions) { r.Unit.Serials = []string{"a", "a"} },
		"a MAC address in lower case":     func(r *attest.Result, _ *IssueOptions) { r.Unit.MACs = []string{"00:00:5e:00:53:01"} },
		"a permit over the size limit":    func(r *attest.Result, _ *IssueOptions) { r.DecisionRule = strings.Repeat("x", maxBundle) },
		"a signer that is not of its key": func(_ *attest.Result, o *IssueOptions) { o.Signer = mixedUp{o.Signer, newKey(t, ECDSAP256).Public()} },
	} {
		r, o := sampleResult(), sampleOptions(newKey(t, ECDSAP256))
		spoil(&r, &o)
		if p, err := Issue(r, o); err == nil || p != nil {
			t.Errorf("%s: issued", name)
		} else if strings.Count(err.Error(), "\n") > 0 {
			t.Errorf("%s: error over several lines: %v", name, err)
		}
	}
}

func TestAUnitFullOfContradictionsGetsItsNotice(t *testing.T) {
	key := newKey(t, Ed25519)
	r, o := sampleResult(), sampleOptions(key)
	r.Verdict = attest.Refused
	for len(o.Contradictions) < 100_000 {
		o.Contradictions = append(o.Contradictions, o.Contradictions[0])
	}
	p, err := Issue(r, o)
	if err != nil {
		t.Fatal(err)
	}
	cs := p.Predicate.Contradictions
	if last := cs[len(cs)-1].Says; last != "and 99744 more, in the evidence" {
		t.Errorf("%d contradictions, the last says %q", len(cs), last)
	}
}

// mixedUp signs with another key than it shows.
type mixedUp struct {
	crypto.Signer
	public crypto.PublicKey
}

func (m mixedUp) Public() crypto.PublicKey { return m.public }

func TestWritePutsAPermitAndItsIdentityIntoAFolder(t *testing.T) {
	key := newKey(t, ECDSAP256)
	dir := filepath.Join(t.TempDir(), "new", "folder")
	p := samplePermit(t, key)
	for range 2 {
		if err := p.Write(dir); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string][]byte{BundleFile: p.Bundle, IdentityFile: p.Identity} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := samplePermit(t, key).Write(dir); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second permit in the same folder: %v", err)
	}
	if got, _ := os.ReadFile(filepath.Join(dir, BundleFile)); !bytes.Equal(got, p.Bundle) {
		t.Error("the first permit was overwritten")
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 2 {
		t.Errorf("left behind: %v", entries)
	}
}

func TestTheIDDoesNotDependOnTheSignature(t *testing.T) {
	key := newKey(t, ECDSAP256)
	a, b := samplePermit(t, key), samplePermit(t, key)
	if bytes.Equal(a.Bundle, b.Bundle) || a.ID() != b.ID() || len(a.ID()) != 16 {
		t.Errorf("ids %s and %s", a.ID(), b.ID())
	}
}

// payloadOf is the statement in a bundle.
func payloadOf(t testing.TB, bundle []byte) []byte {
	t.Helper()
	b, err := ParseBundle(bundle)
	if err != nil {
		t.Fatal(err)
	}
	payload, err := b.Envelope.payload()
	if err != nil {
		t.Fatal(err)
	}
	return payload
}

// edited is a JSON value after a change to it, in canonical form.
func edited(t testing.TB, b []byte, change func(map[string]any)) []byte {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	change(v)
	out, err := attest.Canonical(v)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
