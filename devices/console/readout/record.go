package readout

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"assay/attest"
)

// Recorded reads the record beside a dump without changing it: how it was read,
// and what of it is not there. ok tells whether there is a record.
func Recorded(path string) (h Header, missing []attest.Extent, ok bool, err error) {
	r, err := os.Open(path + RecordSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		return h, nil, false, nil
	}
	if err != nil {
		return h, nil, false, err
	}
	defer r.Close()
	var f File
	if _, err := f.parse(r); err != nil {
		return h, nil, false, fmt.Errorf("%s: %w", path+RecordSuffix, err)
	}
	at := int64(0)
	for _, p := range append(f.pieces, Piece{Extent: attest.Extent{Offset: f.Header.Size}}) {
		if p.Offset > at {
			missing = append(missing, attest.Extent{Offset: at, Size: p.Offset - at})
		}
		at = max(at, p.Offset+p.Size)
	}
	return f.Header, missing, true, nil
}
