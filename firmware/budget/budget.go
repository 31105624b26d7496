// Package budget bounds what reading a hostile image may cost.
//
// Every reader of an image takes a [Meter]. A meter is shared by all readers of
// one analysis, so a bomb hidden three containers deep spends from the same
// purse as everything else. Readers charge before they allocate or descend; the
// first charge past a limit fails, and so does each one after it.
package budget

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
)

// Limits are the bounds of one analysis. A zero field means its default.
// A deadline is the context's.
type Limits struct {
	Bytes   int64 // bytes unpacked from compressed or encoded data, in total; default 1 GiB
	Held    int64 // bytes of unpacked data held in memory at one time; default 96 MiB
	Entries int64 // files, nodes and regions, in total; default 1,000,000
	Depth   int   // containers inside containers; default 12
	Ratio   int64 // unpacked bytes per packed byte of one stream, past its first MiB; default 10,000 (DEFLATE ends at 1,032, LZMA near 7,000, and empty file systems in it are ordinary)
}

// The defaults of [Limits].
const (
	DefaultBytes   = 1 << 30
	DefaultHeld    = 96 << 20
	DefaultEntries = 1_000_000
	DefaultDepth   = 12
	DefaultRatio   = 10_000

	// ratioFree is how much a stream may unpack before its ratio counts: small
	// runs of zeros are ordinary in firmware.
	ratioFree = 1 << 20
)

// ErrExceeded is wrapped by every error that a spent budget causes.
var ErrExceeded = errors.New("analysis budget exceeded")

// Meter counts what an analysis has spent. Its methods may be called from
// several goroutines. A nil Meter is not valid; use [New].
type Meter struct {
	limits               Limits
	bytes, held, entries atomic.Int64
}

// New returns a meter with nothing spent.
func New(l Limits) *Meter {
	set := func(v *int64, d int64) {
		if *v <= 0 {
			*v = d
		}
	}
	set(&l.Bytes, DefaultBytes)
	set(&l.Held, DefaultHeld)
	set(&l.Entries, DefaultEntries)
	set(&l.Ratio, DefaultRatio)
	if l.Depth <= 0 {
		l.Depth = DefaultDepth
	}
	return &Meter{limits: l}
}

// Limits returns the limits that hold, defaults filled in.
func (m *Meter) Limits() Limits { return m.limits }

// Bytes charges n unpacked bytes.
func (m *Meter) Bytes(n int64) error {
	if n < 0 || m.bytes.Add(n) > m.limits.Bytes {
		return fmt.Errorf("%w: more than %d bytes unpacked", ErrExceeded, m.limits.Bytes)
	}
	return nil
}

// Hold charges n bytes of memory for unpacked data. [Meter.Release] gives them back.
func (m *Meter) Hold(n int64) error {
	if n < 0 || m.held.Add(n) > m.limits.Held {
		if n > 0 {
			m.held.Add(-n)
		}
		return fmt.Errorf("%w: more than %d unpacked bytes held in memory", ErrExceeded, m.limits.Held)
	}
	return nil
}

// Release gives back n bytes charged with [Meter.Hold].
func (m *Meter) Release(n int64) { m.held.Add(-n) }

// Entries charges n files, nodes or regions.
func (m *Meter) Entries(n int64) error {
	if n < 0 || m.entries.Add(n) > m.limits.Entries {
		return fmt.Errorf("%w: more than %d entries", ErrExceeded, m.limits.Entries)
	}
	return nil
}

// Depth fails when depth, counted from 0 at the outermost image, is too deep.
func (m *Meter) Depth(depth int) error {
	if depth > m.limits.Depth {
		return fmt.Errorf("%w: containers nested more than %d deep", ErrExceeded, m.limits.Depth)
	}
	return nil
}

// Ratio fails when one stream unpacked out bytes from only in packed ones.
func (m *Meter) Ratio(in, out int64) error {
	if out > ratioFree && out/max(in, 1) > m.limits.Ratio {
		return fmt.Errorf("%w: %d bytes unpack to more than %d, over %d to 1", ErrExceeded, in, out, m.limits.Ratio)
	}
	return nil
}

// Reader returns r with every byte read charged to the meter, with the stream's
// ratio checked against packed (the size in bytes of its packed form), and with
// ctx looked at on each read.
func (m *Meter) Reader(ctx context.Context, r io.Reader, packed int64) io.Reader {
	return &reader{ctx: ctx, r: r, m: m, packed: packed}
}

type reader struct {
	ctx         context.Context
	r           io.Reader
	m           *Meter
	packed, out int64
}

func (r *reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := r.r.Read(p)
	r.out += int64(n)
	if e := r.m.Bytes(int64(n)); e != nil {
		return n, e
	}
	if e := r.m.Ratio(r.packed, r.out); e != nil {
		return n, e
	}
	return n, err
}
