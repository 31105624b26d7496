package update

import (
	"crypto"
	_ "crypto/sha3"
	"encoding/binary"
	"errors"
	"fmt"

	"assay/firmware"
	"assay/firmware/internal/container"
)

// matterOTA is the software image of Matter: a fixed header, a header in TLV
// with a digest of the payload, and the payload.
var matterOTA = firmware.Format{
	Name:         "matter-ota",
	Source:       "Matter Core Specification 1.2, sections 11.21 (OTA Software Image File Format) and appendix A (TLV)",
	About:        "Matter over-the-air update",
	Integrity:    "digest of the payload",
	Authenticity: "none in the file; the version is authorised elsewhere",
	Magics:       []firmware.Magic{{Bytes: "\x1e\xf1\xee\x1b"}},
	Parse:        parseMatterOTA,
}

// matterDigests are the identifiers of IANA's Named Information Hash Algorithm
// Registry; the truncated ones keep the first bytes.
var matterDigests = map[uint64]struct {
	name string
	hash crypto.Hash
	size int
}{
	1: {"SHA-256", crypto.SHA256, 32}, 2: {"SHA-256-128", crypto.SHA256, 16}, 3: {"SHA-256-120", crypto.SHA256, 15}, 4: {"SHA-256-96", crypto.SHA256, 12},
	5: {"SHA-256-64", crypto.SHA256, 8}, 6: {"SHA-256-32", crypto.SHA256, 4}, 7: {"SHA-384", crypto.SHA384, 48}, 8: {"SHA-512", crypto.SHA512, 64},
	9: {"SHA3-224", crypto.SHA3_224, 28}, 10: {"SHA3-256", crypto.SHA3_256, 32}, 11: {"SHA3-384", crypto.SHA3_384, 48}, 12: {"SHA3-512", crypto.SHA3_512, 64},
}

func parseMatterOTA(w *firmware.Window) (*firmware.Region, error) {
	const fixed = 16
	b, err := w.Bytes(0, fixed)
	if err != nil {
		return nil, notFormat("matter-ota: %v", err)
	}
	total, header := binary.LittleEndian.Uint64(b[4:]), int64(binary.LittleEndian.Uint32(b[12:]))
	if header == 0 || header > 64<<10 || total < uint64(fixed+header) || total > 1<<40 {
		return nil, notFormat("matter-ota: header of %d in %d bytes", header, total)
	}
	if b, err = w.Bytes(fixed, header); err != nil {
		return nil, notFormat("matter-ota: %v", err)
	}
	h, err := parseMatterHeader(b)
	if err != nil {
		return nil, notFormat("matter-ota: %v", err)
	}
	off := fixed + header
	r := &firmware.Region{Size: int64(total), Role: firmware.RoleContainer, State: firmware.Parsed, Name: printable(h.version)}
	r.AddField("vendor id", "%#04x", h.numbers[0])
	r.AddField("product id", "%#04x", h.numbers[1])
	r.AddField("software version", "%d", h.numbers[2])
	r.AddField("software version string", "%s", printable(h.version))
	r.AddField("release notes", "%s", printable(h.notes))
	r.AddField("signature", "none in this container; who signs the payload is up to its maker")
	size := int64(total) - off
	if r.Size > w.Size() {
		r.State = firmware.Opaque
		r.AddProblem("matter-ota: the header declares %d bytes and %d are there", total, w.Size())
		r.Size, size = w.Size(), w.Size()-off
	}
	if h.numbers[4] != uint64(total)-uint64(off) {
		r.AddProblem("matter-ota: the payload has %d bytes by one field and %d by the other", h.numbers[4], total-uint64(off))
	}
	if size > 0 {
		r.Children = []*firmware.Region{container.Part(w, off, size, "payload", firmware.RoleFirmware)}
	}
	d, ok := matterDigests[h.numbers[8]]
	if !ok || !d.hash.Available() {
		r.AddProblem("matter-ota: digest type %d is not known", h.numbers[8])
		return r, nil
	}
	sum, err := digest(w, d.hash, off, size)
	if err != nil {
		return r, err
	}
	match := string(sum[:d.size]) == string(h.digest) && r.State == firmware.Parsed
	r.AddCheck("image digest "+d.name, match, "over the payload; computed %x, declared %x", sum[:d.size], h.digest[:min(len(h.digest), 64)])
	if match && len(r.Problems) == 0 {
		r.State, r.Children = firmware.Proven, container.Covered(r.Children)
	}
	return r, nil
}

// matterHeader is the OTASoftwareImageHeader, its numbers by their tags.
type matterHeader struct {
	numbers        [9]uint64
	version, notes string
	digest         []byte
}

// parseMatterHeader reads one structure with context tags that fills b.
func parseMatterHeader(b []byte) (*matterHeader, error) {
	const (
		anonymousStructure = 0x15
		endOfContainer     = 0x18
		contextTag         = 0x20
	)
	if len(b) == 0 || b[0] != anonymousStructure {
		return nil, errors.New("its header is no structure")
	}
	h := &matterHeader{}
	seen := uint64(0)
	for b = b[1:]; ; {
		if len(b) == 0 {
			return nil, errors.New("its header does not end")
		}
		if b[0] == endOfContainer {
			break
		}
		if b[0]&0xe0 != contextTag || len(b) < 2 {
			return nil, fmt.Errorf("element %#02x", b[0])
		}
		kind, tag := b[0]&0x1f, b[1]
		width := 1 << (kind & 3)
		if kind&^3 != 4 && kind&^3 != 0xc && kind&^3 != 0x10 || len(b) < 2+width {
			return nil, fmt.Errorf("element type %#02x of tag %d", kind, tag)
		}
		var wide [8]byte
		copy(wide[:], b[2:2+width])
		value := binary.LittleEndian.Uint64(wide[:])
		b = b[2+width:]
		if tag < 64 {
			seen |= 1 << tag
		}
		if kind&^3 == 4 {
			if int(tag) < len(h.numbers) {
				h.numbers[tag] = value
			}
			continue
		}
		if value > uint64(len(b)) {
			return nil, fmt.Errorf("tag %d of %d bytes", tag, value)
		}
		switch text := b[:value]; tag {
		case 3:
			h.version = string(text)
		case 7:
			h.notes = string(text)
		case 9:
			h.digest = text
		}
		b = b[value:]
	}
	// Vendor, product, version, its string, payload size, digest type and digest
	// are mandatory.
	if mandatory := uint64(1<<0 | 1<<1 | 1<<2 | 1<<3 | 1<<4 | 1<<8 | 1<<9); seen&mandatory != mandatory {
		return nil, errors.New("mandatory fields are missing")
	}
	return h, nil
}
