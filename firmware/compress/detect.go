package compress

import "bytes"

// DetectLen is how many bytes [Detect] looks at, at most.
const DetectLen = 16

// Detect names the compression of a stream from its first bytes. Gzip, xz, LZO,
// LZ4, Zstandard and bzip2 have magics. Zlib and LZMA have none and are told by
// what their encoders write, so that for them only unpacking is proof; other
// encoders' streams are not detected, though [NewReader] reads them.
func Detect(head []byte) (Method, bool) {
	for _, d := range magics {
		if bytes.HasPrefix(head, []byte(d.magic)) && (d.rule == nil || d.rule(head)) {
			return d.method, true
		}
	}
	if plausibleLZMA(head) {
		return LZMA, true
	}
	return "", false
}

var magics = []struct {
	magic  string
	method Method
	rule   func([]byte) bool
}{
	{"\x1f\x8b\x08", Gzip, func(h []byte) bool { return len(h) > 3 && h[3]&0xe0 == 0 }},
	{xzMagic, XZ, nil},
	{lzopMagic, LZO, nil},
	{"\x04\x22\x4d\x18", LZ4, nil},
	{"\x02\x21\x4c\x18", LZ4Legacy, nil},
	{"\x28\xb5\x2f\xfd", Zstd, nil},
	{"BZh", Bzip2, plausibleBzip2},
	{"\x78", Zlib, plausibleZlib},
}

// plausibleBzip2 looks for the first block's mark, or the end mark of an empty
// stream.
func plausibleBzip2(h []byte) bool {
	return len(h) >= 10 && h[3] >= '1' && h[3] <= '9' &&
		(string(h[4:10]) == "\x31\x41\x59\x26\x53\x59" || string(h[4:10]) == "\x17\x72\x45\x38\x50\x90")
}

// plausibleZlib wants a 32 KiB window, no preset dictionary, a good header
// check and a first DEFLATE block of a defined type: RFC 1950, section 2.2.
func plausibleZlib(h []byte) bool {
	return len(h) >= 3 && (int(h[0])<<8|int(h[1]))%31 == 0 && h[1]&0x20 == 0 && h[2]>>1&3 != 3
}
