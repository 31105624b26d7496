// Package firmware reads camera firmware: it partitions an image into regions
// that add up to its size, each of them proven, parsed, residue, erased or
// opaque.
//
// Formats register themselves as image formats do in the standard library:
//
//	import (
//		"assay/firmware"
//		_ "assay/firmware/all"
//	)
//
// An image is read in three passes. Partition tables found in it (mtdparts) are
// claims, which may be false. Each claimed place is proven by what is found
// there, or the claim is contradicted. The gaps are then swept once, byte by
// byte, and the sweep resumes behind each region it finds, so that what lies
// inside a region is only ever reported as part of it. In the end the files of all
// file systems are read, each once: they are hashed, those that are images are
// analysed as such, and a visitor sees their bytes.
//
// Nothing is executed, written or extracted, no name from an image becomes a
// path, and no check made here says who made an image: a checksum that holds is
// worth "integrity only". Images are hostile: all reading is bounded by a
// budget.
package firmware

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"assay/firmware/budget"
)

// Option adjusts Open.
type Option func(*options)

type options struct {
	meter    *budget.Meter
	progress func(done, total int64)
	visit    func(Visit)
	noDigest bool
}

// WithLimits bounds the analysis; the default is budget's.
func WithLimits(l budget.Limits) Option {
	return func(o *options) { o.meter = budget.New(l) }
}

// WithMeter spends from a meter that the caller shares with other readers.
func WithMeter(m *budget.Meter) Option {
	return func(o *options) { o.meter = m }
}

// WithoutDigest leaves the image's own SHA256 empty, for a caller who has [Restorer]
// make it where the image goes.
func WithoutDigest() Option {
	return func(o *options) { o.noDigest = true }
}

// WithProgress has f called, from Open's goroutine, as the sweep of the outermost
// image moves on. done never decreases and ends at total, the image's size.
func WithProgress(f func(done, total int64)) Option {
	return func(o *options) { o.progress = f }
}

// Open analyses size bytes of r. It returns an image whatever the input: what
// cannot be read is Opaque with a Problem. The error is for reading r itself,
// for ctx, and for a spent budget (it then wraps budget.ErrExceeded); the image
// beside it holds what was found before and still adds up.
//
// r is used for as long as the image is.
func Open(ctx context.Context, r io.ReaderAt, size int64, opts ...Option) (*Image, error) {
	o := options{}
	for _, opt := range opts {
		opt(&o)
	}
	if o.meter == nil {
		o.meter = budget.New(budget.Limits{})
	}
	if size < 0 {
		return &Image{src: r}, fmt.Errorf("firmware: an image cannot have %d bytes", size)
	}
	s := &session{ctx: ctx, meter: o.meter, table: currentTable(), progress: o.progress, visit: o.visit}
	img := s.newImage(cached(r, size), size)
	var all, parts unsealed
	if !o.noDigest {
		all.image(img)
	}
	whole := s.seal(all.list) // beside all that follows
	s.analyse(img, 0, true)
	parts.regions(img, img.Regions)
	rest := s.seal(parts.list)
	s.readFiles(img, place{owner: img})
	rest.finish()
	whole.finish()
	s.closed.Store(true)
	if err := s.err(); err != nil {
		return img, fmt.Errorf("firmware: %w", err)
	}
	if o.progress != nil {
		o.progress(size, size)
	}
	return img, nil
}

// image analyses one image: a file, or one that was unpacked.
func (s *session) image(r io.ReaderAt, size int64, depth int, flash bool) *Image {
	img := s.newImage(r, size)
	s.analyse(img, depth, flash)
	return img
}

func (s *session) newImage(r io.ReaderAt, size int64) *Image {
	return &Image{Size: size, src: &source{s: s, r: r, size: size}, meter: s.meter}
}

// analyse partitions an image. In a flash, erase blocks count and partition tables
// are claims.
func (s *session) analyse(img *Image, depth int, flash bool) {
	src := img.src.(*source)
	whole := &extent{source: src, depth: depth, end: img.Size, flash: flash}
	if whole.flash {
		whole.claims = src.survey()
		fit(whole.claims, img.Size)
	}
	img.Regions = whole.partition()
	if whole.flash {
		img.Claims = append(verdicts(img, whole.claims), stated(img)...)
	}
	img.held = whole.held
	if err := s.reason(); err != nil {
		img.Problems = addProblem(img.Problems, "the analysis ended early: %v", err)
	}
}

// survey collects the partition tables that claim to describe an image.
func (src *source) survey() []layout {
	var found layouts
	err := src.chunks(0, src.size, maxLayout, func(off int64, p []byte, fresh int) { found.search(off, p, fresh) })
	if err != nil {
		return nil
	}
	return found.list
}

// session is the state of one Open.
type session struct {
	ctx      context.Context
	meter    *budget.Meter
	table    *table
	progress func(done, total int64)

	visit func(Visit)
	runs  runSums

	// stopped ends the analysis: the context, reading the image, too many regions.
	// spent is the first other budget error; readers go on failing by themselves,
	// so that what needs no budget is still found.
	mu             sync.Mutex
	stopped, spent error
	halted         flag // stopped is set
	workers        flag // the processors are busy with the files of a file system
	closed         flag
}

// note records an error that a format ran into, if it concerns the whole
// analysis.
func (s *session) note(err error) {
	switch {
	case err == nil:
	case s.ctx.Err() != nil:
		s.stop(s.ctx.Err())
	case errors.Is(err, budget.ErrExceeded):
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.spent == nil {
			s.spent = err
		}
	}
}

func (s *session) stop(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped == nil {
		s.stopped = err
		s.halted.Store(true)
	}
}

// reason is why the analysis was stopped, or nil.
func (s *session) reason() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopped
}

func (s *session) err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped != nil {
		return s.stopped
	}
	return s.spent
}
