package format_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"

	"strings"
	"testing"

	"assay/firmware"
	"assay/firmware/internal/formattest"
)

func init() {
	for name, s := range map[string]formattest.Sample{
		"sigmastar-ipl":    {Make: func(testing.TB) []byte { return makeIPL("IPL_", formattest.Noise(304, 3)) }, State: firmware.Proven, Fuzz: "FuzzSigmastarIPL"},
		"ingenic-spl":      {Make: func(testing.TB) []byte { return makeIngenicSPL(formattest.Noise(600, 3)) }, State: firmware.Parsed, Fuzz: "FuzzIngenicSPL"},
		"hisilicon-boot":   {Make: func(testing.TB) []byte { return makeHisiliconHead(40) }, State: firmware.Parsed, Fuzz: "FuzzHisiliconBoot"},
		"hisilicon-gsl":    {Make: func(testing.TB) []byte { return makeGSL(formattest.Noise(256, 3)) }, State: firmware.Parsed, Fuzz: "FuzzHisiliconGSL"},
		"novatek-bin":      {Make: func(testing.TB) []byte { return makeNovatek(0x300, formattest.Noise(200, 3)) }, State: firmware.Proven, Fuzz: "FuzzNovatekBin"},
		"allwinner-egon":   {Make: func(testing.TB) []byte { return makeEGON(formattest.Noise(300, 3)) }, State: firmware.Proven, Fuzz: "FuzzEGON"},
		"allwinner-toc0":   {Make: func(testing.TB) []byte { return makeTOC0(formattest.Noise(300, 3)) }, State: firmware.Proven, Fuzz: "FuzzTOC0"},
		"imx-ivt":          {Make: func(testing.TB) []byte { return makeIVT(formattest.Noise(300, 3)) }, State: firmware.Parsed, Fuzz: "FuzzIVT"},
		"imx-ahab":         {Make: func(testing.TB) []byte { return makeAHAB(formattest.Noise(300, 3)) }, State: firmware.Proven, Fuzz: "FuzzAHAB"},
		"rockchip-idblock": {Make: mkimageOf("rksd", "rk3288", formattest.Noise(900, 3)), State: firmware.Parsed, Fuzz: "FuzzRockchipID", Midst: true},
		"rockchip-rkns":    {Make: mkimageOf("rksd", "rk3568", formattest.Noise(900, 3)), State: firmware.Proven, Fuzz: "FuzzRockchipNS"},
		"rockchip-loader":  {Make: func(testing.TB) []byte { return makeRockchipLoader(formattest.Noise(700, 3)) }, State: firmware.Proven, Fuzz: "FuzzRockchipLoader"},
	} {
		s.Role = firmware.RoleBootLoader
		samples[name] = s
	}
}

func FuzzSigmastarIPL(f *testing.F)   { fuzz(f, "sigmastar-ipl") }
func FuzzIngenicSPL(f *testing.F)     { fuzz(f, "ingenic-spl") }
func FuzzHisiliconBoot(f *testing.F)  { fuzz(f, "hisilicon-boot") }
func FuzzHisiliconGSL(f *testing.F)   { fuzz(f, "hisilicon-gsl") }
func FuzzNovatekBin(f *testing.F)     { fuzz(f, "novatek-bin") }
func FuzzEGON(f *testing.F)           { fuzz(f, "allwinner-egon") }
func FuzzTOC0(f *testing.F)           { fuzz(f, "allwinner-toc0") }
func FuzzIVT(f *testing.F)            { fuzz(f, "imx-ivt") }
func FuzzAHAB(f *testing.F)           { fuzz(f, "imx-ahab") }
func FuzzRockchipID(f *testing.F)     { fuzz(f, "rockchip-idblock") }
func FuzzRockchipNS(f *testing.F)     { fuzz(f, "rockchip-rkns") }
func FuzzRockchipLoader(f *testing.F) { fuzz(f, "rockchip-loader") }

var le = binary.LittleEndian

func words(values ...uint32) []byte {
	var b []byte
	for _, v := range values {
		b = le.AppendUint32(b, v)
	}
	return b
}

func makeIPL(id string, code []byte) []byte {
	var sum uint32
	for i := 0; i < len(code); i += 4 {
		sum += le.Uint32(code[i:])
	}
	b := append(words(0xea000002), id...)
	return append(append(b, words(uint32(16+len(code)), sum)...), code...)
}

func makeIngenicSPL(code []byte) []byte {
	b := make([]byte, 2048)
	copy(b, "\x06\x05\x04\x03\x02\x55\xaa\x55\xaa")
	le.PutUint32(b[12:], uint32(2048+len(code)))
	// The register of a CRC-7 as a shift register, bit by bit.
	crc := 0
	for _, c := range code {
		for bit := 7; bit >= 0; bit-- {
			in := int(c>>bit)&1 ^ crc>>6
			crc = crc << 1 & 0x7f
			if in == 1 {
				crc ^= 9
			}
		}
	}
	b[9] = byte(crc)
	return append(b, code...)
}

