package console

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"assay/devices"
	"assay/devices/console/autoboot"
	"assay/devices/console/line"
)

// keyEvery paces the keys that stop autoboot: fast enough for a countdown of
// no second, slow enough for a receive buffer of sixteen bytes.
const keyEvery = 60 * time.Millisecond

const ctrlC = "\x03"

// catchBoot waits for a boot and stops it. seen is what the line showed before.
// A boot that cannot be stopped leads to what it starts, unless that is of no use.
func (f *finder) catchBoot(ctx context.Context, seen sight) error {
	h := hunt{finder: f, total: seen, tail: seen.text}
	h.scr.Text, h.raw = []byte(seen.text), []byte(seen.text)
	h.dirty = bootText.MatchString(seen.text)
	return h.run(ctx, !h.dirty)
}

// awaitSystem lets a boot pass and waits for the system's login or shell.
func (f *finder) awaitSystem(ctx context.Context, seen sight) error {
	h := hunt{finder: f, total: seen, tail: seen.text, through: true, passed: 1}
	return h.run(ctx, false)
}

// run hunts until there is a prompt or a login, or the time is up.
func (h *hunt) run(ctx context.Context, cyclePower bool) error {
	h.prompt, h.login = "", false
	ctx, cancel := context.WithTimeout(ctx, h.stopTimeout)
	defer func() { cancel(); h.powered() }()
	var err error
	if cyclePower {
		err = h.cyclePower(ctx)
	} else {
		err = h.judge(ctx)
	}
	for done := false; ; {
		if done || err != nil && ctx.Err() == nil {
			return err
		}
		if ctx.Err() != nil {
			if cause := context.Cause(ctx); errors.Is(cause, context.DeadlineExceeded) {
				return h.nothing()
			}
			return ctx.Err()
		}
		done, err = h.step(ctx)
	}
}

// hunt is the wait for one boot.
type hunt struct {
	*finder
	raw      []byte      // since the power-on that was noticed last
	scr      line.Screen // since the last power-on that was noticed
	total    sight
	recent   sight // since the rate was set
	tail     string
	flooding bool
	lastKey  time.Time
	passed   int // boots that got away
	pauses   int
	silent   int  // times keyEvery since the last byte
	entered  bool // Enter was pressed where the console asked for it
	dirty    bool // keys were sent in this boot
	offered  bool
	through  bool      // the boot is let pass
	spoilt   bool      // keys went before a password of this boot: wait for the next
	cycle    *cycle    // of the unit's power, while it goes on
	looked   int       // so much of the screen was judged
	asked    bool      // for a password, and the answer waits
	cycled   time.Time // when the power came back, until a boot begins
	stop     autoboot.Stop
	sent     int // keys, since the power-on
	// early are the keys of a family that wants them before it says a word. It is
	// known from a boot of this unit that got away: nothing is sent blindly.
	early []string
}

func (h *hunt) step(ctx context.Context) (done bool, err error) {
	if err := h.followPower(ctx); err != nil {
		return false, err
	}
	b, err := h.line.Next(ctx, keyEvery)
	switch {
	case errors.Is(err, line.ErrQuiet):
		h.pauses++
		if done, err := h.pause(ctx); done || err != nil {
			return done, err
		}
	case err != nil:
		return false, err
	default:
		if err := h.read(ctx, b); err != nil {
			return false, err
		}
	}
	if (h.flooding || len(h.early) > 0) && time.Since(h.lastKey) >= keyEvery {
		if key := h.key(); key != "" {
			h.lastKey, h.dirty = time.Now(), true
			return false, h.line.Send(key)
		}
	}
	return false, nil
}

