package console

// screen is what a terminal would show of a stream: lines that end in "\n".
// U-Boot rubs its countdown out with backspaces, BusyBox asks for the cursor's
// place after each prompt, and both end lines in various mixtures of CR and LF.
type screen struct {
	text   []byte
	esc    escape
	skipLF bool
}

type escape uint8

const (
	plain    escape = iota
	escaped         // after ESC
	sequence        // inside a control sequence, up to its final byte
)

// feed adds the bytes of a stream. A sequence may be cut anywhere between calls.
func (s *screen) feed(raw []byte) {
	for _, c := range raw {
		s.feedByte(c)
	}
}

func (s *screen) feedByte(c byte) {
	switch s.esc {
	case escaped:
		s.esc = plain
		if c == '[' {
			s.esc = sequence
		}
		return
	case sequence:
		if c >= 0x40 && c <= 0x7e {
			s.esc = plain
		}
		// A line end inside a sequence means that its final byte was lost.
		if c != '\r' && c != '\n' {
			return
		}
		s.esc = plain
	}
	skipLF := s.skipLF
	s.skipLF = false
	switch c {
	case 0x1b:
		s.esc = escaped
	case '\b', 0x7f:
		if n := len(s.text); n > 0 && s.text[n-1] != '\n' {
			s.text = s.text[:n-1]
		}
	case '\r':
		if !skipLF {
			s.text = append(s.text, '\n')
		}
		s.skipLF = true
	case '\n':
		if !skipLF {
			s.text = append(s.text, '\n')
		}
	case 0:
	default:
		s.text = append(s.text, c)
	}
}

// lastLine is the unfinished line at the end.
func (s *screen) lastLine() string {
	i := len(s.text)
	for i > 0 && s.text[i-1] != '\n' {
		i--
	}
	return string(s.text[i:])
}

// trim forgets all but the last n bytes.
func (s *screen) trim(n int) {
	if len(s.text) > n {
		s.text = append(s.text[:0], s.text[len(s.text)-n:]...)
	}
}
