package line

// Screen is what a terminal would show of a stream: lines that end in "\n".
// U-Boot rubs its countdown out with backspaces, BusyBox asks for the cursor's
// place after each prompt, and both end lines in various mixtures of CR and LF.
type Screen struct {
	Text   []byte
	esc    escape
	skipLF bool
}

type escape uint8

const (
	plain    escape = iota
	escaped         // after ESC
	sequence        // inside a control sequence, up to its final byte
)

// Feed adds the bytes of a stream. A sequence may be cut anywhere between calls.
func (s *Screen) Feed(raw []byte) {
	for _, c := range raw {
		s.feedByte(c)
	}
}

func (s *Screen) feedByte(c byte) {
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
		if n := len(s.Text); n > 0 && s.Text[n-1] != '\n' {
			s.Text = s.Text[:n-1]
		}
	case '\r':
		if !skipLF {
			s.Text = append(s.Text, '\n')
		}
		s.skipLF = true
	case '\n':
		if !skipLF {
			s.Text = append(s.Text, '\n')
		}
	case 0, '\a', '\v', '\f', 0x0e, 0x0f: // a bell, and what shows nothing either
	default:
		s.Text = append(s.Text, c)
	}
}

// LastLine is the unfinished line at the end.
func (s *Screen) LastLine() string {
	i := len(s.Text)
	for i > 0 && s.Text[i-1] != '\n' {
		i--
	}
	return string(s.Text[i:])
}

// Trim forgets all but the last n bytes.
func (s *Screen) Trim(n int) {
	if len(s.Text) > n {
		s.Text = append(s.Text[:0], s.Text[len(s.Text)-n:]...)
	}
}