// pause looks at where the unit has stopped talking.
func (h *hunt) pause(ctx context.Context) (done bool, err error) {
	if h.asked {
		return false, h.judge(ctx)
	}
	line := h.scr.LastLine()
	if isPrompt(line) && (line != h.rejected || h.passed > 0) {
		if ok, err := h.confirm(ctx); ok || err != nil {
			return ok, err
		}
	}
	// Where the power can be switched, a boot has to get away first.
	if h.silent++; h.silent < loginSettles || h.loaderOnly || h.passed == 0 && h.power != nil {
		return false, nil
	}
	switch {
	case askFirst.MatchString(line) || askFirst.MatchString(h.tail) && !h.entered:
		h.entered, h.silent = true, 0
		return false, h.line.Send("\r")
	case loginPrompt.MatchString(h.tail) && h.hasLogin():
		h.login = true
		return true, nil
	}
	return false, nil
}

// loginSettles is how many times keyEvery a login must stay the last thing that
// was said: applications start behind it and print over it.
const loginSettles = 16

// key is what stops this boot, empty where nothing may be sent.
func (h *hunt) key() string {
	keys := h.stop.Keys
	if len(h.scr.Text) == 0 {
		keys = h.early
	}
	if len(keys) == 0 {
		return ""
	}
	h.sent++
	return keys[(h.sent-1)%len(keys)]
}

// read takes one chunk of what the unit says while it boots.
func (h *hunt) read(ctx context.Context, b []byte) error {
	h.silent = 0
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
	h.raw = append(h.raw, b...)
	h.raw = h.raw[max(0, len(h.raw)-bootLogMax):]
	was := len(h.scr.Text)
	h.scr.Feed(b)
	h.began(was)
	h.scr.Trim(bootLogMax)
	h.tail = string(h.scr.Text[max(0, len(h.scr.Text)-200):])
	return h.judge(ctx)
}

// began notices a boot that begins. What was printed before it, by a boot whose
// power was cut, counts for nothing.
func (h *hunt) began(was int) {
	from := max(0, min(was, len(h.scr.Text))-64)
	m := freshBoot.FindIndex(h.scr.Text[from:])
	if m == nil {
		return
	}
	h.spoilt = false
	if !h.cycled.IsZero() {
		h.cycled = time.Time{}
		h.scr.Text, h.looked = h.scr.Text[from+m[0]:], 0
	}
}

// settled reports whether what is on the screen is of a boot that goes on. After a
// cycle of the power that ended just now it may be of the one before.
func (h *hunt) settled() bool {
	return h.cycle == nil && (h.cycled.IsZero() || time.Since(h.cycled) > cycleSettles)
}

// cycleSettles is how long after a cycle of the power old text may still arrive.
const cycleSettles = 300 * time.Millisecond

// judge decides what to do from what the unit has said since its power-on.
func (h *hunt) judge(ctx context.Context) error {
	// What was looked at before need not be looked at again, but for a line that
	// has grown since.
	latest := h.scr.Text[max(0, min(h.looked, len(h.scr.Text))-lookBack):]
	h.looked = len(h.scr.Text)
	if s := autoboot.For(latest); h.stop.Banner == nil || !s.Default() {
		h.stop = s
	}
	h.asked = false
	switch l, asked := locked(latest, h.stop); {
	case h.through: // nothing is to be stopped
	case h.spoilt: // what it still says counts for nothing
	case asked && !loginPrompt.Match(latest):
		if h.settled() {
			return h.password(ctx, l)
		}
		h.asked, h.looked = true, 0 // to be looked at again
	case pastLoader.Match(latest):
		if h.offered {
			return h.refused()
		}
		if h.stop.Early {
			h.early = h.stop.Keys
		}
		h.stop = autoboot.Stop{}
		h.flooding, h.dirty, h.sent = false, false, 0
		h.passed++
		h.scr, h.raw, h.looked = line.Screen{}, nil, 0
		h.log.Remark("the boot was not stopped")
		if h.passed > 1 && !h.loaderOnly {
			return nil // what it boots is read instead
		}
		return h.cyclePower(ctx)
	case !h.flooding && h.locked == "" && bootText.Match(latest):
		h.flooding = true
		h.progress("the unit boots: stopping it at the boot loader")
	}
	return nil
}

