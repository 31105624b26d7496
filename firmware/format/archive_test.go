package format_test

import (
	"bytes"
	"compress/zlib"
	"crypto/sha1"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"assay/firmware"
	"assay/firmware/internal/formattest"
)

func init() {
	for name, s := range map[string]formattest.Sample{
		"lzip":                {Make: packed("lzip", "lzip", "-c"), State: firmware.Proven, Role: firmware.RoleContainer, Fuzz: "FuzzLzip"},
		"android-sparse":      {Make: func(testing.TB) []byte { return makeSparse(true) }, State: firmware.Proven, Role: firmware.RoleContainer, Fuzz: "FuzzAndroidSparse"},
		"android-boot":        {Make: func(testing.TB) []byte { return makeBoot(1) }, State: firmware.Proven, Role: firmware.RoleContainer, Fuzz: "FuzzAndroidBoot"},
		"android-vendor-boot": {Make: func(testing.TB) []byte { return makeVendorBoot(4) }, State: firmware.Parsed, Role: firmware.RoleContainer, Fuzz: "FuzzVendorBoot", Midst: true},
		"intel-hex":           {Make: func(testing.TB) []byte { return makeIntelHex(formattest.Text(300), 0x12fff0) }, State: firmware.Proven, Role: firmware.RoleContainer, Fuzz: "FuzzIntelHex"},
		"s-record":            {Make: func(testing.TB) []byte { return makeSRecord(formattest.Text(300), 0x8000) }, State: firmware.Proven, Role: firmware.RoleContainer, Fuzz: "FuzzSRecord"},
		"zlib":                {Make: func(testing.TB) []byte { return zlibbed(formattest.Text(3000)) }, State: firmware.Proven, Role: firmware.RoleContainer, Fuzz: "FuzzZlib"},
	} {
		samples[name] = s
	}
}

func FuzzLzip(f *testing.F)          { fuzz(f, "lzip") }
func FuzzAndroidSparse(f *testing.F) { fuzz(f, "android-sparse") }
func FuzzAndroidBoot(f *testing.F) {
	formattest.Fuzz(f, func(testing.TB) []byte { return makeBoot(0) }, func(testing.TB) []byte { return makeBoot(2) }, func(testing.TB) []byte { return makeBoot(4) })
}
func FuzzVendorBoot(f *testing.F) {
	formattest.Fuzz(f, func(testing.TB) []byte { return makeVendorBoot(3) }, func(testing.TB) []byte { return makeVendorBoot(4) })
}
func FuzzIntelHex(f *testing.F) { fuzz(f, "intel-hex") }
func FuzzSRecord(f *testing.F)  { fuzz(f, "s-record") }

func FuzzZlib(f *testing.F) { fuzz(f, "zlib") }

func zlibbed(b []byte) []byte {
	var out bytes.Buffer
	z := zlib.NewWriter(&out)
	z.Write(b)
	z.Close()
	return out.Bytes()
}

// contentsOf is what a region unpacked to.
func contentsOf(t testing.TB, r *firmware.Region) []byte {
	t.Helper()
	if r.Contents == nil {
		t.Fatalf("%s has no contents: %q", r.Format, r.Problems)
	}
	b := make([]byte, r.Contents.Size)
	if n, err := r.Contents.ReadAt(b, 0); n < len(b) {
		t.Fatalf("%d of %d bytes: %v", n, len(b), err)
	}
	return b
}

func TestALzipFileUnpacksToWhatLzipPacked(t *testing.T) {
	text := formattest.Text(200_000)
	b := pipe(t, text, "lzip", "lzip", "-c")
	img := formattest.Open(t, append(bytes.Clone(b), formattest.Noise(500, 1)...))
	if r := img.Regions[0]; r.Format != "lzip" || r.State != firmware.Proven || r.Size != int64(len(b)) || !bytes.Equal(contentsOf(t, r), text) {
		t.Errorf("%+v", r)
	}
}

