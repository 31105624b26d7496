package console

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"strings"
	"time"
)

// upload is U-Boot's tftpput (cmd/net.c) and the "tftp ADDRESS NAME SIZE" of
// HiSilicon's loaders: a TFTP client (RFC 1350) that sends memory to serverip.
func (c *Console) upload(_ context.Context, words []string) (string, error) {
	line := strings.Join(words, " ")
	if len(words) != 4 {
		return line, c.print(words[0] + " - upload\n")
	}
	address, size, name := hex(words, 1, 0), hex(words, 2, 0), words[3]
	if words[0] == "tftp" {
		name, size = words[2], hex(words, 3, 0)
	}
	if c.variables["ipaddr"] == "" || c.variables["serverip"] == "" {
		return line, c.print("*** ERROR: `serverip' not set\n")
	}
	port := c.config.Upload.Port
	if port == 0 {
		port = 69
	}
	b := make([]byte, min(size, 64<<20))
	c.memory.read(address, b)
	if c.config.Upload.Spoil && len(b) > 0 {
		b[len(b)/2] ^= 1
	}
	if err := put(net.JoinHostPort(c.variables["serverip"], fmt.Sprint(port)), name, b); err != nil {
		return line, c.print("T T T \nRetry count exceeded; starting again\n")
	}
	return line, c.print(fmt.Sprintf("Save address: %#x\nSave size:    %#x\nSaving: ###\ndone\nBytes transferred = %d (%x hex)\n", address, size, len(b), len(b)))
}

// put sends one file.
func put(server, name string, b []byte) error {
	to, err := net.ResolveUDPAddr("udp4", server)
	if err != nil {
		return err
	}
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return err
	}
	defer conn.Close()
	packet := append([]byte{0, 2}, name+"\x00octet\x00"...)
	for block := 0; ; block++ {
		if err := exchange(conn, &to, packet, uint16(block)); err != nil {
			return err
		}
		off := block * 512
		if off > len(b) {
			return nil
		}
		packet = binary.BigEndian.AppendUint16([]byte{0, 3}, uint16(block+1))
		packet = append(packet, b[off:min(off+512, len(b))]...)
	}
}

// exchange sends a packet until its acknowledgement comes.
func exchange(conn *net.UDPConn, to **net.UDPAddr, packet []byte, block uint16) error {
	buf := make([]byte, 1024)
	for range 3 {
		if _, err := conn.WriteToUDP(packet, *to); err != nil {
			return err
		}
		conn.SetReadDeadline(time.Now().Add(time.Second))
		for {
			n, from, err := conn.ReadFromUDP(buf)
			if err != nil {
				break
			}
			if n >= 4 && buf[1] == 5 {
				return fmt.Errorf("refused: %q", buf[4:n])
			}
			if n >= 4 && buf[1] == 4 && binary.BigEndian.Uint16(buf[2:]) == block {
				*to = from
				return nil
			}
		}
	}
	return fmt.Errorf("no answer to block %d", block)
}
