package firmware

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
)

// Restore gives an image that was analysed elsewhere and came here as JSON the
// bytes that it is of. It trusts the analysis with what formats it found and no
// more: that regions partition each image, that the digests of the outermost
// image and its regions are those of the bytes, and that what is said to be
// erased is, are checked anew. What is unpacked cannot be read in a restored
// image, nor can the files of its file systems.
func Restore(img *Image, r io.ReaderAt, size int64) error {
	if img == nil || img.Size != size {
		return errors.New("firmware: the analysis is of another image")
	}
	img.src, img.meter, img.held = r, nil, 0
	if err := img.sound(0); err != nil {
		return fmt.Errorf("firmware: %w", err)
	}
	if img.SHA256 == "" && len(img.Problems) > 0 { // the analysis ended before it was known
		return nil
	}
	return verified(img)
}

// maxRestored bounds how deep regions and images stand in each other, and so how
// often a byte is hashed: deeper than the default budget lets an analysis go.
const maxRestored = 100

// sound checks that regions partition an image, and its parts.
func (img *Image) sound(depth int) error {
	if img.Size < 0 {
		return fmt.Errorf("an image of %d bytes", img.Size)
	}
	end, err := inOrder(img.Regions, 0, img.Size, depth)
	if err == nil && end != img.Size {
		err = fmt.Errorf("regions end at %#x of %#x", end, img.Size)
	}
	return err
}

// inOrder checks that regions are sorted and inside their holder, and returns
// where they end. Those of an image leave no gap.
func inOrder(list []*Region, start, limit int64, depth int) (int64, error) {
	if depth > maxRestored {
		return 0, errors.New("regions too deep")
	}
	at := start
	for _, r := range list {
		if r == nil || r.Size < 0 || r.Offset != at || r.Size > limit-at {
			return 0, fmt.Errorf("a region that does not begin at %#x or ends beyond %#x", at, limit)
		}
		at = r.End()
		if err := r.sound(depth); err != nil {
			return 0, err
		}
	}
	return at, nil
}

func (r *Region) sound(depth int) error {
	r.FS = nil
	at := r.Offset
	for _, c := range r.Children {
		if c == nil || c.Size < 0 || c.Offset < at || c.Offset > r.End() || c.Size > r.End()-c.Offset {
			return fmt.Errorf("the region at %#x has a part outside it or behind another", r.Offset)
		}
		at = c.End()
		if depth > maxRestored {
			return errors.New("regions too deep")
		}
		if err := c.sound(depth + 1); err != nil {
			return err
		}
	}
	if r.Contents != nil {
		r.Contents.src = dropped{}
		if err := r.Contents.sound(depth + 1); err != nil {
			return err
		}
	}
	for _, f := range r.Files {
		if f == nil || f.Size < 0 {
			return errors.New("a file without a name or a size")
		}
		if f.Contents == nil {
			continue
		}
		f.Contents.src = dropped{}
		if err := f.Contents.sound(depth + 1); err != nil {
			return err
		}
	}
	return nil
}

// verified checks the outermost image and its regions against its bytes, with all
// processors.
func verified(img *Image) error {
	whole := &Region{Size: img.Size, SHA256: img.SHA256}
	todo := withParts([]*Region{whole}, img.Regions)
	// The longest first, so that no processor is left with it at the end.
	slices.SortStableFunc(todo, func(a, b *Region) int { return compare(b.Size, a.Size) })
	var runs runSums
	var next atomic.Int64
	var failed atomic.Pointer[error]
	work := func() {
		buf := make([]byte, chunkSize)
		for failed.Load() == nil {
			i := int(next.Add(1)) - 1
			if i >= len(todo) {
				return
			}
			err := todo[i].verify(img, &runs, buf)
			if err != nil && todo[i] == whole {
				err = fmt.Errorf("firmware: the analysis is of other bytes: %w", err)
			}
			if err != nil {
				failed.CompareAndSwap(nil, &err)
			}
		}
	}
	var wait sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(todo)) - 1 {
		wait.Go(work)
	}
	work()
	wait.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

// withParts lists the regions of the outermost image that say something about its
// bytes.
func withParts(list, regions []*Region) []*Region {
	for _, r := range regions {
		if r.SHA256 != "" || r.State == Erased {
			list = append(list, r)
		}
		list = withParts(list, r.Children)
	}
	return list
}

// verify checks a region's digest, and that it is erased when it says so.
func (r *Region) verify(img *Image, runs *runSums, buf []byte) error {
	var sum string
	var err error
	if r.State == Erased {
		sum, err = erasedDigest(img, r, runs, buf)
	} else {
		sum, err = digest(img, r.Offset, r.Size, buf)
	}
	if err != nil {
		return fmt.Errorf("firmware: %w", err)
	}
	if r.SHA256 != "" && sum != r.SHA256 || r.SHA256 == "" && r.State != Erased {
		return fmt.Errorf("firmware: the region at %#x has another digest", r.Offset)
	}
	return nil
}

func digest(r io.ReaderAt, off, size int64, buf []byte) (string, error) {
	h := sha256.New()
	_, err := io.CopyBuffer(h, &sectionReader{io.NewSectionReader(r, off, size)}, buf)
	return hex.EncodeToString(h.Sum(nil)), err
}
