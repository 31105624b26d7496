package update

import (
	"bytes"
	"crypto"
	"encoding/binary"
	"encoding/hex"

	"assay/firmware"
	"assay/firmware/internal/container"
)

// The encrypted images of D-Link. The keys of all three have been published, so
// that neither their encryption nor their hashes say who made an image; none
// of them is used here.
var (
	dlinkSHRS = firmware.Format{
		Name:         "dlink-shrs",
		Source:       "unblob handlers/archive/dlink/shrs.py; dlink-decrypt dlink-dec.py",
		About:        "D-Link SHRS image: an encrypted body with signatures",
		Integrity:    "SHA-512 of the body as it lies",
		Authenticity: "RSA signature fields: worth D-Link's keys, not verified here",
		Magics:       []firmware.Magic{{Bytes: "SHRS"}},
		Parse:        parseSHRS,
	}
	dlinkEncrptedImg = firmware.Format{
		Name:         "dlink-encrpted_img",
		Source:       "unblob handlers/archive/dlink/encrpted_img.py",
		About:        "D-Link encrypted image",
		Integrity:    "none",
		Authenticity: "none: encrypted under a key that public tools know",
		Magics:       []firmware.Magic{{Offset: 3, Bytes: "rpted_img"}}, // its first letters are those of much text
		Parse:        parseEncrptedImg,
	}
	dlinkMH01 = firmware.Format{
		Name:         "dlink-mh01",
		Source:       "binwalk 3 src/structures/mh01.rs, and a sample",
		About:        "D-Link MH01 image: an encrypted body with a signature",
		Integrity:    "MD5 of the encrypted body",
		Authenticity: "an RSA signature field: worth D-Link's key, not verified here",
		Magics:       []firmware.Magic{{Bytes: "MH01"}},
		Parse:        parseMH01,
	}
)

const dlinkKeys = "encrypted; the keys of this format are published, so that it proves no origin, and are not used here"

// parseSHRS reads AES-128-CBC under a header of three SHA-512 and two places
// for signatures.
func parseSHRS(w *firmware.Window) (*firmware.Region, error) {
	const header = 0x6dc
	b, err := w.Bytes(0, header)
	if err != nil {
		return nil, notFormat("dlink-shrs: %v", err)
	}
	padded, plain := int64(binary.BigEndian.Uint32(b[4:])), int64(binary.BigEndian.Uint32(b[8:]))
	if plain == 0 || padded < plain || padded-plain > 4096 || len(bytes.Trim(b[0xdc:0x2dc], "\x00")) > 0 {
		return nil, notFormat("dlink-shrs: %d bytes, %d with padding", plain, padded)
	}
	r := &firmware.Region{Role: firmware.RoleContainer, State: firmware.Parsed}
	r.AddField("size", "%d", plain)
	r.AddField("padded size", "%d", padded)
	r.AddField("iv", "%x", b[0xc:0x1c])
	r.AddField("SHA-512 of the plain image and the key", "%x", b[0x1c:0x5c])
	r.AddField("SHA-512 of the plain image", "%x", b[0x5c:0x9c])
	for i, off := range []int{0x2dc, 0x4dc} {
		if len(bytes.Trim(b[off:off+512], "\x00")) == 0 {
			r.AddField("signature", "place %d of 512 bytes is empty", i+1)
		} else {
			r.AddField("signature", "place %d holds 512 bytes; %s", i+1, notVerified)
		}
	}
	r.Size = header + padded
	if r.Size > w.Size() {
		r.Size, r.State = w.Size(), firmware.Opaque
		r.AddProblem("dlink-shrs: the header declares %d bytes of payload and %d are there", padded, w.Size()-header)
	}
	ok := false
	for _, size := range []int64{padded, plain} { // both are in use
		if ok || size > w.Size()-header {
			continue
		}
		sum, err := digest(w, crypto.SHA512, header, size)
		if err != nil {
			return r, err
		}
		if ok = bytes.Equal(sum, b[0x9c:0xdc]); ok || size == plain {
			r.AddCheck("SHA-512 of the encrypted image", ok, "over %d bytes; computed %x", size, sum)
		}
	}
	if ok {
		r.State = firmware.Proven
	} else if r.State == firmware.Parsed {
		r.AddProblem("dlink-shrs: the SHA-512 of the encrypted image does not hold")
	}
	if r.Size > header {
		r.Children = []*firmware.Region{opaque(w, header, r.Size-header, "payload", dlinkKeys)}
	}
	return r, nil
}

