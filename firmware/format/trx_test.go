package format_test

import (
	"encoding/binary"
	"hash/crc32"
	"strings"
	"testing"

	"assay/firmware"
	"assay/firmware/internal/formattest"
)

// makeTRX puts parts behind each other, each at a multiple of 64 bytes.
func makeTRX(version int, parts ...[]byte) []byte {
	le := binary.LittleEndian
	b := make([]byte, 24+4*version)
	copy(b, "HDR0")
	b[14] = byte(version)
	for i, p := range parts {
		if i > 0 {
			b = append(b, make([]byte, -len(b)&63)...)
		}
		le.PutUint32(b[16+4*i:], uint32(len(b)))
		b = append(b, p...)
	}
	le.PutUint32(b[4:], uint32(len(b)))
	le.PutUint32(b[8:], ^crc32.ChecksumIEEE(b[12:]))
	return b
}

func init() {
	samples["trx"] = formattest.Sample{Make: func(testing.TB) []byte { return makeTRX(1, gzipped(formattest.Text(3000)), formattest.Noise(900, 4)) }, State: firmware.Proven, Role: firmware.RoleContainer, Fuzz: "FuzzTRX"}
}

func TestTheThreeOrFourPartsOfATRXAreAnalysedAtTheirPlaces(t *testing.T) {
	kernel := packText(9000)
	for version, parts := range map[int][][]byte{
		1: {gzipped(formattest.Text(2000)), kernel, makeUImage(2, 0, formattest.Noise(700, 3))},
		2: {gzipped(formattest.Text(2000)), kernel, makeUImage(2, 0, formattest.Noise(700, 3)), formattest.Noise(300, 6)},
	} {
		b := makeTRX(version, parts...)
		img := formattest.Open(t, append(b, formattest.Noise(5000, 2)...))
		r := img.Regions[0]
		if r.Format != "trx" || r.State != firmware.Proven || r.Size != int64(len(b)) || len(r.Children) != len(parts) || formattest.First(img, "linux") == nil {
			t.Errorf("version %d: %v, %+v", version, formattest.Outline(img), r)
		}
		b[len(b)-1] ^= 1
		if r := formattest.Open(t, b).Regions[0]; r.State != firmware.Parsed || r.Checks[0].OK || len(r.Children) != len(parts) {
			t.Errorf("version %d with a changed bit: %+v", version, r)
		}
	}
}

func TestATRXWithPartsOutOfPlaceIsNone(t *testing.T) {
	for name, change := range map[string]func(b []byte){
		"version 3":                 func(b []byte) { b[14] = 3 },
		"a part in the header":      func(b []byte) { b[16] = 8 },
		"a part past the end":       func(b []byte) { b[23] = 0x7f },
		"parts in the wrong order":  func(b []byte) { copy(b[20:24], b[16:20]) },
		"no parts":                  func(b []byte) { clear(b[16:28]) },
		"a size less than a header": func(b []byte) { clear(b[4:8]) },
	} {
		b := makeTRX(1, formattest.Text(100), formattest.Text(200))
		change(b)
		if r := formattest.First(formattest.Survives(t, name, b), "trx"); r != nil {
			t.Errorf("%s: %+v", name, r)
		}
	}
	b := makeTRX(1, formattest.Text(100), formattest.Text(2000))
	r := formattest.Survives(t, "cut", b[:len(b)-500]).Regions[0]
	if r.Format != "trx" || r.State != firmware.Opaque || !strings.Contains(problems(r), "declares") {
		t.Errorf("%+v", r)
	}
}
