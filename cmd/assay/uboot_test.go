package main

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"

	"assay/attest"
	"assay/internal/peer"
	"assay/internal/qemu"
	"assay/internal/testflash"
)

// startUBoot starts a real boot loader with the image in its flash.
func startUBoot(t *testing.T, arch, flash string) *qemu.Machine {
	t.Helper()
	emulator, loader, err := qemu.Programs(arch)
	if err != nil {
		t.Fatal(err)
	}
	peer.Need(t, emulator, "qemu-system-arm")
	if _, err := os.Stat(loader); err != nil {
		peer.Need(t, loader, "u-boot-qemu")
	}
	m, err := qemu.StartUBoot(t.Context(), arch, flash, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Stop)
	return m
}

func signedFlash(t *testing.T) *testflash.Flash {
	t.Helper()
	for name, debian := range testflash.Programs {
		peer.Need(t, name, debian)
	}
	f, err := testflash.Signed(t.TempDir(), testflash.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// bank is what the loader shows of a flash that starts with image.
func bank(image []byte) []byte {
	return append(bytes.Clone(image), bytes.Repeat([]byte{0xff}, qemu.BankSize-len(image))...)
}

func TestAUnitWithARealUBootIsCertifiedFromItsSerialLine(t *testing.T) {
	t.Parallel()
	flash := signedFlash(t)
	for _, arch := range []string{"arm64", "arm"} {
		t.Run(arch, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.want(exitOK, "trust", "add", "--maker", "fjordlens", flash.PublicPath)
			m := startUBoot(t, arch, flash.Path)
			// Nobody vouches for the loader and nothing names the unit: that
			// is no permit, however good the signature over the rest is.
			o := b.want(exitInconclusive, "certify", serial(m.Device), "--out", "unit", "--json")
			if o.stderr != "" {
				t.Errorf("on standard error: %q", o.stderr)
			}
			o.has(t, "evidence/endorsements/scheme=uboot-fit/status", "verified")
			o.has(t, "evidence/endorsements/scheme=uboot-fit/maker", "fjordlens")
			o.has(t, "evidence/images/*/regions/format=fit/state", "proven")
			o.has(t, "evidence/images/*/regions/format=squashfs/state", "proven")
			o.has(t, "evidence/images/*/uncovered/format=squashfs/role", "root-filesystem")
			o.has(t, "evidence/images/*/acquisition", "A2")
			o.has(t, "evidence/claims/subject=board/value", "qemu-arm")
			if p := o.fields(t, "evidence/problems/*/says"); len(p) > 0 {
				t.Errorf("problems: %q", p)
			}
			named := slices.ContainsFunc(o.fields(t, "result/reasons/rule=report.uncovered/text"), func(s string) bool {
				return strings.Contains(s, "root-filesystem at")
			})
			if !named {
				t.Error("the result does not name the root file system, which no signature covers")
			}
			want := attest.DigestOf(bank(flash.Image))
			o.has(t, "evidence/images/*/digest", string(want))
			if !bytes.Equal(b.read("unit/artefacts/"+want.Hex()), bank(flash.Image)) {
				t.Error("the dump that was kept differs from the flash")
			}
			b.want(exitInconclusive, "check", "unit/permit.sigstore.json")
		})
	}
}

func TestAUnitWhoseKernelWasChangedIsRefused(t *testing.T) {
	t.Parallel()
	flash := signedFlash(t)
	kernel := bytes.Index(flash.Image, []byte{0x1f, 0x8b, 8}) // gzip, the first thing in the FIT
	if kernel < 0 || int64(kernel) > flash.Parts[0].Size {
		t.Fatal("the FIT holds no kernel")
	}
	flash.Image[kernel+500] ^= 1
	b := newBench(t)
	b.write("changed.bin", flash.Image)
	b.want(exitOK, "trust", "add", "--maker", "fjordlens", flash.PublicPath)
	m := startUBoot(t, "arm64", b.path("changed.bin"))
	o := b.want(exitRefused, "certify", serial(m.Device), "--out", "unit", "--json")
	o.has(t, "evidence/endorsements/scheme=uboot-fit/status", "failed")
	o.has(t, "result/reasons/effect=refuse/effect", "refuse")
	b.want(exitRefused, "check", "unit/permit.sigstore.json")
}
