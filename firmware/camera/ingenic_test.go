package camera_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"assay/firmware"
	"assay/firmware/internal/formattest"
	"assay/internal/peer"
)

func mkimage(t *testing.T, payload []byte, title string) []byte {
	t.Helper()
	dir := t.TempDir()
	in, out := filepath.Join(dir, "flash.bin"), filepath.Join(dir, "demo.bin")
	if err := os.WriteFile(in, payload, 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(peer.Need(t, "mkimage", "u-boot-tools"), "-A", "mips", "-O", "linux", "-T", "firmware", "-C", "none", "-n", title, "-d", in, out)
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("mkimage: %v\n%s", err, text)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAnIngenicCardImageOfMkimageIsKnownByItsName(t *testing.T) {
	boot := formattest.Noise(20<<10, 11)
	copy(boot[9000:], "\x00U-Boot 2013.07 (May 07 2026 - 10:11:12)\x00")
	for place, payload := range map[string][]byte{
		"written to flash from 0x40000, behind the boot loader":           kernelImage(),
		"written over the flash from its beginning, boot loader included": boot,
	} {
		r := top(t, mkimage(t, payload, "jz_fw"))
		if r.Format != "ingenic-sd" || r.State != firmware.Proven || r.Field("payload") != place || len(r.Children) != 1 || r.Children[0].Format != "uimage" {
			t.Errorf("%s: %s %s %q", place, r.Format, r.State, r.Field("payload"))
		}
	}
	if r := top(t, mkimage(t, kernelImage(), "other")); r.Format != "uimage" {
		t.Errorf("another firmware is %s", r.Format)
	}
	b := mkimage(t, kernelImage(), "jz_fw")
	b[len(b)-1] ^= 1
	if r := top(t, b); r.State == firmware.Proven || !strings.Contains(problems(r), "the uImage in it is parsed") {
		t.Errorf("with a changed bit: %s %q", r.State, r.Problems)
	}
}
