package collect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"assay/attest"
	"assay/attest/entity"
	"assay/devices"
)

// fake is a channel that says what a test wants.
type fake struct {
	claims []attest.Claim
	marks  []attest.Mark
	behind []attest.Child
	flash  []byte
	unread []attest.Extent
	way    attest.Acquisition // of the flash; A2 when zero
	err    error
}

func (f *fake) Identify(_ context.Context, s devices.Sink) error {
	raw := s.Artefact("text/plain", "answer", []byte("raw answer"))
	for _, c := range f.claims {
		c.Raw = raw
		s.Claim(c)
	}
	for _, m := range f.marks {
		s.Mark(m)
	}
	for _, c := range f.behind {
		c.Raw = raw
		s.(devices.ChildSink).Child(c)
	}
	return f.err
}

func (f *fake) Banks(context.Context) ([]devices.Bank, error) {
	if f.flash == nil {
		return nil, nil
	}
	return []devices.Bank{{Name: "nor0", Size: int64(len(f.flash)), Acquisition: cmp.Or(f.way, attest.A2)}}, nil
}

func (f *fake) ReadBank(_ context.Context, b devices.Bank, w io.WriterAt, _ devices.Progress) error {
	for _, r := range readRuns(b.Size, &devices.UnreadError{Extents: f.unread}) {
		if _, err := w.WriteAt(f.flash[r.Offset:r.Offset+r.Size], r.Offset); err != nil {
			return err
		}
	}
	if f.unread != nil {
		return &devices.UnreadError{Bank: b.Name, Extents: f.unread, Cause: errors.New("the line broke")}
	}
	return nil
}

func (f *fake) Close() error { return nil }

