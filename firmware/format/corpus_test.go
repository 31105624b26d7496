package format_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"assay/firmware/internal/formattest"
)

// The shared sample collection lies beside a checkout, or not at all.
const corpus = "../../../shared/corpus/firmware/format"

func TestSamplesOfOtherProjectsAreReadAsWhatTheyAre(t *testing.T) {
	if _, err := os.Stat(corpus); err != nil {
		t.Skipf("no sample collection at %s", corpus)
	}
	for name, want := range map[string][]string{
		"fit/fdt.dtb":      {"0x0+0x100000 fdt parsed"},
		"fit/fitimage.itb": {"0x0+0xeb0 fit proven"},
		"fit_uboot_signed/conf_rsa2048_sha256.itb":    {"0x0+0x1a4a6 fit proven"},
		"fit_uboot_signed/conf_pss.itb":               {"0x0+0x1a4be fit proven"},
		"fit_uboot_signed/conf_kernel_only.itb":       {"0x0+0x1a49a fit proven"},
		"fit_uboot_signed/unsigned.itb":               {"0x0+0x1a42c fit proven"},
		"fit_uboot_signed/bad_kernel_bitflip.itb":     {"0x0+0x1a4a6 fit parsed"},
		"fit_uboot_signed/bad_kernel_rehashed.itb":    {"0x0+0x1a4a6 fit proven"},
		"fit_uboot_signed/bad_load_address.itb":       {"0x0+0x1a4a6 fit proven"},
		"fit_uboot_signed/uboot_control_with_key.dtb": {"0x0+0x1048 fdt parsed"},
		"linuxkernel/bogus_image.bin":                 {"0x0+0x9f opaque opaque"},
		"linuxkernel/zImage_be32":                     {"0x0+0x334c linux-zimage opaque"},
		"uboot/uboot.dtb":                             {"0x0+0x40 uimage opaque", "0x40+0x89b9 linux-zimage opaque"},
		"uboot/uboot.image_with_header":               {"0x0+0x8031 uimage proven", "0x8031+0x1457f erased erased", "0x1c5b0+0x9e opaque opaque", "0x1c64e+0x162 erased erased", "0x1c7b0+0x338d9 lzma opaque"},
		"raw/encoded.bin":                             {"0x0+0x6 opaque opaque", "0x6+0x290e intel-hex proven", "0x2914+0xb opaque opaque", "0x291f+0x2a0a s-record proven", "0x5329+0x45d1 opaque opaque"},
		"maxlinear/maxlinear-uimage-v2.bin":           {"0x0+0x2a0 maxlinear-uimage parsed"},
		"binwalk/gzip.bin":                            {"0x0+0x6d gzip proven"},
		"patool/test.lz4":                             {"0x0+0x93 lz4 proven"},
		"patool/test.lz":                              {"0x0+0x94 lzip proven"},
		"srec/testfile.srec":                          {"0x0+0xe5 s-record proven"},
		"generic_carver/zlib_carving_test": {"0x0+0x80 opaque opaque", "0x80+0x54 zlib proven", "0xd4+0x80 opaque opaque", "0x154+0x66 zlib proven", "0x1ba+0x80 opaque opaque",
			"0x23a+0x67 zlib proven", "0x2a1+0x80 opaque opaque", "0x321+0x4b zlib proven", "0x36c+0x80 opaque opaque"},
		"generic_carver/fake_gz.gz": {"0x0+0x190 opaque opaque"},
		"patool/test.lzo":           {"0x0+0xbf lzo proven"},
		"sevenz/test.gz":            {"0x0+0x71 gzip proven"},
		"sevenz/test.xz":            {"0x0+0xb4 xz proven"},
	} {
		b, err := os.ReadFile(filepath.Join(corpus, name))
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		if got := formattest.Outline(formattest.Open(t, b)); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestTheSampleCollectionNeverBreaksThePartition(t *testing.T) {
	if _, err := os.Stat(corpus); err != nil {
		t.Skipf("no sample collection at %s", corpus)
	}
	files, _ := filepath.Glob(filepath.Join(corpus, "*", "*"))
	hostile, _ := filepath.Glob(filepath.Join(corpus, "..", "hostile", "*"))
	for _, name := range append(files, hostile...) {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		formattest.Survives(t, name, b)
	}
}
