package format

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"assay/firmware"
	"assay/firmware/fdt"
)

var deviceTree = firmware.Format{
	Name:   "fdt",
	Source: "Devicetree Specification v0.4, chapter 5",
	Magics: []firmware.Magic{{Bytes: "\xd0\x0d\xfe\xed"}},
	Parse:  parseDeviceTree,

	About:        "flattened device tree",
	Integrity:    "none; its structure is checked",
	Authenticity: "none; as a control tree it holds the keys that U-Boot trusts",
}

// cutTree recognises a tree whose end is missing, as in a dump that was cut
// off: a sane header (section 5.2) that declares more than is there. Nothing
// in such a tree can be believed, so it is opaque.
func cutTree(w *firmware.Window) (*firmware.Region, bool) {
	b, err := w.Bytes(0, 40)
	if err != nil {
		return nil, false
	}
	word := func(i int) int64 { return int64(binary.BigEndian.Uint32(b[4*i:])) }
	total, structure, strings, reserve := word(1), word(2), word(3), word(4)
	sane := word(0) == fdt.Magic && word(5) == 17 && word(6) == 16 && total <= maxTree &&
		reserve >= 40 && reserve < structure && structure%4 == 0 &&
		structure+word(9) <= total && strings+word(8) <= total
	if !sane || total <= w.Size() {
		return nil, false
	}
	r := &firmware.Region{Size: w.Size(), State: firmware.Opaque}
	r.AddProblem("the tree declares %d bytes and %d are there: the image is cut short", total, w.Size())
	return r, true
}

// maxTree bounds what a cut tree is believed to declare: the largest FITs carry
// whole root file systems.
const maxTree = 512 << 20

func parseTree(w *firmware.Window) (*fdt.Tree, error) {
	t, err := fdt.Parse(w, w.Size())
	if errors.Is(err, fdt.ErrMalformed) {
		return nil, notFormat("%v", err)
	}
	return t, err
}

// parseDeviceTree walks the whole tree. Nothing in it checks its values.
func parseDeviceTree(w *firmware.Window) (*firmware.Region, error) {
	if r, cut := cutTree(w); cut {
		return r, nil
	}
	t, err := parseTree(w)
	if err != nil {
		return nil, err
	}
	r := &firmware.Region{Size: int64(t.Header.TotalSize), Role: firmware.RoleDeviceTree, State: firmware.Parsed, Name: printable(t.String(t.Root, "model"))}
	r.AddField("model", "%s", printable(t.String(t.Root, "model")))
	r.AddField("compatible", "%s", printable(strings.Join(t.Strings(t.Root, "compatible"), " ")))
	if chosen := t.Root.Child("chosen"); chosen != nil {
		r.AddField("bootargs", "%s", printable(t.String(chosen, "bootargs")))
	}
	if keys := t.Root.Child("signature"); keys != nil {
		// The keys that a U-Boot with this control tree trusts.
		for _, k := range limited(keys.Children, maxListed) {
			r.AddField("trusted key", "%s", printable(strings.TrimSpace(k.Name+" "+t.String(k, "algo")+" required="+t.String(k, "required"))))
		}
	}
	flashes := partitions{tree: t, source: fmt.Sprintf("fixed-partitions in the device tree at %#x", w.Offset())}
	flashes.walk(t.Root, "")
	r.Layout = flashes.list
	noteDuplicates(t, r)
	return r, nil
}

// partitions collects the flash partitions of a tree: Linux
// Documentation/devicetree/bindings/mtd/partitions/fixed-partitions.yaml.
type partitions struct {
	tree   *fdt.Tree
	source string
	list   []firmware.Claim
}

func (p *partitions) walk(n *fdt.Node, where string) {
	if slices.Contains(p.tree.Strings(n, "compatible"), "fixed-partitions") {
		address, size := p.cells(n, "#address-cells"), p.cells(n, "#size-cells")
		for _, c := range n.Children {
			if len(p.list) == maxListed {
				return
			}
			reg := c.Property("reg")
			if reg == nil || address == 0 || size == 0 || reg.Length != int64(4*(address+size)) {
				continue
			}
			b, err := p.tree.Value(reg)
			if err != nil {
				continue
			}
			offset, n := number(b[:4*address]), number(b[4*address:])
			if offset > maxFlash || n > maxFlash || n == 0 {
				continue
			}
			name := p.tree.String(c, "label")
			if name == "" {
				name, _, _ = strings.Cut(c.Name, "@")
			}
			p.list = append(p.list, firmware.Claim{Source: p.source + ", " + printable(where), Name: printable(name), Offset: int64(offset), Size: int64(n)})
		}
	}
	for _, c := range n.Children {
		p.walk(c, where+"/"+c.Name)
	}
}

// maxFlash bounds what a partition may claim, so that sums cannot overflow.
const maxFlash = 1 << 50

// cells is 1 or 2, or 0 for what cannot be.
func (p *partitions) cells(n *fdt.Node, name string) int {
	v, ok := p.tree.Uint(n, name)
	if !ok || v > 2 {
		return 0
	}
	return int(v)
}

func number(b []byte) (v uint64) {
	for _, c := range b {
		v = v<<8 | uint64(c)
	}
	return v
}

// maxListed bounds the fields that one list in an image can cause.
const maxListed = 64

func limited[T any](list []T, n int) []T { return list[:min(n, len(list))] }

func noteDuplicates(t *fdt.Tree, r *firmware.Region) {
	for _, path := range t.Duplicates {
		r.AddProblem("%s stands twice in the tree; readers differ in which one they take", printable(path))
	}
}
