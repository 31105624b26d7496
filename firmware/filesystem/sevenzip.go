package filesystem

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"sync"

	"assay/firmware"
	"assay/firmware/budget"
)

func init() {
	firmware.Register(firmware.Format{
		Name:         "7z",
		Source:       "LZMA SDK DOC/7zFormat.txt, DOC/Methods.txt; p7zip for Unix modes in attributes",
		About:        "7-Zip archive",
		Integrity:    "CRC-32 of headers and of each file",
		Authenticity: "none",
		Magics:       []firmware.Magic{{Bytes: sevenMagic}},
		Parse:        parseSevenZip,
	})
}

const (
	sevenMagic = "7z\xbc\xaf\x27\x1c"
	sevenStart = 32 // bytes of the signature header

	sevenMaxHeader = 32 << 20 // bytes of a header, as a million files have
	sevenMaxPacked = 4        // headers packed inside of packed headers
)

// ErrNotSevenZip says that there is no archive, or only the signature of one.
var ErrNotSevenZip = errors.New("no 7z archive")

// SevenZip is a 7z archive: a signature header, packed streams, and a header that
// lists them and the files in them, most often packed itself. It may be used
// from several goroutines.
//
// The files of a folder, as a row of coders with one output is called, are one
// stream. They are read in any order: a folder is held in memory once a reader
// goes back in it, if it takes no more than a third of what the budget allows.
// One that is larger is unpacked from its start again, eight times at most, for
// as many of the files that a walk comes to next as take that third.
type SevenZip struct {
	tree
	Size    int64 // to the end of the header
	Short   bool  // it ends before that: cut, or the first of several volumes
	Version string
	Header  string // how the header is stored
	Entries int
	Folders int
	Solid   bool // some folder has several files
	Summed  int  // files whose CRC-32 was computed
	BadSums int  // and of these, how many have another one
	NoSums  int  // files that are read and have none
	Unread  map[string]int
	Methods map[string]int // folders by their coders
	Anti    []string       // files to delete, as an update lists them
	Checks  []firmware.Check
	Survey  *Survey

	archive *archive
	r       io.ReaderAt
	end     int64 // of the packed streams, where the header starts
	packed  []sevenExtent
	large   int64 // size of the largest folder that is not held in memory

	mu   sync.Mutex
	idle []*sevenFolder // kept for the next file
}

// sevenExtent is what a packed stream takes.
type sevenExtent struct {
	sevenPack
	folder *sevenFolder
}

// NewSevenZip reads an archive whose signature is at r's first byte: its header
// and each folder to its end, for the CRC-32 of the files. What is wrong is in
// the survey's problems.
//
// The error wraps ErrNotSevenZip when there is none; it is of the budget, of ctx
// or of r otherwise, and what was read before is beside it.
func NewSevenZip(ctx context.Context, r io.ReaderAt, size int64, meter *budget.Meter) (*SevenZip, error) {
	f := &SevenZip{archive: newArchive(meter), r: r, Unread: make(map[string]int), Methods: make(map[string]int)}
	f.tree = f.archive.tree()
	f.Survey = &f.archive.survey
	defer f.archive.finish()
	err := f.read(ctx, size)
	if errors.Is(err, ErrNotSevenZip) {
		return nil, err
	}
	if errors.Is(err, errSevenHeader) {
		f.problem("%v", err)
		err = nil
	}
	if err == nil {
		err = f.archive.spent
	}
	if err != nil {
		err = fmt.Errorf("7z: %w", err)
	}
	return f, err
}

func (f *SevenZip) problem(format string, args ...any) { f.archive.survey.problem(format, args...) }

func (f *SevenZip) check(name string, ok bool, format string, args ...any) {
	f.Checks = append(f.Checks, firmware.Check{Name: name, OK: ok, Detail: fmt.Sprintf(format, args...)})
}

func (f *SevenZip) read(ctx context.Context, limit int64) error {
	h, err := readSome(f.r, 0, sevenStart)
	if err != nil {
		return err
	}
	if len(h) < sevenStart || string(h[:len(sevenMagic)]) != sevenMagic {
		return fmt.Errorf("%w: no signature header", ErrNotSevenZip)
	}
	le := binary.LittleEndian
	sum, declared := crc32.ChecksumIEEE(h[12:]), le.Uint32(h[8:])
	if h[6] != 0 || sum != declared {
		return fmt.Errorf("%w: version %d.%d, start header CRC-32 is %08x, the header says %08x", ErrNotSevenZip, h[6], h[7], sum, declared)
	}
	offset, size := le.Uint64(h[12:]), le.Uint64(h[20:])
	if offset > sevenLargest || size > sevenLargest {
		return fmt.Errorf("%w: a header of %d bytes at %d", ErrNotSevenZip, size, offset)
	}
	f.Version = fmt.Sprintf("%d.%d", h[6], h[7])
	f.check("start header CRC-32", true, "%08x", sum)
	f.end = sevenStart + int64(offset)
	end := f.end + int64(size)
	f.Size = min(end, limit)
	switch {
	case end > limit:
		f.Short = true
		f.problem("the header declares %d bytes and %d are there: it is cut, or the first of several volumes, of which none is read alone", end, limit)
		return nil
	case size == 0:
		f.Header = "none"
		return nil
	case size > sevenMaxHeader:
		return fmt.Errorf("%w of %d bytes is larger than the %d that are read", errSevenHeader, size, sevenMaxHeader)
	}
	return f.readHeader(ctx, sevenPack{at: f.end, size: int64(size), sum: sevenSum{le.Uint32(h[28:]), true}})
}

