// Package compare compares two images that should be the same: two dumps of one
// flash, of which one came through the unit's own software and one past it. It
// says which bytes differ, in which region of both images, which files and
// variables that concerns, and whether a unit that runs as it should could have
// made the difference itself.
//
// What may change is told by what the bytes are and never by a partition's name,
// which is the unit's own word: environments, writable file systems and flash
// under wear-levelling are mutable; boot loaders, kernels, device trees,
// read-only file systems and whatever else has a format are immutable, and a
// difference in them is one of three things: a bit that flipped on the way, two
// dumps of different units or versions, or firmware that lies about itself.
//
// Both images are streamed: what is held is bounded, whatever their size.
package compare

import (
	"context"
	"errors"
	"fmt"
	"io"

	"assay/firmware"
)

// Extent is a run of bytes.
type Extent struct {
	Offset int64 `json:"offset"`
	Size   int64 `json:"size"`
}

func (x Extent) end() int64 { return x.Offset + x.Size }

// Image is one of the two images.
type Image struct {
	Name   string // for people
	Data   io.ReaderAt
	Size   int64
	Found  []Found  // what was found in it; without, only bytes are compared
	Unread []Extent // in order; bytes that were never read, and are not compared
}

// Found is an analysed part of an image: all of it, or a run between unread bytes.
type Found struct {
	Offset int64
	Image  *firmware.Image
}

// Verdict is what a comparison came to.
type Verdict string

// The verdicts, best first.
const (
	Same        Verdict = "same"         // every byte is the same, and all were compared
	Part        Verdict = "part"         // of different sizes; every byte that is in both is the same
	SameAsRead  Verdict = "same-as-read" // every byte that was read of both is the same; some were not
	Expected    Verdict = "expected"     // different only where a running unit writes
	OneBit      Verdict = "one-bit"      // one bit differs where nothing writes: read again
	Unexplained Verdict = "unexplained"  // different where it is not known whether anything writes
	Immutable   Verdict = "immutable"    // different where nothing writes
)

// Class says whether a running unit changes some bytes.
type Class string

// The classes.
const (
	ClassMutable   Class = "mutable"
	ClassImmutable Class = "immutable"
	ClassUnknown   Class = "unknown"
)

// Report is what a comparison found. Offsets are in the image they are named
// for; byte x of B stands at byte x+Shift of A.
type Report struct {
	A         Side    `json:"a"`
	B         Side    `json:"b"`
	Verdict   Verdict `json:"verdict"`
	Says      string  `json:"says"`
	Shift     int64   `json:"shift"`
	Alignment string  `json:"alignment"`

	Compared  int64           `json:"compared"`         // bytes
	Unread    int64           `json:"unread,omitempty"` // bytes in both images that were not read in one of them
	Differing int64           `json:"differing"`        // bytes
	Bits      int64           `json:"bits"`
	ByClass   map[Class]int64 `json:"byClass,omitempty"` // differing bytes
	OnlyA     []Extent        `json:"onlyA,omitempty"`   // what the other image does not reach to
	OnlyB     []Extent        `json:"onlyB,omitempty"`

	Places      []Place      `json:"places,omitempty"`  // regions that differ, by offset
	Extents     []Difference `json:"extents,omitempty"` // where they differ, by offset
	Joined      int64        `json:"joined,omitempty"`  // extents closer to each other than this many bytes are one
	MoreExtents int64        `json:"moreExtents,omitempty"`
	Inside      []Inside     `json:"inside,omitempty"` // parts of wear-levelled flash that differ in what they hold
	FileSystems []FileSystem `json:"fileSystems,omitempty"`
	Variables   []Variable   `json:"variables,omitempty"`
	Notes       []string     `json:"notes,omitempty"`
}

// Side is one of the two images in a report.
type Side struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256,omitempty"`
}

// Place is a region of A and what stands in its place in B, where bytes of them
// differ.
type Place struct {
	Class     Class  `json:"class"`
	Why       string `json:"why"`
	A         Region `json:"a"`
	B         Region `json:"b"`
	First     int64  `json:"first"` // offset in A of the first byte that differs
	Last      int64  `json:"last"`
	Differing int64  `json:"differing"` // bytes
	Bits      int64  `json:"bits"`
}

