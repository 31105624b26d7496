// Package flash has the channels that go round the unit's software: a
// [Programmer] on its flash chip, driven by flashrom, and a [Dump] that was read
// earlier, by a programmer, by another tool, or by this one.
//
// A dump says nothing of how it was read, so its acquisition is what the
// operator states in the target, and A0 where nothing is stated. A dump that was
// cut off is found out by the analysis of its content, not here.
package flash

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"assay/attest"
	"assay/devices"
)

// Dump is a file with a dump. It is a [devices.FlashReader] with one bank.
type Dump struct {
	target devices.Target
	file   *os.File
	size   int64
}

var _ devices.FlashReader = (*Dump)(nil)

// Open opens the file of a target. The file must not change while it is read.
func Open(t devices.Target) (*Dump, error) {
	f, err := os.Open(t.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("dump %s: %w: no such file", t.Path, devices.ErrUnreachable)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("dump %s: %w: this user may not read it", t.Path, devices.ErrAccess)
	case err != nil:
		return nil, fmt.Errorf("dump: %w: %w", devices.ErrUnreachable, err)
	}
	size, err := sizeOf(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("dump %s: %w", t.Path, err)
	}
	return &Dump{target: t, file: f, size: size}, nil
}

func sizeOf(f *os.File) (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, fmt.Errorf("%w: %w", devices.ErrUnreachable, err)
	}
	switch {
	case info.IsDir():
		return 0, fmt.Errorf("%w: it is a directory; name one file", devices.ErrNotUnit)
	case !info.Mode().IsRegular():
		return 0, fmt.Errorf("%w: it is not a regular file; copy the device's content into one", devices.ErrNotUnit)
	case info.Size() == 0:
		return 0, fmt.Errorf("%w: it is empty; read the flash again", devices.ErrMalformed)
	}
	return info.Size(), nil
}

// Identify claims the dump's size, which is all that a file says.
func (d *Dump) Identify(ctx context.Context, sink devices.Sink) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	sink.Claim(attest.Claim{Subject: attest.SubjectFlash, Name: "size", Value: fmt.Sprint(d.size), Source: "dump file size", Acquisition: d.target.Acquired})
	return nil
}

// Banks returns the whole file as one bank.
func (d *Dump) Banks(context.Context) ([]devices.Bank, error) {
	return []devices.Bank{{Name: "dump", Size: d.size, Acquisition: d.target.Acquired}}, nil
}

// Size is the number of bytes in the dump.
func (d *Dump) Size() int64 { return d.size }

// ReaderAt reads the dump where it is, so that no copy of it is needed.
func (d *Dump) ReaderAt() io.ReaderAt { return io.NewSectionReader(d.file, 0, d.size) }

const chunk = 1 << 20

// ReadBank copies the dump. The rest of a file that shrank or cannot be read is
// named in a [*devices.UnreadError].
func (d *Dump) ReadBank(ctx context.Context, b devices.Bank, w io.WriterAt, progress devices.Progress) error {
	buf := make([]byte, min(chunk, d.size))
	for off := int64(0); off < d.size; {
		if err := ctx.Err(); err != nil {
			return d.unread(b, off, err)
		}
		n, err := d.file.ReadAt(buf[:min(int64(len(buf)), d.size-off)], off)
		if _, werr := w.WriteAt(buf[:n], off); werr != nil {
			return fmt.Errorf("dump %s: writing its copy at %#x: %w", d.target.Path, off, werr)
		}
		if off += int64(n); off < d.size && err != nil {
			return d.unread(b, off, fmt.Errorf("dump %s: %w: reading at %#x: %w", d.target.Path, devices.ErrUnreachable, off, err))
		}
		if progress != nil {
			progress(off, d.size)
		}
	}
	return nil
}

func (d *Dump) unread(b devices.Bank, off int64, cause error) error {
	return &devices.UnreadError{Bank: b.Name, Extents: []attest.Extent{{Offset: off, Size: d.size - off}}, Cause: cause}
}

// Close closes the file.
func (d *Dump) Close() error { return d.file.Close() }
