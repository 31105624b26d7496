package station

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"assay/attest"
	"assay/attest/collect"
	"assay/devices"
)

// Dump is a flash memory that was read into a file.
type Dump struct {
	Bank   devices.Bank
	Digest attest.Digest
	Unread []attest.Extent // parts that are not in the file
}

// DumpFlash reads the bank of a name, or the only one when name is empty, into
// f. Where a part could not be read the dump is returned beside the error.
func DumpFlash(ctx context.Context, t devices.Target, account *devices.Account, name string, f *os.File, p collect.Progress) (d *Dump, err error) {
	ch, err := OpenChannel(t, account, false, p)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, ch.Close()) }()
	reader, ok := ch.(devices.FlashReader)
	if !ok {
		return nil, fmt.Errorf("%s cannot read flash", t)
	}
	if err := reader.Identify(ctx, discard{}); err != nil {
		return nil, err
	}
	banks, err := reader.Banks(ctx)
	if err != nil {
		return nil, err
	}
	bank, err := pick(banks, name)
	if err != nil {
		return nil, err
	}
	readErr := reader.ReadBank(ctx, bank, f, func(done, total int64) {
		if p != nil {
			p.Bytes("flash "+bank.Name, done, total)
		}
	})
	var unread *devices.UnreadError
	if readErr != nil && !errors.As(readErr, &unread) {
		return nil, readErr
	}
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(f, 0, bank.Size)); err != nil {
		return nil, err
	}
	d = &Dump{Bank: bank, Digest: attest.DigestOfSum(h.Sum(nil))}
	if unread != nil {
		d.Unread = unread.Extents
	}
	return d, errors.Join(readErr, f.Sync())
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
		return devices.Bank{}, errors.New("no flash was found")
	}
	return devices.Bank{}, fmt.Errorf("name the flash to read with --bank: %s", strings.Join(names, ", "))
}

// discard is the sink of a dump, which wants bytes and no claims.
type discard struct{}

func (discard) Artefact(_, _ string, raw []byte) attest.Digest      { return attest.DigestOf(raw) }
func (discard) Claim(attest.Claim) string                           { return "" }
func (discard) Mark(attest.Mark) string                             { return "" }
func (discard) Problem(_ attest.ProblemKind, _ string, says string) {}
