package filesystem

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"time"
)

// jffs2File is an inode: what its newest node says, and the pieces of it.
type jffs2File struct {
	Inode
	f       *JFFS2
	version uint32 // of the newest node
	newest  jffs2Piece
	pieces  []jffs2Piece
	xattrs  map[uint32]uint32 // newest sequence number by attribute; odd when it was removed

	names    map[string]jffs2Name // of a directory: the newest statement on each name
	changed  jffs2Name            // the newest of them
	children []entry
	reached  bool
}

// jffs2Name is what a node says about a name in a directory.
type jffs2Name struct {
	inode, version uint32 // inode 0: the name is deleted
	kind           byte
	time           uint32
}

// jffs2Piece is where some bytes of a file are, packed.
type jffs2Piece struct {
	at             int64 // of the packed bytes in the image
	version        uint32
	packed, offset uint32
	size           uint32
	method         byte
}

func (f *JFFS2) file(number uint32) *jffs2File {
	n := f.inodes[number]
	if n == nil {
		n = &jffs2File{f: f, Inode: Inode{Number: uint64(number)}}
		f.inodes[number] = n
	}
	return n
}

// errJFFS2Data tells a node whose own fields hold from one that says nothing.
var errJFFS2Data = errors.New("data CRC-32")

// load reads what the nodes say. A node that is not sound is as if it were not
// there, as in the kernel.
func (f *JFFS2) load(ctx context.Context) error {
	for _, n := range f.log {
		if err := ctx.Err(); err != nil {
			return err
		}
		if n.obsolete {
			f.Nodes.Obsolete++
			continue
		}
		err := f.loadNode(ctx, n)
		if fatal(ctx, err) {
			return err
		}
		if errors.Is(err, errJFFS2Data) {
			f.Nodes.BadData++
		} else if err != nil {
			f.Nodes.BadNodes++
		}
		if err != nil {
			f.survey.problem("node of type %#04x at %#x: %v; skipped", n.kind, n.at, err)
		}
	}
	return nil
}

func (f *JFFS2) loadNode(ctx context.Context, n jffs2Node) error {
	switch n.kind {
	case jffs2Inode:
		return f.loadInode(ctx, n)
	case jffs2Dirent:
		return f.loadDirent(n)
	case jffs2Clean:
		f.Nodes.CleanMarkers++
	case jffs2Padding:
		f.Nodes.Paddings++
	case jffs2Summary:
		return f.loadSummary(ctx, n)
	case jffs2XAttr:
		return f.loadXAttr(ctx, n)
	case jffs2XRef:
		return f.loadXRef(n)
	default:
		f.Nodes.Unknown++
		if n.kind&jffs2Incompatible == jffs2Incompatible {
			f.survey.problem("node of type %#04x at %#x: no kernel that does not know this type mounts the file system", n.kind, n.at)
		}
	}
	return nil
}

// fixed reads a node's first size bytes, of which those before the sum at
// offset sum are covered by it.
func (f *JFFS2) fixed(n jffs2Node, size, covered, sum int) ([]byte, error) {
	if n.length < int64(size) {
		return nil, fmt.Errorf("node of %d bytes, and its fixed part has %d", n.length, size)
	}
	p := make([]byte, size)
	if err := f.read(p, n.at); err != nil {
		return nil, err
	}
	if got, want := jffs2CRC(p[:covered]), f.order.Uint32(p[sum:]); got != want {
		return nil, fmt.Errorf("node CRC-32 is %08x, the node says %08x", got, want)
	}
	return p, nil
}

