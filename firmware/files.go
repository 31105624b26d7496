package firmware

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Visit is one regular file of a file system, while its bytes are at hand.
type Visit struct {
	// Where names the file by the regions and files around it, outermost first,
	// joined with slashes; see [Region.Label].
	Where string

	File *File

	// Region is what the file is in. Its Files are all listed and its FS answers
	// during the visit. Around are the regions that it is a child or a part of
	// the contents of, outermost first. They are in the outermost image when
	// Within is nil, and else in the file that is visited after this one.
	Region *Region
	Around []*Region
	Within *Visit

	// Data is cheap to read again, unless the file is larger than 8 MiB. It, and
	// what File.Contents holds, can be read during the visit only.
	Data *io.SectionReader
}

// WithVisitor has visit called once for each regular file of each file system
// that is found, also inside other files; a file with several names (hard links)
// is visited by the first. A file inside another is visited before that one.
// visit is called from several goroutines; Open waits for all of them.
func WithVisitor(visit func(Visit)) Option {
	return func(o *options) { o.visit = visit }
}

// Label names a region in a path: its format, or its state where no format is
// known, with its offset in the image that holds it.
func (r *Region) Label() string {
	name := r.Format
	if name == "" {
		name = r.State.String()
	}
	return fmt.Sprintf("%s@%#x", name, r.Offset)
}

// inMemory is the size up to which a file is read once and kept while it is
// looked at.
const inMemory = 8 << 20

// place is where file systems are looked for: in what image, inside what.
type place struct {
	where  string
	around []*Region
	within *Visit
	owner  *Image // whose Release gives back what is held for the files
	depth  int
}

// in is the place inside a region.
func (p place) in(r *Region, deeper int) place {
	p.where = path.Join(p.where, r.Label())
	p.around = append(slices.Clip(p.around), r)
	p.depth += deeper
	return p
}

// readFiles reads the files of every file system in an image.
func (s *session) readFiles(img *Image, p place) {
	for _, r := range img.Regions {
		s.readRegion(r, p)
	}
}

func (s *session) readRegion(r *Region, p place) {
	for _, c := range r.Children {
		s.readRegion(c, p.in(r, 0))
	}
	if r.Contents != nil {
		s.readFiles(r.Contents, p.in(r, 1))
	}
	if r.FS != nil && r.Files == nil && !s.halted.Load() {
		w := reading{s: s, r: r, place: p}
		w.where = path.Join(p.where, r.Label())
		w.run()
	}
}

// reading reads the files of one file system.
type reading struct {
	s *session
	r *Region
	place
	read atomic.Int64 // bytes of files
	mu   sync.Mutex   // guards r.Problems
}

func (w *reading) problem(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.r.AddProblem(format, args...)
}

// run lists the files and reads each regular one once, with as many workers as
// there are processors for the outermost file system and with one inside it.
func (w *reading) run() {
	var todo []*File
	for _, f := range w.list() {
		if f.Mode.IsRegular() && f.Link == "" && f.Problem == "" {
			todo = append(todo, f)
		}
	}
	workers := 1
	if w.s.workers.CompareAndSwap(false, true) {
		workers = min(runtime.GOMAXPROCS(0), len(todo))
		defer w.s.workers.Store(false)
	}
	var next atomic.Int64
	work := func() {
		var buf []byte
		for {
			i := int(next.Add(1)) - 1
			if i >= len(todo) || w.s.halted.Load() {
				break
			}
			buf = w.file(todo[i], buf)
		}
		w.s.meter.Release(int64(cap(buf)))
	}
	var wait sync.WaitGroup
	for range workers - 1 {
		wait.Go(work)
	}
	work()
	wait.Wait()
	w.sum()
	w.links()
}

// identified is a FileInfo that tells the names of one file from other files: by
// where it is, since numbers in an image may lie. Zero is no identity.
type identified interface{ FileID() uint64 }

