package camera_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"assay/firmware"
	"assay/firmware/internal/formattest"
)

// children is one line a child: place, name, role, state and format.
func children(r *firmware.Region) []string {
	var list []string
	for _, c := range r.Children {
		list = append(list, strings.Join(strings.Fields(fmt.Sprintf("%#x+%d %s %s %s %s", c.Offset, c.Size, c.Name, c.Role, c.State, c.Format)), " "))
	}
	return list
}

func problems(r *firmware.Region) string { return strings.Join(r.Problems, "\n") }

func top(t *testing.T, b []byte) *firmware.Region {
	t.Helper()
	return formattest.Survives(t, "this", b).Regions[0]
}

func TestTheFilesOfAnSWKHAreFoundAtTheirPlacesWithTheirSums(t *testing.T) {
	b := makeSWKH(kernelImage(), []byte("compatible with nothing"))
	r := top(t, b)
	want := []string{"0xc4+264 Linux-4.1.0 kernel proven uimage", "0x1cc+23 _cfgUpgClass proven", "0x1e3+68 _cfgUpgSecPls proven"}
	if r.Name != "V5.4.800 build 210813" || r.Field("files") != "3" || !reflect.DeepEqual(children(r), want) {
		t.Errorf("%q: %q", r.Name, children(r))
	}
	for i, c := range r.Children {
		if got := c.Checks[len(c.Checks)-1]; got.Name != "byte sum" || !got.OK || got.Worth != firmware.IntegrityOnly {
			t.Errorf("file %d: %+v", i, got)
		}
	}
	if s := r.Children[2]; !strings.Contains(s.Field("signature"), "would prove no origin") || s.Field("encrypted bytes") != "64" {
		t.Errorf("%+v", s.Fields)
	}
	b[len(b)-1] ^= 1
	if r := top(t, b); r.State != firmware.Parsed || r.Children[2].State == firmware.Proven || !strings.Contains(problems(r), `section "_cfgUpgSecPls" at 0x1e3: its byte sum does not hold`) {
		t.Errorf("with a changed bit: %s %q", r.State, r.Problems)
	}
}

func TestAnHK20ShowsThatItsBodyIsECB(t *testing.T) {
	head := makeHK()[:0x6c+16]
	plain := append(formattest.Noise(0x140, 1), make([]byte, 4096)...)
	block, err := aes.NewCipher(formattest.Noise(32, 2))
	if err != nil {
		t.Fatal(err)
	}
	ecb, cbc := make([]byte, len(plain)), make([]byte, len(plain))
	for i := 0; i < len(plain); i += 16 {
		block.Encrypt(ecb[i:], plain[i:])
	}
	cipher.NewCBCEncrypter(block, formattest.Noise(16, 3)).CryptBlocks(cbc, plain)
	for name, c := range map[string]struct {
		body []byte
		want string
	}{
		"ECB": {ecb, "255 of the first 276 blocks of 16 bytes repeat an earlier one, one of them 256 times: ECB"},
		"CBC": {cbc, "none of the first 276 blocks of 16 bytes repeats"},
	} {
		r := top(t, append(bytes.Clone(head), c.body...))
		if r.Format != "hikvision-hk" || !strings.HasPrefix(r.Field("equal cipher blocks"), c.want) {
			t.Errorf("%s: %s, %q", name, r.Format, r.Field("equal cipher blocks"))
		}
		if !strings.HasPrefix(r.Field("protection"), "vendor-encrypted, AES-ECB") || r.Field("inner header") != "03KH at 0x6c, 320 encrypted bytes" || r.Field("inner CRC-32")[:8] != "1234abcd" {
			t.Errorf("%s: %+v", name, r.Fields)
		}
	}
	// Without the outer header it stands as well.
	if r := top(t, append(bytes.Clone(head[0x6c:]), ecb...)); r.Format != "hikvision-hk" || r.Field("inner header") != "03KH at 0x0, 320 encrypted bytes" {
		t.Errorf("%s: %+v", r.Format, r.Fields)
	}
}

