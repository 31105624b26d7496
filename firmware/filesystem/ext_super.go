package filesystem

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"math/bits"
	"strings"
	"time"
)

const (
	extMagic     = 0xef53
	extSuperAt   = 1024
	extSuperSize = 1024
	extMaxBlock  = 64 << 10
)

// Features of the superblock: what an unknown one of means to a reader that
// knows it not is nothing (compatible), no writing (read-only compatible) or no
// reading (incompatible).
const (
	extHasJournal   = 0x4
	extResizeInode  = 0x10
	extSparseSuper2 = 0x200
	extOrphanFile   = 0x1000

	extSparseSuper  = 0x1
	extGDTChecksum  = 0x10
	extBigAlloc     = 0x200
	extMetadataSum  = 0x400
	extOrphanThere  = 0x10000
	extCompression  = 0x1
	extFileType     = 0x2
	extRecover      = 0x4
	extJournalDev   = 0x8
	extMetaBG       = 0x10
	ext64Bit        = 0x80
	extMultiMount   = 0x100
	extEAInodes     = 0x400
	extSeed         = 0x2000
	extLargeDir     = 0x4000
	extReadable     = extCompression | extFileType | extRecover | extMetaBG | 0x40 | ext64Bit | extMultiMount | 0x200 | extEAInodes | extSeed | extLargeDir | 0x8000 | 0x10000 | 0x20000
	ext2Incompat    = extFileType | extMetaBG
	ext3Incompat    = ext2Incompat | extRecover
	ext3ReadOnly    = extSparseSuper | 0x2 | 0x4
	extStateClean   = 0x1
	extStateErrors  = 0x2
	extStateOrphans = 0x4
)

// extFeatures name the bits as e2fsprogs does.
var extFeatures = [3][]struct {
	bit  uint32
	name string
}{
	{{0x1, "dir_prealloc"}, {0x2, "imagic_inodes"}, {extHasJournal, "has_journal"}, {0x8, "ext_attr"}, {extResizeInode, "resize_inode"}, {0x20, "dir_index"},
		{0x40, "lazy_bg"}, {0x100, "snapshot_bitmap"}, {extSparseSuper2, "sparse_super2"}, {0x400, "fast_commit"}, {0x800, "stable_inodes"}, {extOrphanFile, "orphan_file"}},
	{{extSparseSuper, "sparse_super"}, {0x2, "large_file"}, {0x8, "huge_file"}, {extGDTChecksum, "uninit_bg"}, {0x20, "dir_nlink"}, {0x40, "extra_isize"}, {0x80, "snapshot"},
		{0x100, "quota"}, {extBigAlloc, "bigalloc"}, {extMetadataSum, "metadata_csum"}, {0x800, "replica"}, {0x1000, "read-only"}, {0x2000, "project"},
		{0x4000, "shared_blocks"}, {0x8000, "verity"}, {extOrphanThere, "orphan_present"}},
	{{extCompression, "compression"}, {extFileType, "filetype"}, {extRecover, "needs_recovery"}, {extJournalDev, "journal_dev"}, {extMetaBG, "meta_bg"}, {0x40, "extent"},
		{ext64Bit, "64bit"}, {extMultiMount, "mmp"}, {0x200, "flex_bg"}, {extEAInodes, "ea_inode"}, {0x1000, "dirdata"}, {extSeed, "metadata_csum_seed"},
		{extLargeDir, "large_dir"}, {0x8000, "inline_data"}, {0x10000, "encrypt"}, {0x20000, "casefold"}},
}

// ErrNotExt says that there is no sane ext2, ext3 or ext4 superblock.
var ErrNotExt = errors.New("no ext2, ext3 or ext4 superblock")

// extSuper is the superblock.
type extSuper struct {
	blocks, freeBlocks, mmpBlock              uint64
	inodes, freeInodes, firstData, firstInode uint32
	blocksPerGroup, clustersPerGroup          uint32
	inodesPerGroup, revision, os              uint32
	blockSize, inodeSize, descSize            int64
	clusterBits                               uint32 // blocks in a cluster, as a power of 2
	state, reservedGDT                        uint16
	features                                  [3]uint32 // compatible, read-only compatible, incompatible
	journalInode, lastOrphan, orphanFile      uint32
	quotas                                    [3]uint32
	firstMetaBG                               uint32
	backups                                   [2]uint32
	groups                                    uint32
	uuid                                      [16]byte
	label, lastMounted                        string
	written, made                             time.Time
	seed, sum, declared                       uint32
	summed                                    bool // it and the other metadata have a CRC-32C
}

