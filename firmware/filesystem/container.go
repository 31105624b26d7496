package filesystem

import (
	"io"

	"assay/firmware"
	"assay/firmware/budget"
)

// Listing is a file system put together from files that a container lists with
// whole paths. It is for the containers that other packages read: missing
// directories are implied, and what cannot be in a tree is left out and a
// problem of the survey. It may be used from several goroutines once it is put
// together.
type Listing struct {
	tree
	Survey *Survey

	archive *archive
}

// NewListing returns a file system without files.
func NewListing(meter *budget.Meter) *Listing {
	a := newArchive(meter)
	return &Listing{tree: a.tree(), Survey: &a.survey, archive: a}
}

// Add puts a regular file at a path: size bytes of r from off on. The error is a
// spent budget.
func (l *Listing) Add(path string, r io.ReaderAt, off, size int64) error {
	if err := l.archive.meter.Entries(1); err != nil {
		return err
	}
	return l.archive.add(path, &archiveNode{Inode: Inode{Number: uint64(off), Mode: typeFile | 0o644, Links: 1, Size: size}, r: r, off: off})
}

// Describe makes the files those of a region, with the survey's fields and
// problems.
func (l *Listing) Describe(r *firmware.Region) {
	l.archive.finish()
	l.Survey.describe(r)
	r.FS = l
}
