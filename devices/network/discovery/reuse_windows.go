package discovery

import (
	"syscall"

	"golang.org/x/sys/windows"
)

// reuse lets the port be shared with other programs that listen for the same
// answers.
func reuse(c syscall.RawConn) error {
	var err error
	cerr := c.Control(func(fd uintptr) {
		err = windows.SetsockoptInt(windows.Handle(fd), windows.SOL_SOCKET, windows.SO_REUSEADDR, 1)
	})
	if cerr != nil {
		return cerr
	}
	return err
}
