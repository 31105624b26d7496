package format_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"assay/firmware"
	"assay/firmware/internal/formattest"
)

func init() {
	samples["mbr"] = formattest.Sample{Make: func(testing.TB) []byte { return makeMBR(20, [3]int64{0x83, 2, 10}, [3]int64{0x0c, 14, 6}) }, State: firmware.Parsed, Role: firmware.RoleContainer, Fuzz: "FuzzMBR"}
	samples["gpt"] = formattest.Sample{Make: func(testing.TB) []byte { return makeGPT(512, 90, [2]int{40, 49}, [2]int{50, 51}) }, State: firmware.Proven, Role: firmware.RoleContainer, Fuzz: "FuzzGPT"}
}

// makeMBR is a disk of some sectors with partitions of a type, a start and a
// length, in which a kernel image is.
func makeMBR(sectors int, parts ...[3]int64) []byte {
	b := make([]byte, sectors*512)
	putMBR(b, parts...)
	for _, p := range parts {
		if off := p[1] * 512; off < int64(len(b)) {
			copy(b[off:], makeUImage(2, 0, formattest.Noise(800, 2)))
		}
	}
	return b
}

func putMBR(sector []byte, parts ...[3]int64) {
	for i, p := range parts {
		e := sector[446+16*i:]
		e[4] = byte(p[0])
		binary.LittleEndian.PutUint32(e[8:], uint32(p[1]))
		binary.LittleEndian.PutUint32(e[12:], uint32(p[2]))
	}
	copy(sector[510:], "\x55\xaa")
}

// makeGPT is a disk with partitions from one sector to another.
func makeGPT(sector, sectors int, parts ...[2]int) []byte {
	le := binary.LittleEndian
	b := make([]byte, sector*sectors)
	putMBR(b, [3]int64{0xee, 1, int64(sectors) - 1})
	array := make([]byte, 128*128)
	arraySectors := len(array) / sector
	for i, p := range parts {
		e := array[128*i:]
		e[0], e[16] = 0xaf, byte(i+1)
		le.PutUint64(e[32:], uint64(p[0]))
		le.PutUint64(e[40:], uint64(p[1]))
		for j, c := range fmt.Sprintf("system%d", i) {
			le.PutUint16(e[56+2*j:], uint16(c))
		}
		copy(b[p[0]*sector:], makeUImage(2, 0, formattest.Noise(800, 2)))
	}
	put := func(own, other, at int) {
		copy(b[at*sector:], array)
		h := b[own*sector:][:92]
		copy(h, "EFI PART\x00\x00\x01\x00\x5c")
		le.PutUint64(h[24:], uint64(own))
		le.PutUint64(h[32:], uint64(other))
		le.PutUint64(h[40:], uint64(2+arraySectors))
		le.PutUint64(h[48:], uint64(sectors-2-arraySectors))
		le.PutUint64(h[72:], uint64(at))
		le.PutUint32(h[80:], 128)
		le.PutUint32(h[84:], 128)
		le.PutUint32(h[88:], crc32.ChecksumIEEE(array))
		sealGPT(h)
	}
	put(1, sectors-1, 2)
	put(sectors-1, 1, sectors-1-arraySectors)
	return b
}

func sealGPT(h []byte) {
	clear(h[16:20])
	binary.LittleEndian.PutUint32(h[16:], crc32.ChecksumIEEE(h))
}

// partitions is a line for each child that is a partition.
func partitions(r *firmware.Region) []string {
	var lines []string
	for _, c := range r.Children {
		if c.Field("partition type") != "" {
			lines = append(lines, fmt.Sprintf("%d+%d %s", (c.Offset-r.Offset)/512, c.Size/512, c.Field("partition type")))
		}
	}
	return lines
}

