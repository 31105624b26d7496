package console

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"assay/devices/console/line"
)

const flinfoText = `
Bank # 1: CFI conformant flash (16 x 16)  Size: 32 MB in 256 Sectors
  Intel Extended command set, Manufacturer ID: 0x89, Device ID: 0x0018
  Erase timeout: 16384 ms, write timeout: 3 ms
  Buffer write timeout: 3 ms, buffer size: 2048 bytes

  Sector Start Addresses:
  04000000   RO   04020000   RO   04040000        04060000        04080000      

Bank # 2: CFI conformant flash (32 x 16)  Size: 512 kB in 8 Sectors
  AMD Standard command set, Manufacturer ID: 0x01, Device ID: 0x227E

  Sector Start Addresses:
  BE000000   RO   BE010000   RO
`

func TestFlinfoGivesBanksWithSizeAddressAndChip(t *testing.T) {
	banks, err := parseFlinfo(flinfoText)
	want := []norBank{{1, 32 << 20, 0x4000000, "0x89", "0x0018"}, {2, 512 << 10, 0xbe000000, "0x01", "0x227E"}}
	if err != nil || len(banks) != 2 || banks[0] != want[0] || banks[1] != want[1] {
		t.Errorf("%+v, %v", banks, err)
	}
	for says, text := range map[string]string{
		"is not one of a NOR flash": "Bank # 1: CFI  Size: 4000 GB in 1 Sectors\n",
		"no sector address":         "Bank # 1: CFI  Size: 4 MB in 1 Sectors\n",
		"address":                   "Bank # 1: CFI  Size: 4 MB in 1 Sectors\n  FFFFFFFFFFFFFFFF\n",
	} {
		if banks, err := parseFlinfo(text); err == nil || len(banks) > 0 || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %+v, %v", text, banks, err)
		}
	}
}

func TestStagingKeepsClearOfTheLoader(t *testing.T) {
	b := parseBdinfo("DRAM bank   = 0x00000000\n-> start    = 0x80000000\n-> size     = 0x04000000\nrelocaddr   = 0x83f90000\nsp start    = 0x83e00000\n")
	if w := stagingWindow(b); w.start != 0x81000000 || w.size != 4<<20 || w.start+w.size+stagingClear > 0x83e00000 {
		t.Errorf("%#x+%#x", w.start, w.size)
	}
	for name, text := range map[string]string{
		"no RAM":             "relocaddr = 0x83f90000\n",
		"no loader":          "-> start = 0x80000000\n-> size = 0x04000000\n",
		"RAM that is small":  "-> start = 0x80000000\n-> size = 0x00400000\nrelocaddr = 0x80300000\n",
		"a size that wraps":  "-> start = 0xffffffffffff0000\n-> size = 0x04000000\nrelocaddr = 0xffffffffffffff00\n",
		"nothing":            "",
		"a loader at bottom": "-> start = 0x80000000\n-> size = 0x04000000\nrelocaddr = 0x80000000\n",
	} {
		if w := stagingWindow(parseBdinfo(text)); w.size != 0 {
			t.Errorf("%s: %#x+%#x", name, w.start, w.size)
		}
	}
}

func TestMdLinesOfEveryFormAreRead(t *testing.T) {
	want := []byte("=> md: ab 0123 \x00\xff\x7f")[:16]
	for name, c := range map[string]struct {
		line  string
		width mdWidth
		order binary.ByteOrder
	}{
		"bytes, two spaces":   {"04000000: 3d 3e 20 6d 64 3a 20 61 62 20 30 31 32 33 20 00  => md: ab 0123 .", 1, binary.LittleEndian},
		"bytes, four spaces":  {"04000000: 3d 3e 20 6d 64 3a 20 61 62 20 30 31 32 33 20 00    => md: ab 0123 .", 1, binary.BigEndian},
		"words":               {"04000000: 6d203e3d 61203a64 31302062 00203332  => md: ab 0123 .", 4, binary.LittleEndian},
		"words of big endian": {"04000000: 3d3e206d 643a2061 62203031 32332000  => md: ab 0123 .", 4, binary.BigEndian},
		"double words":        {"0000000004000000: 61203a646d203e3d 0020333231302062  => md: ab 0123 .", 8, binary.LittleEndian},
	} {
		at, b, err := parseMdLine([]byte(c.line), c.width, c.order)
		if err != nil || at != 0x4000000 || !bytes.Equal(b, want) {
			t.Errorf("%s: %#x %q, %v", name, at, b, err)
		}
	}
	for name, line := range map[string]string{
		"a digit lost":          "04000000: 6d203e3d 61203a6 31302062 00203332  => md: ab 0123 .",
		"a changed digit":       "04000000: 6d203e3d 61203a65 31302062 00203332  => md: ab 0123 .",
		"the wrong order":       "04000000: 3d3e206d 643a2061 62203031 32332000  => md: ab 0123 .",
		"a message":             "[    1.0] usb 1-1: new device",
		"an address alone":      "04000000:",
		"an address of letters": "zz: 6d203e3d  => m",
	} {
		if _, b, err := parseMdLine([]byte(line), 4, binary.LittleEndian); err == nil {
			t.Errorf("%s: read as %q", name, b)
		}
	}
}

