// Package extract writes what [firmware.Open] finds to a folder, while it finds
// it, so that nothing is unpacked twice:
//
//	x, err := extract.New(ctx, root, extract.Options{})
//	img, err := firmware.Open(ctx, r, size, firmware.WithVisitor(x.Visit))
//	summary, err := x.Finish(img, err)
//
// Regions become files and folders that are named by their labels, files of file
// systems keep their names below those, and what is inside a file is beside it:
//
//	u-boot@0x0.bin
//	fit@0x50000/gzip@0x500c8/unpacked.bin
//	fit@0x50000/squashfs@0x6731c/etc/passwd
//	squashfs@0x80000/home/app.tar
//	squashfs@0x80000/home/app.tar.contents/tar@0x0/run.sh
//	manifest.jsonl
//
// Only plain files and folders are made, beneath the folder and never over
// something: links, devices, owners, modes and times are data in the manifest,
// beside the digest of each file and its name where the one on disk had to
// differ. The same image gives the same names on every machine.
package extract

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"

	"assay/firmware"
	"assay/firmware/filesystem"
)

// Names that this package makes up; no file of an image has one of them.
const (
	contents = ".contents"
	unpacked = "unpacked"
	deep     = "~deep"

	// ManifestName is the file that lists all others.
	ManifestName = "manifest.jsonl"
)

// DefaultBytes is how much is written when nothing else is said.
const DefaultBytes = 4 << 30

// Options adjust [New].
type Options struct {
	Bytes int64 // how much may be written; DefaultBytes when zero
}

// Summary is what was written.
type Summary struct {
	Files    int64  `json:"files"`
	Bytes    int64  `json:"bytes"`
	Complete bool   `json:"complete"`
	Reason   string `json:"reason,omitempty"` // why it is not complete
}

// Extractor writes to one folder.
type Extractor struct {
	ctx   context.Context
	root  *os.Root
	limit int64
	bytes atomic.Int64
	files atomic.Int64

	mu    sync.Mutex
	plans map[*firmware.Region]*plan
	raw   map[rawKey]rawFile
	err   error // nothing more is written
	full  bool  // something was left out since the limit was reached
	odd   int   // files that this disk would not take
	first error // of those
	stop  atomic.Bool
}

// ErrNotEmpty is returned for a folder that has something in it.
var ErrNotEmpty = errors.New("the folder is not empty")

// New begins in an empty folder, with a manifest that says that it is not
// complete.
func New(ctx context.Context, root *os.Root, o Options) (*Extractor, error) {
	if o.Bytes <= 0 {
		o.Bytes = DefaultBytes
	}
	dir, err := root.Open(".")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	if some, err := dir.Readdirnames(1); len(some) > 0 {
		return nil, ErrNotEmpty
	} else if err != nil && err != io.EOF {
		return nil, err
	}
	x := &Extractor{ctx: ctx, root: root, limit: o.Bytes, plans: make(map[*firmware.Region]*plan), raw: make(map[rawKey]rawFile)}
	return x, x.manifest(nil, Summary{Reason: "it was not finished"})
}

// plan says where the files of a file system go.
type plan struct {
	dir   string            // of its files, on disk
	moved map[string]string // paths on disk, below dir, that are not those in the image
	index map[*firmware.File]int32
	notes []note // one for each of the region's Files
}

// note is what the image says of a file beyond firmware.File, and what came of it.
type note struct {
	known, xattrs, dated bool
	written              bool
	uid, gid             uint32
	major, minor         uint32
	modified             int64 // seconds since 1970
}

func (p *plan) below(name string) string {
	if to, ok := p.moved[name]; ok {
		return to
	}
	return name
}

// path is where a file is on disk.
func (p *plan) path(f *firmware.File) string { return path.Join(p.dir, p.below(f.Path)) }

