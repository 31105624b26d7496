package format

import (
	"assay/firmware"
	"assay/firmware/compress"
)

// zlibStream is a zlib stream as programs write it: a window of 32 KiB and no
// preset dictionary. Its two bytes of magic stand anywhere by chance, so that
// only a stream counts that unpacks to its end and whose Adler-32 holds.
var zlibStream = firmware.Format{
	Name:   "zlib",
	Source: "RFC 1950",
	Magics: []firmware.Magic{{Bytes: "\x78\x01"}, {Bytes: "\x78\x5e"}, {Bytes: "\x78\x9c"}, {Bytes: "\x78\xda"}},
	Parse:  parseZlib,
}

// zlibMin is the size of a stream that is worth to be named.
const zlibMin = 64

func parseZlib(w *firmware.Window) (*firmware.Region, error) {
	head, err := w.Bytes(0, min(w.Size(), 3))
	if err != nil || w.Size() < zlibMin || head[2]&6 == 6 {
		return nil, notFormat("zlib: no block of data")
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
