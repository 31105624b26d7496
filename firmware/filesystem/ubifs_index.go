package filesystem

import (
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"sync"

	"assay/firmware/internal/blank"
)

// ubifsKey is a key as the index sorts it: the inode number, 3 bits of type,
// and 29 bits of a name's hash or of a block number.
type ubifsKey uint64

const ubifsHashMask = 1<<29 - 1

func newUBIFSKey(inode uint32, kind byte, low uint32) ubifsKey {
	return ubifsKey(inode)<<32 | ubifsKey(kind)<<29 | ubifsKey(low&ubifsHashMask)
}

func parseUBIFSKey(p []byte) ubifsKey {
	le := binary.LittleEndian
	return ubifsKey(le.Uint32(p))<<32 | ubifsKey(le.Uint32(p[4:]))
}

func (k ubifsKey) inode() uint32 { return uint32(k >> 32) }
func (k ubifsKey) kind() byte    { return byte(k >> 29 & 7) }
func (k ubifsKey) low() uint32   { return uint32(k & ubifsHashMask) }

// ubifsLeaf is where a node is.
type ubifsLeaf struct {
	key               ubifsKey
	leb, offset, size uint32
}

func (l ubifsLeaf) String() string { return fmt.Sprintf("node at LEB %d:%#x", l.leb, l.offset) }

// ubifsNode is a node whose CRC-32 holds.
type ubifsNode struct {
	kind, group byte
	sequence    uint64
	at          ubifsLeaf
	data        []byte // with the common header
}

// readNode reads the node that an index or the master says is there.
func (u *UBIFS) readNode(l ubifsLeaf, kind byte) (ubifsNode, error) {
	return u.readNodeInto(new([]byte), l, kind)
}

// ubifsNodes are buffers for nodes of which nothing is kept.
var ubifsNodes = sync.Pool{New: func() any { return new([]byte) }}

// readNodeInto is readNode with a buffer, which grows as it must.
func (u *UBIFS) readNodeInto(buf *[]byte, l ubifsLeaf, kind byte) (ubifsNode, error) {
	b := &u.super
	most := uint32(ubifsMaxNode)
	if kind == ubifsIndex {
		most = b.lebSize
	}
	at := int64(l.leb)*int64(b.lebSize) + int64(l.offset)
	switch {
	case l.leb < b.firstMain || l.leb >= b.lebs || l.offset%8 != 0 || l.size < ubifsCommon || l.size > most || uint64(l.offset)+uint64(l.size) > uint64(b.lebSize):
		return ubifsNode{}, fmt.Errorf("ubifs: %v of %d bytes cannot be one of type %d", l, l.size, kind)
	case at+int64(l.size) > u.size:
		return ubifsNode{}, fmt.Errorf("ubifs: %v is past the end at %#x", l, u.size)
	}
	if uint32(cap(*buf)) < l.size {
		*buf = make([]byte, l.size)
	}
	p := (*buf)[:l.size]
	if _, err := u.r.ReadAt(p, at); err != nil && err != io.EOF {
		return ubifsNode{}, fmt.Errorf("ubifs: %v: %w", l, err)
	}
	n, wrong := parseUBIFSNode(p)
	if wrong != "" {
		return ubifsNode{}, fmt.Errorf("ubifs: %v: %s", l, wrong)
	}
	if n.kind != kind || len(n.data) != int(l.size) {
		return ubifsNode{}, fmt.Errorf("ubifs: %v is of type %d with %d bytes, and not of type %d with %d", l, n.kind, len(n.data), kind, l.size)
	}
	n.at = l
	return n, nil
}

// parseUBIFSNode reads the node at p's start, or says what is wrong.
func parseUBIFSNode(p []byte) (ubifsNode, string) {
	le := binary.LittleEndian
	if le.Uint32(p) != ubifsMagic {
		return ubifsNode{}, "there is no node"
	}
	size := le.Uint32(p[16:])
	if size < ubifsCommon || uint64(size) > uint64(len(p)) {
		return ubifsNode{}, fmt.Sprintf("a node of %d bytes", size)
	}
	p = p[:size:size]
	if sum, want := ubifsCRC(p), le.Uint32(p[4:]); sum != want {
		return ubifsNode{}, fmt.Sprintf("its CRC-32 is %08x, and it says %08x", sum, want)
	}
	return ubifsNode{kind: p[20], group: p[21], sequence: le.Uint64(p[8:]), data: p}, ""
}

