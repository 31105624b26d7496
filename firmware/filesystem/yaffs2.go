package filesystem

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"assay/firmware"
	"assay/firmware/budget"
	"assay/firmware/internal/blank"
)

func init() {
	var magics []firmware.Magic
	for kind := byte(yaffsFile); kind <= yaffsSpecial; kind++ {
		magics = append(magics, firmware.Magic{Bytes: string([]byte{kind, 0, 0, 0, 1, 0, 0, 0, 0xff, 0xff})},
			firmware.Magic{Bytes: string([]byte{0, 0, 0, kind, 0, 0, 0, 1, 0xff, 0xff})})
	}
	firmware.Register(firmware.Format{
		Name:         "yaffs2",
		Source:       "yaffs2 yaffs_guts.h (struct yaffs_obj_hdr), yaffs_packedtags2.h, yaffs_ecc.c, and how yaffs_yaffs2.c scans; utils/mkyaffs2image.c",
		About:        "YAFFS2 flash file system",
		Integrity:    "error-correcting codes in spare bytes",
		Authenticity: "none",
		Magics:       magics, // headers of objects in the root directory
		Parse:        parseYAFFS2,
	})
}

// ErrNotYAFFS2 says that no layout of pages and tags makes a file system of the
// bytes.
var ErrNotYAFFS2 = errors.New("no YAFFS2")

// YAFFS2 is a log of chunks, a page of flash each, in which tags in the page's
// out-of-band area say which chunk of which object it is. Nothing checks the
// files' bytes. It may be used from several goroutines.
type YAFFS2 struct {
	tree
	BigEndian   bool
	Page, Spare int64
	TagsAt      int64 // in the out-of-band area, in which they are when Spare > 0
	Inband      bool  // the tags are in the pages
	NoTags      bool  // they are missing: the dump is of the pages only
	TagsECC     bool
	Size        int64 // to the last chunk that is in use
	Chunks      int   // in use
	Obsolete    int   // of these, that hold older versions
	Checkpoints int   // chunks of checkpoints and summaries, which repeat what the others say
	Deleted     int   // objects
	BadTags     int   // chunks whose tags are not sound, or not as their ECC says
	Survey      *Survey

	archive *archive
	r       io.ReaderAt
	limit   int64
	layout  yaffsLayout
	log     []yaffsChunk
	objects map[uint32]*yaffsObject
}

// yaffsChunk is a chunk in use.
type yaffsChunk struct {
	at int64 // of the page
	yaffsTags
}

// yaffsObject is what the newest chunks say.
type yaffsObject struct {
	header  *yaffsHeader // nil until one is met
	shadow  bool         // another object took its place
	size    int64        // that the data chunks reach to
	shrink  int64        // chunks from here on are of before the file was cut
	pieces  map[uint32]yaffsPiece
	sorted  []yaffsPiece
	visited bool
}

// yaffsPiece is a chunk of a file.
type yaffsPiece struct {
	number uint32
	bytes  uint32
	at     int64
}

// NewYAFFS2 reads the file system whose first chunk, an object's header, is at
// r's first byte. What is wrong with single chunks is in the survey's problems.
//
// The error wraps ErrNotYAFFS2 when there is none; it is of the budget, of ctx or
// of r otherwise, and what was read before is beside it.
func NewYAFFS2(ctx context.Context, r io.ReaderAt, size int64, meter *budget.Meter) (*YAFFS2, error) {
	f := &YAFFS2{archive: newArchive(meter), r: r, limit: size, objects: make(map[uint32]*yaffsObject)}
	f.tree = f.archive.tree()
	f.Survey = &f.archive.survey
	found, err := f.detect(ctx)
	if err != nil {
		return nil, err
	}
	if found == nil {
		return nil, fmt.Errorf("%w: no size of pages fits", ErrNotYAFFS2)
	}
	f.layout = *found
	f.BigEndian, f.Page, f.Spare, f.Inband, f.NoTags, f.TagsECC = found.order == binary.BigEndian, found.page, found.spare, found.inband, found.missing, found.ecc
	if !found.inband {
		f.TagsAt = found.tagsAt
	}
	defer f.archive.finish()
	if found.missing {
		err = f.guess(ctx)
	} else if err = f.scan(ctx); err == nil {
		err = f.replay(ctx)
	}
	if e := f.build(); err == nil {
		err = e
	}
	if err != nil {
		err = fmt.Errorf("yaffs2: %w", err)
	}
	return f, err
}

