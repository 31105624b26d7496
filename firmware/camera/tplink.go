package camera

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"assay/firmware"
	"assay/firmware/internal/blank"
)

// tapoSigned is the signed update file of TP-Link Tapo cameras ("up_boot-signed").
// It begins with the algorithm, a constant of the product line between AA 55 and
// 55 AA, and the signature, whose bytes stand in reverse order. The signature is
// over the whole file with its own place zeroed; the salt in it gives the key and
// the initialisation vector of the body, so that whoever has the public key can
// read the body, and only the maker can write one.
var tapoSigned = firmware.Format{
	Name:   "tplink-tapo",
	Source: "watchfulip 28-12-24/decrypt_fw_redacted.c; TP-Link GPL libsecurity, rsaVerify.c",
	Magics: []firmware.Magic{
		{Offset: 6, Bytes: tapoProduct},
		{Bytes: "\x00\x00\x02\x00\xaa\x55"},
		{Bytes: "\x00\x00\x01\x00\xaa\x55"},
	},
	About:        "TP-Link Tapo camera update, signed and mostly encrypted",
	Integrity:    "the signature",
	Authenticity: "RSA-2048-PSS with SHA-256 over the whole file by TP-Link's key: worth that key, not verified here",
	Parse:        parseTapo,
}

// tplinkCloud is TP-Link's image with a "fw-type:" line, of routers, hubs and
// some cameras.
var tplinkCloud = firmware.Format{
	Name:         "tplink-cloud",
	Source:       "watchfulip 28-12-24/decrypt_fw_redacted.c; TP-Link GPL nm_fwup.c",
	Magics:       []firmware.Magic{{Offset: cloudType, Bytes: "fw-type:"}},
	About:        "TP-Link image with a fw-type line, signed and sometimes encrypted",
	Integrity:    "an MD5 with a salt, not checked; the signature",
	Authenticity: "RSA-2048-PSS with SHA-256, or RSA-1024 in old ones, by TP-Link's key: worth that key, not verified here",
	Parse:        parseCloud,
}

const (
	tapoProduct   = "\x4c\x5e\x83\x1f\x53\x4b\xa1\xf8\xf7\xc9\x18\xdf\x8f\xbf\x7d\xa1"
	tapoMark      = 4    // AA 55, 16 bytes, 55 AA
	tapoSignature = 0x20 // and the body behind its 256 bytes
	tapoBody      = 0x120

	cloudType      = 0x14 // and where the signed bytes begin
	cloudAlgorithm = 0x110
	cloudSignature = 0x130
	cloudBody      = 0x1014 // behind the product area

	rsa2048 = 0x200 // the algorithm, and a quarter of the key's bits
	rsa1024 = 0x100
)

// tplinkAlgorithm describes a signature, and says how long it is.
func tplinkAlgorithm(word uint32) (name string, size int64) {
	switch word {
	case rsa2048:
		return "RSA-2048-PSS, SHA-256, MGF1 with SHA-256, salt of 222 bytes", 256
	case rsa1024:
		return "RSA-1024, PKCS #1 v1.5, SHA-1 over an MD5", 128
	}
	return "", 0
}

// describeSignature lists a signature that is not verified here.
func describeSignature(w *firmware.Window, r *firmware.Region, algorithm string, at, size int64, covers string) error {
	b, err := w.Bytes(at, size)
	if err != nil {
		r.AddProblem("the signature at %#x is not there", at)
		return nil
	}
	r.AddField("signature algorithm", "%s", algorithm)
	if len(bytes.Trim(b, "\x00")) == 0 || blank.Is(b, 0xff) {
		r.AddField("signature", "none: its %d bytes at %#x are empty", size, at)
		return nil
	}
	r.AddField("signature", "%d bytes at %#x, not verified here", size, at)
	r.AddField("signature covers", "%s", covers)
	return nil
}

func parseTapo(w *firmware.Window) (*firmware.Region, error) {
	b, err := w.Bytes(0, tapoBody)
	if err != nil {
		return nil, notFormat("tapo: %v", err)
	}
	algorithm, size := tplinkAlgorithm(binary.BigEndian.Uint32(b))
	framed := string(b[tapoMark:tapoMark+2]) == "\xaa\x55" && string(b[tapoMark+18:tapoMark+20]) == "\x55\xaa"
	known := string(b[tapoMark+2:tapoMark+18]) == tapoProduct
	if size == 0 || !framed && !known || w.Size() < 2*tapoBody {
		return nil, notFormat("tapo: no algorithm and product constant")
	}
	r := &firmware.Region{Size: w.Size(), Role: firmware.RoleFirmware, State: firmware.Parsed}
	r.AddField("product constant", "%x", b[tapoMark+2:tapoMark+18])
	r.AddField("header word at 0x18", "%#04x", binary.BigEndian.Uint16(b[0x18:]))
	r.AddField("extent", "to the end of the image: no length is stored in plain")
	if err := describeSignature(w, r, algorithm, tapoSignature, size, fmt.Sprintf("the whole file, with the signature's %d bytes as zeros", size)); err != nil {
		return r, err
	}
	r.AddField("signature byte order", "reversed")
	r.AddField("protection", "the maker's signature over the whole file: worth as much as the key it is verified with, and not verified here. The body is AES-128-CBC under a key that comes out of the signature: that hides nothing from who has the public key, and proves no origin by itself")
	body := tapoSignature + size
	r.Children = w.Analyse(body, w.Size()-body)
	return r, nil
}

func parseCloud(w *firmware.Window) (*firmware.Region, error) {
	b, err := w.Bytes(0, cloudBody)
	if err != nil {
		return nil, notFormat("tp-link cloud: %v", err)
	}
	kind, _, ended := bytes.Cut(b[cloudType:cloudAlgorithm], []byte{'\n'})
	total := int64(binary.BigEndian.Uint32(b))
	algorithm, size := tplinkAlgorithm(binary.BigEndian.Uint32(b[cloudAlgorithm:]))
	if !ended || len(kind) > 64 || !clean(kind) || total <= cloudBody || size == 0 {
		return nil, notFormat("tp-link cloud: %d bytes of type %.70q", total, kind)
	}
	r := begin(w, total)
	r.Role = firmware.RoleFirmware
	r.AddField("type", "%s", kind[len("fw-type:"):])
	r.AddField("declared size", "%d", total)
	r.AddField("digest", "%x, an MD5 with a salt that is not public here, not checked", b[4:cloudType])
	if err := describeSignature(w, r, algorithm, cloudSignature, size, fmt.Sprintf("from %#x to the end, with the signature's %d bytes as zeros", cloudType, size)); err != nil {
		return r, err
	}
	r.AddField("signature byte order", "reversed")
	r.AddField("protection", "the maker's signature: worth as much as the key it is verified with, and not verified here; the digest proves no origin, and an encryption of the body hides it only from who has no public key")
	r.Children = w.Analyse(cloudBody, r.Size-cloudBody)
	return r, nil
}
