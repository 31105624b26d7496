package discovery

import "net/netip"

// gigEVision is the DISCOVERY_CMD of GigE Vision's control protocol, UDP 3956:
// eight bytes; the answer is eight bytes and the bootstrap registers from 0 to
// 0xF8 (GigE Vision Specification; UniversalScanner GigEVision.cs). These are
// cameras of machines, and cameras.
var gigEVision = &protocol{
	name: "gige-vision", broadcast: true,
	requests: []*request{{protocol: "gige-vision", asks: "DISCOVERY_CMD", port: 3956, head: "\x42\x11\x00\x02\x00\x00\x00\x01"}},
	read:     readGigEVision,
}

func readGigEVision(r *reading) error {
	b := record(r.b)
	if len(b) < 8 || b[0] == 0x42 {
		return errNotOurs
	}
	if len(b) < 0x100 || b[2] != 0 || b[3] != 3 {
		return malformed("gige-vision: %d bytes, not a DISCOVERY_ACK", len(b))
	}
	a := r.answer(KindCamera)
	a.spoke("DISCOVERY_ACK")
	a.mac(b.macText(0x12), "register 0x0a")
	a.address(b.ipText(0x2c), "register 0x24")
	a.maker(b.text(0x50, 32), "register 0x48")
	a.model(b.text(0x70, 32), "register 0x68")
	a.firmware(b.text(0x90, 32), "register 0x88")
	a.setSerial(b.text(0xe0, 16), "register 0xd8")
	a.label(b.text(0xf0, 16), "register 0xe8")
	return nil
}

// ip6Text writes the sixteen bytes there as an address.
func ip6Text(b []byte) string {
	if len(b) != 16 {
		return ""
	}
	a, _ := netip.AddrFromSlice(b)
	return a.String()
}
