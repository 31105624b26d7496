package console

import (
	"context"
	"errors"
	"fmt"
	"time"

	"assay/attest"
	"assay/devices"
	"assay/devices/console/bootlog"
	"assay/devices/console/line"
	"assay/devices/console/readout"
	"assay/devices/fingerprint"
)

// heard is a boot that was listened to. It takes no commands and shows no flash.
type heard struct {
	text  []byte
	rules *fingerprint.Rules
}

// listen hears one boot without sending a byte: it finds the rate, waits for the
// unit's power to come, and ends when the unit has said nothing for a while.
func (f *finder) listen(ctx context.Context) (prompt, error) {
	ctx, cancel := context.WithTimeout(ctx, f.stopTimeout)
	defer cancel()
	if err := f.line.SetBaud(firstRate(f.given)); err != nil {
		return nil, err
	}
	h := hunt{finder: f, through: true}
	defer h.powered()
	if err := h.cyclePower(ctx); err != nil {
		return nil, err
	}
	heard := &heard{rules: f.rules}
	var last time.Time
	for ctx.Err() == nil && (len(heard.text) == 0 || time.Since(last) < silenceEnds) {
		if err := h.followPower(ctx); err != nil {
			return nil, err
		}
		b, err := f.line.Next(ctx, keyEvery)
		if errors.Is(err, line.ErrQuiet) {
			continue
		}
		if err != nil && ctx.Err() == nil {
			return nil, err
		}
		was := f.line.Baud()
		if err := h.read(ctx, b); err != nil {
			return nil, err
		}
		if f.line.Baud() != was {
			heard.text = nil // noise at another rate
			continue
		}
		last = time.Now()
		heard.text = append(heard.text, b...)
	}
	if len(heard.text) == 0 {
		if ctx.Err() != nil && !errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
			return nil, ctx.Err()
		}
		return nil, h.nothing()
	}
	f.found = fmt.Sprintf("a boot of %d bytes at %d baud, listened to only", len(heard.text), f.line.Baud())
	f.progress(f.found)
	return heard, nil
}

// silenceEnds is how long a unit that has booted must be silent.
const silenceEnds = 20 * time.Second

func firstRate(given int) int {
	if given != 0 {
		return given
	}
	return line.Rates[0]
}

// Identify claims what the log says.
func (h *heard) Identify(_ context.Context, sink devices.Sink) error {
	raw := sink.Artefact("text/plain", "boot log", []byte(line.WithoutSecrets(string(h.text))))
	facts := bootlog.Parse(h.text)
	if len(facts) == 0 {
		sink.Problem(attest.ProblemIncomplete, "boot log", fmt.Sprintf("%d bytes were heard, and nothing in them says anything about the unit", len(h.text)))
	}
	bootlog.Claims(facts, sink, raw, "boot log")
	for _, m := range h.rules.Match(bootlog.Observations(h.text, facts, raw, "boot log")) {
		sink.Mark(m)
	}
	return nil
}

// Banks is empty: nothing is read by listening.
func (h *heard) Banks() []devices.Bank { return nil }

// Source has nothing to give.
func (h *heard) Source(context.Context, devices.Bank) (readout.Source, error) {
	return nil, fmt.Errorf("%w: a boot that is only listened to shows no flash", devices.ErrAccess)
}
