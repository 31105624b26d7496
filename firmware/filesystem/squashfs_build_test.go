//go:build linux

package filesystem_test

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"slices"
	"strings"
)

// built makes SquashFS images that no program makes any more or ever did: the
// versions 1 to 3, and version 4 in big endian and as AVM has it. It is from
// squashfs_fs.h and squashfs_compat.h of squashfs-tools 4.5.1, whose unsquashfs
// reads all but the vendors' images, and that in the same way as the reader here
// reads them.
type built struct {
	magic        string
	major, minor int
	order        binary.ByteOrder
	blockSize    int
	avm          bool
	checked      bool // a byte after the size of each metadata block
	pack         func([]byte) []byte

	img              []byte
	inodes, listings *builtTable
	fragment         []byte
	fragments        []uint64 // place and size word of each, in turn
	uids, gids       []uint32
	number           uint32
	refs             []uint64 // by number, less 1
}

// builtFile is a file to be put in. A file with data or a target or children is
// what it looks like by its mode.
type builtFile struct {
	name     string
	mode     uint32
	uid, gid uint32
	mtime    uint32
	data     []byte
	target   string
	dev      uint32
	children []*builtFile

	ref    uint64
	placed uint32 // its number
}

func zlibbed(p []byte) []byte {
	var b bytes.Buffer
	w := zlib.NewWriter(&b)
	w.Write(p)
	w.Close()
	return b.Bytes()
}

// bits appends fields as they are packed, pairs of width and value.
func (b *built) bits(p []byte, pairs ...uint64) []byte {
	var bit []byte
	for i := 0; i < len(pairs); i += 2 {
		width, v := int(pairs[i]), pairs[i+1]
		for k := range width {
			if b.order == binary.BigEndian {
				k = width - 1 - k
			}
			bit = append(bit, byte(v>>k&1))
		}
	}
	for ; len(bit) > 0; bit = bit[8:] {
		var v byte
		for k := range 8 {
			if b.order == binary.BigEndian {
				v |= bit[k] << (7 - k)
			} else {
				v |= bit[k] << k
			}
		}
		p = append(p, v)
	}
	return p
}

// builtTable is a row of metadata blocks.
type builtTable struct {
	b      *built
	packed []byte
	rest   []byte
}

// at returns where the next byte comes: its block and the place in it.
func (t *builtTable) at() (uint64, uint64) { return uint64(len(t.packed)), uint64(len(t.rest)) }

func (t *builtTable) write(p []byte) {
	for t.rest = append(t.rest, p...); len(t.rest) >= 8192; t.rest = t.rest[8192:] {
		t.flush(t.rest[:8192])
	}
}

func (t *builtTable) flush(p []byte) {
	packed := t.b.pack(p)
	word := uint16(len(packed))
	if len(packed) >= len(p) {
		packed, word = p, uint16(len(p))|1<<15
	}
	order := t.b.order
	if t.b.avm {
		order = binary.LittleEndian
	}
	var head [2]byte
	order.PutUint16(head[:], word)
	t.packed = append(t.packed, head[:]...)
	if t.b.checked {
		t.packed = append(t.packed, 0xff)
	}
	t.packed = append(t.packed, packed...)
}

func (t *builtTable) finish() []byte {
	if len(t.rest) > 0 {
		t.flush(t.rest)
	}
	return t.packed
}

func (b *built) index(list *[]uint32, v uint32) uint64 {
	i := slices.Index(*list, v)
	if i < 0 {
		i = len(*list)
		*list = append(*list, v)
	}
	return uint64(i)
}

// block writes one data block and returns its size word, with 24 bits of size.
func (b *built) block(p []byte) uint64 {
	if b.major >= 3 && len(bytes.Trim(p, "\x00")) == 0 {
		return 0
	}
	packed := b.pack(p)
	word := uint64(len(packed))
	if len(packed) >= len(p) {
		packed, word = p, uint64(len(p))|1<<24
	}
	b.img = append(b.img, packed...)
	return word
}

func (b *built) flushFragment() {
	if len(b.fragment) == 0 {
		return
	}
	at := uint64(len(b.img))
	packed := b.pack(b.fragment)
	word := uint64(len(packed))
	if len(packed) >= len(b.fragment) {
		packed, word = b.fragment, uint64(len(b.fragment))|1<<24
	}
	b.img = append(b.img, packed...)
	b.fragments = append(b.fragments, at, word)
	b.fragment = nil
}

