package filesystem

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"assay/firmware/budget"
)

// listed is an entry of a directory.
type listed struct {
	name   string
	number uint64 // of the inode
	kind   uint32 // file type, as in Inode.Mode
}

// listings are the directories of a file system that has no order to find names
// by, held in memory by their inode's number. Inodes are read when they are
// asked for.
type listings struct {
	meter  *budget.Meter
	load   func(number uint64) (node, error)
	dirs   map[uint64][]listed
	places map[uint64]place
}

// place is where a directory is: nowhere else, however many entries lead to it,
// so that each way through the tree has an end.
type place struct {
	above uint64
	name  string
}

func newListings(meter *budget.Meter, load func(number uint64) (node, error)) *listings {
	return &listings{meter: meter, load: load, dirs: make(map[uint64][]listed), places: make(map[uint64]place)}
}

// known tells whether a directory has its place already.
func (l *listings) known(dir uint64) bool {
	_, ok := l.places[dir]
	return ok
}

// enter gives a directory its place. The root's has no name.
func (l *listings) enter(dir, above uint64, name string) error {
	const size = 160 // in the maps, about
	l.places[dir] = place{above, name}
	return l.meter.Hold(size)
}

// put sets the entries of a directory. Of entries of the same name the first
// counts; the names of the others are returned.
func (l *listings) put(dir uint64, entries []listed) (twice []string) {
	slices.SortStableFunc(entries, func(a, b listed) int { return strings.Compare(a.name, b.name) })
	kept := entries[:0]
	for _, e := range entries {
		if len(kept) > 0 && kept[len(kept)-1].name == e.name {
			twice = append(twice, e.name)
			continue
		}
		kept = append(kept, e)
	}
	l.dirs[dir] = slices.Clip(kept)
	return twice
}

// charge pays for an entry before it is kept.
func (l *listings) charge(name string) error {
	if err := l.meter.Entries(1); err != nil {
		return err
	}
	const size = 48 // of an entry and the string's allocation, about
	return l.meter.Hold(size + int64(len(name)))
}

func (l *listings) list(dir uint64) ([]entry, error) {
	found := l.dirs[dir]
	list := make([]entry, len(found))
	for i, e := range found {
		mode := (&Inode{Mode: e.kind}).FileMode().Type()
		list[i] = entry{e.name, mode, func() (node, error) { return l.load(e.number) }}
	}
	return list, nil
}

func (l *listings) lookup(dir uint64, name string) (node, error) {
	found := l.dirs[dir]
	i, ok := slices.BinarySearchFunc(found, name, func(e listed, name string) int { return strings.Compare(e.name, name) })
	if !ok {
		return nil, fs.ErrNotExist
	}
	n, err := l.load(found[i].number)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", name, err)
	}
	if n.inode().is(typeDir) && l.places[found[i].number] != (place{dir, name}) {
		return nil, fmt.Errorf("%q: this directory is in another place or was not read", name)
	}
	return n, nil
}
