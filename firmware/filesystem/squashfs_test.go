//go:build linux

package filesystem_test

import (
	"bytes"
	"compress/zlib"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"assay/firmware"
	"assay/firmware/budget"
	"assay/firmware/filesystem"
)

// small is a SquashFS with stored blocks, made by hand: a root with etc (one
// file "a" of 5 bytes, one link "l" to it) and an empty bin.
func small() []byte {
	le := binary.LittleEndian
	var img []byte
	put := func(v ...any) {
		for _, x := range v {
			img, _ = binary.Append(img, le, x)
		}
	}
	metadata := func(fill func()) int {
		at := len(img)
		put(uint16(0))
		fill()
		le.PutUint16(img[at:], 1<<15|uint16(len(img)-at-2))
		return at
	}
	head := func(kind, mode uint16, number uint32) {
		put(kind, mode, uint16(0), uint16(0), uint32(1_600_000_000), number)
	}
	img = make([]byte, 96)
	put([]byte("hello"))
	inodes := metadata(func() {
		head(2, 0o644, 1) // at 0: etc/a
		put(uint32(96), uint32(1<<32-1), uint32(0), uint32(5), uint32(5|1<<24))
		head(3, 0o777, 2) // at 36: etc/l
		put(uint32(1), uint32(1), []byte("a"))
		head(1, 0o755, 3) // at 61: bin
		put(uint32(0), uint32(2), uint16(3), uint16(0), uint32(5))
		head(1, 0o755, 4) // at 93: etc
		put(uint32(0), uint32(2), uint16(12+9+9+3), uint16(0), uint32(5))
		head(1, 0o755, 5) // at 125: the root
		put(uint32(0), uint32(4), uint16(12+11+11+3), uint16(30), uint32(6))
	})
	listings := metadata(func() {
		put(uint32(1), uint32(0), uint32(1))
		put(uint16(0), int16(0), uint16(2), uint16(0), []byte("a"))
		put(uint16(36), int16(1), uint16(3), uint16(0), []byte("l"))
		put(uint32(1), uint32(0), uint32(3))
		put(uint16(61), int16(0), uint16(1), uint16(2), []byte("bin"))
		put(uint16(93), int16(1), uint16(1), uint16(2), []byte("etc"))
	})
	owners := metadata(func() { put(uint32(0)) })
	ids := len(img)
	put(uint64(owners))
	copy(img, "hsqs")
	super := img[4:4:96]
	for _, v := range []any{
		uint32(5), uint32(1_600_000_000), uint32(4096), uint32(0), uint16(1), uint16(12), uint16(0x10), uint16(1),
		uint16(4), uint16(0), uint64(125), uint64(len(img)), uint64(ids), ^uint64(0), uint64(inodes), uint64(listings), ^uint64(0), ^uint64(0),
	} {
		super, _ = binary.Append(super, le, v)
	}
	return img
}

func TestAHandmadeSquashFSIsSound(t *testing.T) {
	s, found := sound(t, small())
	if found.Files != 1 || found.Directories != 3 || found.Links != 1 {
		t.Errorf("%+v", found)
	}
	if got, err := fs.ReadFile(s, "etc/l"); err != nil || string(got) != "hello" {
		t.Errorf("%q, %v", got, err)
	}
}

// patched changes bytes of the handmade image: the inode table starts at 103,
// the directory table is found by its superblock entry.
func patched(change func(img, inodes, listings []byte)) []byte {
	img := small()
	inodes := binary.LittleEndian.Uint64(img[64:])
	listings := binary.LittleEndian.Uint64(img[72:])
	change(img, img[inodes+2:], img[listings+2:])
	return img
}

