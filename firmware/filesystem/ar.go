package filesystem

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"assay/firmware"
	"assay/firmware/budget"
)

func init() {
	firmware.Register(firmware.Format{
		Name:         "ar",
		Source:       "System V ar(5), GNU binutils include/aout/ar.h and bfd/archive.c; 4.4BSD ar(5); deb(5)",
		About:        "ar archive, also as Debian and opkg package",
		Integrity:    "none",
		Authenticity: "none",
		Magics:       []firmware.Magic{{Bytes: arMagic}},
		Parse:        parseAr,
	})
}

// ErrNotAr says that there is no archive, or only the magic of one.
var ErrNotAr = errors.New("no ar archive")

const (
	arMagic   = "!<arch>\n"
	arHeader  = 60
	arMaxName = 4096
	arMaxList = 4 << 20 // bytes of the table of long names
)

// Ar is an ar archive: of objects a library, and of tar archives a package (a
// .deb; an old .ipk). Nothing checks its contents. It may be used from several
// goroutines.
type Ar struct {
	tree
	Variant string // common, GNU or BSD, by how long names are written
	Kind    string // what the members make of it
	Size    int64
	Entries int
	Survey  *Survey

	archive *archive
	r       io.ReaderAt
	limit   int64
	names   []byte // GNU's table
	seen    map[string]int
}

// NewAr reads all headers of an archive that starts at r's first byte. It ends
// before the first place that is no header. What is wrong with single members is
// in the survey's problems.
//
// The error wraps ErrNotAr when there is no sound header; for another the
// archive of what came before is returned beside it.
func NewAr(ctx context.Context, r io.ReaderAt, size int64, meter *budget.Meter) (*Ar, error) {
	f := &Ar{Variant: "common", archive: newArchive(meter), r: r, limit: size, seen: make(map[string]int)}
	f.tree = f.archive.tree()
	f.Survey = &f.archive.survey
	p := make([]byte, len(arMagic))
	if n, err := r.ReadAt(p, 0); n < len(p) || string(p) != arMagic {
		if err != nil && err != io.EOF {
			return nil, err
		}
		return nil, fmt.Errorf("%w: it begins with %q", ErrNotAr, p[:n])
	}
	f.Size = int64(len(arMagic))
	defer f.archive.finish()
	for {
		if err := ctx.Err(); err != nil {
			return f, err
		}
		done, err := f.member()
		if err != nil {
			return f, fmt.Errorf("ar: member %d at %#x: %w", f.Entries, f.Size, err)
		}
		if done {
			break
		}
	}
	if f.Entries == 0 {
		return nil, fmt.Errorf("%w: no member follows the magic", ErrNotAr)
	}
	f.kind()
	return f, nil
}

func (f *Ar) problem(format string, args ...any) { f.archive.survey.problem(format, args...) }

// member reads the next header: name, date, owner, group, mode, size and two
// bytes of mark, all of them text.
func (f *Ar) member() (done bool, err error) {
	at := f.Size
	if f.limit-at < arHeader {
		return true, f.rest()
	}
	p := make([]byte, arHeader)
	if err := readFull(f.r, p, at); err != nil {
		return false, err
	}
	if string(p[58:]) != "`\n" {
		return true, nil
	}
	number := func(from, to, base int) (v int64) {
		s := strings.Trim(string(p[from:to]), " ")
		if s == "" || err != nil {
			return 0
		}
		if v, err = strconv.ParseInt(s, base, 64); v < 0 {
			err = fmt.Errorf("%q is less than zero", s)
		}
		return v
	}
	stamp, uid, gid, mode, size := number(16, 28, 10), number(28, 34, 10), number(34, 40, 10), number(40, 48, 8), number(48, 58, 10)
	if err != nil {
		if f.Entries > 0 {
			f.problem("header at %#x: %v", at, err)
		}
		return true, nil
	}
	if err := f.archive.meter.Entries(1); err != nil {
		return false, err
	}
	data := at + arHeader
	there := min(size, f.limit-data)
	name, inline, err := f.name(strings.TrimRight(string(p[:16]), " "), data, there)
	if err != nil {
		return false, err
	}
	f.Entries++
	if there < size {
		f.problem("%q: cut short, %d of its %d bytes are there", name, there, size)
	}
	// Members start at even offsets; the byte between is a newline.
	if f.Size = data + there; there == size && size%2 == 1 && f.Size < f.limit {
		f.Size++
	}
	if name == "" {
		return false, nil // the table of long names
	}
	n := &archiveNode{r: f.r, off: data + inline, Inode: Inode{
		Number: uint64(at), Mode: uint32(mode), UID: uint32(uid), GID: uint32(gid), Links: 1,
		Size: there - inline, ModTime: time.Unix(stamp, 0).UTC(),
	}}
	if n.Mode&typeMask != typeFile { // a table of symbols has no mode
		n.Mode = typeFile | n.Mode&0o7777
	}
	return false, f.archive.add(f.unique(name), n)
}

