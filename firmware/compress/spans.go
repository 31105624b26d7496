package compress

import (
	"bufio"
	"io"
)

// spans hands a decoder exactly one stream and then io.EOF, however far the
// decoder would read ahead. next looks at the coming bytes and says how many of
// them go through untouched, and returns io.EOF after the stream's last one.
type spans struct {
	src  *bufio.Reader
	next func() (int64, error)
	left int64
}

func (s *spans) Read(p []byte) (int, error) {
	for s.left == 0 {
		n, err := s.next()
		if err != nil {
			return 0, err
		}
		s.left = n
	}
	n, err := s.src.Read(p[:min(int64(len(p)), s.left)])
	s.left -= int64(n)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// whole says whether the stream went through to its last byte. Some decoders
// take a source that ends early for the end of the stream.
func (s *spans) whole() bool {
	if s.left > 0 {
		return false
	}
	_, err := s.next()
	return err == io.EOF
}

// peek returns the next n bytes without taking them. The stream is not over
// where it is called, so that the source's end is unexpected.
func peek(src *bufio.Reader, n int) ([]byte, error) {
	p, err := src.Peek(n)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return p, err
}
