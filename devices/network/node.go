package network

import "slices"

// What the makers' readers ask of an XML element beyond its fields.

// namespace is the namespace of n, or its prefix where that is not bound.
func (n *node) namespace() string {
	if n == nil {
		return ""
	}
	return n.Space
}

// local is the name of n without its prefix.
func (n *node) local() string {
	if n == nil {
		return ""
	}
	return n.Name
}

// content is the text of n.
func (n *node) content() string {
	if n == nil {
		return ""
	}
	return n.Text
}

// elements are the elements right below n.
func (n *node) elements() []*node {
	if n == nil {
		return nil
	}
	var below []*node
	for _, c := range n.Children {
		below = append(below, (*node)(c))
	}
	return below
}

// names are those of n and the elements below it, sorted and once each.
func (n *node) names() []string {
	var found []string
	var walk func(*node)
	walk = func(n *node) {
		if n == nil {
			return
		}
		found = append(found, n.local())
		for _, c := range n.elements() {
			walk(c)
		}
	}
	walk(n)
	slices.Sort(found)
	return slices.Compact(found)
}
