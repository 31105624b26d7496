package format_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"assay/firmware"
	"assay/firmware/internal/formattest"
)

func init() {
	samples["maxlinear-uimage"] = formattest.Sample{Make: func(testing.TB) []byte { return makeMaxLinear(formattest.Noise(300, 3), formattest.Noise(200, 4)) }, State: firmware.Parsed, Role: firmware.RoleContainer, Fuzz: "FuzzMaxLinear"}
}

func FuzzMaxLinear(f *testing.F) { fuzz(f, "maxlinear-uimage") }

func makeMaxLinear(parts ...[]byte) []byte {
	b := make([]byte, 160)
	copy(b, "VER2Intel_Unified_Image")
	binary.BigEndian.PutUint32(b[40:], uint32(len(parts)))
	for i, p := range parts {
		binary.BigEndian.PutUint32(b[92+4*i:], uint32(len(p)))
		b[132+i] = []byte{8, 9, 77}[i]
		b = append(b, p...)
	}
	return b
}

func TestMembersBehindEachOtherAreOneStream(t *testing.T) {
	one, two := formattest.Text(5000), formattest.Noise(3000, 7)
	xz := func(b []byte) []byte { return pipe(t, b, "xz", "xz-utils", "-c") }
	bz := func(b []byte) []byte { return pipe(t, b, "bzip2", "bzip2", "-c") }
	broken := xz(two)
	broken[len(broken)/2] ^= 1
	for _, c := range []struct {
		name, format string
		packed       []byte
		behind       []byte
		members      string
		plain        []byte
	}{
		{"gzip", "gzip", slices.Concat(gzipped(one), gzipped(two), gzipped(one)), nil, "3", slices.Concat(one, two, one)},
		{"one gzip", "gzip", gzipped(one), []byte("\x1f\x8b\x08\x00 and no more"), "", one},
		{"xz", "xz", slices.Concat(xz(one), xz(two)), nil, "2", slices.Concat(one, two)},
		{"xz with padding between", "xz", slices.Concat(xz(one), make([]byte, 8), xz(two)), nil, "2", slices.Concat(one, two)},
		{"xz with padding that is no multiple of four", "xz", xz(one), slices.Concat(make([]byte, 7), xz(two)), "", one},
		{"xz and a broken one", "xz", xz(one), broken, "", one},
		{"bzip2", "bzip2", slices.Concat(bz(one), bz(two)), nil, "2", slices.Concat(one, two)},
	} {
		t.Run(c.name, func(t *testing.T) {
			img := formattest.Open(t, slices.Concat(c.packed, c.behind, formattest.Noise(5000, 2)))
			r := img.Regions[0]
			if r.Format != c.format || r.Size != int64(len(c.packed)) || r.State != firmware.Proven || r.Field("members") != c.members {
				t.Fatalf("want %d bytes: %v %v", len(c.packed), formattest.Outline(img), r.Fields)
			}
			if r.Contents.SHA256 != fmt.Sprintf("%x", sha256.Sum256(c.plain)) {
				t.Error("it unpacks to something else")
			}
		})
	}
}

func TestKernelsAsBuildsPackThemAreUnpacked(t *testing.T) {
	kernel := append([]byte("\x01\x02"+linuxBanner), formattest.Text(9<<20)...)
	size := binary.LittleEndian.AppendUint32(nil, uint32(len(kernel)))
	lzma := pipe(t, kernel, "lzma", "xz-utils", "-1", "-c")
	streamed := bytes.Clone(lzma)
	copy(streamed[5:], bytes.Repeat([]byte{0xff}, 8)) // no size: the stream must have an end mark, as xz writes
	for _, c := range []struct {
		name   string
		comp   byte
		packed []byte
		format string
	}{
		{"legacy LZ4 of several blocks, with the size behind it", 5, append(pipe(t, kernel, "lz4", "lz4", "-q", "-l", "-c"), size...), "lz4-legacy"},
		{"LZMA with a size that is not known", 3, streamed, "lzma"},
		{"gzip with padding", 1, append(gzipped(kernel), make([]byte, 3000)...), "gzip"},
		{"bzip2", 2, pipe(t, kernel[:200_000], "bzip2", "bzip2", "-c"), "bzip2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			img := formattest.Open(t, makeUImage(2, c.comp, c.packed))
			r := img.Regions[0]
			if r.Format != "uimage" || r.State != firmware.Proven || len(r.Problems) > 0 || formattest.First(img, c.format) == nil {
				t.Fatalf("%s %q", r.State, r.Problems)
			}
			if k := formattest.First(img, "linux"); k == nil || k.Name != "Linux 4.9.37" {
				t.Errorf("no kernel: %+v", k)
			}
		})
	}
}

func TestImagesWithAnotherMagicNeedTheirHeaderSum(t *testing.T) {
	for _, magic := range []string{"OKLI", "\x83\x80\x00\x00"} {
		b := makeUImage(2, 0, formattest.Noise(500, 3))
		copy(b, magic)
		if r := formattest.First(formattest.Open(t, b), "uimage"); r != nil {
			t.Errorf("%q: %+v", magic, r)
		}
		reseal(b)
		if r := formattest.Open(t, b).Regions[0]; r.Format != "uimage" || r.State != firmware.Proven || !strings.Contains(r.Field("magic"), "not U-Boot's") {
			t.Errorf("%q: %+v", magic, r)
		}
	}
}

func TestAUnifiedImageHasItsParts(t *testing.T) {
	b := makeMaxLinear(packText(3000), formattest.Noise(700, 4), formattest.Noise(50, 5))
	img := formattest.Open(t, append(bytes.Clone(b), formattest.Noise(90, 6)...))
	r := img.Regions[0]
	if r.Format != "maxlinear-uimage" || r.Size != int64(len(b)) || len(r.Children) != 3 || r.Children[0].Role != firmware.RoleKernel || r.Children[1].Name != "armrootfs.hsqs" {
		t.Fatalf("%+v", r)
	}
	if r := formattest.Open(t, b[:700]).Regions[0]; r.State != firmware.Opaque || len(r.Problems) == 0 {
		t.Errorf("cut: %+v", r)
	}
}
