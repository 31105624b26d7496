package camera_test

import (
	"bytes"
	"compress/zlib"
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"testing"

	"assay/firmware"
	"assay/firmware/internal/formattest"
)

// Sound samples, written from the layouts that the formats name.
var samples = map[string]formattest.Sample{
	"hikvision-swkh":     {Make: made(makeSWKH(kernelImage(), []byte("compatible with nothing"))), State: firmware.Proven, Role: firmware.RoleContainer, Fuzz: "FuzzHikvisionSWKH"},
	"hikvision-hk":       {Make: made(makeHK()), State: firmware.Parsed, Role: firmware.RoleContainer, Fuzz: "FuzzHikvisionHK"},
	"reolink-pak":        {Make: made(makePAK(false)), State: firmware.Proven, Role: firmware.RoleContainer, Fuzz: "FuzzReolinkPAK"},
	"reolink-paks":       {Make: made(makePAKS()), State: firmware.Parsed, Role: firmware.RoleContainer, Fuzz: "FuzzReolinkPAKS"},
	"tplink-tapo":        {Make: made(makeTapo()), State: firmware.Parsed, Role: firmware.RoleFirmware, Fuzz: "FuzzTapo"},
	"tplink-cloud":       {Make: made(makeCloud()), State: firmware.Parsed, Role: firmware.RoleFirmware, Fuzz: "FuzzCloud"},
	"bosch-fw":           {Make: made(makeBosch(0x999, 0x42)), State: firmware.Parsed, Role: firmware.RoleContainer, Fuzz: "FuzzBosch"},
	"bosch-archive":      {Make: made(makeBoschArchive()), State: firmware.Parsed, Role: firmware.RoleData, Fuzz: "FuzzBoschArchive"},
	"ambarella-firmware": {Make: made(makeAmbarellaSlots()), State: firmware.Proven, Role: firmware.RoleContainer, Fuzz: "FuzzAmbarella"},
	"ambarella-part":     {Make: made(makeAmbarellaPart(kernelImage())), State: firmware.Proven, Role: firmware.RoleKernel, Fuzz: "FuzzAmbarellaPart"},
	"ambarella-ptb":      {Make: made(makeAmbarellaTable()), State: firmware.Parsed, Role: firmware.RoleData, Fuzz: "FuzzAmbarellaTable"},
	"ambarella-romfs":    {Make: made(makeAmbarellaROMFS(true)), State: firmware.Proven, Role: firmware.RoleData, Fuzz: "FuzzAmbarellaROMFS"},
	"grain-media-gm8126": {Make: made(makeGrainMedia()), State: firmware.Parsed, Role: firmware.RoleFirmware, Fuzz: "FuzzGrainMedia"},
	"tenvis-pk2":         {Make: made(makePK2()), State: firmware.Proven, Role: firmware.RoleContainer, Fuzz: "FuzzTenvis"},
	"instar-bneg":        {Make: made(makeBNEG()), State: firmware.Parsed, Role: firmware.RoleContainer, Fuzz: "FuzzInstar"},
	"hichip-pkg":         {Make: made(makeHichip(emptyZip)), State: firmware.Proven, Role: firmware.RoleContainer, Fuzz: "FuzzHichip"},
	"anjvision":          {Make: made(makeANJ()), State: firmware.Proven, Role: firmware.RoleContainer, Fuzz: "FuzzANJVision"},
	"novatek-nvtpack":    {Make: made(makeNVTPack()), State: firmware.Proven, Role: firmware.RoleContainer, Fuzz: "FuzzNovatekPackage"},
	"novatek-cksm":       {Make: made(makeCKSM(kernelImage())), State: firmware.Proven, Role: firmware.RoleContainer, Fuzz: "FuzzNovatekCKSM"},
	"novatek-bcl":        {Make: made(makeBCL(9, lzPacked(formattest.Text(2000)), 2000)), State: firmware.Proven, Role: firmware.RoleContainer, Fuzz: "FuzzNovatekBCL"},
	"xiaomi-hdr":         {Make: made(makeXiaomi(1)), State: firmware.Proven, Role: firmware.RoleContainer, Fuzz: "FuzzXiaomi"},
	"ingenic-sd":         {Make: made(makeUImage(5, "jz_fw", formattest.Noise(600, 8))), State: firmware.Proven, Role: firmware.RoleFirmware, Fuzz: "FuzzIngenic"},
	"dahua-package":      {Make: zipped(makeDahua), State: firmware.Proven, Role: firmware.RoleFirmware, Fuzz: "FuzzDahua"},
	"xiongmai-package":   {Make: zipped(makeXiongmai), State: firmware.Proven, Role: firmware.RoleFirmware, Fuzz: "FuzzXiongmai"},
}