// makeSparse is ten blocks of 256 bytes: two raw, three filled, four that are not
// stored and one raw, with a CRC-32 at its end.
func makeSparse(sum bool) []byte {
	const block = 256
	le := binary.LittleEndian
	var b, whole []byte
	chunks := 0
	chunk := func(kind uint16, blocks int, data []byte) {
		chunks++
		b = le.AppendUint16(le.AppendUint16(b, kind), 0)
		b = append(le.AppendUint32(le.AppendUint32(b, uint32(blocks)), uint32(12+len(data))), data...)
	}
	first, last := formattest.Noise(2*block, 31), formattest.Noise(block, 32)
	chunk(0xcac1, 2, first)
	chunk(0xcac2, 3, []byte("fill"))
	chunk(0xcac3, 4, nil)
	chunk(0xcac1, 1, last)
	whole = append(append(append(bytes.Clone(first), bytes.Repeat([]byte("fill"), 3*block/4)...), make([]byte, 4*block)...), last...)
	if sum {
		chunk(0xcac4, 0, le.AppendUint32(nil, crc32.ChecksumIEEE(whole)))
	}
	h := le.AppendUint32(nil, 0xed26ff3a)
	for _, v := range []uint16{1, 0, 28, 12} {
		h = le.AppendUint16(h, v)
	}
	for _, v := range []uint32{block, 10, uint32(chunks), 0} {
		h = le.AppendUint32(h, v)
	}
	return append(h, b...)
}

func TestASparseImageUnpacksToWhatImg2simgPacked(t *testing.T) {
	dir := t.TempDir()
	raw := make([]byte, 300<<10)
	copy(raw[4096:], formattest.Noise(10_000, 3))
	copy(raw[200<<10:], bytes.Repeat([]byte("abcd"), 5000))
	copy(raw[256<<10:], gzipped(formattest.Text(30_000)))
	run(t, dir, "img2simg", "android-sdk-libsparse-utils", write(t, dir, "raw", raw), "sparse")
	b := read(t, dir, "sparse")
	img := formattest.Open(t, append(bytes.Clone(b), formattest.Noise(500, 1)...))
	r := img.Regions[0]
	if r.Format != "android-sparse" || r.State != firmware.Parsed || r.Size != int64(len(b)) || len(r.Problems) > 0 {
		t.Fatalf("%+v", r)
	}
	if !bytes.Equal(contentsOf(t, r), raw) {
		t.Error("it unpacks to something else")
	}
	if formattest.First(r.Contents, "gzip") == nil {
		t.Errorf("%v", formattest.Outline(r.Contents))
	}
	// Ours with a CRC-32 is read by the real program, too.
	run(t, dir, "simg2img", "android-sdk-libsparse-utils", write(t, dir, "made", makeSparse(true)), "out")
	if r := formattest.Open(t, makeSparse(true)).Regions[0]; !bytes.Equal(contentsOf(t, r), read(t, dir, "out")) {
		t.Error("simg2img unpacks it to something else")
	}
}

func TestABrokenSparseImageIsNamedForWhatIsBroken(t *testing.T) {
	le := binary.LittleEndian
	for name, c := range map[string]struct {
		change func(b []byte) []byte
		want   string
	}{
		"a CRC-32 that does not hold": {func(b []byte) []byte { b[100] ^= 1; return b }, "declared"},
		"a chunk of no type":          {func(b []byte) []byte { le.PutUint16(b[28:], 0xcac9); return b }, "-"},
		"a chunk too long":            {func(b []byte) []byte { le.PutUint32(b[28+12+512+4:], 1<<30); return b }, "more than the header's blocks"},
		"too few blocks":              {func(b []byte) []byte { le.PutUint32(b[16:], 12); return b }, "the header says 12"},
		"cut":                         {func(b []byte) []byte { return b[:700] }, "the header says 10"},
	} {
		r := formattest.Survives(t, name, c.change(makeSparse(true))).Regions[0]
		if c.want == "-" {
			if r.Format == "android-sparse" {
				t.Errorf("%s: %+v", name, r)
			}
			continue
		}
		if all := strings.Join(r.Problems, "\n"); r.Format != "android-sparse" || r.State == firmware.Proven || !strings.Contains(all, c.want) {
			t.Errorf("%s: %s, %s", name, r.State, all)
		}
	}
}

