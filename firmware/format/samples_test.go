package format_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"assay/firmware"
	"assay/firmware/budget"
	_ "assay/firmware/format"
	"assay/internal/peer"
)

// sample is how a format's sample is made and what must be found in it.
type sample struct {
	make func(t testing.TB) []byte
	want firmware.State
	role firmware.Role
}

var samples = map[string]sample{
	"uimage":       {func(testing.TB) []byte { return makeUImage(2, 0, []byte("a kernel that is none")) }, firmware.Proven, firmware.RoleKernel},
	"fdt":          {func(testing.TB) []byte { return plainTree().bytes() }, firmware.Parsed, firmware.RoleDeviceTree},
	"fit":          {makeFIT, firmware.Proven, firmware.RoleContainer},
	"linux-arm64":  {func(testing.TB) []byte { return makeARM64Image() }, firmware.Parsed, firmware.RoleKernel},
	"linux-zimage": {func(testing.TB) []byte { return makeZImage(packText(8 << 10)) }, firmware.Parsed, firmware.RoleKernel},
	"linux":        {func(testing.TB) []byte { return packText(8 << 10) }, firmware.Proven, firmware.RoleKernel}, // found inside
	"gzip":         {func(testing.TB) []byte { return gzipped(text(3000)) }, firmware.Proven, firmware.RoleContainer},
	"xz":           {packed("xz", "xz-utils", "-c", "--check=crc32"), firmware.Proven, firmware.RoleContainer},
	"lzma":         {packed("lzma", "xz-utils", "-c"), firmware.Parsed, firmware.RoleContainer},
	"bzip2":        {packed("bzip2", "bzip2", "-c"), firmware.Proven, firmware.RoleContainer},
	"zstd":         {packed("zstd", "zstd", "-q", "-c"), firmware.Proven, firmware.RoleContainer},
	"lz4":          {packed("lz4", "lz4", "-q", "-c"), firmware.Proven, firmware.RoleContainer},
	"lz4-legacy":   {packed("lz4", "lz4", "-q", "-l", "-c"), firmware.Parsed, firmware.RoleContainer},
	"lzo":          {packed("lzop", "lzop", "-q", "-c"), firmware.Proven, firmware.RoleContainer},
	"u-boot-env":   {func(testing.TB) []byte { return makeEnv(0x1000, false, "bootcmd=bootm 0x80000", "baudrate=115200") }, firmware.Proven, firmware.RoleEnvironment},
	"u-boot":       {func(testing.TB) []byte { return makeUBoot(40 << 10) }, firmware.Parsed, firmware.RoleBootLoader},
}

const linuxBanner = "Linux version 4.9.37 (build@host) (gcc version 6.3.0 (Buildroot)) #1 PREEMPT Thu May 7 10:11:12 UTC 2026\n\x00"

// noise is the same bytes on each run, without magics at even places.
func noise(n int, seed uint64) []byte {
	rng := rand.New(rand.NewPCG(seed, 7))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32()) | 1
		if b[i] == 0xff {
			b[i] = 0x71
		}
	}
	return b
}

func text(n int) []byte {
	var b bytes.Buffer
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "line %d of a file that packs well enough to be worth it\n", i)
	}
	return b.Bytes()[:n]
}

func gzipped(b []byte) []byte {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	z.Write(b)
	z.Close()
	return out.Bytes()
}

// packText is a kernel, packed.
func packText(n int) []byte {
	return gzipped(append([]byte("\x01\x02"+linuxBanner), noise(n, 3)...))
}

// pipe runs a program over input.
func pipe(t testing.TB, input []byte, program, pkg string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(peer.Need(t, program, pkg), args...)
	cmd.Stdin = bytes.NewReader(input)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v: %s", program, err, errs.String())
	}
	return out.Bytes()
}

func packed(program, pkg string, args ...string) func(testing.TB) []byte {
	return func(t testing.TB) []byte { return pipe(t, text(5000), program, pkg, args...) }
}

// run runs a program in a directory.
func run(t testing.TB, dir, program, pkg string, args ...string) {
	t.Helper()
	cmd := exec.Command(peer.Need(t, program, pkg), args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", program, args, err, out)
	}
}

func write(t testing.TB, dir, name string, b []byte) string {
	t.Helper()
	p := filepath.Join(dir, name)
	if err := os.WriteFile(p, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return p
}

func read(t testing.TB, elem ...string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(elem...))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// makeUImage writes a legacy image for Linux on ARM.
func makeUImage(kind, comp byte, payload []byte) []byte {
	h := make([]byte, 64)
	put := binary.BigEndian.PutUint32
	put(h[0:], 0x27051956)
	put(h[8:], 1_700_000_000)
	put(h[12:], uint32(len(payload)))
	put(h[16:], 0x80008000)
	put(h[20:], 0x80008000)
	put(h[24:], crc32.ChecksumIEEE(payload))
	h[28], h[29], h[30], h[31] = 5, 2, kind, comp
	copy(h[32:], "Linux-4.9.37")
	put(h[4:], crc32.ChecksumIEEE(h))
	return append(h, payload...)
}

func makeEnv(size int, redundant bool, vars ...string) []byte {
	b := make([]byte, size)
	at := 4
	if redundant {
		b[4] = 1
		at = 5
	}
	start := at
	for _, v := range vars {
		at += copy(b[at:], v+"\x00")
	}
	binary.LittleEndian.PutUint32(b, crc32.ChecksumIEEE(b[start:]))
	return b
}

// makeUBoot is code around a banner.
func makeUBoot(n int) []byte {
	b := noise(n, 11)
	copy(b[n/2:], "\x00U-Boot 2016.11 (May 07 2026 - 10:11:12 +0000)hi3516\x00")
	return b
}

func makeARM64Image() []byte {
	b := noise(12<<10, 5)
	clear(b[:64])
	copy(b, "MZ")
	binary.LittleEndian.PutUint64(b[16:], uint64(len(b)))
	copy(b[56:], "ARM\x64")
	copy(b[4096:], linuxBanner)
	return b
}

func makeZImage(piggy []byte) []byte {
	b := make([]byte, 0x400)
	for i := range 8 {
		binary.LittleEndian.PutUint32(b[4*i:], 0xe1a00000)
	}
	b = append(b, piggy...)
	b = append(b, noise(100, 9)...)
	binary.LittleEndian.PutUint32(b[0x24:], 0x016f2818)
	binary.LittleEndian.PutUint32(b[0x2c:], uint32(len(b)))
	return b
}

func makeFIT(testing.TB) []byte {
	kernel := noise(2000, 21)
	root := plainTree()
	root.root = &node{props: []prop{{"description", []byte("made by hand\x00")}}, children: []*node{
		{name: "images", children: []*node{{name: "kernel-1",
			props:    []prop{{"data", kernel}, {"type", []byte("kernel\x00")}, {"compression", []byte("none\x00")}},
			children: []*node{{name: "hash-1", props: []prop{{"algo", []byte("crc32\x00")}, {"value", binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(kernel))}}}},
		}}},
		{name: "configurations", props: []prop{{"default", []byte("conf-1\x00")}}, children: []*node{{name: "conf-1", props: []prop{{"kernel", []byte("kernel-1\x00")}}}}},
	}}
	return root.bytes()
}

