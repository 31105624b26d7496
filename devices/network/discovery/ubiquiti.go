package discovery

import (
	"net/netip"
	"strings"

	"assay/attest"
)

// ubiquiti is the search of Ubiquiti: to UDP 10001 and the group 233.89.188.1,
// 01 00 00 00; the answer has a header of four bytes and fields of type (one
// byte), length (two bytes, big-endian) and value (UniversalScanner
// Ubiquiti.cs, whose two bytes of type and one of length are the same bytes).
// Access points and switches answer, too.
var ubiquiti = &protocol{
	name: "ubiquiti", broadcast: true, listen: []int{10001}, groups: []netip.Addr{netip.MustParseAddr("233.89.188.1")},
	requests: []*request{{protocol: "ubiquiti", asks: "discovery", port: 10001, head: "\x01\x00\x00\x00"}},
	read:     readUbiquiti,
}

func readUbiquiti(r *reading) error {
	b := record(r.b)
	if len(b) <= 4 {
		return errNotOurs
	}
	if b[0] != 1 && b[0] != 2 || int(b[2])<<8|int(b[3]) != len(b)-4 {
		return malformed("ubiquiti: the header's length is not the datagram's")
	}
	a := r.answer(KindUnknown)
	a.spoke("fields")
	model := ""
	for i := 4; i+3 <= len(b); {
		kind, size := b[i], int(b[i+1])<<8|int(b[i+2])
		i += 3
		if i+size > len(b) {
			return malformed("ubiquiti: field %#x of %d bytes runs past the end", kind, size)
		}
		v := record(b[i : i+size])
		i += size
		switch kind {
		case 0x01, 0x13:
			a.mac(v.macText(0), "field 0x01")
		case 0x02:
			a.mac(v.macText(0), "field 0x02")
			a.address(v.ipText(6), "field 0x02")
		case 0x03:
			a.claim(attest.SubjectFirmware, "firmware", string(v), "field 0x03")
		case 0x0b:
			a.label(string(v), "field 0x0b")
		case 0x0c, 0x15:
			if model == "" {
				model = string(v)
				a.model(model, "field 0x0c")
			}
		case 0x16:
			a.firmware(string(v), "field 0x16")
		}
	}
	if upper := strings.ToUpper(model); strings.HasPrefix(upper, "UVC") || strings.Contains(upper, "CAMERA") {
		a.role(KindCamera)
	} else {
		a.role(KindOther)
	}
	return nil
}
