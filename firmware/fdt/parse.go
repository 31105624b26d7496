package fdt

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
)

// cursor reads the structure block forward through a small buffer; what is
// skipped (property values) is not read.
type cursor struct {
	r          io.ReaderAt
	base, size int64 // the structure block in r
	off        int64 // in the structure block
	buf        []byte
	bufOff     int64
}

// peek returns n bytes at the cursor, fewer at the block's end.
func (c *cursor) peek(n int64) ([]byte, error) {
	if c.off >= c.size {
		// The padding of a value may even lead past a block of odd size.
		return nil, nil
	}
	n = min(n, c.size-c.off)
	if at := c.off - c.bufOff; at >= 0 && at+n <= int64(len(c.buf)) {
		return c.buf[at : at+n], nil
	}
	if c.buf == nil {
		c.buf = make([]byte, 4096)
	}
	want := min(int64(cap(c.buf)), c.size-c.off)
	c.buf, c.bufOff = c.buf[:want], c.off
	if _, err := readFull(c.r, c.buf, c.base+c.off); err != nil {
		return nil, fmt.Errorf("structure block at %#x: %w", c.off, err)
	}
	return c.buf[:n], nil
}

func (c *cursor) word() (uint32, error) {
	b, err := c.peek(4)
	if err != nil {
		return 0, err
	}
	if len(b) < 4 {
		return 0, fmt.Errorf("%w: the structure block ends amid its tokens at %#x", ErrMalformed, c.off)
	}
	c.off += 4
	return binary.BigEndian.Uint32(b), nil
}

type parser struct {
	cursor
	tree              *Tree
	names             []byte
	nodes, properties int
}

func (p *parser) parse() error {
	var open []*Node
	for {
		at := p.off
		token, err := p.word()
		if err != nil {
			return err
		}
		switch token {
		case tokenNop:
		case tokenBeginNode:
			n, err := p.node(at)
			if err != nil {
				return err
			}
			switch {
			case len(open) > 0:
				parent := open[len(open)-1]
				parent.Children = append(parent.Children, n)
			case p.tree.Root != nil:
				return fmt.Errorf("%w: a second root node at %#x", ErrMalformed, at)
			default:
				p.tree.Root = n
			}
			if open = append(open, n); len(open) > MaxDepth {
				return fmt.Errorf("%w: nodes nest more than %d deep at %#x", ErrMalformed, MaxDepth, at)
			}
		case tokenEndNode:
			if len(open) == 0 {
				return fmt.Errorf("%w: a node ends at %#x and none is open", ErrMalformed, at)
			}
			open[len(open)-1].End = at
			open = open[:len(open)-1]
		case tokenProp:
			if len(open) == 0 {
				return fmt.Errorf("%w: a property at %#x is in no node", ErrMalformed, at)
			}
			prop, err := p.property(at)
			if err != nil {
				return err
			}
			n := open[len(open)-1]
			n.Properties = append(n.Properties, prop)
		case tokenEnd:
			if len(open) > 0 || p.tree.Root == nil {
				return fmt.Errorf("%w: the tree ends at %#x with %d nodes open", ErrMalformed, at, len(open))
			}
			p.tree.EndToken = at
			p.duplicates("", p.tree.Root)
			return nil
		default:
			return fmt.Errorf("%w: unknown token %#x at %#x", ErrMalformed, token, at)
		}
	}
}

func (p *parser) node(at int64) (*Node, error) {
	if p.nodes++; p.nodes > MaxNodes {
		return nil, fmt.Errorf("%w: more than %d nodes", ErrMalformed, MaxNodes)
	}
	b, err := p.peek(MaxName + 1)
	if err != nil {
		return nil, err
	}
	name, _, ended := bytes.Cut(b, []byte{0})
	if !ended {
		return nil, fmt.Errorf("%w: the name of the node at %#x does not end", ErrMalformed, at)
	}
	n := &Node{Name: string(name), Begin: at}
	p.off = align4(p.off + int64(len(name)) + 1)
	n.Body = p.off
	return n, nil
}

func (p *parser) property(at int64) (Property, error) {
	if p.properties++; p.properties > MaxProperties {
		return Property{}, fmt.Errorf("%w: more than %d properties", ErrMalformed, MaxProperties)
	}
	length, err := p.word()
	if err != nil {
		return Property{}, err
	}
	nameOffset, err := p.word()
	if err != nil {
		return Property{}, err
	}
	if int64(length) > p.size-p.off {
		return Property{}, fmt.Errorf("%w: the value of the property at %#x has %d bytes and the block ends", ErrMalformed, at, length)
	}
	if int64(nameOffset) >= int64(len(p.names)) {
		return Property{}, fmt.Errorf("%w: the name of the property at %#x is at %#x, past the strings block", ErrMalformed, at, nameOffset)
	}
	rest := p.names[nameOffset:]
	name, _, ended := bytes.Cut(rest[:min(len(rest), MaxName+1)], []byte{0})
	if !ended {
		return Property{}, fmt.Errorf("%w: the name of the property at %#x does not end", ErrMalformed, at)
	}
	prop := Property{Name: string(name), NameOffset: nameOffset, Token: at, Value: p.off, Length: int64(length)}
	p.off = prop.End()
	return prop, nil
}

const maxDuplicates = 16

func (p *parser) duplicates(path string, n *Node) {
	seen := make(map[string]bool, len(n.Properties))
	for _, prop := range n.Properties {
		p.seen(seen, path+"/", prop.Name)
	}
	clear(seen)
	for _, c := range n.Children {
		p.seen(seen, path+"/", c.Name)
		p.duplicates(path+"/"+c.Name, c)
	}
}

func (p *parser) seen(seen map[string]bool, path, name string) {
	if seen[name] && len(p.tree.Duplicates) < maxDuplicates {
		p.tree.Duplicates = append(p.tree.Duplicates, path+name)
	}
	seen[name] = true
}
