package discovery

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"syscall"
)

// neighbourTable asks the kernel by netlink (rtnetlink(7), RTM_GETNEIGH).
func neighbourTable() ([]neighbour, error) {
	b, err := syscall.NetlinkRIB(syscall.RTM_GETNEIGH, syscall.AF_UNSPEC)
	if err != nil {
		return nil, err
	}
	messages, err := syscall.ParseNetlinkMessage(b)
	if err != nil {
		return nil, err
	}
	names := map[int]string{}
	if all, err := net.Interfaces(); err == nil {
		for _, i := range all {
			names[i.Index] = i.Name
		}
	}
	var out []neighbour
	for _, m := range messages {
		if m.Header.Type != syscall.RTM_NEWNEIGH {
			continue
		}
		if n, ok := parseNeighbour(m.Data, names); ok {
			out = append(out, n)
		}
	}
	return out, nil
}

// parseNeighbour reads struct ndmsg and its attributes NDA_DST and NDA_LLADDR.
// An entry that is not resolved is none.
func parseNeighbour(b []byte, names map[int]string) (neighbour, bool) {
	const (
		sizeofNdMsg = 12
		resolved    = 0x02 | 0x04 | 0x08 | 0x10 | 0x80 // reachable, stale, delay, probe, permanent
		ndaDst      = 1
		ndaLLAddr   = 2
	)
	if len(b) < sizeofNdMsg || binary.NativeEndian.Uint16(b[8:])&resolved == 0 {
		return neighbour{}, false
	}
	n := neighbour{on: names[int(binary.NativeEndian.Uint32(b[4:]))]}
	for b = b[sizeofNdMsg:]; len(b) >= 4; {
		size, kind := int(binary.NativeEndian.Uint16(b)), binary.NativeEndian.Uint16(b[2:])
		if size < 4 || size > len(b) {
			break
		}
		value := b[4:size]
		switch kind {
		case ndaDst:
			a, _ := netip.AddrFromSlice(value)
			if a.Is6() && a.IsLinkLocalUnicast() {
				a = a.WithZone(n.on)
			}
			n.addr = a
		case ndaLLAddr:
			if len(value) == 6 {
				n.mac = fmt.Sprintf("%02X:%02X:%02X:%02X:%02X:%02X", value[0], value[1], value[2], value[3], value[4], value[5])
			}
		}
		b = b[min((size+3)&^3, len(b)):]
	}
	return n, n.addr.IsValid() && n.mac != ""
}
