package firmware

import (
	"fmt"
	"io"
)

// View analyses size bytes that r puts together from the window's own: blocks
// that are out of order, or of which only a part counts. Nothing is copied, and
// r is used for as long as the image is. The caller has charged the meter for
// what r yields beyond the bytes of the window. name introduces the error,
// which is a spent budget. Several views may be analysed at the same time.
func (w *Window) View(name string, r io.ReaderAt, size int64) (*Image, error) {
	s := w.x.s
	if err := s.meter.Depth(w.x.depth + 1); err != nil {
		s.note(err)
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	img := s.image(r, size, w.x.depth+1, false)
	w.held.Add(img.held)
	return img, nil
}
