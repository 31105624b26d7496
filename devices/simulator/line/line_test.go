package line_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"assay/devices/simulator/line"
)

// sent returns what a port gives of what a unit sends, until the plug comes off.
func sent(t *testing.T, p *line.Port, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	got, err := io.ReadFull(p, b)
	if err != nil && !errors.Is(err, line.ErrPulled) && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatal(err)
	}
	return b[:got]
}

func TestALinePassesWhatItIsToldTo(t *testing.T) {
	near, far := net.Pipe()
	unit := bytes.Repeat([]byte("0123456789"), 1000)
	l := line.New(far, line.Config{Inject: "[kernel]", InjectEvery: 4000, PullAfter: []int64{5000}})
	defer l.Close()
	go near.Write(unit)
	p := l.Plug()
	got := sent(t, p, len(unit))
	if want := append(append(bytes.Clone(unit[:4000]), "[kernel]"...), unit[4000:4999]...); !bytes.Equal(got, want) {
		t.Errorf("%d bytes, want %d", len(got), len(want))
	}
	if _, err := p.Read(make([]byte, 1)); !errors.Is(err, line.ErrPulled) {
		t.Errorf("after the pull: %v", err)
	}
	if _, err := p.Write([]byte("x")); !errors.Is(err, line.ErrPulled) {
		t.Errorf("write after the pull: %v", err)
	}
}

func TestALineIsNoFasterThanItsRate(t *testing.T) {
	near, far := net.Pipe()
	l := line.New(far, line.Config{Rate: 11520})
	defer l.Close()
	go near.Write(make([]byte, 2304))
	p := l.Plug()
	start := time.Now()
	sent(t, p, 2304)
	if took := time.Since(start); took < 195*time.Millisecond {
		t.Errorf("2304 bytes in %v at 11520 a second", took)
	}
}

func TestALineLosesAndFlipsAboutAsManyBytesAsItIsToldTo(t *testing.T) {
	near, far := net.Pipe()
	l := line.New(far, line.Config{LoseOneIn: 100, FlipOneIn: 100, Seed: 1})
	go func() { near.Write(make([]byte, 100_000)); near.Close() }()
	got, _ := io.ReadAll(l.Plug())
	l.Close()
	flipped := len(got) - bytes.Count(got, []byte{0})
	if lost := 100_000 - len(got); lost < 500 || lost > 2000 || flipped < 500 || flipped > 2000 {
		t.Errorf("%d lost, %d flipped", lost, flipped)
	}
}
