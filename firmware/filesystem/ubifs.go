package filesystem

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/bits"
	"strings"

	"assay/firmware/budget"
)

// The layout is that of Linux fs/ubifs/ubifs-media.h; how the parts belong
// together is in fs/ubifs/{master,log,replay,tnc,key}.c. All numbers are little
// endian, and all that is stored is a node with a CRC-32.
const (
	ubifsMagic     = 0x06101831
	ubifsCommon    = 24
	ubifsSuperSize = 4096
	ubifsBlock     = 4096
	ubifsMinLEB    = 15 << 10
	ubifsMaxLEB    = 2 << 20
	ubifsMaxNode   = ubifsInodeSize + 4096 // but for index nodes
	ubifsRoot      = 1                     // inode number
	ubifsLog       = 3                     // the LEB where it starts
)

// Node types.
const (
	ubifsInode  = 0
	ubifsData   = 1
	ubifsDent   = 2
	ubifsXent   = 3
	ubifsTrun   = 4
	ubifsPad    = 5
	ubifsSuper  = 6
	ubifsMaster = 7
	ubifsRef    = 8
	ubifsIndex  = 9
	ubifsCommit = 10
)

// Superblock flags.
const (
	ubifsEncrypted     = 1 << 4
	ubifsAuthenticated = 1 << 5
)

var ubifsFlags = []struct {
	bit  uint32
	name string
}{
	{1 << 1, "big LPT"}, {1 << 2, "space fixup"}, {1 << 3, "double hash"},
	{ubifsEncrypted, "encryption"}, {ubifsAuthenticated, "authentication"},
}

var ubifsCompressors = []string{"none", "lzo", "zlib", "zstd"}

// ubifsHashes is by the kernel's enum hash_algo (include/uapi/linux/hash_info.h).
var ubifsHashes = map[uint16]struct {
	name string
	size int
}{1: {"md5", 16}, 2: {"sha1", 20}, 4: {"sha256", 32}, 5: {"sha384", 48}, 6: {"sha512", 64}, 7: {"sha224", 28}}

// ErrNotUBIFS says that there is no UBIFS superblock at all.
var ErrNotUBIFS = errors.New("no ubifs superblock")

var errFscrypt = errors.New("it is encrypted (fscrypt), and the key is not in the image")

// ubifsSuperblock is struct ubifs_sb_node, as far as it is needed.
type ubifsSuperblock struct {
	keyHash, keyFormat                   byte
	flags, minIO, lebSize, lebs, maxLEBs uint32
	logLEBs, lptLEBs, orphanLEBs, fanout uint32
	version, readOnlyVersion             uint32
	compressor, hash                     uint16
	uuid                                 [16]byte
	firstMain                            uint32
	branch                               int // bytes of one branch of an index node
}

// ubifsMasterNode is struct ubifs_mst_node, as far as it is needed.
type ubifsMasterNode struct {
	sequence, highest, commit uint64
	flags, log                uint32
	root                      ubifsLeaf
}

const ubifsDirty = 1 // master flag: not cleanly unmounted

// UBIFS is a UBIFS file system, as a volume of UBI holds it or mkfs.ubifs
// writes it. It may be used from several goroutines.
//
// The index is read into memory as a whole, and what the journal has on top of
// it is replayed. Every node is checked by its CRC-32 when it is read. The LEB
// properties, the orphans and, in an authenticated file system, the hashes and
// signatures are not looked at.
type UBIFS struct {
	tree
	super    ubifsSuperblock
	master   ubifsMasterNode
	r        io.ReaderAt
	size     int64
	meter    *budget.Meter
	leaves   []ubifsLeaf // sorted by key
	buds     int         // LEBs of the journal
	replayed int         // nodes of the journal
	notes    []string    // what was wrong with the journal or the master nodes
	edges    edges
}

// NewUBIFS reads the superblock, the master node, the index and the journal of
// a file system that starts at r's first byte and has at most size bytes.
//
// The error wraps ErrNotUBIFS, or says what is wrong with a superblock or, with a
// file system without files beside it, with what the superblock leads to.
func NewUBIFS(r io.ReaderAt, size int64, meter *budget.Meter) (*UBIFS, error) {
	u := &UBIFS{r: r, size: size, meter: meter}
	if err := u.readSuper(); err != nil {
		return nil, err
	}
	u.tree = tree{root: func() (node, error) { return u.inode(ubifsRoot) }, meter: meter}
	u.edges.of = map[uint64]edge{ubifsRoot: {}}
	if err := u.readMaster(); err != nil {
		return u, err
	}
	if err := u.load(); err != nil {
		return u, err
	}
	if err := u.replay(); err != nil {
		return u, err
	}
	u.edges.most = len(u.leaves)
	root, err := u.inode(ubifsRoot)
	if err != nil {
		return u, err
	}
	if !root.is(typeDir) {
		return u, fmt.Errorf("ubifs: the root is no directory")
	}
	return u, nil
}

