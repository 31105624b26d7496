package filesystem

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"

	"assay/firmware/compress"
)

// Flags of a block pointer, where the superblock says that there are any.
const (
	cramfsStored  = 1 << 31
	cramfsDirect  = 1 << 30 // points to the block's start and not to its end
	cramfsPointer = cramfsDirect - 1
)

// cramfsNode is an inode, which stands in front of its name in a directory.
type cramfsNode struct {
	Inode
	c        *CramFS
	names    int64 // bytes of its name, padded with NULs
	offset   int64 // of a directory's listing or a file's block pointers
	children []entry
}

// fill reads what is below an inode and counts it.
func (n *cramfsNode) fill(ctx context.Context, name string, depth int) error {
	n.Number = uint64(n.offset)
	problem := n.c.survey.problem
	switch n.Mode & typeMask {
	case typeDir:
		size := n.Size
		n.Size = 0
		n.c.survey.count(&n.Inode)
		switch {
		case depth > maxNesting:
			problem("%s: %v", name, errNesting)
		case size > 0 && n.c.dirs[n.offset]:
			problem("%s: its listing at %#x is already another directory's; left out", name, n.offset)
		case size > 0:
			n.c.dirs[n.offset] = true
			return n.fillDir(ctx, name, size, depth)
		}
		return nil
	case typeChar, typeBlock:
		n.Major, n.Minor, n.Size = uint32(n.Size)>>8, uint32(n.Size)&0xff, 0
	case typeFile, typeLink:
		if err := n.check(ctx); fatal(ctx, err) {
			return err
		} else if err != nil {
			problem("%s: %v", name, err)
		}
	case typeFIFO, typeSocket:
		n.Size = 0
	default:
		problem("%s: mode %o is of no file type", name, n.Mode)
	}
	n.c.survey.count(&n.Inode)
	return nil
}

func (n *cramfsNode) fillDir(ctx context.Context, name string, size int64, depth int) error {
	problem := n.c.survey.problem
	if size > n.c.Size-n.offset || n.offset < cramfsSuper {
		problem("%s: its listing of %d bytes at %#x is outside the image", name, size, n.offset)
		return nil
	}
	n.c.used = max(n.c.used, n.offset+size)
	var names []string
	children := make(map[string]*cramfsNode)
	for at, end := n.offset, n.offset+size; at < end; {
		var p [cramfsInodeSize + 63*4]byte
		head := p[:min(end-at, int64(len(p)))]
		if err := readFull(n.c.r, head, at); err != nil {
			return err
		}
		if len(head) < cramfsInodeSize {
			problem("%s: its listing ends within an inode at %#x", name, at)
			break
		}
		child := n.c.inode(head)
		if child.names == 0 || child.names > int64(len(head))-cramfsInodeSize {
			problem("%s: a name of %d bytes at %#x; the rest of the listing is not read", name, child.names, at)
			break
		}
		if err := n.c.meter.Entries(1); err != nil {
			return err
		}
		const held = 400
		if err := n.c.meter.Hold(held + child.names); err != nil {
			return err
		}
		own, _, _ := strings.Cut(string(head[cramfsInodeSize:cramfsInodeSize+child.names]), "\x00")
		at += cramfsInodeSize + child.names
		switch {
		case !validName(own):
			problem("%s: the name %q is not possible and left out", name, own)
		case children[own] != nil:
			problem("%s: %q is there twice; the first is kept", name, own)
		default:
			children[own] = child
			names = append(names, own)
		}
	}
	slices.Sort(names)
	for _, own := range names {
		child := children[own]
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := child.fill(ctx, path.Join(name, own), depth+1); err != nil {
			return err
		}
		n.children = append(n.children, entry{own, child.FileMode().Type(), func() (node, error) { return child, nil }})
	}
	return nil
}

// blocks is how many blocks the file has.
func (n *cramfsNode) blocks() int64 { return (n.Size + cramfsBlock - 1) / cramfsBlock }

// check looks at a file's block pointers.
func (n *cramfsNode) check(ctx context.Context) error {
	if n.is(typeLink) && (n.Size == 0 || n.Size > maxTarget) {
		return fmt.Errorf("symbolic link target of %d bytes", n.Size)
	}
	for i := range n.blocks() {
		if err := ctx.Err(); err != nil {
			return err
		}
		at, size, _, err := n.block(i)
		if err != nil {
			return err
		}
		n.c.used = max(n.c.used, at+size, n.offset+4*n.blocks())
	}
	return nil
}

// pointer reads a block pointer. The flags are only ones where the superblock
// says so.
func (n *cramfsNode) pointer(i int64) (at int64, flags uint32, err error) {
	var p [4]byte
	if err := readFull(n.c.r, p[:], n.offset+4*i); err != nil {
		return 0, 0, err
	}
	v := n.c.order.Uint32(p[:])
	if n.c.Flags&cramfsExtended == 0 {
		return int64(v), 0, nil
	}
	if v&cramfsDirect != 0 {
		return int64(v&cramfsPointer) << 2, v &^ cramfsPointer, nil
	}
	return int64(v & cramfsPointer), v &^ cramfsPointer, nil
}

