package network

import (
	"context"
	"net/http"
	"regexp"

	"assay/attest"
)

// tvtDeviceInfo is the one request of TVT's HTTP API that identifies, by the API
// reference of Viewtron for units of TVT with firmware of the API versions 1.7 to
// 2.0: POST without a body, HTTP Basic in version 1 and digest in 2. Commands that
// set begin with Set, and are not here.
var tvtDeviceInfo = &request{protocol: "tvt", method: "POST", uri: "/GetDeviceInfo"}

var tvtProtocol = protocol{
	name: "tvt", maker: "tvt", kept: true,
	requests: []*request{tvtDeviceInfo},
	open:     (*session).tvt,
	login: func(s *session, ctx context.Context, ep *endpoint) {
		s.questionAgain(ctx, ep, "tvt", (*session).tvtRead)
	},
}

// tvt takes a refusal in the namespace for what it is: an answer of TVT's.
func (s *session) tvt(ctx context.Context, ep *endpoint) {
	a := s.ask(ctx, ep, tvtDeviceInfo)
	if a == nil || s.page200(a) {
		return
	}
	s.tvtRead(a)
	if a.status == http.StatusUnauthorized {
		s.later(tvtDeviceInfo)
	}
}

var tvtError = regexp.MustCompile(`(?i)errorCode\W{1,3}(\d{1,9})`)

// tvtBrands are names in the brand field that are nobody's.
var tvtBrands = map[string]bool{"": true, "customer": true, "ipc": true, "nvr": true}

func (s *session) tvtRead(a *answer) bool {
	doc, _ := parseXML(a.body)
	config := doc.find("config")
	if config == nil || config.namespace() != "http://www.ipc.com/ver10" {
		return false
	}
	s.speaks(a)
	s.observe(a, "xml.namespace", config.namespace(), "xmlns")
	s.observe(a, "tvt.namespace", config.namespace(), "xmlns")
	info := config.find("deviceInfo")
	if m := tvtError.FindSubmatch(a.body); m != nil && info == nil {
		says := "answered with error " + string(m[1])
		kind := attest.ProblemIncomplete
		if string(m[1]) == "10" {
			says, kind = "the user is locked (error 10): wait before a login is tried again", attest.ProblemAccess
			s.o.Account.Refuse("tvt (locked)")
			s.claim(a, attest.SubjectUnit, "lock", "locked", "errorCode")
		}
		s.sink.Problem(kind, a.request.source(), says)
		return true
	}
	if info == nil {
		return true
	}
	if brand := info.field("brand"); !tvtBrands[asciiLower(clean(brand))] {
		s.maker(a, brand, "brand")
	}
	s.model(a, info.field("model"), "model")
	s.serial(a, info.field("sn"), "sn")
	s.mac(a, info.field("mac"), "mac")
	s.firmware(a, info.field("softwareVersion"), "softwareVersion")
	for _, f := range []struct {
		subject     attest.Subject
		name, field string
	}{
		{attest.SubjectFirmware, attest.NameBuildDate, "softwareBuildDate"},
		{attest.SubjectFirmware, "kernel-date", "kernelVersion"},
		{attest.SubjectBoard, attest.NameHardware, "hardwareVersion"},
		{attest.SubjectUnit, "label", "deviceName"},
		{attest.SubjectUnit, "device-description", "deviceDescription"},
	} {
		s.claim(a, f.subject, f.name, info.field(f.field), f.field)
	}
	s.isRecorder(a, info.field("deviceDescription"), "deviceDescription")
	return true
}