// makeHisiliconHead is vectors, a table of n register writes in a blank zone of
// 1 KiB, and the zone's ends.
func makeHisiliconHead(n int) []byte {
	const zone = 0x40 + 1024
	b := words(0xea000000 | (zone+16)/4 - 2)
	for len(b) < 0x20 {
		b = append(b, words(0xeafffffe)...)
	}
	for len(b) < 0x40 {
		b = append(b, words(0xdeadbeef)...)
	}
	for i := range n {
		b = append(b, words(0x12010080+uint32(4*i), uint32(i), 0, 0xfd)...)
	}
	b = append(b, make([]byte, zone-len(b))...)
	return append(b, words(0x40700000+0x40, 0x40700000+zone)...)
}

func makeGSL(code []byte) []byte {
	b := make([]byte, 3072)
	copy(b, formattest.Noise(512, 5))
	le.PutUint32(b[2048:], 0x4bb4d22d)
	le.PutUint32(b[2048+36:], uint32(len(code)))
	return append(b, code...)
}

func makeNovatek(at int, code []byte) []byte {
	b := append(formattest.Noise(0x400, 6), code...)
	clear(b[at : at+0x80])
	copy(b[at+0x50:], "NT98528 ")
	copy(b[at+0x58:], "1.20.000")
	copy(b[at+0x60:], "20220101")
	le.PutUint32(b[at+0x68:], uint32(len(b)))
	var sum uint16
	for i := 0; i < len(b); i += 2 {
		sum += le.Uint16(b[i:]) + uint16(i/2)
	}
	le.PutUint16(b[at+0x6c:], -sum)
	return b
}

// stamp writes Allwinner's sum.
func stamp(b []byte) []byte {
	le.PutUint32(b[12:], 0x5f0a6c39)
	var sum uint32
	for i := 0; i < len(b); i += 4 {
		sum += le.Uint32(b[i:])
	}
	le.PutUint32(b[12:], sum)
	return b
}

func makeEGON(code []byte) []byte {
	b := make([]byte, (96+len(code)+511)&^511)
	copy(b, "\x16\x00\x00\xeaeGON.BT0")
	le.PutUint32(b[16:], uint32(len(b)))
	copy(b[20:], "SPL\x02")
	le.PutUint32(b[32:], 44)
	copy(b[44:], "sun8i-example")
	copy(b[96:], code)
	return stamp(b)
}

func makeTOC0(code []byte) []byte {
	b := make([]byte, 48+3*32)
	copy(b, "TOC0.GLH\x00\x98\x11\x89")
	b[24] = 3
	copy(b[44:], "MIE;")
	for i, data := range [][]byte{formattest.Noise(400, 3), formattest.Noise(200, 4), code} {
		item := b[48+32*i:]
		le.PutUint32(item, []uint32{0x010303, 0x010101, 0x010202}[i])
		le.PutUint32(item[4:], uint32(len(b)))
		le.PutUint32(item[8:], uint32(len(data)))
		copy(item[28:], "IIE;")
		b = append(b, data...)
	}
	b = append(b, make([]byte, -len(b)&3)...)
	le.PutUint32(b[28:], uint32(len(b)))
	return stamp(b)
}

// makeIVT is a signed image: table, boot data, code, CSF.
func makeIVT(code []byte) []byte {
	const self = 0x17800400
	csf := []byte{0xd4, 0, 0, 0x43, 0xbe, 0, 12, 0, 0x03, 0x17, 0, 1, 0, 0, 0, 0x30, 0xca, 0, 20, 0, 1, 0xc5, 0, 0, 0, 0, 0, 0x40, 0x17, 0x80, 4, 0, 0, 0, 4, 0}
	csf[2] = byte(len(csf))
	at := uint32(44 + len(code))
	b := append([]byte("\xd1\x00\x20\x40"), words(self+44, 0, 0, self+32, self, self+at, 0, self-0x400, 0x400+at+uint32(len(csf)), 0)...)
	return append(append(b, code...), csf...)
}

func makeAHAB(code []byte) []byte {
	b := make([]byte, 16+128+16)
	b[1], b[3], b[4], b[11], b[12] = byte(len(b)), 0x87, 0x12, 1, 16+128
	image := b[16:]
	le.PutUint32(image, 1024)
	le.PutUint32(image[4:], uint32(len(code)))
	le.PutUint32(image[24:], 0x43)
	sum := sha256.Sum256(code)
	copy(image[32:], sum[:])
	b[16+128+1], b[16+128+3] = 16, 0x90
	return append(append(b, make([]byte, 1024-len(b))...), code...)
}

