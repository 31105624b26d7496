// Package shell reads a unit through its Linux shell on the console: it logs in,
// reads the identifiers that the system shows, and reads the flash with what a
// camera's BusyBox has. What it says comes from the running system, so its
// claims are of acquisition A1: a system that lies is not found out here.
//
// It types only commands that read; the list is in permit.go. It leaves no file,
// no variable and no process behind.
//
// Facts about the prompt, the echo, its wrapping and what cameras' shells have
// are from BusyBox (libbb/lineedit.c, shell/ash.c) and its applets' sources,
// the Linux kernel's Documentation/ABI, and what was measured with both.
package shell

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"assay/devices"
	"assay/devices/console/line"
	"assay/devices/fingerprint"
)

// Options says how a shell is read.
type Options struct {
	// Prompt is the prompt as it was found, as in "~ # "; empty where a login
	// prompt is there.
	Prompt string
	// Quiet is the silence after which the unit has finished talking; 250 ms
	// when 0.
	Quiet time.Duration
	// Patience is how long a command may give nothing before it counts as
	// lost; 45 s when 0. Some units think for half a minute.
	Patience time.Duration
	// Account is offered once at a login prompt. nil: none.
	Account *devices.Account
	// Rules are the fingerprints; the embedded ones when nil.
	Rules *fingerprint.Rules
	// Progress is told each step in words for people.
	Progress func(step string)
	// Regain brings the line back to a shell after the unit restarted in the
	// middle (power-cycled, watchdog) and returns the prompt. seen is what the
	// unit has said since. nil: a restart is an error.
	Regain func(ctx context.Context, seen []byte) (prompt string, err error)
	// Upload has the unit send flash over the network where it can; nil: it is
	// read over the line.
	Upload *Upload
	// Root is put before every path: a bench where the unit's files are
	// elsewhere. Empty for a unit.
	Root string
	// TPM is the device of the unit's TPM; /dev/tpmrm0 when empty.
	TPM string
}

// Prompt is a shell at the other end of a line. Its methods are for one
// goroutine at a time.
type Prompt struct {
	sends  string // the one command that sends flash over the network; empty: none
	line   *line.Line
	o      Options
	prompt string

	met       bool
	user      string // who was logged in, where a login asked
	seen      []byte // what the unit said when it was found to have restarted
	can       abilities
	dmesg     []byte
	flash     []chip
	regaining bool
	regained  int
}

// ErrRestarted marks a unit that restarted while it was read.
var ErrRestarted = errors.New("the unit restarted")

// errGarbled marks a command that the line spoilt; asking again may help.
var errGarbled = errors.New("garbled by the line")

// New returns the shell at the other end of l. Nothing is sent yet.
func New(l *line.Line, o Options) *Prompt {
	if o.Quiet <= 0 {
		o.Quiet = 250 * time.Millisecond
	}
	if o.Patience <= 0 {
		o.Patience = 45 * time.Second
	}
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	if o.Rules == nil {
		o.Rules = fingerprint.Embedded()
	}
	if o.TPM == "" {
		o.TPM = "/dev/tpmrm0"
	}
	return &Prompt{line: l, o: o, prompt: o.Prompt}
}

// abilities are what the unit's shell proved to have, each by giving the right
// answer.
type abilities struct {
	forms    []form // ways for bytes, best first
	dd       bool
	sed      bool
	tail     bool // with -c
	sha256   bool
	md5      bool
	octal    string // how octal escapes are printed: "printf ", "echo -ne "; empty: not at all
	octal0   bool   // an escape has a 0 before its digits
	eightBit bool
}

func (a abilities) form() form { return a.forms[0] }

// Meet makes sure that a shell answers and finds out what it has. The other
// methods call it; after the first time it does nothing.
func (p *Prompt) Meet(ctx context.Context) error {
	if p.met {
		return nil
	}
	if p.prompt == "" {
		prompt, err := Login(ctx, p.line, p.o)
		if err != nil {
			return err
		}
		p.prompt = prompt
		p.user, _, _ = p.o.Account.Login()
	}
	if err := p.greet(ctx); err != nil {
		return err
	}
	if err := p.survey(ctx); err != nil {
		return err
	}
	p.met = true
	p.line.Log.Remark("shell at %q: bytes come as %s", p.prompt, p.can.form().name)
	return nil
}