func collect(t *testing.T, o Options, channels map[string]*fake, order ...string) (*attest.Evidence, string) {
	t.Helper()
	dir := t.TempDir()
	var err error
	if o.Entities, err = entity.Load(); err != nil {
		t.Fatal(err)
	}
	s, err := New(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range order {
		target, err := devices.ParseTarget(name)
		if err != nil {
			t.Fatal(err)
		}
		_ = s.Collect(context.Background(), target, channels[name])
	}
	ev, err := s.Evidence(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return ev, dir
}

func claim(subject attest.Subject, name, value string, a attest.Acquisition) attest.Claim {
	return attest.Claim{Subject: subject, Name: name, Value: value, Source: "test", Acquisition: a}
}

func find(t *testing.T, ev *attest.Evidence, channel, name string) attest.Claim {
	t.Helper()
	for _, c := range ev.Claims {
		if strings.HasPrefix(c.Channel, channel) && c.Name == name {
			return c
		}
	}
	t.Fatalf("no claim %s by %s in %+v", name, channel, ev.Claims)
	return attest.Claim{}
}

func TestTwoChannelsThatAgreeCorroborateAndTwoProtocolsOfOneDoNot(t *testing.T) {
	board, soc := attest.SubjectBoard, attest.SubjectSoC
	ev, _ := collect(t, Options{}, map[string]*fake{
		"192.0.2.1": {claims: []attest.Claim{
			claim(board, attest.NameBoard, "FL-B2", attest.A0), claim(board, attest.NameBoard, "fl_b2", attest.A0),
			claim(soc, attest.NameBoard, "Ambarella S3L", attest.A0),
			claim(attest.SubjectUnit, attest.NameModel, "FD-220", attest.A0), claim(attest.SubjectUnit, attest.NameModel, "FD-220", attest.A0),
		}},
		"serial:/dev/x": {claims: []attest.Claim{claim(board, attest.NameBoard, "fl-b2", attest.A2), claim(soc, attest.NameBoard, "s3l", attest.A2)}},
	}, "192.0.2.1", "serial:/dev/x")
	for _, c := range ev.Claims {
		want := "P2@A0"
		switch {
		case c.Channel == "serial:/dev/x":
			want = "P2@A2"
		case c.Name == attest.NameModel:
			want = "P1@A0"
		}
		if c.Grade() != want {
			t.Errorf("%s %s by %s: %s, want %s", c.Subject, c.Value, c.Channel, c.Grade(), want)
		}
	}
	if len(ev.Contradictions) != 0 {
		t.Errorf("contradictions: %+v", ev.Contradictions)
	}
}

func TestALabelIsHeldAgainstWhatIsInside(t *testing.T) {
	ev, _ := collect(t, Options{Labels: map[string]string{"maker": "Northgate Security"}}, map[string]*fake{
		"192.0.2.1": {marks: []attest.Mark{
			{Entity: "hikvision", Subject: attest.SubjectUnit, Strength: attest.C2, Says: "speaks ISAPI", Source: "isapi"},
			{Entity: "hikvision", Subject: attest.SubjectUnit, Strength: attest.C2, Says: "says it again", Source: "isapi"},
			{Entity: "dahua", Subject: attest.SubjectUnit, Strength: attest.C1, Says: "a mere hint", Source: "x"},
			{Entity: "hisilicon", Subject: attest.SubjectSoC, Strength: attest.C2, Says: "a part", Source: "x"},
		}},
	}, "192.0.2.1")
	if len(ev.Contradictions) != 1 || ev.Contradictions[0].ID != "contradiction-1" || len(ev.Contradictions[0].Sides) != 2 {
		t.Fatalf("%+v", ev.Contradictions)
	}
	if says := ev.Contradictions[0].Says; !strings.Contains(says, "Northgate Security") || !strings.Contains(says, "Hikvision") {
		t.Errorf("both sides must be quoted: %s", says)
	}
	ev, _ = collect(t, Options{Labels: map[string]string{"maker": "EZVIZ"}}, map[string]*fake{
		"192.0.2.1": {marks: []attest.Mark{{Entity: "hikvision", Subject: attest.SubjectUnit, Strength: attest.C2, Says: "x"}}},
	}, "192.0.2.1")
	if len(ev.Contradictions) != 0 {
		t.Errorf("a brand of the same house is no contradiction: %+v", ev.Contradictions)
	}
}

func TestDifferentSerialNumbersContradictAndAPrefixDoesNot(t *testing.T) {
	two := func(a, b string) int {
		ev, _ := collect(t, Options{}, map[string]*fake{
			"192.0.2.1":     {claims: []attest.Claim{claim(attest.SubjectUnit, attest.NameSerial, a, attest.A0)}},
			"serial:/dev/x": {claims: []attest.Claim{claim(attest.SubjectUnit, attest.NameSerial, b, attest.A2)}},
		}, "192.0.2.1", "serial:/dev/x")
		return len(ev.Contradictions)
	}
	if two("DS-1-20250101AAWRC12345678", "C12345678") != 0 {
		t.Error("the end of a serial number is the same number")
	}
	if two("SN1001", "SN2002") != 1 {
		t.Error("two numbers were not noticed")
	}
}

func TestTheIdentityIsWhatNoTwinShares(t *testing.T) {
	ev, _ := collect(t, Options{}, map[string]*fake{"192.0.2.1": {claims: []attest.Claim{
		claim(attest.SubjectUnit, attest.NameMAC, "00-00-5e-00-53-17", attest.A0),
		claim(attest.SubjectUnit, attest.NameMAC, "00:00:23:34:45:66", attest.A0),
		claim(attest.SubjectUnit, attest.NameMAC, "rubbish", attest.A0),
		claim(attest.SubjectUnit, attest.NameSerial, "B2", attest.A0),
		claim(attest.SubjectUnit, attest.NameSerial, "A1", attest.A0),
	}}}, "192.0.2.1")
	if got := fmt.Sprint(ev.Unit.MACs, ev.Unit.Serials); got != "[00:00:5E:00:53:17] [A1 B2]" {
		t.Errorf("identity = %s", got)
	}
}

func TestWhatAUnitSaysCannotSpeakToTheTerminal(t *testing.T) {
	ev, _ := collect(t, Options{}, map[string]*fake{"192.0.2.1": {claims: []attest.Claim{
		claim(attest.SubjectUnit, attest.NameModel, "X\x1b[2J\u202eABC\xff\x00"+strings.Repeat("y", 5000), attest.A0),
	}}}, "192.0.2.1")
	v := find(t, ev, "network", attest.NameModel).Value
	if strings.ContainsAny(v, "\x1b\u202e\x00") || !utf8.ValidString(v) || len(v) > maxText+16 {
		t.Errorf("value = %q", v)
	}
}

func TestAUnitCannotFillTheDisk(t *testing.T) {
	f := &fake{}
	for i := range maxClaims + 50 {
		f.claims = append(f.claims, claim(attest.SubjectNetwork, "x", fmt.Sprint(i), attest.A0))
	}
	ev, _ := collect(t, Options{}, map[string]*fake{"192.0.2.1": f}, "192.0.2.1")
	if len(ev.Claims) != maxClaims || len(ev.Problems) != 1 || !strings.Contains(ev.Problems[0].Says, "50 more claims") {
		t.Errorf("%d claims, problems %+v", len(ev.Claims), ev.Problems)
	}
}

func TestWhatWasReadBeforeAFailureIsKept(t *testing.T) {
	ev, dir := collect(t, Options{}, map[string]*fake{"192.0.2.1": {
		claims: []attest.Claim{claim(attest.SubjectUnit, attest.NameSerial, "A1", attest.A0)},
		err:    fmt.Errorf("%w: the unit went away", devices.ErrUnreachable),
	}}, "192.0.2.1")
	c := find(t, ev, "network", attest.NameSerial)
	if _, err := os.Stat(filepath.Join(dir, ArtefactFolder, c.Raw.Hex())); err != nil {
		t.Errorf("the raw bytes are gone: %v", err)
	}
	if len(ev.Problems) != 1 || ev.Problems[0].Kind != attest.ProblemUnreachable {
		t.Errorf("problems %+v", ev.Problems)
	}
}

func TestAPartlyReadFlashIsKeptAndNeverWhole(t *testing.T) {
	flash := make([]byte, 64<<10)
	copy(flash[32<<10:], "HIKVISION@HANGZHOU\x00")
	ev, dir := collect(t, Options{}, map[string]*fake{"serial:/dev/x": {flash: flash, unread: []attest.Extent{{Offset: 4096, Size: 8192}}}}, "serial:/dev/x")
	if len(ev.Images) != 2 || ev.Images[0].Size != 4096 || ev.Images[1].Source != "flash nor0 from 0x3000" {
		t.Fatalf("%+v", ev.Images)
	}
	if len(ev.Marks) == 0 || ev.Marks[0].Entity != "hikvision" {
		t.Errorf("the part that was read was not looked at: %+v", ev.Marks)
	}
	for _, i := range ev.Images {
		if i.Gap == "" {
			t.Errorf("the boot chain of a partly read flash is not whole: %+v", i)
		}
	}
	var flashes int
	for _, a := range ev.Artefacts {
		if strings.Contains(a.What, "read in part") {
			flashes++
			f, err := OpenArtefact(dir, a.Digest)
			if err != nil {
				t.Fatal(err)
			}
			f.Close()
		}
	}
	if flashes != 1 {
		t.Errorf("artefacts %+v", ev.Artefacts)
	}
}

func TestEvidenceReadsBack(t *testing.T) {
	ev, _ := collect(t, Options{}, map[string]*fake{"192.0.2.1": {claims: []attest.Claim{claim(attest.SubjectUnit, attest.NameSerial, "A1", attest.A0)}}}, "192.0.2.1")
	b, err := attest.Canonical(ev)
	if err != nil {
		t.Fatal(err)
	}
	again, err := attest.ParseEvidence(b)
	if err != nil {
		t.Fatal(err)
	}
	c, err := attest.Canonical(again)
	if err != nil || string(b) != string(c) {
		t.Errorf("%v\n%s\n%s", err, b, c)
	}
}

func TestCamerasBehindARecorderAreKeptBoundedAndClean(t *testing.T) {
	s, err := New(t.TempDir(), Options{Tool: "test"})
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{claims: []attest.Claim{{Subject: attest.SubjectUnit, Name: attest.NameSerial, Value: "NVR1", Source: "x"}}}
	for range maxChildren + 3 {
		f.behind = append(f.behind, attest.Child{Slot: "1", Maker: "A\x1b[2J", Serial: "CHILD1", Marks: []attest.Mark{{Entity: "hikvision", Strength: attest.C1, Says: "b\u202ec"}}})
	}
	if err := s.Collect(t.Context(), devices.Target{Kind: devices.KindNetwork, Host: "192.0.2.1"}, f); err != nil {
		t.Fatal(err)
	}
	ev, err := s.Evidence(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c := ev.Children[1]
	if len(ev.Children) != maxChildren || c.ID != "child-2" || c.Channel != "network:192.0.2.1" || strings.ContainsAny(c.Maker+c.Marks[0].Says, "\x1b\u202e") || c.Marks[0].ID != "child-2-mark-1" {
		t.Errorf("%d children, the second %+v", len(ev.Children), c)
	}
	if len(ev.Problems) != 1 || !strings.Contains(ev.Problems[0].Says, "3 more children") {
		t.Errorf("problems %v", ev.Problems)
	}
	if len(ev.Unit.Serials) != 1 {
		t.Errorf("the identity has a child's serial number: %v", ev.Unit)
	}
	b, err := attest.Canonical(ev)
	if err != nil {
		t.Fatal(err)
	}
	again, err := attest.ParseEvidence(b)
	if err != nil {
		t.Fatal(err)
	}
	if b2, err := attest.Canonical(again); err != nil || string(b2) != string(b) {
		t.Errorf("canonical JSON is not stable: %v", err)
	}
}
