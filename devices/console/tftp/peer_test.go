//go:build linux

package tftp

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"assay/internal/peer"
)

// What BusyBox and tftp-hpa send is what units send: BusyBox's client is theirs.
func TestPeersUploadByteByByte(t *testing.T) {
	busybox := peer.Need(t, "busybox", "busybox")
	hpa := peer.Need(t, "tftp", "tftp-hpa")
	for name, c := range map[string]struct {
		size int
		bad  float64 // of each kind of damage
		lose int     // one packet
		args func(file, host, port string) []string
	}{
		"BusyBox": {16 << 20, 0, 0, func(file, host, port string) []string {
			return []string{busybox, "tftp", "-p", "-l", file, "-r", "flash.bin", host, port}
		}},
		"BusyBox in large blocks": {16<<20 + 1, 0, 0, func(file, host, port string) []string {
			return []string{busybox, "tftp", "-p", "-b", "1428", "-l", file, "-r", "flash.bin", host, port}
		}},
		"tftp-hpa": {16 << 20, 0, 0, func(file, host, port string) []string {
			return []string{hpa, "-4", "-m", "octet", host, port, "-c", "put", file, "flash.bin"}
		}},
		"tftp-hpa that loses a block": {64 << 10, 0, 20, func(file, host, port string) []string {
			return []string{hpa, "-4", "-m", "octet", host, port, "-c", "put", file, "flash.bin"}
		}},
		"BusyBox over a bad line": {256 << 10, 0.02, 0, func(file, host, port string) []string {
			return []string{busybox, "tftp", "-p", "-l", file, "-r", "flash.bin", host, port}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			content := noise(c.size)
			file := filepath.Join(t.TempDir(), "flash.bin")
			if err := os.WriteFile(file, content, 0o600); err != nil {
				t.Fatal(err)
			}
			to, end := receiving(t, Receiver{Name: "flash.bin", Max: 32 << 20, Retry: 200 * time.Millisecond, Dally: 2 * time.Second})
			if c.bad > 0 || c.lose > 0 {
				to = newBadLine(t, to, c.bad, c.lose).front.LocalAddr()
			}
			args := c.args(file, "127.0.0.1", strconv.Itoa(to.(*net.UDPAddr).Port))
			cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("%v: %v\n%s", args, err, out)
			}
			if x := end(); x.err != nil || x.n != int64(c.size) || !bytes.Equal(x.m.b, content) {
				t.Fatalf("%d bytes, %v; %s", x.n, x.err, out)
			}
		})
	}
}
