package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"assay/attest/collect"
	"assay/devices/console/readout"
)

// progress draws one line on a terminal: what is being done, how far it is, at
// what rate, and how long it will take.
type progress struct {
	w     io.Writer
	mu    sync.Mutex
	width int
	what  string
	start time.Time
	drawn time.Time
	shown bool
	extra string // of a reading: what was left out, and how full the line is
	wire  int64  // bytes on the line when the reading began
}

// Readout adds what a reading of flash knows of its line.
func (p *progress) Readout(s readout.State) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.wire == 0 || s.Traffic.Received < p.wire { // it begins, or goes on on a new line
		p.wire, p.start = s.Traffic.Received, time.Now()
	}
	p.extra = ""
	if t := time.Since(p.start).Seconds(); s.Traffic.PerSecond > 0 && t > 1 {
		p.extra += fmt.Sprintf("  line %d%%", int(100*float64(s.Traffic.Received-p.wire)/t)/s.Traffic.PerSecond)
	}
	if left := s.Blank + s.Reference; left > 0 {
		p.extra += "  left out " + size(left)
	}
	if s.Traffic.Rereads > 0 {
		p.extra += fmt.Sprintf("  again %d", s.Traffic.Rereads)
	}
}

// newProgress returns nil when nobody would see it.
func (a *app) newProgress() (collect.Progress, func()) {
	if a.json || !term.IsTerminal(int(os.Stderr.Fd())) {
		return nil, func() {}
	}
	width, _, err := term.GetSize(int(os.Stderr.Fd()))
	if err != nil || width < 20 {
		width = 80
	}
	p := &progress{w: os.Stderr, width: width - 1}
	return p, p.clear
}

func (p *progress) Step(channel, what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.what = ""
	p.draw(channel + "  " + what)
}

func (p *progress) Bytes(what string, done, total int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if what != p.what {
		p.what, p.start, p.extra, p.wire = what, now, "", 0
	}
	if done < total && now.Sub(p.drawn) < 200*time.Millisecond {
		return
	}
	p.drawn = now
	line := fmt.Sprintf("%s  %s", what, size(done))
	if total > 0 {
		line += fmt.Sprintf(" of %s  %d%%", size(total), done*100/total)
	}
	if t := now.Sub(p.start).Seconds(); t > 0.5 && done > 0 {
		rate := float64(done) / t
		line += fmt.Sprintf("  %s/s", size(int64(rate)))
		if total > done {
			left := time.Duration(float64(total-done)/rate) * time.Second
			line += fmt.Sprintf("  %s left", left.Round(time.Second))
		}
	}
	p.draw(line + p.extra)
}

func (p *progress) draw(line string) {
	if r := []rune(line); len(r) > p.width {
		line = string(r[:p.width])
	}
	fmt.Fprintf(p.w, "\r%s%s\r", line, strings.Repeat(" ", max(p.width-len([]rune(line)), 0)))
	p.shown = true
}

func (p *progress) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.shown {
		fmt.Fprintf(p.w, "\r%s\r", strings.Repeat(" ", p.width))
	}
}

// size writes a number of bytes for people.
func size(n int64) string {
	switch {
	case n >= 10<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 10<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d B", n)
}

// parseSize reads a number of bytes as people write it.
func parseSize(s string) (int64, error) {
	shift := 0
	number := s
	for i, unit := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if n, ok := strings.CutSuffix(s, unit); ok {
			number, shift = n, 10*(i+1)
		}
	}
	n, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
	if err != nil || n <= 0 || n > math.MaxInt64>>shift {
		return 0, errors.New("not a size such as 500MiB")
	}
	return n << shift, nil
}
