package format_test

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"assay/firmware/internal/formattest"
)

func TestTheEnvironmentCompiledIntoAUBootIsListed(t *testing.T) {
	b := makeUBoot(60 << 10)
	vars := "\x00bootargs=mem=64M console=ttyAMA0,115200\x00bootcmd=sf probe 0;bootm\x00bootdelay=1\x00baudrate=115200\x00board=cam7\x00wifi_password=hunter2\x00mtdparts=hi_sfc:256K(boot),64K(env),-(rest)\x00\x00\x80"
	copy(b[0x2101:], vars)
	copy(b[0x5000:], "\x00U-Boot SPL 2016.11 (May 07 2026 - 10:11:12)\x00")
	flash := append(bytes.Clone(b), bytes.Repeat([]byte{0xff}, 0x8000)...)
	r := formattest.Open(t, flash).Regions[0]
	if r.Format != "u-boot" || r.Size != int64(len(b)) || len(r.Children) != 1 {
		t.Fatalf("%+v", r)
	}
	c := r.Children[0]
	if c.Format != "u-boot-default-env" || c.Offset != 0x2102 || c.Size != int64(strings.LastIndex(vars, "\x00")) || c.Field("bootcmd") != "sf probe 0;bootm" || len(c.Problems) > 0 {
		t.Errorf("%+v", c)
	}
	if r.Field("default mtdparts") != "hi_sfc:256K(boot),64K(env),-(rest)" || r.Field("default board") != "cam7" || r.Field("built") != "May 07 2026 - 10:11:12 +0000" || !strings.HasPrefix(r.Field("SPL banner"), "U-Boot SPL 2016.11") {
		t.Errorf("%v", r.Fields)
	}
	if strings.Contains(c.Field("wifi_password"), "hunter2") {
		t.Error("a password is listed")
	}
	// Text that only looks alike is none.
	copy(b[0x2101:], bytes.ReplaceAll([]byte(vars), []byte("boot"), []byte("b\x01ot")))
	if r := formattest.First(formattest.Open(t, b), "u-boot-default-env"); r != nil {
		t.Errorf("%+v", r)
	}
}

func TestTheDefaultEnvironmentOfARealUBootIsFound(t *testing.T) {
	for _, board := range []string{"qemu_arm", "qemu_arm64", "malta", "maltael"} {
		b, err := os.ReadFile("/usr/lib/u-boot/" + board + "/u-boot.bin")
		if err != nil {
			t.Skip("install Debian package u-boot-qemu")
		}
		r := formattest.Open(t, append(b, bytes.Repeat([]byte{0xff}, 0x10000)...)).Regions[0]
		var names []string
		for _, c := range r.Children {
			if c.Format == "u-boot-default-env" {
				for _, f := range c.Fields {
					names = append(names, f.Name)
				}
			}
		}
		if list := strings.Join(names, " "); !strings.Contains(list, "bootcmd") || !strings.Contains(list, "bootdelay") || !strings.Contains(list, "arch") {
			t.Errorf("%s: %q", board, list)
		}
	}
}
