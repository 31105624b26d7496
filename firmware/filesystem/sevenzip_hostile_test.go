//go:build linux

package filesystem_test

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"assay/firmware"
	"assay/firmware/budget"
	"assay/firmware/internal/formattest"
)

// Archives by hand, right or wrong: 7zFormat.txt.

// num is a NUMBER.
func num(v uint64) []byte {
	if v < 0x80 {
		return []byte{byte(v)}
	}
	if v < 0x4000 {
		return []byte{0x80 | byte(v>>8), byte(v)}
	}
	return binary.LittleEndian.AppendUint64([]byte{0xff}, v)
}

func join(parts ...[]byte) []byte { return slices.Concat(parts...) }

func sevenCRC(p []byte) []byte { return binary.LittleEndian.AppendUint32(nil, crc32.ChecksumIEEE(p)) }

// sevenArchive puts headers with sums that hold around packed streams.
func sevenArchive(packed, header []byte) []byte {
	le := binary.LittleEndian
	start := le.AppendUint64(nil, uint64(len(packed)))
	start = append(le.AppendUint64(start, uint64(len(header))), sevenCRC(header)...)
	return join([]byte("7z\xbc\xaf\x27\x1c\x00\x04"), sevenCRC(start), start, packed, header)
}

var sevenCopyCoder = []byte{1, 0x01, 0x00} // one coder, its ID of one byte

// sevenPacked is a PackInfo and an UnpackInfo of one folder.
func sevenPacked(at, packed uint64, folder []byte, size ...uint64) []byte {
	b := join([]byte{6}, num(at), []byte{1, 9}, num(packed), []byte{0, 7, 11, 1, 0}, folder, []byte{12})
	for _, n := range size {
		b = append(b, num(n)...)
	}
	return append(b, 0)
}

// sevenNamed is a FilesInfo.
func sevenNamed(more []byte, names ...string) []byte {
	text := []byte{0}
	for _, name := range names {
		for _, c := range name + "\x00" {
			text = binary.LittleEndian.AppendUint16(text, uint16(c))
		}
	}
	return join([]byte{5}, num(uint64(len(names))), more, []byte{0x11}, num(uint64(len(text))), text, []byte{0})
}

const anyFiles = "hello and world"

// handmadeSeven has two files in a solid folder that is stored, an empty file, a
// directory, and a file to delete.
func handmadeSeven(data string) []byte {
	subs := join([]byte{8, 13, 2, 9, 5, 10, 1}, sevenCRC([]byte(data[:5])), sevenCRC([]byte(data[5:])), []byte{0})
	flags := []byte{0x0e, 1, 0b00111000, 0x0f, 1, 0b10100000, 0x10, 1, 0b00100000}
	return sevenArchive([]byte(data), join([]byte{1, 4}, sevenPacked(0, uint64(len(data)), sevenCopyCoder, uint64(len(data))), subs, []byte{0},
		sevenNamed(flags, "d/a", "b", "empty", "d", "old"), []byte{0}))
}

func TestASevenZipByHandIsReadToTheBit(t *testing.T) {
	f := soundSeven(t, handmadeSeven(anyFiles))
	var all []string
	fs.WalkDir(f, ".", func(name string, d fs.DirEntry, _ error) error {
		st, err := d.Info()
		if err != nil {
			t.Error(err)
		}
		all = append(all, st.Mode().String()+" "+name)
		return nil
	})
	want := []string{"drwxr-xr-x .", "-rw-r--r-- b", "drwxr-xr-x d", "-rw-r--r-- d/a", "-rw-r--r-- empty"}
	if !slices.Equal(all, want) || !slices.Equal(f.Anti, []string{"old"}) || !f.Solid || f.Summed != 2 {
		t.Errorf("%q, %+v", all, f)
	}
	if got, err := f.ReadFile("b"); string(got) != anyFiles[5:] {
		t.Errorf("%q, %v", got, err)
	}
	r := analyse(t, handmadeSeven(anyFiles)).Regions[0]
	if r.State != firmware.Proven || r.Field("anti items") != `1 to delete, the first "old"` {
		t.Errorf("%+v", r)
	}
}

