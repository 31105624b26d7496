//go:build linux

package filesystem_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	ulikunitz "github.com/ulikunitz/xz/lzma"

	"assay/firmware"
	"assay/firmware/filesystem"
)

var orders = map[string]binary.ByteOrder{"little endian": binary.LittleEndian, "big endian": binary.BigEndian}

// factsOf is what a reader must find in a built image.
func (b *built) factsOf(f *builtFile, name string, all map[string]facts) {
	i := filesystem.Inode{Mode: f.mode}
	g := facts{Mode: i.FileMode(), UID: f.uid, GID: f.gid, Time: int64(f.mtime), Links: 1}
	kind := f.mode & 0o170000
	if b.major < 3 && kind != 0o040000 && kind != 0o100000 {
		g.Time = 1_500_000_000 // these inodes have no time of their own
	}
	switch kind {
	case 0o040000:
		g.Links = 0
	case 0o100000:
		g.Size, g.Sum = int64(len(f.data)), fmt.Sprintf("%x", sha256.Sum256(f.data))
	case 0o120000:
		g.Size, g.Target = int64(len(f.target)), f.target
	case 0o060000, 0o020000:
		g.Major, g.Minor = f.dev>>8, f.dev&0xff
	}
	all[name] = g
	for _, c := range f.children {
		b.factsOf(c, path.Join(name, c.name), all)
	}
}

// reads proves an image and compares what is in it with what was put in.
func (b *built) reads(t *testing.T, entries int) (image []byte, s *filesystem.SquashFS) {
	t.Helper()
	root := builtTree(entries)
	image = b.image(root)
	s, _ = sound(t, image)
	want := make(map[string]facts)
	b.factsOf(root, ".", want)
	compare(t, survey(t, s), want)
	return image, s
}

func TestSquashFSOfEachVersionAndByteOrderIsReadAsUnsquashfsReadsIt(t *testing.T) {
	for major := 1; major <= 4; major++ {
		for name, order := range orders {
			for _, b := range []*built{
				{major: major, minor: 0, order: order},
				{major: major, minor: 1, order: order, blockSize: 4 << 10, checked: true},
				{major: major, minor: 1, order: order, blockSize: 32 << 10},
			} {
				switch major {
				case 1:
					b.minor = 0 // there is no other
				case 4:
					b.minor, b.checked = 0, false
				}
				t.Run(fmt.Sprintf("%d.%d %s, blocks of %d", major, b.minor, name, b.blockSize), func(t *testing.T) {
					entries := 20
					if b.blockSize == 0 {
						entries = 450 // listings of several blocks
					}
					image, s := b.reads(t, entries)
					for i := range entries {
						name := fmt.Sprintf("etc/many/a file in a directory of many, number %04d", i)
						if _, err := fs.Stat(s, name); err != nil {
							t.Fatal(err)
						}
					}
					if major == 4 && order == binary.BigEndian || os.Getuid() != 0 {
						return // unsquashfs does not read these, or cannot make all files
					}
					dir := t.TempDir()
					packed := filepath.Join(dir, "image")
					if err := os.WriteFile(packed, image, 0o600); err != nil {
						t.Fatal(err)
					}
					out := filepath.Join(dir, "out")
					run(t, "unsquashfs", "squashfs-tools", "-d", out, "-no-progress", packed)
					compare(t, survey(t, s), survey(t, os.DirFS(out)))
				})
			}
		}
	}
}

// lzmaPacked packs in the forms that vendors have.
func lzmaPacked(lc, lp, pb int, mark bool, frame func(alone []byte) []byte) func([]byte) []byte {
	return func(p []byte) []byte {
		var b bytes.Buffer
		c := ulikunitz.WriterConfig{DictCap: 1 << 16, EOSMarker: mark, Properties: &ulikunitz.Properties{LC: lc, LP: lp, PB: pb}, Size: int64(len(p)), SizeInHeader: true}
		w, err := c.NewWriter(&b)
		if err != nil {
			panic(err)
		}
		w.Write(p)
		w.Close()
		return frame(b.Bytes())
	}
}

