//go:build linux

package filesystem_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"assay/firmware"
	"assay/firmware/budget"
	"assay/firmware/filesystem"
)

// yaffsShape is how pages and tags stand in an image.
type yaffsShape struct {
	order       binary.ByteOrder
	page, spare int
	tagsAt      int
	ecc         bool
	inband      bool // the tags are in the pages
	bare        bool // there are none
}

var yaffsShapes = map[string]yaffsShape{
	"512+16":                  {binary.LittleEndian, 512, 16, 0, false, false, false},
	"2048+64":                 {binary.LittleEndian, 2048, 64, 2, true, false, false},
	"2048+64 without ECC":     {binary.LittleEndian, 2048, 64, 0, false, false, false},
	"2048+64, big endian":     {binary.BigEndian, 2048, 64, 2, true, false, false},
	"4096+128":                {binary.LittleEndian, 4096, 128, 2, true, false, false},
	"4096+224, tags at 32":    {binary.LittleEndian, 4096, 224, 32, true, false, false},
	"8192+448, big endian":    {binary.BigEndian, 8192, 448, 2, true, false, false},
	"16384+1280":              {binary.LittleEndian, 16384, 1280, 2, true, false, false},
	"2048, tags in the pages": {binary.LittleEndian, 2048, 0, 0, false, true, false},
	"4096, big endian inband": {binary.BigEndian, 4096, 0, 0, false, true, false},
}

// yaffs writes chunks by hand: yaffs_guts.h and yaffs_packedtags2.h.
type yaffs struct {
	yaffsShape
	image    []byte
	sequence uint32
}

func (y *yaffs) data() int {
	if y.inband {
		return y.page - 16
	}
	return y.page
}

func (y *yaffs) chunk(object, chunk, n uint32, data []byte) int {
	at := len(y.image)
	page := bytes.Repeat([]byte{0xff}, y.page)
	copy(page, data)
	tags := make([]byte, 16)
	for i, v := range []uint32{y.sequence, object, chunk, n} {
		y.order.PutUint32(tags[4*i:], v)
	}
	spare := bytes.Repeat([]byte{0xff}, y.spare)
	switch {
	case y.inband:
		copy(page[y.page-16:], tags)
	case y.bare:
	default:
		copy(spare[y.tagsAt:], tags)
		if y.ecc {
			copy(spare[y.tagsAt+16:], y.parity(tags))
		}
	}
	y.image = append(append(y.image, page...), spare...)
	return at
}

func (y *yaffs) parity(p []byte) []byte {
	columns := []byte{0x55, 0x59, 0x65, 0x69, 0x95, 0x99, 0xa5, 0xa9}
	var column byte
	var line, prime uint32
	for i, b := range p {
		odd := false
		for bit, c := range columns {
			if b&(1<<bit) != 0 {
				column ^= c
				odd = !odd
			}
		}
		if odd {
			line, prime = line^uint32(i), prime^^uint32(i)
		}
	}
	out := bytes.Repeat([]byte{0xff}, 12)
	out[0] = column >> 2
	y.order.PutUint32(out[4:], line)
	y.order.PutUint32(out[8:], prime)
	return out
}

type yaffsHead struct {
	kind, parent      uint32
	name              string
	mode              uint32
	size              int
	equivalent, rdev  uint32
	alias             string
	shadows, isShrink uint32
}

func (y *yaffs) header(object uint32, h yaffsHead) int {
	p := bytes.Repeat([]byte{0xff}, 512)
	put := func(at int, v uint32) { y.order.PutUint32(p[at:], v) }
	put(0, h.kind)
	put(4, h.parent)
	clear(p[10:266])
	copy(p[10:], h.name)
	put(268, h.mode)
	put(272, 1000)
	put(276, 1001)
	put(284, 1_600_000_000)
	if h.kind == 1 {
		put(292, uint32(h.size))
	}
	put(296, h.equivalent)
	clear(p[300:460])
	copy(p[300:], h.alias)
	put(460, h.rdev)
	put(488, h.shadows)
	put(492, h.isShrink)
	put(504, h.shadows)
	put(508, h.isShrink)
	return y.chunk(object, 0, 0xffff, p)
}

