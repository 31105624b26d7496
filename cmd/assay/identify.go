package main

import (
	"io"
	"os"

	"github.com/spf13/cobra"

	"assay/attest"
)

func (a *app) identify() *cobra.Command {
	var unit unitFlags
	var out string
	c := &cobra.Command{
		Use:   "identify TARGET...",
		Short: "Read who a unit says it is, and the signs of who made it",
		Long: `Identify reads identifiers through every target given and compares them. It
appraises nothing, signs nothing, and reads no flash. With --out it keeps the
evidence and the raw bytes behind every claim.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			home, err := a.home()
			if err != nil {
				return err
			}
			unit.skipFlash = true
			req, err := unit.request(args)
			defer unit.release()
			if err != nil {
				return err
			}
			if out != "" {
				if req.Dir, err = sessionDir(out); err != nil {
					return err
				}
			} else {
				if req.Dir, err = os.MkdirTemp("", "assay-identify-"); err != nil {
					return err
				}
				defer os.RemoveAll(req.Dir)
			}
			var done func()
			req.Progress, done = a.newProgress()
			ev, err := home.Collect(c.Context(), req)
			done()
			if ev == nil || err != nil && len(ev.Claims)+len(ev.Marks) == 0 {
				return err
			}
			doc := identifyOutput{Schema: cliSchema("identify"), Evidence: ev}
			if perr := a.print(doc, func(w io.Writer) { printEvidence(w, ev, a.verbose) }); perr != nil {
				return perr
			}
			return err
		},
	}
	unit.add(c)
	c.Flags().Lookup("no-flash").Hidden = true
	c.Flags().StringVarP(&out, "out", "o", "", "keep the evidence in this folder")
	return c
}

type identifyOutput struct {
	Schema   string           `json:"schema"`
	Evidence *attest.Evidence `json:"evidence"`
}
