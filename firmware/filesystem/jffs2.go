package filesystem

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"assay/firmware"
	"assay/firmware/budget"
)

func init() {
	firmware.Register(firmware.Format{
		Name:   "jffs2",
		Source: "kernel include/uapi/linux/jffs2.h, fs/jffs2/{scan,readinode,summary}.c; LZMA: OpenWrt's jffs2 patches",
		Magics: jffs2Magics(),
		Parse:  parseJFFS2,

		About:        "journalling flash file system",
		Integrity:    "CRC-32 of each node",
		Authenticity: "none",
	})
}

// ErrNotJFFS2 says that there is no JFFS2 node at all.
var ErrNotJFFS2 = errors.New("no JFFS2 node")

const (
	jffs2Magic    = 0x1985
	jffs2OldMagic = 0x1984 // before its release; no kernel reads it
)

// Node types. The upper two bits tell a kernel that does not know the type what
// to do; jffs2Accurate is cleared on flash when a node is obsolete.
const (
	jffs2Incompatible = 0xc000
	jffs2Accurate     = 0x2000

	jffs2Dirent  = 0xe001
	jffs2Inode   = 0xe002
	jffs2Clean   = 0x2003
	jffs2Padding = 0x2004
	jffs2Summary = 0x2006
	jffs2XAttr   = 0xe008
	jffs2XRef    = 0xe009
)

// Bytes of the nodes' fixed parts. The first header has magic, type, length and
// a CRC-32 over these.
const (
	jffs2Header     = 12
	jffs2DirentSize = 40
	jffs2InodeSize  = 68
	jffs2SumSize    = 32
	jffs2XAttrSize  = 32
	jffs2XRefSize   = 28
)

// jffs2Magics are magic and type, in both byte orders, since two bytes stand in
// any image by chance.
func jffs2Magics() []firmware.Magic {
	var list []firmware.Magic
	for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
		for _, kind := range []uint16{jffs2Dirent, jffs2Inode, jffs2Clean, jffs2Padding, jffs2Summary, jffs2XAttr, jffs2XRef} {
			for _, magic := range []uint16{jffs2Magic, jffs2OldMagic} {
				p := order.AppendUint16(order.AppendUint16(nil, magic), kind)
				list = append(list, firmware.Magic{Bytes: string(p)})
			}
			p := order.AppendUint16(order.AppendUint16(nil, jffs2Magic), kind&^jffs2Accurate)
			list = append(list, firmware.Magic{Bytes: string(p)})
		}
	}
	return list
}

// jffs2CRC is the kernel's crc32(0, p): that of Ethernet without the inversions.
func jffs2CRC(p []byte) uint32 { return ^crc32.Update(^uint32(0), crc32.IEEETable, p) }

// JFFS2 is a journalling flash file system: a log of nodes, each of which
// states a version of a directory entry or of a piece of a file. It may be used
// from several goroutines.
type JFFS2 struct {
	tree
	BigEndian  bool
	Old        bool  // of the magic 0x1984: its nodes are counted, its files are not read
	Size       int64 // bytes from the first node to the end of the last erase block with nodes
	EraseBlock int64 // bytes; 0 when nothing shows it
	Nodes      JFFS2Nodes
	Survey     *Survey

	survey  Survey
	order   binary.ByteOrder
	magic   uint16
	r       io.ReaderAt
	meter   *budget.Meter
	log     []jffs2Node
	dirty   []jffs2Run
	scanned int64 // how far
	phase   int64 // where the first whole erase block starts, less than EraseBlock
	other   int64 // where another file system's nodes were met; 0 for nowhere
	inodes  map[uint32]*jffs2File
	root    *jffs2File
}

// JFFS2Nodes counts nodes and what is between them.
type JFFS2Nodes struct {
	Entries, Deletions, Inodes        int // whose checksums hold
	CleanMarkers, Paddings, Summaries int
	XAttrs                            int   // extended attributes and references to them
	Obsolete                          int   // marked so; not read
	Unknown                           int   // of types that the kernel does not know
	BadHeaders, BadNodes, BadData     int   // whose checksum does not hold; not used
	Nameless                          int   // inodes that no directory names: deleted files
	Dirty                             int64 // bytes that are neither in a node nor erased
}

// NewJFFS2 reads the file system whose first node is at r's first byte, up to
// the end of the last erase block that holds nodes of it: bytes that are
// neither nodes nor erased do not extend it. All checksums are verified. What
// is wrong with single nodes is in the survey's problems.
//
// The error wraps ErrNotJFFS2 when the first header is none; it is of the
// budget, of ctx or of r otherwise, and what was read before is beside it.
func NewJFFS2(ctx context.Context, r io.ReaderAt, size int64, meter *budget.Meter) (*JFFS2, error) {
	f := &JFFS2{r: r, meter: meter, inodes: make(map[uint32]*jffs2File)}
	f.Survey = &f.survey
	f.tree = tree{root: func() (node, error) { return f.root, nil }, meter: meter}
	f.root = f.file(1)
	f.root.Mode = typeDir | 0o755
	if err := f.begin(size); err != nil {
		return nil, err
	}
	err := f.scan(ctx, size)
	f.bound()
	if err == nil && !f.Old {
		err = f.load(ctx)
	}
	if buildErr := f.build(ctx); err == nil {
		err = buildErr
	}
	if err != nil {
		err = fmt.Errorf("jffs2: %w", err)
	}
	return f, err
}

