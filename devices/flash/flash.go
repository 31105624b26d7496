// Package flash reads dumps of a unit's flash that were made earlier, with a
// programmer's clip or through the unit itself. Who read a dump, and how, is
// what the operator states; nothing in a file shows it.
package flash

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"assay/attest"
	"assay/devices"
)

// Dump is a file with an earlier dump, as a channel.
type Dump struct {
	f      *os.File
	size   int64
	target devices.Target
}

// Open opens the file that the target names.
func Open(t devices.Target) (*Dump, error) {
	f, err := os.Open(t.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w: there is no file %s", devices.ErrUnreachable, t.Path)
	case err != nil:
		return nil, fmt.Errorf("%w: %v", devices.ErrAccess, err)
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("%w: %s is not a file", devices.ErrNotUnit, t.Path)
	}
	if err == nil && st.Size() == 0 {
		err = fmt.Errorf("%w: %s is empty", devices.ErrMalformed, t.Path)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return &Dump{f, st.Size(), t}, nil
}

// Identify gives nothing: what a dump says, its analysis finds.
func (d *Dump) Identify(ctx context.Context, _ devices.Sink) error { return ctx.Err() }

// Banks returns the whole file as one flash.
func (d *Dump) Banks(context.Context) ([]devices.Bank, error) {
	return []devices.Bank{{Name: filepath.Base(d.target.Path), Size: d.size, Acquisition: d.target.Acquired}}, nil
}

// ReadBank copies the file.
func (d *Dump) ReadBank(ctx context.Context, b devices.Bank, w io.WriterAt, progress devices.Progress) error {
	buf := make([]byte, 1<<20)
	for off := int64(0); off < d.size; {
		if err := ctx.Err(); err != nil {
			return unread(b, off, d.size, err)
		}
		n, err := d.f.ReadAt(buf[:min(int64(len(buf)), d.size-off)], off)
		if n > 0 {
			if _, err := w.WriteAt(buf[:n], off); err != nil {
				return err
			}
			off += int64(n)
			if progress != nil {
				progress(off, d.size)
			}
		}
		if err != nil && off < d.size {
			return unread(b, off, d.size, err)
		}
	}
	return nil
}

func unread(b devices.Bank, from, size int64, cause error) error {
	return &devices.UnreadError{Bank: b.Name, Extents: []attest.Extent{{Offset: from, Size: size - from}}, Cause: cause}
}

// Close closes the file.
func (d *Dump) Close() error { return d.f.Close() }