// bootLogMax is how much of a boot's text is kept.
const bootLogMax = 64 << 10

// lookBack is more than the longest line that anything is decided by.
const lookBack = 512

// nextRate moves on from a rate at which a boot reads as noise.
func (h *hunt) nextRate() error {
	h.recent, h.scr, h.raw, h.looked = sight{}, line.Screen{}, nil, 0
	for range line.Rates {
		next := line.Rates[0]
		for i, r := range line.Rates {
			if r == h.line.Baud() {
				next = line.Rates[(i+1)%len(line.Rates)]
			}
		}
		h.log.Remark("noise at %d baud, trying %d", h.line.Baud(), next)
		err := h.line.SetBaud(next)
		if err == nil {
			break
		}
		if !errors.Is(err, line.ErrRate) { // a rate that the port does not do
			return err
		}
	}
	return h.discard()
}

// discard throws away what came at another rate.
func (h *hunt) discard() error {
	for range 4096 { // more chunks than a line fills while we look
		if _, err := h.line.Poll(); errors.Is(err, line.ErrQuiet) {
			return nil
		} else if err != nil {
			return err
		}
	}
	return h.endless()
}

// password offers the operator's password once, as a whole line. A loader that
// compares a string with its SHA-256 must not have had a key before it.
func (h *hunt) password(ctx context.Context, l lock) error {
	h.flooding, h.early = false, nil
	h.locked = l.words
	if h.offered {
		return h.refused()
	}
	_, password, ok := h.account.Login()
	if !ok {
		return fmt.Errorf("%s: the boot loader asks for a password (%q): %w: give the maker's password, or read the flash with a programmer; a locked console counts in the unit's favour", h.line.Name, h.locked, devices.ErrAccess)
	}
	h.scr, h.looked = line.Screen{}, 0
	if h.dirty && l.hashes {
		h.dirty, h.spoilt = false, true
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
	h.boot = bytes.Clone(h.raw)
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
	case h.through:
		return fmt.Errorf("%s: the unit restarted, and neither a shell nor a login came back within %s; last %q: %w", name, h.stopTimeout, last, devices.ErrUnreachable)
	case h.total.echoOnly:
		return fmt.Errorf("%s: only our own bytes come back: %w: TX and RX are bridged, or the unit is off", name, devices.ErrUnreachable)
	case h.total.bytes == 0:
		return fmt.Errorf("%s: silent for %s: %w: check power, ground and that TX and RX are crossed, then switch the unit on while this program waits", name, h.stopTimeout, devices.ErrUnreachable)
	case h.total.noisy():
		return fmt.Errorf("%s: %d bytes of noise at every usual rate: %w: check the ground wire and the voltage level, or give ?baud=", name, h.total.bytes, devices.ErrMalformed)
	case loginPrompt.MatchString(h.tail):
		return fmt.Errorf("%s: a Linux login answers (%q): %w: give its account with --user, or power-cycle the unit while this program waits", name, last, devices.ErrAccess)
	case h.total.bytes > 64<<10 && h.pauses < h.total.bytes>>13: // a pause in 8 KiB is none
		return fmt.Errorf("%s: %d bytes within %s and hardly a pause: %w: the unit does not stop talking; power-cycle it while this program waits", name, h.total.bytes, h.stopTimeout, devices.ErrHostile)
	case h.passed > 0:
		return fmt.Errorf("%s: %d boots seen and none could be stopped: %w: the boot loader takes no keys (a locked console counts in the unit's favour); read the flash with a programmer", name, h.passed, devices.ErrAccess)
	}
	return fmt.Errorf("%s: talks at %d baud but shows no boot loader within %s; last %q: %w: power-cycle the unit while this program waits", name, h.line.Baud(), h.stopTimeout, last, devices.ErrUnreachable)
}

func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}