func (s *extSuper) compat(bit uint32) bool   { return s.features[0]&bit != 0 }
func (s *extSuper) readOnly(bit uint32) bool { return s.features[1]&bit != 0 }
func (s *extSuper) incompat(bit uint32) bool { return s.features[2]&bit != 0 }

func parseExtSuper(p []byte) (*extSuper, error) {
	le := binary.LittleEndian
	word := func(off int) uint32 { return le.Uint32(p[off:]) }
	if le.Uint16(p[0x38:]) != extMagic {
		return nil, ErrNotExt
	}
	s := &extSuper{
		inodes: word(0), blocks: uint64(word(4)), freeBlocks: uint64(word(0xc)), freeInodes: word(0x10), firstData: word(0x14),
		blocksPerGroup: word(0x20), clustersPerGroup: word(0x24), inodesPerGroup: word(0x28),
		written: time.Unix(int64(word(0x30)), 0).UTC(), state: le.Uint16(p[0x3a:]), os: word(0x48), revision: word(0x4c),
		firstInode: 11, inodeSize: 128, descSize: 32,
	}
	if word(0x18) > 6 || s.revision > 1 || le.Uint16(p[0x3c:]) > 3 || s.state > 0x3f {
		return nil, fmt.Errorf("%w: block size 2^%d KiB, revision %d, state %#x", ErrNotExt, word(0x18), s.revision, s.state)
	}
	s.blockSize = 1024 << word(0x18)
	if s.revision > 0 {
		s.parseDynamic(p)
	}
	if err := s.validate(p); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotExt, err)
	}
	if s.readOnly(extMetadataSum) {
		s.summed, s.declared, s.sum = true, word(0x3fc), extCRC(^uint32(0), p[:0x3fc])
		s.seed = extCRC(^uint32(0), s.uuid[:])
		if s.incompat(extSeed) {
			s.seed = word(0x270)
		}
	}
	return s, nil
}

// parseDynamic reads what revision 1 added.
func (s *extSuper) parseDynamic(p []byte) {
	le := binary.LittleEndian
	word := func(off int) uint32 { return le.Uint32(p[off:]) }
	s.firstInode, s.inodeSize = word(0x54), int64(le.Uint16(p[0x58:]))
	s.features = [3]uint32{word(0x5c), word(0x64), word(0x60)}
	copy(s.uuid[:], p[0x68:])
	s.label, s.lastMounted = extText(p[0x78:0x88]), extText(p[0x88:0xc8])
	s.reservedGDT = le.Uint16(p[0xce:])
	s.journalInode, s.lastOrphan = word(0xe0), word(0xe8)
	s.firstMetaBG = word(0x104)
	if made := word(0x108); made != 0 {
		s.made = time.Unix(int64(made), 0).UTC()
	}
	if s.incompat(ext64Bit) {
		s.descSize = int64(le.Uint16(p[0xfe:]))
		s.blocks |= uint64(word(0x150)) << 32
		s.freeBlocks |= uint64(word(0x158)) << 32
	}
	if s.incompat(extMultiMount) {
		s.mmpBlock = le.Uint64(p[0x168:])
	}
	s.quotas = [3]uint32{word(0x240), word(0x244), word(0x26c)}
	s.backups = [2]uint32{word(0x24c), word(0x250)}
	s.orphanFile = word(0x280)
	if s.readOnly(extBigAlloc) {
		s.clusterBits = word(0x1c) - word(0x18)
	}
}

// extText is a name of a fixed size.
func extText(p []byte) string {
	name, _, _ := strings.Cut(string(p), "\x00")
	return strings.ToValidUTF8(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '.'
		}
		return r
	}, name), ".")
}

