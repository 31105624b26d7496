package main

import (
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"assay/attest"
	"assay/attest/permit"
	"assay/attest/station"
)

func (a *app) certify() *cobra.Command {
	var unit unitFlags
	var profile, key, name, out string
	var set map[string]string
	var endorsements []string
	var validity time.Duration
	passphrase := secretFlags{variable: "ASSAY_PASSPHRASE", prompt: "passphrase of the station key"}
	c := &cobra.Command{
		Use:   "certify TARGET...",
		Short: "Read a unit, appraise it and sign a permit or a refusal",
		Long: `Certify reads one unit through every target given, appraises what it found under
a profile, signs the result with the station's key, and keeps it in the register.

It writes a folder with permit.sigstore.json and identity.json (what others
need to check the permit), evidence.json, result.json and the raw bytes behind
every claim (artefacts). A refusal or an inconclusive result is signed too.`,
		Example: `  assay certify 192.0.2.10 serial:/dev/ttyUSB0 --profile uk-sensitive-site --user admin
  assay certify file:flash.bin?acquired=A4 --endorsement vendor.dsse.json`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			home, err := a.home()
			if err != nil {
				return err
			}
			// Everything that can be wrong on our side is found out before the
			// unit is touched.
			issue := station.Issue{Station: name, Validity: validity}
			if c.Flags().Changed("validity") && validity < time.Second {
				return usagef("--validity %s: a permit holds for a second at least", validity)
			}
			if name == "" {
				return usagef("--station: a permit names the station that issued it")
			}
			if issue.Profile, err = home.Profile(profile, set); err != nil {
				return usagef("%v", err)
			}
			if longest := issue.Profile.Validity(); validity > longest {
				return usagef("--validity %s: under %s a permit holds for %s at most", validity, profile, longest)
			}
			if issue.Entities, err = home.Entities(); err != nil {
				return err
			}
			req, err := unit.request(args)
			defer unit.release()
			if err != nil {
				return err
			}
			if issue.Signer, err = home.Signer(key, passphrase.read); err != nil {
				return err
			}
			req.Endorsements = endorsements
			if req.Dir, err = sessionDir(out); err != nil {
				return err
			}
			var done func()
			req.Progress, done = a.newProgress()
			o, err := home.Certify(c.Context(), req, issue)
			done()
			if err != nil {
				_ = os.Remove(filepath.Join(req.Dir, "artefacts")) // only when empty
				_ = os.Remove(req.Dir)
				return err
			}
			doc := certifyOutput{
				Schema: cliSchema("certify"), Verdict: o.Result.Verdict, ID: o.ID, Folder: o.Dir,
				Permit: filepath.Join(o.Dir, permit.BundleFile), NotAfter: o.Permit.Predicate.NotAfter, Result: o.Result, Evidence: o.Evidence,
			}
			if err := a.print(doc, func(w io.Writer) { printOutcome(w, doc, a.verbose) }); err != nil {
				return err
			}
			return verdictExit(o.Result.Verdict)
		},
	}
	unit.add(c)
	fl := c.Flags()
	fl.StringVar(&profile, "profile", "uk-sensitive-site", "the rule to appraise under; see: assay profile ls")
	fl.StringToStringVar(&set, "set", nil, "give parameters of the profile other values: NAME=VALUE,…")
	fl.StringArrayVar(&endorsements, "endorsement", nil, "a vendor's signed statement about the firmware (raw signature, DSSE, Sigstore bundle); may be repeated")
	fl.StringVarP(&out, "out", "o", "", "write evidence and permit into this folder (default: a new one, assay-DATE-TIME)")
	fl.StringVar(&key, "key", "", "sign with this private key instead of the station's own")
	fl.StringVar(&passphrase.file, "passphrase-file", "", "read the key's passphrase from this file (else $ASSAY_PASSPHRASE, else ask)")
	fl.StringVar(&name, "station", hostname(), "name of this station on the permit")
	fl.DurationVar(&validity, "validity", 0, "how long the permit holds, as in 720h (default: the profile's)")
	return c
}

type certifyOutput struct {
	Schema   string           `json:"schema"`
	Verdict  attest.Verdict   `json:"verdict"`
	ID       string           `json:"id"`
	Folder   string           `json:"folder"`
	Permit   string           `json:"permit"`
	NotAfter time.Time        `json:"notAfter"`
	Result   *attest.Result   `json:"result"`
	Evidence *attest.Evidence `json:"evidence"`
}

// sessionDir makes the folder that a session writes to. It must be new or
// empty, so that two units are never mixed.
func sessionDir(out string) (string, error) {
	if out == "" {
		out = "assay-" + time.Now().UTC().Format("20060102-150405")
	}
	if entries, err := os.ReadDir(out); err == nil && len(entries) > 0 {
		return "", usagef("folder %s is not empty; name a new one with --out", out)
	}
	return out, os.MkdirAll(out, 0o700)
}

func hostname() string {
	h, err := os.Hostname()
	if err != nil {
		return "station"
	}
	return h
}