func TestFramesOfOtherCompressionsInASevenZipAreReadAsOne(t *testing.T) {
	skip := []byte("\x50\x2a\x4d\x18\x04\x00\x00\x00more")
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	data := text(50_000)
	zstds := join(skip, z.EncodeAll(data[:20_000], nil), skip, z.EncodeAll(data[20_000:], nil))
	var lz4s bytes.Buffer
	for _, part := range [][]byte{data[:30_000], data[30_000:]} {
		lz4s.Write(skip)
		w := lz4.NewWriter(&lz4s)
		w.Write(part)
		w.Close()
	}
	for id, packed := range map[byte][]byte{1: zstds, 4: lz4s.Bytes()} {
		folder := []byte{1, 4, 4, 0xf7, 0x11, id}
		b := sevenArchive(packed, join([]byte{1, 4}, sevenPacked(0, uint64(len(packed)), folder, uint64(len(data))),
			[]byte{8, 10, 1}, sevenCRC(data), []byte{0, 0}, sevenNamed(nil, "text"), []byte{0}))
		f := soundSeven(t, b)
		if got, err := f.ReadFile("text"); err != nil || !bytes.Equal(got, data) || f.Summed != 1 {
			t.Errorf("%d: %d bytes, %v", id, len(got), err)
		}
	}
}

// sevenNested is headers packed in headers.
func sevenNested(depth int) []byte {
	header := handmadeSeven(anyFiles)[32+len(anyFiles):]
	packed := []byte(anyFiles)
	for range depth {
		at := len(packed)
		packed = append(packed, header...)
		header = join([]byte{0x17}, sevenPacked(uint64(at), uint64(len(header)), sevenCopyCoder, uint64(len(header))), []byte{0})
	}
	return sevenArchive(packed, header)
}

