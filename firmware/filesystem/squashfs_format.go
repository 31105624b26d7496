package filesystem

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"assay/firmware"
)

func init() {
	firmware.Register(firmware.Format{
		Name:   "squashfs",
		Source: "kernel Documentation/filesystems/squashfs.rst; squashfs-tools 4.5.1 squashfs_fs.h, squashfs_compat.h",
		Magics: squashCandidates(),
		Parse:  parseSquashFS,

		About:        "compressed read-only file system",
		Integrity:    "none; its structure is walked whole",
		Authenticity: "none",
	})
}

func squashCandidates() (list []firmware.Magic) {
	for _, magic := range slices.Sorted(maps.Keys(squashMagics)) {
		list = append(list, firmware.Magic{Bytes: magic})
	}
	return list
}

// mksquashfs pads the image to this, and flash tools count on it.
const squashPadding = 4 << 10

func parseSquashFS(w *firmware.Window) (*firmware.Region, error) {
	s, err := NewSquashFS(w, w.Size(), w.Meter())
	if errors.Is(err, ErrNotSquashFS) {
		return nil, fmt.Errorf("%w: %w", firmware.ErrNotFormat, err)
	}
	var version *SquashFSVersionError
	if errors.As(err, &version) && version.Major < 4 {
		return parseOldSquashFS(w)
	}
	if err != nil {
		return unreadSquashFS(w, err)
	}
	r := &firmware.Region{Format: "squashfs", Size: s.super.used, State: firmware.Parsed, Role: firmware.RoleData, FS: s}
	s.describe(r)
	if err := padRegion(w, r, squashPadding); err != nil {
		return r, err
	}
	survey, err := s.Prove(w.Context())
	survey.describe(r)
	if err != nil {
		r.AddProblem("its tables were not walked to their end: %v", err)
		return r, err
	}
	if len(r.Problems) == 0 {
		r.State = firmware.Proven
	}
	r.AddCheck("walk of the inode and directory tables", len(r.Problems) == 0, "%d entries; contents of files are not covered", survey.total())
	if looksLikeRoot(s) {
		r.Role = firmware.RoleRootFS
	}
	return r, nil
}

// parseOldSquashFS reads versions 1 to 3.
func parseOldSquashFS(w *firmware.Window) (*firmware.Region, error) {
	s, err := NewOldSquashFS(w.Context(), w, w.Size(), w.Meter())
	if errors.Is(err, ErrNotSquashFS) {
		return nil, fmt.Errorf("%w: %w", firmware.ErrNotFormat, err)
	}
	if s == nil {
		return unreadSquashFS(w, err)
	}
	r := &firmware.Region{Format: "squashfs", Size: s.Size, State: firmware.Parsed, Role: firmware.RoleData, FS: s}
	r.AddField("version", "%d.%d", s.Major, s.Minor)
	r.AddField("byte order", "%s", map[bool]string{false: "little endian", true: "big endian"}[s.BigEndian])
	if magic, readErr := w.Bytes(0, 4); readErr == nil && string(magic) != "hsqs" && string(magic) != "sqsh" {
		r.AddField("variant", "%s", squashMagics[string(magic)])
	}
	r.AddField("created", "%s", s.Created.Format(time.RFC3339))
	r.AddField("compressor", "%s", s.Compressor)
	r.AddField("block size", "%d", s.BlockSize)
	r.AddField("bytes used", "%d", s.Size)
	r.AddField("inodes", "%d", s.Inodes)
	s.Survey.describe(r)
	if padErr := padRegion(w, r, squashPadding); padErr != nil {
		return r, padErr
	}
	if err != nil {
		r.AddProblem("its tables were not walked to their end: %v", err)
		return r, err
	}
	if len(r.Problems) == 0 {
		r.State = firmware.Proven
	}
	r.AddCheck("walk of the inode and directory tables", len(r.Problems) == 0, "%d entries; contents of files are not covered", s.Survey.total())
	if looksLikeRoot(s) {
		r.Role = firmware.RoleRootFS
	}
	return r, nil
}

// unreadSquashFS is for a superblock that is one and leads nowhere: another
// version, or broken.
func unreadSquashFS(w *firmware.Window, err error) (*firmware.Region, error) {
	r := &firmware.Region{Format: "squashfs", Size: w.Size(), Problems: []string{err.Error()}}
	var version *SquashFSVersionError
	if errors.As(err, &version) {
		r.AddField("version", "%d.%d", version.Major, version.Minor)
		r.AddField("byte order", "%s", map[bool]string{false: "little endian", true: "big endian"}[version.BigEndian])
		if version.Size > squashSuper && version.Size <= w.Size() {
			r.Size = version.Size
			return r, padRegion(w, r, squashPadding)
		}
		r.AddProblem("its superblock says %d bytes, and %d are there", version.Size, w.Size())
		return r, nil
	}
	// The claimed size says at least where to go on.
	head, readErr := w.Bytes(0, squashSuper)
	if readErr != nil {
		return r, readErr
	}
	if used := parseSuperblock(head).used; used >= squashSuper && used < w.Size() {
		r.Size = used
	}
	if fatal(w.Context(), err) {
		return r, err
	}
	return r, nil
}

func (s *SquashFS) describe(r *firmware.Region) {
	b := &s.super
	r.AddField("version", "4.0")
	r.AddField("created", "%s", b.created.Format(time.RFC3339))
	r.AddField("compressor", "%s", squashMethods[b.compression].name)
	r.AddField("compressor options", "%s", s.options)
	r.AddField("block size", "%d", b.blockSize)
	r.AddField("bytes used", "%d", b.used)
	r.AddField("inodes", "%d", b.inodes)
	r.AddField("fragments", "%d", b.fragments)
	r.AddField("owners", "%d", b.ids)
	r.AddField("flags", "%s", s.flagNames())
}

// padRegion takes the bytes up to a multiple of align, counted from the
// region's start, into the region when all of them are zeros, and says so.
func padRegion(w *firmware.Window, r *firmware.Region, align int64) error {
	n := min(-r.Size&(align-1), w.Size()-r.Size)
	p, err := w.Bytes(r.Size, n)
	if err != nil {
		return err
	}
	for _, b := range p {
		if b != 0 {
			return nil
		}
	}
	if n > 0 {
		r.AddField("padding", "%d zeros to a multiple of %d", n, align)
		r.Size += n
	}
	return nil
}
