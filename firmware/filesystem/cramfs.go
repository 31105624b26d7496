package filesystem

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/bits"
	"strings"

	"assay/firmware"
	"assay/firmware/budget"
)

func init() {
	firmware.Register(firmware.Format{
		Name:   "cramfs",
		Source: "kernel include/uapi/linux/cramfs_fs.h, fs/cramfs/inode.c, Documentation/filesystems/cramfs.rst; util-linux mkfs.cramfs.c",
		Magics: []firmware.Magic{
			{Bytes: "\x45\x3d\xcd\x28"}, {Bytes: "\x28\xcd\x3d\x45"},
			{Offset: cramfsBoot, Bytes: "\x45\x3d\xcd\x28"}, {Offset: cramfsBoot, Bytes: "\x28\xcd\x3d\x45"},
		},
		Parse: parseCramFS,

		About:        "compressed ROM file system",
		Integrity:    "CRC-32 over the image",
		Authenticity: "none",
	})
}

// ErrNotCramFS says that there is no CramFS superblock.
var ErrNotCramFS = errors.New("no CramFS superblock")

const (
	cramfsMagic     = 0x28cd3d45
	cramfsSignature = "Compressed ROMFS"
	cramfsBoot      = 512 // bytes that may be in front of the superblock, for boot code
	cramfsSuper     = 76  // with the root's inode, its last 12
	cramfsInodeSize = 12
	cramfsBlock     = 4096    // the page of the unit's kernel; the image does not say it
	cramfsMaxSize   = 1 << 28 // what the offsets in inodes reach
)

// Flags of the superblock.
const (
	cramfsVersion2    = 0x1
	cramfsShiftedRoot = 0x400
	cramfsExtended    = 0x800 // block pointers have flags of their own
)

var cramfsFlags = []struct {
	bit  uint32
	name string
}{
	{cramfsVersion2, "version 2"}, {0x2, "sorted directories"}, {0x100, "holes"}, {0x200, "wrong signature"},
	{cramfsShiftedRoot, "shifted root"}, {cramfsExtended, "extended block pointers"},
}

// CramFS is a compressed read-only file system. Its inodes have no times, no
// link counts and groups of 8 bits. It may be used from several goroutines.
type CramFS struct {
	tree
	BigEndian bool
	Size      int64 // bytes; of version 1, which does not say it, up to the last byte in use
	Flags     uint32
	Name      string
	CRC       uint32 // what the superblock says the image sums to, when it is of version 2
	Edition   uint32
	Files     uint32 // that the superblock counts
	Survey    *Survey

	survey Survey
	order  binary.ByteOrder
	r      io.ReaderAt
	meter  *budget.Meter
	super  int64 // where the superblock is
	used   int64 // end of what was found in use
	root   *cramfsNode
	dirs   map[int64]bool // by where their listing is
}

// NewCramFS reads the superblock and walks all directories. It does not unpack
// files and does not verify the checksum. What is wrong with single files is in
// the survey's problems.
//
// The error wraps ErrNotCramFS when there is no sane superblock; it is of the
// budget, of ctx or of r otherwise, and what was read before is beside it.
func NewCramFS(ctx context.Context, r io.ReaderAt, size int64, meter *budget.Meter) (*CramFS, error) {
	c := &CramFS{r: r, meter: meter, dirs: make(map[int64]bool)}
	c.Survey = &c.survey
	c.tree = tree{root: func() (node, error) { return c.root, nil }, meter: meter}
	if err := c.begin(size); err != nil {
		return nil, err
	}
	err := c.root.fill(ctx, ".", 0)
	if c.Flags&cramfsVersion2 == 0 {
		c.Size = max(c.used, c.super+cramfsSuper)
	}
	if err != nil {
		err = fmt.Errorf("cramfs: %w", err)
	}
	return c, err
}

func (c *CramFS) begin(size int64) error {
	for _, at := range []int64{0, cramfsBoot} {
		p := make([]byte, cramfsSuper)
		if size < at+cramfsSuper {
			break
		}
		if _, err := c.r.ReadAt(p, at); err != nil && err != io.EOF {
			return err
		}
		switch uint32(cramfsMagic) {
		case binary.LittleEndian.Uint32(p):
			c.order = binary.LittleEndian
		case binary.BigEndian.Uint32(p):
			c.order, c.BigEndian = binary.BigEndian, true
		default:
			continue
		}
		c.super = at
		return c.parseSuper(p, size)
	}
	return ErrNotCramFS
}

