package camera_test

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"assay/firmware"
	"assay/firmware/internal/formattest"
)

// The shared sample collection lies beside a checkout, or not at all.
const corpus = "../../../shared/corpus/firmware/format"

// digest is the beginning of a SHA-256.
func digest(b []byte) string { return fmt.Sprintf("%x", sha256.Sum256(b))[:16] }

// contents are what a region holds: its children by place, its files by path,
// with the digests of their bytes.
func contents(t *testing.T, r *firmware.Region) []string {
	t.Helper()
	var list []string
	for _, c := range r.Children {
		line := fmt.Sprintf("%#x+%d %s %s %s", c.Offset, c.Size, c.Name, c.Role, c.State)
		if c.Format == "" {
			line += " " + c.SHA256[:16]
		} else {
			line += " " + c.Format
		}
		list = append(list, line)
	}
	if r.FS == nil {
		return list
	}
	err := fs.WalkDir(r.FS, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(r.FS, name)
		list = append(list, fmt.Sprintf("%s %d %s", name, len(b), digest(b)))
		return err
	})
	if err != nil {
		t.Error(err)
	}
	return list
}

func TestTheSamplesOfOtherProjectsHoldWhatTheirToolsFind(t *testing.T) {
	if _, err := os.Stat(corpus); err != nil {
		t.Skipf("no sample collection at %s", corpus)
	}
	for file, want := range map[string]struct {
		format   string
		size     int64
		state    firmware.State
		fields   map[string]string
		contents []string
		problems []string
	}{
		"bneg/test.bneg": {format: "instar-bneg", size: 35, state: firmware.Parsed, fields: map[string]string{"version": "1.2"}, contents: []string{
			"0x14+7 kernel kernel opaque " + digest([]byte("foobar\n")),
			"0x1b+8 root file system root-filesystem opaque " + digest([]byte("test123\n")),
		}},
		"grain_media/test.gm8126": {format: "grain-media-gm8126", size: 266, state: firmware.Parsed, fields: map[string]string{"payload size": "10"}, contents: []string{
			"0x100+10 image name  opaque " + digest([]byte("foobar 123")),
		}},
		"tenvis_pk2/test.pk2": {format: "tenvis-pk2", size: 158, state: firmware.Proven, fields: map[string]string{
			"camera type": "1234", "created": "2024-08-12T12:26:23Z", "sections": "3", "command": `echo "foobar"`,
		}, contents: []string{
			"bar 10 " + digest([]byte("test\n1234\n")),
			"foo 7 " + digest([]byte("foobar\n")),
		}},
		"xiaomi_hdr/test.hdr1": {format: "xiaomi-hdr", size: 574, state: firmware.Parsed, fields: map[string]string{
			"device": "0x0047", "signature": "none: its 256 bytes at 0x13e are empty",
		}, contents: []string{
			"0x60+20 generic folder/test file 3_.txt  opaque " + digest([]byte("The third test file!")),
			"0xa4+62 testfile1  opaque " + digest([]byte("test file:\ncontent: MyTestRule 1.2.3\nVersion: Program 0.0.0.0\n")),
			"0x112+28 testfile2  opaque " + digest([]byte("This is the second test file")),
			"0x13e+256 signature  erased " + digest(make([]byte, 256)),
		}, problems: []string{"its CRC-32 does not hold"}},
		"boschtool/test.fw": {format: "bosch-fw", size: 2292, state: firmware.Parsed, fields: map[string]string{
			"target": "0x10", "version": "0.0.6.50", "declared length": "308", "parts": "1, of 1268 bytes together",
		}, contents: []string{"0x400+1268 target 0x999 firmware parsed bosch-fw"}},
		"ambarella/ambarella_rom.fs": {format: "ambarella-romfs", size: 20480, state: firmware.Parsed, fields: map[string]string{"files": "4", "padding": "1024 bytes"}, contents: []string{
			"SuperViewWarpTable_1440p3024_h.bin 3072 " + romfsDigests[0],
			"SuperViewWarpTable_1440p3024_v.bin 3072 " + romfsDigests[1],
			"SuperViewWarpTable_4kp30_h.bin 3072 " + romfsDigests[2],
			"SuperViewWarpTable_4kp30_v.bin 3072 " + romfsDigests[3],
		}},
	} {
		b, err := os.ReadFile(filepath.Join(corpus, file))
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		r := formattest.Open(t, b).Regions[0]
		if r.Format != want.format || r.Size != want.size || r.State != want.state || !reflect.DeepEqual(r.Problems, want.problems) {
			t.Errorf("%s is %s of %d bytes, %s: %q", file, r.Format, r.Size, r.State, r.Problems)
		}
		for name, value := range want.fields {
			if r.Field(name) != value {
				t.Errorf("%s: %s is %q, want %q", file, name, r.Field(name), value)
			}
		}
		if got := contents(t, r); !reflect.DeepEqual(got, want.contents) {
			t.Errorf("%s holds\n%q, want\n%q", file, got, want.contents)
		}
		if r.Field("protection") == "" {
			t.Errorf("%s: nothing is said of its protection", file)
		}
	}
}

func TestTheFilesUnderTheXOROfTheBoschSampleAreReadInPlain(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(corpus, "boschtool/test.fw"))
	if err != nil {
		t.Skip(err)
	}
	archive := formattest.First(formattest.Open(t, b), "bosch-archive")
	want := []string{"test_file_1.txt 23 " + digest([]byte("this is a test file!\n\n\x00")), "test_file_2.txt 29 " + digest([]byte("this is another test file!\n\n\x00"))}
	if archive == nil || archive.Size != 244 || len(archive.Problems) > 0 || !reflect.DeepEqual(contents(t, archive), want) {
		t.Errorf("%+v", archive)
	}
}

// The digests of the bytes at the places that the table of the sample has.
var romfsDigests = []string{"fbb41f0d620d5bf2", "6ea580b09c853241", "87fcd50246e51ea1", "7ef42c8c77a3233e"}
