package console

import (
	"bytes"
	"testing"
	"time"

	"assay/devices"
	simulator "assay/devices/simulator/console"
	"assay/internal/ser2net"
)

// A simulated unit behind a real console server: the rate is found through RFC
// 2217, since the unit reads as noise at any other, and what is read is exact.
func TestAUnitBehindARealConsoleServerIsReadAtTheRateThatItHas(t *testing.T) {
	unit := at(simulator.Quirks{})
	unit.Baud = 57600
	unit.NOR[0].Content = bytes.Repeat([]byte("console server \xff\x00\r\n"), 1000)
	_, rfc2217 := ser2net.Start(t, start(t, unit).Device)
	target, err := devices.ParseTarget("serial:" + rfc2217)
	if err != nil {
		t.Fatal(err)
	}
	c := Open(target, quick())
	defer c.Close()
	if err := c.Identify(within(t, time.Minute), &kept{}); err != nil {
		t.Fatalf("%v\n%s", err, c.log.Take())
	}
	if got := c.line.Baud(); got != 57600 {
		t.Errorf("read at %d baud", got)
	}
	banks, err := c.Banks(t.Context())
	if err != nil || len(banks) == 0 {
		t.Fatal(banks, err)
	}
	got := newMemory(banks[0].Size)
	if err := c.ReadBank(within(t, 2*time.Minute), banks[0], got, nil); err != nil {
		t.Fatal(err)
	}
	want := append(bytes.Clone(unit.NOR[0].Content), bytes.Repeat([]byte{0xff}, int(banks[0].Size)-len(unit.NOR[0].Content))...)
	if !bytes.Equal(got, want) {
		t.Error("the dump differs from the flash")
	}
}
