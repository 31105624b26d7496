// Package devices is the contract between a unit and what collects evidence
// from it: a [Target] says where a unit is, a [Channel] is one way into it, and
// a [Sink] takes what is found at the moment it is found, so that nothing is
// lost when a channel breaks.
//
// What a channel can do beyond identifying is found by type assertion, as with
// io.WriterTo: a [FlashReader] can read the flash.
package devices

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"assay/attest"
)

// Channel is one way into a unit. It reads and never changes a setting.
type Channel interface {
	// Identify reads every identifier that the channel offers and gives each
	// to the sink as it is read. It returns an error only when the channel as
	// a whole gave nothing or cannot go on; a part that failed is a problem in
	// the sink. The error wraps one of the sentinels of this package.
	Identify(ctx context.Context, sink Sink) error
	Close() error
}

// FlashReader is a channel that can read the unit's flash.
type FlashReader interface {
	Channel
	// Banks returns the flash memories in the order of their addresses. It
	// may be called only after Identify.
	Banks(ctx context.Context) ([]Bank, error)
	// ReadBank writes a bank's bytes to w at their offsets in the bank. Bytes
	// that could not be read are named in the error, a [*UnreadError], and
	// nothing is written in their place.
	ReadBank(ctx context.Context, b Bank, w io.WriterAt, progress Progress) error
}

// FlashChecker is a channel that can read a bank a second time, and cheaply: by
// the unit's checksums, taken anew from the chip, and of what differs the bytes.
type FlashChecker interface {
	FlashReader
	// Reread reads a bank again, writes to w what differs from the first reading
	// and returns where that is.
	Reread(ctx context.Context, b Bank, first io.ReaderAt, w io.WriterAt, progress Progress) ([]attest.Extent, error)
}

// Bank is one flash memory as the unit reports it.
type Bank struct {
	Name        string // "nor0", or what the prompt calls it
	Size        int64  // bytes
	Address     uint64 // where it is mapped, 0 when it is not
	Acquisition attest.Acquisition
	// Partitions are the parts of it that the unit names, by offset in it.
	Partitions []Partition
}

// Partition is a named part of a bank, as the unit says.
type Partition struct {
	Name string
	attest.Extent
}

// Progress is told how far a long piece of work is. total is 0 when unknown.
type Progress func(done, total int64)

// UnreadError names the parts of a bank that could not be read.
type UnreadError struct {
	Bank    string
	Extents []attest.Extent
	Cause   error
}

func (e *UnreadError) Error() string {
	var n int64
	for _, x := range e.Extents {
		n += x.Size
	}
	return fmt.Sprintf("flash %s: %d bytes unread, the first at %#x (%d runs in all): %v", e.Bank, n, e.Extents[0].Offset, len(e.Extents), e.Cause)
}

func (e *UnreadError) Unwrap() error { return e.Cause }

// Sink takes what a channel finds. It fills in the channel's name, the time and
// the ids. Its methods may be called from several goroutines.
type Sink interface {
	// Artefact keeps raw bytes and returns their digest. The caller has taken
	// every secret out of them.
	Artefact(mediaType, what string, raw []byte) attest.Digest
	// Claim keeps a claim and returns its id.
	Claim(attest.Claim) string
	// Mark keeps a mark and returns its id.
	Mark(attest.Mark) string
	// Problem keeps what went wrong.
	Problem(kind attest.ProblemKind, source, says string)
}

// ChildSink is a sink that also keeps the cameras behind a recorder.
type ChildSink interface {
	Sink
	// Child keeps a child and returns its id.
	Child(attest.Child) string
}

// Errors that a caller must tell apart. Each is wrapped with what was being
// done, where, and what to do.
var (
	ErrUnreachable = errors.New("unreachable")           // no such device, refused, silent
	ErrAccess      = errors.New("access refused")        // login refused, prompt locked, port busy
	ErrHostile     = errors.New("answer over its bound") // endless, a bomb, redirected to another host
	ErrMalformed   = errors.New("malformed answer")
	ErrNotUnit     = errors.New("not a camera") // something answered, and it is something else
)

// ProblemKindOf sorts an error into the kind of problem that it is.
func ProblemKindOf(err error) attest.ProblemKind {
	switch {
	case errors.Is(err, ErrUnreachable), errors.Is(err, context.DeadlineExceeded):
		return attest.ProblemUnreachable
	case errors.Is(err, ErrAccess):
		return attest.ProblemAccess
	case errors.Is(err, ErrHostile):
		return attest.ProblemHostile
	case errors.Is(err, ErrMalformed), errors.Is(err, ErrNotUnit):
		return attest.ProblemMalformed
	}
	return attest.ProblemIncomplete
}

// Patience is how long a channel waits for a unit's answer before it counts as
// silent, unless the caller's context ends sooner.
const Patience = 10 * time.Second