func (f *YAFFS2) problem(format string, args ...any) { f.archive.survey.problem(format, args...) }

// chunk reads a page's first bytes and its tags, with the ECC's room behind.
func (f *YAFFS2) chunk(l *yaffsLayout, at int64) (head, tags []byte, err error) {
	if at > f.limit-l.page {
		return nil, nil, nil
	}
	head = make([]byte, min(yaffsHeaderSize, l.page))
	if err := readFull(f.r, head, at); err != nil {
		return nil, nil, err
	}
	if l.missing {
		return head, nil, nil
	}
	from := at + l.page + l.tagsAt
	room := min(yaffsTagsSize+yaffsECCSize, l.spare-l.tagsAt, f.limit-from)
	if l.inband {
		from, room = at+l.tagsAt, yaffsTagsSize
	}
	if room < yaffsTagsSize {
		return nil, nil, nil
	}
	tags = make([]byte, room)
	return head, tags, readFull(f.r, tags, from)
}

// scan lists the chunks in use, up to the last one: what is neither one nor
// erased ends it when it is longer than an erase block.
func (f *YAFFS2) scan(ctx context.Context) error {
	const block = 256 // chunks, more than most flash has
	l, bad := &f.layout, 0
	for at := int64(0); bad <= block; at += l.stride() {
		if err := ctx.Err(); err != nil {
			return err
		}
		head, tags, err := f.chunk(l, at)
		if err != nil {
			return err
		}
		if tags == nil {
			break
		}
		t, used := l.unpackTags(tags)
		if !used {
			erased, err := f.erased(at, head)
			if err != nil {
				return err
			}
			if !erased {
				bad++
			}
			continue
		}
		err = l.plausible(t)
		if err == nil && l.ecc && !l.eccHolds(tags) {
			err = errors.New("the ECC of its tags does not hold")
		}
		if err == nil && t.chunk == 0 && t.sequence != yaffsCheckpoint && t.object != yaffsSummary {
			_, err = l.parseHeader(head)
		}
		if err != nil {
			// Most often this is the end, and what stands there is something else.
			bad++
			continue
		}
		if err := f.archive.meter.Entries(1); err != nil {
			return err
		}
		const held = 120 // with its place in a file
		if err := f.archive.meter.Hold(held); err != nil {
			return err
		}
		if bad > 0 {
			f.problem("%d chunks before %#x are neither in use nor erased, or their tags are not sound", bad, at)
			f.BadTags += bad
			bad = 0
		}
		f.Size = min(at+l.stride(), f.limit)
		if f.Chunks++; t.sequence == yaffsCheckpoint || t.object == yaffsSummary {
			f.Checkpoints++
			continue
		}
		f.log = append(f.log, yaffsChunk{at, t})
	}
	return nil
}

func (f *YAFFS2) erased(at int64, head []byte) (bool, error) {
	if !blank.Is(head, 0xff) {
		return false, nil
	}
	p := make([]byte, f.layout.page-int64(len(head)))
	if len(p) == 0 {
		return true, nil
	}
	err := readFull(f.r, p, at+int64(len(head)))
	return blank.Is(p, 0xff), err
}

func (f *YAFFS2) object(number uint32) *yaffsObject {
	o := f.objects[number]
	if o == nil {
		o = &yaffsObject{shrink: 1<<63 - 1, pieces: make(map[uint32]yaffsPiece)}
		f.objects[number] = o
	}
	return o
}