func TestLinesOfAnotherPlaceAreNotTakenForTheBlock(t *testing.T) {
	dst, got := make([]byte, 32), make([]bool, 32)
	parseMd([]byte("04000020: 3d3e206d 643a2061 62203031 32332000  => md: ab 0123 .\n03fffff0: 3d3e206d 643a2061 62203031 32332000  => md: ab 0123 .\n04000008: 3d3e206d 643a2061 62203031 32332000  => md: ab 0123 .\n"), 0x4000000, 4, binary.BigEndian, dst, got)
	if some(got) {
		t.Errorf("%v", got)
	}
}

func TestSfProbeGivesPartSizeAndIdentifier(t *testing.T) {
	for text, want := range map[string]spiFlash{
		"SF: Detected sst25vf016b with page size 256 Bytes, erase size 4 KiB, total 2 MiB\n": {"sst25vf016b", 2 << 20, ""},
		"the manufacturer 20\nSF: Detected XM25QH128C\n\n":                                   {"XM25QH128C", 0, ""},
		"SPI Nor(cs 0) ID: 0xC2 0x20 0x18\nBlock:64KB Chip:16MB Name:\"MX25L12835F\"\n":      {"", 16 << 20, "c2 20 18"},
	} {
		if got, ok := parseSfProbe(text); !ok || got != want {
			t.Errorf("%q: %+v", text, got)
		}
	}
	if f, ok := parseSfProbe("Failed to initialize SPI flash at 0:0 (error -2)\n"); ok {
		t.Errorf("%+v", f)
	}
}

func TestAnEnvironmentThatWasCutIsSaidToBe(t *testing.T) {
	env, err := parsePrintenv("bootdelay=2\nserial#=A=B\nsecond line\n=x\n\nEnvironment size: 10/20 bytes\n")
	if err != nil || len(env) != 2 || env[1] != (variable{"serial#", "A=B"}) {
		t.Errorf("%+v, %v", env, err)
	}
	if _, err := parsePrintenv("bootdelay=2\n"); err == nil {
		t.Error("no closing line, no error")
	}
}

func TestNoCommandThatChangesAUnitCanBeTyped(t *testing.T) {
	ram := window{0x80000000, 0x1000}
	for _, command := range []string{
		"version", "help", "bdinfo", "printenv", "flinfo", "mtd list", "sf probe", "nand info", "mmc info",
		"md.q 4000000 200", "crc32 4000000 1000", "fdt addr ${fdtcontroladdr}", "fdt print /signature",
		"mw.b 80000000 a5 1000", "sf read 80000000 0 1000",
	} {
		if err := permit(command, ram); err != nil {
			t.Errorf("%q: %v", command, err)
		}
	}
	for _, command := range []string{
		"", "saveenv", "setenv a b", "env default -a", "erase all", "protect off all", "boot", "bootm", "run bootcmd", "reset", "go 80000000",
		"sf erase 0 1000", "sf write 80000000 0 1000", "sf update 80000000 0 1000", "nand erase 0 1000", "mmc write 0 0 1", "mtd erase nor0", "fuse prog 0 0 1",
		"cp.b 80000000 4000000 10", "mw.b 4000000 0 1", "mw.l 80000000 0 1", "mw.b 80000001 a5 1000", "mw.b 7fffffff a5 1", "mw.b 80000000 a5 0",
		"mw.b 80000000 a5 ffffffff", "mw.b ffffffffffffffff a5 2", "sf read 80000800 0 1000", "crc32 4000000 1000 80000000",
		"version; saveenv", "version\rsaveenv", "md.b 4000000 10 && reset", "printenv\n", "fdt set / model x", "fdt print /", "md.b $loadaddr 10", "echo `reset`",
	} {
		if permit(command, ram) == nil {
			t.Errorf("%q is permitted", command)
		}
	}
	if permit("mw.b 0 a5 1", window{}) == nil {
		t.Error("memory may be written without a staging window")
	}
}

