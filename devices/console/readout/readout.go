package readout

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"assay/attest"
)

// Options say what of a memory is read.
type Options struct {
	// Range is the part to read; all of the memory when it is zero.
	Range attest.Extent
	// Reference is what the memory is expected to hold: where the unit's
	// checksum agrees with it, its bytes are taken and do not travel.
	Reference *Reference
	// Sample is how many blocks whose bytes did not travel are read all the
	// same, chosen at random after the unit has given its checksums.
	Sample int
	// Have are the pieces that an earlier reading left; they are not read again.
	Have []Piece
	// Progress is told how far the reading is.
	Progress func(State)
}

// Reference is an image that was read or published earlier.
type Reference struct {
	io.ReaderAt
	Size int64
}

// How says how a piece of a dump came about.
type How string

// The ways. Only what was read is the unit's word about its bytes; the others
// are its word about a checksum.
const (
	Read        How = "read"      // it travelled
	Blank       How = "blank"     // the checksum is that of one value throughout
	AsReference How = "reference" // the checksum is that of the reference
)

// Piece is a part of a dump.
type Piece struct {
	attest.Extent
	How How `json:"how"`
}

// State is how far a reading is, in bytes of the memory.
type State struct {
	Done, Total int64
	Read, Blank int64
	Reference   int64
	Unread      int64
	Traffic     Traffic
}

// Store takes what is read.
type Store interface {
	io.WriterAt
	// Done is told of each piece after its bytes were written.
	Done(Piece) error
}

// Report is how a dump came about.
type Report struct {
	Size     int64    `json:"size"`
	Checksum string   `json:"checksum,omitempty"` // that the unit computed
	Pieces   []Piece  `json:"pieces"`             // in order, neighbours of one kind merged
	Unread   []Unread `json:"unread,omitempty"`
	Sample   *Sample  `json:"sample,omitempty"`
}

// Unread is a part that could not be read, and why.
type Unread struct {
	attest.Extent
	Cause error `json:"-"`
}

// State sums the report up.
func (r *Report) State() State {
	s := State{Total: r.Size}
	for _, p := range r.Pieces {
		s.Done += p.Size
		switch p.How {
		case Read:
			s.Read += p.Size
		case Blank:
			s.Blank += p.Size
		default:
			s.Reference += p.Size
		}
	}
	for _, u := range r.Unread {
		s.Unread += u.Size
		s.Done += u.Size
	}
	return s
}

// run is one reading.
type run struct {
	ctx    context.Context
	source Source
	store  Store
	o      Options
	sum    Checksum
	report Report
	state  State
	fills  map[fill][]byte
}

type fill struct {
	value byte
	size  int64
}

// area is how much is looked at before any of it is read: what a source may
// have to stage in the unit's RAM.
const area = 4 << 20

// Run reads a memory into a store. Where a part cannot be read the report names
// it and the rest is read; an error beside the report says that the line or the
// unit was lost, or that the context ended, and what was not reached is unread.
func Run(ctx context.Context, s Source, w Store, o Options) (*Report, error) {
	r := &run{ctx: ctx, source: s, store: w, o: o, fills: map[fill][]byte{}}
	if r.o.Range.Size == 0 {
		r.o.Range = attest.Extent{Size: s.Size()}
	}
	if r.o.Range.Offset < 0 || r.o.Range.Size < 0 || r.o.Range.Offset > s.Size()-r.o.Range.Size {
		return nil, fmt.Errorf("readout: %#x+%#x is not inside of a memory of %d bytes", r.o.Range.Offset, r.o.Range.Size, s.Size())
	}
	r.sum = s.Checksum()
	if o.Reference != nil && r.sum.Of == nil {
		return nil, errors.New("readout: the unit computes no checksum to compare with a reference")
	}
	r.report.Size, r.report.Checksum = s.Size(), r.sum.Name
	r.state.Total = r.o.Range.Size
	for _, p := range o.Have {
		r.keep(p)
	}
	todo := without(r.o.Range, r.report.Pieces, s.Block())
	err := r.all(todo)
	if err == nil {
		err = r.sample()
	}
	if err != nil {
		r.missRest(err)
	}
	return &r.report, err
}

// all reads what is to do, area by area.
func (r *run) all(todo []attest.Extent) error {
	for _, x := range todo {
		for off := x.Offset; off < x.Offset+x.Size; {
			end := min((off/area+1)*area, x.Offset+x.Size)
			if err := r.area(attest.Extent{Offset: off, Size: end - off}); err != nil {
				return err
			}
			off = end
		}
	}
	return nil
}

func (r *run) area(x attest.Extent) error {
	blocks := split([]attest.Extent{x}, r.source.Block())
	if r.sum.Of != nil && (r.o.Reference != nil || !packs(r.source)) {
		var err error
		if blocks, err = r.narrow([]attest.Extent{x}, 0); err != nil {
			return err
		}
	}
	if len(blocks) == 0 {
		return nil
	}
	return r.source.Read(r.ctx, blocks, func(p attest.Extent, b []byte, err error) error {
		if err != nil {
			r.miss(p, err)
			return nil
		}
		return r.write(p, b, Read)
	})
}

