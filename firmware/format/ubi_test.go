package format_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"assay/firmware"
	"assay/firmware/internal/formattest"
)

const (
	tinyPEB  = 4096
	tinyData = 128 // offset of data in a block of the handmade image
	tinyLEB  = tinyPEB - tinyData
)

func sealUBI(h []byte) { binary.BigEndian.PutUint32(h[60:], ^crc32.ChecksumIEEE(h[:60])) }

// ubiBlock is a PEB with the headers of a LEB.
func ubiBlock(kind byte, volume, number, blocks uint32, sequence uint64, data []byte) []byte {
	be := binary.BigEndian
	p := bytes.Repeat([]byte{0xff}, tinyPEB)
	clear(p[:tinyData])
	copy(p, "UBI#\x01")
	be.PutUint64(p[8:], 3)
	be.PutUint32(p[16:], 64)
	be.PutUint32(p[20:], tinyData)
	be.PutUint32(p[24:], 0x5eed)
	sealUBI(p)
	v := p[64:]
	copy(v, "UBI!\x01")
	v[5] = kind
	be.PutUint32(v[8:], volume)
	be.PutUint32(v[12:], number)
	if kind == 2 {
		be.PutUint32(v[20:], uint32(len(data)))
		be.PutUint32(v[24:], blocks)
		be.PutUint32(v[32:], ^crc32.ChecksumIEEE(data))
	}
	be.PutUint64(v[40:], sequence)
	sealUBI(v)
	copy(p[tinyData:], data)
	return p
}

// moved makes a block a copy that wear-levelling made, later than another.
func moved(block []byte, sequence uint64, data []byte) []byte {
	be := binary.BigEndian
	p := bytes.Clone(block)
	v := p[64:]
	v[6] = 1
	be.PutUint32(v[20:], uint32(len(data)))
	be.PutUint32(v[32:], ^crc32.ChecksumIEEE(data))
	be.PutUint64(v[40:], sequence)
	sealUBI(v)
	copy(p[tinyData:], data)
	return p
}

func ubiFree() []byte {
	p := ubiBlock(1, 0, 0, 0, 0, nil)
	for i := 64; i < tinyPEB; i++ {
		p[i] = 0xff
	}
	return p
}

type ubiRecord struct {
	kind     byte
	reserved uint32
	name     string
	flags    byte
	updating bool
}

func ubiTable(records ...ubiRecord) []byte {
	be := binary.BigEndian
	var table []byte
	for i := range tinyLEB / 172 {
		p := make([]byte, 172)
		if i < len(records) {
			r := records[i]
			be.PutUint32(p, r.reserved)
			be.PutUint32(p[4:], 1)
			p[12] = r.kind
			if r.updating {
				p[13] = 1
			}
			be.PutUint16(p[14:], uint16(len(r.name)))
			copy(p[16:], r.name)
			p[144] = r.flags
		}
		be.PutUint32(p[168:], ^crc32.ChecksumIEEE(p[:168]))
		table = append(table, p...)
	}
	return table
}

func ubiLayout(records ...ubiRecord) [][]byte {
	table := ubiTable(records...)
	return [][]byte{ubiBlock(1, 0x7fffefff, 0, 0, 1, table), ubiBlock(1, 0x7fffefff, 1, 0, 2, table)}
}

// makeUBI is an image of one static volume whose blocks are out of order.
func makeUBI(testing.TB) []byte {
	payload := makeUImage(2, 0, formattest.Noise(6000, 8))
	blocks := append(ubiLayout(ubiRecord{kind: 2, reserved: 4, name: "kernel"}), ubiFree(),
		ubiBlock(2, 0, 1, 2, 4, payload[tinyLEB:]), ubiBlock(2, 0, 0, 2, 3, payload[:tinyLEB]))
	return bytes.Join(blocks, nil)
}

func init() {
	samples["ubi"] = formattest.Sample{Make: makeUBI, State: firmware.Proven, Role: firmware.RoleContainer, Fuzz: "FuzzUBI"}
}

// volumeOf returns a volume by its name.
func volumeOf(t testing.TB, img *firmware.Image, name string) *firmware.Region {
	t.Helper()
	var found *firmware.Region
	img.Walk(func(_ []*firmware.Region, _ *firmware.Image, r *firmware.Region) error {
		if r.Format == "ubi-volume" && r.Name == name {
			found = r
		}
		return nil
	})
	if found == nil {
		t.Fatalf("no volume %q: %v", name, formattest.Outline(img))
	}
	return found
}

