// Package power switches a unit's supply off and on, so that its boot can be
// caught without anybody at the bench: by a program of the operator's own, by the
// ports of a USB hub (uhubctl), or by a line of a GPIO chip (gpioset).
//
// The programs are run without a shell. Facts about uhubctl are from its manual
// page (2.5.0), about gpioset from those of libgpiod 1.6.3 and 2.2.1.
package power

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Switch is a unit's supply.
type Switch interface {
	Off(ctx context.Context) error
	On(ctx context.Context) error
}

// ErrPower is wrapped by every error of a switch.
var ErrPower = errors.New("power")

// Cycle switches off, waits, and switches on. Once it has tried to switch off it
// switches on whatever happens, even when ctx ends: a unit is not left dark.
func Cycle(ctx context.Context, s Switch, off time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	err := s.Off(ctx)
	if err == nil {
		t := time.NewTimer(off)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	on := s.On(context.WithoutCancel(ctx))
	if on != nil && err != nil && on.Error() == err.Error() { // as when there is no such program
		return err
	}
	return errors.Join(err, on)
}

// Parse reads how to switch a unit's power:
//
//	uhubctl:HUB/PORT              a port of a USB hub, as `uhubctl` lists it: uhubctl:1-1.4/2
//	gpio:CHIP/LINE[?active=low]   a line of a GPIO chip that is high (or low) while
//	                              the power is on: gpio:gpiochip0/17
//	PROGRAM [WORD...]             a program, called with one more word: off, or on
//
// The words of a program are parted by spaces. A word with spaces stands in ' or
// in " quotes; a quote of one kind is a plain character within the other, and a
// backslash is a plain character everywhere, as in paths of Windows. There is no
// shell: no variables, no pipes, no *.
func Parse(s string) (Switch, error) {
	if rest, ok := strings.CutPrefix(s, "uhubctl:"); ok {
		return parseHub(s, rest)
	}
	if rest, ok := strings.CutPrefix(s, "gpio:"); ok {
		return parseLine(s, rest)
	}
	words, err := split(s)
	if err != nil {
		return nil, fmt.Errorf("%w %q: %w", ErrPower, s, err)
	}
	if len(words) == 0 || words[0] == "" {
		return nil, fmt.Errorf("%w: empty; want a program, uhubctl:HUB/PORT or gpio:CHIP/LINE", ErrPower)
	}
	return program(words), nil
}

// program is the operator's own program.
type program []string

func (p program) Off(ctx context.Context) error { return p.call(ctx, "off") }
func (p program) On(ctx context.Context) error  { return p.call(ctx, "on") }

func (p program) call(ctx context.Context, word string) error {
	return run(ctx, "", append(append([]string(nil), p...), word)...)
}

// hub is a port of a USB hub that can switch it.
type hub struct{ location, port string }

// hubLocation is a hub as uhubctl names it: the bus, and the ports on the way.
var hubLocation = regexp.MustCompile(`^[0-9]{1,3}(-[0-9]{1,3}(\.[0-9]{1,3}){0,6})?$`)

func parseHub(s, rest string) (Switch, error) {
	location, port, ok := strings.Cut(rest, "/")
	n, err := strconv.Atoi(port)
	if !ok || err != nil || n < 1 || n > 255 || !hubLocation.MatchString(location) {
		return nil, fmt.Errorf("%w %q: want uhubctl:HUB/PORT as `uhubctl` lists them, as in uhubctl:1-1.4/2", ErrPower, s)
	}
	return hub{location, strconv.Itoa(n)}, nil
}

func (h hub) Off(ctx context.Context) error { return h.call(ctx, "off") }
func (h hub) On(ctx context.Context) error  { return h.call(ctx, "on") }

func (h hub) call(ctx context.Context, action string) error {
	return run(ctx, "uhubctl", "uhubctl", "-l", h.location, "-p", h.port, "-a", action)
}

// split cuts a command into its words.
func split(s string) (words []string, err error) {
	var word strings.Builder
	quote := rune(0)
	begun := false
	for _, c := range s {
		switch {
		case quote != 0:
			if c == quote {
				quote = 0
			} else {
				word.WriteRune(c)
			}
		case c == '\'' || c == '"':
			quote, begun = c, true
		case c == ' ' || c == '\t':
			if begun {
				words = append(words, word.String())
				word.Reset()
				begun = false
			}
		case c == 0 || c == '\n' || c == '\r':
			return nil, errors.New("a program is one line of text")
		default:
			word.WriteRune(c)
			begun = true
		}
	}
	if quote != 0 {
		return nil, fmt.Errorf("the quote %c is not closed", quote)
	}
	if begun {
		words = append(words, word.String())
	}
	return words, nil
}
