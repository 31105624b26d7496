package filesystem

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"assay/firmware"
	"assay/firmware/budget"
)

func init() {
	firmware.Register(firmware.Format{
		Name:   "romfs",
		Source: "kernel Documentation/filesystems/romfs.rst, fs/romfs/super.c",
		Magics: []firmware.Magic{{Bytes: romfsMagic}},
		Parse:  parseROMFS,

		About:        "ROM file system",
		Integrity:    "sums of the headers; none of contents",
		Authenticity: "none",
	})
}

// ErrNotROMFS says that there is no ROMFS header.
var ErrNotROMFS = errors.New("no ROMFS header")

const (
	romfsMagic   = "-rom1fs-"
	romfsAlign   = 16   // of headers, names and data
	romfsSummed  = 512  // bytes at the image's start that sum to zero, or all there are
	romfsPadding = 1024 // genromfs pads images to it
	romfsMaxHops = 8    // hard links to hard links
)

// romfsModes are the modes that a kernel gives the eight types. Type 0 is a hard
// link.
var romfsModes = [8]uint32{0, typeDir | 0o644, typeFile | 0o644, typeLink | 0o777, typeBlock | 0o600, typeChar | 0o600, typeSocket | 0o644, typeFIFO | 0o644}

const romfsExec = 8 // beside the type: all may execute it

// ROMFS is an uncompressed read-only file system of chained file headers. It has
// no owners, no times and one permission, to execute. It may be used from
// several goroutines.
type ROMFS struct {
	tree
	Size    int64 // bytes, as the header says, and no more than there are
	Volume  string
	Sum     uint32 // over the first 512 bytes; 0 is good
	Headers int    // whose checksum was computed
	BadSums int    // and of these, how many have another one
	Survey  *Survey

	archive *archive
	r       io.ReaderAt
	listed  map[int64]bool         // headers by place, as entries of a directory
	files   map[int64]*archiveNode // what is there
	summed  map[int64]bool         // headers by place, that were verified
}

// romfsHeader is a file's header.
type romfsHeader struct {
	at, next   int64
	kind, exec uint32
	info       uint32
	size       int64
	name       string
	data       int64
}

// NewROMFS reads the header and all file headers and verifies their checksums;
// the contents of files have none. What is wrong with single files is in the
// survey's problems.
//
// The error wraps ErrNotROMFS when there is no header, or only the magic, which
// kernels have in their code; it is of the budget, of
// ctx or of r otherwise, and what was read before is beside it.
func NewROMFS(ctx context.Context, r io.ReaderAt, size int64, meter *budget.Meter) (*ROMFS, error) {
	f := &ROMFS{archive: newArchive(meter), r: r, listed: make(map[int64]bool), files: make(map[int64]*archiveNode), summed: make(map[int64]bool)}
	f.tree = f.archive.tree()
	f.Survey = &f.archive.survey
	first, err := f.begin(size)
	if err != nil {
		return nil, err
	}
	defer f.archive.finish()
	root, err := f.header(first)
	if err == nil && romfsModes[root.kind]&typeMask != typeDir {
		err = romfsFault("the root at %#x is of type %d and no directory", first, root.kind)
	}
	if f.Sum != 0 && (f.BadSums > 0 || err != nil && readError(err) == nil) {
		return nil, fmt.Errorf("%w: the first %d bytes sum to %08x, and there is no sound root", ErrNotROMFS, romfsSummed, f.Sum)
	}
	if err != nil {
		f.Survey.problem("%v", err)
		return f, readError(err)
	}
	f.files[first] = f.archive.top
	f.archive.top.Mode = root.mode()
	if err := f.list(ctx, f.archive.top, root, ".", 0); err != nil {
		return f, fmt.Errorf("romfs: %w", err)
	}
	return f, nil
}

// errROMFS is a fault of the image, which leaves the rest of it readable.
type errROMFS struct{ error }

