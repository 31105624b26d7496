package camera

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"assay/firmware"
	"assay/firmware/filesystem"
	"assay/firmware/internal/container"
)

// boschFirmware is the update file of Bosch cameras: a header, and for several
// targets further ones behind it, each before its data. Up to release 6.50 the
// data is an archive under a XOR with one byte; later it is AES in CBC mode under a
// key that the header wraps with RSA, the public exponent opening it.
var boschFirmware = firmware.Format{
	Name:         boschName,
	Source:       "anvilsecure BoschFirmwareTool, CLI/FirmwareHeader.cs, BoschFirmware.cs",
	Magics:       []firmware.Magic{{Bytes: boschMagic}},
	About:        "Bosch camera update: headers before archives under a XOR or AES",
	Integrity:    "a 32-bit sum whose range is not public",
	Authenticity: "a field of 256 bytes for an RSA signature, of undocumented algorithm, not verified here",
	Parse:        parseBosch,
}

// boschArchive is what a Bosch update holds, and what its RomFS files are: files
// in a row, each behind a header, ended by an empty one.
var boschArchive = firmware.Format{
	Name:         "bosch-archive",
	Source:       "anvilsecure BoschFirmwareTool, CLI/FileHeader.cs, BoschFirmware.cs",
	Magics:       []firmware.Magic{{Bytes: boschFileMagic}},
	About:        "archive inside a Bosch update",
	Integrity:    "none",
	Authenticity: "none",
	Parse:        parseBoschArchive,
}

const (
	boschName      = "bosch-fw"
	boschMagic     = "\x10\x12\x20\x03"
	boschHeader    = 0x400
	boschNested    = 0x10 // the target of a header whose data is further headers
	boschMaxParts  = 64
	boschMaxData   = 1 << 30 // real ones have up to about 100 MB
	boschMaxWord   = 0xffff  // real targets are small numbers
	boschMaxKind   = 0xff
	boschSignature = 0x4c
	boschKey       = 0x24c
	boschBlob      = 256
	boschXOR       = 0x42

	boschFileMagic  = "\xde\xad\xaf\xfe"
	boschFileHeader = 0x40
)

// boschHead is a header, big endian.
type boschHead struct {
	target, variant, length, base, sum, kind uint32
	version                                  [4]byte
	signature, key                           []byte
}

func readBoschHead(w *firmware.Window, at int64) (boschHead, error) {
	b, err := w.Bytes(at, boschHeader)
	if err != nil {
		return boschHead{}, notFormat("bosch: header at %#x: %v", at, err)
	}
	word := func(i int) uint32 { return binary.BigEndian.Uint32(b[i:]) }
	h := boschHead{word(4), word(8), word(0x10), word(0x14), word(0x18), word(0x1c), [4]byte(b[12:]), b[boschSignature:][:boschBlob], b[boschKey:][:boschBlob]}
	if string(b[:4]) != boschMagic || h.length == 0 || h.length > boschMaxData || h.target > boschMaxWord || h.kind > boschMaxKind {
		return h, notFormat("bosch: no header at %#x", at)
	}
	return h, nil
}

func (h boschHead) encrypted() bool { return len(bytes.Trim(h.key, "\x00")) > 0 }

func parseBosch(w *firmware.Window) (*firmware.Region, error) {
	h, err := readBoschHead(w, 0)
	if err != nil {
		return nil, err
	}
	if h.target != boschNested {
		return h.part(w, 0)
	}
	r := &firmware.Region{Size: boschHeader, Role: firmware.RoleContainer, State: firmware.Parsed}
	h.describe(r)
	for len(r.Children) < boschMaxParts {
		sub, err := readBoschHead(w, r.Size)
		if err != nil {
			break
		}
		child, err := sub.part(w, r.Size)
		r.Children = append(r.Children, child)
		r.Size += child.Size
		if child.State == firmware.Opaque {
			r.State = firmware.Opaque
			r.AddProblem("the part at %#x is cut short", child.Offset)
		}
		if err != nil {
			return r, err
		}
	}
	if len(r.Children) == 0 {
		return nil, notFormat("bosch: no headers behind the first")
	}
	r.AddField("parts", "%d, of %d bytes together", len(r.Children), r.Size-boschHeader)
	return r, nil
}

