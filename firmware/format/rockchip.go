package format

import (
	"bytes"
	"crypto/rc4"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"fmt"
	"hash"
	"io"

	"assay/firmware"
)

// rockchipID is Rockchip's id block: a sector under RC4 with a key that is the
// same in all chips and public, then from the fourth sector on the first
// loader, in SPI flashes only in the first half of each 4 KiB. It has no
// checksum.
var rockchipID = firmware.Format{
	Name:         "rockchip-idblock",
	Source:       "U-Boot tools/rkcommon.c, struct header0_info",
	About:        "boot block of older Rockchip chips, under RC4 with a published key",
	Integrity:    "none",
	Authenticity: "none",
	Magics:       []firmware.Magic{{Bytes: "\x3b\x8c\xdc\xfc\xbe\x9f\x9d\x51"}}, // 0x0ff0aa55 and reserved zeros
	Parse:        parseRockchipID,
}

// rockchipNS is what newer chips have instead: in plain, with hashes.
var rockchipNS = firmware.Format{
	Name:         "rockchip-rkns",
	Source:       "U-Boot tools/rkcommon.c, struct header0_info_v2",
	About:        "boot block of newer Rockchip chips",
	Integrity:    "SHA-2 of the header and of each image",
	Authenticity: "an RSA signature field in signed ones: worth the key in fuses, not verified here",
	Magics:       []firmware.Magic{{Bytes: "RKNS"}, {Bytes: "RKSS"}},
	Parse:        parseRockchipNS,
}

const (
	rkSector  = 512
	rkMaxBoot = 512 << 10 / rkSector // what mkimage declares when there is no second stage
)

var rkKey = []byte{124, 78, 3, 4, 85, 5, 9, 7, 45, 44, 123, 56, 23, 13, 23, 17}

// rkDecode undoes RC4, which starts anew in each sector.
func rkDecode(b []byte) {
	for len(b) > 0 {
		n := min(rkSector, len(b))
		c, _ := rc4.NewCipher(rkKey) // its length is right
		c.XORKeyStream(b[:n], b[:n])
		b = b[n:]
	}
}

func parseRockchipID(w *firmware.Window) (*firmware.Region, error) {
	b, err := w.Bytes(0, rkSector)
	if err != nil {
		return nil, notFormat("rockchip-idblock: %v", err)
	}
	rkDecode(b)
	le := binary.LittleEndian
	plain, offset := le.Uint32(b[8:]) != 0, int64(le.Uint16(b[12:]))
	first, both := int64(le.Uint16(b[506:])), int64(le.Uint16(b[508:]))
	if offset < 1 || offset > 64 || first == 0 || both < first || le.Uint32(b[8:]) > 1 {
		return nil, notFormat("rockchip-idblock: loader of %d sectors at sector %d", first, offset)
	}
	used := offset + both
	if both-first == rkMaxBoot {
		used = offset + first
	}
	spread := int64(1)
	chip := rkChip(w, offset*rkSector, plain)
	if chip == "" {
		if chip = rkChip(w, 2*offset*rkSector, plain); chip != "" {
			spread = 2
		}
	}
	r := loaderRegion(w, used*rkSector*spread)
	r.AddField("loader", "%d bytes in sector %d", first*rkSector, offset)
	if both-first != rkMaxBoot {
		r.AddField("next stage", "%d bytes", (both-first)*rkSector)
	}
	r.AddField("layout", "%s", map[int64]string{1: "as on a memory card", 2: "as in a SPI flash: the first half of each 4 KiB"}[spread])
	r.AddField("RC4", "%s", map[bool]string{true: "of the header only", false: "of header and loader; the key is public and proves no origin"}[plain])
	r.AddField("chip tag", "%s", chip)
	r.AddField("signature", "none in this header")
	return r, rkContents(w, r, offset, plain, spread)
}

// rkChip is the four letters that a loader starts with.
func rkChip(w *firmware.Window, off int64, plain bool) string {
	p, err := w.Bytes(off, 4)
	if err != nil {
		return ""
	}
	if !plain {
		rkDecode(p)
	}
	for _, c := range p {
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') {
			return ""
		}
	}
	return string(p)
}