func contents(t testing.TB, r *firmware.Region) []byte {
	t.Helper()
	if r.Contents == nil {
		t.Fatalf("volume %s has no contents: %q", r.Name, r.Problems)
	}
	p, err := io.ReadAll(io.NewSectionReader(r.Contents, 0, r.Contents.Size))
	if err != nil {
		t.Fatal(err)
	}
	if r.Contents.SHA256 != fmt.Sprintf("%x", sha256.Sum256(p)) {
		t.Fatalf("volume %s was hashed as something else", r.Name)
	}
	return p
}

func problems(r *firmware.Region) string { return strings.Join(r.Problems, "\n") }

func TestTheBlocksOfUbinizeInAnyOrderAreItsInput(t *testing.T) {
	kernel, config := makeUImage(2, 0, formattest.Noise(150_000, 31)), formattest.Text(300_000)
	for _, c := range []struct {
		name string
		peb  int
		args []string
	}{
		{"NAND of 2 KiB pages", 128 << 10, []string{"-p", "128KiB", "-m", "2048"}},
		{"NAND with sub-pages", 128 << 10, []string{"-p", "128KiB", "-m", "2048", "-s", "512"}},
		{"NAND of 512 byte pages", 16 << 10, []string{"-p", "16KiB", "-m", "512"}},
		{"NAND of 4 KiB pages", 256 << 10, []string{"-p", "256KiB", "-m", "4096"}},
		{"NOR", 64 << 10, []string{"-p", "64KiB", "-m", "1"}},
		{"a header at a place of its own", 128 << 10, []string{"-p", "128KiB", "-m", "2048", "-O", "512"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, "kernel", kernel)
			write(t, dir, "config", config)
			write(t, dir, "ubi.ini", []byte("[k]\nmode=ubi\nimage=kernel\nvol_id=0\nvol_type=static\nvol_name=kernel\nvol_size=1MiB\n"+
				"[c]\nmode=ubi\nimage=config\nvol_id=3\nvol_type=dynamic\nvol_name=config\nvol_flags=autoresize\nvol_size=1MiB\n"))
			run(t, dir, "ubinize", "mtd-utils", append(c.args, "-o", "ubi.img", "ubi.ini")...)
			straight := read(t, dir, "ubi.img")
			rng := rand.New(rand.NewPCG(2, 3))
			for _, shuffled := range []bool{false, true} {
				b := bytes.Clone(straight)
				if shuffled {
					n := len(b) / c.peb
					var blocks [][]byte
					for i := range n {
						blocks = append(blocks, straight[i*c.peb:(i+1)*c.peb])
					}
					rng.Shuffle(n, func(i, j int) { blocks[i], blocks[j] = blocks[j], blocks[i] })
					erased, bad := bytes.Repeat([]byte{0xff}, c.peb), make([]byte, c.peb)
					blocks = append(blocks[:2:2], append([][]byte{erased, bad, erased}, blocks[2:]...)...)
					b = bytes.Join(blocks, nil)
				}
				img := formattest.Open(t, append(bytes.Clone(b), formattest.Noise(3000, 4)...))
				r := img.Regions[0]
				if r.Format != "ubi" || r.Size != int64(len(b)) || len(r.Problems) > 0 || r.Field("block size") != fmt.Sprint(c.peb) {
					t.Fatalf("shuffled %v: %v %v %q", shuffled, formattest.Outline(img), r.Fields, r.Problems)
				}
				k := volumeOf(t, img, "kernel")
				if got := contents(t, k); !bytes.Equal(got, kernel) || k.State != firmware.Proven || k.Field("type") != "static" || k.Role != firmware.RoleKernel || k.Contents.Regions[0].Format != "uimage" {
					t.Fatalf("kernel of %d bytes: %+v", len(got), k)
				}
				d := volumeOf(t, img, "config")
				got := contents(t, d)
				if !bytes.HasPrefix(got, config) || len(bytes.Trim(got[len(config):], "\xff")) > 0 || d.State != firmware.Parsed || d.Field("flag") != "auto-resize" || d.Field("volume") != "3" {
					t.Fatalf("config of %d bytes: %+v", len(got), d)
				}
				if shuffled && (r.Field("bad blocks") != "3" || r.Field("erased blocks") != "2 4") {
					t.Fatalf("fields %v", r.Fields)
				}
			}
		})
	}
}

