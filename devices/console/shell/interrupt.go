package shell

import (
	"context"
	"errors"
	"fmt"
	"time"

	"assay/devices"
	"assay/devices/console/line"
)

const ctrlC = "\x03"

// interrupt returns to a fresh prompt: Ctrl-C clears what was typed or ends what
// runs. A console without job control does not pass it on, so what runs is
// waited for. Enter is sent only after Ctrl-C has cleared the line.
func (p *Prompt) interrupt(ctx context.Context) error {
	var last string
	for try := range 8 {
		key := ctrlC
		switch {
		case try == 6: // inside of a parenthesis, at a shell that Ctrl-C does not reach
			key = ")\r"
		case try >= 3 && try%2 == 1:
			key = "\r"
		}
		if err := p.line.Send(key); err != nil {
			return err
		}
		s, err := p.hush(ctx)
		if err != nil {
			return err
		}
		last = s.LastLine()
		if last == p.prompt && p.prompt != "" {
			return nil
		}
		otherPrompt := try >= 2 && last != "> " && promptLine.MatchString(last)
		if bootText.Match(s.Text) || asksLogin(last) || otherPrompt {
			return p.restartSeen(s.Text)
		}
	}
	return fmt.Errorf("%s: the prompt %q does not come back after Ctrl-C (last %q): %w: check the wires, power-cycle the unit and try again", p.line.Name, p.prompt, clip(printable(last)), devices.ErrUnreachable)
}

// hush reads until the unit is quiet.
func (p *Prompt) hush(ctx context.Context) (line.Screen, error) {
	var s line.Screen
	total := 0
	end := time.Now().Add(5 * time.Minute)
	for {
		b, err := p.line.Next(ctx, p.o.Quiet)
		if errors.Is(err, line.ErrQuiet) {
			return s, nil
		}
		if err != nil {
			return s, err
		}
		if total += len(b); total > hushMax || time.Now().After(end) {
			return s, fmt.Errorf("%s: the unit does not stop talking (%d bytes after Ctrl-C): %w: power-cycle it and try again", p.line.Name, total, devices.ErrHostile)
		}
		s.Feed(b)
		s.Trim(8 << 10)
	}
}

// hushMax is more than one command that cannot be interrupted still has to say.
const hushMax = 4 << 20

// drain throws away what came unasked, unless it shows a restart.
func (p *Prompt) drain() error {
	var s line.Screen
	for range drainMax {
		b, err := p.line.Poll()
		if errors.Is(err, line.ErrQuiet) {
			return nil
		}
		if err != nil {
			return err
		}
		s.Feed(b)
		if bootText.Match(s.Text) {
			return p.restartSeen(s.Text)
		}
		s.Trim(8 << 10)
	}
	return fmt.Errorf("%s: the unit does not stop talking: %w: power-cycle it and try again", p.line.Name, devices.ErrHostile)
}

// drainMax is more chunks than a line fills while we look.
const drainMax = 4096
