package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"assay/attest"
	"assay/attest/station"
	"assay/devices"
)

func (a *app) dump() *cobra.Command {
	var unit unitFlags
	var out, bank string
	c := &cobra.Command{
		Use:   "dump TARGET -o FILE",
		Short: "Read a unit's flash into a file",
		Long: `Dump reads the flash through a serial console and verifies each block with the
boot loader's own crc32, which guards against a noisy line and proves nothing
about origin; or by a programmer on the chip itself (flashrom), read twice and
compared. Where a part cannot be read, the rest is kept, the unread parts are
named, and the exit code is 1. Nothing is changed on the unit.`,
		Example: `  assay dump serial:/dev/ttyUSB0 -o flash.bin
  assay dump spi:ch341a_spi -o chip.bin`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if out == "" {
				return usagef("dump needs a file to write to: -o FILE")
			}
			req, err := unit.request(args)
			if err != nil {
				return err
			}
			if k := req.Targets[0].Kind; k != devices.KindSerial && k != devices.KindSPI {
				return usagef("%s cannot read flash; give a serial target, as in serial:/dev/ttyUSB0, or a programmer, as in spi:ch341a_spi", req.Targets[0])
			}
			f, err := os.OpenFile(out, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
			if errors.Is(err, fs.ErrExist) {
				return usagef("%s is there already; name a new file", out)
			}
			if err != nil {
				return err
			}
			p, done := a.newProgress()
			d, err := station.DumpFlash(c.Context(), req.Targets[0], req.Account, bank, f, p)
			done()
			err = errors.Join(err, f.Close())
			if d == nil {
				_ = os.Remove(out)
				return err
			}
			doc := dumpOutput{cliSchema("dump"), out, d.Bank.Name, d.Bank.Size, d.Digest, d.Bank.Acquisition, d.Unread}
			if perr := a.print(doc, func(w io.Writer) {
				fmt.Fprintf(w, "%s  %s of %s at %s (%s)\n%s\n", out, size(doc.Size), doc.Bank, doc.Acquisition, doc.Acquisition.Words(), doc.Digest)
				for _, x := range doc.Unread {
					fmt.Fprintf(w, "unread  %d bytes at %#x\n", x.Size, x.Offset)
				}
			}); perr != nil {
				return perr
			}
			return err
		},
	}
	fl := c.Flags()
	fl.StringVarP(&out, "out", "o", "", "file to write; must not exist")
	fl.StringVar(&bank, "bank", "", "name of the flash to read, where there are several")
	fl.StringVar(&unit.user, "user", "", "log in to the console as this user, or any name where it asks for a password only")
	fl.StringVar(&unit.password.file, "password-file", "", "read the password from this file (else $ASSAY_PASSWORD, else ask)")
	unit.password.variable = "ASSAY_PASSWORD"
	return c
}

type dumpOutput struct {
	Schema      string             `json:"schema"`
	File        string             `json:"file"`
	Bank        string             `json:"bank"`
	Size        int64              `json:"size"`
	Digest      attest.Digest      `json:"digest"`
	Acquisition attest.Acquisition `json:"acquisition"`
	Unread      []attest.Extent    `json:"unread,omitempty"`
}
