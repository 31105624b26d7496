package camera

import (
	"io"
	"io/fs"

	"assay/firmware"
)

const (
	zipFormat  = "zip" // as package filesystem registers it
	maxListed  = 64    // members of a package that are described
	maxScript  = 64 << 10
	shownWords = 300
)

// adoptZips puts a region around each zip archive whose members describe says
// are those of a maker's package. It returns nil when there is none.
func adoptZips(w *firmware.Window, parts []*firmware.Region, describe func(w *firmware.Window, zip *firmware.Region) *firmware.Region) []*firmware.Region {
	var joined []*firmware.Region
	for i, p := range parts {
		if p.Format != zipFormat || p.FS == nil {
			continue
		}
		r := describe(w, p)
		if r == nil {
			continue
		}
		if joined == nil {
			joined = append(joined, parts...)
		}
		r.Offset, r.Size, r.State, r.Children = p.Offset, p.Size, p.State, []*firmware.Region{p}
		if p.State != firmware.Proven {
			r.AddProblem("the zip in it is %s", p.State)
		}
		joined[i] = r
	}
	return joined
}

// member reads up to most bytes of a package's file. What cannot be read is left
// to the zip, which says so.
func member(files fs.FS, name string, most int64) (b []byte, size int64) {
	f, err := files.Open(name)
	if err != nil {
		return nil, 0
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return nil, 0
	}
	b, _ = io.ReadAll(io.LimitReader(f, most))
	return b, info.Size()
}

// short cuts text that an image can make as long as it likes.
func short(s string) string {
	if len(s) > shownWords {
		return s[:shownWords] + "..."
	}
	return s
}