func (c *CramFS) parseSuper(p []byte, size int64) error {
	word := func(off int) uint32 { return c.order.Uint32(p[off:]) }
	c.Flags = word(8)
	name, _, _ := strings.Cut(string(p[48:64]), "\x00")
	c.Name = strings.ToValidUTF8(name, ".")
	c.root = c.inode(p[64:])
	wrong := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s", ErrNotCramFS, fmt.Sprintf(format, args...))
	}
	if string(p[16:32]) != cramfsSignature {
		return wrong("its signature is %q", p[16:32])
	}
	if !c.root.is(typeDir) {
		return wrong("the root has mode %o and is no directory", c.root.Mode)
	}
	// With boot code in front all offsets count from there. A superblock of such
	// an image is not one that begins an image.
	if first := c.super + cramfsSuper; c.root.offset != first && c.root.offset != 0 && (c.super > 0 || c.Flags&cramfsShiftedRoot == 0) {
		return wrong("the root's listing is at %#x and not at %#x", c.root.offset, first)
	}
	if c.Flags&cramfsVersion2 == 0 {
		c.Size = min(size, cramfsMaxSize)
		return nil
	}
	c.Size, c.CRC, c.Edition, c.Files = int64(word(4)), word(32), word(36), word(44)
	if c.Size < c.super+cramfsSuper || c.Size > cramfsMaxSize {
		return wrong("it says to have %d bytes", c.Size)
	}
	if c.Size > size {
		c.survey.problem("%d bytes are said and %d are there: the image is cut short", c.Size, size)
		c.Size = size
	}
	return nil
}

// inode reads an inode, whose bit fields begin at the lowest bit in one byte
// order and at the highest in the other.
func (c *CramFS) inode(p []byte) *cramfsNode {
	w := [3]uint32{c.order.Uint32(p), c.order.Uint32(p[4:]), c.order.Uint32(p[8:])}
	split := func(v uint32, first int) (uint32, uint32) {
		if c.BigEndian {
			return v >> (32 - first), v & (1<<(32-first) - 1)
		}
		return v & (1<<first - 1), v >> first
	}
	n := &cramfsNode{c: c}
	n.Mode, n.UID = split(w[0], 16)
	size, gid := split(w[1], 24)
	names, offset := split(w[2], 6)
	n.Size, n.GID, n.Links = int64(size), gid, 1
	n.names, n.offset = int64(names)*4, int64(offset)*4
	return n
}

// sum computes the CRC-32 over the image from the superblock on, with the field
// that holds it as zeros.
func (c *CramFS) sum(ctx context.Context) (uint32, error) {
	crc := crc32.NewIEEE()
	head := make([]byte, cramfsSuper)
	if err := readFull(c.r, head, c.super); err != nil {
		return 0, err
	}
	clear(head[32:36])
	crc.Write(head)
	buf := make([]byte, 64<<10)
	for at := c.super + cramfsSuper; at < c.Size; at += int64(len(buf)) {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		buf = buf[:min(int64(len(buf)), c.Size-at)]
		if err := readFull(c.r, buf, at); err != nil {
			return 0, err
		}
		crc.Write(buf)
	}
	return crc.Sum32(), nil
}

// readFull reads all of p; that r ends before is an error.
func readFull(r io.ReaderAt, p []byte, at int64) error {
	n, err := r.ReadAt(p, at)
	if n == len(p) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("%d bytes at %#x: %w", len(p), at, err)
}

func parseCramFS(w *firmware.Window) (*firmware.Region, error) {
	c, err := NewCramFS(w.Context(), w, w.Size(), w.Meter())
	if errors.Is(err, ErrNotCramFS) {
		return nil, fmt.Errorf("%w: %w", firmware.ErrNotFormat, err)
	}
	if c == nil {
		return nil, err
	}
	r := &firmware.Region{Format: "cramfs", Name: c.Name, Size: c.Size, State: firmware.Parsed, Role: firmware.RoleData, FS: c}
	r.AddField("byte order", "%s", map[bool]string{false: "little endian", true: "big endian"}[c.BigEndian])
	r.AddField("flags", "%s", c.flagNames())
	if c.Flags&cramfsVersion2 != 0 {
		r.AddField("edition", "%d", c.Edition)
		r.AddField("files said", "%d", c.Files)
	}
	if c.super > 0 {
		r.AddField("superblock", "%#x", c.super)
	}
	if looksLikeRoot(c) {
		r.Role = firmware.RoleRootFS
	}
	c.survey.describe(r)
	if err != nil {
		r.AddProblem("not read to its end: %v", err)
		return r, err
	}
	if c.Flags&cramfsVersion2 == 0 {
		return r, nil
	}
	sum, err := c.sum(w.Context())
	if err != nil {
		return r, err
	}
	swapped := sum != c.CRC && sum == bits.ReverseBytes32(c.CRC)
	r.AddCheck("CRC-32", sum == c.CRC || swapped, "computed %08x, declared %08x", sum, c.CRC)
	switch {
	case swapped:
		r.AddField("CRC-32 byte order", "reversed, as some vendors write it")
	case sum != c.CRC:
		r.AddProblem("CRC-32 is %08x and the superblock says %08x", sum, c.CRC)
	}
	if len(r.Problems) == 0 {
		r.State = firmware.Proven
	}
	return r, nil
}

func (c *CramFS) flagNames() string {
	var names []string
	left := c.Flags
	for _, f := range cramfsFlags {
		if left&f.bit != 0 {
			names = append(names, f.name)
			left &^= f.bit
		}
	}
	if left != 0 {
		names = append(names, fmt.Sprintf("unknown %#x", left))
	}
	return strings.Join(names, ", ")
}