// base writes what all inodes start with.
func (b *built) base(f *builtFile, kind uint64) []byte {
	mode := uint64(f.mode & 0o7777)
	group := b.index
	switch b.major {
	case 1:
		user := b.index(&b.uids, f.uid)
		gid := uint64(15)
		if f.gid != f.uid {
			gid = group(&b.gids, f.gid)
		}
		if kind >= 6 {
			return b.bits(nil, 4, 0, 12, mode, 4, user%16, 4, gid, 4, kind, 4, user/16)
		}
		return b.bits(nil, 4, kind+5*(user/16), 12, mode, 4, user%16, 4, gid)
	case 2, 3:
		gid := uint64(255)
		if f.gid != f.uid {
			gid = group(&b.gids, f.gid)
		}
		p := b.bits(nil, 4, kind, 12, mode, 8, b.index(&b.uids, f.uid), 8, gid)
		if b.major == 3 {
			p = b.bits(p, 32, uint64(f.mtime), 32, uint64(f.placed))
		}
		return p
	}
	return b.bits(nil, 16, kind, 16, mode, 16, b.index(&b.uids, f.uid), 16, b.index(&b.uids, f.gid), 32, uint64(f.mtime), 32, uint64(f.placed))
}

func (b *built) add(f *builtFile) {
	if f.placed != 0 {
		return // a further name
	}
	for _, c := range f.children {
		b.add(c)
	}
	b.number++
	f.placed = b.number
	var p []byte
	switch kind := f.mode & 0o170000; kind {
	case 0o040000:
		p = b.directory(f)
	case 0o100000:
		p = b.file(f)
	case 0o120000:
		p = b.base(f, 3)
		if b.major >= 3 {
			p = b.bits(p, 32, 1)
		}
		width := uint64(16)
		if b.major == 4 {
			width = 32
		}
		p = append(b.bits(p, width, uint64(len(f.target))), f.target...)
	default:
		p = b.base(f, map[uint32]uint64{0o060000: 4, 0o020000: 5, 0o010000: 6, 0o140000: 7}[kind])
		if b.major >= 3 {
			p = b.bits(p, 32, 1)
		}
		if kind == 0o060000 || kind == 0o020000 {
			width := uint64(16)
			if b.major == 4 {
				width = 32
			}
			p = b.bits(p, width, uint64(f.dev))
		}
	}
	block, off := b.inodes.at()
	f.ref = block<<16 | off
	b.refs = append(b.refs, f.ref)
	b.inodes.write(p)
}

func (b *built) file(f *builtFile) []byte {
	start := uint64(len(b.img))
	rest := f.data
	var words []uint64
	for len(rest) >= b.blockSize || b.major == 1 && len(rest) > 0 {
		n := min(b.blockSize, len(rest))
		words = append(words, b.block(rest[:n]))
		rest = rest[n:]
	}
	fragment, off := uint64(1<<32-1), uint64(0)
	if len(rest) > 0 {
		if len(b.fragment)+len(rest) > b.blockSize {
			b.flushFragment()
		}
		// A fragment's number is known before it is written.
		fragment, off = uint64(len(b.fragments)/2), uint64(len(b.fragment))
		b.fragment = append(b.fragment, rest...)
	}
	size := uint64(len(f.data))
	var p []byte
	switch b.major {
	case 1:
		p = b.bits(b.base(f, 2), 32, uint64(f.mtime), 32, start, 32, size)
		for _, w := range words {
			p = b.bits(p, 16, w&0x7fff|w>>24<<15)
		}
		return p
	case 2:
		p = b.bits(b.base(f, 2), 32, uint64(f.mtime), 32, start, 32, fragment, 32, off, 32, size)
	case 3:
		if size%2 == 1 { // both kinds
			p = b.bits(b.base(f, 9), 32, 1, 64, start, 32, fragment, 32, off, 64, size)
		} else {
			p = b.bits(b.base(f, 2), 64, start, 32, fragment, 32, off, 32, size)
		}
	case 4:
		p = b.bits(b.base(f, 2), 32, start, 32, fragment, 32, off, 32, size)
	}
	for _, w := range words {
		p = b.bits(p, 32, w)
	}
	return p
}

