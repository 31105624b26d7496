//go:build linux

package console

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"assay/devices/console/line"
	"assay/devices/console/readout"
	wire "assay/devices/simulator/line"
	"assay/internal/qemu"
)

// BenchmarkDepthcharge reads the same 32 KiB of a real U-Boot through the same
// line of 11,520 bytes a second: by depthcharge-read-mem, which is given what
// depthcharge-inspect found out before, and by this package. Seconds and bytes on
// the line are of the reading alone. scripts/bench-serial.sh installs the peer.
func BenchmarkDepthcharge(b *testing.B) {
	const size = 32 << 10
	program, err := exec.LookPath("depthcharge-read-mem")
	if err != nil {
		b.Skip("depthcharge-read-mem is not in PATH: make bench-serial installs it")
	}
	image := []byte(noise(size))
	b.Run("depthcharge", func(b *testing.B) {
		dir := b.TempDir()
		path := filepath.Join(dir, "flash.img")
		if err := os.WriteFile(path, image, 0o600); err != nil {
			b.Fatal(err)
		}
		m, err := qemu.StartUBoot(b.Context(), "arm64", path, "")
		if err != nil {
			b.Skip(err)
		}
		b.Cleanup(m.Stop)
		far, err := line.Open(context.Background(), m.Device, 115200)
		if err != nil {
			b.Fatal(err)
		}
		l := wire.New(far, wire.Config{Rate: lineRate})
		b.Cleanup(func() { l.Close() })
		device := terminal(b, l.Plug())
		time.Sleep(5 * time.Second) // it boots
		run := func(program string, args ...string) time.Duration {
			cmd := exec.Command(program, append([]string{"-c", filepath.Join(dir, "device.cfg"), "-i", device + ":115200", "--arch", "arm"}, args...)...)
			begun := time.Now()
			if out, err := cmd.CombinedOutput(); err != nil {
				b.Fatalf("%v\n%s", err, out)
			}
			return time.Since(begun)
		}
		run(filepath.Join(filepath.Dir(program), "depthcharge-inspect"))
		dump := filepath.Join(dir, "dump")
		start := run(program, "-a", "0x4000000", "-l", "16", "-f", dump) // what it costs to start
		sent := l.Count()
		b.ResetTimer()
		for b.Loop() {
			took := run(program, "-a", "0x4000000", "-l", fmt.Sprint(size), "-f", dump) - start
			if got, err := os.ReadFile(dump); err != nil || !bytes.Equal(got, image) {
				b.Errorf("%v: the dump of %d bytes differs", err, len(got))
			}
			b.ReportMetric(took.Seconds(), "reading-s")
		}
		b.ReportMetric(float64(l.Count()-sent), "wire-B")
	})
	b.Run("assay", func(b *testing.B) {
		slowUBoot(b, image).read(b, readout.Options{})
	})
}

// terminal gives a line's port the face of a terminal.
func terminal(b *testing.B, p io.ReadWriteCloser) (device string) {
	master, slave, err := pty.Open()
	if err != nil {
		b.Fatal(err)
	}
	raw, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
	if err != nil {
		b.Fatal(err)
	}
	raw.Lflag, raw.Iflag, raw.Oflag = 0, 0, 0
	if err := unix.IoctlSetTermios(int(slave.Fd()), unix.TCSETS, raw); err != nil {
		b.Fatal(err)
	}
	go io.Copy(master, p)
	go io.Copy(p, master)
	b.Cleanup(func() { master.Close(); slave.Close(); p.Close() })
	return slave.Name()
}