func (h boschHead) describe(r *firmware.Region) {
	r.AddField("target", "%#x", h.target)
	r.AddField("variant", "%#x", h.variant)
	r.AddField("version", "%d.%d.%d.%d", h.version[0], h.version[1], h.version[2], h.version[3])
	r.AddField("declared length", "%d", h.length)
	r.AddField("base", "%#08x", h.base)
	r.AddField("type", "%d", h.kind)
	if h.sum != 0 {
		r.AddField("checksum", "%08x, whose range is not public, not checked", h.sum)
	}
	if len(bytes.Trim(h.signature, "\x00")) == 0 {
		r.AddField("signature", "none: its %d bytes are empty", boschBlob)
	} else {
		r.AddField("signature", "%d bytes at %#x of the header, of undocumented algorithm, not verified here", boschBlob, boschSignature)
	}
	if h.encrypted() {
		r.AddField("key blob", "%d bytes, RSA: the maker's public key opens it, so that it hides nothing from who has that", boschBlob)
		r.AddField("protection", "AES in CBC mode under a key that the header carries, not decrypted here; encryption proves no origin, the signature field would")
	} else {
		r.AddField("protection", "a XOR with one byte: hides and proves nothing; the signature field would")
	}
}

// part reads a header and the data behind it.
func (h boschHead) part(w *firmware.Window, at int64) (*firmware.Region, error) {
	r := &firmware.Region{
		Offset: w.Offset() + at, Size: boschHeader + int64(h.length), Format: boschName, Name: fmt.Sprintf("target %#x", h.target),
		Role: firmware.RoleFirmware, State: firmware.Parsed,
	}
	h.describe(r)
	if left := w.Size() - at; r.Size > left {
		r.Size, r.State = left, firmware.Opaque
		r.AddProblem("%d bytes are declared behind the header and %d are there", h.length, left-boschHeader)
	}
	data, size := at+boschHeader, r.Size-boschHeader
	if h.encrypted() || size == 0 {
		r.Children = w.Analyse(data, size)
		return r, nil
	}
	if err := w.Meter().Bytes(size); err != nil {
		return r, err
	}
	plain := xored{w, data, []byte{boschXOR}}
	img, err := w.View("bosch: data under the XOR", plain, size)
	r.Contents = img
	return r, err
}

func parseBoschArchive(w *firmware.Window) (*firmware.Region, error) {
	files := filesystem.NewListing(w.Meter())
	r := &firmware.Region{Role: firmware.RoleData, State: firmware.Parsed}
	for {
		b, err := w.Bytes(r.Size, min(boschFileHeader, w.Size()-r.Size))
		if err != nil {
			return nil, notFormat("bosch archive: %v", err)
		}
		if len(bytes.Trim(b, "\x00")) == 0 && r.Size > 0 {
			if r.Size += int64(len(b)); len(b) < boschFileHeader {
				r.AddProblem("the archive ends without an empty header")
			}
			break
		}
		if len(b) < boschFileHeader || string(b[:4]) != boschFileMagic {
			if r.Size == 0 {
				return nil, notFormat("bosch archive: no header of a file")
			}
			r.AddProblem("no header of a file at %#x: the rest is not read", r.Size)
			break
		}
		next, size, name := int64(binary.BigEndian.Uint32(b[4:])), int64(binary.BigEndian.Uint32(b[40:])), container.Text(b[8:40])
		if next < boschFileHeader || size > next-boschFileHeader || name == "" || !printable(b[8:40]) {
			if r.Size == 0 {
				return nil, notFormat("bosch archive: a first file of %d bytes named %q", size, name)
			}
			r.AddProblem("the header at %#x is of no file: the rest is not read", r.Size)
			break
		}
		if left := w.Size() - r.Size; next > left {
			r.State = firmware.Opaque
			r.AddProblem("file %q of %d bytes reaches past the end", name, size)
			size, next = min(size, left-boschFileHeader), left
		}
		if err := files.Add(name, w, r.Size+boschFileHeader, size); err != nil {
			files.Describe(r)
			r.Size += next
			return r, err
		}
		r.Size += next
	}
	files.Describe(r)
	r.AddField("protection", "none")
	return r, nil
}