// content writes a file's chunks from a chunk number on.
func (y *yaffs) content(object uint32, from int, data []byte) {
	for n := from; len(data) > 0; n++ {
		size := min(len(data), y.data())
		y.chunk(object, uint32(n), uint32(size), data[:size])
		data = data[size:]
	}
}

func (y *yaffs) file(object, parent uint32, name string, data []byte) {
	y.header(object, yaffsHead{kind: 1, parent: parent, name: name, mode: file, size: len(data)})
	y.content(object, 1, data)
}

func (y *yaffs) erase(chunks int) {
	y.image = append(y.image, bytes.Repeat([]byte{0xff}, chunks*(y.page+y.spare))...)
}

func newYAFFS(shape yaffsShape) *yaffs { return &yaffs{yaffsShape: shape, sequence: 0x1000} }

// handmadeYAFFS has all types, and a file of several chunks.
func handmadeYAFFS(shape yaffsShape) *yaffs {
	y := newYAFFS(shape)
	y.header(257, yaffsHead{kind: 3, parent: 1, name: "etc", mode: dir})
	y.file(258, 257, "a", []byte("hello"))
	y.file(259, 1, "big", text(3*shape.page+100))
	y.header(260, yaffsHead{kind: 2, parent: 1, name: "l", mode: link, alias: "etc/a"})
	y.header(261, yaffsHead{kind: 5, parent: 257, name: "c", mode: 0o020600, rdev: 5<<8 | 1})
	y.header(262, yaffsHead{kind: 5, parent: 257, name: "fifo", mode: 0o010640})
	y.header(263, yaffsHead{kind: 4, parent: 1, name: "h", equivalent: 258})
	y.file(264, 257, "empty", nil)
	return y
}

func openYAFFS(data []byte, limits budget.Limits) (*filesystem.YAFFS2, error) {
	return filesystem.NewYAFFS2(context.Background(), bytes.NewReader(data), int64(len(data)), budget.New(limits))
}

func soundYAFFS(t testing.TB, data []byte) *filesystem.YAFFS2 {
	t.Helper()
	f, err := openYAFFS(data, budget.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Survey.Problems) > 0 {
		t.Fatalf("problems: %s", strings.Join(f.Survey.Problems, "\n"))
	}
	return f
}

func TestYAFFS2IsReadInEachShape(t *testing.T) {
	for name, shape := range yaffsShapes {
		t.Run(name, func(t *testing.T) {
			y := handmadeYAFFS(shape)
			size := len(y.image)
			f := soundYAFFS(t, append(y.image, noise(4*shape.page)...))
			if f.Page != int64(shape.page) || f.Spare != int64(shape.spare) || f.TagsAt != int64(shape.tagsAt) || f.TagsECC != shape.ecc || f.Inband != shape.inband || f.Size != int64(size) || f.BigEndian != (shape.order == binary.BigEndian) {
				t.Fatalf("%d+%d, tags at %d, ECC %v, inband %v, %d of %d bytes", f.Page, f.Spare, f.TagsAt, f.TagsECC, f.Inband, f.Size, size)
			}
			checkHandmadeYAFFS(t, f, shape.page)
			r := analyse(t, append(bytes.Clone(y.image), noise(3000)...)).Regions[0]
			if r.Format != "yaffs2" || r.State != firmware.Parsed || r.Size != int64(size) || len(r.Problems) > 0 {
				t.Errorf("of %d bytes: %+v", size, r)
			}
		})
	}
}

