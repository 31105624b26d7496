package bootlog

import (
	"bytes"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"assay/devices/console/line"
)

// logLine is one line as a terminal shows it.
type logLine struct {
	text   string
	offset int    // of its first byte in the log
	before string // what stood there before the first backspace, where there was one
	kernel bool   // the kernel put its time before it
}

// lines ranges over a log's lines. Carriage returns end lines as line feeds do,
// in every mixture that units send; backspaces rub out; escape sequences and
// other control characters are left out, and bytes that are no UTF-8 become
// U+FFFD. A message of the kernel in the middle of a line is a line of its own.
func lines(text []byte) func(yield func(logLine) bool) {
	return func(yield func(logLine) bool) {
		if len(text) > maxText {
			text = text[:maxText]
		}
		w := screen{}
		count := 0
		flush := func() bool {
			if len(w.buf) == 0 {
				return true
			}
			l := logLine{offset: w.start, before: strings.ToValidUTF8(string(w.before), "\ufffd")}
			whole := strings.ToValidUTF8(string(w.buf), "\ufffd")
			w.buf, w.before = w.buf[:0], nil
			for _, p := range interleaved(whole) {
				l.text, l.kernel = p.text, p.kernel
				if count++; count > maxLines || !yield(l) {
					return false
				}
			}
			return true
		}
		for i := 0; i < len(text); i++ {
			if c := text[i]; c == '\n' || c == '\r' {
				w.state = 0
				if !flush() {
					return
				}
				continue
			}
			w.feed(text[i], i)
		}
		flush()
	}
}

// screen is one line of a terminal.
type screen struct {
	buf    []byte
	before []byte // buf at the first backspace
	start  int
	state  byte // 0, '[' in a control sequence, ']' in a string, 0x1b after ESC
	seen   int  // bytes of the sequence
}

// maxSequence bounds an escape sequence; one whose end was lost must not swallow
// the rest of the line.
const maxSequence = 64

func (w *screen) feed(c byte, at int) {
	switch w.state {
	case 0x1b:
		w.state, w.seen = 0, 0
		if c == '[' || c == ']' || c == 'P' || c == '^' || c == '_' {
			w.state = c
		}
		return
	case '[':
		if w.seen++; c >= 0x40 && c <= 0x7e || w.seen > maxSequence {
			w.state = 0
		}
		return
	case ']', 'P', '^', '_':
		if w.seen++; c == 0x07 || c == 0x9c || w.seen > maxSequence {
			w.state = 0
		} else if c == 0x1b {
			w.state = 0x1b
		}
		return
	}
	switch {
	case c == 0x1b:
		w.state = 0x1b
	case c == '\b' || c == 0x7f:
		if len(w.buf) > 0 {
			if w.before == nil {
				w.before = bytes.Clone(w.buf)
			}
			w.buf = w.buf[:len(w.buf)-1]
		}
	case c == '\t' || c >= 0x20:
		if len(w.buf) == 0 {
			w.start = at
		}
		if len(w.buf) < maxLine {
			w.buf = append(w.buf, c)
		}
	}
}

// kernelStamp is the time before a kernel message.
var kernelStamp = regexp.MustCompile(`\[ {0,6}\d{1,6}\.\d{6}\](?:\[ {0,3}T\d{1,6}\])? ?`)

// lineStamp is what terminal programs and loggers put before a line.
var lineStamp = regexp.MustCompile(`^(?:<\d{1,2}>|\[?\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,6})?\]?[ :>]*|\[?\d\d:\d\d:\d\d(?:[.,:]\d{1,6})?\][ :>]*)`)

// interleaved parts a line at the kernel's time stamps and takes stamps off. What
// another program printed before a message stays a line of its own.
func interleaved(s string) (parts []logLine) {
	if c := s[0]; c == '[' || c == '<' || c >= '0' && c <= '9' {
		s = lineStamp.ReplaceAllString(s, "")
	}
	add := func(part string, kernel bool) {
		if part = strings.TrimSpace(part); part != "" {
			parts = append(parts, logLine{text: part, kernel: kernel})
		}
	}
	from, kernel := 0, false
	if strings.Contains(s, "[") {
		for _, m := range kernelStamp.FindAllStringIndex(s, 64) {
			add(s[from:m[0]], kernel)
			from, kernel = m[1], true
		}
	}
	add(s[from:], kernel)
	return parts
}

// quote makes a line safe to print and short, with the values of secrets masked.
func quote(s string) string {
	s = line.WithoutSecrets(printable(s))
	if len(s) > 240 {
		s = strings.ToValidUTF8(s[:240], "") + "…"
	}
	return s
}

// printable leaves out what a terminal would obey and what reorders text.
func printable(s string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case unicode.IsControl(r), unicode.Is(unicode.Cf, r), unicode.Is(unicode.Co, r):
			return -1
		case r == utf8.RuneError:
			return '\ufffd'
		}
		return r
	}, s))
}