// replay goes through the log from its newest chunk to its oldest, as the
// driver does: what is met first of an object or of a chunk of it counts.
func (f *YAFFS2) replay(ctx context.Context) error {
	slices.SortFunc(f.log, func(a, b yaffsChunk) int {
		return cmp.Or(cmp.Compare(b.sequence, a.sequence), cmp.Compare(b.at, a.at))
	})
	head := make([]byte, min(yaffsHeaderSize, f.layout.page))
	for _, c := range f.log {
		if err := ctx.Err(); err != nil {
			return err
		}
		const held = 300
		if f.objects[c.object] == nil {
			if err := f.archive.meter.Hold(held); err != nil {
				return err
			}
		}
		o := f.object(c.object)
		if c.chunk > 0 {
			f.replayData(o, c)
			continue
		}
		if err := readFull(f.r, head, c.at); err != nil {
			return err
		}
		h, err := f.layout.parseHeader(head)
		if err != nil {
			continue // scan read it before
		}
		f.replayHeader(o, h, c)
	}
	return nil
}

func (f *YAFFS2) replayData(o *yaffsObject, c yaffsChunk) {
	base := int64(c.chunk-1) * f.layout.data()
	if _, newer := o.pieces[c.chunk]; newer || base >= o.shrink || o.header != nil && o.header.kind != yaffsFile {
		f.Obsolete++
		return
	}
	o.pieces[c.chunk] = yaffsPiece{c.chunk, c.bytes, c.at}
	if o.header == nil {
		o.size = max(o.size, base+int64(c.bytes))
	}
}

func (f *YAFFS2) replayHeader(o *yaffsObject, h *yaffsHeader, c yaffsChunk) {
	shrink, size := h.shrink || c.shrink, h.size
	if o.header == nil && !o.shadow {
		o.header = h
		o.size = max(o.size, size)
		o.shrink = min(o.shrink, size)
		// A file that is renamed over another one takes its place.
		if h.shadows > 0 && h.shadows != c.object && f.objects[h.shadows] == nil {
			f.object(h.shadows).shadow = true
			f.objects[h.shadows].shrink = 0
		}
		return
	}
	f.Obsolete++
	if h.kind != yaffsFile {
		return
	}
	if h.parent == yaffsDeleted || h.parent == yaffsUnlinked {
		shrink, size = true, 0
	}
	if shrink {
		o.shrink = min(o.shrink, size)
	}
}

func parseYAFFS2(w *firmware.Window) (*firmware.Region, error) {
	f, err := NewYAFFS2(w.Context(), w, w.Size(), w.Meter())
	if errors.Is(err, ErrNotYAFFS2) {
		return nil, fmt.Errorf("%w: %w", firmware.ErrNotFormat, err)
	}
	if f == nil {
		return nil, err
	}
	r := &firmware.Region{Format: "yaffs2", Size: f.Size, State: firmware.Parsed, Role: firmware.RoleData, FS: f}
	if looksLikeRoot(f) {
		r.Role = firmware.RoleRootFS
	}
	r.AddField("byte order", "%s", map[bool]string{false: "little endian", true: "big endian"}[f.BigEndian])
	r.AddField("page size", "%d", f.Page)
	r.AddField("out-of-band bytes", "%d", f.Spare)
	switch {
	case f.NoTags:
		r.AddField("tags", "not in this dump: objects are numbered by their order, as mkyaffs2image does")
	case f.Inband:
		r.AddField("tags", "in the pages")
	default:
		r.AddField("tags", "at %d of the out-of-band bytes, %s", f.TagsAt, map[bool]string{false: "without ECC", true: "with ECC"}[f.TagsECC])
	}
	for _, c := range []struct {
		name  string
		count int
	}{{"chunks", f.Chunks}, {"obsolete chunks", f.Obsolete}, {"chunks of checkpoints and summaries", f.Checkpoints}, {"deleted objects", f.Deleted}} {
		if c.count > 0 {
			r.AddField(c.name, "%d", c.count)
		}
	}
	f.Survey.describe(r)
	if f.TagsECC {
		r.AddCheck("ECC of tags", f.BadTags == 0, "%d hold, %d chunks are not sound; the pages are not covered", f.Chunks, f.BadTags)
	}
	if err != nil {
		r.AddProblem("not read to its end: %v", err)
	}
	return r, err
}
