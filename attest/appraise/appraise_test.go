package appraise

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"assay/attest"
	"assay/attest/entity"
	"assay/attest/internal/proof"
	"assay/devices/fingerprint"
)

var at = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// fjordlens is an allowed maker that exists only here.
var fjordlens = fstest.MapFS{"test.yaml": {Data: []byte(`
schema: assay.entities/v1
date: "2026-11-01"
sources: {TEST: {title: invented for tests, url: "-", date: "-"}}
entities:
- {id: fjordlens, role: maker, names: [{name: Fjordlens AS, source: TEST}], jurisdictions: ["NO"], seat: Bergen, source: TEST}
`)}}

type unitOption func(*attest.Evidence)

func claim(subject attest.Subject, name, value string, a attest.Acquisition, g proof.Grade) unitOption {
	return func(e *attest.Evidence) {
		c := attest.Claim{ID: "claim-" + string(subject) + "-" + name, Subject: subject, Name: name, Value: value, Acquisition: a, Time: at}
		c.Raise(g, "test")
		e.Claims = append(e.Claims, c)
	}
}

func mark(entity string, subject attest.Subject, s attest.Strength) unitOption {
	return func(e *attest.Evidence) {
		e.Marks = append(e.Marks, attest.Mark{ID: "mark-" + entity, Entity: entity, Subject: subject, Strength: s, Rule: "test", Says: "a sign of " + entity})
	}
}

func endorsement(status attest.Status, maker string) unitOption {
	return func(e *attest.Evidence) {
		e.Endorsements = append(e.Endorsements, attest.Endorsement{ID: "endorsement-1", Status: status, Maker: maker, Subject: attest.SubjectFirmware, Detail: "detail"})
	}
}

func deviceKey(e *attest.Evidence) {
	claim(attest.SubjectUnit, attest.NameDeviceKey, "sha256:key", attest.A0, proof.KeyPossession())(e)
}

// endorsedModel is what collecting makes of a model endorsement.
func endorsedModel(e *attest.Evidence) {
	e.Claims = append(e.Claims, attest.Claim{
		ID: "claim-endorsed", Subject: attest.SubjectFirmware, Name: attest.NameSignedBoot, Value: "enforced", Channel: attest.ChannelTrust, Time: at,
	})
}

func deviceEndorsement(status attest.Status, maker string) unitOption {
	return func(e *attest.Evidence) {
		e.Endorsements = append(e.Endorsements, attest.Endorsement{ID: "endorsement-device", Scheme: "802.1ar-tls", Status: status, Maker: maker, Subject: attest.SubjectUnit, Detail: "detail"})
	}
}

func madeBy(maker string) unitOption {
	return func(e *attest.Evidence) {
		e.Unit.Maker = maker
		claim(attest.SubjectUnit, attest.NameMaker, maker, attest.A0, proof.Grade{})(e)
	}
}

func flash(a attest.Acquisition, g proof.Grade) unitOption {
	return func(e *attest.Evidence) {
		e.Images = append(e.Images, attest.Image{Digest: "sha256:image", Size: 10, Acquisition: a})
		claim(attest.SubjectFirmware, attest.NameBootChain, "sha256:image", a, g)(e)
	}
}

func withMAC(mac string) unitOption {
	return func(e *attest.Evidence) {
		e.Unit.MACs = []string{mac}
		claim(attest.SubjectUnit, attest.NameMAC, mac, attest.A0, proof.Grade{})(e)
	}
}

// through is a channel that gives a serial number, alone or as another does.
func through(channel string, o attest.Origin) unitOption {
	return func(e *attest.Evidence) {
		c := attest.Claim{ID: "claim-" + channel, Subject: attest.SubjectUnit, Name: attest.NameSerial, Value: "SN1", Channel: channel, Time: at}
		if o >= attest.P2 {
			c.Raise(proof.Corroborated(), "test")
		}
		e.Claims = append(e.Claims, c)
	}
}

