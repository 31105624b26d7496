//go:build unix

package console

import (
	"fmt"
	"os"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// openPty opens a pseudo-terminal without any line editing. The master is opened
// anew so that closing it ends a Read or Write that waits: the library leaves
// it in blocking mode.
func openPty() (master, slave *os.File, err error) {
	m, slave, err := pty.Open()
	if err != nil {
		return nil, nil, fmt.Errorf("simulated console: %w", err)
	}
	defer m.Close()
	if _, err := term.MakeRaw(int(slave.Fd())); err != nil {
		slave.Close()
		return nil, nil, fmt.Errorf("simulated console: %w", err)
	}
	fd, err := unix.FcntlInt(m.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		slave.Close()
		return nil, nil, fmt.Errorf("simulated console: %w", err)
	}
	return os.NewFile(uintptr(fd), m.Name()), slave, nil
}
