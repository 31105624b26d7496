package format

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"assay/firmware"
	"assay/firmware/compress"
	"assay/firmware/fdt"
)

// fit is U-Boot's flattened image tree: a device tree whose /images carry
// payloads, inside it or behind it. Image hashes are checked. Signatures are
// listed and not verified.
var fit = firmware.Format{
	Name:   "fit",
	Source: "Flat Image Tree specification 0.8, chapters 2 to 4; U-Boot doc/usage/fit/source_file_format.rst",
	Magics: deviceTree.Magics,
	Parse:  parseFIT,

	About:        "U-Boot flattened image tree: kernel, trees and RAM disks",
	Integrity:    "hash or CRC-32 of each image",
	Authenticity: "RSA or ECDSA signatures over images or configurations: worth the key and what they cover; listed here, verified in attest/provenance",
}

// fitImage is a node of /images and the extent of its payload.
type fitImage struct {
	node      *fdt.Node
	off, size int64 // in the window; size -1 when there is no payload
	external  bool
}

func parseFIT(w *firmware.Window) (*firmware.Region, error) {
	t, err := parseTree(w)
	if err != nil {
		return nil, err
	}
	nodes := t.Root.Child("images")
	if nodes == nil || len(nodes.Children) == 0 {
		return nil, notFormat("fit: the tree has no /images")
	}
	r := &firmware.Region{Size: int64(t.Header.TotalSize), Role: firmware.RoleContainer, State: firmware.Parsed, Name: printable(t.String(t.Root, "description"))}
	if stamp, ok := t.Uint(t.Root, "timestamp"); ok && stamp < 1<<32 {
		r.AddField("created", "%s", time.Unix(int64(stamp), 0).UTC().Format(time.RFC3339))
	}
	noteDuplicates(t, r)
	images := placeImages(w, t, nodes, r)
	listConfigurations(t, r)
	h := newHashing(w, t, r)
	for _, image := range images {
		if err := h.image(image); err != nil {
			return r, err
		}
	}
	if h.allHeld && len(images) > 0 && len(r.Problems) == 0 {
		r.State = firmware.Proven
	}
	return r, nil
}

// placeImages finds the extents of the payloads, in order of offset. It leaves
// out, with a problem, what is not there or overlaps what came before: the
// same bytes under many names would be read many times.
func placeImages(w *firmware.Window, t *fdt.Tree, nodes *fdt.Node, r *firmware.Region) []fitImage {
	var images []fitImage
	for _, n := range nodes.Children {
		image, err := placeImage(w, t, n)
		if err != nil {
			r.AddProblem("%v", err)
			continue
		}
		if image.size < 0 {
			r.AddField("image without data", "%s", printable(n.Name))
			continue
		}
		images = append(images, image)
	}
	slices.SortStableFunc(images, func(a, b fitImage) int {
		if a.off != b.off {
			return int(min(max(a.off-b.off, -1), 1))
		}
		return int(min(max(a.size-b.size, -1), 1))
	})
	var end int64
	kept := images[:0]
	for _, image := range images {
		if image.size > 0 && image.off < end {
			r.AddProblem("the data of image %s at %#x overlaps that of the image before and is not read", printable(image.node.Name), image.off)
			continue
		}
		if image.external && image.off < int64(t.Header.TotalSize) {
			r.AddProblem("the external data of image %s at %#x lies inside the tree and is not read", printable(image.node.Name), image.off)
			continue
		}
		kept, end = append(kept, image), image.off+image.size
	}
	r.Size = max(r.Size, end)
	return kept
}

func placeImage(w *firmware.Window, t *fdt.Tree, n *fdt.Node) (fitImage, error) {
	image := fitImage{node: n, size: -1}
	if p := n.Property("data"); p != nil {
		image.off, image.size = t.Offset(p.Value), p.Length
		return image, nil
	}
	position, absolute := t.Uint(n, "data-position")
	offset, relative := t.Uint(n, "data-offset")
	if !absolute && !relative {
		return image, nil
	}
	size, sized := t.Uint(n, "data-size")
	if !absolute {
		// Without a position, external data counts from the tree's end, aligned
		// to four bytes.
		position = offset + (uint64(t.Header.TotalSize)+3)&^3
	}
	total := uint64(w.Size())
	if !sized || position > total || size > total-position || position < offset && !absolute {
		return image, fmt.Errorf("the external data of image %s, %d bytes at %#x, is outside the %d bytes there are", printable(n.Name), size, position, total)
	}
	image.off, image.size, image.external = int64(position), int64(size), true
	return image, nil
}

