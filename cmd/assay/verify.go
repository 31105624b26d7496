package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"assay/attest"
)

func (a *app) verify() *cobra.Command {
	var model string
	var endorsements []string
	var open, media bool
	var attested, chain string
	c := &cobra.Command{
		Use:   "verify IMAGE",
		Short: "Verify vendor signatures over a firmware image, a recording or a report",
		Long: `Verify checks the signatures in an image, and those given with --endorsement,
against the trust anchors (assay trust), and names the bytes that none covers.

With --media the file is a recording (MP4, or a byte stream of H.264 or H.265)
whose video is signed by ONVIF Media Signing. With --attested-key and --chain it
is an Axis Edge Vault attestation report over that key. Neither is fresh: both
can be copied from the unit that they speak of.

Exit code 0: at least one signature holds and none failed; 6: one failed;
4: nothing is signed by an anchor.`,
		Example: `  assay verify flash.bin --endorsement vendor.dsse.json
  assay verify --media recording.mp4
  assay verify --attested-key key.pem --chain chip.pem report.bin`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			switch {
			case media && (attested != "" || chain != ""), (attested == "") != (chain == ""):
				return usagef("give --media, or --attested-key with --chain, or neither")
			case (media || attested != "") && (len(endorsements) > 0 || open):
				return usagef("--endorsement and --no-sandbox are for firmware images")
			}
			home, err := a.home()
			if err != nil {
				return err
			}
			if media {
				return a.verifyMedia(home, args[0], model)
			}
			if attested != "" {
				return a.verifyReport(home, args[0], attested, chain, model)
			}
			f, n, err := openImage(args[0])
			if err != nil {
				return err
			}
			defer f.Close()
			v, err := home.VerifyImage(c.Context(), f, n, args[0], model, endorsements, !open)
			if err != nil {
				return err
			}
			doc := verifyOutput{cliSchema("verify"), args[0], v.Digest, v.Whole, v.Reason, v.Endorsements, v.Uncovered}
			if doc.Endorsements == nil {
				doc.Endorsements = []attest.Endorsement{}
			}
			if doc.Uncovered == nil {
				doc.Uncovered = []attest.Region{}
			}
			if err := a.print(doc, func(w io.Writer) { printVerification(w, doc) }); err != nil {
				return err
			}
			return endorsed(v.Endorsements)
		},
	}
	c.Flags().BoolVar(&media, "media", false, "the file is a recording of signed video")
	c.Flags().StringVar(&attested, "attested-key", "", "the file is an Axis attestation report over this public key (PEM)")
	c.Flags().StringVar(&chain, "chain", "", "the certificates of the chip that made the report, its own first (PEM)")
	c.Flags().StringArrayVar(&endorsements, "endorsement", nil, "a vendor's signed statement (raw signature, DSSE, Sigstore bundle); may be repeated")
	c.Flags().StringVar(&model, "model", "", "the unit's model, for anchors that speak for some models only")
	c.Flags().BoolVar(&open, "no-sandbox", false, "analyse in this process, for debugging")
	return c
}

// endorsed is the exit code of what was verified.
func endorsed(all []attest.Endorsement) error {
	held := false
	for _, e := range all {
		switch e.Status {
		case attest.StatusFailed:
			return verdictError(exitInvalid)
		case attest.StatusVerified:
			held = true
		}
	}
	if !held {
		return verdictError(exitInconclusive)
	}
	return nil
}

type verifyOutput struct {
	Schema       string               `json:"schema"`
	File         string               `json:"file"`
	Digest       attest.Digest        `json:"digest"`
	WholeChain   bool                 `json:"wholeBootChain"`
	Reason       string               `json:"reason,omitempty"` // why the boot chain is not whole
	Endorsements []attest.Endorsement `json:"endorsements"`
	Uncovered    []attest.Region      `json:"uncovered"`
}

func printVerification(w io.Writer, v verifyOutput) {
	fmt.Fprintf(w, "%s\n%s\n", v.File, v.Digest)
	if len(v.Endorsements) == 0 {
		fmt.Fprintln(w, "\nno signature was found")
	}
	if len(v.Endorsements) > 0 {
		heading(w, "Vendor signatures")
	}
	for _, e := range v.Endorsements {
		printEndorsement(w, e)
	}
	if len(v.Uncovered) > 0 {
		heading(w, "Not covered by a verified signature")
	}
	for _, r := range v.Uncovered {
		fmt.Fprintf(w, "  %#010x %10d  %s\n", r.Offset, r.Size, describe(r))
	}
	fmt.Fprintln(w)
	if v.WholeChain {
		fmt.Fprintln(w, "The whole boot chain is covered.")
	} else {
		paragraph(w, "", "The boot chain is not covered: "+v.Reason+".")
	}
}

func describe(r attest.Region) string {
	s := r.State
	if r.Format != "" {
		s += " " + r.Format
	}
	if r.Role != "" {
		s += " " + r.Role
	}
	return s
}
