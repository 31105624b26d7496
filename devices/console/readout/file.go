package readout

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"assay/attest"
	"assay/devices"
)

// RecordSuffix names the record beside a dump, "flash.bin.readout".
const RecordSuffix = ".readout"

// RecordSchema is the schema of its first line.
const RecordSchema = "assay.readout/v1"

// Header is the first line of a dump's record.
type Header struct {
	Schema      string             `json:"schema"`
	Channel     string             `json:"channel"` // as in "serial:/dev/ttyUSB0"
	Bank        string             `json:"bank"`
	Partition   string             `json:"partition,omitempty"`
	Offset      int64              `json:"offset"` // of the dump in the bank
	Size        int64              `json:"size"`
	Acquisition attest.Acquisition `json:"acquisition"`
	Started     time.Time          `json:"started"`
	Reference   attest.Digest      `json:"reference,omitempty"`
}

// Trailer is the last line of the record of a reading that came to its end.
type Trailer struct {
	Ended  time.Time       `json:"ended"`
	Digest attest.Digest   `json:"digest"`
	Unread []attest.Extent `json:"unread,omitempty"`
	Sample *Sample         `json:"sample,omitempty"`
}

// File is a dump on disk and the record of how each piece of it came about: one
// line of JSON for the header, one for each piece, one trailer. A piece is on
// disk before its line is, so that the record never promises what a power cut
// took. It is a [Store].
type File struct {
	Header  Header
	Trailer *Trailer // nil before the reading has ended

	data, record *os.File
	pieces       []Piece
	pending      []Piece
	synced       time.Time
}

// CreateFile starts a dump; neither the file nor its record may exist.
func CreateFile(path string, h Header) (*File, error) {
	h.Schema = RecordSchema
	data, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	record, err := os.OpenFile(path+RecordSuffix, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		data.Close()
		os.Remove(path)
		return nil, err
	}
	f := &File{Header: h, data: data, record: record, synced: time.Now()}
	if err := errors.Join(data.Truncate(h.Size), f.line(h), record.Sync()); err != nil {
		f.Discard()
		return nil, err
	}
	return f, nil
}

// OpenFile opens a dump to go on with it. A record whose last line was cut off
// is taken up to the line before.
func OpenFile(path string) (*File, error) {
	record, err := os.OpenFile(path+RecordSuffix, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: there is no record of how it was read (%s): it cannot be gone on with; name a new file", path, path+RecordSuffix)
	}
	if err != nil {
		return nil, err
	}
	f := &File{record: record, synced: time.Now()}
	end, err := f.parse(record)
	if err == nil {
		err = record.Truncate(end)
	}
	if err == nil {
		_, err = record.Seek(end, io.SeekStart)
	}
	if err == nil {
		f.data, err = os.OpenFile(path, os.O_RDWR, 0)
	}
	if err != nil {
		record.Close()
		return nil, fmt.Errorf("%s: %w", path+RecordSuffix, err)
	}
	if info, err := f.data.Stat(); err != nil || info.Size() != f.Header.Size {
		f.Close()
		return nil, fmt.Errorf("%s: %d bytes, and its record speaks of %d: it was changed since; name a new file", path, info.Size(), f.Header.Size)
	}
	return f, nil
}

// maxRecord bounds a record: a memory of 64 GiB in blocks of 4 KiB has no more lines.
const maxRecord = 1 << 30

// parse reads a record and returns where its last whole line ends.
func (f *File) parse(r io.Reader) (end int64, err error) {
	lines := bufio.NewReader(io.LimitReader(r, maxRecord))
	for n := 1; ; n++ {
		text, err := lines.ReadBytes('\n')
		if err == io.EOF {
			if n == 1 {
				return 0, errors.New("it is empty")
			}
			return end, nil
		}
		if err != nil {
			return end, err
		}
		if err := f.parseLine(n, text); err != nil {
			return end, fmt.Errorf("line %d: %w", n, err)
		}
		end += int64(len(text))
	}
}

func (f *File) parseLine(n int, text []byte) error {
	if n == 1 {
		if err := json.Unmarshal(text, &f.Header); err != nil {
			return err
		}
		h := f.Header
		if h.Schema != RecordSchema {
			return fmt.Errorf("schema %q is not %s", h.Schema, RecordSchema)
		}
		if h.Size <= 0 || h.Offset < 0 {
			return fmt.Errorf("%d bytes at %d are no part of a memory", h.Size, h.Offset)
		}
		return nil
	}
	if bytes.HasPrefix(text, []byte(`{"ended"`)) {
		f.Trailer = &Trailer{}
		return json.Unmarshal(text, f.Trailer)
	}
	var p Piece
	if err := json.Unmarshal(text, &p); err != nil {
		return err
	}
	if p.Offset < 0 || p.Size <= 0 || p.Size > f.Header.Size || p.Offset > f.Header.Size-p.Size {
		return fmt.Errorf("piece %#x+%#x is not inside", p.Offset, p.Size)
	}
	f.pieces, f.Trailer = insert(f.pieces, p), nil
	return nil
}

