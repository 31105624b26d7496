// Package inventory says what software is in an analysed image, and which
// makers' marks. It looks for strings that builds leave behind, in the bytes of
// the image, in what its regions unpack to, in the files of its file systems
// and in the archives among those.
//
// A version is what the string says, not a proof of what runs. Marks come from
// marks.yaml, each with its source, its strength and examples; a mark is
// evidence to be weighed and not a verdict.
package inventory

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"assay/firmware"
	"assay/firmware/budget"
)

// Report is what was found, in the order of the image.
type Report struct {
	Components []Component `json:"components"`
	Marks      []Mark      `json:"marks"`
	Problems   []string    `json:"problems,omitempty"` // what was not read
}

// Component is a piece of software. Copies in one file system are listed once.
type Component struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Path    string `json:"path"`   // regions and files from the outside in, see Mark
	Offset  int64  `json:"offset"` // of the evidence, in what Path names
	Match   string `json:"match"`  // the evidence
}

// Mark is a maker's mark. Path names regions as format@offset (opaque bytes as
// opaque@offset) and files by their names, joined with slashes; offsets of
// regions count in the image that holds them.
type Mark struct {
	Rule     string `json:"rule"`
	Entity   string `json:"entity"`
	Subject  string `json:"subject"`
	Strength string `json:"strength"` // c1 hint, c2 solid
	Says     string `json:"says"`
	Path     string `json:"path"`
	Offset   int64  `json:"offset"` // in what Path names
	Match    string `json:"match"`
}

// Bounds on what one image can put into a report.
const (
	maxPerRule    = 32
	maxComponents = 256
	maxProblems   = 64
)

// Scan reads the whole image once, file by file, in pieces. Files are charged
// to the meter by their file systems, and archives among them as any image is.
// The error is the context's or a spent budget's; the report beside it holds
// what was found before.
//
// Scan does not look into encrypted or opaque data beyond its plain bytes, and
// does not follow links: an applet of BusyBox is no component.
func Scan(ctx context.Context, img *firmware.Image, meter *budget.Meter) (*Report, error) {
	s := &scan{ctx: ctx, meter: meter, report: &Report{}, perRule: make(map[string]int)}
	err := s.image(img, "", 0)
	if err == nil {
		err = s.spent
	}
	if err != nil {
		err = fmt.Errorf("inventory: %w", err)
	}
	return s.report, err
}

type scan struct {
	ctx     context.Context
	meter   *budget.Meter
	report  *Report
	perRule map[string]int
	spent   error // the first budget error of an archive
}

func (s *scan) image(img *firmware.Image, prefix string, depth int) error {
	for _, r := range img.Regions {
		if err := s.region(img, r, prefix, depth); err != nil {
			return err
		}
	}
	return nil
}

// region reads the bytes that belong to a region and to none of its children.
func (s *scan) region(img *firmware.Image, r *firmware.Region, prefix string, depth int) error {
	where := path.Join(prefix, regionName(r))
	if r.FS != nil {
		return s.files(r.FS, where, depth)
	}
	if r.Contents != nil {
		return s.image(r.Contents, where, depth)
	}
	pos := r.Offset
	for _, c := range append(slices.Clone(r.Children), &firmware.Region{Offset: r.End()}) {
		if c.Offset > pos && r.State != firmware.Erased {
			section := io.NewSectionReader(img, pos, c.Offset-pos)
			if err := s.stream(section, where, "", pos-r.Offset); err != nil {
				return err
			}
		}
		if c.Offset < r.End() {
			if err := s.region(img, c, where, depth); err != nil {
				return err
			}
		}
		pos = c.End()
	}
	return nil
}

func regionName(r *firmware.Region) string {
	name := r.Format
	if name == "" {
		name = r.State.String()
	}
	return fmt.Sprintf("%s@%#x", name, r.Offset)
}

func (s *scan) files(fsys fs.FS, where string, depth int) error {
	return fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if stop := s.stops(err); stop != nil {
			return stop
		}
		if err != nil {
			s.problem("%s: %v", path.Join(where, printable(name)), err)
			return nil
		}
		if !d.Type().IsRegular() {
			return nil
		}
		return s.file(fsys, name, path.Join(where, printable(name)), depth)
	})
}

// stops returns the errors that end a scan, and nil for one that concerns a
// single file.
func (s *scan) stops(err error) error {
	if s.ctx.Err() != nil {
		return s.ctx.Err()
	}
	if errors.Is(err, budget.ErrExceeded) {
		return err
	}
	return nil
}

func (s *scan) file(fsys fs.FS, name, where string, depth int) error {
	f, err := fsys.Open(name)
	if err != nil {
		s.problem("%s: %v", where, err)
		return s.stops(err)
	}
	defer f.Close()
	if err := s.stream(f, where, path.Base(name), 0); err != nil {
		return err
	}
	ra, ok := f.(io.ReaderAt)
	info, err := f.Stat()
	if !ok || err != nil || !isPacked(ra) {
		return s.stops(err)
	}
	return s.archive(ra, info.Size(), where, depth+1)
}

// packed are the magics of what is worth unpacking inside a file system: streams
// that applications and their tars are shipped in, and images.
var packed = []string{"\x1f\x8b\x08", "\xfd7zXZ\x00", "BZh", "\x28\xb5\x2f\xfd", "\x5d\x00\x00", "\x89LZO", "\x04\x22\x4d\x18", "hsqs", "070701", "\x27\x05\x19\x56"}

func isPacked(r io.ReaderAt) bool {
	var head [8]byte
	n, _ := r.ReadAt(head[:], 0)
	return slices.ContainsFunc(packed, func(magic string) bool { return strings.HasPrefix(string(head[:n]), magic) })
}

// archive analyses a file of a file system as an image of its own, and gives
// back the memory it took.
func (s *scan) archive(r io.ReaderAt, size int64, where string, depth int) error {
	if err := s.meter.Depth(depth); err != nil {
		s.problem("%s: %v", where, err)
		return nil
	}
	img, err := firmware.Open(s.ctx, r, size, firmware.WithMeter(s.meter))
	defer img.Release()
	if s.ctx.Err() != nil {
		return s.ctx.Err()
	}
	if err != nil {
		// One bomb among the files must not hide the files behind it.
		s.problem("%s: %v", where, err)
		if s.spent == nil {
			s.spent = err
		}
	}
	for _, region := range img.Regions {
		if region.Contents == nil && region.FS == nil {
			continue
		}
		if err := s.region(img, region, where, depth); err != nil {
			return err
		}
	}
	return nil
}

func (s *scan) problem(format string, args ...any) {
	if len(s.report.Problems) < maxProblems {
		s.report.Problems = append(s.report.Problems, fmt.Sprintf(format, args...))
	}
}

// printable keeps a name from an image on one line and a terminal unharmed.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == '\uFFFD' {
			return '.'
		}
		return r
	}, s)
}
