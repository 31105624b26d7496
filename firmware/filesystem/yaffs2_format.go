package filesystem

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"time"
)

const (
	yaffsHeaderSize = 512
	yaffsTagsSize   = 16
	yaffsECCSize    = 12

	yaffsRoot     = 1
	yaffsLost     = 2
	yaffsUnlinked = 3
	yaffsDeleted  = 4
	yaffsSummary  = 16

	yaffsMaxObject     = 0x3ffff
	yaffsMaxChunk      = 0xfffff
	yaffsCheckpoint    = 0x21       // sequence number of checkpoint blocks
	yaffsHighest       = 0xefffff00 // sequence number
	yaffsExtra         = 1 << 31    // in the chunk number: the tags repeat the header
	yaffsExtraShrink   = 1 << 30
	yaffsExtraShadows  = 1 << 29
	yaffsExtraFlags    = 0xf << 28
	yaffsTypeShift     = 28
	yaffsFile          = 1
	yaffsSymlink       = 2
	yaffsDirectory     = 3
	yaffsHardLink      = 4
	yaffsSpecial       = 5
	yaffsNameAt        = 10
	yaffsMaxNameAndNUL = 256
)

// yaffsLayout is how chunks stand in the image. YAFFS does not say it anywhere.
type yaffsLayout struct {
	order   binary.ByteOrder
	page    int64
	spare   int64 // out-of-band bytes behind each page
	tagsAt  int64 // in them, or in the page when they are inband
	ecc     bool  // the tags have their own
	inband  bool  // the tags are the page's last bytes
	missing bool  // there are no tags
}

func (l *yaffsLayout) stride() int64 { return l.page + l.spare }

// data is how many bytes of a file a chunk holds.
func (l *yaffsLayout) data() int64 {
	if l.inband {
		return l.page - yaffsTagsSize
	}
	return l.page
}

// yaffsTags say what a chunk holds.
type yaffsTags struct {
	sequence, object, chunk, bytes uint32
	kind                           uint32 // of the object, when the tags repeat the header
	parent                         uint32
	extra, shrink                  bool
}

// unpackTags reads tags; used is false where a page was not written.
func (l *yaffsLayout) unpackTags(p []byte) (t yaffsTags, used bool) {
	o := l.order
	t = yaffsTags{sequence: o.Uint32(p), object: o.Uint32(p[4:]), chunk: o.Uint32(p[8:]), bytes: o.Uint32(p[12:])}
	if t.sequence == 0xffffffff {
		return t, false
	}
	if t.chunk&yaffsExtra != 0 {
		t.extra, t.shrink = true, t.chunk&yaffsExtraShrink != 0
		t.kind, t.parent = t.object>>yaffsTypeShift, t.chunk&^yaffsExtraFlags
		t.object, t.chunk = t.object&^yaffsExtraFlags, 0
	}
	return t, true
}

func (l *yaffsLayout) plausible(t yaffsTags) error {
	switch {
	case t.sequence == 0 || t.sequence >= yaffsHighest:
		return fmt.Errorf("sequence number %#x", t.sequence)
	case t.sequence == yaffsCheckpoint:
		return nil
	case t.object == 0 || t.object > yaffsMaxObject:
		return fmt.Errorf("object %#x", t.object)
	case t.chunk > yaffsMaxChunk:
		return fmt.Errorf("chunk %#x", t.chunk)
	case t.chunk > 0 && int64(t.bytes) > l.data():
		return fmt.Errorf("%d bytes in a chunk of %d", t.bytes, l.data())
	}
	return nil
}

// Columns of the ECC by bit: yaffs_ecc.c's table is the sums of these.
var yaffsColumns = [8]byte{0x55, 0x59, 0x65, 0x69, 0x95, 0x99, 0xa5, 0xa9}

// yaffsECC is yaffs_ecc_calc_other over the tags, as it stands behind them: a
// byte of column parity in a word, line parity, and its complement's.
func (l *yaffsLayout) yaffsECC(tags []byte) []byte {
	var column byte
	var line, prime uint32
	for i, b := range tags {
		var c byte
		for bit := range 8 {
			if b>>bit&1 != 0 {
				c ^= yaffsColumns[bit]
			}
		}
		column ^= c
		if c&1 != 0 {
			line ^= uint32(i)
			prime ^= ^uint32(i)
		}
	}
	p := make([]byte, yaffsECCSize)
	p[0] = column >> 2 & 0x3f
	l.order.PutUint32(p[4:], line)
	l.order.PutUint32(p[8:], prime)
	return p
}