func TestAWrongSquashFSIsNamedForWhatIsWrong(t *testing.T) {
	le := binary.LittleEndian
	for name, c := range map[string]struct {
		change func(img, inodes, listings []byte)
		want   string
	}{
		"a directory that holds itself": {func(_, _, l []byte) {
			le.PutUint16(l[30+12+11:], 93)
			le.PutUint16(l[12+9:], 93)
			le.PutUint16(l[12+9+4:], 1)
		}, "already at another place"},
		"a directory that holds the root": {func(_, _, l []byte) { le.PutUint16(l[12+9:], 125); le.PutUint16(l[12+9+4:], 1) }, "already at another place"},
		"one directory under two names":   {func(_, _, l []byte) { le.PutUint16(l[30+12:], 93) }, "already at another place"},
		"a name with a slash":             {func(_, _, l []byte) { l[12+8] = '/' }, `the name "/" is not possible`},
		"a name of a dot":                 {func(_, _, l []byte) { l[12+8] = '.' }, `the name "." is not possible`},
		"a name with a NUL":               {func(_, _, l []byte) { l[12+8] = 0 }, "is not possible"},
		"names out of order":              {func(_, _, l []byte) { l[12+8] = 'z' }, "out of order"},
		"a name twice":                    {func(_, _, l []byte) { l[12+8] = 'l' }, "out of order"},
		"a wrong type in the listing":     {func(_, _, l []byte) { le.PutUint16(l[12+4:], 7) }, "is listed as"},
		"an inode type of 99":             {func(_, i, _ []byte) { le.PutUint16(i, 99) }, "type 99 does not exist"},
		"an owner that is not there":      {func(_, i, _ []byte) { le.PutUint16(i[4:], 7) }, "has no entry 7"},
		"an inode number too high":        {func(_, i, _ []byte) { le.PutUint32(i[12:], 1000) }, "inode number 1000"},
		"a file of 4 GiB":                 {func(_, i, _ []byte) { le.PutUint32(i[28:], 1<<32-1) }, "overlap"},
		"a block past the end":            {func(_, i, _ []byte) { le.PutUint32(i[16:], 1<<31) }, "past the end"},
		"a block larger than a block":     {func(_, i, _ []byte) { le.PutUint32(i[32:], 5000) }, "size word"},
		"a fragment that is not there":    {func(_, i, _ []byte) { le.PutUint32(i[20:], 0) }, "fragment table"},
		"a link target of 1 GiB":          {func(_, i, _ []byte) { le.PutUint32(i[36+20:], 1<<30) }, "target of"},
		"a listing that is too long":      {func(_, i, _ []byte) { le.PutUint16(i[93+24:], 60000) }, "overlap"},
		"a listing that is cut":           {func(_, i, _ []byte) { le.PutUint16(i[93+24:], 20) }, "reaches past its"},
		"an inode that nobody lists":      {func(img, _, _ []byte) { le.PutUint32(img[4:], 6) }, "the superblock counts 6"},
	} {
		t.Run(name, func(t *testing.T) {
			img := patched(c.change)
			s, err := filesystem.NewSquashFS(bytes.NewReader(img), int64(len(img)), budget.New(budget.Limits{}))
			if err != nil {
				t.Fatal(err)
			}
			found, err := s.Prove(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			if all := strings.Join(found.Problems, "\n"); !strings.Contains(all, strings.TrimPrefix(c.want, "is ")) {
				t.Errorf("problems:\n%s\nand none says %q", all, c.want)
			}
			walkAll(t, s)
		})
	}
}

// walkAll reads everything that can be read and ends.
func walkAll(t testing.TB, files fs.FS) {
	t.Helper()
	met := 0
	fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if met++; met > 100_000 {
			t.Fatal("the walk does not end")
		}
		if err != nil {
			return nil
		}
		if d.Type().IsRegular() {
			if f, err := files.Open(name); err == nil {
				io.Copy(io.Discard, f)
				f.Close()
			}
		}
		fs.Stat(files, name)
		fs.ReadLink(files, name)
		return nil
	})
}

func tight() *budget.Meter {
	return budget.New(budget.Limits{Bytes: 32 << 20, Held: 8 << 20, Entries: 20_000})
}

func attack(t testing.TB, img []byte) {
	t.Helper()
	s, err := filesystem.NewSquashFS(bytes.NewReader(img), int64(len(img)), tight())
	if err != nil {
		return
	}
	if _, err := s.Prove(context.Background()); err != nil && !errors.Is(err, budget.ErrExceeded) {
		t.Fatalf("an error that is none of the budget: %v", err)
	}
	walkAll(t, s)
}

