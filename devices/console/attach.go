package console

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

// attach finds a boot loader's prompt: by asking for it where the unit already
// stands at one, else by stopping its next boot.
func (s *session) attach(ctx context.Context) error {
	s.progress("looking for a boot loader's prompt")
	seen, err := s.probeRates(ctx)
	if err != nil {
		return err
	}
	if s.prompt != "" {
		if err = s.meet(ctx); !errors.Is(err, errOther) {
			return err
		}
		s.log.Remark("%v", err)
		s.progress("the prompt is not a boot loader's")
		s.rejected, s.prompt = s.prompt, ""
		seen = sight{text: s.rejected}
	}
	if caught := s.catchBoot(ctx, seen); caught != nil {
		if err != nil {
			return err
		}
		return caught
	}
	return s.meet(ctx)
}

// errOther marks a prompt that is not a boot loader's.
var errOther = errors.New("not a boot loader")

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
		if c >= 0x20 && c < 0x7f || c == '\r' || c == '\n' || c == '\t' || c == '\b' || c == 0x1b {
			v.readable++
		}
	}
}

// probeRates looks for a prompt at the target's rate or, where none is given, at
// each usual one. It leaves the line at the rate that reads best.
func (s *session) probeRates(ctx context.Context) (sight, error) {
	best, bestRate := sight{}, line.Rates[0]
	if s.given != 0 {
		v, err := s.probe(ctx, s.given)
		if err != nil || s.prompt != "" || !v.noisy() || v.echoOnly {
			return v, err
		}
		best, bestRate = v, s.given
	}
	usual := line.Rates
	if !s.line.HasRate() {
		usual = usual[:1]
	}
	for _, baud := range usual {
		if baud == s.given {
			continue
		}
		v, err := s.probe(ctx, baud)
		if err != nil {
			return best, err
		}
		if s.prompt != "" || v.reads() {
			if s.given != 0 {
				return v, s.wrongRate(baud)
			}
			return v, nil
		}
		if best.bytes == 0 {
			best = v
		}
	}
	return best, s.line.SetBaud(bestRate)
}

func (s *session) wrongRate(better int) error {
	return fmt.Errorf("%s: noise at %d baud; the line reads well at %d: %w: give ?baud=%d", s.line.Name, s.given, better, devices.ErrMalformed, better)
}

// probe sends Ctrl-C twice at a rate. The same prompt after both is a prompt.
func (s *session) probe(ctx context.Context, baud int) (sight, error) {
	if err := s.line.SetBaud(baud); err != nil {
		return sight{}, err
	}
	first, err := s.poke(ctx)
	if err != nil || first.bytes == 0 || first.noisy() {
		return first, err
	}
	line := lastLine(first.text)
	second, err := s.poke(ctx)
	if err == nil && promptLine.MatchString(line) && lastLine(second.text) == line {
		s.prompt = line
	}
	first.text += second.text
	return first, err
}

// attachMax bounds what a unit may say before its prompt is found.
const attachMax = 8 << 20

// poke sends one Ctrl-C and reads until the unit is quiet, at most two seconds:
// a boot that scrolls by is for catchBoot.
func (s *session) poke(ctx context.Context) (v sight, err error) {
	if err := s.line.Send(ctrlC); err != nil {
		return v, err
	}
	var raw []byte
	s.screen = line.Screen{}
	for end := time.Now().Add(max(2*time.Second, 4*s.quiet)); time.Now().Before(end); {
		b, err := s.line.Next(ctx, s.quiet)
		if errors.Is(err, line.ErrQuiet) {
			break
		}
		if err != nil {
			return v, err
		}
		v.add(b)
		if v.bytes > attachMax {
			return v, s.endless()
		}
		if len(raw) < 64 {
			raw = append(raw, b...)
		}
		s.screen.Feed(b)
		if bootText.Match(s.screen.Text) {
			break
		}
	}
	v.text, v.echoOnly = string(s.screen.Text), string(raw) == ctrlC
	return v, nil
}

func (s *session) endless() error {
	return fmt.Errorf("%s: over %d bytes without a prompt: %w: the unit does not stop talking; power-cycle it and try again", s.line.Name, attachMax, devices.ErrHostile)
}

func lastLine(text string) string { return text[strings.LastIndexByte(text, '\n')+1:] }