// readHeader reads the header, and the headers that are packed in it.
func (f *SevenZip) readHeader(ctx context.Context, at sevenPack) error {
	meter := f.archive.meter
	if err := meter.Hold(at.size); err != nil {
		return err
	}
	held := at.size
	defer func() { meter.Release(held) }()
	header, err := readSome(f.r, at.at, int(at.size))
	if err != nil {
		return err
	}
	if int64(len(header)) < at.size {
		return io.ErrUnexpectedEOF
	}
	sum := crc32.ChecksumIEEE(header)
	f.check("header CRC-32", sum == at.sum.crc, "computed %08x, declared %08x", sum, at.sum.crc)
	if sum != at.sum.crc {
		return fmt.Errorf("%w: its CRC-32 does not hold", errSevenHeader)
	}
	f.Header = "plain"
	for depth := 0; ; depth++ {
		c := &sevenCursor{p: header, meter: meter}
		switch kind := c.number(); {
		case c.err != nil:
			return c.err
		case kind == sevenHeader:
			return f.list(ctx, c)
		case kind != sevenEncodedHeader:
			return fmt.Errorf("%w begins with %#02x, which is none", errSevenHeader, kind)
		case depth == sevenMaxPacked:
			return fmt.Errorf("%w is packed in more than %d others", errSevenHeader, sevenMaxPacked)
		}
		s := c.streams(f.end)
		if c.err != nil {
			return fmt.Errorf("packed header: %w", c.err)
		}
		if len(s.folders) != 1 {
			return fmt.Errorf("%w: packed in %d folders", errSevenHeader, len(s.folders))
		}
		folder := s.folders[0]
		f.own(s)
		if f.Header = "packed, " + folder.methods; folder.unread != "" {
			f.Header = folder.unread
			if folder.unread != sevenOthers[sevenAES] {
				f.Header = "packed, " + folder.unread
			}
			f.Unread["header: "+folder.unread]++
			return nil
		}
		if folder.size > sevenMaxHeader {
			return fmt.Errorf("%w of %d bytes is larger than the %d that are read", errSevenHeader, folder.size, sevenMaxHeader)
		}
		if err := meter.Hold(folder.size); err != nil {
			return err
		}
		held += folder.size
		if header, err = f.unpackHeader(ctx, folder); err != nil {
			return err
		}
	}
}

func (f *SevenZip) unpackHeader(ctx context.Context, folder *sevenFolder) ([]byte, error) {
	s, err := folder.stream(ctx, f.r, f.archive.meter)
	var header []byte
	if err == nil {
		defer s.Close()
		header, err = io.ReadAll(io.LimitReader(s, folder.size))
	}
	if fatal(ctx, err) {
		return nil, err
	}
	if err == nil && int64(len(header)) < folder.size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, fmt.Errorf("%w: unpacking it: %w", errSevenHeader, err)
	}
	if sum := crc32.ChecksumIEEE(header); folder.sum.known {
		f.check("packed header CRC-32", sum == folder.sum.crc, "computed %08x, declared %08x", sum, folder.sum.crc)
		if sum != folder.sum.crc {
			return nil, fmt.Errorf("%w: the CRC-32 of what it unpacks to does not hold", errSevenHeader)
		}
	}
	return header, nil
}

// own notes which bytes packed streams take.
func (f *SevenZip) own(s *sevenStreams) {
	for _, folder := range s.folders {
		for _, p := range folder.packs {
			if p.size > 0 {
				f.packed = append(f.packed, sevenExtent{p, folder})
			}
		}
	}
}