// list walks the tree. Entries are charged before they are kept.
func (w *reading) list() []*File {
	first := make(map[uint64]string)
	err := fs.WalkDir(w.r.FS, ".", func(name string, d fs.DirEntry, err error) error {
		if w.s.halted.Load() {
			return fs.SkipAll
		}
		if err != nil {
			w.problem("%s: %v", printable(name), err)
			w.s.note(err)
			return nil
		}
		if err := w.s.meter.Entries(1); err != nil {
			return err
		}
		const size = 256 // of a File with its digest and its place in lists, about
		if err := w.s.meter.Hold(size + int64(len(name))); err != nil {
			return err
		}
		w.owner.held += size + int64(len(name))
		f := &File{Path: name, Mode: d.Type()}
		w.r.Files = append(w.r.Files, f)
		st, err := d.Info()
		if err != nil {
			f.Problem = err.Error()
			w.s.note(err)
			return nil
		}
		f.Mode = st.Mode()
		switch {
		case f.Mode.IsRegular():
			f.Size = st.Size()
			if n, ok := st.(identified); ok && n.FileID() != 0 {
				if f.Link = first[n.FileID()]; f.Link == "" {
					first[n.FileID()] = name
				}
			}
		case f.Mode&fs.ModeSymlink != 0:
			if f.Target, err = fs.ReadLink(w.r.FS, name); err != nil {
				f.Problem = err.Error()
				w.s.note(err)
			}
		}
		return nil
	})
	if err != nil {
		w.problem("its files are not all listed: %v", err)
		w.s.note(err)
	}
	return w.r.Files
}

// links gives the further names of a file the digest of the first.
func (w *reading) links() {
	sums := make(map[string]*File)
	for _, f := range w.r.Files {
		if f.Mode.IsRegular() && f.Link == "" {
			sums[f.Path] = f
		}
	}
	for _, f := range w.r.Files {
		if first := sums[f.Link]; f.Link != "" && first != nil {
			f.SHA256, f.Problem = first.SHA256, first.Problem
		}
	}
}

// file hashes one file, analyses it where it is an image, and shows it to the
// visitor. It returns the buffer for the next file.
func (w *reading) file(f *File, buf []byte) []byte {
	open, err := w.r.FS.Open(f.Path)
	if err != nil {
		return w.failed(f, buf, err)
	}
	defer open.Close()
	h := sha256.New()
	var data io.ReaderAt
	if f.Size <= inMemory {
		if buf, err = w.whole(open, f.Size, buf); err != nil {
			return w.failed(f, buf, err)
		}
		h.Write(buf)
		data = bytes.NewReader(buf)
	} else if r, ok := open.(io.ReaderAt); ok {
		charged := chargedReader{w, r}
		n, err := io.CopyBuffer(h, &sectionReader{io.NewSectionReader(charged, 0, f.Size)}, w.room(&buf))
		if err == nil && n < f.Size {
			err = fmt.Errorf("%w after %d of %d bytes", io.ErrUnexpectedEOF, n, f.Size)
		}
		if err != nil {
			return w.failed(f, buf, err)
		}
		data = charged
	} else {
		return w.failed(f, buf, errors.New("it is too large to be kept and cannot be read at an offset"))
	}
	f.SHA256 = hex.EncodeToString(h.Sum(nil))
	visit := Visit{
		Where: path.Join(w.where, printable(f.Path)), File: f, Region: w.r, Around: w.around, Within: w.within,
		Data: io.NewSectionReader(data, 0, f.Size),
	}
	img := w.image(f, data, &visit)
	if w.s.visit != nil {
		w.s.visit(visit)
	}
	if img != nil {
		img.Release()
		img.drop()
	}
	return buf
}

func (w *reading) failed(f *File, buf []byte, err error) []byte {
	f.Problem = err.Error()
	w.s.note(err)
	return buf
}

// sum tells the region of the files that could not be read: all of them in one
// problem, since each has its own.
func (w *reading) sum() {
	var failed []*File
	for _, f := range w.r.Files {
		if f.Problem != "" && f.Link == "" {
			failed = append(failed, f)
		}
	}
	if len(failed) > 0 {
		w.problem("%d of %d files could not be read whole, the first: %s: %s", len(failed), len(w.r.Files), printable(failed[0].Path), failed[0].Problem)
	}
}

// whole reads a file into buf, which grows with what is there and not with what
// the size claims.
func (w *reading) whole(r io.Reader, size int64, buf []byte) ([]byte, error) {
	const step = 256 << 10
	buf = buf[:0]
	for int64(len(buf)) < size {
		if err := w.s.ctx.Err(); err != nil {
			return buf, err
		}
		if len(buf) == cap(buf) {
			grow := min(max(step, int64(len(buf))), size-int64(len(buf)))
			if err := w.s.meter.Hold(grow); err != nil {
				return buf, err
			}
			grown := make([]byte, len(buf), int64(len(buf))+grow)
			copy(grown, buf)
			buf = grown
		}
		at := len(buf)
		n, err := fill(r, buf[at:min(int64(cap(buf)), size)])
		buf = buf[:at+n]
		if e := w.charge(int64(n)); e != nil {
			return buf, e
		}
		if err == io.EOF && int64(len(buf)) < size {
			return buf, fmt.Errorf("%w after %d of %d bytes", io.ErrUnexpectedEOF, len(buf), size)
		}
		if err != nil && err != io.EOF {
			return buf, err
		}
	}
	return buf, nil
}

