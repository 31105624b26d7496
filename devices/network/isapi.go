package network

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"assay/attest"
	"assay/devices"
)

// Requests of ISAPI, Hikvision's. Fields and namespaces are those of the answers
// in maciej-or/hikvision_next tests/fixtures, which also lists the cameras behind
// a recorder; userCheck and webLanguage are in answers of units in the field.
// ISAPI writes with PUT, POST and DELETE, and webLanguage took commands in a PUT
// (CVE-2021-36260); here all is GET without a body.
var (
	isapiDeviceInfo   = isapiRequest("/ISAPI/System/deviceInfo")
	isapiCapabilities = isapiRequest("/ISAPI/System/capabilities")
	isapiChannels     = isapiRequest("/ISAPI/ContentMgmt/InputProxy/channels")
	isapiUserCheck    = isapiRequest("/ISAPI/Security/userCheck")
	isapiWebLanguage  = isapiRequest("/SDK/webLanguage")
)

func isapiRequest(uri string) *request {
	return &request{protocol: "isapi", method: "GET", uri: uri}
}

var isapiProtocol = protocol{
	name: "isapi", maker: "hikvision", kept: true,
	requests: []*request{isapiDeviceInfo, isapiCapabilities, isapiChannels, isapiUserCheck, isapiWebLanguage},
	open:     (*session).isapi,
	login:    (*session).isapiLogin,
}

func (s *session) isapi(ctx context.Context, ep *endpoint) {
	a := s.ask(ctx, ep, isapiDeviceInfo)
	switch {
	case a == nil || s.page200(a):
	case a.status == http.StatusUnauthorized:
		s.isapiState(a)
		s.later(isapiDeviceInfo)
		if s.marked(attest.C1)["hikvision"] && !s.marked(attest.C2)["hikvision"] {
			s.isapiLanguage(ctx, ep)
		}
	case a.status == http.StatusOK && s.isapiRead(a):
		s.isapiRest(ctx, ep, s.ask)
	}
}

// isapiLanguage asks what answers without a login, where there is a hint of
// Hikvision and nothing that decides.
func (s *session) isapiLanguage(ctx context.Context, ep *endpoint) {
	a := s.ask(ctx, ep, isapiWebLanguage)
	if a == nil || a.status != http.StatusOK || isHTML(a.body) {
		return
	}
	doc, _ := parseXML(a.body)
	if doc == nil {
		return
	}
	s.observe(a, "http.path", a.request.uri, "answered")
	if doc.namespace() == "" {
		return
	}
	s.observe(a, "isapi.namespace", doc.namespace(), "xmlns")
	s.observe(a, "xml.namespace", doc.namespace(), "xmlns")
	s.claim(a, attest.SubjectFirmware, "namespace", doc.namespace(), "xmlns")
}

func (s *session) isapiLogin(ctx context.Context, ep *endpoint) {
	if s.triedBefore(ep) && s.isapiLocked(ctx, ep) {
		return
	}
	for _, r := range s.needsLogin["isapi"] {
		a := s.login(ctx, ep, r)
		if a == nil || s.page200(a) || a.status != http.StatusOK {
			continue
		}
		if s.isapiRead(a) {
			s.isapiRest(ctx, ep, s.login)
		}
	}
}

// isapiLocked reads the lock before a login that may be a second one: a locked
// unit counts it, and stays locked longer.
func (s *session) isapiLocked(ctx context.Context, ep *endpoint) bool {
	a := s.ask(ctx, ep, isapiUserCheck)
	if a == nil {
		return false
	}
	doc, _ := parseXML(a.body)
	check := doc.find("userCheck")
	status := check.field("lockStatus")
	if status == "" {
		return false
	}
	s.claim(a, attest.SubjectUnit, "lock", strings.TrimSpace(status+" "+check.field("unlockTime")), "lockStatus")
	s.claim(a, attest.SubjectUnit, "login-tries-left", check.field("retryLoginTime"), "retryLoginTime")
	left := check.field("retryLoginTime")
	if !strings.EqualFold(status, "lock") && !strings.EqualFold(status, "locked") && left != "0" && left != "1" {
		return false
	}
	s.o.Account.Refuse("isapi at " + ep.address + " (locked)")
	s.sink.Problem(attest.ProblemAccess, a.request.source(), fmt.Sprintf("%s is locked or one try from it (lockStatus %s, unlockTime %s s, tries left %s): the login is not offered; "+
		"wait, or unlock it with the maker's tool", ep, clean(status), clean(check.field("unlockTime")), clean(left)))
	return true
}