func TestASparseImageOfAnySizeIsReadWithinTheBudget(t *testing.T) {
	b := makeSparse(false)
	binary.LittleEndian.PutUint32(b[16:], 1<<31)
	at := 28 + 12 + 512 + 16
	binary.LittleEndian.PutUint32(b[at+4:], 1<<30)
	img := formattest.Survives(t, "huge", b)
	if r := img.Regions[0]; r.Format != "android-sparse" || r.Contents != nil || !strings.Contains(strings.Join(r.Problems, "\n"), "budget") {
		t.Errorf("%+v", r)
	}
}

// bootParts are the parts of the boot images that are made here.
func bootParts() map[string][]byte {
	return map[string][]byte{"kernel": formattest.Noise(900, 4), "ramdisk": formattest.Noise(1500, 5), "second": formattest.Noise(700, 6), "dtb": plainTree().bytes(), "recovery_dtbo": formattest.Noise(2000, 7)}
}

func padTo(b []byte, n int) []byte { return append(b, make([]byte, (n-len(b)%n)%n)...) }

// makeBoot writes a boot image of a version, with an id where it has one.
func makeBoot(version uint32) []byte {
	le, p := binary.LittleEndian, bootParts()
	h := make([]byte, 1660)
	copy(h, "ANDROID!")
	le.PutUint32(h[40:], version)
	if version >= 3 {
		le.PutUint32(h[8:], uint32(len(p["kernel"])))
		le.PutUint32(h[12:], uint32(len(p["ramdisk"])))
		le.PutUint32(h[20:], 1580+4*(version-3))
		copy(h[44:], "console=ttyS0")
		h = h[:1580]
		signature := []byte(nil)
		if version == 4 {
			signature = append([]byte("AVB0"), formattest.Noise(4092, 9)...)
			h = le.AppendUint32(h, 4096)
		}
		return padTo(append(padTo(append(padTo(append(padTo(h, 4096), p["kernel"]...), 4096), p["ramdisk"]...), 4096), signature...), 4096)
	}
	names := []string{"kernel", "ramdisk", "second"}
	if version > 0 {
		names = append(names, "recovery_dtbo")
		le.PutUint32(h[1632:], uint32(len(p["recovery_dtbo"])))
		le.PutUint32(h[1644:], 1648)
	}
	if version > 1 {
		names = append(names, "dtb")
		le.PutUint32(h[1648:], uint32(len(p["dtb"])))
		le.PutUint32(h[1644:], 1660)
	}
	sum := sha1.New()
	body := []byte(nil)
	for i, name := range names {
		if i < 3 {
			le.PutUint32(h[8+8*i:], uint32(len(p[name])))
		}
		sum.Write(p[name])
		sum.Write(le.AppendUint32(nil, uint32(len(p[name]))))
		body = padTo(append(body, p[name]...), 2048)
	}
	le.PutUint32(h[36:], 2048)
	copy(h[48:], "camera")
	copy(h[64:], "console=ttyS0")
	copy(h[576:], sum.Sum(nil))
	return append(padTo(h, 2048), body...)
}