// unique tells members of one name apart, which a library may have several of.
func (f *Ar) unique(name string) string {
	n := f.seen[name]
	f.seen[name]++
	if n == 0 {
		return name
	}
	f.problem("%q: is there %d times; this one is listed with its number", name, n+1)
	return fmt.Sprintf("%s (%d)", name, n+1)
}

// rest says what is left where no header fits.
func (f *Ar) rest() error {
	p := make([]byte, f.limit-f.Size)
	if len(p) == 0 {
		return nil
	}
	if err := readFull(f.r, p, f.Size); err != nil {
		return err
	}
	if len(p) == 1 && p[0] == '\n' {
		f.Size++
	}
	return nil
}

// name finds a member's name. Inline is the length of one that stands before the
// data, as BSD writes it; GNU's is in a table of its own.
func (f *Ar) name(s string, data, size int64) (name string, inline int64, err error) {
	switch {
	case s == "//":
		f.Variant = "GNU"
		if size > arMaxList {
			f.problem("a table of names of %d bytes is not read", size)
			return "", 0, nil
		}
		if err := f.archive.meter.Hold(size); err != nil {
			return "", 0, err
		}
		f.names = make([]byte, size)
		return "", 0, readFull(f.r, f.names, data)
	case s == "/", s == "/SYM64/":
		f.Variant = "GNU"
		return "symbol table", 0, nil
	case strings.HasPrefix(s, "#1/"):
		f.Variant = "BSD"
		n, err := strconv.ParseInt(s[3:], 10, 64)
		if err != nil || n < 0 || n > min(size, arMaxName) {
			f.problem("%q: its name of so many bytes is not there", s)
			return s, 0, nil
		}
		p := make([]byte, n)
		if err := readFull(f.r, p, data); err != nil {
			return "", 0, err
		}
		return string(bytes.TrimRight(p, "\x00")), n, nil
	case strings.HasPrefix(s, "/"):
		n, err := strconv.Atoi(s[1:])
		if err != nil || n < 0 || n >= len(f.names) {
			f.problem("%q: is no place in the table of names", s)
			return s, 0, nil
		}
		long, _, _ := bytes.Cut(f.names[n:min(len(f.names), n+arMaxName)], []byte("\n"))
		return strings.TrimSuffix(string(long), "/"), 0, nil
	}
	if strings.HasSuffix(s, "/") {
		f.Variant = "GNU"
	}
	if s = strings.TrimSuffix(s, "/"); s == "" {
		return " ", 0, nil
	}
	return s, 0, nil
}

func (f *Ar) kind() {
	has := func(name string) bool { _, err := f.Lstat(name); return err == nil }
	switch {
	case has("debian-binary"):
		f.Kind = "package (deb or ipk)"
	case has("symbol table"), has("__.SYMDEF"), has("__.SYMDEF SORTED"):
		f.Kind = "library"
	}
}

func parseAr(w *firmware.Window) (*firmware.Region, error) {
	f, err := NewAr(w.Context(), w, w.Size(), w.Meter())
	if errors.Is(err, ErrNotAr) {
		return nil, fmt.Errorf("%w: %w", firmware.ErrNotFormat, err)
	}
	if f == nil {
		return nil, err
	}
	r := &firmware.Region{Format: "ar", Size: f.Size, State: firmware.Parsed, Role: firmware.RoleContainer, FS: f}
	r.AddField("variant", "%s", f.Variant)
	r.AddField("kind", "%s", f.Kind)
	f.Survey.describe(r)
	if err != nil {
		r.AddProblem("%v", err)
		return r, err
	}
	// Nothing is summed and nothing marks the end, so that it is never proven.
	return r, nil
}
