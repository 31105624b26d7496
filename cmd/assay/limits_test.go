package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"assay/internal/peer"
)

func TestTheReleasedProgramIsUnder60Megabytes(t *testing.T) {
	st, err := os.Stat(program(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%.1f MB", float64(st.Size())/1e6)
	if st.Size() > 60e6 {
		t.Errorf("%d bytes", st.Size())
	}
}

// sixteenMiB is a flash as cameras have it: the demonstration's, with a data
// partition of text and noise and a second, larger root file system.
func sixteenMiB(t *testing.T, b *bench) []byte {
	t.Helper()
	image := bytes.Repeat([]byte{0xff}, 16<<20)
	copy(image, b.demo("vendor-signed"))
	noise := rand.NewChaCha8([32]byte{'n'})
	noise.Read(image[2<<20 : 4<<20])
	text := []byte(strings.Repeat("GET /cgi-bin/snapshot.cgi?channel=1 HTTP/1.1\r\n", 64))
	for at := 4 << 20; at < 6<<20; at += len(text) {
		copy(image[at:6<<20], text)
	}
	for i := range 300 {
		body := make([]byte, 30<<10)
		noise.Read(body[:22<<10])
		b.write(fmt.Sprintf("root/usr/lib/lib%03d.so", i), body)
	}
	mksquashfs := peer.Need(t, "mksquashfs", "squashfs-tools")
	if out, err := exec.Command(mksquashfs, b.path("root"), b.path("root.sqfs"), "-comp", "xz", "-noappend", "-no-progress", "-all-root").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	root := b.read("root.sqfs")
	if len(root) < 5<<20 || len(root) > 9<<20 {
		t.Fatalf("the root file system has %d bytes", len(root))
	}
	copy(image[6<<20:], root)
	return image
}

func TestCertifyingA16MiBImageStaysUnder150Megabytes(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the peak is read from Linux's wait4")
	}
	b := newBench(t)
	b.trust()
	b.write("flash.bin", sixteenMiB(t, b))
	for _, args := range [][]string{
		{"inspect", "flash.bin"},
		{"verify", "flash.bin"},
		{"certify", "file:flash.bin?acquired=A4", "--out", "unit"},
	} {
		kilobytes := b.peak(args...)
		t.Logf("%s: %.1f MB at most", args[0], float64(kilobytes)*1024/1e6)
		if kilobytes*1024 > 150e6 {
			t.Errorf("%s took %d KiB", args[0], kilobytes)
		}
	}
	b.evidenceOf("unit")
}

// BenchmarkStart is how long a technician waits for nothing.
func BenchmarkStart(b *testing.B) {
	path := program(b)
	var took []time.Duration
	for b.Loop() {
		start := time.Now()
		if err := exec.Command(path, "version").Run(); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "ms/median")
}

// BenchmarkCertify is a dump of 2 MiB from the command to the registered permit.
func BenchmarkCertify(b *testing.B) {
	s := newBench(b)
	s.trust()
	s.write("flash.bin", s.demo("vendor-signed"))
	b.SetBytes(2 << 20)
	for i := 0; b.Loop(); i++ {
		s.want(exitInconclusive, "certify", "file:flash.bin?acquired=A4", "--out", filepath.Join("units", fmt.Sprint(i)))
	}
}
