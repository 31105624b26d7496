package network

import (
	"bytes"
	"context"

	"assay/attest"
)

// sonySystem is the system inquiry of Sony's CGI commands, by public clients of
// SNC and SRG cameras. Sony writes with other commands (camera.cgi, system.cgi).
var sonySystem = &request{protocol: "sony", method: "GET", uri: "/command/inquiry.cgi?inq=system"}

var sonyProtocol = protocol{
	name: "sony", maker: "sony",
	requests: []*request{sonySystem},
	open: func(s *session, ctx context.Context, ep *endpoint) {
		s.question(ctx, ep, (*session).sonyRead, sonySystem)
	},
	login: func(s *session, ctx context.Context, ep *endpoint) {
		s.questionAgain(ctx, ep, "sony", (*session).sonyRead)
	},
}

// sonyRead reads name=value pairs, parted by & or each in a line, and on some
// models written as var name="value".
func (s *session) sonyRead(a *answer) bool {
	body := a.body
	if !bytes.Contains(body, []byte("\n")) || bytes.Contains(body, []byte("&Serial=")) {
		body = bytes.ReplaceAll(body, []byte("&"), []byte("\n"))
	}
	found := map[string]string{}
	for key, value := range keyValues(body) {
		found[string(bytes.TrimPrefix([]byte(key), []byte("var ")))] = value
	}
	if found["ModelName"] == "" || found["Serial"]+found["SoftVersion"] == "" {
		return false
	}
	s.speaks(a)
	s.observe(a, "sony.answer", names(found), "keys")
	s.model(a, found["ModelName"], "ModelName")
	s.serial(a, found["Serial"], "Serial")
	s.firmware(a, found["SoftVersion"], "SoftVersion")
	s.claim(a, attest.SubjectUnit, "model-form", found["ModelForm"], "ModelForm")
	return true
}
