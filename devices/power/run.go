package power

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
	"unicode"
)

// Bounds of a program that switches power.
const (
	timeout   = time.Minute // PDUs that are asked over SNMP or a web page are slow
	outputMax = 16 << 10
)

type logKey struct{}

// WithLog has what the programs are called with and what they say told to log, in
// lines of one text. A session keeps it in its transcript.
func WithLog(ctx context.Context, log func(line string)) context.Context {
	return context.WithValue(ctx, logKey{}, log)
}

func tell(ctx context.Context, format string, args ...any) {
	if log, ok := ctx.Value(logKey{}).(func(string)); ok {
		log(fmt.Sprintf(format, args...))
	}
}

// run calls a program and waits for its end. debianPackage is where it comes from,
// if it is one that this package knows.
func run(ctx context.Context, debianPackage string, words ...string) error {
	c, err := command(ctx, debianPackage, words...)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	out := &output{}
	c.Stdout, c.Stderr = out, out
	tell(ctx, "power: %s", shown(words))
	err = runUntil(ctx, c)
	for _, l := range out.lines() {
		tell(ctx, "power: %s said: %s", words[0], l)
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(context.Cause(ctx), context.DeadlineExceeded):
		return fmt.Errorf("%w: %s did not end within %s: %w", ErrPower, shown(words), timeout, context.DeadlineExceeded)
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return fmt.Errorf("%w: %s: %w%s", ErrPower, shown(words), err, out.quote())
}

// command finds a program.
func command(ctx context.Context, debianPackage string, words ...string) (*exec.Cmd, error) {
	path, err := exec.LookPath(words[0])
	if err != nil {
		what := "is the path right, and may it be run?"
		if debianPackage != "" {
			what = fmt.Sprintf("install it (Debian package %s)", debianPackage)
		}
		return nil, fmt.Errorf("%w: %w: %s", ErrPower, err, what)
	}
	c := exec.Command(path, words[1:]...)
	c.Env = withoutSecrets(os.Environ())
	c.WaitDelay = 2 * time.Second // for children that keep its output open
	ownGroup(c)
	return c, nil
}

// runUntil ends the program, and what it started, with the context.
func runUntil(ctx context.Context, c *exec.Cmd) error {
	if err := c.Start(); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { end(c) })
	defer stop()
	err := c.Wait()
	if errors.Is(err, exec.ErrWaitDelay) { // it ended well, and left a child behind
		return nil
	}
	return err
}

// withoutSecrets keeps passwords of this program's own from others.
func withoutSecrets(env []string) (kept []string) {
	for _, v := range env {
		if !strings.HasPrefix(v, "ASSAY_PASS") {
			kept = append(kept, v)
		}
	}
	return kept
}

func shown(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		if quoted[i] = w; w == "" || strings.ContainsAny(w, " \t\"'") {
			quoted[i] = fmt.Sprintf("%q", w)
		}
	}
	return strings.Join(quoted, " ")
}

// output keeps the first bytes that a program writes, and takes the rest.
type output struct{ kept []byte }

func (o *output) Write(b []byte) (int, error) {
	o.kept = append(o.kept, b[:min(len(b), max(0, outputMax-len(o.kept)))]...)
	return len(b), nil
}

// quote is what a program said, for its error.
func (o *output) quote() string {
	l := o.lines()
	if len(l) == 0 {
		return ""
	}
	s := []rune(strings.Join(l[:min(3, len(l))], "; "))
	if len(s) > 200 {
		s = append(s[:200], '…')
	}
	return ": " + string(s)
}

// lines are those with something in them, printable.
func (o *output) lines() (lines []string) {
	for l := range strings.Lines(strings.ToValidUTF8(string(o.kept), "?")) {
		l = strings.TrimSpace(strings.Map(func(r rune) rune {
			if unicode.IsPrint(r) {
				return r
			}
			return ' '
		}, l))
		if l != "" {
			lines = append(lines, l)
		}
	}
	return lines
}
