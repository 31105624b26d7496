package register

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"assay/attest"
	"assay/internal/durable"
)

// blobs is a folder of files named by their SHA-256, fanned out by the first
// two hexadecimal digits: 256 folders keep a million files listable.
type blobs struct{ dir string }

// prepare makes the 256 folders. They are synced at every opening, as the one
// who made them may have died before that.
func (b blobs) prepare() error {
	for i := range 256 {
		err := os.Mkdir(filepath.Join(b.dir, fmt.Sprintf("%02x", i)), 0o700)
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return durable.SyncDir(b.dir)
}

func (b blobs) path(d attest.Digest) (string, error) {
	hex := d.Hex()
	if hex == "" {
		return "", fmt.Errorf("%w: %.80q is not a digest like sha256:<64 lower-case hex digits>", ErrIncomplete, d)
	}
	return filepath.Join(b.dir, hex[:2], hex), nil
}

// has reports whether the blob is there. A blob that is there is whole, since
// it got its name only after it was synced.
func (b blobs) has(d attest.Digest) bool {
	path, err := b.path(d)
	if err != nil {
		return false
	}
	_, err = os.Stat(path)
	return err == nil
}

// put stores what r gives, which must be size bytes of digest d. No more than
// one byte over size is read.
func (b blobs) put(ctx context.Context, d attest.Digest, size int64, r io.Reader) error {
	path, err := b.path(d)
	if err != nil {
		return err
	}
	if b.has(d) {
		// Whoever put it there may have died before its name was durable.
		return durable.SyncDir(filepath.Dir(path))
	}
	return durable.Write(path, 0o600, func(w io.Writer) error {
		h := sha256.New()
		n, err := io.Copy(io.MultiWriter(w, h), io.LimitReader(reader{ctx, r}, size+1))
		if err != nil {
			return err
		}
		if n != size {
			return fmt.Errorf("%w: %s should have %d bytes and has %s", ErrIncomplete, d, size, count(n, size))
		}
		if got := attest.DigestOfSum(h.Sum(nil)); got != d {
			return fmt.Errorf("%w: what was given for %s has the digest %s", ErrIncomplete, d, got)
		}
		return nil
	})
}

func count(n, size int64) string {
	if n > size {
		return "more"
	}
	return fmt.Sprint(n)
}

// reader stops when its context does.
type reader struct {
	ctx context.Context
	r   io.Reader
}

func (r reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

// read returns a blob that is held in memory whole, and ErrDamaged where it is
// not what it was.
func (b blobs) read(d attest.Digest) ([]byte, error) {
	path, err := b.path(d)
	if err != nil {
		return nil, err
	}
	got, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: blob %s is missing", ErrDamaged, d)
	}
	if err != nil {
		return nil, err
	}
	if attest.DigestOf(got) != d {
		return nil, fmt.Errorf("%w: blob %s has changed", ErrDamaged, d)
	}
	return got, nil
}

// copy writes a blob to w. The error says whether it was what it should be, at
// the end: the caller must not use what was written before.
func (b blobs) copy(ctx context.Context, w io.Writer, d attest.Digest) error {
	path, err := b.path(d)
	if err != nil {
		return err
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: blob %s is missing", ErrDamaged, d)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(io.MultiWriter(w, h), reader{ctx, f}); err != nil {
		return err
	}
	if attest.DigestOfSum(h.Sum(nil)) != d {
		return fmt.Errorf("%w: blob %s has changed", ErrDamaged, d)
	}
	return nil
}
