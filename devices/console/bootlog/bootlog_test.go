package bootlog

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"assay/attest"
	"assay/devices/fingerprint"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestTheRulesHold(t *testing.T) {
	if _, err := parseRules(embedded); err != nil {
		t.Fatal(err)
	}
}

func TestBadRulesAreRefused(t *testing.T) {
	good := string(embedded)
	for name, bad := range map[string]string{
		"no schema":               strings.Replace(good, "assay.bootlog-rules/v1", "x", 1),
		"an unknown field":        strings.Replace(good, "rules:\n", "surprise: 1\nrules:\n", 1),
		"a source that is none":   strings.Replace(good, "source: CORPUS", "source: HEARSAY", 1),
		"a pattern that is none":  strings.Replace(good, `match: '^\$Tch`, `match: '^(\$Tch`, 1),
		"a stage that is none":    strings.Replace(good, "starts: rom", "starts: never", 1),
		"a kind that is none":     strings.Replace(good, "as: jedec", "as: magic", 1),
		"an example that is none": strings.Replace(good, "flash manufacturer-id = 0b", "flash manufacturer-id = 0c", 1),
		"the same id twice":       strings.Replace(good, "- id: dh-boot", "- id: amboot", 1),
		"a placeholder of none":   strings.Replace(good, "mac: '00:00:23:34:45:66'", "mac: '00:00:23'", 1),
		"nothing":                 "",
	} {
		if _, err := parseRules([]byte(bad)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// The golden files hold all facts of each log of the shared sample collection,
// which is not part of this repository: what a person reads in them, and nothing
// else.
func TestEveryFactOfTheCollectionsLogs(t *testing.T) {
	const corpus = "../../../../shared/corpus/serial"
	logs, _ := filepath.Glob(corpus + "/qemu-captures/*.log")
	more, _ := filepath.Glob(corpus + "/thingino/*.md")
	logs = append(logs, more...)
	if len(logs) == 0 {
		t.Skip("the sample collection is not here")
	}
	for _, path := range logs {
		name := strings.TrimSuffix(strings.TrimSuffix(filepath.Base(path), ".log"), ".md")
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			got := golden(Parse(text))
			file := filepath.Join("testdata", "golden", name+".txt")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("facts differ (run with -update to accept):\n%s", differ(string(want), got))
			}
			// Each fact stands where it says it stands.
			for _, f := range Parse(text) {
				if f.Offset < 0 || f.Offset >= len(text) {
					t.Errorf("%+v: no such offset", f)
				}
			}
		})
	}
}

func golden(facts []Fact) string {
	var b strings.Builder
	for _, f := range facts {
		fmt.Fprintf(&b, "%d %s %s %s %s = %s\n", f.Boot, f.Stage.Acquisition(), f.Stage, f.Subject, f.Name, f.Value)
	}
	return b.String()
}

func differ(want, got string) string {
	var b strings.Builder
	for line := range strings.Lines(want) {
		if !strings.Contains(got, line) {
			b.WriteString("- " + line)
		}
	}
	for line := range strings.Lines(got) {
		if !strings.Contains(want, line) {
			b.WriteString("+ " + line)
		}
	}
	return b.String()
}

// has reports whether the facts hold "subject name = value" of a grade.
func has(facts []Fact, want string) bool {
	for _, f := range facts {
		if fmt.Sprintf("%s %s %s = %s", f.Stage.Acquisition(), f.Subject, f.Name, f.Value) == want {
			return true
		}
	}
	return false
}