// behind makes the unit a recorder whose cameras are listed, and adds one.
func behind(maker string, marks ...attest.Mark) unitOption {
	return func(e *attest.Evidence) {
		listed(attest.ChildrenListed)(e)
		e.Children = append(e.Children, attest.Child{ID: "child-1", Slot: "4", Maker: maker, Model: "M-1", Address: "192.0.2.4", Marks: marks})
	}
}

func listed(value string) unitOption {
	return claim(attest.SubjectUnit, attest.NameRecorder, value, attest.A0, proof.Grade{})
}

func sign(entity string, s attest.Strength) attest.Mark {
	return attest.Mark{Entity: entity, Subject: attest.SubjectUnit, Strength: s, Says: "its serial number follows a grammar"}
}

func contradicted(e *attest.Evidence) {
	e.Contradictions = append(e.Contradictions, attest.Contradiction{ID: "contradiction-1", Says: "two serials"})
}

// signed is the whole first road to a permit.
func signed(e *attest.Evidence) {
	for _, o := range []unitOption{
		madeBy("Fjordlens AS"), flash(attest.A2, proof.VendorSigned()), endorsement(attest.StatusVerified, "fjordlens"),
		claim(attest.SubjectBoard, attest.NameBoard, "FL-B2", attest.A2, proof.Corroborated()),
		claim(attest.SubjectSoC, attest.NameBoard, "S3L", attest.A2, proof.Corroborated()),
	} {
		o(e)
	}
}

func unit(opts ...unitOption) *attest.Evidence {
	e := &attest.Evidence{Schema: attest.EvidenceSchema, Unit: attest.Unit{Schema: attest.UnitSchema, Serials: []string{"SN1"}}, Started: at, Ended: at}
	for _, o := range opts {
		o(e)
	}
	return e
}

