package power

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"time"
)

// gpio is a line of a GPIO chip, held by the program gpioset. When nobody holds a
// line any more its driver may let it go back to what it was, so it is held at off
// while the power is off and at on from then until [gpio.Close] or the end of this
// program. A relay that keeps the unit powered while its line rests is the safe
// way to wire one.
type gpio struct {
	chip, line string
	low        bool // the power is on while the line is low

	mu     sync.Mutex
	holder *exec.Cmd
	gone   chan struct{} // closed when the holder has ended
	err    error         // how, read after gone
}

var (
	gpioChip = regexp.MustCompile(`^(/dev/)?[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}$`)
	gpioLine = regexp.MustCompile(`^[0-9]{1,4}$`)
)

func parseLine(s, rest string) (Switch, error) {
	rest, query, asked := strings.Cut(rest, "?")
	i := strings.LastIndex(rest, "/")
	if i < 0 || !gpioChip.MatchString(rest[:i]) || !gpioLine.MatchString(rest[i+1:]) || asked && query != "active=low" && query != "active=high" {
		return nil, fmt.Errorf("%w %q: want gpio:CHIP/LINE[?active=low] as `gpioinfo` lists them, as in gpio:gpiochip0/17", ErrPower, s)
	}
	return &gpio{chip: rest[:i], line: rest[i+1:], low: query == "active=low"}, nil
}

func (g *gpio) Off(ctx context.Context) error { return g.hold(ctx, false) }
func (g *gpio) On(ctx context.Context) error  { return g.hold(ctx, true) }

// settled is how long a holder must live to count as holding: one that cannot have
// the line ends at once, and says why.
const settled = 300 * time.Millisecond

func (g *gpio) hold(ctx context.Context, on bool) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	words, err := g.words(ctx, on)
	if err != nil {
		return err
	}
	c, err := command(ctx, "gpiod", words...)
	if err != nil {
		return err
	}
	g.release()
	in, err := c.StdinPipe() // held open: some versions end with their input
	if err != nil {
		return fmt.Errorf("%w: %w", ErrPower, err)
	}
	out, gone := &output{}, make(chan struct{})
	c.Stdout, c.Stderr = out, out
	tell(ctx, "power: %s", shown(words))
	if err := c.Start(); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrPower, shown(words), err)
	}
	g.holder, g.gone = c, gone
	go func() {
		g.err = c.Wait()
		_ = in.Close()
		close(gone)
	}()
	select {
	case <-gone:
		g.holder = nil
		return fmt.Errorf("%w: %s did not hold the line (%v)%s", ErrPower, shown(words), g.err, out.quote())
	case <-time.After(settled):
		return nil
	case <-ctx.Done():
		g.release()
		return ctx.Err()
	}
}

func (g *gpio) release() {
	if g.holder != nil {
		end(g.holder)
		<-g.gone
		g.holder = nil
	}
}

// Close lets the line go.
func (g *gpio) Close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.release()
	return nil
}

var gpiosetVersion = regexp.MustCompile(`v?([0-9]+)\.[0-9]`)

// words are how gpioset is called. Its two versions differ: the first must be told
// to hold the line, and the second takes the chip as an option and holds by itself.
func (g *gpio) words(ctx context.Context, on bool) ([]string, error) {
	c, err := command(ctx, "gpiod", "gpioset", "--version")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	out := &output{}
	c.Stdout, c.Stderr = out, out
	if err := runUntil(ctx, c); err != nil {
		return nil, fmt.Errorf("%w: gpioset --version: %w", ErrPower, err)
	}
	setting := g.line + "=0"
	if on != g.low {
		setting = g.line + "=1"
	}
	if m := gpiosetVersion.FindStringSubmatch(string(out.kept)); m != nil && m[1] != "1" && m[1] != "0" {
		return []string{"gpioset", "--chip", g.chip, setting}, nil
	}
	return []string{"gpioset", "--mode=signal", g.chip, setting}, nil
}