func TestHeadersPackedInHeadersHaveALimit(t *testing.T) {
	if r := analyse(t, sevenNested(4)).Regions[0]; r.State != firmware.Proven || r.Field("entries") != "5" {
		t.Errorf("%+v", r)
	}
	// The one that unpacks to itself.
	var self []byte
	for n := 0; n < 64; n++ {
		self = join([]byte{0x17}, sevenPacked(0, uint64(n), sevenCopyCoder, uint64(n)), []byte{0})
		if len(self) == n {
			break
		}
	}
	for name, b := range map[string][]byte{"five": sevenNested(5), "itself": sevenArchive(self, self)} {
		r := formattest.Survives(t, name, b).Regions[0]
		if all := strings.Join(r.Problems, "\n"); r.Format != "7z" || r.State != firmware.Parsed || r.FS != nil || !strings.Contains(all, "packed in more than 4 others") {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

func TestASevenZipThatLiesIsReadInLittleMemory(t *testing.T) {
	const many = 1 << 32
	data := []byte(anyFiles)
	n := uint64(len(data))
	good := sevenPacked(0, n, sevenCopyCoder, n)
	one := sevenNamed(nil, "a")
	main := func(streams ...[]byte) []byte { return join([]byte{1, 4}, join(streams...), []byte{0}, one, []byte{0}) }
	solid := func(subs ...byte) []byte { return main(good, subs) }
	two := func(pairs ...byte) []byte { // two coders, which copy
		return main(sevenPacked(0, n, join([]byte{2, 1, 0, 1, 0}, pairs), n, n))
	}
	for name, c := range map[string]struct {
		header []byte
		want   string
	}{
		"no header":                           {[]byte{0x33}, "begins with 0x33"},
		"an end at once":                      {[]byte{1}, "1 bytes where 0 are left"},
		"2^32 packed streams":                 {main([]byte{6, 0}, num(many), []byte{9}), "4294967296 packed streams"},
		"2^64-1 packed streams":               {main([]byte{6, 0}, num(1<<64-1), []byte{9}), "18446744073709551615 packed streams"},
		"2^32 folders":                        {main([]byte{6, 0, 0, 0, 7, 11}, num(many), []byte{0}), "4294967296 folders"},
		"2^32 coders":                         {main([]byte{6, 0, 0, 0, 7, 11, 1, 0}, num(many), []byte{0}), "a folder of 4294967296 coders"},
		"no coders":                           {main([]byte{6, 0, 0, 0, 7, 11, 1, 0, 0}), "a folder of 0 coders"},
		"2^32 inputs":                         {main([]byte{6, 0, 0, 0, 7, 11, 1, 0, 1, 0x11, 0}, num(many), []byte{1}), "coder of 4294967296 inputs"},
		"no outputs":                          {main([]byte{6, 0, 0, 0, 7, 11, 1, 0, 1, 0x11, 0, 1, 0}), "0 outputs"},
		"2^32 bytes of properties":            {main([]byte{6, 0, 0, 0, 7, 11, 1, 0, 1, 0x21, 0}, num(many)), "4294967296 bytes where"},
		"2^32 files of a folder":              {main(good, []byte{8, 13}, num(many)), "4294967296 files of a folder"},
		"more files of a folder than sizes":   {main(good, []byte{8, 13, 30, 0}), "files of a folder"},
		"files of a folder without sizes":     {solid(8, 13, 2, 0), "without sizes"},
		"sizes past the folder":               {solid(8, 13, 2, 9, 99, 0), "files of more than the 15 bytes"},
		"2^32 files":                          {join([]byte{1, 4}, good, []byte{0, 5}, num(many), []byte{0, 0}), "4294967296 files"},
		"more files than streams":             {join([]byte{1, 4}, good, []byte{0}, sevenNamed(nil, "a", "b"), []byte{0}), "the folders have fewer"},
		"more streams than files":             {solid(8, 13, 2, 9, 5, 0), "the folders have more files than the 1"},
		"a folder without files":              {join([]byte{1, 4}, good, []byte{8, 13, 0, 0, 0, 5, 0, 0, 0}), "has no files"},
		"a packed stream past the header":     {main(sevenPacked(0, 99, sevenCopyCoder, 99)), "reaches past"},
		"packed streams past the header":      {main(sevenPacked(99, 1, sevenCopyCoder, 1)), "packed streams at 99"},
		"packed streams at 2^63":              {main(sevenPacked(1<<63, 1, sevenCopyCoder, 1)), "packed streams' place of"},
		"a bind pair outside":                 {two(0, 7), "bind pair of input 0 and output 7"},
		"a coder that feeds itself":           {two(0, 0), "in a circle"},
		"a folder of 2^61 bytes":              {main(sevenPacked(0, n, sevenCopyCoder, 1<<61)), "unpacking ended after 15 of 2305843009213693952"},
		"a folder of 2^63 bytes":              {main(sevenPacked(0, n, sevenCopyCoder, 1<<63)), "coder's output of"},
		"a folder that unpacks to more":       {main(sevenPacked(0, n, sevenCopyCoder, 3)), "unpacks to more than the 3 bytes"},
		"fewer packed streams than folders":   {main([]byte{6, 0, 0, 0, 7, 11, 1, 0, 1, 1, 0, 12, 3, 0}), "want more than the 0 packed streams"},
		"more packed streams than folders":    {main([]byte{6, 0, 2, 9, 1, 1, 0, 7, 11, 1, 0, 1, 1, 0, 12, 1, 0}), "1 of the 2 packed streams"},
		"sums twice":                          {solid(8, 10, 0, 0, 10, 0, 0, 0), "0x0a among the files"},
		"streams twice":                       {main(good, good), "twice"},
		"files in an additional stream":       {join([]byte{1, 4}, good, []byte{0, 5, 1, 0x11, 1, 1, 0, 0}), "additional stream"},
		"names without an end":                {join([]byte{1, 4}, good, []byte{0, 5, 1, 0x11, 3, 0, 65, 0, 0, 0}), "property 0x11"},
		"a CRC-32 that is another":            {main(good, []byte{8, 10, 1, 1, 2, 3, 4, 0}), "the archive says 04030201"},
		"a path that climbs":                  {join([]byte{1, 4}, good, []byte{0}, sevenNamed(nil, "../../a"), []byte{0}), "not possible"},
		"LZMA without properties":             {main(sevenPacked(0, n, []byte{1, 3, 3, 1, 1}, n)), "no such properties"},
		"LZMA2 with a dictionary of 4 GiB":    {main(sevenPacked(0, n, []byte{1, 0x21, 0x21, 1, 40}, 1<<40)), "larger than the 67108864"},
		"a header of 2^40 bytes":              {join([]byte{0x17}, sevenPacked(0, n, sevenCopyCoder, 1<<40), []byte{0}), "larger than the 33554432"},
		"a header that is cut":                {join([]byte{0x17}, sevenPacked(0, n, sevenCopyCoder, 1<<20), []byte{0}), "unpacking it: unexpected EOF"},
		"bytes behind the header":             {join(main(good), []byte("more")), "4 bytes stand behind the end of the header"},
		"bytes behind the data":               {main(sevenPacked(0, n, []byte{1, 0x21, 0x21, 1, 0}, 0)), "behind the end"},
		"bytes in no stream":                  {main(sevenPacked(0, 5, sevenCopyCoder, 5), []byte{8, 10, 1}, sevenCRC(data[:5]), []byte{0}), "10 bytes at 0x25 are in no packed stream"},
		"a header that is one of the streams": {join([]byte{0x17}, sevenPacked(0, n, sevenCopyCoder, n), []byte{0}), "begins with 0x68"},
	} {
		b := sevenArchive(data, c.header)
		if strings.Contains(name, "behind the data") {
			b = sevenArchive(append([]byte{0}, data[1:]...), c.header)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := openSeven(b, budget.Limits{})
		runtime.ReadMemStats(&after)
		if spent := after.TotalAlloc - before.TotalAlloc; spent > 1<<20 || err != nil {
			t.Errorf("%s: %d bytes were allocated, %v", name, spent, err)
		}
		r := formattest.Survives(t, name, b).Regions[0]
		if all := strings.Join(r.Problems, "\n"); r.Format != "7z" || r.State != firmware.Parsed || r.Size != int64(len(b)) || !strings.Contains(all, c.want) {
			t.Errorf("%s: %s %s of %d bytes: %s", name, r.Format, r.State, r.Size, all)
		}
	}
}

func TestAPackedStreamThatIsThereTwiceIsReadOnce(t *testing.T) {
	data := []byte(anyFiles)
	header := join([]byte{1, 4}, sevenPacked(0, 30, sevenCopyCoder, 30), []byte{0}, sevenNamed(nil, "a"), []byte{0})
	packed := append(bytes.Clone(data), header...)
	b := sevenArchive(packed, join([]byte{0x17}, sevenPacked(uint64(len(data)), uint64(len(header)), sevenCopyCoder, uint64(len(header))), []byte{0}))
	r := analyse(t, b).Regions[0]
	if all := strings.Join(r.Problems, "\n"); r.State != firmware.Parsed || !strings.Contains(all, "starts inside of another") {
		t.Errorf("%s: %s", r.State, all)
	}
}

func TestABombInASevenZipSpendsItsBudgetAndNoMore(t *testing.T) {
	source := t.TempDir()
	writeZeros(t, source, 40<<20)
	data := packedBy(t, source, "7z", "p7zip-full", "a -bd -mx=1 ARCHIVE.7z .")
	img := formattest.Survives(t, "zeros", data)
	if r := img.Regions[0]; r.Format != "7z" || r.State != firmware.Parsed || len(r.Problems) == 0 {
		t.Errorf("%+v", r)
	}
}

func TestABrokenSevenZipIsNamedForWhatIsBroken(t *testing.T) {
	b := littleSevenZip(t)
	b[len(b)-1] ^= 1
	if r := analyse(t, b).Regions[0]; r.Format != "7z" || r.Checks[1].OK || r.Size != int64(len(b)) || len(r.Problems) != 1 {
		t.Errorf("%+v", r)
	}
	b[len(b)-1] ^= 1
	b[200] ^= 1
	r := analyse(t, b).Regions[0]
	if r.State != firmware.Parsed || r.Checks[len(r.Checks)-1].OK || len(r.Problems) == 0 {
		t.Errorf("%+v", r)
	}
}

func writeZeros(t testing.TB, dir string, n int) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "zeros"), make([]byte, n), 0o600); err != nil {
		t.Fatal(err)
	}
}

// FuzzSevenZipHeader has sums that hold, which hide the header from a fuzzer
// otherwise.
func FuzzSevenZipHeader(f *testing.F) {
	add := func(b []byte) {
		at := 32 + binary.LittleEndian.Uint64(b[12:])
		f.Add(b[32:at], b[at:])
	}
	for _, args := range []string{"", "-mhc=off", "-mhc=off -ms=off", "-mhc=off -m0=Delta:4 -m1=LZMA", "-mhc=off -mx=1 -m0=BCJ -m1=Deflate", "-mhc=off -m0=Copy -psecret", "-mhe=on -psecret"} {
		add(packedBy(f, littleTree(f), "7z", "p7zip-full", "a -bd -snl "+args+" ARCHIVE.7z d etc"))
	}
	add(packedBy(f, littleTree(f), "7z", "p7zip-full", "a -bd -mhc=off -m0=BCJ2 -m1=LZMA -m2=LZMA -m3=LZMA -mb0:1 -mb0s1:2 -mb0s2:3 ARCHIVE.7z d etc"))
	add(handmadeSeven(anyFiles))
	add(sevenNested(2))
	f.Fuzz(func(t *testing.T, packed, header []byte) {
		formattest.Survives(t, "this", sevenArchive(packed, header))
	})
}
