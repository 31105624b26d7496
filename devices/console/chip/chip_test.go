package chip

import (
	"encoding/csv"
	"encoding/hex"
	"os"
	"strings"
	"testing"
)

func TestTheDataHolds(t *testing.T) {
	d, err := read()
	if err != nil {
		t.Fatal(err)
	}
	if len(d.flash) < 550 || len(d.names) < 50 || len(d.scsysid) < 35 {
		t.Errorf("%d flash ids, %d names, %d system ids: a file was cut", len(d.flash), len(d.names), len(d.scsysid))
	}
	for id, parts := range d.flash {
		for _, p := range parts {
			byByte := FlashMakers(id[0])
			ok := false
			for _, m := range byByte {
				ok = ok || m == p.Maker
			}
			if !ok {
				t.Errorf("%s is %s's, whose first byte is not %#x", p.ID, p.Maker.Name, id[0])
			}
		}
	}
}

func TestFlashesByTheirID(t *testing.T) {
	for id, want := range map[string]struct {
		maker, name string
		size        int64
	}{
		"c84018":     {"GigaDevice", "GD25Q128", 16 << 20},
		"c84018c840": {"GigaDevice", "GD25Q128", 16 << 20}, // loaders print what follows the id
		"204018":     {"XMC", "XM25QH128C", 16 << 20},      // 0x20 is Micron's byte as well
		"207017":     {"XMC", "XM25QH64A", 8 << 20},
		"20ba18":     {"Micron / ST / Numonyx", "N25Q128A13", 16 << 20},
		"0b4018":     {"XTX", "XT25F128B", 16 << 20},
		"c22018":     {"Macronix", "MX25L12805D", 16 << 20},
		"ef4018":     {"Winbond", "W25Q128", 16 << 20},
		"bf2541":     {"SST (Microchip)", "SST25VF016B", 2 << 20},
		"1c7018":     {"EON (ESMT)", "EN25QH128", 16 << 20},
		"684018":     {"Boya", "B.25Q128AS", 16 << 20},
		"a14018":     {"Fudan Microelectronics", "FM25Q128", 16 << 20},
		"efaa21":     {"Winbond", "W25N01GV", 128 << 20},
		"c8f1":       {"GigaDevice", "GD5F1GQ4XA", 128 << 20},
		"e571":       {"Dosilicon", "DS35X1GA", 128 << 20},
	} {
		b, _ := hex.DecodeString(id)
		p, ok := Flash(b)
		if !ok || p.Maker.Name != want.maker || !strings.HasPrefix(p.Name(), want.name) || p.Size != want.size {
			t.Errorf("%s is %q by %s, %d bytes (%v), want %q by %s, %d", id, p.Name(), p.Maker.Name, p.Size, ok, want.name, want.maker, want.size)
		}
	}
	for _, id := range []string{"", "c8", "20", "000000", "ffffff", "c87f", "209999"} {
		b, _ := hex.DecodeString(id)
		if p, ok := Flash(b); ok {
			t.Errorf("%q must be nobody's, is %+v", id, p)
		}
	}
}

func TestAnIDThatTwoMakersShareHasBoth(t *testing.T) {
	p, ok := Flash([]byte{0x20, 0x40, 0x14})
	if !ok || len(p.Also) != 1 || p.Maker == p.Also[0].Maker {
		t.Fatalf("20 40 14 is Micron's M45PE80 and XMC's XM25QH80B, not only %+v", p)
	}
	if makers := FlashMakers(0x20); len(makers) != 2 {
		t.Fatalf("0x20 is Micron and XMC, not %v", makers)
	}
}

