// Package testflash builds flash images as a camera's maker would: a FIT with a
// signed configuration, made by mkimage, and a SquashFS root file system, made
// by mksquashfs, in a NOR flash whose rest is erased. The tests and the demo
// read them back. It needs the Debian packages u-boot-tools,
// device-tree-compiler and squashfs-tools; the key is made here.
package testflash

import (
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// Programs are the programs that [Signed] runs and the Debian package of each.
var Programs = map[string]string{"mkimage": "u-boot-tools", "dtc": "device-tree-compiler", "mksquashfs": "squashfs-tools"}

// Options changes what is built. The zero value gives a unit of the fictional
// maker Fjordlens AS.
type Options struct {
	Size     int64           // of the flash; 2 MiB when 0
	Key      *rsa.PrivateKey // a new one of 2048 bits when nil
	KeyName  string          // "fjordlens-2026" when empty
	Model    string          // in the device tree; "Fjordlens FL-B2" when empty
	SoC      string          // compatible string; "ambarella,s3l" when empty
	Covered  bool            // the root file system is the FIT's ramdisk, so that the signature covers every byte that is not erased
	Unsigned bool
	Files    map[string]string // added to the root file system: path to content
	// ControlDTB is a device tree to which the public key is added as required,
	// as the boot loader would hold it. It is not changed; the copy is named in
	// [Flash]. Empty: none is made.
	ControlDTB string
}

// Part is a named range of the flash.
type Part struct {
	Name   string
	Offset int64
	Size   int64 // bytes used
}

// Flash is what was built and where.
type Flash struct {
	Image       []byte
	Path        string // of Image
	KeyPath     string // PKCS #8 PEM private key
	PublicPath  string // PKIX PEM public key
	CertPath    string // self-signed certificate, as mkimage -k wants it
	KeyName     string
	ControlPath string // device tree with the public key; empty without ControlDTB
	FITPath     string
	RootPath    string
	Parts       []Part // fit, rootfs (unless covered), in order of offset
}

const (
	epoch     = "1767225600" // 2026-01-01: the tools write no other time
	alignment = 64 << 10     // an erase block
)

// Signed builds a flash image in dir.
func Signed(dir string, o Options) (*Flash, error) {
	if o.Size == 0 {
		o.Size = 2 << 20
	}
	if o.KeyName == "" {
		o.KeyName = "fjordlens-2026"
	}
	if o.Model == "" {
		o.Model = "Fjordlens FL-B2"
	}
	if o.SoC == "" {
		o.SoC = "ambarella,s3l"
	}
	f := &Flash{KeyName: o.KeyName, Path: filepath.Join(dir, "flash.bin")}
	for _, step := range []func() error{
		func() error { return os.MkdirAll(dir, 0o755) },
		func() error { return f.writeKey(dir, o) },
		func() error { return f.buildRoot(dir, o) },
		func() error { return f.buildFIT(dir, o) },
		func() error { return f.lay(o) },
	} {
		if err := step(); err != nil {
			return nil, fmt.Errorf("test flash: %w", err)
		}
	}
	return f, nil
}

func (f *Flash) writeKey(dir string, o Options) error {
	key := o.Key
	if key == nil {
		var err error
		if key, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
			return err
		}
	}
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: start, NotAfter: start.AddDate(10, 0, 0),
		Subject: pkix.Name{CommonName: o.KeyName, Organization: []string{"Fjordlens AS"}, Country: []string{"NO"}},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return err
	}
	keys := filepath.Join(dir, "keys")
	if err := os.MkdirAll(keys, 0o700); err != nil {
		return err
	}
	f.KeyPath, f.CertPath = filepath.Join(keys, o.KeyName+".key"), filepath.Join(keys, o.KeyName+".crt")
	f.PublicPath = filepath.Join(dir, o.KeyName+".pub.pem")
	for _, w := range []struct {
		path, kind string
		der        []byte
		mode       os.FileMode
	}{{f.KeyPath, "PRIVATE KEY", private, 0o600}, {f.CertPath, "CERTIFICATE", cert, 0o644}, {f.PublicPath, "PUBLIC KEY", public, 0o644}} {
		if err := os.WriteFile(w.path, pem.EncodeToMemory(&pem.Block{Type: w.kind, Bytes: w.der}), w.mode); err != nil {
			return err
		}
	}
	return nil
}

func (f *Flash) buildRoot(dir string, o Options) error {
	root := filepath.Join(dir, "root")
	files := map[string]string{
		"etc/os-release":     "NAME=\"Fjordlens Camera OS\"\nID=fjordlens\nVERSION_ID=4.2.1\nPRETTY_NAME=\"Fjordlens Camera OS 4.2.1\"\n",
		"etc/hostname":       "fl-b2\n",
		"etc/inittab":        "::sysinit:/etc/init.d/rcS\n::respawn:/usr/bin/camerad\n",
		"usr/bin/camerad":    "#!/bin/sh\n# Fjordlens camera daemon\nexec sleep 2147483647\n",
		"usr/share/lens.tab": string(noise(48<<10, 3)),
	}
	for path, content := range o.Files {
		files[path] = content
	}
	for path, content := range files {
		if !filepath.IsLocal(path) {
			return fmt.Errorf("file %q leaves the root file system", path)
		}
		full := filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(full, []byte(content), 0o755); err != nil {
			return err
		}
	}
	f.RootPath = filepath.Join(dir, "rootfs.squashfs")
	os.Remove(f.RootPath) // mksquashfs would append to it
	return run(dir, "mksquashfs", root, f.RootPath, "-noappend", "-no-progress", "-all-root", "-comp", "xz", "-b", "65536")
}

