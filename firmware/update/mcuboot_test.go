package update_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"os/exec"
	"strings"
	"testing"

	"assay/firmware"
	"assay/firmware/internal/formattest"
)

func init() {
	samples["mcuboot"] = formattest.Sample{Make: func(testing.TB) []byte { return makeMCUboot(formattest.Noise(700, 3)) }, State: firmware.Proven, Role: firmware.RoleFirmware, Fuzz: "FuzzMCUboot"}
	samples["mcuboot-trailer"] = formattest.Sample{Make: func(testing.TB) []byte {
		b := bytes.Repeat([]byte{0xff}, 24)
		b[0], b[8], b[16] = 3, 1, 1
		return append(b, "\x77\xc2\x95\xf3\x60\xd2\xef\x7f\x35\x52\x50\x0f\x2c\xb6\x79\x80"...)
	}, State: firmware.Parsed, Role: firmware.RoleData, Fuzz: "FuzzMCUbootTrailer"}
}

func FuzzMCUboot(f *testing.F)        { fuzz(f, "mcuboot") }
func FuzzMCUbootTrailer(f *testing.F) { fuzz(f, "mcuboot-trailer") }

// makeMCUboot writes an image by MCUboot's docs/design.md, with a dependency as
// protected record, a hash and a signature that is none.
func makeMCUboot(program []byte) []byte {
	le := binary.LittleEndian
	b := make([]byte, 32)
	le.PutUint32(b, 0x96f3b83d)
	le.PutUint16(b[8:], 32)
	le.PutUint16(b[10:], 4+4+12)
	le.PutUint32(b[12:], uint32(len(program)))
	b[20], b[21], b[22], b[24] = 1, 2, 3, 4
	b = append(b, program...)
	b = append(b, 0x08, 0x69, 20, 0, 0x40, 0, 12, 0, 1, 0, 0, 0, 2, 5, 7, 0, 9, 0, 0, 0)
	sum := sha256.Sum256(b)
	b = append(b, 0x07, 0x69, 4+36+4+70, 0, 0x10, 0, 32, 0)
	b = append(b, sum[:]...)
	b = append(b, 0x22, 0, 70, 0)
	return append(b, formattest.Noise(70, 6)...)
}

func TestTheHashOfAnMCUbootImageIsComputed(t *testing.T) {
	b := makeMCUboot(formattest.Noise(5000, 3))
	r := formattest.Open(t, append(bytes.Clone(b), formattest.Noise(900, 4)...)).Regions[0]
	if r.Format != "mcuboot" || r.State != firmware.Proven || r.Size != int64(len(b)) || r.Field("version") != "1.2.3+4" || r.Field("DEPENDENCY (protected)") != "image 1, 2.5.7+9" {
		t.Fatalf("%+v", r)
	}
	for _, at := range []int{40, 4000, 5040} { // program, and a protected record
		bad := bytes.Clone(b)
		bad[at] ^= 1
		if r := formattest.Survives(t, "a bit", bad).Regions[0]; r.Format != "mcuboot" || r.State != firmware.Parsed {
			t.Errorf("bit at %d: %+v", at, r)
		}
	}
}

func TestImagesOfImgtoolAreProven(t *testing.T) {
	imgtool, err := exec.LookPath("imgtool")
	if err != nil {
		t.Skip("imgtool is not installed: pip install imgtool, and put it on PATH")
	}
	dir := t.TempDir()
	do := func(args ...string) {
		cmd := exec.Command(imgtool, args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("imgtool %v: %v\n%s", args, err, out)
		}
	}
	program := formattest.Noise(20_000, 7)
	write(t, dir, "in.bin", program)
	for _, c := range []struct {
		name, key, signature string
		args                 []string
		state                firmware.State
	}{
		{"RSA-2048", "rsa-2048", "RSA2048_PSS", nil, firmware.Proven},
		{"RSA-3072", "rsa-3072", "RSA3072_PSS", nil, firmware.Proven},
		{"ECDSA P-256", "ecdsa-p256", "ECDSA_SIG", nil, firmware.Proven},
		{"ECDSA P-384 with SHA-384", "ecdsa-p384", "ECDSA_SIG", nil, firmware.Proven},
		{"Ed25519", "ed25519", "ED25519", nil, firmware.Proven},
		{"protected records", "ecdsa-p256", "ECDSA_SIG", []string{"-s", "7", "-d", "(1, 1.2.3+0)", "--boot-record", "App"}, firmware.Proven},
		{"big endian", "ecdsa-p256", "ECDSA_SIG", []string{"-e", "big"}, firmware.Proven},
		{"a slot, confirmed", "ecdsa-p256", "ECDSA_SIG", []string{"--confirm"}, firmware.Proven},
		{"a slot of another alignment", "ecdsa-p256", "ECDSA_SIG", []string{"--confirm", "--align", "16", "--max-align", "16"}, firmware.Proven},
		{"encrypted", "ecdsa-p256", "ECDSA_SIG", []string{"-E", "enc.pub"}, firmware.Parsed},
	} {
		t.Run(c.name, func(t *testing.T) {
			do("keygen", "-k", "key.pem", "-t", c.key)
			if c.name == "encrypted" {
				do("keygen", "-k", "enc.pem", "-t", "ecdsa-p256")
				do("getpub", "-k", "enc.pem", "-e", "pem", "-o", "enc.pub")
			}
			do(append([]string{"sign", "-k", "key.pem", "-v", "1.2.3+4", "-H", "256", "--pad-header", "-S", "65536"}, append(c.args, "in.bin", "out.bin")...)...)
			img := formattest.Open(t, read(t, dir, "out.bin"))
			r := img.Regions[0]
			if r.Format != "mcuboot" || r.State != c.state || r.Field("version") != "1.2.3+4" || !strings.Contains(r.Field(c.signature), "not verified here") {
				t.Fatalf("%v: %+v", formattest.Outline(img), r)
			}
			trailer := formattest.First(img, "mcuboot-trailer")
			if slot := strings.Contains(c.name, "slot"); slot != (trailer != nil) || slot && (trailer.Field("image ok") != "set" || trailer.End() != 65536) {
				t.Errorf("trailer %+v", trailer)
			}
		})
	}
}
