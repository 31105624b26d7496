package console

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"

	"assay/attest"
	"assay/devices"
	"assay/devices/console/uboot"
	"assay/devices/fingerprint"
	simulator "assay/devices/simulator/console"
)

func start(t testing.TB, cfg simulator.Config) *simulator.Console {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("no pseudo-terminals on Windows")
	}
	c, err := simulator.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func load(t testing.TB, name string) simulator.Config {
	t.Helper()
	cfg, err := simulator.Load(name)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// quick are options for units that answer at once.
func quick() Options { return Options{Quiet: 60 * time.Millisecond, StopTimeout: 5 * time.Second} }

func port115200(device string) devices.Target {
	return devices.Target{Kind: devices.KindSerial, Device: device, Baud: 115200}
}

func open(t testing.TB, device string, o Options) *Channel {
	c := Open(port115200(device), o)
	t.Cleanup(func() { c.Close() })
	return c
}

func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// firmware is 2 MiB with content in two places, as a camera's flash is.
func firmware() []byte {
	b := bytes.Repeat([]byte{0xff}, 2<<20)
	r := rand.New(rand.NewPCG(7, 7))
	for i := range 24 << 10 {
		b[i] = byte(r.Uint32())
	}
	copy(b[1<<20:], "text that md shows in its last column, with ': ' and => in it")
	clear(b[1<<20+8192 : 1<<20+16384])
	return b
}

func TestAVendorsUnitIsIdentifiedAndReadFromPowerOn(t *testing.T) {
	cfg := load(t, "vendor-signed")
	cfg.NOR[0].Content = firmware()
	unit := start(t, cfg)
	sink := &kept{}
	c := open(t, unit.Device, quick())
	if err := c.Identify(within(t, 20*time.Second), sink); err != nil {
		t.Fatalf("%v\n%s", err, c.log.Take())
	}
	for _, want := range []struct {
		subject attest.Subject
		name    string
		value   string
	}{
		{attest.SubjectUnit, attest.NameSerial, "FLB2-000117"},
		{attest.SubjectUnit, attest.NameMAC, "00:00:5E:00:53:17"},
		{attest.SubjectUnit, attest.NameMaker, "Fjordlens AS"},
		{attest.SubjectBoard, attest.NameBoard, "FL-B2"},
		{attest.SubjectSoC, attest.NameBoard, "Ambarella S3L"},
		{attest.SubjectBootLoader, attest.NameFirmwareVersion, "U-Boot 2021.07-fjordlens-4.2.1"},
		{attest.SubjectBootLoader, attest.NameBuildDate, "Jan 05 2026 - 09:12:44 +0100"},
		{attest.SubjectBootLoader, attest.NameSignedBoot, "key fjordlens-2026 (sha256,rsa2048), required: conf"},
		{attest.SubjectFlash, "jedec-id", "0xC2 0x22C9"},
	} {
		if got := sink.value(want.subject, want.name); got != want.value {
			t.Errorf("%s %s is %q, want %q", want.subject, want.name, got, want.value)
		}
	}
	for _, cl := range sink.claims {
		if cl.Source == "console" {
			continue
		}
		if cl.Acquisition != attest.A2 || !strings.HasPrefix(cl.Source, "uboot ") && !strings.HasPrefix(cl.Source, "boot log,") || !cl.Raw.Valid() {
			t.Errorf("claim %+v", cl)
		}
	}
	if len(sink.problems) > 0 {
		t.Errorf("problems %v", sink.problems)
	}
	readsBack(t, c, cfg.NOR[0].Content)
	if text := sink.artefacts["console transcript of serial:"+unit.Device]; !bytes.Contains(text, []byte("> \"version\"")) {
		t.Errorf("transcript %.300q", text)
	}
	onlyReadingCommands(t, unit.Log())
}

func readsBack(t testing.TB, c *Channel, want []byte) {
	t.Helper()
	banks, err := c.Banks(t.Context())
	if err != nil || len(banks) != 1 || banks[0].Size != int64(len(want)) {
		t.Fatalf("banks %+v, %v", banks, err)
	}
	got := newMemory(banks[0].Size)
	var last int64
	err = c.ReadBank(within(t, 2*time.Minute), banks[0], got, func(done, total int64) {
		if done < last || total != banks[0].Size {
			t.Errorf("progress went from %d to %d of %d", last, done, total)
		}
		last = done
	})
	if err != nil {
		t.Fatalf("%v\n%.2000s", err, c.log.Take())
	}
	if !bytes.Equal(got, want) {
		i := 0
		for got[i] == want[i] {
			i++
		}
		t.Fatalf("the dump differs at %#x", i)
	}
	if last != banks[0].Size {
		t.Errorf("progress ended at %d", last)
	}
}

// onlyReadingCommands holds the log of a unit against what changes one.
func onlyReadingCommands(t testing.TB, log []string) {
	t.Helper()
	for _, line := range log {
		name, _, _ := strings.Cut(strings.Fields(line)[0], ".")
		switch name {
		case "version", "help", "bdinfo", "printenv", "flinfo", "mtd", "mtdparts", "md", "crc32", "fdt":
		case "sf", "nand", "mmc":
			if line == "nand info" || line == "nand bad" || line == "mmc info" || strings.HasPrefix(line, name+" read ") {
				continue
			}
			if !strings.HasPrefix(line, "sf probe") && !strings.HasPrefix(line, "sf read") {
				t.Errorf("typed %q", line)
			}
		case "mw":
		default:
			t.Errorf("typed %q", line)
		}
	}
}

const promptRule = `
schema: assay.fingerprints/v1
date: '2026-11-23'
rules:
- id: uboot-prompt-hkvs
  on: [uboot.prompt]
  match: '^HKVS #$'
  entity: hikvision
  subject: boot-loader
  strength: c2
  says: the boot loader's prompt is Hikvision's
  source: OpenIPC/wiki en/help-uboot.md
  examples: ['HKVS #']
  counterexamples: ['hisilicon #', '=>']
`

func TestARelabelledUnitIsReadThroughItsRAM(t *testing.T) {
	cfg := load(t, "relabelled")
	cfg.SPI.Content = firmware()
	cfg.Quirks.SPIFlips, cfg.Quirks.SPIFlipAt = 1, 1<<20
	rules, err := fingerprint.Parse([]byte(promptRule))
	if err != nil {
		t.Fatal(err)
	}
	unit := start(t, cfg)
	sink := &kept{}
	o := quick()
	o.Rules = rules
	c := open(t, unit.Device, o)
	if err := c.Identify(within(t, 20*time.Second), sink); err != nil {
		t.Fatalf("%v\n%s", err, c.log.Take())
	}
	if got := sink.value(attest.SubjectBootLoader, "prompt"); got != "HKVS #" {
		t.Errorf("prompt %q", got)
	}
	if got := sink.value(attest.SubjectFlash, "jedec-id"); got != "c2 20 18" {
		t.Errorf("JEDEC id %q", got)
	}
	if len(sink.marks) == 0 || sink.marks[0].Entity != "hikvision" {
		t.Errorf("marks %+v", sink.marks)
	}
	readsBack(t, c, cfg.SPI.Content)
	onlyReadingCommands(t, unit.Log())
}

func TestAStagedFlashIsStagedAgainAfterARestart(t *testing.T) {
	cfg := load(t, "relabelled")
	cfg.SPI.Content = firmware()[:32<<10]
	cfg.SPI.Size = 1 << 20
	cfg.Quirks.ResetAfter = 100
	unit := start(t, cfg)
	c := open(t, unit.Device, quick())
	if err := c.Identify(within(t, 20*time.Second), &kept{}); err != nil {
		t.Fatalf("%v\n%s", err, c.log.Take())
	}
	readsBack(t, c, append(bytes.Clone(cfg.SPI.Content), bytes.Repeat([]byte{0xff}, 1<<20-32<<10)...))
	if n := c.prompt.(*uboot.Prompt).Restarts(); n != 1 {
		t.Errorf("%d restarts", n)
	}
	onlyReadingCommands(t, unit.Log())
}

func TestNANDIsReadAroundItsBadBlocks(t *testing.T) {
	cfg := load(t, "relabelled")
	cfg.SPI = nil
	content := bytes.Repeat([]byte{0xff}, 2<<20)
	for _, block := range []int{0, 1, 3, 5, 15} {
		copy(content[block<<17:], noise(1<<10))
	}
	cfg.NAND = &simulator.NAND{Flash: simulator.Flash{Size: 2 << 20, Content: content}, Erase: 128 << 10, Bad: []int64{2, 15}}
	unit := start(t, cfg)
	sink := &kept{}
	c := open(t, unit.Device, quick())
	if err := c.Identify(within(t, 20*time.Second), sink); err != nil {
		t.Fatalf("%v\n%s", err, c.log.Take())
	}
	if got := sink.value(attest.SubjectFlash, "bad-blocks"); got != "2" {
		t.Errorf("%q bad blocks; problems %+v", got, sink.problems)
	}
	banks, _ := c.Banks(t.Context())
	if len(banks) != 1 || banks[0].Name != "nand0" || banks[0].Size != 2<<20 {
		t.Fatalf("banks %+v", banks)
	}
	got := newMemory(banks[0].Size)
	err := c.ReadBank(within(t, time.Minute), banks[0], got, nil)
	var unread *devices.UnreadError
	if !errors.As(err, &unread) || len(unread.Extents) != 2 || unread.Extents[0] != (attest.Extent{Offset: 2 << 17, Size: 1 << 17}) || unread.Extents[1].Offset != 15<<17 {
		t.Fatalf("%v", err)
	}
	for _, x := range unread.Extents {
		copy(content[x.Offset:x.Offset+x.Size], newMemory(x.Size))
	}
	if !bytes.Equal(got, content) {
		t.Error("the dump differs")
	}
	onlyReadingCommands(t, unit.Log())
}

func TestAnEMMCIsReadToItsLastSector(t *testing.T) {
	cfg := load(t, "relabelled")
	const size = 5<<20 + 3*512
	content := make([]byte, size)
	copy(content, noise(3<<10))
	copy(content[size-1000:], noise(1000))
	cfg.SPI, cfg.MMC = nil, &simulator.Flash{Size: size, Part: "P1XXXX", Content: content}
	unit := start(t, cfg)
	sink := &kept{}
	c := open(t, unit.Device, quick())
	if err := c.Identify(within(t, 30*time.Second), sink); err != nil {
		t.Fatalf("%v\n%s", err, c.log.Take())
	}
	if got := sink.value(attest.SubjectFlash, "mmc.name"); got != "P1XXXX" {
		t.Errorf("name %q; problems %+v", got, sink.problems)
	}
	readsBack(t, c, content)
	onlyReadingCommands(t, unit.Log())
}

// at returns a unit that waits at its prompt with a flash of 32 KiB.
func at(quirks simulator.Quirks) simulator.Config {
	return simulator.Config{
		Name: "test", Start: simulator.StatePrompt, Prompt: "=> ", Banner: []string{"", "U-Boot 2023.01 (Jan 01 2026 - 00:00:00)", "DRAM:  64 MiB"},
		Version: []string{"U-Boot 2023.01 (Jan 01 2026 - 00:00:00)"}, Boot: simulator.Autoboot{Seconds: 1},
		Env: []string{"board=test", "serial#=T1"}, NOR: []simulator.Flash{{Address: 0x4000000, Size: 32 << 10, Content: firmware()[:20<<10]}}, Quirks: quirks,
	}
}

func TestADumpIsExactOnEveryKindOfLineAndLoader(t *testing.T) {
	for name, cfg := range map[string]simulator.Config{
		"flipped and dropped bytes":   at(simulator.Quirks{FlipOneIn: 10000, DropOneIn: 10000}),
		"one byte in a thousand lost": at(simulator.Quirks{DropOneIn: 2000}),
		"messages within lines":       at(simulator.Quirks{MessageEvery: 7}),
		"a reset in the middle":       at(simulator.Quirks{ResetAfter: 100}),
		"old md and upper-case CRC32": at(simulator.Quirks{OldMd: true, UpperCRC: true}),
		"a big-endian unit":           at(simulator.Quirks{BigEndian: true}),
		"no crc32":                    func() simulator.Config { c := at(simulator.Quirks{}); c.Missing = []string{"crc32"}; return c }(),
		"no crc32 on a bad line": func() simulator.Config {
			c := at(simulator.Quirks{FlipOneIn: 10000})
			c.Missing = []string{"crc32"}
			return c
		}(),
		"no md.q":      func() simulator.Config { c := at(simulator.Quirks{}); c.Missing = []string{"md.q"}; return c }(),
		"no help":      func() simulator.Config { c := at(simulator.Quirks{}); c.Missing = []string{"help"}; return c }(),
		"no echo":      at(simulator.Quirks{NoEcho: true}),
		"a paced line": at(simulator.Quirks{BytesPerSec: 40000}),
		"the noisy unit": func() simulator.Config {
			c := load(t, "noisy")
			c.NOR[0].Content, c.NOR[0].Size = firmware()[:20<<10], 32<<10
			return c
		}(),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			unit := start(t, cfg)
			c := open(t, unit.Device, quick())
			if err := c.Identify(within(t, 60*time.Second), &kept{}); err != nil {
				t.Fatalf("%v\n%.4000s", err, c.log.Take())
			}
			want := append(bytes.Clone(cfg.NOR[0].Content), bytes.Repeat([]byte{0xff}, 12<<10)...)
			readsBack(t, c, want)
			onlyReadingCommands(t, unit.Log())
		})
	}
}

