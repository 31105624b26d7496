package filesystem

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"strings"

	"assay/firmware"
	"assay/firmware/budget"
)

func init() {
	firmware.Register(firmware.Format{
		Name:         "fat",
		Source:       "Microsoft FAT32 File System Specification 1.03 (fatgen103); kernel fs/fat",
		About:        "FAT file system of 12, 16 or 32 bits",
		Integrity:    "none; its copies of the table are compared",
		Authenticity: "none",
		Magics: []firmware.Magic{
			{Offset: 54, Bytes: "FAT12   "}, {Offset: 54, Bytes: "FAT16   "}, {Offset: 82, Bytes: "FAT32   "}, {Offset: 510, Bytes: "\x55\xaa"},
		},
		Parse: parseFAT,
	})
}

// ErrNotFAT says that there is no boot sector of a FAT file system.
var ErrNotFAT = errors.New("no boot sector of a FAT file system")

const (
	fatSector = 512
	fatEntry  = 32 // bytes of a directory entry
)

// FAT is a FAT12, FAT16 or FAT32 file system with long names. It has no owners,
// links, permissions or time zone: modes are what Linux shows for it. It may be
// used from several goroutines.
type FAT struct {
	tree
	Bits   int   // 12, 16 or 32
	Size   int64 // bytes, as the boot sector says
	Label  string
	Survey *Survey

	boot    fatBoot
	r       io.ReaderAt
	there   int64 // bytes that are there
	meter   *budget.Meter
	dirs    *listings
	deleted int // entries of directories
	free    int64
	said    string // free clusters by the hint of a FAT32
	damaged int64  // clusters that are marked as bad
	shared  bool   // clusters belong to more than one file
	agree   bool   // the copies of the table
}

// fatBoot is the boot sector's BIOS parameter block.
type fatBoot struct {
	oem                             string
	sector, cluster                 int64 // bytes
	reserved, tableSize, total      int64 // sectors
	tables, rootEntries             int
	active                          int // the table that counts
	mirrored                        bool
	media, flags                    byte
	rootCluster, infoSector, backup uint32
	serial                          uint32
	label                           string
	tableAt, rootAt, dataAt         int64 // bytes
	clusters                        int64
	hidden                          uint32
}

func parseFATBoot(p []byte) (b fatBoot, bits int, err error) {
	le := binary.LittleEndian
	b = fatBoot{
		oem: strings.TrimRight(extText(p[3:11]), " "), sector: int64(le.Uint16(p[11:])), reserved: int64(le.Uint16(p[14:])), tables: int(p[16]), rootEntries: int(le.Uint16(p[17:])),
		total: int64(le.Uint16(p[19:])), media: p[21], tableSize: int64(le.Uint16(p[22:])), hidden: le.Uint32(p[28:]), mirrored: true,
	}
	if b.total == 0 {
		b.total = int64(le.Uint32(p[32:]))
	}
	extended := p[36:]
	if b.tableSize == 0 {
		bits, b.tableSize = 32, int64(le.Uint32(p[36:]))
		if mode := le.Uint16(p[40:]); mode&0x80 != 0 {
			b.mirrored, b.active = false, int(mode&15)
		}
		b.rootCluster, b.infoSector, b.backup = le.Uint32(p[44:]), uint32(le.Uint16(p[48:])), uint32(le.Uint16(p[50:]))
		extended = p[64:]
	}
	b.flags = extended[1]
	if extended[2] == 0x28 || extended[2] == 0x29 {
		b.serial = le.Uint32(extended[3:])
		b.label = strings.TrimRight(extText(extended[7:18]), " ")
	}
	b.cluster = b.sector * int64(p[13])
	jump := p[0] == 0xeb && p[2] == 0x90 || p[0] == 0xe9
	switch {
	case string(p[510:512]) != "\x55\xaa" || !jump:
		err = errors.New("no jump or no signature")
	case b.sector < fatSector || b.sector > 4096 || !powerOf2(b.sector) || !powerOf2(int64(p[13])):
		err = fmt.Errorf("clusters of %d sectors of %d bytes", p[13], b.sector)
	case b.reserved == 0 || b.tables < 1 || b.tables > 2 || b.active >= b.tables || b.tableSize == 0:
		err = fmt.Errorf("%d tables of %d sectors behind %d", b.tables, b.tableSize, b.reserved)
	case b.media != 0xf0 && b.media < 0xf8:
		err = fmt.Errorf("media %#x", b.media)
	case (bits == 32) != (b.rootEntries == 0) || int64(b.rootEntries)*fatEntry%b.sector != 0:
		err = fmt.Errorf("a root of %d entries", b.rootEntries)
	}
	if err != nil {
		return b, 0, err
	}
	b.tableAt = b.reserved * b.sector
	b.rootAt = b.tableAt + int64(b.tables)*b.tableSize*b.sector
	b.dataAt = b.rootAt + int64(b.rootEntries)*fatEntry
	b.clusters = (b.total*b.sector - b.dataAt) / b.cluster
	if bits == 0 {
		// Linux and the specification: the number of clusters tells them apart.
		if bits = 16; b.clusters < 4085 {
			bits = 12
		}
	}
	switch {
	case b.clusters < 1 || bits == 16 && b.clusters > 65524 || b.clusters > 0x0ffffff5:
		err = fmt.Errorf("%d clusters of FAT%d", b.clusters, bits)
	case b.tableSize*b.sector*8/int64(bits) < b.clusters+2:
		err = fmt.Errorf("a table of %d sectors for %d clusters", b.tableSize, b.clusters)
	case bits == 32 && (int64(b.rootCluster) < 2 || int64(b.rootCluster) > b.clusters+1):
		err = fmt.Errorf("a root at cluster %d", b.rootCluster)
	}
	if b.label == "NO NAME" { // what the specification has for none
		b.label = ""
	}
	return b, bits, err
}

