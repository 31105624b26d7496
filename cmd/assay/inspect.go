package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"assay/firmware"
	_ "assay/firmware/all"
	"assay/firmware/budget"
	"assay/firmware/inventory"
)

func (a *app) inspect() *cobra.Command {
	return &cobra.Command{
		Use:   "inspect FILE",
		Short: "Account for every byte of a firmware image",
		Long: `Inspect partitions an image into regions that add up to its size: proven (a
checksum or structure holds), parsed, residue (old data past a declared end),
erased, or opaque. Checksums are integrity only and prove no origin; for
signatures see: assay verify.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			f, n, err := openImage(args[0])
			if err != nil {
				return err
			}
			defer f.Close()
			p, done := a.newProgress()
			meter := budget.New(budget.Limits{})
			taken := inventory.New(c.Context())
			opts := []firmware.Option{firmware.WithMeter(meter), firmware.WithVisitor(taken.Visit)}
			if p != nil {
				opts = append(opts, firmware.WithProgress(func(d, t int64) { p.Bytes("analyse "+args[0], d, t) }))
			}
			img, err := firmware.Open(c.Context(), f, n, opts...)
			var report *inventory.Report
			if img != nil && (err == nil || errors.Is(err, budget.ErrExceeded)) {
				var ierr error
				report, ierr = taken.Report(img)
				err = errors.Join(err, ierr)
			}
			done()
			if img == nil || report == nil {
				return err
			}
			doc := inspectOutput{Schema: cliSchema("inspect"), File: args[0], Image: img, Inventory: report, Bytes: map[string]int64{}}
			for s, n := range img.Tally() {
				doc.Bytes[s.String()] = n
			}
			if perr := a.print(doc, func(w io.Writer) { printInspection(w, doc) }); perr != nil {
				return perr
			}
			return err
		},
	}
}

type inspectOutput struct {
	Schema    string            `json:"schema"`
	File      string            `json:"file"`
	Bytes     map[string]int64  `json:"bytes"`
	Image     *firmware.Image   `json:"image"`
	Inventory *inventory.Report `json:"inventory"`
}

// openImage opens a firmware file and says its size.
func openImage(path string) (*os.File, int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a file", path)
	}
	if err == nil && st.Size() == 0 {
		err = fmt.Errorf("%s is empty", path)
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, st.Size(), nil
}

func printInspection(w io.Writer, doc inspectOutput) {
	fmt.Fprintf(w, "%s  %s\nsha256:%s\n%s\n\n", doc.File, size(doc.Image.Size), doc.Image.SHA256, byState(doc.Bytes))
	printRegions(w, doc.Image.Regions, 0)
	for _, p := range doc.Image.Problems {
		paragraph(w, "! ", p)
	}
	for _, c := range doc.Image.Claims {
		paragraph(w, "partition  ", fmt.Sprintf("%s %q at %#x, %d bytes: %s, %s", c.Source, c.Name, c.Offset, c.Size, c.Verdict, c.Why))
	}
	for _, c := range doc.Inventory.Components {
		paragraph(w, "component  ", fmt.Sprintf("%s %s (%s at %#x)", c.Name, c.Version, c.Path, c.Offset))
	}
	for _, m := range doc.Inventory.Marks {
		paragraph(w, "mark  ", fmt.Sprintf("%s %s: %s (%s at %#x)", m.Strength, m.Entity, m.Says, m.Path, m.Offset))
	}
}

func printRegions(w io.Writer, rs []*firmware.Region, depth int) {
	indent := strings.Repeat("  ", depth)
	for _, r := range rs {
		what := r.Format
		if what == "" {
			what = "-"
		}
		if r.Role != firmware.RoleNone {
			what += " " + string(r.Role)
		}
		if r.State == firmware.Opaque || r.State == firmware.Residue {
			what += fmt.Sprintf(" entropy %.2f", r.Entropy)
		}
		fmt.Fprintf(w, "%s%#010x %10d  %-8s %s %s\n", indent, r.Offset, r.Size, r.State, what, quoted(r.Name))
		lead := indent + strings.Repeat(" ", 34)
		for _, c := range r.Checks {
			verdict := "ok"
			if !c.OK {
				verdict = "FAILED"
			}
			paragraph(w, lead, strings.TrimSpace(fmt.Sprintf("%s %s (%s) %s", c.Name, verdict, c.Worth, c.Detail)))
		}
		for _, p := range r.Problems {
			paragraph(w, lead+"! ", p)
		}
		printRegions(w, r.Children, depth+1)
		if r.Contents != nil {
			fmt.Fprintf(w, "%s  unpacks to %d bytes\n", indent, r.Contents.Size)
			printRegions(w, r.Contents.Regions, depth+2)
		}
	}
}
