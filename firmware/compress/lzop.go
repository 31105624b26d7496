package compress

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/adler32"
	"hash/crc32"
	"io"
)

const (
	lzopMagic    = "\x89LZO\x00\r\n\x1a\n"
	lzopMaxBlock = 64 << 20 // lzop refuses larger ones
)

// Header flags, from lzop 1.04's conf.h.
const (
	lzopAdlerUnpacked = 1 << 0
	lzopAdlerPacked   = 1 << 1
	lzopExtraField    = 1 << 6
	lzopCRCUnpacked   = 1 << 8
	lzopCRCPacked     = 1 << 9
	lzopFilter        = 1 << 11
	lzopHeaderCRC     = 1 << 12
)

var (
	errLzopHeader   = errors.New("no lzop header")
	errLzopChecksum = errors.New("checksum does not match")
)

// lzop reads the one file of a lzop archive: p_lzo_header, read_header and
// x1_decompress in lzop.c. All numbers are big endian.
type lzop struct {
	src           *bufio.Reader
	hold          func(int64) error
	flags         uint32
	packed, block []byte
	rest          []byte
	done          bool
}

func newLzop(src *bufio.Reader, hold func(int64) error) (*lzop, error) {
	magic, err := peek(src, len(lzopMagic))
	if err != nil {
		return nil, err
	}
	if string(magic) != lzopMagic {
		return nil, errLzopHeader
	}
	src.Discard(len(lzopMagic))
	z := &lzop{src: src, hold: hold}
	return z, z.header()
}

func (z *lzop) header() error {
	var seen bytes.Buffer // what the header's checksum covers
	r := io.TeeReader(z.src, &seen)
	take := func(n int) ([]byte, error) {
		p := make([]byte, n)
		_, err := io.ReadFull(r, p)
		return p, orTruncated(err)
	}
	h, err := take(2 + 2 + 2 + 1 + 1 + 4)
	if err != nil {
		return err
	}
	// Headers before version 0.94 of 1997 have no level and a shorter time.
	if version := binary.BigEndian.Uint16(h); version < 0x0940 {
		return fmt.Errorf("%w: version %#04x is too old", errLzopHeader, version)
	}
	if method := h[6]; method < 1 || method > 3 {
		return fmt.Errorf("%w: method %d is not LZO1X", errLzopHeader, method)
	}
	z.flags = binary.BigEndian.Uint32(h[8:])
	if z.flags&lzopFilter != 0 {
		return fmt.Errorf("%w: filters are not read", errLzopHeader)
	}
	if h, err = take(4 + 4 + 4 + 1); err != nil {
		return err
	}
	if _, err = take(int(h[12])); err != nil {
		return err
	}
	sum := adler32.Checksum(seen.Bytes())
	if z.flags&lzopHeaderCRC != 0 {
		sum = crc32.ChecksumIEEE(seen.Bytes())
	}
	if h, err = take(4); err != nil {
		return err
	}
	if binary.BigEndian.Uint32(h) != sum {
		return fmt.Errorf("%w: its %w", errLzopHeader, errLzopChecksum)
	}
	if z.flags&lzopExtraField == 0 {
		return nil
	}
	if h, err = take(4); err != nil {
		return err
	}
	extra := int64(binary.BigEndian.Uint32(h))
	_, err = io.CopyN(io.Discard, z.src, extra+4)
	return orTruncated(err)
}

func (z *lzop) Read(p []byte) (int, error) {
	for len(z.rest) == 0 {
		if z.done {
			return 0, io.EOF
		}
		if err := z.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, z.rest)
	z.rest = z.rest[n:]
	return n, nil
}

func (z *lzop) next() error {
	unpacked, err := z.word()
	if err != nil {
		return err
	}
	if unpacked == 0 {
		z.done = true
		return nil
	}
	packed, err := z.word()
	if err != nil {
		return err
	}
	if unpacked > lzopMaxBlock || packed > unpacked || packed == 0 {
		return fmt.Errorf("block of %d bytes claims to unpack to %d", packed, unpacked)
	}
	unpackedSums, err := z.sums(lzopAdlerUnpacked, lzopCRCUnpacked)
	if err != nil {
		return err
	}
	var packedSums []sum
	if packed < unpacked {
		if packedSums, err = z.sums(lzopAdlerPacked, lzopCRCPacked); err != nil {
			return err
		}
	}
	if err := z.hold(int64(unpacked) + 2*int64(packed)); err != nil {
		return err
	}
	if z.packed, err = readBlock(z.src, z.packed, int(packed)); err != nil {
		return err
	}
	if err := verify(packedSums, z.packed); err != nil {
		return err
	}
	z.rest = z.packed
	if packed < unpacked {
		if cap(z.block) < int(unpacked) {
			z.block = make([]byte, unpacked)
		}
		z.rest = z.block[:unpacked]
		n, err := lzoBlock(z.packed, z.rest)
		if err != nil {
			return err
		}
		if n != int(unpacked) {
			return fmt.Errorf("block unpacks to %d bytes and not to %d", n, unpacked)
		}
	}
	return verify(unpackedSums, z.rest)
}

func (z *lzop) word() (uint32, error) {
	var p [4]byte
	_, err := io.ReadFull(z.src, p[:])
	return binary.BigEndian.Uint32(p[:]), orTruncated(err)
}

// sum is a checksum that a block header states.
type sum struct {
	hash func() hash.Hash32
	want uint32
}

func (z *lzop) sums(adler, crc uint32) ([]sum, error) {
	var list []sum
	for _, s := range []struct {
		flag uint32
		hash func() hash.Hash32
	}{{adler, adler32.New}, {crc, crc32.NewIEEE}} {
		if z.flags&s.flag == 0 {
			continue
		}
		want, err := z.word()
		if err != nil {
			return nil, err
		}
		list = append(list, sum{s.hash, want})
	}
	return list, nil
}

func verify(sums []sum, p []byte) error {
	for _, s := range sums {
		h := s.hash()
		h.Write(p)
		if h.Sum32() != s.want {
			return errLzopChecksum
		}
	}
	return nil
}
