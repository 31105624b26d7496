package format

import (
	"assay/firmware"
	"assay/firmware/compress"
)

var xzStream = firmware.Format{
	Name:   "xz",
	Source: "The .xz File Format 1.2.1, section 2.1.1",
	Magics: []firmware.Magic{{Bytes: "\xfd7zXZ\x00"}},
	Parse:  stream(compress.XZ, describeXZ),

	About:        "xz stream",
	Integrity:    "CRC-32, CRC-64 or SHA-256 of the unpacked bytes",
	Authenticity: "none",
}

var xzChecks = map[byte]string{1: "CRC-32", 4: "CRC-64", 10: "SHA-256"}

// xzFilters are the filter ids of section 5.3.
var xzFilters = map[byte]string{3: "delta", 4: "x86", 5: "powerpc", 6: "ia64", 7: "arm", 8: "arm-thumb", 9: "sparc", 10: "arm64", 11: "riscv", 0x21: "lzma2"}

func describeXZ(head []byte, r *firmware.Region) string {
	if len(head) < 24 {
		return ""
	}
	check := xzChecks[head[7]&0x0f]
	if check == "" {
		r.AddField("check", "none")
	} else {
		r.AddField("check", "%s", check)
	}
	// The first block header follows: its size, flags, then filters unless sizes
	// stand before them.
	if flags := head[13]; head[12] != 0 && flags&0xc0 == 0 {
		if name := xzFilters[head[14]]; name != "" {
			r.AddField("first filter", "%s", name)
		}
	}
	return check
}
