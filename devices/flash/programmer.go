package flash

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"assay/attest"
	"assay/devices"
)

// Programmer is a clip on the flash chip, driven by flashrom: the way to a
// flash on which no software of the unit has a say (A4). It reads the chip
// twice, since a clip has bad contacts as others have bad lines, and passes on
// only what two reads agree on.
//
// It does not check that the chip under the clip is all the flash that the unit
// has, nor that it is this unit's.
type Programmer struct {
	target   devices.Target
	flashrom flashrom
	step     func(what string)
	sink     devices.Sink
	chip     chip
	dir      string // private, for the files that flashrom writes
}

var _ devices.FlashReader = (*Programmer)(nil)

// Options adjusts a [Programmer].
type Options struct {
	Program  string // flashrom itself; searched for where it is usually installed when empty
	Progress func(what string)
}

// OpenProgrammer finds flashrom for a target. It does not touch the chip yet.
func OpenProgrammer(t devices.Target, o Options) (*Programmer, error) {
	p := &Programmer{target: t, step: o.Progress, flashrom: flashrom{path: o.Program, programmer: t.Programmer}}
	if p.step == nil {
		p.step = func(string) {}
	}
	var err error
	if p.flashrom.path == "" {
		p.flashrom.path, err = findFlashrom()
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t, err)
	}
	if p.dir, err = os.MkdirTemp("", "assay-flash-"); err != nil {
		return nil, fmt.Errorf("%s: %w", t, err)
	}
	return p, nil
}

// acquisition is A4, but for the emulated chip of flashrom's own tests, which is
// nobody's.
func (p *Programmer) acquisition() attest.Acquisition {
	if name, _, _ := strings.Cut(p.target.Programmer, ":"); name == "dummy" {
		return attest.A0
	}
	return attest.A4
}

const mediaLog = "text/plain"

// Identify looks for the chip and claims what flashrom says of it.
func (p *Programmer) Identify(ctx context.Context, sink devices.Sink) error {
	p.sink = sink
	if err := p.flashrom.learn(ctx); err != nil {
		return fmt.Errorf("%s: %w", p.target, err)
	}
	p.step("probe for the flash chip")
	log, err := p.flashrom.probe(ctx, p.target.Chip)
	raw := sink.Artefact(mediaLog, "log of "+p.flashrom.called()+" -V --flash-size", log)
	if errors.Is(err, errFailed) {
		err = failure(log)
	}
	if err == nil {
		p.chip, err = chipIn(log)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", p.target, err)
	}
	for _, c := range []struct{ name, value string }{
		{"vendor", p.chip.vendor},
		{"part", p.chip.part},
		{"jedec-id", p.chip.jedec},
		{"size", fmt.Sprint(p.chip.size)},
		{"reader", fmt.Sprintf("flashrom %s, %s, %s", p.flashrom.version, p.flashrom.path, p.flashrom.digest)},
	} {
		if c.value != "" {
			sink.Claim(attest.Claim{
				Subject: attest.SubjectFlash, Name: c.name, Value: c.value, Source: "flashrom " + p.target.Programmer, Acquisition: p.acquisition(), Raw: raw,
			})
		}
	}
	if p.chip.otp {
		sink.Problem(attest.ProblemIncomplete, "flashrom", "this chip may have one-time-programmable memory beside its array, which flashrom does not read")
	}
	for _, w := range warnings(log) {
		sink.Problem(attest.ProblemIncomplete, "flashrom", w)
	}
	return nil
}

// Banks returns the chip as the one bank.
func (p *Programmer) Banks(context.Context) ([]devices.Bank, error) {
	if p.chip.size == 0 {
		return nil, fmt.Errorf("%s: %w: the chip was not identified", p.target, devices.ErrUnreachable)
	}
	return []devices.Bank{{Name: "spi", Size: p.chip.size, Acquisition: p.acquisition()}}, nil
}

const (
	compared = 4 << 10 // bytes: the unit in which reads are compared, a sector of the chip
	reads    = 3       // at most
)

// ReadBank reads the chip twice and writes what both reads agree on. Where they
// differ it is read a third time, and what two of three agree on counts; the
// rest is named in a [*devices.UnreadError]. The log of each read is given to
// the sink of Identify. progress counts the bytes of both reads.
func (p *Programmer) ReadBank(ctx context.Context, b devices.Bank, w io.WriterAt, progress devices.Progress) error {
	if p.sink == nil {
		return fmt.Errorf("%s: %w: the chip was not identified", p.target, devices.ErrUnreachable)
	}
	var files []*os.File
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	for n := 1; n <= reads; n++ {
		f, err := p.readOnce(ctx, n, b, progress)
		if err != nil {
			return fmt.Errorf("%s: read %d: %w", p.target, n, err)
		}
		files = append(files, f)
		if n == 1 {
			continue
		}
		v, err := agree(ctx, files, b.Size, w)
		if err != nil {
			return fmt.Errorf("%s: %w", p.target, err)
		}
		if len(v.unread) == 0 || n == reads {
			return p.conclude(b, v)
		}
		p.step(fmt.Sprintf("two reads differ in %d of %d sectors; reading again", v.differing, b.Size/compared))
	}
	return nil
}

