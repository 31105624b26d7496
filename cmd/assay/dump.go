package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"assay/attest"
	"assay/attest/station"
	"assay/devices"
	"assay/devices/console/readout"
)

func (a *app) dump() *cobra.Command {
	var unit unitFlags
	var r station.DumpRequest
	c := &cobra.Command{
		Use:   "dump TARGET -o FILE",
		Short: "Read a unit's flash into a file",
		Long: `Dump reads the flash through a serial console: through the boot loader with md,
through a Linux shell with dd and gzip. Each block is verified by a checksum that
the unit computes, which guards against a noisy line and proves nothing about
origin. Blank blocks do not travel. Nothing is changed on the unit.

Beside FILE it keeps FILE.readout, the record of how each piece came about. The
same command goes on with a reading that was interrupted, after it has compared
some of what is there with the unit. Where a part cannot be read, the rest is
kept, the unread parts are named and marked in the file, and the exit code is 1.

With --against only blocks travel whose checksum is not that of a reference: a
golden unit's dump, a vendor's file, or an artefact of the register. What does
not travel is the unit's word. --sample reads so many of those blocks all the
same, chosen at random once the unit has given its checksums.

A programmer on the chip (spi:…, by flashrom) reads it whole, twice, and a third
time where the two differ.`,
		Example: `  assay dump serial:/dev/ttyUSB0 -o flash.bin
  assay dump serial:/dev/ttyUSB0 -o kernel.bin --partition kernel
  assay dump serial:/dev/ttyUSB0 -o flash.bin --against golden.bin --sample 20
  assay dump spi:ch341a_spi -o chip.bin`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if r.Path == "" {
				return usagef("dump needs a file to write to: -o FILE")
			}
			if r.Sample < 0 || r.Sample > 0 && r.Against == "" {
				return usagef("--sample takes some of what --against leaves out: give both")
			}
			req, err := unit.request(args)
			defer unit.release()
			if err != nil {
				return err
			}
			if k := req.Targets[0].Kind; k != devices.KindSerial && k != devices.KindSPI {
				return usagef("%s cannot read flash; give a serial target, as in serial:/dev/ttyUSB0, or a programmer, as in spi:ch341a_spi", req.Targets[0])
			}
			if req.Targets[0].Kind == devices.KindSPI && r.Against+r.Partition != "" {
				return usagef("%s: a programmer reads the whole chip; leave out --against, --sample and --partition", req.Targets[0])
			}
			home, err := a.home()
			if err != nil {
				return err
			}
			r.Target, r.Account, r.Serial = req.Targets[0], req.Account, req.Serial
			var done func()
			r.Progress, done = a.newProgress()
			d, err := home.Dump(c.Context(), r)
			done()
			if errors.Is(err, station.ErrDone) {
				return usagef("%v", err)
			}
			if d == nil {
				return err
			}
			doc := newDumpOutput(r.Path, d, err == nil || d.Digest != "")
			if perr := a.print(doc, doc.text); perr != nil {
				return perr
			}
			return err
		},
	}
	fl := c.Flags()
	fl.StringVarP(&r.Path, "out", "o", "", "file to write; where it is there and unfinished, the reading goes on")
	fl.StringVar(&r.Bank, "bank", "", "name of the flash to read, where there are several")
	fl.StringVar(&r.Partition, "partition", "", "read this partition only")
	fl.StringVar(&r.Against, "against", "", "a file, or sha256:… of an artefact in the register: read only what differs from it")
	fl.IntVar(&r.Sample, "sample", 0, "with --against: read so many of the blocks that agree all the same")
	fl.DurationVar(&r.Wait, "wait", time.Minute, "how long to wait for a line that was lost, an adapter that was pulled")
	unit.addSerial(c)
	return c
}

