package filesystem

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// minixNode is an inode.
type minixNode struct {
	Inode
	m      *Minix
	length int64
	zones  []uint32 // seven of data, then those of block maps
}

func (m *Minix) inode(number uint64) (*minixNode, error) {
	if number == 0 || number > m.inodes {
		return nil, fmt.Errorf("minix: inode %d, and there are %d", number, m.inodes)
	}
	size := m.inodeSize()
	at := int64(2+m.inodeMap+m.zoneMap)*m.block + int64(number-1)*size
	if at+size > int64(m.there)*m.block {
		return nil, fmt.Errorf("minix: inode %d is outside the image", number)
	}
	p := make([]byte, size)
	if err := readFull(m.r, p, at); err != nil {
		return nil, fmt.Errorf("minix: inode %d: %w", number, err)
	}
	half := func(off int) uint32 { return uint32(m.order.Uint16(p[off:])) }
	n := &minixNode{m: m}
	seconds := uint32(0)
	if m.Version == 1 {
		n.Inode = Inode{Number: number, Mode: half(0), UID: half(2), GID: uint32(p[12]), Links: uint32(p[13])}
		n.length, seconds = int64(m.order.Uint32(p[4:])), m.order.Uint32(p[8:])
		for i := range 9 {
			n.zones = append(n.zones, half(14+2*i))
		}
	} else {
		n.Inode = Inode{Number: number, Mode: half(0), Links: half(2), UID: half(4), GID: half(6)}
		n.length, seconds = int64(m.order.Uint32(p[8:])), m.order.Uint32(p[16:])
		for i := range 10 {
			n.zones = append(n.zones, m.order.Uint32(p[24+4*i:]))
		}
	}
	n.ModTime = time.Unix(int64(seconds), 0).UTC()
	switch {
	case n.is(typeFile), n.is(typeLink):
		n.Size = n.length
	case n.is(typeChar), n.is(typeBlock):
		n.Major, n.Minor = n.zones[0]>>8&0xff, n.zones[0]&0xff
	}
	return n, nil
}

func (n *minixNode) bad(format string, args ...any) error {
	return fmt.Errorf("minix: inode %d: %w", n.Number, fmt.Errorf(format, args...))
}

// mapped tells whether the inode has blocks.
func (n *minixNode) mapped() bool { return n.is(typeFile) || n.is(typeDir) || n.is(typeLink) }

// walk shows each block of the map to node, which tells whether to read it, and
// each block of data to data.
func (n *minixNode) walk(node func(block uint64) (bool, error), data func(at, block uint64) error) error {
	const direct = 7
	for i, zone := range n.zones[:direct] {
		if zone != 0 {
			if err := data(uint64(i), uint64(zone)); err != nil {
				return err
			}
		}
	}
	width := int64(4)
	if n.m.Version == 1 {
		width = 2
	}
	per := uint64(n.m.block / width)
	at, span := uint64(direct), per
	for level, zone := range n.zones[direct:] {
		if err := n.indirect(uint64(zone), at, level, int(width), node, data); err != nil {
			return err
		}
		at += span
		span *= per
	}
	return nil
}

func (n *minixNode) indirect(block, at uint64, level, width int, node func(uint64) (bool, error), data func(at, block uint64) error) error {
	if block == 0 {
		return nil
	}
	if ok, err := node(block); !ok || err != nil {
		return err
	}
	p := make([]byte, n.m.block)
	if err := readFull(n.m.r, p, int64(block)*n.m.block); err != nil {
		return err
	}
	per := uint64(len(p) / width)
	span := uint64(1)
	for range level {
		span *= per
	}
	for i := range per {
		own := uint64(0)
		if width == 2 {
			own = uint64(n.m.order.Uint16(p[2*i:]))
		} else {
			own = uint64(n.m.order.Uint32(p[4*i:]))
		}
		err := error(nil)
		switch {
		case level > 0:
			err = n.indirect(own, at+i*span, level-1, width, node, data)
		case own != 0:
			err = data(at+i, own)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// inside tells whether a block is one for data and there.
func (m *Minix) inside(block uint64) bool { return block >= m.first && block < m.there }

func (n *minixNode) pieces() (*pieces, error) {
	m := n.m
	p := &pieces{r: m.r, meter: m.meter, size: n.length, shared: m.shared}
	seen := make(map[uint64]bool)
	err := n.walk(func(block uint64) (bool, error) {
		if seen[block] || !m.inside(block) {
			return false, fmt.Errorf("block %d of its map is outside the file system or in a loop", block)
		}
		seen[block] = true
		return true, m.meter.Hold(64)
	}, func(at, block uint64) error {
		if at > uint64(n.length/m.block) {
			return nil
		}
		if !m.inside(block) {
			return fmt.Errorf("block %d of the file is outside the file system", at)
		}
		return p.extend(piece{int64(at) * m.block, int64(block) * m.block, m.block})
	})
	m.meter.Release(64 * int64(len(seen)))
	if err != nil {
		p.Close()
		return nil, n.bad("%w", err)
	}
	return p, nil
}

func (n *minixNode) inode() *Inode                    { return &n.Inode }
func (n *minixNode) list() ([]entry, error)           { return n.m.dirs.list(n.Number) }
func (n *minixNode) lookup(name string) (node, error) { return n.m.dirs.lookup(n.Number, name) }

func (n *minixNode) open() (io.ReaderAt, io.Closer, error) {
	p, err := n.pieces()
	if err != nil {
		return nil, nil, err
	}
	return p, p, nil
}

func (n *minixNode) target() (string, error) {
	if n.length == 0 || n.length > maxTarget {
		return "", n.bad("symbolic link target of %d bytes", n.length)
	}
	data, err := n.pieces()
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
