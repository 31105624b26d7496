package firmware

import (
	"io"
	"sync"
)

// Readers of structures take a few bytes here and there, and each such read of a
// file is a call of the operating system. cache keeps the blocks that were read
// last, a block by its number in one of few slots; large reads pass it by.
type cache struct {
	r     io.ReaderAt
	size  int64
	slots [cacheSlots]slot
}

const (
	cacheBlock = 32 << 10
	cacheSlots = 64
)

// cached puts a cache before an image, unless that is small.
func cached(r io.ReaderAt, size int64) io.ReaderAt {
	const worth = 1 << 20 // bytes from which on it pays
	if size < worth {
		return r
	}
	return &cache{r: r, size: size}
}

type slot struct {
	mu    sync.Mutex
	block int64  // its number + 1
	data  []byte // cacheBlock bytes, fewer at the end of r
}

func (c *cache) ReadAt(p []byte, off int64) (int, error) {
	if len(p) > cacheBlock/2 || off < 0 || off > c.size-int64(len(p)) {
		return c.r.ReadAt(p, off)
	}
	done := 0
	for done < len(p) {
		at := off + int64(done)
		n, ok := c.copy(p[done:], at/cacheBlock, int(at%cacheBlock))
		if !ok {
			// What cannot be read as a block is read as it was asked for, so that
			// the error is about those bytes.
			return c.r.ReadAt(p, off)
		}
		done += n
	}
	return done, nil
}

func (c *cache) copy(p []byte, block int64, skip int) (int, bool) {
	s := &c.slots[block%cacheSlots]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.block != block+1 {
		if s.data == nil {
			s.data = make([]byte, cacheBlock)
		}
		s.block = 0
		s.data = s.data[:min(cacheBlock, c.size-block*cacheBlock)]
		if n, _ := c.r.ReadAt(s.data, block*cacheBlock); n < len(s.data) {
			return 0, false
		}
		s.block = block + 1
	}
	return copy(p, s.data[skip:]), true
}
