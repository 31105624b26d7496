// Package uboot reads a unit through the prompt of its boot loader: the
// identifiers that the prompt knows, and the flash with md, each block verified
// by the loader's own crc32. What it says comes from the boot loader, so its
// claims are of acquisition A2: a loader that lies is not found out here.
//
// It types only commands that leave the unit as it is; the list is in command.go.
//
// Facts about the prompt, the echo, the repeat on an empty line and the output
// formats are from U-Boot's cmd/mem.c, cmd/flash.c, cmd/bdinfo.c, cmd/mtd.c,
// cmd/sf.c, cmd/nand.c, cmd/mmc.c, common/cli_readline.c and common/autoboot.c.
package uboot

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"assay/devices"
	"assay/devices/console/line"
	"assay/devices/fingerprint"
)

// Options are what a prompt is read with.
type Options struct {
	// Quiet is the silence after which the loader has finished talking.
	Quiet time.Duration
	// Boot is what the unit printed before its prompt, as far as it was seen.
	Boot []byte
	// Rules are the fingerprints.
	Rules *fingerprint.Rules
	// Progress is told each step in words for people.
	Progress func(step string)
	// Upload has the loader send flash over the network where it can; nil: it is
	// read over the line.
	Upload *Upload
	// Regain gets back to the loader's prompt after the unit restarted, and
	// returns it. seen is what was printed since.
	Regain func(ctx context.Context, seen []byte) (prompt string, err error)
}

// Prompt is a boot loader's prompt at the end of a line. Its methods are for
// one goroutine at a time.
type Prompt struct {
	line *line.Line
	text string // as printed, "=> "
	o    Options

	screen  line.Screen
	mute    bool   // the prompt does not echo
	version string // the answer to version
	starts  int    // restarts that were survived
	base    int    // the rate before the first SwitchRate; 0: never switched
	reach   reach
	banks   []memory
	parts   []partition
	has32   answered                                // crc32
	upload  func(address uint64, size int64) string // the command; nil: none
	width   mdWidth                                 // the densest form of md that this loader has
}

// answered is what is known of a question that is asked once.
type answered int

const (
	notAsked answered = iota
	yes
	no
)

// New returns the prompt that reads as text on l. Nothing is sent.
func New(l *line.Line, text string, o Options) *Prompt {
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	return &Prompt{line: l, text: text, o: o, width: 8}
}

// ErrOther marks a prompt that is not a boot loader's.
var ErrOther = errors.New("not a boot loader")

// OtherError is what answered instead of a boot loader.
type OtherError struct {
	Shell  bool   // it speaks as a Linux shell does
	Answer string // to "version"
}

func (e *OtherError) Error() string {
	if e.Shell {
		return "a Linux shell answers"
	}
	return fmt.Sprintf("what answers is neither a boot loader nor a Linux shell (%q)", clip(strings.TrimSpace(e.Answer)))
}

func (e *OtherError) Unwrap() error { return ErrOther }

// shellAnswer matches what a Linux shell says of a command that it does not have.
var shellAnswer = regexp.MustCompile(`(?i)not found|BusyBox|GNU bash|no such|permission denied`)

// Meet asks the prompt who it is. Its error is an [*OtherError] when it is not a
// boot loader.
func (p *Prompt) Meet(ctx context.Context) error {
	answer, err := p.askAgain(ctx, "version")
	if err != nil {
		return err
	}
	if strings.Contains(answer, "U-Boot") || unknown(answer) {
		p.version = answer
		p.o.Progress(fmt.Sprintf("boot loader's prompt %q at %d baud", p.text, p.line.Baud()))
		return nil
	}
	return &OtherError{Shell: shellAnswer.MatchString(answer), Answer: answer}
}

// Text is the prompt as the loader prints it.
func (p *Prompt) Text() string { return p.text }

// Restarts is how often the unit restarted and was caught again.
func (p *Prompt) Restarts() int { return p.starts }

// maxRestarts bounds how often a unit may restart. A watchdog that cannot be fed
// restarts it every minute or so.
const maxRestarts = 100

// regain gets back to the prompt after a restart.
func (p *Prompt) regain(ctx context.Context) error {
	if p.starts++; p.starts > maxRestarts {
		return fmt.Errorf("%s: restarted %d times: %w: is a watchdog or the power supply resetting it?", p.line.Name, p.starts, devices.ErrUnreachable)
	}
	if p.o.Regain == nil {
		return fmt.Errorf("%s: %w: %w", p.line.Name, errRestarted, devices.ErrUnreachable)
	}
	p.o.Progress("the unit restarted: stopping it at the boot loader again")
	p.line.Log.Remark("the unit restarted")
	if p.base != 0 { // it starts at its own rate again, and stays there
		if err := p.line.SetBaud(p.base); err != nil {
			return err
		}
	}
	text, err := p.o.Regain(ctx, p.screen.Text)
	if err != nil {
		return err
	}
	p.text = text
	return nil
}

// askAgain sends a command again after a restart or where the line garbled it.
func (p *Prompt) askAgain(ctx context.Context, command string) (answer string, err error) {
	for range 4 {
		answer, err = p.command(ctx, command)
		if errors.Is(err, errRestarted) {
			if err := p.regain(ctx); err != nil {
				return "", err
			}
		} else if !errors.Is(err, errGarbled) {
			return answer, err
		}
	}
	if errors.Is(err, errRestarted) {
		return "", fmt.Errorf("%s: %w at the prompt again and again: %w: is a watchdog or the power supply resetting it?", p.line.Name, err, devices.ErrUnreachable)
	}
	return "", err
}

func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}