// Own short logs of the kinds that public ones are: what is read in them.
func TestKindsOfLogs(t *testing.T) {
	for name, c := range map[string]struct {
		log  string
		want []string
		not  []string
	}{
		"a HiSilicon boots OpenIPC": {
			"\r\n\r\nSystem startup\r\n\r\nUncompress Ok!\r\n\r\nU-Boot 2016.11-g4bd9c94 (Apr 22 2022 - 21:25:43 +0800)gk7205v300\r\n\r\nSPI Nor ID Table Version 1.0\r\n@hifmc_spi_nor_probe(), SPI Nor(cs 0) ID: 0xa1 0x40 0x18 <Read>\r\nNAND:  0 MiB\r\nRAM size: 128MB\r\nNet:   eth0\r\nWarning: eth0 (eth0) using random MAC address - 02:00:5e:10:00:01\r\n\r\nPress Ctrl-c to stop autoboot... 2\r\n## Booting kernel from Legacy Image at 42000000 ...\r\n   Image Name:   Linux-4.9.37-gk7205v300\r\n\r\nStarting kernel ...\r\n\r\nBooting Linux on physical CPU 0x0\r\nLinux version 4.9.37 (a@b) (buildroot-gcc-12.2.0) #1 SMP Thu Sep 14 11:34:18 UTC 2023\r\nOF: fdt:Machine model: Goke GK7205V200 DEMO Board\r\n",
			[]string{"A2 soc name = GK7205V300", "A2 soc maker = Goke", "A2 flash jedec-id = a1 40 18", "A2 flash maker = Fudan Microelectronics", "A2 board dram = 134217728", "A2 unit random-mac = 02:00:5E:10:00:01", "A2 boot-loader autoboot-delay = 2", "A1 firmware kernel-build-host = a@b", "A1 board name = Goke GK7205V200 DEMO Board", "A1 soc also-named = GK7205V200"},
			[]string{"A2 flash banner.nand = 0"},
		},
		"a Fullhan on which a key was held": {
			"ROM:  Use nor flash.\nROM:  Init DDR..Training done.\nU-Boot 2010.06-dirty (Aug 30 2022 - 17:53:20)\n\nDRAM:  64 MiB\nSF: Got idcode c2 20 17 c2 20\nPress 'E' to stop autoboot:  00\n### Please input uboot password: ###\n***\nStarting kernel ...\nstarting pid 90, tty '': '/etc/init.d/rcS'\nEModel name     : AJ-L73PA1250\nFW version     : v220901.1359\nChip name      : FH8852V210\nEEEEdev_id=RTL8188FU\ngc3003_mipi\nEEE[    6.721223] libphy: linkdown . reset phy...\n",
			[]string{"A2 boot-loader console-lock = password: Please input uboot password", "A2 flash maker = Macronix", "A2 flash size = 8388608", "A1 unit model = AJ-L73PA1250", "A1 firmware version = v220901.1359", "A1 soc name = FH8852V210", "A1 module radio-maker = Realtek", "A1 module sensor = GC3003"},
			nil,
		},
		"a Dahua that lets nobody in": {
			"$Tch SpiNand\nLoad 0x00000080 to 0x00100000,size=30332\nKey hash pass!\nImgsign pass\nJmp 0x00100000\nddr_clk: 599500\nB: Nov 8 2022 22:05:30\nchip id is 0x0x7FB3804C\nDH-Boot 2.01\n",
			[]string{"A2 boot-loader secure-boot = Key hash pass", "A2 boot-loader secure-boot = Imgsign pass", "A2 boot-loader build-date = Nov 8 2022 22:05:30", "A2 soc chip-id = 0x7FB3804C", "A2 boot-loader version = DH-Boot 2.01"},
			[]string{"A2 boot-loader signed-boot = Imgsign pass"},
		},
		"a signed FIT": {
			"U-Boot SPL 2026.10 (Oct 05 2026 - 21:35:33 +0000)\nU-Boot 2026.10 (Oct 05 2026 - 21:35:33 +0000)\nModel: Northgate Example Board\n## Loading kernel from FIT Image at 40000000 ...\n   Using 'conf-1' configuration\n   Verifying Hash Integrity ... sha256,rsa2048:dev+ OK\n     Created:      2019-11-20   8:18:16 UTC\n     Hash value:   4dbee00021112df6\n   Verifying Hash Integrity ... sha256+ OK\n",
			[]string{"A2 boot-loader secure-boot = signature sha256,rsa2048:dev+ OK", "A2 firmware image-hash-check = sha256+ OK", "A2 firmware fit-configuration = conf-1", "A2 firmware fit-hash = 4dbee00021112df6", "A2 board name = Northgate Example Board"},
			nil,
		},
		"a signature that does not hold": {
			"U-Boot 2026.10 (Oct 05 2026 - 21:35:33 +0000)\n   Verifying Hash Integrity ... sha256,rsa2048:dev- Failed to verify required signature 'dev' error!\n",
			[]string{"A2 boot-loader secure-boot = signature sha256,rsa2048:dev- Failed to verify required signature 'dev' error!"},
			[]string{"A2 boot-loader secure-boot = signature sha256,rsa2048:dev+ OK"},
		},
		"a NAND unit": {
			"[    2.293640] NAND device: Manufacturer ID: 0x98, Chip ID: 0xf1 (Toshiba NAND 128MiB 3,3V 8-bit), 128MiB, page size: 2048, OOB size: 64\n[    2.4] spi\n[    2.500000] spi-nand spi0.0: GigaDevice SPI NAND was found.\n[    2.600000] mmcblk0: mmc0:0001 8GTF4R 7.28 GiB\n",
			[]string{"A1 flash nand-id = 98 f1", "A1 flash nand = Toshiba NAND 128MiB 3,3V 8-bit", "A1 flash nand = GigaDevice SPI NAND", "A1 flash mmc-name = 8GTF4R"},
			nil,
		},
		"a login prompt that is overprinted, in colours": {
			"VFS: Mounted root (squashfs filesystem) readonly on device 31:2.\n\r\nNorthgate-cam_1 login: 1970-01-01 08:00:03.816 [\x1b[0;00;37mDEBUG\x1b[0;00;00m] CAM_Init(): Ent\n",
			[]string{"A1 unit hostname = Northgate-cam_1"},
			nil,
		},
		"a countdown that rubs itself out": {
			"U-Boot 2023.01 (Jun 22 2026 - 08:38:07 +0000)\r\nHit any key to stop autoboot:  3 \b\b\b 2 \b\b\b 1 \b\b\b 0 \r\n",
			[]string{"A2 boot-loader autoboot-delay = 3"},
			[]string{"A2 boot-loader autoboot-delay = 0"},
		},
		"a table with another program's words in between": {
			"Creating 2 MTD partitions on \"hi_sfc\":\n0x000000000000-0x000000040000 : \"boot\"\nmdev is ok\n\x00[    0.38\n[    0.400000] 0x000000040000-0x000000080000 : \"env\"[    0.410000] usb 1-1: New USB device found, idVendor=2c7c, idProduct=0125\n",
			[]string{"A1 flash partition = hi_sfc: boot 0x0-0x40000", "A1 flash partition = hi_sfc: env 0x40000-0x80000", "A1 module usb-id = 2c7c:0125", "A1 module usb-maker = Quectel"},
			nil,
		},
		"partitions of a command line only": {
			"U-Boot 2013.07 (Oct 26 2020 - 14:49:24)\nHit any key to stop autoboot:  1\nisvp_t31# printenv\nmtdparts=mtdparts=jz_sfc:256k(boot),1792k@0x50000(kernel)ro,-(rest)\nwifi_password=hunter2\nethaddr=10:20:30:40:50:60\nserial#=EXAMPLE0001\n",
			[]string{"A2 flash partition = jz_sfc: boot 0x0-0x40000", "A2 flash partition = jz_sfc: kernel 0x50000-0x210000", "A2 flash partition = jz_sfc: rest 0x210000-end", "A2 unit placeholder-mac = 10:20:30:40:50:60", "A2 unit serial = EXAMPLE0001", "A2 soc name = T31"},
			[]string{"A2 unit mac = 10:20:30:40:50:60"},
		},
		"all line ends": {
			"DRAM:  64 MiB\rBoard: One\n\rModel: Two\r\r\nMMC:   msc: 0\n\n\nSF: Detected GD25Q128",
			[]string{"A2 board dram = 67108864", "A2 board name = One", "A2 board banner.model = Two", "A2 flash part = GD25Q128", "A2 flash maker = GigaDevice"},
			nil,
		},
		"an id that two makers share": {
			"SF: Got idcode 20 40 14\n",
			[]string{"A1 flash jedec-id = 20 40 14", "A1 flash maker-candidates = Micron / ST / Numonyx or XMC"},
			[]string{"A1 flash maker = XMC", "A1 flash maker = Micron / ST / Numonyx"},
		},
		"a reset at the prompt": {
			"U-Boot 2013.07 (Oct 26 2020 - 14:49:24)\nHit any key to stop autoboot:  1\nisvp_t31# version\nU-Boot 2013.07 (Oct 26 2020 - 14:49:24)\nmips-gcc (GCC) 4.7.2\nisvp_t31# reset\nresetting ...\nU-Boot 2014.01 (Oct 27 2020 - 14:49:24)\n",
			[]string{"A2 boot-loader version = U-Boot 2014.01", `A2 unit boot-difference = boot-loader version: "U-Boot 2013.07", then "U-Boot 2014.01"`, "A2 boot-loader prompt = isvp_t31#"},
			[]string{"A2 boot-loader version = U-Boot 2013.07"},
		},
		"dmesg at a shell is no boot": {
			"~ # dmesg\n[    0.000000] Linux version 4.9.37 (a@b) (gcc) #1 Thu Sep 14 11:34:18 UTC 2023\n~ # strings /dev/mtd0\nU-Boot 2013.07 (Oct 26 2020 - 14:49:24)\n",
			[]string{"A1 firmware kernel-version = Linux 4.9.37", "A1 boot-loader version = U-Boot 2013.07"},
			[]string{"A2 boot-loader version = U-Boot 2013.07"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			facts := Parse([]byte(c.log))
			for _, want := range c.want {
				if !has(facts, want) {
					t.Errorf("no %q in\n%s", want, golden(facts))
				}
			}
			for _, not := range c.not {
				if has(facts, not) {
					t.Errorf("%q is not said", not)
				}
			}
		})
	}
}