func (b *built) directory(f *builtFile) []byte {
	block, off := b.listings.at()
	type header struct {
		at   uint64
		in   uint64
		name string
	}
	var headers []header
	written := uint64(0)
	lastBlock := uint64(0)
	for i := 0; i < len(f.children); {
		first := f.children[i]
		n := 1
		for i+n < len(f.children) && n < 200 && f.children[i+n].ref>>16 == first.ref>>16 {
			n++
		}
		in, _ := b.listings.at()
		if in != lastBlock || i == 0 {
			lastBlock = in
			if i > 0 {
				headers = append(headers, header{written, in, first.name})
			}
		}
		p := b.listing(f.children[i : i+n])
		b.listings.write(p)
		written += uint64(len(p))
		i += n
	}
	size := written
	if b.major >= 3 {
		size += 3
	}
	long := len(headers) > 0 && b.major > 1
	kind := uint64(1)
	if long {
		kind = 8
	}
	p := b.base(f, kind)
	parent := uint64(f.dev)
	switch {
	case b.major <= 2 && !long:
		p = b.bits(p, 19, size, 13, off, 32, uint64(f.mtime), 24, block)
	case b.major == 2:
		p = b.bits(p, 27, size, 13, off, 32, uint64(f.mtime), 24, block, 16, uint64(len(headers)))
	case b.major == 3 && !long:
		p = b.bits(p, 32, 2, 19, size, 13, off, 32, block, 32, parent)
	case b.major == 3:
		p = b.bits(p, 32, 2, 27, size, 13, off, 32, block, 16, uint64(len(headers)), 32, parent)
	case !long:
		p = b.bits(p, 32, block, 32, 2, 16, size, 16, off, 32, parent)
	default:
		p = b.bits(p, 32, 2, 32, size, 32, block, 32, parent, 16, uint64(len(headers)), 16, off, 32, 1<<32-1)
	}
	if long {
		for _, h := range headers {
			switch b.major {
			case 2:
				p = b.bits(p, 27, h.at, 29, h.in, 8, uint64(len(h.name)-1))
			case 3:
				p = b.bits(p, 32, h.at, 32, h.in, 8, uint64(len(h.name)-1))
			default:
				p = b.bits(p, 32, h.at, 32, h.in, 32, uint64(len(h.name)-1))
			}
			p = append(p, h.name...)
		}
	}
	return p
}

// listing writes a header and its entries.
func (b *built) listing(list []*builtFile) (p []byte) {
	start, base := list[0].ref>>16, uint64(list[0].placed)
	count := uint64(len(list) - 1)
	switch b.major {
	case 1, 2:
		p = b.bits(p, 8, count, 24, start)
	case 3:
		p = b.bits(p, 8, count, 32, start, 32, base)
	default:
		p = b.bits(p, 32, count, 32, start, 32, base)
	}
	for _, f := range list {
		kind := map[uint32]uint64{0o040000: 1, 0o100000: 2, 0o120000: 3, 0o060000: 4, 0o020000: 5, 0o010000: 6, 0o140000: 7}[f.mode&0o170000]
		off, size, diff := f.ref&0xffff, uint64(len(f.name)-1), uint64(f.placed)-base
		switch b.major {
		case 1, 2:
			p = b.bits(p, 13, off, 3, kind, 8, size)
		case 3:
			p = b.bits(p, 13, off, 3, kind, 8, size, 16, diff)
		default:
			p = b.bits(p, 16, off, 16, diff, 16, kind, 16, size)
		}
		p = append(p, f.name...)
	}
	return p
}

// table writes a table whose blocks are found by offsets, and returns where these
// are.
func (b *built) table(data []byte) uint64 {
	var offsets []byte
	width := uint64(64)
	if b.major < 3 {
		width = 32
	}
	for len(data) > 0 {
		n := min(8192, len(data))
		offsets = b.bits(offsets, width, uint64(len(b.img)))
		t := &builtTable{b: b}
		t.flush(data[:n])
		b.img = append(b.img, t.packed...)
		data = data[n:]
	}
	at := uint64(len(b.img))
	b.img = append(b.img, offsets...)
	return at
}

// prenumber tells directories the number of their parent, as dev: it comes after
// theirs.
func prenumber(f *builtFile, seen map[*builtFile]bool, next *uint32) {
	if seen[f] {
		return
	}
	seen[f] = true
	for _, c := range f.children {
		prenumber(c, seen, next)
	}
	*next++
	for _, c := range f.children {
		if c.mode&0o170000 == 0o040000 {
			c.dev = *next
		}
	}
}

