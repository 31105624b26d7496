package firmware

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"
)

// runSums gives the digests of erased bytes, of which a flash may be half: those of
// a longer run go on from the state that a shorter one left, so that all runs
// together cost what the longest does, and none is read for it.
type runSums struct {
	mu    sync.Mutex
	known map[byte][]runSum // by size
	bytes []byte            // a piece of the run, filled with value
	value byte
}

type runSum struct {
	size  int64
	state hash.Cloner
}

// maxRunSums bounds the states that are kept of one value.
const maxRunSums = 64

// digest is the SHA-256 of size bytes of one value, in hex.
func (s *runSums) digest(value byte, size int64) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.known[value]
	at := len(list)
	for at > 0 && list[at-1].size > size {
		at--
	}
	h, done := sha256.New(), int64(0)
	if at > 0 {
		if again, err := list[at-1].state.Clone(); err == nil {
			h, done = again, list[at-1].size
		}
	}
	if s.bytes == nil || s.value != value {
		s.fill(value)
	}
	for left := size - done; left > 0; {
		n, _ := h.Write(s.bytes[:min(left, int64(len(s.bytes)))])
		left -= int64(n)
	}
	sum := hex.EncodeToString(h.Sum(nil))
	if state, ok := h.(hash.Cloner); ok && done < size && len(list) < maxRunSums {
		list = append(list, runSum{})
		copy(list[at+1:], list[at:])
		list[at] = runSum{size, state}
		if s.known == nil {
			s.known = make(map[byte][]runSum)
		}
		s.known[value] = list
	}
	return sum
}

func (s *runSums) fill(value byte) {
	if s.bytes == nil {
		s.bytes = make([]byte, 16<<10)
	}
	s.value = value
	for i := range s.bytes {
		s.bytes[i] = value
	}
}

var errNotErased = errors.New("not erased")

// erasedDigest is the digest of bytes that are nothing but 0xFF and 0x00, or
// an error. Where they are one run, they need not be hashed.
func erasedDigest(src io.ReaderAt, off, size int64, runs *runSums, buf []byte) (string, error) {
	one := true
	var value byte
	for at := off; at < off+size; {
		p := buf[:min(int64(len(buf)), off+size-at)]
		if n, err := src.ReadAt(p, at); n < len(p) {
			return "", cmp.Or(err, io.ErrUnexpectedEOF)
		}
		if at == off {
			value = p[0]
		}
		one = one && p[0] == value
		at += int64(len(p))
		for len(p) > 0 {
			n := erasedRun(p)
			if n == 0 {
				return "", fmt.Errorf("%w: the region at %#x", errNotErased, off)
			}
			p = p[n:]
			one = one && len(p) == 0
		}
	}
	if one {
		return runs.digest(value, size), nil
	}
	return digest(src, off, size, buf)
}
