package collect

import (
	"context"
	"fmt"
	"os"

	"assay/attest"
	"assay/attest/analysis"
	"assay/attest/provenance"
	"assay/devices"
)

// maxRereads bounds how often a bank is read again.
const maxRereads = 3

// settle reads a bank again where a signature over what was read of it does not
// hold, until two readings in a row agree: single bits flip between a flash chip
// and a loader's RAM (OpenIPC/firmware issue 2298), and a flipped bit must not
// become a tampered camera. f then holds the last reading. The error, a
// [*devices.UnreadError], names what differs from reading to reading.
func (s *Session) settle(ctx context.Context, k *sink, ch devices.FlashReader, b devices.Bank, f *os.File) error {
	checker, ok := ch.(devices.FlashChecker)
	if !ok {
		return nil
	}
	why, err := s.failed(ctx, f, b)
	if err != nil || why == "" {
		return err
	}
	var differ []attest.Extent
	for n := 1; n <= maxRereads; n++ {
		s.o.Progress.Step(k.channel, fmt.Sprintf("%s: read flash %s again to be sure", why, b.Name))
		differ, err = checker.Reread(ctx, b, f, f, func(done, total int64) { s.o.Progress.Bytes("flash "+b.Name+" again", done, total) })
		if err != nil {
			return fmt.Errorf("flash %s: reading it again: %w", b.Name, err)
		}
		if len(differ) == 0 {
			k.Claim(attest.Claim{
				Subject: attest.SubjectFlash, Name: "reread", Value: "identical", Acquisition: b.Acquisition,
				Source: fmt.Sprintf("flash %s, read %d times since %s", b.Name, n+1, why),
			})
			return nil
		}
		k.Problem(attest.ProblemIncomplete, "flash "+b.Name, fmt.Sprintf("reading %d differs from the one before in %d places, the first at %#x: the way from the chip is not reliable", n+1, len(differ), differ[0].Offset))
	}
	return &devices.UnreadError{Bank: b.Name, Extents: differ, Cause: fmt.Errorf("%w: no two readings agree: read the chip with a programmer", devices.ErrMalformed)}
}

// failed says which check over a bank's bytes does not hold; empty where none fails.
func (s *Session) failed(ctx context.Context, f *os.File, b devices.Bank) (string, error) {
	found, err := analysis.Run(ctx, analysis.Request{File: f, Size: b.Size, Limits: s.o.Limits, NoInventory: true, Confine: true})
	if err != nil || found.Image == nil {
		return "", ctx.Err() // what is wrong with it is said when it is analysed
	}
	rep, err := provenance.Verify(ctx, found.Image, "flash "+b.Name, s.o.Documents, s.o.Anchors, identity(&s.evidence).Model)
	if err != nil {
		return "", err
	}
	for _, e := range rep.Endorsements {
		if e.Status == attest.StatusFailed {
			return fmt.Sprintf("a %s signature does not hold", e.Scheme), nil
		}
	}
	return "", nil
}
