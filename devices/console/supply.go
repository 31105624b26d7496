package console

import (
	"context"
	"fmt"
	"time"

	"assay/devices"
	"assay/devices/power"
)

// cycle is one switching off and on of the unit's power. It goes on beside the
// hunt: a program that switches may take longer than the unit's countdown, so the
// keys that stop the boot must not wait for it.
type cycle struct {
	said  chan string // by what switches
	done  chan error
	again bool // asked for while it went on
}

// cyclePower begins to switch the power off and on, or asks the person to.
func (h *hunt) cyclePower(ctx context.Context) error {
	switch {
	case h.power == nil:
		h.progress(fmt.Sprintf("no prompt yet: switch the unit off and on again now (waiting up to %s)", h.stopTimeout))
		return nil
	case h.cycle != nil:
		h.cycle.again = true
		return nil
	}
	h.progress("no prompt yet: cycling the unit's power")
	h.log.Remark("cycling the unit's power")
	c := &cycle{said: make(chan string, 64), done: make(chan error, 1)}
	ctx = power.WithLog(ctx, func(line string) {
		select {
		case c.said <- line:
		default: // a program that talks that much
		}
	})
	go func() { c.done <- h.power(ctx) }()
	h.cycle = c
	return nil
}

// followPower takes what became of a cycle that goes on.
func (h *hunt) followPower(ctx context.Context) error {
	if h.cycle == nil {
		return nil
	}
	h.noteSupply()
	select {
	case err := <-h.cycle.done:
		again := h.cycle.again
		h.noteSupply()
		h.cycle, h.cycled, h.spoilt = nil, time.Now(), false
		if err != nil {
			return fmt.Errorf("%s: the unit's power was not cycled: %w: %w", h.line.Name, devices.ErrUnreachable, err)
		}
		h.log.Remark("the unit's power was cycled")
		if again {
			return h.cyclePower(ctx)
		}
	default:
	}
	return nil
}

func (h *hunt) noteSupply() {
	for {
		select {
		case line := <-h.cycle.said:
			h.log.Remark("%s", line)
		default:
			return
		}
	}
}

// powered waits for the end of a cycle: a unit that was caught while the program
// still switches must not lose its power later.
func (h *hunt) powered() {
	if h.cycle == nil {
		return
	}
	err := <-h.cycle.done
	h.noteSupply()
	h.cycle = nil
	if err != nil {
		h.log.Remark("%v", err)
	}
}
