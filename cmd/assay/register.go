package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"assay/attest"
	"assay/attest/register"
)

func (a *app) register() *cobra.Command {
	c := &cobra.Command{Use: "register", Short: "Look up the permits and refusals that this station issued"}
	c.AddCommand(a.registerLs(), a.registerShow(), a.registerExport())
	return c
}

// withRegister runs fn with the station's register open.
func (a *app) withRegister(c *cobra.Command, fn func(r *register.Register) error) (err error) {
	home, err := a.home()
	if err != nil {
		return err
	}
	r, err := home.Register(c.Context())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	err = fn(r)
	if errors.Is(err, register.ErrNotFound) {
		return usagef("%v; see: assay register ls", err)
	}
	return err
}

func (a *app) registerLs() *cobra.Command {
	var f register.Filter
	var verdict string
	c := &cobra.Command{
		Use:   "ls",
		Short: "List what was issued, newest first",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, args []string) error {
			switch f.Verdict = attest.Verdict(verdict); f.Verdict {
			case "", attest.Permitted, attest.Refused, attest.Inconclusive:
			default:
				return usagef("--verdict %q is not permitted, refused or inconclusive", verdict)
			}
			return a.withRegister(c, func(r *register.Register) error {
				records, err := r.List(c.Context(), f)
				if err != nil {
					return err
				}
				doc := struct {
					Schema  string   `json:"schema"`
					Permits []record `json:"permits"`
				}{cliSchema("register-ls"), []record{}}
				for _, x := range records {
					doc.Permits = append(doc.Permits, record(x))
				}
				return a.print(doc, func(w io.Writer) {
					for _, x := range records {
						fmt.Fprintf(w, "%s  %s  %-12s %-18s %s\n", x.ID, x.Issued.Format("2006-01-02 15:04"), x.Verdict, x.Profile, x.Unit.Name())
					}
				})
			})
		},
	}
	fl := c.Flags()
	fl.StringVar(&f.Serial, "serial", "", "only this serial number")
	fl.StringVar(&f.MAC, "mac", "", "only this MAC address")
	fl.StringVar(&f.Maker, "maker", "", "only this maker")
	fl.StringVar(&verdict, "verdict", "", "only permitted, refused or inconclusive")
	fl.IntVar(&f.Limit, "limit", 0, "at most so many")
	return c
}

func (a *app) registerShow() *cobra.Command {
	return &cobra.Command{
		Use:   "show ID",
		Short: "Show the evidence and the result behind a permit",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.withRegister(c, func(r *register.Register) error {
				x, err := r.Get(c.Context(), args[0])
				if err != nil {
					return err
				}
				doc := registerOutput{Schema: cliSchema("register-show"), Record: record(x.Record)}
				if doc.Evidence, err = attest.ParseEvidence(x.Evidence); err != nil {
					return err
				}
				if err := json.Unmarshal(x.Result, &doc.Result); err != nil {
					return fmt.Errorf("result: %w", err)
				}
				return a.print(doc, func(w io.Writer) {
					printEvidence(w, doc.Evidence, a.verbose)
					printProfile(w, doc.Result.Profile, doc.Result.Parameters, doc.Result.DecisionRule, doc.Result.Limits)
					printResult(w, doc.Result.Verdict, doc.Result.Reasons, doc.Result.Next)
				})
			})
		},
	}
}

// record is a [register.Record] with the names that programs read.
type record struct {
	Sequence       int64          `json:"sequence"`
	ID             string         `json:"id"`
	Unit           attest.Unit    `json:"unit"`
	UnitDigest     attest.Digest  `json:"unitDigest"`
	EvidenceDigest attest.Digest  `json:"evidenceDigest"`
	Verdict        attest.Verdict `json:"verdict"`
	Profile        string         `json:"profile"`
	Station        string         `json:"station"`
	StationKey     attest.Digest  `json:"stationKey"`
	Issued         time.Time      `json:"issued"`
	NotBefore      time.Time      `json:"notBefore"`
	NotAfter       time.Time      `json:"notAfter"`
}

type registerOutput struct {
	Schema   string           `json:"schema"`
	Record   record           `json:"record"`
	Result   attest.Result    `json:"result"`
	Evidence *attest.Evidence `json:"evidence"`
}

func (a *app) registerExport() *cobra.Command {
	var out string
	c := &cobra.Command{
		Use:   "export ID -o FOLDER",
		Short: "Write a permit and everything under it into a folder",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if out == "" {
				return usagef("export needs a folder to write to: -o FOLDER")
			}
			dir, err := sessionDir(out)
			if err != nil {
				return err
			}
			return a.withRegister(c, func(r *register.Register) error {
				if err := r.Export(c.Context(), args[0], dir); err != nil {
					return err
				}
				doc := struct {
					Schema string `json:"schema"`
					ID     string `json:"id"`
					Folder string `json:"folder"`
				}{cliSchema("register-export"), args[0], dir}
				return a.print(doc, func(w io.Writer) { fmt.Fprintln(w, dir) })
			})
		},
	}
	c.Flags().StringVarP(&out, "out", "o", "", "folder to write; new or empty")
	return c
}