func makeVendorBoot(version uint32) []byte {
	le, p := binary.LittleEndian, bootParts()
	h := make([]byte, 2112)
	copy(h, "VNDRBOOT")
	le.PutUint32(h[8:], version)
	le.PutUint32(h[12:], 2048)
	le.PutUint32(h[24:], uint32(len(p["ramdisk"])))
	copy(h[2080:], "camera")
	le.PutUint32(h[2096:], 2112)
	le.PutUint32(h[2100:], uint32(len(p["dtb"])))
	if version == 3 {
		return append(padTo(append(padTo(h, 2048), p["ramdisk"]...), 2048), padTo(p["dtb"], 2048)...)
	}
	config := []byte("androidboot.hardware=camera\n")
	le.PutUint32(h[2096:], 2128)
	for _, v := range []uint32{108, 1, 108, uint32(len(config))} {
		h = le.AppendUint32(h, v)
	}
	entry := make([]byte, 108)
	le.PutUint32(entry, uint32(len(p["ramdisk"])))
	le.PutUint32(entry[8:], 1)
	copy(entry[12:], "first")
	b := append(padTo(append(padTo(h, 2048), p["ramdisk"]...), 2048), p["dtb"]...)
	return padTo(append(padTo(append(padTo(b, 2048), entry...), 2048), config...), 2048)
}

func TestBootImagesOfMkbootimgAreProvenByTheirId(t *testing.T) {
	dir := t.TempDir()
	parts := bootParts()
	args := []string{"--cmdline", "console=ttyS0 root=/dev/ram " + strings.Repeat("long ", 150), "--os_version", "9.0.1", "--os_patch_level", "2019-07", "--board", "camera"}
	for name, data := range parts {
		write(t, dir, name, data)
	}
	for version, c := range map[int]struct {
		names []string
		args  []string
		state firmware.State
	}{
		0: {[]string{"kernel", "ramdisk", "second"}, nil, firmware.Proven},
		1: {[]string{"kernel", "ramdisk", "second"}, []string{"--pagesize", "4096"}, firmware.Proven},
		2: {[]string{"kernel", "ramdisk", "dtb"}, nil, firmware.Proven},
		3: {[]string{"kernel", "ramdisk"}, nil, firmware.Parsed},
	} {
		all := append(append([]string{"--header_version", fmt.Sprint(version), "-o", "boot.img"}, args...), c.args...)
		for _, name := range c.names {
			all = append(all, "--"+name, name)
		}
		run(t, dir, "mkbootimg", "mkbootimg", all...)
		b := read(t, dir, "boot.img")
		r := formattest.Open(t, append(bytes.Clone(b), formattest.Noise(500, 1)...)).Regions[0]
		if r.Format != "android-boot" || r.State != c.state || r.Size != int64(len(b)) || len(r.Problems) > 0 || len(r.Children) != len(c.names) {
			t.Errorf("version %d of %d bytes: %+v", version, len(b), r)
			continue
		}
		for i, name := range c.names {
			if part := r.Children[i]; !bytes.Equal(b[part.Offset:part.End()], parts[name]) {
				t.Errorf("version %d: %s is at %#x with %d bytes, and has %d", version, name, part.Offset, part.Size, len(parts[name]))
			}
		}
		if got := r.Field("android version"); got != "9.0.1, patches of 2019-07" || !strings.HasPrefix(r.Field("command line"), "console=ttyS0 root=/dev/ram long long") {
			t.Errorf("%q, %q", got, r.Field("command line"))
		}
		if r.Children[0].Role != firmware.RoleKernel || r.Children[1].Role != firmware.RoleRAMDisk {
			t.Errorf("%+v", r.Children)
		}
		if version > 2 {
			continue
		}
		b[r.Children[1].Offset+5] ^= 1
		if r := formattest.Open(t, b).Regions[0]; r.State != firmware.Parsed || r.Checks[0].OK {
			t.Errorf("with another ramdisk: %s, %+v", r.State, r.Checks)
		}
	}
	run(t, dir, "mkbootimg", "mkbootimg", "--header_version", "3", "--vendor_boot", "vendor.img", "--vendor_ramdisk", "ramdisk", "--dtb", "dtb", "--vendor_cmdline", "quiet")
	b := read(t, dir, "vendor.img")
	r := formattest.Open(t, b).Regions[0]
	if r.Format != "android-vendor-boot" || r.Size != int64(len(b)) || len(r.Children) != 2 || r.Field("command line") != "quiet" || r.Children[1].Format != "fdt" {
		t.Errorf("%+v", r)
	}
}

