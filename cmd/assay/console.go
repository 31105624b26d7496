package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"assay/devices"
	"assay/devices/console/line"
	"assay/devices/console/terminal"
)

func (a *app) console() *cobra.Command {
	var baud int
	var log string
	var quiet time.Duration
	c := &cobra.Command{
		Use:   "console serial:DEVICE",
		Short: "Talk to a unit over its serial console, and keep a transcript",
		Long: `Console connects this terminal with a unit's serial console. What you type goes
to the unit as it is, so this is the one command with which you can change a
unit. What the unit says is shown without anything that could act on this
terminal, and both directions are kept in a transcript with their times;
passwords that are typed at a prompt for one are not.

  Ctrl-] q   leave
  Ctrl-] b   next rate
  Ctrl-] ?   help

Where the input is not a terminal it is a script: each line is sent when the unit
has been quiet, and the command ends after the last one when it is quiet again.`,
		Example: `  assay console serial:/dev/ttyUSB0
  assay console serial:rfc2217://192.0.2.20:3001 --baud 57600 --log unit-412.log
  printf 'version\nbdinfo\n' | assay console serial:/dev/ttyUSB0`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			t, err := devices.ParseTarget(args[0])
			if err != nil {
				return usagef("%v", err)
			}
			if t.Kind != devices.KindSerial {
				return usagef("%s has no console; give a serial target, as in serial:/dev/ttyUSB0", t)
			}
			if c.Flags().Changed("baud") {
				if t, err = devices.ParseTarget(fmt.Sprintf("serial:%s?baud=%d", t.Device, baud)); err != nil {
					return usagef("%v", err)
				}
			}
			keys := term.IsTerminal(int(os.Stdin.Fd()))
			if a.json && keys {
				return usagef("--json needs a script on standard input")
			}
			if log == "" {
				log = "assay-console-" + time.Now().UTC().Format("20060102-150405") + ".log"
			}
			if _, err := os.Lstat(log); err == nil {
				return usagef("%s is there already; name a new file with --log", log)
			}
			return a.talk(c.Context(), t, log, keys, quiet)
		},
	}
	fl := c.Flags()
	fl.IntVar(&baud, "baud", 0, "rate in bits a second (default 115200, or the target's)")
	fl.StringVar(&log, "log", "", "write the transcript to this new file (default: assay-console-DATE-TIME.log)")
	fl.DurationVar(&quiet, "quiet", time.Second, "silence after which a script's next line is sent")
	return c
}

type consoleOutput struct {
	Schema     string `json:"schema"`
	Target     string `json:"target"`
	Baud       int    `json:"baud,omitempty"` // absent where the console server sets it
	Transcript string `json:"transcript"`
	Text       string `json:"text"` // what the unit said, as a terminal may have it
	Cut        bool   `json:"cut,omitempty"`
}

// talk opens the line and lets the terminal run on it.
func (a *app) talk(ctx context.Context, t devices.Target, log string, keys bool, quiet time.Duration) (err error) {
	baud := t.Baud
	if baud == 0 {
		baud = line.Rates[0]
	}
	port, err := line.Open(ctx, t.Device, baud)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(log, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		_ = port.Close()
		if errors.Is(err, fs.ErrExist) {
			return usagef("%s is there already; name a new file with --log", log)
		}
		return err
	}
	transcript := line.NewTranscript(f, "")
	transcript.Remark("assay %s, %s, %s", version, t, time.Now().UTC().Format(time.RFC3339))
	l := line.New(t.String(), port, transcript)
	defer func() {
		err = errors.Join(err, l.Close())
		transcript.Take() // what is not a whole line yet
		err = errors.Join(err, transcript.Failed(), f.Close())
	}()
	said := cutBuffer{max: 1 << 20}
	s := terminal.Terminal{Line: l, In: os.Stdin, Out: a.out, Notes: a.errOut, UTF8: terminal.TakesUTF8(), Keys: keys, Quiet: quiet}
	if a.json {
		s.Out, s.Notes, s.UTF8 = &said, io.Discard, true
	}
	if err := l.SetBaud(baud); err != nil {
		return err
	}
	if keys {
		raw, err := term.MakeRaw(int(os.Stdin.Fd()))
		if err != nil {
			return err
		}
		defer terminal.AllowSequences(os.Stdout)()
		defer func() {
			fmt.Fprint(a.out, "\x1b[0m\r\n")
			_ = term.Restore(int(os.Stdin.Fd()), raw)
		}()
	}
	s.Greet(log)
	if err := s.Run(ctx); err != nil {
		return err
	}
	if !a.json {
		s.Note("the transcript is in %s", log)
		return nil
	}
	doc := consoleOutput{cliSchema("console"), t.String(), 0, log, said.String(), said.cut}
	if l.HasRate() {
		doc.Baud = l.Baud()
	}
	return a.print(doc, nil)
}

// cutBuffer keeps the first bytes of what a unit says.
type cutBuffer struct {
	bytes.Buffer
	max int
	cut bool
}

func (c *cutBuffer) Write(b []byte) (int, error) {
	room := max(c.max-c.Len(), 0)
	c.cut = c.cut || len(b) > room
	c.Buffer.Write(b[:min(room, len(b))])
	return len(b), nil
}
