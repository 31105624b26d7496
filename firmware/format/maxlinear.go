package format

import (
	"encoding/binary"

	"assay/firmware"
)

// maxLinear is the unified image of Intel's, now MaxLinear's, Puma 7: a header
// with up to ten parts by size and type. Four words and a longer field of it,
// which may be sums, are not explained in public and are not computed.
var maxLinear = firmware.Format{
	Name:         "maxlinear-uimage",
	Source:       "fact_extractor plugins/unpacking/maxlinear/code/maxlinear_uimage.py, and a sample",
	About:        "unified image of MaxLinear Puma 7 chips, from which routers boot",
	Integrity:    "fields of the header that are not explained in public",
	Authenticity: "none in it; a signature in DER may stand before it",
	Magics:       []firmware.Magic{{Bytes: "VER2Intel_Unified_Image\x00"}, {Bytes: "VER3Intel_Unified_Image\x00"}},
	Parse:        parseMaxLinear,
}

var maxLinearParts = map[byte]struct {
	name string
	role firmware.Role
}{2: {"atomkernel.img", firmware.RoleKernel}, 3: {"atomrootfs.hsqs", firmware.RoleRootFS}, 8: {"armkernel.img", firmware.RoleKernel}, 9: {"armrootfs.hsqs", firmware.RoleRootFS}, 10: {"gwrootfs.bin", firmware.RoleRootFS}}

func parseMaxLinear(w *firmware.Window) (*firmware.Region, error) {
	header, sizes, slots := int64(160), int64(92), 10
	b, err := w.Bytes(0, header)
	if err == nil && b[3] == '3' {
		header, sizes, slots = 252, 132, 20
		b, err = w.Bytes(0, header)
	}
	if err != nil {
		return nil, notFormat("maxlinear-uimage: %v", err)
	}
	types := b[sizes+4*int64(slots):]
	count := int(min(binary.BigEndian.Uint32(b[40:]), uint32(slots)))
	if count == 0 {
		return nil, notFormat("maxlinear-uimage: it has no parts")
	}
	r := &firmware.Region{Size: header, Role: firmware.RoleContainer, State: firmware.Parsed, Name: text(b[4:24])}
	r.AddField("version", "%c", b[3])
	r.AddField("checksums", "not explained in public and not computed")
	r.AddField("signature", "none in this header; one in DER may stand before it, %s", notVerified)
	for i := range count {
		size := int64(binary.BigEndian.Uint32(b[sizes+4*int64(i):]))
		if size == 0 {
			continue
		}
		p, ok := maxLinearParts[types[i]]
		if !ok {
			p.name = "part of unknown type"
		}
		r.AddField("part", "%s, type %d, %d bytes at %#x", p.name, types[i], size, r.Size)
		if size > w.Size()-r.Size {
			r.AddProblem("%s has %d bytes and %d are there", p.name, size, w.Size()-r.Size)
			r.State, r.Size = firmware.Opaque, w.Size()
			return r, nil
		}
		r.Children = append(r.Children, part(w, r.Size, size, p.name, p.role))
		r.Size += size
	}
	if len(r.Children) == 0 {
		return nil, notFormat("maxlinear-uimage: all its parts are empty")
	}
	return r, nil
}