// readOnce reads the chip into a file of its own.
func (p *Programmer) readOnce(ctx context.Context, n int, b devices.Bank, progress devices.Progress) (*os.File, error) {
	p.step(fmt.Sprintf("read %s of the chip, %d bytes", ordinal(n), b.Size))
	name := filepath.Join(p.dir, fmt.Sprintf("read-%d", n))
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	tell := func(percent int) {
		if progress != nil {
			// A third read is more than was foreseen, and moves nothing.
			progress(min(int64(n-1)*b.Size+b.Size*int64(percent)/100, 2*b.Size), 2*b.Size)
		}
	}
	// The chip is named, so that each read takes the same definition of it.
	chip := p.target.Chip
	if chip == "" {
		chip = p.chip.part
	}
	log, err := p.flashrom.read(ctx, chip, name, b.Size, tell)
	p.sink.Artefact(mediaLog, fmt.Sprintf("log of %s -r, read %d", p.flashrom.called(), n), log)
	if errors.Is(err, errFailed) {
		err = failure(log)
	}
	if err != nil {
		return nil, err
	}
	st, err := os.Lstat(name)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("%w: flashrom ended well and left no file: %s", devices.ErrMalformed, lastLines(log))
	case err != nil:
		return nil, err
	case !st.Mode().IsRegular() || st.Size() != b.Size:
		return nil, fmt.Errorf("%w: flashrom left %d bytes (%s) for a chip of %d", devices.ErrMalformed, st.Size(), st.Mode(), b.Size)
	}
	tell(100)
	return os.Open(name)
}

func ordinal(n int) string { return [...]string{"", "first", "second", "third"}[n] }

// verdict is what comparing the reads came to.
type verdict struct {
	differing int64 // sectors in which not all reads agree
	unread    []attest.Extent
	blank     bool // every byte is the same 0xFF or 0x00
}

// agree writes each sector that two reads agree on.
func agree(ctx context.Context, files []*os.File, size int64, w io.WriterAt) (v verdict, err error) {
	const step = 256 * compared
	bufs := make([][]byte, len(files))
	for i := range bufs {
		bufs[i] = make([]byte, min(step, size))
	}
	v.blank = true
	for off := int64(0); off < size; off += step {
		if err := ctx.Err(); err != nil {
			return v, err
		}
		n := min(step, size-off)
		for i, f := range files {
			if _, err := f.ReadAt(bufs[i][:n], off); err != nil {
				return v, fmt.Errorf("reading the file that flashrom left: %w", err)
			}
		}
		for at := int64(0); at < n; at += compared {
			end := min(at+compared, n)
			sector, same, ok := majority(bufs, at, end)
			if !same {
				v.differing++
			}
			if !ok {
				v.unread = append(v.unread, attest.Extent{Offset: off + at, Size: end - at})
				continue
			}
			v.blank = v.blank && (bytes.Count(sector, []byte{0xff}) == len(sector) || bytes.Count(sector, []byte{0}) == len(sector))
			if _, err := w.WriteAt(sector, off+at); err != nil {
				return v, fmt.Errorf("writing at %#x: %w", off+at, err)
			}
		}
	}
	v.unread = joined(v.unread)
	return v, nil
}

// majority is what two of the reads have at a place; same tells whether all have.
func majority(bufs [][]byte, at, end int64) (sector []byte, same, ok bool) {
	same = true
	for i, a := range bufs {
		for _, b := range bufs[i+1:] {
			if !bytes.Equal(a[at:end], b[at:end]) {
				same = false
			} else if !ok {
				sector, ok = a[at:end], true
			}
		}
	}
	return sector, same, ok
}

func joined(list []attest.Extent) (out []attest.Extent) {
	for _, x := range list {
		if n := len(out); n > 0 && out[n-1].Offset+out[n-1].Size == x.Offset {
			out[n-1].Size += x.Size
			continue
		}
		out = append(out, x)
	}
	return out
}

// conclude says what is to be said of a finished read-out.
func (p *Programmer) conclude(b devices.Bank, v verdict) error {
	const source = "flashrom -r"
	if v.blank && len(v.unread) == 0 {
		p.sink.Problem(attest.ProblemIncomplete, source, "every byte of the chip reads as erased: either it is, or the clip's data line has no contact")
	}
	if v.differing == 0 {
		return nil
	}
	says := fmt.Sprintf("reads of the chip differ in %d of %d sectors: press the clip on again, shorten the wires, lower the clock (spispeed=…)", v.differing, (b.Size+compared-1)/compared)
	if len(v.unread) == 0 {
		p.sink.Problem(attest.ProblemIncomplete, source, says+"; two of three reads agree on each of them, and that counts")
		return nil
	}
	return &devices.UnreadError{Bank: b.Name, Extents: v.unread, Cause: fmt.Errorf("%s: %w: %s; no two of three reads agree on the sectors named", p.target, devices.ErrMalformed, says)}
}

// Close removes the files that flashrom wrote.
func (p *Programmer) Close() error { return os.RemoveAll(p.dir) }

func digestReader(r io.Reader) (attest.Digest, error) {
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		return "", err
	}
	return attest.DigestOfSum(h.Sum(nil)), nil
}
