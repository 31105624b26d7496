package format

import (
	"encoding/binary"

	"assay/firmware"
	"assay/firmware/compress"
)

var lzopStream = firmware.Format{
	Name:   "lzo",
	Source: "lzop 1.04, src/lzop.c and conf.h",
	Magics: []firmware.Magic{{Bytes: "\x89LZO\x00\x0d\x0a\x1a\x0a"}},
	Parse:  stream(compress.LZO, describeLzop),

	About:        "lzop file",
	Integrity:    "Adler-32 or CRC-32 of header and blocks",
	Authenticity: "none",
}

// Flags of the lzop header that say which checksum each unpacked block has.
const (
	lzopAdler32  = 1 << 0
	lzopCRC32    = 1 << 8
	lzopVersion4 = 0x0940 // the first version with a level and a "needed" version
)

func describeLzop(head []byte, r *firmware.Region) string {
	if len(head) < 26 {
		return ""
	}
	r.AddField("lzop version", "%#04x", binary.BigEndian.Uint16(head[9:]))
	flags := binary.BigEndian.Uint32(head[14:])
	if binary.BigEndian.Uint16(head[9:]) >= lzopVersion4 {
		flags = binary.BigEndian.Uint32(head[17:])
		describeLzopName(head, r)
	}
	switch {
	case flags&lzopCRC32 != 0:
		return "CRC-32 of each block"
	case flags&lzopAdler32 != 0:
		return "Adler-32 of each block"
	}
	return ""
}

const lzopNameAt = 34 // behind mode and two words of time

func describeLzopName(head []byte, r *firmware.Region) {
	if len(head) <= lzopNameAt {
		return
	}
	if n := int(head[lzopNameAt-1]); n > 0 && n <= len(head)-lzopNameAt {
		r.Name = text(head[lzopNameAt : lzopNameAt+n])
	}
}