func TestAPAKInEitherWidthHasItsSectionsAndItsFlashLayout(t *testing.T) {
	for layout, first := range map[string]int64{"PAK32": 12 + 5*140, "PAK64": 24 + 5*148} {
		b := makePAK(layout == "PAK64")
		r := top(t, b)
		want := []string{
			fmt.Sprintf("%#x+100 uboot1 boot-loader proven", first),
			fmt.Sprintf("%#x+264 Linux-4.1.0 kernel proven uimage", first+100),
			fmt.Sprintf("%#x+300 app proven", first+364),
		}
		if r.State != firmware.Proven || r.Field("layout") != layout || !reflect.DeepEqual(children(r), want) {
			t.Errorf("%s: %s, %s, %q", layout, r.State, r.Field("layout"), children(r))
		}
		if got := r.Field("claimed flash layout"); !strings.HasPrefix(got, "uboot1 at 0x0+0x1000 on /dev/mtd9, ") || !strings.HasSuffix(got, "version in no place") {
			t.Errorf("%s: %s", layout, got)
		}
		b[len(b)-1] ^= 1
		if r := top(t, b); r.State != firmware.Parsed || r.Checks[0].OK {
			t.Errorf("%s with a changed bit is %s", layout, r.State)
		}
		b[len(b)-1] ^= 1
		b[0] = 0x23 // the other magic is not covered by the sum
		if r := top(t, b); r.State != firmware.Proven {
			t.Errorf("%s with the second magic is %s", layout, r.State)
		}
	}
}

func TestAPAKWhoseFlashLayoutCannotBeIsContradicted(t *testing.T) {
	for name, c := range map[string]struct {
		change func(p []pakPart)
		want   string
	}{
		"a section larger than its partition": {func(p []pakPart) { p[2].room = 100 }, `section "kernel" at 0x32c of 264 bytes does not fit its partition of 100`},
		"a section without partition":         {func(p []pakPart) { p[3].slot = "other" }, `section "app" at 0x434 has no partition of its name`},
		"partitions over each other":          {func(p []pakPart) { p[2].place = 0x1800 }, `partitions "uboot2" and "kernel" of /dev/mtd9 lie over each other`},
		"a kernel that is called root":        {func(p []pakPart) { p[2].section, p[2].slot = "rootfs", "rootfs" }, `section "rootfs" at 0x32c is named as a root-filesystem and holds a kernel`},
	} {
		parts := append([]pakPart(nil), pakParts...)
		c.change(parts)
		if r := top(t, packPAK(false, parts)); r.Format != "reolink-pak" || problems(r) != c.want {
			t.Errorf("%s: %s, %q", name, r.Format, r.Problems)
		}
	}
}

func TestEachPAKSSectionSaysWhetherItsChecksumIsOfAKnownRule(t *testing.T) {
	r := top(t, makePAKS())
	if want := []string{"0xc0+264 Linux-4.1.0 kernel proven uimage", "0x220+200 app opaque"}; !reflect.DeepEqual(children(r), want) {
		t.Errorf("%q", children(r))
	}
	if c := r.Children[0].Checks; c[len(c)-1].Name != "CRC-32" || !strings.Contains(r.Children[1].Field("checksum"), "not public") || r.Field("board") != "0x51" {
		t.Errorf("%+v, %+v", c, r.Children[1].Fields)
	}
}

func TestASignatureOfTPLinkIsDescribedAndNotVerified(t *testing.T) {
	r := top(t, makeTapo())
	for field, want := range map[string]string{
		"signature algorithm":  "RSA-2048-PSS, SHA-256, MGF1 with SHA-256, salt of 222 bytes",
		"signature":            "256 bytes at 0x20, not verified here",
		"signature covers":     "the whole file, with the signature's 256 bytes as zeros",
		"signature byte order": "reversed",
	} {
		if r.Field(field) != want {
			t.Errorf("%s: %q", field, r.Field(field))
		}
	}
	if r.State != firmware.Parsed || !reflect.DeepEqual(children(r), []string{"0x120+412 opaque"}) {
		t.Errorf("%s: %q", r.State, children(r))
	}
	b := makeCloud()
	r = top(t, b)
	if r.Field("type") != "Cloud" || r.Field("signature covers") != "from 0x14 to the end, with the signature's 256 bytes as zeros" || !reflect.DeepEqual(children(r), []string{"0x1014+264 Linux-4.1.0 kernel proven uimage"}) {
		t.Errorf("%+v: %q", r.Fields, children(r))
	}
	clear(b[0x130:0x230])
	b[0x112] = 1
	if r := top(t, b); r.Field("signature") != "none: its 128 bytes at 0x130 are empty" || r.Field("signature algorithm") != "RSA-1024, PKCS #1 v1.5, SHA-1 over an MD5" {
		t.Errorf("unsigned: %+v", r.Fields)
	}
}

