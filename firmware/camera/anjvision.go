package camera

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"strings"

	"assay/firmware"
	"assay/firmware/internal/container"
)

// anjvision is the image of ANJVision cameras: a header with the place, size and
// CRC of up to five parts. The rule of the CRCs is not public; the usual ones are
// tried.
var anjvision = firmware.Format{
	Name:         "anjvision",
	Source:       "OpenIPC anjoy firmware header, FirmWareHeader; binaryanalysis-ng anjvision.ksy",
	Magics:       []firmware.Magic{{Bytes: "ANJOY888"}},
	About:        "ANJVision camera image: kernel, file system, boot loader and files",
	Integrity:    "a CRC a part and one of the header, whose rule is not public",
	Authenticity: "none",
	Parse:        parseANJ,
}

const (
	anjHeader  = 1556
	anjLeast   = 32 // all that the flash code of recovery reads before the parts
	anjText    = 256
	anjMagic   = 8
	anjTypes   = 0x7f
	anjFSPlace = 288
)

// anjParts are where the header has place, size and CRC of each part.
var anjParts = []struct {
	name             string
	role             firmware.Role
	bit              uint32
	place, size, crc int
	text             int // of a version; 0 for none
}{
	{"kernel", firmware.RoleKernel, 1 << 0, 20, 24, 28, 32},
	{"file system", firmware.RoleRootFS, 1 << 1, anjFSPlace, anjFSPlace + 4, 552, 296},
	{"u-boot", firmware.RoleBootLoader, 1 << 2, 556, 560, 564, 0},
	{"files", firmware.RoleData, 1 << 3, 568, 572, 576, 0},
	{"brand files", firmware.RoleData, 1 << 4, 580, 584, 588, 0},
}

func parseANJ(w *firmware.Window) (*firmware.Region, error) {
	b, err := w.Bytes(0, min(anjHeader, w.Size()))
	if err != nil || len(b) < anjLeast {
		return nil, notFormat("anjvision: no room for a header")
	}
	le := binary.LittleEndian
	kind, total := le.Uint32(b[16:]), int64(le.Uint32(b[12:]))
	if kind == 0 || kind > anjTypes || total <= anjLeast {
		return nil, notFormat("anjvision: %d bytes of type %#x", total, kind)
	}
	// Some headers are shorter and end where the first part begins.
	header := min(int64(anjHeader), total)
	for _, p := range anjParts[:1] {
		if place := int64(le.Uint32(b[p.place:])); kind&p.bit != 0 && place >= anjLeast && place < header {
			header = place
		}
	}
	if int64(len(b)) < header {
		return nil, notFormat("anjvision: no room for a header of %d bytes", header)
	}
	r := begin(w, total)
	r.AddField("type", "%#x", kind)
	var parts []*section
	var sums []uint32
	for _, p := range anjParts {
		if kind&p.bit == 0 {
			continue
		}
		if int64(p.crc)+4 > header {
			// Where a short header has only place and size, the part is what is left.
			if p.name == "file system" {
				parts, sums = append(parts, anjRest(parts, header, total)), append(sums, 0)
			}
			continue
		}
		s := &section{name: p.name, role: p.role, off: int64(le.Uint32(b[p.place:])), size: int64(le.Uint32(b[p.size:]))}
		if p.text != 0 && int64(p.text)+anjText <= header {
			if version := strings.TrimSpace(container.Text(b[p.text:][:anjText])); version != "" {
				s.fields = []firmware.Field{{Name: "version", Value: version}}
			}
		}
		parts, sums = append(parts, s), append(sums, le.Uint32(b[p.crc:]))
	}
	if len(parts) == 0 {
		return nil, notFormat("anjvision: an image of no part")
	}
	r.AddField("protection", "CRCs of an unpublished rule and nothing else: integrity at most, proves no origin")
	lay(w, r, header, parts)
	return r, anjCheck(w, r, b[:header], parts, sums)
}

// anjRest is the part from the end of the others to that of the image.
func anjRest(parts []*section, header, total int64) *section {
	end := extent(header, parts)
	return &section{name: "file system", role: firmware.RoleRootFS, off: end, size: max(0, total-end)}
}

func anjCheck(w *firmware.Window, r *firmware.Region, header []byte, parts []*section, sums []uint32) error {
	proven := r.State == firmware.Parsed && len(r.Problems) == 0
	for i, s := range parts {
		if s.region == nil || sums[i] == 0 {
			proven = false
			continue
		}
		rule, err := sumRule(w, s.off, s.region.Size, sums[i])
		if err != nil {
			return err
		}
		if rule == "" || !s.whole {
			proven = false
			s.region.AddField("CRC", "%08x, which is none of the usual: the rule is not public", sums[i])
			continue
		}
		s.check(r, rule, true, "computed and declared %08x", sums[i])
	}
	stated := binary.LittleEndian.Uint32(header[anjMagic:])
	if rule := anjHeaderRule(header, stated); rule != "" {
		r.AddCheck("header CRC", true, "%s: computed and declared %08x", rule, stated)
	} else {
		proven = false
		r.AddField("header CRC", "%08x, which is none of the usual: the rule is not public", stated)
	}
	if proven {
		r.State = firmware.Proven
	}
	return nil
}

// anjHeaderRule tries CRC-32 over the header without its CRC, in the two ways
// that one is left out.
func anjHeaderRule(header []byte, stated uint32) string {
	zeroed := bytes.Clone(header)
	clear(zeroed[anjMagic : anjMagic+4])
	for name, b := range map[string][]byte{"CRC-32 with its place zeroed": zeroed, "CRC-32 from behind it": header[anjMagic+4:]} {
		if crc32.ChecksumIEEE(b) == stated {
			return name
		}
	}
	return ""
}
