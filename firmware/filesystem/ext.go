package filesystem

import (
	"context"
	"errors"
	"fmt"
	"io"

	"assay/firmware"
	"assay/firmware/budget"
)

func init() {
	for _, kind := range []string{"ext2", "ext3", "ext4"} {
		firmware.Register(firmware.Format{
			Name:         kind,
			Source:       "kernel Documentation/filesystems/ext4/ (on-disk layout), fs/ext4/ext4.h; e2fsprogs 1.47 lib/ext2fs",
			About:        "Linux file system ext2, ext3 or ext4",
			Integrity:    "CRC-32C of metadata where metadata_csum is set, none of contents",
			Authenticity: "none",
			Magics:       extMagics(),
			Parse:        func(w *firmware.Window) (*firmware.Region, error) { return parseExt(w, kind) },
		})
	}
}

// extMagics are the magic and the state behind it: clean, with errors, with
// orphans, and what the kernel adds to these.
func extMagics() (list []firmware.Magic) {
	for state := range byte(0x40) {
		list = append(list, firmware.Magic{Offset: extSuperAt + 0x38, Bytes: string([]byte{0x53, 0xef, state, 0})})
	}
	return list
}

// Ext is an ext2, ext3 or ext4 file system: block groups with bitmaps and tables
// of inodes, whose files are found by maps of blocks or trees of extents. It may
// be used from several goroutines.
type Ext struct {
	tree
	Kind   string // ext2, ext3 or ext4, by the features in use
	Size   int64  // bytes, as the superblock says
	Label  string
	Survey *Survey

	super   *extSuper
	r       io.ReaderAt
	there   uint64 // blocks that are there
	meter   *budget.Meter
	tables  []uint64 // block of each group's inode table
	dirs    *listings
	journal string
	orphans int
	shared  bool // blocks belong to more than one file
	lost    bool // files cannot be read: the features are not known

	groups, badGroups int    // descriptors with a checksum
	sums, badSums     int    // of inodes, bitmaps and blocks with a checksum
	backups, intact   int    // copies of the superblock
	marks             string // what flags of inodes say of the files
}

// NewExt reads the superblock, all block groups and all inodes in use, and walks
// the directories from the root: each block belongs to one thing, the bitmaps
// and link counts say the same, and where the file system has checksums they
// hold. What is wrong is in the survey's problems. What a journal holds is not
// applied.
//
// The error wraps ErrNotExt when there is no sane superblock; it is of the
// budget, of ctx or of r otherwise, and what was read before is beside it.
func NewExt(ctx context.Context, r io.ReaderAt, size int64, meter *budget.Meter) (*Ext, error) {
	if size < extSuperAt+extSuperSize {
		return nil, fmt.Errorf("%w: %d bytes are too few", ErrNotExt, size)
	}
	p := make([]byte, extSuperSize)
	if err := readFull(r, p, extSuperAt); err != nil {
		return nil, err
	}
	s, err := parseExtSuper(p)
	if err != nil {
		return nil, err
	}
	e := &Ext{super: s, r: r, meter: meter, Kind: s.kind(), Label: s.label, Size: int64(s.blocks) * s.blockSize, Survey: &Survey{}}
	e.there = min(s.blocks, uint64(size/s.blockSize))
	e.dirs = newListings(meter, func(number uint64) (node, error) { return e.inode(uint32(number)) })
	e.tree = tree{root: func() (node, error) { return e.inode(extRoot) }, meter: meter}
	if err := e.load(ctx); err != nil {
		return e, fmt.Errorf("ext: %w", err)
	}
	return e, nil
}

func (e *Ext) load(ctx context.Context) error {
	s := e.super
	problem := e.Survey.problem
	if s.summed && s.sum != s.declared {
		problem("the superblock's CRC-32C is %08x, and it says %08x", s.sum, s.declared)
	}
	if e.there < s.blocks {
		problem("%d blocks of %d bytes are said and %d are there: the image is cut short", s.blocks, s.blockSize, e.there)
	}
	if names := s.unreadable(); names != "" {
		e.lost = true
		problem("features that this reader does not know: %s; files are not read", names)
		return nil
	}
	if s.incompat(extJournalDev) {
		e.lost = true
		return nil
	}
	if s.incompat(extRecover) {
		problem("it was not unmounted (needs_recovery): its journal may hold newer data, which is not applied")
	} else if s.state&extStateClean == 0 {
		problem("it was not unmounted cleanly (state %#x)", s.state)
	}
	if s.state&extStateErrors != 0 {
		problem("its own record says that errors were found in it (state %#x)", s.state)
	}
	p := newExtProof(ctx, e)
	err := p.run()
	p.close()
	if errors.Is(err, errExtOverlap) {
		problem("%v", err)
		err = nil
	}
	return err
}

