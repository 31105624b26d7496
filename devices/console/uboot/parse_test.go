package uboot

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"assay/devices"
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
	reach := reach{staging: window{0x80000000, 0x1000}, mapped: []window{{0x4000000, 0x2000000}}, rates: []int{115200, 921600}}
	for _, command := range []string{
		"version", "help", "bdinfo", "printenv", "flinfo", "mtd list", "mtdparts", "sf probe", "nand info", "nand bad", "mmc info",
		"md.q 4000000 200", "crc32 4000000 1000", "md.q 4000000 200; crc32 4000000 1000", "fdt addr ${fdtcontroladdr}", "fdt print /signature",
		"mw.b 80000000 a5 1000", "sf read 80000000 0 1000", "nand read 80000000 20000 1000", "mmc read 80000000 40 8", "crc32 80000000 1000", "setenv baudrate 921600",
	} {
		if err := reach.permit(command); err != nil {
			t.Errorf("%v", err)
		}
	}
	for _, command := range []string{
		"", "saveenv", "setenv a b", "setenv baudrate 9600", "setenv baudrate 115200 x", "setenv baudrate 0115200", "setenv baudrate", "run bootcmd", "boot", "go 80000000", "reset", "erase all", "protect off all",
		"sf erase 0 1000", "sf write 80000000 0 1000", "nand erase", "nand write 80000000 0 1000", "mmc write 80000000 0 1", "mmc erase 0 1", "mmc dev 1",
		"sf probe; saveenv", "version && saveenv", "version;saveenv", "md.b 4000000 10; reset", "crc32 4000000 1000 80000000", "crc32 -v 4000000 1000 0",
		"mw.b 80000000 a5 1001", "mw.b 7fffffff a5 1", "mw.l 80000000 0 1", "sf read 80000800 0 801", "sf read ffffffffffffffff 0 2",
		"nand read 80000000 0 1001", "mmc read 80000000 0 9", "mmc read 80000000 0 0", "sf update 80000000 0 1",
		"md.b 3ffffff 1", "md.q 5fffff8 2", "md.l 0 1", "crc32 6000000 10", "md.q ffffffffffffffff ffffffff", "fuse prog 0 0 0", "printenv\rsaveenv", "version\nreset",
	} {
		if reach.permit(command) == nil {
			t.Errorf("%q may be sent", command)
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
	})
}

func FuzzAnswers(f *testing.F) {
	f.Add("SF: Detected sst25vf016b with page size 256 Bytes, erase size 4 KiB, total 2 MiB\n")
	f.Add("Device 0: nand0, sector size 128 KiB\n  Page size       2048 b\n  size 8000000\n")
	f.Add("Device 0 bad blocks:\n  00020000\n  07fe0000\n")
	f.Add("Device: FSL_SDHC\nManufacturer ID: 3\nName: SU08G\nCapacity: 7.4 GiB\n")
	f.Add("mtdparts=spi0.0:256k(boot),64k(env)ro,-(rest);nand0:0x100000@0x20000(x)")
	f.Add("* nor0\n  - type: NOR flash\n  - 0x000000000000-0x000002000000 : \"nor0\"\n\t  - 0x000000000000-0x000000040000 : \"boot\"\n")
	f.Add("/ {\n\tsignature {\n\t\tkey-x {\n\t\t\trequired = \"conf\";\n\t\t};\n\t};\n};\n")
	f.Fuzz(func(t *testing.T, answer string) {
		parseFdt(answer)
		if f, _ := parseSfProbe(answer); f.size < 0 || f.size > maxBank {
			t.Fatalf("%+v", f)
		}
		loaderVersion.FindStringSubmatch(answer)
		restarted.MatchString(answer)
		if m := nandInfo.FindStringSubmatch(answer); m != nil && sizeOfNAND(answer, m[2]) < 0 {
			t.Fatal("negative size")
		}
		const size, erase = 128 << 20, 128 << 10
		bad, _ := badBlocks(answer, size, erase)
		p := Prompt{banks: []memory{{Bank: devices.Bank{Name: "nand0", Size: size}, bad: bad}}}
		for _, b := range bad {
			if b.Offset < 0 || b.Offset >= size {
				t.Fatalf("%+v", b)
			}
		}
		p.parts = append(append(parseMtdparts(answer), parseMtdList(answer)...), parseMtdpartsAnswer(answer)...)
		for _, x := range p.partitionsOf("nand0") {
			if x.Offset < 0 || x.Size <= 0 || x.Offset+x.Size > size {
				t.Fatalf("%+v", x)
			}
		}
	})
}