func TestWhatCannotBeReadIsNamedAndTheRestIsKept(t *testing.T) {
	for name, q := range map[string]simulator.Quirks{
		"a crc32 that lies":   {CRCLies: true},
		"md of another place": {WrongAddress: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			unit := start(t, at(q))
			c := open(t, unit.Device, quick())
			if err := c.Identify(within(t, 20*time.Second), &kept{}); err != nil {
				t.Fatal(err)
			}
			banks, _ := c.Banks(t.Context())
			got := newMemory(banks[0].Size)
			err := c.ReadBank(within(t, time.Minute), banks[0], got, nil)
			var unread *devices.UnreadError
			if !errors.As(err, &unread) || !errors.Is(err, devices.ErrMalformed) {
				t.Fatalf("%v", err)
			}
			for _, x := range unread.Extents {
				if !bytes.Equal(got[x.Offset:x.Offset+x.Size], newMemory(x.Size)) {
					t.Errorf("something was written where nothing could be read, at %#x", x.Offset)
				}
			}
		})
	}
}

func TestAUnitThatVanishesLosesNothingThatWasRead(t *testing.T) {
	cfg := at(simulator.Quirks{BytesPerSec: 20000})
	unit := start(t, cfg)
	sink := &kept{}
	c := open(t, unit.Device, quick())
	if err := c.Identify(within(t, 30*time.Second), sink); err != nil {
		t.Fatal(err)
	}
	banks, _ := c.Banks(t.Context())
	got := newMemory(banks[0].Size)
	err := c.ReadBank(within(t, time.Minute), banks[0], got, func(done, _ int64) {
		if done >= 20<<10 { // the last 12 KiB are blank and known first
			go unit.Close()
		}
	})
	var unread *devices.UnreadError
	if !errors.As(err, &unread) || !errors.Is(err, devices.ErrUnreachable) {
		t.Fatalf("%v", err)
	}
	kept := unread.Extents[0].Offset
	if kept < 8<<10 || !bytes.Equal(got[:kept], cfg.NOR[0].Content[:kept]) {
		t.Errorf("kept %d bytes", kept)
	}
	if len(sink.artefacts["console transcript of serial:"+unit.Device]) == 0 {
		t.Error("no transcript")
	}
}

