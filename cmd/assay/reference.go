package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"assay/attest"
	"assay/attest/reference"
	"assay/attest/station"
)

func (a *app) reference() *cobra.Command {
	c := &cobra.Command{
		Use:   "reference",
		Short: "Keep firmware images whose maker is known, to compare others with",
	}
	c.AddCommand(a.referenceAdd(), a.referenceLs(), a.referenceRm())
	return c
}

// withReferences runs fn with the station's references open.
func (a *app) withReferences(c *cobra.Command, fn func(home station.Home, s *reference.Store) error) (err error) {
	home, err := a.home()
	if err != nil {
		return err
	}
	s, err := home.References(c.Context())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	err = fn(home, s)
	if errors.Is(err, reference.ErrNotFound) {
		return usagef("%v; see: assay reference ls", err)
	}
	return err
}

func (a *app) referenceAdd() *cobra.Command {
	var r reference.Reference
	var class string
	c := &cobra.Command{
		Use:   "add IMAGE",
		Short: "Add a firmware image whose maker, model and version are known",
		Long: `Add analyses an image and keeps the digests of its regions and files, and what
lineage compares; the image itself is not kept. Say with --class who vouches for
it: operator (you do, as for a golden unit) or published (the maker published it).

The maker is an id or name in the entity data, so that related makers count as
one; any other name is taken as it is.`,
		Example: "  assay reference add --maker dahua --model IPC-HFW1230S --version 2.800 --class published --source 'maker's download page, 2026-11-20' image.bin",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if strings.TrimSpace(r.Maker) == "" {
				return usagef("say with --maker whose firmware it is")
			}
			var err error
			if r.Class, err = reference.ParseClass(class); err != nil {
				return usagef("--class: %v", err)
			}
			return a.withReferences(c, func(home station.Home, s *reference.Store) error {
				makers, err := home.Entities()
				if err != nil {
					return err
				}
				e := makers.Get(r.Maker)
				if e == nil {
					e = makers.Lookup(r.Maker)
				}
				note := ""
				if e != nil {
					r.Entity, r.Maker = e.ID, e.Name()
				} else {
					note = fmt.Sprintf("%q is nobody in the entity data; the name is taken as it is, and as related to nobody else", r.Maker)
				}
				img, profile, err := a.profileImage(c.Context(), args[0])
				if err != nil {
					return err // a reference is whole, or none
				}
				stored, isNew, err := s.Add(c.Context(), r, img, profile)
				if err != nil {
					return err
				}
				doc := referenceOutput{cliSchema("reference"), note, &isNew, []referenceRecord{recordOf(stored)}}
				return a.print(doc, func(w io.Writer) { printReferences(w, doc) })
			})
		},
	}
	fl := c.Flags()
	fl.StringVar(&r.Maker, "maker", "", "whose firmware it is: an id or name in the entity data, or any name")
	fl.StringVar(&r.Model, "model", "", "the model that it is for")
	fl.StringVar(&r.Version, "version", "", "its version")
	fl.StringVar(&r.Board, "board", "", "the board that it is for")
	fl.StringVar(&class, "class", reference.Operator.String(), "who vouches for it: operator or published")
	fl.StringVar(&r.Source, "source", "", "how it came here, and who vouched for it")
	return c
}

func (a *app) referenceLs() *cobra.Command {
	return &cobra.Command{
		Use:   "ls",
		Short: "List the references, newest first",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, args []string) error {
			return a.withReferences(c, func(_ station.Home, s *reference.Store) error { return a.listReferences(c, s) })
		},
	}
}

func (a *app) referenceRm() *cobra.Command {
	return &cobra.Command{
		Use:   "rm ID",
		Short: "Forget a reference",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.withReferences(c, func(_ station.Home, s *reference.Store) error {
				if err := s.Remove(c.Context(), args[0]); err != nil {
					return err
				}
				return a.listReferences(c, s)
			})
		},
	}
}

func (a *app) listReferences(c *cobra.Command, s *reference.Store) error {
	list, err := s.List(c.Context())
	if err != nil {
		return err
	}
	doc := referenceOutput{Schema: cliSchema("reference"), References: []referenceRecord{}}
	for _, r := range list {
		doc.References = append(doc.References, recordOf(r))
	}
	return a.print(doc, func(w io.Writer) { printReferences(w, doc) })
}

type referenceOutput struct {
	Schema     string            `json:"schema"`
	Note       string            `json:"note,omitempty"`
	New        *bool             `json:"new,omitempty"` // of add: it was not there before
	References []referenceRecord `json:"references"`
}

// referenceRecord is a [reference.Reference] with the names that programs read.
type referenceRecord struct {
	ID      string        `json:"id"`
	Digest  attest.Digest `json:"digest"`
	Size    int64         `json:"size"`
	Entity  string        `json:"entity,omitempty"`
	Maker   string        `json:"maker"`
	Model   string        `json:"model,omitempty"`
	Version string        `json:"version,omitempty"`
	Board   string        `json:"board,omitempty"`
	Class   int           `json:"class"`
	Vouched string        `json:"vouched"`
	Source  string        `json:"source,omitempty"`
	Added   time.Time     `json:"added"`
	Parts   int           `json:"parts"`
	Stale   bool          `json:"stale,omitempty"`
}

func recordOf(r reference.Reference) referenceRecord {
	return referenceRecord{r.ID, r.Digest, r.Size, r.Entity, r.Maker, r.Model, r.Version, r.Board, int(r.Class), r.Class.String(), r.Source, r.Added, r.Parts, r.Stale}
}

func printReferences(w io.Writer, doc referenceOutput) {
	if len(doc.References) == 0 {
		fmt.Fprintln(w, "no references; add a firmware image whose maker is known with: assay reference add")
	}
	for _, r := range doc.References {
		says := strings.Join(strings.Fields(strings.Join([]string{r.Maker, r.Model, r.Version, r.Board}, " ")), " ")
		says += fmt.Sprintf(", %s, %d parts, class %d (%s), added %s %s", size(r.Size), r.Parts, r.Class, r.Vouched, r.Added.Format("2006-01-02"), r.Source)
		if r.Stale {
			says += "; made by another version of assay: add it again"
		}
		paragraph(w, r.ID+"  ", says)
	}
	if doc.New != nil && !*doc.New {
		fmt.Fprintln(w, "it was there already")
	}
	if doc.Note != "" {
		paragraph(w, "! ", doc.Note)
	}
}