func TestLoadersThatWantAStringGetNoFlood(t *testing.T) {
	for text, want := range map[string]bool{
		"Enter password in 5 seconds to stop autoboot":               true,
		"Autobooting in 3 seconds, press the stop string to abort\n": true,
		"autoboot in 5 seconds, enter passphrase":                    true,
		"Please input password: ":                                    true,
		"Hit any key to stop autoboot:  3 ":                          false,
		"Hit Ctrl+u to stop autoboot: 1":                             false,
		"bootargs=console=ttyS0 autoboot password=x":                 false,
	} {
		if got := asksForPassword.MatchString(text); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestEachFamilyIsStoppedByItsKey(t *testing.T) {
	for text, want := range map[string]string{
		"Hit any key to stop autoboot:  3 ":    ctrlC,
		"Hit Ctrl+u to stop autoboot: 1":       "\x15",
		"DH-Boot 1.0":                          "*",
		"SigmaStar U-Boot 2015.01":             "\r",
		"Press SPACE to abort autoboot in 2 s": " ",
		"Hit ESC key to stop autoboot: 1":      "\x1b",
	} {
		h := hunt{scr: line.Screen{Text: []byte(text)}}
		if got := h.key(); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func FuzzMd(f *testing.F) {
	f.Add([]byte("04000000: 6d203e3d 61203a64 31302062 00203332  => md: ab 0123 .\n"), uint64(0x4000000), byte(2))
	f.Add([]byte("04000000: fb bd 60                                         ..`\n"), uint64(0x4000000), byte(0))
	f.Add([]byte("ffffffffffffffff: 6d203e3d61203a64  x\n"), uint64(1<<64-16), byte(3))
	f.Fuzz(func(t *testing.T, answer []byte, address uint64, form byte) {
		dst, got := make([]byte, 64), make([]bool, 64)
		for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
			parseMd(answer, address, mdWidth(1<<(form&3)), order, dst, got)
		}
		for i, b := range dst {
			if b != 0 && !got[i] {
				t.Fatalf("byte %d was written and not marked", i)
			}
		}
	})
}

func FuzzFlinfo(f *testing.F) {
	f.Add(flinfoText)
	f.Add("Bank # 1: CFI  Size: 4 MB in 1 Sectors\n  FFFFFFFFFFFFFFFF\n")
	f.Fuzz(func(t *testing.T, answer string) {
		banks, _ := parseFlinfo(answer)
		for _, b := range banks {
			if b.size <= 0 || b.size > maxBank || b.address+uint64(b.size) < b.address {
				t.Fatalf("%+v", b)
			}
		}
	})
}

func FuzzBdinfo(f *testing.F) {
	f.Add("-> start    = 0x80000000\n-> size     = 0x04000000\nrelocaddr   = 0x83f90000\n")
	f.Add("memstart = 0xffffffffffffffff\nmemsize = 0xffffffff\nsp start = 0x1\n")
	f.Fuzz(func(t *testing.T, answer string) {
		b := parseBdinfo(answer)
		w := stagingWindow(b)
		if w.size == 0 {
			return
		}
		if w.start+w.size < w.start || w.size > stagingMax || !b.ram[0].holds(w.start, w.size) {
			t.Fatalf("%#x+%#x of %+v", w.start, w.size, b)
		}
		for _, r := range b.reserved {
			if r >= w.start && r < w.start+w.size {
				t.Fatalf("%#x+%#x holds the loader's %#x", w.start, w.size, r)
			}
		}
	})
}

func FuzzPrintenv(f *testing.F) {
	f.Add("bootdelay=2\nserial#=A=B\n\nEnvironment size: 10/20 bytes\n")
	f.Fuzz(func(t *testing.T, answer string) {
		env, _ := parsePrintenv(answer)
		if len(env) > maxVariables {
			t.Fatal(len(env))
		}
		for _, v := range env {
			if v.name == "" || strings.ContainsAny(v.name+v.value, "\n") {
				t.Fatalf("%+v", v)
			}
		}
		line.WithoutSecrets(answer)
	})
}

func FuzzPrompt(f *testing.F) {
	f.Add([]byte("Hit any key to stop autoboot:  2 \b\b\b 0 \r\n=> "))
	f.Add([]byte("~ # \x1b[6n"))
	f.Add([]byte("Enter password: "))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var s line.Screen
		s.Feed(raw)
		if len(s.Text) > len(raw) {
			t.Fatalf("%d bytes show %d", len(raw), len(s.Text))
		}
		h := hunt{scr: s}
		h.key()
		asksForPassword.Match(s.Text)
		pastLoader.Match(s.Text)
		restarted.Match(s.Text)
		promptLine.MatchString(s.LastLine())
		for _, parse := range []func(string){
			func(x string) { parseFdt(x) }, func(x string) { parseSfProbe(x) },
			func(x string) { loaderVersion.FindStringSubmatch(x) },
		} {
			parse(string(s.Text))
		}
	})
}