// rkContents analyses the loader as the ROM sees it.
func rkContents(w *firmware.Window, r *firmware.Region, offset int64, plain bool, spread int64) error {
	if r.State == firmware.Opaque {
		return nil
	}
	if plain && spread == 1 {
		loaderCode(w, r, offset*rkSector, r.Size-offset*rkSector)
		return nil
	}
	size := r.Size/spread - offset*rkSector
	if err := w.Meter().Bytes(size); err != nil {
		return err
	}
	img, err := w.View("rockchip-idblock", &rkLoader{w, offset * rkSector, plain, spread == 2}, size)
	r.Contents = img
	return err
}

// rkLoader gathers the halves of 4 KiB and decodes.
type rkLoader struct {
	w             *firmware.Window
	start         int64
	plain, halves bool
}

func (l *rkLoader) ReadAt(p []byte, off int64) (n int, err error) {
	buf := make([]byte, rkSector)
	for n < len(p) {
		at := l.start + off/rkSector*rkSector
		if l.halves {
			at = at/2048*4096 + at%2048
		}
		if _, err := l.w.ReadAt(buf, at); err != nil {
			return n, err
		}
		if !l.plain {
			rkDecode(buf)
		}
		c := copy(p[n:], buf[off%rkSector:])
		n, off = n+c, off+int64(c)
	}
	return n, nil
}

func parseRockchipNS(w *firmware.Window) (*firmware.Region, error) {
	const header = 4 * rkSector
	b, err := w.Bytes(0, header)
	if err != nil {
		return nil, notFormat("rockchip-rkns: %v", err)
	}
	le := binary.LittleEndian
	sums, count, kind := 4*int64(le.Uint16(b[8:])), int64(le.Uint16(b[10:])), le.Uint32(b[12:])
	if sums < 128+4*88 || sums > header-64 || count == 0 || count > 4 || kind&0xf > 2 {
		return nil, notFormat("rockchip-rkns: %d images, hash %d at %#x", count, kind&0xf, sums)
	}
	r := loaderRegion(w, header)
	r.AddField("magic", "%s", b[:4])
	r.AddField("flags", "%#x", kind)
	newHash := map[uint32]func() hash.Hash{1: sha256.New, 2: sha512.New}[kind&0xf]
	if newHash == nil {
		r.AddField("hash", "none")
	}
	ok := newHash != nil
	for i := range count {
		if !rkImage(w, r, i, b[120+88*i:], newHash) {
			ok = false
		}
	}
	if newHash != nil {
		h := newHash()
		h.Write(b[:sums])
		match := bytes.HasPrefix(b[sums:], h.Sum(nil))
		if match {
			r.AddCheck("hash of the header", true, "computed %x", h.Sum(nil))
			r.AddField("signature", "none: the header ends in its own hash")
		} else {
			// With secure boot a signature stands there.
			r.AddField("signature", "what ends the header is not its hash; a signature would be %s", notVerified)
			ok = false
		}
	}
	if ok {
		r.State, r.Children = firmware.Proven, covered(r.Children)
	}
	return r, nil
}

func rkImage(w *firmware.Window, r *firmware.Region, i int64, b []byte, newHash func() hash.Hash) bool {
	le := binary.LittleEndian
	off, size := int64(le.Uint16(b))*rkSector, int64(le.Uint16(b[2:]))*rkSector
	name := fmt.Sprintf("image %d", i)
	if size == 0 {
		return true
	}
	if off < r.Size || size > w.Size()-min(off, w.Size()) {
		r.AddProblem("%s of %d bytes at %#x does not lie in the image", name, size, off)
		return false
	}
	r.AddField(name, "%d bytes at %#x", size, off)
	r.Size = off + size
	r.Children = append(r.Children, part(w, off, size, name, firmware.RoleBootLoader))
	if newHash == nil {
		return false
	}
	h := newHash()
	if _, err := io.Copy(h, w.Section(off, size)); err != nil {
		r.AddProblem("%s: %v", name, err)
		return false
	}
	match := bytes.Equal(h.Sum(nil), b[24:24+h.Size()])
	r.AddCheck("hash of "+name, match, "computed %x", h.Sum(nil))
	return match
}