func TestFlashesByTheirName(t *testing.T) {
	for name, want := range map[string]string{
		"XM25QH128C": "XMC", "GD25Q128/GD25Q127": "GigaDevice", "MX25L128XX": "Macronix", "XT25F128B": "XTX", "sst25vf016b": "SST (Microchip)",
		"W25Q64FV": "Winbond", "EN25QH64": "EON (ESMT)", "xm25qh64a": "XMC", "XM25QH64AHIG": "XMC", "GD5F1GQ4UBYIG": "GigaDevice",
	} {
		if p, ok := FlashByName(name); !ok || p.Maker.Name != want {
			t.Errorf("%q is %q's, want %q", name, p.Maker.Name, want)
		}
	}
	for _, name := range []string{"", "nor0", "NOR_FLASH", "25Q128", strings.Repeat("GD25", 100)} {
		if p, ok := FlashByName(name); ok {
			t.Errorf("%q must be nobody's, is %+v", name, p)
		}
	}
}

func TestSystemsOnChipAsTextsNameThem(t *testing.T) {
	for text, want := range map[string]string{
		"hi3518ev200 System startup":                            "HiSilicon Hi3518EV200",
		"CPU:   Freescale i.MX6Q rev1.0 at 792 MHz":             "NXP (Freescale) i.MX6Q",
		"Board: ISVP (Ingenic XBurst T31 SoC)":                  "Ingenic T31",
		"Hardware : Goke GK7205V200 DEMO Board":                 "Goke GK7205V200",
		"OF: fdt:Machine model: INFINITY6 SSC009A-S01A QFN88":   "SigmaStar INFINITY6",
		"system type : NVT NA51023":                             "Novatek NA51023",
		"hisilicon,hi3516ev200\x00":                             "HiSilicon Hi3516EV200",
		"ANYKA CPU AK3916 (ID 0x20150200)":                      "Anyka AK3916",
		"allwinner,sun8i-v3s":                                   "Allwinner V3S",
		"rockchip,rv1126-evb rockchip,rv1126":                   "Rockchip RV1126",
		"CPU0 revision is: 00d00100 (Ingenic Xburst)":           "Ingenic Ingenic",
		"Model: Freescale i.MX6 Quad SABRE Lite Board":          "NXP (Freescale) i.MX6",
		"Chip name      : FH8852V210":                           "Fullhan FH8852V210",
		"(Sep 15 2023 - 12:52:59 +0800)hi3516av300":             "HiSilicon Hi3516AV300",
		"SPI NOR XM25QH128C at hi_sfc, gc2053, imx307, RTL8188": "",
		"":                  "",
		"Machine: ":         "",
		"MIPS Malta CoreLV": "",
	} {
		var got []string
		for _, s := range SoCByName(text) {
			got = append(got, s.Maker.Name+" "+s.Name)
		}
		if strings.Join(got, ", ") != want {
			t.Errorf("%q names %q, want %q", text, got, want)
		}
	}
}

func TestSensorsAndRadios(t *testing.T) {
	for text, want := range map[string]string{"the sensor is jxf23": "Silicon Optronics JXF23", "sensor=soif23mipi": "Silicon Optronics JXF23", "imx307_i2c": "Sony IMX307", "SC200AI": "SmartSens SC200AI", "GC2053": "GalaxyCore GC2053", "OS05A10": "OmniVision OS05A10"} {
		if c, ok := Sensor(text); !ok || c.Maker.Name+" "+c.Name != want {
			t.Errorf("%q is %+v, want %s", text, c, want)
		}
	}
	for text, want := range map[string]string{"rtl8188fu": "Realtek RTL8188FU", "mt7601Usta": "MediaTek MT7601U", "atbm6031": "AltoBeam ATBM6031", "interface driver rt2870": "MediaTek RT2870"} {
		if c, ok := Radio(text); !ok || c.Maker.Name+" "+c.Name != want {
			t.Errorf("%q is %+v, want %s", text, c, want)
		}
	}
	if m, ok := USBMaker("148F"); !ok || m.Entity != "mediatek" {
		t.Errorf("148f is MediaTek's (Ralink), not %v", m)
	}
	if m, ok := MMCMaker(0x15); !ok || m.Name != "Samsung" {
		t.Errorf("0x15 is Samsung's, not %v", m)
	}
}

