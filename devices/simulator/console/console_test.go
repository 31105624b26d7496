package console

import (
	"bufio"
	"bytes"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/term"
)

func TestEveryUnitThatShipsParses(t *testing.T) {
	if len(Units()) < 4 {
		t.Fatalf("units %v", Units())
	}
	for _, name := range Units() {
		if c, err := Load(name); err != nil || c.Name != name {
			t.Errorf("%s: named %q, %v", name, c.Name, err)
		}
	}
	if _, err := Load("none"); err == nil || !strings.Contains(err.Error(), "vendor-signed") {
		t.Errorf("an unknown unit: %v", err)
	}
}

// terminal types at a simulated unit.
type terminal struct {
	t *testing.T
	f *os.File
	r *bufio.Reader
}

func open(t *testing.T, cfg Config) (*Console, terminal) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("no pseudo-terminals on Windows")
	}
	c, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	f, err := os.OpenFile(c.Device, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if _, err := term.MakeRaw(int(f.Fd())); err != nil {
		t.Fatal(err)
	}
	return c, terminal{t, f, bufio.NewReader(f)}
}

func (x terminal) until(end string) string {
	x.t.Helper()
	var b bytes.Buffer
	for timeout := time.Now().Add(10 * time.Second); time.Now().Before(timeout); {
		k, err := x.r.ReadByte()
		if err != nil {
			x.t.Fatalf("%v after %q", err, b.String())
		}
		b.WriteByte(k)
		if strings.HasSuffix(b.String(), end) {
			return b.String()
		}
	}
	x.t.Fatalf("no %q in %q", end, b.String())
	return ""
}

func (x terminal) say(s string) { x.f.WriteString(s) }

func small(start State) Config {
	content := make([]byte, 64)
	for i := range content {
		content[i] = byte(i + 0x30)
	}
	return Config{
		Name: "small", Start: start, Prompt: "=> ", Banner: []string{"U-Boot 2023.01"}, Version: []string{"U-Boot 2023.01"},
		NOR: []Flash{{Address: 0x1000, Size: 4096, Content: content}},
	}
}

func TestAnEmptyEnterRepeatsMdAtTheNextAddress(t *testing.T) {
	c, x := open(t, small(StatePrompt))
	x.until("=> ")
	x.say("md.b 1000 10\r")
	if got := x.until("\n=> "); !strings.Contains(got, "00001000: 30 31 32") || !strings.Contains(got, "3f  0123456789:;<=>?\r\n") {
		t.Errorf("%q", got)
	}
	x.say("\r")
	if got := x.until("\n=> "); !strings.Contains(got, "00001010: 40 41") {
		t.Errorf("%q", got)
	}
	if log := c.Log(); len(log) != 2 {
		t.Errorf("log %q", log)
	}
}

func TestMdPrintsWordsInTheUnitsOrder(t *testing.T) {
	for _, big := range []bool{false, true} {
		cfg := small(StatePrompt)
		cfg.Quirks.BigEndian = big
		_, x := open(t, cfg)
		x.until("=> ")
		x.say("md.l 1000 1\r")
		want := map[bool]string{false: "00001000: 33323130 ", true: "00001000: 30313233 "}[big]
		if got := x.until("\n=> "); !strings.Contains(got, want) {
			t.Errorf("big endian %v: %q", big, got)
		}
	}
}

func TestAKeyStopsAutobootAndCtrlCInterrupts(t *testing.T) {
	cfg := small(StateBoot)
	cfg.Boot.Seconds = 2
	_, x := open(t, cfg)
	x.until("autoboot:  2 ")
	x.say("\x03")
	x.until("=> ")
	x.say("abc\x03")
	if got := x.until("=> "); !strings.Contains(got, "<INTERRUPT>") {
		t.Errorf("%q", got)
	}
	x.say("crc32 1000 40\r")
	if got := x.until("\n=> "); !strings.Contains(got, "crc32 for 00001000 ... 0000103f ==> ") {
		t.Errorf("%q", got)
	}
}

func TestAUnitThatIsNotStoppedBootsItsKernel(t *testing.T) {
	_, x := open(t, small(StateBoot))
	x.until("Starting kernel ...")
	x.until("camera login: ")
}
