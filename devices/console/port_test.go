package console

import (
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	simulator "assay/devices/simulator/console"
)

func TestAPortBeyondDescriptor1023IsRefusedAndNotAPanic(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the limit of select is known for Linux")
	}
	unit := start(t, at(simulator.Quirks{}))
	for range 1030 {
		f, err := os.Open(os.DevNull)
		if err != nil {
			t.Skipf("this system allows fewer open files: %v", err)
		}
		defer f.Close()
	}
	c := open(t, unit.Device, quick())
	if err := c.Identify(within(t, 10*time.Second), &kept{}); err == nil || !strings.Contains(err.Error(), "too many files open") {
		t.Fatalf("%v", err)
	}
}

func TestAPortIsFreeAgainAfterClose(t *testing.T) {
	unit := start(t, at(simulator.Quirks{}))
	for range 3 {
		c := Open(port115200(unit.Device), quick())
		if err := c.Identify(within(t, 20*time.Second), &kept{}); err != nil {
			t.Fatal(err)
		}
		c.Close()
		if err := c.Close(); err != nil {
			t.Errorf("second Close: %v", err)
		}
	}
}

func TestACancelledSessionEndsAndKeepsItsTranscript(t *testing.T) {
	unit := start(t, load(t, "silent"))
	sink := &kept{}
	o := quick()
	o.StopTimeout = time.Minute
	c := open(t, unit.Device, o)
	if err := c.Identify(within(t, 500*time.Millisecond), sink); err == nil {
		t.Fatal("a silent unit was identified")
	}
	if len(sink.artefacts) != 1 {
		t.Errorf("artefacts %v", sink.artefacts)
	}
}
