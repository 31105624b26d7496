package filesystem

import "time"

// Inodes of the versions before 4: squashfs-tools 4.5.1, squashfs_compat.h and
// unsquash-1.c to unsquash-3.c. The fields are packed bit by bit.

const (
	squashSameGroup  = 255 // the group's number is the user's
	squashSameGroup1 = 15  // of version 1
	squashTypes1     = 5   // of version 1, which counts the types with the user
)

// parseOld reads an inode up to what follows its fields.
func (n *squashNode) parseOld() error {
	b := n.s.super
	width := 8
	if b.major == 1 {
		width = 4
	}
	v, err := n.tail.fields(4, 12, width, width)
	if err != nil {
		return err
	}
	kind, mode, user, group := v[0], uint32(v[1]), v[2], v[3]
	if b.major == 1 {
		if kind == 0 { // a fifo or a socket
			v, err := n.tail.fields(4, 4)
			if err != nil {
				return err
			}
			kind, user = v[0], 16*v[1]+user
			if kind != squashFIFO && kind != squashSocket {
				return n.bad("type %d does not exist", kind)
			}
		} else {
			user += 16 * ((kind - 1) / squashTypes1)
			kind = (kind-1)%squashTypes1 + 1
		}
	}
	n.ModTime, n.Number, n.Links = b.created, n.ref+1, 1
	if b.numbered() {
		v, err := n.tail.fields(32, 32)
		if err != nil {
			return err
		}
		n.ModTime, n.Number = oldTime(v[0]), v[1]
	}
	switch {
	case b.major == 2 && kind == squashExtended+squashDir, b.major == 3 && (kind == squashExtended+squashDir || kind == squashExtended+squashFile):
		n.extended = true
		kind -= squashExtended
	case kind < squashDir || kind > squashSocket:
		return n.bad("type %d does not exist", kind)
	}
	n.Mode = squashTypes[kind] | mode
	owners := b.owners()
	if n.UID, err = n.s.owner(owners[0], user); err != nil {
		return n.bad("owner: %w", err)
	}
	if group == squashSameGroup || b.major == 1 && group == squashSameGroup1 {
		n.GID = n.UID
	} else if n.GID, err = n.s.owner(owners[1], group); err != nil {
		return n.bad("group: %w", err)
	}
	// Of a file, only the extended inode of version 3 has this.
	if b.numbered() && (kind != squashFile || n.extended) {
		v, err := n.tail.fields(32)
		if err != nil {
			return err
		}
		n.Links = uint32(v[0])
	}
	switch kind {
	case squashDir:
		return n.parseOldDir()
	case squashFile:
		return n.parseOldFile()
	case squashLink:
		v, err := n.tail.fields(16)
		if n.Size = int64(v[0]); err == nil && (n.Size == 0 || n.Size > maxTarget) {
			err = n.bad("symbolic link target of %d bytes", n.Size)
		}
		return err
	case squashBlock, squashChar:
		v, err := n.tail.fields(16)
		n.Major, n.Minor = uint32(v[0]>>8), uint32(v[0]&0xff)
		return err
	}
	return nil
}

func (n *squashNode) parseOldDir() error {
	size := 19
	if n.extended {
		size = 27
	}
	v, err := n.tail.fields(size, 13)
	if err != nil {
		return err
	}
	n.dirSize, n.dirOffset = int64(v[0]), uint16(v[1])
	if !n.s.super.numbered() {
		if v, err = n.tail.fields(32, 24); err != nil {
			return err
		}
		n.ModTime, n.dirBlock = oldTime(v[0]), uint32(v[1])
		if n.extended {
			v, err = n.tail.fields(16)
			n.indexes = uint16(v[0])
		}
		return err
	}
	n.dirSize = max(0, n.dirSize-3) // "." and "..", which are not stored
	if v, err = n.tail.fields(32); err != nil {
		return err
	}
	n.dirBlock = uint32(v[0])
	if n.extended {
		if v, err = n.tail.fields(16); err != nil {
			return err
		}
		n.indexes = uint16(v[0])
	}
	v, err = n.tail.fields(32)
	n.parent = uint32(v[0])
	return err
}

func (n *squashNode) parseOldFile() error {
	n.fragment = squashNoFragment
	switch n.s.super.major {
	case 1:
		v, err := n.tail.fields(32, 32, 32)
		if err != nil {
			return err
		}
		n.ModTime, n.start = oldTime(v[0]), v[1]
		return n.sized(v[2])
	case 2:
		v, err := n.tail.fields(32, 32, 32, 32, 32)
		if err != nil {
			return err
		}
		n.ModTime, n.start, n.fragment, n.fragOffset = oldTime(v[0]), v[1], uint32(v[2]), uint32(v[3])
		return n.sized(v[4])
	}
	size := 32
	if n.extended {
		size = 64
	}
	v, err := n.tail.fields(64, 32, 32, size)
	if err != nil {
		return err
	}
	n.start, n.fragment, n.fragOffset = v[0], uint32(v[1]), uint32(v[2])
	return n.sized(v[3])
}

func oldTime(seconds uint64) time.Time { return time.Unix(int64(uint32(seconds)), 0).UTC() }