// inside tells whether blocks are there.
func (e *Ext) inside(block, count uint64) bool {
	return block < e.there && count <= e.there-block
}

// block reads a block.
func (e *Ext) block(number uint64) ([]byte, error) {
	if !e.inside(number, 1) {
		return nil, fmt.Errorf("block %d is outside the %d that are there", number, e.there)
	}
	p := make([]byte, e.super.blockSize)
	return p, readFull(e.r, p, int64(number)*e.super.blockSize)
}

// read reads from the off-th byte of a row of blocks.
func (e *Ext) read(p []byte, block uint64, off int64) error {
	at := uint64(off) / uint64(e.super.blockSize)
	if !e.inside(block, at+1) {
		return fmt.Errorf("block %d is outside the %d that are there", block+at, e.there)
	}
	return readFull(e.r, p, int64(block)*e.super.blockSize+off)
}

func parseExt(w *firmware.Window, kind string) (*firmware.Region, error) {
	p, err := w.Bytes(extSuperAt, extSuperSize)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", firmware.ErrNotFormat, err)
	}
	s, err := parseExtSuper(p)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", firmware.ErrNotFormat, err)
	}
	if s.kind() != kind {
		return nil, fmt.Errorf("%w: it is %s", firmware.ErrNotFormat, s.kind())
	}
	e, err := NewExt(w.Context(), w, w.Size(), w.Meter())
	if e == nil {
		return nil, err
	}
	r := &firmware.Region{Format: kind, Name: e.Label, Size: min(e.Size, w.Size()), State: firmware.Parsed, Role: firmware.RoleData}
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

func (e *Ext) describe(r *firmware.Region) {
	s := e.super
	r.AddField("revision", "%d", s.revision)
	r.AddField("features", "%s", s.featureNames())
	r.AddField("UUID", "%s", s.uuidText())
	r.AddField("block size", "%d", s.blockSize)
	if s.clusterBits > 0 {
		r.AddField("cluster size", "%d", s.blockSize<<s.clusterBits)
	}
	r.AddField("blocks", "%d, %d of them free", s.blocks, s.freeBlocks)
	if s.incompat(extJournalDev) {
		r.AddField("content", "the journal of another file system; it is not read")
		return
	}
	r.AddField("inodes", "%d of %d bytes, %d of them free", s.inodes, s.inodeSize, s.freeInodes)
	r.AddField("block groups", "%d", s.groups)
	r.AddField("last mounted on", "%s", s.lastMounted)
	r.AddField("written", "%s", s.written.Format("2006-01-02 15:04:05 UTC"))
	if !s.made.IsZero() {
		r.AddField("made", "%s", s.made.Format("2006-01-02 15:04:05 UTC"))
	}
	r.AddField("journal", "%s", e.journal)
	if e.orphans > 0 {
		r.AddField("orphans", "%d inodes that were deleted while in use", e.orphans)
	}
	r.AddField("inode flags", "%s", e.marks)
	if s.summed {
		r.AddCheck("CRC-32C of the superblock", s.sum == s.declared, "computed %08x, declared %08x", s.sum, s.declared)
	}
	if e.groups > 0 {
		r.AddCheck("checksums of group descriptors", e.badGroups == 0, "%d of %d match", e.groups-e.badGroups, e.groups)
	}
	if e.sums > 0 {
		r.AddCheck("CRC-32C of metadata", e.badSums == 0, "%d of %d inodes, bitmaps and blocks of directories, extents and attributes match; contents of files are not covered", e.sums-e.badSums, e.sums)
	}
	if e.backups > 0 {
		r.AddCheck("copies of the superblock", e.intact == e.backups, "%d of %d are of this file system", e.intact, e.backups)
	}
	e.Survey.describe(r)
}