func mkimageOf(kind, name string, code []byte) func(testing.TB) []byte {
	return func(t testing.TB) []byte {
		dir := t.TempDir()
		write(t, dir, "code", code)
		run(t, dir, "mkimage", "u-boot-tools", "-n", name, "-T", kind, "-d", "code", "image")
		return read(t, dir, "image")
	}
}

func makeRockchipLoader(code []byte) []byte {
	b := make([]byte, 0x66+57)
	copy(b, "LDR \x66\x00")
	b[14], b[15], b[16], b[17] = 0xea, 7, 5, 7
	b[37], b[42] = 1, 57
	le.PutUint32(b[38:], 0x66)
	b[43], b[44] = 'N', 1
	e := b[0x66:]
	e[0] = 57
	for i, c := range "FlashBoot" {
		e[5+2*i] = byte(c)
	}
	le.PutUint32(e[45:], uint32(len(b)))
	le.PutUint32(e[49:], uint32(len(code)))
	b = append(b, code...)
	var sum uint32
	for _, c := range b {
		sum ^= uint32(c) << 24
		for range 8 {
			top := sum >> 31
			sum <<= 1
			if top == 1 {
				sum ^= 0x04c10db7
			}
		}
	}
	return le.AppendUint32(b, sum)
}

func TestBootImagesOfMkimageAreReadToTheirLoader(t *testing.T) {
	code := makeUBoot(16 << 10)
	imx := []byte("IMAGE_VERSION 2\nBOOT_FROM sd\nCSF 0x2000\nDATA 4 0x020e0774 0x000c0000\n")
	imx8 := []byte("BOOT_FROM SD 0x400\nSOC_TYPE IMX8QX\nCONTAINER\nIMAGE A35 code 0x00100000\n")
	imx8m := []byte("ROM_VERSION v2\nBOOT_FROM sd\nLOADER code 0x7E1000\n")
	for _, c := range []struct {
		name, format string
		args         []string
		state        firmware.State
		fields       map[string]string
	}{
		{"Rockchip, memory card", "rockchip-idblock", []string{"-n", "rk3288", "-T", "rksd"}, firmware.Parsed, map[string]string{"chip tag": "RK32", "layout": "as on a memory card", "RC4": "of the header only"}},
		{"Rockchip, SPI flash", "rockchip-idblock", []string{"-n", "rk3288", "-T", "rkspi"}, firmware.Parsed, map[string]string{"layout": "as in a SPI flash: the first half of each 4 KiB"}},
		{"Rockchip, loader under RC4", "rockchip-idblock", []string{"-n", "rk3188", "-T", "rksd"}, firmware.Parsed, map[string]string{"chip tag": "RK31"}},
		{"Rockchip, two stages", "rockchip-idblock", []string{"-n", "rk3288", "-T", "rksd", "-d", "code:code"}, firmware.Parsed, map[string]string{"next stage": "16384 bytes"}},
		{"Rockchip, with hashes", "rockchip-rkns", []string{"-n", "rk3568", "-T", "rksd"}, firmware.Proven, nil},
		{"Allwinner eGON", "allwinner-egon", []string{"-n", "sun8i-v3s-example", "-A", "arm", "-T", "sunxi_egon"}, firmware.Proven, map[string]string{"stage": "BT0", "device tree": "sun8i-v3s-example"}},
		{"Allwinner TOC0", "allwinner-toc0", []string{"-A", "arm", "-T", "sunxi_toc0", "-k", ".", "-n", "x", "-a", "0x20060"}, firmware.Proven, nil},
		{"i.MX 6", "imx-ivt", []string{"-n", "imx.cfg", "-T", "imximage", "-e", "0x17800000"}, firmware.Parsed, map[string]string{"device configuration data": "16 bytes, version 0x40"}},
		{"i.MX 8M", "imx-ivt", []string{"-n", "imx8m.cfg", "-T", "imx8mimage", "-e", "0x7e1000"}, firmware.Parsed, map[string]string{"table version": "0x41"}},
		{"i.MX 8X", "imx-ahab", []string{"-n", "imx8.cfg", "-T", "imx8image", "-e", "0x100000"}, firmware.Proven, map[string]string{"signature": "claims to be not signed; not verified here"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, "code", code)
			write(t, dir, "imx.cfg", imx)
			write(t, dir, "imx8.cfg", imx8)
			write(t, dir, "imx8m.cfg", imx8m)
			if c.format == "allwinner-toc0" {
				run(t, dir, "openssl", "openssl", "genrsa", "-out", "root_key.pem", "2048")
			}
			args := c.args
			if args[len(args)-2] != "-d" {
				args = append(args[:len(args):len(args)], "-d", "code")
			}
			run(t, dir, "mkimage", "u-boot-tools", append(args, "image")...)
			b := read(t, dir, "image")
			img := formattest.Open(t, b)
			r := img.Regions[0]
			if r.Format != c.format || r.State != c.state || r.Role != firmware.RoleBootLoader || len(r.Problems) > 0 && c.name != "i.MX 6" {
				t.Fatalf("%v %q", formattest.Outline(img), r.Problems)
			}
			if u := formattest.First(img, "u-boot"); u == nil || u.Field("version") != "2016.11" {
				t.Errorf("no U-Boot inside: %v", formattest.Outline(img))
			}
			for name, want := range c.fields {
				if got := r.Field(name); got != want {
					t.Errorf("%s is %q, want %q", name, got, want)
				}
			}
			if c.state == firmware.Proven {
				b[r.Size-600] ^= 1
				if r := formattest.Survives(t, "a bit", b).Regions[0]; r.State == firmware.Proven {
					t.Errorf("with a changed bit: %s", r.State)
				}
			}
		})
	}
}

