package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"assay/attest/analysis"
	"assay/firmware"
	"assay/firmware/extract"
	"assay/firmware/inventory"
	"assay/firmware/report"
)

func (a *app) inspect() *cobra.Command {
	var all, open bool
	var folder, limit, plot, page string
	var width int
	c := &cobra.Command{
		Use:   "inspect FILE",
		Short: "Account for every byte of a firmware image",
		Long: `Inspect partitions an image into regions that add up to its size: proven (a
checksum or structure holds), parsed, residue (old data past a declared end),
erased, or opaque. Checksums are integrity only and prove no origin; for
signatures see: assay verify.

The analysis runs in a child process that can open no file and no connection and
has limits on memory and time (Linux; elsewhere limits of its own hold).`,
		Example: `  assay inspect flash.bin
  assay inspect flash.bin --html report.html --entropy plot.png
  assay inspect flash.bin --extract files`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			q := analysis.Request{Extract: folder, Confine: !open}
			var err error
			if q.ExtractBytes, err = parseSize(limit); err != nil {
				return usagef("--extract-limit %s: %v", limit, err)
			}
			if width < report.MinPlot || width > report.MaxPlot {
				return usagef("--entropy-width %d: from %d to %d pixels", width, report.MinPlot, report.MaxPlot)
			}
			if folder != "" {
				if entries, err := os.ReadDir(folder); err == nil && len(entries) > 0 {
					return usagef("--extract %s: %v; name a new one", folder, extract.ErrNotEmpty)
				}
			}
			// What cannot be written is found out before the work.
			for _, name := range []string{plot, page} {
				if _, err := os.Lstat(name); name != "" && err == nil {
					return usagef("%s is there already; name a new file", name)
				}
			}
			if q.File, q.Size, err = openImage(args[0]); err != nil {
				return err
			}
			defer q.File.Close()
			p, done := a.newProgress()
			if p != nil {
				q.Progress = func(d, t int64) { p.Bytes("analyse "+args[0], d, t) }
			}
			r, err := analysis.Run(c.Context(), q)
			done()
			if err != nil {
				return err
			}
			doc := inspectOutput{
				Schema: cliSchema("inspect"), File: args[0], Sandbox: r.Sandbox, Image: r.Image, Inventory: r.Inventory, Extracted: r.Extracted,
				Bytes: map[string]int64{},
			}
			for s, n := range r.Image.Tally() {
				doc.Bytes[s.String()] = n
			}
			err = errors.Join(r.Err(), writeReports(c.Context(), args[0], plot, page, width, q.File, r))
			if perr := a.print(doc, func(w io.Writer) {
				_ = report.Text(w, args[0], r.Image, r.Inventory, report.TextOptions{Columns: columns(), All: all, Verbose: a.verbose})
				printWritten(w, folder, plot, page, r)
			}); perr != nil {
				return perr
			}
			return err
		},
	}
	fl := c.Flags()
	fl.BoolVar(&all, "all", false, "print long lists whole")
	fl.StringVar(&folder, "extract", "", "write regions and files into this folder, which must be new or empty; manifest.jsonl lists them")
	fl.StringVar(&limit, "extract-limit", "4GiB", "write no more than this, as in 500MiB")
	fl.StringVar(&plot, "entropy", "", "plot the entropy over the offsets into this PNG file")
	fl.IntVar(&width, "entropy-width", report.DefaultPlot, fmt.Sprintf("width of the plot in pixels, %d to %d", report.MinPlot, report.MaxPlot))
	fl.StringVar(&page, "html", "", "write a report for a browser into this file; it needs no other file")
	fl.BoolVar(&open, "no-sandbox", false, "analyse in this process, for debugging")
	return c
}

type inspectOutput struct {
	Schema    string            `json:"schema"`
	File      string            `json:"file"`
	Sandbox   string            `json:"sandbox"` // how the analysis was confined
	Bytes     map[string]int64  `json:"bytes"`
	Extracted *extract.Summary  `json:"extracted,omitempty"`
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

// writeReports writes the plot and the page that were asked for.
func writeReports(ctx context.Context, name, plot, page string, width int, image io.ReaderAt, r *analysis.Result) error {
	var errs []error
	if plot != "" {
		errs = append(errs, writeNew(plot, func(w io.Writer) error { return report.Plot(ctx, w, image, r.Image, width) }))
	}
	if page != "" {
		errs = append(errs, writeNew(page, func(w io.Writer) error {
			return report.HTML(ctx, w, name, "assay "+version, image, r.Image, r.Inventory)
		}))
	}
	return errors.Join(errs...)
}

// writeNew writes a file that must not be there, and leaves none that is half
// written.
func writeNew(name string, write func(io.Writer) error) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return usagef("%s is there already; name a new file", name)
	}
	if err != nil {
		return err
	}
	if err = errors.Join(write(f), f.Close()); err != nil {
		return errors.Join(fmt.Errorf("%s: %w", name, err), os.Remove(name))
	}
	return nil
}

func printWritten(w io.Writer, folder, plot, page string, r *analysis.Result) {
	var lines []string
	if x := r.Extracted; x != nil {
		s := fmt.Sprintf("extracted  %s files, %s, into %s", report.Count(x.Files), report.Size(x.Bytes), folder)
		if !x.Complete {
			s += "; not all"
		}
		lines = append(lines, s)
	}
	for _, name := range []string{plot, page} {
		if _, err := os.Lstat(name); name != "" && err == nil {
			lines = append(lines, "written    "+name)
		}
	}
	if len(lines) > 0 {
		fmt.Fprintln(w)
	}
	for _, s := range lines {
		paragraph(w, s[:11], report.Printable(s[11:]))
	}
}
