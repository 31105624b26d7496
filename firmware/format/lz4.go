package format

import (
	"assay/firmware"
	"assay/firmware/compress"
)

var lz4Frame = firmware.Format{
	Name:   "lz4",
	Source: "lz4 doc/lz4_Frame_format.md 1.6.4",
	Magics: []firmware.Magic{{Bytes: "\x04\x22\x4d\x18"}},
	Parse:  stream(compress.LZ4, describeLZ4),

	About:        "LZ4 frame",
	Integrity:    "xxHash-32 of header, blocks and contents",
	Authenticity: "none",
}

// lz4Legacy is what the Linux kernel's build makes. It has neither end mark nor
// checksum.
var lz4Legacy = firmware.Format{
	Name:   "lz4-legacy",
	Source: "lz4 doc/lz4_Frame_format.md 1.6.4, Legacy frame",
	Magics: []firmware.Magic{{Bytes: "\x02\x21\x4c\x18"}},
	Parse:  stream(compress.LZ4Legacy, describeNothing),

	About:        "LZ4 as the Linux kernel packs itself",
	Integrity:    "none",
	Authenticity: "none",
}

func describeLZ4(head []byte, r *firmware.Region) string {
	if len(head) > 4 && head[4]&0x04 != 0 {
		r.AddField("check", "XXH32")
		return "XXH32"
	}
	r.AddField("check", "none")
	return ""
}
