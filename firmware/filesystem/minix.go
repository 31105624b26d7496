package filesystem

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"assay/firmware"
	"assay/firmware/budget"
)

func init() {
	var magics []firmware.Magic
	for magic := range minixMagics {
		magics = append(magics, minixMagic(minixSuperAt+16, magic, 0, 1, 2, 3)...)
	}
	magics = append(magics, minixMagic(minixSuperAt+24, minix3Magic, 0)...)
	firmware.Register(firmware.Format{
		Name:         "minix",
		Source:       "kernel include/uapi/linux/minix_fs.h, fs/minix; util-linux disk-utils/mkfs.minix.c",
		About:        "MINIX file system",
		Integrity:    "none",
		Authenticity: "none",
		Magics:       magics,
		Parse:        parseMinix,
	})
}

// minixMagic is a magic in both byte orders.
// minixMagic is in both byte orders, with the 16 bits behind it that say little:
// the state of versions 1 and 2, and padding in version 3.
func minixMagic(at int64, magic uint16, behind ...uint16) (list []firmware.Magic) {
	for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
		for _, v := range behind {
			list = append(list, firmware.Magic{Offset: at, Bytes: string(order.AppendUint16(order.AppendUint16(nil, magic), v))})
		}
	}
	return list
}

// ErrNotMinix says that there is no sane MINIX superblock.
var ErrNotMinix = errors.New("no MINIX superblock")

const (
	minixSuperAt = 1024
	minix3Magic  = 0x4d5a
	minixRoot    = 1
	minixClean   = 1
	minixErrors  = 2
)

// minixMagics are those of versions 1 and 2, with the longest name.
var minixMagics = map[uint16]struct{ version, name int }{
	0x137f: {1, 14}, 0x138f: {1, 30}, 0x2468: {2, 14}, 0x2478: {2, 30},
}

// Minix is a MINIX file system of version 1, 2 or 3, in either byte order, as
// kernels of the same byte order write it. It may be used from several
// goroutines.
type Minix struct {
	tree
	Version   int
	BigEndian bool
	Size      int64 // bytes, as the superblock says
	Survey    *Survey

	order                 binary.ByteOrder
	r                     io.ReaderAt
	there                 uint64 // blocks that are there
	meter                 *budget.Meter
	dirs                  *listings
	block                 int64
	name                  int // bytes of the longest
	inodes, zones         uint64
	inodeMap, zoneMap     uint64 // blocks of the bitmaps
	first                 uint64 // block of data
	state                 uint16
	freeInodes, freeZones uint64
	shared                bool // blocks belong to more than one file
}

// NewMinix reads the superblock, walks all directories and the block maps of all
// files and compares the bitmaps with them. What is wrong is in the survey's
// problems.
//
// The error wraps ErrNotMinix when there is no sane superblock with a root; it is
// of the budget, of ctx or of r otherwise, and what was read before is beside
// it.
func NewMinix(ctx context.Context, r io.ReaderAt, size int64, meter *budget.Meter) (*Minix, error) {
	if size < 2*minixSuperAt {
		return nil, fmt.Errorf("%w: %d bytes are too few", ErrNotMinix, size)
	}
	p := make([]byte, 32)
	if err := readFull(r, p, minixSuperAt); err != nil {
		return nil, err
	}
	m := &Minix{r: r, meter: meter, Survey: &Survey{}}
	if !m.parseSuper(p, binary.LittleEndian) && !m.parseSuper(p, binary.BigEndian) {
		return nil, ErrNotMinix
	}
	m.there = min(m.zones, uint64(size/m.block))
	root, err := m.inode(minixRoot)
	if err != nil || !root.is(typeDir) || root.Links < 2 || root.Size > 0 || root.length == 0 || root.length%int64(m.record()) != 0 {
		return nil, fmt.Errorf("%w: there is no root", ErrNotMinix)
	}
	m.dirs = newListings(meter, func(number uint64) (node, error) { return m.inode(number) })
	m.tree = tree{root: func() (node, error) { return m.inode(minixRoot) }, meter: meter}
	if m.there < m.zones {
		m.Survey.problem("%d blocks of %d bytes are said and %d are there: the image is cut short", m.zones, m.block, m.there)
	}
	if m.Version < 3 && m.state&minixClean == 0 {
		m.Survey.problem("it was not unmounted cleanly (state %#x)", m.state)
	}
	if m.Version < 3 && m.state&minixErrors != 0 {
		m.Survey.problem("its own record says that errors were found in it (state %#x)", m.state)
	}
	w := &minixWalk{m: m, ctx: ctx, seen: make(map[uint64]*extSeen)}
	err = w.run(root)
	meter.Release(w.held)
	if errors.Is(err, errExtOverlap) {
		m.Survey.problem("%v", err)
		err = nil
	}
	if fatal(ctx, err) {
		return m, fmt.Errorf("minix: %w", err)
	} else if err != nil {
		m.Survey.problem("%v", err)
	}
	return m, nil
}

