package filesystem

import (
	"errors"
	"fmt"
	"sync"

	"assay/firmware/compress"
)

// squashCodec unpacks blocks. Version 4 names its compressor. The versions
// before had zlib only, and what vendors put in its place is written nowhere:
// LZMA of several forms, which are tried on the first block that there is. Some
// vendors' images of version 4 say gzip or LZMA and have these, too.
type squashCodec struct {
	named squashForm
	open  bool // others than the named one are tried

	mu    sync.RWMutex
	found *squashForm
}

// squashForm is one way to pack a block.
type squashForm struct {
	name   string
	unpack func(src, dst []byte) (int, error)
}

var errNoForm = errors.New("not packed in this form")

func newSquashCodec(b *superblock) *squashCodec {
	if b.major < 4 {
		return &squashCodec{named: squashZlib, open: true}
	}
	m := squashMethods[b.compression]
	unpack := func(src, dst []byte) (int, error) { return compress.Block(m.method, src, dst) }
	return &squashCodec{named: squashForm{m.name, unpack}, open: m.method == compress.Zlib || m.method == compress.LZMA}
}

var squashZlib = squashForm{"zlib", func(src, dst []byte) (int, error) { return compress.Block(compress.Zlib, src, dst) }}

// squashForms are told from each other by the block alone, so that an image may
// mix them: sqlzma packs with zlib what it packs better, and DD-WRT chooses
// properties for each block. Their sources are sqlzma's uncomp.c, Broadcom's
// LZMADecoder.c, and DD-WRT's ZLib.cpp, as sasquatch has them.
var squashForms = []squashForm{
	squashZlib,
	{"lzma with its header", func(src, dst []byte) (int, error) {
		if len(src) < 14 || src[0] >= 9*5*5 || src[13] != 0 {
			return 0, errNoForm
		}
		return compress.Block(compress.LZMA, src, dst)
	}},
	{"lzma behind its properties", func(src, dst []byte) (int, error) { return behindProperties(src, dst) }},
	{"lzma behind four bytes and its properties", func(src, dst []byte) (int, error) {
		if len(src) < 4 {
			return 0, errNoForm
		}
		return behindProperties(src[4:], dst)
	}},
	{"lzma behind DD-WRT's four bytes", func(src, dst []byte) (int, error) {
		if len(src) < 5 {
			return 0, errNoForm
		}
		return bareLZMA(src[1], src[2], src[0], src[4:], dst)
	}},
}

// behindProperties is for LZMA after the five bytes that an LZMA file starts with.
func behindProperties(src, dst []byte) (int, error) {
	if len(src) < 6 || src[0] >= 9*5*5 {
		return 0, errNoForm
	}
	return bareLZMA(src[0]%9, src[0]/9%5, src[0]/45, src[5:], dst)
}

// bareLZMA is for LZMA without a header. All of it must be taken, or else the
// properties were not these.
func bareLZMA(lc, lp, pb uint8, src, dst []byte) (int, error) {
	if len(src) == 0 || src[0] != 0 || lc > 8 || lp > 4 || pb > 4 {
		return 0, errNoForm
	}
	n, taken, err := compress.RawLZMA(lc, lp, pb, src, dst)
	if err == nil && taken != len(src) {
		err = fmt.Errorf("%w: %d of %d bytes are LZMA", errNoForm, taken, len(src))
	}
	return n, err
}

// squashBare are forms that need properties which are nowhere. They are the same
// for the whole image, and the usual ones are tried first. Where the data starts
// is what sasquatch met.
func squashBare() (list []squashForm) {
	add := func(skip int, lc, lp, pb uint8) {
		list = append(list, squashForm{fmt.Sprintf("lzma without header, lc=%d lp=%d pb=%d", lc, lp, pb), func(src, dst []byte) (int, error) {
			if len(src) <= skip {
				return 0, errNoForm
			}
			return bareLZMA(lc, lp, pb, src[skip:], dst)
		}})
	}
	for _, skip := range []int{0, 4, 5, 9} {
		add(skip, 3, 0, 2)
		for lc := range uint8(5) {
			for lp := range uint8(5) {
				for pb := range uint8(5) {
					add(skip, lc, lp, pb)
				}
			}
		}
	}
	return list
}

// name is the compressor's, as far as it is known.
func (c *squashCodec) name() string {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.found == nil || c.found.name == c.named.name {
		return c.named.name
	}
	return c.found.name
}

// unpack returns the unpacked size. The error is that of the form which is named
// or was found.
func (c *squashCodec) unpack(src, dst []byte) (int, error) {
	c.mu.RLock()
	found := c.found
	c.mu.RUnlock()
	known := found
	if known == nil {
		known = &c.named
	}
	n, err := known.unpack(src, dst)
	if err != nil && c.open {
		for i := range squashForms {
			if m, e := squashForms[i].unpack(src, dst); e == nil && m > 0 {
				known, n, err = &squashForms[i], m, nil
				break
			}
		}
		// Trying hundreds is for a block of metadata, when nothing is known.
		if err != nil && found == nil && len(dst) <= squashMetadata {
			for _, form := range squashBare() {
				if m, e := form.unpack(src, dst); e == nil && m > 0 {
					known, n, err = &form, m, nil
					break
				}
			}
		}
	}
	if err == nil && found == nil {
		c.mu.Lock()
		if c.found == nil {
			c.found = known
		}
		c.mu.Unlock()
	}
	return n, err
}
