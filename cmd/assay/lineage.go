package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"assay/attest/reference"
	"assay/attest/station"
	"assay/firmware"
	_ "assay/firmware/all"
	"assay/firmware/budget"
	"assay/firmware/lineage"
)

func (a *app) lineage() *cobra.Command {
	var top int
	c := &cobra.Command{
		Use:   "lineage IMAGE",
		Short: "Find the references that a firmware image shares code with",
		Long: `Lineage compares the files of an image with those of the references
(assay reference add): by their bytes, and by what survives renaming, re-branding,
re-packing and a rebuild. What several unrelated makers ship, and projects that
everybody ships, do not count.

What it finds is a hint (c1) and no proof: makers buy the same software.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if top < 1 {
				return usagef("--top %d: at least one", top)
			}
			return a.withReferences(c, func(home station.Home, store *reference.Store) error {
				img, profile, err := a.profileImage(c.Context(), args[0])
				if img == nil || err != nil && !errors.Is(err, budget.ErrExceeded) {
					return err
				}
				makers, merr := home.Entities()
				if merr != nil {
					return merr
				}
				index, ierr := store.Index(c.Context(), makers)
				if ierr != nil {
					return ierr
				}
				defer index.Close()
				report, cerr := lineage.Compare(c.Context(), profile, index, lineage.Options{Top: top})
				if cerr != nil {
					return cerr
				}
				if index.Stale > 0 {
					report.Problems = append(report.Problems, fmt.Sprintf("%d references were added by another version of assay and are left out; add them again", index.Stale))
				}
				if err != nil {
					report.Problems = append(report.Problems, fmt.Sprintf("the image was not read whole: %v", err))
				}
				doc := lineageOutput{cliSchema("lineage"), args[0], report}
				return errors.Join(a.print(doc, func(w io.Writer) { printLineage(w, doc, a.verbose) }), err)
			})
		},
	}
	c.Flags().IntVar(&top, "top", 5, "show at most so many references")
	return c
}

type lineageOutput struct {
	Schema string `json:"schema"`
	File   string `json:"file"`
	*lineage.Report
}

// profileImage analyses an image and makes its profile. Where the budget was
// spent there is an error beside what was found.
func (a *app) profileImage(ctx context.Context, path string) (*firmware.Image, *lineage.Profile, error) {
	f, n, err := openImage(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	p, done := a.newProgress()
	defer done()
	collector := lineage.NewCollector()
	opts := []firmware.Option{firmware.WithVisitor(collector.Visit)}
	if p != nil {
		opts = append(opts, firmware.WithProgress(func(d, t int64) { p.Bytes("analyse "+path, d, t) }))
	}
	img, err := firmware.Open(ctx, f, n, opts...)
	if img == nil || err != nil && !errors.Is(err, budget.ErrExceeded) {
		return nil, nil, err
	}
	return img, collector.Profile(img), err
}

func printLineage(w io.Writer, doc lineageOutput, verbose bool) {
	r := doc.Report
	fmt.Fprintf(w, "%s  %s\nsha256:%s\n\n", doc.File, size(r.Size), r.Image)
	paragraph(w, "", r.Says)
	paragraph(w, "compared   ", fmt.Sprintf("%d parts with %d references; %s", r.Parts, r.Weighting.References, r.Weighting.Says))
	paragraph(w, "ignored    ", fmt.Sprintf("%d parts, %s, as common; %d files too small to tell anything", r.Ignored.Parts, size(r.Ignored.Bytes), r.Ignored.Small))
	show := 6
	if verbose {
		show = 100
	}
	for _, y := range r.Ignored.Why[:min(show, len(r.Ignored.Why))] {
		paragraph(w, "           - ", fmt.Sprintf("%s: %d, %s (%s)", y.Why, y.Parts, size(y.Bytes), strings.Join(baseNames(y.Paths), ", ")))
	}
	for _, m := range r.Matches {
		printMatch(w, m, show)
	}
	for _, p := range r.Problems {
		paragraph(w, "! ", p)
	}
}

func printMatch(w io.Writer, m lineage.Match, show int) {
	grade := ""
	if m.Grade != "" {
		grade = " (" + m.Grade + ")"
	}
	heading(w, strings.Join(strings.Fields(fmt.Sprintf("%s%s  %s %s %s %s", m.Verdict, grade, m.Reference.Maker, m.Reference.Model, m.Reference.Version, m.Reference.Board)), " "))
	paragraph(w, "  ", fmt.Sprintf("of this image's own code %s by bytes and %s by parts are in it; of its own %s and %s are here; %d parts have the same bytes",
		percent(m.In.Bytes), percent(m.In.Parts), percent(m.Has.Bytes), percent(m.Has.Parts), m.Exact))
	for _, k := range sortedKinds(m.Kinds) {
		fmt.Fprintf(w, "  %-14s %6.1f parts  %10s\n", k, m.Kinds[k].Parts, size(int64(m.Kinds[k].Bytes)))
	}
	for _, p := range m.Parts[:min(show, len(m.Parts))] {
		what := fmt.Sprintf("%s, %s: %s of it", p.How, size(p.Size), percent(p.Share))
		if p.Weight < 1 {
			what += fmt.Sprintf(", counts %.2f as %d makers have the like", p.Weight, p.Makers)
		}
		if p.Reference != p.Path {
			what += "; there " + p.Reference
		}
		paragraph(w, "  - ", p.Path+"  "+what)
	}
	if more := max(0, len(m.Parts)-show) + m.More; more > 0 {
		fmt.Fprintf(w, "  and %d more\n", more)
	}
}

func percent(share float64) string { return fmt.Sprintf("%.0f%%", 100*share) }

func baseNames(paths []string) (names []string) {
	for _, p := range paths {
		names = append(names, p[strings.LastIndexByte(p, '/')+1:])
	}
	return names
}

func sortedKinds(kinds map[lineage.Kind]lineage.Amount) (order []lineage.Kind) {
	for k := range kinds {
		order = append(order, k)
	}
	slices.SortFunc(order, func(a, b lineage.Kind) int {
		return cmp.Or(cmp.Compare(kinds[b].Bytes, kinds[a].Bytes), cmp.Compare(a, b))
	})
	return order
}
