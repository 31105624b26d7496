package compress

import (
	"errors"
	"io"
)

// chunkHeader reads the header of the next LZMA2 chunk.
func (z *xzDecoder) chunkHeader() error {
	p, err := z.src.Peek(6 + 5)
	if len(p) < 6+5 && err != nil && err != io.EOF {
		return err
	}
	c, err := parseLZMA2(p)
	if err != nil {
		return err
	}
	if c.end {
		z.src.Discard(1)
		z.packed++
		z.state = xzAtBlockEnd
		return nil
	}
	if z.wantSize >= 0 && int64(c.unpacked) > z.wantSize-z.unpacked {
		return errXZSize
	}
	if err := z.enter(c); err != nil {
		return err
	}
	if c.newDictionary {
		z.win.base = z.win.pos
	}
	if !c.stored {
		if len(p) < c.header+5 {
			return io.ErrUnexpectedEOF
		}
		if err := z.lzma2.start(p[c.header:]); err != nil {
			return err
		}
		c.header += 5
		c.packed -= 5
	}
	z.src.Discard(c.header)
	z.packed += int64(c.header)
	z.chunk = c
	z.state = xzInChunk
	return nil
}

// chunkData decodes as much of a chunk as there is room for.
func (z *xzDecoder) chunkData() error {
	w := &z.win
	limit := len(w.buf)
	if !z.fixed {
		room, err := w.limit()
		if err != nil {
			return err
		}
		limit = min(room, w.pos+maxRead)
	}
	from := w.pos
	end := min(w.pos+z.chunk.unpacked, len(w.buf))
	if z.fixed && end < w.pos+z.chunk.unpacked {
		return ErrTooLong
	}
	limit = min(limit, end)
	var err error
	if z.chunk.stored {
		err = z.copyChunk(limit)
	} else {
		err = z.decodeChunk(limit, end)
	}
	n := w.pos - from
	z.chunk.unpacked -= n
	z.unpacked += int64(n)
	if z.chunk.unpacked == 0 && err == nil {
		if z.chunk.packed != 0 {
			return errLZMA2Chunk
		}
		z.state = xzAtChunk
	}
	if !z.fixed {
		z.made(w.buf[from:w.pos])
	}
	return err
}

func (z *xzDecoder) copyChunk(limit int) error {
	w := &z.win
	want := limit - w.pos
	p, err := z.src.Peek(min(want, lzma2MaxPacked))
	if len(p) == 0 {
		return orTruncated(err)
	}
	n := copy(w.buf[w.pos:limit], p)
	w.pos += n
	z.chunk.packed -= n
	z.packed += int64(n)
	z.src.Discard(n)
	return nil
}

func (z *xzDecoder) decodeChunk(limit, end int) error {
	w := &z.win
	c := &z.chunk
	last := w.pos + c.unpacked
	p, err := z.src.Peek(c.packed + lzmaMargin)
	if len(p) < c.packed && err != io.EOF {
		return err
	}
	cut := len(p) < c.packed
	var at int
	var why lzmaStop
	if len(p) == c.packed+lzmaMargin {
		w.pos, at, why, err = z.decode(w.buf[:end], w.base, w.pos, limit, p, 0, c.packed)
	} else {
		p = p[:min(len(p), c.packed)]
		w.pos, at, why, err = z.decodeTail(w.buf[:end], w.base, w.pos, limit, p, 0, false)
	}
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF) && cut:
		return err
	case err == ErrTooLong || errors.Is(err, io.ErrUnexpectedEOF):
		return errLZMA2Chunk
	case err != nil:
		return err
	case why != lzmaFull || at > c.packed:
		return errLZMA2Chunk
	}
	if w.pos == last {
		finished := false
		if at, finished, err = z.finish(p[:min(len(p), c.packed)], at); err != nil || !finished {
			return errLZMA2Chunk
		}
	}
	z.src.Discard(at)
	c.packed -= at
	z.packed += int64(at)
	return nil
}

// made takes in what was decoded, where it can be handed out as it comes.
func (z *xzDecoder) made(p []byte) {
	if len(z.filters) == 0 {
		z.check.write(z.checkID, p)
		return
	}
	if z.whole { // all of the block is needed first
		return
	}
	z.win.out = z.win.pos
	kept := copy(z.staged, z.staged[z.stagedAt:])
	for i := range z.filters {
		z.filters[i].done -= z.stagedAt
	}
	z.staged, z.stagedAt = append(z.staged[:kept], p...), 0
	z.filter(false)
}

// ready is how much of staged all filters are done with.
func (z *xzDecoder) ready() int {
	if len(z.filters) == 0 {
		return z.stagedAt
	}
	return z.filters[0].done
}

// filter undoes the filters as far as they go, or to the end of the block, and
// says whether there is something to hand out.
func (z *xzDecoder) filter(last bool) bool {
	before := z.ready()
	have := len(z.staged)
	for i := len(z.filters) - 1; i >= 0; i-- {
		f := &z.filters[i]
		n := f.undo(z.staged[f.done:have], f.pos)
		f.done += n
		f.pos += uint32(n)
		if last {
			f.done = have
		}
		have = f.done
	}
	z.check.write(z.checkID, z.staged[before:z.ready()])
	return z.stagedAt < z.ready()
}
