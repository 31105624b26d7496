package console

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"assay/attest"
	"assay/devices"
	"assay/devices/console/line"
	"assay/devices/console/readout"
	wire "assay/devices/simulator/line"
	"assay/internal/peer"
	"assay/internal/qemu"
	"assay/internal/testflash"
)

// kept is a sink that remembers.
type kept struct {
	mu        sync.Mutex
	claims    []attest.Claim
	marks     []attest.Mark
	problems  []attest.Problem
	artefacts map[string][]byte
}

func (k *kept) Artefact(_, what string, raw []byte) attest.Digest {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.artefacts == nil {
		k.artefacts = map[string][]byte{}
	}
	k.artefacts[what] = append(k.artefacts[what], raw...)
	return attest.DigestOf(raw)
}

func (k *kept) Claim(c attest.Claim) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.claims = append(k.claims, c)
	return fmt.Sprint("c", len(k.claims))
}

func (k *kept) Mark(m attest.Mark) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.marks = append(k.marks, m)
	return fmt.Sprint("m", len(k.marks))
}

func (k *kept) Problem(kind attest.ProblemKind, source, says string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.problems = append(k.problems, attest.Problem{Kind: kind, Source: source, Says: says})
}

// value returns the value of the first claim.
func (k *kept) value(subject attest.Subject, name string) string {
	for _, c := range k.claims {
		if c.Subject == subject && c.Name == name {
			return c.Value
		}
	}
	return ""
}

// memory is a dump in memory; what was never written stays 0xEE.
type memory []byte

func (m memory) WriteAt(b []byte, off int64) (int, error) { return copy(m[off:], b), nil }

func newMemory(size int64) memory { return bytes.Repeat([]byte{0xee}, int(size)) }

func startUBoot(t *testing.T, arch, flash, dtb string) *qemu.Machine {
	program, loader, err := qemu.Programs(arch)
	if err != nil {
		t.Fatal(err)
	}
	peer.Need(t, program, "qemu-system-arm")
	if _, err := os.Stat(loader); err != nil {
		peer.Need(t, loader, "u-boot-qemu")
	}
	m, err := qemu.StartUBoot(t.Context(), arch, flash, dtb)
	if err != nil {
		t.Fatal(err)
	}
	stopUnchanged(t, m)
	return m
}

// stopUnchanged stops a machine at the end of a test, and holds that nothing has
// written to its flash.
func stopUnchanged(t *testing.T, m *qemu.Machine) {
	before := digestOf(t, m.Flash())
	t.Cleanup(func() {
		if digestOf(t, m.Flash()) != before {
			t.Error("the unit's flash was changed")
		}
		m.Stop()
	})
}

