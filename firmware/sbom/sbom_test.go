package sbom

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"assay/firmware"
	"assay/firmware/elf"
	_ "assay/firmware/filesystem"
	_ "assay/firmware/format"
	"assay/firmware/inventory"
	"assay/internal/peer"
)

// published is the schema of CycloneDX 1.6 as its makers publish it.
func published(t *testing.T) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	for url, name := range map[string]string{
		"http://cyclonedx.org/schema/bom-1.6.schema.json":           "bom-1.6.schema.json",
		"http://cyclonedx.org/schema/spdx.SNAPSHOT.schema.json":     "spdx.schema.json",
		"http://cyclonedx.org/schema/jsf-0.82.SNAPSHOT.schema.json": "jsf-0.82.schema.json",
	} {
		text, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if err := c.AddResource(url, doc); err != nil {
			t.Fatal(err)
		}
	}
	schema, err := c.Compile("http://cyclonedx.org/schema/bom-1.6.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

var when = time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)

func write(t *testing.T, img *firmware.Image, report *inventory.Report) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := Write(&out, img, report, Options{Name: "flash.bin", Time: when, Tool: "1.2.3"}); err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(out.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	if err := published(t).Validate(doc); err != nil {
		t.Fatalf("%#v\n%s", err, out.Bytes()[:min(2000, out.Len())])
	}
	return out.Bytes()
}

func sum(b byte) string { return strings.Repeat(fmt.Sprintf("%02x", b), 32) }

// nested is an image with a file system in a container, an archive among its
// files, two files that print alike, and bytes that nobody knows.
func nested() *firmware.Image {
	file := func(path string, n byte) *firmware.File {
		return &firmware.File{Path: path, Mode: 0o755, Size: int64(n), SHA256: sum(n)}
	}
	archive := file("home/app.tar", 9)
	archive.Contents = &firmware.Image{Size: 9, SHA256: sum(9), Regions: []*firmware.Region{{Size: 9, Format: "tar", State: firmware.Parsed, SHA256: sum(9), Files: []*firmware.File{file("app", 10)}}}}
	return &firmware.Image{Size: 4096, SHA256: sum(0xab), Regions: []*firmware.Region{
		{Size: 1024, Format: "trx", State: firmware.Proven, SHA256: sum(1), Children: []*firmware.Region{{
			Offset: 64, Size: 960, Format: "squashfs", Role: firmware.RoleRootFS, State: firmware.Proven, SHA256: sum(2),
			Files: []*firmware.File{
				{Path: "bin", Mode: fs.ModeDir | 0o755}, file("bin/busybox", 3), {Path: "bin/ls", Mode: fs.ModeSymlink | 0o777, Target: "busybox"},
				file("lib/libx.so.1", 4), file("lib/a\x01", 5), file("lib/a\x02", 6), archive,
				{Path: "broken", Mode: 0o644, Size: 5, Problem: "it cannot be read"},
			},
		}}},
		{Offset: 1024, Size: 1024, State: firmware.Opaque, SHA256: sum(7)},
		{Offset: 2048, Size: 2048, State: firmware.Erased, SHA256: sum(8)},
	}}
}

