package compress

import (
	"errors"
	"fmt"
	"io"
)

// LZMA2 is rows of chunks, each LZMA or stored, of at most 64 KiB that unpack to
// at most 2 MiB: the .xz file format 1.2.1, section 5.3.1, and xz-embedded's
// lib/xz/xz_dec_lzma2.c for their headers.

var (
	errLZMA2Control = errors.New("invalid LZMA2 control byte")
	errLZMA2Chunk   = errors.New("LZMA2 chunk does not end where its header says")
)

const lzma2MaxPacked = 64 << 10

// lzma2Chunk is a chunk's header.
type lzma2Chunk struct {
	end              bool
	stored           bool
	newDictionary    bool
	newState         bool
	props            byte
	newProps         bool
	header           int
	unpacked, packed int
}

// parseLZMA2 reads a header, of which 6 bytes or all there are must be in p.
func parseLZMA2(p []byte) (c lzma2Chunk, err error) {
	if len(p) < 1 {
		return c, io.ErrUnexpectedEOF
	}
	control := p[0]
	switch {
	case control == 0:
		c.end, c.header = true, 1
	case control <= 2:
		c.stored, c.newDictionary, c.header = true, control == 1, 3
	case control < 0x80:
		return c, fmt.Errorf("%w %#02x", errLZMA2Control, control)
	default:
		c.header = 5
		c.newState = control >= 0xa0
		c.newDictionary = control >= 0xe0
		if c.newProps = control >= 0xc0; c.newProps {
			c.header++
		}
	}
	if len(p) < c.header {
		return c, io.ErrUnexpectedEOF
	}
	if c.end {
		return c, nil
	}
	c.unpacked = (int(p[1])<<8 | int(p[2])) + 1
	c.packed = c.unpacked
	if !c.stored {
		c.unpacked += int(control&0x1f) << 16
		c.packed = (int(p[3])<<8 | int(p[4])) + 1
		c.props = p[c.header-1]
	}
	return c, nil
}

// lzma2 decodes chunks.
type lzma2 struct {
	lzmaDecoder
	haveProps bool
	haveState bool
	haveStart bool // of a dictionary
}

// restart makes ready for a new row of chunks.
func (z *lzma2) restart(window int) {
	z.window = window
	z.haveProps, z.haveState, z.haveStart = false, false, false
}

// enter takes in a chunk's header. What it says to reset must be reset before
// it is used first.
func (z *lzma2) enter(c lzma2Chunk) error {
	if c.newDictionary {
		z.haveStart = true
		z.haveProps = false
	} else if !z.haveStart {
		return fmt.Errorf("%w: no dictionary was started", errLZMA2Control)
	}
	if c.stored {
		return nil
	}
	if c.newProps {
		lc, lp, pb, ok := lzmaProps(c.props)
		if !ok || lc+lp > 4 {
			return fmt.Errorf("%w: properties %#02x", errLZMA2Control, c.props)
		}
		z.properties(lc, lp, pb)
		z.haveProps, z.haveState = true, false
	}
	if !z.haveProps {
		return fmt.Errorf("%w: there are no properties", errLZMA2Control)
	}
	if c.newState {
		z.reset()
		z.haveState = true
	}
	if !z.haveState {
		return fmt.Errorf("%w: there is no state", errLZMA2Control)
	}
	if c.packed < 5 {
		return errLZMA2Chunk
	}
	return nil
}
