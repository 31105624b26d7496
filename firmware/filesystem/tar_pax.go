package filesystem

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"assay/firmware/budget"
)

// tarPax are the records of an extended header. The pairs of offset and size
// that the first sparse format repeats are kept in order.
type tarPax struct {
	values map[string]string
	pairs  []string
}

// paxError is a fault of an extended header, which leaves the rest readable.
type paxError struct{ error }

func (x *tarPax) set(key, value string) {
	if x.values == nil {
		x.values = make(map[string]string)
	}
	x.values[key] = value
}

// read adds records: their length in decimal, a space, key=value, a newline.
func (x *tarPax) read(p []byte, meter *budget.Meter) error {
	for len(p) > 0 {
		digits, _, found := bytes.Cut(p, []byte(" "))
		n, err := strconv.Atoi(string(digits))
		if !found || err != nil || n < len(digits)+4 || n > len(p) || p[n-1] != '\n' {
			return paxError{fmt.Errorf("%.20q is no record", p)}
		}
		key, value, found := strings.Cut(string(p[len(digits)+1:n-1]), "=")
		if !found {
			return paxError{fmt.Errorf("%.20q has no value", key)}
		}
		const held = 100
		if err := meter.Hold(held + int64(n)); err != nil {
			return err
		}
		if key == "GNU.sparse.offset" || key == "GNU.sparse.numbytes" {
			x.pairs = append(x.pairs, value)
		}
		x.set(key, value)
		p = p[n:]
	}
	return nil
}

func (f *Tar) pax(key string) (string, bool) {
	if v, ok := f.next.values[key]; ok {
		return v, true
	}
	v, ok := f.global.values[key]
	return v, ok
}

// extend overrides what the header says by the records before it.
func (f *Tar) extend(h *tarHeader) (err error) {
	number := func(key string, most int64, set func(int64)) {
		s, ok := f.pax(key)
		if !ok {
			return
		}
		s, _, _ = strings.Cut(s, ".") // parts of a second
		v, e := strconv.ParseInt(s, 10, 64)
		if e != nil || v > most || v < 0 && key != "mtime" {
			err = fmt.Errorf("its %s is %.30q", key, s)
			return
		}
		set(v)
	}
	number("size", math.MaxInt64, func(v int64) { h.size = v })
	number("uid", math.MaxUint32, func(v int64) { h.UID = uint32(v) })
	number("gid", math.MaxUint32, func(v int64) { h.GID = uint32(v) })
	number("SCHILY.devmajor", math.MaxUint32, func(v int64) { h.Major = uint32(v) })
	number("SCHILY.devminor", math.MaxUint32, func(v int64) { h.Minor = uint32(v) })
	number("mtime", math.MaxInt64, func(v int64) { h.ModTime = time.Unix(v, 0).UTC() })
	if s, ok := f.pax("path"); ok {
		h.name = s
	}
	if s, ok := f.pax("GNU.sparse.name"); ok {
		h.name = s
	}
	if s, ok := f.pax("linkpath"); ok {
		h.link = s
	}
	for key := range f.next.values {
		if strings.HasPrefix(key, "SCHILY.xattr.") || strings.HasPrefix(key, "LIBARCHIVE.xattr.") {
			h.XAttrs = true
		}
	}
	return err
}

// tarPiece is bytes of a sparse file that are there.
type tarPiece struct{ off, size, at int64 }

// contents finds the bytes of a sparse file. It returns where the data start and
// how many there are; the node of another file stays as it is.
func (f *Tar) contents(h *tarHeader, n *archiveNode, data int64) (int64, int64, error) {
	stored := h.size
	var numbers []int64
	real, err := int64(-1), error(nil)
	major, _ := f.pax("GNU.sparse.major")
	list, hasMap := f.pax("GNU.sparse.map")
	switch {
	case h.kind == 'S':
		numbers, real, data, err = f.oldSparse(h, data)
	case major == "1":
		var used int64
		numbers, used, err = f.sparseTable(data, stored)
		if err == nil {
			real = f.paxNumber("GNU.sparse.realsize")
			data, stored = data+used, stored-used
		}
	case hasMap:
		numbers, err = f.decimals(strings.Split(list, ","))
		real = f.paxNumber("GNU.sparse.size")
	case len(f.next.pairs) > 0:
		numbers, err = f.decimals(f.next.pairs)
		real = f.paxNumber("GNU.sparse.size")
	default:
		return data, stored, nil
	}
	if notPaxError(err) {
		return data, stored, err
	}
	var pieces []tarPiece
	if err == nil {
		pieces, err = sparsePieces(numbers, real, data, min(stored, max(0, f.limit-data)))
	}
	if err != nil {
		f.problem("%q: a sparse file: %v; only what is stored is read", h.name, err)
		n.off, n.Size = data, min(stored, max(0, f.limit-data))
		return data, stored, nil
	}
	n.Size = real
	n.data = func() (io.ReaderAt, io.Closer, error) {
		return &tarSparse{f.r, pieces, real, f.archive.meter}, nil, nil
	}
	return data, stored, nil
}

func notPaxError(err error) bool {
	_, bad := err.(paxError)
	return err != nil && !bad
}

