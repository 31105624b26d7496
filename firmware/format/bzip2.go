package format

import (
	"assay/firmware"
	"assay/firmware/compress"
)

// bzip2Stream is looked for by level and first block mark, which is what makes
// its short magic safe.
var bzip2Stream = firmware.Format{
	Name:   "bzip2",
	Source: "bzip2 1.0.8, decompress.c",
	Magics: bzip2Magics(),
	Parse:  stream(compress.Bzip2, describeBzip2),

	About:        "bzip2 stream",
	Integrity:    "CRC-32 of each block and of all",
	Authenticity: "none",
}

func bzip2Magics() []firmware.Magic {
	var list []firmware.Magic
	for level := '1'; level <= '9'; level++ {
		list = append(list, firmware.Magic{Bytes: "BZh" + string(level) + "1AY&SY"})
	}
	return list
}

func describeBzip2(head []byte, r *firmware.Region) string {
	if len(head) > 3 {
		r.AddField("block size", "%d", int(head[3]-'0')*100_000)
	}
	return "CRC-32"
}
