package format_test

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"assay/firmware"
	"assay/firmware/internal/formattest"
)

func init() {
	samples["linux-config"] = formattest.Sample{Make: func(testing.TB) []byte { return makeIKConfig(exampleConfig) }, State: firmware.Proven, Role: firmware.RoleData, Fuzz: "FuzzIKConfig"}
	samples["linux-riscv"] = formattest.Sample{Make: func(testing.TB) []byte { return makeRISCVImage() }, State: firmware.Parsed, Role: firmware.RoleKernel, Fuzz: "FuzzRISCVImage"}
}

func FuzzIKConfig(f *testing.F)   { fuzz(f, "linux-config") }
func FuzzRISCVImage(f *testing.F) { fuzz(f, "linux-riscv") }

const exampleConfig = `#
# Automatically generated file; DO NOT EDIT.
# Linux/arm 4.9.37 Kernel Configuration
#
CONFIG_ARM=y
CONFIG_LOCALVERSION=""
CONFIG_MODULES=y
# CONFIG_MODULE_SIG is not set
CONFIG_DEVMEM=y
# CONFIG_STRICT_DEVMEM is not set
CONFIG_CMDLINE="console=ttyS0,115200 root=/dev/mtdblock3"
CONFIG_JFFS2_FS=m
`

func makeIKConfig(text string) []byte {
	return slices.Concat([]byte("IKCFG_ST"), gzipped([]byte(text)), []byte("IKCFG_ED"))
}

func makeRISCVImage() []byte {
	b := formattest.Noise(3<<10, 5)
	clear(b[:64])
	binary.LittleEndian.PutUint64(b[8:], 0x200000)
	binary.LittleEndian.PutUint64(b[16:], uint64(len(b)))
	b[32] = 2
	copy(b[48:], "RISCV\x00\x00\x00RSC\x05")
	copy(b[1024:], linuxBanner)
	return b
}

func TestTheConfigurationInAKernelSaysWhatIsAllowed(t *testing.T) {
	kernel := slices.Concat([]byte("\x01\x02"+linuxBanner), formattest.Noise(9000, 3), makeIKConfig(exampleConfig), formattest.Noise(500, 4))
	img := formattest.Open(t, makeUImage(2, 1, gzipped(kernel)))
	k, c := formattest.First(img, "linux"), formattest.First(img, "linux-config")
	if k == nil || c == nil || k.Field("version") != "4.9.37" || c.State != firmware.Proven || c.Name != "Linux/arm 4.9.37" {
		t.Fatalf("%+v, %+v", k, c)
	}
	for name, want := range map[string]string{"CONFIG_MODULES": "y", "CONFIG_MODULE_SIG": "not set", "CONFIG_STRICT_DEVMEM": "not set", "CONFIG_CMDLINE": `"console=ttyS0,115200 root=/dev/mtdblock3"`,
		"CONFIG_DM_VERITY": "", "options set": "6, of which 1 are modules"} {
		if got := c.Field(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	// Without its end mark, or with a changed bit, it is only a stream or nothing.
	b := makeIKConfig(exampleConfig)
	b[len(b)-1]++
	if r := formattest.First(formattest.Survives(t, "no end", b), "linux-config"); r != nil {
		t.Errorf("%+v", r)
	}
}

func TestATreeAppendedToAzImageIsNoted(t *testing.T) {
	z := makeZImage(packText(8 << 10))
	img := formattest.Open(t, makeUImage(2, 0, append(z, plainTree().bytes()...)))
	r := formattest.First(img, "linux-zimage")
	if r == nil || r.Field("appended device tree") != fmt.Sprintf("at %#x", len(z)) || r.Field("version") != "4.9.37" || formattest.First(img, "fdt") == nil {
		t.Fatalf("%+v", r)
	}
}

func TestCodeThatUnpacksAKernelIsOneRegion(t *testing.T) {
	b := slices.Concat(formattest.Noise(5001, 3), packText(60<<10), formattest.Noise(300, 4))
	r := formattest.Open(t, makeUImage(2, 0, b)).Regions[0].Children
	if len(r) != 1 || r[0].Format != "linux" || r[0].Size != int64(len(b)) || r[0].Name != "Linux 4.9.37" || len(r[0].Children) != 1 {
		t.Fatalf("%+v", r)
	}
}

// foreign are parts of Debian for other processors, which scripts/peers.sh
// fetches.
func foreign(t *testing.T, pattern string) []byte {
	t.Helper()
	dir := os.Getenv("ASSAY_PEERS")
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			t.Skip(err)
		}
		dir = filepath.Join(home, ".cache/assay-peers")
	}
	names, _ := filepath.Glob(filepath.Join(dir, pattern))
	if len(names) == 0 {
		t.Skipf("%s is not in %s: run scripts/peers.sh", pattern, dir)
	}
	return read(t, names[0])
}

func TestKernelsOfDebianAreReadToTheirBanner(t *testing.T) {
	t.Run("armhf", func(t *testing.T) {
		b := foreign(t, "armhf/boot/vmlinuz-*-armmp")
		flash := append(slices.Clone(b), bytes.Repeat([]byte{0xff}, 100_000)...)
		img := formattest.Open(t, flash)
		r := img.Regions[0]
		if r.Format != "linux-zimage" || r.Size != int64(len(b)) || r.Field("byte order") != "LittleEndian" || !strings.HasSuffix(r.Field("version"), "-armmp") {
			t.Fatalf("%v %+v", formattest.Outline(img), r.Fields)
		}
		if k := formattest.First(img, "linux"); k == nil || !strings.HasPrefix(k.Field("banner"), "Linux version ") {
			t.Errorf("%+v", k)
		}
	})
	t.Run("mipsel", func(t *testing.T) {
		f, err := elf.NewFile(bytes.NewReader(foreign(t, "mipsel/boot/vmlinuz-*-malta")))
		if err != nil {
			t.Fatal(err)
		}
		// As objcopy -O binary makes it of the program that unpacks the kernel.
		var flat []byte
		first := f.Progs[slices.IndexFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_LOAD })].Paddr
		for _, p := range f.Progs {
			if p.Type != elf.PT_LOAD || p.Filesz == 0 {
				continue
			}
			b := make([]byte, p.Filesz)
			if _, err := p.ReadAt(b, 0); err != nil {
				t.Fatal(err)
			}
			flat = append(flat, make([]byte, int(p.Paddr-first)-len(flat))...)
			flat = append(flat, b...)
		}
		img := formattest.Open(t, makeUImage(2, 0, flat))
		k := img.Regions[0].Children
		if len(k) != 1 || k[0].Format != "linux" || !strings.HasSuffix(k[0].Field("version"), "-4kc-malta") {
			t.Fatalf("%+v", k)
		}
	})
}

func TestTheLogOfAKernelIsNoKernel(t *testing.T) {
	log := "[    0.000000] Booting Linux on physical CPU 0x0\n[    0.000000] " + strings.TrimRight(linuxBanner, "\x00") + "[    0.000000] CPU: ARMv7\n"
	if img := formattest.Open(t, gzipped([]byte(log))); formattest.First(img, "linux") != nil {
		t.Errorf("%v", formattest.Outline(img.Regions[0].Contents))
	}
}
