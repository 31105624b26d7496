package discovery

import "strings"

// dlink is D-Link's DDP: to UDP 62976, 22 bytes, discovery for every MAC in
// version 2; the answer begins with EE FE and has the product's name at 86
// (a public client of the protocol, after D-Link's own Network Assistant).
var dlink = &protocol{
	name: "dlink", broadcast: true, listen: []int{62992},
	requests: []*request{{
		protocol: "dlink", asks: "discovery", port: 62976,
		head: "\xfd\xfd\x00\x00\xa1\x00\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00",
	}},
	read: readDLink,
}

func readDLink(r *reading) error {
	b := record(r.b)
	if len(b) < 22 || b[0] != 0xee || b[1] != 0xfe || b[4] != 0xa1 || b[5] != 0 {
		return errNotOurs
	}
	if len(b) < 22+274 {
		return malformed("dlink: %d bytes, not an answer of version 2", len(b))
	}
	a := r.answer(KindUnknown) // switches and access points answer, too
	a.spoke("discovery answer")
	model := b.text(22+64, 64)
	a.model(model, "offset 0x56")
	a.address(b.ipText(22+268), "offset 0x122")
	if strings.HasPrefix(strings.ToUpper(model), "DCS-") {
		a.role(KindCamera)
	} else {
		a.role(KindOther)
	}
	return nil
}
