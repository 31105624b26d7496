package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"assay/attest"
	"assay/attest/analysis"
	"assay/devices"
	"assay/devices/console/readout"
	"assay/firmware/compare"
	"assay/firmware/report"
)

func (a *app) compare() *cobra.Command {
	var all, open bool
	c := &cobra.Command{
		Use:   "compare A B",
		Short: "Compare two dumps that should be the same, and judge what differs",
		Long: `Compare reads two images, usually two dumps of one flash: one that came through
the unit's own software and one that was read past it. It names each byte that
differs by the regions of both images, with files and boot variables, and says
whether a running unit changes such bytes by itself.

A dump of a part is found in a dump of the whole. What an image is, is told by
its bytes and not by the names of its partitions. How a dump was read, and what
of it was not, is taken from its record (FILE.readout); the former may be said
as file:PATH?acquired=A2 too.

Exit codes: 0 the same; 1 different only where a running unit writes, or of
different sizes and otherwise the same; 3 different where nothing writes; 4 not
decided: one bit, bytes of no known use, bytes that were not read.`,
		Example: `  assay dump serial:/dev/ttyUSB0 -o unit.bin
  assay dump spi:ch341a_spi -o chip.bin
  assay compare unit.bin chip.bin
  assay compare file:old.bin?acquired=A2 file:clip.bin?acquired=A4`,
		Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			doc := compareOutput{Schema: cliSchema("compare")}
			var sides [2]compare.Image
			for i, arg := range args {
				t, err := dumpNamed(arg)
				if err != nil {
					return err
				}
				f, n, err := openImage(t.Path)
				if err != nil {
					return err
				}
				defer f.Close()
				if sides[i], err = a.compareSide(c.Context(), f, n, t.Path, !open, &doc); err != nil {
					return err
				}
				if err := recorded(&t, &sides[i]); err != nil {
					return err
				}
				doc.Acquired = append(doc.Acquired, t.Acquired)
			}
			r, err := compare.Compare(c.Context(), sides[0], sides[1])
			if err != nil {
				return err
			}
			doc.Report = r
			if err := a.print(doc, func(w io.Writer) { printComparison(w, doc, all || a.verbose) }); err != nil {
				return err
			}
			return compareExit(r.Verdict)
		},
	}
	c.Flags().BoolVar(&all, "all", false, "print long lists whole")
	c.Flags().BoolVar(&open, "no-sandbox", false, "analyse in this process, for debugging")
	return c
}

type compareOutput struct {
	Schema   string               `json:"schema"`
	Acquired []attest.Acquisition `json:"acquired"` // of A and of B
	*compare.Report
	Problems []string `json:"problems,omitempty"`
}

// dumpNamed reads an argument: a path, or a file target.
func dumpNamed(arg string) (devices.Target, error) {
	if !strings.HasPrefix(arg, "file:") {
		return devices.Target{Kind: devices.KindFile, Path: arg}, nil
	}
	t, err := devices.ParseTarget(arg)
	if err != nil {
		return t, usagef("%v", err)
	}
	return t, nil
}

// recorded takes from the record of a dump how it was read, where that was not
// said, and what of it was not read.
func recorded(t *devices.Target, side *compare.Image) error {
	h, missing, ok, err := readout.Recorded(t.Path)
	if err != nil || !ok {
		return err
	}
	if h.Size != side.Size {
		return fmt.Errorf("%s: %d bytes, and its record speaks of %d: it was changed since", t.Path, side.Size, h.Size)
	}
	if t.Acquired == attest.A0 {
		t.Acquired = h.Acquisition
	}
	for _, x := range missing {
		side.Unread = append(side.Unread, compare.Extent(x))
	}
	return nil
}

// compareSide analyses one of the images.
func (a *app) compareSide(ctx context.Context, f *os.File, n int64, name string, confine bool, doc *compareOutput) (compare.Image, error) {
	q := analysis.Request{File: f, Size: n, NoInventory: true, Confine: confine}
	p, done := a.newProgress()
	defer done()
	if p != nil {
		q.Progress = func(d, t int64) { p.Bytes("analyse "+name, d, t) }
	}
	side := compare.Image{Name: name, Data: f, Size: n}
	found, err := analysis.Run(ctx, q)
	if analysis.IsHostile(err) {
		doc.Problems = append(doc.Problems, fmt.Sprintf("%s: %v; its bytes are compared all the same", name, err))
		return side, nil
	}
	if err != nil {
		return side, err
	}
	if found.Ended != nil {
		doc.Problems = append(doc.Problems, fmt.Sprintf("%s was not analysed whole: %v", name, found.Ended))
	}
	side.Found = []compare.Found{{Image: found.Image}}
	return side, nil
}

func compareExit(v compare.Verdict) error {
	switch v {
	case compare.Same:
		return nil
	case compare.Expected, compare.Part:
		return verdictError(exitOther)
	case compare.Immutable:
		return verdictError(exitRefused)
	}
	return verdictError(exitInconclusive)
}

var comparisonHeads = map[compare.Verdict]string{
	compare.Same: "SAME", compare.Part: "SAME, AND ONE IS LONGER", compare.SameAsRead: "SAME AS FAR AS READ",
	compare.Expected: "DIFFERENT ONLY WHERE A RUNNING UNIT WRITES", compare.OneBit: "ONE BIT DIFFERS: READ AGAIN",
	compare.Unexplained: "DIFFERENT, AND NOT EXPLAINED", compare.Immutable: "DIFFERENT WHERE NOTHING WRITES",
}