func made(b []byte) func(testing.TB) []byte {
	return func(testing.TB) []byte { return bytes.Clone(b) }
}

var (
	le = binary.LittleEndian
	be = binary.BigEndian
)

func put(b []byte, at int, words ...uint32) {
	for i, v := range words {
		le.PutUint32(b[at+4*i:], v)
	}
}

func name(s string, n int) []byte {
	b := make([]byte, n)
	copy(b, s)
	return b
}

// makeUImage is a legacy image for Linux on MIPS.
func makeUImage(kind byte, title string, payload []byte) []byte {
	h := make([]byte, 64)
	for i, v := range map[int]uint32{0: 0x27051956, 8: 1_700_000_000, 12: uint32(len(payload)), 16: 0x80010000, 20: 0x80400000, 24: crc32.ChecksumIEEE(payload)} {
		be.PutUint32(h[i:], v)
	}
	h[28], h[29], h[30] = 5, 5, kind
	copy(h[32:], title)
	be.PutUint32(h[4:], crc32.ChecksumIEEE(h))
	return append(h, payload...)
}

func kernelImage() []byte { return makeUImage(2, "Linux-4.1.0", formattest.Noise(200, 3)) }

func swkhCover(b []byte) []byte {
	key := []byte("\xba\xcd\xbc\xfe\xd6\xca\xdd\xd3\xba\xb9\xa3\xab\xbf\xcb\xb5\xbe")
	b = bytes.Clone(b)
	for i := range b {
		b[i] ^= key[(i+i/16)%16]
	}
	return b
}

func sumBytes(b []byte) (sum uint32) {
	for _, c := range b {
		sum += uint32(c)
	}
	return sum
}

// plainSWKH is the header in plain and the files. The last is a signature file.
func plainSWKH(files ...[]byte) (header []byte, body []byte) {
	signed := append(le.AppendUint32(nil, 64), bytes.Repeat([]byte("sixteen byte blk"), 4)...)
	files = append(files, signed)
	names := []string{"uImage", "_cfgUpgClass", "c", "d"}[:len(files)-1]
	names = append(names, "_cfgUpgSecPls")
	header = make([]byte, 0x40+44*len(files))
	copy(header, "SWKH")
	put(header, 8, uint32(len(header)), uint32(len(files)), 1, 0x0a, 0x01, 0x05040800, 0, 0x210813)
	copy(header[0x28:], "V5.4.800 build 210813")
	for i, f := range files {
		e := header[0x40+44*i:]
		copy(e, names[i])
		put(e, 32, uint32(len(header)+len(body)), uint32(len(f)), sumBytes(f))
		body = append(body, f...)
	}
	put(header, 0x20, uint32(len(header)+len(body)))
	put(header, 4, sumBytes(header[12:]))
	return header, body
}

func makeSWKH(files ...[]byte) []byte {
	header, body := plainSWKH(files...)
	return append(swkhCover(header), body...)
}

