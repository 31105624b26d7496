//go:build linux

package chip

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"assay/devices/console/line"
	"assay/internal/peer"
	"assay/internal/qemu"
)

// A real U-Boot names its chip in its banner; the register that the data allows
// for it must say the same.
func TestARealBootLoaderNamesAndProbesItsChip(t *testing.T) {
	peer.Need(t, "qemu-system-arm", "qemu-system-arm")
	flash := filepath.Join(t.TempDir(), "flash.img")
	if err := os.WriteFile(flash, bytes.Repeat([]byte{0xff}, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(qemu.SabreliteLoader()); err != nil {
		t.Skip("U-Boot of the sabrelite is not here: scripts/peers.sh unpacks it")
	}
	m, err := qemu.StartSabrelite(t.Context(), qemu.SabreliteLoader(), flash)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Stop)
	port, err := line.Open(t.Context(), m.Device, 115200)
	if err != nil {
		t.Fatal(err)
	}
	defer port.Close()
	l := line.New(m.Device, port, line.NewTranscript(nil, ""))
	until := func(want, send string) string {
		var screen line.Screen
		for end := time.Now().Add(time.Minute); time.Now().Before(end); {
			b, err := l.Next(t.Context(), 200*time.Millisecond)
			if err == nil {
				screen.Feed(b)
			}
			if bytes.Contains(screen.Text, []byte(want)) {
				return string(screen.Text)
			}
			if send != "" {
				l.Send(send)
			}
		}
		t.Fatalf("no %q in %q", want, screen.Text)
		return ""
	}
	banner := until("\n=> ", "\x03")
	for {
		if _, err := l.Next(t.Context(), 500*time.Millisecond); err != nil {
			break // quiet: the keys that were too many are answered
		}
	}
	socs := SoCByName(regexp.MustCompile(`(?m)^CPU: .*$`).FindString(banner))
	if len(socs) != 1 || socs[0].Name != "i.MX6Q" {
		t.Fatalf("the banner %q names %+v", banner, socs)
	}
	for _, p := range Probes(socs[0]) {
		var words []uint32
		for _, c := range p.Commands() {
			l.Send(c + "\r")
			answer := until("\n=> ", "")
			mm := regexp.MustCompile(`(?m)^[0-9a-f]{8}: ([0-9a-f]{8}) `).FindStringSubmatch(answer)
			if mm == nil {
				t.Fatalf("%s: %q", c, answer)
			}
			w, _ := strconv.ParseUint(mm[1], 16, 32)
			words = append(words, uint32(w))
		}
		soc, ok := Decode(p, words)
		if !ok || soc.Name != "i.MX6Q" || soc.Maker != socs[0].Maker {
			t.Errorf("%s: %x is %+v", p.ID, words, soc)
		}
	}
}
