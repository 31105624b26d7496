package filesystem

import (
	"bytes"
	"context"
	"io"
)

// zipEnd is what the end of the central directory says.
type zipEnd struct {
	at, end      int64 // of the record, with its comment
	start        int64 // of the zip64 record before it, or at
	entries      int64
	size, offset int64 // of the directory
	zip64        bool
	comment      string
	cut          bool // the comment is
}

// directory reads the central directory: that which stands where the row of
// local headers ended, or else the first one behind which has the member that
// starts the archive. f.Directory tells whether there is one.
func (f *Zip) directory(ctx context.Context, at int64) ([]*zipHeader, error) {
	list, next, err := f.centrals(ctx, at, f.limit, -1)
	if err != nil {
		return nil, err
	}
	e, err := f.endNear(next)
	if err != nil || e != nil {
		if e != nil {
			f.accept(e, at, next, list)
		}
		return list, err
	}
	cut, err := f.cut(next)
	if err != nil {
		return nil, err
	}
	if len(list) > 0 || cut && at > 0 {
		f.problem("the central directory at %#x breaks off at %#x, after %d members", at, next, len(list))
		if f.Size = next; cut {
			f.Size = f.limit
		}
		return nil, nil
	}
	find := zipFinder{r: f.r, limit: f.limit, at: at, magic: []byte(f.variant.end)}
	const tries = 16 // directories read on the word of an end record
	for n := 0; n < tries; {
		at, err := find.next(ctx)
		if err != nil || at < 0 {
			return nil, err
		}
		e, err := f.endAt(at)
		if err != nil {
			return nil, err
		}
		if e == nil || e.entries == 0 || e.size > e.start {
			continue
		}
		first, err := zipCentral(f.r, e.start-e.size, e.start, f.variant.central)
		if err != nil {
			return nil, err
		}
		if first == nil {
			continue
		}
		n++
		list, next, err := f.centrals(ctx, e.start-e.size, e.start, e.entries)
		if err != nil {
			return nil, err
		}
		if int64(len(list)) == e.entries && startsAt(list, e.offset-(e.start-e.size)) {
			f.accept(e, e.start-e.size, next, list)
			return list, nil
		}
	}
	return nil, nil
}

// cut says whether a record of the directory starts at a place and there are
// too few bytes for it.
func (f *Zip) cut(at int64) (bool, error) {
	p, err := readSome(f.r, at, 4)
	const longest = zipCentralSize + 3*0xffff
	if err != nil || len(p) < 4 || f.limit-at >= longest {
		return false, err
	}
	switch string(p) {
	case f.variant.central, f.variant.end, zipEnd64, zipLocator64:
		return true, nil
	}
	return false, nil
}

// startsAt says whether a member is at the offset.
func startsAt(list []*zipHeader, offset int64) bool {
	for _, c := range list {
		if c.offset == offset {
			return true
		}
	}
	return false
}

// centrals reads a row of central headers, at most count of them unless that is
// negative, and says where it ends.
func (f *Zip) centrals(ctx context.Context, at, end, count int64) (list []*zipHeader, _ int64, err error) {
	for count < 0 || int64(len(list)) < count {
		if err := ctx.Err(); err != nil {
			return nil, at, err
		}
		h, err := zipCentral(f.r, at, end, f.variant.central)
		if err != nil || h == nil {
			return list, at, err
		}
		if err := f.archive.meter.Entries(1); err != nil {
			return nil, at, err
		}
		list = append(list, h)
		at += h.length
	}
	return list, at, nil
}

// endNear reads the end record that follows the directory, with zip64 records
// in between.
func (f *Zip) endNear(at int64) (*zipEnd, error) {
	const record, locator = 56, 20
	p, err := readSome(f.r, at, 12)
	if err != nil {
		return nil, err
	}
	if len(p) == 12 && string(p[:4]) == zipEnd64 {
		n := int64(zipLE.Uint64(p[4:]))
		if n < record-12 || n > f.limit-at-12-locator {
			return nil, nil
		}
		at += 12 + n + locator
	}
	return f.endAt(at)
}

