package console

import (
	"testing"

	"assay/devices/console/autoboot"
	"assay/devices/console/line"
)

func TestLoadersThatWantAStringGetNoFlood(t *testing.T) {
	for text, want := range map[string]bool{
		"Enter password in 5 seconds to stop autoboot":               true,
		"Autobooting in 3 seconds, press the stop string to abort\n": true,
		"autoboot in 5 seconds, enter passphrase":                    true,
		"Please input password: ":                                    true,
		"Hit any key to stop autoboot:  3 ":                          false,
		"Hit Ctrl+u to stop autoboot: 1":                             false,
		"bootargs=console=ttyS0 autoboot password=x":                 false,
	} {
		if _, got := locked([]byte(text), autoboot.For([]byte(text))); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestEachFamilyIsStoppedByItsKey(t *testing.T) {
	for text, want := range map[string]string{
		"Hit any key to stop autoboot:  3 ":    ctrlC,
		"Hit Ctrl+u to stop autoboot: 1":       "\x15",
		"DH-Boot 1.0":                          "*",
		"SigmaStar U-Boot 2015.01":             "\r",
		"Press SPACE to abort autoboot in 2 s": " ",
		"Hit ESC key to stop autoboot: 1":      "\x1b",
	} {
		h := hunt{scr: line.Screen{Text: []byte(text)}, stop: autoboot.For([]byte(text))}
		if got := h.key(); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func FuzzPrompt(f *testing.F) {
	f.Add([]byte("Hit any key to stop autoboot:  2 \b\b\b 0 \r\n=> "))
	f.Add([]byte("~ # \x1b[6n"))
	f.Add([]byte("Enter password: "))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var s line.Screen
		s.Feed(raw)
		if len(s.Text) > len(raw) {
			t.Fatalf("%d bytes show %d", len(raw), len(s.Text))
		}
		locked(s.Text, autoboot.For(s.Text))
		pastLoader.Match(s.Text)
		promptLine.MatchString(s.LastLine())
	})
}
