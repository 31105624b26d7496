package update

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"
	"io"
)

// sectors decrypts what dm-crypt encrypted with aes-cbc-plain64: each sector by
// itself, with the number of its first 512 bytes as IV. Kernel
// Documentation/admin-guide/device-mapper/dm-crypt.rst.
type sectors struct {
	r     *io.SectionReader
	block cipher.Block
}

func newSectors(r *io.SectionReader, key []byte) (*sectors, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return &sectors{r, block}, nil
}

func (s *sectors) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, fmt.Errorf("offset %d is before the start", off)
	}
	buf := make([]byte, verityBlock)
	for n < len(p) && off < s.r.Size() {
		number := off / verityBlock
		if _, err := s.r.ReadAt(buf, number*verityBlock); err != nil && err != io.EOF {
			return n, err
		}
		var iv [aes.BlockSize]byte
		binary.LittleEndian.PutUint64(iv[:], uint64(number)*(verityBlock/512))
		cipher.NewCBCDecrypter(s.block, iv[:]).CryptBlocks(buf, buf)
		c := copy(p[n:], buf[off%verityBlock:])
		n, off = n+c, off+int64(c)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}
