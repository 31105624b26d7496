// Package terminal lets a person, or a script, talk to a unit over its console. The
// unit is not trusted with the person's terminal ([Filter]), and both directions
// are in the line's transcript, without the passwords that are typed.
//
// This is the one place where what is sent is not from a list of ours: whoever
// types may change the unit, and is told so.
package terminal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"time"

	"assay/devices/console/line"
)

// Terminal connects a person or a script with a line.
type Terminal struct {
	Line  *line.Line
	In    io.Reader // what is typed
	Out   io.Writer // what the unit says, filtered
	Notes io.Writer // our own words
	// UTF8 says that Out takes UTF-8.
	UTF8 bool
	// Keys says that In is a person's keyboard, in raw mode: Ctrl-] is the
	// terminal's own, and notes end lines as raw terminals want them. Without it In
	// is a script: each of its lines is sent, ended by Enter, when the unit has
	// been quiet for Quiet, or after 30 s in which it was not; after the last
	// one the session ends when the unit is quiet, or after a minute.
	Keys  bool
	Quiet time.Duration // a second when 0

	filter Filter
	screen line.Screen
	menu   bool // Ctrl-] was typed
	busy   time.Time
	paced  time.Time // a script's last line, or the start
	hidden bool      // the line that is being typed is a password
	begun  bool      // a line is being typed
	inLine bool      // the screen's last line is not finished
	shown  []byte

	talks, after time.Duration // how long a script waits for a unit that talks
}

// Escape begins a command to the terminal itself: Ctrl-].
const Escape = 0x1d

const (
	look      = 10 * time.Millisecond // how long the unit is listened to before the keys are
	lineMax   = 4096                  // of a script
	talksMax  = 30 * time.Second      // of a unit before a script's next line
	afterMax  = time.Minute           // after a script's last line
	screenMax = 4096
)

var errLeft = errors.New("left")