func powerOf2(n int64) bool { return n > 0 && bits.OnesCount64(uint64(n)) == 1 }

// NewFAT reads the boot sector and walks all directories and the chains of
// clusters of all files. What is wrong is in the survey's problems.
//
// The error wraps ErrNotFAT when there is no sane boot sector, or when the table
// does not begin as one does; it is of the budget, of ctx or of r otherwise, and
// what was read before is beside it.
func NewFAT(ctx context.Context, r io.ReaderAt, size int64, meter *budget.Meter) (*FAT, error) {
	if size < fatSector {
		return nil, fmt.Errorf("%w: %d bytes are too few", ErrNotFAT, size)
	}
	p := make([]byte, fatSector)
	if err := readFull(r, p, 0); err != nil {
		return nil, err
	}
	boot, bits, err := parseFATBoot(p)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotFAT, err)
	}
	f := &FAT{boot: boot, Bits: bits, r: r, meter: meter, Size: boot.total * boot.sector, Label: boot.label, Survey: &Survey{}}
	f.there = min(f.Size, size)
	table := f.table(boot.active)
	var marks [2]uint32
	for i := range marks {
		if marks[i], err = table.next(uint32(i)); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrNotFAT, err)
		}
	}
	if want := f.mask()&^0xff | uint32(boot.media); marks[0] != want {
		return nil, fmt.Errorf("%w: the table begins with %#x and not %#x", ErrNotFAT, marks[0], want)
	}
	f.dirs = newListings(meter, f.load)
	f.tree = tree{root: func() (node, error) { return f.load(0) }, meter: meter}
	s := &fatScan{f: f, ctx: ctx, table: table}
	if err := s.run(p, marks[1]); fatal(ctx, err) {
		return f, fmt.Errorf("fat: %w", err)
	} else if err != nil {
		f.Survey.problem("%v", err)
	}
	return f, nil
}

// mask are the bits of a cluster's number.
func (f *FAT) mask() uint32 {
	if f.Bits == 32 {
		return 0x0fffffff // the upper four are not part of it
	}
	return 1<<f.Bits - 1
}

// fatTable reads the numbers of next clusters. It keeps the sectors it read
// last.
type fatTable struct {
	f    *FAT
	at   int64
	have int64
	buf  []byte
}

const fatChunk = 6144 // whole entries of 12, 16 and 32 bits

func (f *FAT) table(i int) *fatTable {
	return &fatTable{f: f, at: f.boot.tableAt + int64(i)*f.boot.tableSize*f.boot.sector, have: -1}
}

