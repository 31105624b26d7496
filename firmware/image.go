package firmware

import (
	"io"

	"assay/firmware/budget"
)

// Image is an analysed image. Regions partition [0, Size): sorted, without gap
// or overlap.
type Image struct {
	Size     int64     `json:"size"`
	SHA256   string    `json:"sha256"`
	Regions  []*Region `json:"regions"`
	Claims   []Claim   `json:"claims,omitempty"`
	Problems []string  `json:"problems,omitempty"`

	src   io.ReaderAt
	held  int64 // what the images unpacked from this one occupy, as charged
	meter *budget.Meter
}

// ReadAt reads the image's bytes.
func (img *Image) ReadAt(p []byte, off int64) (int, error) {
	return io.NewSectionReader(img.src, 0, img.Size).ReadAt(p, off)
}

// Section returns the bytes of a region of this image. For a region of another
// image it returns that image's extent over these bytes, which is never useful.
func (img *Image) Section(r *Region) *io.SectionReader {
	return io.NewSectionReader(img, r.Offset, r.Size)
}

// Tally counts the bytes of the image by state. Where a region has children
// their states count for their bytes and the region's own for the rest. What
// regions unpack to is not counted: the numbers sum to Size.
func (img *Image) Tally() map[State]int64 {
	sum := make(map[State]int64)
	tally(img.Regions, sum)
	return sum
}

func tally(regions []*Region, sum map[State]int64) int64 {
	var total int64
	for _, r := range regions {
		sum[r.State] += r.Size - tally(r.Children, sum)
		total += r.Size
	}
	return total
}

// Walk calls fn for each region, depth first, a region before its children and
// those before what it unpacks to. path holds the regions around r, outermost
// first, and is only valid during the call; holder is the image that r's
// offsets count in. An error from fn ends the walk and is returned.
func (img *Image) Walk(fn func(path []*Region, holder *Image, r *Region) error) error {
	return walk(nil, img, img.Regions, fn)
}

func walk(path []*Region, holder *Image, regions []*Region, fn func([]*Region, *Image, *Region) error) error {
	for _, r := range regions {
		if err := fn(path, holder, r); err != nil {
			return err
		}
		inner := append(path, r)
		if err := walk(inner, holder, r.Children, fn); err != nil {
			return err
		}
		if r.Contents == nil {
			continue
		}
		if err := walk(inner, r.Contents, r.Contents.Regions, fn); err != nil {
			return err
		}
	}
	return nil
}

// Release gives back the memory that what was unpacked from the image is charged
// with. The contents stay readable while they are referenced, so it is for a
// caller who is done with the image.
func (img *Image) Release() {
	if img.meter != nil {
		img.meter.Release(img.held)
	}
	img.held = 0
}
