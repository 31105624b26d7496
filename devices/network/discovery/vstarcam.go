package discovery

// vstarcam is the search of VStarcam: to UDP 8600, "DH" 01 01; the answer is
// "DH" 01 08 and a record of texts (UniversalScanner Vstarcam.cs).
var vstarcam = &protocol{
	name: "vstarcam", broadcast: true, listen: []int{8600},
	requests: []*request{{protocol: "vstarcam", asks: "search", port: 8600, head: "DH\x01\x01"}},
	read:     readVStarcam,
}

func readVStarcam(r *reading) error {
	b := record(r.b)
	if len(b) < 4 || string(b[:2]) != "DH" || len(b) == 4 {
		return errNotOurs
	}
	if len(b) < 0xec || string(b[:4]) != "DH\x01\x08" {
		return malformed("vstarcam: %d bytes, not the record of an answer", len(b))
	}
	a := r.answer(KindCamera)
	a.spoke("record")
	a.address(b.text(0x04, 16), "offset 0x04")
	a.mac(b.macText(0x54), "offset 0x54")
	a.setSerial(b.text(0x5c, 32), "offset 0x5c")
	a.label(b.text(0x7c, 32), "offset 0x7c")
	a.firmware(b.text(0xcc, 32), "offset 0xcc")
	return nil
}
