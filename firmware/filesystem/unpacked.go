package filesystem

import (
	"io"
	"io/fs"
	"sync"

	"assay/firmware/budget"
)

// unpacked is the bytes of a packed file in any order. They are unpacked as
// they are asked for; a reader who goes back has all of them held in memory,
// where the budget allows it, and unpacked again from the start otherwise.
type unpacked struct {
	stream func() (io.ReadCloser, error)
	size   int64
	meter  *budget.Meter

	mu     sync.Mutex
	z      io.ReadCloser
	at     int64 // of z
	whole  []byte
	held   int64
	refuse bool // holding was tried
	closed bool
}

func (u *unpacked) ReadAt(p []byte, off int64) (int, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case u.closed:
		return 0, fs.ErrClosed
	case off < 0:
		return 0, fs.ErrInvalid
	case off >= u.size:
		return 0, io.EOF
	}
	var end error
	if int64(len(p)) > u.size-off {
		p, end = p[:u.size-off], io.EOF
	}
	if off < u.at && !u.refuse && u.whole == nil {
		if err := u.hold(); err != nil {
			u.refuse = true
		}
	}
	if u.whole != nil {
		return copy(p, u.whole[off:]), end
	}
	if err := u.seek(off); err != nil {
		return 0, err
	}
	n, err := io.ReadFull(u.z, p)
	u.at += int64(n)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return n, err
	}
	return n, end
}

func (u *unpacked) seek(off int64) error {
	if u.z == nil || off < u.at {
		if err := u.restart(); err != nil {
			return err
		}
	}
	n, err := io.CopyN(io.Discard, u.z, off-u.at)
	u.at += n
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}

func (u *unpacked) restart() (err error) {
	if u.z != nil {
		u.z.Close()
	}
	u.at = 0
	u.z, err = u.stream()
	return err
}

// hold reads all of it. What an image claims to be the size is charged before
// it is there, and allocated as it comes.
func (u *unpacked) hold() error {
	if err := u.meter.Hold(u.size); err != nil {
		return err
	}
	u.held = u.size
	err := u.restart()
	var data []byte
	if err == nil {
		data, err = io.ReadAll(io.LimitReader(u.z, u.size))
		u.at = int64(len(data))
	}
	if err == nil && int64(len(data)) < u.size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		u.meter.Release(u.held)
		u.held = 0
		return err
	}
	u.z.Close() // its memory is not needed any more
	u.z, u.whole = nil, data
	return nil
}

func (u *unpacked) Close() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.z != nil {
		u.z.Close()
	}
	u.meter.Release(u.held)
	u.z, u.whole, u.held, u.closed = nil, nil, 0, true
	return nil
}