func (u *UBIFS) readSuper() error {
	if u.size < ubifsSuperSize {
		return fmt.Errorf("%w: %d bytes are too few for one", ErrNotUBIFS, u.size)
	}
	var head [ubifsCommon]byte
	if _, err := u.r.ReadAt(head[:], 0); err != nil && err != io.EOF {
		return fmt.Errorf("ubifs: superblock: %w", err)
	}
	le := binary.LittleEndian
	if le.Uint32(head[:]) != ubifsMagic || head[20] != ubifsSuper || le.Uint32(head[16:]) != ubifsSuperSize {
		return ErrNotUBIFS
	}
	p := make([]byte, ubifsSuperSize)
	if _, err := u.r.ReadAt(p, 0); err != nil && err != io.EOF {
		return fmt.Errorf("ubifs: superblock: %w", err)
	}
	if sum, want := ubifsCRC(p), le.Uint32(p[4:]); sum != want {
		return fmt.Errorf("ubifs: superblock: its CRC-32 is %08x, and it says %08x", sum, want)
	}
	b := &u.super
	b.keyHash, b.keyFormat, b.flags = p[26], p[27], le.Uint32(p[28:])
	b.minIO, b.lebSize, b.lebs, b.maxLEBs = le.Uint32(p[32:]), le.Uint32(p[36:]), le.Uint32(p[40:]), le.Uint32(p[44:])
	b.logLEBs, b.lptLEBs, b.orphanLEBs = le.Uint32(p[56:]), le.Uint32(p[60:]), le.Uint32(p[64:])
	b.fanout, b.version, b.compressor = le.Uint32(p[72:]), le.Uint32(p[80:]), le.Uint16(p[84:])
	copy(b.uuid[:], p[108:])
	b.readOnlyVersion, b.hash = le.Uint32(p[124:]), le.Uint16(p[256:])
	if err := b.validate(); err != nil {
		return fmt.Errorf("ubifs: superblock: %w", err)
	}
	return nil
}

func (b *ubifsSuperblock) validate() error {
	meta := uint64(ubifsLog) + uint64(b.logLEBs) + uint64(b.lptLEBs) + uint64(b.orphanLEBs)
	switch {
	case b.lebSize < ubifsMinLEB || b.lebSize > ubifsMaxLEB || b.lebSize%8 != 0:
		return fmt.Errorf("LEBs of %d bytes; 15 KiB to 2 MiB are possible", b.lebSize)
	case b.minIO < 8 || b.minIO > b.lebSize || bits.OnesCount32(b.minIO) != 1:
		return fmt.Errorf("smallest write of %d bytes in LEBs of %d", b.minIO, b.lebSize)
	case b.logLEBs < 2 || b.lptLEBs < 2 || b.orphanLEBs < 1 || meta >= uint64(b.lebs):
		return fmt.Errorf("%d LEBs for the log, %d for the LEB properties and %d for orphans, of %d", b.logLEBs, b.lptLEBs, b.orphanLEBs, b.lebs)
	case b.keyFormat != 0:
		return fmt.Errorf("key format %d is not the one there is", b.keyFormat)
	case b.readOnlyVersion > 0:
		return fmt.Errorf("read-only compatible version %d is newer than this reader", b.readOnlyVersion)
	}
	b.firstMain = uint32(meta)
	b.branch = ubifsBranchSize
	if b.flags&ubifsAuthenticated != 0 {
		h, ok := ubifsHashes[b.hash]
		if !ok {
			return fmt.Errorf("hash algorithm %d of its authentication is not known", b.hash)
		}
		b.branch += h.size
	}
	return nil
}

// bytes is how much the superblock says there is.
func (b *ubifsSuperblock) bytes() int64 { return int64(b.lebs) * int64(b.lebSize) }

func (b *ubifsSuperblock) flagNames() string {
	var names []string
	for _, f := range ubifsFlags {
		if b.flags&f.bit != 0 {
			names = append(names, f.name)
		}
	}
	return strings.Join(names, ", ")
}

func (b *ubifsSuperblock) compressorName() string {
	if int(b.compressor) < len(ubifsCompressors) {
		return ubifsCompressors[b.compressor]
	}
	return fmt.Sprint(b.compressor)
}

func (b *ubifsSuperblock) uuidText() string {
	h := hex.EncodeToString(b.uuid[:])
	return strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")
}

// ubifsCRC is the CRC-32 of a node, without the final inversion.
func ubifsCRC(node []byte) uint32 { return ^crc32.ChecksumIEEE(node[8:]) }

// readMaster finds the newest master node. LEBs 1 and 2 have the same, each
// commit's behind the one before.
func (u *UBIFS) readMaster() error {
	var last [2]*ubifsMasterNode
	for i := range last {
		nodes, end, err := u.scan(uint32(1+i), 0)
		if err != nil {
			return err
		}
		if end != "" {
			u.note("master node in LEB %d: %s", 1+i, end)
		}
		for _, n := range nodes {
			if n.kind == ubifsMaster && len(n.data) >= 224 {
				last[i] = parseUBIFSMaster(n)
			}
		}
	}
	switch one, two := last[0], last[1]; {
	case one == nil && two == nil:
		return fmt.Errorf("ubifs: there is no master node in LEBs 1 and 2")
	case one == nil || two == nil:
		u.note("one of the two master nodes is missing")
	case one.commit != two.commit || one.root != two.root:
		u.note("the master nodes are of commits %d and %d: the newer counts", one.commit, two.commit)
	}
	for _, m := range last {
		if m != nil && (m.commit > u.master.commit || m.commit == u.master.commit && m.sequence > u.master.sequence) {
			u.master = *m
		}
	}
	return nil
}

func parseUBIFSMaster(n ubifsNode) *ubifsMasterNode {
	le, p := binary.LittleEndian, n.data
	return &ubifsMasterNode{
		sequence: n.sequence, highest: le.Uint64(p[24:]), commit: le.Uint64(p[32:]), flags: le.Uint32(p[40:]), log: le.Uint32(p[44:]),
		root: ubifsLeaf{leb: le.Uint32(p[48:]), offset: le.Uint32(p[52:]), size: le.Uint32(p[56:])},
	}
}

func (u *UBIFS) note(format string, args ...any) {
	if len(u.notes) < maxProblems {
		u.notes = append(u.notes, fmt.Sprintf(format, args...))
	}
}
