package simulator

import (
	"net"

	"golang.org/x/sys/unix"
)

// established reports whether neither end has closed a connection, by the
// kernel's word.
func established(conn net.Conn) bool {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return true
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return false
	}
	open := false
	_ = raw.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		open = err == nil && info.State == 1 // TCP_ESTABLISHED
	})
	return open
}
