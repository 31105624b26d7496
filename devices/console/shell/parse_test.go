package shell

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"assay/attest"
	"assay/devices"
)

func random(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{7})
	r.Read(b)
	return b
}

func TestTheMTDTableIsReadWithMakersColumns(t *testing.T) {
	got := parseMtd("dev:    size   erasesize  name\nmtd0: 00040000 00010000 \"boot\"\r\nmtd1: 00800000 00010000 00000100 (extra) \"all\"\nmtd2: zz 1 \"x\"\nmtd3: ffffffffffffffff 1 \"big\"\nmtd4: 0 1 \"none\"\n")
	want := []mtdRow{{0, 0x40000, 0x10000, "boot"}, {1, 0x800000, 0x10000, "all"}}
	if !slices.Equal(got, want) {
		t.Errorf("%+v", got)
	}
}

func TestMtdpartsAreRead(t *testing.T) {
	for line, want := range map[string][]part{
		"console=ttyS0 mtdparts=hi_sfc:256K(boot),64K(env),2M(kernel),-(rootfs) quiet": {{"hi_sfc", "boot", 0, 256 << 10}, {"hi_sfc", "env", 256 << 10, 64 << 10}, {"hi_sfc", "kernel", 320 << 10, 2 << 20}, {"hi_sfc", "rootfs", 320<<10 + 2<<20, 0}},
		"mtdparts=jz_sfc:256k(boot),0x10000(tag),16384k@0(all)":                        {{"jz_sfc", "boot", 0, 256 << 10}, {"jz_sfc", "tag", 256 << 10, 64 << 10}, {"jz_sfc", "all", 0, 16 << 20}},
		"mtdparts=spi0.0:64k(a,b)ro;spi0.1:1M(x),-(y)":                                 {{"spi0.0", "a,b", 0, 64 << 10}, {"spi0.1", "x", 0, 1 << 20}, {"spi0.1", "y", 1 << 20, 0}},
		"mtdparts=NOR:*@0(all)":        {{"NOR", "all", 0, 0}},
		"mtdparts=x:99999999999T(bad)": nil,
		"nothing":                      nil,
	} {
		if got := parseMtdparts(line); !slices.Equal(got, want) {
			t.Errorf("%q: %+v", line, got)
		}
	}
}

func TestTheKernelsLogNamesPartitionsAndBadBlocks(t *testing.T) {
	k := parseDmesg(`[    0.000000] OF: fdt: Machine model: HISI Hi3516
[    1.1] nand: device found, Manufacturer ID: 0xef, Chip ID: 0xf1
<6>[    1.200000] Creating 2 MTD partitions on "spi0.0":
[    1.3] 0x000000000000-0x000000040000 : "boot"
[    1.4] 0x000000040000-0x000001000000 : "rest"
[    1.5] spi-nor spi0.0: w25q128 (16384 Kbytes)
[    1.6] Bad eraseblock 3 at 0x00000000c000
`)
	if k.machine != "HISI Hi3516" || len(k.parts) != 2 || k.parts[1] != (part{"spi0.0", "rest", 0x40000, 0xfc0000}) || k.chips["spi0.0"] != 16<<20 || !slices.Equal(k.bad, []int64{0xc000}) {
		t.Errorf("%+v", k)
	}
}

// laid describes chips in a line each.
func laid(all []chip) string {
	var s []string
	for _, c := range all {
		var segs []string
		for _, g := range c.segments {
			segs = append(segs, fmt.Sprintf("%s@%x+%x<%x", g.device, g.at, g.size, g.from))
		}
		s = append(s, fmt.Sprintf("%s %x [%s] %s gaps %x", c.Name, c.Size, strings.Join(segs, " "), describe(c.Partitions), c.gaps))
	}
	return strings.Join(s, "\n")
}

