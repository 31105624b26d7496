package format_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"assay/firmware"
	"assay/firmware/budget"
	"assay/firmware/internal/formattest"
)

const recipes = "../../testdata/firmware"

// signedFIT makes a FIT with mkimage and signs it with a throw-away key.
func signedFIT(t testing.TB, kernel, ramdisk []byte, args ...string) []byte {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, "kernel", kernel)
	write(t, dir, "ramdisk", ramdisk)
	write(t, dir, "camera.its", read(t, recipes, "camera.its"))
	write(t, dir, "camera.dtb", compiledTree(t))
	keys := filepath.Join(dir, "keys")
	if err := os.Mkdir(keys, 0o755); err != nil {
		t.Fatal(err)
	}
	run(t, keys, "openssl", "openssl", "req", "-batch", "-new", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "dev.key", "-out", "dev.crt", "-subj", "/CN=dev")
	run(t, dir, "mkimage", "u-boot-tools", append(args, "-f", "camera.its", "-k", "keys", "camera.itb")...)
	return read(t, dir, "camera.itb")
}

func compiledTree(t testing.TB) []byte {
	return pipe(t, read(t, recipes, "camera.dts"), "dtc", "device-tree-compiler", "-q", "-I", "dts", "-O", "dtb")
}

func TestLegacyImagesOfMkimageAreProven(t *testing.T) {
	kernel := append([]byte("\x01\x02"+linuxBanner), formattest.Text(20_000)...)
	for _, c := range []struct {
		name, kind, comp string
		payload          []byte
		role             firmware.Role
		inner            string
	}{
		{"an uncompressed kernel", "kernel", "none", kernel, firmware.RoleKernel, "linux"},
		{"a gzip kernel", "kernel", "gzip", gzipped(kernel), firmware.RoleKernel, "linux"},
		{"an lzma kernel", "kernel", "lzma", pipe(t, kernel, "lzma", "xz-utils", "-c"), firmware.RoleKernel, "linux"},
		{"a bzip2 kernel", "kernel", "bzip2", pipe(t, kernel, "bzip2", "bzip2", "-c"), firmware.RoleKernel, "linux"},
		{"an lzo kernel", "kernel", "lzo", pipe(t, kernel, "lzop", "lzop", "-q", "-c"), firmware.RoleKernel, "linux"},
		{"an lz4 kernel", "kernel", "lz4", pipe(t, kernel, "lz4", "lz4", "-q", "-c"), firmware.RoleKernel, "linux"},
		{"a legacy lz4 kernel", "kernel", "lz4", pipe(t, kernel, "lz4", "lz4", "-q", "-l", "-c"), firmware.RoleKernel, "linux"},
		{"a zstd kernel", "kernel", "zstd", pipe(t, kernel, "zstd", "zstd", "-q", "-c"), firmware.RoleKernel, "linux"},
		{"firmware", "firmware", "none", makeUBoot(20_000), firmware.RoleFirmware, "u-boot"},
		{"a RAM disk", "ramdisk", "gzip", gzipped(formattest.Text(5000)), firmware.RoleRAMDisk, "gzip"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, "payload", c.payload)
			run(t, dir, "mkimage", "u-boot-tools", "-A", "arm", "-O", "linux", "-T", c.kind, "-C", c.comp, "-n", c.name, "-a", "0x80008000", "-e", "0x80008000", "-d", "payload", "image")
			b := read(t, dir, "image")
			img := formattest.Open(t, append(b, formattest.Noise(700, 1)...))
			r := img.Regions[0]
			if r.Format != "uimage" || r.Size != int64(len(b)) || r.State != firmware.Proven || r.Role != c.role || r.Name != c.name || len(r.Problems) > 0 {
				t.Fatalf("%+v", r)
			}
			if r.Field("type") != c.kind || r.Field("compression") != c.comp || r.Field("architecture") != "arm" || r.Field("os") != "linux" {
				t.Fatalf("fields %v", r.Fields)
			}
			if formattest.First(img, c.inner) == nil {
				t.Fatalf("no %s inside", c.inner)
			}
		})
	}
}