func found() *inventory.Report {
	root := "trx@0x0/squashfs@0x40"
	return &inventory.Report{
		Components: []inventory.Component{
			{Name: "BusyBox", Version: "1.31.1", Evidence: inventory.ByBanner, Path: root + "/bin/busybox", Offset: 77, Match: "BusyBox v1.31.1 (2026-05-07 10:11:12 UTC)", Applets: []string{"bin/ls", "bin/sh"}},
			{Name: "Linux", Version: "4.9.37-hi+", Evidence: inventory.ByVermagic, Path: root + "/hi.ko", Match: "4.9.37-hi+ SMP"},
			{Name: "Ingenic IMP", Evidence: inventory.BySymbols, Path: root + "/lib/libx.so.1", Match: "IMP_System_Init"},
		},
		Modules:  []inventory.Module{{Name: "hi_osal", Vermagic: "4.9.37 SMP", License: "Proprietary", Path: root + "/hi.ko"}},
		Packages: []inventory.Package{{Manager: "opkg", Name: "libc", Version: "1.1.24-2", Architecture: "mipsel", License: "MIT", Path: root + "/usr/lib/opkg/status"}},
		Files: []inventory.ELF{
			{Path: root + "/bin/busybox", Arch: "arm", Type: "executable", Needed: []string{"libx.so.1", "libc.so.0"}, Hardening: elf.Hardening{NX: elf.Yes}},
			{Path: root + "/lib/libx.so.1", Arch: "arm", Type: "shared", Soname: "libx.so.1"},
		},
		Certificates: []inventory.Certificate{
			{Subject: "CN=unit,O=Example", Issuer: "CN=ca", Serial: "7f", NotBefore: when, NotAfter: when.AddDate(10, 0, 0), SHA256: sum(20), Algorithm: "RSA 2048", SPKI: sum(21), Path: root + "/etc/cert.pem"},
			{Path: root + "/etc/bad.pem", Offset: 5, Problem: "the PEM block is cut short or broken"},
		},
		Keys: []inventory.Key{
			{Private: true, Algorithm: "RSA 2048", Format: "PEM PRIVATE KEY", SPKI: sum(21), Path: root + "/etc/key.pem"},
			{Private: true, Format: "PEM ENCRYPTED PRIVATE KEY", Encrypted: true, Path: root + "/etc/key2.pem"},
			{Algorithm: "ECDSA P-256", Format: "OpenSSH", SPKI: sum(22), Path: root + "/etc/key.pub", Offset: 4 << 30},
		},
	}
}

func TestABillIsValidAndTellsEachFileWithItsHash(t *testing.T) {
	text := write(t, nested(), found())
	for _, want := range []string{
		`"serialNumber": "urn:uuid:abababab-abab-8bab-abab-abababababab"`, `"timestamp": "2026-11-23T10:00:00Z"`, `"specVersion": "1.6"`,
		`"bom-ref": "file:trx@0x0/squashfs@0x40/home/app.tar/tar@0x0/app"`, sum(10), `"bom-ref": "file:trx@0x0/squashfs@0x40/lib/a.#2"`,
		`"cpe": "cpe:2.3:a:busybox:busybox:1.31.1:*:*:*:*:*:*:*"`, `"cpe": "cpe:2.3:o:linux:linux_kernel:4.9.37:*:*:*:*:*:*:*"`, `"aggregate": "incomplete"`,
		`"assetType": "certificate"`, `"type": "private-key"`,
	} {
		if !bytes.Contains(text, []byte(want)) {
			t.Errorf("it does not say %s", want)
		}
	}
	var bom struct {
		Dependencies []struct {
			Ref       string
			DependsOn []string
		}
	}
	if err := json.Unmarshal(text, &bom); err != nil {
		t.Fatal(err)
	}
	needs := ""
	for _, d := range bom.Dependencies {
		if strings.HasSuffix(d.Ref, "busybox") {
			needs = fmt.Sprint(d.DependsOn)
		}
	}
	if needs != "[file:trx@0x0/squashfs@0x40/lib/libx.so.1]" {
		t.Errorf("busybox needs %s", needs)
	}
}

func TestTheSameImageGivesTheSameBytes(t *testing.T) {
	first := write(t, nested(), found())
	if !bytes.Equal(first, write(t, nested(), found())) {
		t.Error("two bills differ")
	}
}

func TestABillOfNothingIsValid(t *testing.T) {
	write(t, &firmware.Image{SHA256: sum(1)}, &inventory.Report{})
}

func TestABillOfARootFileSystemIsValid(t *testing.T) {
	dir := t.TempDir()
	root := filepath.Join(dir, "root")
	for name, text := range map[string]string{"etc/passwd": "root::0:0:root:/root:/bin/sh\n", "bin/busybox": "\x00BusyBox v1.36.1 (2026-05-07 10:11:12 UTC)\x00", "empty": ""} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	image := filepath.Join(dir, "image")
	if out, err := exec.Command(peer.Need(t, "mksquashfs", "squashfs-tools"), root, image, "-no-progress").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	b, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	c := inventory.New(context.Background())
	img, err := firmware.Open(context.Background(), bytes.NewReader(b), int64(len(b)), firmware.WithVisitor(c.Visit))
	if err != nil {
		t.Fatal(err)
	}
	report, err := c.Report(img)
	if err != nil {
		t.Fatal(err)
	}
	text := write(t, img, report)
	for _, want := range []string{"file:squashfs@0x0/etc/passwd", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", `"version": "1.36.1"`} {
		if !bytes.Contains(text, []byte(want)) {
			t.Errorf("it does not say %s", want)
		}
	}
}
