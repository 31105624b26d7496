package shell

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"assay/attest"
	"assay/devices"
	wire "assay/devices/simulator/line"
)

// atPrompt is the shell of a scripted unit.
func atPrompt(t *testing.T, far io.ReadWriteCloser, patience time.Duration) *Prompt {
	t.Helper()
	l, _ := lineTo(t, far, "")
	return New(l, Options{Quiet: quick, Prompt: "# ", Patience: patience})
}

func TestHostileUnitsEndInOneClearErrorWithinTheirBounds(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct {
		script func(say func(string), hear func(bool) string)
		want   error
		says   string
	}{
		"a restricted shell": {func(say func(string), hear func(bool) string) {
			for {
				hear(true)
				say("\r\nInput error, Please Input 'help' for more help.\r\n# ")
			}
		}, devices.ErrAccess, "restricted shell"},
		"no echo": {func(say func(string), hear func(bool) string) {
			for {
				hear(false)
			}
		}, devices.ErrUnreachable, "does not echo"},
		"endless output": {func(say func(string), hear func(bool) string) {
			hear(true)
			for {
				say(strings.Repeat("isp: frame lost\r\n", 64))
			}
		}, devices.ErrHostile, ""},
		"a line without an end": {func(say func(string), hear func(bool) string) {
			hear(true)
			for {
				say(strings.Repeat("A", 1<<16))
			}
		}, devices.ErrHostile, ""},
		"another echo": {func(say func(string), hear func(bool) string) {
			for {
				hear(false)
				say("reboot")
			}
		}, devices.ErrUnreachable, ""},
		"escapes for a terminal": {func(say func(string), hear func(bool) string) {
			for {
				hear(true)
				say("\r\n\x1b]0;owned\x07\x1b[2J\x1b[6nnot a shell\x1b[31m\r\n# ")
			}
		}, devices.ErrAccess, "restricted shell"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := atPrompt(t, talk(t, x.script), 2*time.Second)
			err := p.Identify(within(t, 50*time.Second), &kept{})
			if !errors.Is(err, x.want) || !strings.Contains(err.Error(), x.says) {
				t.Errorf("%v", err)
			}
			if err != nil && strings.ContainsAny(err.Error(), "\x1b\x07\r") {
				t.Errorf("%q", err.Error())
			}
		})
	}
}

// slow answers each Enter only after a while.
type slow struct {
	io.ReadWriteCloser
	by time.Duration
}

func (s *slow) Write(b []byte) (int, error) {
	if strings.HasSuffix(string(b), "\r") {
		time.Sleep(s.by)
	}
	return s.ReadWriteCloser.Write(b)
}

func TestAShellThatThinksForLongIsWaitedFor(t *testing.T) {
	t.Parallel()
	c := newCamera(t, random(64<<10), parts(64<<10)...)
	p, _ := plugInto(t, &slow{ReadWriteCloser: c.console(t), by: 150 * time.Millisecond}, wire.Config{}, c.root, Options{Quiet: 40 * time.Millisecond})
	s := onlySource(t, p, &kept{})
	if got, errs := readAll(t, within(t, time.Minute), s); len(errs) > 0 || len(got) != 64<<10 {
		t.Error(errs)
	}
}

func TestACancelledReadingEndsAtOnceAndLeavesAPrompt(t *testing.T) {
	t.Parallel()
	c := newCamera(t, random(512<<10), parts(512<<10)...)
	p, _ := c.plug(t, wire.Config{Rate: 200_000}, Options{Quiet: quick})
	s := onlySource(t, p, &kept{})
	ctx, cancel := context.WithCancel(t.Context())
	var at time.Time
	err := s.Read(ctx, []attest.Extent{{Size: s.Size()}}, func(attest.Extent, []byte, error) error {
		if at.IsZero() {
			at = time.Now()
			cancel()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) || time.Since(at) > 5*time.Second {
		t.Errorf("%v after %v", err, time.Since(at))
	}
	got, errs := readAll(t, within(t, time.Minute), s, attest.Extent{Size: 64 << 10})
	if len(errs) > 0 || got[0] == 0xee && got[1] == 0xee {
		t.Errorf("read on: %v", errs)
	}
}

func TestWhatEachSaysEndsAReading(t *testing.T) {
	t.Parallel()
	c := newCamera(t, random(256<<10), parts(256<<10)...)
	p, _ := c.plug(t, wire.Config{}, Options{Quiet: quick})
	s := onlySource(t, p, &kept{})
	full := errors.New("disk full")
	for _, end := range []func() error{
		func() error {
			return s.Read(t.Context(), []attest.Extent{{Size: s.Size()}}, func(attest.Extent, []byte, error) error { return full })
		},
		func() error {
			return s.Sums(t.Context(), []attest.Extent{{Size: 1000}, {Size: 2000}}, func(attest.Extent, []byte, error) error { return full })
		},
	} {
		if err := end(); !errors.Is(err, full) {
			t.Errorf("%v", err)
		}
	}
}

func TestARangeThatTheUnitCannotReadIsToldAndTheRestIsRead(t *testing.T) {
	t.Parallel()
	image := random(192 << 10)
	c := newCamera(t, image, parts(64<<10, 64<<10, 64<<10)...)
	c.file(t, "/dev/mtd1ro", string(image[64<<10:80<<10])) // shorter than it says
	p, _ := c.plug(t, wire.Config{}, Options{Quiet: quick})
	s := onlySource(t, p, &kept{})
	var read int64
	var errs []error
	err := s.Read(within(t, time.Minute), []attest.Extent{{Size: s.Size()}}, func(r attest.Extent, b []byte, err error) error {
		if err != nil {
			errs = append(errs, err)
			return nil
		}
		if string(b) != string(image[r.Offset:r.Offset+r.Size]) {
			t.Errorf("%v differs", r)
		}
		read += r.Size
		return nil
	})
	if err != nil || read != 144<<10 || len(errs) == 0 || !strings.Contains(errs[0].Error(), "the unit read 0 of") {
		t.Errorf("%d bytes, %v, %v", read, errs, err)
	}
}

func TestMessagesBehindThePromptAndInAnEchoAreBorne(t *testing.T) {
	t.Parallel()
	image := random(64 << 10)
	c := newCamera(t, image, parts(64<<10)...)
	p, _ := c.plug(t, wire.Config{Inject: "[   99.000001] random: crng init done\r\n", InjectEvery: 731}, Options{Quiet: 40 * time.Millisecond})
	if err := p.Meet(within(t, time.Minute)); err != nil {
		t.Fatal(err)
	}
	if p.can.form().name != "gzip" {
		t.Errorf("bytes come as %q", p.can.form().name)
	}
}
