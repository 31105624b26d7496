package shell

import (
	"bytes"
	"errors"
	"fmt"
)

// An answer travels in frames. Before each part of its answer the unit prints a
// marker: a token that is new for each command, a tag, and a line end. The bytes
// up to the next marker are the frame, whatever they are. The command as it is
// typed has the token in two halves between quotes, so its echo is no marker.

// frame is one part of an answer as it came over the line.
type frame struct {
	tag  string
	crlf bool   // the marker's line ended in CR LF: the terminal puts a CR before each LF
	over bool   // it was larger than its bound; raw is empty
	raw  []byte // valid until the next byte is fed
}

// tagMax is longer than any tag that we let print.
const tagMax = 24

// framer cuts a stream into frames.
type framer struct {
	token []byte
	max   int // bytes of one frame
	each  func(frame) error

	buf     []byte
	scanned int // of buf, in which no token begins
	open    bool
	now     frame
}

// feed takes a piece of the stream. It returns what each returned.
func (f *framer) feed(b []byte) error {
	f.buf = append(f.buf, b...)
	for {
		from := max(0, f.scanned-len(f.token)+1)
		i := bytes.Index(f.buf[from:], f.token)
		if i < 0 {
			f.scanned = len(f.buf)
			f.bound()
			return nil
		}
		i += from
		tag, crlf, rest, whole := marker(f.buf[i+len(f.token):])
		if !whole {
			f.scanned = i
			return nil
		}
		if f.open {
			f.now.over = f.now.over || i > f.max
			if !f.now.over {
				f.now.raw = f.buf[:i]
			}
			if err := f.each(f.now); err != nil {
				return err
			}
		}
		f.open, f.now = true, frame{tag: tag, crlf: crlf}
		f.buf = append(f.buf[:0], f.buf[i+len(f.token)+rest:]...)
		f.scanned = 0
	}
}

// bound keeps what is buffered under the bound of a frame.
func (f *framer) bound() {
	if len(f.buf) <= f.max {
		return
	}
	keep := min(len(f.token)-1, len(f.buf))
	f.buf = append(f.buf[:0], f.buf[len(f.buf)-keep:]...)
	f.scanned = len(f.buf)
	f.now.over = true
}

// marker reads the rest of a marker behind its token: the tag and how many bytes
// it takes with the line end. A marker that the line damaged has the tag "?",
// which nobody waits for. whole is false where more bytes are needed.
func marker(b []byte) (tag string, crlf bool, n int, whole bool) {
	for i, c := range b {
		switch {
		case c == '\n':
			return string(bytes.TrimRight(b[:i], "\r")), i > 0 && b[i-1] == '\r', i + 1, true
		case i >= tagMax:
			return "?", true, 0, true
		case c != '\r' && (c < 0x20 || c > 0x7e):
			return "?", true, 0, true
		}
	}
	return "", false, 0, false
}

// endTag starts the tag of the last marker; the exit status follows.
const endTag = "E"

// withoutCR undoes what a terminal does to output when it maps LF to CR LF: each
// LF that was written came with one CR before it.
func withoutCR(b []byte) []byte {
	out := make([]byte, 0, len(b))
	for {
		i := bytes.Index(b, []byte("\r\n"))
		if i < 0 {
			return append(out, b...)
		}
		out = append(append(out, b[:i]...), '\n')
		b = b[i+2:]
	}
}

// withoutKernel takes out lines that the kernel's log printed in the middle of
// other output, "[   12.345678] text" and their end. Whether that was right is
// for a checksum to say. It returns nil where there are none.
func withoutKernel(b []byte) []byte {
	var out []byte
	for from := 0; ; {
		i := bytes.IndexByte(b[from:], '[')
		if i < 0 {
			if out == nil {
				return nil
			}
			return append(out, b...)
		}
		i += from
		n := kernelLine(b[i:])
		if n == 0 {
			from = i + 1
			continue
		}
		out = append(out, b[:i]...)
		b, from = b[i+n:], 0
	}
}

// kernelLine returns the length of the kernel's line that b starts with, 0 where
// it starts with none. The stamp is seconds in at least five columns, a point
// and six digits (Linux kernel/printk/printk.c, print_time).
func kernelLine(b []byte) int {
	const lineMax = 1024
	i := 1
	for i < len(b) && b[i] == ' ' && i < 6 {
		i++
	}
	digits := i
	for i < len(b) && b[i] >= '0' && b[i] <= '9' && i < 12 {
		i++
	}
	if i == digits || i+9 > len(b) || b[i] != '.' {
		return 0
	}
	for _, c := range b[i+1 : i+7] {
		if c < '0' || c > '9' {
			return 0
		}
	}
	if b[i+7] != ']' {
		return 0
	}
	for j := i + 8; j < len(b) && j < lineMax; j++ {
		switch c := b[j]; {
		case c == '\n':
			return j + 1
		case c < 0x20 && c != '\t' && c != '\r' || c == 0x7f:
			return 0
		}
	}
	return 0
}

// errFrame marks a frame that the line spoilt; asking again may help.
var errFrame = errors.New("spoilt on the line")

// errShort marks a frame that came right and holds less than was asked for: the
// unit could not read it.
type errShort struct{ got, want int }

func (e errShort) Error() string {
	return fmt.Sprintf("the unit read %d of %d bytes", e.got, e.want)
}