func (f *Tar) paxNumber(key string) int64 {
	s, _ := f.pax(key)
	v, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return -1
	}
	return v
}

func (f *Tar) decimals(list []string) ([]int64, error) {
	if err := f.archive.meter.Hold(32 * int64(len(list))); err != nil {
		return nil, err
	}
	var numbers []int64
	for _, s := range list {
		v, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return nil, paxError{fmt.Errorf("%.20q is no number", s)}
		}
		numbers = append(numbers, v)
	}
	return numbers, nil
}

// oldSparse reads the map of GNU's first sparse format: four pairs in the header,
// and 21 in each further block.
func (f *Tar) oldSparse(h *tarHeader, data int64) (numbers []int64, real, at int64, err error) {
	if real, err = tarNumber(h.block[483:495]); err != nil {
		return nil, 0, data, paxError{err}
	}
	p, count, more := h.block[386:], 4, h.block[482] != 0
	for {
		for i := range 2 * count {
			field := p[12*i : 12*i+12]
			if isZero(field) && i%2 == 0 {
				break
			}
			v, err := tarNumber(field)
			if err != nil {
				return nil, real, data, paxError{err}
			}
			numbers = append(numbers, v)
		}
		if !more {
			return numbers, real, data, nil
		}
		if p, err = f.block(data); err != nil {
			return nil, real, data, err
		}
		if p == nil {
			return nil, real, data, paxError{fmt.Errorf("its map is cut short")}
		}
		if err := f.archive.meter.Hold(32 * 42); err != nil {
			return nil, real, data, err
		}
		data += tarBlock
		count, more = 21, p[504] != 0
	}
}

// sparseTable reads the map of pax format 1.0, which are lines before the data,
// padded to a block: how many pieces, and of each offset and size.
func (f *Tar) sparseTable(data, stored int64) (numbers []int64, used int64, err error) {
	var line []byte
	left := int64(-1)
	for left != 0 {
		if stored-used < tarBlock {
			return nil, used, paxError{fmt.Errorf("its map does not end")}
		}
		p, err := f.block(data + used)
		if err != nil {
			return nil, used, err
		}
		if p == nil {
			return nil, used, paxError{fmt.Errorf("its map is cut short")}
		}
		if err := f.archive.meter.Hold(4 * tarBlock); err != nil {
			return nil, used, err
		}
		used += tarBlock
		for _, b := range p {
			if b != '\n' {
				if line = append(line, b); len(line) > 20 {
					return nil, used, paxError{fmt.Errorf("%q is no number", line)}
				}
				continue
			}
			v, err := strconv.ParseInt(string(line), 10, 64)
			if err != nil {
				return nil, used, paxError{fmt.Errorf("%q is no number", line)}
			}
			line = line[:0]
			if left < 0 {
				if v < 0 || v > stored {
					return nil, used, paxError{fmt.Errorf("%d pieces", v)}
				}
				left = 2 * v
			} else {
				numbers = append(numbers, v)
				left--
			}
			if left == 0 {
				break
			}
		}
	}
	return numbers, used, nil
}

// sparsePieces makes pieces of pairs, which must be in order, and all there.
func sparsePieces(numbers []int64, real, at, stored int64) ([]tarPiece, error) {
	if real < 0 || len(numbers)%2 != 0 {
		return nil, fmt.Errorf("size %d and %d numbers", real, len(numbers))
	}
	var pieces []tarPiece
	end, left := int64(0), stored
	for ; len(numbers) > 0; numbers = numbers[2:] {
		off, size := numbers[0], numbers[1]
		if off < end || size < 0 || off > real || size > real-off {
			return nil, fmt.Errorf("%d bytes at %d of %d are out of order", size, off, real)
		}
		if size > left {
			return nil, fmt.Errorf("%d bytes at %d, and %d are stored", size, off, left)
		}
		if size > 0 {
			pieces = append(pieces, tarPiece{off, size, at})
		}
		at, left, end = at+size, left-size, off+size
	}
	return pieces, nil
}

// tarSparse reads a sparse file. Its holes are charged as what is unpacked is.
type tarSparse struct {
	r      io.ReaderAt
	pieces []tarPiece
	size   int64
	meter  *budget.Meter
}

func (s *tarSparse) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off >= s.size {
		return 0, io.EOF
	}
	var end error
	if int64(len(p)) > s.size-off {
		p, end = p[:s.size-off], io.EOF
	}
	i, _ := slices.BinarySearchFunc(s.pieces, off, func(piece tarPiece, off int64) int { return cmp.Compare(piece.off+piece.size, off+1) })
	done := 0
	for done < len(p) {
		at, rest := off+int64(done), p[done:]
		switch {
		case i < len(s.pieces) && s.pieces[i].off <= at:
			piece := s.pieces[i]
			rest = rest[:min(int64(len(rest)), piece.off+piece.size-at)]
			if err := readFull(s.r, rest, piece.at+at-piece.off); err != nil {
				return done, err
			}
			i++
		default:
			if i < len(s.pieces) {
				rest = rest[:min(int64(len(rest)), s.pieces[i].off-at)]
			}
			if err := s.meter.Bytes(int64(len(rest))); err != nil {
				return done, err
			}
			clear(rest)
		}
		done += len(rest)
	}
	return done, end
}
