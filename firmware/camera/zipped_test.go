package camera_test

import (
	"archive/zip"
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"hash/crc32"
	"reflect"
	"slices"
	"strings"
	"testing"

	"assay/firmware"
	"assay/firmware/internal/formattest"
)

// zipped skips where no package reads zip archives.
func zipped(build func(testing.TB) []byte) func(testing.TB) []byte {
	return func(t testing.TB) []byte {
		t.Helper()
		if !slices.ContainsFunc(firmware.Formats(), func(f firmware.Format) bool { return f.Name == "zip" }) {
			t.Skip("zip archives are not read")
		}
		return build(t)
	}
}

type zipFile struct {
	name string
	data []byte
}

func makeZip(t testing.TB, files []zipFile) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, f := range files {
		w, err := z.CreateRaw(&zip.FileHeader{
			Name: f.name, Method: zip.Store, CRC32: crc32.ChecksumIEEE(f.data), CompressedSize64: uint64(len(f.data)), UncompressedSize64: uint64(len(f.data)),
		})
		if err != nil {
			t.Fatal(err)
		}
		w.Write(f.data)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// placed is a uImage for a place in flash.
func placed(start, end uint32, data []byte) []byte {
	b := makeUImage(5, "romfs", data)
	binary.BigEndian.PutUint32(b[16:], start)
	binary.BigEndian.PutUint32(b[20:], end)
	clear(b[4:8])
	binary.BigEndian.PutUint32(b[4:], crc32.ChecksumIEEE(b[:64]))
	return b
}

const dahuaLines = `# Version=3
#  name   cs  offset              size
  U-Boot, 0, 0x0000000000000000, 0x0000000000040000, RW, , , , 0xffffffffffffffff
  Kernel, 0, 0x0000000000050000, 0x0000000000010000, RW, , , , 0xffffffffffffffff
  romfs,  0, 0x0000000000060000, 0x0000000000020000, RW, R, squashfs, , 0xffffffffffffffff
`

// makeCramFS has one file of one block.
func makeCramFS(name string, data []byte) []byte {
	var packed bytes.Buffer
	z := zlib.NewWriter(&packed)
	z.Write(data)
	z.Close()
	padded := make([]byte, (len(name)+3)&^3)
	copy(padded, name)
	const super = 76
	at := super + 12 + len(padded)
	b := make([]byte, at+4)
	put(b, 0, 0x28cd3d45, 0, 3, 0)
	copy(b[16:], "Compressed ROMFS")
	copy(b[48:], "Compressed")
	put(b, 36, 0, 1, 2)
	put(b, 64, 0o040755, uint32(12+len(padded)), super/4<<6)
	put(b, super, 0o100644, uint32(len(data)), uint32(len(padded)/4|at/4<<6))
	copy(b[super+12:], padded)
	put(b, at, uint32(at+4+packed.Len()))
	b = append(b, packed.Bytes()...)
	b = append(b, make([]byte, -len(b)&15)...)
	put(b, 4, uint32(len(b)))
	put(b, 32, crc32.ChecksumIEEE(b))
	return b
}

func dahuaFiles() []zipFile {
	return []zipFile{
		{"Install", []byte(`{"Commands": ["burn kernel.img kernel", "burn romfs-x.squashfs.img rootfs"], "Devices": [["IPC-EXAMPLE", "1.00"]], "Vendor": "Example", "Version": {"SoftwareVersion": "V2.800"}}` + "\n//end\n")},
		{"check.img", append(makeUImage(5, "check", nil), `{"hwid": ["IPC-EXAMPLE:01:02"], "FlashSize": "16M"}`...)},
		{"hwid", []byte(`{"hwid": ["IPC-EXAMPLE:01:02"]}`)},
		{"kernel.img", placed(0x50000, 0x60000, kernelImage())},
		{"romfs-x.squashfs.img", placed(0x60000, 0x80000, formattest.Text(100))},
		{"partition-x.cramfs.img", placed(0x40000, 0x50000, makeCramFS("partitionV2.txt", []byte(dahuaLines)))},
		{"sign.img", formattest.Noise(32, 5)},
	}
}

func makeDahua(t testing.TB) []byte {
	b := makeZip(t, dahuaFiles())
	copy(b, "DH")
	return b
}

func xiongmaiFiles() []zipFile {
	return []zipFile{
		{"InstallDesc", []byte(`{"Hardware": "EXAMPLE_50H20", "DevID": "000000", "CompatibleVersion": 2, "Vendor": "General", "UpgradeCommand": [{"Command": "Burn", "FileName": "romfs-x.cramfs.img"}]}`)},
		{"romfs-x.cramfs.img", placed(0x60000, 0x80000, formattest.Text(100))},
	}
}

func makeXiongmai(t testing.TB) []byte { return makeZip(t, xiongmaiFiles()) }

func TestADahuaPackageSaysWhatItIsForAndWhereItGoes(t *testing.T) {
	r := top(t, zipped(makeDahua)(t))
	for field, want := range map[string]string{
		"installer":                         "Install, 2 commands",
		"vendor":                            "Example",
		"software version":                  "V2.800",
		"devices":                           "IPC-EXAMPLE 1.00",
		"hardware":                          `{"hwid": ["IPC-EXAMPLE:01:02"]}`,
		"check: FlashSize":                  "16M",
		"claimed flash layout":              "partitionV2.txt: U-Boot at 0x0+0x40000, Kernel at 0x50000+0x10000, romfs at 0x60000+0x20000",
		"signature":                         "sign.img of 32 bytes, of a format that is not public, not verified here",
		"images that Install does not burn": "partition-x.cramfs.img",
	} {
		if r.Field(field) != want {
			t.Errorf("%s: %q", field, r.Field(field))
		}
	}
	if len(r.Children) != 1 || r.Children[0].Format != "zip" || len(r.Problems) != 0 {
		t.Errorf("%+v", r)
	}
	var images []string
	for _, f := range r.Fields {
		if f.Name == "image" {
			images = append(images, f.Value)
		}
	}
	if want := "kernel.img, 264 bytes for flash from 0x50000 to 0x60000"; !slices.Contains(images, want) || len(images) != 5 {
		t.Errorf("%q", images)
	}
}

func TestADahuaPackageThatContradictsItselfIsAProblem(t *testing.T) {
	for name, c := range map[string]struct {
		change func(files []zipFile) []zipFile
		want   string
	}{
		"an image between two partitions": {func(f []zipFile) []zipFile {
			f[3].data = placed(0x58000, 0x60000, kernelImage())
			return f
		}, `"kernel.img" is for flash from 0x58000 to 0x60000, and the table has Kernel from 0x50000 to 0x60000`},
		"an image too large": {func(f []zipFile) []zipFile {
			f[4].data = placed(0x60000, 0x80000, make([]byte, 0x20001))
			return f
		}, `"romfs-x.squashfs.img" has 131073 bytes and is for 131072 of flash`},
		"an image that is not there": {func(f []zipFile) []zipFile { return append(f[:3:3], f[4:]...) }, `Install burns "kernel.img", which is not in the package`},
		"a table that is none": {func(f []zipFile) []zipFile {
			f[5].data = []byte("nothing")
			return f
		}, "partition-x.cramfs.img: "},
	} {
		b := zipped(func(t testing.TB) []byte { return makeZip(t, c.change(dahuaFiles())) })(t)
		if r := top(t, b); r.Format != "dahua-package" || !strings.Contains(problems(r), c.want) {
			t.Errorf("%s: %s %q", name, r.Format, r.Problems)
		}
	}
	b := zipped(func(t testing.TB) []byte { return makeZip(t, dahuaFiles()[:6]) })(t)
	if r := top(t, b); r.Field("signature") != "none: there is no sign.img" {
		t.Errorf("unsigned: %q", r.Field("signature"))
	}
	b = zipped(func(t testing.TB) []byte { return makeZip(t, []zipFile{{"hwid", []byte("x")}, {"readme", nil}}) })(t)
	if r := top(t, b); r.Format != "zip" {
		t.Errorf("without images it is %s", r.Format)
	}
}

func TestAXiongmaiPackageSaysWhatItIsForAndWhatItBurns(t *testing.T) {
	r := top(t, zipped(makeXiongmai)(t))
	got := map[string]string{}
	for _, f := range r.Fields {
		got[f.Name] = f.Value
	}
	delete(got, "protection")
	if want := map[string]string{"hardware": "EXAMPLE_50H20", "device": "000000", "vendor": "General", "compatible version": "2", "command": "Burn romfs-x.cramfs.img"}; !reflect.DeepEqual(got, want) || len(r.Problems) != 0 {
		t.Errorf("%v: %q", got, r.Problems)
	}
	for name, c := range map[string]struct{ script, want string }{
		"an image that is not there": {`{"UpgradeCommand": [{"Command": "Burn", "FileName": "../x"}]}`, `InstallDesc names "../x", which is not in the package`},
		"a script that is none":      {"[1, 2", "is not the JSON that is known"},
	} {
		b := zipped(func(t testing.TB) []byte { return makeZip(t, []zipFile{{"InstallDesc", []byte(c.script)}}) })(t)
		if r := top(t, b); r.Format != "xiongmai-package" || !strings.Contains(problems(r), c.want) {
			t.Errorf("%s: %s %q", name, r.Format, r.Problems)
		}
	}
}
