package filesystem

import (
	"fmt"
	"io"
	"io/fs"
	"sync"
	"sync/atomic"
)

// A block's size word: 24 bits of packed size, 0 for a block of zeros, and a
// bit for "stored".
const (
	squashStored   = 1 << 24
	squashSizeMask = squashStored - 1
)

// squashData reads a file's bytes block by block.
type squashData struct {
	n      *squashNode
	extent []dataBlock
	held   int64

	mu   sync.Mutex
	buf  *[]byte
	have int // the block in buf, -1 for none
}

// dataBlock is where a block's packed bytes are.
type dataBlock struct {
	at   int64
	word uint32
}

// newSquashData reads the list of block sizes that follows the inode.
func newSquashData(n *squashNode) (*squashData, error) {
	f := &squashData{n: n, have: -1}
	err := n.eachBlock(func(b dataBlock) error {
		if len(f.extent) == cap(f.extent) {
			const size = 16
			grow := int64(max(16, cap(f.extent))) * size
			if err := n.s.meter.Bytes(grow); err != nil {
				return err
			}
			if err := n.s.meter.Hold(grow); err != nil {
				return err
			}
			f.held += grow
		}
		f.extent = append(f.extent, b)
		return nil
	})
	if err != nil {
		n.s.meter.Release(f.held)
		return nil, err
	}
	return f, nil
}

// eachBlock calls fn for the file's whole blocks and, where it has no fragment,
// the short one at its end.
func (n *squashNode) eachBlock(fn func(dataBlock) error) error {
	c := n.tail
	return n.blocksFrom(&c, fn)
}

func (n *squashNode) blocksFrom(c *cursor, fn func(dataBlock) error) error {
	at := n.start
	o := n.s.super.order
	width := n.s.super.word()
	var words [256]byte
	for left := n.blocks; left > 0; {
		p := words[:min(left, uint64(len(words)/width))*uint64(width)]
		if err := c.next(p); err != nil {
			return err
		}
		left -= uint64(len(p) / width)
		for ; len(p) > 0; p = p[width:] {
			var word uint32
			if width == 2 { // the top bit says "stored"
				half := uint32(o.Uint16(p))
				word = half&0x7fff | half>>15*squashStored
			} else {
				word = o.Uint32(p)
			}
			size := word & squashSizeMask
			if size > n.s.super.blockSize || word&^(squashSizeMask|squashStored) != 0 {
				return n.bad("data block size word %#x, and blocks have %d bytes", word, n.s.super.blockSize)
			}
			if at > uint64(n.s.super.used) || uint64(size) > uint64(n.s.super.used)-at {
				return n.bad("data block of %d bytes at %#x reaches past the end at %#x", size, at, n.s.super.used)
			}
			if err := fn(dataBlock{int64(at), word}); err != nil {
				return err
			}
			at += uint64(size)
		}
	}
	return nil
}

func (f *squashData) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n.s.meter.Release(f.held)
	f.held = 0
	if f.buf != nil {
		f.n.s.buffers.Put(f.buf)
		f.buf = nil
	}
	f.n = nil
	return nil
}

func (f *squashData) ReadAt(p []byte, off int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.n == nil {
		return 0, fs.ErrClosed
	}
	if off < 0 {
		return 0, fs.ErrInvalid
	}
	done := 0
	for done < len(p) && off < f.n.Size {
		n, err := f.readBlocks(p[done:], off)
		done += n
		off += int64(n)
		if err != nil {
			return done, err
		}
	}
	if done < len(p) {
		return done, io.EOF
	}
	return done, nil
}

// readBlocks copies from the blocks that off is before. Several whole blocks are
// unpacked at once where there are processors for it.
func (f *squashData) readBlocks(p []byte, off int64) (int, error) {
	size := int64(f.n.s.super.blockSize)
	first := int(off / size)
	whole := min(int(int64(len(p))/size), int(f.n.Size/size)-first, len(f.extent)-first)
	if off%size != 0 || whole < 2 {
		return f.readBlock(p, off)
	}
	var next atomic.Int64
	errs := make([]error, whole)
	work := func() {
		for {
			i := int(next.Add(1)) - 1
			if i >= whole {
				return
			}
			if errs[i] = f.unpack(first+i, p[int64(i)*size:][:size]); errs[i] != nil {
				next.Store(int64(whole))
			}
		}
	}
	var others sync.WaitGroup
	for range whole - 1 {
		select {
		case f.n.s.workers <- struct{}{}:
			others.Go(func() {
				defer func() { <-f.n.s.workers }()
				work()
			})
			continue
		default:
		}
		break
	}
	work()
	others.Wait()
	for i, err := range errs {
		if err != nil {
			return i * int(size), err
		}
	}
	return whole * int(size), nil
}

