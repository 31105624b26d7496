package network

import (
	"context"

	"assay/attest"
)

// iproInfo is getinfo of i-PRO (Panasonic), by public clients of Panasonic's
// cameras: lines of NAME, VERSION, SERIAL and MAC.
var iproInfo = &request{protocol: "ipro", method: "GET", uri: "/cgi-bin/getinfo?FILE=1"}

var iproProtocol = protocol{
	name: "ipro", maker: "ipro",
	requests: []*request{iproInfo},
	open: func(s *session, ctx context.Context, ep *endpoint) {
		s.question(ctx, ep, (*session).iproRead, iproInfo)
	},
	login: func(s *session, ctx context.Context, ep *endpoint) {
		s.questionAgain(ctx, ep, "ipro", (*session).iproRead)
	},
}

func (s *session) iproRead(a *answer) bool {
	found := keyValues(a.body)
	if found["MAC"] == "" || found["NAME"]+found["VERSION"] == "" {
		return false
	}
	s.speaks(a)
	s.observe(a, "ipro.answer", names(found), "keys")
	s.model(a, found["NAME"], "NAME")
	s.serial(a, found["SERIAL"], "SERIAL")
	s.mac(a, found["MAC"], "MAC")
	s.firmware(a, found["VERSION"], "VERSION")
	s.claim(a, attest.SubjectUnit, "label", found["TITLE"], "TITLE")
	return true
}
