package filesystem

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/flate"

	"assay/firmware/compress"
)

const (
	ubifsInodeSize = 160
	ubifsDentSize  = 56
	ubifsDataSize  = 48

	// Inode flags.
	ubifsIsXattr = 0x20
	ubifsIsCrypt = 0x40
)

// ubifsTypes are the file types of directory entries.
var ubifsTypes = [...]uint32{typeFile, typeDir, typeLink, typeBlock, typeChar, typeFIFO, typeSocket}

// ubifsFile is an inode.
type ubifsFile struct {
	Inode
	u      *UBIFS
	flags  uint32
	inline []byte // a link's target or a device's number
}

func (u *UBIFS) inode(number uint32) (*ubifsFile, error) {
	list := u.span(newUBIFSKey(number, ubifsInode, 0), newUBIFSKey(number, ubifsInode, 1))
	if len(list) == 0 {
		return nil, fmt.Errorf("ubifs: inode %d is not in the index: %w", number, fs.ErrNotExist)
	}
	n, err := u.readNode(list[len(list)-1], ubifsInode)
	if err != nil {
		return nil, err
	}
	return u.parseInode(n)
}

func (u *UBIFS) parseInode(n ubifsNode) (*ubifsFile, error) {
	le, p := binary.LittleEndian, n.data
	if len(p) < ubifsInodeSize || int64(le.Uint32(p[112:])) > int64(len(p)-ubifsInodeSize) {
		return nil, fmt.Errorf("ubifs: inode %v of %d bytes is too short", n.at, len(p))
	}
	f := &ubifsFile{u: u, flags: le.Uint32(p[108:]), inline: p[ubifsInodeSize:][:le.Uint32(p[112:])]}
	f.Inode = Inode{
		Number: uint64(le.Uint32(p[24:])), Links: le.Uint32(p[92:]), UID: le.Uint32(p[96:]), GID: le.Uint32(p[100:]), Mode: le.Uint32(p[104:]),
		ModTime: time.Unix(int64(le.Uint64(p[72:])), int64(le.Uint32(p[88:])%1e9)).UTC(),
		XAttrs:  le.Uint32(p[116:]) > 0,
	}
	switch {
	case f.is(typeFile):
		size := le.Uint64(p[48:])
		if size > ubifsBlock<<29 {
			return nil, f.bad("a file of %d bytes is larger than one can be", size)
		}
		f.Size = int64(size)
	case f.is(typeLink):
		f.Size = int64(len(f.inline))
	case f.is(typeChar) || f.is(typeBlock):
		var dev uint64
		switch len(f.inline) {
		case 4:
			dev = uint64(le.Uint32(f.inline))
		case 8:
			dev = le.Uint64(f.inline)
		default:
			return nil, f.bad("a device number of %d bytes", len(f.inline))
		}
		// The kernel's new_encode_dev: minors above 8 bits are past the major.
		f.Major, f.Minor = uint32(dev>>8&0xfff), uint32(dev&0xff|dev>>12&0xfff00)
	}
	return f, nil
}

func (f *ubifsFile) bad(format string, args ...any) error {
	return fmt.Errorf("ubifs: inode %d: %w", f.Number, fmt.Errorf(format, args...))
}

func (f *ubifsFile) inode() *Inode { return &f.Inode }

func (f *ubifsFile) encrypted() bool { return f.flags&ubifsIsCrypt != 0 }

// ubifsDirent is a directory entry or an extended attribute's.
type ubifsDirent struct {
	name  string
	inode uint32
	kind  byte
}

func parseUBIFSDent(n ubifsNode) (ubifsDirent, error) {
	le, p := binary.LittleEndian, n.data
	if len(p) < ubifsDentSize {
		return ubifsDirent{}, fmt.Errorf("ubifs: entry %v has %d bytes", n.at, len(p))
	}
	size := int(le.Uint16(p[50:]))
	if size == 0 || size > maxName || ubifsDentSize+size+1 > len(p) {
		return ubifsDirent{}, fmt.Errorf("ubifs: entry %v of %d bytes has a name of %d", n.at, len(p), size)
	}
	number := le.Uint64(p[40:])
	if number > 1<<32-1 {
		return ubifsDirent{}, fmt.Errorf("ubifs: entry %v leads to inode %d", n.at, number)
	}
	return ubifsDirent{string(p[ubifsDentSize:][:size]), uint32(number), p[49]}, nil
}

