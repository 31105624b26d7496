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
	"syscall"
	"testing"
	"time"

	"assay/firmware/budget"
	"assay/firmware/filesystem"
	"assay/internal/peer"
)

// benchTree is a tree of programs, libraries and text as a root file system has
// them, of about 30 MB, from what is installed on this machine.
func benchTree(b *testing.B) string {
	b.Helper()
	benchBytes = 0
	root, err := os.MkdirTemp("", "squashfs")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { os.RemoveAll(root) })
	left := int64(30 << 20)
	take := func(dir string, least, share int64) {
		filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() || share <= 0 {
				return nil
			}
			st, err := d.Info()
			if err != nil || st.Size() < least || st.Size() > 3<<20 || st.Size() > share {
				return nil
			}
			data, err := os.ReadFile(name)
			if err != nil {
				return nil
			}
			share -= int64(len(data))
			left -= int64(len(data))
			benchBytes += int64(len(data))
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
	take("/usr/share/perl", 0, 10<<20)
	take("/usr/bin", 0, 10<<20)
	take("/usr/lib", 100<<10, 10<<20)
	if left > 20<<20 {
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

// benchImages keeps images, which take longer to make than to read, for the
// second benchmark.
var (
	benchImages = make(map[string][]byte)
	benchBytes  int64 // in the files of each
)

// eachBenchImage calls fn with an image.
func eachBenchImage(all *testing.B, fn func(b *testing.B, image []byte)) {
	mksquashfs := peer.Need(all, "mksquashfs", "squashfs-tools")
	source := ""
	for _, c := range benchCases {
		all.Run(c.name, func(b *testing.B) {
			if benchImages[c.name] == nil {
				if source == "" {
					source = benchTree(all)
				}
				image := filepath.Join(b.TempDir(), "image.sqfs")
				args := append([]string{source, image, "-noappend", "-no-progress", "-quiet"}, c.args...)
				if out, err := exec.Command(mksquashfs, args...).CombinedOutput(); err != nil {
					b.Fatalf("%v\n%s", err, out)
				}
				data, err := os.ReadFile(image)
				if err != nil {
					b.Fatal(err)
				}
				benchImages[c.name] = data
			}
			b.SetBytes(benchBytes)
			fn(b, benchImages[c.name])
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
	eachBenchImage(b, func(b *testing.B, image []byte) {
		b.ReportAllocs()
		used := processorTime(b, syscall.RUSAGE_SELF)
		for b.Loop() {
			s, err := filesystem.NewSquashFS(bytes.NewReader(image), int64(len(image)), budget.New(budget.Limits{Bytes: 1 << 40}))
			if err != nil {
				b.Fatal(err)
			}
			hashAll(b, s)
		}
		used.report()
	})
}

// BenchmarkUnsquashfs unpacks the same images with the real program, to a file
// system in memory if there is one.
func BenchmarkUnsquashfs(b *testing.B) {
	unsquashfs := peer.Need(b, "unsquashfs", "squashfs-tools")
	eachBenchImage(b, func(b *testing.B, image []byte) {
		dir := memoryDir(b)
		packed, out := filepath.Join(dir, "image.sqfs"), filepath.Join(dir, "out")
		if err := os.WriteFile(packed, image, 0o644); err != nil {
			b.Fatal(err)
		}
		used := processorTime(b, syscall.RUSAGE_CHILDREN)
		for b.Loop() {
			if text, err := exec.Command(unsquashfs, "-no-progress", "-quiet", "-d", out, packed).CombinedOutput(); err != nil {
				b.Fatalf("%v\n%s", err, text)
			}
			b.StopTimer()
			os.RemoveAll(out)
			b.StartTimer()
		}
		used.report()
	})
}

// processor is the time of all processors that was used, which says more than
// the clock where the machine has other things to do.
type processor struct {
	b     *testing.B
	who   int
	start time.Duration
}

func processorTime(b *testing.B, who int) *processor {
	p := &processor{b: b, who: who}
	p.start = p.used()
	return p
}

func (p *processor) used() time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(p.who, &r); err != nil {
		p.b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

func (p *processor) report() {
	p.b.ReportMetric(float64((p.used()-p.start).Milliseconds())/float64(p.b.N), "cpu-ms/op")
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
