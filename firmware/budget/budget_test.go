package budget

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
)

func TestZeroLimitsAreTheDefaults(t *testing.T) {
	l := New(Limits{}).Limits()
	if l.Bytes != DefaultBytes || l.Held != DefaultHeld || l.Entries != DefaultEntries || l.Depth != DefaultDepth || l.Ratio != DefaultRatio {
		t.Fatalf("limits = %+v", l)
	}
}

func TestEachLimitEndsTheAnalysis(t *testing.T) {
	m := New(Limits{Bytes: 10, Held: 10, Entries: 2, Depth: 1, Ratio: 2})
	for name, f := range map[string]func() error{
		"bytes":            func() error { return m.Bytes(11) },
		"negative bytes":   func() error { return m.Bytes(-1) },
		"held":             func() error { return m.Hold(11) },
		"entries":          func() error { return m.Entries(3) },
		"depth":            func() error { return m.Depth(2) },
		"expansion ratio":  func() error { return m.Ratio(1<<20, 4<<20) },
		"ratio of nothing": func() error { return m.Ratio(0, 2<<20) },
	} {
		if err := f(); !errors.Is(err, ErrExceeded) {
			t.Errorf("%s: err = %v, want ErrExceeded", name, err)
		}
	}
}

func TestHeldMemoryCanBeGivenBack(t *testing.T) {
	m := New(Limits{Held: 10})
	for range 5 {
		if err := m.Hold(8); err != nil {
			t.Fatal(err)
		}
		m.Release(8)
	}
	if err := m.Hold(11); err == nil {
		t.Fatal("a refused Hold must fail")
	}
	if err := m.Hold(10); err != nil {
		t.Fatalf("a refused Hold must charge nothing: %v", err)
	}
}

func TestReaderStopsAtTheBudgetAndAtTheContext(t *testing.T) {
	m := New(Limits{Bytes: 100})
	n, err := io.Copy(io.Discard, m.Reader(context.Background(), bytes.NewReader(make([]byte, 1000)), 1000))
	if !errors.Is(err, ErrExceeded) {
		t.Fatalf("copied %d, err = %v, want ErrExceeded", n, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := New(Limits{}).Reader(ctx, bytes.NewReader(nil), 0).Read(make([]byte, 1)); !errors.Is(err, context.Canceled) {
		t.Fatalf("err = %v, want context.Canceled", err)
	}
}