// list reads the header, whose ID was taken, and then what it lists.
func (f *SevenZip) list(ctx context.Context, c *sevenCursor) error {
	streams := &sevenStreams{}
	var files []sevenMember
	seen := uint64(0)
	for c.err == nil {
		id := c.number()
		if id == sevenEnd {
			break
		}
		if id > sevenFilesInfo || seen&(1<<id) != 0 {
			c.fail("%#02x in the header", id)
		}
		seen |= 1 << id
		switch id {
		case sevenArchiveProps:
			for c.err == nil && c.number() != sevenEnd {
				c.take(c.number())
			}
		case sevenMoreStreams:
			c.fail("additional streams, which are not read")
		case sevenMainStreams:
			streams = c.streams(f.end)
		case sevenFilesInfo:
			files = c.files()
		default:
			c.fail("%#02x in the header", id)
		}
	}
	if c.err != nil {
		return c.err
	}
	if len(c.p) > 0 {
		f.problem("%d bytes stand behind the end of the header", len(c.p))
	}
	const held = 24 // of extents
	if err := f.archive.meter.Hold(held * int64(len(streams.packs))); err != nil {
		return err
	}
	f.own(streams)
	f.overlaps()
	f.Entries, f.Folders = len(files), len(streams.folders)
	return f.members(ctx, streams, files)
}

// overlaps finds packed streams that share bytes, as of an archive that unpacks
// to more than it could hold. The later one is not read.
func (f *SevenZip) overlaps() {
	slices.SortStableFunc(f.packed, func(a, b sevenExtent) int { return int(max(-1, min(1, a.at-b.at))) })
	end := int64(0)
	for _, p := range f.packed {
		if p.at < end && p.folder.fault == nil {
			p.folder.fault = fmt.Errorf("its packed stream at %#x starts inside of another", p.at)
			f.problem("%v, and it is not read", p.folder.fault)
		}
		end = max(end, p.at+p.size)
	}
}

// gaps are the bytes before the header that no packed stream has.
func (f *SevenZip) gaps() (gaps []zipGap) {
	at := int64(sevenStart)
	for _, p := range f.packed {
		if p.at > at {
			gaps = append(gaps, zipGap{at, p.at})
		}
		at = max(at, p.at+p.size)
	}
	if at < f.end && f.Header != "" {
		gaps = append(gaps, zipGap{at, f.end})
	}
	return gaps
}

func parseSevenZip(w *firmware.Window) (*firmware.Region, error) {
	f, err := NewSevenZip(w.Context(), w, w.Size(), w.Meter())
	if errors.Is(err, ErrNotSevenZip) {
		return nil, fmt.Errorf("%w: %w", firmware.ErrNotFormat, err)
	}
	if f == nil {
		return nil, err
	}
	r := &firmware.Region{Format: "7z", Size: f.Size, State: firmware.Parsed, Role: firmware.RoleContainer}
	if f.Entries > 0 {
		r.FS = f
		if looksLikeRoot(f) {
			r.Role = firmware.RoleRootFS
		}
	}
	f.describe(r)
	switch {
	case err != nil:
		r.AddProblem("not read to its end: %v", err)
		return r, err
	case f.Short:
		r.State = firmware.Opaque
		return r, nil
	case len(r.Problems) == 0 && len(f.Unread) == 0 && f.NoSums == 0:
		r.State = firmware.Proven
	}
	if f.Entries == 0 && f.Header != "none" {
		return r, nil // what the bytes are is not known
	}
	for _, g := range f.gaps() {
		r.AddProblem("%d bytes at %#x are in no packed stream", g.to-g.from, g.from)
		r.State = firmware.Parsed
		r.Children = append(r.Children, w.Analyse(g.from, g.to-g.from)...)
	}
	return r, nil
}

func (f *SevenZip) describe(r *firmware.Region) {
	r.AddField("version", "%s", f.Version)
	r.AddField("header form", "%s", f.Header)
	r.AddField("packed streams", "%d bytes", f.end-sevenStart)
	r.AddField("entries", "%d", f.Entries)
	r.AddField("folders", "%d", f.Folders)
	if f.Solid {
		r.AddField("solid", "yes")
	}
	r.AddField("compression", "%s", tally(f.Methods))
	r.AddField("not read", "%s", tally(f.Unread))
	if f.large > 0 {
		r.AddField("too large to be held", "folders of up to %d bytes: they are unpacked anew for each %d bytes of files in the order of their names, %d times at most", f.large, f.holdable(), sevenAgain)
	}
	if len(f.Anti) > 0 {
		r.AddField("anti items", "%d to delete, the first %q", len(f.Anti), f.Anti[0])
	}
	if f.NoSums > 0 {
		r.AddField("files without CRC-32", "%d", f.NoSums)
	}
	f.Survey.describe(r)
	for _, c := range f.Checks {
		r.AddCheck(c.Name, c.OK, "%s", c.Detail)
	}
	if f.Entries > 0 {
		n := 0
		for _, count := range f.Unread {
			n += count
		}
		r.AddCheck("CRC-32 of files", f.BadSums == 0, "%d of %d match, %d are not read", f.Summed-f.BadSums, f.Summed, n)
	}
}
