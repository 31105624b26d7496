package compress

import "io"

// Where all that a stream unpacks to is to be kept, its dictionary can be it.

// wholly is a decoder whose window can be all that it unpacks.
type wholly interface {
	// keepAll is called before the first step. total is a guess or -1.
	keepAll(total int64)
	advance() error     // io.EOF is the end
	count() int64       // bytes so far
	all(n int64) []byte // n of them, after the last step
}

// All reads the stream to its end, as [Reader.Read] would, and returns what that
// gave, also beside an error. total is what the stream is thought to unpack to,
// or -1; it only saves copying. ok is false, and nothing was read, where the
// method's decoder has no use for the memory that it would fill.
//
// The memory stays charged until Close.
func (z *Reader) All(total int64) (p []byte, ok bool, err error) {
	d, ok := z.decoder.(wholly)
	if !ok || z.err != nil || z.out > 0 {
		return nil, false, nil
	}
	d.keepAll(total)
	for err == nil {
		if err = z.ctx.Err(); err != nil {
			break
		}
		if err = step(d); err != nil && err != io.EOF {
			break // what the last step made is not to be relied on
		}
		n := d.count() - z.out
		z.out += n
		if e := z.charge(n); e != nil {
			err = e
		}
	}
	if z.err = err; err != io.EOF {
		z.err = z.wrap(err)
		return d.all(z.out), true, z.err
	}
	return d.all(z.out), true, nil
}

func step(d wholly) (err error) {
	defer guard(&err)
	return d.advance()
}

func (z *xzDecoder) keepAll(total int64) {
	z.whole, z.win.whole, z.win.total = true, true, total
}

func (z *xzDecoder) advance() error { return z.step() }

func (z *xzDecoder) count() int64 { return int64(z.win.pos) }

// all undoes the filters of a block that broke off, as far as they go.
func (z *xzDecoder) all(n int64) []byte {
	block := z.win.buf[min(z.start, int(n)):n]
	if int(n) > z.start && len(z.filters) > 0 {
		for i := len(z.filters) - 1; i >= 0; i-- {
			block = block[:z.filters[i].undo(block, z.filters[i].pos)]
		}
		n = int64(z.start + len(block))
	}
	return z.win.all(n)
}

func (z *lzmaStream) keepAll(total int64) {
	z.win.whole, z.win.total = true, max(z.left, total)
}

func (z *lzmaStream) advance() error {
	if z.done {
		return io.EOF
	}
	return z.step()
}

func (z *lzmaStream) count() int64 { return z.made }

func (z *lzmaStream) all(n int64) []byte { return z.win.all(n) }

// XZSize adds up what the first block of an .xz stream says that it unpacks to,
// chunk for chunk, and unpacks nothing. It is -1 where there is no block to its
// end in r.
func XZSize(r io.ReaderAt) int64 {
	var head [12 + 4]byte
	if _, err := r.ReadAt(head[:], 0); err != nil || string(head[:6]) != xzMagic || head[12] == 0 {
		return -1
	}
	at, total := 12+(int64(head[12])+1)*4, int64(0)
	for {
		var p [6]byte
		n, _ := r.ReadAt(p[:], at)
		c, err := parseLZMA2(p[:n])
		if err != nil {
			return -1
		}
		if c.end {
			return total
		}
		total += int64(c.unpacked)
		at += int64(c.header) + int64(c.packed)
	}
}