func TestABoschPartUnderAKeyIsNotOpened(t *testing.T) {
	b := makeBosch(0x77, 0x42)
	copy(b[0x400+0x24c:], formattest.Noise(256, 4))
	r := top(t, b)
	part := r.Children[0]
	if part.Contents != nil || !strings.HasPrefix(part.Field("protection"), "AES in CBC mode") || part.Field("key blob") == "" || len(part.Children) == 0 {
		t.Errorf("%+v", part)
	}
	if r := formattest.First(formattest.Open(t, makeBosch(0x77, 0x42)), "bosch-archive"); !reflect.DeepEqual(contents(t, r), []string{
		"arm.app1.gz.T_ffff 9 " + digest([]byte("the first")), "web/index.html 300 " + digest(formattest.Text(300)),
	}) {
		t.Errorf("%q", contents(t, r))
	}
}

func TestBothHeadersOfAnAmbarellaFirmwareAreRead(t *testing.T) {
	r := top(t, makeAmbarellaSlots())
	if got := children(r); len(got) != 2 || r.State != firmware.Proven || !strings.HasSuffix(got[0], "proven ambarella-part") {
		t.Errorf("%s: %q", r.State, got)
	}
	b := makeAmbarellaPacked()
	r = top(t, b)
	want := []string{"0x230+756 image 0 container proven ambarella-part", "0x524+556 image 1 container proven ambarella-part"}
	if r.State != firmware.Proven || r.Size != int64(len(b)) || r.Field("version") != "v1.2.3" || r.Field("hardware") != "ABCDEFGH, revision 1" || !reflect.DeepEqual(children(r), want) {
		t.Errorf("%s of %d, %+v: %q %q", r.State, r.Size, r.Fields, children(r), r.Problems)
	}
	b[0x400] ^= 1
	r = top(t, b)
	failed := 0
	for _, c := range r.Checks {
		if !c.OK {
			failed++
		}
	}
	if r.State != firmware.Parsed || failed != 3 {
		t.Errorf("with a changed bit: %s, %+v", r.State, r.Checks)
	}
}

func TestBothAmbarellaROMFSHaveTheirFiles(t *testing.T) {
	want := []string{"fonts/a.ttf 1900 " + digest(formattest.Noise(1900, 71)), "orccode.bin 700 " + digest(formattest.Text(700))}
	for state, b := range map[firmware.State][]byte{firmware.Proven: makeAmbarellaROMFS(true), firmware.Parsed: makeAmbarellaROMFS(false)} {
		if r := top(t, b); r.State != state || r.Size != int64(len(b)) || !reflect.DeepEqual(contents(t, r), want) {
			t.Errorf("%s of %d: %q, %q", r.State, r.Size, contents(t, r), r.Problems)
		}
	}
}

func TestTheZipOfAHichipPackageIsOnlyCheckedWhereItIsInPlain(t *testing.T) {
	r := top(t, makeHichip(emptyZip))
	zip := r.Children[1]
	if c := zip.Checks; len(c) != 1 || !c[0].OK || !strings.Contains(c[0].Detail, "with its own magics") || r.Name != "V9.X.1.2.3" {
		t.Errorf("%+v", zip)
	}
	b := makeHichip(formattest.Text(3000))
	b[len(b)-1] ^= 1 // as an encryption would
	r = top(t, b)
	if zip := r.Children[1]; len(zip.Checks) != 0 || !strings.HasSuffix(zip.Field("MD5 with salt"), "not checked") || r.State != firmware.Parsed || len(r.Problems) != 0 {
		t.Errorf("%s %q: %+v", r.State, r.Problems, zip)
	}
}

func TestAnANJVisionImageIsReadWithAndWithoutAKnownRule(t *testing.T) {
	b := makeANJ()
	r := top(t, b)
	want := []string{"0x614+264 Linux-4.1.0 kernel proven uimage", "0x71c+900 file system root-filesystem proven"}
	if r.State != firmware.Proven || !reflect.DeepEqual(children(r), want) || r.Children[1].Field("version") != "fs 1.2.3" {
		t.Errorf("%s: %q %+v", r.State, children(r), r.Children[1].Fields)
	}
	b[28] ^= 1
	if r := top(t, b); r.State != firmware.Parsed || !strings.Contains(r.Children[0].Field("CRC"), "not public") || !strings.Contains(r.Field("header CRC"), "not public") || len(r.Problems) != 0 {
		t.Errorf("%s %q %+v", r.State, r.Problems, r.Fields)
	}
	// The header of an older one ends where the kernel begins.
	old := make([]byte, 64)
	copy(old, "ANJOY888")
	put(old, 12, 64+264+900, 3, 64, 264, 0)
	old = append(append(old, kernelImage()...), formattest.Text(900)...)
	if want := []string{"0x40+264 Linux-4.1.0 kernel proven uimage", "0x148+900 file system root-filesystem opaque"}; !reflect.DeepEqual(children(top(t, old)), want) {
		t.Errorf("%q", children(top(t, old)))
	}
}

