package compress

import (
	"encoding/binary"
	"errors"
	"io"
)

// LZO1X as the kernel's Documentation/staging/lzo.rst describes it. A match is
// followed by 0 to 3 literals, and what a small instruction means depends on how
// many literals came before it.

var (
	errLZOData     = errors.New("invalid LZO data")
	errLZODistance = errors.New("LZO match reaches back to before the start of the block")
	errLZOTail     = errors.New("bytes after the end of the LZO block")
)

// lzoBlock decodes a block into dst.
func lzoBlock(src, dst []byte) (int, error) {
	at, pos := 0, 0
	literals := 0 // of the last instruction; 4 stands for more than 3
	if len(src) > 0 && src[0] > 17 {
		n := int(src[0]) - 17
		at = 1
		if n > len(src)-at {
			return 0, io.ErrUnexpectedEOF
		}
		if n > len(dst) {
			return 0, ErrTooLong
		}
		copy(dst, src[at:at+n])
		at, pos, literals = at+n, n, min(n, 4)
	}
	for {
		if at+2 > len(src) {
			return pos, io.ErrUnexpectedEOF
		}
		b := int(src[at])
		at++
		var length, distance, after int
		switch {
		case b >= 64:
			distance = int(src[at])<<3 + b>>2&7 + 1
			at++
			length = b>>5 + 1
			after = b & 3
		case b >= 16:
			long := 31
			if b < 32 {
				long = 7
			}
			if length = b & long; length == 0 {
				var err error
				if length, at, err = lzoLength(src, at, long); err != nil {
					return pos, err
				}
			}
			length += 2
			if at+2 > len(src) {
				return pos, io.ErrUnexpectedEOF
			}
			word := int(binary.LittleEndian.Uint16(src[at:]))
			at += 2
			distance, after = word>>2+1, word&3
			if b < 32 {
				distance += b&8<<11 + 1<<14 - 1
				if distance == 1<<14 {
					switch {
					case length != 3 || after != 0:
						return pos, errLZOData
					case at != len(src):
						return pos, errLZOTail
					}
					return pos, nil
				}
			}
		case literals == 0:
			n := b
			if n == 0 {
				var err error
				if n, at, err = lzoLength(src, at, 15); err != nil {
					return pos, err
				}
			}
			n += 3
			if n > len(src)-at {
				return pos, io.ErrUnexpectedEOF
			}
			if n > len(dst)-pos {
				return pos, ErrTooLong
			}
			copy(dst[pos:pos+n], src[at:at+n])
			at, pos, literals = at+n, pos+n, 4
			continue
		default:
			distance, length = int(src[at])<<2+b>>2+1, 2
			if literals == 4 {
				distance, length = distance+2048, 3
			}
			at++
			after = b & 3
		}
		if distance > pos {
			return pos, errLZODistance
		}
		if length > len(dst)-pos {
			return pos, ErrTooLong
		}
		copyMatch(dst, pos-distance, pos, length)
		pos += length
		literals = after
		if after == 0 {
			continue
		}
		if len(src)-at >= 4 && len(dst)-pos >= 4 {
			binary.LittleEndian.PutUint32(dst[pos:], binary.LittleEndian.Uint32(src[at:]))
		} else {
			if after > len(src)-at {
				return pos, io.ErrUnexpectedEOF
			}
			if after > len(dst)-pos {
				return pos, ErrTooLong
			}
			copy(dst[pos:pos+after], src[at:])
		}
		at, pos = at+after, pos+after
	}
}

// lzoLength reads a length that did not fit into its instruction: 255 for each
// zero, and the byte that is none.
func lzoLength(src []byte, at, base int) (int, int, error) {
	n := base
	for ; at < len(src); at++ {
		if b := src[at]; b != 0 {
			return n + int(b), at + 1, nil
		}
		if n += 255; n > 1<<30 {
			return 0, at, errLZOData
		}
	}
	return 0, at, io.ErrUnexpectedEOF
}
