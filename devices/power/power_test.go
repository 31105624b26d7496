package power

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestHowToSwitchPowerIsRead(t *testing.T) {
	for in, want := range map[string]Switch{
		"relay":                               program{"relay"},
		`'/opt/my relay' --port "it's 3" ''`:  program{"/opt/my relay", "--port", "it's 3", ""},
		`"C:\tools\relay.exe" /p:4`:           program{`C:\tools\relay.exe`, "/p:4"},
		`  a	b'c'"d"e  `:                      program{"a", "bcde"},
		"sh -c $HOME|*":                       program{"sh", "-c", "$HOME|*"},
		"uhubctl:1-1.4/2":                     hub{"1-1.4", "2"},
		"uhubctl:20/7":                        hub{"20", "7"},
		"gpio:gpiochip0/17":                   &gpio{chip: "gpiochip0", line: "17"},
		"gpio:/dev/gpiochip1/4?active=low":    &gpio{chip: "/dev/gpiochip1", line: "4", low: true},
		"gpio:pinctrl-bcm2711/17?active=high": &gpio{chip: "pinctrl-bcm2711", line: "17"},
	} {
		if got, err := Parse(in); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q is %#v, %v; want %#v", in, got, err, want)
		}
	}
	for in, says := range map[string]string{
		"":                          "empty",
		"  ":                        "empty",
		"''":                        "empty",
		"relay 'open":               "not closed",
		"relay\nrm":                 "one line",
		"uhubctl:":                  "uhubctl lists",
		"uhubctl:1-1":               "uhubctl:1-1.4/2",
		"uhubctl:1-1/0":             "uhubctl:1-1.4/2",
		"uhubctl:-e/2":              "uhubctl:1-1.4/2",
		"uhubctl:1-1/2 -a on":       "uhubctl:1-1.4/2",
		"gpio:gpiochip0":            "gpio:gpiochip0/17",
		"gpio:--help/1":             "gpio:gpiochip0/17",
		"gpio:gpiochip0/x":          "gpio:gpiochip0/17",
		"gpio:gpiochip0/1?active=x": "gpio:gpiochip0/17",
		"gpio:gpiochip0/1?":         "gpio:gpiochip0/17",
	} {
		if in == "uhubctl:" {
			says = "want uhubctl"
		}
		if got, err := Parse(in); !errors.Is(err, ErrPower) || !strings.Contains(err.Error(), says) {
			t.Errorf("%q is %#v, %v", in, got, err)
		}
	}
}

// supply is a switch that notes what is asked of it.
type supply struct {
	asked   []string
	off, on error
	late    error // the context's error when On was called
}

func (s *supply) Off(context.Context) error { s.asked = append(s.asked, "off"); return s.off }

func (s *supply) On(ctx context.Context) error {
	s.asked = append(s.asked, "on")
	s.late = ctx.Err()
	return s.on
}

func TestAUnitIsNotLeftDark(t *testing.T) {
	broken := errors.New("broken")
	cancelled, cancel := context.WithCancel(t.Context())
	s := &supply{}
	if err := Cycle(t.Context(), s, time.Millisecond); err != nil || strings.Join(s.asked, " ") != "off on" {
		t.Errorf("%v %v", s.asked, err)
	}
	time.AfterFunc(20*time.Millisecond, cancel)
	s = &supply{}
	if err := Cycle(cancelled, s, time.Hour); !errors.Is(err, context.Canceled) || strings.Join(s.asked, " ") != "off on" || s.late != nil {
		t.Errorf("called off: %v %v, %v", s.asked, err, s.late)
	}
	s = &supply{}
	if err := Cycle(cancelled, s, 0); !errors.Is(err, context.Canceled) || len(s.asked) != 0 {
		t.Errorf("called off before: %v %v", s.asked, err)
	}
	s = &supply{off: broken}
	if err := Cycle(t.Context(), s, time.Hour); !errors.Is(err, broken) || strings.Join(s.asked, " ") != "off on" {
		t.Errorf("broken: %v %v", s.asked, err)
	}
	s = &supply{off: broken, on: broken}
	if err := Cycle(t.Context(), s, 0); err == nil || err.Error() != "broken" {
		t.Errorf("broken twice: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"relay 'a b'", "uhubctl:1-1.4/2", "gpio:gpiochip0/17?active=low", `"`, "'\"' x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		sw, err := Parse(s)
		switch sw := sw.(type) {
		case nil:
			if !errors.Is(err, ErrPower) {
				t.Fatalf("%q: %v", s, err)
			}
		case hub:
			if strings.HasPrefix(sw.location, "-") || strings.ContainsAny(sw.location+sw.port, " /\x00") {
				t.Fatalf("%q: %+v", s, sw)
			}
		case *gpio:
			if strings.HasPrefix(sw.chip, "-") || strings.ContainsAny(sw.chip+sw.line, " =\x00") {
				t.Fatalf("%q: %s %s", s, sw.chip, sw.line)
			}
		case program:
			if len(sw) == 0 || sw[0] == "" {
				t.Fatalf("%q is no program", s)
			}
		}
	})
}
