package filesystem

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"assay/firmware"
	"assay/firmware/budget"
)

func init() {
	firmware.Register(firmware.Format{
		Name:         "erofs",
		Source:       "kernel fs/erofs/erofs_fs.h, fs/erofs/zmap.c, Documentation/filesystems/erofs.rst",
		About:        "enhanced read-only file system",
		Integrity:    "CRC-32C of the superblock",
		Authenticity: "none",
		Magics:       []firmware.Magic{{Offset: erofsSuperAt, Bytes: "\xe2\xe1\xf5\xe0"}},
		Parse:        parseEROFS,
	})
}

// ErrNotEROFS says that there is no sane EROFS superblock.
var ErrNotEROFS = errors.New("no EROFS superblock")

const (
	erofsMagic     = 0xe0f5e1e2
	erofsSuperAt   = 1024
	erofsSuperSize = 128
	erofsSlot      = 32 // bytes that an inode's number counts

	// Compatible features.
	erofsSummed = 0x1

	// Incompatible features.
	erofsZeroPadding = 0x1
	erofsConfigs     = 0x2 // of compression, and pclusters of many blocks
	erofsDevices     = 0x8 // or a second algorithm
	erofsFragments   = 0x20
	erofsReadable    = 0x7f
)

var erofsFeatures = [2][]struct {
	bit  uint32
	name string
}{
	{{erofsSummed, "superblock checksum"}, {0x2, "times of files"}, {0x4, "filter of attributes"}},
	{{erofsZeroPadding, "zeros in front of packed data"}, {erofsConfigs, "large clusters"}, {0x4, "chunks"}, {erofsDevices, "devices or a second algorithm"},
		{0x10, "packed tails in inodes"}, {erofsFragments, "fragments or deduplication"}, {0x40, "prefixes of attributes"}, {0x80, "48 bits"}, {0x100, "compressed inodes"}},
}

var erofsAlgorithms = [...]string{"LZ4", "LZMA", "DEFLATE", "Zstandard"}

// EROFS is a read-only file system of plain or compressed files. It may be used
// from several goroutines.
type EROFS struct {
	tree
	Size   int64 // bytes, as the superblock says
	Label  string
	Survey *Survey

	r                        io.ReaderAt
	there                    int64 // bytes that are there
	meter                    *budget.Meter
	dirs                     *listings
	compatible, incompatible uint32
	bits                     uint // of the block size
	root, packed             uint64
	inodes                   uint64
	built                    time.Time
	meta                     int64 // bytes in front of inode 0
	devices                  int
	algorithms               uint16
	uuid                     [16]byte
	sum, declared            uint32
	shared                   bool // the files have more bytes than there are: blocks are those of many
	lost                     bool // files cannot be read: the features are not known
	stored                   int64
	layouts                  [erofsLayouts]int
}

// NewEROFS reads the superblock and walks all directories and the maps of all
// files; it does not unpack them. What is wrong is in the survey's problems.
//
// The error wraps ErrNotEROFS when there is no sane superblock; it is of the
// budget, of ctx or of r otherwise, and what was read before is beside it.
func NewEROFS(ctx context.Context, r io.ReaderAt, size int64, meter *budget.Meter) (*EROFS, error) {
	if size < erofsSuperAt+erofsSuperSize {
		return nil, fmt.Errorf("%w: %d bytes are too few", ErrNotEROFS, size)
	}
	p := make([]byte, erofsSuperSize)
	if err := readFull(r, p, erofsSuperAt); err != nil {
		return nil, err
	}
	e := &EROFS{r: r, meter: meter, Survey: &Survey{}}
	if err := e.parseSuper(p); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotEROFS, err)
	}
	e.there = min(e.Size, size)
	e.dirs = newListings(meter, func(number uint64) (node, error) { return e.inode(number) })
	e.tree = tree{root: func() (node, error) { return e.inode(e.root) }, meter: meter}
	if e.there < e.Size {
		e.Survey.problem("%d bytes are said and %d are there: the image is cut short", e.Size, e.there)
	}
	if err := e.verify(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotEROFS, err)
	}
	if unknown := e.incompatible &^ erofsReadable; unknown != 0 {
		e.lost = true
		e.Survey.problem("features that this reader does not know: %s; files are not read", erofsNames(1, unknown))
		return e, nil
	}
	w := &erofsWalk{e: e, ctx: ctx, seen: make(map[uint64]*erofsSeen)}
	if err := w.run(); fatal(ctx, err) {
		return e, fmt.Errorf("erofs: %w", err)
	} else if err != nil {
		e.Survey.problem("%v", err)
	}
	return e, nil
}

