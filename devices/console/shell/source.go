package shell

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"assay/attest"
	"assay/devices"
	"assay/devices/console/readout"
)

// Block sizes in bytes. A frame costs about frameCost bytes beside its own, and
// all of it has to come again when one byte is spoilt: pieces are as large as the
// line allows.
const (
	blockSize  = 64 << 10
	pieceMin   = 1 << 10
	ddMin      = 512
	frameCost  = 64
	batchBytes = 1 << 20 // of one command: a minute and a half at 115200 baud
	batchLines = 6       // that are typed for one command
	batchMax   = 64      // pieces of one command
)

// How often a piece is asked for, and how many commands in a row may bring
// nothing that is right.
const (
	pieceTries = 16
	emptyMax   = 16
)

// source is a flash behind a shell.
type source struct {
	p    *Prompt
	chip *chip

	fails, bytes float64 // of late: pieces that the line spoilt, bytes that came
	uploadFails  int     // in all
	rereads      int     // pieces that had to travel again
}

// Source returns the flash b to be read. It is one of Banks.
func (p *Prompt) Source(_ context.Context, b devices.Bank) (readout.Source, error) {
	i := slices.IndexFunc(p.flash, func(c chip) bool { return c.Name == b.Name })
	if i < 0 {
		return nil, fmt.Errorf("%s: no flash %q", p.line.Name, b.Name)
	}
	if !p.can.dd {
		return nil, fmt.Errorf("%s: the unit's shell has no dd, so no flash can be read through it: %w: read it through the boot loader or with a programmer", p.line.Name, devices.ErrAccess)
	}
	if p.can.form().name == "text" {
		return nil, fmt.Errorf("%s: the unit's terminal changes some bytes, and its shell has none of gzip, base64, uuencode, xxd, hexdump and od: %w: read the flash through the boot loader or with a programmer", p.line.Name, devices.ErrAccess)
	}
	return &source{p: p, chip: &p.flash[i]}, nil
}

func (s *source) Size() int64  { return s.chip.Size }
func (s *source) Block() int64 { return blockSize }

// Traffic implements [readout.Meter].
func (s *source) Traffic() readout.Traffic {
	return readout.Traffic{Received: s.p.line.Received(), PerSecond: s.p.line.PerSecond(), Rereads: s.rereads}
}

// Packs reports whether blank parts travel packed, so that it is not worth asking
// for their checksums first.
func (s *source) Packs() bool { return s.p.can.form().packed }

// piece is a part of the flash behind one device and how dd reads it.
type piece struct {
	attest.Extent // in the chip
	device        string
	bs, skip      int64
	count         int64
	lead          int64 // bytes that dd gives before it
	left          int64 // bytes of the device from skip on
	tries         int
	whole         error // set where nothing is to be read
	seen          [][32]byte
}

// length is how many bytes dd gives.
func (x *piece) length() int { return int(min(x.bs*x.count, x.left)) }

func (x *piece) dd() string { return x.ddFrom(fmt.Sprint(x.skip)) }

func (x *piece) ddFrom(skip string) string {
	return fmt.Sprintf("dd if=%s bs=%d skip=%s count=%d", x.device, x.bs, skip, x.count)
}

// pieceSize is how large pieces ought to be: with p the chance that a byte is
// spoilt, n bytes cost least at about the square root of frameCost/p.
func (s *source) pieceSize() int64 {
	if s.fails < 0.25 {
		return blockSize
	}
	n := math.Sqrt(frameCost * (s.bytes + blockSize/4) / s.fails)
	size := int64(pieceMin)
	for size*2 <= int64(n) && size < blockSize {
		size *= 2
	}
	return size
}

func (s *source) came(n int, spoilt bool) {
	s.bytes += float64(n)
	if spoilt {
		s.fails++
	}
	if s.bytes > 256<<10 {
		s.bytes, s.fails = s.bytes/2, s.fails/2
	}
}

// cut makes pieces of a range, none larger than size.
func (s *source) cut(r attest.Extent, size int64) []piece {
	var all []piece
	for at, stop := r.Offset, r.Offset+r.Size; at < stop; {
		n, seg, none := s.run(at, stop-at)
		if none != nil {
			all = append(all, piece{Extent: attest.Extent{Offset: at, Size: n}, whole: none})
			at += n
			continue
		}
		from := seg.from + at - seg.at
		n = min(n, size-from%size) // so that most pieces begin at a multiple of size
		all = append(all, pieceOf(attest.Extent{Offset: at, Size: n}, seg.device, from, seg.from+seg.size))
		at += n
	}
	return all
}

