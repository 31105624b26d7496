package console

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"assay/attest"
	"assay/devices"
	simulator "assay/devices/simulator/console"
)

func TestWhatAnswersInsteadOfABootLoaderIsNamed(t *testing.T) {
	linux := func(last string) simulator.Config {
		c := at(simulator.Quirks{})
		c.Start, c.Kernel = simulator.StateLinux, []string{"Linux version 6.1.0", last}
		return c
	}
	locked := func(ask string, stop bool) simulator.Config {
		c := at(simulator.Quirks{})
		c.Start, c.Boot = simulator.StateTouch, simulator.Autoboot{Seconds: 1, Ask: ask, Secret: "sesame", StopStr: stop}
		if stop {
			c.Boot.Text = "Enter stop string to abort autoboot in 2 seconds"
		}
		return c
	}
	for name, c := range map[string]struct {
		cfg  simulator.Config
		is   error
		says string
	}{
		"a silent line":                   {load(t, "silent"), devices.ErrUnreachable, "silent for"},
		"a Linux login":                   {linux("cam login: "), devices.ErrAccess, "a Linux login answers"},
		"a Linux shell":                   {linux("/ # "), devices.ErrAccess, "does not answer as a Linux shell does"},
		"a password prompt":               {locked("Enter password: ", false), devices.ErrAccess, "asks for a password"},
		"a stop string":                   {locked("x", true), devices.ErrAccess, "asks for a password"},
		"a unit that never stops talking": {at(simulator.Quirks{Endless: true}), devices.ErrHostile, "stop talking"},
		"a line of 1 MB":                  {at(simulator.Quirks{LongLines: true}), devices.ErrHostile, "over 1048576 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			unit := start(t, c.cfg)
			sink := &kept{}
			o := quick()
			o.StopTimeout = 3 * time.Second
			ch := open(t, unit.Device, o)
			err := ch.Identify(within(t, 60*time.Second), sink)
			if !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("%v, want %v and %q\n%.3000s", err, c.is, c.says, ch.log.Take())
			}
			t.Log(err)
			if len(unit.Log()) > 0 {
				onlyReadingCommands(t, unit.Log())
			}
		})
	}
}

func TestWhatIsAtTheOtherEndIsSaid(t *testing.T) {
	for text, want := range map[string]string{
		"": "silence",
		"\xf0\x81\x9c\xff\xfe\x80\x99\xaa\xfe\xf8":                       "binary noise at every usual rate",
		"U-Boot 2013.07 (Oct 26 2020 - 14:49:24)\nDRAM:  ":               "a boot that scrolls by",
		"Please press Enter to activate this console.":                   "a console that waits for Enter",
		"1: Upgrade firmware\n2: Boot\nSelect: ":                         "a menu",
		"[u/U] key to upgrade software\n[d/D] key to restore defaults\n": "a menu",
		"temperature 41 C, fan 0\n":                                      "text without a prompt",
	} {
		v := sight{text: text}
		v.add([]byte(text))
		if got := (&finder{}).says(v); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

func TestAPasswordIsOfferedOnceAndNeverShown(t *testing.T) {
	for name, c := range map[string]struct {
		password string
		stop     bool
		ok       bool
	}{
		"the right one":         {"sesame", false, true},
		"a wrong one":           {"simsim", false, false},
		"the right stop string": {"sesame", true, true},
		"a wrong stop string":   {"simsim", true, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := at(simulator.Quirks{})
			cfg.Start = simulator.StateTouch
			cfg.Boot = simulator.Autoboot{Seconds: 3, Ask: "Password: ", Secret: "sesame", StopStr: c.stop}
			if c.stop {
				cfg.Boot.Text = "Enter stop string to abort autoboot in 3 seconds\r\n"
			}
			unit := start(t, cfg)
			sink := &kept{}
			o := quick()
			o.StopTimeout = 8 * time.Second
			o.Power = unit.PowerCycle
			account := devices.NewAccount("", c.password)
			o.Account = account
			var transcript bytes.Buffer
			o.Transcript = &transcript
			ch := open(t, unit.Device, o)
			err := ch.Identify(within(t, 30*time.Second), sink)
			if c.ok != (err == nil) || (!c.ok && !errors.Is(err, devices.ErrAccess)) {
				t.Fatalf("%v\n%s", err, transcript.String())
			}
			if _, _, again := account.Login(); again != c.ok {
				t.Errorf("offered again: %v", again)
			}
			if sink.value(attest.SubjectBootLoader, "console-lock") == "" {
				t.Error("no claim about the lock")
			}
			var kept []byte
			for _, b := range sink.artefacts {
				kept = append(kept, b...)
			}
			if strings.Contains(transcript.String(), c.password) || bytes.Contains(kept, []byte(c.password)) || len(kept) == 0 {
				t.Error("the password is in the transcript")
			}
		})
	}
}

func TestPortsThatCannotBeOpenedSayWhatToDo(t *testing.T) {
	unit := start(t, at(simulator.Quirks{}))
	first := open(t, unit.Device, quick())
	if err := first.Identify(within(t, 20*time.Second), &kept{}); err != nil {
		t.Fatal(err)
	}
	for device, want := range map[string]struct {
		is   error
		says string
	}{
		"/dev/ttyUSB-none": {devices.ErrUnreachable, "no such serial port"},
		unit.Device:        {devices.ErrAccess, "another program holds it"},
		"/dev/null":        {devices.ErrUnreachable, "not a serial port"},
	} {
		c := open(t, device, quick())
		err := c.Identify(within(t, 5*time.Second), &kept{})
		if !errors.Is(err, want.is) || !strings.Contains(err.Error(), want.says) {
			t.Errorf("%s: %v", device, err)
		}
		t.Log(err)
	}
}

func TestBinaryNoiseIsNotAPrompt(t *testing.T) {
	near, far := newPipe()
	go func() {
		r := rand.New(rand.NewPCG(3, 3))
		for {
			b := make([]byte, 100)
			for i := range b {
				b[i] = byte(r.Uint32())
			}
			if _, err := far.Write(b); err != nil {
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	}()
	go io.Copy(io.Discard, far)
	o := quick()
	o.Port, o.StopTimeout = near, 2*time.Second
	c := Open(port115200("noise"), o)
	defer c.Close()
	if err := c.Identify(within(t, 20*time.Second), &kept{}); !errors.Is(err, devices.ErrMalformed) {
		t.Fatalf("%v", err)
	}
}

// end is one end of a line in memory.
type end struct {
	io.Reader
	io.Writer
	close func() error
}

func (e end) Close() error { return e.close() }

func newPipe() (near, far io.ReadWriteCloser) {
	r1, w1 := io.Pipe()
	r2, w2 := io.Pipe()
	shut := func() error { r1.Close(); w1.Close(); r2.Close(); return w2.Close() }
	return end{r1, w2, shut}, end{r2, w1, shut}
}
