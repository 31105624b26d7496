//go:build linux

package filesystem_test

import (
	"bytes"
	"context"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"assay/firmware"
	"assay/firmware/budget"
	"assay/firmware/filesystem"
)

func mkfsEROFS(t testing.TB, source string, args ...string) []byte {
	t.Helper()
	image := filepath.Join(t.TempDir(), "image.erofs") // chunks are not copied to another device
	run(t, "mkfs.erofs", "erofs-utils", append(append([]string{"--quiet"}, args...), image, source)...)
	data, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func soundEROFS(t testing.TB, image []byte) *filesystem.EROFS {
	t.Helper()
	e, err := filesystem.NewEROFS(context.Background(), bytes.NewReader(image), int64(len(image)), budget.New(budget.Limits{}))
	if err != nil {
		t.Fatal(err)
	}
	if len(e.Survey.Problems) > 0 {
		t.Fatalf("problems: %s", strings.Join(e.Survey.Problems, "\n"))
	}
	return e
}

// erofsVariants are options of mkfs.erofs. Those of a later version than 1.5 are
// tried where it has them.
var erofsVariants = map[string]struct {
	args  []string
	later bool
}{
	"plain":                        {[]string{"-Enoinline_data"}, false},
	"plain with tails in inodes":   {nil, false},
	"without a checksum":           {[]string{"-Enosbcrc"}, false},
	"LZ4":                          {[]string{"-zlz4"}, false},
	"LZ4 of high compression":      {[]string{"-zlz4hc,9"}, false},
	"LZ4 in clusters of 64 KiB":    {[]string{"-zlz4hc", "-C65536"}, false},
	"LZ4 with full indexes":        {[]string{"-zlz4", "-Elegacy-compress"}, false},
	"LZ4 with tails":               {[]string{"-zlz4hc", "-Eztailpacking"}, false},
	"LZ4 with tails, large":        {[]string{"-zlz4hc", "-C65536", "-Eztailpacking"}, false},
	"LZ4 in small extents":         {[]string{"-zlz4", "--max-extent-bytes=4096"}, false},
	"small inodes":                 {[]string{"-Eforce-inode-compact", "-T1600000000", "--force-uid=5", "--force-gid=6"}, false},
	"large inodes":                 {[]string{"-Eforce-inode-extended", "-zlz4"}, false},
	"LZ4 with fragments":           {[]string{"-zlz4hc", "-C65536", "-Efragments"}, true},
	"LZ4 with all in fragments":    {[]string{"-zlz4hc", "-C32768", "-Eall-fragments"}, true},
	"LZ4 with fragments and tails": {[]string{"-zlz4hc", "-C16384", "-Efragments,ztailpacking"}, true},
	"LZ4 without what is twice":    {[]string{"-zlz4hc", "-Ededupe"}, true},
	"LZ4, large, without twice":    {[]string{"-zlz4hc", "-C65536", "-Ededupe,fragments"}, true},
	"full indexes with fragments":  {[]string{"-zlz4hc", "-Elegacy-compress,fragments"}, true},
	"LZMA":                         {[]string{"-zlzma"}, true},
	"LZMA in clusters of 256 KiB":  {[]string{"-zlzma,level=9", "-C262144", "-Efragments,ztailpacking"}, true},
	"LZMA without what is twice":   {[]string{"-zlzma", "-C65536", "-Ededupe"}, true},
	"DEFLATE":                      {[]string{"-zdeflate", "-C65536"}, true},
	"Zstandard":                    {[]string{"-zzstd", "-C65536"}, true},
	"Zstandard, without twice":     {[]string{"-zzstd", "-C65536", "-Ededupe,all-fragments"}, true},
	"two algorithms":               {[]string{"-zlz4hc:lzma", "-C65536"}, true},
	"blocks of 512 bytes":          {[]string{"-b512"}, true},
	"blocks of 1 KiB, LZ4":         {[]string{"-b1024", "-zlz4"}, true},
	"blocks of 2 KiB, LZ4, large":  {[]string{"-b2048", "-zlz4hc", "-C16384"}, true},
}

func TestEROFSReadsWhatMkfsWrote(t *testing.T) {
	source := sourceTree(t)
	// mkfs.erofs 1.5 has no room for a longer one.
	if err := os.Rename(filepath.Join(source, "usr", strings.Repeat("n", 255)), filepath.Join(source, "usr", strings.Repeat("n", 200))); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 {
		for name, dev := range map[string]int{"tmp/console": 5<<8 | 1, "tmp/disk": 259<<8 | 300&0xff | 300>>8<<20} {
			kind := uint32(syscall.S_IFCHR)
			if name == "tmp/disk" {
				kind = syscall.S_IFBLK
			}
			if err := syscall.Mknod(filepath.Join(source, name), kind|0o600, dev); err != nil {
				t.Fatal(err)
			}
		}
	}
	want := survey(t, os.DirFS(source))
	for name, numbers := range map[string][2]uint32{"tmp/console": {5, 1}, "tmp/disk": {259, 300}} {
		if f, ok := want[name]; ok {
			f.Major, f.Minor = numbers[0], numbers[1]
			want[name] = f
		}
	}
	help := run(t, "mkfs.erofs", "erofs-utils", "--help")
	for name, v := range erofsVariants {
		t.Run(name, func(t *testing.T) {
			if v.later && !bytes.Contains(help, []byte("dictsize")) {
				t.Skip("this mkfs.erofs is too old for it")
			}
			image := mkfsEROFS(t, source, v.args...)
			r := analyse(t, image).Regions[0]
			if r.Format != "erofs" || r.State != firmware.Proven || r.Size != int64(len(image)) || r.Role != firmware.RoleRootFS || len(r.Problems) > 0 {
				t.Fatalf("%s %s of %d of %d bytes: %q", r.Format, r.State, r.Size, len(image), r.Problems)
			}
			want := maps.Clone(want)
			if name == "small inodes" {
				for own, f := range want {
					f.Time, f.UID, f.GID = 1_600_000_000, 5, 6
					want[own] = f
				}
			}
			got := survey(t, r.FS)
			for _, touched := range []string{"tmp", "usr"} {
				f := want[touched]
				f.Time = got[touched].Time
				want[touched] = f
			}
			compare(t, got, want)
		})
	}
}

func TestEROFSReadsChunks(t *testing.T) {
	source := littleTree(t)
	hole, err := os.Create(filepath.Join(source, "hole"))
	if err != nil {
		t.Fatal(err)
	}
	defer hole.Close()
	if err := hole.Truncate(3_000_000); err != nil {
		t.Fatal(err)
	}
	want := survey(t, os.DirFS(source))
	for _, args := range [][]string{{"--chunksize=4096"}, {"--chunksize=65536", "-Eforce-chunk-indexes"}} {
		e := soundEROFS(t, mkfsEROFS(t, source, args...))
		compare(t, survey(t, e), want)
	}
}

func TestEROFSFindsEachOfThreeThousandFilesByName(t *testing.T) {
	source := manyFiles(t)
	want := survey(t, os.DirFS(source))
	e := soundEROFS(t, mkfsEROFS(t, source))
	compare(t, survey(t, e), want)
	if _, err := fs.Stat(e, "a rather long name that is not there"); err == nil {
		t.Error("a name that is not there was found")
	}
}

func TestEROFSSaysThatExtendedAttributesAreThere(t *testing.T) {
	source := littleTree(t)
	for _, name := range []string{"c", "etc"} {
		if err := syscall.Setxattr(filepath.Join(source, name), "user.comment", []byte("x"), 0); err != nil {
			t.Skipf("this file system keeps no extended attributes: %v", err)
		}
	}
	if e := soundEROFS(t, mkfsEROFS(t, source)); e.Survey.XAttrs != 2 {
		t.Errorf("%d inodes have them", e.Survey.XAttrs)
	}
}
