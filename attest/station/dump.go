package station

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"assay/attest"
	"assay/attest/collect"
	"assay/devices"
	"assay/devices/console/line"
	"assay/devices/console/readout"
)

// DumpRequest asks for a unit's flash in a file.
type DumpRequest struct {
	Target    devices.Target
	Account   *devices.Account
	Bank      string // name; empty where there is one only
	Partition string // name; empty for the whole bank
	Path      string // of the dump; gone on with where it has a record of an unfinished reading
	// Against is what the flash is expected to hold: a file, or the digest of an
	// artefact in the register. Blocks whose checksum agrees do not travel.
	Against string
	// Sample is how many of the blocks that did not travel are read all the same.
	Sample int
	Serial Serial
	// Wait is how long a line that was lost is waited for before the dump ends
	// where it is; it can be gone on with later. Each new byte starts it anew.
	Wait     time.Duration
	Progress collect.Progress
	// Open opens the target's channel; [OpenChannel] when nil.
	Open func() (devices.Channel, error)
}

// Dump is a flash memory that was read into a file.
type Dump struct {
	Bank    devices.Bank
	Record  readout.Header
	Digest  attest.Digest // empty where the reading did not come to its end
	Report  *readout.Report
	Unread  []attest.Extent // parts that are not in the file
	Resumed int64           // bytes that an earlier reading had left
	Lost    int             // how often the line was lost and came back
	// Problems are what a reader should know of a flash that was read whole.
	Problems []string
}

// sourced is a channel whose flash is read block by block.
type sourced interface {
	devices.FlashReader
	Source(ctx context.Context, b devices.Bank) (readout.Source, error)
}

// ErrDone says that a file is a dump that was read to its end before.
var ErrDone = errors.New("was read to its end already")

// Dump reads a bank, or a part of it, into a file, and goes on with a reading
// that was interrupted. Where a part could not be read the dump is returned
// beside the error. A line that is lost in the middle is waited for.
func (h Home) Dump(ctx context.Context, r DumpRequest) (*Dump, error) {
	d := &dumping{home: h, DumpRequest: r}
	if d.Progress == nil {
		d.Progress = unseen{}
	}
	if d.Open == nil {
		d.Open = func() (devices.Channel, error) {
			return OpenChannel(r.Target, ChannelOptions{Account: r.Account, Serial: r.Serial, Progress: r.Progress})
		}
	}
	defer d.close()
	if err := d.prepare(ctx); err != nil {
		return nil, err
	}
	report, err := d.read(ctx)
	for since := time.Now(); errors.Is(err, line.ErrGone) && ctx.Err() == nil && time.Since(since) < d.Wait; {
		before := d.state.Done
		d.lost++
		d.Progress.Step(r.Target.String(), "the line is lost: waiting for it to come back")
		if werr := line.Pause(ctx, min(comeBack, d.Wait)); werr != nil {
			break
		}
		again, aerr := d.read(ctx)
		if again != nil {
			report = again
		}
		if err = aerr; d.state.Done > before {
			since = time.Now()
		}
	}
	if report == nil {
		return nil, err
	}
	return d.end(report, err)
}

// comeBack is how often a lost line is looked for.
const comeBack = 2 * time.Second

type unseen struct{}

func (unseen) Step(string, string)        {}
func (unseen) Bytes(string, int64, int64) {}

// dumping is one dump in the making.
type dumping struct {
	DumpRequest
	home      Home
	file      *readout.File
	bank      devices.Bank
	reference *readout.Reference
	digest    attest.Digest // of the reference
	closers   []io.Closer
	resumed   int64
	lost      int
	state     readout.State
	noted     noted
}

func (d *dumping) close() {
	if d.file != nil && d.file.Empty() {
		d.file.Discard()
	}
	for _, c := range d.closers {
		c.Close()
	}
}