// greet asks for nothing but the last marker: what prints it is a shell.
func (p *Prompt) greet(ctx context.Context) error {
	var said string
	for range 4 {
		r := &request{atoms: nil, max: 8 << 10}
		status, err := p.ask(ctx, r)
		if errors.Is(err, errGarbled) {
			continue
		}
		if err != nil {
			return err
		}
		if status != "" {
			return nil
		}
		said = r.said()
		// What came may be left from before, as the prompt of a shell that has just
		// started.
		if err := p.interrupt(ctx); err != nil {
			if err = p.restarted(ctx, err); !errors.Is(err, errGarbled) {
				return err
			}
		}
	}
	return fmt.Errorf("%s: the prompt %q does not answer as a Linux shell does (it said %q): %w: a restricted shell or a vendor's menu; read the unit through its boot loader", p.line.Name, p.prompt, clip(said), devices.ErrAccess)
}

// promptLine matches a line that could be a shell's prompt: "~ # ", "# ",
// "[root@cam:/]$ ", "root@cam:~# ".
var promptLine = regexp.MustCompile(`^[\x20-\x7e]{0,60}[#$%>] ?$`)

// probe is a small thing for an applet to do, and whether it did it.
type probe struct {
	tag, pipe string
	right     func([]byte) bool
}

// prove lets probes be done, those that fail three times.
func (p *Prompt) prove(ctx context.Context, probes []probe) (right map[string]bool, err error) {
	right = map[string]bool{}
	for range 3 {
		r := &request{max: 8 << 10}
		for _, x := range probes {
			if !right[x.tag] {
				r.add(x.tag, x.pipe+";")
			}
		}
		if r.frames == 0 {
			break
		}
		r.each = func(f frame) error {
			for _, x := range probes {
				if x.tag == f.tag && (x.right(withoutCR(f.raw)) || x.right(f.raw)) {
					right[x.tag] = true
				}
			}
			return nil
		}
		if _, err := p.ask(ctx, r); err != nil && !errors.Is(err, errGarbled) {
			return right, err
		}
	}
	return right, nil
}

// survey finds out which applets there are by letting each do a small known
// thing. One that fails twice is not there.
func (p *Prompt) survey(ctx context.Context) error {
	var a abilities
	probes := []probe{
		{"g", "echo abc" + packPipe, func(b []byte) bool { got, err := unpack(b, 16); return err == nil && string(got) == "abc\n" }},
		{"dd", "echo abc|dd bs=3 count=1 2>/dev/null", is("abc")},
		{"s", "echo abc|sed -n '1,1p'", is("abc")},
		{"t", "echo abcdefghij|tail -c 8", is("defghij")},
		{"h2", "echo abc|sha256sum", is("edeaaff3f1774ad2888673770c6d64097e391bc362d7d6fb34982ddf0efd18cb  -")},
		{"h1", "echo abc|md5sum", is("0bee89b07a248e27c83fc3d5951213c1  -")},
		{"p", `printf '\101\134\060\102'`, is(`A\0B`)},
		{"e", `echo -ne '\0101\0134\0060\0102'`, is(`A\0B`)},
		{"a0", "echo abc" + armours[0].pipe, is(armours[0].probe)},
		{"a1", "echo abc" + armours[1].pipe, func(b []byte) bool { got, err := decodeUuencode(b); return err == nil && string(got) == "abc\n" }},
		{"a2", "echo abc" + armours[2].pipe, is(armours[2].probe)},
		{"a3", "echo abc" + armours[3].pipe, is(armours[3].probe)},
		{"a4", "echo abc" + armours[4].pipe, is(armours[4].probe)},
	}
	right, err := p.prove(ctx, probes)
	if err != nil {
		return err
	}
	if !right["g"] {
		// gzip may be there behind a terminal that lets no binary pass.
		var more []probe
		for i, x := range armours {
			if right[fmt.Sprint("a", i)] {
				more = append(more, probe{"g", "echo abc" + packPipe + x.pipe, func(b []byte) bool {
					packed, err := x.decode(b)
					if err != nil {
						return false
					}
					got, err := unpack(packed, 16)
					return err == nil && string(got) == "abc\n"
				}})
				break
			}
		}
		behind, err := p.prove(ctx, more)
		if err != nil {
			return err
		}
		right["g"] = behind["g"]
	}
	a.dd, a.sed, a.tail, a.sha256, a.md5 = right["dd"], right["s"], right["t"], right["h2"], right["h1"]
	switch {
	case right["p"]:
		a.octal = "printf "
	case right["e"]:
		a.octal, a.octal0 = "echo -ne ", true
	}
	p.can = a
	if err := p.findForms(ctx, right); err != nil {
		return err
	}
	return nil
}

