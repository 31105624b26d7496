package camera

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strings"

	"assay/firmware"
	"assay/firmware/internal/container"
)

// xiaomiHDR is Xiaomi's image in its two versions: a header with a CRC-32 that is
// not inverted in the end, up to eight blobs, and an RSA signature. Most are for
// routers.
var xiaomiHDR = firmware.Format{
	Name:         "xiaomi-hdr",
	Source:       "OpenWrt firmware-utils src/xiaomifw.c; unblob handlers/archive/xiaomi/hdr.py; binaryanalysis-ng xiaomi_firmware.ksy",
	Magics:       []firmware.Magic{{Bytes: "HDR1"}, {Bytes: "HDR2"}},
	About:        "Xiaomi image: blobs with a flash offset each, and a signature",
	Integrity:    "CRC-32 of all behind it",
	Authenticity: "a field for an RSA signature by Xiaomi's key: worth that key, not verified here",
	Parse:        parseXiaomi,
}

const (
	xiaomiSummed    = 12
	xiaomiBlobs     = 8
	xiaomiBlob      = 48
	xiaomiBlobMagic = 0xbabe
	xiaomiSignature = 16 // size and padding before it
	xiaomiMaxSigned = 1024
)

var xiaomiTypes = map[uint16]string{1: "u-boot", 4: "firmware uImage", 6: "firmware", 7: "firmware uImage"}

func parseXiaomi(w *firmware.Window) (*firmware.Region, error) {
	magic, err := w.Bytes(0, 4)
	if err != nil {
		return nil, notFormat("xiaomi: %v", err)
	}
	offsets := int64(16)
	if string(magic) == "HDR2" {
		offsets = 48
	}
	header := offsets + 4*xiaomiBlobs
	b, err := w.Bytes(0, header)
	if err != nil {
		return nil, notFormat("xiaomi: %v", err)
	}
	le := binary.LittleEndian
	signed := int64(le.Uint32(b[4:]))
	if signed < header+xiaomiBlob || int64(le.Uint32(b[offsets:])) != header || le.Uint16(b[12:]) != 0 {
		return nil, notFormat("xiaomi: blobs from %#x to %#x", le.Uint32(b[offsets:]), signed)
	}
	blobs, err := xiaomiRead(w, b[offsets:], signed)
	if err != nil {
		return nil, err
	}
	sigSize := int64(256)
	if h, err := w.Bytes(signed, 4); err == nil {
		if n := int64(le.Uint32(h)); n > 0 && n <= xiaomiMaxSigned {
			sigSize = n
		}
	}
	r := begin(w, signed+xiaomiSignature+sigSize)
	if string(magic) == "HDR1" {
		r.AddField("device", "%#04x", le.Uint16(b[14:]))
	} else {
		r.AddField("device", "%s", container.Text(b[16:24]))
		r.AddField("region", "%s", container.Text(b[24:32]))
	}
	crc := crc32.NewIEEE()
	if err := stream(w, xiaomiSummed, r.Size-xiaomiSummed, crc); err != nil {
		return r, err
	}
	stated := le.Uint32(b[8:])
	ok := ^crc.Sum32() == stated && r.State == firmware.Parsed
	r.AddCheck("CRC-32", ok, "computed %08x, declared %08x", ^crc.Sum32(), stated)
	if r.State == firmware.Parsed {
		if err := describeSignature(w, r, fmt.Sprintf("RSA-%d", 8*sigSize), signed+xiaomiSignature, sigSize, "not documented"); err != nil {
			return r, err
		}
	}
	r.AddField("protection", "a CRC-32 is integrity only and proves no origin; the signature is worth as much as the key it is verified with, and not verified here")
	lay(w, r, header, append(blobs, &section{name: "signature", off: signed + xiaomiSignature, size: sigSize, lead: xiaomiSignature}))
	if !ok {
		r.AddProblem("its CRC-32 does not hold")
	} else if len(r.Problems) == 0 {
		r.State, r.Children = firmware.Proven, container.Covered(r.Children)
	}
	return r, nil
}

// xiaomiRead reads the headers of the blobs.
func xiaomiRead(w *firmware.Window, offsets []byte, signed int64) ([]*section, error) {
	le := binary.LittleEndian
	var blobs []*section
	for i := range xiaomiBlobs {
		at := int64(le.Uint32(offsets[4*i:]))
		if at == 0 {
			break
		}
		h, err := w.Bytes(at, xiaomiBlob)
		if err != nil || le.Uint32(h) != xiaomiBlobMagic || !printable(h[16:]) {
			if i == 0 {
				return nil, notFormat("xiaomi: no blob at %#x", at)
			}
			// Without its header, its place is all that is known of it.
			blobs = append(blobs, &section{name: fmt.Sprintf("blob %d", i), off: at})
			continue
		}
		s := &section{name: container.Text(h[16:]), off: at + xiaomiBlob, size: int64(le.Uint32(h[8:])), lead: xiaomiBlob}
		if s.off+s.size > signed && i == 0 {
			return nil, notFormat("xiaomi: blob %q goes into the signature", s.name)
		}
		s.role = roleOf(s.name)
		s.fields = []firmware.Field{
			{Name: "flash offset", Value: fmt.Sprintf("%#08x", le.Uint32(h[4:]))},
			{Name: "blob type", Value: strings.TrimSpace(fmt.Sprintf("%d %s", le.Uint16(h[12:]), xiaomiTypes[le.Uint16(h[12:])]))},
		}
		blobs = append(blobs, s)
	}
	return blobs, nil
}
