package console

import (
	"math/rand/v2"
	"os"
	"time"
)

// line is the wire between the unit and whoever reads it, with its faults.
type line struct {
	master *os.File
	quirks Quirks
	baud   int
	noise  *rand.Rand
}

// write sends what the unit prints.
func (l *line) write(s string) error {
	b := []byte(s)
	if l.mistuned() {
		b = garble(b)
	}
	if n := l.quirks.FlipOneIn; n > 0 {
		for i := range b {
			if l.noise.IntN(n) == 0 {
				b[i] ^= 1 << l.noise.IntN(7)
			}
		}
	}
	if n := l.quirks.DropOneIn; n > 0 {
		kept := b[:0]
		for _, c := range b {
			if l.noise.IntN(n) != 0 {
				kept = append(kept, c)
			}
		}
		b = kept
	}
	if l.quirks.BytesPerSec == 0 {
		_, err := l.master.Write(b)
		return err
	}
	for len(b) > 0 {
		n := min(len(b), max(1, l.quirks.BytesPerSec/50))
		if _, err := l.master.Write(b[:n]); err != nil {
			return err
		}
		b = b[n:]
		time.Sleep(time.Duration(n) * time.Second / time.Duration(l.quirks.BytesPerSec))
	}
	return nil
}

// heard is what the unit makes of what was typed.
func (l *line) heard(b []byte) []byte {
	if l.mistuned() {
		return garble(b)
	}
	return b
}

// mistuned reports whether the reader listens at another rate than the unit's.
// Where the system does not tell the rate, it counts as right.
func (l *line) mistuned() bool {
	baud := rateOf(l.master)
	return l.baud != 0 && baud != 0 && baud != l.baud
}

// garble is what a receiver at the wrong rate sees: bits in wrong places, most of
// them high since the line rests high.
func garble(b []byte) []byte {
	out := make([]byte, len(b))
	for i, c := range b {
		out[i] = c*167 | 0x80
	}
	return out
}