// bytes returns a chunk of the table.
func (t *fatTable) bytes(i int64) ([]byte, error) {
	if t.have == i {
		return t.buf, nil
	}
	size := t.f.boot.tableSize * t.f.boot.sector
	at := i * fatChunk
	if at >= size {
		return nil, fmt.Errorf("the table ends at %#x", size)
	}
	buf := make([]byte, min(fatChunk, size-at))
	if err := readFull(t.f.r, buf, t.at+at); err != nil {
		return nil, err
	}
	t.buf, t.have = buf, i
	return buf, nil
}

// next returns what the table says of a cluster.
func (t *fatTable) next(cluster uint32) (uint32, error) {
	bit := int64(cluster) * int64(t.f.Bits)
	chunk, err := t.bytes(bit / 8 / fatChunk)
	if err != nil {
		return 0, err
	}
	at := bit / 8 % fatChunk
	if at+int64(t.f.Bits+7)/8 > int64(len(chunk)) {
		return 0, fmt.Errorf("the table has no cluster %d", cluster)
	}
	le := binary.LittleEndian
	switch t.f.Bits {
	case 12:
		return uint32(le.Uint16(chunk[at:])>>(bit%8)) & 0xfff, nil
	case 16:
		return uint32(le.Uint16(chunk[at:])), nil
	}
	return le.Uint32(chunk[at:]) & 0x0fffffff, nil
}

// What the table says beside the next cluster, below the mask.
const (
	fatBad = 7 // of the last eight numbers
	fatEnd = 8 // this and what is above
)

// isEnd and isBad tell the numbers that are none.
func (f *FAT) isEnd(v uint32) bool { return v >= f.mask()-15+fatEnd }
func (f *FAT) isBad(v uint32) bool { return v == f.mask()-15+fatBad }

func (f *FAT) valid(cluster uint32) bool { return cluster >= 2 && int64(cluster) < f.boot.clusters+2 }

// at is where a cluster is.
func (f *FAT) at(cluster uint32) int64 { return f.boot.dataAt + int64(cluster-2)*f.boot.cluster }

func parseFAT(w *firmware.Window) (*firmware.Region, error) {
	f, err := NewFAT(w.Context(), w, w.Size(), w.Meter())
	if errors.Is(err, ErrNotFAT) {
		return nil, fmt.Errorf("%w: %w", firmware.ErrNotFormat, err)
	}
	if f == nil {
		return nil, err
	}
	r := &firmware.Region{Format: "fat", Name: f.Label, Size: f.there, State: firmware.Parsed, Role: firmware.RoleData, FS: f}
	f.describe(r)
	if looksLikeRoot(f) {
		r.Role = firmware.RoleRootFS
	}
	if err != nil {
		r.AddProblem("not read to its end: %v", err)
		return r, err
	}
	if len(r.Problems) == 0 {
		r.State = firmware.Proven
	}
	return r, nil
}

func (f *FAT) describe(r *firmware.Region) {
	b := f.boot
	r.AddField("kind", "FAT%d", f.Bits)
	r.AddField("made by", "%s", b.oem)
	r.AddField("serial number", "%08x", b.serial)
	r.AddField("sector size", "%d", b.sector)
	r.AddField("cluster size", "%d", b.cluster)
	r.AddField("clusters", "%d, %d of them free", b.clusters, f.free)
	r.AddField("free clusters by its hint", "%s", f.said)
	if f.damaged > 0 {
		r.AddField("bad clusters", "%d", f.damaged)
	}
	if b.hidden > 0 {
		r.AddField("sectors before it", "%d", b.hidden)
	}
	r.AddField("times", "local, in no zone that is said; shown as UTC")
	r.AddField("deleted entries", "%d", f.deleted)
	if b.tables > 1 && b.mirrored {
		r.AddCheck("copies of the table", f.agree, "two tables of %d sectors", b.tableSize)
	}
	f.Survey.describe(r)
}

// sameTables compares the two copies of the table.
func (f *FAT) sameTables(ctx context.Context) (bool, error) {
	one, two := f.table(0), f.table(1)
	size := f.boot.tableSize * f.boot.sector
	for i := int64(0); i*fatChunk < size; i++ {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		p, err := one.bytes(i)
		if err != nil {
			return false, err
		}
		q, err := two.bytes(i)
		if err != nil {
			return false, err
		}
		if !bytes.Equal(p, q) {
			return false, nil
		}
	}
	return true, nil
}