func data(t testing.TB) *entity.Data {
	t.Helper()
	d, err := entity.Load(fjordlens)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func profile(t testing.TB, id string, set map[string]string) *Profile {
	t.Helper()
	p, err := Load(id, set)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

const (
	uk   = "uk-sensitive-site"
	ndaa = "us-ndaa-889"
	fcc  = "us-fcc-covered"
)

func TestVerdicts(t *testing.T) {
	permitted, refused, open := attest.Permitted, attest.Refused, attest.Inconclusive
	none := proof.Grade{}
	for _, c := range []struct {
		name          string
		unit          *attest.Evidence
		uk, ndaa, fcc attest.Verdict
		rule          string // that must be among the UK reasons, met or not
	}{
		{"vendor-signed end to end", unit(signed), permitted, permitted, permitted, "require.boot-chain"},
		{"a recorder with an allowed maker's camera behind it", unit(signed, behind("Axis Communications AB")), permitted, permitted, permitted, "require.boot-chain"},
		{"a recorder with a camera behind it that it calls Hikvision's", unit(signed, behind("HIKVISION")), refused, refused, refused, "refuse.covered-child"},
		{"a recorder with a relabelled camera behind it", unit(signed, behind("Axis Communications AB", sign("dahua", attest.C2))), refused, refused, refused, "refuse.covered-child"},
		{"a recorder with a hint of Hikvision behind it", unit(signed, behind("Axis Communications AB", sign("hikvision", attest.C1))), open, open, open, "hold.child-hint"},
		{"a recorder with a camera of nobody's behind it", unit(signed, behind("")), open, open, open, "hold.child-unknown"},
		{"a recorder whose cameras cannot be listed", unit(signed, listed(attest.ChildrenUnlisted+": the list needs a login")), open, open, open, "hold.children-unlisted"},
		{"a recorder without cameras", unit(signed, listed(attest.ChildrenListed)), permitted, permitted, permitted, "require.boot-chain"},
		{"nothing known", unit(), open, open, open, "require.maker"},
		{"everything self-declared and clean", unit(madeBy("Axis Communications AB")), open, open, open, "require.boot-chain"},
		{"relabelled: clean brand, Hikvision's grammar inside", unit(madeBy("Northgate Security"), mark("hikvision", attest.SubjectUnit, attest.C2)), refused, refused, refused, "refuse.covered-maker"},
		{"relabelled Dahua under an allowed maker's name", unit(madeBy("Fjordlens AS"), mark("dahua", attest.SubjectFirmware, attest.C2)), refused, refused, refused, "refuse.covered-maker"},
		{"signed end to end, but a covered maker's grammar answers", unit(signed, mark("hikvision", attest.SubjectUnit, attest.C2)), refused, refused, refused, "refuse.covered-maker"},
		{"Uniview: a PRC company that section 889 does not name", unit(signed, mark("uniview", attest.SubjectUnit, attest.C2)), refused, permitted, permitted, "refuse.covered-maker"},
		{"Ezviz: a subsidiary", unit(mark("ezviz", attest.SubjectUnit, attest.C2)), refused, refused, refused, "refuse.covered-maker"},
		{"HiSilicon inside a clean brand", unit(signed, mark("hisilicon", attest.SubjectSoC, attest.C3)), permitted, refused, refused, "component.covered"},
		{"a hint alone does not refuse", unit(signed, mark("hikvision", attest.SubjectUnit, attest.C1)), open, open, open, "hold.hint"},
		{"a hint in bytes that the maker signed is explained", unit(signed, mark("hikvision", attest.SubjectFirmware, attest.C1)), permitted, permitted, permitted, "require.boot-chain"},
		{"a hint in firmware that nobody signed", unit(madeBy("Fjordlens AS"), flash(attest.A2, none), mark("hikvision", attest.SubjectFirmware, attest.C1)), open, open, open, "hold.hint"},
		{"a unit that says itself it is Hikvision's, and nothing else", unit(madeBy("HIKVISION")), open, open, open, "hold.declared-covered"},
		{"a unit that says itself it is Hikvision's, and its address agrees", unit(madeBy("HIKVISION"), mark("hikvision", attest.SubjectUnit, attest.C1)), refused, refused, refused, "refuse.declared-covered"},
		{"the prefix of its address alone", unit(madeBy("Fjordlens AS"), withMAC("4C:BD:8F:00:00:01")), open, open, open, "require.boot-chain"},
		{"a failed signature", unit(signed, endorsement(attest.StatusFailed, "fjordlens")), refused, refused, refused, "refuse.failed-check"},
		{"two serial numbers", unit(signed, contradicted), open, open, open, "hold.contradiction"},
		{"signed, but read by the unit itself", unit(madeBy("Fjordlens AS"), flash(attest.A0, proof.VendorSigned()), endorsement(attest.StatusVerified, "fjordlens")), open, open, open, "require.boot-chain"},
		{"signed, but the dump may be another unit's", unit(signed, through("network:a", attest.P2), through("file:dump", attest.P1)), open, open, open, "hold.unbound-channel"},
		{"signed, and both channels give the same serial number", unit(signed, through("network:a", attest.P2), through("serial:b", attest.P2)), permitted, permitted, permitted, "require.identity"},
		{"signed by somebody else's key", unit(signed, endorsement(attest.StatusVerified, "axis")), open, open, open, "require.signer-is-maker"},
		{"signed by a key that nobody vouches for", unit(madeBy("Fjordlens AS"), flash(attest.A2, none), endorsement(attest.StatusUnanchored, "")), open, open, open, "require.signer-is-maker"},
		{"TP-Link Systems is contested in the UK", unit(madeBy("TP-Link Systems Inc."), mark("tplink_systems", attest.SubjectUnit, attest.C2)), open, open, open, "hold.contested"},
		{"Xiongmai's seat is not sourced yet", unit(signed, mark("xiongmai", attest.SubjectUnit, attest.C2)), open, permitted, permitted, "hold.contested"},
		{"locked serial port, device certificate, signed boot endorsed", unit(madeBy("Fjordlens AS"),
			claim(attest.SubjectUnit, attest.NameDeviceKey, "sha256:key", attest.A0, proof.KeyPossession()),
			claim(attest.SubjectFirmware, attest.NameSignedBoot, "enforced", attest.A0, proof.VendorSigned())), permitted, permitted, permitted, "require.signer-is-maker"},
		{"device key, and the trust store endorses signed boot", unit(madeBy("Fjordlens AS"), deviceKey, endorsedModel, deviceEndorsement(attest.StatusVerified, "fjordlens")), permitted, permitted, permitted, "require.boot-chain"},
		{"device key, no endorsement of the model", unit(madeBy("Fjordlens AS"), deviceKey, deviceEndorsement(attest.StatusVerified, "fjordlens")), open, open, open, "require.boot-chain"},
		{"the model endorsed, no device key", unit(madeBy("Fjordlens AS"), endorsedModel, deviceEndorsement(attest.StatusUnanchored, "")), open, open, open, "require.boot-chain"},
		{"signed boot by the unit's own word", unit(madeBy("Fjordlens AS"), deviceKey,
			claim(attest.SubjectFirmware, attest.NameSignedBoot, "enforced", attest.A0, none), deviceEndorsement(attest.StatusVerified, "fjordlens")), open, open, open, "require.boot-chain"},
		{"device key by another maker", unit(madeBy("Fjordlens AS"), deviceKey, endorsedModel, deviceEndorsement(attest.StatusVerified, "axis")), open, open, open, "require.signer-is-maker"},
		{"device key by a covered maker", unit(madeBy("Fjordlens AS"), deviceKey, endorsedModel, deviceEndorsement(attest.StatusVerified, "hikvision"), mark("hikvision", attest.SubjectUnit, attest.C3)), refused, refused, refused, "refuse.covered-maker"},
		{"a device certificate that names another unit", unit(madeBy("Fjordlens AS"), endorsedModel, deviceEndorsement(attest.StatusUnmatched, "fjordlens"), contradicted), open, open, open, "hold.contradiction"},
		{"a forged device certificate", unit(madeBy("Fjordlens AS"), endorsedModel, deviceEndorsement(attest.StatusFailed, "fjordlens")), refused, refused, refused, "refuse.failed-check"},
		{"device key and endorsement, but the boot loader takes commands", unit(madeBy("Fjordlens AS"), deviceKey, endorsedModel, deviceEndorsement(attest.StatusVerified, "fjordlens"),
			func(e *attest.Evidence) {
				e.Claims = append(e.Claims, attest.Claim{ID: "claim-uboot", Subject: attest.SubjectBootLoader, Name: attest.NameFirmwareVersion, Value: "2010.06", Channel: "serial:/dev/ttyUSB0", Acquisition: attest.A2, Time: at})
			}), open, open, open, "require.boot-chain"},
		{"device certificate alone", unit(madeBy("Fjordlens AS"),
			claim(attest.SubjectUnit, attest.NameDeviceKey, "sha256:key", attest.A0, proof.KeyPossession())), open, open, open, "require.boot-chain"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for id, want := range map[string]attest.Verdict{uk: c.uk, ndaa: c.ndaa, fcc: c.fcc} {
				r, err := Appraise(c.unit, profile(t, id, nil), data(t), at)
				if err != nil {
					t.Fatal(err)
				}
				if r.Verdict != want {
					b, _ := json.MarshalIndent(r.Reasons, "", " ")
					t.Errorf("%s: %s, want %s\n%s", id, r.Verdict, want, b)
				}
				if r.Verdict == attest.Inconclusive && len(r.Next) == 0 {
					t.Errorf("%s: inconclusive without a next test", id)
				}
				if id == uk && !slices.ContainsFunc(r.Reasons, func(x attest.Reason) bool { return x.Rule == c.rule }) {
					t.Errorf("no reason by rule %s", c.rule)
				}
				checkRefs(t, c.unit, r)
			}
		})
	}
}

// What only looks like a covered maker's work neither refuses nor holds back a
// unit whose identity is proven and whose model enforces signed boot; a hint
// holds it back, and a solid tell refuses.
func TestFalseTellsDoNeither(t *testing.T) {
	verdict := func(id string, seen ...fingerprint.Observation) attest.Verdict {
		t.Helper()
		ev := unit(madeBy("Fjordlens AS"),
			claim(attest.SubjectUnit, attest.NameDeviceKey, "sha256:key", attest.A0, proof.KeyPossession()),
			claim(attest.SubjectFirmware, attest.NameSignedBoot, "enforced", attest.A0, proof.VendorSigned()),
			func(e *attest.Evidence) { e.Marks = append(e.Marks, fingerprint.Embedded().Match(seen)...) })
		r, err := Appraise(ev, profile(t, id, nil), data(t), at)
		if err != nil {
			t.Fatal(err)
		}
		return r.Verdict
	}
	_, _, tells := fingerprint.Embedded().All()
	for _, id := range []string{uk, ndaa} {
		for _, f := range tells {
			for i, x := range f.Examples {
				var seen []fingerprint.Observation
				for _, s := range x {
					seen = append(seen, fingerprint.Observation{On: s.On, Value: s.Value})
				}
				want := attest.Permitted
				if f.ID == "cross-web-server" && id == uk {
					want = attest.Inconclusive // a hint of TVT, and rightly
				}
				if got := verdict(id, seen...); got != want {
					t.Errorf("%s: false tell %s, example %d: %s, want %s", id, f.ID, i+1, got, want)
				}
			}
		}
		namespace := fingerprint.Observation{On: "isapi.namespace", Value: "http://www.hikvision.com/ver20/XMLSchema"}
		serial := fingerprint.Observation{On: "serial", Value: "NG-B412020190314CCRR000000001WCVU"}
		if got := verdict(id, namespace); got != attest.Inconclusive {
			t.Errorf("%s: a hint: %s", id, got)
		}
		if got := verdict(id, namespace, serial); got != attest.Refused {
			t.Errorf("%s: a solid tell: %s", id, got)
		}
	}
}

func checkRefs(t *testing.T, ev *attest.Evidence, r *attest.Result) {
	t.Helper()
	known := map[string]bool{}
	for _, c := range ev.Claims {
		known[c.ID] = true
	}
	for _, m := range ev.Marks {
		known[m.ID] = true
	}
	for _, c := range ev.Contradictions {
		known[c.ID] = true
	}
	for _, e := range ev.Endorsements {
		known[e.ID] = true
	}
	for _, c := range ev.Children {
		known[c.ID] = true
	}
	for _, reason := range r.Reasons {
		for _, ref := range reason.Refs {
			if !known[ref] {
				t.Errorf("rule %s points at %q, which is not in the evidence", reason.Rule, ref)
			}
		}
	}
}

func TestParametersMoveTheVerdictAndArePrinted(t *testing.T) {
	ev := unit(signed, mark("hisilicon", attest.SubjectSoC, attest.C3))
	for value, want := range map[string]attest.Verdict{"report": attest.Permitted, "hold": attest.Inconclusive, "refuse": attest.Refused} {
		r, err := Appraise(ev, profile(t, uk, map[string]string{"listed-component": value}), data(t), at)
		if err != nil {
			t.Fatal(err)
		}
		if r.Verdict != want || !slices.ContainsFunc(r.Parameters, func(p attest.Parameter) bool { return p.Value == value }) {
			t.Errorf("listed-component=%s: %s %v, want %s", value, r.Verdict, r.Parameters, want)
		}
	}
	reolink := unit(signed, mark("reolink", attest.SubjectUnit, attest.C2))
	for value, want := range map[string]attest.Verdict{"a": attest.Inconclusive, "b": attest.Inconclusive, "c": attest.Refused} {
		if r, _ := Appraise(reolink, profile(t, uk, map[string]string{"reading": value}), data(t), at); r.Verdict != want {
			t.Errorf("reading %s of a Hong Kong company: %s, want %s", value, r.Verdict, want)
		}
	}
	if _, err := Load(uk, map[string]string{"reading": "z"}); err == nil {
		t.Error("a value that the profile does not allow must be refused")
	}
	if _, err := Load(uk, map[string]string{"mood": "a"}); err == nil {
		t.Error("a parameter that the profile does not have must be refused")
	}
}

func TestTheSameInputsGiveTheSameBytes(t *testing.T) {
	ev := unit(signed, mark("hikvision", attest.SubjectUnit, attest.C2), contradicted)
	var first string
	for range 5 {
		r, err := Appraise(ev, profile(t, uk, nil), data(t), at)
		if err != nil {
			t.Fatal(err)
		}
		b, err := attest.Canonical(r)
		if err != nil {
			t.Fatal(err)
		}
		if first == "" {
			first = string(b)
		}
		if string(b) != first {
			t.Fatal("two runs differ")
		}
	}
}

func TestTrustworthinessNeverExceedsTheProof(t *testing.T) {
	r, err := Appraise(unit(signed), profile(t, uk, nil), data(t), at)
	if err != nil {
		t.Fatal(err)
	}
	if r.AR4SI != (attest.Trustworthiness{FileSystem: 2}) {
		t.Errorf("vendor-signed without a device key: %+v", r.AR4SI)
	}
	r, _ = Appraise(unit(signed, endorsement(attest.StatusFailed, "fjordlens")), profile(t, uk, nil), data(t), at)
	if r.AR4SI.Executables != 99 {
		t.Errorf("a failed signature: %+v", r.AR4SI)
	}
}

func TestAProfileThatDoesNotHoldIsRefusedByName(t *testing.T) {
	good := "schema: assay.profile/v1\nid: mine\nversion: \"1\"\ntitle: t\ncitation: c\nvalidityDays: 1\n"
	for text, want := range map[string]string{
		good: "no rules",
		good + "rules: [{id: a, effect: smile, when: 'true', text: '\"x\"'}]":             `effect "smile"`,
		good + "rules: [{id: a, effect: hold, when: 'tru', text: '\"x\"'}]":               "rule a when",
		good + "rules: [{id: a, effect: hold, when: '1', text: '\"x\"'}]":                 "not bool",
		good + "rules: [{id: a, effect: hold, each: moods, when: 'true', text: '\"x\"'}]": `each "moods"`,
		good + "rules: [{id: a, effect: require, when: 'true'}]":                          "met and unmet",
		good + "surprise: 1":      "surprise",
		good + "extends: nothing": "extends",
	} {
		_, err := Load("mine", nil, fstest.MapFS{"mine.yaml": {Data: []byte(text)}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	if _, err := Load("decision-rule", nil); err == nil {
		t.Error("a rules file is no profile")
	}
}

func TestARuleThatNeverEndsIsStopped(t *testing.T) {
	text := `
schema: assay.profile/v1
id: slow
version: "1"
title: t
citation: c
validityDays: 1
rules: [{id: a, effect: hold, when: 'claims.all(a, claims.all(b, claims.all(c, claims.all(d, claims.all(e, a.id == b.id || true)))))', text: '"x"'}]
`
	p, err := Load("slow", nil, fstest.MapFS{"slow.yaml": {Data: []byte(text)}})
	if err != nil {
		t.Fatal(err)
	}
	ev := unit()
	for range 300 {
		claim(attest.SubjectUnit, "x", "y", attest.A0, proof.Grade{})(ev)
	}
	if _, err := Appraise(ev, p, data(t), at); err == nil || !strings.Contains(err.Error(), "cost limit") {
		t.Fatalf("err = %v, want the cost limit", err)
	}
}

func BenchmarkAppraise(b *testing.B) {
	d, p := data(b), profile(b, uk, nil)
	ev := unit(signed, mark("hikvision", attest.SubjectUnit, attest.C2))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Appraise(ev, p, d, at); err != nil {
			b.Fatal(err)
		}
	}
}

func TestRefusalNamesTheCameraBehindTheRecorder(t *testing.T) {
	r, err := Appraise(unit(signed, behind("HIKVISION")), profile(t, uk, nil), data(t), at)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(r.Reasons, func(x attest.Reason) bool { return x.Rule == "refuse.covered-child" })
	if i < 0 || !strings.Contains(r.Reasons[i].Text, "channel 4 HIKVISION M-1 192.0.2.4 is by ") || !slices.Equal(r.Reasons[i].Refs, []string{"child-1"}) {
		t.Errorf("reasons %+v", r.Reasons)
	}
}
