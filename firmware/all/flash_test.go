//go:build linux

package all_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"assay/firmware"
	_ "assay/firmware/all"
	"assay/firmware/inventory"
	"assay/internal/peer"
)

// flash builds an image by testdata/flash/make.sh and returns its path and what
// is truly in it, a line a region.
func flash(t testing.TB, kind string) (path string, truth []string) {
	t.Helper()
	for program, pkg := range map[string]string{"mkimage": "u-boot-tools", "dtc": "device-tree-compiler", "mksquashfs": "squashfs-tools", "ubinize": "mtd-utils", "openssl": "openssl"} {
		peer.Need(t, program, pkg)
	}
	out := filepath.Join(t.TempDir(), kind)
	if msg, err := exec.Command("sh", "../../testdata/flash/make.sh", kind, out).CombinedOutput(); err != nil {
		if e, ok := err.(*exec.ExitError); ok && e.ExitCode() == 3 && os.Getenv("CI") != "true" {
			t.Skipf("%s", msg)
		}
		t.Fatalf("make.sh %s: %v\n%s", kind, err, msg)
	}
	b, err := os.ReadFile(out + ".tsv")
	if err != nil {
		t.Fatal(err)
	}
	return out + ".bin", strings.Split(strings.TrimSpace(string(b)), "\n")
}

func analyse(t testing.TB, path string) (*firmware.Image, *inventory.Report) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	img, err := firmware.Open(context.Background(), f, st.Size())
	if err != nil {
		t.Fatal(err)
	}
	return img, nil
}

var kinds = []string{"nor8", "nor16", "nor32", "nand128"}

func TestAFlashMadeOfRealPartsGivesExactlyTheTrueRegions(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			path, truth := flash(t, kind)
			img, _ := analyse(t, path)
			var got []string
			for _, r := range img.Regions {
				format := r.Format
				if format == "" {
					format = r.State.String()
				}
				got = append(got, fmt.Sprintf("%d\t%d\t%s\t%s", r.Offset, r.Size, format, r.State))
			}
			if !slices.Equal(got, truth) {
				t.Errorf("regions:\n%s\ntruth:\n%s", strings.Join(got, "\n"), strings.Join(truth, "\n"))
			}
			for _, c := range img.Claims {
				if c.Verdict == firmware.ClaimContradicted && strings.HasPrefix(c.Source, "mtdparts") {
					t.Errorf("a true partition is called wrong: %+v", c)
				}
			}
			img.Walk(func(_ []*firmware.Region, _ *firmware.Image, r *firmware.Region) error {
				if len(r.Problems) > 0 {
					t.Errorf("%s: %q", r.Label(), r.Problems)
				}
				return nil
			})
		})
	}
}

// BenchmarkFlash is the whole analysis: every region and file found, hashed and
// searched.
func BenchmarkFlash(b *testing.B) {
	for _, kind := range kinds {
		b.Run(kind, func(b *testing.B) {
			path, _ := flash(b, kind)
			st, err := os.Stat(path)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(st.Size())
			b.ReportAllocs()
			for b.Loop() {
				analyse(b, path)
			}
		})
	}
}