func (u *UBIFS) dent(l ubifsLeaf) (ubifsDirent, error) {
	n, err := u.readNode(l, l.key.kind())
	if err != nil {
		return ubifsDirent{}, err
	}
	return parseUBIFSDent(n)
}

// hash is what the key of a name has in its lower bits.
func (u *UBIFS) hash(name string) uint32 {
	var h uint32
	if u.super.keyHash == 1 {
		var p [4]byte
		copy(p[:], name)
		h = binary.LittleEndian.Uint32(p[:])
	} else {
		for i := range len(name) {
			c := int32(int8(name[i])) // the kernel's chars are signed here
			h = (h + uint32(c<<4) + uint32(c>>4)) * 11
		}
	}
	// 0 to 2 stand for "." and ".." and for a start.
	if h &= ubifsHashMask; h <= 2 {
		h += 3
	}
	return h
}

// sealed marks a name that is encrypted: it can hold any byte, and is shown in
// base64.
const sealed = "fscrypt:"

func sealName(name []byte) string { return sealed + base64.RawURLEncoding.EncodeToString(name) }

// shown is the name that an entry of the directory goes by.
func (f *ubifsFile) shown(name string) string {
	if f.encrypted() {
		return sealName([]byte(name))
	}
	return name
}

func (f *ubifsFile) lookup(name string) (node, error) {
	stored := name
	if f.encrypted() {
		raw, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(name, sealed))
		if err != nil || !strings.HasPrefix(name, sealed) {
			return nil, fs.ErrNotExist
		}
		stored = string(raw)
	}
	k := newUBIFSKey(uint32(f.Number), ubifsDent, f.u.hash(stored))
	for _, l := range f.u.span(k, k+1) {
		d, err := f.u.dent(l)
		if err != nil {
			return nil, err
		}
		if d.name == stored {
			return f.child(d.inode, name)
		}
	}
	return nil, fs.ErrNotExist
}

func (f *ubifsFile) child(number uint32, name string) (*ubifsFile, error) {
	c, err := f.u.inode(number)
	if err != nil {
		return nil, err
	}
	if c.is(typeDir) {
		if err := f.u.edges.add(uint64(number), edge{f.Number, name}); err != nil {
			return nil, c.bad("%w", err)
		}
	}
	return c, nil
}

// list leaves out names that no directory can have; Prove reports them.
func (f *ubifsFile) list() ([]entry, error) {
	leaves := f.u.kindOf(uint32(f.Number), ubifsDent)
	const size = 200 // of an entry and its closure, about
	if err := f.u.meter.Hold(size * int64(len(leaves))); err != nil {
		return nil, err
	}
	defer f.u.meter.Release(size * int64(len(leaves)))
	var list []entry
	var first error
	for _, l := range leaves {
		if err := f.u.meter.Bytes(int64(l.size)); err != nil {
			return list, err
		}
		d, err := f.u.dent(l)
		if err != nil {
			if first == nil {
				first = err
			}
			continue
		}
		name := f.shown(d.name)
		if !validName(name) {
			continue
		}
		kind := uint32(0)
		if int(d.kind) < len(ubifsTypes) {
			kind = ubifsTypes[d.kind]
		}
		list = append(list, entry{name, (&Inode{Mode: kind}).FileMode().Type(), func() (node, error) { return f.child(d.inode, name) }})
	}
	slices.SortStableFunc(list, func(a, b entry) int { return strings.Compare(a.name, b.name) })
	list = slices.CompactFunc(list, func(a, b entry) bool { return a.name == b.name })
	return list, first
}

func (f *ubifsFile) target() (string, error) {
	if f.encrypted() {
		return "", f.bad("%w", errFscrypt)
	}
	if len(f.inline) == 0 || len(f.inline) > maxTarget {
		return "", f.bad("symbolic link target of %d bytes", len(f.inline))
	}
	return string(f.inline), nil
}

func (f *ubifsFile) open() (io.ReaderAt, io.Closer, error) {
	if f.encrypted() {
		return nil, nil, f.bad("%w", errFscrypt)
	}
	d := &ubifsContent{f: f, leaves: f.u.kindOf(uint32(f.Number), ubifsData), have: -1}
	return d, d, nil
}

// ubifsContent reads a file's bytes block by block. Blocks without a node are
// zeros.
type ubifsContent struct {
	f      *ubifsFile
	leaves []ubifsLeaf

	mu   sync.Mutex
	have int64 // the block in buf, -1 for none
	buf  [ubifsBlock]byte
}

