//go:build linux && (amd64 || arm64 || arm || 386 || riscv64)

package console

import (
	"os"

	"golang.org/x/sys/unix"
)

// rateOf returns the rate that the terminal's other side is set to, 0 when it is
// not known. A pseudo-terminal's master shows its slave's settings.
func rateOf(master *os.File) (baud int) {
	c, err := master.SyscallConn()
	if err != nil {
		return 0
	}
	c.Control(func(fd uintptr) {
		if t, err := unix.IoctlGetTermios(int(fd), unix.TCGETS2); err == nil {
			baud = int(t.Ospeed)
		}
	})
	return baud
}
