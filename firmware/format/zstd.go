package format

import (
	"assay/firmware"
	"assay/firmware/compress"
)

var zstdStream = firmware.Format{
	Name:   "zstd",
	Source: "RFC 8878, section 3.1.1",
	Magics: []firmware.Magic{{Bytes: "\x28\xb5\x2f\xfd"}},
	Parse:  stream(compress.Zstd, describeZstd),

	About:        "Zstandard frame",
	Integrity:    "xxHash-64 of the unpacked bytes, where it is there",
	Authenticity: "none",
}

func describeZstd(head []byte, r *firmware.Region) string {
	if len(head) > 4 && head[4]&0x04 != 0 {
		r.AddField("check", "XXH64")
		return "XXH64, low 32 bits"
	}
	r.AddField("check", "none")
	return ""
}