func TestTwoPowerOnsOfDifferentFlash(t *testing.T) {
	one := "U-Boot 2013.07 (Oct 26 2020 - 14:49:24)\nSF: Got idcode c2 20 17\nHit any key to stop autoboot:  1\nStarting kernel ...\nLinux version 3.10.14\nusb 1-1: New USB device found, idVendor=148f, idProduct=7601\n"
	two := strings.ReplaceAll(strings.Split(one, "Starting")[0], "c2 20 17", "c8 40 18")
	facts := Parse([]byte(one + two))
	if !has(facts, "A2 flash jedec-id = c8 40 18") || has(facts, "A2 flash jedec-id = c2 20 17") {
		t.Errorf("the last power-on counts:\n%s", golden(facts))
	}
	if !has(facts, `A2 unit boot-difference = flash jedec-id: "c2 20 17", then "c8 40 18"`) {
		t.Errorf("the difference is not named:\n%s", golden(facts))
	}
	if !has(facts, "A1 module usb-id = 148f:7601") || !has(facts, "A1 firmware kernel-version = Linux 3.10.14") {
		t.Errorf("what only the first one showed is lost:\n%s", golden(facts))
	}
}

func TestNothingIsInvented(t *testing.T) {
	for name, log := range map[string]string{
		"nothing":          "",
		"noise":            "\xff\xfe\x80\x00\x1b[\x1b]8;;x\x07\n\xc3\x28",
		"help":             "?       - alias for 'help'\nsf      - SPI flash sub-system\nmmc     - MMC sub system\nversion - print monitor, compiler and linker version\nprintenv- print environment variables\n",
		"a dump of a boot": "04000000: 55 2d 42 6f 6f 74 20 32 30 31 33 2e 30 37 20 28  U-Boot 2013.07 (\n81000000: 5349443a 20307863 38203078 34302030 SPI Nor(cs 0) ID: 0xc8\n",
		"prose":            "The camera has a HiSilicon SoC and a Winbond flash. Connect the Serial: pins first. Hit the key. MAC addresses are printed on the label.\n",
		"empty values":     "Serial		: 0000000000000000\nSF: Detected nor0\nDRAM:  0 MiB\nFlash: 0 Bytes\nNAND:  0 MiB\nmodel=\nMachine: \nID: 0xff 0xff 0xff\nidcode 00 00 00\nBoard:\n",
		"a router's scan":  "BSSID 00:00:5e:00:53:01 channel 6\nRTL871X: set group key camid:1, addr:00:00:00:00:00:00, kid:1, type:AES\n",
		"drivers":          "usb usb1: SerialNumber: mstar\nusbcore: registered new interface driver usb-storage\nIn:    serial\nSerial: AMBA PL011 UART driver\nusb usb1: New USB device found, idVendor=1d6b, idProduct=0002\n",
		"settings":         "motor_model=32\n[[wifi]:ssid]=home\n[[wifi]:key]=hunter2\nsensor_count=2\n",
	} {
		if facts := Parse([]byte(log)); len(facts) > 0 {
			t.Errorf("%s:\n%s", name, golden(facts))
		}
	}
}

