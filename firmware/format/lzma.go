package format

import (
	"encoding/binary"
	"errors"
	"math/bits"

	"assay/firmware"
	"assay/firmware/budget"
	"assay/firmware/compress"
)

// lzmaStream is LZMA-alone. It has no magic, so a candidate must have
// properties that encoders write, a dictionary that they choose, a sane size, a
// range coder that starts with its zero byte, and must unpack to the end, to
// 256 bytes at least and to more than it takes.
var lzmaStream = firmware.Format{
	Name:   "lzma",
	Source: "LZMA SDK, lzma-specification.txt; guards as in unblob handlers/compression/lzma.py",
	Magics: lzmaMagics(),
	Parse:  parseLZMA,

	About:        "LZMA stream",
	Integrity:    "none; the stream is decoded to its end",
	Authenticity: "none",
}

const (
	lzmaHeader  = 13
	lzmaMinSize = 256
	lzmaMaxSize = 256 << 20
	lzmaMaxDict = 64 << 20
)

// lzmaMagics are (pb*5+lp)*9+lc for what encoders are called with (xz's default
// 3/0/2 and its neighbours), and a dictionary size of 64 KiB to 64 MiB that is a
// power of two or one and a half of it.
func lzmaMagics() []firmware.Magic {
	var list []firmware.Magic
	for _, properties := range []byte{0x5d, 0x5e, 0x66, 0x6c, 0x6d, 0x6e, 0x51, 0x5a} {
		for size := uint32(64 << 10); size <= lzmaMaxDict; size <<= 1 {
			for _, dict := range []uint32{size, size + size/2} {
				if dict <= lzmaMaxDict {
					list = append(list, firmware.Magic{Bytes: string(binary.LittleEndian.AppendUint32([]byte{properties}, dict))})
				}
			}
		}
	}
	return list
}

func parseLZMA(w *firmware.Window) (*firmware.Region, error) {
	head, err := w.Bytes(0, lzmaHeader+1)
	if err != nil {
		return nil, notFormat("lzma: no room for a header")
	}
	dict, size := binary.LittleEndian.Uint32(head[1:]), binary.LittleEndian.Uint64(head[5:])
	streamed := size == 1<<64-1
	switch {
	case head[lzmaHeader] != 0:
		return nil, notFormat("lzma: the range coder does not start with zero")
	case dict > lzmaMaxDict || !roundDict(dict):
		return nil, notFormat("lzma: no encoder chooses a dictionary of %d bytes", dict)
	case !streamed && (size < lzmaMinSize || size > lzmaMaxSize):
		return nil, notFormat("lzma: unpacked size %d is not plausible", size)
	}
	r, err := unpack(w, compress.LZMA, 0, w.Size(), describeLZMA)
	if r == nil && errors.Is(err, budget.ErrExceeded) {
		// A dictionary that there is no memory for: without a magic that is more
		// likely chance than LZMA, and must not end the analysis.
		return nil, notFormat("%v", err)
	}
	if err != nil {
		return r, err
	}
	if unpacked := r.Contents.Size; unpacked < lzmaMinSize || unpacked <= r.Size {
		return nil, notFormat("lzma: %d bytes unpack to %d", r.Size, unpacked)
	}
	return r, nil
}

// roundDict accepts 2^n and 2^n + 2^(n-1), as encoders choose.
func roundDict(dict uint32) bool {
	switch bits.OnesCount32(dict) {
	case 1:
		return true
	case 2:
		return dict>>bits.TrailingZeros32(dict) == 3
	}
	return false
}

func describeLZMA(head []byte, r *firmware.Region) string {
	if len(head) < lzmaHeader {
		return ""
	}
	lc, rest := head[0]%9, head[0]/9
	r.AddField("properties", "lc=%d lp=%d pb=%d", lc, rest%5, rest/5)
	r.AddField("dictionary", "%d", binary.LittleEndian.Uint32(head[1:]))
	return ""
}
