package filesystem

import (
	"fmt"
	"io"
	"io/fs"
	"sort"

	"assay/firmware/budget"
)

// piece is a part of a file that lies in one stretch of the image.
type piece struct {
	at   int64 // in the file
	off  int64 // in the image
	size int64
}

// pieces reads a file that lies in pieces, in the order of the file and without
// overlap. What no piece covers is a hole and reads as zeros.
//
// What the image has is read for nothing, as it is bounded by the image's size;
// holes are charged to the meter, and so is everything where the same bytes of
// the image are those of many files.
type pieces struct {
	r      io.ReaderAt
	meter  *budget.Meter
	size   int64
	list   []piece
	shared bool
}

const pieceSize = 24 // bytes of memory

// extend adds a piece, as a part of the last one where it goes on.
func (p *pieces) extend(next piece) error {
	if n := len(p.list); n > 0 {
		last := &p.list[n-1]
		if last.at+last.size == next.at && last.off+last.size == next.off {
			last.size += next.size
			return nil
		}
	}
	if err := p.meter.Hold(pieceSize); err != nil {
		return err
	}
	p.list = append(p.list, next)
	return nil
}

// Close gives back the memory that the list is charged with.
func (p *pieces) Close() error {
	p.meter.Release(pieceSize * int64(len(p.list)))
	p.list = nil
	return nil
}

func (p *pieces) ReadAt(b []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fs.ErrInvalid
	}
	if off >= p.size {
		return 0, io.EOF
	}
	var end error
	if left := p.size - off; int64(len(b)) > left {
		b, end = b[:left], io.EOF
	}
	i := sort.Search(len(p.list), func(i int) bool { return p.list[i].at+p.list[i].size > off })
	done := 0
	for done < len(b) {
		n, err := p.read(b[done:], off+int64(done), i)
		done += n
		if err != nil {
			return done, err
		}
		if i < len(p.list) && off+int64(done) >= p.list[i].at+p.list[i].size {
			i++
		}
	}
	return done, end
}

// read copies from the i-th piece or from the hole in front of it.
func (p *pieces) read(b []byte, off int64, i int) (int, error) {
	hole := int64(len(b))
	if i < len(p.list) {
		hole = p.list[i].at - off
	}
	if hole > 0 {
		b = b[:min(int64(len(b)), hole)]
		if err := p.meter.Bytes(int64(len(b))); err != nil {
			return 0, err
		}
		clear(b)
		return len(b), nil
	}
	own := p.list[i]
	b = b[:min(int64(len(b)), own.at+own.size-off)]
	if p.shared {
		if err := p.meter.Bytes(int64(len(b))); err != nil {
			return 0, err
		}
	}
	n, err := p.r.ReadAt(b, own.off+off-own.at)
	if n == len(b) {
		return n, nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, fmt.Errorf("%d bytes at %#x: %w", len(b), own.off+off-own.at, err)
}
