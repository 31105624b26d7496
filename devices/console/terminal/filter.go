package terminal

import (
	"bytes"
	"strconv"
	"unicode"
	"unicode/utf8"
)

// Filter lets through of a unit's output what cannot harm the terminal that it is
// shown on: printable text, CR, LF, TAB and BS, and the control sequences that
// move the cursor, erase, and set colours (ECMA-48). Everything else is dropped: a
// terminal that is asked for its title, its answerback or its cursor's place types
// the answer as if the person had, and others change the clipboard, the window, the
// keyboard or the character set until it is closed.
//
// Its zero value is ready, and shows ASCII only.
type Filter struct {
	// UTF8 says that the terminal takes UTF-8. One that does not would take the
	// bytes of many letters for control characters.
	UTF8 bool

	state  filterState
	params []byte // of a control sequence
	length int    // of a sequence that is dropped
	letter []byte // the first bytes of a UTF-8 letter
}

type filterState uint8

const (
	inText    filterState = iota
	inEscape              // after ESC
	inShift               // after ESC and an intermediate byte: one more is due
	inControl             // in a control sequence, up to its final byte
	inString              // in an operating system command or another string
	inStringEscape
)

const (
	maxParams = 32
	maxNumber = 999     // of a parameter: some terminals do as often as they are told
	maxString = 4 << 10 // after which a string is taken for text that lost its start
)

// Append appends to dst what of b may be shown. A sequence or a letter may be cut
// anywhere between calls.
func (f *Filter) Append(dst, b []byte) []byte {
	for _, c := range b {
		dst = f.one(dst, c)
	}
	return dst
}

func (f *Filter) one(dst []byte, c byte) []byte {
	// Whatever was begun, ESC, CAN and SUB end it, and so does the end of a line,
	// since on a serial line the final byte may be lost.
	switch c {
	case 0x1b:
		dst = f.broken(dst)
		if f.state == inString {
			f.state = inStringEscape
		} else {
			f.state = inEscape
		}
		return dst
	case 0x18, 0x1a:
		dst = f.broken(dst)
		f.state = inText
		return dst
	case '\r', '\n':
		dst = f.broken(dst)
		f.state = inText
		return append(dst, c)
	}
	switch f.state {
	case inText:
		return f.text(dst, c)
	case inEscape, inStringEscape:
		f.state, f.params, f.length = inText, f.params[:0], 0
		switch {
		case c == '[':
			f.state = inControl
		case c == ']' || c == 'P' || c == 'X' || c == '^' || c == '_':
			f.state = inString
		case c >= 0x20 && c <= 0x2f: // a character set, and the like
			f.state = inShift
		}
	case inShift:
		if c < 0x20 || c > 0x2f {
			f.state = inText
		}
	case inControl:
		if c >= 0x40 && c <= 0x7e {
			f.state = inText
			if f.harmless(c) {
				dst = append(append(append(dst, 0x1b, '['), f.params...), c)
			}
		} else if c < 0x20 || c > 0x7e || f.length > maxString {
			f.state = inText
		} else if f.length++; len(f.params) <= maxParams {
			f.params = append(f.params, c)
		}
	case inString:
		if f.length++; c == 0x07 || f.length > maxString {
			f.state = inText
		}
	}
	return dst
}

// text takes a byte outside of any sequence.
func (f *Filter) text(dst []byte, c byte) []byte {
	if c < utf8.RuneSelf {
		dst = f.broken(dst)
		if c >= 0x20 && c != 0x7f || c == '\t' || c == '\b' {
			dst = append(dst, c)
		}
		return dst
	}
	if len(f.letter) > 0 && utf8.RuneStart(c) {
		dst = f.broken(dst)
	}
	if f.letter = append(f.letter, c); !utf8.FullRune(f.letter) {
		return dst
	}
	r, n := utf8.DecodeRune(f.letter)
	if r == utf8.RuneError && n == 1 {
		return f.broken(dst)
	}
	f.letter = f.letter[:0]
	switch {
	case !unicode.IsPrint(r): // C1 controls among them, and what turns the direction of text
		return dst
	case !f.UTF8:
		return append(dst, '?')
	}
	return utf8.AppendRune(dst, r)
}

// broken shows the bytes of a letter that was not finished: noise, as at a wrong
// rate, should look like noise.
func (f *Filter) broken(dst []byte) []byte {
	for range f.letter {
		dst = append(dst, '?')
	}
	f.letter = f.letter[:0]
	return dst
}

// harmless judges a control sequence by its final byte: cursor moves, erasing,
// inserting and deleting, colours. No private parameters, no reports, no modes.
func (f *Filter) harmless(final byte) bool {
	if len(f.params) > maxParams || !bytes.ContainsRune([]byte("ABCDEFGHJKLMPX@dfm"), rune(final)) {
		return false
	}
	for i, p := range bytes.Split(f.params, []byte(";")) {
		n := 0
		if len(p) > 0 {
			var err error
			if n, err = strconv.Atoi(string(p)); err != nil || n < 0 || n > maxNumber || p[0] == '+' {
				return false
			}
		}
		if final == 'J' && (n > 2 || i > 0) { // 3 erases what was scrolled away
			return false
		}
	}
	return true
}
