package readout

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"assay/attest"
)

// unit is a source over bytes in memory.
type unit struct {
	flash    []byte
	noSum    bool
	packed   bool
	lie      map[int64][]byte // what its checksums pretend to be at an offset
	broken   []attest.Extent  // never comes right
	dieAfter int              // blocks read, then the line is gone
	sums     int
	sent     int64
}

var errLine = errors.New("the line is gone")

const block = 4 << 10

func (u *unit) Size() int64  { return int64(len(u.flash)) }
func (u *unit) Block() int64 { return block }
func (u *unit) Packs() bool  { return u.packed }

func (u *unit) Checksum() Checksum {
	if u.noSum {
		return Checksum{}
	}
	return CRC32
}

func (u *unit) Sums(_ context.Context, ranges []attest.Extent, each func(attest.Extent, []byte, error) error) error {
	for _, r := range ranges {
		u.sums++
		b := slices.Clone(u.flash[r.Offset : r.Offset+r.Size])
		for at, fake := range u.lie {
			if at >= r.Offset && at < r.Offset+r.Size {
				copy(b[at-r.Offset:], fake)
			}
		}
		if err := each(r, CRC32.Of(b), nil); err != nil {
			return err
		}
	}
	return nil
}

func (u *unit) Read(ctx context.Context, ranges []attest.Extent, each func(attest.Extent, []byte, error) error) error {
	for _, x := range split(ranges, block) {
		if u.dieAfter > 0 {
			if u.dieAfter--; u.dieAfter == 0 {
				return errLine
			}
		}
		u.sent += x.Size
		var err error
		if slices.ContainsFunc(u.broken, func(b attest.Extent) bool { return x.Offset < b.Offset+b.Size && b.Offset < x.Offset+x.Size }) {
			err = each(x, nil, errors.New("never agrees"))
		} else {
			err = each(x, u.flash[x.Offset:x.Offset+x.Size], nil)
		}
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}

// flash is 6 MiB and a bit of which a part is erased, a part zero.
func flash() []byte {
	b := bytes.Repeat([]byte{0xff}, 6<<20+512)
	r := rand.New(rand.NewPCG(1, 1))
	for i := range 200 << 10 {
		b[i] = byte(r.Uint32())
	}
	copy(b[5<<20+123:], "alone")
	clear(b[1<<20 : 2<<20])
	return b
}

func create(t *testing.T, size int64) *File {
	t.Helper()
	f, err := CreateFile(filepath.Join(t.TempDir(), "flash.bin"), Header{Bank: "nor0", Size: size, Started: time.Unix(1, 0)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func content(t *testing.T, f *File) []byte {
	t.Helper()
	b := make([]byte, f.Header.Size)
	if _, err := f.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBlankAreasDoNotTravel(t *testing.T) {
	for name, u := range map[string]*unit{"with checksums": {flash: flash()}, "without": {flash: flash(), noSum: true}, "packed": {flash: flash(), packed: true}} {
		t.Run(name, func(t *testing.T) {
			f := create(t, u.Size())
			report, err := Run(t.Context(), u, f, Options{})
			if err != nil || len(report.Unread) > 0 {
				t.Fatalf("%v %+v", err, report.Unread)
			}
			if !bytes.Equal(content(t, f), u.flash) {
				t.Error("the dump differs")
			}
			s := report.State()
			if s.Done != s.Total || s.Total != u.Size() {
				t.Errorf("%+v", s)
			}
			if name == "with checksums" && (u.sent != 204<<10 || s.Blank != u.Size()-204<<10) {
				t.Errorf("%d bytes travelled, %+v", u.sent, s)
			}
		})
	}
}

func TestOnlyWhatDiffersFromAReferenceTravels(t *testing.T) {
	u := &unit{flash: flash(), packed: true}
	reference := slices.Clone(u.flash)
	for _, at := range []int{100, 70 << 10, 5<<20 + 123} {
		reference[at] ^= 1
	}
	f := create(t, u.Size())
	report, err := Run(t.Context(), u, f, Options{Reference: &Reference{bytes.NewReader(reference), int64(len(reference))}})
	if err != nil || !bytes.Equal(content(t, f), u.flash) {
		t.Fatal(err, "the dump differs")
	}
	if u.sent != 3*block || report.State().Read != 3*block || u.sums > 100 {
		t.Errorf("%d bytes travelled, %d checksums, %+v", u.sent, u.sums, report.State())
	}
}

func TestAReferenceOfAnotherSizeIsUsedAsFarAsItGoes(t *testing.T) {
	u := &unit{flash: flash(), packed: true}
	f := create(t, u.Size())
	_, err := Run(t.Context(), u, f, Options{Reference: &Reference{bytes.NewReader(u.flash[:128<<10]), 128 << 10}})
	if err != nil || !bytes.Equal(content(t, f), u.flash) || u.sent != 76<<10 {
		t.Fatalf("%v, %d bytes travelled", err, u.sent)
	}
}

func TestASampleShowsAUnitThatLiesAboutItsChecksums(t *testing.T) {
	honest := flash()
	u := &unit{flash: slices.Clone(honest), packed: true, lie: map[int64][]byte{}}
	for i := range int64(20) { // half of the first 160 KiB is not what it says
		copy(u.flash[i*2*block:], "implant")
		u.lie[i*2*block] = honest[i*2*block : i*2*block+7]
	}
	f := create(t, u.Size())
	o := Options{Range: attest.Extent{Size: 160 << 10}, Reference: &Reference{bytes.NewReader(honest), u.Size()}, Sample: 16}
	report, err := Run(t.Context(), u, f, o)
	if err != nil {
		t.Fatal(err)
	}
	s := report.Sample
	if s.Of != 40 || len(s.Blocks) != 16 || len(s.Differ) == 0 || s.Detects(20) < 0.9999 {
		t.Fatalf("%+v", s)
	}
	for _, x := range s.Differ {
		if got := content(t, f)[x.Offset : x.Offset+7]; string(got) != "implant" {
			t.Errorf("at %#x the dump has %q", x.Offset, got)
		}
	}
	seed, _ := hex.DecodeString(s.Seed)
	if again := Choose([32]byte(seed), split([]attest.Extent{{Size: 160 << 10}}, block), 16); !slices.Equal(again, s.Blocks) {
		t.Error("the seed does not give the same blocks again")
	}
}

func TestTheChanceOfASampleIsTheHypergeometricOne(t *testing.T) {
	s := &Sample{Of: 100, Blocks: make([]attest.Extent, 45)}
	if got := fmt.Sprintf("%.3f %.3f %.3f", s.Detects(1), s.Detects(5), s.Detects(60)); got != "0.450 0.954 1.000" {
		t.Error(got)
	}
}

func TestWhatNeverComesRightIsUnreadAndMarkedSo(t *testing.T) {
	u := &unit{flash: flash(), broken: []attest.Extent{{Offset: 8192, Size: 1}, {Offset: 50 << 10, Size: 1}}}
	f := create(t, u.Size())
	report, err := Run(t.Context(), u, f, Options{})
	if err != nil || len(report.Unread) != 2 || report.Unread[0].Extent != (attest.Extent{Offset: 8192, Size: block}) {
		t.Fatalf("%v %+v", err, report.Unread)
	}
	var unread []attest.Extent
	for _, x := range report.Unread {
		unread = append(unread, x.Extent)
	}
	if err := f.End(Trailer{Unread: unread}); err != nil {
		t.Fatal(err)
	}
	got := content(t, f)
	if !strings.HasPrefix(string(got[8192:]), "assay: unread  \nassay: unread") || !bytes.Equal(got[12288:48<<10], u.flash[12288:48<<10]) {
		t.Errorf("%q", got[8192:8240])
	}
}

func TestAReadingThatIsCutTenTimesGoesOnAtTheBlock(t *testing.T) {
	u := &unit{flash: flash()}
	path := filepath.Join(t.TempDir(), "flash.bin")
	f, err := CreateFile(path, Header{Bank: "nor0", Size: u.Size(), Started: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	for cut := 0; ; cut++ {
		u.dieAfter = 5
		report, err := Run(t.Context(), u, f, Options{Have: f.Pieces()})
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if err == nil {
			if cut < 10 {
				t.Errorf("cut %d times only", cut)
			}
			break
		}
		if !errors.Is(err, errLine) || len(report.Unread) == 0 {
			t.Fatalf("%v %+v", err, report)
		}
		if f, err = OpenFile(path); err != nil {
			t.Fatal(err)
		}
		u.dieAfter = 0
		if err := Check(t.Context(), u, f); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, u.flash) {
		t.Fatal(err, "the dump differs")
	}
	if u.sent != 204<<10 {
		t.Errorf("%d bytes travelled: something was read twice", u.sent)
	}
}

func TestAnotherUnitIsNotMixedIntoADump(t *testing.T) {
	for name, noSum := range map[string]bool{"with checksums": false, "without": true} {
		t.Run(name, func(t *testing.T) {
			u := &unit{flash: flash(), noSum: noSum}
			f := create(t, u.Size())
			if _, err := Run(t.Context(), u, f, Options{Range: attest.Extent{Size: 128 << 10}}); err != nil {
				t.Fatal(err)
			}
			if err := f.Sync(); err != nil {
				t.Fatal(err)
			}
			other := &unit{flash: slices.Clone(u.flash), noSum: noSum}
			for i := range other.flash {
				other.flash[i] ^= 0x55
			}
			if err := Check(t.Context(), other, f); !errors.Is(err, ErrChanged) {
				t.Errorf("%v", err)
			}
			if err := Check(t.Context(), u, f); err != nil {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestARecordWhoseLastLineWasCutOffIsTakenUpBeforeIt(t *testing.T) {
	u := &unit{flash: flash()}
	path := filepath.Join(t.TempDir(), "flash.bin")
	f, err := CreateFile(path, Header{Bank: "nor0", Size: u.Size()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Run(t.Context(), u, f, Options{}); err != nil {
		t.Fatal(err)
	}
	f.Close()
	record, err := os.ReadFile(path + RecordSuffix)
	if err != nil {
		t.Fatal(err)
	}
	for cut := len(record) - 40; cut < len(record); cut++ {
		if err := os.WriteFile(path+RecordSuffix, record[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := OpenFile(path)
		if err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		if len(without(attest.Extent{Size: f.Header.Size}, f.Pieces(), 1)) == 0 {
			t.Fatalf("cut at %d: nothing is missing", cut)
		}
		f.Close()
	}
	for name, text := range map[string]string{
		"empty": "", "not JSON": "x\n", "another schema": `{"schema":"x"}` + "\n",
		"a piece outside": string(record[:bytes.IndexByte(record, '\n')+1]) + `{"offset":9,"size":99999999,"how":"read"}` + "\n",
	} {
		if err := os.WriteFile(path+RecordSuffix, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenFile(path); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
}

func TestAPartIsReadAsAMemoryOfItsOwn(t *testing.T) {
	u := &unit{flash: flash()}
	p, err := Part(u, attest.Extent{Offset: 1<<20 - 8192, Size: 16384})
	if err != nil {
		t.Fatal(err)
	}
	f := create(t, p.Size())
	if _, err := Run(t.Context(), p, f, Options{}); err != nil || !bytes.Equal(content(t, f), u.flash[1<<20-8192:1<<20+8192]) {
		t.Fatal(err, "the dump differs")
	}
	if _, err := Part(u, attest.Extent{Offset: u.Size() - 1, Size: 2}); err == nil {
		t.Error("a part beyond the end")
	}
}

func FuzzRecord(f *testing.F) {
	f.Add(`{"schema":"assay.readout/v1","size":8192}` + "\n" + `{"offset":0,"size":4096,"how":"read"}` + "\n" + `{"ended":"2026-01-01T00:00:00Z"}` + "\n")
	f.Add(`{"schema":"assay.readout/v1","size":-1}` + "\n")
	f.Fuzz(func(t *testing.T, text string) {
		r := &File{}
		if end, err := r.parse(strings.NewReader(text)); err != nil || end > int64(len(text)) {
			return
		}
		at := int64(0)
		for _, p := range r.pieces {
			if p.Offset < at || p.Size <= 0 || p.Offset+p.Size > r.Header.Size {
				t.Fatalf("%+v", r.pieces)
			}
			at = p.Offset + p.Size
		}
	})
}
