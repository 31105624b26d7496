package attest

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"assay/attest/internal/proof"
)

func TestAClaimStartsSelfDeclaredAndIsNeverLowered(t *testing.T) {
	var c Claim
	if c.Origin() != P1 {
		t.Fatalf("a new claim is %s, want P1", c.Origin())
	}
	c.Raise(proof.VendorSigned(), "fit conf-1")
	c.Raise(proof.Corroborated(), "claim-2")
	if c.Origin() != P4 || c.Basis() != "fit conf-1" {
		t.Fatalf("origin %s basis %q", c.Origin(), c.Basis())
	}
	c.Raise(proof.Grade{}, "nothing")
	if c.Grade() != "P4@A0" {
		t.Fatalf("grade = %s", c.Grade())
	}
}

func TestClaimKeepsItsGradeThroughJSON(t *testing.T) {
	c := Claim{ID: "claim-1", Subject: SubjectBoard, Name: NameBoard, Value: "x", Acquisition: A2, Time: time.Unix(0, 0).UTC()}
	c.Raise(proof.Corroborated(), "claim-9")
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(b), `"origin":"P2"`) || !strings.Contains(string(b), `"acquisition":"A2"`) {
		t.Fatalf("json = %s", b)
	}
	var back Claim
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	if back != c {
		t.Fatalf("read back %+v, want %+v", back, c)
	}
}

func TestCanonicalSortsKeysAsRFC8785Asks(t *testing.T) {
	b, err := Canonical(map[string]any{"b": 1, "a": []string{"ü"}, "€": 1e21})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(b), `{"a":["ü"],"b":1,"€":1e+21}`; got != want {
		t.Fatalf("canonical = %s, want %s", got, want)
	}
}

func TestOnlyAWellFormedDigestIsValid(t *testing.T) {
	good := DigestOf([]byte("abc"))
	if !good.Valid() || good.Hex() != "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" {
		t.Fatalf("digest = %s", good)
	}
	for _, d := range []Digest{"", "sha256:", good + "0", Digest(strings.ToUpper(string(good))), "sha256:../../etc/passwd" + good[23:]} {
		if d.Valid() {
			t.Errorf("%q must not be valid", d)
		}
	}
}

func TestGradesReadOnlyWhatTheyWrite(t *testing.T) {
	var o Origin
	if err := o.UnmarshalText([]byte("P7")); err == nil {
		t.Error("P7 must be refused")
	}
	var s Strength
	if err := s.UnmarshalText([]byte("c0")); err == nil {
		t.Error("c0 must be refused")
	}
	var a Acquisition
	if err := a.UnmarshalText([]byte("A4")); err != nil || a != A4 {
		t.Errorf("A4: %v %v", a, err)
	}
}

func TestUnitNameIsShort(t *testing.T) {
	for want, u := range map[string]Unit{
		"unidentified unit": {},
		"Acme X1 SN1":       {Maker: "Acme", Model: "X1", Serials: []string{"SN1", "SN2"}, MACs: []string{"00:00:5E:00:53:01"}},
		"00:00:5E:00:53:01": {MACs: []string{"00:00:5E:00:53:01"}},
	} {
		if got := u.Name(); got != want {
			t.Errorf("name = %q, want %q", got, want)
		}
	}
}