func TestThePartitionsOfSfdiskAreAtTheirPlaces(t *testing.T) {
	for name, c := range map[string]struct {
		script, format string
		state          firmware.State
		want           []string
	}{
		"four primary ones": {"label: dos\nstart=64, size=100, type=c, bootable\nstart=200, size=50, type=83\nstart=300, size=20, type=83\nstart=400, size=7, type=82\n", "mbr", firmware.Parsed,
			[]string{"64+100 0x0c", "200+50 0x83", "300+20 0x83", "400+7 0x82"}},
		"logical ones": {"label: dos\nstart=64, size=100, type=83\nstart=200, size=600, type=5\nstart=264, size=100, type=83\nstart=464, size=60, type=b\nstart=600, size=50, type=83\n", "mbr", firmware.Parsed,
			[]string{"64+100 0x83", "264+100 0x83", "464+60 0x0b", "600+50 0x83"}},
		"a GPT": {"label: gpt\nstart=64, size=100, name=boot\nstart=200, size=600, name=rootfs\n", "gpt", firmware.Proven,
			[]string{"64+100 0fc63daf-8483-4772-8e79-3d69d8477de4", "200+600 0fc63daf-8483-4772-8e79-3d69d8477de4"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := write(t, t.TempDir(), "disk", make([]byte, 1<<20))
			pipe(t, []byte(c.script), "sfdisk", "fdisk", "-q", p)
			b := read(t, p)
			copy(b[64*512:], makeUImage(2, 0, formattest.Noise(5000, 3)))
			copy(b[840*512:], formattest.Noise(512, 7)) // hidden in no partition
			img := formattest.Open(t, b)
			r := img.Regions[0]
			if r.Format != c.format || r.State != c.state || !slices.Equal(partitions(r), c.want) || len(r.Problems) > 0 {
				t.Fatalf("%v %q %q", formattest.Outline(img), partitions(r), r.Problems)
			}
			if u := formattest.First(img, "uimage"); u == nil || u.Offset != 64*512 || u.State != firmware.Proven {
				t.Fatalf("no kernel in its partition: %+v", u)
			}
			if c.format == "gpt" && (img.Tally()[firmware.Opaque] == 0 || !strings.Contains(fmt.Sprint(r.Children[1].Name, r.Children[1].Fields), "boot")) {
				t.Fatalf("tally %v, %+v", img.Tally(), r.Children[1])
			}
		})
	}
}

func TestAGPTWithLargeSectorsIsRead(t *testing.T) {
	b := makeGPT(4096, 40, [2]int{8, 12})
	r := formattest.Open(t, b).Regions[0]
	if r.Format != "gpt" || r.State != firmware.Proven || r.Size != int64(len(b)) || r.Field("sector size") != "4096" {
		t.Fatalf("%+v", r)
	}
}

func TestAWrongPartitionTableIsNamedForWhatIsWrong(t *testing.T) {
	disk := func() []byte { return makeGPT(512, 90, [2]int{40, 49}, [2]int{50, 51}) }
	flip := func(b []byte, at int) []byte { b[at] ^= 1; return b }
	looping := makeMBR(40, [3]int64{5, 10, 20})
	clear(looping[10*512:])
	putMBR(looping[10*512:], [3]int64{0x83, 1, 2}, [3]int64{5, 5, 10})
	putMBR(looping[15*512:], [3]int64{0x83, 1, 2}, [3]int64{5, 2, 10})
	for name, c := range map[string]struct {
		image   []byte
		format  string
		problem string
		parts   int
	}{
		"a changed array":                  {flip(disk(), 1024+128+32), "gpt", "are those of the backup table", 2},
		"a changed backup array":           {flip(disk(), 57*512), "gpt", "the backup table in sector 89 is not there or does not hold", 2},
		"a backup that is cut off":         {disk()[:60*512], "gpt", "the disk ends at", 2},
		"a header that does not hold":      {flip(disk(), 512+60), "mbr", "no GPT header holds", 0},
		"partitions that overlap":          {makeMBR(20, [3]int64{0x83, 2, 10}, [3]int64{0x83, 8, 6}), "mbr", "overlaps what is before it", 1},
		"a partition past the end":         {makeMBR(20, [3]int64{0x83, 2, 10}, [3]int64{0x83, 900, 6}), "mbr", "starts at 0x70800", 1},
		"a partition that is cut":          {makeMBR(20, [3]int64{0x83, 2, 1000}), "mbr", "its partitions end at", 1},
		"an extended table that loops":     {looping, "mbr", "leads back", 2},
		"an extended table that is none":   {makeMBR(40, [3]int64{5, 10, 20}), "mbr", "holds none", 0},
		"an extended table past the image": {makeMBR(40, [3]int64{0x83, 2, 3}, [3]int64{5, 4_000_000_000, 20}), "mbr", "extended table at sector 4000000000", 1},
	} {
		r := formattest.Survives(t, name, c.image).Regions[0]
		if r.Format != c.format || r.State == firmware.Proven || !strings.Contains(problems(r), c.problem) || len(partitions(r)) != c.parts {
			t.Errorf("%s: %s %s, partitions %q, problems %q", name, r.Format, r.State, partitions(r), r.Problems)
		}
	}
}

func TestABootSectorWithoutTableIsNoMBR(t *testing.T) {
	for name, fill := range map[string]byte{"code": 0x31, "nothing": 0} {
		b := bytes.Repeat([]byte{fill}, 4096)
		copy(b[510:], "\x55\xaa")
		if r := formattest.First(formattest.Survives(t, name, b), "mbr"); r != nil {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

func TestTablesOfOtherProjectsAreRead(t *testing.T) {
	if _, err := os.Stat(corpus); err != nil {
		t.Skipf("no sample collection at %s", corpus)
	}
	for name, want := range map[string]string{
		"binwalk/mbr.bin": "0x0+0x1400 mbr parsed",
		"trx/trx.img":     "0x0+0x1000 trx proven",
	} {
		if got := formattest.Outline(formattest.Open(t, read(t, filepath.Join(corpus, name)))); !slices.Equal(got, []string{want}) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