func is(want string) func([]byte) bool {
	return func(b []byte) bool { return strings.TrimSpace(string(b)) == want }
}

// probeFile is a file that every system has and that holds most byte values.
const probeFile = "/proc/self/exe"

// findForms finds out whether all byte values come through the terminal, by
// reading the beginning of the unit's own program twice, and puts the ways for
// bytes in order.
func (p *Prompt) findForms(ctx context.Context, right map[string]bool) error {
	packed := right["g"]
	p.can.forms = []form{{name: "text"}}
	if p.can.dd {
		for range 4 {
			ok, err := p.probeEightBit(ctx, packed)
			if err != nil {
				return err
			}
			if p.can.eightBit = ok; ok {
				break
			}
		}
	}
	var forms []form
	if p.can.eightBit && packed {
		forms = append(forms, form{name: "gzip", packed: true})
	}
	if p.can.eightBit {
		forms = append(forms, form{name: "raw"})
	}
	for i, a := range armours {
		if right[fmt.Sprint("a", i)] {
			f := form{name: a.name, armour: a}
			if packed {
				f.name, f.packed = "gzip+"+a.name, true
			}
			forms = append(forms, f)
		}
	}
	if len(forms) > 0 {
		p.can.forms = forms
	}
	return nil
}

// probeEightBit compares two readings of the beginning of a program.
func (p *Prompt) probeEightBit(ctx context.Context, packed bool) (bool, error) {
	const size = 2048
	f := form{packed: packed}
	read := fmt.Sprintf("dd if=%s bs=%d skip=0 count=1 2>/dev/null%s;", p.path(probeFile), size, f.pipe())
	r := &request{max: f.lineMax(size)}
	r.add("1", read)
	r.add("2", read)
	var got [][]byte
	r.each = func(fr frame) error {
		if b, err := f.decode(fr, size); err == nil && len(b) == size {
			got = append(got, b)
		}
		return nil
	}
	if _, err := p.ask(ctx, r); err != nil && !errors.Is(err, errGarbled) {
		return false, err
	}
	if packed || len(got) == 0 {
		return len(got) > 0, nil
	}
	// A terminal that strips the eighth bit does so each time.
	high := strings.ContainsFunc(string(got[0]), func(r rune) bool { return r > 0x7f })
	return len(got) == 2 && string(got[0]) == string(got[1]) && high, nil
}

// path is where a file of the unit is.
func (p *Prompt) path(name string) string { return p.o.Root + name }

// restart hands the line to whoever can bring a restarted unit back to its
// shell.
func (p *Prompt) restart(ctx context.Context) error {
	if p.o.Regain == nil || p.regaining || p.regained >= regainsMax {
		return fmt.Errorf("%s: %w in the middle: %w: is a watchdog or the power supply resetting it? what was read is kept", p.line.Name, ErrRestarted, devices.ErrUnreachable)
	}
	p.regained++
	p.regaining = true
	defer func() { p.regaining = false }()
	p.line.Log.Remark("the unit restarted")
	p.o.Progress("the unit restarted: getting back to its shell")
	prompt, err := p.o.Regain(ctx, p.seen)
	if err != nil {
		return err
	}
	p.prompt = prompt
	return p.greet(ctx)
}

// regainsMax bounds how often a unit that restarts again and again is caught.
const regainsMax = 64
