//go:build linux

package filesystem_test

import (
	"context"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"assay/firmware"
	"assay/firmware/budget"
	"assay/internal/peer"
)

// realRoot is a root file system of Debian for ARM: kernel modules, BusyBox, the C
// library, Perl and time zones, of more than 5,000 files and 100 MB. scripts/peers.sh
// unpacks its packages.
func realRoot(t *testing.T) string {
	t.Helper()
	peers := os.Getenv("ASSAY_PEERS")
	if peers == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			t.Fatal(err)
		}
		peers = filepath.Join(home, ".cache", "assay-peers")
	}
	root := filepath.Join(peers, "armhf")
	if _, err := os.Stat(filepath.Join(root, "kernel")); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%v: scripts/peers.sh fetches it", err)
		}
		t.Skipf("%v: scripts/peers.sh fetches it", err)
	}
	files, bytes := 0, int64(0)
	err := filepath.WalkDir(root, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		st, err := d.Info()
		if err == nil {
			files, bytes = files+1, bytes+st.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 5000 || bytes < 100<<20 {
		t.Fatalf("%s has %d files of %d bytes", root, files, bytes)
	}
	return root
}

// TestARealRootFileSystemIsReadFileByFile compares every name, mode, owner, link,
// time and byte. The makers that take minutes run with ASSAY_LONG=1 only.
func TestARealRootFileSystemIsReadFileByFile(t *testing.T) {
	if testing.Short() {
		t.Skip("it packs 250 MB")
	}
	root := realRoot(t)
	want := survey(t, os.DirFS(root))
	squash := func(options ...string) func(t *testing.T, out string) {
		return func(t *testing.T, out string) {
			run(t, "mksquashfs", "squashfs-tools", append([]string{root, out, "-noappend", "-no-progress", "-quiet"}, options...)...)
		}
	}
	for _, c := range []struct {
		name, format string
		long         bool
		make         func(t *testing.T, out string)
		forgets      func(name string, f *facts) // what the format cannot hold
	}{
		{"squashfs lz4", "squashfs", false, squash("-comp", "lz4"), nil},
		{"squashfs zstd of 1 MiB", "squashfs", false, squash("-comp", "zstd", "-Xcompression-level", "1", "-b", "1M"), nil},
		{"squashfs gzip of 4 KiB", "squashfs", true, squash("-comp", "gzip", "-b", "4K"), nil},
		{"squashfs xz with BCJ", "squashfs", true, squash("-comp", "xz", "-Xbcj", "arm"), nil},
		{"squashfs lzma", "squashfs", true, squash("-comp", "lzma"), nil},
		{"squashfs lzo", "squashfs", true, squash("-comp", "lzo", "-no-fragments"), nil},
		{"ext4", "ext4", false, func(t *testing.T, out string) {
			run(t, "mkfs.ext4", "e2fsprogs", "-q", "-d", root, out, "400M")
		}, func(name string, f *facts) {
			if name == "." {
				*f = facts{Mode: f.Mode}
			}
		}},
		{"erofs lz4", "erofs", false, func(t *testing.T, out string) {
			run(t, "mkfs.erofs", "erofs-utils", "-zlz4", out, root)
		}, nil},
		{"jffs2", "jffs2", true, func(t *testing.T, out string) {
			run(t, "mkfs.jffs2", "mtd-utils", "-l", "-n", "-e", "131072", "-r", root, "-o", out)
		}, func(name string, f *facts) {
			// A directory changed when a name in it did last, and mkfs.jffs2 gives names
			// the times of their files.
			if f.Mode.IsDir() {
				f.Time = 0
			}
		}},
		{"ubifs", "ubifs", true, func(t *testing.T, out string) {
			run(t, "mkfs.ubifs", "mtd-utils", "-m", "2048", "-e", "126976", "-c", "4000", "-x", "zlib", "-r", root, "-o", out)
		}, nil},
		{"cpio", "cpio", false, func(t *testing.T, out string) {
			cmd := exec.Command("sh", "-c", `cd "$1" && find . | sort | cpio --quiet -o -H newc >"$2"`, "sh", root, out)
			peer.Need(t, "cpio", "cpio")
			if msg, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("cpio: %v\n%s", err, msg)
			}
		}, nil},
		{"tar", "tar", false, func(t *testing.T, out string) { run(t, "tar", "tar", "-C", root, "-cf", out, ".") }, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.long && os.Getenv("ASSAY_LONG") == "" {
				t.Skip("it takes minutes: set ASSAY_LONG=1")
			}
			out := filepath.Join(t.TempDir(), "image")
			c.make(t, out)
			f, err := os.Open(out)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			st, err := f.Stat()
			if err != nil {
				t.Fatal(err)
			}
			img, err := firmware.Open(context.Background(), f, st.Size(), firmware.WithLimits(budget.Limits{Bytes: 8 << 30}))
			if err != nil {
				t.Fatal(err)
			}
			r := img.Regions[0]
			if r.Format != c.format || r.State != firmware.Proven || len(r.Problems) > 0 {
				t.Fatalf("%s, %s: %q", r.Format, r.State, r.Problems)
			}
			got := survey(t, r.FS)
			delete(got, "lost+found")
			expected := make(map[string]facts, len(want))
			for name, f := range want {
				if g, ok := got[name]; ok && c.forgets != nil {
					c.forgets(name, &f)
					c.forgets(name, &g)
					got[name] = g
				}
				expected[name] = f
			}
			compare(t, got, expected)
			// The one pass of Open found the same digests.
			for _, f := range r.Files {
				if w, ok := expected[f.Path]; ok && f.Mode.IsRegular() && f.SHA256 != w.Sum || f.Problem != "" {
					t.Fatalf("%s: %s, want %s (%s)", f.Path, f.SHA256, w.Sum, strings.TrimSpace(f.Problem))
				}
			}
		})
	}
}