func checkHandmadeYAFFS(t testing.TB, f *filesystem.YAFFS2, page int) {
	t.Helper()
	for name, want := range map[string][]byte{"etc/a": []byte("hello"), "h": []byte("hello"), "l": []byte("hello"), "big": text(3*page + 100), "etc/empty": nil} {
		if got, err := f.ReadFile(name); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
	got := survey(t, f)
	for name, want := range map[string]facts{
		"etc":      {Mode: fs.ModeDir | 0o755, UID: 1000, GID: 1001, Time: 1_600_000_000},
		"etc/c":    {Mode: fs.ModeDevice | fs.ModeCharDevice | 0o600, UID: 1000, GID: 1001, Major: 5, Minor: 1, Links: 1, Time: 1_600_000_000},
		"etc/fifo": {Mode: fs.ModeNamedPipe | 0o640, UID: 1000, GID: 1001, Links: 1, Time: 1_600_000_000},
		"l":        {Mode: fs.ModeSymlink | 0o777, UID: 1000, GID: 1001, Links: 1, Size: 5, Time: 1_600_000_000, Target: "etc/a"},
	} {
		if got[name] != want {
			t.Errorf("%s: %v and not %v", name, got[name], want)
		}
	}
	if got["h"].Links != 2 || got["etc/a"].Links != 2 {
		t.Errorf("%d links", got["h"].Links)
	}
}

func TestAYAFFS2DumpWithoutTagsIsReadByItsOrder(t *testing.T) {
	for _, page := range []int{512, 2048, 4096} {
		y := handmadeYAFFS(yaffsShape{order: binary.LittleEndian, page: page, bare: true})
		f := soundYAFFS(t, append(bytes.Clone(y.image), noise(3*page)...))
		if !f.NoTags || f.Page != int64(page) || f.Size != int64(len(y.image)) {
			t.Fatalf("%+v", f)
		}
		checkHandmadeYAFFS(t, f, page)
	}
}

func TestAYAFFS2IsAGoodFS(t *testing.T) {
	f := soundYAFFS(t, handmadeYAFFS(yaffsShapes["2048+64"]).image)
	if err := fstest.TestFS(f, "etc/a", "big", "h", "l", "etc/c"); err != nil {
		t.Error(err)
	}
}

func TestAYAFFS2SaysWhatItsNewestChunksSay(t *testing.T) {
	for name, c := range map[string]struct {
		write   func(y *yaffs)
		a       string // contents of a; "-" when it must not be there
		problem string
	}{
		"a file":          {func(y *yaffs) { y.file(257, 1, "a", []byte("abc")) }, "abc", ""},
		"a newer version": {func(y *yaffs) { y.file(257, 1, "a", []byte("abc")); y.sequence++; y.file(257, 1, "a", []byte("xyz")) }, "xyz", ""},
		"a newer version, earlier": {func(y *yaffs) {
			y.sequence = 0x1005
			y.file(257, 1, "a", []byte("xyz"))
			y.sequence = 0x1001
			y.file(257, 1, "a", []byte("abc"))
		}, "xyz", ""},
		"a later chunk of the same block": {func(y *yaffs) { y.file(257, 1, "a", []byte("abc")); y.chunk(257, 1, 3, []byte("xyz")) },
			"xyz", ""},
		"a file that was deleted": {func(y *yaffs) {
			y.file(257, 1, "a", []byte("abc"))
			y.sequence++
			y.header(257, yaffsHead{kind: 1, parent: 4, name: "deleted", mode: file})
		}, "-", ""},
		"a file that was unlinked": {func(y *yaffs) {
			y.file(257, 1, "a", []byte("abc"))
			y.header(257, yaffsHead{kind: 1, parent: 3, name: "unlinked", mode: file})
		}, "-", ""},
		"a file that was renamed": {func(y *yaffs) {
			y.file(257, 1, "b", []byte("abc"))
			y.header(257, yaffsHead{kind: 1, parent: 1, name: "a", mode: file, size: 3})
		}, "abc", ""},
		"a file renamed over another": {func(y *yaffs) {
			y.file(257, 1, "a", []byte("old"))
			y.file(258, 1, "b", []byte("new"))
			y.header(258, yaffsHead{kind: 1, parent: 1, name: "a", mode: file, size: 3, shadows: 257})
		}, "new", ""},
		"a file that was cut": {func(y *yaffs) {
			y.file(257, 1, "a", bytes.Repeat([]byte("x"), 3000))
			y.sequence++
			y.header(257, yaffsHead{kind: 1, parent: 1, name: "a", mode: file, size: 3, isShrink: 1})
		}, "xxx", ""},
		"cut, and grown again": {func(y *yaffs) {
			y.file(257, 1, "a", bytes.Repeat([]byte("x"), 5000))
			y.header(257, yaffsHead{kind: 1, parent: 1, name: "a", mode: file, isShrink: 1})
			y.header(257, yaffsHead{kind: 1, parent: 1, name: "a", mode: file, size: 2050})
		}, strings.Repeat("\x00", 2050), ""},
		"a hole": {func(y *yaffs) {
			y.header(257, yaffsHead{kind: 1, parent: 1, name: "a", mode: file, size: 2051})
			y.chunk(257, 2, 3, []byte("end"))
		}, strings.Repeat("\x00", 2048) + "end", ""},
		"data after the last header": {func(y *yaffs) {
			y.header(257, yaffsHead{kind: 1, parent: 1, name: "a", mode: file})
			y.chunk(257, 1, 3, []byte("abc"))
		}, "abc", ""},
		"data without a header": {func(y *yaffs) { y.file(258, 1, "a", []byte("x")); y.chunk(300, 1, 3, []byte("abc")) }, "x", "no header"},
		"a directory in itself": {func(y *yaffs) {
			y.file(257, 1, "a", []byte("x"))
			y.header(258, yaffsHead{kind: 3, parent: 258, name: "d", mode: dir})
		}, "x", "leads to no root"},
		"a name that climbs": {func(y *yaffs) { y.file(257, 1, "a", []byte("x")); y.file(258, 1, "../b", []byte("x")) }, "x", "not possible"},
		"a name twice":       {func(y *yaffs) { y.file(257, 1, "a", []byte("x")); y.file(258, 1, "a", []byte("y")) }, "y", "is there twice"},
		"a hard link to nothing": {func(y *yaffs) {
			y.file(257, 1, "a", []byte("x"))
			y.header(258, yaffsHead{kind: 4, parent: 1, name: "h", equivalent: 999})
		}, "x", "which is no file"},
		"a checkpoint":          {func(y *yaffs) { y.file(257, 1, "a", []byte("x")); y.sequence = 0x21; y.chunk(1, 1, 2048, noise(2048)) }, "x", ""},
		"erased blocks between": {func(y *yaffs) { y.file(257, 1, "b", []byte("x")); y.erase(500); y.file(258, 1, "a", []byte("y")) }, "y", ""},
		"a bad chunk between": {func(y *yaffs) {
			y.file(257, 1, "b", []byte("x"))
			y.image = append(y.image, noise(2112)...)
			y.file(258, 1, "a", []byte("y"))
		}, "y", "neither in use nor erased"},
		"tags that are broken": {func(y *yaffs) {
			y.file(257, 1, "b", []byte("x"))
			y.file(258, 1, "a", []byte("y"))
			y.image[3*2112+2048+6] ^= 1
			y.file(259, 1, "c", nil)
		}, "\x00", "neither in use nor erased"},
	} {
		t.Run(name, func(t *testing.T) {
			y := newYAFFS(yaffsShapes["2048+64"])
			c.write(y)
			f, err := openYAFFS(y.image, budget.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			if all := strings.Join(f.Survey.Problems, "\n"); (all == "") != (c.problem == "") || !strings.Contains(all, c.problem) {
				t.Errorf("problems: %s", all)
			}
			got, err := f.ReadFile("a")
			if c.a == "-" {
				if err == nil || f.Deleted != 1 {
					t.Errorf("it is there: %q", got)
				}
			} else if err != nil || string(got) != c.a {
				t.Errorf("%.20q of %d bytes, %v", got, len(got), err)
			}
			walkAll(t, f)
		})
	}
}

func TestTheCorpusYAFFS2HasItsFiles(t *testing.T) {
	data := corpusFile(t, "format/yaffs/yaffs2_le.img")
	f := soundYAFFS(t, data)
	if f.Page != 2048 || f.Spare != 64 || f.TagsAt != 2 || !f.TagsECC || f.Size != int64(len(data)) {
		t.Errorf("%+v", f)
	}
	want := map[string]string{
		"testfile1":                       "test file:\ncontent: MyTestRule 1.2.3\nVersion: Program 0.0.0.0\n",
		"testfile2":                       "This is the second test file",
		"generic folder/test file 3_.txt": "The third test file!",
	}
	for name, got := range survey(t, f) {
		if got.Sum == "" {
			continue
		}
		p, err := f.ReadFile(name)
		if w, ok := want[name]; !ok || err != nil || string(p) != w || got.Mode != 0o644 || got.UID != 1000 {
			t.Errorf("%s: %q, %v", name, p, err)
		}
		delete(want, name)
	}
	if len(want) > 0 {
		t.Errorf("missing: %v", want)
	}
	if r := analyse(t, data).Regions; len(r) != 1 || r[0].Format != "yaffs2" || !r[0].Checks[0].OK {
		t.Errorf("%+v", r)
	}
}

func TestAYAFFS2FileOfAnySizeSpendsItsBudget(t *testing.T) {
	y := newYAFFS(yaffsShapes["2048+64"])
	y.header(257, yaffsHead{kind: 1, parent: 1, name: "huge", mode: file, size: 1<<31 - 1})
	y.file(258, 1, "b", nil)
	f := soundYAFFS(t, y.image)
	if _, err := f.ReadFile("huge"); !errors.Is(err, budget.ErrExceeded) {
		t.Errorf("%v", err)
	}
	y = newYAFFS(yaffsShapes["512+16"])
	for i := range 500 {
		y.file(uint32(257+i), 1, fmt.Sprint(i), nil)
	}
	for _, limits := range []budget.Limits{{Entries: 100}, {Held: 50_000}} {
		if _, err := openYAFFS(y.image, limits); !errors.Is(err, budget.ErrExceeded) {
			t.Errorf("%v", err)
		}
	}
}

func attackYAFFS(t testing.TB, data []byte) {
	t.Helper()
	f, err := filesystem.NewYAFFS2(context.Background(), bytes.NewReader(data), int64(len(data)), tight())
	if f == nil {
		if err == nil {
			t.Fatal("neither a file system nor an error")
		}
		return
	}
	if f.Size > int64(len(data)) || err == nil && f.Size < 512 {
		t.Fatalf("of %d bytes, %d are the file system's", len(data), f.Size)
	}
	walkAll(t, f)
}

func TestAYAFFS2CutOrFlippedAnywhereIsNoPanic(t *testing.T) {
	image := handmadeYAFFS(yaffsShapes["512+16"]).image
	for n := 0; n < len(image); n += 33 {
		attackYAFFS(t, image[:n])
	}
	for bit := 0; bit < len(image)*8; bit += 7 {
		flipped := bytes.Clone(image)
		flipped[bit/8] ^= 1 << (bit % 8)
		attackYAFFS(t, flipped)
	}
}

func FuzzYAFFS2(f *testing.F) {
	for _, name := range []string{"512+16", "2048+64", "2048, tags in the pages"} {
		f.Add(handmadeYAFFS(yaffsShapes[name]).image)
	}
	f.Add(handmadeYAFFS(yaffsShape{order: binary.BigEndian, page: 512, bare: true}).image)
	f.Fuzz(func(t *testing.T, data []byte) { attackYAFFS(t, data) })
}
