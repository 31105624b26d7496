package network

import (
	"context"
	"strings"

	"assay/attest"
)

// vivotekParameters asks VIVOTEK's getparam.cgi for the names of the unit, by the
// answers in public clients (libpyvivotek and others). setparam.cgi beside it
// writes.
var vivotekParameters = &request{protocol: "vivotek", method: "GET",
	uri: "/cgi-bin/admin/getparam.cgi?system_info_modelname&system_info_firmwareversion&system_info_serialnumber"}

var vivotekProtocol = protocol{
	name: "vivotek", maker: "vivotek",
	requests: []*request{vivotekParameters},
	open: func(s *session, ctx context.Context, ep *endpoint) {
		s.question(ctx, ep, (*session).vivotekRead, vivotekParameters)
	},
	login: func(s *session, ctx context.Context, ep *endpoint) {
		s.questionAgain(ctx, ep, "vivotek", (*session).vivotekRead)
	},
}

// vivotekRead reads name='value' lines. The serial number is the MAC address.
func (s *session) vivotekRead(a *answer) bool {
	found := keyValues(a.body)
	if found["system_info_modelname"] == "" {
		return false
	}
	value := func(name string) string { return strings.Trim(found[name], "'") }
	s.speaks(a)
	s.observe(a, "vivotek.answer", names(found), "keys")
	s.model(a, value("system_info_modelname"), "system_info_modelname")
	s.serial(a, value("system_info_serialnumber"), "system_info_serialnumber")
	s.mac(a, value("system_info_serialnumber"), "system_info_serialnumber")
	version := value("system_info_firmwareversion")
	s.firmware(a, version, "system_info_firmwareversion")
	// "IP8131-VVTK-0100e7": VVTK is VIVOTEK's own, other letters are a customer's.
	if parts := strings.Split(version, "-"); len(parts) >= 3 {
		s.claim(a, attest.SubjectFirmware, "customer", parts[len(parts)-2], "system_info_firmwareversion")
	}
	return true
}