func TestAFlashIsPutTogetherFromItsDevices(t *testing.T) {
	device := func(i int) string { return fmt.Sprint("m", i) }
	rows := []mtdRow{{0, 0x40000, 0x10000, "boot"}, {1, 0x10000, 0x10000, "env"}, {2, 0xb0000, 0x10000, "rootfs"}}
	whole := append(slices.Clone(rows), mtdRow{3, 0x100000, 0x10000, "all"})
	for name, x := range map[string]struct {
		rows    []mtdRow
		offsets map[int]int64
		kinds   map[int]string
		cmdline string
		log     string
		want    string
	}{
		"by sysfs": {rows: rows, offsets: map[int]int64{0: 0, 1: 0x40000, 2: 0x50000}, kinds: map[int]string{0: "nor", 1: "nor", 2: "nor"},
			want: "nor0 100000 [m0@0+40000<0 m1@40000+10000<0 m2@50000+b0000<0] boot 0x00000000-0x00040000, env 0x00040000-0x00050000, rootfs 0x00050000-0x00100000 gaps []"},
		"by mtdparts, with a device for all": {rows: whole, cmdline: "mtdparts=sfc:256k(boot),64k(env),-(rootfs),1M@0(all)",
			want: "flash0 100000 [m3@0+100000<0] boot 0x00000000-0x00040000, env 0x00040000-0x00050000, rootfs 0x00050000-0x00100000 gaps []"},
		"by the kernel's log, with a gap": {rows: []mtdRow{rows[0], rows[2]}, log: "Creating 2 MTD partitions on \"spi0.0\":\n0x00000000-0x00040000 : \"boot\"\n0x00050000-0x00100000 : \"rootfs\"\nm25p80 spi0.0: w25q16 (2048 Kbytes)\n",
			want: "flash0 200000 [m0@0+40000<0 m2@50000+b0000<0] boot 0x00000000-0x00040000, rootfs 0x00050000-0x00100000 gaps [{40000 10000} {100000 100000}]"},
		"by nothing": {rows: rows,
			want: "mtd0 40000 [m0@0+40000<0] boot 0x00000000-0x00040000 gaps []\nmtd1 10000 [m1@0+10000<0] env 0x00000000-0x00010000 gaps []\nmtd2 b0000 [m2@0+b0000<0] rootfs 0x00000000-0x000b0000 gaps []"},
		"two chips": {rows: []mtdRow{{0, 0x1000, 1, "a"}, {1, 0x2000, 1, "b"}}, cmdline: "mtdparts=x:4k(a);y:8k(b)",
			want: "flash0 1000 [m0@0+1000<0] a 0x00000000-0x00001000 gaps []\nflash1 2000 [m1@0+2000<0] b 0x00000000-0x00002000 gaps []"},
		"a chip with its own device": {rows: []mtdRow{{0, 0x3000, 1, "spi0.0"}, {1, 0x1000, 1, "a"}, {2, 0x2000, 1, "b"}}, offsets: map[int]int64{1: 0, 2: 0x1000}, kinds: map[int]string{0: "nor", 1: "nor", 2: "nor"},
			want: "nor0 3000 [m0@0+3000<0] a 0x00000000-0x00001000, b 0x00001000-0x00003000 gaps []"},
		"one alone": {rows: rows[:1], want: "flash0 40000 [m0@0+40000<0] boot 0x00000000-0x00040000 gaps []"},
		"none":      {},
	} {
		k := parseDmesg(x.log)
		placed := placeRows(x.rows, x.offsets, x.kinds, parseMtdparts(x.cmdline), k.parts)
		if got := laid(layOutFlash(placed, k.chips, k.bad, device)); got != x.want {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, x.want)
		}
	}
}

func TestABadBlockOfANANDIsKnown(t *testing.T) {
	all := layOutFlash([]placed{{mtdRow: mtdRow{0, 0x40000, 0x4000, "a"}, known: true, kind: "nand"}}, nil, []int64{0xc000, 1 << 30}, func(int) string { return "m0" })
	if len(all) != 1 || !slices.Equal(all[0].bad, []attest.Extent{{Offset: 0xc000, Size: 0x4000}}) {
		t.Fatalf("%+v", all)
	}
	s := &source{chip: &all[0]}
	var read, unread int64
	for _, x := range s.cut(attest.Extent{Size: 0x40000}, blockSize) {
		if x.whole != nil {
			unread += x.Size
			continue
		}
		read += x.Size
	}
	if unread != 0x4000 || read != 0x3c000 {
		t.Errorf("%x read, %x not", read, unread)
	}
}

