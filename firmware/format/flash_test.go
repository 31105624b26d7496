package format_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"assay/firmware"
	_ "assay/firmware/filesystem"
	"assay/firmware/internal/formattest"
)

// flash is a NOR flash as a camera's: what was put where, and the regions that
// are truly in it.
type flash struct {
	bytes []byte
	truth []string
}

func (f *flash) put(off int, b []byte, what string) int {
	copy(f.bytes[off:], b)
	f.truth = append(f.truth, fmt.Sprintf("%#x+%#x %s", off, len(b), what))
	return off + len(b)
}

// erased notes what is left between two places.
func (f *flash) erased(from, to int) { f.rest(from, to, "erased erased") }

func (f *flash) rest(from, to int, what string) {
	if to > from {
		f.truth = append(f.truth, fmt.Sprintf("%#x+%#x %s", from, to-from, what))
	}
}

const (
	flashEnv    = 0x100000
	flashKernel = 0x120000
	flashRoot   = 0x400000
)

// assemble makes a flash with a real U-Boot, two copies of an environment, a
// signed FIT with old data behind it, a root file system, an encrypted part and
// erased rest.
func assemble(t testing.TB, size int) *flash {
	t.Helper()
	boot, err := os.ReadFile("/usr/lib/u-boot/qemu_arm64/u-boot.bin")
	if err != nil {
		t.Skip("there is no U-Boot: install Debian package u-boot-qemu")
	}
	f := &flash{bytes: bytes.Repeat([]byte{0xff}, size)}
	end := f.put(0, boot, "u-boot parsed")
	f.erased(end, flashEnv)

	mtdparts := fmt.Sprintf("mtdparts=spi0.0:1m(uboot),128k(env),%dk(kernel),%dk(rootfs),-(app)", (flashRoot-flashKernel)>>10, (size*3/4-flashRoot)>>10)
	env := makeEnv(0x10000, true, "baudrate=115200", "bootargs=console=ttyS0 "+mtdparts, "bootcmd=sf read 0x80000000", "wifi_password=hunter2")
	f.put(flashEnv, env, "u-boot-env proven")
	f.put(flashEnv+0x10000, env, "u-boot-env proven")

	kernel := gzipped(append([]byte("\x01\x02"+linuxBanner), formattest.Noise(1_500_000, 8)...))
	fit := signedFIT(t, kernel, gzipped(formattest.Text(90_000)))
	end = f.put(flashKernel, fit, "fit proven")
	// An older, longer kernel was there: its tail fills the partition's rest.
	old := formattest.Noise(150_000, 77)
	copy(f.bytes[end:], old)
	f.rest(end, end+len(old), "residue residue")
	f.erased(end+len(old), flashRoot)

	root := rootFS(t)
	end = f.put(flashRoot, root, "squashfs proven")
	f.erased(end, size*3/4)

	secret := formattest.Noise(300_001, 5)
	end = size*3/4 + copy(f.bytes[size*3/4:], secret)
	f.rest(size*3/4, end, "opaque opaque")
	f.erased(end, size)
	return f
}

func rootFS(t testing.TB) []byte {
	t.Helper()
	dir := t.TempDir()
	for name, b := range map[string][]byte{
		"bin/busybox":     append(formattest.Noise(400_000, 30), "\x00BusyBox v1.31.1 (2026-05-07 10:11:12 UTC)\x00"...),
		"sbin/.keep":      nil,
		"etc/inittab":     []byte("::sysinit:/etc/rcS\n"),
		"usr/lib/libx.so": formattest.Noise(900_000, 31),
	} {
		if err := os.MkdirAll(filepath.Join(dir, "root", filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, dir, filepath.Join("root", name), b)
	}
	run(t, dir, "mksquashfs", "squashfs-tools", "root", "image", "-comp", "xz", "-all-root", "-no-progress")
	return read(t, dir, "image")
}

func TestAnAssembledFlashGivesExactlyTheTrueRegions(t *testing.T) {
	for _, size := range []int{8 << 20, 16 << 20} {
		f := assemble(t, size)
		img := formattest.Open(t, f.bytes)
		if got := formattest.Outline(img); !slices.Equal(got, f.truth) {
			t.Errorf("regions of %d bytes:\n%q\nwant\n%q", size, got, f.truth)
		}
		for _, c := range img.Claims {
			want := firmware.ClaimProven
			if c.Name == "app" {
				want = firmware.ClaimUnproven
			}
			if c.Verdict != want {
				t.Errorf("partition %s is %s (%s), want %s", c.Name, c.Verdict, c.Why, want)
			}
		}
		if len(img.Claims) != 5 || len(img.Problems) > 0 {
			t.Errorf("%d claims, problems %q", len(img.Claims), img.Problems)
		}
		env := formattest.First(img, "u-boot-env")
		if env.Field("baudrate") != "115200" || env.Field("wifi_password") != "(7 bytes withheld)" || env.Field("redundant copy flag") != "1" {
			t.Errorf("environment %v", env.Fields)
		}
	}
}

func TestAFalsePartitionTableIsContradicted(t *testing.T) {
	f := assemble(t, 8<<20)
	old := []byte("bootargs=console=ttyS0 mtdparts=spi0.0:1m(uboot)")
	at := bytes.Index(f.bytes, old)
	if at < 0 {
		t.Fatal("no partition table in the sample")
	}
	// The kernel is said to start 64 KiB into the FIT.
	copy(f.bytes[at+len(old)-len("1m(uboot)"):], "1216k(ub)")
	img := formattest.Open(t, f.bytes)
	contradicted := 0
	for _, c := range img.Claims {
		if c.Verdict == firmware.ClaimContradicted {
			contradicted++
		}
	}
	if contradicted == 0 || len(img.Problems) < contradicted {
		t.Fatalf("claims %+v, problems %q", img.Claims, img.Problems)
	}
	if formattest.First(img, "fit") == nil || formattest.First(img, "squashfs") == nil {
		t.Fatalf("a false claim hid a region: %q", formattest.Outline(img))
	}
}

func TestOpeningAFlashHoldsLittleMemory(t *testing.T) {
	f := assemble(t, 16<<20)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	peak := uint64(0)
	img, err := firmware.Open(context.Background(), bytes.NewReader(f.bytes), int64(len(f.bytes)), firmware.WithProgress(func(done, total int64) {
		runtime.ReadMemStats(&after)
		peak = max(peak, after.HeapAlloc)
	}))
	if err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	peak = max(peak, after.HeapAlloc)
	used := int64(peak) - int64(before.HeapAlloc)
	t.Logf("heap grew by %d KiB at its highest, %d KiB were allocated in all", used>>10, (after.TotalAlloc-before.TotalAlloc)>>10)
	if used > 64<<20 {
		t.Errorf("the heap grew by %d bytes while opening %d", used, img.Size)
	}
}

func BenchmarkOpen(b *testing.B) {
	f := assemble(b, 16<<20)
	b.SetBytes(int64(len(f.bytes)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := firmware.Open(context.Background(), bytes.NewReader(f.bytes), int64(len(f.bytes))); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOpenOpaque is the sweep over encrypted bytes: nothing to find, and
// all of them to be looked at, hashed and counted.
func BenchmarkOpenOpaque(b *testing.B) {
	data := formattest.Noise(16<<20, 99)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := firmware.Open(context.Background(), bytes.NewReader(data), int64(len(data))); err != nil {
			b.Fatal(err)
		}
	}
}
