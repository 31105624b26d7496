package filesystem

import (
	"fmt"
	"io"
	"math"
)

// Extended attributes of version 4: the kernel's fs/squashfs/xattr.c and
// xattr_id.c. An array of entries says where each inode's attributes are in a
// row of metadata blocks, and how many. The array's own blocks are found as
// those of other tables are, but for 16 bytes in front of their offsets.

const (
	squashXattrHead  = 16 // start of the attributes, number of entries, nothing
	squashXattrEntry = 16
	squashXattrApart = 1 << 8 // the value is at another place
	squashXattrMost  = 64 << 10
)

// squashXattrSpaces is by the low byte of an attribute's type.
var squashXattrSpaces = [...]string{"user.", "trusted.", "security."}

func (n *squashNode) hasXattrs(i uint32) {
	if i == squashNoXattr {
		return
	}
	n.XAttrs, n.xattr = true, i
	n.xattrs = n
}

// xattrTable returns where attributes start and the table of entries.
func (s *SquashFS) xattrTable() (start uint64, t table, err error) {
	at := s.super.xattrTable
	if at == squashNothing {
		return 0, t, fmt.Errorf("squashfs: there is no table of extended attributes")
	}
	if at < s.super.size() || at > uint64(s.super.used) || uint64(s.super.used)-at < squashXattrHead {
		return 0, t, fmt.Errorf("squashfs: table of extended attributes at %#x is outside the image", at)
	}
	var p [squashXattrHead]byte
	if _, err := s.r.ReadAt(p[:], int64(at)); err != nil && err != io.EOF {
		return 0, t, err
	}
	o := s.super.order
	start = o.Uint64(p[:])
	t = table{"xattr", at + squashXattrHead, uint64(o.Uint32(p[8:])), squashXattrEntry, true}
	if start < s.super.size() || start > at || t.blocks()*8 > uint64(s.super.used)-t.start {
		return 0, t, fmt.Errorf("squashfs: %d entries of extended attributes at %#x, the attributes at %#x", t.entries, at, start)
	}
	return start, t, nil
}

// firstXattrBlock is where attributes start, for it ends the table before.
func (s *SquashFS) firstXattrBlock() (uint64, error) {
	start, _, err := s.xattrTable()
	return start, err
}

// readXattrs reads an inode's attributes. What they have together is bounded by
// what their entry says, and that by what Linux lets a file have.
func (n *squashNode) readXattrs() ([]XAttr, error) {
	list, err := n.listXattrs()
	if err != nil {
		return nil, n.bad("extended attributes: %w", err)
	}
	return list, nil
}

func (n *squashNode) listXattrs() ([]XAttr, error) {
	s := n.s
	start, t, err := s.xattrTable()
	if err != nil {
		return nil, err
	}
	var p [squashXattrEntry]byte
	if err := s.tableEntry(t, uint64(n.xattr), p[:]); err != nil {
		return nil, err
	}
	o := s.super.order
	count, size := o.Uint32(p[8:]), o.Uint32(p[12:])
	c, err := s.xattrCursor(start, o.Uint64(p[:]))
	if err != nil {
		return nil, err
	}
	// The smallest one has 4 bytes of type and size, 1 of name and 4 of value.
	if count > size/8 || size > math.MaxInt32 {
		return nil, fmt.Errorf("%d of them in %d bytes", count, size)
	}
	var list []XAttr
	for range count {
		a, err := s.xattr(&c, start)
		if err != nil {
			return list, err
		}
		// Values may lie apart, many names on one.
		if err := s.meter.Bytes(int64(len(a.Name) + len(a.Value))); err != nil {
			return list, err
		}
		list = append(list, a)
	}
	return list, nil
}

// xattrCursor is at a reference, as inodes have them.
func (s *SquashFS) xattrCursor(start, ref uint64) (cursor, error) {
	if ref>>16 > uint64(s.super.used) || ref&0xffff >= squashMetadata {
		return cursor{}, fmt.Errorf("there is no place %#x", ref)
	}
	return cursor{s: s, what: "xattr table", at: int64(start + ref>>16), end: int64(s.super.xattrTable), off: int(ref & 0xffff)}, nil
}

func (s *SquashFS) xattr(c *cursor, start uint64) (a XAttr, err error) {
	var p [8]byte
	if err := c.next(p[:4]); err != nil {
		return a, err
	}
	o := s.super.order
	kind, size := o.Uint16(p[:]), int(o.Uint16(p[2:]))
	space := int(kind & 0xff)
	if space >= len(squashXattrSpaces) || size == 0 || size > maxName {
		return a, fmt.Errorf("type %#x with a name of %d bytes", kind, size)
	}
	name := make([]byte, size)
	if err := c.next(name); err != nil {
		return a, err
	}
	a.Name = squashXattrSpaces[space] + string(name)
	value, err := s.xattrValue(c)
	if err != nil || kind&squashXattrApart == 0 {
		a.Value = value
		return a, err
	}
	if len(value) != 8 {
		return a, fmt.Errorf("%q: a reference of %d bytes", a.Name, len(value))
	}
	apart, err := s.xattrCursor(start, o.Uint64(value))
	if err != nil {
		return a, err
	}
	a.Value, err = s.xattrValue(&apart)
	return a, err
}

func (s *SquashFS) xattrValue(c *cursor) ([]byte, error) {
	var p [4]byte
	if err := c.next(p[:]); err != nil {
		return nil, err
	}
	size := s.super.order.Uint32(p[:])
	if size > squashXattrMost {
		return nil, fmt.Errorf("value of %d bytes", size)
	}
	value := make([]byte, size)
	return value, c.next(value)
}