func TestTheNewestValidCopyOfALEBCounts(t *testing.T) {
	table := ubiLayout(ubiRecord{kind: 1, reserved: 9, name: "v"})
	old, young := formattest.Text(500), formattest.Noise(500, 5)
	block := func(sequence uint64, data []byte) []byte { return ubiBlock(1, 0, 0, 0, sequence, data) }
	torn := moved(block(0, nil), 9, young)
	torn[tinyData+100] ^= 1
	for name, c := range map[string]struct {
		blocks  [][]byte
		want    []byte
		problem string
	}{
		"the later of two writes":       {[][]byte{block(7, young), block(5, old)}, young, ""},
		"the later of two, behind":      {[][]byte{block(5, old), block(7, young)}, young, ""},
		"a whole copy":                  {[][]byte{block(5, old), moved(block(0, nil), 9, young)}, young, ""},
		"not a torn copy":               {[][]byte{torn, block(5, old)}, old, ""},
		"a torn copy without original":  {[][]byte{torn}, torn[tinyData : tinyData+500], "there is no older copy"},
		"the first of two that are one": {[][]byte{block(5, old), block(5, young)}, old, "the same sequence number 5"},
	} {
		img := formattest.Open(t, bytes.Join(append(bytes2(table), c.blocks...), nil))
		r := img.Regions[0]
		if got := contents(t, volumeOf(t, img, "v")); !bytes.HasPrefix(got, c.want) || len(got) != tinyLEB {
			t.Errorf("%s: the other bytes", name)
		}
		if c.problem == "" && len(r.Problems) > 0 || !strings.Contains(problems(r), c.problem) {
			t.Errorf("%s: problems %q", name, r.Problems)
		}
		if len(c.blocks) == 2 && r.Field("blocks with older copies") == "" {
			t.Errorf("%s: fields %v", name, r.Fields)
		}
	}
}

// bytes2 is a copy that appending does not reach through.
func bytes2(blocks [][]byte) [][]byte { return append([][]byte(nil), blocks...) }