func signedFlash(t *testing.T, o testflash.Options) *testflash.Flash {
	for program, debian := range testflash.Programs {
		peer.Need(t, program, debian)
	}
	f, err := testflash.Signed(t.TempDir(), o)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestARealUBootIsIdentifiedAndItsFlashReadByteForByte(t *testing.T) {
	flash := signedFlash(t, testflash.Options{})
	for _, arch := range []string{"arm64", "arm"} {
		t.Run(arch, func(t *testing.T) {
			m := startUBoot(t, arch, flash.Path, "")
			sink := &kept{}
			c := open(t, m.Device, Options{})
			if err := c.Identify(within(t, time.Minute), sink); err != nil {
				t.Fatalf("%v\n%s", err, c.log.Take())
			}
			for _, p := range sink.problems {
				t.Error(p)
			}
			for _, want := range []struct {
				subject attest.Subject
				name    string
				value   string
			}{
				{attest.SubjectBoard, attest.NameBoard, "qemu-arm"},
				{attest.SubjectBoard, "fdt.model", "linux,dummy-virt"},
				{attest.SubjectFlash, "jedec-id", "0x89 0x0018"},
				{attest.SubjectBootLoader, "env.bootcmd", "run distro_bootcmd"},
				{attest.SubjectBootLoader, "prompt", "=>"},
			} {
				if got := sink.value(want.subject, want.name); got != want.value {
					t.Errorf("%s %s is %q, want %q", want.subject, want.name, got, want.value)
				}
			}
			if v := sink.value(attest.SubjectBootLoader, attest.NameFirmwareVersion); !strings.HasPrefix(v, "U-Boot 20") {
				t.Errorf("version %q", v)
			}
			bankEquals(t, c, flash.Image)
		})
	}
}

// bankEquals dumps the bank at 0x04000000 and compares it with an image whose
// rest is erased.
func bankEquals(t *testing.T, c *Channel, image []byte) {
	t.Helper()
	banks, err := c.Banks(t.Context())
	if err != nil || len(banks) != 2 || banks[1].Address != 0x4000000 || banks[1].Size != qemu.BankSize {
		t.Fatalf("banks %+v, %v", banks, err)
	}
	got := newMemory(banks[1].Size)
	start := time.Now()
	if err := c.ReadBank(within(t, 4*time.Minute), banks[1], got, nil); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d MiB read in %v", banks[1].Size>>20, time.Since(start).Round(time.Millisecond))
	if !bytes.Equal(got, append(bytes.Clone(image), bytes.Repeat([]byte{0xff}, qemu.BankSize-len(image))...)) {
		t.Fatal("the dump differs from the flash")
	}
}

// faulty is a line that loses or changes one byte of oneIn.
type faulty struct {
	io.ReadWriteCloser
	oneIn int
	r     *rand.Rand
}

func (f *faulty) Read(b []byte) (int, error) {
	n, err := f.ReadWriteCloser.Read(b)
	kept := b[:0]
	for _, c := range b[:n] {
		switch f.r.IntN(2 * f.oneIn) {
		case 0:
			continue
		case 1:
			c ^= 1 << f.r.IntN(8)
		}
		kept = append(kept, c)
	}
	return len(kept), err
}

func TestARealUBootsDumpIsExactThroughALineThatLosesBytes(t *testing.T) {
	flash := signedFlash(t, testflash.Options{})
	m := startUBoot(t, "arm64", flash.Path, "")
	p, err := line.Open(t.Context(), m.Device, 115200)
	if err != nil {
		t.Fatal(err)
	}
	c := open(t, m.Device, Options{Port: &faulty{p, 10000, rand.New(rand.NewPCG(1, 1))}})
	if err := c.Identify(within(t, 2*time.Minute), &kept{}); err != nil {
		t.Fatalf("%v\n%s", err, c.log.Take())
	}
	bankEquals(t, c, flash.Image)
}

func TestTheKeysThatARealUBootTrustsAreClaimed(t *testing.T) {
	base := machineTree(t)
	flash := signedFlash(t, testflash.Options{ControlDTB: base})
	m := startUBoot(t, "arm64", flash.Path, flash.ControlPath)
	sink := &kept{}
	c := open(t, m.Device, Options{})
	if err := c.Identify(within(t, time.Minute), sink); err != nil {
		t.Fatalf("%v\n%s", err, c.log.Take())
	}
	if got := sink.value(attest.SubjectBootLoader, attest.NameSignedBoot); got != "key fjordlens-2026 (sha256,rsa2048), required: conf" {
		t.Errorf("signed boot: %q", got)
	}
}

// machineTree returns the device tree that the machine makes for itself.
func machineTree(t *testing.T) string {
	program := peer.Need(t, "qemu-system-aarch64", "qemu-system-arm")
	path := filepath.Join(t.TempDir(), "virt.dtb")
	if out, err := exec.Command(program, "-M", "virt,dumpdtb="+path, "-cpu", "cortex-a57", "-m", "256", "-nic", "none", "-display", "none").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return path
}

func TestARealUBootsSPIFlashIsReadThroughItsRAM(t *testing.T) {
	loader := qemu.SabreliteLoader()
	if _, err := os.Stat(loader); err != nil {
		peer.Need(t, loader, "u-boot-imx:armhf")
	}
	peer.Need(t, "qemu-system-arm", "qemu-system-arm")
	flash := signedFlash(t, testflash.Options{})
	m, err := qemu.StartSabrelite(t.Context(), loader, flash.Path)
	if err != nil {
		t.Fatal(err)
	}
	stopUnchanged(t, m)
	sink := &kept{}
	c := open(t, m.Device, Options{})
	if err := c.Identify(within(t, 2*time.Minute), sink); err != nil {
		t.Fatalf("%v\n%s", err, c.log.Take())
	}
	for _, p := range sink.problems {
		t.Error(p)
	}
	if got := sink.value(attest.SubjectFlash, "part"); got != "sst25vf016b" {
		t.Errorf("part %q", got)
	}
	readsBack(t, c, flash.Image)
}

func TestARealMIPSUBootIsReadByteForByte(t *testing.T) {
	peer.Need(t, "qemu-system-mipsel", "qemu-system-mips")
	if _, err := os.Stat(qemu.MaltaLoader); err != nil {
		peer.Need(t, qemu.MaltaLoader, "u-boot-qemu")
	}
	flash := signedFlash(t, testflash.Options{})
	m, err := qemu.StartMalta(t.Context(), flash.Path)
	if err != nil {
		t.Fatal(err)
	}
	stopUnchanged(t, m)
	sink := &kept{}
	c := open(t, m.Device, Options{})
	if err := c.Identify(within(t, time.Minute), sink); err != nil {
		t.Fatalf("%v\n%s", err, c.log.Take())
	}
	if got := sink.value(attest.SubjectBootLoader, "prompt"); got != "maltael #" {
		t.Errorf("prompt %q", got)
	}
	banks, err := c.Banks(t.Context())
	if err != nil || len(banks) != 1 || banks[0].Address != qemu.MaltaFlash || banks[0].Size != qemu.MaltaFlashSize {
		t.Fatalf("banks %+v, %v", banks, err)
	}
	got := newMemory(banks[0].Size)
	if err := c.ReadBank(within(t, 3*time.Minute), banks[0], got, nil); err != nil {
		t.Fatal(err)
	}
	loader, err := os.ReadFile(qemu.MaltaLoader)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got[:len(loader)], loader) || !bytes.Equal(got[qemu.MaltaOffset:qemu.MaltaOffset+len(flash.Image)], flash.Image) {
		t.Error("the dump differs from the flash")
	}
}

