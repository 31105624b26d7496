package compress

import (
	"bufio"
	"io"
)

// bzip2Gate ends a bzip2 stream at its own end. The standard library's decoder
// takes what follows for a further stream and fails on it. It reads single
// bytes and only those it needs, so that its source can see the end go by: the
// 48-bit end mark (the digits of the square root of pi) at any bit position, a
// 32-bit checksum, and padding to a byte.
//
// The mark could stand in packed data by chance, once in 2^45 bytes; such a
// stream is reported as cut short.
type bzip2Gate struct {
	src  *bufio.Reader
	bits uint64
	left int // bytes to go once the mark was seen
	seen bool
}

const bzip2End = 0x177245385090

func (g *bzip2Gate) ReadByte() (byte, error) {
	if g.seen && g.left == 0 {
		return 0, io.EOF
	}
	b, err := g.src.ReadByte()
	if err != nil {
		return 0, orTruncated(err)
	}
	if g.seen {
		g.left--
		return b, nil
	}
	g.bits = g.bits<<8 | uint64(b)
	for shift := range 8 {
		if g.bits>>shift&(1<<48-1) == bzip2End {
			// Up to 7 bits of the checksum are in this byte; the rest of it
			// and its padding always take 4.
			g.seen, g.left = true, 4
			break
		}
	}
	return b, nil
}

// Read is never called: the decoder prefers ReadByte.
func (g *bzip2Gate) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	b, err := g.ReadByte()
	if err != nil {
		return 0, err
	}
	p[0] = b
	return 1, nil
}

func orTruncated(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