func TestABootImageOfVersion4NamesItsSignatureAndRamdisks(t *testing.T) {
	r := formattest.Open(t, makeBoot(4)).Regions[0]
	if r.State != firmware.Parsed || !strings.Contains(r.Field("boot signature"), "not verified here") || len(r.Children) != 3 {
		t.Errorf("%+v", r)
	}
	r = formattest.Open(t, makeVendorBoot(4)).Regions[0]
	if !strings.HasPrefix(r.Field("ramdisk 0"), `"first", platform, `) || len(r.Children) != 4 || r.Children[3].Name != "bootconfig" {
		t.Errorf("%+v", r)
	}
}

func makeIntelHex(data []byte, address uint32) []byte {
	var b strings.Builder
	line := func(kind byte, address uint16, data ...byte) {
		p := append([]byte{byte(len(data)), byte(address >> 8), byte(address), kind}, data...)
		sum := byte(0)
		for _, v := range p {
			sum -= v
		}
		fmt.Fprintf(&b, ":%X\r\n", append(p, sum))
	}
	for base := uint32(1); len(data) > 0; {
		if base != address&^0xffff {
			base = address &^ 0xffff
			line(4, 0, byte(base>>24), byte(base>>16))
		}
		n := min(len(data), 16, int(0x10000-address&0xffff))
		line(0, uint16(address), data[:n]...)
		data, address = data[n:], address+uint32(n)
	}
	line(5, 0, 0, 0, 0x80, 0)
	line(1, 0)
	return []byte(b.String())
}

func makeSRecord(data []byte, address uint32) []byte {
	var b strings.Builder
	line := func(kind byte, p []byte) {
		p = append([]byte{byte(len(p) + 1)}, p...)
		sum := byte(0xff)
		for _, v := range p {
			sum -= v
		}
		fmt.Fprintf(&b, "S%c%X\n", kind, append(p, sum))
	}
	line('0', []byte("\x00\x00camera"))
	count := 0
	for ; len(data) > 0; count++ {
		n := min(len(data), 28)
		line('3', append(binary.BigEndian.AppendUint32(nil, address), data[:n]...))
		data, address = data[n:], address+uint32(n)
	}
	line('5', []byte{byte(count >> 8), byte(count)})
	line('7', []byte{0, 0, 0x80, 0})
	return []byte(b.String())
}

func TestHexFilesOfSrecCatAndObjcopyUnpackToTheirBytes(t *testing.T) {
	dir := t.TempDir()
	data := append(gzipped(formattest.Text(90_000)), formattest.Noise(70_000, 3)...)
	write(t, dir, "bin", data)
	for name, c := range map[string]struct{ format, program, debian, args string }{
		"Intel hex of srec_cat":   {"intel-hex", "srec_cat", "srecord", "bin -binary -offset 0x1fff0 -o out -intel"},
		"16 bit Intel hex":        {"intel-hex", "srec_cat", "srecord", "bin -binary -offset 0x1fff0 -o out -intel -address-length=3"},
		"S-records of srec_cat":   {"s-record", "srec_cat", "srecord", "bin -binary -offset 0x1fff0 -o out -motorola"},
		"S-records of 32 bits":    {"s-record", "srec_cat", "srecord", "bin -binary -offset 0x81ff00 -o out -motorola -address-length=4 -data-only"},
		"Intel hex of objcopy":    {"intel-hex", "objcopy", "binutils", "-I binary -O ihex --change-addresses 0x80001234 bin out"},
		"S-records of objcopy":    {"s-record", "objcopy", "binutils", "-I binary -O srec --change-addresses 0x1234 bin out"},
		"S-records of long lines": {"s-record", "objcopy", "binutils", "-I binary -O srec --srec-len=240 bin out"},
	} {
		run(t, dir, c.program, c.debian, strings.Fields(c.args)...)
		b := read(t, dir, "out")
		img := formattest.Open(t, append(bytes.Clone(b), "what follows is something else\n"...))
		r := img.Regions[0]
		want := firmware.Proven
		if strings.Contains(c.args, "-data-only") {
			want = firmware.Parsed // it has no last line
		}
		if r.Format != c.format || r.State != want || r.Size != int64(len(b)) || !bytes.Equal(contentsOf(t, r), data) || formattest.First(r.Contents, "gzip") == nil {
			t.Errorf("%s: %s of %d bytes is %s: %q", name, r.Format, r.Size, r.State, r.Problems)
		}
	}
	// Two stretches of memory are two images.
	run(t, dir, "srec_cat", "srecord", "bin", "-binary", "bin", "-binary", "-offset", "0x80000", "-o", "out", "-intel")
	r := formattest.Open(t, read(t, dir, "out")).Regions[0]
	if len(r.Children) != 2 || r.Contents != nil || r.State != firmware.Proven || r.Children[1].Name != "0x00080000" {
		t.Fatalf("%+v", r)
	}
	for _, c := range r.Children {
		if !bytes.Equal(contentsOf(t, c), data) {
			t.Errorf("%s unpacks to something else", c.Name)
		}
	}
}