func (d *ubifsContent) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.f = nil
	return nil
}

func (d *ubifsContent) ReadAt(p []byte, off int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.f == nil {
		return 0, fs.ErrClosed
	}
	if off < 0 {
		return 0, fs.ErrInvalid
	}
	done := 0
	for done < len(p) && off < d.f.Size {
		if whole := p[done:]; off%ubifsBlock == 0 && len(whole) >= ubifsBlock && d.f.Size-off >= ubifsBlock {
			if err := d.unpack(off/ubifsBlock, whole[:ubifsBlock]); err != nil {
				return done, err
			}
			done += ubifsBlock
			off += ubifsBlock
			continue
		}
		if err := d.block(off / ubifsBlock); err != nil {
			return done, err
		}
		end := min(ubifsBlock, d.f.Size-off/ubifsBlock*ubifsBlock)
		n := copy(p[done:], d.buf[off%ubifsBlock:end])
		done += n
		off += int64(n)
	}
	if done < len(p) {
		return done, io.EOF
	}
	return done, nil
}

// block unpacks one block into the buffer.
func (d *ubifsContent) block(i int64) error {
	if i == d.have {
		return nil
	}
	d.have = -1
	if err := d.unpack(i, d.buf[:]); err != nil {
		return err
	}
	d.have = i
	return nil
}

// unpack unpacks one block, all of which is wanted.
func (d *ubifsContent) unpack(i int64, dst []byte) error {
	if err := d.f.u.meter.Bytes(ubifsBlock); err != nil {
		return err
	}
	k := newUBIFSKey(uint32(d.f.Number), ubifsData, uint32(i))
	at, ok := slices.BinarySearchFunc(d.leaves, k, func(l ubifsLeaf, k ubifsKey) int { return byUBIFSKey(l, ubifsLeaf{key: k}) })
	n := 0
	if ok {
		var err error
		if n, err = d.f.u.unpack(d.leaves[at], dst); err != nil {
			return d.f.bad("block %d: %w", i, err)
		}
	}
	clear(dst[n:])
	return nil
}

// unpack reads a data node into a block.
func (u *UBIFS) unpack(l ubifsLeaf, dst []byte) (int, error) {
	buf := ubifsNodes.Get().(*[]byte)
	defer ubifsNodes.Put(buf)
	n, err := u.readNodeInto(buf, l, ubifsData)
	if err != nil {
		return 0, err
	}
	size, err := ubifsDataBytes(n)
	if err != nil {
		return 0, err
	}
	src := n.data[ubifsDataSize:]
	dst = dst[:size]
	got := 0
	switch method := binary.LittleEndian.Uint16(n.data[44:]); method {
	case 0:
		got, err = compress.Block(compress.None, src, dst)
	case 1:
		got, err = compress.Block(compress.LZO, src, dst)
	case 2:
		got, err = inflate(src, dst)
	case 3:
		got, err = compress.Block(compress.Zstd, src, dst)
	}
	if err == nil && got != size {
		err = fmt.Errorf("it unpacks to %d bytes and not to %d", got, size)
	}
	if err != nil {
		return 0, fmt.Errorf("%v: %w", l, err)
	}
	return size, nil
}

// ubifsDataBytes checks a data node and returns its unpacked size.
func ubifsDataBytes(n ubifsNode) (int, error) {
	if len(n.data) < ubifsDataSize {
		return 0, fmt.Errorf("ubifs: data %v has %d bytes", n.at, len(n.data))
	}
	size, method := binary.LittleEndian.Uint32(n.data[40:]), binary.LittleEndian.Uint16(n.data[44:])
	if size > ubifsBlock || int(method) >= len(ubifsCompressors) {
		return 0, fmt.Errorf("ubifs: data %v of %d bytes by compressor %d", n.at, size, method)
	}
	return int(size), nil
}

var inflaters = sync.Pool{New: func() any { return flate.NewReader(bytes.NewReader(nil)) }}

// inflate unpacks raw DEFLATE, which UBIFS calls zlib.
func inflate(src, dst []byte) (int, error) {
	z := inflaters.Get().(io.ReadCloser)
	defer inflaters.Put(z)
	if err := z.(flate.Resetter).Reset(bytes.NewReader(src), nil); err != nil {
		return 0, err
	}
	n, err := io.ReadFull(z, dst)
	if err == io.ErrUnexpectedEOF || err == io.EOF {
		return n, nil // the caller compares the sizes
	}
	return n, err
}