func TestSquashFSOfEachVendorsLZMAIsRead(t *testing.T) {
	bare := func(alone []byte) []byte { return alone[13:] }
	turn := 0
	for name, c := range map[string]struct {
		pack func([]byte) []byte
		want string
	}{
		"with a header, as sqlzma writes": {lzmaPacked(3, 0, 2, false, bytes.Clone), "lzma with its header"},
		"with other properties":           {lzmaPacked(0, 2, 2, true, bytes.Clone), "lzma with its header"},
		"behind properties, as Broadcom's": {lzmaPacked(3, 0, 2, false, func(p []byte) []byte { return append(bytes.Clone(p[:5]), p[13:]...) }),
			"lzma behind its properties"},
		"behind four bytes and properties": {lzmaPacked(2, 1, 1, false, func(p []byte) []byte {
			return append(append([]byte("cruf"), p[:5]...), p[13:]...)
		}), "lzma behind four bytes and its properties"},
		"bare with an end mark":    {lzmaPacked(3, 0, 2, true, bare), "lzma without header, lc=3 lp=0 pb=2"},
		"bare without an end mark": {lzmaPacked(3, 0, 2, false, bare), "lzma without header, lc=3 lp=0 pb=2"},
		"bare with odd properties": {lzmaPacked(1, 2, 0, false, bare), "lzma without header, lc=1 lp=2 pb=0"},
		"bare behind nine bytes":   {lzmaPacked(3, 0, 2, true, func(p []byte) []byte { return append([]byte("ninebytes"), p[13:]...) }), "lzma without header, lc=3 lp=0 pb=2"},
		"mixed with zlib by sqlzma": {func() func([]byte) []byte {
			pack := lzmaPacked(3, 0, 2, false, bytes.Clone)
			return func(p []byte) []byte {
				if turn++; turn%3 == 0 {
					return zlibbed(p)
				}
				return pack(p)
			}
		}(), ""},
		"of DD-WRT, with properties for each block": {func(p []byte) []byte {
			lc, lp, pb := len(p)%4, len(p)/4%2, len(p)/8%3
			return lzmaPacked(lc, lp, pb, true, func(alone []byte) []byte {
				return append([]byte{byte(pb), byte(lc), byte(lp), 128}, alone[13:]...)
			})(p)
		}, "lzma behind DD-WRT's four bytes"},
	} {
		for _, major := range []int{1, 2, 3, 4} {
			for order, byteOrder := range orders {
				if major == 4 && strings.HasPrefix(name, "mixed") {
					continue
				}
				t.Run(fmt.Sprintf("%s, %d %s", name, major, order), func(t *testing.T) {
					b := &built{major: major, minor: map[int]int{2: 1, 3: 1}[major], order: byteOrder, pack: c.pack}
					image, _ := b.reads(t, 40)
					r := analyse(t, image).Regions[0]
					if got := field(r, "compressor"); !strings.HasPrefix(got, c.want) {
						t.Errorf("the compressor is %q and not %q", got, c.want)
					}
				})
			}
		}
	}
}

func field(r *firmware.Region, name string) string {
	for _, f := range r.Fields {
		if f.Name == name {
			return f.Value
		}
	}
	return ""
}

func TestSquashFSUnderAVendorsMagicIsReadAndNamed(t *testing.T) {
	for _, c := range []struct {
		magic string
		order binary.ByteOrder
		major int
		want  string
	}{
		{"hsqs", binary.LittleEndian, 3, ""}, {"sqsh", binary.BigEndian, 3, ""},
		{"sqlz", binary.BigEndian, 3, "sqlz"}, {"zlqs", binary.LittleEndian, 3, "zlqs"},
		{"shsq", binary.LittleEndian, 3, "Broadcom"}, {"qshs", binary.BigEndian, 3, "Broadcom"},
		{"shsq", binary.LittleEndian, 4, "Broadcom"},
		{"hsqt", binary.LittleEndian, 3, "DD-WRT"}, {"tqsh", binary.BigEndian, 3, "DD-WRT"},
	} {
		b := &built{major: c.major, minor: c.major % 2, order: c.order, magic: c.magic}
		image, _ := b.reads(t, 10)
		img := analyse(t, image)
		r := img.Regions[0]
		if r.Format != "squashfs" || r.State != firmware.Proven || !strings.Contains(field(r, "vendor variant"), c.want) || (c.want == "") != (field(r, "vendor variant") == "") {
			t.Errorf("%s: %s, %s, %q, %q", c.magic, r.Format, r.State, r.Problems, field(r, "vendor variant"))
		}
		if order := field(r, "byte order"); order != map[bool]string{false: "little endian", true: "big endian"}[c.order == binary.BigEndian] {
			t.Errorf("%s: %s", c.magic, order)
		}
	}
}

func TestSquashFSOfAVMHasLittleEndianSizesInABigEndianImage(t *testing.T) {
	for _, order := range orders {
		b := &built{major: 4, order: order, avm: true}
		image, _ := b.reads(t, 300)
		r := analyse(t, image).Regions[0]
		if !strings.Contains(field(r, "vendor variant"), "AVM") || field(r, "created") != "" {
			t.Errorf("%+v", r.Fields)
		}
	}
}

func TestABuiltSquashFSCutAnywhereIsNoPanic(t *testing.T) {
	for major := 1; major <= 4; major++ {
		for _, order := range orders {
			img := (&built{major: major, order: order}).image(builtTree(3))
			for n := 0; n < len(img); n += 512 {
				attack(t, img[:n])
				attackLying(t, img[:n], int64(len(img)))
			}
		}
	}
}

func TestEachFlippedBitOfAnOldSuperblockIsNoPanic(t *testing.T) {
	for major := 1; major <= 3; major++ {
		img := (&built{major: major, minor: 1, order: binary.BigEndian, pack: lzmaPacked(3, 0, 2, true, func(p []byte) []byte { return p[13:] })}).image(builtTree(3))
		for bit := 0; bit < 119*8; bit += 3 {
			flipped := bytes.Clone(img)
			flipped[bit/8] ^= 1 << (bit % 8)
			attack(t, flipped)
		}
	}
}

func FuzzSquashFSOld(f *testing.F) {
	for major := 1; major <= 4; major++ {
		for _, order := range orders {
			stored := func(p []byte) []byte { return p }
			f.Add((&built{major: major, minor: major % 2, order: order, pack: stored, avm: major == 4}).image(builtTree(3)))
			f.Add((&built{major: major, minor: major % 2, order: order}).image(builtTree(2)))
		}
		f.Add((&built{major: major, order: binary.LittleEndian, pack: lzmaPacked(3, 0, 2, true, func(p []byte) []byte { return p[13:] })}).image(builtTree(1)))
	}
	f.Fuzz(func(t *testing.T, img []byte) { attack(t, img) })
}
