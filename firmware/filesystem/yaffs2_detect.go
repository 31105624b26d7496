package filesystem

import (
	"context"
	"encoding/binary"
)

// Pages of flash, and out-of-band bytes that flash has for them. A driver with
// its own ECC may leave only some of them to YAFFS.
var (
	yaffsPages  = []int64{512, 1024, 2048, 4096, 8192, 16384}
	yaffsSpares = []int64{16, 32, 64, 128, 192, 208, 218, 224, 256, 376, 400, 432, 436, 448, 512, 640, 744, 1024, 1280, 1664, 2208}
)

// Most layouts have the tags behind the mark of bad blocks or at once; others
// come after the flash's own ECC.
const yaffsMaxTagsAt = 64

// detect finds the layout that makes sense of the first chunks: an object's
// header is the first, and each that follows is in use or erased.
func (f *YAFFS2) detect(ctx context.Context) (*yaffsLayout, error) {
	head, err := readSome(f.r, 0, yaffsHeaderSize)
	if err != nil || len(head) < yaffsHeaderSize {
		return nil, err
	}
	var best *yaffsLayout
	most := 0
	consider := func(l yaffsLayout) error {
		score, err := f.fit(ctx, &l)
		if score > most {
			best, most = &l, score
		}
		return err
	}
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		if h, err := (&yaffsLayout{order: order}).parseHeader(head); err != nil || h.parent != yaffsRoot || h.kind == yaffsHardLink {
			continue
		}
		for _, page := range yaffsPages {
			for _, l := range f.firstTags(order, page) {
				spares := yaffsSpares
				if l.inband {
					spares = []int64{0}
				}
				for _, l.spare = range spares {
					if l.spare > page/2 || page+l.spare > f.limit || !l.inband && l.tagsAt+yaffsTagsSize > l.spare {
						continue
					}
					if err := consider(l); err != nil {
						return nil, err
					}
				}
			}
		}
		if best != nil {
			continue
		}
		for _, page := range yaffsPages {
			l := yaffsLayout{order: order, page: page, missing: true}
			if f.guessable(ctx, &l) {
				return &l, nil
			}
		}
	}
	return best, nil
}

// firstTags are the places around a page's end where tags of a header stand,
// which nearly all layouts have none of.
func (f *YAFFS2) firstTags(order binary.ByteOrder, page int64) (list []yaffsLayout) {
	p, err := readSome(f.r, page-yaffsTagsSize, yaffsTagsSize+yaffsMaxTagsAt+yaffsTagsSize+yaffsECCSize)
	if err != nil {
		return nil
	}
	for at := 0; at+yaffsTagsSize <= len(p); at++ {
		l := yaffsLayout{order: order, page: page, tagsAt: int64(at) - yaffsTagsSize}
		if at > 0 && at < yaffsTagsSize || at == 0 && page == yaffsHeaderSize {
			continue
		}
		if at == 0 {
			l.inband, l.tagsAt = true, page-yaffsTagsSize
		}
		t, used := l.unpackTags(p[at:])
		if !used || t.chunk != 0 || t.sequence == yaffsCheckpoint || l.plausible(t) != nil || t.object > yaffsRoot && t.object < 256 {
			continue
		}
		l.ecc = !l.inband && l.eccHolds(p[at:])
		list = append(list, l)
	}
	return list
}

// fit counts the chunks that are as they should be, twice where an ECC holds, of
// the first ones. A layout in which one is not does not fit, unless it has come
// far: something else may follow.
func (f *YAFFS2) fit(ctx context.Context, l *yaffsLayout) (score int, err error) {
	const sample = 64
	objects := make(map[uint32]bool)
	for n := range int64(sample) {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		head, tags, err := f.chunk(l, n*l.stride())
		if err != nil {
			return 0, err
		}
		if tags == nil {
			break
		}
		t, used := l.unpackTags(tags)
		if n == 0 && (!used || t.chunk != 0 || t.sequence == yaffsCheckpoint) {
			return 0, nil
		}
		if !used {
			continue
		}
		bad := l.plausible(t) != nil || l.ecc && !l.eccHolds(tags)
		if !bad && t.sequence != yaffsCheckpoint && t.chunk == 0 {
			h, err := l.parseHeader(head)
			bad = err != nil || t.extra && (h.kind != t.kind || h.parent != t.parent)
			objects[t.object] = true
		}
		if bad {
			break
		}
		score++
		if l.ecc {
			score++
		}
	}
	// A chunk that only its own tags speak for is none.
	if score < 2 || len(objects) == 0 {
		return 0, nil
	}
	return score, nil
}

// guessable says whether pages without tags are an image as mkyaffs2image writes
// it: each header followed by as many pages as the file needs.
func (f *YAFFS2) guessable(ctx context.Context, l *yaffsLayout) bool {
	g := &YAFFS2{archive: f.archive, r: f.r, limit: f.limit, layout: *l, objects: make(map[uint32]*yaffsObject)}
	const least = 3 // objects, that it is not by chance
	return g.walkPages(ctx, 64) == nil && len(g.objects) >= least
}

// guess reads such an image.
func (f *YAFFS2) guess(ctx context.Context) error { return f.walkPages(ctx, -1) }

// walkPages numbers the objects by their order, from 257 on. It ends before the
// first page that does not continue that.
func (f *YAFFS2) walkPages(ctx context.Context, most int) error {
	number := uint32(yaffsMaxNameAndNUL)
	for at, n := int64(0), 0; n != most; n++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		head, _, err := f.chunk(&f.layout, at)
		if err != nil || head == nil {
			return err
		}
		h, err := f.layout.parseHeader(head)
		if err != nil || h.name == "" && at > 0 {
			return nil
		}
		pages := int64(0)
		if h.kind == yaffsFile {
			pages = h.size/f.layout.page + min(1, h.size%f.layout.page)
		}
		// A parent comes before what is in it.
		if p := f.objects[h.parent]; h.parent != yaffsRoot && (p == nil || p.header.kind != yaffsDirectory) || pages > (f.limit-at)/f.layout.page-1 {
			return nil
		}
		if err := f.archive.meter.Entries(1 + pages); err != nil {
			return err
		}
		if err := f.archive.meter.Hold(300 + 120*pages); err != nil {
			return err
		}
		id := uint32(yaffsRoot) // some begin with the root's own header
		if h.name != "" || at > 0 {
			number++
			id = number
		}
		o := f.object(id)
		o.header, o.size = h, h.size
		for p := range pages {
			size := min(f.layout.page, h.size-p*f.layout.page)
			o.pieces[uint32(p)+1] = yaffsPiece{uint32(p) + 1, uint32(size), at + (p+1)*f.layout.page}
		}
		f.Chunks += int(1 + pages)
		at += (1 + pages) * f.layout.page
		f.Size = at
	}
	return nil
}