func TestWhatASignedImageForIMXClaimsIsListed(t *testing.T) {
	r := formattest.Open(t, makeIVT(formattest.Noise(1000, 3))).Regions[0]
	if s := r.Field("HAB authenticate data"); s != "key slot 1, signature at 0x40, covers 1024 bytes at 0x17800400; not verified here" {
		t.Errorf("%q of %v", s, r.Fields)
	}
	if s := r.Field("HAB install key"); !strings.Contains(s, "slot 1, verified by slot 0") {
		t.Errorf("%q", s)
	}
}

func TestARegisterTableForHiSiliconBeginsAUBoot(t *testing.T) {
	head := makeHisiliconHead(40)
	flash := bytes.Repeat([]byte{0xff}, 0x20000)
	copy(flash, append(head, makeUBoot(30_001)...))
	img := formattest.Open(t, flash)
	r := img.Regions[0]
	if r.Format != "u-boot" || r.Size != int64(len(head)+30_001) || len(r.Children) != 1 || r.Children[0].Field("register writes") != "40, from 0x40 to 0x2d0" || r.Children[0].Field("text base") != "0x40700000" {
		t.Fatalf("%v %+v", formattest.Outline(img), r.Children)
	}
	// A U-Boot that the loader unpacks has its banner inside.
	clear(flash)
	copy(flash, append(append(head, formattest.Noise(3001, 5)...), gzipped(makeUBoot(20_000))...))
	r = formattest.Open(t, flash).Regions[0]
	if r.Format != "u-boot" || r.Field("version") != "2016.11" || len(r.Children) != 2 {
		t.Fatalf("%+v", r)
	}
	for name, change := range map[string]func([]byte){
		"a write outside the registers":    func(b []byte) { b[0x43] = 0x80 },
		"no branch":                        func(b []byte) { b[3] = 0xeb },
		"seven writes":                     func(b []byte) { clear(b[0x40+7*16 : 0x40+40*16]) },
		"no ends and less than 32 writes":  func(b []byte) { clear(b[0x40+20*16 : 0x40+40*16]); b[len(b)-1] ^= 1 },
		"a branch that jumps into nowhere": func(b []byte) { b[2] = 0x40 },
	} {
		b := bytes.Clone(head)
		change(b)
		if r := formattest.First(formattest.Survives(t, name, b), "hisilicon-boot"); r != nil {
			t.Errorf("%s: %+v", name, r.Fields)
		}
	}
}

func TestLoadersWithAChangedBitAreNotProven(t *testing.T) {
	for name, b := range map[string][]byte{
		"sigmastar-ipl":   makeIPL("IPLC", formattest.Noise(4000, 2)),
		"rockchip-loader": makeRockchipLoader(formattest.Noise(4000, 3)),
		"novatek-bin":     makeNovatek(0x200, formattest.Noise(4000, 4)),
		"imx-ahab":        makeAHAB(formattest.Noise(4000, 4)),
	} {
		img := formattest.Open(t, append(bytes.Clone(b), formattest.Noise(300, 8)...))
		if r := img.Regions[0]; r.Format != name || r.State != firmware.Proven || r.Size != int64(len(b)) {
			t.Fatalf("%s: %v", name, formattest.Outline(img))
		}
		b[3000] ^= 1
		if r := formattest.Survives(t, name, b).Regions[0]; r.State == firmware.Proven {
			t.Errorf("%s with a changed bit: %v", name, r.Checks)
		}
	}
	r := formattest.Open(t, makeIngenicSPL(formattest.Noise(4000, 4))).Regions[0]
	if r.Format != "ingenic-spl" || !r.Checks[0].OK || r.Field("flash") != "SFC NOR" {
		t.Errorf("%+v", r)
	}
}