// eccHolds compares what is defined of the ECC; the rest of its first word is
// padding.
func (l *yaffsLayout) eccHolds(p []byte) bool {
	if len(p) < yaffsTagsSize+yaffsECCSize {
		return false
	}
	want := l.yaffsECC(p[:yaffsTagsSize])
	got := p[yaffsTagsSize:]
	return got[0] == want[0] && bytes.Equal(got[4:yaffsECCSize], want[4:])
}

// yaffsHeader is an object's header.
type yaffsHeader struct {
	kind, parent    uint32
	name, alias     string
	mode            uint32
	uid, gid, mtime uint32
	size            int64
	equivalent      uint32
	device          uint32
	shadows         uint32
	shrink          bool
}

// parseHeader turns down what is none.
func (l *yaffsLayout) parseHeader(p []byte) (*yaffsHeader, error) {
	word := func(at int) uint32 { return l.order.Uint32(p[at:]) }
	h := &yaffsHeader{kind: word(0), parent: word(4), mode: word(268), uid: word(272), gid: word(276), mtime: word(284), equivalent: word(296), device: word(460)}
	if h.kind < yaffsFile || h.kind > yaffsSpecial || h.parent == 0 || h.parent > yaffsMaxObject {
		return nil, fmt.Errorf("type %#x, parent %#x", h.kind, h.parent)
	}
	name, _, found := bytes.Cut(p[yaffsNameAt:yaffsNameAt+yaffsMaxNameAndNUL], []byte{0})
	if !found {
		return nil, fmt.Errorf("name %.20q does not end", name)
	}
	if !yaffsModes(h.kind, h.mode) {
		return nil, fmt.Errorf("type %d with mode %o", h.kind, h.mode)
	}
	h.name = string(name)
	alias, _, _ := bytes.Cut(p[300:460], []byte{0})
	h.alias = string(alias)
	low, high := word(292), word(496)
	if h.size = int64(low); high != 0xffffffff {
		h.size |= int64(high) << 32
	}
	if h.kind == yaffsFile && (h.size < 0 || low == 0xffffffff && high == 0xffffffff) {
		return nil, fmt.Errorf("a file of %d bytes", h.size)
	}
	h.shadows, h.shrink = word(504), word(508) != 0
	if l.inband {
		h.shadows, h.shrink = word(488), word(492) != 0
	}
	if h.shadows > yaffsMaxObject {
		h.shadows = 0
	}
	if h.kind == yaffsHardLink && (h.name == "" || h.equivalent == 0 || h.equivalent > yaffsMaxObject) {
		return nil, fmt.Errorf("link %q to object %#x", h.name, h.equivalent)
	}
	return h, nil
}

// inode is what the header says. A device number has the old form of 16 bits.
func (h *yaffsHeader) inode(number uint32) Inode {
	i := Inode{Number: uint64(number), Mode: h.mode & (typeMask | 0o7777), UID: h.uid, GID: h.gid, Links: 1, ModTime: time.Unix(int64(h.mtime), 0).UTC()}
	switch kind := map[uint32]uint32{yaffsFile: typeFile, yaffsSymlink: typeLink, yaffsDirectory: typeDir}[h.kind]; {
	case kind != 0:
		i.Mode = i.Mode&^typeMask | kind
	case i.is(typeChar) || i.is(typeBlock):
		i.Major, i.Minor = h.device>>8&0xff, h.device&0xff
	}
	return i
}

// yaffsModes says whether a mode is one of an object of that type. It is what
// tells a header from the many small numbers of other data.
func yaffsModes(kind, mode uint32) bool {
	switch mode & typeMask {
	case typeFile:
		return kind == yaffsFile || kind == yaffsHardLink
	case typeLink:
		return kind == yaffsSymlink || kind == yaffsHardLink
	case typeDir:
		return kind == yaffsDirectory
	case typeChar, typeBlock, typeFIFO, typeSocket:
		return kind == yaffsSpecial || kind == yaffsHardLink
	}
	return kind == yaffsHardLink && mode == 0
}
