package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"assay/attest"
	"assay/attest/permit"
)

func (a *app) check() *cobra.Command {
	var keys []string
	var identity string
	c := &cobra.Command{
		Use:   "check PERMIT",
		Short: "Check a permit: who certified which unit when, what was proven, and whether it holds",
		Long: `Check verifies a permit offline: its form, the station's signature, the unit it
is for, and its period. An identity.json beside the permit is checked too.

Exit code 0: the unit is permitted and the permit holds; 3: a refusal that
holds; 4: an inconclusive notice that holds; 6: expired, forged or damaged.

Check does not know whether the unit in front of you is the permit's unit:
compare its serial number or MAC address with what is printed. It does not look
at revocation.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			home, err := a.home()
			if err != nil {
				return err
			}
			bundle, err := readSmall(args[0])
			if err != nil {
				return err
			}
			opts := permit.CheckOptions{Now: time.Now()}
			if opts.Keys, err = home.PublicKeys(keys); err != nil {
				return usagef("%v", err)
			}
			if opts.Identity, err = readIdentity(args[0], identity); err != nil {
				return err
			}
			got, err := permit.Check(bundle, opts)
			if got == nil {
				return invalidError{fmt.Errorf("%s does not hold: %w", args[0], err)}
			}
			doc := checkOutput{
				Schema: cliSchema("check"), ID: got.ID(), State: string(got.State), Permits: got.Permits(), Key: got.Key,
				Identity: opts.Identity != nil, Permit: got.Predicate,
			}
			if perr := a.print(doc, func(w io.Writer) { printCheck(w, doc) }); perr != nil {
				return perr
			}
			if err != nil {
				return verdictError(exitInvalid)
			}
			return verdictExit(got.Predicate.Verdict)
		},
	}
	c.Flags().StringArrayVar(&keys, "key", nil, "public key of a station that is trusted (default: this station's own); may be repeated")
	c.Flags().StringVar(&identity, "identity", "", "identity record of the unit (default: identity.json beside the permit)")
	return c
}

func readIdentity(permitPath, path string) ([]byte, error) {
	if path != "" {
		return readSmall(path)
	}
	b, err := readSmall(filepath.Join(filepath.Dir(permitPath), permit.IdentityFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return b, err
}

// readSmall reads no more of a file from a stranger than what is already too
// large for a permit.
func readSmall(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, 1<<20+1))
}

type checkOutput struct {
	Schema   string           `json:"schema"`
	ID       string           `json:"id"`
	State    string           `json:"state"`
	Permits  bool             `json:"permits"`
	Key      attest.Digest    `json:"key"`
	Identity bool             `json:"identityChecked"`
	Permit   permit.Predicate `json:"permit"`
}

func printCheck(w io.Writer, c checkOutput) {
	p := c.Permit
	state := "the signature holds and the permit is valid"
	switch permit.State(c.State) {
	case permit.Expired:
		state = "THE PERMIT HAS EXPIRED"
	case permit.NotYetValid:
		state = "THE PERMIT IS NOT VALID YET"
	}
	paragraph(w, "Unit        ", p.Unit.Name())
	for _, s := range p.Unit.Serials {
		paragraph(w, "  serial    ", s)
	}
	for _, m := range p.Unit.MACs {
		paragraph(w, "  MAC       ", m)
	}
	paragraph(w, "Certified   ", fmt.Sprintf("%s by %s (key %s)", p.Issued.Format("2006-01-02 15:04 MST"), p.Station.Name, c.Key.Hex()[:16]))
	paragraph(w, "Valid       ", fmt.Sprintf("%s to %s: %s", p.NotBefore.Format("2006-01-02"), p.NotAfter.Format("2006-01-02"), state))
	for _, g := range p.Grades {
		paragraph(w, "Proven      ", fmt.Sprintf("%s %s@%s: %s, by %s", g.Subject, g.Origin, g.Acquisition, g.Origin.Words(), g.Acquisition.Words()))
	}
	for _, x := range p.Contradictions {
		paragraph(w, "Contradicts ", x.Says)
	}
	printProfile(w, p.Profile, p.Parameters, p.DecisionRule, p.Limits)
	printResult(w, p.Verdict, p.Reasons, p.Next)
	fmt.Fprintf(w, "\nid %s, evidence %s\n", c.ID, p.Evidence)
}
