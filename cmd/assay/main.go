// Old cameras speak TLS with keys and certificates that Go refuses by default.
// They are let in so that their identity can be read; nothing that came this
// way counts as authenticated, and trust anchors have bounds of their own.
//
//go:debug rsa1024min=0
//go:debug x509negativeserial=1

// Command assay reads a surveillance camera, proves what it can about who made
// it and its firmware, and signs a permit or a refusal that anyone can check
// offline.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"assay/attest"
	"assay/attest/analysis"
	"assay/attest/permit"
	"assay/attest/station"
	"assay/devices"
)

// The exit codes of every command (docs/cli.md).
const (
	exitOK           = 0 // permitted, valid
	exitOther        = 1
	exitUsage        = 2
	exitRefused      = 3
	exitInconclusive = 4
	exitUnreachable  = 5
	exitInvalid      = 6 // permit or signature
)

// errUsage is wrapped by errors in how the program was called.
var errUsage = errors.New("usage")

func usagef(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errUsage, fmt.Sprintf(format, args...))
}

// verdictError ends a command that did its work with the exit code of what it
// found. It has no message: the output has said it.
type verdictError int

func (e verdictError) Error() string { return fmt.Sprintf("exit %d", int(e)) }

func verdictExit(v attest.Verdict) error {
	switch v {
	case attest.Permitted:
		return nil
	case attest.Refused:
		return verdictError(exitRefused)
	}
	return verdictError(exitInconclusive)
}

func exitCode(err error) int {
	var v verdictError
	var p invalidError
	var unread *devices.UnreadError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &v):
		return int(v)
	case errors.Is(err, errUsage):
		return exitUsage
	case errors.As(err, &p), errors.Is(err, permit.ErrExpired):
		return exitInvalid
	case errors.Is(err, context.Canceled), errors.As(err, &unread): // something was read
		return exitOther
	case errors.Is(err, station.ErrNothing), errors.Is(err, devices.ErrUnreachable):
		return exitUnreachable
	}
	return exitOther
}

// invalidError is a permit or signature that does not hold.
type invalidError struct{ error }

func (e invalidError) Unwrap() error { return e.error }

func main() {
	analysis.Main() // does not return in the confined child that reads images
	os.Exit(run(os.Args[1:]))
}

func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	a := &app{out: os.Stdout, errOut: os.Stderr}
	root := a.command()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if _, _, unknown := root.Find(args); err != nil && unknown != nil {
		err = usagef("%v", unknown) // cobra's own error for it has no type
	}
	code := exitCode(err)
	if _, silent := err.(verdictError); err != nil && !silent {
		a.printError(err, code)
	}
	return code
}

func (a *app) command() *cobra.Command {
	root := &cobra.Command{
		Use:   "assay",
		Short: "Test a surveillance camera for who really made it, and sign the result",
		Long: `Assay connects to a surveillance camera over its serial console, the network or
its flash chip, reads firmware and board identifiers, verifies vendor signatures,
and signs a permit or a refusal under a profile, with the evidence behind every
word of it.

A target is one way into the unit; several may be given for the same unit:
  192.0.2.10   192.0.2.10:8000   https://192.0.2.10   [2001:db8::1]:80
  serial:/dev/ttyUSB0            serial:COM3?baud=57600
  serial:rfc2217://192.0.2.20:3001               a console server's port
  spi:ch341a_spi                 a programmer clipped to the flash chip, driven
  spi:linux_spi:dev=/dev/spidev0.0?chip=W25Q128.V       by flashrom (its -p)
  file:flash.bin?acquired=A4     a dump read earlier, and how it was read:
                                 A0 self-report, A1 operating system, A2 boot
                                 loader, A3 boot ROM, A4 direct flash read

Exit codes: 0 permitted or valid, 2 usage, 3 refused, 4 inconclusive,
5 unit unreachable, 6 permit or signature invalid, 1 anything else.`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.PersistentFlags().BoolVar(&a.json, "json", false, "print one JSON document for programs instead of text")
	root.PersistentFlags().BoolVarP(&a.verbose, "verbose", "v", false, "print more: what the transport said")
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usagef("%v; see: %s --help", err, c.CommandPath())
	})
	root.AddCommand(
		a.discover(), a.certify(), a.identify(), a.dump(), a.ports(), a.console(), a.inspect(), a.verify(), a.lineage(), a.compare(), a.check(), a.key(), a.trust(), a.reference(), a.profile(),
		a.register(), a.simulate(), a.version(),
	)
	for _, c := range root.Commands() {
		argsAreUsage(c)
	}
	return root
}

// argsAreUsage makes a wrong number of arguments a usage error.
func argsAreUsage(c *cobra.Command) {
	if check := c.Args; check != nil {
		c.Args = func(c *cobra.Command, args []string) error {
			if err := check(c, args); err != nil {
				return usagef("%v; see: %s --help", err, c.CommandPath())
			}
			return nil
		}
	}
	if c.HasSubCommands() {
		c.RunE = func(c *cobra.Command, args []string) error {
			var names []string
			for _, s := range c.Commands() {
				names = append(names, s.Name())
			}
			return usagef("%s needs one of: %s", c.CommandPath(), strings.Join(names, ", "))
		}
	}
	for _, s := range c.Commands() {
		argsAreUsage(s)
	}
}