func TestRegistersTellTheChip(t *testing.T) {
	for name, c := range map[string]struct {
		known string // what the unit's banner says
		probe string
		words []uint32
		want  string
		maker string
	}{
		"a newer HiSilicon has the whole id in the first register": {"hi3518ev300", "hisilicon-v3", []uint32{0x3518e300, 0, 0, 0}, "Hi3518EV300", "HiSilicon"},
		"an older one has a byte in each":                          {"hi3518ev200", "hisilicon-v1", []uint32{0x02000000, 0xe2, 0x18, 0x35}, "Hi3518EV200", "HiSilicon"},
		"and the uppermost byte tells its brothers apart":          {"hi3518ev200", "hisilicon-v1", []uint32{0x03000000, 0xe2, 0x18, 0x35}, "Hi3518EV201", "HiSilicon"},
		"a Goke that says it is HiSilicon's":                       {"hi3516ev200", "hisilicon-v3", []uint32{0x72050200, 0, 0, 0}, "GK7205V200", "Goke"},
		"T31N":                                                     {"isvp_t31#", "ingenic", []uint32{0x10031000, 0x00000001, 0x11110000, 0, 0}, "T31N", "Ingenic"},
		"T31 of an unknown variant":                                {"isvp_t31#", "ingenic", []uint32{0x10031000, 0x00000001, 0x99990000, 0, 0}, "T31", "Ingenic"},
		"T41NQ":                                                    {"ingenic,t41", "ingenic", []uint32{0x10041000, 0, 0, 0xaaaa0000, 0}, "T41NQ", "Ingenic"},
		"SigmaStar":                                                {"SSC325", "sigmastar", []uint32{0xef}, "Infinity6 (SSC32x)", "SigmaStar"},
		"Fullhan":                                                  {"FH8852V210", "fullhan", []uint32{0x19112201, 0, 0, 2}, "FH8852V210", "Fullhan"},
		"i.MX6":                                                    {"Freescale i.MX6Q", "nxp-imx6", []uint32{0x00630000}, "i.MX6Q", "NXP (Freescale)"},
		"Zynq":                                                     {"Xilinx Zynq", "xilinx-zynq", []uint32{0x13722093 | 0x7<<12}, "Zynq 7z020", "AMD (Xilinx)"},
	} {
		t.Run(name, func(t *testing.T) {
			socs := SoCByName(c.known)
			if len(socs) == 0 {
				t.Fatalf("%q names nothing", c.known)
			}
			for _, p := range Probes(socs[0]) {
				if p.ID != c.probe {
					continue
				}
				got, ok := Decode(p, c.words)
				if !ok || got.Name != c.want || got.Maker.Name != c.maker {
					t.Fatalf("%x is %+v, want %s by %s", c.words, got, c.want, c.maker)
				}
				if _, ok := Decode(p, c.words[:len(c.words)-1]); ok {
					t.Error("a short answer must not be decoded")
				}
				for _, nothing := range []uint32{0, 0xffffffff, 0xa5a5a5a5} {
					words := make([]uint32, len(c.words))
					for i := range words {
						words[i] = nothing
					}
					if got, ok := Decode(p, words); ok {
						t.Errorf("%#x throughout must be nothing, is %s", nothing, got.Name)
					}
				}
				return
			}
			t.Fatalf("%s has no probe %s", socs[0].Name, c.probe)
		})
	}
}

func TestNothingIsReadOnAnUnknownSystemOnChip(t *testing.T) {
	for _, s := range []SoC{{}, {Name: "Whatever"}, SoCByName("hisilicon #")[0], SoCByName("Hardware: hi3520d")[0]} {
		if p := Probes(s); len(p) != 0 {
			t.Errorf("%q: %v", s.Name, p)
		}
	}
	if Allowed("md.l 0 1") || Allowed("mw.l 12020ee0 0") || Allowed("md.l 12020ee0 1000") || !Allowed("md.l 12020ee0 4") {
		t.Error("only the commands of probes are allowed")
	}
}

