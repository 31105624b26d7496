package network

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
)

// node is an XML element by its local name: firmware mixes prefixes, leaves
// them unbound or drops them.
type node struct {
	name     string
	space    string
	text     string
	children []*node
}

// Bounds on a document, beside that of its bytes. The largest real answer,
// capabilities of a Bosch camera, has some 200 elements, 8 deep.
const (
	maxNodes = 10_000
	maxDepth = 48
	maxText  = 4 << 10 // of one element: many pieces joined would cost their square
)

// parseXML reads a document as tolerantly as firmware needs: no declaration, a
// wrong one, unbound prefixes, unclosed elements, text before and after. It
// refuses a document type, since entities are declared there and no camera
// protocol has a use for them.
func parseXML(b []byte) (*node, error) {
	d := xml.NewDecoder(bytes.NewReader(utf8Bytes(b)))
	d.Strict = false
	d.CharsetReader = charsetReader
	root := &node{}
	open := []*node{root}
	count := 0
	for {
		token, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			return finish(root, fmt.Errorf("%w: xml: byte %d: %s", devices.ErrMalformed, d.InputOffset(), reason(err)))
		}
		switch t := token.(type) {
		case xml.Directive:
			word, _, _ := strings.Cut(strings.TrimSpace(string(t)), " ")
			return nil, fmt.Errorf("%w: xml: byte %d: <!%s> could declare entities, which no camera protocol has a use for: not read", devices.ErrHostile, d.InputOffset(), clean(word))
		case xml.StartElement:
			if count++; count > maxNodes {
				return nil, fmt.Errorf("%w: xml: more than %d elements", devices.ErrHostile, maxNodes)
			}
			if len(open) > maxDepth {
				return nil, fmt.Errorf("%w: xml: elements more than %d deep", devices.ErrHostile, maxDepth)
			}
			n := &node{name: t.Name.Local, space: t.Name.Space}
			top := open[len(open)-1]
			top.children = append(top.children, n)
			open = append(open, n)
		case xml.EndElement:
			if len(open) > 1 {
				open = open[:len(open)-1]
			}
			if len(open) == 1 {
				return finish(root, nil) // what follows the root is not the document
			}
		case xml.CharData:
			if top := open[len(open)-1]; len(top.text) < maxText {
				top.text += strings.TrimSpace(string(t))
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
func finish(root *node, err error) (*node, error) {
	if len(root.children) == 0 {
		if err == nil {
			err = errors.New("xml: no element")
		}
		return nil, err
	}
	return root.children[0], err
}

// utf8Bytes turns an undeclared GB 18030 document, as older Chinese firmware
// sends when a name was typed in Chinese, into UTF-8.
func utf8Bytes(b []byte) []byte {
	b = bytes.TrimLeft(bytes.TrimPrefix(b, []byte(byteOrderMark)), " \t\r\n\x00")
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

// find is the first element of that name below n, or n itself.
func (n *node) find(name string) *node {
	if n == nil || n.name == name {
		return n
	}
	for _, c := range n.children {
		if f := c.find(name); f != nil {
			return f
		}
	}
	return nil
}

// all appends the text of every element of that name below n.
func (n *node) all(name string) []string {
	if n == nil {
		return nil
	}
	var found []string
	if n.name == name {
		found = append(found, n.text)
	}
	for _, c := range n.children {
		found = append(found, c.all(name)...)
	}
	return found
}

// field is the text of the first element at the path below n, or empty.
func (n *node) field(path ...string) string {
	for _, name := range path {
		if n = n.find(name); n == nil {
			return ""
		}
	}
	if n == nil {
		return ""
	}
	return n.text
}