func romfsFault(format string, args ...any) error { return errROMFS{fmt.Errorf(format, args...)} }

// readError is err unless it is a fault of the image.
func readError(err error) error {
	var fault errROMFS
	if errors.As(err, &fault) {
		return nil
	}
	return err
}

func (f *ROMFS) begin(size int64) (first int64, err error) {
	p := make([]byte, min(romfsSummed, max(0, size)))
	if len(p) < 2*romfsAlign {
		return 0, fmt.Errorf("%w: %d bytes are too few", ErrNotROMFS, size)
	}
	if err := readFull(f.r, p, 0); err != nil {
		return 0, err
	}
	f.Size = int64(binary.BigEndian.Uint32(p[8:]))
	if string(p[:8]) != romfsMagic || f.Size < 4*romfsAlign {
		return 0, fmt.Errorf("%w: it begins with %q", ErrNotROMFS, p[:12])
	}
	name, _, found := bytes.Cut(p[romfsAlign:], []byte{0})
	if !found {
		return 0, fmt.Errorf("%w: the volume's name does not end", ErrNotROMFS)
	}
	f.Volume = strings.ToValidUTF8(string(name), ".")
	f.Sum = romfsSum(p[:min(int64(len(p)), f.Size)])
	if f.Size > size {
		f.Survey.problem("%d bytes are said and %d are there: the image is cut short", f.Size, size)
		f.Size = size
	}
	return romfsUp(romfsAlign + int64(len(name)) + 1), nil
}

func romfsUp(n int64) int64 { return (n + romfsAlign - 1) &^ (romfsAlign - 1) }

// romfsSum adds big-endian words.
func romfsSum(p []byte) (sum uint32) {
	for ; len(p) >= 4; p = p[4:] {
		sum += binary.BigEndian.Uint32(p)
	}
	return sum
}

// header reads the header of a file, whose name is padded and part of the sum.
func (f *ROMFS) header(at int64) (romfsHeader, error) {
	if at < 2*romfsAlign || at > f.Size-2*romfsAlign {
		return romfsHeader{}, romfsFault("file header at %#x is outside the %#x bytes of the image", at, f.Size)
	}
	p := make([]byte, min(romfsUp(romfsAlign+maxName+1), f.Size-at))
	if err := readFull(f.r, p, at); err != nil {
		return romfsHeader{}, err
	}
	name, _, found := bytes.Cut(p[romfsAlign:], []byte{0})
	if !found {
		return romfsHeader{}, romfsFault("file header at %#x: the name does not end", at)
	}
	word := func(i int) uint32 { return binary.BigEndian.Uint32(p[4*i:]) }
	length := romfsUp(romfsAlign + int64(len(name)) + 1)
	h := romfsHeader{
		at: at, next: int64(word(0) &^ 15), kind: word(0) & 7, exec: word(0) & romfsExec,
		info: word(1), size: int64(word(2)), name: string(name), data: at + length,
	}
	if f.summed[at] {
		return h, nil
	}
	const held = 256 // in the maps by place
	if err := f.archive.meter.Hold(held); err != nil {
		return h, err
	}
	f.summed[at] = true
	f.Headers++
	if sum := romfsSum(p[:min(length, int64(len(p)))]); sum != 0 {
		f.BadSums++
		f.Survey.problem("file header of %q at %#x: it sums to %08x and not to 0", h.name, at, sum)
	}
	return h, nil
}

func (h romfsHeader) mode() uint32 {
	m := romfsModes[h.kind]
	if h.exec != 0 && h.kind <= 2 {
		m |= 0o111
	}
	return m
}

