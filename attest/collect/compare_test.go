package collect

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"strings"
	"testing"

	"assay/attest"
)

// demoFlash is the flash of a unit of the demonstration: U-Boot, a uImage at
// 0x40000, a SquashFS at 0x80000, the rest erased.
func demoFlash(t *testing.T) []byte {
	t.Helper()
	f, err := os.Open("../../testdata/demo/relabelled.bin.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// both is a session with a dump through the boot loader and one by a clip.
func both(t *testing.T, said, has []byte, unread ...attest.Extent) *attest.Evidence {
	t.Helper()
	ev, _ := collect(t, Options{}, map[string]*fake{
		"serial:/dev/x":  {flash: said, unread: unread},
		"spi:ch341a_spi": {flash: has, way: attest.A4},
	}, "serial:/dev/x", "spi:ch341a_spi")
	return ev
}

func lies(ev *attest.Evidence) (out []attest.Contradiction) {
	for _, c := range ev.Contradictions {
		if c.Rule == ruleLies || c.Rule == ruleOneBit {
			out = append(out, c)
		}
	}
	return out
}

func TestFirmwareThatLiesAboutItselfContradictsTheChip(t *testing.T) {
	said := demoFlash(t)
	has := bytes.Clone(said)
	copy(has[0x48000:], "not what the unit says")
	ev := both(t, said, has)
	got := lies(ev)
	if len(got) != 1 || got[0].Rule != ruleLies || got[0].Subject != attest.SubjectFirmware || len(got[0].Sides) != 2 {
		t.Fatalf("%+v", ev.Contradictions)
	}
	if got[0].ID == "" || !strings.Contains(got[0].Says, "lies about itself") || !strings.Contains(got[0].Says, "kernel uimage@0x40000") {
		t.Errorf("%+v", got[0])
	}
	for i, channel := range []string{"serial:/dev/x", "spi:ch341a_spi"} {
		side := got[0].Sides[i]
		found := false
		for _, c := range ev.Claims {
			if c.ID == side.Ref && c.Channel == channel && c.Value == side.Value && c.Raw.Valid() && strings.Contains(c.Value, "sha256:") {
				found = true
			}
		}
		if !found {
			t.Errorf("side %d, %+v, is no claim of %s", i, side, channel)
		}
	}
	if !strings.Contains(got[0].Sides[1].Value, "6e6f742077686174") { // "not what"
		t.Errorf("the bytes are not quoted: %+v", got[0].Sides)
	}
}

func TestOneBitBetweenTwoReadsIsHeldUntilItIsReadAgain(t *testing.T) {
	said := demoFlash(t)
	has := bytes.Clone(said)
	has[0x48000] ^= 0x20
	got := lies(both(t, said, has))
	if len(got) != 1 || got[0].Rule != ruleOneBit || !strings.Contains(got[0].Says, "read both again before you call it tampered") {
		t.Fatalf("%+v", got)
	}
}

func TestTwoReadsThatAgreeContradictNothing(t *testing.T) {
	said := demoFlash(t)
	ev := both(t, said, bytes.Clone(said))
	if got := lies(ev); len(got) != 0 {
		t.Errorf("%+v", got)
	}
	kept := false
	for _, a := range ev.Artefacts {
		kept = kept || strings.HasPrefix(a.What, "comparison of flash nor0")
	}
	if !kept {
		t.Errorf("the comparison is not kept: %+v", ev.Artefacts)
	}
}

func TestWhatWasNotReadIsNotHeldAgainstTheUnit(t *testing.T) {
	said := demoFlash(t)
	has := bytes.Clone(said)
	copy(has[0x48000:], "not what the unit says")
	if got := lies(both(t, said, has, attest.Extent{Offset: 0x48000, Size: 4096})); len(got) != 0 {
		t.Errorf("%+v", got)
	}
	// The rest still is, though the image was analysed in two runs.
	copy(has[0x1000:], "nor this")
	got := lies(both(t, said, has, attest.Extent{Offset: 0x48000, Size: 4096}))
	if len(got) != 1 || got[0].Subject != attest.SubjectBootLoader {
		t.Errorf("%+v", got)
	}
}

func TestBytesOfNoKnownUseThatDifferAreAProblemAndNoLie(t *testing.T) {
	said := demoFlash(t)
	has := bytes.Clone(said)
	for i := range 3000 {
		has[0xf0000+i] = byte(i*i>>3) ^ byte(i)
	}
	ev := both(t, said, has)
	if got := lies(ev); len(got) != 0 {
		t.Fatalf("%+v", got)
	}
	found := false
	for _, p := range ev.Problems {
		found = found || strings.Contains(p.Says, "not known whether a running unit writes")
	}
	if !found {
		t.Errorf("%+v", ev.Problems)
	}
}
