package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"assay/attest/provenance"
	"assay/attest/station"
)

func (a *app) trust() *cobra.Command {
	c := &cobra.Command{
		Use:   "trust",
		Short: "Keep the vendor keys that this station believes",
		Long: `A trust anchor is a vendor's public key or certificate authority, bound to the
maker that it speaks for and to one purpose. Import it from the maker itself: a
key found inside an image, or a certificate that a unit presents, proves nothing.

A model endorsement says that a maker's models boot only firmware that the maker
signed. With it a unit that proves its device identity needs no flash read-out.`,
	}
	c.AddCommand(a.trustAdd(), a.trustEndorse(), a.trustLs(), a.trustRm())
	return c
}

func (a *app) trustAdd() *cobra.Command {
	var maker, purpose, source string
	var models []string
	c := &cobra.Command{
		Use:   "add FILE",
		Short: "Import a public key or certificate",
		Long: `Import a public key (--purpose firmware) or the certificate of an authority:

  firmware          signs firmware
  device-identity   certifies units (IEEE 802.1AR): proven by their TLS handshakes
  attestation       certifies chips that attest keys (Axis Edge Vault)
  media-signing     certifies keys that sign video (ONVIF Media Signing)`,
		Example: `  assay trust add --maker axis --purpose firmware --source 'vendor portal, 2026-11-20' key.pem
  assay trust add --maker axis --purpose device-identity --source 'vendor portal, SHA-256 compared' root.pem`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if maker == "" {
				return usagef("say with --maker whom the key speaks for")
			}
			home, id, err := a.makerID(maker)
			if err != nil {
				return err
			}
			if !slices.Contains(provenance.Purposes, purpose) {
				return usagef("--purpose %q is none of %s", purpose, strings.Join(provenance.Purposes, ", "))
			}
			b, err := os.ReadFile(args[0])
			if err != nil {
				return err
			}
			anchor, err := provenance.NewAnchor(b, id, purpose, models, source, time.Now())
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
			return a.printTrust([]*provenance.Anchor{anchor}, nil)
		},
	}
	c.Flags().StringVar(&maker, "maker", "", "whom the key speaks for: an id or name in the entity data")
	c.Flags().StringVar(&purpose, "purpose", provenance.PurposeFirmware, "what the key signs: "+strings.Join(provenance.Purposes, ", "))
	c.Flags().StringSliceVar(&models, "model", nil, "models that it speaks for (default: all)")
	c.Flags().StringVar(&source, "source", "", "where the key came from, and who vouched for it")
	return c
}

// makerID is the id of a maker in the entity data, by id or name.
func (a *app) makerID(maker string) (home station.Home, id string, err error) {
	if home, err = a.home(); err != nil {
		return "", "", err
	}
	data, err := home.Entities()
	if err != nil {
		return "", "", err
	}
	e := data.Get(maker)
	if e == nil {
		e = data.Lookup(maker)
	}
	if e == nil {
		return "", "", usagef("--maker %q is nobody in the entity data", maker)
	}
	return home, e.ID, nil
}

func (a *app) trustEndorse() *cobra.Command {
	var maker, source string
	var models []string
	c := &cobra.Command{
		Use:   "endorse",
		Short: "Say that models of a maker boot only firmware that it signed",
		Long: `Endorse models as enforcing signed boot, from what their maker publishes. It is
your word with that source, and counts only for a unit that proves by a device
certificate of the same maker that it is genuine. Name models exactly as units
give them; a unit's model is its own word.`,
		Example: "  assay trust endorse --maker axis --model P3265-LVE --source 'product page, 2026-11-20: signed boot'",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if maker == "" || len(models) == 0 || strings.TrimSpace(source) == "" {
				return usagef("say with --maker, --model and --source whose models these are and where the maker says so")
			}
			home, id, err := a.makerID(maker)
			if err != nil {
				return err
			}
			m, err := provenance.NewModelEndorsement(id, models, source, time.Now())
			if err != nil {
				return err
			}
			store, err := home.Trust()
			if err != nil {
				return err
			}
			if err := store.Endorse(m); err != nil {
				return err
			}
			return a.printTrust(nil, []*provenance.ModelEndorsement{m})
		},
	}
	c.Flags().StringVar(&maker, "maker", "", "whose models: an id or name in the entity data")
	c.Flags().StringSliceVar(&models, "model", nil, "a model; may be repeated")
	c.Flags().StringVar(&source, "source", "", "where the maker says so, and when it was read")
	return c
}

func (a *app) trustLs() *cobra.Command {
	return &cobra.Command{
		Use:   "ls",
		Short: "List the trust anchors and model endorsements",
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
			return a.printTrust(store.Anchors(), store.Models())
		},
	}
}

func (a *app) trustRm() *cobra.Command {
	return &cobra.Command{
		Use:   "rm ID",
		Short: "Forget a trust anchor or model endorsement",
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
			return a.printTrust(store.Anchors(), store.Models())
		},
	}
}

type trustOutput struct {
	Schema  string                         `json:"schema"`
	Anchors []*provenance.Anchor           `json:"anchors"`
	Models  []*provenance.ModelEndorsement `json:"models,omitempty"`
}

func (a *app) printTrust(anchors []*provenance.Anchor, models []*provenance.ModelEndorsement) error {
	if anchors == nil {
		anchors = []*provenance.Anchor{}
	}
	return a.print(trustOutput{cliSchema("trust"), anchors, models}, func(w io.Writer) {
		if len(anchors)+len(models) == 0 {
			fmt.Fprintln(w, "no trust anchors; import a vendor's public key with: assay trust add")
		}
		for _, x := range anchors {
			models := "all models"
			if len(x.Models) > 0 {
				models = strings.Join(x.Models, ", ")
			}
			paragraph(w, fmt.Sprintf("%s  %-14s ", x.ID, x.Maker), fmt.Sprintf("%s, %s, %s, added %s %s", x.Purpose, x.Algorithm(), models, x.Added.Format("2006-01-02"), x.Source))
		}
		for _, m := range models {
			paragraph(w, fmt.Sprintf("%s  %-14s ", m.ID, m.Maker), fmt.Sprintf("signed boot is enforced: %s, added %s %s", strings.Join(m.Models, ", "), m.Added.Format("2006-01-02"), m.Source))
		}
	})
}
