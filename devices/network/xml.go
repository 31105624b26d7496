package network

import "assay/devices/network/internal/xmltext"

// node is an XML element of an answer, by its local name.
type node xmltext.Node

// parseXML reads a document as tolerantly as firmware needs. The root element
// is returned with what was read when an error came.
func parseXML(b []byte) (*node, error) {
	n, err := xmltext.Parse(b)
	return (*node)(n), err
}

// find is the first element of that name below n, or n itself.
func (n *node) find(name string) *node { return (*node)((*xmltext.Node)(n).Find(name)) }

// all is the text of every element of that name below n.
func (n *node) all(name string) []string { return (*xmltext.Node)(n).All(name) }

// field is the text of the first element at the path below n, or empty.
func (n *node) field(path ...string) string { return (*xmltext.Node)(n).Field(path...) }