func TestANovatekPartitionIsUnpacked(t *testing.T) {
	text := formattest.Text(2000)
	for name, b := range map[string][]byte{"LZ77": makeBCL(9, lzPacked(text), 2000), "zlib": makeBCL(12, zlibPacked(text), 2000), "LZ77 before zeros": makeBCL(9, lzPacked(text), 9000)} {
		r := top(t, b)
		if r.State != firmware.Proven || r.Contents == nil || r.Contents.SHA256[:16] != digest(text) {
			t.Errorf("%s: %s %q", name, r.State, r.Problems)
		}
	}
	b := makeBCL(9, lzPacked(text), 2000)
	b[4], b[5] = 0, 0
	if r := top(t, b); r.State != firmware.Parsed || r.Contents == nil || len(r.Problems) != 0 {
		t.Errorf("of a boot loader: %s %q", r.State, r.Problems)
	}
	marked := bytes.Repeat([]byte("~a~"), 5)
	if r := top(t, makeBCL(9, lzPacked(marked), len(marked))); r.Contents == nil || r.Contents.SHA256[:16] != digest(marked) {
		t.Errorf("with markers: %+v", r)
	}
}

func TestANovatekStreamThatLiesIsAProblem(t *testing.T) {
	for name, packed := range map[string][]byte{
		"a copy from before the start": {'~', 'a', '~', 9, 2, 'b'},
		"a copy from no distance":      {'~', 'a', '~', 9, 0, 'b'},
		"an endless number":            {'~', 'a', '~', 0x81, 0x81, 0x81, 0x81, 0x81, 0x81},
		"an end in a copy":             {'~', 'a', '~', 9},
	} {
		r := top(t, makeBCL(9, packed, 100))
		if r.Format != "novatek-bcl" || r.State != firmware.Opaque || !strings.Contains(problems(r), "does not unpack whole") {
			t.Errorf("%s: %s %s %q", name, r.Format, r.State, r.Problems)
		}
	}
}

func TestANovatekPackageHasItsPartitionsUnpacked(t *testing.T) {
	r := top(t, makeNVTPack())
	if got := children(r); r.State != firmware.Proven || len(got) != 2 || !strings.HasSuffix(got[0], "partition 2 container proven novatek-cksm") || !strings.HasSuffix(got[1], "partition 3 container proven novatek-bcl") {
		t.Errorf("%s: %q %q", r.State, got, r.Problems)
	}
}

func TestBothXiaomiHeadersAreRead(t *testing.T) {
	for version, device := range map[int]string{1: "0x0025", 2: "RA70"} {
		r := top(t, makeXiaomi(version))
		if r.State != firmware.Proven || r.Field("device") != device || !strings.Contains(r.Field("signature"), "not verified here") || len(r.Children) != 3 || r.Children[0].Field("flash offset") != "0x00200000" || r.Children[0].Field("blob type") != "7 firmware uImage" {
			t.Errorf("HDR%d: %s %+v %q", version, r.State, r.Fields, children(r))
		}
	}
}

