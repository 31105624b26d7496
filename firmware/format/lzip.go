package format

import (
	"assay/firmware"
	"assay/firmware/compress"
)

// lzipStream is one member of a lzip file. Its trailer has a CRC-32 over the
// unpacked bytes, their number, and that of the packed ones.
var lzipStream = firmware.Format{
	Name:         "lzip",
	Source:       "lzip manual, \"File format\"",
	About:        "lzip stream",
	Integrity:    "CRC-32 and sizes",
	Authenticity: "none",
	Magics:       []firmware.Magic{{Bytes: "LZIP\x01"}},
	Parse:        stream(compress.Lzip, describeLzip),
}

func describeLzip(head []byte, r *firmware.Region) string {
	if len(head) > 5 {
		r.AddField("dictionary", "%d", 1<<(head[5]&31)-1<<(head[5]&31)/16*int(head[5]>>5))
	}
	return "CRC-32 and sizes"
}