// parseEncrptedImg reads a name, misspelt by its makers, and a size. In it each
// erase block of a UBI image is encrypted by itself.
func parseEncrptedImg(w *firmware.Window) (*firmware.Region, error) {
	const header = 16
	b, err := w.Bytes(0, header)
	if err != nil {
		return nil, notFormat("dlink-encrpted_img: %v", err)
	}
	size := int64(binary.BigEndian.Uint32(b[12:]))
	if string(b[:12]) != "encrpted_img" || size < 256 || size > 1<<30 {
		return nil, notFormat("dlink-encrpted_img: %d bytes", size)
	}
	r := &firmware.Region{Size: header + size, Role: firmware.RoleContainer, State: firmware.Parsed}
	r.AddField("size", "%d", size)
	r.AddField("checksum", "none")
	if r.Size > w.Size() {
		r.Size, r.State = w.Size(), firmware.Opaque
		r.AddProblem("dlink-encrpted_img: the header declares %d bytes of payload and %d are there", size, w.Size()-header)
	}
	if r.Size > header {
		r.Children = []*firmware.Region{opaque(w, header, r.Size-header, "payload", dlinkKeys)}
	}
	return r, nil
}

// parseMH01 reads an outer header, an inner one with a hash as text, what
// "openssl enc" made, and a signature.
func parseMH01(w *firmware.Window) (*firmware.Region, error) {
	const header = 32
	b, err := w.Bytes(0, header)
	if err != nil {
		return nil, notFormat("dlink-mh01: %v", err)
	}
	word := func(off int) int64 { return int64(binary.LittleEndian.Uint32(b[off:])) }
	image, signature, hash, data := word(4), word(8), word(20), word(24)
	if string(b[16:20]) != "MH01" || hash < 16 || hash > 256 || data == 0 || image != 16+hash+data || signature > 4096 {
		return nil, notFormat("dlink-mh01: sizes %d, %d, %d and %d", image, signature, hash, data)
	}
	sum, err := w.Bytes(header, hash)
	if err != nil {
		return nil, notFormat("dlink-mh01: %v", err)
	}
	declared := string(bytes.TrimSpace(sum))
	if _, err := hex.DecodeString(declared); err != nil {
		return nil, notFormat("dlink-mh01: hash %q", declared)
	}
	payload := header + hash
	r := &firmware.Region{Size: payload + data + signature, Role: firmware.RoleContainer, State: firmware.Parsed}
	r.AddField("payload size", "%d", data)
	if signature > 0 {
		r.AddField("signature", "%d bytes at the end; %s", signature, notVerified)
	}
	if r.Size > w.Size() {
		r.Size, r.State = w.Size(), firmware.Opaque
		r.AddProblem("dlink-mh01: the header declares %d bytes and %d are there", payload+data+signature, w.Size())
	}
	data = min(data, r.Size-payload)
	if data > 0 {
		got, err := digest(w, crypto.MD5, payload, data)
		if err != nil {
			return r, err
		}
		if hex.EncodeToString(got) == declared {
			r.AddCheck("MD5 of the payload", true, "computed %x", got)
			if r.State == firmware.Parsed {
				r.State = firmware.Proven
			}
		} else {
			r.AddField("hash", "%s, which is not the MD5 of the encrypted payload and cannot be computed without its key", declared)
		}
		r.Children = []*firmware.Region{container.Part(w, payload, data, "payload", firmware.RoleNone)}
	}
	return r, nil
}