// list follows the chain of headers that are a directory's entries.
func (f *ROMFS) list(ctx context.Context, dir *archiveNode, h romfsHeader, name string, depth int) error {
	problem := f.Survey.problem
	if depth > maxNesting {
		problem("%s: %v", name, errNesting)
		return nil
	}
	for at := int64(h.info &^ 15); at != 0; {
		if err := ctx.Err(); err != nil {
			return err
		}
		if f.listed[at] {
			problem("%s: the file header at %#x is already listed; the rest of the listing is not read", name, at)
			return nil
		}
		if err := f.archive.meter.Entries(1); err != nil {
			return err
		}
		f.listed[at] = true
		entry, err := f.header(at)
		if err != nil {
			problem("%s: %v; the rest of the listing is not read", name, err)
			return readError(err)
		}
		at = entry.next
		if entry.name == "." || entry.name == ".." {
			continue
		}
		if err := f.add(ctx, dir, entry, name, depth); err != nil {
			return err
		}
	}
	return nil
}

func (f *ROMFS) add(ctx context.Context, dir *archiveNode, h romfsHeader, where string, depth int) error {
	problem, own, full := f.Survey.problem, h.name, path.Join(where, h.name)
	switch {
	case !validName(own):
		problem("%s: the name %q is not possible and left out", where, own)
		return nil
	case dir.children[own] != nil:
		problem("%s: is there twice; the first is kept", full)
		return nil
	}
	link := h.kind == 0
	for hops := 0; h.kind == 0; hops++ {
		to, err := f.header(int64(h.info &^ 15))
		if err == nil && hops == romfsMaxHops {
			err = romfsFault("hard links in a row")
		}
		if err != nil {
			problem("%s: %v; left out", full, err)
			return readError(err)
		}
		h = to
	}
	n := f.files[h.at]
	fresh := n == nil
	if fresh {
		n = f.node(h, full)
		f.files[h.at] = n
	}
	if n.is(typeDir) && (link || !fresh) {
		problem("%s: is a link to a directory; left out", full)
		return nil
	}
	n.Links++
	if err := f.archive.put(dir, own, n); err != nil {
		return err
	}
	if n.is(typeDir) {
		return f.list(ctx, n, h, full, depth+1)
	}
	return nil
}

func (f *ROMFS) node(h romfsHeader, name string) *archiveNode {
	n := &archiveNode{Inode: Inode{Number: uint64(h.at), Mode: h.mode()}, r: f.r, off: h.data}
	switch n.Mode & typeMask {
	case typeFile, typeLink:
		if n.Size = h.size; h.size > f.Size-h.data {
			f.Survey.problem("%s: its %d bytes at %#x reach past the end at %#x", name, h.size, h.data, f.Size)
			n.Size = max(0, f.Size-h.data)
		}
	case typeBlock, typeChar:
		n.Major, n.Minor = h.info>>16, h.info&0xffff
	}
	return n
}

func parseROMFS(w *firmware.Window) (*firmware.Region, error) {
	f, err := NewROMFS(w.Context(), w, w.Size(), w.Meter())
	if errors.Is(err, ErrNotROMFS) {
		return nil, fmt.Errorf("%w: %w", firmware.ErrNotFormat, err)
	}
	if f == nil {
		return nil, err
	}
	r := &firmware.Region{Format: "romfs", Name: f.Volume, Size: f.Size, State: firmware.Parsed, Role: firmware.RoleData, FS: f}
	if looksLikeRoot(f) {
		r.Role = firmware.RoleRootFS
	}
	f.Survey.describe(r)
	r.AddCheck("sum of the first 512 bytes", f.Sum == 0, "%08x, and 0 is good", f.Sum)
	r.AddCheck("sums of file headers", f.BadSums == 0, "%d of %d match; contents of files are not covered", f.Headers-f.BadSums, f.Headers)
	if f.Sum != 0 {
		r.AddProblem("the first 512 bytes sum to %08x and not to 0", f.Sum)
	}
	if err != nil {
		r.AddProblem("not read to its end: %v", err)
		return r, err
	}
	if len(r.Problems) == 0 {
		r.State = firmware.Proven
	}
	return r, padRegion(w, r, romfsPadding)
}
