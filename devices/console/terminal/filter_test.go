package terminal

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestWhatAUnitMayShow(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"a boot log":                  {"U-Boot 2023.01\r\nHit any key:  2 \b\b\b 1\t=> ", "U-Boot 2023.01\r\nHit any key:  2 \b\b\b 1\t=> "},
		"colours and cursor":          {"\x1b[1;31mred\x1b[0m\x1b[2K\x1b[H\x1b[2J\x1b[3;4Hx\x1b[K", "\x1b[1;31mred\x1b[0m\x1b[2K\x1b[H\x1b[2J\x1b[3;4Hx\x1b[K"},
		"where is the cursor":         {"~ # \x1b[6n", "~ # "},
		"who are you":                 {"\x1b[c\x1b[>c\x1b[=c\x1bZ\x05x", "x"},
		"a window title":              {"\x1b]0;owned\x07x\x1b]2;owned\x1b\\y", "xy"},
		"the title asked for":         {"\x1b[21tx", "x"},
		"the clipboard":               {"\x1b]52;c;cm0gLXJm\x07x", "x"},
		"the title with 8 bit":        {"\x9d0;owned\x9cx", "?0;owned?x"},
		"a control with 8 bit":        {"\x9b6nx", "?6nx"},
		"a C1 control as UTF-8":       {"\u009b6nx", "6nx"},
		"a device string":             {"\x1bPq#0\x1b\\x\x1b_Gf=32\x1b\\y\x1b^pm\x1b\\z\x1bXs\x1b\\.", "xyz."},
		"a string that asks inside":   {"\x1b]0;\x1b[6n", ""},
		"a string that has no end":    {"\x1b]0;" + strings.Repeat("a", 5000) + "back", strings.Repeat("a", 5000-maxString+1) + "back"},
		"a string that a line ends":   {"\x1b]0;lost\r\nback", "\r\nback"},
		"a control that a line ends":  {"\x1b[12\r\nback", "\r\nback"},
		"bracketed paste":             {"\x1b[?2004hx\x1b[?2004l", "x"},
		"mouse":                       {"\x1b[?1000h\x1b[?1006hx", "x"},
		"another screen":              {"\x1b[?1049hx", "x"},
		"keyboard protocols":          {"\x1b[>1ux\x1b[=1u\x1b[>4;2m", "x"},
		"a reset":                     {"\x1bcx\x1b[!py", "xy"},
		"a character set":             {"\x1b(0x\x0ey\x1b%Gz", "xyz"},
		"modes":                       {"\x1b[4hx\x1b[20h", "x"},
		"a bell":                      {"\ax\x00\x7f", "x"},
		"what was scrolled away":      {"\x1b[3Jx\x1b[0;3Jy\x1b[2J", "xy\x1b[2J"},
		"as often as it likes":        {"\x1b[99999999@x\x1b[999Cy", "x\x1b[999Cy"},
		"a repeat":                    {"a\x1b[500bx", "ax"},
		"a scroll region":             {"\x1b[5;5rx", "x"},
		"printing":                    {"\x1b[5ix\x1b[?5i", "x"},
		"a number with a sign":        {"\x1b[+1Ax\x1b[-1Ay", "xy"},
		"colours with colons":         {"\x1b[38:5:1mx", "x"},
		"ESC in a control":            {"\x1b[12\x1b[31mx", "\x1b[31mx"},
		"cancelled":                   {"\x1b[31\x18mx\x1b]0;\x1ay", "mxy"},
		"a letter":                    {"grün 摄像头 ✓", "grün 摄像头 ✓"},
		"a letter that is cut":        {"a\xe6\x91b\xe6", "a??b"},
		"text that turns round":       {"a\u202eb\u2066c\ufeffd", "abcd"},
		"noise":                       {"\xff\xfe\x80\xc0\xaf", "?????"},
		"an over-long escape":         {"\xc0\x9b6n", "??6n"},
		"a control with intermediate": {"\x1b[1 qx\x1b[1$rx", "xx"},
	} {
		t.Run(name, func(t *testing.T) {
			f := Filter{UTF8: true}
			if got := string(f.Append(nil, []byte(c.in))); got != c.want {
				t.Errorf("%.99q shows %.99q, want %.99q", c.in, got, c.want)
			}
			var piecewise []byte
			f = Filter{UTF8: true}
			for i := range len(c.in) {
				piecewise = f.Append(piecewise, []byte{c.in[i]})
			}
			if string(piecewise) != c.want {
				t.Errorf("byte by byte %.99q, want %.99q", piecewise, c.want)
			}
		})
	}
}

func TestATerminalWithoutUTF8GetsASCIIOnly(t *testing.T) {
	var f Filter
	// The bytes of ě are 0xC4 0x9B, and 0x9B begins a control sequence there.
	if got := string(f.Append(nil, []byte("ě6n grün"))); got != "?6n gr?n" {
		t.Errorf("%q", got)
	}
}

// allowed is what a terminal may be given, told another way than the filter does.
var allowed = regexp.MustCompile(`^(?:[\t\r\n\x08 -~]|[^\x00-\x{9f}]|\x1b\[[0-9;]*[ABCDEFGHJKLMPX@dfm])*$`)

func FuzzFilter(f *testing.F) {
	for _, s := range []string{"\x1b[6n", "\x1b]0;x\x07", "\x1b[31mred", "\x1b\x1b[[6n", "\x9b6n", "ě", "\x1b[1\x1b]0;\x1b\\", "\x1b[3;J"} {
		f.Add([]byte(s), true)
		f.Add([]byte(s), false)
	}
	f.Fuzz(func(t *testing.T, b []byte, utf bool) {
		whole := Filter{UTF8: utf}
		got := whole.Append(nil, b)
		if !utf8.Valid(got) || !allowed.Match(got) {
			t.Fatalf("%q shows %q", b, got)
		}
		if !utf && bytes.ContainsFunc(got, func(r rune) bool { return r > 0x7e }) {
			t.Fatalf("%q shows %q on a terminal without UTF-8", b, got)
		}
		if len(got) > len(b) {
			t.Fatalf("%q grows to %q", b, got)
		}
		cut := Filter{UTF8: utf}
		var pieces []byte
		for i := range b {
			pieces = cut.Append(pieces, b[i:i+1])
		}
		if !bytes.Equal(pieces, got) {
			t.Fatalf("%q in pieces shows %q, whole %q", b, pieces, got)
		}
	})
}

func BenchmarkFilter(b *testing.B) {
	text := bytes.Repeat([]byte("[    1.234567] usb 1-1: \x1b[32mnew\x1b[0m high-speed USB device number 2\r\n"), 100)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	f := Filter{UTF8: true}
	var dst []byte
	for b.Loop() {
		dst = f.Append(dst[:0], text)
	}
}
