package network

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"assay/attest"
	"assay/devices"
)

// isapiDeviceInfo is the one request of ISAPI that identifies. Fields and
// namespaces are those of the answers in maciej-or/hikvision_next
// tests/fixtures.
var isapiDeviceInfo = &request{protocol: "isapi", method: "GET", uri: "/ISAPI/System/deviceInfo"}

func (s *session) isapi(ctx context.Context, ep *endpoint) {
	a := s.ask(ctx, ep, isapiDeviceInfo)
	switch {
	case a == nil || s.page200(a):
	case a.status == http.StatusUnauthorized:
		s.isapiState(a)
		s.needsLogin.isapi = append(s.needsLogin.isapi, isapiDeviceInfo)
	case a.status == http.StatusOK:
		s.isapiRead(a)
	}
}

func (s *session) isapiLogin(ctx context.Context, ep *endpoint) {
	for _, r := range s.needsLogin.isapi {
		a := s.login(ctx, ep, r)
		if a == nil || s.page200(a) || a.status != http.StatusOK {
			continue
		}
		s.isapiRead(a)
	}
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
func (s *session) isapiRead(a *answer) {
	doc, err := parseXML(a.body)
	info := doc.find("DeviceInfo")
	if info == nil {
		if err == nil {
			err = fmt.Errorf("%w: xml: no DeviceInfo element", devices.ErrMalformed)
		}
		if !a.cut {
			s.problem(a.request, err)
		}
		return
	}
	s.protocol(a, "isapi")
	if err != nil && !a.cut {
		s.problem(a.request, err)
	}
	s.claim(a, attest.SubjectFirmware, "namespace", info.Space, "xmlns")
	s.observe(a, "isapi.namespace", info.Space, "xmlns")
	s.observe(a, "xml.namespace", info.Space, "xmlns")
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
}
