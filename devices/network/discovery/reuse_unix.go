//go:build unix

package discovery

import (
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// reuse lets the port be shared with other programs that listen for the same
// answers. Systems of BSD's family want a second option for it.
func reuse(c syscall.RawConn) error {
	var err error
	cerr := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
		if err == nil && runtime.GOOS != "linux" {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		}
	})
	if cerr != nil {
		return cerr
	}
	return err
}