// validate turns down bytes that are no file system: the magic has two bytes,
// and each copy of the superblock in a later block group has it as well.
func (s *extSuper) validate(p []byte) error {
	if group := binary.LittleEndian.Uint16(p[0x5a:]); s.revision > 0 && group != 0 {
		return fmt.Errorf("it is the copy of one in block group %d", group)
	}
	first := uint32(0)
	if s.blockSize == 1024 && s.clusterBits == 0 {
		first = 1
	}
	perBitmap := 8 * uint64(s.blockSize)
	switch {
	case s.clusterBits > 20:
		return fmt.Errorf("clusters of 2^%d blocks", s.clusterBits)
	case s.firstData != first:
		return fmt.Errorf("the first block is %d", s.firstData)
	case s.blocks <= uint64(first) || s.blocks > 1<<48 || s.freeBlocks > s.blocks:
		return fmt.Errorf("%d of %d blocks are free", s.freeBlocks, s.blocks)
	case s.incompat(extJournalDev):
		return nil
	case s.inodeSize < 128 || s.inodeSize > s.blockSize || bits.OnesCount64(uint64(s.inodeSize)) != 1:
		return fmt.Errorf("inodes of %d bytes", s.inodeSize)
	case s.descSize < 32 || s.descSize > 1024 || s.descSize > s.blockSize || bits.OnesCount64(uint64(s.descSize)) != 1 || s.incompat(ext64Bit) && s.descSize < 64:
		return fmt.Errorf("group descriptors of %d bytes", s.descSize)
	case s.blocksPerGroup < 8 || s.blocksPerGroup%8 != 0 || uint64(s.blocksPerGroup)>>s.clusterBits > perBitmap || s.blocksPerGroup&(1<<s.clusterBits-1) != 0:
		return fmt.Errorf("groups of %d blocks", s.blocksPerGroup)
	case s.readOnly(extBigAlloc) && uint64(s.clustersPerGroup)<<s.clusterBits != uint64(s.blocksPerGroup):
		return fmt.Errorf("groups of %d blocks and %d clusters", s.blocksPerGroup, s.clustersPerGroup)
	case s.inodesPerGroup == 0 || uint64(s.inodesPerGroup) > perBitmap || s.freeInodes > s.inodes:
		return fmt.Errorf("%d inodes in a group, %d of %d are free", s.inodesPerGroup, s.freeInodes, s.inodes)
	case s.firstInode < 11 || s.firstInode > s.inodes:
		return fmt.Errorf("the first inode is %d of %d", s.firstInode, s.inodes)
	}
	groups := (s.blocks - uint64(first) + uint64(s.blocksPerGroup) - 1) / uint64(s.blocksPerGroup)
	if groups*uint64(s.inodesPerGroup) != uint64(s.inodes) {
		return fmt.Errorf("%d groups of %d inodes are not %d", groups, s.inodesPerGroup, s.inodes)
	}
	s.groups = uint32(groups)
	return nil
}

// kind is the file system's name, by the features that each added.
func (s *extSuper) kind() string {
	switch {
	case s.features[2]&^ext3Incompat != 0 && !s.incompat(extJournalDev), s.features[1]&^ext3ReadOnly != 0:
		return "ext4"
	case s.compat(extHasJournal), s.incompat(extJournalDev | extRecover):
		return "ext3"
	}
	return "ext2"
}

// unreadable are the incompatible features that this reader does not know.
func (s *extSuper) unreadable() string {
	return s.names(2, s.features[2]&^extReadable)
}

func (s *extSuper) featureNames() string {
	var all []string
	for i, set := range s.features {
		if names := s.names(i, set); names != "" {
			all = append(all, names)
		}
	}
	return strings.Join(all, " ")
}

func (s *extSuper) names(set int, bits uint32) string {
	var names []string
	for _, f := range extFeatures[set] {
		if bits&f.bit != 0 {
			names = append(names, f.name)
			bits &^= f.bit
		}
	}
	if bits != 0 {
		names = append(names, fmt.Sprintf("unknown-%#x", bits))
	}
	return strings.Join(names, " ")
}

func (s *extSuper) uuidText() string {
	h := hex.EncodeToString(s.uuid[:])
	return strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")
}

// hasBackup tells whether a group begins with a copy of the superblock.
func (s *extSuper) hasBackup(group uint32) bool {
	switch {
	case group == 0:
		return true
	case s.compat(extSparseSuper2):
		return group == s.backups[0] || group == s.backups[1]
	case group == 1 || !s.readOnly(extSparseSuper):
		return true
	}
	for _, base := range []uint64{3, 5, 7} {
		n := base
		for n < uint64(group) {
			n *= base
		}
		if n == uint64(group) {
			return true
		}
	}
	return false
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// extCRC is the kernel's crc32c(), which inverts neither its start nor its end.
func extCRC(sum uint32, p []byte) uint32 { return ^crc32.Update(^sum, castagnoli, p) }

func extCRC32(sum, v uint32) uint32 {
	return extCRC(sum, binary.LittleEndian.AppendUint32(nil, v))
}

// extCRC16 is the CRC-16 of group descriptors without metadata_csum: polynomial
// 0x8005, bits reversed.
func extCRC16(sum uint16, p []byte) uint16 {
	for _, c := range p {
		sum ^= uint16(c)
		for range 8 {
			sum = sum>>1 ^ 0xa001&-(sum&1)
		}
	}
	return sum
}
