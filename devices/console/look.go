package console

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

// sight is what one look at the line showed.
type sight struct {
	bytes, readable int
	text            string
	echoOnly        bool // what came back is what was sent
}

// noisy reports bytes that a terminal would not show: another rate, or no ground.
func (v sight) noisy() bool { return v.readable*4 < v.bytes*3 }

func (v sight) reads() bool { return v.bytes >= 8 && v.readable*10 >= v.bytes*9 }

func (v *sight) add(b []byte) {
	v.bytes += len(b)
	for _, c := range b {
		if c >= 0x20 && c < 0x7f || c == '\r' || c == '\n' || c == '\t' || c == '\b' || c == '\a' || c == 0x1b {
			v.readable++
		}
	}
}

// look finds out whether the unit stands at a prompt or a login.
func (f *finder) look(ctx context.Context) (sight, error) {
	seen, err := f.probeRates(ctx)
	if err == nil && f.prompt == "" {
		f.login = loginPrompt.MatchString(lastLine(strings.TrimRight(seen.text, "\n")))
	}
	if err == nil {
		f.found = f.says(seen)
		f.progress(fmt.Sprintf("at the other end: %s at %d baud", f.found, f.line.Baud()))
	}
	return seen, err
}

// menuLines match a menu of a vendor's loader or upgrade program, as in
// "1: Upgrade firmware" and "[u/U] key to upgrade software".
var menuLines = regexp.MustCompile(`(?m)^\s*(?:\[[0-9a-zA-Z](?:/[0-9a-zA-Z])?\]|\(?[0-9a-z][):.])\s+\S.{2,60}$`)

// says tells people what a look at the line showed.
func (f *finder) says(v sight) string {
	switch {
	case f.prompt != "":
		return fmt.Sprintf("a prompt %q", f.prompt)
	case f.login:
		return "a Linux login"
	case v.echoOnly:
		return "only our own bytes"
	case v.bytes == 0:
		return "silence"
	case v.noisy():
		return "binary noise at every usual rate"
	case bootText.MatchString(v.text):
		return "a boot that scrolls by"
	case askFirst.MatchString(v.text):
		return "a console that waits for Enter"
	case len(menuLines.FindAllString(v.text, 2)) == 2:
		return "a menu"
	}
	return "text without a prompt"
}

// probeRates looks for a prompt at the target's rate or, where none is given, at
// each usual one. It leaves the line at the rate that reads best.
func (f *finder) probeRates(ctx context.Context) (sight, error) {
	best, bestRate := sight{}, line.Rates[0]
	if f.given != 0 {
		v, err := f.probe(ctx, f.given)
		if err != nil || f.prompt != "" || !v.noisy() || v.echoOnly {
			return v, err
		}
		best, bestRate = v, f.given
	}
	usual := line.Rates
	if !f.line.HasRate() {
		usual = usual[:1]
	}
	for _, baud := range usual {
		if baud == f.given {
			continue
		}
		v, err := f.probe(ctx, baud)
		if errors.Is(err, line.ErrRate) {
			continue
		}
		if err != nil {
			return best, err
		}
		if f.prompt != "" || v.reads() {
			if f.given != 0 {
				return v, f.wrongRate(baud)
			}
			return v, nil
		}
		if best.bytes == 0 {
			best = v
		}
	}
	return best, f.line.SetBaud(bestRate)
}

func (f *finder) wrongRate(better int) error {
	return fmt.Errorf("%s: noise at %d baud; the line reads well at %d: %w: give ?baud=%d", f.line.Name, f.given, better, devices.ErrMalformed, better)
}

// probe sends Ctrl-C twice at a rate. The same prompt after both is a prompt.
func (f *finder) probe(ctx context.Context, baud int) (sight, error) {
	if err := f.line.SetBaud(baud); err != nil {
		return sight{}, err
	}
	first, err := f.poke(ctx)
	// What was asked for before the line was lost may still be coming, and a
	// flash that comes as it is looks like noise: Ctrl-C has ended it by now.
	for again := 0; err == nil && first.noisy() && again < 2; again++ {
		first, err = f.poke(ctx)
	}
	if err != nil || first.bytes == 0 || first.noisy() {
		return first, err
	}
	line := lastLine(first.text)
	second, err := f.poke(ctx)
	if err == nil && isPrompt(line) && lastLine(second.text) == line {
		f.prompt = line
	}
	first.text += second.text
	return first, err
}

// attachMax bounds what a unit may say before its prompt is found.
const attachMax = 8 << 20

// poke sends one Ctrl-C and reads until the unit is quiet, at most two seconds:
// a boot that scrolls by is for catchBoot.
func (f *finder) poke(ctx context.Context) (v sight, err error) {
	if err := f.line.Send(ctrlC); err != nil {
		return v, err
	}
	var raw []byte
	f.screen = line.Screen{}
	for end := time.Now().Add(max(2*time.Second, 4*f.quiet)); time.Now().Before(end); {
		b, err := f.line.Next(ctx, f.quiet)
		if errors.Is(err, line.ErrQuiet) {
			break
		}
		if err != nil {
			return v, err
		}
		v.add(b)
		if v.bytes > attachMax {
			return v, f.endless()
		}
		if len(raw) < 64 {
			raw = append(raw, b...)
		}
		f.screen.Feed(b)
		if bootText.Match(f.screen.Text) {
			break
		}
	}
	v.text, v.echoOnly = string(f.screen.Text), string(raw) == ctrlC
	return v, nil
}

func (f *finder) endless() error {
	return fmt.Errorf("%s: over %d bytes without a prompt: %w: the unit does not stop talking; power-cycle it and try again", f.line.Name, attachMax, devices.ErrHostile)
}

func lastLine(text string) string { return text[strings.LastIndexByte(text, '\n')+1:] }