func TestSecretsStayOut(t *testing.T) {
	facts := Parse([]byte("U-Boot 2013.07 (Oct 26 2020 - 14:49:24)\n=> printenv\nbootargs=console=ttyS0 wpa_key=hunter2 root=/dev/mtdblock2\nrootpw=hunter2\nStarting kernel ...\nKernel command line: psk=hunter2\nsensor jxf23 wifi_password=hunter2\n"))
	if len(facts) < 4 {
		t.Fatal(golden(facts))
	}
	for _, f := range facts {
		if strings.Contains(f.Value+f.Line, "hunter2") {
			t.Errorf("%+v", f)
		}
	}
}

// bounded is a hostile text; Parse must come back from it with little.
func TestHostileTextIsBounded(t *testing.T) {
	for name, text := range map[string][]byte{
		"a line without end":       bytes.Repeat([]byte("A"), maxText+1000),
		"a sequence without end":   append([]byte("DRAM:  64 MiB\n\x1b["), bytes.Repeat([]byte("1;"), 1<<20)...),
		"power-ons without end":    bytes.Repeat([]byte("U-Boot SPL 2013.07 (Oct 26 2020 - 14:49:24)\nU-Boot 2013.07 (Oct 26 2020 - 14:49:24)\n"), 5000),
		"partitions without end":   []byte(manyPartitions()),
		"a table of numbers":       []byte("Creating 1 MTD partitions on \"x\":\n0xffffffffffffffff-0x0000000000000000 : \"a\"\n0x0000000000000000-0xffffffffffffffff : \"b\"\n"),
		"mtdparts that overflow":   []byte("Kernel command line: mtdparts=x:9999999999G(a),0xffffffffffG@0xffffffffffG(b),-(c),99999999999999999k(d)\n"),
		"lines without end":        bytes.Repeat([]byte("Board: x\n"), maxLines+10),
		"a prompt and no end":      append([]byte("=> printenv\n"), bytes.Repeat([]byte("bootcmd=x;"), 1<<17)...),
		"backspaces":               append(bytes.Repeat([]byte("\b"), 1<<16), "DRAM:  64 MiB\n"...),
		"escapes in what is shown": []byte("Board: \x1b]0;title\x07Fake\x9b31m \u202eevil\x1b[2J\n"),
	} {
		facts := Parse(text)
		if len(facts) > maxFacts+256 {
			t.Errorf("%s: %d facts", name, len(facts))
		}
		for _, f := range facts {
			if printable(f.Value) != f.Value || printable(f.Line) != f.Line || len(f.Value) > maxValue {
				t.Errorf("%s: %+v", name, f)
			}
		}
	}
}