func TestMIPSAddressesAreReachedUncached(t *testing.T) {
	p := Probes(SoCByName("ingenic,t31")[0])
	if len(p) != 2 || p[0].Commands()[0] != "md.l b300002c 1" || p[1].Commands()[0] != "md.l b3540200 3" {
		t.Fatalf("%+v", p)
	}
	if id, ok := DieID(p[1], []uint32{0xebd9102f, 0x3a922801, 0x1456}); !ok || id != "000014563a922801ebd9102f" {
		t.Error(id, ok)
	}
	if _, ok := DieID(p[1], []uint32{0, 0, 0}); ok {
		t.Error("a chip without a serial number has none")
	}
}

func TestIDsAsTheyArePrinted(t *testing.T) {
	for text, want := range map[string]string{"0xc8 0x40 0x18": "c8 40 18", "c84018": "c8 40 18", "0xC2, 0x20, 0x18": "c2 20 18", "0x20:0x70:0x18": "20 70 18", "c2 20 17 c2 20": "c2 20 17 c2 20", "0xb 0x40 0x18": "0b 40 18"} {
		if id, ok := ParseID(text); !ok || FormatID(id) != want {
			t.Errorf("%q is %x", text, id)
		}
	}
	for _, text := range []string{"", "c8", "zz 40", "ff ff ff", "00 00 00", strings.Repeat("c8 ", 30)} {
		if id, ok := ParseID(text); ok {
			t.Errorf("%q must not be an id: %x", text, id)
		}
	}
}

// The tables of the shared sample collection, which are not part of this
// repository, are all in the data.
func TestTheCollectionsTablesAreIn(t *testing.T) {
	f, err := os.Open("../../../../shared/corpus/serial/tables/spi-nor-jedec.csv")
	if err != nil {
		t.Skip("the sample collection is not here")
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	missing := 0
	for _, row := range rows[1:] {
		id, err := hex.DecodeString(row[0])
		if err != nil {
			t.Fatal(err)
		}
		p, ok := Flash(id)
		named := false
		for _, q := range append(p.Also, p) {
			for _, n := range q.Names {
				named = named || strings.EqualFold(n, row[3])
			}
		}
		if ok && named {
			continue
		}
		missing++
		t.Logf("%s %s: have %v", row[0], row[3], p.Names)
	}
	// Three have a continuation code in place of their maker's byte, three are of
	// a maker whose byte stands for another since, and one is sold in two sizes.
	if missing > 7 {
		t.Errorf("%d rows are missing", missing)
	}
}

func FuzzNames(f *testing.F) {
	for _, s := range []string{"hi3518ev200 System startup", "ingenic,t31", "INFINITY6 SSC009A", "soif23mipi", "0xc8 0x40 0x18", "GD25Q128/GD25Q127", "\xff\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, soc := range SoCByName(s) {
			if soc.Name == "" || soc.Maker.Entity == "" {
				t.Fatalf("%q: %+v", s, soc)
			}
			for _, p := range Probes(soc) {
				for _, c := range p.Commands() {
					if !Allowed(c) {
						t.Fatal(c)
					}
				}
			}
		}
		Sensor(s)
		Radio(s)
		FlashByName(s)
		if id, ok := ParseID(s); ok {
			Flash(id)
		}
	})
}

func FuzzDecode(f *testing.F) {
	f.Add(uint32(0x3518e300), uint32(0), uint32(0), uint32(0), uint32(0))
	f.Add(uint32(0x10031000), uint32(1), uint32(0x11110000), uint32(0), uint32(0))
	f.Fuzz(func(t *testing.T, a, b, c, d, e uint32) {
		for _, p := range load().probes {
			for n := range 6 {
				soc, ok := Decode(p.Probe, []uint32{a, b, c, d, e}[:min(n, 5)])
				if ok && (n < p.Words() || soc.Name == "" || soc.Maker.Entity == "") {
					t.Fatalf("%s: %+v", p.ID, soc)
				}
			}
		}
	})
}
