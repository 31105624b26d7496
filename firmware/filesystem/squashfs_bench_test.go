//go:build linux

package filesystem_test

import (
	"bytes"
	"crypto/sha256"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"assay/firmware/budget"
	"assay/firmware/filesystem"
	"assay/internal/peer"
)

// benchTree is a tree of programs, libraries and text as a root file system has
// them, of about 60 MB, from what is installed on this machine.
func benchTree(b *testing.B) string {
	b.Helper()
	root := b.TempDir()
	left := int64(60 << 20)
	take := func(dir string, least, share int64) {
		filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() || share <= 0 {
				return nil
			}
			st, err := d.Info()
			if err != nil || st.Size() < least || st.Size() > 6<<20 || st.Size() > share {
				return nil
			}
			data, err := os.ReadFile(name)
			if err != nil {
				return nil
			}
			share -= int64(len(data))
			left -= int64(len(data))
			to := filepath.Join(root, name)
			if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
				b.Fatal(err)
			}
			if err := os.WriteFile(to, data, st.Mode().Perm()); err != nil {
				b.Fatal(err)
			}
			return nil
		})
	}
	take("/usr/share/perl", 0, 20<<20)
	take("/usr/bin", 0, 20<<20)
	take("/usr/lib", 100<<10, 20<<20)
	if left > 40<<20 {
		b.Skip("this machine has too few files")
	}
	return root
}

// benchCases are the images that [BenchmarkSquashFSTree] and
// [BenchmarkUnsquashfs] both read.
var benchCases = []struct {
	name string
	args []string
}{
	{"gzip", []string{"-comp", "gzip"}},
	{"xz", []string{"-comp", "xz"}},
	{"xz with BCJ", []string{"-comp", "xz", "-Xbcj", "arm,x86"}},
	{"xz in 1 MiB", []string{"-comp", "xz", "-b", "1M"}},
	{"lzma", []string{"-comp", "lzma"}},
	{"lzo", []string{"-comp", "lzo"}},
	{"lz4", []string{"-comp", "lz4"}},
	{"zstd", []string{"-comp", "zstd"}},
}

// eachBenchImage calls fn with an image on a file system in memory, if there is
// one, and the bytes that its files have.
func eachBenchImage(b *testing.B, fn func(b *testing.B, image string)) {
	mksquashfs := peer.Need(b, "mksquashfs", "squashfs-tools")
	source := benchTree(b)
	sum := int64(0)
	filepath.WalkDir(source, func(_ string, d fs.DirEntry, err error) error {
		if st, err := d.Info(); err == nil && d.Type().IsRegular() {
			sum += st.Size()
		}
		return nil
	})
	dir := memoryDir(b)
	for _, c := range benchCases {
		image := filepath.Join(dir, c.name+".sqfs")
		args := append([]string{source, image, "-noappend", "-no-progress", "-quiet"}, c.args...)
		if out, err := exec.Command(mksquashfs, args...).CombinedOutput(); err != nil {
			b.Fatalf("%v\n%s", err, out)
		}
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(sum)
			fn(b, image)
		})
	}
}

func memoryDir(b *testing.B) string {
	if dir, err := os.MkdirTemp("/dev/shm", "squashfs"); err == nil {
		b.Cleanup(func() { os.RemoveAll(dir) })
		return dir
	}
	return b.TempDir()
}

// BenchmarkSquashFSTree hashes every file of a tree with SHA-256, as many files
// at a time as there are processors.
func BenchmarkSquashFSTree(b *testing.B) {
	eachBenchImage(b, func(b *testing.B, image string) {
		data, err := os.ReadFile(image)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			s, err := filesystem.NewSquashFS(bytes.NewReader(data), int64(len(data)), budget.New(budget.Limits{Bytes: 1 << 40}))
			if err != nil {
				b.Fatal(err)
			}
			hashAll(b, s)
		}
	})
}

// BenchmarkUnsquashfs unpacks the same images with the real program into memory.
func BenchmarkUnsquashfs(b *testing.B) {
	unsquashfs := peer.Need(b, "unsquashfs", "squashfs-tools")
	eachBenchImage(b, func(b *testing.B, image string) {
		out := filepath.Join(filepath.Dir(image), "out")
		for b.Loop() {
			if text, err := exec.Command(unsquashfs, "-no-progress", "-quiet", "-d", out, image).CombinedOutput(); err != nil {
				b.Fatalf("%v\n%s", err, text)
			}
			b.StopTimer()
			os.RemoveAll(out)
			b.StartTimer()
		}
	})
}

func hashAll(b *testing.B, files fs.FS) {
	var names []string
	err := fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	var next atomic.Int64
	var readers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		readers.Go(func() {
			buf := make([]byte, 1<<20)
			h := sha256.New()
			for {
				i := int(next.Add(1)) - 1
				if i >= len(names) {
					return
				}
				f, err := files.Open(names[i])
				if err != nil {
					b.Error(err)
					return
				}
				h.Reset()
				_, err = io.CopyBuffer(struct{ io.Writer }{h}, struct{ io.Reader }{f}, buf)
				h.Sum(nil)
				f.Close()
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	readers.Wait()
}
