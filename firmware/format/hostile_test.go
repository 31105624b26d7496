package format_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"testing"

	"assay/firmware"
	"assay/firmware/budget"
	"assay/firmware/internal/formattest"
)

func TestNoBitOfAuImageHeaderCanChangeUnseen(t *testing.T) {
	b := samples["uimage"].Make(t)
	for bit := range 8 * 64 {
		b[bit/8] ^= 1 << (bit % 8)
		if r := formattest.Survives(t, fmt.Sprint(bit), b).Regions[0]; r.Format == "uimage" && (r.State >= firmware.Parsed || r.Checks[0].OK) {
			t.Fatalf("bit %d: %s, %v", bit, r.State, r.Checks)
		}
		b[bit/8] ^= 1 << (bit % 8)
	}
}

// nest puts a payload into a FIT.
func nest(payload []byte, extra ...prop) []byte {
	image := &node{name: "inner", props: append([]prop{{"data", payload}, {"type", []byte("firmware\x00")}}, extra...)}
	return (&tree{&node{children: []*node{{name: "images", children: []*node{image}}}}}).bytes()
}

func TestAFITInAFITInAFITEndsWithTheDepthNamed(t *testing.T) {
	b := formattest.Text(100)
	for range 30 {
		b = nest(b)
	}
	img, err := firmware.Open(context.Background(), bytes.NewReader(b), int64(len(b)))
	if !errors.Is(err, budget.ErrExceeded) || !strings.Contains(err.Error(), "deep") {
		t.Fatalf("err = %v", err)
	}
	formattest.Adds(t, img)
	fits := 0
	img.Walk(func(_ []*firmware.Region, _ *firmware.Image, r *firmware.Region) error {
		if r.Format == "fit" {
			fits++
		}
		return nil
	})
	if fits != budget.DefaultDepth+1 {
		t.Errorf("%d FITs were read before the limit, want %d", fits, budget.DefaultDepth+1)
	}
}

func TestImagesOfAFITThatShareBytesAreReadOnce(t *testing.T) {
	u64 := func(v uint64) []byte { return binary.BigEndian.AppendUint64(nil, v) }
	u32 := func(v uint32) []byte { return binary.BigEndian.AppendUint32(nil, v) }
	images := &node{name: "images"}
	for i := range 200 {
		images.children = append(images.children, &node{name: fmt.Sprint("i-", i), props: []prop{{"data-position", u32(0x10000)}, {"data-size", u32(0x8000)}}})
	}
	b := (&tree{&node{children: []*node{images}}}).bytes()
	b = append(b, make([]byte, 0x18000-len(b))...)
	copy(b[0x10000:], formattest.Noise(0x8000, 6))
	r := formattest.Survives(t, "overlap", b).Regions[0]
	if r.Format != "fit" || len(r.Children) != 1 || len(r.Problems) == 0 || !strings.Contains(r.Problems[0], "overlaps") {
		t.Fatalf("%d children, problems %.200q", len(r.Children), r.Problems)
	}

	for name, props := range map[string][]prop{
		"a position of 2^63":            {{"data-position", u64(1 << 63)}, {"data-size", u64(4)}},
		"a size of 2^63":                {{"data-position", u64(0x1000)}, {"data-size", u64(1 << 63)}},
		"position and size that wrap":   {{"data-position", u64(1<<64 - 8)}, {"data-size", u64(16)}},
		"an offset that wraps":          {{"data-offset", u64(1<<64 - 8)}, {"data-size", u64(16)}},
		"data that lies in the tree":    {{"data-position", u64(8)}, {"data-size", u64(16)}},
		"a position without size":       {{"data-position", u64(8)}},
		"a size that is no number":      {{"data-position", u64(8)}, {"data-size", []byte("x")}},
		"data behind the end, by bytes": {{"data-position", u32(0x2000)}, {"data-size", u32(1)}},
	} {
		b := (&tree{&node{children: []*node{{name: "images", children: []*node{{name: "i", props: props}}}}}}).bytes()
		b = append(b, make([]byte, 0x2000-len(b))...)
		r := formattest.Survives(t, name, b).Regions[0]
		if r.Format != "fit" || len(r.Children) != 0 || len(r.Problems) != 1 {
			t.Errorf("%s: %d children, problems %q", name, len(r.Children), r.Problems)
		}
	}
}

func TestDuplicateNodesOfAFITAreProblems(t *testing.T) {
	image := func(b byte) *node { return &node{name: "kernel-1", props: []prop{{"data", []byte{b, 2, 3, 4}}}} }
	b := (&tree{&node{children: []*node{{name: "images", children: []*node{image(1), image(9)}}}}}).bytes()
	r := formattest.Survives(t, "duplicates", b).Regions[0]
	if r.State == firmware.Proven || !slices.ContainsFunc(r.Problems, func(p string) bool { return strings.Contains(p, "/images/kernel-1 stands twice") }) {
		t.Fatalf("%s, problems %q", r.State, r.Problems)
	}
}

