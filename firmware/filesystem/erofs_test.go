//go:build linux

package filesystem_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"assay/firmware"
	"assay/firmware/budget"
	"assay/firmware/filesystem"
)

func mkfsEROFS(t testing.TB, root string, options ...string) []byte {
	t.Helper()
	out := filepath.Join(t.TempDir(), "image")
	run(t, "mkfs.erofs", "erofs-utils", append(append([]string{"-d0", "-T", "1600000000", "-U", "00112233-4455-6677-8899-aabbccddeeff"}, options...), out, root)...)
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestEROFSImagesOfMkfsGiveTheSourceTree(t *testing.T) {
	root := sourceTree(t)
	if err := os.Remove(filepath.Join(root, "usr", strings.Repeat("n", 255))); err != nil { // mkfs.erofs 1.5 cannot
		t.Fatal(err)
	}
	want := survey(t, os.DirFS(root))
	for name, options := range map[string][]string{
		"plain":             nil,
		"LZ4":               {"-zlz4"},
		"LZ4HC at its best": {"-zlz4hc,12"},
		"large clusters":    {"-zlz4hc", "-C65536"},
		"packed tails":      {"-zlz4", "-Eztailpacking"},
		"legacy indexes":    {"-zlz4", "-Elegacy-compress"},
		"chunks":            {"--chunksize=4096"},
		"extended inodes":   {"-Eforce-inode-extended"},
	} {
		t.Run(name, func(t *testing.T) {
			r := analyse(t, mkfsEROFS(t, root, options...)).Regions[0]
			if r.Format != "erofs" || r.State != firmware.Proven || len(r.Problems) > 0 {
				t.Fatalf("%s, %s: %q", r.Format, r.State, r.Problems)
			}
			got := survey(t, r.FS)
			// A compact inode has no time but that of the whole.
			expected := make(map[string]facts, len(want))
			for name, f := range want {
				f.Time = got[name].Time
				expected[name] = f
			}
			compare(t, got, expected)
		})
	}
}

func smallEROFS(t testing.TB) []byte { return mkfsEROFS(t, littleTree(t), "-zlz4") }

func TestTheDamageOfAnEROFSIsTold(t *testing.T) {
	image := smallEROFS(t)
	image[1024+40] ^= 1
	r := analyse(t, image).Regions[0]
	if r.Format == "erofs" && (r.State == firmware.Proven || len(r.Problems) == 0) {
		t.Errorf("a changed superblock: %+v", r)
	}
	for at := 1152; at < len(image); at += 97 {
		damaged := smallEROFSWith(image, at)
		attackEROFS(t, damaged)
	}
}

func smallEROFSWith(image []byte, at int) []byte {
	b := bytes.Clone(image)
	b[1024+40] ^= 1 // whole again
	b[at] ^= 0x55
	return b
}

func attackEROFS(t testing.TB, data []byte) {
	t.Helper()
	f, err := filesystem.NewEROFS(context.Background(), bytes.NewReader(data), int64(len(data)), tight())
	if f == nil {
		if err == nil {
			t.Fatal("neither a file system nor an error")
		}
		return
	}
	walkAll(t, f)
}

func TestAnEROFSBombEndsWithTheBudget(t *testing.T) {
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "zeros"), make([]byte, 64<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	image := mkfsEROFS(t, root, "-zlz4", "-C65536")
	_, err := firmware.Open(context.Background(), bytes.NewReader(image), int64(len(image)), firmware.WithLimits(budget.Limits{Bytes: 16 << 20}))
	if !errors.Is(err, budget.ErrExceeded) {
		t.Errorf("%d bytes with 64 MiB in them: %v", len(image), err)
	}
}

func FuzzEROFS(f *testing.F) {
	f.Add([]byte{})
	if _, err := exec.LookPath("mkfs.erofs"); err == nil {
		f.Add(smallEROFS(f))
		f.Add(mkfsEROFS(f, littleTree(f), "-zlz4", "-Eztailpacking"))
		f.Add(mkfsEROFS(f, littleTree(f), "--chunksize=4096"))
	}
	f.Fuzz(func(t *testing.T, data []byte) { attackEROFS(t, data) })
}
