package uboot

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strconv"
)

// mdWidth is the form of md: bytes in one printed word.
type mdWidth int

// letter is the suffix that selects the form, as in "md.q".
func (w mdWidth) letter() string { return map[mdWidth]string{1: "b", 2: "w", 4: "l", 8: "q"}[w] }

func widthOf(letter string) mdWidth {
	return map[string]mdWidth{"b": 1, "w": 2, "l": 4, "q": 8}[letter]
}

// parseMd reads the answer of "md" for size bytes at address into dst, which is
// size long, and marks in got which bytes it found. Words are printed as
// numbers of the unit's endianness, so the order must be given. Lines that are
// garbled, out of range or not of md are passed over: what they held stays
// unmarked. Line formats: U-Boot lib/display_options.c print_buffer (since
// 2013 with four, later two spaces before the text column).
//
// It does not detect a digit that was changed into another one.
func parseMd(answer []byte, address uint64, width mdWidth, order binary.ByteOrder, dst []byte, got []bool) {
	for line := range bytes.Lines(answer) {
		if at, b, err := parseMdLine(bytes.TrimRight(line, "\n"), width, order); err == nil && at >= address && at-address < uint64(len(dst)) {
			off := int(at - address)
			if off%mdLine != 0 || len(b) != min(mdLine, len(dst)-off) {
				continue
			}
			copy(dst[off:], b)
			for i := range b {
				got[off+i] = true
			}
		}
	}
}

// mdLine is how many bytes md prints on a line.
const mdLine = 16

// parseMdLine reads one line: an address, words and the same bytes as text. The
// words end at the double space before the text, which may look like words.
func parseMdLine(line []byte, width mdWidth, order binary.ByteOrder) (address uint64, b []byte, err error) {
	colon := bytes.IndexByte(line, ':')
	if colon < 1 || colon > 16 {
		return 0, nil, fmt.Errorf("md: no address")
	}
	if address, err = strconv.ParseUint(string(line[:colon]), 16, 64); err != nil {
		return 0, nil, fmt.Errorf("md: address %q", line[:colon])
	}
	rest := line[colon+1:]
	var text [8]byte
	for len(b) < mdLine {
		if len(rest) < 1+2*int(width) || rest[0] != ' ' || rest[1] == ' ' {
			break
		}
		word, err := strconv.ParseUint(string(rest[1:1+2*width]), 16, 64)
		if err != nil {
			return 0, nil, fmt.Errorf("md: word %q", rest[1:1+2*width])
		}
		binary.BigEndian.PutUint64(text[:], word)
		value := text[8-width:]
		if order == binary.ByteOrder(binary.LittleEndian) {
			for i := range value {
				b = append(b, value[int(width)-1-i])
			}
		} else {
			b = append(b, value...)
		}
		rest = rest[1+2*width:]
	}
	if len(b) == 0 {
		return 0, nil, fmt.Errorf("md: no words at %#x", address)
	}
	if !textAgrees(bytes.TrimLeft(rest, " "), b) {
		return 0, nil, fmt.Errorf("md: words and text differ at %#x", address)
	}
	return address, b, nil
}

// textAgrees compares the text column with the words. Leading spaces of the
// column are lost to the caller's trim, so it compares from the end.
func textAgrees(text, b []byte) bool {
	if len(text) > len(b) {
		return false
	}
	for i := 1; i <= len(text); i++ {
		want := b[len(b)-i]
		if want < 0x20 || want > 0x7e {
			want = '.'
		}
		if text[len(text)-i] != want {
			return false
		}
	}
	for _, c := range b[:len(b)-len(text)] {
		if c != ' ' {
			return false
		}
	}
	return true
}
