package filesystem

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
)

// A folder that is too large to be held is read in waves. Files are asked for in
// the order of a walk, by their names, and lie in another: so once it is unpacked
// for one, those that a walk comes to next are kept too, as many as may be held.

// sevenPlace is a file of a large folder by its name.
type sevenPlace struct {
	path []string
	sub  sevenSub
}

// sevenWave is files of a folder, by where they start in it.
type sevenWave struct {
	files map[int64][]byte
	held  int64
	refs  int
}

// waved returns a file from a wave, or nil when it is better unpacked for itself.
func (f *SevenZip) waved(folder *sevenFolder, sub sevenSub) (io.ReaderAt, io.Closer, error) {
	o := &folder.open
	if folder.size <= f.holdable() || sub.size > f.holdable()/2 {
		return nil, nil, nil
	}
	if o.wave == nil || sub.size > 0 && o.wave.files[sub.at] == nil {
		if o.wave != nil && o.wave.refs == 0 {
			o.dropWave(f)
		}
		w, err := f.newWave(folder, sub)
		if w == nil || err != nil {
			return nil, nil, err
		}
		o.wave = w
	}
	w := o.wave
	w.refs++
	var p []byte
	if sub.size > 0 {
		p = w.files[sub.at]
	}
	return bytes.NewReader(p), &sevenWaveUse{f, folder, w}, nil
}

// newWave unpacks the files from one on. It is nil where the memory for them is
// not there.
func (f *SevenZip) newWave(folder *sevenFolder, first sevenSub) (*sevenWave, error) {
	o, meter := &folder.open, f.archive.meter
	if !o.sorted {
		slices.SortFunc(o.places, func(a, b sevenPlace) int { return slices.Compare(a.path, b.path) })
		o.sorted = true
	}
	from := max(0, slices.IndexFunc(o.places, func(p sevenPlace) bool { return p.sub == first }))
	w := &sevenWave{files: make(map[int64][]byte)}
	const place = 64 // in the map, about
	var chosen []sevenSub
	for _, p := range o.places[from:] {
		if p.sub.size == 0 || p.sub.size > f.holdable()/2 {
			continue
		}
		if w.held+p.sub.size+place > f.holdable() {
			break
		}
		w.held += p.sub.size + place
		chosen = append(chosen, p.sub)
	}
	if meter.Hold(w.held) != nil {
		return nil, nil
	}
	slices.SortFunc(chosen, func(a, b sevenSub) int { return cmp.Compare(a.at, b.at) })
	err := f.fillWave(folder, w, chosen)
	if err != nil && w.files[first.at] == nil {
		meter.Release(w.held)
		return nil, err
	}
	return w, nil
}

func (f *SevenZip) fillWave(folder *sevenFolder, w *sevenWave, chosen []sevenSub) error {
	s, err := f.again(folder)
	if err != nil {
		return err
	}
	defer s.Close()
	buf := make([]byte, 32<<10)
	at := int64(0)
	for _, sub := range chosen {
		if _, err := copyExactly(context.Background(), io.Discard, s, sub.at-at, buf); err != nil {
			return err
		}
		p := make([]byte, sub.size)
		if n, err := io.ReadFull(s, p); err != nil {
			return fmt.Errorf("after %d of %d bytes: %w", n, sub.size, err)
		}
		w.files[sub.at] = p
		at = sub.at + sub.size
	}
	return nil
}

func (o *sevenOpen) dropWave(f *SevenZip) {
	f.archive.meter.Release(o.wave.held)
	o.wave = nil
}

// placed notes a file of a folder that may be read in waves.
func (f *SevenZip) placed(folder *sevenFolder, name string, sub sevenSub) error {
	if folder.size <= f.holdable() || folder.stored() {
		return nil
	}
	path := slices.DeleteFunc(strings.Split(name, "/"), func(part string) bool { return part == "" || part == "." })
	folder.open.places = append(folder.open.places, sevenPlace{path, sub})
	return f.archive.meter.Hold(64 + 16*int64(strings.Count(name, "/")+1))
}

// sevenWaveUse is one open file of a wave.
type sevenWaveUse struct {
	f      *SevenZip
	folder *sevenFolder
	w      *sevenWave
}

func (u *sevenWaveUse) Close() error {
	f, o := u.f, &u.folder.open
	f.mu.Lock()
	defer f.mu.Unlock()
	if u.w.refs--; u.w.refs == 0 && u.w != o.wave {
		f.archive.meter.Release(u.w.held)
	}
	o.left--
	f.finish(u.folder)
	return nil
}

// finish lets go of a folder once all of its files were read and closed.
func (f *SevenZip) finish(folder *sevenFolder) {
	o := &folder.open
	if o.left > 0 || o.refs > 0 || o.wave != nil && o.wave.refs > 0 {
		return
	}
	if o.wave != nil {
		o.dropWave(f)
	}
	if o.u != nil {
		f.idle = slices.DeleteFunc(f.idle, func(i *sevenFolder) bool { return i == folder })
		o.close()
	}
	o.left, o.spent = o.files, 0
}