func TestAnUnknownOrWrongHashKeepsAFITFromBeingProven(t *testing.T) {
	data := []byte("payload!")
	sum := binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(data))
	for name, c := range map[string]struct {
		algo  string
		value []byte
		want  firmware.State
	}{
		"right":             {"crc32", sum, firmware.Proven},
		"wrong":             {"crc32", []byte{1, 2, 3, 4}, firmware.Parsed},
		"empty":             {"crc32", nil, firmware.Parsed},
		"prefix of right":   {"crc32", sum[:2], firmware.Parsed},
		"unknown algorithm": {"crc33", sum, firmware.Parsed},
	} {
		image := &node{name: "i", props: []prop{{"data", data}}, children: []*node{{name: "hash-1", props: []prop{{"algo", []byte(c.algo + "\x00")}, {"value", c.value}}}}}
		b := (&tree{&node{children: []*node{{name: "images", children: []*node{image}}}}}).bytes()
		if r := formattest.Survives(t, name, b).Regions[0]; r.State != c.want {
			t.Errorf("%s: %s, want %s", name, r.State, c.want)
		}
	}
}

func TestEndlessSmallRegionsEndWithTheBudget(t *testing.T) {
	one := makeUImage(2, 0, []byte("x"))
	b := bytes.Repeat(one, 20_000)
	img, err := firmware.Open(context.Background(), bytes.NewReader(b), int64(len(b)), firmware.WithLimits(formattest.Small))
	if !errors.Is(err, budget.ErrExceeded) || !strings.Contains(err.Error(), "entries") {
		t.Fatalf("err = %v", err)
	}
	formattest.Adds(t, img)
	if len(img.Regions) < 1000 {
		t.Errorf("%d regions were kept", len(img.Regions))
	}
}

func TestAnEnvironmentWithOneChangedBitIsReportedAndNotBelieved(t *testing.T) {
	b := makeEnv(0x2000, false, "bootcmd=bootm 0x80000", "bootdelay=0", "bootargs=console=ttyS0", "ethaddr=00:00:5E:00:53:01")
	b[20] ^= 1
	r := formattest.Survives(t, "flip", b).Regions[0]
	if r.Format != "u-boot-env" || r.State != firmware.Opaque || len(r.Checks) != 1 || r.Checks[0].OK || r.Field("ethaddr") != "00:00:5E:00:53:01" {
		t.Fatalf("%+v", r)
	}
}

func TestEnvironmentsOfAllSizesAreFound(t *testing.T) {
	for _, size := range []int{0x400, 0x800, 0x1000, 0x2000, 0x4000, 0x8000, 0x10000, 0x20000, 0x40000} {
		for _, redundant := range []bool{false, true} {
			b := makeEnv(size, redundant, "arch=arm", "bootcmd=run x")
			img := formattest.Survives(t, fmt.Sprint(size), append(b, formattest.Noise(5000, 3)...))
			if r := img.Regions[0]; r.Format != "u-boot-env" || r.Size != int64(size) || r.State != firmware.Proven {
				t.Errorf("size %#x, redundant %v: %v", size, redundant, formattest.Outline(img))
			}
		}
	}
}

func TestEnvironmentsOfOddSizesAndOfBothByteOrdersAreFound(t *testing.T) {
	for _, size := range []int{0x3000, 0x1fc, 0x10000 - 4, 0x2001, 0x10000 - 0x40, 0x1f000} {
		size = max(size, 0x400)
		for _, redundant := range []bool{false, true} {
			for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
				b := makeEnv(size, redundant, "arch=mips", "bootcmd=run x", "ethaddr=00:00:5E:00:53:01")
				order.PutUint32(b, binary.LittleEndian.Uint32(b))
				img := formattest.Survives(t, fmt.Sprint(size), append(b, formattest.Noise(5000, 3)...))
				if r := img.Regions[0]; r.Format != "u-boot-env" || r.Size != int64(size) || r.State != firmware.Proven || (order == binary.BigEndian) != (r.Field("byte order of the CRC") != "") {
					t.Errorf("size %#x, redundant %v, %s: %v", size, redundant, order, formattest.Outline(img))
				}
			}
		}
	}
}

func TestOfTwoEnvironmentsTheActiveOneIsNamed(t *testing.T) {
	copyOf := func(flag byte, value string) []byte {
		b := makeEnv(0x3000, true, "bootcmd="+value, "bootdelay=1", "baudrate=115200")
		b[4] = flag
		return append(b, bytes.Repeat([]byte{0xff}, 0x1000)...)
	}
	for name, c := range map[string]struct {
		a, b   byte
		active int
	}{
		"obsolete and active in NOR":   {0, 1, 1},
		"active and obsolete in NOR":   {1, 0, 0},
		"a number that is larger":      {7, 8, 1},
		"a number that wrapped around": {255, 0, 1},
		"wrapped the other way":        {0, 255, 0},
		"equal":                        {3, 3, 0},
	} {
		flash := append(copyOf(c.a, "one"), copyOf(c.b, "two")...)
		img := formattest.Survives(t, name, flash)
		var copies []string
		for _, r := range img.Regions {
			if r.Format == "u-boot-env" {
				copies = append(copies, r.Field("redundant copy"))
			}
		}
		if len(copies) != 2 || !strings.HasPrefix(copies[c.active], "active, ") || !strings.HasPrefix(copies[1-c.active], "not active") {
			t.Errorf("%s: %q", name, copies)
		}
	}
	flash := append(copyOf(9, "one"), copyOf(8, "two")...)
	flash[100] ^= 1
	img := formattest.Survives(t, "broken", flash)
	if r := img.Regions; r[0].Format != "u-boot-env" || !strings.HasPrefix(r[0].Field("redundant copy"), "not active") {
		t.Errorf("%v %+v", formattest.Outline(img), r[0])
	}
}
