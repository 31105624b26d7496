//go:build linux

package bootlog

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"assay/devices/console/line"
	"assay/internal/peer"
	"assay/internal/qemu"
)

// What is heard of a real U-Boot while it starts.
func TestARealBootIsRead(t *testing.T) {
	program, loader, err := qemu.Programs("arm")
	if err != nil {
		t.Fatal(err)
	}
	peer.Need(t, program, "qemu-system-arm")
	if _, err := os.Stat(loader); err != nil {
		peer.Need(t, loader, "u-boot-qemu")
	}
	flash := filepath.Join(t.TempDir(), "flash.img")
	if err := os.WriteFile(flash, bytes.Repeat([]byte{0xff}, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	m, err := qemu.StartUBoot(t.Context(), "arm", flash, "")
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
	var text []byte
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end) && !bytes.Contains(text, []byte("\n=> ")); {
		b, err := l.Next(t.Context(), 200*time.Millisecond)
		if err == nil {
			text = append(text, b...)
		}
		if bytes.Contains(text, []byte("to stop autoboot")) && !bytes.Contains(text, []byte("\n=> ")) {
			l.Send("\x03")
		}
	}
	facts := Parse(text)
	for _, want := range []string{
		`^A2 boot-loader version = U-Boot 20\d\d\.\d\d\S*$`, `^A2 boot-loader build-date = \w{3} \d+ \d{4} - \S+`, `^A2 board dram = 268435456$`,
		`^A2 flash banner\.flash = 67108864$`, `^A2 boot-loader autoboot = Hit any key to stop autoboot$`, `^A2 boot-loader autoboot-delay = 2$`, `^A2 boot-loader prompt = =>$`,
	} {
		re, found := regexp.MustCompile(want), false
		for _, f := range facts {
			found = found || re.MatchString(f.Stage.Acquisition().String()+" "+string(f.Subject)+" "+f.Name+" = "+f.Value)
		}
		if !found {
			t.Errorf("no %s in\n%s\nof %q", want, golden(facts), text)
		}
	}
}
