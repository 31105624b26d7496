package console

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"assay/devices"
	"assay/devices/console/line"
	"assay/devices/console/readout"
	"assay/devices/console/shell"
	"assay/devices/console/uboot"
	"assay/devices/fingerprint"
)

// prompt is a place where a unit takes commands.
type prompt interface {
	Identify(ctx context.Context, sink devices.Sink) error
	Banks() []devices.Bank
	Source(ctx context.Context, b devices.Bank) (readout.Source, error)
}

// finder is an open line and what is known of what is at its other end.
type finder struct {
	line        *line.Line
	log         *line.Transcript
	quiet       time.Duration
	stopTimeout time.Duration
	progress    func(string)
	account     *devices.Account
	power       func(context.Context) error
	rules       *fingerprint.Rules
	loaderOnly  bool
	listenOnly  bool
	upload      *uboot.Upload

	given    int // the rate that the target names, 0 when it names none
	screen   line.Screen
	prompt   string // a prompt that was found
	rejected string // one that is not a boot loader's
	login    bool   // a Linux login asks
	boot     []byte // the boot log, as far as it was seen
	locked   string // the words in which the loader asked for a password
	starts   int    // how often the unit was caught at boot
	found    string // what is at the other end, for people
}

// find finds a prompt: by asking for it where the unit already stands at one,
// else by stopping its next boot. Where the unit's power can be switched it goes
// for the boot loader first, since its word is worth more than that of the
// system that it has started.
func (f *finder) find(ctx context.Context) (prompt, error) {
	if f.listenOnly {
		return f.listen(ctx)
	}
	f.progress("looking for a prompt")
	seen, err := f.look(ctx)
	if err != nil {
		return nil, err
	}
	switch {
	case f.prompt != "":
		p, met := f.meet(ctx)
		if !errors.Is(met, uboot.ErrOther) {
			return p, met
		}
		if isShell(met) && f.power == nil && !f.loaderOnly {
			return f.shell(ctx)
		}
		f.log.Remark("%v", met)
		f.rejected, f.prompt, err = f.prompt, "", met
		seen = sight{text: f.rejected}
	case f.login && f.hasLogin() && f.power == nil && !f.loaderOnly:
		return f.logIn(ctx)
	}
	if caught := f.catchBoot(ctx, seen); caught != nil {
		return nil, cmp.Or(err, caught)
	}
	if f.login {
		return f.logIn(ctx)
	}
	p, err := f.meet(ctx)
	if isShell(err) && !f.loaderOnly {
		return f.shell(ctx)
	}
	return p, err
}

// hasLogin reports whether there is an account to log in with.
func (f *finder) hasLogin() bool { user, _, ok := f.account.Login(); return ok && user != "" }

func isShell(err error) bool {
	other := (*uboot.OtherError)(nil)
	return errors.As(err, &other) && other.Shell
}

// meet asks the prompt that was found who it is.
func (f *finder) meet(ctx context.Context) (prompt, error) {
	p := uboot.New(f.line, f.prompt, uboot.Options{
		Quiet: f.quiet, Boot: f.boot, Rules: f.rules, Progress: f.progress, Upload: f.upload,
		Regain: func(ctx context.Context, seen []byte) (string, error) {
			err := f.catchBoot(ctx, sight{text: string(seen)})
			return f.prompt, err
		},
	})
	err := p.Meet(ctx)
	if errors.Is(err, uboot.ErrOther) {
		return nil, fmt.Errorf("%s: at the prompt %q: %w: %w: power-cycle the unit while this program waits", f.line.Name, f.prompt, devices.ErrNotUnit, err)
	}
	if err != nil {
		return nil, err
	}
	f.found = fmt.Sprintf("boot loader's prompt %q at %d baud", f.prompt, f.line.Baud())
	return p, nil
}

// shell hands over to the Linux shell whose prompt was found.
func (f *finder) shell(ctx context.Context) (prompt, error) {
	o := f.shellOptions()
	o.Prompt = f.prompt
	p := shell.New(f.line, o)
	if err := p.Meet(ctx); err != nil {
		return nil, err
	}
	f.found = fmt.Sprintf("Linux shell with the prompt %q at %d baud", f.prompt, f.line.Baud())
	f.progress(f.found)
	return p, nil
}

// logIn offers the account once at a login prompt.
func (f *finder) logIn(ctx context.Context) (prompt, error) {
	var err error
	if f.prompt, err = shell.Login(ctx, f.line, f.shellOptions()); err != nil {
		return nil, err
	}
	return f.shell(ctx)
}

func (f *finder) shellOptions() shell.Options {
	var up *shell.Upload
	if u := f.upload; u != nil {
		// A shell's tftp takes a port: any that is free.
		up = &shell.Upload{Unit: u.Unit, Host: u.Host, Listen: func() (net.PacketConn, error) {
			return net.ListenUDP("udp", &net.UDPAddr{IP: u.Host.AsSlice()})
		}}
	}
	return shell.Options{
		Upload: up, Quiet: f.quiet, Account: f.account, Rules: f.rules, Progress: f.progress,
		Regain: func(ctx context.Context, seen []byte) (string, error) {
			if err := f.awaitSystem(ctx, sight{text: string(seen)}); err != nil {
				return "", err
			}
			if !f.login {
				return f.prompt, nil
			}
			return shell.Login(ctx, f.line, f.shellOptions())
		},
	}
}