func TestTheRateIsFoundOrTheWrongOneNamed(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the simulated line knows its reader's rate on Linux only")
	}
	cfg := at(simulator.Quirks{})
	cfg.Baud = 57600
	unit := start(t, cfg)
	c := Open(devices.Target{Kind: devices.KindSerial, Device: unit.Device}, quick())
	if err := c.Identify(within(t, 30*time.Second), &kept{}); err != nil || c.finder.line.Baud() != 57600 {
		t.Fatalf("%v\n%s", err, c.log.Take())
	}
	c.Close()
	c = Open(port115200(unit.Device), quick())
	defer c.Close()
	err := c.Identify(within(t, 30*time.Second), &kept{})
	if !errors.Is(err, devices.ErrMalformed) || !strings.Contains(err.Error(), "noise at 115200 baud; the line reads well at 57600") {
		t.Fatalf("%v", err)
	}
}

func TestALoaderIsReadAtAFasterRateAndLeftAtItsOwn(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the simulated line knows its reader's rate on Linux only")
	}
	cfg := at(simulator.Quirks{})
	cfg.Baud, cfg.Rates = 115200, []int{921600}
	for rate, says := range map[int]string{921600: "", 460800: "does not switch to 460800 baud"} {
		unit := start(t, cfg)
		o := quick()
		o.SwitchRate = rate
		sink := &kept{}
		c := open(t, unit.Device, o)
		if err := c.Identify(within(t, 30*time.Second), sink); err != nil {
			t.Fatalf("%v\n%.4000s", err, c.log.Take())
		}
		if baud := c.finder.line.Baud(); (baud == rate) != (says == "") {
			t.Errorf("at %d baud", baud)
		}
		if says != "" && (len(sink.problems) != 1 || !strings.Contains(sink.problems[0].Says, says)) {
			t.Errorf("problems %+v", sink.problems)
		}
		readsBack(t, c, append(bytes.Clone(cfg.NOR[0].Content), bytes.Repeat([]byte{0xff}, 12<<10)...))
		c.Close()
		again := open(t, unit.Device, quick())
		if err := again.Identify(within(t, 30*time.Second), &kept{}); err != nil {
			t.Errorf("the loader was not left at its rate: %v", err)
		}
		again.Close()
	}
}

func TestABootIsStoppedAtARateThatHasToBeFound(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the simulated line knows its reader's rate on Linux only")
	}
	cfg := load(t, "vendor-signed")
	cfg.Baud, cfg.Start, cfg.Quirks.BytesPerSec, cfg.Boot.Seconds = 38400, simulator.StateOff, 1000, 5
	unit := start(t, cfg)
	o := quick()
	o.StopTimeout = 15 * time.Second
	o.Power = unit.PowerCycle
	c := Open(devices.Target{Kind: devices.KindSerial, Device: unit.Device}, o)
	defer c.Close()
	if err := c.Identify(within(t, 30*time.Second), &kept{}); err != nil {
		t.Fatalf("%v\n%.4000s", err, c.log.Take())
	}
}