func (b *built) image(root *builtFile) []byte {
	if b.pack == nil {
		b.pack = zlibbed
	}
	if b.blockSize == 0 {
		b.blockSize = 8 << 10
	}
	if b.magic == "" {
		b.magic = map[bool]string{false: "hsqs", true: "sqsh"}[b.order == binary.BigEndian]
	}
	b.img = make([]byte, []int{1: 51, 2: 63, 3: 119, 4: 96}[b.major])
	b.inodes, b.listings = &builtTable{b: b}, &builtTable{b: b}
	total := uint32(0)
	prenumber(root, map[*builtFile]bool{}, &total)
	root.dev = total + 1
	b.add(root)
	b.flushFragment()
	inodes := uint64(len(b.img))
	b.img = append(b.img, b.inodes.finish()...)
	listings := uint64(len(b.img))
	b.img = append(b.img, b.listings.finish()...)
	var entries []byte
	for i := 0; i < len(b.fragments); i += 2 {
		if b.major == 2 {
			entries = b.bits(entries, 32, b.fragments[i], 32, b.fragments[i+1])
		} else {
			entries = b.bits(entries, 64, b.fragments[i], 32, b.fragments[i+1], 32, 0)
		}
	}
	fragments := uint64(len(b.img))
	if b.major > 1 {
		fragments = b.table(entries)
	}
	var exports []byte
	for _, ref := range b.refs {
		exports = b.bits(exports, 64, ref)
	}
	log := uint64(0)
	for 1<<log < b.blockSize {
		log++
	}
	flags := uint64(1 << 6)
	if b.checked {
		flags |= 1 << 2
	}
	export := ^uint64(0)
	if b.major >= 3 {
		export = b.table(exports)
		flags |= 1 << 7
	}
	const when = 1_500_000_000
	if b.major == 4 {
		var ids []byte
		for _, id := range b.uids {
			ids = b.bits(ids, 32, uint64(id))
		}
		idTable := b.table(ids)
		used := uint64(len(b.img))
		made := uint64(when)
		if b.avm {
			made = used
		}
		super := b.bits([]byte(b.magic), 32, uint64(total), 32, made, 32, uint64(b.blockSize), 32, uint64(len(b.fragments)/2), 16, 1, 16, log,
			16, flags, 16, uint64(len(b.uids)), 16, 4, 16, 0, 64, root.ref, 64, used, 64, idTable, 64, 1<<64-1, 64, inodes, 64, listings, 64, fragments, 64, export)
		copy(b.img, super)
		return b.img
	}
	owners := func(list []uint32) uint64 {
		at := uint64(len(b.img))
		for _, id := range list {
			b.img = b.bits(b.img, 32, uint64(id))
		}
		return at
	}
	uids := owners(b.uids)
	gids := owners(b.gids)
	if len(b.gids) == 0 {
		gids = 0
	}
	used := uint64(len(b.img))
	short := func(v uint64) uint64 {
		if b.major == 3 {
			return 0
		}
		return v
	}
	small := uint64(b.blockSize)
	if b.major > 1 {
		small = 0
	}
	super := b.bits([]byte(b.magic), 32, uint64(total), 32, short(used), 32, short(uids), 32, short(gids), 32, short(inodes), 32, short(listings),
		16, uint64(b.major), 16, uint64(b.minor), 16, small, 16, log, 8, flags, 8, uint64(len(b.uids)), 8, uint64(len(b.gids)), 32, when, 64, root.ref)
	if b.major > 1 {
		super = b.bits(super, 32, uint64(b.blockSize), 32, uint64(len(b.fragments)/2), 32, short(fragments))
	}
	if b.major == 3 {
		super = b.bits(super, 64, used, 64, uids, 64, gids, 64, inodes, 64, listings, 64, fragments, 64, export)
	}
	copy(b.img, super)
	return b.img
}

// builtTree is a tree with each kind of file in it, of 130 KB or, with few
// entries, of 15 KB, for tests that read it a thousand times.
func builtTree(entries int) *builtFile {
	const when = 1_400_000_000
	file := func(name string, data []byte) *builtFile {
		return &builtFile{name: name, mode: 0o100644, mtime: when + uint32(len(data)), data: data}
	}
	dir := func(name string, children ...*builtFile) *builtFile {
		slices.SortFunc(children, func(a, b *builtFile) int { return strings.Compare(a.name, b.name) })
		return &builtFile{name: name, mode: 0o040755, mtime: when, children: children}
	}
	passwd := file("passwd", []byte("root::0:0::/root:/bin/sh\n"))
	passwd.uid, passwd.gid, passwd.mode = 1000, 100, 0o100640
	shadow := file("shadow", []byte("root:*:0\n"))
	shadow.uid, shadow.gid = 7, 7
	scale := 10
	if entries < 10 {
		scale = 1
	}
	busybox := file("busybox", text(scale*5000+1))
	busybox.mode = 0o104755
	var many []*builtFile
	for i := range entries {
		many = append(many, file("a file in a directory of many, number "+string([]byte{'0' + byte(i/1000%10), '0' + byte(i/100%10), '0' + byte(i/10%10), '0' + byte(i%10)}), text(i%7)))
	}
	return dir("",
		dir("bin", busybox, &builtFile{name: "sh", mode: 0o120777, target: "busybox", mtime: when}, file("noise", noise(scale*2000)), file("blocks", text(8192*(1+scale/4)))),
		dir("dev",
			&builtFile{name: "console", mode: 0o020600, dev: 5<<8 | 1, mtime: when}, &builtFile{name: "disk", mode: 0o060660, dev: 31<<8 | 2, gid: 6, mtime: when},
			&builtFile{name: "fifo", mode: 0o010644, mtime: when}, &builtFile{name: "socket", mode: 0o140755, uid: 1000, gid: 1000, mtime: when}),
		dir("empty"),
		dir("etc", passwd, shadow, file("nothing", nil), dir("many", many...), file("zeros", make([]byte, scale*4000))),
	)
}