// pieceOf says how dd reads a range of a device that ends at end.
func pieceOf(x attest.Extent, device string, from, end int64) piece {
	bs := int64(blockSize)
	for bs > ddMin && (from%bs != 0 || x.Size%bs != 0) {
		bs /= 2
	}
	skip := from / bs
	lead := from - skip*bs
	return piece{Extent: x, device: device, bs: bs, skip: skip, count: (lead + x.Size + bs - 1) / bs, lead: lead, left: end - skip*bs}
}

// run is how far from at the flash is alike: behind one segment, or not to be read.
func (s *source) run(at, n int64) (int64, segment, error) {
	within := func(x attest.Extent) bool { return at >= x.Offset && at < x.Offset+x.Size }
	for _, b := range s.chip.bad {
		if within(b) {
			return min(n, b.Offset+b.Size-at), segment{}, fmt.Errorf("%s at %#x: %w: a bad block, by the kernel's table", s.chip.Name, at, errUnread)
		}
		if b.Offset > at {
			n = min(n, b.Offset-at)
		}
	}
	for _, seg := range s.chip.segments {
		if within(attest.Extent{Offset: seg.at, Size: seg.size}) {
			return min(n, seg.at+seg.size-at), seg, nil
		}
	}
	for _, g := range s.chip.gaps {
		if within(g) {
			return min(n, g.Offset+g.Size-at), segment{}, fmt.Errorf("%s at %#x: %w: no MTD device shows these bytes; the boot loader may", s.chip.Name, at, errUnread)
		}
	}
	return n, segment{}, fmt.Errorf("%s at %#x: %w: beyond its end", s.chip.Name, at, errUnread)
}

var errUnread = errors.New("not read")

// Read implements [readout.Source]. Over a packed form the unit's own CRC-32 and
// length show that a piece is right; otherwise it came twice alike.
func (s *source) Read(ctx context.Context, ranges []attest.Extent, each func(attest.Extent, []byte, error) error) error {
	if s.p.o.Upload != nil {
		var err error
		if ranges, err = s.upload(ctx, ranges, each); err != nil {
			return err
		}
	}
	var queue []piece // what is asked for next comes first
	empty := 0
	next, done := 0, int64(0) // the range that is cut next, and how much of it is
	for {
		size := s.pieceSize()
		for next < len(ranges) && s.planned(queue) < batchBytes && len(queue) < batchMax {
			r := ranges[next]
			take := min(r.Size-done, batchBytes)
			queue = append(queue, s.cut(attest.Extent{Offset: r.Offset + done, Size: take}, size)...)
			if done += take; done >= r.Size {
				next, done = next+1, 0
			}
		}
		if len(queue) == 0 {
			return nil
		}
		batch, rest, err := s.batch(queue, each)
		if err != nil {
			return err
		}
		if len(batch) == 0 {
			queue = rest
			continue
		}
		again, right, err := s.readBatch(ctx, batch, each)
		if err != nil {
			return err
		}
		if empty++; right > 0 {
			empty = 0
		}
		if empty >= emptyMax {
			return fmt.Errorf("%s: flash %s at %#x: %d commands in a row brought no piece that is right: %w: shorten the wires and check the ground", s.p.line.Name, s.chip.Name, batch[0].Offset, empty, devices.ErrUnreachable)
		}
		queue, err = s.again(again, rest, each)
		if err != nil {
			return err
		}
	}
}

func (s *source) planned(queue []piece) (n int64) {
	for _, x := range queue {
		n += x.Size
	}
	return n
}

// batch takes the pieces of one command off the queue. What is not to be read is
// given to each.
func (s *source) batch(queue []piece, each func(attest.Extent, []byte, error) error) (batch, rest []piece, err error) {
	var bytes int64
	for i, x := range queue {
		if x.whole != nil {
			if len(batch) > 0 { // in their order
				return batch, queue[i:], nil
			}
			if err := each(x.Extent, nil, x.whole); err != nil {
				return nil, nil, err
			}
			continue
		}
		if bytes += x.bs * x.count; len(batch) > 0 && (bytes > batchBytes || len(batch) >= batchMax || len(s.request(append(batch[:len(batch):len(batch)], x)).layOut(newToken())) > batchLines) {
			return batch, queue[i:], nil
		}
		batch = append(batch, x)
	}
	return batch, nil, nil
}

// request is the command that reads pieces. Runs of alike ones share a loop.
func (s *source) request(batch []piece) *request {
	pipe := " 2>/dev/null" + s.p.can.form().pipe() + ";"
	r := &request{dump: true, plain: !s.p.can.form().packed}
	for n, g := range groups(batch) {
		skips := ""
		for _, x := range g {
			skips += fmt.Sprintf(" %d", x.skip)
		}
		r.atoms = append(r.atoms, "for i in"+skips+";do "+mark(fmt.Sprintf("%d.$i", n))+g[0].ddFrom("$i")+pipe+"done;")
		r.frames += len(g)
	}
	return r
}