type dumpOutput struct {
	Schema      string             `json:"schema"`
	File        string             `json:"file"`
	Bank        string             `json:"bank"`
	Partition   string             `json:"partition,omitempty"`
	Offset      int64              `json:"offset"`
	Size        int64              `json:"size"`
	Finished    bool               `json:"finished"`
	Digest      attest.Digest      `json:"digest,omitempty"`
	Acquisition attest.Acquisition `json:"acquisition"`
	Checksum    string             `json:"checksum,omitempty"`
	Read        int64              `json:"read"`      // bytes that travelled
	Blank       int64              `json:"blank"`     // bytes known to be blank by their checksum
	Reference   int64              `json:"reference"` // bytes taken from the reference, by their checksum
	Resumed     int64              `json:"resumed,omitempty"`
	LineLost    int                `json:"lineLost,omitempty"`
	Pieces      []readout.Piece    `json:"pieces"`
	Sample      *dumpSample        `json:"sample,omitempty"`
	Unread      []attest.Extent    `json:"unread,omitempty"`
	Problems    []string           `json:"problems,omitempty"`
}

type dumpSample struct {
	readout.Sample
	// Detects is the chance that the sample shows a change that touches so many
	// of the blocks that did not travel.
	Detects map[string]float64 `json:"detects"`
}

func newDumpOutput(path string, d *station.Dump, finished bool) dumpOutput {
	s := d.Report.State()
	doc := dumpOutput{
		Schema: cliSchema("dump"), File: path, Bank: d.Bank.Name, Partition: d.Record.Partition, Offset: d.Record.Offset, Size: d.Record.Size,
		Finished: finished, Digest: d.Digest, Acquisition: d.Bank.Acquisition, Checksum: d.Report.Checksum,
		Read: s.Read, Blank: s.Blank, Reference: s.Reference, Resumed: d.Resumed, LineLost: d.Lost, Pieces: d.Report.Pieces, Unread: d.Unread,
		Problems: d.Problems,
	}
	if sample := d.Report.Sample; sample != nil {
		doc.Sample = &dumpSample{Sample: *sample, Detects: map[string]float64{}}
		for _, m := range []int{1, 2, 5, 10, 50} {
			doc.Sample.Detects[fmt.Sprint(m)] = sample.Detects(m)
		}
	}
	return doc
}

func (d dumpOutput) text(w io.Writer) {
	what := d.Bank
	if d.Partition != "" {
		what = fmt.Sprintf("partition %s, at %#x of %s", d.Partition, d.Offset, d.Bank)
	}
	fmt.Fprintf(w, "%s  %s of %s at %s (%s)\n", d.File, size(d.Size), what, d.Acquisition, d.Acquisition.Words())
	if d.Digest != "" {
		fmt.Fprintln(w, d.Digest)
	}
	fmt.Fprintf(w, "read    %s", size(d.Read))
	if d.Resumed > 0 {
		fmt.Fprintf(w, ", of which an earlier reading left %s", size(min(d.Resumed, d.Read)))
	}
	fmt.Fprintln(w)
	if d.Blank > 0 {
		fmt.Fprintf(w, "blank   %s by the unit's own %s, not read\n", size(d.Blank), d.Checksum)
	}
	if d.Reference > 0 {
		fmt.Fprintf(w, "same    %s as the reference by the unit's own %s, not read;\n        that is the unit's word and proves no authenticity\n", size(d.Reference), d.Checksum)
	}
	if s := d.Sample; s != nil {
		fmt.Fprintf(w, "sample  %d of %d blocks that were not read, chosen after the checksums\n        (seed %s):\n        ", len(s.Blocks), s.Of, s.Seed)
		if len(s.Differ) > 0 {
			fmt.Fprintf(w, "%d ARE NOT WHAT THE UNIT'S CHECKSUM SAYS; the first at %#x\n", len(s.Differ), s.Differ[0].Offset)
		} else {
			fmt.Fprintf(w, "all are as their checksum says; a change in 1, 5, 50 blocks would\n        have shown with %.1f, %.1f, %.1f %%\n", 100*s.Sample.Detects(1), 100*s.Sample.Detects(5), 100*s.Sample.Detects(50))
		}
	}
	for _, x := range d.Unread {
		fmt.Fprintf(w, "unread  %d bytes at %#x\n", x.Size, x.Offset)
	}
	for _, p := range d.Problems {
		paragraph(w, "!       ", p)
	}
	if !d.Finished {
		fmt.Fprintln(w, "unfinished: the same command goes on with it")
	}
}
