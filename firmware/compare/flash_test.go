//go:build linux

package compare_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"assay/firmware"
	_ "assay/firmware/all"
	"assay/firmware/compare"
	"assay/internal/peer"
)

// Where testdata/flash/make.sh puts the parts of nor8.
const (
	environment = 1048576
	kernel      = 1114112
	root        = 4194304
	data        = 6291456
	free        = 7 << 20 // erased, in the partition of the data
	gap         = 5 << 20 // erased, behind the root file system
)

// nor8 is a flash as a camera has it.
func nor8(t *testing.T) []byte {
	t.Helper()
	for program, pkg := range map[string]string{
		"mkimage": "u-boot-tools", "dtc": "device-tree-compiler", "mksquashfs": "squashfs-tools", "mkfs.jffs2": "mtd-utils", "ubinize": "mtd-utils", "openssl": "openssl",
	} {
		peer.Need(t, program, pkg)
	}
	out := filepath.Join(t.TempDir(), "nor8")
	if msg, err := exec.Command("sh", "../../testdata/flash/make.sh", "nor8", out).CombinedOutput(); err != nil {
		if e, ok := err.(*exec.ExitError); ok && e.ExitCode() == 3 && os.Getenv("CI") != "true" {
			t.Skipf("%s", msg)
		}
		t.Fatalf("make.sh: %v\n%s", err, msg)
	}
	return read(t, out+".bin")
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// made runs a program in a new folder that holds the files, and returns what it
// wrote to "out".
func made(t *testing.T, files map[string]string, program string, args ...string) []byte {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		mode := os.FileMode(0o644)
		if strings.Contains(name, "bin/") {
			mode = 0o755
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(program, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "SOURCE_DATE_EPOCH=1767225600")
	if msg, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", program, err, msg)
	}
	return read(t, filepath.Join(dir, "out"))
}

func put(b []byte, at int, part []byte) []byte {
	out := bytes.Clone(b)
	copy(out[at:], part)
	return out
}

func opened(t *testing.T, name string, b []byte) compare.Image {
	t.Helper()
	img, err := firmware.Open(t.Context(), bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	return compare.Image{Name: name, Data: bytes.NewReader(b), Size: int64(len(b)), Found: []compare.Found{{Image: img}}}
}

func jffs2(t *testing.T, files map[string]string) []byte {
	at := map[string]string{}
	for name, content := range files {
		at["root/"+name] = content
	}
	return made(t, at, "mkfs.jffs2", "-l", "-q", "-p", "-n", "-e", "65536", "-r", "root", "-o", "out")
}

func squashfs(t *testing.T, files map[string]string) []byte {
	at := map[string]string{}
	for name, content := range files {
		at["root/"+name] = content
	}
	return made(t, at, "mksquashfs", "root", "out", "-comp", "xz", "-all-root", "-no-progress", "-noappend", "-quiet")
}

func TestWhatARealFlashDiffersInIsNamed(t *testing.T) {
	flash := nor8(t)
	settings := map[string]string{"config/name": "gate 7\n", "config/log": "started\n"}
	programs := map[string]string{"bin/camerad": "#!/bin/sh\necho camera\n", "etc/passwd": "root:x:0:0\n", "etc/hostname": "cam\n"}
	flash = put(flash, data, jffs2(t, settings))
	flash = put(flash, root, bytes.Repeat([]byte{0xff}, data-root))
	flash = put(flash, root, squashfs(t, programs))
	a := opened(t, "unit.bin", flash)

	changed := func(m map[string]string, name, content string) map[string]string {
		out := map[string]string{}
		for k, v := range m {
			out[k] = v
		}
		out[name] = content
		return out
	}
	for name, c := range map[string]struct {
		b     []byte
		want  compare.Verdict
		check func(t *testing.T, r *compare.Report)
	}{
		"nothing": {flash, compare.Same, nil},
		"a byte of the kernel": {put(flash, kernel+100000, []byte{^flash[kernel+100000]}), compare.Immutable, func(t *testing.T, r *compare.Report) {
			p := r.Places[0]
			if p.Class != compare.ClassImmutable || !strings.HasPrefix(p.B.Path, "uimage@0x110000") || p.A.Role != "kernel" || p.Differing != 1 || p.A.Partition != "kernel" {
				t.Errorf("%+v", p)
			}
			if !strings.Contains(r.Says, "kernel uimage@0x110000") {
				t.Error(r.Says)
			}
		}},
		"a bit of the kernel": {put(flash, kernel+100000, []byte{flash[kernel+100000] ^ 0x10}), compare.OneBit, func(t *testing.T, r *compare.Report) {
			if !strings.Contains(r.Says, fmt.Sprintf("at %#x in kernel", kernel+100000)) || !strings.Contains(r.Says, fmt.Sprintf("%02x in A and %02x in B", flash[kernel+100000], flash[kernel+100000]^0x10)) {
				t.Error(r.Says)
			}
		}},
		"the boot loader": {put(flash, 4096, []byte("patched")), compare.Immutable, func(t *testing.T, r *compare.Report) {
			if r.Places[0].A.Role != "boot-loader" {
				t.Errorf("%+v", r.Places[0])
			}
		}},
		"the environment": {put(flash, environment, env(t, "bootdelay=5\nbootcmd=run evil\nethaddr=00:00:5E:00:53:08\n")), compare.Expected, func(t *testing.T, r *compare.Report) {
			i := slices.IndexFunc(r.Variables, func(v compare.Variable) bool { return v.Name == "bootcmd" })
			if i < 0 || r.Variables[i].B != "run evil" || !strings.HasPrefix(r.Variables[i].A, "sf read") {
				t.Errorf("%+v", r.Variables)
			}
			if !slices.ContainsFunc(r.Variables, func(v compare.Variable) bool { return v.Name == "bootargs" && v.InA && !v.InB }) {
				t.Errorf("a variable that is gone is not named: %+v", r.Variables)
			}
			if !slices.ContainsFunc(r.Notes, func(s string) bool { return strings.Contains(s, "boot loader starts") }) {
				t.Errorf("%q", r.Notes)
			}
		}},
		"user data": {put(flash, data, jffs2(t, changed(settings, "config/log", "started\nstarted again\n"))), compare.Expected, func(t *testing.T, r *compare.Report) {
			if len(r.FileSystems) != 1 || len(r.FileSystems[0].Changes) != 1 || r.FileSystems[0].Changes[0].Path != "config/log" || r.FileSystems[0].Changes[0].What != "content" {
				t.Errorf("%+v", r.FileSystems)
			}
		}},
		"a program in user data": {put(flash, data, jffs2(t, changed(settings, "bin/telnetd", "#!/bin/sh\n"))), compare.Expected, func(t *testing.T, r *compare.Report) {
			if len(r.FileSystems) != 1 || r.FileSystems[0].OnlyB == 0 || !slices.ContainsFunc(r.Notes, func(s string) bool { return strings.Contains(s, "1 program in writable") }) {
				t.Errorf("%+v %q", r.FileSystems, r.Notes)
			}
		}},
		"a program of the root file system": {put(flash, root, padded(squashfs(t, changed(programs, "bin/camerad", "#!/bin/sh\necho spy\n")))), compare.Immutable, func(t *testing.T, r *compare.Report) {
			if len(r.FileSystems) != 1 || r.FileSystems[0].Class != compare.ClassImmutable || len(r.FileSystems[0].Changes) != 1 ||
				r.FileSystems[0].Changes[0].Path != "bin/camerad" || !r.FileSystems[0].Changes[0].Program {
				t.Errorf("%+v", r.FileSystems)
			}
		}},
		"a file system that the unit shows as erased": {put(flash, gap, squashfs(t, programs)), compare.Immutable, func(t *testing.T, r *compare.Report) {
			if r.Places[0].A.State != "erased" || r.Places[0].B.Format != "squashfs" {
				t.Errorf("%+v", r.Places[0])
			}
		}},
		"unknown bytes that the unit shows as erased": {put(flash, free, scrambled(4096)), compare.Unexplained, func(t *testing.T, r *compare.Report) {
			if !strings.Contains(r.Says, "erased") && !strings.Contains(r.Places[0].Why, "erased") {
				t.Errorf("%s %+v", r.Says, r.Places[0])
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			b := opened(t, "chip.bin", c.b)
			r, err := compare.Compare(t.Context(), a, b)
			if err != nil {
				t.Fatal(err)
			}
			if r.Verdict != c.want {
				t.Fatalf("%s, want %s: %s\n%+v\n%+v", r.Verdict, c.want, r.Says, r.Places, r.FileSystems)
			}
			if c.check != nil {
				c.check(t, r)
			}
			back, err := compare.Compare(t.Context(), b, a)
			if err != nil || back.Verdict != r.Verdict || back.Differing != r.Differing {
				t.Errorf("the other way round: %+v, %v", back, err)
			}
		})
	}
	t.Run("a partition alone", func(t *testing.T) {
		r, err := compare.Compare(t.Context(), a, opened(t, "mtd2.bin", flash[kernel:root]))
		if err != nil || r.Shift != kernel || r.Verdict != compare.Part {
			t.Fatalf("%+v, %v", r, err)
		}
	})
}

func env(t *testing.T, text string) []byte {
	return made(t, map[string]string{"in": text}, "mkenvimage", "-s", "65536", "-p", "0x00", "-o", "out", "in")
}

// padded is a part with erased flash behind it, up to what was there before.
func padded(b []byte) []byte { return append(b, bytes.Repeat([]byte{0xff}, 64<<10)...) }

func scrambled(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{7}).Read(b)
	return b
}

// ubi has a kernel, a read-only and a writable file system.
func ubi(t *testing.T, kernel []byte, program, setting string) []byte {
	t.Helper()
	const cfg = `[kernel]
mode=ubi
image=kernel
vol_id=0
vol_type=static
vol_name=kernel
[rootfs]
mode=ubi
image=squashfs
vol_id=1
vol_type=dynamic
vol_name=rootfs
[data]
mode=ubi
image=ubifs
vol_id=2
vol_type=dynamic
vol_size=4MiB
vol_name=data
`
	return made(t, map[string]string{
		"kernel": string(kernel), "squashfs": string(squashfs(t, map[string]string{"bin/camerad": program})), "cfg": cfg,
		"ubifs": string(made(t, map[string]string{"root/setting": setting}, "mkfs.ubifs", "-m", "2048", "-e", "126976", "-c", "40", "-x", "lzo", "-r", "root", "-o", "out")),
	}, "ubinize", "-m", "2048", "-p", "131072", "-Q", "7", "-o", "out", "cfg")
}

func TestBlocksThatMovedAreToldFromWhatChangedInThem(t *testing.T) {
	flash := nor8(t)
	image := flash[kernel : kernel+2643368]
	before := ubi(t, image, "echo camera\n", "gate 7\n")
	const block = 131072
	moved := bytes.Clone(before) // the blocks of the first two hold the volume table
	for i := 2; i+1 < len(moved)/block; i += 2 {
		copy(moved[i*block:], before[(i+1)*block:(i+2)*block])
		copy(moved[(i+1)*block:], before[i*block:(i+1)*block])
	}
	other := bytes.Clone(image)
	other[len(other)-5] ^= 0xff
	for name, c := range map[string]struct {
		b    []byte
		want compare.Verdict
		in   string
	}{
		"blocks that moved":               {moved, compare.Expected, ""},
		"another setting":                 {ubi(t, image, "echo camera\n", "gate 8\n"), compare.Expected, ""},
		"another program":                 {ubi(t, image, "echo spy\n", "gate 7\n"), compare.Immutable, "squashfs"},
		"a byte of the kernel in a block": {ubi(t, other, "echo camera\n", "gate 7\n"), compare.Immutable, "kernel"},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := compare.Compare(t.Context(), opened(t, "a", before), opened(t, "b", c.b))
			if err != nil {
				t.Fatal(err)
			}
			if r.Verdict != c.want || r.Differing == 0 || c.in != "" && !strings.Contains(r.Says, c.in) {
				t.Fatalf("%s: %s\n%+v\n%+v", r.Verdict, r.Says, r.Inside, r.FileSystems)
			}
		})
	}
}