// Run returns nil when the person leaves or the script is done, and the line's
// error when that ends first. Where In is a person's keyboard, the goroutine that
// reads it ends with In only: a read from a keyboard cannot be called off.
func (t *Terminal) Run(ctx context.Context) error {
	if t.Quiet <= 0 {
		t.Quiet = time.Second
	}
	if t.talks == 0 {
		t.talks, t.after = talksMax, afterMax
	}
	t.filter.UTF8 = t.UTF8
	t.busy, t.paced = time.Now(), time.Now()
	stop := make(chan struct{})
	defer close(stop)
	typed := make(chan []byte)
	go t.read(typed, stop)
	var script []byte
	ended := false
	for {
		b, err := t.Line.Next(ctx, look)
		if err == nil {
			err = t.show(b)
		} else if errors.Is(err, line.ErrQuiet) {
			err = nil
		}
		if err != nil {
			return err
		}
		var keys []byte
		if len(script) < lineMax && !ended {
			select {
			case b, ok := <-typed:
				keys, ended = b, !ok
			default:
			}
		}
		if t.Keys {
			err = t.keys(keys)
			if ended && err == nil {
				err = errLeft
			}
		} else {
			script, err = t.script(append(script, keys...), ended)
		}
		if errors.Is(err, errLeft) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (t *Terminal) read(typed chan<- []byte, stop <-chan struct{}) {
	defer close(typed)
	buf := make([]byte, 1024)
	for {
		n, err := t.In.Read(buf)
		if n > 0 {
			select {
			case typed <- bytes.Clone(buf[:n]):
			case <-stop:
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// show gives the person what the unit said.
func (t *Terminal) show(b []byte) error {
	t.busy = time.Now()
	t.screen.Feed(b)
	t.screen.Trim(screenMax)
	t.shown = t.filter.Append(t.shown[:0], b)
	if n := len(t.shown); n > 0 {
		t.inLine = t.shown[n-1] != '\n'
	}
	_, err := t.Out.Write(t.shown)
	return err
}

// passwordPrompt matches a line that waits for a password, or a command whose next
// word is one. Where it matches too much, the transcript shows less than it could,
// and no more.
var passwordPrompt = regexp.MustCompile(`(?i)(password|passwd|passphrase)[ *]*$|` +
	`(password|passwd|passphrase|passcode|passwort|kennwort|mot de passe|contraseña|senha|secret|\bpin\b|密码|密碼|口令)[^:>?：]{0,60}[:>?：][ *]*$`)

// send gives the unit what was typed.
func (t *Terminal) send(b []byte) error {
	if !t.begun {
		t.hidden = false
	}
	// A prompt may come while its answer is being typed.
	t.hidden = t.hidden || passwordPrompt.MatchString(t.screen.LastLine())
	last := b[len(b)-1]
	t.begun = last != '\r' && last != '\n' && last != 0x03 && last != 0x04
	return t.Line.Type(b, t.hidden)
}

// keys takes what a person typed, a line's end at a time: what is behind it may be
// the answer to another prompt.
func (t *Terminal) keys(b []byte) error {
	for len(b) > 0 {
		if t.menu {
			t.menu = false
			if err := t.command(b[0]); err != nil {
				return err
			}
			b = b[1:]
			continue
		}
		n := bytes.IndexByte(b, Escape)
		if n == 0 {
			t.menu = true
			b = b[1:]
			continue
		}
		if n < 0 {
			n = len(b)
		}
		if end := bytes.IndexAny(b[:n], "\r\n"); end >= 0 {
			n = end + 1
		}
		if err := t.send(b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// command is what a person asks of the terminal itself.
func (t *Terminal) command(key byte) error {
	switch key {
	case 'q', Escape:
		return errLeft
	case 'b':
		t.nextRate()
	case ']':
		return t.send([]byte{Escape})
	default:
		t.Note("Ctrl-] q  leave (Ctrl-] twice does it too)")
		t.Note("Ctrl-] b  next rate; now %s", t.rate())
		t.Note("Ctrl-] ]  send Ctrl-] to the unit")
	}
	return nil
}

func (t *Terminal) rate() string {
	if !t.Line.HasRate() {
		return "its rate set by the console server"
	}
	return fmt.Sprintf("%d baud", t.Line.Baud())
}

func (t *Terminal) nextRate() {
	if !t.Line.HasRate() {
		t.Note("the rate is set by the console server, and not from here")
		return
	}
	next := line.Rates[0]
	for i, r := range line.Rates {
		if r == t.Line.Baud() {
			next = line.Rates[(i+1)%len(line.Rates)]
		}
	}
	if err := t.Line.SetBaud(next); err != nil {
		t.Note("%v", err)
		return
	}
	t.Line.Log.Remark("%d baud", next)
	t.Note("%d baud", next)
}

// Note says something of our own, on a line of its own.
func (t *Terminal) Note(format string, args ...any) {
	text := string(t.filter.note(fmt.Sprintf(format, args...)))
	if !t.Keys {
		fmt.Fprintf(t.Notes, "assay: %s\n", text)
		return
	}
	if t.inLine {
		fmt.Fprint(t.Notes, "\r\n")
	}
	t.inLine = false
	fmt.Fprintf(t.Notes, "assay: %s\r\n", text)
}

// note is text of ours that may quote a unit or a server.
func (f *Filter) note(s string) []byte {
	plain := Filter{UTF8: f.UTF8}
	return plain.Append(nil, []byte(s))
}

// script sends the next line when it is time, and returns what is left.
func (t *Terminal) script(b []byte, ended bool) ([]byte, error) {
	now := time.Now()
	quiet := now.Sub(t.busy) >= t.Quiet
	if len(b) == 0 {
		if ended && !quiet && now.Sub(t.paced) >= t.after {
			t.Note("the script is done, and the unit still talks after %s", t.after)
			return nil, errLeft
		}
		if ended && quiet {
			return nil, errLeft
		}
		return nil, nil
	}
	if !quiet && now.Sub(t.paced) < t.talks {
		return b, nil
	}
	n := bytes.IndexByte(b, '\n')
	switch {
	case n >= 0:
	case ended || len(b) >= lineMax:
		n = len(b)
	default: // the rest of the line is on its way
		return b, nil
	}
	text := bytes.TrimSuffix(b[:n], []byte("\r"))
	rest := b[min(n+1, len(b)):]
	t.busy, t.paced = now, now
	return rest, t.send(append(bytes.Clone(text), '\r'))
}

// Greet says where the person is, and what may happen.
func (t *Terminal) Greet(log string) {
	at := t.rate()
	t.Note("%s, %s; transcript in %s", t.Line.Name, at, log)
	for _, n := range t.Line.Notes() {
		t.Note("%s", n)
	}
	if t.Keys {
		t.Note("what you type goes to the unit as it is, and may change it; Ctrl-] q leaves, Ctrl-] ? helps")
		return
	}
	t.Note("the script goes to the unit as it is, and may change it")
}