func (f *File) line(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = f.record.Write(append(b, '\n'))
	return err
}

// Pieces are what the dump has.
func (f *File) Pieces() []Piece { return slices.Clone(f.pieces) }

// WriteAt writes bytes of the dump.
func (f *File) WriteAt(b []byte, off int64) (int, error) { return f.data.WriteAt(b, off) }

// ReadAt reads bytes of the dump; of those that were not read it gives what the
// file has.
func (f *File) ReadAt(b []byte, off int64) (int, error) { return f.data.ReadAt(b, off) }

// syncEvery bounds what a power cut can take. On a line of 115,200 baud each
// block takes longer, so that each is on disk before the next has come.
const syncEvery = 250 * time.Millisecond

// Done records a piece.
func (f *File) Done(p Piece) error {
	f.pending = insert(f.pending, p)
	if time.Since(f.synced) < syncEvery {
		return nil
	}
	return f.Sync()
}

// Sync brings what is pending to disk: first the bytes, then their record.
func (f *File) Sync() error {
	if len(f.pending) == 0 {
		return nil
	}
	if err := f.data.Sync(); err != nil {
		return err
	}
	for _, p := range f.pending {
		if err := f.line(p); err != nil {
			return err
		}
		f.pieces = insert(f.pieces, p)
	}
	f.pending, f.synced = nil, time.Now()
	return f.record.Sync()
}

// unreadMark fills what could not be read, so that nobody takes it for content.
const unreadMark = "assay: unread  \n"

// End marks what is unread in the file and closes the record with a trailer, in
// which it puts the digest of the file.
func (f *File) End(t Trailer) error {
	if err := f.Sync(); err != nil {
		return err
	}
	for _, x := range t.Unread {
		if err := f.mark(x); err != nil {
			return err
		}
	}
	if err := f.data.Sync(); err != nil {
		return err
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(f.data, 0, f.Header.Size)); err != nil {
		return err
	}
	t.Digest = attest.DigestOfSum(sum.Sum(nil))
	f.Trailer = &t
	return errors.Join(f.line(t), f.record.Sync())
}

func (f *File) mark(x attest.Extent) error {
	mark := []byte(strings.Repeat(unreadMark, 4096))
	for at := int64(0); at < x.Size; at += int64(len(mark)) {
		if _, err := f.data.WriteAt(mark[:min(int64(len(mark)), x.Size-at)], x.Offset+at); err != nil {
			return err
		}
	}
	return nil
}

// Close keeps what is pending and closes the files.
func (f *File) Close() error {
	err := f.Sync()
	if f.data != nil {
		err = errors.Join(err, f.data.Close())
	}
	return errors.Join(err, f.record.Close())
}

// Discard closes and removes the files.
func (f *File) Discard() {
	f.data.Close()
	f.record.Close()
	os.Remove(f.data.Name())
	os.Remove(f.record.Name())
}

// Empty reports whether nothing was read.
func (f *File) Empty() bool { return len(f.pieces)+len(f.pending) == 0 }

// checkAtOnce is how many pieces of an earlier reading are looked at again
// before it is gone on with.
const checkAtOnce = 12

// ErrChanged says that a memory is not what an earlier dump of it has.
var ErrChanged = errors.New("the flash is not what the dump has")

// Check compares some of what a dump has with the memory that it is to be gone
// on with: another unit, or one that has changed, must not be mixed into it.
func Check(ctx context.Context, s Source, f *File) error {
	var seed [32]byte
	for i, b := range f.Header.Started.AppendFormat(nil, time.RFC3339Nano) {
		seed[i%32] ^= b
	}
	blocks := Choose(seed, split(extentsOf(f.pieces), s.Block()), checkAtOnce)
	compared := 0
	compareWith := func(x attest.Extent, theirs []byte, of func([]byte) []byte) error {
		compared++
		b := make([]byte, x.Size)
		if _, err := f.ReadAt(b, x.Offset); err != nil {
			return err
		}
		if !bytes.Equal(theirs, of(b)) {
			return fmt.Errorf("%w: at %#x: is it the same unit? %w: name a new file to read it from the start", ErrChanged, x.Offset, devices.ErrMalformed)
		}
		return nil
	}
	var err error
	if sum := s.Checksum(); sum.Of != nil {
		err = s.Sums(ctx, blocks, func(x attest.Extent, theirs []byte, err error) error {
			if err != nil {
				return nil // it is read anew when it matters
			}
			return compareWith(x, theirs, sum.Of)
		})
	} else {
		err = s.Read(ctx, blocks[:min(len(blocks), 4)], func(x attest.Extent, theirs []byte, err error) error {
			if err != nil {
				return nil
			}
			return compareWith(x, theirs, func(b []byte) []byte { return b })
		})
	}
	if err == nil && compared == 0 && len(blocks) > 0 {
		err = fmt.Errorf("%w: nothing of what the dump has could be read again to compare", devices.ErrMalformed)
	}
	return err
}

func extentsOf(pieces []Piece) []attest.Extent {
	var all []attest.Extent
	for _, p := range pieces {
		all = append(all, p.Extent)
	}
	return all
}