// meet asks the prompt who it is. A Linux shell has a prompt as well.
func (s *session) meet(ctx context.Context) error {
	answer, err := s.command(ctx, "version")
	for range 3 {
		if errors.Is(err, errRestarted) {
			if err := s.catchBoot(ctx, sight{text: string(s.screen.Text)}); err != nil {
				return err
			}
		} else if !errors.Is(err, errGarbled) {
			break
		}
		answer, err = s.command(ctx, "version")
	}
	if errors.Is(err, errRestarted) {
		return fmt.Errorf("%s: %w at the prompt again and again: %w: is a watchdog or the power supply resetting it?", s.line.Name, err, devices.ErrUnreachable)
	}
	if err != nil {
		return err
	}
	switch {
	case strings.Contains(answer, "U-Boot"), unknown(answer):
		s.version = answer
		s.progress(fmt.Sprintf("boot loader's prompt %q at %d baud", s.prompt, s.line.Baud()))
		return nil
	case shellAnswer.MatchString(answer):
		return fmt.Errorf("%s: a Linux shell answers (prompt %q): %w: %w: this channel reads the boot loader; power-cycle the unit while this program waits", s.line.Name, s.prompt, devices.ErrAccess, errOther)
	}
	return fmt.Errorf("%s: a prompt %q answers and is not U-Boot's: %w: %w: power-cycle the unit while this program waits", s.line.Name, s.prompt, devices.ErrNotUnit, errOther)
}

func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}

// keyEvery paces the keys that stop autoboot: fast enough for a countdown of
// no second, slow enough for a receive buffer of sixteen bytes.
const keyEvery = 60 * time.Millisecond

// catchBoot waits for a boot and stops it. seen is what the line showed before.
func (s *session) catchBoot(ctx context.Context, seen sight) error {
	ctx, cancel := context.WithTimeout(ctx, s.stopTimeout)
	defer cancel()
	h := hunt{session: s, total: seen, tail: seen.text}
	h.scr.Text = []byte(seen.text)
	if bootText.MatchString(seen.text) {
		h.dirty = true
		if err := h.judge(ctx); err != nil {
			return err
		}
	} else if err := h.cyclePower(ctx); err != nil {
		return err
	}
	for {
		done, err := h.step(ctx)
		if done || (err != nil && ctx.Err() == nil) {
			return err
		}
		if ctx.Err() != nil {
			if cause := context.Cause(ctx); errors.Is(cause, context.DeadlineExceeded) {
				return h.nothing()
			}
			return ctx.Err()
		}
	}
}

// hunt is the wait for one boot.
type hunt struct {
	*session
	scr      line.Screen // since the last power-on that was noticed
	total    sight
	recent   sight // since the rate was set
	tail     string
	flooding bool
	lastKey  time.Time
	passed   int // boots that got away
	pauses   int
	dirty    bool // keys were sent in this boot
	offered  bool
}

func (h *hunt) cyclePower(ctx context.Context) error {
	if h.power == nil {
		h.progress(fmt.Sprintf("no prompt yet: switch the unit off and on again now (waiting up to %s)", h.stopTimeout))
		return nil
	}
	h.progress("no prompt yet: cycling the unit's power")
	h.log.Remark("power cycled")
	if err := h.power(ctx); err != nil {
		return fmt.Errorf("%s: power: %w: %w", h.line.Name, devices.ErrUnreachable, err)
	}
	return nil
}

func (h *hunt) step(ctx context.Context) (done bool, err error) {
	b, err := h.line.Next(ctx, keyEvery)
	switch {
	case errors.Is(err, line.ErrQuiet):
		h.pauses++
		if line := h.scr.LastLine(); line != h.rejected && promptLine.MatchString(line) {
			if ok, err := h.confirm(ctx); ok || err != nil {
				return ok, err
			}
		}
	case err != nil:
		return false, err
	default:
		if err := h.read(ctx, b); err != nil {
			return false, err
		}
	}
	if h.flooding && time.Since(h.lastKey) >= keyEvery {
		h.lastKey, h.dirty = time.Now(), true
		return false, h.line.Send(h.key())
	}
	return false, nil
}

func (h *hunt) key() string {
	for _, k := range stopKeys {
		if k.banner.Match(h.scr.Text) {
			return k.key
		}
	}
	return ctrlC
}

// read takes one chunk of what the unit says while it boots.
func (h *hunt) read(ctx context.Context, b []byte) error {
	h.total.add(b)
	if h.total.bytes > attachMax {
		return h.endless()
	}
	h.recent.add(b)
	if h.recent.bytes >= 64 && h.recent.noisy() {
		return h.nextRate()
	}
	if h.given != 0 && h.line.Baud() != h.given && h.recent.bytes >= 64 {
		return h.wrongRate(h.line.Baud())
	}
	h.scr.Feed(b)
	h.scr.Trim(64 << 10)
	h.tail = string(h.scr.Text[max(0, len(h.scr.Text)-200):])
	return h.judge(ctx)
}

// judge decides what to do from what the unit has said since its power-on.
func (h *hunt) judge(ctx context.Context) error {
	switch {
	case asksForPassword.Match(h.scr.Text) && !loginPrompt.Match(h.scr.Text):
		return h.password(ctx)
	case pastLoader.Match(h.scr.Text):
		if h.offered {
			return h.refused()
		}
		h.flooding, h.dirty = false, false
		h.passed++
		h.scr = line.Screen{}
		h.log.Remark("the boot was not stopped")
		return h.cyclePower(ctx)
	case !h.flooding && h.locked == "" && bootText.Match(h.scr.Text):
		h.flooding = true
		h.progress("the unit boots: stopping it at the boot loader")
	}
	return nil
}