func TestPlacesAreChecked(t *testing.T) {
	for name, text := range map[string]string{
		"an unknown field": "schema: x\nnonsense: 1\n",
		"no examples":      "files:\n- {path: /x, subject: soc, name: n, source: s, pattern: 'a'}\n",
		"a wrong example":  "files:\n- {path: /x, subject: soc, name: n, source: s, pattern: '(a)', examples: {b: a}}\n",
		"a bad pattern":    "files:\n- {path: /x, subject: soc, name: n, source: s, pattern: '(', examples: {b: a}}\n",
	} {
		if _, err := parsePlaces([]byte(text)); err == nil {
			t.Errorf("%s passes", name)
		}
	}
	if known.placeholder("10:20:30:40:50:60") == "" || known.placeholder("02:00:5E:10:00:01") != "" {
		t.Error("placeholders")
	}
}

// stream makes the bytes of frames as a terminal sends them.
func stream(token string, frames ...string) []byte {
	var b bytes.Buffer
	for i, f := range frames {
		fmt.Fprintf(&b, "%s%d\r\n%s", token, i, f)
	}
	return append(b.Bytes(), token+"E0\r\n~ # "...)
}

func packed(b []byte) string {
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	w.Write(b)
	w.Close()
	return strings.ReplaceAll(z.String(), "\n", "\r\n")
}

func TestFramesAreCutWhereverTheStreamIs(t *testing.T) {
	content := random(3000)
	in := append([]byte("echo 'tok''en'0\r\n"), stream("token", packed(content), "", "text\r\n")...)
	for _, step := range []int{1, 2, 7, 100000} {
		var got []string
		f := framer{token: []byte("token"), max: 1 << 16, each: func(fr frame) error {
			got = append(got, fr.tag+"="+string(fr.raw))
			return nil
		}}
		for i := 0; i < len(in); i += step {
			if err := f.feed(in[i:min(i+step, len(in))]); err != nil {
				t.Fatal(err)
			}
		}
		if len(got) != 3 || got[0] != "0="+packed(content) || got[1] != "1=" || got[2] != "2=text\r\n" || f.now.tag != "E0" {
			t.Fatalf("in steps of %d: %d frames, last %q", step, len(got), f.now.tag)
		}
	}
}

func TestAFrameBeyondItsBoundIsDroppedAndTheNextIsFound(t *testing.T) {
	var got []frame
	f := framer{token: []byte("token"), max: 100, each: func(fr frame) error {
		fr.raw = bytes.Clone(fr.raw)
		got = append(got, fr)
		return nil
	}}
	f.feed(stream("token", strings.Repeat("x", 100000), "ok"))
	if len(got) != 2 || !got[0].over || len(got[0].raw) > 0 || string(got[1].raw) != "ok" || cap(f.buf) > 1<<18 {
		t.Errorf("%d frames, %d bytes held", len(got), cap(f.buf))
	}
}

func TestAKernelsLineInAPackedFrameIsTakenOut(t *testing.T) {
	content := random(5000)
	z := packed(content)
	z = z[:2000] + "[   12.345678] usb 1-1: new device\r\n" + z[2000:]
	got, err := form{packed: true}.decode(frame{crlf: true, raw: []byte(z)}, len(content))
	if err != nil || !bytes.Equal(got, content) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	z = z[:1000] + "not the kernel's\r\n" + z[1000:]
	if _, err := (form{packed: true}).decode(frame{crlf: true, raw: []byte(z)}, len(content)); !errors.Is(err, errFrame) {
		t.Errorf("%v", err)
	}
}

