package format

import (
	"bytes"
	"encoding/binary"
	"time"

	"assay/firmware"
	"assay/firmware/compress"
)

// gzipStream is one member of a gzip file. Reserved flags must be clear, which
// the magic alone would not ask for.
var gzipStream = firmware.Format{
	Name:   "gzip",
	Source: "RFC 1952",
	Magics: []firmware.Magic{{Bytes: "\x1f\x8b\x08"}},
	Parse: func(w *firmware.Window) (*firmware.Region, error) {
		head, err := w.Bytes(0, 18)
		if err != nil || head[3]&0xe0 != 0 {
			return nil, notFormat("gzip: header is cut off or has reserved flags")
		}
		return unpack(w, compress.Gzip, 0, w.Size(), describeGzip)
	},

	About:        "gzip stream",
	Integrity:    "CRC-32 and size of the unpacked bytes",
	Authenticity: "none",
}

const (
	gzipExtra = 1 << 2
	gzipName  = 1 << 3
)

func describeGzip(head []byte, r *firmware.Region) string {
	const checksum = "CRC-32"
	if len(head) < 10 {
		return checksum
	}
	if mtime := binary.LittleEndian.Uint32(head[4:]); mtime != 0 {
		r.AddField("modified", "%s", time.Unix(int64(mtime), 0).UTC().Format(time.RFC3339))
	}
	flags, rest := head[3], head[10:]
	if flags&gzipExtra != 0 {
		if len(rest) < 2 || int(binary.LittleEndian.Uint16(rest)) > len(rest)-2 {
			return checksum
		}
		rest = rest[2+int(binary.LittleEndian.Uint16(rest)):]
	}
	if flags&gzipName != 0 && bytes.IndexByte(rest, 0) > 0 {
		r.Name = text(rest)
	}
	return checksum
}
