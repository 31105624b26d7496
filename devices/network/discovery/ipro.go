package discovery

import (
	"encoding/binary"

	"assay/attest"
)

// uniPRO is the search of i-PRO cameras, once Panasonic's: to UDP 10670, 52
// bytes that want the answer of any MAC; the answer, to 10669, has the MAC at 6
// and from 53 on fields of type, length and value (UniversalScanner
// Panasonic.cs).
var uniPRO = &protocol{
	name: "ipro", broadcast: true, listen: []int{10669},
	requests: []*request{{
		protocol: "ipro", asks: "search", port: 10670,
		head: bytesOf(uint32(0x00010000), uint32(0x000d0000), uint32(0), "\xff\xff\xff\xff\xff\xff", uint32(0xffffffff),
			uint32(0x00012011), uint32(0x1e11231f), uint32(0x1e191300), uint32(0x00020000), uint32(0), uint32(0), uint32(0x0000ffff), uint16(0)),
	}},
	read: readIPRO,
}

func readIPRO(r *reading) error {
	b := record(r.b)
	if len(b) < 6 || b[0] != 0 || b[1] != 1 || len(b) == 52 {
		return errNotOurs
	}
	if len(b) < 58 {
		return malformed("ipro: %d bytes, not an answer", len(b))
	}
	a := r.answer(KindCamera)
	a.mac(b.macText(6), "offset 0x06")
	fields := 0
	for i := 53; i+4 <= len(b); {
		kind, size := binary.BigEndian.Uint16(b[i:]), int(binary.BigEndian.Uint16(b[i+2:]))
		if kind == 0xffff { // the end; a checksum follows
			break
		}
		i += 4
		if i+size > len(b) {
			if fields == 0 {
				r.answers = r.answers[:len(r.answers)-1]
			}
			return malformed("ipro: field %#x of %d bytes runs past the end", kind, size)
		}
		fields++
		v := record(b[i : i+size])
		i += size
		switch kind {
		case 0x20:
			a.address(v.ipText(0), "field 0x20")
		case 0x40:
			a.address(ip6Text(v), "field 0x40")
		case 0xa7:
			a.model(v.text(0, len(v)), "field 0xa7")
		case 0xa8:
			a.claim(attest.SubjectUnit, "short-name", v.text(0, len(v)), "field 0xa8")
		case 0xa9:
			a.firmware(v.text(0, len(v)), "field 0xa9")
		}
	}
	if fields == 0 {
		r.answers = r.answers[:len(r.answers)-1]
		return malformed("ipro: no field")
	}
	a.spoke("fields")
	return nil
}
