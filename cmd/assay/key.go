package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"github.com/spf13/cobra"

	"assay/attest"
	"assay/attest/permit"
	"assay/attest/station"
)

func (a *app) key() *cobra.Command {
	c := &cobra.Command{Use: "key", Short: "Make the key that this station signs with"}
	c.AddCommand(a.keyInit())
	return c
}

func (a *app) keyInit() *cobra.Command {
	var kind string
	var unsafe bool
	passphrase := secretFlags{variable: "ASSAY_PASSPHRASE", prompt: "passphrase for the new key", confirm: true}
	c := &cobra.Command{
		Use:   "init",
		Short: "Make the station's key pair",
		Long: `Init makes the key pair that this station signs permits with, encrypted with a
passphrase in the format that cosign uses. A key made with cosign
generate-key-pair can be used instead: assay certify --key cosign.key. It never
overwrites a key.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, args []string) error {
			home, err := a.home()
			if err != nil {
				return err
			}
			signer, err := permit.NewKey(permit.KeyKind(kind))
			if err != nil {
				return usagef("%v", err)
			}
			var secret []byte
			var opts []permit.KeyOption
			if unsafe {
				opts = append(opts, permit.UnsafeEmptyPassphrase())
			} else if secret, err = passphrase.read(); err != nil {
				return err
			}
			err = permit.WriteKeyPair(home.KeyDir(), station.KeyName, signer, secret, opts...)
			if errors.Is(err, fs.ErrExist) {
				return fmt.Errorf("%w; a station keeps its key, since every permit names it", err)
			}
			if err != nil {
				return err
			}
			doc := keyOutput{
				Schema: cliSchema("key"), Kind: kind, Fingerprint: permit.Fingerprint(signer.Public()),
				Private: filepath.Join(home.KeyDir(), station.KeyName+".key"), Public: filepath.Join(home.KeyDir(), station.KeyName+".pub"),
			}
			return a.print(doc, func(w io.Writer) {
				fmt.Fprintf(w, "private key  %s\npublic key   %s  (give this to whoever checks your permits)\nfingerprint  %s\n", doc.Private, doc.Public, doc.Fingerprint)
			})
		},
	}
	c.Flags().StringVar(&kind, "kind", string(permit.ECDSAP256), "ecdsa-p256 or ed25519")
	c.Flags().StringVar(&passphrase.file, "passphrase-file", "", "read the passphrase from this file (else $ASSAY_PASSPHRASE, else ask)")
	c.Flags().BoolVar(&unsafe, "unsafe-no-passphrase", false, "leave the private key unprotected; for demonstrations only")
	return c
}

type keyOutput struct {
	Schema      string        `json:"schema"`
	Kind        string        `json:"kind"`
	Private     string        `json:"private"`
	Public      string        `json:"public"`
	Fingerprint attest.Digest `json:"fingerprint"`
}
