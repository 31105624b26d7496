package shell

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"assay/attest"
	"assay/devices"
	"assay/devices/console/line"
	wire "assay/devices/simulator/line"
	"assay/internal/peer"
	"assay/internal/qemu"
)

// linuxUnit starts a real Linux with image in its flash.
func linuxUnit(t *testing.T, image []byte, arch string) *qemu.Machine {
	t.Helper()
	program, debian := "qemu-system-arm", "qemu-system-arm"
	if arch == "mipsel" {
		program, debian = "qemu-system-mipsel", "qemu-system-mips"
	}
	peer.Need(t, program, debian)
	peer.Need(t, "dtc", "device-tree-compiler")
	if _, err := os.Stat(qemu.LinuxKernel(arch)); err != nil {
		peer.Need(t, qemu.LinuxKernel(arch), "linux-image ("+arch+", by scripts/peers.sh)")
	}
	path := filepath.Join(t.TempDir(), "flash.bin")
	if err := os.WriteFile(path, image, 0o644); err != nil {
		t.Fatal(err)
	}
	start := qemu.StartLinuxSabrelite
	if arch == "mipsel" {
		start = qemu.StartLinuxMalta
	}
	m, err := start(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Stop)
	return m
}

// atLogin opens a machine's console and waits for its login prompt.
func atLogin(t *testing.T, m *qemu.Machine, w wire.Config) *line.Line {
	t.Helper()
	port, err := line.Open(t.Context(), m.Device, 115200)
	if err != nil {
		t.Fatal(err)
	}
	wired := wire.New(port, w)
	l := line.New("serial:"+m.Device, wired.Plug(), line.NewTranscript(nil, qemu.LinuxPassword))
	l.SetBaud(115200)
	t.Cleanup(func() { l.Close(); wired.Close() })
	ctx := within(t, 3*time.Minute)
	for s := (line.Screen{}); ; {
		b, err := l.Next(ctx, time.Minute)
		if err != nil {
			t.Fatalf("%v: %q", err, s.Text)
		}
		if s.Feed(b); strings.Contains(s.LastLine(), "login: ") {
			return l
		}
	}
}

func account() *devices.Account { return devices.NewAccount(qemu.LinuxUser, qemu.LinuxPassword) }

