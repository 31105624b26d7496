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

// sealing is an extent that is to be read through, for all that it is the extent
// of: an image, the one region in it, that region's one part. What comes of it is
// written down when nobody else looks at the regions.
type sealing struct {
	src     *source
	off     int64
	size    int64
	imgs    []*Image
	regions []*Region
	gap     gapKind // of the region that is a gap

	sha256  string
	entropy float64
	strings []string
	err     error
}

// unsealed collects extents, each once.
type unsealed struct {
	list  []*sealing
	known map[sealKey]*sealing
}

type sealKey struct {
	src       *source
	off, size int64
}

func (u *unsealed) extent(img *Image, off, size int64) *sealing {
	src, ok := img.src.(*source)
	if !ok {
		return &sealing{}
	}
	k := sealKey{src, off, size}
	j := u.known[k]
	if j == nil {
		if u.known == nil {
			u.known = make(map[sealKey]*sealing)
		}
		j = &sealing{src: src, off: off, size: size}
		u.known[k] = j
		u.list = append(u.list, j)
	}
	return j
}

// image adds an image and what is unpacked from it.
func (u *unsealed) image(img *Image) {
	if img.SHA256 == "" {
		j := u.extent(img, 0, img.Size)
		j.imgs = append(j.imgs, img)
	}
	u.regions(img, img.Regions)
}

func (u *unsealed) regions(img *Image, regions []*Region) {
	for _, r := range regions {
		u.regions(img, r.Children)
		if r.SHA256 == "" {
			j := u.extent(img, r.Offset, r.Size)
			j.regions = append(j.regions, r)
			j.gap = max(j.gap, r.gap)
		}
		if r.Contents != nil {
			u.image(r.Contents)
		}
	}
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
	slices.SortStableFunc(list, func(a, b *sealing) int { return compare(b.size, a.size) })
	todo := &seals{s: s, list: list}
	if len(list) > 0 && list[0].size >= worth {
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
		j.write()
	}
}

func (j *sealing) write() {
	for _, img := range j.imgs {
		img.SHA256 = j.sha256
	}
	for _, r := range j.regions {
		if j.err != nil {
			r.AddProblem("%v", j.err)
			continue
		}
		r.SHA256 = j.sha256
		if r.gap == unknown {
			r.Entropy, r.Strings = j.entropy, j.strings
		}
	}
}

// read reads the bytes through.
func (j *sealing) read(s *session) {
	switch {
	case j.sha256 != "":
		return
	case j.gap == ofZeros:
		j.sha256 = s.runs.digest(0, j.size)
		return
	case j.gap == ofOnes:
		j.sha256 = s.runs.digest(0xFF, j.size)
		return
	case j.gap == unknown:
		j.look()
		return
	}
	if slices.ContainsFunc(j.regions, func(r *Region) bool { return r.State == Erased }) { // as its format says
		var err error
		if j.sha256, err = erasedDigest(j.src, j.off, j.size, &s.runs, make([]byte, min(chunkSize, j.size))); err == nil {
			return
		}
	}
	if j.sha256, j.err = j.src.digest(j.off, j.off+j.size); j.err != nil {
		j.err = fmt.Errorf("not hashed: %w", j.err)
	}
}

// look reads a stretch of unknown bytes.
func (j *sealing) look() {
	h := sha256.New()
	var counts [4][256]int64
	var texts texts
	err := j.src.chunks(j.off, j.off+j.size, maxText, func(_ int64, p []byte, fresh int) {
		h.Write(p[:fresh])
		tallyBytes(&counts, p[:fresh])
		texts.add(p, fresh)
	})
	if err != nil {
		j.err = fmt.Errorf("not read: %w", err)
		return
	}
	j.sha256 = hex.EncodeToString(h.Sum(nil))
	j.entropy = entropy(&counts, j.size)
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
