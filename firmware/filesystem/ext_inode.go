package filesystem

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// Inode numbers and flags.
const (
	extBadBlocks = 1
	extRoot      = 2
	extResize    = 7

	extCompressed = 0x4
	extEncrypted  = 0x800
	extIndexed    = 0x1000
	extHuge       = 0x40000 // blocks are counted as such
	extExtents    = 0x80000
	extVerity     = 0x100000
	extEAInode    = 0x200000 // holds the value of an extended attribute
	extInline     = 0x10000000
	extCasefold   = 0x40000000
)

const (
	extInodeBase  = 128 // bytes that every inode has
	extMapSize    = 60  // of the block map in an inode
	extXattrMagic = 0xea020000
)

// extDirTypes are the file types of directory entries.
var extDirTypes = [...]uint32{0, typeFile, typeDir, typeChar, typeBlock, typeFIFO, typeSocket, typeLink}

// extInode is an inode.
type extInode struct {
	Inode
	e          *Ext
	raw        []byte
	flags      uint32
	length     int64 // of what the block map or the inode holds
	sectors    uint64
	deleted    uint32 // when, or the next one in the list of orphans
	generation uint32
	attributes uint64 // the block of extended attributes, or 0
	inline     []byte // the rest of inline data
	badSum     string
}

func (e *Ext) inode(number uint32) (*extInode, error) {
	s := e.super
	if number == 0 || number > s.inodes {
		return nil, fmt.Errorf("ext: inode %d, and there are %d", number, s.inodes)
	}
	group, index := (number-1)/s.inodesPerGroup, (number-1)%s.inodesPerGroup
	if int64(group) >= int64(len(e.tables)) {
		return nil, fmt.Errorf("ext: inode %d is in block group %d, which is not there", number, group)
	}
	raw := make([]byte, s.inodeSize)
	if err := e.read(raw, e.tables[group], int64(index)*s.inodeSize); err != nil {
		return nil, fmt.Errorf("ext: inode %d: %w", number, err)
	}
	return e.parseInode(number, raw), nil
}

func (e *Ext) parseInode(number uint32, raw []byte) *extInode {
	le := binary.LittleEndian
	n := &extInode{
		e: e, raw: raw, flags: le.Uint32(raw[0x20:]), length: int64(le.Uint32(raw[4:])), deleted: le.Uint32(raw[0x14:]), generation: le.Uint32(raw[0x64:]),
		sectors:    uint64(le.Uint32(raw[0x1c:])) | uint64(le.Uint16(raw[0x74:]))<<32,
		attributes: uint64(le.Uint32(raw[0x68:])) | uint64(le.Uint16(raw[0x76:]))<<32,
	}
	n.Inode = Inode{
		Number: uint64(number), Mode: uint32(le.Uint16(raw)), Links: uint32(le.Uint16(raw[0x1a:])),
		UID:     uint32(le.Uint16(raw[2:])) | uint32(le.Uint16(raw[0x78:]))<<16,
		GID:     uint32(le.Uint16(raw[0x18:])) | uint32(le.Uint16(raw[0x7a:]))<<16,
		ModTime: time.Unix(int64(int32(le.Uint32(raw[0x10:]))), 0).UTC(),
		XAttrs:  n.attributes != 0,
	}
	extra := 0
	if len(raw) > extInodeBase {
		extra = min(int(le.Uint16(raw[0x80:])), len(raw)-extInodeBase)
	}
	if extra >= 0x8c-extInodeBase {
		// Two more bits of the second, and nanoseconds.
		more := le.Uint32(raw[0x88:])
		n.ModTime = time.Unix(int64(int32(le.Uint32(raw[0x10:])))+int64(more&3)<<32, int64(min(more>>2, 999_999_999))).UTC()
	}
	if n.is(typeFile) || n.is(typeDir) && e.super.incompat(extLargeDir) {
		n.length |= int64(le.Uint32(raw[0x6c:])&0x7fffffff) << 32
	}
	if n.is(typeFile) || n.is(typeLink) {
		n.Size = n.length
	}
	if n.is(typeChar) || n.is(typeBlock) {
		n.Major, n.Minor = extDevice(le.Uint32(raw[0x28:]), le.Uint32(raw[0x2c:]))
	}
	n.readAttributes(extra)
	if e.super.summed {
		n.verify(extra)
	}
	return n
}

// extDevice reads a device's number: of 16 bits, or in the next word of 32, as
// the kernel's new_encode_dev lays it out.
func extDevice(old, dev uint32) (major, minor uint32) {
	if old != 0 {
		return old >> 8 & 0xff, old & 0xff
	}
	return dev >> 8 & 0xfff, dev&0xff | dev>>12&0xfff00
}

