package flash

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"assay/attest"
	"assay/devices"
)

func TestADumpIsCopiedByteForByte(t *testing.T) {
	want := bytes.Repeat([]byte("0123456789abcde"), 200_000)
	path := filepath.Join(t.TempDir(), "flash.bin")
	if err := os.WriteFile(path, want, 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := Open(devices.Target{Kind: devices.KindFile, Path: path, Acquired: attest.A4})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	banks, err := d.Banks(context.Background())
	if err != nil || len(banks) != 1 || banks[0].Acquisition != attest.A4 || banks[0].Size != int64(len(want)) {
		t.Fatalf("%+v %v", banks, err)
	}
	out, err := os.Create(path + ".copy")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	var last int64
	if err := d.ReadBank(context.Background(), banks[0], out, func(done, _ int64) { last = done }); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(out.Name())
	if err != nil || !bytes.Equal(got, want) || last != int64(len(want)) {
		t.Fatalf("copied %d of %d bytes, progress %d, %v", len(got), len(want), last, err)
	}
}

func TestADumpThatIsNoneSaysWhy(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]error{
		filepath.Join(dir, "missing"): devices.ErrUnreachable,
		dir:                           devices.ErrNotUnit,
		empty:                         devices.ErrMalformed,
	} {
		if _, err := Open(devices.Target{Kind: devices.KindFile, Path: path}); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", path, err, want)
		}
	}
}

func TestAnInterruptedCopyNamesWhatIsMissing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "flash.bin")
	if err := os.WriteFile(path, make([]byte, 3<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := Open(devices.Target{Kind: devices.KindFile, Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	banks, _ := d.Banks(context.Background())
	ctx, cancel := context.WithCancel(context.Background())
	out, _ := os.Create(path + ".copy")
	defer out.Close()
	err = d.ReadBank(ctx, banks[0], out, func(done, _ int64) { cancel() })
	var u *devices.UnreadError
	if !errors.As(err, &u) || u.Extents[0] != (attest.Extent{Offset: 1 << 20, Size: 2 << 20}) {
		t.Fatalf("%v", err)
	}
}
