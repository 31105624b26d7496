package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"assay/attest"
	"assay/attest/appraise"
)

func (a *app) profile() *cobra.Command {
	c := &cobra.Command{Use: "profile", Short: "Show the rules that a unit can be appraised under"}
	c.AddCommand(a.profileLs(), a.profileShow())
	return c
}

func (a *app) profileLs() *cobra.Command {
	return &cobra.Command{
		Use:   "ls",
		Short: "List the profiles",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, args []string) error {
			home, err := a.home()
			if err != nil {
				return err
			}
			ids, err := home.Profiles()
			if err != nil {
				return err
			}
			doc := struct {
				Schema   string              `json:"schema"`
				Profiles []attest.ProfileRef `json:"profiles"`
			}{Schema: cliSchema("profile-ls")}
			for _, id := range ids {
				p, err := home.Profile(id, nil)
				if err != nil {
					return err
				}
				doc.Profiles = append(doc.Profiles, p.Ref())
			}
			return a.print(doc, func(w io.Writer) {
				for _, p := range doc.Profiles {
					fmt.Fprintf(w, "%-20s %-12s %s\n", p.ID, p.Version, p.Title)
				}
			})
		},
	}
}

func (a *app) profileShow() *cobra.Command {
	return &cobra.Command{
		Use:   "show ID",
		Short: "Show a profile: whom it covers, its rules, parameters and limits",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			home, err := a.home()
			if err != nil {
				return err
			}
			p, err := home.Profile(args[0], nil)
			if errors.Is(err, appraise.ErrNoProfile) {
				return usagef("%v", err)
			}
			if err != nil {
				return err
			}
			doc := struct {
				Schema  string            `json:"schema"`
				Digest  attest.Digest     `json:"digest"`
				Profile *appraise.Profile `json:"profile"`
			}{cliSchema("profile-show"), p.Ref().Digest, p}
			return a.print(doc, func(w io.Writer) { printWholeProfile(w, p) })
		},
	}
}

func printWholeProfile(w io.Writer, p *appraise.Profile) {
	fmt.Fprintf(w, "%s %s  %s\n%s\n", p.ID, p.Version, p.Title, p.Ref().Digest)
	paragraph(w, "authority   ", p.Authority)
	paragraph(w, "citation    ", p.Citation)
	paragraph(w, "a permit    ", fmt.Sprintf("holds for %d days", p.ValidityDays))
	paragraph(w, "decision    ", p.Decision)
	heading(w, "Parameters (change with certify --set NAME=VALUE)")
	for _, q := range p.Parameters {
		paragraph(w, "  ", fmt.Sprintf("%s = %s of %v: %s", q.Name, q.Value, q.Allowed, q.Text))
	}
	heading(w, "Whom it covers (the first that holds)")
	for _, c := range p.Covers {
		paragraph(w, fmt.Sprintf("  %-10s ", c.Is), c.When)
	}
	heading(w, "Rules")
	for _, r := range p.Rules {
		paragraph(w, fmt.Sprintf("  %-20s %-8s ", r.ID, r.Effect), r.When)
	}
	heading(w, "Not decided")
	for _, l := range p.Limits {
		paragraph(w, "  - ", l)
	}
}