func TestAFlashWrappedAsFirmwareIsReadAsAFlash(t *testing.T) {
	payload := bytes.Repeat([]byte{0xff}, 0x30000)
	copy(payload, makeUBoot(20_000))
	copy(payload[0x10000:], makeUImage(2, 0, formattest.Noise(5000, 3)))
	copy(payload[0x10000+5064:], formattest.Noise(300, 4))
	copy(payload[0x20000:], makeEnv(0x1000, false, "bootcmd=bootm", "baudrate=115200"))
	// The header makes every place in the payload odd to the image, as on the
	// memory cards that Ingenic cameras are updated with.
	b := makeUImage(5, 0, payload)
	r := formattest.Open(t, b).Regions[0]
	var got []string
	for _, c := range r.Children {
		got = append(got, fmt.Sprintf("%#x+%#x %s %s", c.Offset-64, c.Size, c.Format, c.State))
	}
	want := []string{"0x0+0x4e20 u-boot parsed", "0x10000+0x13c8 uimage proven", "0x20000+0x1000 u-boot-env proven"}
	if r.State != firmware.Proven || !slices.Equal(got, want) {
		t.Fatalf("%s: %q, want %q", r.State, got, want)
	}
	// With a wrong checksum nothing vouches for the rest, so it is told apart.
	b[len(b)-1] ^= 1
	r = formattest.Open(t, b).Regions[0]
	states := map[firmware.State]bool{}
	for _, c := range r.Children {
		states[c.State] = true
	}
	if r.State != firmware.Parsed || !states[firmware.Residue] || !states[firmware.Erased] {
		t.Fatalf("%s: children %v", r.State, states)
	}
}

func TestAMultiImageHasItsParts(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "kernel", gzipped(formattest.Text(3001)))
	write(t, dir, "tree", plainTree().bytes())
	write(t, dir, "script.txt", []byte("bootm 0x80008000\n"))
	run(t, dir, "mkimage", "u-boot-tools", "-A", "arm", "-O", "linux", "-T", "multi", "-C", "none", "-n", "two", "-d", "kernel:tree", "image")
	img := formattest.Open(t, read(t, dir, "image"))
	var got []string
	for _, c := range img.Regions[0].Children {
		got = append(got, c.Format+" "+c.State.String())
	}
	if want := []string{"gzip proven", "fdt parsed"}; !slices.Equal(got, want) {
		t.Fatalf("parts %q, want %q", got, want)
	}
	run(t, dir, "mkimage", "u-boot-tools", "-A", "arm", "-T", "script", "-C", "none", "-n", "boot", "-d", "script.txt", "image")
	img = formattest.Open(t, read(t, dir, "image"))
	c := img.Regions[0].Children
	if len(c) != 1 || c[0].Role != firmware.RoleData || c[0].Size != 17 {
		t.Fatalf("script parts %+v", c)
	}
}

func TestAFITOfMkimageIsProvenByItsHashes(t *testing.T) {
	kernel := gzipped(append([]byte("\x01\x02"+linuxBanner), formattest.Text(20_000)...))
	for name, args := range map[string][]string{
		"embedded data":               nil,
		"external data":               {"-E"},
		"external data at a position": {"-E", "-p", "0x8000"},
	} {
		t.Run(name, func(t *testing.T) {
			b := signedFIT(t, kernel, gzipped(formattest.Text(9000)), args...)
			img := formattest.Open(t, append(bytes.Clone(b), 0x11, 0x22, 0x33))
			r := img.Regions[0]
			// With external data, mkimage pads the end to four bytes.
			if r.Format != "fit" || r.State != firmware.Proven || int64(len(b))-r.Size > 3 || len(r.Problems) > 0 || r.Name != "camera firmware" {
				t.Fatalf("%v %q", formattest.Outline(img), r.Problems)
			}
			var got []string
			for _, c := range r.Children {
				got = append(got, fmt.Sprintf("%s %s %s", c.Format, c.Role, c.State))
			}
			if want := []string{"gzip kernel proven", "fdt device-tree proven", "gzip ramdisk proven"}; !slices.Equal(got, want) {
				t.Fatalf("images %q, want %q", got, want)
			}
			if len(r.Checks) != 5 || !strings.Contains(r.Field("signature"), "sha256,rsa2048 key dev over kernel,fdt,ramdisk") {
				t.Fatalf("checks %v, fields %v", r.Checks, r.Fields)
			}
			if r.Field("configuration") != "conf-1: kernel=kernel-1 fdt=fdt-1 ramdisk=ramdisk-1" {
				t.Fatalf("fields %v", r.Fields)
			}
			if k := formattest.First(img, "linux"); k == nil || k.Name != "Linux 4.9.37" {
				t.Fatalf("kernel %+v", k)
			}
			// One bit of the kernel's data.
			bad := bytes.Clone(b)
			bad[r.Children[0].Offset+r.Children[0].Size/2] ^= 1
			img = formattest.Open(t, bad)
			if r := img.Regions[0]; r.State != firmware.Parsed || r.Checks[0].OK || r.Checks[1].OK || !r.Checks[2].OK {
				t.Fatalf("a changed kernel: %s, %v", r.State, r.Checks)
			}
		})
	}
}