func manyPartitions() string {
	var b strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&b, "0x%012x-0x%012x : \"p%d\"\n", i, i+1, i)
	}
	return b.String()
}

// kept is a sink that remembers.
type kept struct {
	claims []attest.Claim
}

func (k *kept) Artefact(_, _ string, raw []byte) attest.Digest { return attest.DigestOf(raw) }
func (k *kept) Claim(c attest.Claim) string                    { k.claims = append(k.claims, c); return "" }
func (k *kept) Mark(attest.Mark) string                        { return "" }

func TestClaimsQuoteTheirLineAndWhoPrintedIt(t *testing.T) {
	text := []byte("U-Boot 2013.07 (Oct 26 2020 - 14:49:24)\nBoard: ISVP (Ingenic XBurst T31 SoC)\nStarting kernel ...\nLinux version 3.10.14\n")
	k := &kept{}
	raw := attest.DigestOf(text)
	Claims(Parse(text), sink{k}, raw, "boot log")
	want := map[string]attest.Acquisition{attest.NameFirmwareVersion: attest.A2, "kernel-version": attest.A1}
	for _, c := range k.claims {
		if c.Raw != raw || !strings.HasPrefix(c.Source, "boot log, power-on 1, offset ") || c.Origin() != attest.P1 {
			t.Errorf("%+v", c)
		}
		if a, ok := want[c.Name]; ok && c.Acquisition == a {
			delete(want, c.Name)
		}
	}
	if len(want) > 0 {
		t.Errorf("missing %v in %+v", want, k.claims)
	}
}