// readAttributes looks at the extended attributes behind the inode, of which one
// is the rest of inline data.
func (n *extInode) readAttributes(extra int) {
	le := binary.LittleEndian
	if extInodeBase+extra+4 > len(n.raw) || len(n.raw) == extInodeBase {
		return
	}
	area := n.raw[extInodeBase+extra:]
	if le.Uint32(area) != extXattrMagic {
		return
	}
	area = area[4:]
	for list := area; len(list) >= 16 && le.Uint32(list) != 0; {
		size := 16 + (int(list[0])+3)&^3
		if size > len(list) {
			return
		}
		name, at, length := list[16:16+int(list[0])], int(le.Uint16(list[2:])), int64(le.Uint32(list[8:]))
		if list[1] == 7 && string(name) == "data" && n.flags&extInline != 0 && le.Uint32(list[4:]) == 0 {
			if at <= len(area) && length <= int64(len(area)-at) {
				n.inline = area[at:][:length]
			}
		} else {
			n.XAttrs = true
		}
		list = list[size:]
	}
}

// sumSeed is what the checksums of an inode and of its blocks start with.
func (n *extInode) sumSeed() uint32 {
	return extCRC32(extCRC32(n.e.super.seed, uint32(n.Number)), n.generation)
}

func (n *extInode) verify(extra int) {
	le := binary.LittleEndian
	p := bytes.Clone(n.raw)
	want, mask := uint32(le.Uint16(p[0x7c:])), uint32(0xffff)
	clear(p[0x7c:0x7e])
	if extra >= 4 {
		want, mask = want|uint32(le.Uint16(p[0x82:]))<<16, ^uint32(0)
		clear(p[0x82:0x84])
	}
	if sum := extCRC(n.sumSeed(), p) & mask; sum != want {
		n.badSum = fmt.Sprintf("its CRC-32C is %08x, and it says %08x", sum, want)
	}
}

func (n *extInode) bad(format string, args ...any) error {
	return fmt.Errorf("ext: inode %d: %w", n.Number, fmt.Errorf(format, args...))
}

// mapped tells whether the inode has blocks: a short symbolic link is where the
// map would be, as are a device's number and inline data.
func (n *extInode) mapped() bool {
	switch {
	case n.flags&extInline != 0:
		return false
	case n.is(typeFile), n.is(typeDir):
		return true
	case n.is(typeLink):
		own := n.sectors
		if n.attributes != 0 {
			unit := uint64(n.e.super.blockSize / 512)
			if n.flags&extHuge != 0 {
				unit = 1
			}
			own -= min(own, unit<<n.e.super.clusterBits)
		}
		return own != 0 || n.length >= extMapSize
	}
	return false
}

// held is what an inode holds itself: of inline data, or of a short link.
func (n *extInode) held() []byte {
	return append(bytes.Clone(n.raw[0x28:0x28+extMapSize]), n.inline...)
}

var (
	errExtEncrypted  = errors.New("it is encrypted (fscrypt), and the key is not in the image")
	errExtCompressed = errors.New("it is compressed, in a way that no released kernel reads")
)

func (n *extInode) inode() *Inode { return &n.Inode }

func (n *extInode) list() ([]entry, error) { return n.e.dirs.list(n.Number) }

func (n *extInode) lookup(name string) (node, error) { return n.e.dirs.lookup(n.Number, name) }

func (n *extInode) open() (io.ReaderAt, io.Closer, error) {
	switch {
	case n.flags&extEncrypted != 0:
		return nil, nil, n.bad("%w", errExtEncrypted)
	case n.flags&extCompressed != 0 && n.e.super.incompat(extCompression):
		return nil, nil, n.bad("%w", errExtCompressed)
	}
	data, err := n.contents()
	if err != nil {
		return nil, nil, err
	}
	return data, data, nil
}

// contents reads what the inode holds or its block map leads to.
func (n *extInode) contents() (*pieces, error) {
	if n.mapped() {
		return n.pieces()
	}
	// What does not fit into the inode reads as zeros, as in the kernel: mke2fs
	// makes such files of nothing but holes.
	held := n.held()
	p := &pieces{r: bytes.NewReader(held), meter: n.e.meter, size: n.length}
	return p, p.extend(piece{size: min(n.length, int64(len(held)))})
}

func (n *extInode) target() (string, error) {
	if n.length == 0 || n.length > maxTarget {
		return "", n.bad("symbolic link target of %d bytes", n.length)
	}
	if n.flags&extEncrypted != 0 {
		return "", n.bad("%w", errExtEncrypted)
	}
	data, err := n.contents()
	if err != nil {
		return "", err
	}
	defer data.Close()
	p := make([]byte, n.length)
	if _, err := data.ReadAt(p, 0); err != nil && err != io.EOF {
		return "", n.bad("%w", err)
	}
	target, _, _ := strings.Cut(string(p), "\x00")
	return target, nil
}