// begin tells byte order and age by the first header.
func (f *JFFS2) begin(size int64) error {
	p := make([]byte, jffs2Header)
	if size < jffs2Header {
		return fmt.Errorf("%w: %d bytes are too few", ErrNotJFFS2, size)
	}
	if _, err := f.r.ReadAt(p, 0); err != nil && err != io.EOF {
		return err
	}
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		magic := order.Uint16(p)
		if magic != jffs2Magic && magic != jffs2OldMagic {
			continue
		}
		f.order, f.magic = order, magic
		f.BigEndian, f.Old = order == binary.BigEndian, magic == jffs2OldMagic
		if _, err := f.header(p, size); err != nil {
			return fmt.Errorf("%w: %w", ErrNotJFFS2, err)
		}
		return nil
	}
	return fmt.Errorf("%w: it begins with %x", ErrNotJFFS2, p[:4])
}

// header reads a node's header, with left bytes from it on. A kernel checks the
// CRC of an obsolete node as if it were not.
func (f *JFFS2) header(p []byte, left int64) (jffs2Node, error) {
	kind, length := f.order.Uint16(p[2:]), f.order.Uint32(p[4:])
	n := jffs2Node{kind: kind | jffs2Accurate, length: int64(length), obsolete: kind&jffs2Accurate == 0}
	h := bytes.Clone(p[:8])
	f.order.PutUint16(h[2:], n.kind)
	if sum, want := jffs2CRC(h), f.order.Uint32(p[8:]); sum != want {
		return n, fmt.Errorf("header CRC-32 is %08x, the header says %08x", sum, want)
	}
	if n.length < jffs2Header || n.length > left {
		return n, fmt.Errorf("node of %d bytes, and %d are left", length, left)
	}
	return n, nil
}

func parseJFFS2(w *firmware.Window) (*firmware.Region, error) {
	f, err := NewJFFS2(w.Context(), w, w.Size(), w.Meter())
	if errors.Is(err, ErrNotJFFS2) {
		return nil, fmt.Errorf("%w: %w", firmware.ErrNotFormat, err)
	}
	if f == nil {
		return nil, err
	}
	r := &firmware.Region{Format: "jffs2", Size: f.Size, State: firmware.Parsed, Role: firmware.RoleData}
	f.describe(r)
	if err != nil {
		r.AddProblem("not read to its end: %v", err)
	}
	if f.Old {
		r.AddProblem("magic 0x1984 is of a JFFS2 before its release, which no kernel reads: its files are not read")
		return r, err
	}
	r.FS = f
	if looksLikeRoot(f) {
		r.Role = firmware.RoleRootFS
	}
	if err == nil && len(r.Problems) == 0 && f.Nodes.Dirty == 0 && f.Nodes.Obsolete == 0 {
		r.State = firmware.Proven
	}
	return r, err
}

func (f *JFFS2) describe(r *firmware.Region) {
	n := &f.Nodes
	r.AddField("byte order", "%s", map[bool]string{false: "little endian", true: "big endian"}[f.BigEndian])
	if f.EraseBlock > 0 {
		r.AddField("erase block", "%d", f.EraseBlock)
	}
	r.AddField("nodes", "%d", len(f.log))
	for _, c := range []struct {
		name  string
		count int
	}{
		{"directory entries", n.Entries}, {"deletions", n.Deletions}, {"inode nodes", n.Inodes}, {"clean markers", n.CleanMarkers},
		{"padding nodes", n.Paddings}, {"erase block summaries", n.Summaries}, {"extended attribute nodes", n.XAttrs},
		{"obsolete nodes", n.Obsolete}, {"nodes of unknown type", n.Unknown}, {"inodes without a name", n.Nameless},
	} {
		if c.count > 0 {
			r.AddField(c.name, "%d", c.count)
		}
	}
	if n.Dirty > 0 {
		r.AddField("bytes outside of nodes", "%d", n.Dirty)
	}
	if f.other > 0 {
		r.AddField("ends before", "nodes of another file system at %#x", f.other)
	}
	f.survey.describe(r)
	r.AddCheck("node header CRC-32", n.BadHeaders == 0, "%d hold, %d do not", len(f.log), n.BadHeaders)
	if !f.Old {
		r.AddCheck("node and data CRC-32", n.BadNodes+n.BadData == 0, "%d nodes are used, %d are bad", n.Entries+n.Deletions+n.Inodes+n.Summaries+n.XAttrs, n.BadNodes+n.BadData)
	}
}
