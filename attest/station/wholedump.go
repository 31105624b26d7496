package station

import (
	"context"
	"errors"
	"fmt"
	"time"

	"assay/attest"
	"assay/devices"
	"assay/devices/console/readout"
)

// readWhole reads a bank through a channel that reads it in one go, as a
// programmer does. What an earlier reading left is read again.
func (d *dumping) readWhole(ctx context.Context, ch devices.FlashReader) (*readout.Report, error) {
	if d.reference != nil || d.Partition != "" {
		return nil, fmt.Errorf("%s reads a flash whole, and neither against a reference nor a partition of it", d.Target)
	}
	if err := ch.Identify(ctx, &d.noted); err != nil {
		return nil, err
	}
	banks, err := ch.Banks(ctx)
	if err != nil {
		return nil, err
	}
	if d.bank, err = pick(banks, d.Bank); err != nil {
		return nil, err
	}
	h := readout.Header{Channel: d.Target.String(), Bank: d.bank.Name, Size: d.bank.Size, Acquisition: d.bank.Acquisition, Started: time.Now().UTC()}
	if d.file == nil {
		if d.file, err = readout.CreateFile(d.Path, h); err != nil {
			return nil, err
		}
		d.closers = append(d.closers, d.file)
	} else if was := d.file.Header; was.Channel != h.Channel || was.Bank != h.Bank || was.Size != h.Size {
		return nil, fmt.Errorf("%s is of %s, %s, %d bytes: name a new file", d.Path, was.Channel, was.Bank, was.Size)
	}
	d.resumed = 0
	err = ch.ReadBank(ctx, d.bank, d.file, func(done, total int64) { d.Progress.Bytes("flash "+d.bank.Name, done, total) })
	var unread *devices.UnreadError
	if err != nil && !errors.As(err, &unread) {
		return nil, err
	}
	report := &readout.Report{Size: d.bank.Size}
	at := int64(0)
	piece := func(end int64) error {
		if end <= at {
			return nil
		}
		p := readout.Piece{Extent: attest.Extent{Offset: at, Size: end - at}, How: readout.Read}
		report.Pieces = append(report.Pieces, p)
		return d.file.Done(p)
	}
	if unread != nil {
		for _, x := range unread.Extents {
			if err := piece(x.Offset); err != nil {
				return nil, err
			}
			report.Unread = append(report.Unread, readout.Unread{Extent: x, Cause: unread.Cause})
			at = x.Offset + x.Size
		}
	}
	return report, errors.Join(piece(d.bank.Size), d.file.Sync())
}

// noted is the sink of a dump that keeps what a reader of the dump should know.
type noted struct {
	discard
	problems []string
}

func (n *noted) Problem(_ attest.ProblemKind, _, says string) {
	const most = 100
	if len(n.problems) < most {
		n.problems = append(n.problems, says)
	}
}
