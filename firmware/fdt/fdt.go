// Package fdt reads flattened device trees and keeps the raw offsets of all they
// consist of, because a signature over a FIT image is a signature over extents
// of the structure block (Devicetree Specification v0.4, chapter 5; U-Boot
// boot/image-fit-sig.c and lib/libfdt for what FIT makes of it).
//
// A tree is hostile: the blocks must lie inside the blob and apart from each
// other, tokens must nest, names must end, and depth, nodes and properties are
// bounded. Property values stay where they are until asked for, since a FIT
// carries whole kernels in them.
package fdt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Magic is the first word of a blob.
const Magic = 0xd00dfeed

// Bounds on a tree. The largest device trees in the Linux sources have some
// 10,000 nodes, 10 deep.
const (
	MaxDepth      = 64
	MaxNodes      = 1 << 15
	MaxProperties = 1 << 17
	MaxStrings    = 1 << 20 // bytes of strings block
	MaxName       = 256
	MaxValue      = 1 << 20 // bytes that Value returns; larger ones are to be streamed
)

// ErrMalformed is wrapped by every error that is about the blob's bytes and not
// about reading them.
var ErrMalformed = errors.New("malformed device tree")

// Header is the fdt_header of section 5.2. Its offsets and sizes are bytes from
// the start of the blob.
type Header struct {
	TotalSize      uint32
	StructOffset   uint32
	StringsOffset  uint32
	ReserveOffset  uint32
	Version        uint32
	LastCompatible uint32
	BootCPU        uint32
	StringsSize    uint32
	StructSize     uint32
}

const headerSize = 40

// Reservation is an entry of the memory reservation block (section 5.3).
type Reservation struct{ Address, Size uint64 }

// Tree is a parsed blob.
type Tree struct {
	Header       Header
	Root         *Node
	Reservations []Reservation

	// EndToken is the offset of the FDT_END token in the structure block.
	EndToken int64

	// Duplicates are the paths of nodes and properties that stand beside an
	// equally named one. Readers differ in which of the two they take, so a
	// duplicate in a signed tree is an attack and not an oddity.
	Duplicates []string

	r io.ReaderAt
}

// Node is a node of the tree. Its offsets count from the start of the structure
// block.
type Node struct {
	Name       string
	Begin      int64 // of the FDT_BEGIN_NODE token
	Body       int64 // of the first token behind the name
	End        int64 // of the FDT_END_NODE token, which is 4 bytes long
	Properties []Property
	Children   []*Node
}

// Property is a property of a node. Its offsets count from the start of the
// structure block.
type Property struct {
	Name       string
	NameOffset uint32 // in the strings block
	Token      int64  // of the FDT_PROP token
	Value      int64  // of the value's first byte
	Length     int64  // of the value, without padding
}

// End is the offset behind the value's padding.
func (p *Property) End() int64 { return align4(p.Value + p.Length) }

// Structure block tokens (section 5.4.1).
const (
	tokenBeginNode = 1
	tokenEndNode   = 2
	tokenProp      = 3
	tokenNop       = 4
	tokenEnd       = 9
)

// Parse reads the tree that starts at the first byte of r, of which size bytes
// may be looked at. r is kept for property values. It does not check what the
// tree says.
func Parse(r io.ReaderAt, size int64) (*Tree, error) {
	t := &Tree{r: r}
	if err := t.readHeader(size); err != nil {
		return nil, err
	}
	if err := t.readReservations(); err != nil {
		return nil, err
	}
	names := make([]byte, t.Header.StringsSize)
	if _, err := readFull(r, names, int64(t.Header.StringsOffset)); err != nil {
		return nil, fmt.Errorf("strings block: %w", err)
	}
	p := &parser{tree: t, names: names, cursor: cursor{r: r, base: int64(t.Header.StructOffset), size: int64(t.Header.StructSize)}}
	if err := p.parse(); err != nil {
		return nil, err
	}
	return t, nil
}

func (t *Tree) readHeader(size int64) error {
	var b [headerSize]byte
	if size < headerSize {
		return fmt.Errorf("%w: %d bytes are no header", ErrMalformed, size)
	}
	if _, err := readFull(t.r, b[:], 0); err != nil {
		return fmt.Errorf("header: %w", err)
	}
	word := func(i int) uint32 { return binary.BigEndian.Uint32(b[4*i:]) }
	if word(0) != Magic {
		return fmt.Errorf("%w: magic is %#08x", ErrMalformed, word(0))
	}
	h := Header{word(1), word(2), word(3), word(4), word(5), word(6), word(7), word(8), word(9)}
	switch {
	case h.LastCompatible > 17 || h.Version < 16:
		return fmt.Errorf("%w: version %d, readable as %d, is not 16 or 17", ErrMalformed, h.Version, h.LastCompatible)
	case int64(h.TotalSize) > size:
		return fmt.Errorf("%w: total size is %d and %d bytes are there", ErrMalformed, h.TotalSize, size)
	case h.StructOffset%4 != 0 || h.ReserveOffset%8 != 0:
		return fmt.Errorf("%w: structure block at %#x or reservations at %#x are not aligned", ErrMalformed, h.StructOffset, h.ReserveOffset)
	case h.StringsSize > MaxStrings:
		return fmt.Errorf("%w: strings block of %d bytes, more than %d", ErrMalformed, h.StringsSize, MaxStrings)
	}
	if h.Version < 17 {
		// The structure block's size came with version 17; before, it ends where
		// the next block begins.
		end := h.TotalSize
		if h.StringsOffset > h.StructOffset {
			end = min(end, h.StringsOffset)
		}
		h.StructSize = max(end, h.StructOffset) - h.StructOffset
	}
	for _, block := range []struct {
		name      string
		off, size uint32
	}{
		{"structure", h.StructOffset, h.StructSize},
		{"strings", h.StringsOffset, h.StringsSize},
		{"reservation", h.ReserveOffset, 16},
	} {
		if block.off < 28 || int64(block.off)+int64(block.size) > int64(h.TotalSize) {
			return fmt.Errorf("%w: %s block at %#x of %d bytes is outside the %d of the blob", ErrMalformed, block.name, block.off, block.size, h.TotalSize)
		}
	}
	if h.StructOffset < h.StringsOffset+h.StringsSize && h.StringsOffset < h.StructOffset+h.StructSize {
		return fmt.Errorf("%w: structure block at %#x and strings block at %#x overlap", ErrMalformed, h.StructOffset, h.StringsOffset)
	}
	t.Header = h
	return nil
}

const maxReservations = 1024

func (t *Tree) readReservations() error {
	for off := int64(t.Header.ReserveOffset); ; off += 16 {
		var b [16]byte
		if off+16 > int64(t.Header.TotalSize) || len(t.Reservations) == maxReservations {
			return fmt.Errorf("%w: the reservation block at %#x does not end", ErrMalformed, t.Header.ReserveOffset)
		}
		if _, err := readFull(t.r, b[:], off); err != nil {
			return fmt.Errorf("reservations: %w", err)
		}
		r := Reservation{binary.BigEndian.Uint64(b[:]), binary.BigEndian.Uint64(b[8:])}
		if r == (Reservation{}) {
			return nil
		}
		t.Reservations = append(t.Reservations, r)
	}
}

func align4(n int64) int64 { return (n + 3) &^ 3 }

func readFull(r io.ReaderAt, p []byte, off int64) (int, error) {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return n, nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}
