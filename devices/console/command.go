package console

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"assay/devices"
	"assay/devices/console/line"
)

// readOnly are all the commands that this package may ever type at a prompt, as
// whole lines. None changes a setting, the flash or what runs next. crc32 with a
// third argument would write memory, so exactly two are allowed.
var readOnly = regexp.MustCompile(`^(?:` + strings.Join([]string{
	`version`, `help`, `bdinfo`, `printenv`, `coninfo`,
	`flinfo`, `mtd list`, `sf probe`, `nand info`, `mmc info`,
	`md\.[bwlq] [0-9a-f]{1,16} [0-9a-f]{1,8}`,
	`crc32 [0-9a-f]{1,16} [0-9a-f]{1,8}`,
	`fdt addr \$\{fdtcontroladdr\}`,
	`fdt print (?:/signature|/ model|/ compatible)`,
	`fdt list /signature`,
}, "|") + `)$`)

// staged are the commands that write RAM. They are allowed inside the staging
// window only.
var staged = regexp.MustCompile(`^(?:mw\.b ([0-9a-f]{1,16}) [0-9a-f]{1,2} ([0-9a-f]{1,8})|sf read ([0-9a-f]{1,16}) [0-9a-f]{1,16} ([0-9a-f]{1,8}))$`)

// window is a range of RAM.
type window struct{ start, size uint64 }

func (w window) holds(start, size uint64) bool {
	return size <= w.size && start >= w.start && start-w.start <= w.size-size
}

