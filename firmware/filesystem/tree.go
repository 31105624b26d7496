package filesystem

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"assay/firmware/budget"
)

// node is one inode of a file system. The methods past inode are only called
// on a node of their kind.
type node interface {
	inode() *Inode
	list() ([]entry, error)                // of a directory: sorted, no name twice
	lookup(name string) (node, error)      // of a directory; wraps fs.ErrNotExist
	open() (io.ReaderAt, io.Closer, error) // of a file
	target() (string, error)               // of a symbolic link
}

// entry is a name in a directory. Its inode is read when it is asked for.
type entry struct {
	name string
	mode fs.FileMode // type bits only
	load func() (node, error)
}

func (e entry) Name() string      { return e.name }
func (e entry) IsDir() bool       { return e.mode.IsDir() }
func (e entry) Type() fs.FileMode { return e.mode }
func (e entry) String() string    { return fs.FormatDirEntry(e) }

func (e entry) Info() (fs.FileInfo, error) {
	n, err := e.load()
	if err != nil {
		return nil, err
	}
	return infoOf(e.name, n), nil
}

const (
	maxLinks   = 40   // symbolic links followed for one path, as Linux does
	maxTarget  = 4096 // bytes of a symbolic link's target: PATH_MAX
	maxNesting = 512  // directories inside directories
	maxName    = 255  // bytes of a name: NAME_MAX
)

var (
	errNotDir   = errors.New("not a directory")
	errIsDir    = errors.New("is a directory")
	errManyHops = errors.New("too many symbolic links")
	errNesting  = fmt.Errorf("directories nested more than %d deep", maxNesting)
)

// tree makes a fs.FS of nodes. Symbolic links are followed as on the unit
// itself: an absolute target starts at the file system's root, and ".." stays
// inside it. Unlike with package os, a name need not be UTF-8.
type tree struct {
	root  func() (node, error)
	meter *budget.Meter
}

var (
	_ fs.ReadDirFS  = tree{}
	_ fs.ReadFileFS = tree{}
	_ fs.StatFS     = tree{}
	_ fs.ReadLinkFS = tree{}
)

func (t tree) Open(name string) (fs.File, error) {
	n, err := t.find("open", name, true)
	if err != nil {
		return nil, err
	}
	meta := infoOf(path.Base(name), n)
	if n.inode().is(typeDir) {
		return &openDir{info: meta, dir: n, name: name}, nil
	}
	if !n.inode().is(typeFile) {
		return &openFile{SectionReader: io.NewSectionReader(strings.NewReader(""), 0, 0), info: meta}, nil
	}
	r, closer, err := n.open()
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return &openFile{io.NewSectionReader(r, 0, n.inode().Size), meta, closer}, nil
}

func (t tree) Stat(name string) (fs.FileInfo, error)  { return t.stat("stat", name, true) }
func (t tree) Lstat(name string) (fs.FileInfo, error) { return t.stat("lstat", name, false) }

func (t tree) stat(op, name string, follow bool) (fs.FileInfo, error) {
	n, err := t.find(op, name, follow)
	if err != nil {
		return nil, err
	}
	return infoOf(path.Base(name), n), nil
}

func (t tree) ReadLink(name string) (string, error) {
	n, err := t.find("readlink", name, false)
	if err != nil {
		return "", err
	}
	if !n.inode().is(typeLink) {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: fs.ErrInvalid}
	}
	target, err := n.target()
	if err != nil {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: err}
	}
	return target, nil
}

func (t tree) ReadDir(name string) ([]fs.DirEntry, error) {
	n, err := t.find("readdir", name, true)
	if err != nil {
		return nil, err
	}
	if !n.inode().is(typeDir) {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: errNotDir}
	}
	list, err := n.list()
	if err != nil {
		err = &fs.PathError{Op: "readdir", Path: name, Err: err}
	}
	return dirEntries(list), err
}