func TestASquashFSCutAnywhereIsNoPanic(t *testing.T) {
	for _, compressor := range compressors {
		img := mksquashfs(t, littleTree(t), "-comp", compressor, "-b", "4K")
		for n := 0; n < len(img); n += 512 {
			if _, err := filesystem.NewSquashFS(bytes.NewReader(img[:n]), int64(n), tight()); err == nil && n < len(img)-4096 {
				t.Fatalf("%s: cut at %d of %d and no error", compressor, n, len(img))
			}
			// The caller's size may be wrong as well, and then reads end early.
			attackLying(t, img[:n], int64(len(img)))
		}
	}
}

func attackLying(t testing.TB, img []byte, size int64) {
	s, err := filesystem.NewSquashFS(bytes.NewReader(img), size, tight())
	if err != nil {
		return
	}
	s.Prove(context.Background())
	walkAll(t, s)
}

func TestEachFlippedBitOfASuperblockIsNoPanic(t *testing.T) {
	images := [][]byte{small()}
	for _, compressor := range compressors {
		images = append(images, mksquashfs(t, littleTree(t), "-comp", compressor, "-b", "4K"))
	}
	for _, img := range images {
		for bit := range 96 * 8 {
			flipped := bytes.Clone(img)
			flipped[bit/8] ^= 1 << (bit % 8)
			attack(t, flipped)
		}
	}
}

func TestEachFlippedBitOfASmallSquashFSIsNoPanic(t *testing.T) {
	img := small()
	for bit := range len(img) * 8 {
		flipped := bytes.Clone(img)
		flipped[bit/8] ^= 1 << (bit % 8)
		attack(t, flipped)
	}
}

const corpus = "../../../shared/corpus/firmware"

func corpusFile(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(corpus, name))
	if errors.Is(err, fs.ErrNotExist) {
		t.Skipf("the corpus is not here: %s", name)
	}
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// refusedInLittleMemory measures what refusing an image allocates.
func refusedInLittleMemory(t *testing.T, img []byte, want string) {
	t.Helper()
	meter := budget.New(budget.Limits{})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := filesystem.NewSquashFS(bytes.NewReader(img), int64(len(img)), meter)
	runtime.ReadMemStats(&after)
	if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
		t.Errorf("refused with: %v", err)
	}
	spent := after.TotalAlloc - before.TotalAlloc
	t.Logf("%d bytes allocated for: %v", spent, err)
	if spent > 4<<20 {
		t.Errorf("%d bytes were allocated", spent)
	}
}

func TestTheCorpusBombIsRefusedInLittleMemory(t *testing.T) {
	img := corpusFile(t, "hostile/squashfs_metadata_bomb_200MiB.sqfs")
	refusedInLittleMemory(t, img, "are not in order")
	// The same with its tables in order: the directory table behind the bomb.
	binary.LittleEndian.PutUint64(img[72:], uint64(len(img)-100))
	binary.LittleEndian.PutUint64(img[32:], 0)
	refusedInLittleMemory(t, img, "metadata block at 0x1000: ")
}

func TestAMetadataBlockOfMegabytesIsRefusedInLittleMemory(t *testing.T) {
	var bomb bytes.Buffer
	w := zlib.NewWriter(&bomb)
	w.Write(make([]byte, 7<<20))
	w.Close()
	img := small()
	le := binary.LittleEndian
	at := len(img)
	img = le.AppendUint16(img, uint16(bomb.Len()))
	img = append(img, bomb.Bytes()...)
	le.PutUint64(img[64:], uint64(at))
	le.PutUint64(img[72:], uint64(len(img)))
	img = append(img, 0)
	le.PutUint64(img[40:], uint64(len(img)))
	le.PutUint64(img[32:], 0)
	refusedInLittleMemory(t, img, "unpacks to more than there is room for")
}