// plan makes the folders of a file system and settles all names in it, in the
// order of the walk.
func (x *Extractor) plan(r *firmware.Region, dir string) *plan {
	x.mu.Lock()
	defer x.mu.Unlock()
	if p := x.plans[r]; p != nil {
		return p
	}
	if len(dir) > maxPath {
		dir = path.Join(deep, short(dir))
	}
	p := &plan{dir: dir, moved: make(map[string]string), index: make(map[*firmware.File]int32), notes: make([]note, len(r.Files))}
	x.plans[r] = p
	taken := names{make(map[uint64]struct{})}
	x.mkdir(dir)
	for i, f := range r.Files {
		p.index[f] = int32(i)
		if f.Path == "." || !f.Mode.IsDir() && !f.Mode.IsRegular() || f.Link != "" {
			continue
		}
		parent := p.below(path.Dir(f.Path))
		to := path.Join(deep, short(f.Path))
		if parent != "" {
			to = taken.take(parent, path.Base(f.Path))
		}
		switch {
		case len(dir)+1+len(to) > maxPath && f.Mode.IsDir():
			to = "" // its files go to deep
		case len(dir)+1+len(to) > maxPath || parent == "":
			to = path.Join(deep, short(f.Path))
			x.mkdir(path.Join(dir, deep))
		case f.Mode.IsDir():
			x.mkdir(path.Join(dir, to))
		}
		if to != f.Path {
			p.moved[f.Path] = to
		}
	}
	p.describe(r)
	return p
}

// describe takes owners, times and device numbers from the file system.
func (p *plan) describe(r *firmware.Region) {
	if r.FS == nil {
		return
	}
	at := 0
	_ = fs.WalkDir(r.FS, ".", func(name string, d fs.DirEntry, err error) error {
		if at >= len(r.Files) {
			return fs.SkipAll
		}
		if err != nil || r.Files[at].Path != name {
			return nil
		}
		n := &p.notes[at]
		at++
		st, err := d.Info()
		if err != nil {
			return nil
		}
		if t := st.ModTime(); !t.IsZero() {
			n.modified, n.dated = t.Unix(), true
		}
		if in, ok := st.Sys().(*filesystem.Inode); ok {
			n.known, n.xattrs = true, in.XAttrs
			n.uid, n.gid, n.major, n.minor = in.UID, in.GID, in.Major, in.Minor
		}
		return nil
	})
}

// dir is where a region goes on disk.
func (x *Extractor) dir(within *firmware.Visit, around []*firmware.Region, r *firmware.Region) string {
	at := ""
	if within != nil {
		at = x.home(*within).path(within.File) + contents
	}
	for i, a := range around {
		inner := r
		if i+1 < len(around) {
			inner = around[i+1]
		}
		at = path.Join(at, a.Label())
		if a.Contents != nil && slices.Contains(a.Contents.Regions, inner) {
			at = path.Join(at, unpacked)
		}
	}
	return path.Join(at, r.Label())
}

func (x *Extractor) home(v firmware.Visit) *plan {
	x.mu.Lock()
	p := x.plans[v.Region]
	x.mu.Unlock()
	if p == nil {
		p = x.plan(v.Region, x.dir(v.Within, v.Around, v.Region))
	}
	return p
}

// Visit writes a file, and what is inside it. It is for [firmware.WithVisitor].
func (x *Extractor) Visit(v firmware.Visit) {
	if x.stop.Load() {
		return
	}
	p := x.home(v)
	if x.write(p.path(v.File), v.Data) {
		p.notes[p.index[v.File]].written = true
	}
	if v.File.Contents != nil {
		x.image(v.File.Contents, p.path(v.File)+contents, false)
	}
}