// makeHK has an outer header, an inner one and a body in which the zeros of the
// plain one show.
func makeHK() []byte {
	outer := make([]byte, 0x6c)
	copy(outer, "02KH")
	put(outer, 8, 0x6c, 1, 1)
	put(outer, 4, sumBytes(outer[12:]))
	inner := make([]byte, 16)
	copy(inner, "03KH")
	put(inner, 4, 0x1234abcd, 0x140, 2)
	b := append(swkhCover(outer), swkhCover(inner)...)
	b = append(b, formattest.Noise(0x140, 5)...)
	b = append(b, formattest.Noise(256, 6)...)
	return append(b, bytes.Repeat(formattest.Noise(16, 7), 16)...)
}

type pakPart struct {
	section, slot string
	data          []byte
	place, room   uint32
}

var pakParts = []pakPart{
	{"uboot1", "uboot1", formattest.Noise(100, 31), 0, 0x1000},
	{"", "uboot2", nil, 0x1000, 0x1000},
	{"kernel", "kernel", kernelImage(), 0x2000, 0x2000},
	{"app", "app", formattest.Text(300), 0x4000, 0x1000},
	{"", "version", nil, 0xffffffff, 0},
}

func makePAK(wide bool) []byte { return packPAK(wide, pakParts) }

func packPAK(wide bool, parts []pakPart) []byte {
	word := func(b []byte, v uint64) []byte {
		if wide {
			return le.AppendUint64(b, v)
		}
		return le.AppendUint32(b, uint32(v))
	}
	header, section := 12, 64
	if wide {
		header, section = 24, 72
	}
	at := header + len(parts)*(section+76)
	first := at
	var table, slots, body []byte
	for _, p := range parts {
		table = append(append(table, name(p.section, 32)...), name("v1.0.0.1", 24)...)
		table = word(word(table, uint64(at)), uint64(len(p.data)))
		slots = append(append(slots, name(p.slot, 32)...), 0, 0, 0, 0)
		slots = append(slots, name("/dev/mtd9", 32)...)
		slots = le.AppendUint32(le.AppendUint32(slots, p.place), p.room)
		body = append(body, p.data...)
		at += len(p.data)
	}
	crc := ^crc32.Update(0xffffffff, crc32.IEEETable, append(append(bytes.Clone(body), 2, 0, 0, 0), table...))
	b := word(word(word(nil, 0x32725913), uint64(crc)), 0x2302)
	b = append(append(append(b, table...), slots...), body...)
	if len(b) != first+len(body) {
		panic("tables")
	}
	return b
}

func makePAKS() []byte {
	var body []byte
	for i, data := range [][]byte{kernelImage(), formattest.Text(200)} {
		body = le.AppendUint32(body, 1)
		body = le.AppendUint32(body, crc32.ChecksumIEEE(data)+uint32(i)) // the second is of a rule that is not known
		body = append(body, name([]string{"kernel", "app"}[i], 32)...)
		body = append(body, name("v3.0", 32)...)
		body = append(le.AppendUint32(body, uint32(len(data))), make([]byte, 12)...)
		body = append(body, data...)
	}
	h := make([]byte, 104)
	copy(h, "SKAP")
	put(h, 8, uint32(104+len(body)), 1, 0, 0x51, 0x77)
	copy(h[28:], "IPC_51")
	copy(h[60:], "v3.0.0.660_21110905")
	put(h, 92, uint32(len(body)), 2)
	return append(h, body...)
}

func makeTapo() []byte {
	b := formattest.Noise(700, 41)
	clear(b[:0x20])
	be.PutUint32(b, 0x200)
	copy(b[4:], "\xaa\x55\x4c\x5e\x83\x1f\x53\x4b\xa1\xf8\xf7\xc9\x18\xdf\x8f\xbf\x7d\xa1\x55\xaa")
	return b
}

func makeCloud() []byte {
	b := make([]byte, 0x1014)
	copy(b[4:], formattest.Noise(16, 42))
	copy(b[0x14:], "fw-type:Cloud\n")
	be.PutUint32(b[0x110:], 0x200)
	copy(b[0x130:], formattest.Noise(256, 43))
	b = append(b, kernelImage()...)
	be.PutUint32(b, uint32(len(b)))
	return b
}