// packed is the length that stands in front of a block at a direct pointer.
func (n *cramfsNode) packed(at int64) (int64, error) {
	var p [2]byte
	if err := readFull(n.c.r, p[:], at); err != nil {
		return 0, err
	}
	return int64(n.c.order.Uint16(p[:])), nil
}

// block returns where a block is. Its pointer says where it ends, and it starts
// where the one before ends or behind the pointers. One of no bytes is a hole.
func (n *cramfsNode) block(i int64) (at, size int64, stored bool, err error) {
	pointers := n.offset + 4*n.blocks()
	if n.offset < cramfsSuper || pointers > n.c.Size {
		return 0, 0, false, fmt.Errorf("%d block pointers at %#x are outside the image", n.blocks(), n.offset)
	}
	own, flags, err := n.pointer(i)
	if err != nil {
		return 0, 0, false, err
	}
	stored = flags&cramfsStored != 0
	switch {
	case flags&cramfsDirect != 0 && stored:
		at, size = own, n.length(i)
	case flags&cramfsDirect != 0:
		size, err = n.packed(own)
		at = own + 2
	default:
		if at, err = n.endOf(i-1, pointers); err == nil {
			size = own - at
		}
	}
	switch {
	case err != nil:
	case at < cramfsSuper || size < 0 || at+size > n.c.Size:
		err = errors.New("it is outside the image")
	case size > 2*cramfsBlock || stored && size > cramfsBlock:
		err = fmt.Errorf("%d bytes are more than a block packs to", size)
	}
	if err != nil {
		err = fmt.Errorf("block %d at %#x: %w", i, at, err)
	}
	return at, size, stored, err
}

func (n *cramfsNode) endOf(i, pointers int64) (int64, error) {
	if i < 0 {
		return pointers, nil
	}
	at, flags, err := n.pointer(i)
	if err != nil || flags&cramfsDirect == 0 {
		return at, err
	}
	if flags&cramfsStored != 0 {
		return at + cramfsBlock, nil
	}
	size, err := n.packed(at)
	return at + 2 + size, err
}

// length is how many bytes a block unpacks to.
func (n *cramfsNode) length(i int64) int64 { return min(cramfsBlock, n.Size-i*cramfsBlock) }

func (n *cramfsNode) unpack(i int64, dst []byte) error {
	if err := n.c.meter.Bytes(int64(len(dst))); err != nil {
		return err
	}
	at, size, stored, err := n.block(i)
	if err != nil {
		return err
	}
	if size == 0 {
		clear(dst)
		return nil
	}
	packed := make([]byte, size)
	if err := readFull(n.c.r, packed, at); err != nil {
		return err
	}
	method := compress.Zlib
	if stored {
		method = compress.None
	}
	got, err := compress.Block(method, packed, dst)
	if err == nil && got != len(dst) {
		err = fmt.Errorf("it unpacks to %d bytes and not to %d", got, len(dst))
	}
	if err != nil {
		return fmt.Errorf("block %d at %#x: %w", i, at, err)
	}
	return nil
}

func (n *cramfsNode) inode() *Inode          { return &n.Inode }
func (n *cramfsNode) list() ([]entry, error) { return slices.Clone(n.children), nil }

func (n *cramfsNode) lookup(name string) (node, error) {
	i, ok := slices.BinarySearchFunc(n.children, name, func(e entry, name string) int { return strings.Compare(e.name, name) })
	if !ok {
		return nil, fs.ErrNotExist
	}
	return n.children[i].load()
}

func (n *cramfsNode) open() (io.ReaderAt, io.Closer, error) {
	return &cramfsData{n: n, have: -1}, nil, nil
}

func (n *cramfsNode) target() (string, error) {
	if n.Size == 0 || n.Size > maxTarget {
		return "", fmt.Errorf("symbolic link target of %d bytes", n.Size)
	}
	p := make([]byte, n.Size)
	_, err := (&cramfsData{n: n, have: -1}).ReadAt(p, 0)
	return string(p), err
}

// cramfsData reads a file's bytes. It keeps the block that was read last in
// part, since readers ask for a few bytes at a time.
type cramfsData struct {
	n    *cramfsNode
	mu   sync.Mutex
	buf  []byte
	have int64 // the block in buf, -1 for none
}

func (d *cramfsData) ReadAt(p []byte, off int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if off < 0 {
		return 0, fs.ErrInvalid
	}
	done := 0
	for done < len(p) && off < d.n.Size {
		n, err := d.readBlock(p[done:], off)
		done, off = done+n, off+int64(n)
		if err != nil {
			return done, err
		}
	}
	if done < len(p) {
		return done, io.EOF
	}
	return done, nil
}

// readBlock copies from the block that off is in. A whole block goes straight
// to where it is wanted.
func (d *cramfsData) readBlock(p []byte, off int64) (int, error) {
	i, skip := off/cramfsBlock, off%cramfsBlock
	length := d.n.length(i)
	if skip == 0 && int64(len(p)) >= length {
		return int(length), d.n.unpack(i, p[:length])
	}
	if i != d.have {
		if d.buf == nil {
			d.buf = make([]byte, cramfsBlock)
		}
		d.have = -1
		if err := d.n.unpack(i, d.buf[:length]); err != nil {
			return 0, err
		}
		d.have = i
	}
	return copy(p, d.buf[skip:length]), nil
}
