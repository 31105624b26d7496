package shell

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"time"

	"assay/devices"
	"assay/devices/console/line"
)

// typedMax is how long a typed line may be. BusyBox can be built with an
// editing buffer of 256 (CONFIG_FEATURE_EDITING_MAX_LEN, 1024 by default). A
// longer command is typed over several lines: inside of a parenthesis the shell
// asks for more with its second prompt.
const typedMax = 240

// request is one command: atoms, each with its own terminator, that stand
// together in a parenthesis, and what becomes of their answer.
type request struct {
	atoms []string
	max   int               // bytes of one frame on the line
	limit int64             // of the whole answer; frames times max when 0
	each  func(frame) error // given each frame but the last; may be nil
	after bool              // atoms are typed without the parenthesis
	dump  bool              // the transcript counts the answer instead of keeping it
	plain bool              // what is read may itself look like a boot

	frames int
	tail   []byte // the end of the answer
}

// add puts a frame before atoms. TAG in an atom stands for a marker.
func (r *request) add(tag string, atoms ...string) {
	r.frames++
	r.atoms = append(r.atoms, mark(tag))
	r.atoms = append(r.atoms, atoms...)
}

// mark stands for the command that prints a marker with a tag until the token is
// known.
func mark(tag string) string { return "echo \x00" + tag + ";" }

// said is what the unit said at the end of its answer, for a message.
func (r *request) said() string {
	var s line.Screen
	s.Feed(r.tail)
	return strings.TrimSpace(printable(string(s.Text)))
}

// token is a pair of halves that together stand before no tag by chance. It has
// no letters of ERROR, INFO or DEBUG, which logs are full of.
func newToken() [2]string {
	const letters = "acefhjkmnpqstuvwxyzACFHJKLMPQSTVWXYZ234679"
	var b [10]byte
	for i := range b {
		b[i] = letters[rand.IntN(len(letters))]
	}
	return [2]string{string(b[:5]), string(b[5:])}
}

// layOut puts a command on lines that can be typed.
func (r *request) layOut(token [2]string) []string {
	mark := "'" + token[0] + "''" + token[1] + "'"
	atoms := append([]string(nil), r.atoms...)
	if len(atoms) > 0 && !r.after {
		atoms[0] = "(" + atoms[0]
		atoms = append(atoms, ");")
	}
	atoms = append(atoms, "echo \x00"+endTag+"$?")
	var lines []string
	now := ""
	for i, a := range atoms {
		a = strings.ReplaceAll(a, "\x00", mark)
		last := i == len(atoms)-1
		// What follows the parenthesis has to be typed with it.
		if now != "" && len(now)+len(a) > typedMax-40 && !last && a != ");" {
			lines, now = append(lines, now), ""
		}
		now += a
	}
	return append(lines, now)
}

// ask types a command and reads its answer up to the prompt. status is the
// command's, empty where the last marker did not come; what came until then was
// given to each.
func (p *Prompt) ask(ctx context.Context, r *request) (status string, err error) {
	token := newToken()
	lines := r.layOut(token)
	if err := p.permit(strings.Join(lines, "\n")); err != nil {
		return "", err
	}
	defer func() {
		if ctx.Err() != nil { // whoever comes next finds a prompt
			p.line.Send(ctrlC)
		}
	}()
	for try := range typingTries {
		err = p.typeLines(ctx, lines, try > 0)
		if err == nil {
			return p.answer(ctx, r, token)
		}
		if !errors.Is(err, errGarbled) {
			return "", p.restarted(ctx, err)
		}
		if err := p.interrupt(ctx); err != nil {
			return "", p.restarted(ctx, err)
		}
	}
	return "", err
}

const typingTries = 5

// restarted regains the shell where the error says that the unit restarted. The
// command is lost.
func (p *Prompt) restarted(ctx context.Context, err error) error {
	if !errors.Is(err, ErrRestarted) {
		return err
	}
	if err := p.restart(ctx); err != nil {
		return err
	}
	return fmt.Errorf("%w: %w", errGarbled, ErrRestarted)
}

// restartSeen keeps what showed that the unit restarted.
func (p *Prompt) restartSeen(text []byte) error {
	var s line.Screen
	s.Feed(text)
	p.seen = s.Text
	return ErrRestarted
}