// groups are the runs of pieces that one loop reads: alike but for their place.
func groups(batch []piece) [][]piece {
	var all [][]piece
	length := 0
	for i, x := range batch {
		skip := len(fmt.Sprint(x.skip)) + 1
		if i > 0 {
			g := all[len(all)-1]
			if g[0].device == x.device && g[0].bs == x.bs && g[0].count == x.count && length+skip <= 90 {
				all[len(all)-1] = append(g, x)
				length += skip
				continue
			}
		}
		all, length = append(all, []piece{x}), skip
	}
	return all
}

// tags are the tags of the pieces of a request.
func tags(batch []piece) map[string]int {
	all := map[string]int{}
	i := 0
	for n, g := range groups(batch) {
		for _, x := range g {
			all[fmt.Sprintf("%d.%d", n, x.skip)] = i
			i++
		}
	}
	return all
}

// readBatch asks for pieces once and gives those that came right to each. It
// returns those that did not, in their order, and how many did.
func (s *source) readBatch(ctx context.Context, batch []piece, each func(attest.Extent, []byte, error) error) (again []piece, right int, err error) {
	f := s.p.can.form()
	r := s.request(batch)
	for i := range batch {
		r.max = max(r.max, f.lineMax(batch[i].length()))
	}
	byTag := tags(batch)
	done := make([]bool, len(batch))
	short := make([]error, len(batch))
	var stop error
	r.each = func(fr frame) error {
		i, ok := byTag[fr.tag]
		if !ok || done[i] {
			return nil
		}
		x := &batch[i]
		b, err := f.decode(fr, x.length())
		if err == nil && len(b) < x.length() {
			err = errShort{len(b), x.length()}
			if !f.packed && len(b) > 0 {
				err = fmt.Errorf("%w: %w", errFrame, err)
			}
		}
		s.came(len(fr.raw), errors.Is(err, errFrame))
		if err != nil {
			short[i] = err
			return nil
		}
		if !f.packed && !x.again(b) {
			return nil
		}
		done[i] = true
		right++
		if err := each(x.Extent, b[x.lead:x.lead+x.Size], nil); err != nil {
			stop = err
			return err
		}
		return nil
	}
	_, err = s.p.ask(ctx, r)
	if stop != nil {
		return nil, right, stop
	}
	if err != nil && !errors.Is(err, errGarbled) {
		return nil, right, err
	}
	for i := range batch {
		if !done[i] {
			x := batch[i]
			x.tries++
			s.rereads++
			if short[i] == nil {
				short[i] = errGarbled
			}
			x.whole = short[i]
			again = append(again, x)
		}
	}
	return again, right, nil
}

// again reports whether a piece that carries no checksum came like this before.
func (x *piece) again(b []byte) bool {
	sum := sha256.Sum256(b)
	if slices.Contains(x.seen, sum) {
		return true
	}
	x.seen = append(x.seen, sum)
	return false
}

// again puts pieces that did not come right before the rest: smaller where that
// may help. One that was asked for often enough goes to each with its error.
func (s *source) again(pieces, rest []piece, each func(attest.Extent, []byte, error) error) ([]piece, error) {
	var queue []piece
	size := s.pieceSize()
	for _, x := range pieces {
		cause := x.whole
		x.whole = nil
		_, short := errors.AsType[errShort](cause)
		short = short && !errors.Is(cause, errFrame)
		switch {
		case x.Size > 4<<10 && short:
			queue = append(queue, s.cut(x.Extent, x.Size/4)...)
		case short && x.tries >= 3, x.tries >= pieceTries:
			err := fmt.Errorf("%s at %#x: %w: asked %d times: %w", s.chip.Name, x.Offset, errUnread, x.tries, cause)
			if err := each(x.Extent, nil, err); err != nil {
				return nil, err
			}
		case x.Size > size && errors.Is(cause, errFrame):
			queue = append(queue, s.cut(x.Extent, size)...)
		default:
			queue = append(queue, x)
		}
	}
	return append(queue, rest...), nil
}

// joined is the command that prints a range, over several devices where it lies so.
func joined(pieces []piece) string {
	if len(pieces) == 1 {
		return pieces[0].dd() + " 2>/dev/null"
	}
	var all []string
	for i := range pieces {
		all = append(all, pieces[i].dd())
	}
	return "{ " + strings.Join(all, ";") + ";} 2>/dev/null"
}