func TestHexLinesThatAreWrongOrNoneAreToldApart(t *testing.T) {
	good := string(makeIntelHex([]byte("0123456789abcdef0123456789abcdef"), 0x100))
	for name, c := range map[string]struct {
		text string
		want string // "-" for no hex file, otherwise a problem
	}{
		"a line whose sum does not hold": {strings.Replace(good, ":10011", ":10021", 1), "left out"},
		"no last line":                   {strings.Replace(good, ":00000001FF", "", 1), "no last line"},
		"bytes that are there twice":     {strings.Replace(good, ":0400000500008000", ":0101000061"+"9D\r\n:0400000500008000", 1), "are there twice"},
		"one line":                       {":0300300002337A1E\n", "-"},
		"text":                           {"S1 is a record, and S2 too: 10 of 20\n:10 in the morning\n", "-"},
		"a clock":                        {"12:10:20 started\n12:10:21 stopped\n", "-"},
		"a sum that is wrong at first":   {":0300300002337A1F\n:0300300002337A1E\n", "-"},
	} {
		img := formattest.Survives(t, name, []byte(c.text))
		r := formattest.First(img, "intel-hex")
		if c.want == "-" {
			if r != nil {
				t.Errorf("%s: %+v", name, r)
			}
			continue
		}
		if r == nil || r.State != firmware.Parsed || !strings.Contains(strings.Join(r.Problems, "\n"), c.want) {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

func TestTheCorpusSamplesOfArchivesAreReadToTheByte(t *testing.T) {
	if _, err := os.Stat(corpus); err != nil {
		t.Skipf("no sample collection at %s", corpus)
	}
	dir := t.TempDir()
	srec := read(t, corpus, "srec/testfile.srec")
	run(t, dir, "srec_cat", "srecord", write(t, dir, "in", srec), "-o", "out", "-binary")
	r := formattest.Open(t, srec).Regions[0]
	if r.Format != "s-record" || r.State != firmware.Proven || r.Field("header") != "hello!    " || !bytes.Equal(contentsOf(t, r), read(t, dir, "out")) {
		t.Errorf("%q, %s: %q", r.Field("header"), r.State, r.Problems)
	}
	simg, err := filepath.Abs(filepath.Join(corpus, "android_simg/simg.img"))
	if err != nil {
		t.Fatal(err)
	}
	run(t, dir, "simg2img", "android-sdk-libsparse-utils", simg, "raw")
	r = formattest.Open(t, read(t, simg)).Regions[0]
	if r.Format != "android-sparse" || len(r.Problems) > 0 || !bytes.Equal(contentsOf(t, r), read(t, dir, "raw")) {
		t.Errorf("%+v", r)
	}
}