func TestABombIsNotUnpacked(t *testing.T) {
	z := packed(make([]byte, 32<<20))
	if _, err := (form{packed: true}).decode(frame{crlf: true, raw: []byte(z)}, 65536); !errors.Is(err, errFrame) {
		t.Errorf("%v", err)
	}
}

func TestTheChecksumOfNothingIsRefused(t *testing.T) {
	p := New(nil, Options{})
	p.can.forms = []form{{packed: true}}
	s := &source{p: p}
	for _, x := range []struct {
		d    digest
		text string
	}{
		{bySHA256, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  -\r\n"},
		{byMD5, "d41d8cd98f00b204e9800998ecf8427e  -\r\n"},
		{byCRC32, "\x00\x00\x00\x00\x00\x00\x00\x00"},
		{byCRC32, "\x01\x02\x03\x04\x00\x00\x00\x00"},
	} {
		if _, err := s.sum(x.d, frame{crlf: true, raw: []byte(x.text)}, 65536); err == nil || errors.Is(err, errFrame) {
			t.Errorf("%s %q: %v", x.d.Name, x.text, err)
		}
	}
	for _, text := range []string{"", "e3b0", "md5sum: can't open\r\n", "zz" + strings.Repeat("0", 62) + "  -", strings.Repeat("a", 64) + "  file"} {
		if _, err := s.sum(bySHA256, frame{raw: []byte(text)}, 1); !errors.Is(err, errFrame) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestPlaceholdersAndMadeUpAddressesAreSaidToBe(t *testing.T) {
	sink := &record{}
	r := &reader{p: New(nil, Options{}), sink: sink, named: map[attest.Subject]bool{}, files: map[string]string{
		"/sys/class/net/eth0/address": "00:00:23:34:45:66\n", "/sys/class/net/wlan0/address": "02:00:5e:10:00:01\n", "/sys/class/net/lo/address": "00:00:00:00:00:00\n",
		"/sys/class/net/usb0/address": "02:00:5e:10:00:02\n", "/sys/class/net/usb0/addr_assign_type": "1\n",
	}}
	r.fromNetwork()
	if got := sink.String(); got != "network mac-placeholder=00:00:23:34:45:66 (the default of OpenIPC's boot loader)\nnetwork mac-random=02:00:5E:10:00:02\nunit mac=02:00:5E:10:00:01\n2 problems" {
		t.Error(got)
	}
}

// record is a sink that writes claims down.
type record struct {
	devices.Sink
	text     string
	problems int
}

func (r *record) Artefact(string, string, []byte) attest.Digest { return "" }
func (r *record) Claim(c attest.Claim) string {
	r.text += fmt.Sprintf("%s %s=%s\n", c.Subject, c.Name, c.Value)
	return ""
}
func (r *record) Problem(attest.ProblemKind, string, string) { r.problems++ }
func (r *record) String() string                             { return fmt.Sprintf("%s%d problems", r.text, r.problems) }

func FuzzFrames(f *testing.F) {
	f.Add(stream("token", packed([]byte("abc")), "x"), byte(3))
	f.Add([]byte("tokentokentoken0\r\n\x00tokenE"), byte(1))
	f.Fuzz(func(t *testing.T, in []byte, step byte) {
		total := 0
		fr := framer{token: []byte("token"), max: 512, each: func(x frame) error {
			total += len(x.raw)
			if len(x.tag) > tagMax || x.over && len(x.raw) > 0 {
				t.Fatalf("%+v", x)
			}
			form{packed: true}.decode(x, 1024)
			for _, a := range armours {
				form{armour: a}.decode(x, 1024)
				form{armour: a, packed: true}.decode(x, 1024)
			}
			return nil
		}}
		for i := 0; i < len(in); i += int(step) + 1 {
			fr.feed(in[i:min(i+int(step)+1, len(in))])
			if len(fr.buf) > 512+2*tagMax+int(step)+16 {
				t.Fatalf("%d bytes are held", len(fr.buf))
			}
		}
		if total > len(in) {
			t.Fatalf("%d bytes gave %d", len(in), total)
		}
	})
}

func FuzzTerminal(f *testing.F) {
	f.Add([]byte("a\r\nb\r\r\nc\n[    1.000000] x\r\nd"))
	f.Fuzz(func(t *testing.T, b []byte) {
		// What a terminal makes of bytes is undone to the same bytes.
		if got := withoutCR(bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n"))); !bytes.Equal(got, b) {
			t.Fatalf("%q", got)
		}
		if clean := withoutKernel(b); len(clean) > len(b) {
			t.Fatalf("%q", clean)
		}
		echoed(b, "dd if=/dev/mtd0ro bs=65536")
	})
}

func FuzzTables(f *testing.F) {
	f.Add("mtd0: 00040000 00010000 \"boot\"\n", "mtdparts=a:1k(boot),-(x);b:2M@0x100(y)", "Creating 1 MTD partitions on \"spi0.0\":\n0x00000000-0x00040000 : \"boot\"\nspi-nor spi0.0: w25q128 (16384 Kbytes)\nBad eraseblock 3 at 0xc000\n")
	f.Add("mtd0: 1 1 \"a\"\nmtd1: 7fffffffff 1 \"b\"\n", "mtdparts=:,,;;(", "0x0-0x0 : \"\"")
	f.Fuzz(func(t *testing.T, mtd, cmdline, log string) {
		k := parseDmesg(log)
		rows := placeRows(parseMtd(mtd), nil, map[int]string{0: "nor", 1: "nand"}, parseMtdparts(cmdline), k.parts)
		for _, c := range layOutFlash(rows, k.chips, k.bad, func(int) string { return "d" }) {
			at := int64(0)
			for _, s := range c.segments {
				if s.at < at || s.size <= 0 || s.from < 0 {
					t.Fatalf("%+v", c)
				}
				at = s.at + s.size
			}
			if at > c.Size || c.Size > 2*flashMax {
				t.Fatalf("%+v", c)
			}
			src := &source{chip: &c}
			for _, x := range src.cut(attest.Extent{Size: min(c.Size, 1<<20)}, blockSize) {
				if x.Size <= 0 || x.whole == nil && (x.bs <= 0 || x.length() < int(x.lead+x.Size) && x.left >= x.lead+x.Size) {
					t.Fatalf("%+v", x)
				}
			}
		}
	})
}

func FuzzFiles(f *testing.F) {
	f.Add("processor : 0\nHardware\t: hi3518\nSerial : 0\n", "NAME=\"x\"\n", "spi_nor 1 0 - Live\n", "120a0000-120a0fff : uart@120a0000\n", "\nab/proc/version\nLinux\n")
	f.Fuzz(func(t *testing.T, cpu, release, modules, iomem, files string) {
		parseCPUInfo(cpu)
		parseRelease(release)
		parseModules(modules)
		firstUART(iomem)
		deviceTreeStrings(cpu)
		for name := range New(nil, Options{}).cutFiles([]byte(files), [2]string{"a", "b"}) {
			if !strings.HasPrefix(name, "/") {
				t.Fatalf("%q", name)
			}
		}
		sink := &record{}
		r := &reader{p: New(nil, Options{}), sink: sink, named: map[attest.Subject]bool{}, files: map[string]string{
			"/proc/cpuinfo": cpu, "/etc/os-release": release, "/proc/modules": modules, "/proc/iomem": iomem, "/proc/device-tree/model": files,
			"/sys/class/net/eth0/address": cpu, "/sys/block/mmcblk0/size": iomem, "/sys/block/mmcblk0/device/type": "MMC", "/sys/devices/soc0/soc_id": modules,
		}}
		for _, from := range []func(){r.fromSystem, r.fromDeviceTree, r.fromCPU, r.fromChip, r.fromNetwork, r.fromVendor, r.fromFlash, r.fromMMC} {
			from()
		}
		if strings.ContainsAny(sink.text, "\x1b\x00\r") {
			t.Fatalf("%q", sink.text)
		}
	})
}