// parseSuper reads a superblock in one byte order and tells whether it is one:
// its magic has two bytes, so that the rest has to fit.
func (m *Minix) parseSuper(p []byte, order binary.ByteOrder) bool {
	half := func(off int) uint64 { return uint64(order.Uint16(p[off:])) }
	m.order, m.BigEndian = order, order == binary.ByteOrder(binary.BigEndian)
	logZone, most := uint64(0), uint32(0)
	if known, ok := minixMagics[order.Uint16(p[16:])]; ok {
		m.Version, m.name, m.block = known.version, known.name, 1024
		m.inodes, m.zones = half(0), half(2)
		m.inodeMap, m.zoneMap, m.first, logZone = half(4), half(6), half(8), half(10)
		m.state, most = uint16(half(18)), order.Uint32(p[12:])
		if m.Version == 2 {
			m.zones = uint64(order.Uint32(p[20:]))
		}
	} else if order.Uint16(p[24:]) == minix3Magic {
		m.Version, m.name, m.block = 3, 60, int64(half(28))
		m.inodes, m.zones = uint64(order.Uint32(p)), uint64(order.Uint32(p[20:]))
		m.inodeMap, m.zoneMap, m.first, logZone = half(6), half(8), half(10), half(12)
		most = order.Uint32(p[16:])
	} else {
		return false
	}
	bits := 8 * uint64(m.block)
	if m.block < 1024 || !powerOf2(m.block) || m.inodes == 0 || logZone != 0 || most == 0 || m.state > minixClean|minixErrors || m.zones <= m.first {
		return false
	}
	table := (m.inodes*uint64(m.inodeSize()) + uint64(m.block) - 1) / uint64(m.block)
	needInodes, needZones := m.inodes/bits+1, (m.zones-m.first)/bits+1
	m.Size = int64(m.zones) * m.block
	// A block more of a bitmap than is needed is what some programs make.
	return m.inodeMap >= needInodes && m.inodeMap <= needInodes+1 && m.zoneMap >= needZones && m.zoneMap <= needZones+1 &&
		m.first >= 2+m.inodeMap+m.zoneMap+table && m.first <= 3+m.inodeMap+m.zoneMap+table
}

func (m *Minix) inodeSize() int64 {
	if m.Version == 1 {
		return 32
	}
	return 64
}

// record is the size of a directory's entries.
func (m *Minix) record() int {
	if m.Version == 3 {
		return m.name + 4
	}
	return m.name + 2
}

func parseMinix(w *firmware.Window) (*firmware.Region, error) {
	m, err := NewMinix(w.Context(), w, w.Size(), w.Meter())
	if errors.Is(err, ErrNotMinix) {
		return nil, fmt.Errorf("%w: %w", firmware.ErrNotFormat, err)
	}
	if m == nil {
		return nil, err
	}
	r := &firmware.Region{Format: "minix", Size: min(m.Size, w.Size()), State: firmware.Parsed, Role: firmware.RoleData, FS: m}
	r.AddField("version", "%d", m.Version)
	r.AddField("byte order", "%s", map[bool]string{false: "little endian", true: "big endian"}[m.BigEndian])
	r.AddField("longest name", "%d", m.name)
	r.AddField("block size", "%d", m.block)
	if m.BigEndian {
		r.AddField("blocks", "%d; the bitmaps, whose order depends on the unit's processor, are not compared", m.zones)
		r.AddField("inodes", "%d", m.inodes)
	} else {
		r.AddField("blocks", "%d, %d of them free", m.zones, m.freeZones)
		r.AddField("inodes", "%d, %d of them free", m.inodes, m.freeInodes)
	}
	m.Survey.describe(r)
	if looksLikeRoot(m) {
		r.Role = firmware.RoleRootFS
	}
	if err != nil {
		r.AddProblem("not read to its end: %v", err)
		return r, err
	}
	if len(r.Problems) == 0 && !m.BigEndian {
		r.State = firmware.Proven
	}
	return r, nil
}
