package network

import (
	"context"
	"strings"

	"assay/attest"
)

// foscamInfo is getDevInfo of Foscam's CGI, by its SDK document and public
// clients. The login is part of the address (usr= and pwd=), where proxies and the
// unit's own log keep it, so it is never given: what answers without is read, and
// the rest is said to be left out.
//
// A request without a login may count as a wrong one, and Foscam locks: it is sent
// only to port 88, which is Foscam's, or where a mark names Foscam.
var foscamInfo = &request{protocol: "foscam", method: "GET", uri: "/cgi-bin/CGIProxy.fcgi?cmd=getDevInfo"}

var foscamProtocol = protocol{
	name: "foscam", maker: "foscam",
	requests: []*request{foscamInfo},
	open:     (*session).foscam,
}

func (s *session) foscam(ctx context.Context, ep *endpoint) {
	if strings.HasSuffix(ep.address, ":88") || s.marked(attest.C1)["foscam"] {
		s.question(ctx, ep, (*session).foscamRead, foscamInfo)
	}
}

func (s *session) foscamRead(a *answer) bool {
	doc, _ := parseXML(a.body)
	result := doc.find("CGI_Result")
	if result == nil || result.find("result") == nil {
		return false
	}
	s.speaks(a)
	s.observe(a, "foscam.answer", strings.Join(result.names(), ","), "elements")
	if code := result.field("result"); code != "0" {
		s.sink.Problem(attest.ProblemAccess, a.request.source(), "refused without a login (result "+clean(code)+"). Foscam takes the password in the address only, where logs keep it: not given. "+
			"Give an account for ONVIF, which tells the same")
		return true
	}
	s.model(a, result.field("productName"), "productName")
	s.serial(a, result.field("serialNo"), "serialNo")
	s.mac(a, result.field("mac"), "mac")
	s.firmware(a, result.field("firmwareVer"), "firmwareVer")
	s.claim(a, attest.SubjectBoard, attest.NameHardware, result.field("hardwareVer"), "hardwareVer")
	s.claim(a, attest.SubjectUnit, "label", result.field("devName"), "devName")
	return true
}
