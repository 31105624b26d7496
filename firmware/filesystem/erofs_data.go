package filesystem

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sort"
	"sync"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zstd"

	"assay/firmware/compress"
)

// erofsData reads a compressed file. It keeps the extent that was read last,
// since readers ask for a few bytes at a time.
type erofsData struct {
	n          *erofsInode
	list       []erofsExtent
	interlaced bool
	packed     readCloser // the packed inode, where a fragment is
	mu         sync.Mutex
	buf        []byte
	have       int // the extent in buf, -1 for none
}

func (n *erofsInode) unpack(inside bool) (readCloser, error) {
	d := &erofsData{n: n, have: -1}
	err := n.extents(func(e erofsExtent) error {
		if e.fragment && inside {
			return errors.New("the packed inode has fragments itself")
		}
		if err := n.e.meter.Hold(erofsExtentSize); err != nil {
			return err
		}
		d.list = append(d.list, e)
		return nil
	})
	if err == nil && len(d.list) > 0 {
		d.interlaced, err = n.interlaced()
	}
	if err == nil && len(d.list) > 0 && d.list[len(d.list)-1].fragment {
		err = d.openPacked()
	}
	if err != nil {
		d.Close()
		return nil, n.bad("%w", err)
	}
	return d, nil
}

func (n *erofsInode) interlaced() (bool, error) {
	h, err := n.indexHeader()
	return !h.whole && h.advice&erofsInterlaced != 0, err
}

func (d *erofsData) openPacked() error {
	e := d.n.e
	if e.incompatible&erofsFragments == 0 || e.packed == 0 || e.packed == d.n.Number {
		return errors.New("a fragment, and there is no packed inode")
	}
	n, err := e.inode(e.packed)
	if err != nil {
		return err
	}
	last := d.list[len(d.list)-1]
	if last.off < 0 || last.off > n.length || last.size > n.length-last.off {
		return fmt.Errorf("a fragment of %d bytes at %d of the %d in the packed inode", last.size, last.off, n.length)
	}
	if n.compressed() {
		d.packed, err = n.unpack(true)
	} else {
		d.packed, err = n.pieces()
	}
	return err
}

// Close gives back the memory that is charged.
func (d *erofsData) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.n.e.meter.Release(erofsExtentSize*int64(len(d.list)) + int64(len(d.buf)))
	d.list, d.buf, d.have = nil, nil, -1
	if d.packed != nil {
		d.packed.Close()
		d.packed = nil
	}
	return nil
}

func (d *erofsData) ReadAt(p []byte, off int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if off < 0 {
		return 0, fs.ErrInvalid
	}
	done := 0
	i := sort.Search(len(d.list), func(i int) bool { return d.list[i].at+d.list[i].size > off })
	for ; done < len(p) && i < len(d.list); i++ {
		n, err := d.read(p[done:], off, i)
		done, off = done+n, off+int64(n)
		if err != nil {
			return done, err
		}
	}
	if done < len(p) {
		return done, io.EOF
	}
	return done, nil
}

func (d *erofsData) read(p []byte, off int64, i int) (int, error) {
	e, meter := d.list[i], d.n.e.meter
	skip := off - e.at
	p = p[:min(int64(len(p)), e.size-skip)]
	if e.fragment {
		n, err := d.packed.ReadAt(p, e.off+skip)
		if n == len(p) {
			err = nil
		}
		return n, err
	}
	if d.have != i {
		d.have = -1
		if grow := e.size - int64(len(d.buf)); grow > 0 {
			if err := meter.Hold(grow); err != nil {
				return 0, err
			}
			d.buf = make([]byte, e.size)
		}
		if err := meter.Bytes(e.size); err != nil {
			return 0, err
		}
		if err := d.unpack(e, d.buf[:e.size]); err != nil {
			return 0, d.n.bad("%d bytes at %#x: %w", e.packed, e.off, err)
		}
		d.have = i
	}
	return copy(p, d.buf[skip:e.size]), nil
}

func (d *erofsData) unpack(e erofsExtent, dst []byte) error {
	src := make([]byte, e.packed)
	if err := readFull(d.n.e.r, src, e.off); err != nil {
		return err
	}
	if e.literal {
		if d.interlaced {
			// It lies in the block as it does in the file's blocks.
			block := int64(1) << d.n.e.bits
			cut := min(block-e.at%block, e.packed)
			head := min(cut, int64(len(dst)))
			copy(dst, src[e.packed-cut:][:head])
			copy(dst[head:], src)
			return nil
		}
		copy(dst, src)
		return nil
	}
	padded := d.n.e.incompatible&erofsZeroPadding != 0 || e.algorithm != 0
	if padded {
		src = bytes.TrimLeft(src, "\x00")
	}
	n, err := 0, error(nil)
	switch e.algorithm {
	case 0:
		n, err = erofsLZ4(src, dst, e.partial || !padded)
	case 1:
		n, err = compress.Block(compress.MicroLZMA, src, dst)
	case 2:
		n, err = io.ReadFull(flate.NewReader(bytes.NewReader(src)), dst)
	case 3:
		n, err = erofsZstd(src, dst, e.partial)
	}
	if err == nil && n != len(dst) {
		err = fmt.Errorf("it unpacks to %d bytes and not to %d", n, len(dst))
	}
	return err
}

func erofsZstd(src, dst []byte, partial bool) (int, error) {
	if !partial {
		return compress.Block(compress.Zstd, src, dst)
	}
	z, err := zstd.NewReader(bytes.NewReader(src), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(erofsMaxUnpacked))
	if err != nil {
		return 0, err
	}
	defer z.Close()
	return io.ReadFull(z, dst)
}

// erofsLZ4 unpacks as much of a block as there is room for. Some blocks hold
// more: those of images without zeros in front, and such as are shared.
func erofsLZ4(src, dst []byte, partial bool) (int, error) {
	if !partial {
		return compress.Block(compress.LZ4, src, dst)
	}
	var errLZ4 = errors.New("no sound LZ4 block")
	length := func(n int) (int, bool) {
		if n < 15 {
			return n, true
		}
		for len(src) > 0 && n < len(dst)+15 {
			c := src[0]
			src = src[1:]
			if n += int(c); c != 255 {
				return n, true
			}
		}
		return n, len(src) > 0
	}
	out := 0
	for out < len(dst) {
		if len(src) == 0 {
			return out, errLZ4
		}
		token := src[0]
		src = src[1:]
		n, ok := length(int(token >> 4))
		if !ok {
			return out, errLZ4
		}
		n = min(n, len(dst)-out)
		if n > len(src) {
			return out, errLZ4
		}
		copy(dst[out:], src[:n])
		out, src = out+n, src[n:]
		if out == len(dst) {
			break
		}
		if len(src) < 2 {
			return out, errLZ4
		}
		back := int(binary.LittleEndian.Uint16(src))
		src = src[2:]
		if n, ok = length(int(token & 15)); !ok || back == 0 || back > out {
			return out, errLZ4
		}
		for range min(n+4, len(dst)-out) {
			dst[out] = dst[out-back]
			out++
		}
	}
	return out, nil
}
