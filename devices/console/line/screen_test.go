package line

import (
	"strings"
	"testing"
)

func TestSecretsInTheEnvironmentAreMasked(t *testing.T) {
	in := "wifi_password=hunter2\nbootdelay=2\nrootpw=abc\nbootargs=a psk=xyz\n"
	if got := WithoutSecrets(in); strings.Contains(got, "hunter2") || strings.Contains(got, "abc") || strings.Contains(got, "xyz") || !strings.Contains(got, "bootdelay=2") {
		t.Errorf("%q", got)
	}
}

func TestTheScreenShowsWhatATerminalWould(t *testing.T) {
	for in, want := range map[string]string{
		"autoboot:  2 \b\b\b 0 \r\n=> ":   "autoboot:  0 \n=> ",
		"a\r\r\nb\n\nc\r\rd":              "a\nb\n\nc\nd",
		"~ # \x1b[6n":                     "~ # ",
		"\x1b[1;31mred\x1b[0m\x1bMx\x00y": "redxy",
		"x\x1b[12\ny":                     "x\ny",
		"\b\b=> ":                         "=> ",
		"HKVS # \a\a":                     "HKVS # ",
	} {
		var s Screen
		for i := range in {
			s.Feed([]byte{in[i]})
		}
		if string(s.Text) != want {
			t.Errorf("%q shows %q, want %q", in, s.Text, want)
		}
	}
}

func FuzzScreen(f *testing.F) {
	f.Add([]byte("Hit any key to stop autoboot:  2 \b\b\b 0 \r\n=> "))
	f.Add([]byte("~ # \x1b[6nwifi_password=x\r\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var s Screen
		s.Feed(raw)
		if len(s.Text) > len(raw) {
			t.Fatalf("%d bytes show %d", len(raw), len(s.Text))
		}
		WithoutSecrets(string(s.Text))
		s.LastLine()
		s.Trim(8)
	})
}
