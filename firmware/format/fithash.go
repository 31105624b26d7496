package format

import (
	"bytes"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"strings"

	"assay/firmware"
	"assay/firmware/fdt"
)

// fitHashes are the algorithms of U-Boot's hash nodes, whose values are big
// endian bytes.
var fitHashes = map[string]func() hash.Hash{
	"crc32":  func() hash.Hash { return crc32.NewIEEE() },
	"md5":    md5.New,
	"sha1":   sha1.New,
	"sha256": sha256.New,
	"sha384": sha512.New384,
	"sha512": sha512.New,
}

// maxHashes bounds the hash nodes of one image: mkimage writes one or two.
const maxHashes = 8

// hashing checks the hash nodes of a FIT's images, in one pass over each.
type hashing struct {
	w       *firmware.Window
	t       *fdt.Tree
	r       *firmware.Region
	allHeld bool // every image so far had a hash that holds and none that does not
}

func newHashing(w *firmware.Window, t *fdt.Tree, r *firmware.Region) *hashing {
	return &hashing{w: w, t: t, r: r, allHeld: true}
}

// image analyses one payload and checks its hashes.
func (h *hashing) image(image fitImage) error {
	checks, held, err := h.check(image)
	h.allHeld = h.allHeld && held
	for _, c := range checks {
		c.Name = printable(image.node.Name) + " " + c.Name
		h.r.Checks = append(h.r.Checks, c)
	}
	listSignatures(h.t, image.node, "/images/"+image.node.Name, h.r)
	if err != nil || image.size == 0 {
		return err
	}
	c, err := imageRegion(h.w, h.t, image)
	c.Checks = append(checks, c.Checks...)
	if len(checks) == 0 {
		c.AddProblem("no hash covers this image")
	} else if held {
		c.State, c.Children = firmware.Proven, known(c.Children)
	}
	h.r.Children = append(h.r.Children, c)
	return err
}

type wanted struct {
	name  string
	value []byte
	hash  hash.Hash
}

// check computes the hashes of one image. held says that there is one and that
// all hold.
func (h *hashing) check(image fitImage) (checks []firmware.Check, held bool, err error) {
	var wants []wanted
	held = true
	for _, n := range image.node.Children {
		if n.Name != "hash" && !strings.HasPrefix(n.Name, "hash-") && !strings.HasPrefix(n.Name, "hash@") {
			continue
		}
		algo := h.t.String(n, "algo")
		value := n.Property("value")
		switch {
		case fitHashes[algo] == nil:
			held = false
			checks = append(checks, firmware.Check{Name: printable(n.Name + " " + algo), Detail: "unknown algorithm, not checked"})
		case value == nil || value.Length > 64:
			held = false
			checks = append(checks, firmware.Check{Name: printable(n.Name + " " + algo), Detail: "no value, not checked"})
		case len(wants) == maxHashes:
			return checks, false, nil
		default:
			b, err := h.t.Value(value)
			if err != nil {
				return checks, false, err
			}
			wants = append(wants, wanted{printable(n.Name + " " + algo), b, fitHashes[algo]()})
		}
	}
	if len(wants) == 0 {
		return checks, false, nil
	}
	all := make([]io.Writer, len(wants))
	for i := range wants {
		all[i] = wants[i].hash
	}
	if _, err := io.Copy(io.MultiWriter(all...), h.w.Section(image.off, image.size)); err != nil {
		return checks, false, fmt.Errorf("fit: image %s: %w", printable(image.node.Name), err)
	}
	for _, want := range wants {
		c := firmware.Check{Name: want.name, Worth: firmware.IntegrityOnly}
		sum := want.hash.Sum(nil)
		c.OK = bytes.Equal(sum, want.value)
		c.Detail = fmt.Sprintf("computed %x, declared %x", sum, want.value)
		held = held && c.OK
		checks = append(checks, c)
	}
	return checks, held, nil
}
