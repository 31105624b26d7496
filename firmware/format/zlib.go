package format

import (
	"assay/firmware"
	"assay/firmware/compress"
)

// zlibStream is a zlib stream as programs write it: a window of 32 KiB and no
// preset dictionary. Its two bytes of magic stand anywhere by chance, so that
// only a stream counts that unpacks to its end and whose Adler-32 holds.
var zlibStream = firmware.Format{
	Name:         "zlib",
	Source:       "RFC 1950",
	About:        "zlib stream",
	Integrity:    "Adler-32 of the unpacked bytes",
	Authenticity: "none",
	Magics:       zlibMagics(),
	Parse:        parseZlib,
}

// zlibMagics are the header at each level, and how the first block can begin: with
// its type, and zeros behind that of a stored one.
func zlibMagics() (list []firmware.Magic) {
	for _, level := range []byte{0x01, 0x5e, 0x9c, 0xda} {
		for first := range 256 {
			if kind := first >> 1 & 3; kind == 1 || kind == 2 || first < 2 {
				list = append(list, firmware.Magic{Bytes: string([]byte{0x78, level, byte(first)})})
			}
		}
	}
	return list
}

// zlibMin is the size of a stream that is worth to be named.
const zlibMin = 64

var errNoZlib = notFormat("zlib: no block of data")

func parseZlib(w *firmware.Window) (*firmware.Region, error) {
	head, err := w.Peek(0, min(w.Size(), 1<<10))
	if err != nil || w.Size() < zlibMin || !compress.MayInflate(head[2:]) {
		return nil, errNoZlib
	}
	r, err := unpack(w, compress.Zlib, 0, w.Size(), func(head []byte, _ *firmware.Region) string { return "Adler-32" })
	if r == nil {
		return nil, err
	}
	if r.State != firmware.Proven || r.Size < zlibMin {
		if budgetOnly(err) != nil {
			return nil, err
		}
		return nil, notFormat("zlib: %d bytes, %s", r.Size, r.State)
	}
	return r, err
}