// endAt reads the end record at a place and what zip64 has before it.
func (f *Zip) endAt(at int64) (*zipEnd, error) {
	p, err := readSome(f.r, at, zipEndSize)
	if err != nil || len(p) < zipEndSize || string(p[:4]) != f.variant.end {
		return nil, err
	}
	if zipLE.Uint16(p[4:]) != zipLE.Uint16(p[6:]) && zipLE.Uint16(p[4:]) != 0xffff {
		return nil, nil // an archive in several files
	}
	e := &zipEnd{at: at, start: at, entries: int64(zipLE.Uint16(p[10:])), size: int64(zipLE.Uint32(p[12:])), offset: int64(zipLE.Uint32(p[16:]))}
	n := int(zipLE.Uint16(p[20:]))
	comment, err := readSome(f.r, at+zipEndSize, n)
	if err != nil {
		return nil, err
	}
	e.comment, e.cut, e.end = string(comment), len(comment) < n, at+zipEndSize+int64(len(comment))
	return e, f.end64(e)
}

// end64 looks for the zip64 record, which is behind the directory as well; the
// locator says where from the archive's start.
func (f *Zip) end64(e *zipEnd) error {
	const locator = 20
	l, err := readSome(f.r, e.at-locator, locator)
	if err != nil || e.at < locator || len(l) < locator || string(l[:4]) != zipLocator64 {
		return nil
	}
	for _, at := range []int64{int64(zipLE.Uint64(l[8:])), e.at - locator - 56} {
		if at < 0 || at > e.at-locator-56 {
			continue
		}
		p, err := readSome(f.r, at, 56)
		if err != nil {
			return err
		}
		if len(p) < 56 || string(p[:4]) != zipEnd64 || int64(zipLE.Uint64(p[4:])) != e.at-locator-at-12 {
			continue
		}
		entries, size, offset := int64(zipLE.Uint64(p[32:])), int64(zipLE.Uint64(p[40:])), int64(zipLE.Uint64(p[48:]))
		if entries < 0 || size < 0 || offset < 0 {
			continue
		}
		if e.entries == 0xffff {
			e.entries = entries
		}
		if e.size == 0xffffffff {
			e.size = size
		}
		if e.offset == 0xffffffff {
			e.offset = offset
		}
		e.zip64, e.start = true, at
		return nil
	}
	return nil
}

// accept believes an end record and says where it is wrong.
func (f *Zip) accept(e *zipEnd, dir, next int64, list []*zipHeader) {
	f.Directory, f.dir, f.Size = true, dir, e.end
	f.Base, f.Entries, f.Zip64, f.Comment = dir-e.offset, len(list), e.zip64, e.comment
	if e.entries&0xffff != int64(len(list))&0xffff || e.zip64 && e.entries != int64(len(list)) {
		f.problem("the central directory has %d members and its end record says %d", len(list), e.entries)
	}
	if e.size != e.start-dir {
		f.problem("the central directory has %d bytes and its end record says %d", e.start-dir, e.size)
	}
	if next < e.start {
		f.problem("%d bytes at %#x in the central directory are no headers", e.start-next, next)
	}
	if e.cut {
		f.problem("the comment is cut short")
	}
}

// zipFinder looks for a signature.
type zipFinder struct {
	r         io.ReaderAt
	limit, at int64
	magic     []byte
	buf       []byte // what is at at
}

func (z *zipFinder) next(ctx context.Context) (int64, error) {
	const step = 64 << 10
	for {
		if i := bytes.Index(z.buf, z.magic); i >= 0 {
			at := z.at + int64(i)
			z.at, z.buf = at+1, z.buf[i+1:]
			return at, nil
		}
		if skip := len(z.buf) - len(z.magic) + 1; skip > 0 {
			z.at += int64(skip)
		}
		if z.at > z.limit-int64(len(z.magic)) {
			return -1, nil
		}
		if err := ctx.Err(); err != nil {
			return -1, err
		}
		var err error
		if z.buf, err = readSome(z.r, z.at, int(min(step, z.limit-z.at))); err != nil {
			return -1, err
		}
		if len(z.buf) < len(z.magic) {
			return -1, nil
		}
	}
}