func printComparison(w io.Writer, doc compareOutput, all bool) {
	r := doc.Report
	for i, s := range []compare.Side{r.A, r.B} {
		name := fmt.Sprintf("%s, %s", report.Printable(s.Name), size(s.Size))
		if doc.Acquired[i] != attest.A0 {
			name += fmt.Sprintf(", read at %s (%s)", doc.Acquired[i], doc.Acquired[i].Words())
		}
		paragraph(w, string(rune('A'+i))+"  ", name)
		if s.SHA256 != "" {
			fmt.Fprintf(w, "   sha256:%s\n", s.SHA256)
		}
	}
	paragraph(w, "aligned    ", report.Printable(r.Alignment))
	if r.Unread > 0 {
		paragraph(w, "unread     ", report.Count(r.Unread)+" bytes, in one of them")
	}
	paragraph(w, "compared   ", fmt.Sprintf("%s bytes; %s differ (%s bits)", report.Count(r.Compared), report.Count(r.Differing), report.Count(r.Bits)))
	for _, x := range []struct {
		name string
		list []compare.Extent
	}{{"A", r.OnlyA}, {"B", r.OnlyB}} {
		for _, e := range x.list {
			paragraph(w, "only in "+x.name+"  ", fmt.Sprintf("%s at %#x", size(e.Size), e.Offset))
		}
	}
	heading(w, comparisonHeads[r.Verdict])
	paragraph(w, "  ", r.Says)
	for _, n := range r.Notes {
		paragraph(w, "  ! ", n)
	}
	for _, p := range doc.Problems {
		paragraph(w, "  ! ", report.Printable(p))
	}
	printPlaces(w, r, all)
	if len(r.Inside) > 0 {
		heading(w, "In flash under wear-levelling, wherever its blocks lie")
		for _, i := range r.Inside {
			paragraph(w, fmt.Sprintf("  %-9s  ", i.Class), report.Printable(fmt.Sprintf("%s: %s in A, %s in B", i.Why, held(i.A), held(i.B))))
		}
	}
	if len(r.Variables) > 0 {
		heading(w, "Boot variables")
		for _, v := range r.Variables {
			paragraph(w, "  "+report.Printable(v.Name)+"  ", "")
			paragraph(w, "    A  ", variable(v.A, v.InA))
			paragraph(w, "    B  ", variable(v.B, v.InB))
		}
	}
	few := 8
	if all {
		few = len(r.FileSystems)
	}
	for _, f := range r.FileSystems[:min(few, len(r.FileSystems))] {
		printFiles(w, f, all)
	}
	if more := len(r.FileSystems) - few; more > 0 {
		fmt.Fprintf(w, "\nand %d more file systems; --all lists them\n", more)
	}
}

func variable(value string, there bool) string {
	if !there {
		return "(not there)"
	}
	return report.Printable(value)
}

func held(x compare.Region) string {
	if x.Path == "" {
		return "nothing"
	}
	return fmt.Sprintf("%s of sha256 %.16s…", x.Path, x.SHA256)
}

// printPlaces lists the regions that differ, each with its first differences.
func printPlaces(w io.Writer, r *compare.Report, all bool) {
	if len(r.Places) == 0 {
		return
	}
	const few = 3
	heading(w, "Where they differ (offsets in A)")
	for i, p := range r.Places {
		fmt.Fprintf(w, "  %#010x  %9s bytes  %-9s  %s\n", p.First, report.Count(p.Differing), p.Class, report.Printable(placeName(p)))
		paragraph(w, "      ", report.Printable(p.Why))
		paragraph(w, "      A  ", placeSide(p.A))
		paragraph(w, "      B  ", placeSide(p.B))
		shown, more := 0, 0
		for _, d := range r.Extents {
			switch {
			case d.Place != i:
				continue
			case shown >= few && !all:
				more++
				continue
			}
			shown++
			fmt.Fprintf(w, "      %#010x  %s of %s\n", d.A, report.Count(d.Differing), report.Count(d.Size))
			fmt.Fprintf(w, "         A  %s\n         B  %s\n", d.BytesA, d.BytesB)
		}
		if more > 0 {
			fmt.Fprintf(w, "      and %s more; --all lists them\n", report.Count(int64(more)))
		}
	}
	if r.MoreExtents > 0 {
		fmt.Fprintf(w, "  and %s more differences that are counted and not listed\n", report.Count(r.MoreExtents))
	}
}

func placeName(p compare.Place) string {
	for _, x := range []compare.Region{p.A, p.B} {
		for _, s := range []string{x.Role, x.Format} {
			if s != "" {
				return s
			}
		}
	}
	return p.A.State + " bytes"
}

func placeSide(x compare.Region) string {
	s := fmt.Sprintf("%s  %s, %s", x.Path, size(x.Size), x.State)
	if x.Name != "" {
		s += fmt.Sprintf(", named %q", x.Name)
	}
	if x.Partition != "" {
		s += fmt.Sprintf(", in the claimed partition %q", x.Partition)
	}
	if len(x.Failed) > 0 {
		s += "; FAILS " + strings.Join(x.Failed, ", ")
	}
	if x.SHA256 != "" {
		s += fmt.Sprintf("; sha256 %.16s…", x.SHA256)
	}
	return report.Printable(s)
}

func printFiles(w io.Writer, f compare.FileSystem, all bool) {
	few := 12
	if all {
		few = len(f.Changes)
	}
	heading(w, report.Printable(fmt.Sprintf("Files of %s (%s): %d only in A, %d only in B, %d not the same", f.A, f.Class, f.OnlyA, f.OnlyB, f.Changed)))
	for _, c := range f.Changes[:min(few, len(f.Changes))] {
		what := c.What
		if c.Program {
			what += ", program"
		}
		paragraph(w, fmt.Sprintf("  %-20s  ", what), report.Printable(c.Path))
	}
	if more := max(0, len(f.Changes)-few) + f.More; more > 0 {
		fmt.Fprintf(w, "  and %s more\n", report.Count(int64(more)))
	}
}