func TestASectionThatCannotBeIsAProblem(t *testing.T) {
	swkh := func(change func(header []byte)) []byte {
		header, body := plainSWKH([]byte("one"), []byte("another"))
		change(header)
		put(header, 4, sumBytes(header[12:]))
		return append(swkhCover(header), body...)
	}
	entry := func(i int) int { return 0x40 + 44*i + 32 }
	for name, c := range map[string]struct {
		b    []byte
		want string
	}{
		"a file without bytes":   {swkh(func(h []byte) { put(h, entry(0)+4, 0) }), `section "uImage" at 0xc4 has no bytes`},
		"a file in the header":   {swkh(func(h []byte) { put(h, entry(1), 8) }), `section "_cfgUpgClass" at 0x8 lies in the header, which ends at 0xc4`},
		"a file over another":    {swkh(func(h []byte) { put(h, entry(1), 0xc5) }), `section "_cfgUpgClass" at 0xc5 of 7 bytes lies over the one before, which ends at 0xc7`},
		"a file far outside":     {swkh(func(h []byte) { put(h, entry(1), 0xffffff00, 0xffffffff) }), `section "_cfgUpgClass" at 0xffffff00 of 4294967295 bytes lies outside the 0x112 bytes of the image`},
		"a file past the end":    {swkh(func(h []byte) { put(h, entry(2)+4, 500) }), `section "_cfgUpgSecPls" at 0xce of 500 bytes reaches past the end at 0x112`},
		"a name with an escape":  {swkh(func(h []byte) { copy(h[0x40:], "\x1b[2Jx\x00") }), ""},
		"a BNEG without a root":  {change(makeBNEG(), func(b []byte) { put(b, 16, 0) }), `section "root file system" at 0x208 has no bytes`},
		"a BNEG cut short":       {makeBNEG()[:300], "720 bytes are declared and 300 are there"},
		"a PK2 of unknown kinds": {change(makePK2(), func(b []byte) { copy(b[28+24+8:], "WHAT") }), `is of the unknown kind "WHAT"`},
		"a PK2 with an open end": {change(makePK2(), func(b []byte) { put(b, 24, 3) }), "section 2 at 0x25a is not there"},
		"a ROMFS over itself":    {change(makeAmbarellaROMFS(false), func(b []byte) { put(b, 2048+128+116, 4096) }), `file "fonts/a.ttf" at 0x1000 lies over the one before`},
		"an archive that stops":  {makeBoschArchive()[:0x50], "ends without an empty header"},
		"a PAKS that stops":      {change(makePAKS(), func(b []byte) { put(b, 96, 9) }), "the header of section 2 at 0x2e8 is not there"},
		"a HDR1 without a blob":  {change(makeXiaomi(1), func(b []byte) { put(b, 20, 60) }), `section "blob 1" at 0x3c has no bytes`},
	} {
		img := formattest.Survives(t, name, c.b)
		r := img.Regions[0]
		if r.Format == "" || !strings.Contains(problems(r), c.want) || c.want != "" && r.State == firmware.Proven {
			t.Errorf("%s: %s %s %q", name, r.Format, r.State, r.Problems)
		}
		img.Walk(func(_ []*firmware.Region, _ *firmware.Image, r *firmware.Region) error {
			if strings.ContainsRune(r.Name, 0x1b) {
				t.Errorf("%s: the name %q", name, r.Name)
			}
			return nil
		})
	}
}

func change(b []byte, f func(b []byte)) []byte {
	f(b)
	return b
}

func TestAMagicAloneIsNoContainer(t *testing.T) {
	for _, f := range firmware.Formats() {
		if _, ours := samples[f.Name]; !ours {
			continue
		}
		for _, m := range f.Magics {
			for seed := range uint64(20) {
				b := formattest.Noise(9000, seed)
				copy(b[512+m.Offset:], m.Bytes)
				if r := formattest.First(formattest.Survives(t, f.Name, b), f.Name); r != nil {
					t.Errorf("%s: %q in noise is %+v", f.Name, m.Bytes, r.Fields)
				}
				clear(b[:512+m.Offset])
				clear(b[512+m.Offset+int64(len(m.Bytes)):])
				if r := formattest.First(formattest.Survives(t, f.Name, b), f.Name); r != nil {
					t.Errorf("%s: %q in zeros is %+v", f.Name, m.Bytes, r.Fields)
				}
			}
		}
	}
}

func TestEachContainerSaysWhatItsProtectionIsWorth(t *testing.T) {
	for name, s := range samples {
		r := formattest.First(formattest.Open(t, s.Make(t)), name)
		if r == nil || r.Field("protection") == "" {
			t.Errorf("%s says nothing", name)
			continue
		}
		for _, c := range r.Checks {
			if c.Worth != firmware.IntegrityOnly {
				t.Errorf("%s: %s is worth %q", name, c.Name, c.Worth)
			}
		}
	}
	for _, f := range firmware.Formats() {
		if _, ours := samples[f.Name]; ours && (f.About == "" || f.Integrity == "" || f.Authenticity == "") {
			t.Errorf("%s is not described", f.Name)
		}
	}
}