// sink has the methods of devices.Sink.
type sink struct{ *kept }

func (s sink) Problem(attest.ProblemKind, string, string) {}

func TestMakersMarksInALog(t *testing.T) {
	for log, want := range map[string]string{
		"IPL g2cd6de2\nU-Boot 2015.01 (Sep 19 2020 - 19:24:19)\n   Image Name:   MVX2##I6g05c28aeKL_LX409####[BR:\n": "sigmastar",
		"$Tch SpiNand\nDH-Boot 2.01\n": "dahua",
		"U-Boot 2010.06 (Feb 03 2015 - 11:17:39)\nHit Ctrl+u to stop autoboot:  0\n": "hikvision",
		"hi3518ev200 System startup\nU-Boot 2010.06 (Feb 03 2015 - 11:17:39)\n":      "hisilicon",
		"factoryname:,PPSTRONG\n": "meari",
		"U-Boot 2013.07 (Oct 26 2020 - 14:49:24)\nHit any key to stop autoboot:  1\nxmtech # <INTERRUPT>\n": "xiongmai",
	} {
		var who []string
		for _, m := range fingerprint.Embedded().Match(Observations([]byte(log), Parse([]byte(log)), attest.DigestOf([]byte(log)), "boot log")) {
			who = append(who, m.Entity)
		}
		if !strings.Contains(strings.Join(who, " "), want) {
			t.Errorf("%q is marked %v, want %s", log, who, want)
		}
	}
	clean := []byte("U-Boot 2023.01 (Jun 22 2026 - 08:38:07 +0000)\nModel: Freescale i.MX6 Quad SABRE Lite Board\nHit any key to stop autoboot:  3\n=> \n")
	if marks := fingerprint.Embedded().Match(Observations(clean, Parse(clean), "", "boot log")); len(marks) > 0 {
		t.Errorf("%+v", marks)
	}
}

func TestPlaceholders(t *testing.T) {
	for _, mac := range []string{"00:D0:D0:00:95:27", "10-20-30-40-50-60", "00:30:1b:ba:02:db", "00:00:00:00:00:00"} {
		if !Placeholder(mac) {
			t.Errorf("%s is a kit's", mac)
		}
	}
	for _, mac := range []string{"00:00:5E:00:53:01", "", "not an address"} {
		if Placeholder(mac) {
			t.Errorf("%q is not a kit's", mac)
		}
	}
}

func FuzzParse(f *testing.F) {
	logs, _ := filepath.Glob("../../../../shared/corpus/serial/*/*")
	for _, path := range logs {
		if b, err := os.ReadFile(path); err == nil && len(b) < 64<<10 {
			f.Add(b)
		}
	}
	for _, s := range []string{
		"U-Boot SPL 2013.07 (Oct 26 2020 - 14:49:24)\nU-Boot 2013.07 (Oct 26 2020 - 14:49:24)\nisvp_t31# printenv\nmtdparts=x:1k(a),-(b)\n",
		"~ # cat /proc/device-tree/model; cat /proc/device-tree/serial-number\nX\x00\nSN1\n~ # cat /sys/bus/spi/devices/*/spi-nor/*\nc84018\n",
		"[    0.000000] Linux version 4.9.37\n0x000000000000-0x000000040000 : \"boot\"\n\x1b[6n\b\b\r\r\n",
		"nvt@na51055: printenv\nethaddr=00:d0:d0:00:95:27\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		facts := Parse(text)
		for _, x := range facts {
			if x.Value == "" || x.Name == "" || x.Boot < 1 || x.Boot > maxBoots || x.Offset < 0 || x.Offset >= len(text) ||
				len(x.Value) > 4*maxValue || printable(x.Value) != x.Value || printable(x.Line) != x.Line {
				t.Fatalf("%+v", x)
			}
		}
		Claims(facts, sink{&kept{}}, "", "fuzz")
		Observations(text, facts, "", "fuzz")
	})
}

func BenchmarkParse(b *testing.B) {
	text, err := os.ReadFile("../../../../shared/corpus/serial/thingino/pesita-x09.md")
	if err != nil {
		b.Skip("the sample collection is not here")
	}
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		Parse(text)
	}
}