// room is the buffer as it is, or of a useful size.
func (w *reading) room(buf *[]byte) []byte {
	const least = 1 << 20
	if cap(*buf) < least && w.s.meter.Hold(int64(least-cap(*buf))) == nil {
		*buf = make([]byte, 0, least)
	}
	if cap(*buf) == 0 {
		return make([]byte, 4<<10)
	}
	return (*buf)[:cap(*buf)]
}

// charge pays for what files have beyond the bytes of their file system: those
// are unpacked, made of holes, or the same bytes again.
func (w *reading) charge(n int64) error {
	before := w.read.Add(n) - n
	if beyond := min(n, before+n-w.r.Size); beyond > 0 {
		return w.s.meter.Bytes(beyond)
	}
	return nil
}

// sectionReader hides WriteTo, so that a copy uses the buffer it is given.
type sectionReader struct{ r io.Reader }

func (s *sectionReader) Read(p []byte) (int, error) { return s.r.Read(p) }

// chargedReader charges for what is read, and looks at the context.
type chargedReader struct {
	w *reading
	r io.ReaderAt
}

func (c chargedReader) ReadAt(p []byte, off int64) (int, error) {
	if err := c.w.s.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := c.r.ReadAt(p, off)
	if e := c.w.charge(int64(n)); e != nil {
		return n, e
	}
	return n, err
}

// swept are the endings of names under which firmware lies in file systems and
// update archives without a magic at its first byte.
var swept = []string{".bin", ".img", ".rom", ".fw", ".upd", ".flash", ".mtd", ".dump"}

// image analyses a file that some format recognises at its first byte, or whose
// name says that it is firmware. Nil means that it is none.
func (w *reading) image(f *File, data io.ReaderAt, visit *Visit) *Image {
	named := slices.Contains(swept, strings.ToLower(path.Ext(f.Path)))
	if f.Size == 0 || !named && !w.s.table.starts(data, f.Size) {
		return nil
	}
	if err := w.s.meter.Depth(w.depth + 1); err != nil {
		w.problem("%s: %v", printable(f.Path), err)
		w.s.note(err)
		return nil
	}
	img := w.s.image(data, f.Size, w.depth+1, named)
	known := slices.ContainsFunc(img.Regions, func(r *Region) bool { return r.Format != "" })
	if !known || !named && img.Regions[0].Format == "" {
		img.Release()
		return nil
	}
	var parts unsealed
	parts.image(img)
	if j := parts.extent(img, 0, f.Size); j.gap == noGap {
		j.sha256 = f.SHA256 // that was read before
	}
	rest := w.s.seal(parts.list)
	w.s.readFiles(img, place{where: visit.Where, within: visit, owner: img, depth: w.depth + 1})
	rest.finish()
	f.Contents = img
	return img
}

// starts tells whether some format has its magic where it should be if it began
// at the first byte.
func (t *table) starts(r io.ReaderAt, size int64) bool {
	var at int64 = -1
	p := make([]byte, t.longest)
	for _, m := range t.heads {
		if m.Offset != at {
			at = m.Offset
			n, _ := r.ReadAt(p[:max(0, min(int64(t.longest), size-at))], at)
			clear(p[n:])
		}
		if at+int64(len(m.Bytes)) <= size && bytes.HasPrefix(p, []byte(m.Bytes)) {
			return true
		}
	}
	return false
}

// errDropped is returned for reading what was unpacked from a file once its
// visit is over.
var errDropped = errors.New("unpacked from a file and no longer held")

type dropped struct{}

func (dropped) ReadAt([]byte, int64) (int, error) { return 0, errDropped }

// drop lets go of all bytes, and of the file systems that read them.
func (img *Image) drop() {
	img.src = dropped{}
	dropRegions(img.Regions)
}

func dropRegions(regions []*Region) {
	for _, r := range regions {
		r.FS = nil
		dropRegions(r.Children)
		if r.Contents != nil {
			r.Contents.drop()
		}
	}
}

// printable keeps a name from an image on one line and a terminal unharmed.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == '\uFFFD' {
			return '.'
		}
		return r
	}, s)
}
