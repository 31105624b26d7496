// Package xmltext reads XML as tolerantly as the firmware of cameras needs: by
// local names, whatever the prefixes, the declared character set and the
// unescaped ampersands. What it reads is hostile, so its size, depth and text
// are bounded, and a document type is refused.
package xmltext

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/simplifiedchinese"

	"assay/devices"
	"assay/devices/network/internal/field"
)

// Node is an XML element by its local name: firmware mixes prefixes, leaves
// them unbound or drops them.
type Node struct {
	Name     string
	Space    string
	Text     string
	Children []*Node
}

// Bounds on a document, beside that of its bytes. The largest real answer,
// capabilities of a Bosch camera, has some 200 elements, 8 deep.
const (
	maxNodes = 10_000
	maxDepth = 48
	maxText  = 4 << 10 // of one element: many pieces joined would cost their square
)

// Parse reads a document as tolerantly as firmware needs: no declaration, a
// wrong one, unbound prefixes, unclosed elements, text before and after. It
// refuses a document type, since entities are declared there and no camera
// protocol has a use for them.
func Parse(b []byte) (*Node, error) {
	d := xml.NewDecoder(bytes.NewReader(utf8Bytes(b)))
	d.Strict = false
	d.CharsetReader = charsetReader
	root := &Node{}
	open := []*Node{root}
	count := 0
	for {
		token, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			return finish(root, fmt.Errorf("%w: xml: byte %d: %s", devices.ErrMalformed, d.InputOffset(), field.Reason(err)))
		}
		switch t := token.(type) {
		case xml.Directive:
			word, _, _ := strings.Cut(strings.TrimSpace(string(t)), " ")
			return nil, fmt.Errorf("%w: xml: byte %d: <!%s> could declare entities, which no camera protocol has a use for: not read", devices.ErrHostile, d.InputOffset(), field.Clean(word[:min(len(word), 40)]))
		case xml.StartElement:
			if count++; count > maxNodes {
				return nil, fmt.Errorf("%w: xml: more than %d elements", devices.ErrHostile, maxNodes)
			}
			if len(open) > maxDepth {
				return nil, fmt.Errorf("%w: xml: elements more than %d deep", devices.ErrHostile, maxDepth)
			}
			n := &Node{Name: t.Name.Local, Space: t.Name.Space}
			top := open[len(open)-1]
			top.Children = append(top.Children, n)
			open = append(open, n)
		case xml.EndElement:
			if len(open) > 1 {
				open = open[:len(open)-1]
			}
			if len(open) == 1 {
				return finish(root, nil) // what follows the root is not the document
			}
		case xml.CharData:
			if top := open[len(open)-1]; len(top.Text) < maxText {
				top.Text += strings.TrimSpace(string(t))
			}
		}
	}
	return finish(root, fmt.Errorf("%w: xml: ends before its last element is closed", devices.ErrMalformed))
}

// printable blanks the control characters that XML 1.0 does not allow and that
// some firmware lets its owner type into a name.
func printable(r rune) rune {
	if r < ' ' && r != '\t' && r != '\n' && r != '\r' {
		return ' '
	}
	return r
}

// finish returns the root element with what was read when the error came.
func finish(root *Node, err error) (*Node, error) {
	if len(root.Children) == 0 {
		if err == nil {
			err = errors.New("xml: no element")
		}
		return nil, err
	}
	return root.Children[0], err
}

// utf8Bytes turns an undeclared GB 18030 document, as older Chinese firmware
// sends when a name was typed in Chinese, into UTF-8.
func utf8Bytes(b []byte) []byte {
	b = bytes.TrimLeft(bytes.TrimPrefix(b, []byte("\ufeff")), " \t\r\n\x00")
	b = bytes.TrimRight(b, "\x00 \t\r\n")
	head := bytes.ToLower(b[:min(len(b), 200)])
	if !utf8.Valid(b) && bytes.Contains(head, []byte("encoding=")) && !bytes.Contains(head, []byte("utf-8")) {
		return b // charsetReader's
	}
	if !utf8.Valid(b) {
		if out, err := simplifiedchinese.GB18030.NewDecoder().Bytes(b); err == nil {
			b = out
		}
	}
	return bytes.Map(printable, b)
}

// charsetReader is asked for any declared encoding but UTF-8. An unknown name is
// read as it is: the fields that matter are ASCII.
func charsetReader(charset string, input io.Reader) (io.Reader, error) {
	b, err := io.ReadAll(input)
	if err != nil {
		return nil, err
	}
	if utf8.Valid(b) {
		return bytes.NewReader(b), nil
	}
	if e, err := htmlindex.Get(charset); err == nil {
		if out, err := e.NewDecoder().Bytes(b); err == nil {
			b = out
		}
	}
	return bytes.NewReader(bytes.ToValidUTF8(b, []byte("\ufffd"))), nil
}

// Find is the first element of that name below n, or n itself.
func (n *Node) Find(name string) *Node {
	if n == nil || n.Name == name {
		return n
	}
	for _, c := range n.Children {
		if f := c.Find(name); f != nil {
			return f
		}
	}
	return nil
}

// All returns the text of every element of that name below n.
func (n *Node) All(name string) []string {
	if n == nil {
		return nil
	}
	var found []string
	if n.Name == name {
		found = append(found, n.Text)
	}
	for _, c := range n.Children {
		found = append(found, c.All(name)...)
	}
	return found
}

// Field is the text of the first element at the path below n, or empty.
func (n *Node) Field(path ...string) string {
	for _, name := range path {
		if n = n.Find(name); n == nil {
			return ""
		}
	}
	if n == nil {
		return ""
	}
	return n.Text
}

// FindFold is Find whatever the case of the name, which firmware of one maker
// spells in several ways.
func (n *Node) FindFold(name string) *Node {
	if n == nil || strings.EqualFold(n.Name, name) {
		return n
	}
	for _, c := range n.Children {
		if f := c.FindFold(name); f != nil {
			return f
		}
	}
	return nil
}

// FieldFold is the text of the first element of that name below n, whatever
// its case, or empty.
func (n *Node) FieldFold(name string) string {
	if f := n.FindFold(name); f != nil {
		return f.Text
	}
	return ""
}

// Each calls f for every element of that name below n, and for n itself.
func (n *Node) Each(name string, f func(*Node)) {
	if n == nil {
		return
	}
	if n.Name == name {
		f(n)
	}
	for _, c := range n.Children {
		c.Each(name, f)
	}
}