// prepare looks at everything that can be wrong on our side before the unit is
// touched.
func (d *dumping) prepare(ctx context.Context) error {
	if err := d.openReference(ctx); err != nil {
		return err
	}
	_, err := os.Stat(d.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if d.file, err = readout.OpenFile(d.Path); err != nil {
		return err
	}
	d.closers = append(d.closers, d.file)
	if t := d.file.Trailer; t != nil && len(t.Unread) == 0 {
		return fmt.Errorf("%s %w; name a new file", d.Path, ErrDone)
	}
	for _, p := range d.file.Pieces() {
		d.resumed += p.Size
	}
	d.Bank, d.Partition = cmp.Or(d.Bank, d.file.Header.Bank), cmp.Or(d.Partition, d.file.Header.Partition)
	return nil
}

func (d *dumping) openReference(ctx context.Context) error {
	if d.Against == "" {
		if d.Sample > 0 {
			return errors.New("a sample is taken of what does not travel: it needs a reference")
		}
		return nil
	}
	f, err := d.referenceFile(ctx)
	if err != nil {
		return fmt.Errorf("reference %s: %w", d.Against, err)
	}
	d.closers = append(d.closers, f)
	sum := sha256.New()
	size, err := io.Copy(sum, f)
	if err != nil {
		return fmt.Errorf("reference %s: %w", d.Against, err)
	}
	d.reference, d.digest = &readout.Reference{ReaderAt: f, Size: size}, attest.DigestOfSum(sum.Sum(nil))
	return nil
}

// referenceFile opens the file, or takes the artefact out of the register.
func (d *dumping) referenceFile(ctx context.Context) (*os.File, error) {
	if !strings.HasPrefix(d.Against, "sha256:") {
		return os.Open(d.Against)
	}
	reg, err := d.home.Register(ctx)
	if err != nil {
		return nil, err
	}
	defer reg.Close()
	f, err := os.CreateTemp("", "assay-reference-*")
	if err != nil {
		return nil, err
	}
	os.Remove(f.Name()) // it lives as long as it is open
	err = reg.Artefact(ctx, attest.Digest(d.Against), f)
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// read opens the channel and reads what is missing.
func (d *dumping) read(ctx context.Context) (report *readout.Report, err error) {
	ch, err := d.Open()
	if err != nil {
		return nil, d.orGone(err)
	}
	defer func() { err = errors.Join(err, ch.Close()) }()
	reader, ok := ch.(sourced)
	if !ok {
		whole, ok := ch.(devices.FlashReader)
		if !ok {
			return nil, fmt.Errorf("%s cannot read flash", d.Target)
		}
		return d.readWhole(ctx, whole)
	}
	if err := reader.Identify(ctx, discard{}); err != nil {
		return nil, d.orGone(err)
	}
	source, err := d.source(ctx, reader)
	if err != nil {
		return nil, err
	}
	d.Progress.Step(d.Target.String(), fmt.Sprintf("read flash %s, %d bytes", d.bank.Name, source.Size()))
	report, err = readout.Run(ctx, source, d.file, readout.Options{
		Reference: d.reference, Sample: d.Sample, Have: d.file.Pieces(), Progress: d.tell,
	})
	return report, errors.Join(err, d.file.Sync())
}

// orGone takes a port that is not there for a line that was lost, once there was
// one.
func (d *dumping) orGone(err error) error {
	if d.file != nil && d.lost > 0 && errors.Is(err, devices.ErrUnreachable) {
		return errors.Join(line.ErrGone, err)
	}
	return err
}

// source finds the bank, and the file for it or that it belongs to the file.
func (d *dumping) source(ctx context.Context, reader sourced) (readout.Source, error) {
	banks, err := reader.Banks(ctx)
	if err != nil {
		return nil, err
	}
	if d.bank, err = pick(banks, d.Bank); err != nil {
		return nil, err
	}
	source, err := reader.Source(ctx, d.bank)
	if err != nil {
		return nil, err
	}
	h := readout.Header{
		Channel: d.Target.String(), Bank: d.bank.Name, Partition: d.Partition, Size: d.bank.Size, Acquisition: d.bank.Acquisition,
		Started: time.Now().UTC(), Reference: d.digest,
	}
	if d.Partition != "" {
		p, err := pickPartition(d.bank, d.Partition)
		if err != nil {
			return nil, err
		}
		if source, err = readout.Part(source, p.Extent); err != nil {
			return nil, err
		}
		h.Offset, h.Size = p.Offset, p.Size
	}
	if d.file == nil {
		if d.file, err = readout.CreateFile(d.Path, h); err != nil {
			return nil, err
		}
		d.closers = append(d.closers, d.file)
		return source, nil
	}
	was := d.file.Header
	if was.Bank != h.Bank || was.Size != h.Size || was.Offset != h.Offset {
		return nil, fmt.Errorf("%s is of %s, %d bytes at %#x, and the unit has %s, %d at %#x: name a new file", d.Path, was.Bank, was.Size, was.Offset, h.Bank, h.Size, h.Offset)
	}
	d.Progress.Step(d.Target.String(), "compare with what the dump has")
	return source, readout.Check(ctx, source, d.file)
}

func (d *dumping) tell(s readout.State) {
	d.state = s
	d.Progress.Bytes("flash "+d.bank.Name, s.Done, s.Total)
	if p, ok := d.Progress.(interface{ Readout(readout.State) }); ok {
		p.Readout(s)
	}
}

// end closes the record.
func (d *dumping) end(report *readout.Report, cause error) (*Dump, error) {
	out := &Dump{Bank: d.bank, Record: d.file.Header, Report: report, Resumed: d.resumed, Lost: d.lost, Problems: d.noted.problems}
	unread := &devices.UnreadError{Bank: d.bank.Name, Cause: cause}
	for _, u := range report.Unread {
		unread.Extents = append(unread.Extents, u.Extent)
		unread.Cause = cmp.Or(unread.Cause, u.Cause)
	}
	out.Unread = unread.Extents
	if cause != nil {
		if len(unread.Extents) == 0 {
			return out, cause
		}
		return out, unread
	}
	if err := d.file.End(readout.Trailer{Ended: time.Now().UTC(), Unread: out.Unread, Sample: report.Sample}); err != nil {
		return out, err
	}
	out.Digest = d.file.Trailer.Digest
	if len(unread.Extents) > 0 {
		return out, unread
	}
	return out, nil
}

func pick(banks []devices.Bank, name string) (devices.Bank, error) {
	var names []string
	for _, b := range banks {
		if b.Name == name || name == "" && len(banks) == 1 {
			return b, nil
		}
		names = append(names, fmt.Sprintf("%s (%d bytes)", b.Name, b.Size))
	}
	if len(banks) == 0 {
		return devices.Bank{}, errors.New("the prompt shows no flash that can be read")
	}
	return devices.Bank{}, fmt.Errorf("name the flash to read with --bank: %s", strings.Join(names, ", "))
}

func pickPartition(b devices.Bank, name string) (devices.Partition, error) {
	var names []string
	for _, p := range b.Partitions {
		if p.Name == name {
			return p, nil
		}
		names = append(names, fmt.Sprintf("%s (%d bytes at %#x)", p.Name, p.Size, p.Offset))
	}
	if len(names) == 0 {
		return devices.Partition{}, fmt.Errorf("the unit names no partitions of %s: read it whole", b.Name)
	}
	return devices.Partition{}, fmt.Errorf("no partition %q in %s: it has %s", name, b.Name, strings.Join(names, ", "))
}

// discard is the sink of a dump, which wants bytes and no claims.
type discard struct{}

func (discard) Artefact(_, _ string, raw []byte) attest.Digest      { return attest.DigestOf(raw) }
func (discard) Claim(attest.Claim) string                           { return "" }
func (discard) Mark(attest.Mark) string                             { return "" }
func (discard) Problem(_ attest.ProblemKind, _ string, says string) {}