// permit refuses a command that is not known to leave the unit as it is.
func permit(command string, staging window) error {
	if readOnly.MatchString(command) {
		return nil
	}
	if m := staged.FindStringSubmatch(command); m != nil {
		start, err1 := strconv.ParseUint(m[1]+m[3], 16, 64)
		size, err2 := strconv.ParseUint(m[2]+m[4], 16, 64)
		if err1 == nil && err2 == nil && size > 0 && staging.holds(start, size) {
			return nil
		}
		return fmt.Errorf("command %q writes memory outside of the staging window %#x+%#x: not sent", command, staging.start, staging.size)
	}
	return fmt.Errorf("command %q is not one of the reading commands: not sent", command)
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
func (s *session) command(ctx context.Context, command string) (string, error) {
	return s.ask(ctx, request{command: command, max: answerMax, patience: devices.Patience})
}

const typingTries = 4

func (s *session) ask(ctx context.Context, r request) (string, error) {
	if err := permit(r.command, s.staging); err != nil {
		return "", err
	}
	echoed := false
	for try := range typingTries {
		err := s.typeCommand(ctx, r.command, try > 0)
		if err == nil {
			return s.answer(ctx, r)
		}
		if !errors.Is(err, errGarbled) {
			return "", err
		}
		echoed = echoed || len(s.screen.Text) > 0
		if err := s.interrupt(ctx); err != nil {
			return "", err
		}
	}
	if !echoed {
		s.mute = true
		s.log.Remark("the prompt does not echo; typing blind from here on")
		return s.ask(ctx, r)
	}
	return "", fmt.Errorf("%s: typed %q %d times and the echo never agreed: %w: shorten the wires and check the ground", s.line.Name, r.command, typingTries, errGarbled)
}

// typeCommand types without the Enter and waits for the whole echo, because a
// line may change what is typed into another command. Slow gives a unit without
// a receive buffer time for each character.
func (s *session) typeCommand(ctx context.Context, command string, slow bool) error {
	if err := s.drain(); err != nil {
		return err
	}
	s.screen = line.Screen{}
	piece := len(command)
	if slow {
		piece = 1
	}
	for i := 0; i < len(command); i += piece {
		if err := s.line.Send(command[i:min(i+piece, len(command))]); err != nil {
			return err
		}
		if slow {
			if err := line.Pause(ctx, 10*time.Millisecond); err != nil {
				return err
			}
		}
	}
	if s.mute {
		return nil
	}
	wait := s.quiet + 2*s.line.Time(len(command))
	for !bytes.HasSuffix(s.screen.Text, []byte(command)) {
		b, err := s.line.Next(ctx, wait)
		if errors.Is(err, line.ErrQuiet) {
			return errGarbled
		}
		if err != nil {
			return err
		}
		s.screen.Feed(b)
		if restarted.Match(s.screen.Text) {
			return errRestarted
		}
		if len(s.screen.Text) > len(command)+4096 {
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
func (s *session) answer(ctx context.Context, r request) (string, error) {
	s.screen = line.Screen{}
	if err := s.line.Send("\r"); err != nil {
		return "", err
	}
	var silence time.Duration
	checked := 0
	for {
		wait := settle
		if silence >= settle {
			wait = s.quiet
		}
		b, err := s.line.Next(ctx, wait)
		switch {
		case errors.Is(err, line.ErrQuiet):
			silence += wait
			if s.atPrompt() || (silence >= s.quiet && bytes.HasSuffix(s.screen.Text, []byte(s.prompt))) {
				return s.withoutPrompt(), nil
			}
			if silence >= r.patience {
				return "", s.noPrompt(ctx, r)
			}
			continue
		case err != nil:
			return "", err
		}
		silence = 0
		s.screen.Feed(b)
		// A line that began in an earlier chunk may become a match only now.
		if tail := s.screen.Text[max(0, checked-64):]; restarted.Match(tail) && r.command != "version" {
			return "", errRestarted
		}
		checked = len(s.screen.Text)
		if len(s.screen.Text) > r.max {
			if err := s.interrupt(ctx); err != nil {
				return "", err
			}
			return "", fmt.Errorf("%s: the answer to %q is over %d bytes: %w: cut off", s.line.Name, r.command, r.max, devices.ErrHostile)
		}
		if r.complete != nil && s.atPrompt() && r.complete(s.screen.Text) {
			return s.withoutPrompt(), nil
		}
	}
}

// settle is how long a prompt must stay the last thing on the line.
const settle = 25 * time.Millisecond

func (s *session) atPrompt() bool {
	return s.screen.LastLine() == s.prompt && len(s.screen.Text) > len(s.prompt)
}

func (s *session) withoutPrompt() string {
	return string(bytes.TrimSuffix(bytes.TrimPrefix(s.screen.Text, []byte("\n")), []byte(s.prompt)))
}

// noPrompt gets the prompt back after an answer that ended without one.
func (s *session) noPrompt(ctx context.Context, r request) error {
	if err := s.interrupt(ctx); err != nil {
		return err
	}
	return fmt.Errorf("%s: the answer to %q did not end in the prompt %q within %s: %w", s.line.Name, r.command, s.prompt, r.patience, errGarbled)
}

const ctrlC = "\x03"

// interrupt returns to a fresh prompt. It never sends Enter, since an empty
// line makes U-Boot repeat the last command.
func (s *session) interrupt(ctx context.Context) error {
	for range 6 {
		s.screen = line.Screen{}
		if err := s.line.Send(ctrlC); err != nil {
			return err
		}
		total := 0
		for {
			b, err := s.line.Next(ctx, s.quiet)
			if errors.Is(err, line.ErrQuiet) {
				break
			}
			if err != nil {
				return err
			}
			if total += len(b); total > answerMax {
				return fmt.Errorf("%s: the unit does not stop talking (over %d bytes after Ctrl-C): %w: power-cycle it and try again", s.line.Name, answerMax, devices.ErrHostile)
			}
			s.screen.Feed(b)
			if restarted.Match(s.screen.Text) {
				return errRestarted
			}
			s.screen.Trim(8 << 10)
		}
		if s.screen.LastLine() == s.prompt {
			return nil
		}
	}
	return fmt.Errorf("%s: the prompt %q does not come back after Ctrl-C: %w: check the wires, power-cycle the unit and try again", s.line.Name, s.prompt, devices.ErrUnreachable)
}

// drain throws away what came unasked, unless it shows a restart.
func (s *session) drain() error {
	for range drainMax {
		b, err := s.line.Poll()
		if errors.Is(err, line.ErrQuiet) {
			return nil
		}
		if err != nil {
			return err
		}
		s.screen.Feed(b)
		if restarted.Match(s.screen.Text) {
			return errRestarted
		}
		s.screen.Trim(8 << 10)
	}
	return fmt.Errorf("%s: the unit does not stop talking: %w: power-cycle it and try again", s.line.Name, devices.ErrHostile)
}

// drainMax is more chunks than a line fills while we look.
const drainMax = 4096

// unknown reports whether an answer says that the command does not exist.
// It says so at the start of a line; a dump of the loader's own strings has the
// same words in its text column.
func unknown(answer string) bool {
	return strings.HasPrefix(answer, "Unknown command") || strings.Contains(answer, "\nUnknown command")
}
