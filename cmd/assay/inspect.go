package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"assay/firmware"
	_ "assay/firmware/all"
	"assay/firmware/budget"
	"assay/firmware/inventory"
	"assay/firmware/report"
)

func (a *app) inspect() *cobra.Command {
	var all bool
	c := &cobra.Command{
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
			opts := []firmware.Option{firmware.WithMeter(meter)}
			if p != nil {
				opts = append(opts, firmware.WithProgress(func(d, t int64) { p.Bytes("analyse "+args[0], d, t) }))
			}
			img, err := firmware.Open(c.Context(), f, n, opts...)
			var inv *inventory.Report
			if img != nil && (err == nil || errors.Is(err, budget.ErrExceeded)) {
				var ierr error
				inv, ierr = inventory.Scan(c.Context(), img, meter)
				err = errors.Join(err, ierr)
			}
			done()
			if img == nil || inv == nil {
				return err
			}
			doc := inspectOutput{Schema: cliSchema("inspect"), File: args[0], Image: img, Inventory: inv, Bytes: map[string]int64{}}
			for s, n := range img.Tally() {
				doc.Bytes[s.String()] = n
			}
			if perr := a.print(doc, func(w io.Writer) {
				_ = report.Text(w, args[0], img, inv, report.TextOptions{Columns: columns(), All: all, Verbose: a.verbose})
			}); perr != nil {
				return perr
			}
			return err
		},
	}
	c.Flags().BoolVar(&all, "all", false, "print long lists whole")
	return c
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