// isapiRest asks what a recorder has more.
func (s *session) isapiRest(ctx context.Context, ep *endpoint, ask func(context.Context, *endpoint, *request) *answer) {
	if a := ask(ctx, ep, isapiCapabilities); a != nil && a.status == http.StatusOK && !isHTML(a.body) {
		s.isapiCapabilities(a)
	}
	if s.recorder == "" {
		return
	}
	a := ask(ctx, ep, isapiChannels)
	switch {
	case a == nil:
		s.cannotList("InputProxy/channels was not answered")
	case a.status != http.StatusOK || isHTML(a.body):
		s.cannotList(fmt.Sprintf("InputProxy/channels was refused (status %d)", a.status))
	default:
		s.isapiChannels(a)
	}
}

func (s *session) isapiCapabilities(a *answer) {
	doc, _ := parseXML(a.body)
	if doc.find("DeviceCap") == nil {
		return
	}
	if n := doc.field("inputProxyNums"); n != "" && n != "0" {
		s.claim(a, attest.SubjectUnit, "camera-channels", n, "inputProxyNums")
		s.recorderBy(a, n, "inputProxyNums")
	}
}

// isapiChannels reads the cameras of a recorder. The size attribute is not
// looked at: firmware writes another number than it sends.
func (s *session) isapiChannels(a *answer) {
	doc, err := parseXML(a.body)
	list := doc.find("InputProxyChannelList")
	if list == nil {
		if err == nil {
			err = fmt.Errorf("%w: xml: no InputProxyChannelList element", devices.ErrMalformed)
		}
		s.problem(a.request, err)
		s.cannotList("InputProxy/channels could not be read")
		return
	}
	for _, c := range list.elements() {
		from := c.find("sourceInputPortDescriptor")
		if c.local() != "InputProxyChannel" || from == nil {
			continue
		}
		s.child(a, attest.Child{
			Slot: c.field("id"), Maker: from.field("manufacturer"), Model: from.field("model"), Serial: from.field("serialNumber"), Firmware: from.field("firmwareVersion"),
			Address: from.field("ipAddress"), MAC: from.field("macAddress"), Protocol: from.field("proxyProtocol"), Source: "InputProxyChannel " + clean(c.field("id")),
		})
	}
	if err != nil || a.cut {
		s.cannotList("the list ends early")
		return
	}
	s.listed = true
}

// isapiState notes a unit that was never set up: it has no password yet, and
// this tool does not give it one.
func (s *session) isapiState(a *answer) {
	doc, _ := parseXML(a.body)
	if strings.EqualFold(doc.field("subStatusCode"), "notActivated") {
		s.protocol(a, "isapi")
		s.claim(a, attest.SubjectUnit, "activation", "not activated", "subStatusCode")
	}
}

// isapiRead reads a DeviceInfo document. Left out are fields that owners set or
// that say the same on every unit: telecontrolID, and hardwareVersion 0x0.
func (s *session) isapiRead(a *answer) bool {
	doc, err := parseXML(a.body)
	info := doc.find("DeviceInfo")
	if info == nil {
		if err == nil {
			err = fmt.Errorf("%w: xml: no DeviceInfo element", devices.ErrMalformed)
		}
		if !a.cut {
			s.problem(a.request, err)
		}
		return false
	}
	s.speaks(a)
	if err != nil && !a.cut {
		s.problem(a.request, err)
	}
	s.claim(a, attest.SubjectFirmware, "namespace", info.namespace(), "xmlns")
	s.observe(a, "isapi.namespace", info.namespace(), "xmlns")
	s.observe(a, "xml.namespace", info.namespace(), "xmlns")
	for _, f := range []string{"systemContact", "deviceLocation", "deviceID", "deviceType", "firmwareVersionInfo"} {
		s.observe(a, "isapi."+f, info.field(f), f)
	}

	s.maker(a, info.field("manufacturer"), "manufacturer")
	s.model(a, info.field("model"), "model")
	s.serial(a, info.field("serialNumber"), "serialNumber")
	s.mac(a, info.field("macAddress"), "macAddress")
	s.firmware(a, strings.TrimSpace(info.field("firmwareVersion")+" "+info.field("firmwareReleasedDate")), "firmwareVersion")
	if v := info.field("hardwareVersion"); v != "0x0" {
		s.claim(a, attest.SubjectBoard, "hardware-version", v, "hardwareVersion")
	}
	for _, f := range []struct {
		subject     attest.Subject
		name, field string
	}{
		{attest.SubjectUnit, "label", "deviceName"},
		{attest.SubjectUnit, "device-id", "deviceID"},
		{attest.SubjectUnit, "sub-serial", "subSerialNumber"},
		{attest.SubjectUnit, "oem-code", "OEMCode"},
		{attest.SubjectFirmware, "platform", "firmwareVersionInfo"},
		{attest.SubjectBootLoader, attest.NameFirmwareVersion, "bootVersion"},
	} {
		s.claim(a, f.subject, f.name, info.field(f.field), f.field)
	}
	s.isRecorder(a, info.field("deviceType"), "deviceType")
	return true
}