// Finish writes the regions of the outermost image and the manifest. err is what
// Open returned. The error says why not all was written.
func (x *Extractor) Finish(img *firmware.Image, err error) (*Summary, error) {
	if img != nil {
		x.image(img, "", true)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	s := Summary{Files: x.files.Load(), Bytes: x.bytes.Load()}
	switch {
	case x.ctx.Err() != nil:
		s.Reason = "it was interrupted"
	case x.err != nil:
		s.Reason = x.err.Error()
	case err != nil:
		s.Reason = "the analysis ended early: " + err.Error()
	case x.odd > 0:
		s.Reason = fmt.Sprintf("%d files could not be written: %v", x.odd, x.first)
	case x.full:
		s.Reason = fmt.Sprintf("more than %d bytes", x.limit)
	default:
		s.Complete = true
	}
	failed := x.err
	if werr := x.manifest(img, s); werr != nil && failed == nil {
		failed = werr
	}
	switch {
	case x.ctx.Err() != nil:
		return &s, x.ctx.Err()
	case failed != nil:
		return &s, fmt.Errorf("extract: %w", failed)
	case !s.Complete:
		return &s, fmt.Errorf("extract: not complete: %s", s.Reason)
	}
	return &s, nil
}

// rawKey is a region, or what it unpacks to.
type rawKey struct {
	region   *firmware.Region
	unpacked bool
}

type rawFile struct{ disk string }

// image writes the regions of an image that are no file systems. whole says that
// all of them are wanted, since the image is no file that is written already.
func (x *Extractor) image(img *firmware.Image, dir string, whole bool) {
	for _, r := range img.Regions {
		x.region(img, r, dir, whole)
	}
}

func (x *Extractor) region(img *firmware.Image, r *firmware.Region, dir string, whole bool) {
	at := path.Join(dir, r.Label())
	if len(at) > maxPath {
		at = path.Join(deep, short(at))
	}
	switch {
	case x.stop.Load():
		return
	case r.FS != nil || r.Files != nil:
		x.plan(r, at)
	case r.Contents != nil || len(r.Children) > 0:
	case r.State == firmware.Erased || !whole && (r.Format == "" || r.Size == img.Size):
	default:
		x.rawFile(rawKey{region: r}, at+".bin", img.Section(r))
	}
	for _, c := range r.Children {
		x.region(img, c, at, whole)
	}
	if r.Contents != nil {
		x.rawFile(rawKey{r, true}, path.Join(at, unpacked+".bin"), io.NewSectionReader(r.Contents, 0, r.Contents.Size))
		x.image(r.Contents, path.Join(at, unpacked), false)
	}
}

func (x *Extractor) rawFile(key rawKey, disk string, data io.Reader) {
	x.mu.Lock()
	x.mkdir(path.Dir(disk))
	x.mu.Unlock()
	if x.write(disk, data) {
		x.mu.Lock()
		x.raw[key] = rawFile{disk}
		x.mu.Unlock()
	}
}

// mkdir is called with mu held.
func (x *Extractor) mkdir(dir string) {
	if x.err != nil || dir == "" || dir == "." {
		return
	}
	if err := x.root.MkdirAll(dir, 0o700); err != nil {
		x.refused(err)
	}
}

// failed is called with mu held.
func (x *Extractor) failed(err error) {
	if x.err == nil {
		if isFull(err) {
			err = fmt.Errorf("the disk is full: %d bytes were written before", x.bytes.Load())
		}
		x.err = err
	}
	x.stop.Store(true)
}

// maxOdd is how many files a disk may refuse before all others are left out too.
const maxOdd = 100

// refused is called with mu held, for a file that could not be made. A name may
// be more than this disk takes; what concerns all files ends the writing.
func (x *Extractor) refused(err error) {
	if x.odd++; x.first == nil {
		x.first = err
	}
	if x.odd > maxOdd || isFull(err) || errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		x.failed(err)
	}
}

func isFull(err error) bool {
	const windowsDiskFull = syscall.Errno(112) // ERROR_DISK_FULL
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || runtime.GOOS == "windows" && errors.Is(err, windowsDiskFull)
}

// write makes a file and tells whether it is whole.
func (x *Extractor) write(name string, data io.Reader) bool {
	if x.stop.Load() {
		return false
	}
	f, err := x.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.refused(err)
		return false
	}
	w := &limited{x: x, f: f}
	_, err = io.Copy(w, data)
	err = errors.Join(err, f.Close())
	if err == nil {
		x.files.Add(1)
		return true
	}
	x.bytes.Add(-w.n)
	err = errors.Join(err, x.root.Remove(name))
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case errors.Is(err, errLimit):
		x.full = true
	case w.failed || x.ctx.Err() != nil:
		x.failed(err)
	}
	// What cannot be read is the image's fault: others can.
	return false
}

var errLimit = errors.New("more than may be written")

type limited struct {
	x      *Extractor
	f      *os.File
	n      int64
	failed bool
}

func (l *limited) Write(p []byte) (int, error) {
	if err := l.x.ctx.Err(); err != nil {
		return 0, err
	}
	if l.x.bytes.Add(int64(len(p))) > l.x.limit {
		l.x.bytes.Add(-int64(len(p)))
		return 0, errLimit
	}
	l.n += int64(len(p))
	n, err := l.f.Write(p)
	l.failed = err != nil
	return n, err
}
