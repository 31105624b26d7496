package uboot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"assay/devices"
	"assay/devices/console/line"
)

// readOnly are all the commands that this package may ever type at a prompt, as
// whole lines or, but for fdt, several on a line with "; " between. None changes a
// setting, the flash or what runs next.
var readOnly = regexp.MustCompile(`^(?:` + strings.Join([]string{
	`version`, `help`, `help tftp`, `help tftpput`, `bdinfo`, `printenv`, `coninfo`,
	`flinfo`, `mtd list`, `mtdparts`, `sf probe`, `nand info`, `nand bad`, `mmc info`,
	`fdt addr \$\{fdtcontroladdr\}`,
	`fdt print (?:/signature|/ model|/ compatible)`,
	`fdt list /signature`,
}, "|") + `)$`)

// reading are the commands that read memory: a wrong address hangs a unit, so
// they are allowed where something is known to be. crc32 with a third argument
// would write memory, so exactly two are allowed.
var reading = regexp.MustCompile(`^(?:md\.([bwlq])|crc32) ([0-9a-f]{1,16}) ([0-9a-f]{1,8})$`)

// staging are the commands that write RAM, with the address and the number of
// bytes, or of sectors for mmc. They are allowed inside the staging window only.
var (
	staging        = regexp.MustCompile(`^(?:mw\.b ([0-9a-f]{1,16}) [0-9a-f]{1,2}|(?:sf|nand) read ([0-9a-f]{1,16}) [0-9a-f]{1,16}) ([0-9a-f]{1,8})$`)
	stagingSectors = regexp.MustCompile(`^mmc read ([0-9a-f]{1,16}) [0-9a-f]{1,12} ([0-9a-f]{1,5})$`)
)

// uploading are the commands that send memory over the network.
var uploading = regexp.MustCompile(`^(?:tftpput ([0-9a-f]{1,16}) ([0-9a-f]{1,8}) ` + regexp.QuoteMeta(uploadName) + `|tftp ([0-9a-f]{1,16}) ` + regexp.QuoteMeta(uploadName) + ` ([0-9a-f]{1,8}))$`)

// sector is the unit of mmc read, in bytes.
const sector = 512

// window is a range of addresses.
type window struct{ start, size uint64 }

func (w window) holds(start, size uint64) bool {
	return size <= w.size && start >= w.start && start-w.start <= w.size-size
}

// reach are the addresses that commands may touch.
type reach struct {
	staging window   // RAM that may be written and read
	mapped  []window // flash and identifying registers, to be read only
	rates   []int    // that the person agreed to switch between
	// settings are whole commands that the person agreed to: addresses for an
	// upload.
	settings []string
}

func (r reach) reads(start, size uint64) bool {
	return r.staging.holds(start, size) || slices.ContainsFunc(r.mapped, func(w window) bool { return w.holds(start, size) })
}

// permit refuses a line that is not known to leave the unit as it is.
func (r reach) permit(commands string) error {
	for command := range strings.SplitSeq(commands, "; ") {
		if err := r.permitOne(command); err != nil {
			return err
		}
	}
	return nil
}

func (r reach) permitOne(command string) error {
	if readOnly.MatchString(command) {
		return nil
	}
	if m := reading.FindStringSubmatch(command); m != nil {
		start, size := number(m[2]), number(m[3])
		if m[1] != "" {
			size *= uint64(widthOf(m[1]))
		}
		if size > 0 && r.reads(start, size) {
			return nil
		}
		return fmt.Errorf("command %q reads where nothing is known to be: not sent", command)
	}
	if rate, ok := strings.CutPrefix(command, "setenv baudrate "); ok {
		if n, err := strconv.Atoi(rate); err == nil && slices.Contains(r.rates, n) && rate == strconv.Itoa(n) {
			return nil
		}
	}
	if slices.Contains(r.settings, command) {
		return nil
	}
	if m := uploading.FindStringSubmatch(command); m != nil && len(r.settings) > 0 && r.reads(number(m[1]+m[3]), number(m[2]+m[4])) {
		return nil
	}
	var start, size uint64
	if m := staging.FindStringSubmatch(command); m != nil {
		start, size = number(m[1]+m[2]), number(m[3])
	} else if m := stagingSectors.FindStringSubmatch(command); m != nil {
		start, size = number(m[1]), number(m[2])*sector
	} else {
		return fmt.Errorf("command %q is not one of the reading commands: not sent", command)
	}
	if size == 0 || !r.staging.holds(start, size) {
		return fmt.Errorf("command %q writes memory outside of the staging window %#x+%#x: not sent", command, r.staging.start, r.staging.size)
	}
	return nil
}