func boschHeaderOf(target uint32, data int) []byte {
	h := make([]byte, 0x400)
	for i, v := range map[int]uint32{0: 0x10122003, 4: target, 12: 0x0632, 16: uint32(data), 28: 22} {
		be.PutUint32(h[i:], v)
	}
	copy(h[0x4c:], formattest.Noise(256, 51))
	return h
}

func makeBosch(target uint32, cover byte) []byte {
	data := makeBoschArchive()
	for i := range data {
		data[i] ^= cover
	}
	part := append(boschHeaderOf(target, len(data)), data...)
	return append(boschHeaderOf(0x10, len(part)), part...)
}

func makeBoschArchive() []byte {
	var b []byte
	for i, data := range [][]byte{[]byte("the first"), formattest.Text(300)} {
		h := make([]byte, 0x40)
		copy(h, "\xde\xad\xaf\xfe")
		pad := make([]byte, -len(data)&15)
		be.PutUint32(h[4:], uint32(0x40+len(data)+len(pad)))
		copy(h[8:], []string{"arm.app1.gz.T_ffff", "web/index.html"}[i])
		be.PutUint32(h[40:], uint32(len(data)))
		b = append(append(append(b, h...), data...), pad...)
	}
	return append(b, make([]byte, 0x40)...)
}

func makeAmbarellaPart(data []byte) []byte {
	h := make([]byte, 256)
	put(h, 0, crc32.ChecksumIEEE(data), 1<<16|7, 2015<<16|3<<8|9, uint32(len(data)), 0xc0100000, 4, 0xa324eb90)
	return append(h, data...)
}

func makeAmbarellaSlots() []byte {
	b := make([]byte, 2048)
	put(b, 0x100, 0x33219fbd)
	for i, p := range map[int][]byte{2: formattest.Noise(500, 61), 4: kernelImage()} {
		part := makeAmbarellaPart(p)
		put(b, 4*i, uint32(len(b)))
		b = append(b, part...)
		put(b, 128+4*i, uint32(len(b)))
		put(b, 0x104+4*i, 0x20000)
	}
	return b
}

// makeAmbarellaPacked has a trailer.
func makeAmbarellaPacked() []byte {
	b := make([]byte, 0x230)
	put(b, 0x20, 0x8732dfe6)
	for i, p := range [][]byte{formattest.Noise(500, 61), formattest.Text(300)} {
		part := makeAmbarellaPart(p)
		put(b, 0x30+8*i, uint32(len(part)), 0x1111)
		b = append(b, part...)
	}
	put(b, 0x30+8, 0)
	put(b, 0x24, crc32.ChecksumIEEE(b[0x230:]))
	t := le.AppendUint32(nil, uint32(len(b)))
	t = append(append(t, name("example", 32)...), name("v1.2.3", 32)...)
	first := md5.Sum(b)
	t = append(append(t, first[:]...), "ABCDEFGH\x01\x00\x00\x00\x00\x00\x00\x00"...)
	second := md5.Sum(append(bytes.Clone(b), t...))
	return append(append(b, t...), second[:]...)
}

func makeAmbarellaTable() []byte {
	b := make([]byte, 4096)
	for i := range 8 {
		put(b, 28*i, 0x1000+uint32(i), 1<<16, 2014<<16|5<<8|1, 4096*uint32(i), 0xc0000000, 2, 0x8732dfe6)
	}
	return b
}