// scan returns the nodes of a LEB from an offset on. end says what stands
// behind the last one when that is not the end of what was written.
func (u *UBIFS) scan(leb, offset uint32) (nodes []ubifsNode, end string, err error) {
	size := int64(u.super.lebSize)
	at := int64(leb) * size
	if leb >= u.super.lebs || int64(offset) > size || offset%8 != 0 || at >= u.size {
		return nil, fmt.Sprintf("LEB %d:%#x is not there", leb, offset), nil
	}
	if err := u.meter.Bytes(size); err != nil {
		return nil, "", err
	}
	p := make([]byte, min(size, u.size-at))
	if _, err := u.r.ReadAt(p, at); err != nil && err != io.EOF {
		return nil, "", fmt.Errorf("ubifs: LEB %d: %w", leb, err)
	}
	const padding = 0xce // fills what is too small for a padding node
	for pos := int(offset); pos+8 <= len(p); {
		if p[pos] == padding {
			pos += 8
			continue
		}
		if pos+ubifsCommon > len(p) || blank.Is(p[pos:pos+ubifsCommon], 0xff) {
			break
		}
		n, wrong := parseUBIFSNode(p[pos:])
		if wrong != "" {
			return nodes, fmt.Sprintf("LEB %d is broken at %#x: %s", leb, pos, wrong), nil
		}
		n.at = ubifsLeaf{leb: leb, offset: uint32(pos), size: uint32(len(n.data))}
		next := pos + len(n.data)
		if n.kind == ubifsPad && len(n.data) >= ubifsCommon+4 {
			next += int(min(binary.LittleEndian.Uint32(n.data[ubifsCommon:]), ubifsMaxLEB))
		}
		pos = (next + 7) &^ 7
		if n.kind == ubifsPad {
			continue
		}
		nodes = append(nodes, n)
	}
	return nodes, "", nil
}

const (
	ubifsBranchSize = 12 + 8 // place and key
	ubifsSeen       = 64     // bytes of memory for a place that was seen, about
)

// load reads the index into memory, from the master's root to the leaves. No
// index node is read twice, so that its size bounds the work.
func (u *UBIFS) load() error {
	seen := make(map[uint64]bool)
	defer func() { u.meter.Release(ubifsSeen * int64(len(seen))) }()
	if err := u.loadIndex(u.master.root, -1, seen); err != nil {
		return err
	}
	if !slices.IsSortedFunc(u.leaves, byUBIFSKey) {
		return fmt.Errorf("ubifs: the index is not in order")
	}
	return nil
}

func byUBIFSKey(a, b ubifsLeaf) int {
	switch {
	case a.key < b.key:
		return -1
	case a.key > b.key:
		return 1
	}
	return 0
}

func (u *UBIFS) loadIndex(at ubifsLeaf, level int, seen map[uint64]bool) error {
	place := uint64(at.leb)<<32 | uint64(at.offset)
	if seen[place] {
		return fmt.Errorf("ubifs: index %v is there twice", at)
	}
	if err := u.meter.Hold(ubifsSeen); err != nil {
		return err
	}
	seen[place] = true
	n, err := u.readNode(at, ubifsIndex)
	if err != nil {
		return err
	}
	le := binary.LittleEndian
	if len(n.data) < 28 {
		return fmt.Errorf("ubifs: index %v has %d bytes", at, len(n.data))
	}
	count, depth := int(le.Uint16(n.data[24:])), int(le.Uint16(n.data[26:]))
	branches := n.data[28:]
	const maxLevels = 64
	if depth >= maxLevels || level >= 0 && depth != level || count*u.super.branch > len(branches) {
		return fmt.Errorf("ubifs: index %v has %d branches in %d bytes at level %d", at, count, len(branches), depth)
	}
	for ; count > 0; count, branches = count-1, branches[u.super.branch:] {
		l := ubifsLeaf{parseUBIFSKey(branches[12:]), le.Uint32(branches), le.Uint32(branches[4:]), le.Uint32(branches[8:])}
		if depth > 0 {
			err = u.loadIndex(l, depth-1, seen)
		} else {
			err = u.append(l)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// append adds a leaf, charging for the memory that it grows by.
func (u *UBIFS) append(l ubifsLeaf) error {
	if len(u.leaves) == cap(u.leaves) {
		const size = 24
		grow := max(64, cap(u.leaves))
		if err := u.meter.Hold(int64(grow) * size); err != nil {
			return err
		}
		u.leaves = slices.Grow(u.leaves, grow)
	}
	u.leaves = append(u.leaves, l)
	return nil
}

// span returns the leaves with keys in [from, to).
func (u *UBIFS) span(from, to ubifsKey) []ubifsLeaf {
	find := func(k ubifsKey) int {
		i, _ := slices.BinarySearchFunc(u.leaves, k, func(l ubifsLeaf, k ubifsKey) int { return byUBIFSKey(l, ubifsLeaf{key: k}) })
		return i
	}
	return u.leaves[find(from):find(to)]
}

// kindOf returns an inode's leaves of one type.
func (u *UBIFS) kindOf(inode uint32, kind byte) []ubifsLeaf {
	return u.span(newUBIFSKey(inode, kind, 0), newUBIFSKey(inode, kind+1, 0))
}
