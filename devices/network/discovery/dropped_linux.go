package discovery

import (
	"bufio"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// dropped is how many datagrams the kernel threw away because the sockets'
// buffers were full (proc(5), /proc/net/udp: the last column).
func dropped(sockets []*socket) int {
	inodes := map[string]bool{}
	for _, s := range sockets {
		c, err := s.conn.SyscallConn()
		if err != nil {
			continue
		}
		_ = c.Control(func(fd uintptr) {
			var st unix.Stat_t
			if unix.Fstat(int(fd), &st) == nil {
				inodes[strconv.FormatUint(st.Ino, 10)] = true
			}
		})
	}
	n := 0
	for _, name := range []string{"/proc/net/udp", "/proc/net/udp6"} {
		f, err := os.Open(name)
		if err != nil {
			continue
		}
		for lines := bufio.NewScanner(f); lines.Scan(); {
			w := strings.Fields(lines.Text())
			if len(w) < 13 || !inodes[w[9]] {
				continue
			}
			if d, err := strconv.Atoi(w[len(w)-1]); err == nil {
				n += d
			}
		}
		f.Close()
	}
	return n
}
