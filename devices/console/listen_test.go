package console

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"assay/attest"
	simulator "assay/devices/simulator/console"
)

func TestABootThatIsListenedToGivesItsFactsAndGetsNoByte(t *testing.T) {
	cfg := load(t, "relabelled")
	cfg.Start = simulator.StateOff
	cfg.Kernel = []string{"Starting kernel ...", "[    0.000000] Linux version 3.4.35 (root@build) (gcc version 4.8.3) #1 Tue Mar 11 16:40:02 CST 2025", "(none) login: "}
	unit := start(t, cfg)
	o := quick()
	o.StopTimeout = 40 * time.Second
	o.ListenOnly, o.Power = true, unit.PowerCycle
	var transcript bytes.Buffer
	o.Transcript = &transcript
	sink := &kept{}
	c := open(t, unit.Device, o)
	if err := c.Identify(within(t, time.Minute), sink); err != nil {
		t.Fatalf("%v\n%s", err, transcript.String())
	}
	c.Close()
	for _, l := range strings.Split(transcript.String(), "\n") {
		if len(l) > 11 && l[10] == '>' {
			t.Errorf("sent %s", l)
		}
	}
	for _, want := range []struct {
		subject     attest.Subject
		name, value string
		acquisition attest.Acquisition
	}{
		{attest.SubjectBootLoader, attest.NameFirmwareVersion, "U-Boot 2010.06-NGS", attest.A2},
		{attest.SubjectFlash, "jedec-id", "c2 20 18", attest.A2},
		{attest.SubjectFlash, attest.NameMaker, "Macronix", attest.A2},
	} {
		found := false
		for _, cl := range sink.claims {
			found = found || cl.Subject == want.subject && cl.Name == want.name && cl.Value == want.value && cl.Acquisition == want.acquisition
		}
		if !found {
			t.Errorf("no %s %s %q at %s", want.subject, want.name, want.value, want.acquisition)
		}
	}
	if banks, err := c.Banks(t.Context()); err != nil || len(banks) != 0 {
		t.Errorf("banks %v, %v", banks, err)
	}
	if t.Failed() {
		for _, cl := range sink.claims {
			t.Logf("%s %s %q %s", cl.Subject, cl.Name, cl.Value, cl.Source)
		}
	}
}