// tree writes a flattened device tree, right or wrong.
type tree struct{ root *node }

type node struct {
	name     string
	props    []prop
	children []*node
}

type prop struct {
	name  string
	value []byte
}

func plainTree() *tree {
	return &tree{&node{props: []prop{{"model", []byte("Example Camera\x00")}, {"compatible", []byte("example,camera\x00")}},
		children: []*node{{name: "chosen", props: []prop{{"bootargs", []byte("console=ttyS0,115200\x00")}}}}}}
}

func (t *tree) bytes() []byte {
	var structure, names bytes.Buffer
	at := map[string]uint32{}
	word := func(v uint32) { structure.Write(binary.BigEndian.AppendUint32(nil, v)) }
	pad := func() {
		for structure.Len()%4 != 0 {
			structure.WriteByte(0)
		}
	}
	var walk func(*node)
	walk = func(n *node) {
		word(1)
		structure.WriteString(n.name + "\x00")
		pad()
		for _, p := range n.props {
			if _, ok := at[p.name]; !ok {
				at[p.name] = uint32(names.Len())
				names.WriteString(p.name + "\x00")
			}
			word(3)
			word(uint32(len(p.value)))
			word(at[p.name])
			structure.Write(p.value)
			pad()
		}
		for _, c := range n.children {
			walk(c)
		}
		word(2)
	}
	walk(t.root)
	word(9)
	const head = 40 + 16
	total := head + structure.Len() + names.Len()
	var b bytes.Buffer
	for _, v := range []int{0xd00dfeed, total, head, head + structure.Len(), 40, 17, 16, 0, names.Len(), structure.Len()} {
		b.Write(binary.BigEndian.AppendUint32(nil, uint32(v)))
	}
	b.Write(make([]byte, 16))
	b.Write(structure.Bytes())
	b.Write(names.Bytes())
	return b.Bytes()
}

func open(t testing.TB, b []byte) *firmware.Image {
	t.Helper()
	img, err := firmware.Open(context.Background(), bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	adds(t, img)
	return img
}

// small are limits that a fuzz target can afford.
var small = budget.Limits{Bytes: 8 << 20, Held: 4 << 20, Entries: 4096}

// adds holds an image to its promise: regions partition it, children lie inside
// their parents in order, and the tally sums to the size.
func adds(t testing.TB, img *firmware.Image) {
	t.Helper()
	var pos, sum int64
	for _, r := range img.Regions {
		if r.Offset != pos || r.Size <= 0 {
			t.Fatalf("region %s at %#x of %d bytes does not follow %#x", r.Format, r.Offset, r.Size, pos)
		}
		inside(t, r)
		pos = r.End()
	}
	if pos != img.Size {
		t.Fatalf("regions end at %d, the image at %d", pos, img.Size)
	}
	for _, n := range img.Tally() {
		if n < 0 {
			t.Fatalf("tally %v", img.Tally())
		}
		sum += n
	}
	if sum != img.Size {
		t.Fatalf("tally %v does not sum to %d", img.Tally(), img.Size)
	}
}

func inside(t testing.TB, r *firmware.Region) {
	t.Helper()
	pos := r.Offset
	for _, c := range r.Children {
		if c.Offset < pos || c.Size <= 0 || c.End() > r.End() {
			t.Fatalf("child %s [%#x, %#x) of %s [%#x, %#x) is out of place", c.Format, c.Offset, c.End(), r.Format, r.Offset, r.End())
		}
		inside(t, c)
		pos = c.End()
	}
	if r.Contents != nil {
		adds(t, r.Contents)
	}
}

// first returns the first region of a format at any depth.
func first(img *firmware.Image, format string) *firmware.Region {
	var found *firmware.Region
	img.Walk(func(_ []*firmware.Region, _ *firmware.Image, r *firmware.Region) error {
		if found == nil && r.Format == format {
			found = r
		}
		return nil
	})
	return found
}

// outline is one line a top-level region.
func outline(img *firmware.Image) []string {
	var lines []string
	for _, r := range img.Regions {
		name := r.Format
		if name == "" {
			name = r.State.String()
		}
		lines = append(lines, fmt.Sprintf("%#x+%#x %s %s", r.Offset, r.Size, name, r.State))
	}
	return lines
}