// packer is a source to which blank ranges cost next to nothing anyway, as one
// that sends them compressed.
type packer interface{ Packs() bool }

func packs(s Source) bool {
	p, ok := s.(packer)
	return ok && p.Packs()
}

// narrow asks for the checksums of ranges and divides those that are neither
// blank nor as the reference has them, down to single blocks, which it returns.
func (r *run) narrow(ranges []attest.Extent, level int) (blocks []attest.Extent, err error) {
	var differ []attest.Extent
	err = r.source.Sums(r.ctx, ranges, func(x attest.Extent, sum []byte, err error) error {
		if err == nil {
			known, err := r.known(x, sum)
			if known || err != nil {
				return err
			}
		}
		differ = append(differ, x)
		return nil
	})
	block := r.source.Block()
	sizes := []int64{256 << 10, 32 << 10, block}
	for level < len(sizes) && (sizes[level] < block || level+1 < len(sizes) && sizes[level] == block) {
		level++
	}
	if err != nil || len(differ) == 0 || level >= len(sizes) || allWithin(ranges, block) {
		return differ, err
	}
	return r.narrow(split(differ, sizes[level]), level+1)
}

func allWithin(ranges []attest.Extent, size int64) bool {
	return !slices.ContainsFunc(ranges, func(x attest.Extent) bool { return x.Size > size })
}

// known writes a range whose checksum says what is in it.
func (r *run) known(x attest.Extent, sum []byte) (bool, error) {
	for _, value := range []byte{0xff, 0x00} {
		if bytes.Equal(sum, r.fill(value, x.Size)) {
			return true, r.write(x, bytes.Repeat([]byte{value}, int(x.Size)), Blank)
		}
	}
	if ref := r.o.Reference; ref != nil && x.Offset+x.Size <= ref.Size {
		b := make([]byte, x.Size)
		if _, err := ref.ReadAt(b, x.Offset); err != nil && !errors.Is(err, io.EOF) {
			return false, fmt.Errorf("readout: reference at %#x: %w", x.Offset, err)
		}
		if bytes.Equal(sum, r.sum.Of(b)) {
			return true, r.write(x, b, AsReference)
		}
	}
	return false, nil
}

func (r *run) fill(value byte, size int64) []byte {
	k := fill{value, size}
	if r.fills[k] == nil {
		r.fills[k] = r.sum.Fill(value, size)
	}
	return r.fills[k]
}

func (r *run) write(x attest.Extent, b []byte, how How) error {
	if err := r.ctx.Err(); err != nil {
		return err
	}
	if int64(len(b)) != x.Size {
		return fmt.Errorf("readout: %d bytes for a piece of %d at %#x", len(b), x.Size, x.Offset)
	}
	if _, err := r.store.WriteAt(b, x.Offset); err != nil {
		return fmt.Errorf("readout: writing the dump at %#x: %w", x.Offset, err)
	}
	p := Piece{x, how}
	if err := r.store.Done(p); err != nil {
		return fmt.Errorf("readout: keeping the dump at %#x: %w", x.Offset, err)
	}
	r.keep(p)
	return nil
}

// keep adds a piece to the report.
func (r *run) keep(p Piece) {
	r.state.Done += p.Size
	switch p.How {
	case Read:
		r.state.Read += p.Size
	case Blank:
		r.state.Blank += p.Size
	default:
		r.state.Reference += p.Size
	}
	r.report.Pieces = insert(r.report.Pieces, p)
	if r.report.Sample != nil { // it came about in another way before
		total := r.state.Total
		r.state = r.report.State()
		r.state.Total = total
	}
	r.tell()
}

func (r *run) tell() {
	if r.o.Progress == nil {
		return
	}
	if m, ok := r.source.(Meter); ok {
		r.state.Traffic = m.Traffic()
	}
	r.o.Progress(r.state)
}

func (r *run) miss(x attest.Extent, cause error) {
	r.state.Done += x.Size
	r.state.Unread += x.Size
	if n := len(r.report.Unread); n > 0 && r.report.Unread[n-1].Offset+r.report.Unread[n-1].Size == x.Offset {
		r.report.Unread[n-1].Size += x.Size
	} else {
		r.report.Unread = append(r.report.Unread, Unread{x, cause})
	}
	r.tell()
}

// missRest names what was not reached.
func (r *run) missRest(cause error) {
	covered := slices.Clone(r.report.Pieces)
	for _, u := range r.report.Unread {
		covered = insert(covered, Piece{u.Extent, ""})
	}
	for _, x := range without(r.o.Range, covered, 1) {
		r.report.Unread = append(r.report.Unread, Unread{x, cause})
	}
	slices.SortFunc(r.report.Unread, func(a, b Unread) int { return compare(a.Offset, b.Offset) })
}
