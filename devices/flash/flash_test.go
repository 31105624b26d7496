package flash

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"assay/attest"
	"assay/devices"
)

type copied []byte

func (c copied) WriteAt(b []byte, off int64) (int, error) { return copy(c[off:], b), nil }

type claims struct{ all []attest.Claim }

func (c *claims) Artefact(string, string, []byte) attest.Digest     { return "" }
func (c *claims) Claim(x attest.Claim) string                       { c.all = append(c.all, x); return "" }
func (c *claims) Mark(attest.Mark) string                           { return "" }
func (c *claims) Problem(_ attest.ProblemKind, source, says string) {}

func write(t *testing.T, b []byte) string {
	path := filepath.Join(t.TempDir(), "dump.bin")
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func open(t *testing.T, path string) *Dump {
	d, err := Open(devices.Target{Kind: devices.KindFile, Path: path, Acquired: attest.A4})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func TestADumpIsReadWholeWithTheAcquisitionThatWasStated(t *testing.T) {
	want := bytes.Repeat([]byte("0123456789abcdef"), 1<<17+3)
	d := open(t, write(t, want))
	banks, err := d.Banks(t.Context())
	if err != nil || len(banks) != 1 || banks[0].Size != int64(len(want)) || banks[0].Acquisition != attest.A4 {
		t.Fatalf("%+v, %v", banks, err)
	}
	got := make(copied, len(want))
	var last int64
	if err := d.ReadBank(t.Context(), banks[0], got, func(done, total int64) { last = done }); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) || last != int64(len(want)) {
		t.Fatalf("the copy differs, progress ended at %d", last)
	}
	if all, err := io.ReadAll(io.NewSectionReader(d.ReaderAt(), 0, d.Size())); err != nil || !bytes.Equal(all, want) {
		t.Fatalf("the reader differs: %v", err)
	}
	var sink claims
	if err := d.Identify(t.Context(), &sink); err != nil || len(sink.all) != 1 || sink.all[0].Acquisition != attest.A4 {
		t.Fatalf("%+v, %v", sink.all, err)
	}
}

func TestAFileThatIsNoDumpIsRefusedWithItsReason(t *testing.T) {
	for path, want := range map[string]struct {
		is   error
		says string
	}{
		filepath.Join(t.TempDir(), "none.bin"): {devices.ErrUnreachable, "no such file"},
		t.TempDir():                            {devices.ErrNotUnit, "directory"},
		write(t, nil):                          {devices.ErrMalformed, "empty"},
	} {
		_, err := Open(devices.Target{Kind: devices.KindFile, Path: path})
		if !errors.Is(err, want.is) || !strings.Contains(err.Error(), want.says) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestAFileThatShrinksWhileItIsReadNamesWhatIsMissing(t *testing.T) {
	path := write(t, make([]byte, 3<<20))
	d := open(t, path)
	if err := os.Truncate(path, 1<<20+5); err != nil {
		t.Fatal(err)
	}
	err := d.ReadBank(t.Context(), devices.Bank{Name: "dump"}, make(copied, 3<<20), nil)
	var unread *devices.UnreadError
	if !errors.As(err, &unread) || unread.Extents[0] != (attest.Extent{Offset: 1<<20 + 5, Size: 2<<20 - 5}) {
		t.Fatalf("%v", err)
	}
}

func TestACancelledCopyStops(t *testing.T) {
	d := open(t, write(t, make([]byte, 100)))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := d.ReadBank(ctx, devices.Bank{}, make(copied, 100), nil); !errors.Is(err, context.Canceled) {
		t.Fatalf("%v", err)
	}
}
