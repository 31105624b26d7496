package format_test

import (
	"encoding/binary"
	"testing"

	"assay/firmware"
	"assay/firmware/internal/formattest"
)

func TestPartitionsOfADeviceTreeAreClaims(t *testing.T) {
	u32 := func(v ...uint32) (b []byte) {
		for _, x := range v {
			b = binary.BigEndian.AppendUint32(b, x)
		}
		return b
	}
	part := func(name string, offset, size uint32) *node {
		return &node{name: name, props: []prop{{"reg", u32(offset, size)}, {"label", []byte(name + "\x00")}}}
	}
	tree := plainTree()
	tree.root.children = append(tree.root.children, &node{name: "flash@0", children: []*node{{
		name:  "partitions",
		props: []prop{{"compatible", []byte("fixed-partitions\x00")}, {"#address-cells", u32(1)}, {"#size-cells", u32(1)}},
		children: []*node{
			part("kernel", 0x10000, 0x10000),
			part("rootfs", 0x10100, 0x1000),
			part("data", 0x30000, 0x10000),
			part("elsewhere", 0x40000, 0x40000),
			{name: "wrong", props: []prop{{"reg", u32(1)}}},
		},
	}}})
	flash := make([]byte, 0x40000)
	copy(flash, tree.bytes())
	copy(flash[0x10000:], makeUImage(2, 0, formattest.Noise(0x8000, 3)))
	img := formattest.Open(t, flash)
	want := []struct {
		name    string
		verdict firmware.Verdict
	}{{"kernel", firmware.ClaimProven}, {"rootfs", firmware.ClaimContradicted}, {"data", firmware.ClaimUnproven}, {"elsewhere", firmware.ClaimUnproven}}
	if len(img.Claims) != len(want) {
		t.Fatalf("claims: %+v", img.Claims)
	}
	for i, w := range want {
		if c := img.Claims[i]; c.Name != w.name || c.Verdict != w.verdict {
			t.Errorf("%+v, want %s %s", c, w.name, w.verdict)
		}
	}
	if len(img.Problems) > 0 {
		t.Errorf("problems: %q", img.Problems)
	}
}