// number reads hexadecimal digits that an expression above has matched.
func number(digits string) uint64 {
	n, _ := strconv.ParseUint(digits, 16, 64)
	return n
}

// What can go wrong with one command, for the callers in this package that mend it.
var (
	errGarbled   = errors.New("garbled by the line")
	errRestarted = errors.New("the unit restarted")
)

// answerMax bounds the answer to one command. The longest real one is printenv
// with a 256 KiB environment.
const answerMax = 1 << 20

// request is one command and what its answer may be.
type request struct {
	command  string
	max      int           // bytes of the answer
	patience time.Duration // silence that is borne
	// complete reports whether the answer needs no wait for more behind a
	// prompt. nil: unknown.
	complete func(text []byte) bool
}

// command sends an allowed command and returns its answer without the echo and
// the prompt.
func (p *Prompt) command(ctx context.Context, command string) (string, error) {
	return p.ask(ctx, request{command: command, max: answerMax, patience: devices.Patience})
}

const typingTries = 4

func (p *Prompt) ask(ctx context.Context, r request) (string, error) {
	echoed := false
	for try := range typingTries {
		err := p.typeCommand(ctx, r.command, try > 0)
		if err == nil {
			return p.answer(ctx, r)
		}
		if !errors.Is(err, errGarbled) {
			return "", err
		}
		echoed = echoed || len(p.screen.Text) > 0
		if err := p.interrupt(ctx); err != nil {
			return "", err
		}
	}
	if !echoed {
		p.mute = true
		p.line.Log.Remark("the prompt does not echo; typing blind from here on")
		return p.ask(ctx, r)
	}
	return "", fmt.Errorf("%s: typed %q %d times and the echo never agreed: %w: shorten the wires and check the ground", p.line.Name, r.command, typingTries, errGarbled)
}

// typeCommand types without the Enter and waits for the whole echo, because a
// line may change what is typed into another command. Slow gives a unit without
// a receive buffer time for each character.
//
// It is the only way to the line for a command, and so the place where one that
// is not allowed is stopped.
func (p *Prompt) typeCommand(ctx context.Context, command string, slow bool) error {
	if err := p.reach.permit(command); err != nil {
		return err
	}
	if err := p.drain(); err != nil {
		return err
	}
	p.screen = line.Screen{}
	piece := len(command)
	if slow {
		piece = 1
	}
	for i := 0; i < len(command); i += piece {
		if err := p.line.Send(command[i:min(i+piece, len(command))]); err != nil {
			return err
		}
		if slow {
			if err := line.Pause(ctx, 10*time.Millisecond); err != nil {
				return err
			}
		}
	}
	if p.mute {
		return nil
	}
	wait := p.o.Quiet + 2*p.line.Time(len(command))
	for !bytes.HasSuffix(p.screen.Text, []byte(command)) {
		b, err := p.line.Next(ctx, wait)
		if errors.Is(err, line.ErrQuiet) {
			return errGarbled
		}
		if err != nil {
			return err
		}
		p.screen.Feed(b)
		if restarted.Match(p.screen.Text) {
			return errRestarted
		}
		if len(p.screen.Text) > len(command)+4096 {
			return errGarbled
		}
	}
	return nil
}

// restarted matches what only a boot prints at the start of a line.
var restarted = regexp.MustCompile(`(?m)^(?:U-Boot SPL |DRAM: |Hit [^\n]{1,30} to (?:stop|abort)|Starting kernel|.{0,40}Linux version \d)`)

