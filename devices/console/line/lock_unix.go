//go:build linux || darwin || freebsd || openbsd

package line

import (
	"errors"
	"io"

	"golang.org/x/sys/unix"
)

var errBusy = errors.New("busy")

// lockDevice takes an advisory lock, because the exclusive mode that the serial
// library sets does not stop root. The lock goes with the process.
func lockDevice(device string) (io.Closer, error) {
	fd, err := unix.Open(device, unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.EBUSY) {
		return nil, errBusy
	}
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
		unix.Close(fd)
		return nil, errBusy
	}
	return descriptor(fd), nil
}

type descriptor int

func (d descriptor) Close() error { return unix.Close(int(d)) }
