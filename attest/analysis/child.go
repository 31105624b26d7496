package analysis

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode"

	"assay/firmware"
	"assay/firmware/budget"
	"assay/firmware/extract"
	"assay/firmware/inventory"
	"assay/firmware/lineage"
	"assay/internal/sandbox"
)

// What crosses between the child and its parent: frames of a letter, a length in
// four bytes, and that many bytes. The parent believes none of it: it bounds the
// size, decodes strictly, and checks the image against its own copy of the bytes
// (firmware.Restore). No path, no file and no open descriptor comes back.
const (
	frameProgress = 'p' // done and total, eight bytes each
	frameResult   = 'r' // a part of the result's JSON
	frameEnd      = 'e' // of the result
)

// Bounds on what a child may take and say.
const (
	maxMemory = 1 << 30  // of data; GOMEMLIMIT is half of it
	maxFrame  = 64 << 10 // bytes
	maxResult = 64 << 20 // bytes of JSON, which become a few times that in memory
)

// cpuTime is what analysing an image may take: minutes for the smallest.
func cpuTime(size int64) time.Duration {
	return 5*time.Minute + time.Duration(size>>20)*2*time.Second
}

// order is what the child is asked to do.
type order struct {
	Offset, Size int64
	Limits       budget.Limits
	Extract      string // its name, for messages
	ExtractBytes int64
	NoInventory  bool
	Lineage      bool
}

// answer is what it found.
type answer struct {
	Status    string
	Image     *firmware.Image
	Inventory *inventory.Report
	Extracted *extract.Summary
	Lineage   *lineage.Profile

	Failed, Ended, InventoryEnded, ExtractEnded *failure
}

// failure is an error that crossed.
type failure struct {
	Says     string
	Exceeded bool // of a budget
	NotEmpty bool // of the folder
}

func fail(err error) *failure {
	if err == nil {
		return nil
	}
	return &failure{err.Error(), errors.Is(err, budget.ErrExceeded), errors.Is(err, extract.ErrNotEmpty)}
}

func (f *failure) err() error {
	if f == nil {
		return nil
	}
	return f
}

func (f *failure) Error() string {
	says := f.Says[:min(len(f.Says), 4096)]
	return strings.Map(func(r rune) rune {
		if r != '\n' && !unicode.IsPrint(r) {
			return '.'
		}
		return r
	}, says)
}

func (f *failure) Is(target error) bool {
	return f.Exceeded && target == budget.ErrExceeded || f.NotEmpty && target == extract.ErrNotEmpty
}

const childName = "analysis"

// Main is called first by a program that wants its analyses confined: it does not
// return where this process is the child.
func Main() {
	sandbox.Main(childName, func(in *sandbox.Inside) error {
		var o order
		if err := json.Unmarshal(in.Request, &o); err != nil || len(in.Files) != 1 {
			return errors.Join(err, errors.New("this is for the program's own use"))
		}
		out := &frames{w: bufio.NewWriterSize(in.Out, maxFrame)}
		q := Request{Size: o.Size, Limits: o.Limits, Extract: o.Extract, ExtractBytes: o.ExtractBytes, NoInventory: o.NoInventory, Lineage: o.Lineage, Progress: out.progress}
		q.undigested = in.Root == nil && !o.Lineage // neither a manifest nor a profile has it
		r, err := here(in.Context, io.NewSectionReader(in.Files[0], o.Offset, o.Size), q, in.Root)
		a := answer{Status: in.Status, Failed: fail(err)}
		if r != nil {
			a.Image, a.Inventory, a.Extracted, a.Lineage = r.Image, r.Inventory, r.Extracted, r.Lineage
			a.Ended, a.InventoryEnded, a.ExtractEnded = fail(r.Ended), fail(r.InventoryEnded), fail(r.ExtractEnded)
		}
		return out.result(a)
	})
}

// frames writes what the child says.
type frames struct {
	mu   sync.Mutex
	w    *bufio.Writer
	last time.Time
}

func (f *frames) put(kind byte, p []byte) error {
	head := binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(p)))
	if _, err := f.w.Write(head); err != nil {
		return err
	}
	_, err := f.w.Write(p)
	return err
}

func (f *frames) progress(done, total int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now := time.Now(); done >= total || now.Sub(f.last) > 100*time.Millisecond {
		f.last = now
		b := binary.BigEndian.AppendUint64(nil, uint64(done))
		_ = f.put(frameProgress, binary.BigEndian.AppendUint64(b, uint64(total)))
		_ = f.w.Flush()
	}
}