func makeAmbarellaROMFS(summed bool) []byte {
	files := [][]byte{formattest.Text(700), formattest.Noise(1900, 71)}
	names := []string{"orccode.bin", "fonts/a.ttf"}
	if summed {
		b := make([]byte, 2048)
		copy(b, "\x8a\x32\xfc\x66")
		put(b, 4, uint32(len(files)))
		for i, f := range files {
			e := b[8+76*i:]
			copy(e, names[i])
			put(e, 64, uint32(len(f)), uint32(len(b)), crc32.ChecksumIEEE(f))
			b = append(append(b, f...), make([]byte, 2048-len(f)%2048)...)
		}
		return b
	}
	b := append([]byte("\x02\x00\x00\x00\x8a\x32\xfc\x66"), bytes.Repeat([]byte{0xff}, 2040)...)
	b = append(b, make([]byte, 2048)...)
	for i, f := range files {
		e := b[2048+128*i:]
		copy(e, names[i])
		put(e, 116, uint32(len(b)), uint32(len(f)), 0x2387ab76)
		b = append(append(b, f...), bytes.Repeat([]byte{0xff}, 2048-len(f)%2048)...)
	}
	return b
}

func makeGrainMedia() []byte {
	h := make([]byte, 0x100)
	copy(h, "\x80\x5aGM")
	payload := formattest.Text(300)
	be.PutUint32(h[8:], uint32(len(payload)))
	copy(h[16:], "linux kernel")
	return append(h, payload...)
}

func pk2Cover(b []byte) []byte {
	b = bytes.Clone(b)
	for i := range b {
		b[i] ^= "\xa1\x83\x24\x78\xb3\x41\x43\x56"[i%8]
	}
	return b
}

func makePK2() []byte {
	b := make([]byte, 28)
	copy(b, "PK2\x00")
	put(b, 4, 77, 1_700_000_000)
	copy(b[12:], "1.2")
	put(b, 24, 2)
	section := func(kind string, summed, stored []byte) {
		sum := md5.Sum(summed)
		b = append(append(b, kind...), sum[:]...)
		b = append(le.AppendUint32(b, uint32(len(stored))), stored...)
	}
	run := []byte("reboot\n\x00")
	section("CMD\x00", run, pk2Cover(run))
	head := append(le.AppendUint32(nil, 10), "/etc/init\x00"...)
	text := formattest.Text(500)
	head = le.AppendUint32(head, uint32(len(text)))
	section("FILE", append(bytes.Clone(head), text...), append(bytes.Clone(head), pk2Cover(text)...))
	return b
}

func makeBNEG() []byte {
	kernel, root := formattest.Noise(500, 81), formattest.Text(200)
	b := make([]byte, 20)
	copy(b, "BNEG")
	put(b, 4, 1, 1, uint32(len(kernel)), uint32(len(root)))
	return append(append(b, kernel...), root...)
}

var emptyZip = []byte("PK\x05\x06" + string(make([]byte, 18)))

// makeHichip stores a small zip with the altered magics, and its MD5 as it was.
func makeHichip(zip []byte) []byte {
	h := make([]byte, 512)
	copy(h, "PIHC")
	put(h, 4, 4098)
	copy(h[32:], "V9.X.1.2.3")
	stored := bytes.ReplaceAll(zip, []byte("PK\x05\x06"), []byte("PK\x05\x09"))
	for i, p := range map[int][]byte{2: kernelImage(), 5: zip} {
		put(h, 8+4*i, uint32(len(p)))
		sum := md5.Sum(append(bytes.Clone(p), "IPCAM"...))
		copy(h[72+40*i:], hex.EncodeToString(sum[:]))
	}
	return append(append(h, kernelImage()...), stored...)
}

func makeANJ() []byte {
	h := make([]byte, 1556)
	copy(h, "ANJOY888")
	kernel, root := kernelImage(), formattest.Text(900)
	put(h, 12, uint32(len(h)+len(kernel)+len(root)), 3, uint32(len(h)), uint32(len(kernel)), crc32.ChecksumIEEE(kernel))
	copy(h[32:], "kernel 3.10")
	put(h, 288, uint32(len(h)+len(kernel)), uint32(len(root)))
	copy(h[296:], "fs 1.2.3")
	put(h, 552, crc32.ChecksumIEEE(root))
	put(h, 8, crc32.ChecksumIEEE(h))
	return append(append(h, kernel...), root...)
}