// typeLines types a command up to its last Enter, which is left to answer: a
// line is entered only when its echo shows that it arrived as it was typed.
func (p *Prompt) typeLines(ctx context.Context, lines []string, slow bool) error {
	if err := p.drain(); err != nil {
		return err
	}
	for i, l := range lines {
		if err := p.typeLine(ctx, l, slow); err != nil {
			return err
		}
		if i == len(lines)-1 {
			return nil
		}
		if err := p.line.Send("\r"); err != nil {
			return err
		}
		if err := p.secondPrompt(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (p *Prompt) typeLine(ctx context.Context, text string, slow bool) error {
	piece := len(text)
	if slow {
		piece = 8
	}
	var s line.Screen
	for i := 0; i < len(text); i += piece {
		if err := p.line.Send(text[i:min(i+piece, len(text))]); err != nil {
			return err
		}
		if slow {
			if err := line.Pause(ctx, 10*time.Millisecond); err != nil {
				return err
			}
		}
	}
	var silence time.Duration
	wait := p.o.Quiet + 2*p.line.Time(len(text))
	for end := time.Now().Add(p.o.Patience + wait); !echoed(s.Text, text); {
		b, err := p.line.Next(ctx, wait)
		if len(s.Text) > 0 && time.Now().After(end) {
			return fmt.Errorf("%s: no echo of %q within %s: %w", p.line.Name, clip(text), p.o.Patience, errGarbled)
		}
		if errors.Is(err, line.ErrQuiet) {
			silence += wait
			// A unit that is busy echoes late; one that echoed something else is done.
			if len(s.Text) > 0 && silence >= 2*wait {
				return fmt.Errorf("%s: typed %q and read %q back: %w: shorten the wires and check the ground", p.line.Name, clip(text), clip(printable(string(s.Text))), errGarbled)
			}
			if silence >= p.o.Patience {
				return fmt.Errorf("%s: the prompt %q does not echo what is typed: %w: without an echo nothing shows that a command arrived as it was typed", p.line.Name, p.prompt, devices.ErrUnreachable)
			}
			continue
		}
		if err != nil {
			return err
		}
		silence = 0
		s.Feed(b)
		if bootText.Match(s.Text) {
			return p.restartSeen(s.Text)
		}
		if len(s.Text) > 3*len(text)+8<<10 {
			return fmt.Errorf("%s: too much came back for %q: %w", p.line.Name, clip(text), errGarbled)
		}
	}
	return nil
}

// echoed reports whether a screen ends in what was typed. The shell wraps it at
// the terminal's edge: BusyBox by a line end, bash by the next row's first
// character, or a space, and a return before it comes again.
func echoed(screen []byte, typed string) bool {
	if bytes.HasSuffix(screen, []byte(typed)) {
		return true
	}
	if len(screen) < len(typed) || bytes.IndexByte(screen, '\n') < 0 {
		return false
	}
	if clean := withoutKernel(screen); clean != nil { // the kernel spoke in the middle
		return echoed(clean, typed)
	}
	// Backwards, all numbers of characters of typed that may be left to be seen.
	type place struct {
		left    int
		wrapped bool // a line end was passed over just now
	}
	now := map[place]bool{{left: len(typed)}: true}
	for i := len(screen) - 1; i >= 0 && len(now) > 0; i-- {
		next := map[place]bool{}
		for x := range now {
			c := screen[i]
			if x.wrapped && (c == ' ' || i+2 < len(screen) && c == screen[i+2]) {
				next[place{left: x.left}] = true
			}
			if c == '\n' {
				next[place{x.left, true}] = true
			}
			if c == typed[x.left-1] {
				if x.left == 1 {
					return true
				}
				next[place{left: x.left - 1}] = true
			}
		}
		now = next
	}
	return false
}

// secondPrompt waits for the shell to ask for the rest of a command, with "> "
// as a rule.
func (p *Prompt) secondPrompt(ctx context.Context) error {
	var s line.Screen
	var silence time.Duration
	for end := time.Now().Add(2 * p.o.Patience); ; {
		b, err := p.line.Next(ctx, p.o.Quiet)
		switch {
		case time.Now().After(end):
			return errGarbled
		case errors.Is(err, line.ErrQuiet):
			if last := s.LastLine(); last != "" && last != p.prompt {
				return nil
			}
			if silence += p.o.Quiet; silence >= p.o.Patience || s.LastLine() != "" {
				return errGarbled
			}
			continue
		case err != nil:
			return err
		}
		silence = 0
		s.Feed(b)
		if last := s.LastLine(); last == "> " {
			return nil
		}
		if bootText.Match(s.Text) {
			return p.restartSeen(s.Text)
		}
		if len(s.Text) > 64<<10 {
			return errGarbled
		}
	}
}

// bootText matches what only a boot prints at the start of a line.
var bootText = regexp.MustCompile(`(?m)^(?:U-Boot SPL |U-Boot \d{4}\.|DRAM: |Hit [^\n]{1,30} to (?:stop|abort)|Starting kernel|\[ +0\.000000\] )`)

// bootSigns are the same for a stream of packed bytes, in which a run of text
// like this does not come by chance.
var bootSigns = [][]byte{[]byte("\nU-Boot "), []byte("\nDRAM: "), []byte("\nStarting kernel"), []byte("[    0.000000] ")}

// answer sends the last Enter and reads up to the prompt.
func (p *Prompt) answer(ctx context.Context, r *request, token [2]string) (status string, err error) {
	if err := p.line.Send("\r"); err != nil {
		return "", err
	}
	if r.dump {
		p.line.Log.Mute()
		defer p.line.Log.Unmute()
	}
	limit := r.limit
	if limit == 0 {
		limit = int64(r.frames+1)*int64(r.max) + 64<<10
	}
	f := framer{token: []byte(token[0] + token[1]), max: r.max, each: func(f frame) error {
		if r.each != nil {
			return r.each(f)
		}
		return nil
	}}
	var total int64
	var silence time.Duration
	end := time.Now().Add(2*p.o.Patience + 3*p.line.Time(int(limit)))
	for {
		ended := f.open && strings.HasPrefix(f.now.tag, endTag)
		wait := p.o.Quiet
		if ended && silence == 0 {
			wait = settle
		}
		b, err := p.line.Next(ctx, wait)
		switch {
		case errors.Is(err, line.ErrQuiet):
			silence += wait
			// The prompt without the marker before it: the marker was lost.
			if p.promptIn(r.tail) && (ended || silence >= p.o.Quiet) {
				return status, nil
			}
			if ended && silence >= 4*p.o.Quiet { // something spoke after the prompt
				return status, p.restarted(ctx, p.interrupt(ctx))
			}
			if silence >= p.o.Patience {
				return "", p.silent(ctx, r)
			}
			continue
		case err != nil:
			return status, err
		}
		silence = 0
		if total += int64(len(b)); total > limit || time.Now().After(end) {
			if err := p.interrupt(ctx); err != nil {
				return status, p.restarted(ctx, err)
			}
			return status, fmt.Errorf("%s: the answer is over its bound of %d bytes and the time they take three times over: %w: cut off", p.line.Name, limit, devices.ErrHostile)
		}
		before := len(r.tail)
		r.tail = append(r.tail, b...)
		if !r.plain && bootIn(r.tail[max(0, before-16):]) {
			return status, p.restarted(ctx, p.restartSeen(r.tail))
		}
		if len(r.tail) > 8<<10 {
			r.tail = append(r.tail[:0], r.tail[len(r.tail)-1<<10:]...)
		}
		if err := f.feed(b); err != nil {
			if ierr := p.interrupt(ctx); ierr != nil && !errors.Is(ierr, ErrRestarted) {
				return status, ierr
			}
			return status, err
		}
		if f.open && strings.HasPrefix(f.now.tag, endTag) {
			status = strings.TrimPrefix(f.now.tag, endTag)
			if p.promptIn(r.tail) {
				return status, nil
			}
		}
	}
}

// settle is how long to wait for the prompt behind the last marker at a time.
const settle = 25 * time.Millisecond

func bootIn(b []byte) bool {
	for _, sign := range bootSigns {
		if bytes.Contains(b, sign) {
			return true
		}
	}
	return false
}

// promptIn reports whether the last line of what came is the prompt.
func (p *Prompt) promptIn(tail []byte) bool {
	var s line.Screen
	s.Feed(tail[max(0, len(tail)-512):])
	return s.LastLine() == p.prompt && p.prompt != ""
}

// silent gets the prompt back after an answer that stopped in the middle.
func (p *Prompt) silent(ctx context.Context, r *request) error {
	said := r.said()
	if err := p.interrupt(ctx); err != nil {
		return p.restarted(ctx, err)
	}
	return fmt.Errorf("%s: an answer stopped for %s before its end (last %q): %w", p.line.Name, p.o.Patience, clip(said[max(0, len(said)-60):]), errGarbled)
}

// printable leaves out what could move a reader's cursor.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r >= 0x7f && r < 0xa0 {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "\ufffd"))
}
