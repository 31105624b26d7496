package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"assay/attest/provenance"
)

func (a *app) trust() *cobra.Command {
	c := &cobra.Command{
		Use:   "trust",
		Short: "Keep the vendor keys that this station believes",
		Long: `A trust anchor is a vendor's public key, bound to the maker that it speaks for.
Import it from the maker itself: a key found inside an image proves nothing.`,
	}
	c.AddCommand(a.trustAdd(), a.trustLs(), a.trustRm())
	return c
}

func (a *app) trustAdd() *cobra.Command {
	var maker, purpose, source string
	var models []string
	c := &cobra.Command{
		Use:     "add FILE",
		Short:   "Import a public key or certificate",
		Example: "  assay trust add --maker axis --purpose firmware --source 'vendor portal, 2026-11-20' key.pem",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if maker == "" {
				return usagef("say with --maker whom the key speaks for")
			}
			home, err := a.home()
			if err != nil {
				return err
			}
			data, err := home.Entities()
			if err != nil {
				return err
			}
			e := data.Get(maker)
			if e == nil {
				e = data.Lookup(maker)
			}
			if e == nil {
				return usagef("--maker %q is nobody in the entity data", maker)
			}
			if purpose != provenance.PurposeFirmware {
				return usagef("--purpose %q: the only purpose is %s", purpose, provenance.PurposeFirmware)
			}
			b, err := os.ReadFile(args[0])
			if err != nil {
				return err
			}
			anchor, err := provenance.NewAnchor(b, e.ID, purpose, models, source, time.Now())
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			store, err := home.Trust()
			if err != nil {
				return err
			}
			if err := store.Add(anchor); err != nil {
				return err
			}
			return a.printAnchors([]*provenance.Anchor{anchor})
		},
	}
	c.Flags().StringVar(&maker, "maker", "", "whom the key speaks for: an id or name in the entity data")
	c.Flags().StringVar(&purpose, "purpose", provenance.PurposeFirmware, "what the key signs")
	c.Flags().StringSliceVar(&models, "model", nil, "models that it speaks for (default: all)")
	c.Flags().StringVar(&source, "source", "", "where the key came from, and who vouched for it")
	return c
}

func (a *app) trustLs() *cobra.Command {
	return &cobra.Command{
		Use:   "ls",
		Short: "List the trust anchors",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, args []string) error {
			home, err := a.home()
			if err != nil {
				return err
			}
			store, err := home.Trust()
			if err != nil {
				return err
			}
			return a.printAnchors(store.Anchors())
		},
	}
}

func (a *app) trustRm() *cobra.Command {
	return &cobra.Command{
		Use:   "rm ID",
		Short: "Forget a trust anchor",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			home, err := a.home()
			if err != nil {
				return err
			}
			store, err := home.Trust()
			if err != nil {
				return err
			}
			err = store.Remove(args[0])
			if errors.Is(err, provenance.ErrNoAnchor) {
				return usagef("%v; see: assay trust ls", err)
			}
			if err != nil {
				return err
			}
			return a.printAnchors(store.Anchors())
		},
	}
}

type trustOutput struct {
	Schema  string               `json:"schema"`
	Anchors []*provenance.Anchor `json:"anchors"`
}

func (a *app) printAnchors(anchors []*provenance.Anchor) error {
	if anchors == nil {
		anchors = []*provenance.Anchor{}
	}
	return a.print(trustOutput{cliSchema("trust"), anchors}, func(w io.Writer) {
		if len(anchors) == 0 {
			fmt.Fprintln(w, "no trust anchors; import a vendor's public key with: assay trust add")
		}
		for _, x := range anchors {
			models := "all models"
			if len(x.Models) > 0 {
				models = strings.Join(x.Models, ", ")
			}
			paragraph(w, fmt.Sprintf("%s  %-14s ", x.ID, x.Maker), fmt.Sprintf("%s, %s, %s, added %s %s", x.Purpose, x.Algorithm(), models, x.Added.Format("2006-01-02"), x.Source))
		}
	})
}
