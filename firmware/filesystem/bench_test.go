//go:build linux

package filesystem_test

import (
	"bytes"
	"io"
	"io/fs"
	"os"
	"testing"

	"assay/firmware/budget"
	"assay/firmware/filesystem"
)

// BenchmarkSquashFS reads all files of a real tree, which it looks for on this
// machine.
func BenchmarkSquashFS(b *testing.B) {
	source := ""
	for _, dir := range []string{"/usr/share/perl", "/usr/lib/python3", "/usr/share/doc"} {
		if st, err := os.Stat(dir); err == nil && st.IsDir() {
			source = dir
			break
		}
	}
	if source == "" {
		b.Skip("there is no tree to read: install Debian package perl-modules")
	}
	for _, compressor := range compressors {
		b.Run(compressor, func(b *testing.B) {
			img := mksquashfs(b, source, "-comp", compressor)
			var sum int64
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				s, err := filesystem.NewSquashFS(bytes.NewReader(img), int64(len(img)), budget.New(budget.Limits{Bytes: 1 << 40}))
				if err != nil {
					b.Fatal(err)
				}
				sum = readAll(b, s)
			}
			b.SetBytes(sum)
		})
	}
}

func readAll(b *testing.B, files fs.FS) (sum int64) {
	err := fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		f, err := files.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		n, err := io.Copy(io.Discard, f)
		sum += n
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return sum
}
