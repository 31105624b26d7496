package update

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"assay/firmware"
	"assay/firmware/budget"
)

// maxSmall bounds the files of a bundle that describe others.
const maxSmall = 1 << 20

// readSmall reads a whole file that describes others.
func readSmall(files fs.FS, name string) ([]byte, error) {
	f, err := files.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAtMost(f, name)
}

func readAtMost(r io.Reader, name string) ([]byte, error) {
	p, err := io.ReadAll(io.LimitReader(r, maxSmall+1))
	if err == nil && len(p) > maxSmall {
		err = fmt.Errorf("%s has more than %d bytes", printable(name), maxSmall)
	}
	return p, err
}

// fileSums compares files with the SHA-256 that a description says they have,
// each file once whatever is said of it.
type fileSums struct {
	w     *firmware.Window
	files fs.FS
	known map[string]string // by name: the sum, or why there is none
}

func newFileSums(w *firmware.Window, files fs.FS) *fileSums {
	return &fileSums{w: w, files: files, known: make(map[string]string)}
}

// check adds what comparing one file gave.
func (s *fileSums) check(r *firmware.Region, what, name, want string) bool {
	if len(s.known) >= maxListed {
		if len(s.known) == maxListed {
			r.AddProblem("more than %d files are listed; the rest is not compared", maxListed)
			s.known["\x00"] = ""
		}
		return false
	}
	sum, ok := s.known[name]
	if !ok {
		sum = s.sum(name)
		s.known[name] = sum
	}
	match := strings.EqualFold(sum, want)
	r.AddCheck("SHA-256 of "+printable(what), match, "%s: computed %s, declared %s", printable(name), sum, printable(want))
	return match
}

func (s *fileSums) sum(name string) string {
	f, err := s.files.Open(name)
	if err != nil {
		return fmt.Sprintf("nothing (%s)", printable(err.Error()))
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, &patient{s.w.Context(), f}); err != nil {
		return fmt.Sprintf("nothing (%s)", printable(err.Error()))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// patient reads as long as the analysis goes on.
type patient struct {
	ctx context.Context
	r   io.Reader
}

func (p *patient) Read(b []byte) (int, error) {
	if err := p.ctx.Err(); err != nil {
		return 0, err
	}
	return p.r.Read(b)
}

// spent tells an error that concerns the whole analysis.
func spent(err error) bool {
	return errors.Is(err, budget.ErrExceeded) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}
