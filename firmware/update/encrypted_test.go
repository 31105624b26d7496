package update_test

import (
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"assay/firmware"
	"assay/firmware/internal/formattest"
	"assay/internal/peer"
)

func init() {
	samples["openssl-salted"] = formattest.Sample{Make: func(t testing.TB) []byte { return salted(t, formattest.Text(3000)) }, State: firmware.Opaque, Role: firmware.RoleContainer, Fuzz: "FuzzSalted"}
	samples["matter-ota"] = formattest.Sample{Make: func(testing.TB) []byte { return makeMatterOTA(formattest.Noise(900, 3)) }, State: firmware.Proven, Role: firmware.RoleContainer, Fuzz: "FuzzMatterOTA"}
	samples["dlink-shrs"] = formattest.Sample{Make: func(testing.TB) []byte { return makeSHRS(formattest.Noise(1024, 3)) }, State: firmware.Proven, Role: firmware.RoleContainer, Fuzz: "FuzzSHRS"}
	samples["dlink-encrpted_img"] = formattest.Sample{Make: func(testing.TB) []byte {
		return append(binary.BigEndian.AppendUint32([]byte("encrpted_img"), 2000), formattest.Noise(2000, 3)...)
	}, State: firmware.Parsed, Role: firmware.RoleContainer, Fuzz: "FuzzEncrptedImg"}
	samples["dlink-mh01"] = formattest.Sample{Make: func(t testing.TB) []byte { return makeMH01(salted(t, formattest.Text(2000))) }, State: firmware.Proven, Role: firmware.RoleContainer, Fuzz: "FuzzMH01"}
}

func FuzzSalted(f *testing.F)      { fuzz(f, "openssl-salted") }
func FuzzMatterOTA(f *testing.F)   { fuzz(f, "matter-ota") }
func FuzzSHRS(f *testing.F)        { fuzz(f, "dlink-shrs") }
func FuzzEncrptedImg(f *testing.F) { fuzz(f, "dlink-encrpted_img") }
func FuzzMH01(f *testing.F)        { fuzz(f, "dlink-mh01") }

func salted(t testing.TB, plain []byte, args ...string) []byte {
	t.Helper()
	if args == nil {
		args = []string{"-aes-128-cbc", "-md", "md5"}
	}
	cmd := exec.Command(peer.Need(t, "openssl", "openssl"), append([]string{"enc", "-pass", "pass:x"}, args...)...)
	cmd.Stdin = bytes.NewReader(plain)
	b, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestWhatOpensslEncryptsIsOpaqueWithItsSalt(t *testing.T) {
	for name, b := range map[string][]byte{
		"AES-128-CBC": salted(t, formattest.Text(50_000)),
		"AES-256-CTR": salted(t, formattest.Text(50_001), "-aes-256-ctr", "-pbkdf2"),
		"few bytes":   salted(t, []byte("secret")),
	} {
		r := formattest.Open(t, b).Regions[0]
		if r.Format != "openssl-salted" || r.State != firmware.Opaque || r.Size != int64(len(b)) || r.Field("salt") != fmt.Sprintf("%x", b[8:16]) || !strings.Contains(r.Field("content"), "key not known") {
			t.Errorf("%s: %+v", name, r)
		}
		if c := r.Children[0]; c.State != firmware.Opaque || c.Entropy < 3 {
			t.Errorf("%s: %+v", name, c)
		}
	}
	// In a flash it ends at the erased rest, and what follows is found.
	b := salted(t, formattest.Text(50_000))
	flash := append(append(bytes.Clone(b), bytes.Repeat([]byte{0xff}, 0x10000-len(b))...), makeMCUboot(formattest.Noise(900, 2))...)
	img := formattest.Open(t, flash)
	if len(img.Regions) != 3 || img.Regions[0].Size != int64(len(b)) || img.Regions[2].Format != "mcuboot" {
		t.Errorf("%v", formattest.Outline(img))
	}
	// The word alone, as in the program itself, is nothing.
	text := append([]byte("\x00Salted__\x00bad magic number\x00error reading input file\x00"), make([]byte, 3000)...)
	if r := formattest.First(formattest.Open(t, text), "openssl-salted"); r != nil {
		t.Errorf("%+v", r)
	}
}

// makeMatterOTA writes an image by the Matter Core Specification, 11.21.
func makeMatterOTA(payload []byte) []byte {
	sum := sha256.Sum256(payload)
	h := []byte{0x15, 0x25, 0, 0xf1, 0xff, 0x25, 1, 1, 0x80, 0x26, 2, 7, 0, 0, 0, 0x2c, 3, 3, '0', '.', '7', 0x26, 4}
	h = binary.LittleEndian.AppendUint32(h, uint32(len(payload)))
	h = append(h, 0x24, 8, 1, 0x30, 9, 32)
	h = append(append(h, sum[:]...), 0x18)
	b := binary.LittleEndian.AppendUint32(nil, 0x1beef11e)
	b = binary.LittleEndian.AppendUint64(b, uint64(16+len(h)+len(payload)))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(h)))
	return append(append(b, h...), payload...)
}

func makeSHRS(payload []byte) []byte {
	b := make([]byte, 0x6dc)
	copy(b, "SHRS")
	binary.BigEndian.PutUint32(b[4:], uint32(len(payload)))
	binary.BigEndian.PutUint32(b[8:], uint32(len(payload))-5)
	sum := sha512.Sum512(payload)
	copy(b[0x9c:], sum[:])
	copy(b[0x2dc:], formattest.Noise(512, 4))
	return append(b, payload...)
}

func makeMH01(payload []byte) []byte {
	le := binary.LittleEndian
	b := make([]byte, 32)
	copy(b, "MH01")
	copy(b[16:], "MH01")
	le.PutUint32(b[4:], uint32(16+33+len(payload)))
	le.PutUint32(b[8:], 256)
	le.PutUint32(b[20:], 33)
	le.PutUint32(b[24:], uint32(len(payload)))
	b = fmt.Appendf(b, "%x\n", md5.Sum(payload))
	return append(append(b, payload...), formattest.Noise(256, 5)...)
}

func TestSamplesOfOtherProjectsAreReadAsWhatTheyAre(t *testing.T) {
	for name, want := range map[string]string{
		"dlink/test.dec":         "[0x0+0x6fc dlink-shrs proven]",
		"dlink/fw_mh01_test.bin": "[0x0+0x281 dlink-mh01 parsed]",
		"binwalk/matter_ota.bin": "[0x0+0x60 matter-ota proven]",
	} {
		img := formattest.Open(t, sampleOf(t, name))
		if got := fmt.Sprint(formattest.Outline(img)); got != want {
			t.Errorf("%s: %s, want %s: %q", name, got, want, img.Regions[0].Problems)
		}
	}
	img := formattest.Open(t, sampleOf(t, "dlink/fw_mh01_test.bin"))
	if s := formattest.First(img, "openssl-salted"); s == nil || s.Field("salt") != "fc42c7dd077b185b" || s.Size != 0x140 {
		t.Errorf("%+v", s)
	}
	img = formattest.Open(t, sampleOf(t, "binwalk/matter_ota.bin"))
	if r := img.Regions[0]; r.Field("software version string") != "1.2.120.0" || r.Field("vendor id") != "0x1234" {
		t.Errorf("%v", r.Fields)
	}
}
