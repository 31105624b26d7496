package firmware

import (
	"errors"
	"fmt"
	"sync"
)

// ErrNotFormat is wrapped by a Parse that does not recognise the bytes as its
// format, or not as a sane one.
var ErrNotFormat = errors.New("not this format")

// Format reads one format.
type Format struct {
	Name   string
	Source string  // where the layout is specified
	Magics []Magic // candidates for the sweep

	// For the table of formats, in a few words each: what the format is, what in
	// it guards its bytes, and what in it speaks for their origin and is worth.
	About, Integrity, Authenticity string

	// Every, when positive, also makes each multiple of it a candidate, counted
	// from the start of the extent. It is for formats without magic; their
	// Parse must turn other bytes down cheaply.
	Every int64

	// Parse reads the format at the window's first byte. A nil region and an
	// error that wraps ErrNotFormat say that it is not there. A region that was
	// recognised but is broken is returned with its Problems. A region beside
	// an error is kept; that of the context ends the analysis, and that of a
	// spent budget is what Open returns in the end, after reading on with what
	// the budget still allows.
	//
	// Parse sets Size (at most the window's) and need not set Offset.
	// Children have absolute offsets, see Window.Offset.
	Parse func(w *Window) (*Region, error)

	// Adopt is for formats that show only in their midst (a U-Boot binary is
	// known by a banner somewhere in its code). It is given the partition of a
	// whole extent that the sweep ended with and returns one in which
	// neighbouring parts are joined under a region of its own. Nil means none.
	Adopt func(w *Window, parts []*Region) []*Region
}

// Magic is a byte string at a fixed offset from the start of a format. It is at
// least two bytes long.
type Magic struct {
	Offset int64
	Bytes  string
}

var registry struct {
	sync.RWMutex
	formats []Format
}

// Register adds a format, as the init function of its package does. Where two
// formats recognise the same bytes equally well, the earlier one is believed.
// Register panics on a format without name, entry point or with a bad magic:
// that is a mistake in the program.
func Register(f Format) {
	if f.Name == "" || (f.Parse == nil && f.Adopt == nil) {
		panic("firmware: a format needs a name and a Parse or Adopt function")
	}
	if f.Parse == nil && (len(f.Magics) > 0 || f.Every > 0) {
		panic(fmt.Sprintf("firmware: format %s has candidates but no Parse function", f.Name))
	}
	for _, m := range f.Magics {
		if len(m.Bytes) < 2 || m.Offset < 0 {
			panic(fmt.Sprintf("firmware: format %s: magic %q at %d is too short or before the start", f.Name, m.Bytes, m.Offset))
		}
	}
	registry.Lock()
	defer registry.Unlock()
	registry.formats = append(registry.formats, f)
}

// Formats returns the registered formats in the order of registration.
func Formats() []Format {
	registry.RLock()
	defer registry.RUnlock()
	return append([]Format(nil), registry.formats...)
}
