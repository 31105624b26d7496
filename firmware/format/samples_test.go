package format_test

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"hash/crc32"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"assay/firmware"
	_ "assay/firmware/format"
	"assay/firmware/internal/formattest"
	"assay/internal/peer"
)

var samples = map[string]formattest.Sample{
	"uimage":       {Make: func(testing.TB) []byte { return makeUImage(2, 0, []byte("a kernel that is none")) }, State: firmware.Proven, Role: firmware.RoleKernel, Fuzz: "FuzzUImage"},
	"fdt":          {Make: func(testing.TB) []byte { return plainTree().bytes() }, State: firmware.Parsed, Role: firmware.RoleDeviceTree, Fuzz: "FuzzDeviceTree"},
	"fit":          {Make: makeFIT, State: firmware.Proven, Role: firmware.RoleContainer, Fuzz: "FuzzFIT"},
	"linux-arm64":  {Make: func(testing.TB) []byte { return makeARM64Image() }, State: firmware.Parsed, Role: firmware.RoleKernel, Fuzz: "FuzzARM64Image"},
	"linux-zimage": {Make: func(testing.TB) []byte { return makeZImage(packText(8 << 10)) }, State: firmware.Parsed, Role: firmware.RoleKernel, Fuzz: "FuzzZImage"},
	"linux":        {Make: func(testing.TB) []byte { return packText(8 << 10) }, State: firmware.Proven, Role: firmware.RoleKernel, Fuzz: "FuzzKernel"}, // found inside
	"gzip":         {Make: func(testing.TB) []byte { return gzipped(formattest.Text(3000)) }, State: firmware.Proven, Role: firmware.RoleContainer, Fuzz: "FuzzGzip"},
	"xz":           {Make: packed("xz", "xz-utils", "-c", "--check=crc32"), State: firmware.Proven, Role: firmware.RoleContainer, Fuzz: "FuzzXZ"},
	"lzma":         {Make: packed("lzma", "xz-utils", "-c"), State: firmware.Parsed, Role: firmware.RoleContainer, Fuzz: "FuzzLZMA"},
	"bzip2":        {Make: packed("bzip2", "bzip2", "-c"), State: firmware.Proven, Role: firmware.RoleContainer, Fuzz: "FuzzBzip2"},
	"zstd":         {Make: packed("zstd", "zstd", "-q", "-c"), State: firmware.Proven, Role: firmware.RoleContainer, Fuzz: "FuzzZstd"},
	"lz4":          {Make: packed("lz4", "lz4", "-q", "-c"), State: firmware.Proven, Role: firmware.RoleContainer, Fuzz: "FuzzLZ4"},
	"lz4-legacy":   {Make: packed("lz4", "lz4", "-q", "-l", "-c"), State: firmware.Parsed, Role: firmware.RoleContainer, Fuzz: "FuzzLZ4Legacy"},
	"lzo":          {Make: packed("lzop", "lzop", "-q", "-c"), State: firmware.Proven, Role: firmware.RoleContainer, Fuzz: "FuzzLzop"},
	"u-boot-env":   {Make: func(testing.TB) []byte { return makeEnv(0x1000, false, "bootcmd=bootm 0x80000", "baudrate=115200") }, State: firmware.Proven, Role: firmware.RoleEnvironment, Fuzz: "FuzzEnvironment"},
	"u-boot":       {Make: func(testing.TB) []byte { return makeUBoot(40 << 10) }, State: firmware.Parsed, Role: firmware.RoleBootLoader, Fuzz: "FuzzUBoot", Midst: true},
}

const linuxBanner = "Linux version 4.9.37 (build@host) (gcc version 6.3.0 (Buildroot)) #1 PREEMPT Thu May 7 10:11:12 UTC 2026\n\x00"

func gzipped(b []byte) []byte {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	z.Write(b)
	z.Close()
	return out.Bytes()
}

// packText is a kernel, packed.
func packText(n int) []byte {
	return gzipped(append([]byte("\x01\x02"+linuxBanner), formattest.Noise(n, 3)...))
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
	return func(t testing.TB) []byte { return pipe(t, formattest.Text(5000), program, pkg, args...) }
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
	b := formattest.Noise(n, 11)
	copy(b[n/2:], "\x00U-Boot 2016.11 (May 07 2026 - 10:11:12 +0000)hi3516\x00")
	return b
}

func makeARM64Image() []byte {
	b := formattest.Noise(12<<10, 5)
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
	b = append(b, formattest.Noise(100, 9)...)
	binary.LittleEndian.PutUint32(b[0x24:], 0x016f2818)
	binary.LittleEndian.PutUint32(b[0x2c:], uint32(len(b)))
	return b
}

func makeFIT(testing.TB) []byte {
	kernel := formattest.Noise(2000, 21)
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
	b.Write(binary.BigEndian.AppendUint32(nil, 0xd00dfeed))
	for _, v := range []int{total, head, head + structure.Len(), 40, 17, 16, 0, names.Len(), structure.Len()} {
		b.Write(binary.BigEndian.AppendUint32(nil, uint32(v)))
	}
	b.Write(make([]byte, 16))
	b.Write(structure.Bytes())
	b.Write(names.Bytes())
	return b.Bytes()
}

// reseal writes the header's sum anew.
func reseal(uImage []byte) {
	clear(uImage[4:8])
	binary.BigEndian.PutUint32(uImage[4:], crc32.ChecksumIEEE(uImage[:64]))
}