func (e *EROFS) parseSuper(p []byte) error {
	le := binary.LittleEndian
	word := func(off int) uint32 { return le.Uint32(p[off:]) }
	if word(0) != erofsMagic {
		return errors.New("no magic")
	}
	e.declared, e.compatible, e.bits = word(4), word(8), uint(p[12])
	e.root, e.inodes = uint64(le.Uint16(p[14:])), le.Uint64(p[16:])
	e.built = time.Unix(int64(le.Uint64(p[24:])), int64(word(32))).UTC()
	copy(e.uuid[:], p[48:])
	e.Label = extText(p[64:80])
	e.incompatible, e.algorithms, e.devices, e.packed = word(80), le.Uint16(p[84:]), int(le.Uint16(p[86:])), le.Uint64(p[96:])
	blocks, meta := int64(word(36)), int64(word(40))
	switch {
	case e.bits < 9 || e.bits > 16:
		return fmt.Errorf("blocks of 2^%d bytes", e.bits)
	case p[90] != 0:
		return fmt.Errorf("blocks of directories of 2^%d blocks", p[90])
	case blocks == 0 || meta > blocks:
		return fmt.Errorf("inodes from block %d of %d on", meta, blocks)
	case le.Uint64(p[24:]) > 1<<40 || word(32) >= 1e9:
		return errors.New("a time that is none")
	case e.inodes == 0 || e.inodes > uint64(blocks)<<e.bits/erofsSlot && e.incompatible&^erofsReadable == 0:
		return fmt.Errorf("%d inodes in %d blocks", e.inodes, blocks)
	}
	e.Size, e.meta = blocks<<e.bits, meta<<e.bits
	if e.incompatible&erofsConfigs == 0 {
		e.algorithms = 0 // it is the largest distance of LZ4
	}
	return nil
}

// verify computes the superblock's checksum, which is over the rest of its
// block. A superblock with another one is believed only when nothing else is
// wrong with what it leads to.
func (e *EROFS) verify() error {
	if e.compatible&erofsSummed == 0 {
		return nil
	}
	length := int64(1) << e.bits
	if length > erofsSuperAt {
		length -= erofsSuperAt
	}
	if erofsSuperAt+length > e.there {
		return fmt.Errorf("its block of %d bytes is not there", 1<<e.bits)
	}
	p := make([]byte, length)
	if err := readFull(e.r, p, erofsSuperAt); err != nil {
		return err
	}
	clear(p[4:8])
	if e.sum = extCRC(^uint32(0), p); e.sum != e.declared {
		e.Survey.problem("the superblock's CRC-32C is %08x, and it says %08x", e.sum, e.declared)
	}
	return nil
}

func erofsNames(set int, bits uint32) string {
	var names []string
	for _, f := range erofsFeatures[set] {
		if bits&f.bit != 0 {
			names = append(names, f.name)
			bits &^= f.bit
		}
	}
	if bits != 0 {
		names = append(names, fmt.Sprintf("unknown %#x", bits))
	}
	return strings.Join(names, ", ")
}

func parseEROFS(w *firmware.Window) (*firmware.Region, error) {
	e, err := NewEROFS(w.Context(), w, w.Size(), w.Meter())
	if errors.Is(err, ErrNotEROFS) {
		return nil, fmt.Errorf("%w: %w", firmware.ErrNotFormat, err)
	}
	if e == nil {
		return nil, err
	}
	r := &firmware.Region{Format: "erofs", Name: e.Label, Size: e.there, State: firmware.Parsed, Role: firmware.RoleData}
	e.describe(r)
	if err != nil {
		r.AddProblem("not read to its end: %v", err)
	}
	if e.lost {
		return r, err
	}
	r.FS = e
	if looksLikeRoot(e) {
		r.Role = firmware.RoleRootFS
	}
	if len(r.Problems) == 0 {
		r.State = firmware.Proven
	}
	return r, err
}

func (e *EROFS) describe(r *firmware.Region) {
	h := hex.EncodeToString(e.uuid[:])
	r.AddField("UUID", "%s", strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-"))
	r.AddField("block size", "%d", 1<<e.bits)
	r.AddField("compatible features", "%s", erofsNames(0, e.compatible))
	r.AddField("incompatible features", "%s", erofsNames(1, e.incompatible))
	var names []string
	for i, name := range erofsAlgorithms {
		if e.algorithms>>i&1 != 0 {
			names = append(names, name)
		}
	}
	if e.algorithms == 0 && e.layouts[erofsFull]+e.layouts[erofsCompact] > 0 {
		names = append(names, erofsAlgorithms[0]) // the only one of images that do not say
	}
	r.AddField("compression", "%s", strings.Join(names, ", "))
	r.AddField("built", "%s", e.built.Format("2006-01-02 15:04:05 UTC"))
	r.AddField("inodes", "%d", e.inodes)
	for i, n := range e.layouts {
		if n > 0 {
			r.AddField("inodes of layout "+erofsLayoutNames[i], "%d", n)
		}
	}
	if e.compatible&erofsSummed != 0 {
		r.AddCheck("CRC-32C of the superblock", e.sum == e.declared, "computed %08x, declared %08x; inodes and files are not covered", e.sum, e.declared)
	}
	e.Survey.describe(r)
}