// ReadFile is here because [fs.ReadFile] would allocate what the image claims
// to be the file's size.
func (t tree) ReadFile(name string) ([]byte, error) {
	f, err := t.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	file, ok := f.(*openFile)
	if !ok {
		return nil, &fs.PathError{Op: "read", Path: name, Err: errIsDir}
	}
	size := file.SectionReader.Size()
	if limit := t.meter.Limits().Held; size > limit {
		err := fmt.Errorf("%w: file of %d bytes is more than the %d held in memory; open it and read it in pieces", budget.ErrExceeded, size, limit)
		return nil, &fs.PathError{Op: "read", Path: name, Err: err}
	}
	const step = 1 << 20
	var data []byte
	for int64(len(data)) < size {
		at := len(data)
		data = slices.Grow(data, int(min(size-int64(at), max(step, int64(at)))))
		n, err := io.ReadFull(file, data[at:min(int64(cap(data)), size)])
		data = data[:at+n]
		if err != nil {
			return data, &fs.PathError{Op: "read", Path: name, Err: err}
		}
	}
	return data, nil
}

// find walks to a name.
func (t tree) find(op, name string, follow bool) (node, error) {
	n, err := t.resolve(name, follow)
	if err != nil {
		return nil, &fs.PathError{Op: op, Path: name, Err: err}
	}
	return n, nil
}

func (t tree) resolve(name string, follow bool) (node, error) {
	if !validPath(name) {
		return nil, fs.ErrInvalid
	}
	root, err := t.root()
	if err != nil {
		return nil, err
	}
	way := []node{root}
	links := 0
	for rest := strings.Split(name, "/"); len(rest) > 0; {
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			way = way[:max(1, len(way)-1)]
			continue
		}
		here := way[len(way)-1]
		if !here.inode().is(typeDir) {
			return nil, fmt.Errorf("%w: %w", fs.ErrNotExist, errNotDir)
		}
		n, err := here.lookup(part)
		if err != nil {
			return nil, err
		}
		if !n.inode().is(typeLink) || len(rest) == 0 && !follow {
			if way = append(way, n); len(way) > maxNesting+1 {
				return nil, errNesting
			}
			continue
		}
		if links++; links > maxLinks {
			return nil, errManyHops
		}
		target, err := n.target()
		if err != nil {
			return nil, err
		}
		if strings.HasPrefix(target, "/") {
			way = way[:1]
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return way[len(way)-1], nil
}

// validPath is [fs.ValidPath] for names in any encoding.
func validPath(name string) bool {
	if name == "." {
		return true
	}
	for part := range strings.SplitSeq(name, "/") {
		if !validName(part) {
			return false
		}
	}
	return true
}

// validName says whether a name from an image can be one in a directory.
func validName(name string) bool {
	return name != "" && name != "." && name != ".." && !strings.ContainsAny(name, "/\x00")
}

func dirEntries(list []entry) []fs.DirEntry {
	entries := make([]fs.DirEntry, len(list))
	for i, e := range list {
		entries[i] = e
	}
	return entries
}

// openFile also is an io.ReaderAt and an io.Seeker.
type openFile struct {
	*io.SectionReader
	info   info
	closer io.Closer
}

func (f *openFile) Stat() (fs.FileInfo, error) { return f.info, nil }

func (f *openFile) Close() error {
	if f.closer == nil {
		return nil
	}
	closer := f.closer
	f.closer = nil
	return closer.Close()
}

type openDir struct {
	info info
	dir  node
	name string
	list []entry
	read bool
}

func (d *openDir) Stat() (fs.FileInfo, error) { return d.info, nil }
func (d *openDir) Close() error               { return nil }

func (d *openDir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.name, Err: errIsDir}
}

func (d *openDir) ReadDir(n int) ([]fs.DirEntry, error) {
	if !d.read {
		list, err := d.dir.list()
		d.list, d.read = list, true
		if err != nil {
			d.list = nil
			return dirEntries(list), &fs.PathError{Op: "readdir", Path: d.name, Err: err}
		}
	}
	if n <= 0 {
		n = len(d.list)
	} else if len(d.list) == 0 {
		return nil, io.EOF
	}
	n = min(n, len(d.list))
	list := d.list[:n]
	d.list = d.list[n:]
	return dirEntries(list), nil
}
