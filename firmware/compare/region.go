package compare

import (
	"fmt"
	"math"
	"slices"

	"assay/firmware"
)

// writable are formats that a running unit writes to, with what they are.
var writable = map[string]string{
	"jffs2": "a writable file system", "ubifs": "a writable file system", "yaffs2": "a writable file system", "f2fs": "a writable file system",
	"ext2": "a writable file system", "ext3": "a writable file system", "ext4": "a writable file system", "minix": "a writable file system",
	"fat": "a writable file system", "exfat": "a writable file system",
	"u-boot-env": "an environment, which the boot loader saves", "ubi": "flash under wear-levelling: its blocks move",
	"mcuboot-trailer": "the state of an update",
}

// tables are formats whose bytes are their own and whose children are judged by
// themselves.
var tables = []string{"mbr", "gpt"}

// spot is a run of bytes of an image and the regions around it, outermost first;
// none where nothing was analysed.
type spot struct {
	start, end int64 // in A
	base       int64 // what is to be added to a region's offset to have it in A
	image      *firmware.Image
	path       []*firmware.Region
}

// spots cuts an image at the ends of its regions. A mutable region is one spot:
// what its parts are is told by its files.
func spots(x Image, shift int64) (out []spot) {
	at := int64(0)
	for _, f := range x.Found {
		if f.Offset > at {
			out = append(out, spot{start: at + shift, end: f.Offset + shift})
		}
		s := spot{base: f.Offset + shift, image: f.Image}
		for _, r := range f.Image.Regions {
			out = s.cut(out, nil, r)
		}
		at = f.Offset + f.Image.Size
	}
	if at < x.Size {
		out = append(out, spot{start: at + shift, end: x.Size + shift})
	}
	return out
}

func (s spot) cut(out []spot, path []*firmware.Region, r *firmware.Region) []spot {
	path = append(slices.Clip(path), r)
	piece := func(from, to int64) {
		if from < to {
			out = append(out, spot{start: from + s.base, end: to + s.base, base: s.base, image: s.image, path: path})
		}
	}
	at := r.Offset
	if writable[r.Format] == "" {
		for _, c := range r.Children {
			piece(at, c.Offset)
			out = s.cut(out, path, c)
			at = c.End()
		}
	}
	piece(at, r.End())
	return out
}

// class says whether a running unit writes to a spot, and what it is.
func (s spot) class() (Class, string) {
	path := s.path
	for len(path) > 1 && slices.Contains(tables, path[0].Format) {
		path = path[1:]
	}
	if len(path) == 0 {
		return ClassUnknown, "bytes that were not analysed"
	}
	r := path[0]
	if why := writable[r.Format]; why != "" {
		return ClassMutable, why
	}
	if r.Format == "" {
		return ClassUnknown, map[firmware.State]string{
			firmware.Erased: "erased flash", firmware.Residue: "what an earlier content left behind",
		}[r.State]
	}
	what := r.Format
	if r.Role != firmware.RoleNone && string(r.Role) != r.Format {
		what = fmt.Sprintf("%s (%s)", r.Role, r.Format)
	}
	return ClassImmutable, what + ", to which nothing writes"
}

// blank tells whether a spot holds nothing of its own: it is then judged by what
// the other image has there.
func (s spot) blank() bool {
	return len(s.path) == 1 && s.path[0].Format == "" && (s.path[0].State == firmware.Erased || s.path[0].State == firmware.Residue)
}

// pair is a run of bytes with the same spot of each image around it.
type pair struct {
	start, end int64
	a, b       spot
	index      int // in the report's places; -1 while nothing differs
}

// pairs cuts what both images have at the ends of the regions of both.
func pairs(a, b Image, shift, from, to int64) (out []pair) {
	sa, sb := spots(a, 0), spots(b, shift)
	for at := from; at < to; {
		for sa[0].end <= at {
			sa = sa[1:]
		}
		for sb[0].end <= at {
			sb = sb[1:]
		}
		end := min(sa[0].end, sb[0].end, to)
		out = append(out, pair{start: at, end: end, a: sa[0], b: sb[0], index: -1})
		at = end
	}
	return out
}

// verdict says what a difference in a pair is.
func (p *pair) verdict() (Class, string) {
	ca, wa := p.a.class()
	cb, wb := p.b.class()
	switch {
	case ca == ClassImmutable:
		return ca, wa
	case cb == ClassImmutable:
		return cb, wb
	case ca == ClassMutable && (cb == ClassMutable || p.b.blank()):
		return ca, wa
	case cb == ClassMutable && p.a.blank():
		return cb, wb
	}
	if wa == "" {
		wa = "bytes of no known format"
	}
	if wb == "" {
		wb = "bytes of no known format"
	}
	if wa == wb {
		return ClassUnknown, wa
	}
	return ClassUnknown, fmt.Sprintf("A: %s; B: %s", wa, wb)
}

// place is the entry of a pair in the report. Pieces of the same two regions
// have one entry.
func (p *pair) place(r *Report) *Place {
	if p.index >= 0 {
		return &r.Places[p.index]
	}
	class, why := p.verdict()
	n := Place{Class: class, Why: why, A: p.a.region(0), B: p.b.region(r.Shift)}
	for i := len(r.Places) - 1; i >= 0 && i >= len(r.Places)-8; i-- {
		if q := &r.Places[i]; q.A.Path == n.A.Path && q.A.Extent == n.A.Extent && q.B.Path == n.B.Path && q.B.Extent == n.B.Extent {
			p.index = i
			return q
		}
	}
	if len(r.Places) >= maxPlaces { // more regions than anybody reads: the rest counts with the last
		p.index = len(r.Places) - 1
		if q := &r.Places[p.index]; class == ClassImmutable || q.Class == ClassMutable {
			q.Class, q.Why = class, "many regions, among them: "+why
		}
		return &r.Places[p.index]
	}
	r.Places = append(r.Places, n)
	p.index = len(r.Places) - 1
	return &r.Places[p.index]
}

// region describes a spot in its own image. shift is what the image's offsets
// differ by from those in A.
func (s spot) region(shift int64) Region {
	if len(s.path) == 0 {
		return Region{Extent: Extent{s.start - shift, s.end - s.start}, Path: "-", State: "not analysed"}
	}
	r := s.path[len(s.path)-1]
	out := describe(r)
	out.Offset += s.base - shift
	out.Path, out.Failed = "", nil
	for i, p := range s.path {
		out.Failed = append(out.Failed, describe(p).Failed...)
		if i > 0 {
			out.Path += "/"
		}
		out.Path += p.Label()
	}
	if r.Role == firmware.RoleNone {
		for _, p := range s.path {
			if p.Role != firmware.RoleNone {
				out.Role = string(p.Role)
			}
		}
	}
	smallest := int64(math.MaxInt64) // an "all" partition says nothing
	for _, c := range s.image.Claims {
		at := s.start - s.base
		if s.path[0].Format != "" && c.Offset != s.path[0].Offset {
			continue // of two tables, the one that knows where this begins
		}
		if c.Verdict == firmware.ClaimProven && c.Offset <= at && at < c.Offset+c.Size && c.Size < smallest && c.Name != "" {
			out.Partition, smallest = c.Name, c.Size
		}
	}
	return out
}

func describe(r *firmware.Region) Region {
	out := Region{
		Extent: Extent{r.Offset, r.Size}, Path: r.Label(), Format: r.Format, Name: r.Name, Role: string(r.Role), State: r.State.String(), SHA256: r.SHA256,
	}
	for _, c := range r.Checks {
		if !c.OK {
			out.Failed = append(out.Failed, c.Name)
		}
	}
	return out
}
