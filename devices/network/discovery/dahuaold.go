package discovery

import (
	"encoding/binary"
	"strings"
)

// dahuaOld is the first version of Dahua's search: to UDP 5050, 32 bytes that
// begin with A3; the answer begins with B3 and has three parts: a record of 120
// bytes, the MAC with the model behind it, and lines of name and value
// (UniversalScanner Dahua1.cs).
var dahuaOld = &protocol{
	name: "dahua-v1", broadcast: true, listen: []int{5050},
	requests: []*request{{
		protocol: "dahua-v1", asks: "search", port: 5050,
		head: bytesOf(0xa3, 1, 0, 1, "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", 2, strings.Repeat("\x00", 15)),
	}},
	read: readDahuaOld,
}

const dahuaOldFirst = 0x78

func readDahuaOld(r *reading) error {
	b := record(r.b)
	if len(b) < 1 || b[0] == 0xa3 {
		return errNotOurs
	}
	if len(b) < dahuaOldFirst || b[0] != 0xb3 {
		return malformed("dahua-v1: %d bytes, not an answer", len(b))
	}
	second, third := int(b[2]), int(binary.LittleEndian.Uint16(b[0x14:]))
	if dahuaOldFirst+second+third > len(b) {
		return malformed("dahua-v1: parts of %d and %d bytes in an answer of %d", second, third, len(b))
	}
	a := r.answer(KindCamera)
	a.spoke("record 0xb3")
	a.address(b.ipText(0x38), "offset 0x38")
	a.mac(b.text(dahuaOldFirst, min(second, 17)), "part 2")
	model := b.text(0x28, 16)
	if second > 17 {
		model = b.text(dahuaOldFirst+17, second-17)
	}
	a.model(model, "part 2")
	for _, line := range strings.Split(string(b.at(dahuaOldFirst+second, third)), "\n") {
		name, value, ok := strings.Cut(strings.TrimSpace(line), ":")
		if !ok {
			continue
		}
		switch name {
		case "SerialNo":
			a.setSerial(value, "SerialNo")
		case "Name":
			a.label(value, "Name")
		case "IPv6Addr":
			addr, _, _ := strings.Cut(value, ";")
			a.address(addr, "IPv6Addr")
		case "Version":
			a.firmware(value, "Version")
		}
	}
	return nil
}