// readBlock copies from the block that off is in. A whole block goes straight
// to where it is wanted.
func (f *squashData) readBlock(p []byte, off int64) (int, error) {
	size := int64(f.n.s.super.blockSize)
	i, skip := int(off/size), off%size
	length := min(size, f.n.Size-int64(i)*size)
	if i == len(f.extent) {
		tail, err := f.n.tailEnd(length)
		if err != nil {
			return 0, err
		}
		return copy(p, tail[skip:]), nil
	}
	if i == f.have {
		return copy(p, (*f.buf)[skip:length]), nil
	}
	if skip == 0 && int64(len(p)) >= length {
		return int(length), f.unpack(i, p[:length])
	}
	if f.buf == nil {
		f.buf = f.n.s.buffer()
	}
	f.have = -1
	if err := f.unpack(i, (*f.buf)[:length]); err != nil {
		return 0, err
	}
	f.have = i
	return copy(p, (*f.buf)[skip:length]), nil
}

func (f *squashData) unpack(i int, dst []byte) error {
	b := f.extent[i]
	if b.word == 0 {
		clear(dst)
		return f.n.s.meter.Bytes(int64(len(dst)))
	}
	n, err := f.n.s.unpack(b, dst)
	if err == nil && n != len(dst) {
		err = fmt.Errorf("it unpacks to %d bytes and not to %d", n, len(dst))
	}
	if err != nil {
		return f.n.bad("data block %d at %#x: %w", i, b.at, err)
	}
	return nil
}

// unpack reads one block, which the caller found to lie inside the image.
func (s *SquashFS) unpack(b dataBlock, dst []byte) (int, error) {
	size := int(b.word & squashSizeMask)
	if b.word&squashStored != 0 {
		if size > len(dst) {
			return 0, fmt.Errorf("%d stored bytes are more than the %d wanted", size, len(dst))
		}
		if _, err := s.r.ReadAt(dst[:size], b.at); err != nil && err != io.EOF {
			return 0, err
		}
		return size, s.meter.Bytes(int64(size))
	}
	packed := s.buffer()
	defer s.buffers.Put(packed)
	if _, err := s.r.ReadAt((*packed)[:size], b.at); err != nil && err != io.EOF {
		return 0, err
	}
	n, err := s.codec.unpack((*packed)[:size], dst)
	if err != nil {
		return n, err
	}
	return n, s.meter.Bytes(int64(n))
}

// tailEnd returns the file's last bytes, which are kept in a fragment block
// together with those of other files.
func (n *squashNode) tailEnd(length int64) ([]byte, error) {
	where, err := n.s.fragment(n.fragment)
	if err != nil {
		return nil, n.bad("%w", err)
	}
	b, err := n.s.fragments.load(where.at, n.s.tailBlock(where), func() {
		// Who waits for a block makes the next one, which the files that are read
		// next are in: a block is up to 1 MiB, and may hold hundreds.
		if next, err := n.s.fragment(n.fragment + 1); err == nil {
			n.s.fragments.ahead(next.at, n.s.tailBlock(next))
		}
	})
	if err != nil {
		return nil, n.bad("fragment %d at %#x: %w", n.fragment, where.at, err)
	}
	if int64(n.fragOffset)+length > int64(len(b.data)) {
		return nil, n.bad("its last %d bytes at %d are not in the %d of fragment %d", length, n.fragOffset, len(b.data), n.fragment)
	}
	return b.data[n.fragOffset:][:length], nil
}

func (s *SquashFS) tailBlock(where dataBlock) func() (*block, error) {
	return func() (*block, error) {
		data := make([]byte, s.super.blockSize)
		size, err := s.unpack(where, data)
		return &block{data: data[:size]}, err
	}
}

// fragment returns where a fragment block is.
func (s *SquashFS) fragment(i uint32) (dataBlock, error) {
	var p [16]byte
	t := s.fragmentTable()
	if err := s.tableEntry(t, uint64(i), p[:t.size]); err != nil {
		return dataBlock{}, err
	}
	at, word := s.super.order.Uint64(p[:]), s.super.order.Uint32(p[8:])
	if t.size == 8 {
		at, word = uint64(s.super.order.Uint32(p[:])), s.super.order.Uint32(p[4:])
	}
	size := word & squashSizeMask
	if size == 0 || size > s.super.blockSize || word&^(squashSizeMask|squashStored) != 0 ||
		at < s.super.size() || at > uint64(s.super.used) || uint64(size) > uint64(s.super.used)-at {
		return dataBlock{}, fmt.Errorf("fragment %d of size word %#x at %#x is outside the image", i, word, at)
	}
	return dataBlock{int64(at), word}, nil
}
