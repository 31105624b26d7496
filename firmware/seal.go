package firmware

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
)

// Digests, and what else reading all bytes of a region tells, are made when its
// image is partitioned: nothing is read for what was turned down, no processor
// waits for another, and files are read beside it.

// gapKind says what a region that no format claims was found to be.
type gapKind uint8

const (
	noGap gapKind = iota
	unknown
	ofZeros
	ofOnes
)

// sealing is an image, or a region of it, that is to be hashed. What comes of it
// is written down when nobody else looks at the region.
type sealing struct {
	img     *Image
	r       *Region // nil for the image itself
	sha256  string
	entropy float64
	strings []string
	err     error
}

// unsealed lists what an image and what is unpacked from it have to be hashed.
func unsealed(list []*sealing, img *Image) []*sealing {
	if img.SHA256 == "" {
		list = append(list, &sealing{img: img})
	}
	return unsealedRegions(list, img, img.Regions)
}

func unsealedRegions(list []*sealing, img *Image, regions []*Region) []*sealing {
	for _, r := range regions {
		list = unsealedRegions(list, img, r.Children)
		if r.SHA256 == "" {
			list = append(list, &sealing{img: img, r: r})
		}
		if r.Contents != nil {
			list = unsealed(list, r.Contents)
		}
	}
	return list
}

func (j *sealing) size() int64 {
	if j.r == nil {
		return j.img.Size
	}
	return j.r.Size
}

// seals is a list that several goroutines work off.
type seals struct {
	s    *session
	list []*sealing
	next atomic.Int64
	wait sync.WaitGroup
}

// seal begins to hash what is listed with the other processors, if there is much.
func (s *session) seal(list []*sealing) *seals {
	const worth = 1 << 20 // bytes from which on another processor pays
	// The longest first, so that none is left with it at the end.
	slices.SortStableFunc(list, func(a, b *sealing) int { return compare(b.size(), a.size()) })
	todo := &seals{s: s, list: list}
	if len(list) > 0 && list[0].size() >= worth {
		for range min(runtime.GOMAXPROCS(0)-1, len(list)) {
			todo.wait.Go(todo.work)
		}
	}
	return todo
}

func (t *seals) work() {
	for {
		i := int(t.next.Add(1)) - 1
		if i >= len(t.list) || t.s.halted.Load() {
			return
		}
		t.list[i].read(t.s)
	}
}

// finish does what is left, and writes down what was found.
func (t *seals) finish() {
	t.work()
	t.wait.Wait()
	for _, j := range t.list {
		switch {
		case j.r == nil:
			j.img.SHA256 = j.sha256
		case j.err != nil:
			j.r.AddProblem("%v", j.err)
		default:
			j.r.SHA256 = j.sha256
			if j.r.gap == unknown {
				j.r.Entropy, j.r.Strings = j.entropy, j.strings
			}
		}
	}
}

// read reads the bytes through.
func (j *sealing) read(s *session) {
	src, ok := j.img.src.(*source)
	if !ok {
		return
	}
	if j.r == nil {
		j.sha256, _ = src.digest(0, src.size)
		return
	}
	switch r := j.r; {
	case r.gap == unknown:
		j.look(src)
	case r.gap == ofZeros && r.State == Erased:
		j.sha256 = s.runs.digest(0, r.Size)
	case r.gap == ofOnes && r.State == Erased:
		j.sha256 = s.runs.digest(0xFF, r.Size)
	default:
		if r.State == Erased { // as its format says
			var err error
			if j.sha256, err = erasedDigest(src, r, &s.runs, make([]byte, min(chunkSize, r.Size))); err == nil {
				return
			}
		}
		if j.sha256, j.err = src.digest(r.Offset, r.End()); j.err != nil {
			j.err = fmt.Errorf("not hashed: %w", j.err)
		}
	}
}

// look reads a stretch of unknown bytes.
func (j *sealing) look(src *source) {
	h := sha256.New()
	var counts [4][256]int64
	var texts texts
	err := src.chunks(j.r.Offset, j.r.End(), maxText, func(_ int64, p []byte, fresh int) {
		h.Write(p[:fresh])
		tallyBytes(&counts, p[:fresh])
		texts.add(p, fresh)
	})
	if err != nil {
		j.err = fmt.Errorf("not read: %w", err)
		return
	}
	j.sha256 = hex.EncodeToString(h.Sum(nil))
	j.entropy = entropy(&counts, j.r.Size)
	j.strings = texts.kept
}

// digest hashes the bytes from start to end.
func (src *source) digest(start, end int64) (string, error) {
	h := sha256.New()
	if err := src.chunks(start, end, 0, func(_ int64, p []byte, _ int) { h.Write(p) }); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
