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
// erased is, are checked anew; an image without a digest gets one. What is unpacked cannot be read in a restored
// image, nor can the files of its file systems.
func Restore(img *Image, r io.ReaderAt, size int64) error {
	restorer := NewRestorer(r, size)
	defer restorer.Close()
	return restorer.Restore(img)
}

// Restorer is [Restore] for a caller who has the bytes before the analysis: it
// begins to hash them when it is made.
type Restorer struct {
	r     io.ReaderAt
	size  int64
	ended atomic.Bool
	done  chan struct{}
	sum   string // when done
	err   error
}

// NewRestorer begins to hash size bytes of r. Close must follow.
func NewRestorer(r io.ReaderAt, size int64) *Restorer {
	z := &Restorer{r: r, size: size, done: make(chan struct{})}
	go func() {
		defer close(z.done)
		z.sum, z.err = digest(z, 0, size, make([]byte, chunkSize))
	}()
	return z
}

var errRestorerClosed = errors.New("firmware: no longer wanted")

// ReadAt reads until Close.
func (z *Restorer) ReadAt(p []byte, off int64) (int, error) {
	if z.ended.Load() {
		return 0, errRestorerClosed
	}
	return z.r.ReadAt(p, off)
}

// Close ends what NewRestorer began. The bytes are not read after it.
func (z *Restorer) Close() {
	z.ended.Store(true)
	<-z.done
}

// Restore is [Restore] with the bytes that there are.
func (z *Restorer) Restore(img *Image) error {
	if img == nil || img.Size != z.size {
		return errors.New("firmware: the analysis is of another image")
	}
	img.src, img.meter, img.held = z.r, nil, 0
	if err := img.sound(0); err != nil {
		return fmt.Errorf("firmware: %w", err)
	}
	parts := verified(img)
	<-z.done
	switch {
	case z.err != nil && (img.SHA256 != "" || len(img.Problems) == 0): // else the analysis ended for it
		return fmt.Errorf("firmware: %w", z.err)
	case img.SHA256 == "":
		img.SHA256 = z.sum
	case z.sum != img.SHA256:
		return errors.New("firmware: the analysis is of other bytes: its digest is another")
	}
	return parts
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

// said is what regions say about an extent of the outermost image.
type said struct {
	off, size int64
	sha256    string
	erased    bool
}

// verified checks what is said of the outermost image's parts against its bytes,
// with all processors.
func verified(img *Image) error {
	var list sayings
	if err := list.add(img.Regions); err != nil {
		return err
	}
	// The longest first, so that no processor is left with it at the end.
	slices.SortStableFunc(list.all, func(a, b *said) int { return compare(b.size, a.size) })
	var runs runSums
	var next atomic.Int64
	var failed atomic.Pointer[error]
	work := func() {
		buf := make([]byte, chunkSize)
		for failed.Load() == nil {
			i := int(next.Add(1)) - 1
			if i >= len(list.all) {
				return
			}
			if err := list.all[i].verify(img, &runs, buf); err != nil {
				failed.CompareAndSwap(nil, &err)
			}
		}
	}
	var wait sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(list.all)) - 1 {
		wait.Go(work)
	}
	work()
	wait.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

// sayings has each extent once.
type sayings struct {
	all   []*said
	known map[[2]int64]*said
}

func (l *sayings) add(regions []*Region) error {
	for _, r := range regions {
		if r.SHA256 != "" || r.State == Erased {
			k := [2]int64{r.Offset, r.Size}
			s := l.known[k]
			if s == nil {
				if l.known == nil {
					l.known = make(map[[2]int64]*said)
				}
				s = &said{off: r.Offset, size: r.Size}
				l.known[k] = s
				l.all = append(l.all, s)
			}
			s.erased = s.erased || r.State == Erased
			if s.sha256 == "" {
				s.sha256 = r.SHA256
			} else if r.SHA256 != "" && r.SHA256 != s.sha256 {
				return fmt.Errorf("firmware: the region at %#x has two digests", r.Offset)
			}
		}
		if err := l.add(r.Children); err != nil {
			return err
		}
	}
	return nil
}

func (s *said) verify(img *Image, runs *runSums, buf []byte) error {
	var sum string
	var err error
	if s.erased {
		sum, err = erasedDigest(img, s.off, s.size, runs, buf)
	} else {
		sum, err = digest(img, s.off, s.size, buf)
	}
	if err != nil {
		return fmt.Errorf("firmware: %w", err)
	}
	if s.sha256 != "" && sum != s.sha256 {
		return fmt.Errorf("firmware: the region at %#x has another digest", s.off)
	}
	return nil
}

func digest(r io.ReaderAt, off, size int64, buf []byte) (string, error) {
	h := sha256.New()
	_, err := io.CopyBuffer(h, &sectionReader{io.NewSectionReader(r, off, size)}, buf)
	return hex.EncodeToString(h.Sum(nil)), err
}