func TestADeviceTreeOfDtcSaysItsModel(t *testing.T) {
	img := formattest.Open(t, compiledTree(t))
	r := img.Regions[0]
	if r.Format != "fdt" || r.Name != "Example Camera One" || r.Field("compatible") != "example,camera-one example,board" || r.Field("bootargs") == "" {
		t.Fatalf("%+v", r)
	}
}

func TestStreamsOfManyKindsEndWhereTheyEnd(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	code := read(t, self)[:200_000]
	for _, c := range []struct {
		name, format string
		packed       []byte
		state        firmware.State
	}{
		{"xz with a CRC-64", "xz", pipe(t, code, "xz", "xz-utils", "-c"), firmware.Proven},
		{"xz with SHA-256", "xz", pipe(t, code, "xz", "xz-utils", "-c", "--check=sha256"), firmware.Proven},
		{"xz without check", "xz", pipe(t, code, "xz", "xz-utils", "-c", "--check=none"), firmware.Parsed},
		{"xz with the ARM filter", "xz", pipe(t, code, "xz", "xz-utils", "-c", "--check=crc32", "--arm", "--lzma2=dict=1MiB"), firmware.Proven},
		{"xz with the x86 filter", "xz", pipe(t, code, "xz", "xz-utils", "-c", "--check=crc32", "--x86", "--lzma2"), firmware.Proven},
		{"lzma", "lzma", pipe(t, code, "lzma", "xz-utils", "-c"), firmware.Parsed},
		{"lzma with other properties", "lzma", pipe(t, code, "xz", "xz-utils", "-c", "--format=lzma", "--lzma1=lc=1,lp=2,pb=2,dict=1MiB"), firmware.Parsed},
		{"zstd without check", "zstd", pipe(t, code, "zstd", "zstd", "-q", "-c", "--no-check"), firmware.Parsed},
		{"lz4 without check", "lz4", pipe(t, code, "lz4", "lz4", "-q", "-c", "--no-frame-crc"), firmware.Parsed},
	} {
		t.Run(c.name, func(t *testing.T) {
			flash := append(formattest.Noise(4096, 2), c.packed...)
			flash = append(flash, formattest.Noise(100_000, 4)...)
			img := formattest.Open(t, flash)
			r := formattest.First(img, c.format)
			if r == nil || r.Offset != 4096 || r.Size != int64(len(c.packed)) || r.State != c.state {
				t.Fatalf("want %d bytes at 0x1000: %v", len(c.packed), formattest.Outline(img))
			}
			if r.Contents.SHA256 != fmt.Sprintf("%x", sha256.Sum256(code)) {
				t.Fatal("it unpacks to something else")
			}
		})
	}
}

func TestARealUBootIsOneRegion(t *testing.T) {
	for _, board := range []string{"qemu_arm64", "qemu_arm", "malta64el", "maltael"} {
		name := filepath.Join("/usr/lib/u-boot", board, "u-boot.bin")
		b, err := os.ReadFile(name)
		if err != nil {
			t.Skipf("%s is not there: install Debian package u-boot-qemu", name)
		}
		flash := bytes.Repeat([]byte{0xff}, 2<<20)
		copy(flash, b)
		img := formattest.Open(t, flash)
		want := []string{fmt.Sprintf("0x0+%#x u-boot parsed", len(b)), fmt.Sprintf("%#x+%#x erased erased", len(b), len(flash)-len(b))}
		if !slices.Equal(formattest.Outline(img), want) {
			t.Errorf("%s: %q, want %q", board, formattest.Outline(img), want)
		}
	}
}

func TestABombEndsWithTheBudgetNamed(t *testing.T) {
	bomb := gzipped(make([]byte, 64<<20))
	flash := append(append(formattest.Text(4096), bomb...), makeUImage(2, 0, formattest.Text(500))...)
	for name, l := range map[string]budget.Limits{
		"bytes": {Bytes: 1 << 20},
		"held":  {Held: 1 << 20},
		"ratio": {Ratio: 10},
	} {
		img, err := firmware.Open(context.Background(), bytes.NewReader(flash), int64(len(flash)), firmware.WithLimits(l))
		if err == nil || !strings.Contains(err.Error(), budget.ErrExceeded.Error()) {
			t.Errorf("%s: err = %v", name, err)
		}
		formattest.Adds(t, img)
		if formattest.First(img, "uimage") == nil {
			t.Errorf("%s: the image behind the bomb was lost: %v", name, formattest.Outline(img))
		}
	}
}