func TestARealLinuxIsIdentifiedAndItsFlashReadByteForByte(t *testing.T) {
	image := random(qemu.SPISize)
	copy(image[0x100000:], bytes.Repeat([]byte{0xff}, 0x80000))

	t.Run("armhf on sabrelite", func(t *testing.T) {
		t.Parallel()
		m := linuxUnit(t, image, "armhf")
		l := atLogin(t, m, wire.Config{Inject: "[   99.000001] random: crng init done\r\n", InjectEvery: 30000})
		p := New(l, Options{Account: account()})
		sink := &kept{}
		if err := p.Identify(within(t, 3*time.Minute), sink); err != nil {
			t.Fatalf("%v\n%s", err, l.Log.Take())
		}
		for _, x := range sink.problems {
			t.Error(x)
		}
		sink.wants(t, [][3]string{
			{"board", attest.NameBoard, qemu.LinuxModel},
			{"unit", attest.NameSerial, qemu.LinuxSerial},
			{"board", "fdt.compatible", "fsl,imx6q-sabrelite fsl,imx6q"},
			{"soc", attest.NameBoard, "i.MX6Q"},
			{"soc", "family", "Freescale i.MX"},
			{"soc", "cpuinfo.hardware", "Freescale i.MX6 Quad/DualLite (Device Tree)"},
			{"flash", "jedec-id", "bf 25 41"},
			{"flash", "part", "sst25vf016b"},
			{"flash", "size", "2097152"},
			{"flash", "partitions", "boot 0x00000000-0x00040000, env 0x00040000-0x00050000, kernel 0x00050000-0x000d0000, rootfs 0x000d0000-0x001d0000, config 0x001d0000-0x00200000"},
			{"firmware", "os", "Test camera 1.2"},
			{"firmware", "cmdline", "console=ttymxc1,115200 quiet"},
		})
		if v := sink.values("firmware", "kernel"); len(v) != 1 || !strings.HasPrefix(v[0], "Linux version 6.") {
			t.Errorf("kernel %q", v)
		}
		if v := sink.values("firmware", "modules"); len(v) != 1 || !strings.Contains(v[0], "spi_nor") {
			t.Errorf("modules %q", v)
		}
		readsBack(t, p, "nor0", image, int64(len(image)))
		if flash, err := os.ReadFile(m.Flash()); err != nil || !bytes.Equal(flash, image) {
			t.Errorf("the flash was changed (%v)", err)
		}
	})

	t.Run("mipsel on malta", func(t *testing.T) {
		t.Parallel()
		m := linuxUnit(t, image[:qemu.MaltaRAMFlash], "mipsel")
		l := atLogin(t, m, wire.Config{LoseOneIn: 20000, FlipOneIn: 20000, Seed: 9})
		if _, err := Login(within(t, 2*time.Minute), l, Options{Account: devices.NewAccount("root", "wrong")}); !errors.Is(err, devices.ErrAccess) || !strings.Contains(err.Error(), "refused") {
			t.Fatalf("%v", err)
		}
		if n := strings.Count(string(l.Log.Take()), "***"); n != 1 {
			t.Errorf("%d passwords were sent", n)
		}
		p := New(l, Options{Account: account()})
		sink := &kept{}
		if err := p.Identify(within(t, 2*time.Minute), sink); err != nil {
			t.Fatalf("%v\n%s", err, l.Log.Take())
		}
		sink.wants(t, [][3]string{
			{"soc", attest.NameBoard, "MIPS Malta"},
			{"board", attest.NameBoard, "mti,malta"},
			{"soc", "cpu", "MIPS 24Kc V0.0  FPU V0.0"},
			{"firmware", "os", "Test camera 1.2"},
		})
		if b := p.Banks(); len(b) != 2 || b[1].Name != "nand0" || b[1].Size != qemu.MaltaNAND || len(b[1].Partitions) != 2 {
			t.Errorf("banks %+v", b)
		}
		readsBack(t, p, "ram0", image[:qemu.MaltaRAMFlash], 256<<10)
		if p.digest().Name != "sha256" {
			t.Errorf("checksum %q", p.digest().Name)
		}
	})
}

// readsBack reads the first n bytes of a flash and all its checksums and compares
// both with image.
func readsBack(t *testing.T, p *Prompt, name string, image []byte, n int64) {
	t.Helper()
	for _, b := range p.Banks() {
		if b.Name != name {
			continue
		}
		s, err := p.Source(t.Context(), b)
		if err != nil {
			t.Fatal(err)
		}
		if s.Size() != int64(len(image)) {
			t.Fatalf("%s has %d bytes, want %d", name, s.Size(), len(image))
		}
		start := time.Now()
		got, errs := readAll(t, within(t, 4*time.Minute), s, attest.Extent{Size: n})
		if !bytes.Equal(got[:n], image[:n]) || len(errs) > 0 {
			t.Fatalf("%s: the dump differs: %v", name, errs)
		}
		t.Logf("%s: %d KiB read in %v", name, n>>10, time.Since(start).Round(time.Millisecond))
		var ranges []attest.Extent
		for at := int64(0); at < s.Size(); at += s.Block() {
			ranges = append(ranges, attest.Extent{Offset: at, Size: s.Block()})
		}
		sums := 0
		if err := s.Sums(within(t, time.Minute), ranges, func(r attest.Extent, sum []byte, err error) error {
			sums++
			if want := s.Checksum().Of(image[r.Offset : r.Offset+r.Size]); err != nil || !bytes.Equal(sum, want) {
				return fmt.Errorf("%v: %x, want %x, %v", r, sum, want, err)
			}
			return nil
		}); err != nil || sums != len(ranges) {
			t.Errorf("%d of %d sums, %v", sums, len(ranges), err)
		}
		return
	}
	t.Fatalf("no %s in %+v", name, p.Banks())
}
