// Package analysis reads an image: its regions, its files, its inventory, and on
// request a copy of all of them in a folder. It does so in this process or in a
// confined child of it, with the same result.
package analysis

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"assay/firmware"
	_ "assay/firmware/all" // registers the formats
	"assay/firmware/budget"
	"assay/firmware/extract"
	"assay/firmware/inventory"
	"assay/firmware/lineage"
)

// Request says what to read.
type Request struct {
	File         *os.File // the image is Size bytes of it from Offset on
	Offset, Size int64
	Limits       budget.Limits
	Extract      string // an empty folder to extract to; none when empty
	ExtractBytes int64  // how much may be extracted; the default of extract when zero
	Progress     func(done, total int64)
	NoInventory  bool // regions and files are enough
	Lineage      bool // also make its profile
	Confine      bool // in a child, where that can be

	undigested bool // the image's own digest is made elsewhere
}

// Result is what was found. Where a budget ended a part of the work, what was
// found before is there, and the error wraps [budget.ErrExceeded].
type Result struct {
	Image     *firmware.Image
	Inventory *inventory.Report
	Extracted *extract.Summary
	Lineage   *lineage.Profile

	Ended          error // why the analysis is not whole
	InventoryEnded error
	ExtractEnded   error

	Sandbox string // how the analysis was confined
}

// Err joins what kept the result from being whole.
func (r *Result) Err() error { return errors.Join(r.Ended, r.InventoryEnded, r.ExtractEnded) }

// Run analyses an image. The error is for what left no result: reading the file
// failed, the context ended, or the child was stopped.
//
// The image's file must stay open for as long as the result's image is read.
func Run(ctx context.Context, q Request) (*Result, error) {
	if q.Confine {
		if r, err := confined(ctx, q); !errors.Is(err, errCannotConfine) {
			return r, err
		}
	}
	var root *os.Root
	if q.Extract != "" {
		var err error
		if root, err = openFolder(q.Extract); err != nil {
			return nil, err
		}
		defer root.Close()
	}
	r, err := here(ctx, io.NewSectionReader(q.File, q.Offset, q.Size), q, root)
	if r != nil {
		r.Sandbox = "none"
	}
	return r, err
}

// openFolder makes a folder, or takes one that is there and empty.
func openFolder(name string) (*os.Root, error) {
	if err := os.MkdirAll(name, 0o700); err != nil {
		return nil, err
	}
	return os.OpenRoot(name)
}

// here analyses an image in this process.
func here(ctx context.Context, image io.ReaderAt, q Request, root *os.Root) (*Result, error) {
	taken, profile := inventory.New(ctx), lineage.NewCollector()
	var visitors []func(firmware.Visit)
	if !q.NoInventory {
		visitors = append(visitors, taken.Visit)
	}
	if q.Lineage {
		visitors = append(visitors, profile.Visit)
	}
	opts := []firmware.Option{firmware.WithLimits(q.Limits)}
	if q.Progress != nil {
		opts = append(opts, firmware.WithProgress(q.Progress))
	}
	if q.undigested {
		opts = append(opts, firmware.WithoutDigest())
	}
	var x *extract.Extractor
	if root != nil {
		var err error
		if x, err = extract.New(ctx, root, extract.Options{Bytes: q.ExtractBytes}); err != nil {
			return nil, fmt.Errorf("extract to %s: %w", q.Extract, err)
		}
		visitors = append(visitors, x.Visit)
	}
	opts = append(opts, firmware.WithVisitor(func(v firmware.Visit) {
		for _, visit := range visitors {
			visit(v)
		}
	}))
	img, err := firmware.Open(ctx, image, q.Size, opts...)
	r := &Result{Image: img, Ended: err}
	if x != nil {
		r.Extracted, r.ExtractEnded = x.Finish(img, err)
	}
	if err != nil && (img == nil || !errors.Is(err, budget.ErrExceeded)) {
		return nil, err
	}
	if q.Lineage {
		r.Lineage = profile.Profile(img)
	}
	if q.NoInventory {
		r.Inventory = &inventory.Report{}
		return r, nil
	}
	r.Inventory, err = taken.Report(img)
	if err != nil && (r.Inventory == nil || !errors.Is(err, budget.ErrExceeded)) {
		return nil, err
	}
	r.InventoryEnded = err
	return r, nil
}
