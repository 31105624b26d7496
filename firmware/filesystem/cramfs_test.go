//go:build linux

package filesystem_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"assay/firmware"
	"assay/firmware/budget"
	"assay/firmware/filesystem"
)

func mkfsCramFS(t testing.TB, source string, args ...string) []byte {
	t.Helper()
	image := filepath.Join(t.TempDir(), "image.cramfs")
	run(t, "mkfs.cramfs", "util-linux", append(args, source, image)...)
	return contents(t, image)
}

func openCramFS(data []byte) (*filesystem.CramFS, error) {
	return filesystem.NewCramFS(context.Background(), bytes.NewReader(data), int64(len(data)), budget.New(budget.Limits{}))
}

func soundCramFS(t testing.TB, data []byte) *filesystem.CramFS {
	t.Helper()
	c, err := openCramFS(data)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Survey.Problems) > 0 {
		t.Fatalf("problems: %s", strings.Join(c.Survey.Problems, "\n"))
	}
	return c
}

// shortNames is sourceTree without the name that is too long for CramFS.
func shortNames(t testing.TB, source string) string {
	if err := os.Remove(filepath.Join(source, "usr", strings.Repeat("n", 255))); err != nil {
		t.Fatal(err)
	}
	return source
}

// asCramFS is what of a tree CramFS keeps: no times, no links, owners of 16 bits
// and groups of 8.
func asCramFS(want map[string]facts) map[string]facts {
	for name, f := range want {
		f.Time, f.UID, f.GID = -62135596800, f.UID&0xffff, f.GID&0xff
		if f.Links > 0 {
			f.Links = 1
		}
		want[name] = f
	}
	return want
}

func TestCramFSReadsWhatMkfsWrote(t *testing.T) {
	source := shortNames(t, sourceTree(t))
	want := asCramFS(survey(t, os.DirFS(source)))
	for name, args := range map[string][]string{
		"as it is":                 nil,
		"big endian":               {"-N", "big"},
		"holes":                    {"-z"},
		"big endian, with holes":   {"-N", "big", "-z", "-n", "rootfs", "-e", "7"},
		"boot code":                {"-p"},
		"big endian and boot code": {"-N", "big", "-p"},
	} {
		t.Run(name, func(t *testing.T) {
			image := mkfsCramFS(t, source, args...)
			compare(t, survey(t, soundCramFS(t, image)), want)
			regions := analyse(t, append(bytes.Clone(image), noise(5000)...)).Regions
			if r := regions[0]; r.Format != "cramfs" || r.State != firmware.Proven || r.Size != int64(len(image)) || r.Role != firmware.RoleRootFS || !r.Checks[0].OK {
				t.Errorf("of %d bytes: %+v", len(image), r)
			}
		})
	}
}

func TestCramFSIsAGoodFS(t *testing.T) {
	c := soundCramFS(t, mkfsCramFS(t, shortNames(t, tameTree(t))))
	if err := fstest.TestFS(c, "bin/busybox", "etc/passwd", "lib/128k+5", "bin/sh", "tmp/fifo"); err != nil {
		t.Error(err)
	}
}

func TestTheCorpusCramFSIsProven(t *testing.T) {
	r := analyse(t, corpusFile(t, "format/binwalk/cramfs.bin")).Regions[0]
	if r.Format != "cramfs" || r.State != firmware.Proven || r.Size != 4096 {
		t.Errorf("%+v", r)
	}
	if data, err := fs.ReadFile(r.FS, "lsb-release"); err != nil || !strings.HasPrefix(string(data), "DISTRIB_ID=Ubuntu\n") {
		t.Errorf("%q, %v", data, err)
	}
}

// smallCramFS has a file "a" of a stored block, "abc", and a directory "d". Its
// blocks are of the kind that kernels execute in place.
func smallCramFS(order byteOrder) []byte {
	inode := func(mode, size uint32, names, offset uint32) []byte {
		p := make([]byte, 12)
		if order == byteOrder(binary.BigEndian) {
			order.PutUint32(p, mode<<16)
			order.PutUint32(p[4:], size<<8)
			order.PutUint32(p[8:], names<<26|offset>>2)
			return p
		}
		order.PutUint32(p, mode)
		order.PutUint32(p[4:], size)
		order.PutUint32(p[8:], names|offset>>2<<6)
		return p
	}
	var super []byte
	for _, v := range []uint32{0x28cd3d45, 144, 0x801, 0} {
		super = order.AppendUint32(super, v)
	}
	super = append(super, "Compressed ROMFS"...)
	super = append(super, make([]byte, 32)...)
	image := bytes.Join([][]byte{
		super, inode(dir, 32, 0, 76),
		inode(file, 3, 1, 108), []byte("a\x00\x00\x00"),
		inode(dir, 16, 1, 120), []byte("d\x00\x00\x00"),
		order.AppendUint32(nil, 1<<31|1<<30|112>>2), []byte("abc\x00\x00\x00\x00\x00"),
		inode(0o020600, 5<<8|1, 1, 0), []byte("c\x00\x00\x00"), make([]byte, 8),
	}, nil)
	return summedCramFS(image, order)
}

func summedCramFS(image []byte, order byteOrder) []byte {
	clear(image[32:36])
	order.PutUint32(image[32:], crc32.ChecksumIEEE(image))
	return image
}

