package discovery

import (
	"encoding/binary"
	"strconv"

	"assay/attest"
)

// foscam is the search of Foscam's MJPEG cameras and their many copies: to UDP
// 10000, a header "MO_I" of 23 bytes, type 0, and the number 1; the answer, to
// port 10000 of everyone, has a serial number and a name that its owner gave.
// Some firmware folds the body over with a key of eight bytes that is in the
// header (UniversalScanner Foscam.cs). The protocol is not a sign of Foscam's
// own make.
var foscam = &protocol{
	name: "foscam", broadcast: true, listen: []int{10000},
	requests: []*request{{
		protocol: "foscam", asks: "search", port: 10000,
		head: bytesOf("MO_I", uint16(0), 0, "\x00\x00\x00\x00\x00\x00\x00\x00", 4, "\x00\x00\x00\x00\x00\x00\x00", uint32(1)),
	}},
	read: readFoscam,
}

const foscamHeader = 0x17

func readFoscam(r *reading) error {
	if len(r.b) < foscamHeader || string(r.b[:4]) != "MO_I" || len(r.b) == foscamHeader+4 {
		return errNotOurs
	}
	if len(r.b) < 0x55 {
		return malformed("foscam: %d bytes, not an answer", len(r.b))
	}
	b := record(append([]byte(nil), r.b...))
	if b[6] != 0 {
		for i := foscamHeader; i < len(b); i++ {
			b[i] ^= b[7+(i-foscamHeader)%8]
		}
	}
	a := r.answer(KindCamera)
	a.spoke("MO_I record")
	a.setSerial(b.text(0x17, 13), "offset 0x17")
	a.mac(b.text(0x17, 13), "offset 0x17") // its twelve digits are the address
	a.label(b.text(0x24, 21), "offset 0x24")
	a.address(b.ipText(0x39), "offset 0x39")
	a.firmware(digits(b.at(0x4d, 4)), "offset 0x4d")
	a.claim(attest.SubjectFirmware, "web-version", digits(b.at(0x51, 4)), "offset 0x51")
	if p := b.at(0x55, 2); len(p) == 2 {
		a.claim(attest.SubjectNetwork, "port", strconv.Itoa(int(binary.BigEndian.Uint16(p))), "offset 0x55")
	}
	return nil
}
