package discovery

import (
	"strings"

	"assay/attest"
)

// hanwha is the search of Hanwha Vision (once Samsung Techwin): to UDP 7701, a
// record of 262 bytes that begins with 1; the answer, to 7711, is the same
// record with 11, the MAC and addresses as text (UniversalScanner Hanwha.cs).
var hanwha = &protocol{
	name: "hanwha", broadcast: true, listen: []int{7711},
	requests: []*request{{protocol: "hanwha", asks: "search", port: 7701, head: bytesOf(1, strings.Repeat("\x00", 261))}},
	read:     readHanwha,
}

func readHanwha(r *reading) error {
	if len(r.b) > 0 && r.b[0] == 1 {
		return errNotOurs
	}
	if len(r.b) < 0xae || r.b[0] != 0x0b {
		return malformed("hanwha: %d bytes, not the record of an answer", len(r.b))
	}
	b := record(r.b)
	a := r.answer(KindCamera)
	a.spoke("record 0x0b")
	a.mac(b.text(0x13, 18), "offset 0x13")
	a.address(b.text(0x25, 16), "offset 0x25")
	a.model(b.text(0x6d, 10), "offset 0x6d")
	a.service(b.text(0x85, 39), "offset 0x85")
	if a.macs == nil && b.text(0x6d, 10) == "" {
		a.claim(attest.SubjectNetwork, attest.NameProtocol, "hanwha", "record 0x0b")
	}
	return nil
}