func TestARealUBootsCardIsReadThroughItsRAM(t *testing.T) {
	peer.Need(t, "qemu-system-aarch64", "qemu-system-arm")
	loader := qemu.RaspiLoader()
	if _, err := os.Stat(loader); err != nil {
		peer.Need(t, loader, "u-boot-rpi:arm64")
	}
	image := []byte(noise(20 << 10))
	path := filepath.Join(t.TempDir(), "card.img")
	if err := os.WriteFile(path, image, 0o600); err != nil {
		t.Fatal(err)
	}
	m, err := qemu.StartRaspi(t.Context(), loader, path)
	if err != nil {
		t.Fatal(err)
	}
	stopUnchanged(t, m)
	sink := &kept{}
	c := open(t, m.Device, Options{})
	if err := c.Identify(within(t, 2*time.Minute), sink); err != nil {
		t.Fatalf("%v\n%s", err, c.log.Take())
	}
	for _, p := range sink.problems {
		t.Error(p)
	}
	readsBack(t, c, append(image, bytes.Repeat([]byte{0xff}, qemu.CardSize-len(image))...))
}

func TestARealLinuxIsReadThroughItsLogin(t *testing.T) {
	peer.Need(t, "qemu-system-arm", "qemu-system-arm")
	peer.Need(t, "dtc", "device-tree-compiler")
	if _, err := os.Stat(qemu.LinuxKernel("armhf")); err != nil {
		peer.Need(t, qemu.LinuxKernel("armhf"), "linux-image-armmp:armhf")
	}
	image := []byte(noise(40 << 10))
	path := filepath.Join(t.TempDir(), "flash.img")
	if err := os.WriteFile(path, image, 0o600); err != nil {
		t.Fatal(err)
	}
	m, err := qemu.StartLinuxSabrelite(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	stopUnchanged(t, m)
	sink := &kept{}
	c := open(t, m.Device, Options{Account: devices.NewAccount(qemu.LinuxUser, qemu.LinuxPassword), StopTimeout: 3 * time.Minute})
	if err := c.Identify(within(t, 4*time.Minute), sink); err != nil {
		t.Fatalf("%v\n%s", err, c.log.Take())
	}
	if got := sink.value(attest.SubjectBoard, attest.NameBoard); got != qemu.LinuxModel {
		t.Errorf("board %q", got)
	}
	if got := sink.value(attest.SubjectFlash, "jedec-id"); got != "bf 25 41" {
		t.Errorf("JEDEC id %q", got)
	}
	if got := sink.value(attest.SubjectUnit, "console"); !strings.HasPrefix(got, "Linux shell") {
		t.Errorf("console %q", got)
	}
	banks, err := c.Banks(t.Context())
	if err != nil || len(banks) != 1 || len(banks[0].Partitions) != 5 {
		t.Fatalf("banks %+v, %v", banks, err)
	}
	readsBack(t, c, append(image, bytes.Repeat([]byte{0xff}, qemu.SPISize-len(image))...))
}

func digestOf(t *testing.T, path string) attest.Digest {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return attest.DigestOf(b)
}

// TestADumpIsExactThoughTheLineIsCutTenTimes reads a real U-Boot through a line
// that loses and flips bytes, in which a kernel speaks, and whose plug comes off
// again and again. Each time it goes on with what is on disk.
func TestADumpIsExactThoughTheLineIsCutTenTimes(t *testing.T) {
	flash := signedFlash(t, testflash.Options{Size: 256 << 10, Files: map[string]string{"noise": noise(64 << 10)}})
	m := startUBoot(t, "arm", flash.Path, "")
	far, err := line.Open(context.Background(), m.Device, 115200)
	if err != nil {
		t.Fatal(err)
	}
	cuts := slices.Repeat([]int64{48 << 10}, 10)
	l := wire.New(far, wire.Config{LoseOneIn: 10000, FlipOneIn: 10000, Inject: "\n[   12.345678] usb 1-1: new high-speed USB device\n", InjectEvery: 30000, PullAfter: cuts, Seed: 3})
	defer l.Close()
	path := filepath.Join(t.TempDir(), "flash.bin")
	for cut := 0; ; cut++ {
		err := readOn(t, Options{Port: l.Plug()}, 1, path)
		if err == nil {
			if cut < 10 {
				t.Errorf("cut %d times only", cut)
			}
			break
		}
		if !errors.Is(err, line.ErrGone) {
			t.Fatalf("after %d cuts: %v", cut, err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got[:len(flash.Image)], flash.Image) || len(bytes.Trim(got[len(flash.Image):], "\xff")) > 0 {
		t.Fatal(err, "the dump differs from the flash")
	}
}

func noise(n int) string {
	r := rand.New(rand.NewPCG(5, 5))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return string(b)
}

// readOn begins a dump of a bank, or goes on with it.
func readOn(t *testing.T, o Options, bank int, path string) error {
	c := Open(port115200("test"), o)
	defer c.Close()
	ctx := within(t, 10*time.Minute)
	if err := c.Identify(ctx, &kept{}); err != nil {
		return err
	}
	banks, err := c.Banks(ctx)
	if err != nil || len(banks) <= bank {
		t.Fatal(banks, err)
	}
	source, err := c.Source(ctx, banks[bank])
	if err != nil {
		return err
	}
	f, err := readout.OpenFile(path)
	if err == nil {
		err = readout.Check(ctx, source, f)
	} else {
		f, err = readout.CreateFile(path, readout.Header{Bank: banks[bank].Name, Size: banks[bank].Size, Started: time.Now()})
	}
	if err != nil {
		return err
	}
	defer f.Close()
	report, err := readout.Run(ctx, source, f, readout.Options{Have: f.Pieces()})
	if err == nil && len(report.Unread) > 0 {
		t.Fatalf("unread: %+v", report.Unread)
	}
	return err
}

// TestEveryRealUnitThroughALineThatIsCutTenTimes does with all real units what
// [TestADumpIsExactThoughTheLineIsCutTenTimes] does with one. It takes minutes.
func TestEveryRealUnitThroughALineThatIsCutTenTimes(t *testing.T) {
	if os.Getenv("ASSAY_LONG") == "" {
		t.Skip("takes minutes: set ASSAY_LONG=1")
	}
	image := []byte(noise(160 << 10))
	path := filepath.Join(t.TempDir(), "flash.img")
	if err := os.WriteFile(path, image, 0o600); err != nil {
		t.Fatal(err)
	}
	login := func() *devices.Account { return devices.NewAccount(qemu.LinuxUser, qemu.LinuxPassword) }
	for name, u := range map[string]struct {
		start  func() (*qemu.Machine, error)
		bank   int
		offset int // of the image in the bank
		login  bool
	}{
		"arm":             {start: func() (*qemu.Machine, error) { return qemu.StartUBoot(t.Context(), "arm", path, "") }, bank: 1},
		"arm64":           {start: func() (*qemu.Machine, error) { return qemu.StartUBoot(t.Context(), "arm64", path, "") }, bank: 1},
		"sabrelite":       {start: func() (*qemu.Machine, error) { return qemu.StartSabrelite(t.Context(), qemu.SabreliteLoader(), path) }},
		"malta":           {start: func() (*qemu.Machine, error) { return qemu.StartMalta(t.Context(), path) }, offset: qemu.MaltaOffset},
		"raspi":           {start: func() (*qemu.Machine, error) { return qemu.StartRaspi(t.Context(), qemu.RaspiLoader(), path) }},
		"linux sabrelite": {start: func() (*qemu.Machine, error) { return qemu.StartLinuxSabrelite(t.Context(), path) }, login: true},
		"linux malta":     {start: func() (*qemu.Machine, error) { return qemu.StartLinuxMalta(t.Context(), path) }, login: true},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := u.start()
			if err != nil {
				t.Fatal(err)
			}
			stopUnchanged(t, m)
			far, err := line.Open(t.Context(), m.Device, 115200)
			if err != nil {
				t.Fatal(err)
			}
			l := wire.New(far, wire.Config{
				LoseOneIn: 10000, FlipOneIn: 10000, Inject: "\n[   12.345678] usb 1-1: new high-speed USB device\n", InjectEvery: 30000,
				PullAfter: slices.Repeat([]int64{24 << 10}, 10), Seed: 7,
			})
			defer l.Close()
			dump := filepath.Join(t.TempDir(), "flash.bin")
			cuts := 0
			for ; ; cuts++ {
				o := Options{Port: l.Plug(), StopTimeout: 3 * time.Minute}
				if u.login {
					o.Account = login()
				}
				err := readOn(t, o, u.bank, dump)
				if err == nil {
					break
				}
				if !errors.Is(err, line.ErrGone) {
					t.Fatalf("after %d cuts: %v", cuts, err)
				}
			}
			got, err := os.ReadFile(dump)
			if err != nil || !bytes.Equal(got[u.offset:u.offset+len(image)], image) {
				t.Fatal(err, "the dump differs from the flash")
			}
			t.Logf("cut %d times", cuts)
		})
	}
}