// Region names a region of an image.
type Region struct {
	Extent
	Path      string   `json:"path"` // labels, outermost first
	Format    string   `json:"format,omitempty"`
	Name      string   `json:"name,omitempty"`
	Role      string   `json:"role,omitempty"`
	State     string   `json:"state"`
	SHA256    string   `json:"sha256,omitempty"`
	Failed    []string `json:"failed,omitempty"`    // checks that do not hold
	Partition string   `json:"partition,omitempty"` // that a table in the image claims there, and that something was found in
}

// Inside is a part of flash under wear-levelling that differs in what it holds,
// wherever its blocks lie.
type Inside struct {
	Class Class  `json:"class"`
	Why   string `json:"why"`
	A     Region `json:"a"` // no Path where it is in B only
	B     Region `json:"b"`
}

// FileSystem is a file system whose files differ.
type FileSystem struct {
	Class   Class        `json:"class"`
	A       string       `json:"a"` // path in A
	B       string       `json:"b"`
	OnlyA   int          `json:"onlyA"` // files
	OnlyB   int          `json:"onlyB"`
	Changed int          `json:"changed"`
	Changes []FileChange `json:"changes"`
	More    int          `json:"more,omitempty"` // changes that are not listed
}

// FileChange is a file that is in one image only, or not the same in both.
type FileChange struct {
	Path    string     `json:"path"`
	What    string     `json:"what"`              // "only in A", "only in B", "content", "type", "mode", "target", "unread"
	Program bool       `json:"program,omitempty"` // it may be executed or loaded
	A       *FileState `json:"a,omitempty"`
	B       *FileState `json:"b,omitempty"`
}

// FileState is a file in one of the images.
type FileState struct {
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256,omitempty"`
	Mode   string `json:"mode"`
	Target string `json:"target,omitempty"`
}

// Variable is a variable of an environment that differs. A secret's value is
// withheld.
type Variable struct {
	Place string `json:"place"` // the environment in A
	Name  string `json:"name"`
	A     string `json:"a"`
	B     string `json:"b"`
	InA   bool   `json:"inA"`
	InB   bool   `json:"inB"`
}

// Difference is a run of bytes that differ.
type Difference struct {
	A         int64  `json:"a"`    // offset in A
	B         int64  `json:"b"`    // offset in B
	Size      int64  `json:"size"` // from its first to its last differing byte
	Differing int64  `json:"differing"`
	Place     int    `json:"place"`            // index into Places
	BytesA    string `json:"bytesA,omitempty"` // hexadecimal, of the first bytes
	BytesB    string `json:"bytesB,omitempty"`
}

// Compare compares two images. The error is for reading them and for ctx.
func Compare(ctx context.Context, a, b Image) (*Report, error) {
	for _, x := range []Image{a, b} {
		if x.Size < 0 || x.Data == nil && x.Size > 0 {
			return nil, fmt.Errorf("compare: %s has no bytes", x.Name)
		}
	}
	r := &Report{A: side(a), B: side(b), ByClass: map[Class]int64{}}
	var err error
	if r.Shift, r.Alignment, err = align(ctx, a, b); err != nil {
		return nil, err
	}
	from, to := max(0, r.Shift), min(a.Size, b.Size+r.Shift)
	r.OnlyA = outside(a.Size, from, to)
	r.OnlyB = outside(b.Size, from-r.Shift, to-r.Shift)
	w := walker{ctx: ctx, a: a, b: b, report: r, gap: firstGap}
	if err := w.run(from, to); err != nil {
		return nil, err
	}
	r.inside(a, b)
	r.conclude()
	return r, nil
}

func side(x Image) Side {
	s := Side{Name: x.Name, Size: x.Size}
	if len(x.Found) == 1 && x.Found[0].Offset == 0 && x.Found[0].Image.Size == x.Size {
		s.SHA256 = x.Found[0].Image.SHA256
	}
	return s
}

// outside is what of [0, size) is not in [from, to).
func outside(size, from, to int64) (out []Extent) {
	if from >= to {
		from, to = size, size
	}
	if from > 0 {
		out = append(out, Extent{0, from})
	}
	if to < size {
		out = append(out, Extent{to, size - to})
	}
	return out
}

// errShrunk says that an image ended before its size.
var errShrunk = errors.New("it ended before its size: it changes while it is read")

func readFull(x Image, p []byte, off int64) error {
	if len(p) == 0 {
		return nil
	}
	n, err := x.Data.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = errShrunk
	}
	return fmt.Errorf("compare: %s at %#x: %w", x.Name, off+int64(n), err)
}