// nextRate moves on from a rate at which a boot reads as noise.
func (h *hunt) nextRate() error {
	next := line.Rates[0]
	for i, r := range line.Rates {
		if r == h.line.Baud() {
			next = line.Rates[(i+1)%len(line.Rates)]
		}
	}
	h.log.Remark("noise at %d baud, trying %d", h.line.Baud(), next)
	h.recent, h.scr = sight{}, line.Screen{}
	if err := h.line.SetBaud(next); err != nil {
		return err
	}
	return h.drain()
}

// password offers the operator's password once, as a whole line. A loader that
// compares a string with its SHA-256 must not have had a key before it.
func (h *hunt) password(ctx context.Context) error {
	h.flooding = false
	h.locked = clip(strings.TrimSpace(string(asksForPassword.Find(h.scr.Text))))
	if h.offered {
		return h.refused()
	}
	_, password, ok := h.account.Login()
	if !ok {
		return fmt.Errorf("%s: the boot loader asks for a password (%q): %w: give the maker's password, or read the flash with a programmer; a locked console counts in the unit's favour", h.line.Name, h.locked, devices.ErrAccess)
	}
	h.scr = line.Screen{}
	if h.dirty && !strings.HasSuffix(h.locked, ":") {
		h.dirty = false
		h.log.Remark("keys went before the stop string; it needs a fresh boot")
		return h.cyclePower(ctx)
	}
	h.offered = true
	return h.line.SendSecret(password, "\r")
}

func (h *hunt) refused() error {
	h.account.Refuse(h.line.Name)
	return fmt.Errorf("%s: the boot loader refused the password (%q): %w: the one that was given is wrong; it is not offered again", h.line.Name, h.locked, devices.ErrAccess)
}

// confirm makes sure that a line that looks like a prompt is one.
func (h *hunt) confirm(ctx context.Context) (bool, error) {
	line := h.scr.LastLine()
	h.flooding = false
	for range 2 {
		v, err := h.poke(ctx)
		if err != nil {
			return false, err
		}
		if lastLine(v.text) != line {
			h.scr.Feed([]byte(v.text))
			return false, nil
		}
	}
	h.boot = bytes.Clone(h.scr.Text)
	h.prompt = line
	h.starts++
	return true, nil
}

// nothing says what was at the other end when no boot loader was.
func (h *hunt) nothing() error {
	name, last := h.line.Name, strings.TrimSpace(h.tail)
	last = last[max(0, len(last)-60):]
	switch {
	case h.offered:
		return h.refused()
	case h.total.echoOnly:
		return fmt.Errorf("%s: only our own bytes come back: %w: TX and RX are bridged, or the unit is off", name, devices.ErrUnreachable)
	case h.total.bytes == 0:
		return fmt.Errorf("%s: silent for %s: %w: check power, ground and that TX and RX are crossed, then switch the unit on while this program waits", name, h.stopTimeout, devices.ErrUnreachable)
	case h.total.noisy():
		return fmt.Errorf("%s: %d bytes of noise at every usual rate: %w: check the ground wire and the voltage level, or give ?baud=", name, h.total.bytes, devices.ErrMalformed)
	case loginPrompt.MatchString(h.tail):
		return fmt.Errorf("%s: a Linux login answers (%q): %w: this channel reads the boot loader; power-cycle the unit while this program waits", name, last, devices.ErrAccess)
	case h.pauses == 0 && h.total.bytes > 64<<10:
		return fmt.Errorf("%s: %d bytes within %s and no pause: %w: the unit does not stop talking; power-cycle it while this program waits", name, h.total.bytes, h.stopTimeout, devices.ErrHostile)
	case h.passed > 0:
		return fmt.Errorf("%s: %d boots seen and none could be stopped: %w: the boot loader takes no keys (a locked console counts in the unit's favour); read the flash with a programmer", name, h.passed, devices.ErrAccess)
	}
	return fmt.Errorf("%s: talks at %d baud but shows no boot loader within %s; last %q: %w: power-cycle the unit while this program waits", name, h.line.Baud(), h.stopTimeout, last, devices.ErrUnreachable)
}

// resume gets back to the prompt after a restart in the middle of a session.
func (s *session) resume(ctx context.Context) error {
	s.progress("the unit restarted: stopping it at the boot loader again")
	s.log.Remark("the unit restarted")
	if err := s.catchBoot(ctx, sight{text: string(s.screen.Text)}); err != nil {
		return err
	}
	return s.meet(ctx)
}
