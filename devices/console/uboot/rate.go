package uboot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"assay/devices"
	"assay/devices/console/line"
)

// SwitchRate lets the loader and the line go on at another rate, in bits a
// second, until [Prompt.Leave] or the unit's next restart. It changes a variable
// in the loader's RAM, and so is for who has agreed to that; nothing is saved.
// A loader that does not know the rate says so, which is an error that leaves
// everything as it was.
//
// The loader prints that it switches, waits 50 ms, switches, and then waits for an
// Enter for ever (U-Boot drivers/serial/serial-uclass.c, on_baudrate).
func (p *Prompt) SwitchRate(ctx context.Context, baud int) error {
	if !p.line.HasRate() {
		return fmt.Errorf("%s: a line without a rate of its own cannot be switched", p.line.Name)
	}
	if p.base == 0 {
		p.base = p.line.Baud()
	}
	was := p.line.Baud()
	if baud == was {
		return nil
	}
	p.reach.rates = []int{p.base, baud}
	p.o.Progress(fmt.Sprintf("switching the line from %d to %d baud", was, baud))
	if err := p.typeCommand(ctx, fmt.Sprintf("setenv baudrate %d", baud), false); err != nil {
		return errors.Join(err, p.interrupt(ctx))
	}
	p.screen = line.Screen{}
	if err := p.line.Send("\r"); err != nil {
		return err
	}
	switches, err := p.waitFor(ctx, "press ENTER")
	if err != nil {
		return err
	}
	if !switches {
		if err := p.interrupt(ctx); err != nil {
			return err
		}
		return fmt.Errorf("%s: the boot loader does not switch to %d baud (%q): %w", p.line.Name, baud, clip(strings.TrimSpace(string(p.screen.Text))), devices.ErrAccess)
	}
	if err := line.Pause(ctx, switchTakes); err != nil {
		return err
	}
	if err := p.line.SetBaud(baud); err != nil {
		return err
	}
	p.line.Log.Remark("the line is at %d baud", baud)
	if err := p.enter(ctx); err == nil {
		return nil
	} else if errors.Is(err, line.ErrGone) || ctx.Err() != nil {
		return err
	}
	// One side did not follow: the loader may stand at either rate.
	if err := p.line.SetBaud(was); err != nil {
		return err
	}
	if err := p.enter(ctx); err != nil {
		return fmt.Errorf("%s: after the switch to %d baud the loader answers at neither rate: %w: power-cycle the unit and leave the rate as it is", p.line.Name, baud, devices.ErrUnreachable)
	}
	return fmt.Errorf("%s: the line does not carry %d baud: %w", p.line.Name, baud, devices.ErrAccess)
}

// switchTakes is more than the time after which the loader has switched.
const switchTakes = 120 * time.Millisecond

// waitFor reads until the loader has said words, or its prompt came.
func (p *Prompt) waitFor(ctx context.Context, words string) (bool, error) {
	for silence := time.Duration(0); silence < devices.Patience; {
		b, err := p.line.Next(ctx, p.o.Quiet)
		switch {
		case errors.Is(err, line.ErrQuiet):
			if silence += p.o.Quiet; p.atPrompt() {
				return false, nil
			}
			continue
		case err != nil:
			return false, err
		}
		silence = 0
		if p.screen.Feed(b); bytes.Contains(p.screen.Text, []byte(words)) {
			return true, nil
		}
		if len(p.screen.Text) > answerMax {
			break
		}
	}
	return false, nil
}

// enter gives the loader the Enter that it waits for and makes sure of the prompt.
func (p *Prompt) enter(ctx context.Context) error {
	for range 3 {
		p.screen = line.Screen{}
		if err := p.line.Send("\r"); err != nil {
			return err
		}
		if err := p.interrupt(ctx); err != nil {
			if errors.Is(err, line.ErrGone) || ctx.Err() != nil {
				return err
			}
			continue
		}
		if answer, err := p.command(ctx, "version"); err == nil && answer == p.version {
			return nil
		}
	}
	return errGarbled
}

// Leave gives the loader back the rate that it had.
func (p *Prompt) Leave(ctx context.Context) error {
	if p.base == 0 || p.line.Baud() == p.base {
		return nil
	}
	return p.SwitchRate(ctx, p.base)
}
