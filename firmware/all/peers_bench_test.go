//go:build linux

package all_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// BenchmarkPeers runs whole programs over the same flashes in turn, five times
// each, after one run that is not counted, and reports medians: seconds on the
// clock, seconds of processor time, and peak memory of the largest process. It is
// run by make bench-firmware, which builds assay and installs the others; one that
// is missing is left out. Each extracts what it can, all levels deep, into memory
// where there is such a file system: ext4 takes seconds to make files where others
// were just removed.
func BenchmarkPeers(b *testing.B) {
	programs := []struct {
		name string
		args func(image, out string) []string
	}{
		{"assay", func(image, out string) []string { return []string{"inspect", image, "--json"} }},
		{"assay-extract", func(image, out string) []string { return []string{"inspect", image, "--extract", out} }},
		{"binwalk", func(image, out string) []string { return []string{"-eM", "-C", out, image} }},
		{"unblob", func(image, out string) []string { return []string{"-e", out, image} }},
	}
	for _, kind := range []string{"nor16", "nand128"} {
		path, _ := flash(b, kind)
		for _, p := range programs {
			program, _, _ := strings.Cut(p.name, "-")
			if own := os.Getenv("ASSAY"); program == "assay" && own != "" {
				program = own
			}
			program, err := exec.LookPath(program)
			if err != nil {
				b.Logf("%s is not installed and left out", p.name)
				continue
			}
			b.Run(kind+"/"+p.name, func(b *testing.B) {
				var wall, cpu, peak []float64
				for range b.N {
					for run := range 6 {
						dir := memory(b)
						out := filepath.Join(dir, "out")
						cmd := exec.Command(program, p.args(path, out)...)
						cmd.Dir = filepath.Dir(path)
						start := time.Now()
						err := cmd.Run()
						took := time.Since(start).Seconds()
						os.RemoveAll(dir)
						if cmd.ProcessState == nil {
							b.Fatal(err)
						}
						if run == 0 {
							continue
						}
						use := cmd.ProcessState.SysUsage().(*syscall.Rusage)
						wall = append(wall, took)
						cpu = append(cpu, (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds())
						peak = append(peak, float64(use.Maxrss)/1024)
					}
				}
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(median(wall), "s")
				b.ReportMetric(median(cpu), "cpu-s")
				b.ReportMetric(median(peak), "peak-MiB")
			})
		}
	}
}

func memory(b *testing.B) string {
	if dir, err := os.MkdirTemp("/dev/shm", "peers"); err == nil {
		return dir
	}
	return b.TempDir()
}

func median(list []float64) float64 {
	slices.Sort(list)
	return list[len(list)/2]
}