func (f *frames) result(a answer) error {
	b, err := json.Marshal(a)
	if err != nil {
		return err
	}
	if len(b) > maxResult {
		if b, err = json.Marshal(answer{Status: a.Status, Failed: tooMuch(len(b))}); err != nil {
			return err
		}
	}
	for len(b) > 0 {
		n := min(len(b), maxFrame-5)
		if err := f.put(frameResult, b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return errors.Join(f.put(frameEnd, nil), f.w.Flush())
}

func tooMuch(n int) *failure {
	return &failure{Says: fmt.Sprintf("what was found takes %d MiB, more than the %d that a confined analysis may give", n>>20, maxResult>>20), Exceeded: true}
}

// errCannotConfine says that the analysis has to be done in this process.
var errCannotConfine = errors.New("not confined")

// errNonsense is returned for a child that does not keep to what was agreed.
var errNonsense = errors.New("the confined analysis gave no sound answer")

// IsHostile tells whether an image is to blame for an error of [Run]: it had the
// analysis stopped, or there is no sound answer about it.
func IsHostile(err error) bool {
	return errors.Is(err, sandbox.ErrStopped) || errors.Is(err, errNonsense) || errors.Is(err, budget.ErrExceeded)
}

// confined analyses an image in a child.
func confined(ctx context.Context, q Request) (*Result, error) {
	if q.Extract != "" {
		if err := os.MkdirAll(q.Extract, 0o700); err != nil {
			return nil, err
		}
	}
	c := sandbox.Child{
		Name: childName, Files: []*os.File{q.File}, Limits: sandbox.Limits{Memory: maxMemory, CPU: cpuTime(q.Size)},
		Request: order{q.Offset, q.Size, q.Limits, q.Extract, q.ExtractBytes, q.NoInventory, q.Lineage},
	}
	if q.Extract != "" {
		folder, err := os.Open(q.Extract)
		if err != nil {
			return nil, err
		}
		defer folder.Close()
		c.Folder, c.Limits.FileSize = folder, q.ExtractBytes
		if c.Limits.FileSize <= 0 {
			c.Limits.FileSize = extract.DefaultBytes
		}
	}
	// A child that only waits takes no processor time.
	wall := 4 * c.Limits.CPU
	inner, cancel := context.WithTimeout(ctx, wall)
	defer cancel()
	// The image's own digest is made here in any case: the child need not end for it.
	restorer := firmware.NewRestorer(io.NewSectionReader(q.File, q.Offset, q.Size), q.Size)
	defer restorer.Close()
	var a answer
	err := c.Run(inner, func(r io.Reader) error {
		reader := &unframed{r: bufio.NewReaderSize(r, maxFrame), progress: q.Progress, size: q.Size}
		d := json.NewDecoder(reader)
		d.DisallowUnknownFields()
		if err := d.Decode(&a); err != nil {
			return fmt.Errorf("%w: %w", errNonsense, err)
		}
		_, err := io.Copy(io.Discard, reader) // to its end
		return err
	})
	switch {
	case errors.Is(err, sandbox.ErrUnavailable):
		return nil, errCannotConfine
	case ctx.Err() == nil && inner.Err() != nil:
		return nil, fmt.Errorf("%w: it took more than %v", sandbox.ErrStopped, wall)
	case err != nil:
		return nil, err
	case a.Failed != nil:
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, a.Failed
	case a.Image == nil || a.Inventory == nil || q.Lineage && a.Lineage == nil:
		return nil, errNonsense
	}
	if err := restorer.Restore(a.Image); err != nil {
		return nil, fmt.Errorf("%w: %w", errNonsense, err)
	}
	return &Result{
		Image: a.Image, Inventory: a.Inventory, Extracted: a.Extracted, Lineage: a.Lineage, Sandbox: (&failure{Says: a.Status}).Error(),
		Ended: a.Ended.err(), InventoryEnded: a.InventoryEnded.err(), ExtractEnded: a.ExtractEnded.err(),
	}, nil
}

// unframed reads the result out of a child's frames and hands on its progress.
type unframed struct {
	r        *bufio.Reader
	progress func(done, total int64)
	size     int64
	left     int // of the frame
	total    int
	ended    bool
}

func (u *unframed) Read(p []byte) (int, error) {
	for u.left == 0 {
		if u.ended {
			return 0, io.EOF
		}
		if err := u.next(); err != nil {
			return 0, err
		}
	}
	n, err := u.r.Read(p[:min(len(p), u.left)])
	u.left -= n
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func (u *unframed) next() error {
	var head [5]byte
	if _, err := io.ReadFull(u.r, head[:]); err != nil {
		return fmt.Errorf("it ended before its answer: %w", io.ErrUnexpectedEOF)
	}
	n := int(binary.BigEndian.Uint32(head[1:]))
	switch kind := head[0]; {
	case n < 0 || n > maxFrame:
		return fmt.Errorf("a frame of %d bytes", n)
	case kind == frameResult:
		if u.total += n; u.total > maxResult {
			return fmt.Errorf("an answer of more than %d bytes", maxResult)
		}
		u.left = n
	case kind == frameEnd:
		u.ended = true
	case kind == frameProgress && n == 16:
		var b [16]byte
		if _, err := io.ReadFull(u.r, b[:]); err != nil {
			return io.ErrUnexpectedEOF
		}
		done, total := int64(binary.BigEndian.Uint64(b[:8])), int64(binary.BigEndian.Uint64(b[8:]))
		if u.progress != nil && done >= 0 && done <= total && total == u.size {
			u.progress(done, total)
		}
	default:
		return fmt.Errorf("a frame of kind %q with %d bytes", kind, n)
	}
	return nil
}