func TestAWrongCramFSIsNamedForWhatIsWrong(t *testing.T) {
	for name, c := range map[string]struct {
		change func(image []byte)
		want   string
	}{
		"nothing":                       {func([]byte) {}, ""},
		"a name with a slash":           {func(p []byte) { p[88] = '/' }, `the name "/" is not possible`},
		"a name twice":                  {func(p []byte) { p[104] = 'a' }, "is there twice"},
		"a directory that holds itself": {func(p []byte) { copy(p[124:], p[96:104]); copy(p[120:], p[92:96]) }, "already another directory's"},
		"a listing outside the image":   {func(p []byte) { p[92+10] = 0xff }, "outside the image"},
		"block pointers outside":        {func(p []byte) { p[76+10] = 0xff }, "outside the image"},
		"a block outside":               {func(p []byte) { p[108] = 0xff }, "outside the image"},
		"a mode that does not exist":    {func(p []byte) { p[77] = 0xf1 }, "is of no file type"},
		"a name of no bytes":            {func(p []byte) { p[84] &^= 0x3f }, "a name of 0 bytes"},
		"an image that is cut":          {func(p []byte) { p[4]++ }, "is cut short"},
	} {
		t.Run(name, func(t *testing.T) {
			image := smallCramFS(binary.LittleEndian)
			c.change(image)
			f, err := openCramFS(summedCramFS(image, binary.LittleEndian))
			if err != nil {
				t.Fatal(err)
			}
			if all := strings.Join(f.Survey.Problems, "\n"); (all == "") != (c.want == "") || !strings.Contains(all, c.want) {
				t.Errorf("problems: %s", all)
			}
			walkAll(t, f)
		})
	}
}

func TestACramFSIsProvenByItsSumInEitherByteOrder(t *testing.T) {
	for name, c := range map[string]struct {
		change func(image []byte)
		state  firmware.State
		ok     bool
	}{
		"a good sum":     {func([]byte) {}, firmware.Proven, true},
		"a reversed sum": {func(p []byte) { binary.BigEndian.PutUint32(p[32:], binary.LittleEndian.Uint32(p[32:])) }, firmware.Proven, true},
		"a bad sum":      {func(p []byte) { p[113] ^= 1 }, firmware.Parsed, false},
	} {
		image := smallCramFS(binary.LittleEndian)
		c.change(image)
		r := analyse(t, image).Regions[0]
		if r.Format != "cramfs" || r.State != c.state || r.Checks[0].OK != c.ok || r.Size != 144 {
			t.Errorf("%s: %+v", name, r)
		}
	}
	old := smallCramFS(binary.BigEndian)
	binary.BigEndian.PutUint32(old[8:], 0x800)
	if r := analyse(t, append(old, noise(500)...)).Regions[0]; r.Format != "cramfs" || r.State != firmware.Parsed || r.Size != 136 || len(r.Checks) > 0 {
		t.Errorf("version 1: %+v", r)
	}
}

func TestCramFSReadsBlocksThatAreStored(t *testing.T) {
	for _, order := range []byteOrder{binary.LittleEndian, binary.BigEndian} {
		c := soundCramFS(t, smallCramFS(order))
		if got, err := c.ReadFile("a"); err != nil || string(got) != "abc" {
			t.Errorf("%q, %v", got, err)
		}
		st, err := fs.Stat(c, "d/c")
		if err != nil {
			t.Fatal(err)
		}
		if n := st.Sys().(*filesystem.Inode); n.Major != 5 || n.Minor != 1 {
			t.Errorf("%+v", n)
		}
	}
}

func attackCramFS(t testing.TB, data []byte, size int64) {
	t.Helper()
	c, err := filesystem.NewCramFS(context.Background(), bytes.NewReader(data), size, tight())
	if c == nil {
		if err == nil {
			t.Fatal("neither a file system nor an error")
		}
		return
	}
	if c.Size > size || c.Size == 0 {
		t.Fatalf("of %d bytes, %d are the file system's", size, c.Size)
	}
	walkAll(t, c)
}

func TestACramFSCutOrFlippedAnywhereIsNoPanic(t *testing.T) {
	for _, image := range [][]byte{smallCramFS(binary.LittleEndian), smallCramFS(binary.BigEndian)} {
		for n := range image {
			attackCramFS(t, image[:n], int64(n))
			attackCramFS(t, image[:n], int64(len(image)))
		}
		for bit := range len(image) * 8 {
			flipped := bytes.Clone(image)
			flipped[bit/8] ^= 1 << (bit % 8)
			attackCramFS(t, flipped, int64(len(flipped)))
		}
	}
}

func TestACramFSSpendsItsBudget(t *testing.T) {
	image := smallCramFS(binary.LittleEndian)
	c, err := filesystem.NewCramFS(context.Background(), bytes.NewReader(image), int64(len(image)), budget.New(budget.Limits{Entries: 2}))
	if !errors.Is(err, budget.ErrExceeded) || c == nil {
		t.Errorf("%v", err)
	}
}

func FuzzCramFS(f *testing.F) {
	f.Add(smallCramFS(binary.LittleEndian))
	f.Add(smallCramFS(binary.BigEndian))
	f.Fuzz(func(t *testing.T, data []byte) { attackCramFS(t, data, int64(len(data))) })
}
