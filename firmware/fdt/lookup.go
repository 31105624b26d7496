package fdt

import (
	"encoding/binary"
	"fmt"
	"io"
	"strings"
)

// Lookup returns the node at an absolute path, or nil. Names must match with
// their unit addresses: guessing at a missing one has let tampered FITs pass
// (CVE-2021-27138).
func (t *Tree) Lookup(path string) *Node {
	n := t.Root
	for name := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		if name == "" {
			continue
		}
		if n = n.Child(name); n == nil {
			return nil
		}
	}
	return n
}

// Child returns the first child of that name, or nil.
func (n *Node) Child(name string) *Node {
	for _, c := range n.Children {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// Property returns the first property of that name, or nil.
func (n *Node) Property(name string) *Property {
	for i := range n.Properties {
		if n.Properties[i].Name == name {
			return &n.Properties[i]
		}
	}
	return nil
}

// Offset converts an offset in the structure block to one in the blob.
func (t *Tree) Offset(inStruct int64) int64 { return int64(t.Header.StructOffset) + inStruct }

// Section returns the value of a property as a reader.
func (t *Tree) Section(p *Property) *io.SectionReader {
	return io.NewSectionReader(t.r, t.Offset(p.Value), p.Length)
}

// Value returns the value of a property of at most MaxValue bytes.
func (t *Tree) Value(p *Property) ([]byte, error) {
	if p.Length > MaxValue {
		return nil, fmt.Errorf("property %s has %d bytes, more than the %d read at one time", p.Name, p.Length, MaxValue)
	}
	b := make([]byte, p.Length)
	if _, err := readFull(t.r, b, t.Offset(p.Value)); err != nil {
		return nil, fmt.Errorf("property %s: %w", p.Name, err)
	}
	return b, nil
}

// Strings returns the strings of a <stringlist> property, and nil when the node
// has no such property or its value is none (section 2.2.4).
func (t *Tree) Strings(n *Node, name string) []string {
	b := t.value(n, name)
	if len(b) == 0 || b[len(b)-1] != 0 {
		return nil
	}
	return strings.Split(string(b[:len(b)-1]), "\x00")
}

// String returns the first string of a property, or "".
func (t *Tree) String(n *Node, name string) string {
	if list := t.Strings(n, name); len(list) > 0 {
		return list[0]
	}
	return ""
}

// Uint returns a property of one or two cells (section 2.2.4), and whether the
// node has it.
func (t *Tree) Uint(n *Node, name string) (uint64, bool) {
	switch b := t.value(n, name); len(b) {
	case 4:
		return uint64(binary.BigEndian.Uint32(b)), true
	case 8:
		return binary.BigEndian.Uint64(b), true
	}
	return 0, false
}

func (t *Tree) value(n *Node, name string) []byte {
	if n == nil {
		return nil
	}
	p := n.Property(name)
	if p == nil {
		return nil
	}
	b, err := t.Value(p)
	if err != nil {
		return nil
	}
	return b
}