func (f *Flash) buildFIT(dir string, o Options) error {
	kernel, err := compressed(append([]byte("Linux version 6.1.0-fjordlens (build@fjordlens) #1 SMP Thu Jan 1 00:00:00 UTC 2026\x00"), noise(64<<10, 1)...))
	if err != nil {
		return err
	}
	ramdisk, err := compressed(noise(16<<10, 2))
	if err != nil {
		return err
	}
	if o.Covered {
		if ramdisk, err = os.ReadFile(f.RootPath); err != nil {
			return err
		}
	}
	dts := fmt.Sprintf("/dts-v1/;\n/ { model = %q; compatible = \"fjordlens,fl-b2\", %q; #address-cells = <1>; #size-cells = <1>;\n chosen { bootargs = \"console=ttyS0,115200 root=/dev/mtdblock2 ro\"; };\n memory@0 { device_type = \"memory\"; reg = <0x0 0x8000000>; }; };\n", o.Model, o.SoC)
	for name, content := range map[string][]byte{"kernel.gz": kernel, "ramdisk.img": ramdisk, "board.dts": []byte(dts), "image.its": []byte(its(o))} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return err
		}
	}
	if err := run(dir, "dtc", "-I", "dts", "-O", "dtb", "-o", "board.dtb", "board.dts"); err != nil {
		return err
	}
	f.FITPath = filepath.Join(dir, "image.itb")
	args := []string{"-f", "image.its"}
	if !o.Unsigned {
		args = append(args, "-k", "keys", "-r")
		if o.ControlDTB != "" {
			b, err := os.ReadFile(o.ControlDTB)
			if err != nil {
				return err
			}
			f.ControlPath = filepath.Join(dir, "control.dtb")
			if err := os.WriteFile(f.ControlPath, b, 0o644); err != nil {
				return err
			}
			args = append(args, "-K", "control.dtb")
		}
	}
	return run(dir, "mkimage", append(args, "image.itb")...)
}

// its is the source of the FIT (U-Boot doc/uImage.FIT/signature.txt).
func its(o Options) string {
	sign := ""
	if !o.Unsigned {
		sign = fmt.Sprintf("signature-1 { algo = \"sha256,rsa2048\"; key-name-hint = %q; sign-images = \"kernel\", \"fdt\", \"ramdisk\"; };", o.KeyName)
	}
	return fmt.Sprintf(`/dts-v1/;
/ {
	description = %q;
	#address-cells = <1>;
	images {
		kernel-1 { description = "Linux"; data = /incbin/("kernel.gz"); type = "kernel"; arch = "arm64"; os = "linux"; compression = "gzip"; load = <0x40400000>; entry = <0x40400000>; hash-1 { algo = "sha256"; }; };
		fdt-1 { description = "board"; data = /incbin/("board.dtb"); type = "flat_dt"; arch = "arm64"; compression = "none"; hash-1 { algo = "sha256"; }; };
		ramdisk-1 { description = "root"; data = /incbin/("ramdisk.img"); type = "ramdisk"; arch = "arm64"; os = "linux"; compression = "none"; hash-1 { algo = "sha256"; }; };
	};
	configurations {
		default = "conf-1";
		conf-1 { description = %q; kernel = "kernel-1"; fdt = "fdt-1"; ramdisk = "ramdisk-1"; %s };
	};
};
`, o.Model+" firmware 4.2.1", o.Model, sign)
}

// lay puts the parts into erased flash, each at the start of an erase block.
func (f *Flash) lay(o Options) error {
	parts := []struct{ name, path string }{{"fit", f.FITPath}}
	if !o.Covered {
		parts = append(parts, struct{ name, path string }{"rootfs", f.RootPath})
	}
	f.Image = bytes.Repeat([]byte{0xff}, int(o.Size))
	at := int64(0)
	for _, p := range parts {
		b, err := os.ReadFile(p.path)
		if err != nil {
			return err
		}
		if at+int64(len(b)) > o.Size {
			return fmt.Errorf("%s of %d bytes at %#x does not fit into %d", p.name, len(b), at, o.Size)
		}
		copy(f.Image[at:], b)
		f.Parts = append(f.Parts, Part{p.name, at, int64(len(b))})
		at += (int64(len(b)) + alignment - 1) / alignment * alignment
	}
	return os.WriteFile(f.Path, f.Image, 0o644)
}

func run(dir, program string, args ...string) error {
	cmd := exec.Command(program, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH="+epoch)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", program, err, bytes.TrimSpace(out))
	}
	return nil
}

func compressed(b []byte) ([]byte, error) {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(b); err != nil {
		return nil, err
	}
	err := w.Close()
	return out.Bytes(), err
}

// noise is the same n bytes at every call: content without any structure.
func noise(n int, seed uint64) []byte {
	r := mathrand.New(mathrand.NewPCG(seed, 0))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}
