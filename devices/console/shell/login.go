package shell

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"assay/devices"
	"assay/devices/console/line"
)

// loginLine matches a line with a login prompt. Init scripts and applications
// print over it ("Ingenic-uc1_1 login: 1970-01-01 08:00:03.816 [DEBUG"), so what
// follows it is not looked at.
var loginLine = regexp.MustCompile(`(?im)^[^\n]{0,80}\blogin: ?`)

var (
	passwordLine = regexp.MustCompile(`(?im)^[^\n]{0,60}password[^\n]{0,20}: ?$`)
	refusedLine  = regexp.MustCompile(`(?im)^[^\n]{0,60}(?:login incorrect|authentication failure|permission denied|access denied|incorrect password|login failed)`)
	pressEnter   = regexp.MustCompile(`(?i)press enter to activate this console`)
)

// asksLogin reports whether a text has a login prompt in it. A greeting that says
// when the last login was has none.
func asksLogin(text string) bool {
	for l := range strings.Lines(text) {
		if loginLine.MatchString(l) && !strings.Contains(strings.ToLower(l), "last login") {
			return true
		}
	}
	return false
}

// How long a login may take. A refusal is held back for three seconds by most
// systems, and a password is hashed slowly by some.
const (
	loginTimeout = 60 * time.Second
	loginMax     = 1 << 20 // bytes
)

// Login gets from a login prompt, or from "Please press Enter to activate this
// console", to a shell, and returns the shell's prompt. The account of o is
// offered once; where it is refused, devices.ErrAccess says so and the account
// is marked as refused.
func Login(ctx context.Context, l *line.Line, o Options) (prompt string, err error) {
	if o.Quiet <= 0 {
		o.Quiet = 250 * time.Millisecond
	}
	d := &door{line: l, o: o, until: time.Now().Add(loginTimeout)}
	return d.enter(ctx)
}

// door is one login.
type door struct {
	line    *line.Line
	o       Options
	until   time.Time
	screen  line.Screen
	total   int
	offered bool
}

func (d *door) enter(ctx context.Context) (string, error) {
	if err := d.line.Send("\r"); err != nil { // for a login prompt that was printed over, and for askfirst
		return "", err
	}
	var named, entered bool // the user was given; Enter was sent again
	for {
		if err := d.listen(ctx); err != nil {
			return "", err
		}
		text, last := string(d.screen.Text), d.screen.LastLine()
		switch {
		case d.offered && (refusedLine.MatchString(text) || asksLogin(last)):
			return "", d.refuse()
		case named && passwordLine.MatchString(last):
			if d.offered {
				return "", d.refuse()
			}
			if err := d.password(); err != nil {
				return "", err
			}
		case asksLogin(last) && named:
			return "", d.refuse()
		case asksLogin(last):
			if err := d.user(ctx); err != nil {
				return "", err
			}
			named = true
		case promptLine.MatchString(last):
			if ok, err := d.confirm(ctx, last); ok || err != nil {
				return last, err
			}
		case time.Now().After(d.until):
			return "", d.nothing(last)
		case (!named || d.offered) && (!entered || pressEnter.MatchString(text) || asksLogin(text)):
			// Something was printed over the prompt: ask for it again.
			entered = true
			d.screen = line.Screen{}
			if err := d.line.Send("\r"); err != nil {
				return "", err
			}
		}
	}
}

// listen reads until the unit is quiet after it said something.
func (d *door) listen(ctx context.Context) error {
	came := false
	for {
		b, err := d.line.Next(ctx, d.o.Quiet)
		if errors.Is(err, line.ErrQuiet) {
			if came || time.Now().After(d.until) {
				return nil
			}
			continue
		}
		if err != nil {
			return err
		}
		came = true
		if d.total += len(b); d.total > loginMax {
			return fmt.Errorf("%s: over %d bytes and no shell: %w: the unit does not stop talking; power-cycle it and try again", d.line.Name, loginMax, devices.ErrHostile)
		}
		d.screen.Feed(b)
		d.screen.Trim(8 << 10)
		if time.Now().After(d.until) {
			return nil
		}
		if last := d.screen.LastLine(); passwordLine.MatchString(last) {
			return nil
		}
	}
}

// user types the account's name and enters it when its echo is right.
func (d *door) user(ctx context.Context) error {
	user, _, ok := d.o.Account.Login()
	if !ok || user == "" {
		return fmt.Errorf("%s: a login prompt, and no account to offer: %w: give the unit's user and password; none is guessed", d.line.Name, devices.ErrAccess)
	}
	if !printableOnly(user) {
		return fmt.Errorf("%s: the user's name has characters that cannot be typed: %w", d.line.Name, devices.ErrAccess)
	}
	for try := range typingTries {
		if try > 0 { // Ctrl-U clears the line
			if err := d.line.Send("\x15"); err != nil {
				return err
			}
			if err := line.Pause(ctx, d.o.Quiet); err != nil {
				return err
			}
		}
		d.screen = line.Screen{}
		if err := d.line.Send(user); err != nil {
			return err
		}
		for range 20 { // the prompt may be printed over while we type
			b, err := d.line.Next(ctx, d.o.Quiet)
			if errors.Is(err, line.ErrQuiet) {
				break
			}
			if err != nil {
				return err
			}
			if d.screen.Feed(b); strings.HasSuffix(string(d.screen.Text), user) {
				d.screen = line.Screen{}
				return d.line.Send("\r")
			}
		}
	}
	return fmt.Errorf("%s: the login prompt does not echo the user's name as it was typed (%q): %w: shorten the wires and check the ground", d.line.Name, clip(printable(string(d.screen.Text))), devices.ErrMalformed)
}

// password offers the password, the only time.
func (d *door) password() error {
	_, password, ok := d.o.Account.Login()
	if !ok {
		return d.refuse()
	}
	d.offered = true
	d.screen = line.Screen{}
	return d.line.SendSecret(password, "\r")
}

func (d *door) refuse() error {
	if d.o.Account != nil {
		d.o.Account.Refuse(d.line.Name)
	}
	return fmt.Errorf("%s: the login was refused: %w: the account that was given is wrong for this unit; it is not offered again", d.line.Name, devices.ErrAccess)
}

// confirm makes sure that a line that looks like a prompt is one: it comes again.
func (d *door) confirm(ctx context.Context, last string) (bool, error) {
	d.screen = line.Screen{}
	if err := d.line.Send("\r"); err != nil {
		return false, err
	}
	if err := d.listen(ctx); err != nil {
		return false, err
	}
	return d.screen.LastLine() == last, nil
}

func (d *door) nothing(last string) error {
	switch {
	case d.offered:
		return fmt.Errorf("%s: no shell within %s after the password (last %q): %w", d.line.Name, loginTimeout, clip(printable(last)), devices.ErrUnreachable)
	case d.total == 0:
		return fmt.Errorf("%s: no answer at the login prompt within %s: %w: check the wires", d.line.Name, loginTimeout, devices.ErrUnreachable)
	}
	return fmt.Errorf("%s: neither a login prompt nor a shell within %s (last %q): %w: power-cycle the unit and try again", d.line.Name, loginTimeout, clip(printable(last)), devices.ErrUnreachable)
}