// answer sends Enter and reads up to the prompt. "==> " in an answer of crc32
// ends like a prompt, so a prompt counts only at the start of a line, or at the
// end of a line on which nothing more comes.
func (p *Prompt) answer(ctx context.Context, r request) (string, error) {
	p.screen = line.Screen{}
	if err := p.line.Send("\r"); err != nil {
		return "", err
	}
	var silence time.Duration
	checked := 0
	for {
		wait := settle
		if silence >= settle {
			wait = p.o.Quiet
		}
		b, err := p.line.Next(ctx, wait)
		switch {
		case errors.Is(err, line.ErrQuiet):
			silence += wait
			if p.atPrompt() || (silence >= p.o.Quiet && bytes.HasSuffix(p.screen.Text, []byte(p.text))) {
				return p.withoutPrompt(), nil
			}
			if silence >= r.patience {
				return "", p.noPrompt(ctx, r)
			}
			continue
		case err != nil:
			return "", err
		}
		silence = 0
		p.screen.Feed(b)
		// A line that began in an earlier chunk may become a match only now.
		if tail := p.screen.Text[max(0, checked-64):]; restarted.Match(tail) && r.command != "version" {
			return "", errRestarted
		}
		checked = len(p.screen.Text)
		if len(p.screen.Text) > r.max {
			if err := p.interrupt(ctx); err != nil {
				return "", err
			}
			return "", fmt.Errorf("%s: the answer to %q is over %d bytes: %w: cut off", p.line.Name, r.command, r.max, devices.ErrHostile)
		}
		if r.complete != nil && p.atPrompt() && r.complete(p.screen.Text) {
			return p.withoutPrompt(), nil
		}
	}
}

// settle is how long a prompt must stay the last thing on the line.
const settle = 25 * time.Millisecond

func (p *Prompt) atPrompt() bool {
	return p.screen.LastLine() == p.text && len(p.screen.Text) > len(p.text)
}

func (p *Prompt) withoutPrompt() string {
	return string(bytes.TrimSuffix(bytes.TrimPrefix(p.screen.Text, []byte("\n")), []byte(p.text)))
}

// noPrompt gets the prompt back after an answer that ended without one.
func (p *Prompt) noPrompt(ctx context.Context, r request) error {
	if err := p.interrupt(ctx); err != nil {
		return err
	}
	return fmt.Errorf("%s: the answer to %q did not end in the prompt %q within %s: %w", p.line.Name, r.command, p.text, r.patience, errGarbled)
}

const ctrlC = "\x03"

// interrupt returns to a fresh prompt. It never sends Enter, since an empty
// line makes U-Boot repeat the last command.
func (p *Prompt) interrupt(ctx context.Context) error {
	for range 6 {
		p.screen = line.Screen{}
		if err := p.line.Send(ctrlC); err != nil {
			return err
		}
		total := 0
		for {
			b, err := p.line.Next(ctx, p.o.Quiet)
			if errors.Is(err, line.ErrQuiet) {
				break
			}
			if err != nil {
				return err
			}
			if total += len(b); total > answerMax {
				return fmt.Errorf("%s: the unit does not stop talking (over %d bytes after Ctrl-C): %w: power-cycle it and try again", p.line.Name, answerMax, devices.ErrHostile)
			}
			p.screen.Feed(b)
			if restarted.Match(p.screen.Text) {
				return errRestarted
			}
			p.screen.Trim(8 << 10)
		}
		if p.screen.LastLine() == p.text {
			return nil
		}
	}
	return fmt.Errorf("%s: the prompt %q does not come back after Ctrl-C: %w: check the wires, power-cycle the unit and try again", p.line.Name, p.text, devices.ErrUnreachable)
}

// drain throws away what came unasked, unless it shows a restart.
func (p *Prompt) drain() error {
	for range drainMax {
		b, err := p.line.Poll()
		if errors.Is(err, line.ErrQuiet) {
			return nil
		}
		if err != nil {
			return err
		}
		p.screen.Feed(b)
		if restarted.Match(p.screen.Text) {
			return errRestarted
		}
		p.screen.Trim(8 << 10)
	}
	return fmt.Errorf("%s: the unit does not stop talking: %w: power-cycle it and try again", p.line.Name, devices.ErrHostile)
}

// drainMax is more chunks than a line fills while we look.
const drainMax = 4096

// unknown reports whether an answer says that the command does not exist.
// It says so at the start of a line; a dump of the loader's own strings has the
// same words in its text column.
func unknown(answer string) bool {
	return strings.HasPrefix(answer, "Unknown command") || strings.Contains(answer, "\nUnknown command")
}