func analyse(t testing.TB, img []byte) *firmware.Image {
	t.Helper()
	image, err := firmware.Open(context.Background(), bytes.NewReader(img), int64(len(img)))
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func TestCorpusImagesAreReadOrSaidNotToBe(t *testing.T) {
	for name, want := range map[string]struct {
		state   firmware.State
		problem string
	}{
		"format/squashfs/gzip.sqfs":                  {firmware.Proven, ""},
		"format/squashfs/xz.sqfs":                    {firmware.Proven, ""},
		"format/squashfs/zstd.sqfs":                  {firmware.Proven, ""},
		"format/squashfs/avm_le.sqfs4":               {firmware.Proven, ""},
		"format/binwalk/squashfs.bin":                {firmware.Proven, ""},
		"format/squashfs/lzma1_le.sqfs3":             {firmware.Proven, ""},
		"format/squashfs/zlib_be.sqfs3":              {firmware.Proven, ""},
		"format/squashfs/lzma_le.sqfs2":              {firmware.Proven, ""},
		"hostile/squashfs_metadata_bomb_200MiB.sqfs": {firmware.Opaque, "inode table at 0x1000 and directory table at 0x148 are not in order"},
	} {
		t.Run(name, func(t *testing.T) {
			image := analyse(t, corpusFile(t, name))
			r := image.Regions[0]
			if r.Format != "squashfs" || r.State != want.state || !strings.Contains(strings.Join(r.Problems, "\n"), want.problem) {
				t.Errorf("%+v", r)
			}
			if want.state != firmware.Proven {
				return
			}
			if len(image.Regions) != 1 && image.Regions[1].State != firmware.Erased {
				t.Errorf("%d regions", len(image.Regions))
			}
			if lists, ok := vendorsOnly[name]; ok {
				got := make(map[string]string)
				for name, f := range survey(t, r.FS) {
					if f.Mode.IsRegular() {
						data, err := fs.ReadFile(r.FS, name)
						if err != nil {
							t.Error(err)
						}
						got[name] = string(data)
					}
				}
				if !maps.Equal(got, lists) {
					t.Errorf("%q", got)
				}
				return
			}
			dir := filepath.Join(t.TempDir(), "out")
			run(t, "unsquashfs", "squashfs-tools", "-d", dir, "-no-progress", filepath.Join(corpus, name))
			got, want := survey(t, r.FS), survey(t, os.DirFS(dir))
			for name := range got {
				g := got[name]
				g.UID, g.GID = want[name].UID, want[name].GID
				got[name] = g
			}
			compare(t, got, want)
		})
	}
}

func TestARegionEndsWithItsPaddingOfZeros(t *testing.T) {
	img := small()
	padded := append(bytes.Clone(img), make([]byte, 4096-len(img))...)
	for name, c := range map[string]struct {
		image []byte
		size  int64
	}{
		"padding and more":  {append(bytes.Clone(padded), bytes.Repeat([]byte("flash"), 100)...), 4096},
		"no padding":        {append(bytes.Clone(img), bytes.Repeat([]byte("flash"), 1000)...), int64(len(img))},
		"padding that ends": {padded[:len(img)+10], int64(len(img) + 10)},
	} {
		r := analyse(t, c.image).Regions[0]
		if r.Format != "squashfs" || r.State != firmware.Proven || r.Size != c.size || r.Role != firmware.RoleRootFS {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

func FuzzSquashFS(f *testing.F) {
	f.Add(small())
	dir := littleTree(f)
	for _, compressor := range compressors {
		f.Add(fuzzSeed(f, dir, compressor))
	}
	f.Fuzz(func(t *testing.T, img []byte) { attack(t, img) })
}

// fuzzSeed is an image of the real program, or the handmade one without it.
func fuzzSeed(f *testing.F, dir, compressor string) []byte {
	if _, err := exec.LookPath("mksquashfs"); err != nil {
		return small()
	}
	image := filepath.Join(f.TempDir(), fmt.Sprint(compressor, ".sqfs"))
	run(f, "mksquashfs", "squashfs-tools", dir, image, "-noappend", "-no-progress", "-quiet", "-nopad", "-b", "4K", "-comp", compressor)
	data, err := os.ReadFile(image)
	if err != nil {
		f.Fatal(err)
	}
	return data
}

// vendorsOnly are corpus images that no program of Debian reads, and all that is
// in them.
var vendorsOnly = map[string]map[string]string{
	"format/squashfs/lzma1_le.sqfs3": threeFiles,
	"format/squashfs/lzma_le.sqfs2":  threeFiles,
}

var threeFiles = map[string]string{
	"generic folder/test file 3_.txt": "The third test file!",
	"testfile1":                       "test file:\ncontent: MyTestRule 1.2.3\nVersion: Program 0.0.0.0\n",
	"testfile2":                       "This is the second test file",
}