// imageRegion analyses one payload.
func imageRegion(w *firmware.Window, t *fdt.Tree, image fitImage) (*firmware.Region, error) {
	n, name := image.node, printable(image.node.Name)
	role := fitRole(t.String(n, "type"), t.String(n, "os"))
	var r *firmware.Region
	var err error
	if m := fitMethods[t.String(n, "compression")]; m != "" {
		r, err = unpackDeclared(w, image.off, image.size, m)
		if r != nil && r.Size == image.size {
			r.Name, r.Role = name, role
		} else if r != nil {
			r = &firmware.Region{Offset: r.Offset, Size: image.size, Name: name, Role: role, State: firmware.Parsed, Children: []*firmware.Region{r}}
			r.Children = append(r.Children, w.Analyse(image.off+r.Children[0].Size, image.size-r.Children[0].Size)...)
		}
	}
	if r == nil {
		r = part(w, image.off, image.size, name, role)
		if err != nil {
			r.AddProblem("data is declared %s, but: %v", t.String(n, "compression"), err)
			err = budgetOnly(err)
		}
	}
	var fields []firmware.Field
	for _, key := range []string{"description", "type", "arch", "os", "compression"} {
		if v := t.String(n, key); v != "" {
			fields = append(fields, firmware.Field{Name: key, Value: printable(v)})
		}
	}
	for _, key := range []string{"load", "entry"} {
		if v, ok := t.Uint(n, key); ok {
			fields = append(fields, firmware.Field{Name: key, Value: fmt.Sprintf("%#x", v)})
		}
	}
	r.Fields = append(fields, r.Fields...)
	return r, err
}

var fitMethods = map[string]compress.Method{
	"gzip": compress.Gzip, "bzip2": compress.Bzip2, "lzma": compress.LZMA, "lzo": compress.LZO, "lz4": compress.LZ4, "zstd": compress.Zstd,
}

func fitRole(kind, os string) firmware.Role {
	switch kind {
	case "kernel", "kernel_noload":
		return firmware.RoleKernel
	case "ramdisk":
		return firmware.RoleRAMDisk
	case "flat_dt":
		return firmware.RoleDeviceTree
	case "filesystem":
		return firmware.RoleRootFS
	case "script", "fpga":
		return firmware.RoleData
	case "firmware", "standalone", "loadable", "tee", "tfa-bl31":
		switch os {
		case "u-boot", "U-Boot", "arm-trusted-firmware", "tee", "opensbi":
			return firmware.RoleBootLoader
		}
		return firmware.RoleFirmware
	}
	return firmware.RoleNone
}

// listConfigurations lists what boots with what, and which signatures there are.
func listConfigurations(t *fdt.Tree, r *firmware.Region) {
	list := t.Root.Child("configurations")
	if list == nil {
		return
	}
	r.AddField("default configuration", "%s", printable(t.String(list, "default")))
	for _, c := range limited(list.Children, maxListed) {
		var parts []string
		for _, key := range []string{"kernel", "fdt", "ramdisk", "firmware", "loadables", "script", "fpga"} {
			if names := t.Strings(c, key); len(names) > 0 {
				parts = append(parts, key+"="+strings.Join(limited(names, maxListed), ","))
			}
		}
		r.AddField("configuration", "%s", printable(c.Name+": "+strings.Join(parts, " ")))
		listSignatures(t, c, "/configurations/"+c.Name, r)
	}
}

// listSignatures names the signatures of a node. They are not verified here.
func listSignatures(t *fdt.Tree, n *fdt.Node, path string, r *firmware.Region) {
	for _, s := range limited(n.Children, maxListed) {
		if s.Name != "signature" && !strings.HasPrefix(s.Name, "signature-") && !strings.HasPrefix(s.Name, "signature@") {
			continue
		}
		text := path + ": " + t.String(s, "algo")
		if key := t.String(s, "key-name-hint"); key != "" {
			text += " key " + key
		}
		if over := t.Strings(s, "sign-images"); len(over) > 0 {
			text += " over " + strings.Join(limited(over, maxListed), ",")
		}
		r.AddField("signature", "%s (not verified)", printable(text))
	}
}