// nvtSum is Novatek's sum, with the word at skip as zero.
func nvtSum(b []byte, skip int) uint16 {
	var sum uint16
	for i := 0; i+1 < len(b); i += 2 {
		if i != skip {
			sum += le.Uint16(b[i:])
		}
		sum += uint16(i / 2)
	}
	return -sum
}

func makeNVTPack() []byte {
	b := append([]byte("\x07\x2e\x01\xd6\xbc\x10\x91\x4f\xb2\x8a\x35\x2f\x82\x26\x1a\x50"), make([]byte, 24+24)...)
	put(b, 16, 0x16071515, 40, 2)
	for i, p := range [][]byte{makeCKSM(kernelImage()), makeBCL(9, lzPacked(formattest.Text(900)), 900)} {
		put(b, 40+12*i, uint32(len(b)), uint32(len(p)), uint32(2+i))
		b = append(b, p...)
		b = append(b, make([]byte, -len(b)&3)...)
	}
	put(b, 28, uint32(len(b)))
	put(b, 36, uint32(nvtSum(b, 36)))
	return b
}

func makeCKSM(data []byte) []byte {
	b := make([]byte, 64)
	copy(b, "CKSM")
	put(b, 4, 0x16040719, 0, 0, 64, uint32(len(data)), uint32(-len(data)&3), 4)
	b = append(append(b, data...), make([]byte, -len(data)&3)...)
	put(b, 12, uint32(nvtSum(b, 12)))
	return b
}

// lzPacked packs runs of equal bytes and what repeats the 60 bytes before.
func lzPacked(b []byte) []byte {
	const marker = '~'
	number := func(out []byte, n int) []byte {
		if n >= 1<<7 {
			out = append(out, byte(n>>7)|0x80)
		}
		return append(out, byte(n&0x7f))
	}
	out := []byte{marker}
	for i := 0; i < len(b); {
		best, back := 0, 0
		for d := 1; d <= min(i, 300); d++ {
			n := 0
			for i+n < len(b) && b[i+n] == b[i+n-d] && n < 1000 {
				n++
			}
			if n > best {
				best, back = n, d
			}
		}
		switch {
		case best > 5:
			out = number(number(append(out, marker), best), back)
			i += best
		case b[i] == marker:
			out = append(out, marker, 0)
			i++
		default:
			out = append(out, b[i])
			i++
		}
	}
	return out
}

func zlibPacked(b []byte) []byte {
	var out bytes.Buffer
	z := zlib.NewWriter(&out)
	z.Write(b)
	z.Close()
	return out.Bytes()
}

func makeBCL(method uint16, packed []byte, size int) []byte {
	b := append([]byte("BCL1"), make([]byte, 12)...)
	be.PutUint16(b[6:], method)
	be.PutUint32(b[8:], uint32(size))
	be.PutUint32(b[12:], uint32(len(packed)))
	b = append(b, packed...)
	le.PutUint16(b[4:], nvtSum(b, 4))
	return b
}

func makeXiaomi(version int) []byte {
	offsets := 16
	if version == 2 {
		offsets = 48
	}
	b := make([]byte, offsets+32)
	copy(b, "HDR"+string(rune('0'+version)))
	if version == 2 {
		copy(b[16:], "RA70")
		copy(b[24:], "EU")
	} else {
		le.PutUint16(b[14:], 0x25)
	}
	for i, p := range [][]byte{kernelImage(), formattest.Text(400)} {
		put(b, offsets+4*i, uint32(len(b)))
		h := make([]byte, 48)
		put(h, 0, 0xbabe, 0x200000, uint32(len(p)), 7)
		copy(h[16:], []string{"firmware.bin", "xiaoqiang_version"}[i])
		b = append(append(b, h...), p...)
	}
	put(b, 4, uint32(len(b)))
	b = append(append(b, le.AppendUint32(nil, 256)...), make([]byte, 12)...)
	b = append(b, formattest.Noise(256, 91)...)
	put(b, 8, ^crc32.ChecksumIEEE(b[12:]))
	return b
}