func (f *JFFS2) read(p []byte, at int64) error {
	if n, err := f.r.ReadAt(p, at); n < len(p) {
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	return nil
}

// verify sums size bytes at an offset, which the caller found to be in a node.
func (f *JFFS2) verify(ctx context.Context, at, size int64, want uint32) error {
	var sum uint32
	buf := make([]byte, min(size, 32<<10))
	for ; size > 0; size -= int64(len(buf)) {
		if err := ctx.Err(); err != nil {
			return err
		}
		buf = buf[:min(size, int64(len(buf)))]
		if err := f.read(buf, at); err != nil {
			return err
		}
		sum = ^crc32.Update(^sum, crc32.IEEETable, buf)
		at += int64(len(buf))
	}
	if sum != want {
		return fmt.Errorf("%w is %08x, the node says %08x", errJFFS2Data, sum, want)
	}
	return nil
}

func (f *JFFS2) loadInode(ctx context.Context, n jffs2Node) error {
	p, err := f.fixed(n, jffs2InodeSize, 60, 64)
	if err != nil {
		return err
	}
	word := func(off int) uint32 { return f.order.Uint32(p[off:]) }
	number, version, size := word(12), word(16), int64(word(28))
	piece := jffs2Piece{at: n.at + jffs2InodeSize, version: version, offset: word(44), packed: word(48), size: word(52), method: p[56]}
	if number == 0 {
		return errors.New("inode 0 does not exist")
	}
	if int64(piece.packed) > n.length-jffs2InodeSize {
		return fmt.Errorf("%d bytes of data do not fit into a node of %d", piece.packed, n.length)
	}
	if piece.packed > 0 { // a node without data has any sum
		if err := f.verify(ctx, piece.at, int64(piece.packed), word(60)); err != nil {
			return err
		}
	}
	if err := piece.plausible(); err != nil {
		return err
	}
	const held = 320 // of a file, at most, and a piece
	if err := f.meter.Hold(held); err != nil {
		return err
	}
	f.Nodes.Inodes++
	file := f.file(number)
	if piece.size > 0 {
		file.pieces = append(file.pieces, piece)
	}
	if file.Mode != 0 && file.version > version {
		return nil
	}
	file.version, file.newest = version, piece
	file.Mode, file.Size = word(20), size
	file.UID, file.GID = uint32(f.order.Uint16(p[24:])), uint32(f.order.Uint16(p[26:]))
	file.ModTime = time.Unix(int64(word(36)), 0).UTC()
	return nil
}

func (f *JFFS2) loadDirent(n jffs2Node) error {
	p, err := f.fixed(n, jffs2DirentSize, 32, 32)
	if err != nil {
		return err
	}
	word := func(off int) uint32 { return f.order.Uint32(p[off:]) }
	name := make([]byte, p[28])
	if int64(len(name)) > n.length-jffs2DirentSize {
		return fmt.Errorf("a name of %d bytes does not fit into a node of %d", len(name), n.length)
	}
	if err := f.read(name, n.at+jffs2DirentSize); err != nil {
		return err
	}
	if sum := jffs2CRC(name); sum != word(36) {
		return fmt.Errorf("name %.60q: name CRC-32 is %08x, the node says %08x", name, sum, word(36))
	}
	const held = 480 // of a file and a name in its directory
	if err := f.meter.Hold(held + int64(len(name))); err != nil {
		return err
	}
	stated := jffs2Name{inode: word(20), version: word(16), kind: p[29], time: word(24)}
	if stated.inode == 0 {
		f.Nodes.Deletions++
	} else {
		f.Nodes.Entries++
	}
	dir := f.file(word(12))
	if dir.names == nil {
		dir.names = make(map[string]jffs2Name)
	}
	if before, ok := dir.names[string(name)]; !ok || before.version <= stated.version {
		dir.names[string(name)] = stated
	}
	if dir.changed.version <= stated.version {
		dir.changed = stated
	}
	return nil
}

func (f *JFFS2) loadXAttr(ctx context.Context, n jffs2Node) error {
	p, err := f.fixed(n, jffs2XAttrSize, 28, 28)
	if err != nil {
		return err
	}
	size := int64(p[21]) + 1 + int64(f.order.Uint16(p[22:]))
	if size > n.length-jffs2XAttrSize {
		return fmt.Errorf("an attribute of %d bytes does not fit into a node of %d", size, n.length)
	}
	if err := f.verify(ctx, n.at+jffs2XAttrSize, size, f.order.Uint32(p[24:])); err != nil {
		return err
	}
	f.Nodes.XAttrs++
	return nil
}

func (f *JFFS2) loadXRef(n jffs2Node) error {
	p, err := f.fixed(n, jffs2XRefSize, 24, 24)
	if err != nil {
		return err
	}
	const held = 320
	if err := f.meter.Hold(held); err != nil {
		return err
	}
	f.Nodes.XAttrs++
	file := f.file(f.order.Uint32(p[12:]))
	if file.xattrs == nil {
		file.xattrs = make(map[uint32]uint32)
	}
	attribute, sequence := f.order.Uint32(p[16:]), f.order.Uint32(p[20:])
	file.xattrs[attribute] = max(file.xattrs[attribute], sequence)
	return nil
}
