package format

import (
	"assay/firmware"
	"assay/firmware/compress"
)

// zlibStream is the zlib format. Its two bytes are everywhere, so that the sweep
// takes only what compressors make of more than a few bytes, a first block with
// its own Huffman codes, whose lengths make a complete code; and of these what
// unpacks to 8 KiB or more, to more than it takes, and to the sum at its end.
var zlibStream = firmware.Format{
	Name:   "zlib",
	Source: "RFC 1950; RFC 1951, section 3.2.7",
	Magics: []firmware.Magic{{Bytes: "\x78\x01"}, {Bytes: "\x78\x5e"}, {Bytes: "\x78\x9c"}, {Bytes: "\x78\xda"}},
	Parse:  parseZlib,
}

const (
	zlibMinSize = 8 << 10
	zlibHead    = 16 // its two bytes and the code lengths of the longest block head
)

func parseZlib(w *firmware.Window) (*firmware.Region, error) {
	var head [zlibHead]byte
	if n, _ := w.ReadAt(head[:], 0); n < len(head) || !completeCode(head[2:]) {
		return nil, errNoZlib
	}
	r, err := unpack(w, compress.Zlib, 0, w.Size(), describeZlib)
	if r == nil || r.State != firmware.Proven || r.Contents.Size < zlibMinSize || r.Contents.Size <= r.Size {
		if err != nil {
			return nil, err // a spent budget is told
		}
		return nil, errNoZlib
	}
	return r, err
}

// errNoZlib is made once: it is the answer at nearly every candidate.
var errNoZlib = notFormat("zlib: no stream that unpacks")

// completeCode reads the head of a DEFLATE block with dynamic codes and tells
// whether the lengths of its code length code use up all codes. Of random bytes
// one in some hundreds does.
func completeCode(b []byte) bool {
	bit := 0
	take := func(n int) (v int) {
		for i := range n {
			v |= int(b[(bit+i)/8]>>((bit+i)%8)&1) << i
		}
		bit += n
		return v
	}
	take(1)
	if take(2) != 2 {
		return false
	}
	literals, distances, lengths := take(5), take(5), take(4)+4
	if literals > 29 || distances > 29 {
		return false
	}
	left := 128 // codes of seven bits
	for range lengths {
		if n := take(3); n > 0 {
			left -= 128 >> n
		}
	}
	return left == 0
}

func describeZlib(head []byte, r *firmware.Region) string {
	if len(head) > 1 {
		r.AddField("window", "%d", 1<<(head[0]>>4+8))
		r.AddField("level", "%s", []string{"fastest", "fast", "default", "maximum"}[head[1]>>6])
	}
	return "Adler-32"
}