func TestAWrongUBIIsReadAsFarAsItIsRight(t *testing.T) {
	static := ubiRecord{kind: 2, reserved: 4, name: "s"}
	dynamic := ubiRecord{kind: 1, reserved: 20_000_000, name: "d"}
	data := formattest.Text(tinyLEB)
	lebs := func(kind byte, numbers ...uint32) (blocks [][]byte) {
		for _, n := range numbers {
			blocks = append(blocks, ubiBlock(kind, 0, n, 3, uint64(n)+3, data))
		}
		return blocks
	}
	with := func(layout [][]byte, blocks ...[]byte) []byte {
		return bytes.Join(append(bytes2(layout), blocks...), nil)
	}
	flip := func(b []byte, at int) []byte { b[at] ^= 1; return b }
	for name, c := range map[string]struct {
		image   []byte
		problem string
		size    int64 // of the volume's contents
	}{
		"a missing LEB of a static volume":    {with(ubiLayout(static), lebs(2, 0, 2)...), "1 LEBs are not mapped and read as 0xFF: 1", 3 * tinyLEB},
		"a missing LEB at a static end":       {with(ubiLayout(static), lebs(2, 0, 1)...), "LEBs 2 to 2 of the static volume are missing", 2 * tinyLEB},
		"missing LEBs of a dynamic volume":    {with(ubiLayout(dynamic), lebs(1, 0, 4, 6)...), "4 LEBs are not mapped and read as 0xFF: 1-3 5", 7 * tinyLEB},
		"changed data of a static volume":     {flip(with(ubiLayout(static), lebs(2, 0, 1, 2)...), 2*tinyPEB+tinyData+9), "LEB 0 in block 2", 3 * tinyLEB},
		"a LEB number of 19 million":          {with(ubiLayout(dynamic), lebs(1, 0, 19_000_000)...), "its highest LEB is 19000000", -1},
		"more LEBs than are reserved":         {with(ubiLayout(static), lebs(2, 0, 1, 2, 9)...), "LEBs from 9 on are left out", 3 * tinyLEB},
		"one broken copy of the table":        {flip(with(ubiLayout(static), lebs(2, 0, 1, 2)...), tinyData+3), "1 records of copy 1 of the volume table do not hold", 3 * tinyLEB},
		"a table without its second copy":     {with(ubiLayout(static)[:1], lebs(2, 0, 1, 2)...), "copy 2 of the volume table is not there", 3 * tinyLEB},
		"tables that differ":                  {with([][]byte{ubiLayout(static)[0], ubiLayout(dynamic)[1]}, lebs(2, 0, 1, 2)...), "copies of the volume table differ", 3 * tinyLEB},
		"no table":                            {with(nil, lebs(2, 0, 1, 2)...), "without their names", 3 * tinyLEB},
		"a volume that the table has not":     {with(ubiLayout(ubiRecord{}), lebs(2, 0, 1, 2)...), "which the volume table does not have", 3 * tinyLEB},
		"a volume of another type":            {with(ubiLayout(ubiRecord{kind: 1, reserved: 4, name: "s"}), lebs(2, 0, 1, 2)...), "says type 2", 3 * tinyLEB},
		"an update that was not finished":     {with(ubiLayout(ubiRecord{kind: 2, reserved: 4, name: "s", updating: true}), lebs(2, 0, 1, 2)...), "was not finished", 3 * tinyLEB},
		"an erase counter that is lost":       {flip(with(ubiLayout(static), lebs(2, 0, 1, 2)...), 3*tinyPEB+9), "headers of blocks 3 do not hold", 3 * tinyLEB},
		"a volume header that is lost":        {flip(with(ubiLayout(static), lebs(2, 0, 1, 2)...), 4*tinyPEB+64+9), "headers of blocks 4 do not hold", 2 * tinyLEB},
		"a last block that is cut short":      {with(ubiLayout(static), lebs(2, 0, 1, 2)...)[:5*tinyPEB-1000], "cut short by 1000 bytes", 3 * tinyLEB},
		"a data size that is more than a LEB": {with(ubiLayout(static), moved(lebs(2, 0)[0], 1, make([]byte, 1))), "LEBs 1 to 2", 1},
	} {
		t.Run(name, func(t *testing.T) {
			img := formattest.Survives(t, name, c.image)
			r := img.Regions[0]
			all := problems(r)
			size := int64(-1)
			for _, v := range r.Children {
				all += "\n" + problems(v)
				if v.Contents != nil {
					size = v.Contents.Size
				}
			}
			if r.Format != "ubi" || r.State == firmware.Proven || !strings.Contains(all, c.problem) || size != c.size {
				t.Errorf("%s, contents of %d bytes: %v\n%s", r.State, size, formattest.Outline(img), all)
			}
		})
	}
}

func TestALoneEraseCounterIsNoUBI(t *testing.T) {
	r := formattest.Survives(t, "one block", append(ubiFree(), formattest.Noise(9000, 2)...)).Regions[0]
	if r.Format != "ubi" || r.State != firmware.Opaque || r.Size != 64 || len(r.Problems) != 1 {
		t.Errorf("%+v", r)
	}
}

func TestTwoUBIImagesBehindEachOtherAreTwo(t *testing.T) {
	one, two := makeUBI(t), makeUBI(t)
	for at := 0; at < len(two); at += tinyPEB {
		two[at+24] ^= 0x55
		sealUBI(two[at:])
	}
	img := formattest.Open(t, append(append(one, bytes.Repeat([]byte{0xff}, 2*tinyPEB)...), two...))
	if len(img.Regions) != 3 || img.Regions[0].State != firmware.Proven || img.Regions[2].State != firmware.Proven || img.Regions[2].Format != "ubi" {
		t.Errorf("%v", formattest.Outline(img))
	}
}

func TestUBIInUBIEndsWithTheDepth(t *testing.T) {
	b := formattest.Text(100)
	for range 20 {
		var blocks [][]byte
		n := uint32((len(b) + tinyLEB - 1) / tinyLEB)
		for i := range n {
			blocks = append(blocks, ubiBlock(2, 0, i, n, uint64(i), b[i*tinyLEB:min(uint32(len(b)), (i+1)*tinyLEB)]))
		}
		b = bytes.Join(append(ubiLayout(ubiRecord{kind: 2, reserved: n, name: "inner"}), blocks...), nil)
	}
	formattest.Survives(t, "nested", b)
}
