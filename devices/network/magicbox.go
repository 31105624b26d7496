package network

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"

	"assay/attest"
)

// The actions of Dahua's magicBox that identify, by the Dahua HTTP API and
// rroller/dahua custom_components/dahua/client.py. magicBox also reboots and
// shuts down; those are not here.
//
// The challenge of RPC2 global.login would tell Dahua firmware without a login
// as well. It is left out: it is the first half of a login, and what other
// makers' firmware counts it as is not known.
var (
	magicboxSystemInfo      = magicboxRequest("getSystemInfo")
	magicboxSoftwareVersion = magicboxRequest("getSoftwareVersion")
	magicboxHardwareVersion = magicboxRequest("getHardwareVersion")
	magicboxVendor          = magicboxRequest("getVendor")
	magicboxSerialNo        = magicboxRequest("getSerialNo")
	magicboxMachineName     = magicboxRequest("getMachineName")
	magicboxDeviceType      = magicboxRequest("getDeviceType")
	magicboxDeviceClass     = magicboxRequest("getDeviceClass")
)

func magicboxRequest(action string) *request {
	return &request{protocol: "magicbox", method: "GET", uri: "/cgi-bin/magicBox.cgi?action=" + action}
}

// magicboxKeys are the keys of which a true answer has at least one.
var magicboxKeys = map[*request][]string{
	magicboxSystemInfo:      {"deviceType", "serialNumber", "updateSerial", "processor"},
	magicboxSoftwareVersion: {"version"},
	magicboxHardwareVersion: {"version", "hardwareVersion"},
	magicboxVendor:          {"vendor"},
	magicboxSerialNo:        {"sn"},
	magicboxMachineName:     {"name"},
	magicboxDeviceType:      {"type"},
	magicboxDeviceClass:     {"class"},
}

// magicbox asks the first action only: the rest answers as it does.
func (s *session) magicbox(ctx context.Context, ep *endpoint) {
	a := s.ask(ctx, ep, magicboxSystemInfo)
	switch {
	case a == nil || s.page200(a):
	case a.status == http.StatusUnauthorized:
		s.needsLogin.magicbox = append(s.needsLogin.magicbox, magicboxSystemInfo)
	case a.status == http.StatusOK && s.magicboxRead(a):
		s.magicboxRest(ctx, ep, s.ask)
	}
}

func (s *session) magicboxLogin(ctx context.Context, ep *endpoint) {
	for _, r := range s.needsLogin.magicbox {
		a := s.login(ctx, ep, r)
		if a != nil && a.status == http.StatusOK && !s.page200(a) && s.magicboxRead(a) {
			s.magicboxRest(ctx, ep, s.login)
		}
	}
}

func (s *session) magicboxRest(ctx context.Context, ep *endpoint, ask func(context.Context, *endpoint, *request) *answer) {
	for _, r := range []*request{
		magicboxSoftwareVersion, magicboxHardwareVersion, magicboxVendor, magicboxSerialNo,
		magicboxMachineName, magicboxDeviceType, magicboxDeviceClass,
	} {
		if a := ask(ctx, ep, r); a != nil && a.status == http.StatusOK && !s.page200(a) {
			s.magicboxRead(a)
		}
	}
}

// magicboxRead reads key=value lines and reports whether they answer the
// request.
func (s *session) magicboxRead(a *answer) bool {
	found := keyValues(a.body)
	known := false
	for _, key := range magicboxKeys[a.request] {
		known = known || found[key] != ""
	}
	if !known {
		if !a.cut {
			s.sink.Problem(attest.ProblemMalformed, a.request.source(), "none of the keys "+strings.Join(magicboxKeys[a.request], ", "))
		}
		return false
	}
	s.protocol(a, "magicbox")
	switch a.request {
	case magicboxSystemInfo:
		s.magicboxSystem(a, found)
	case magicboxSoftwareVersion:
		s.firmware(a, found["version"], "version")
	case magicboxHardwareVersion:
		s.claim(a, attest.SubjectBoard, attest.NameHardware, found["version"]+found["hardwareVersion"], "version")
	case magicboxVendor:
		s.magicboxVendor(a, found["vendor"])
	case magicboxSerialNo:
		s.serial(a, found["sn"], "sn")
	case magicboxMachineName:
		s.claim(a, attest.SubjectUnit, "label", found["name"], "name")
	case magicboxDeviceType:
		s.model(a, found["type"], "type")
	case magicboxDeviceClass:
		s.claim(a, attest.SubjectUnit, "class", found["class"], "class")
	}
	return true
}

func (s *session) magicboxSystem(a *answer, found map[string]string) {
	s.observe(a, "magicbox.getSystemInfo", strings.Join(slices.Sorted(maps.Keys(found)), ","), "keys")
	s.observe(a, "magicbox.updateSerial", found["updateSerial"], "updateSerial")
	// Recorders give a number here, which is no model.
	if strings.Trim(found["deviceType"], "0123456789") != "" {
		s.model(a, found["deviceType"], "deviceType")
	}
	s.serial(a, found["serialNumber"], "serialNumber")
	s.soc(a, found["processor"], "processor")
	s.claim(a, attest.SubjectBoard, attest.NameHardware, found["hardwareVersion"], "hardwareVersion")
	s.claim(a, attest.SubjectUnit, "update-serial", found["updateSerial"], "updateSerial")
}

// magicboxVendor claims a maker, unless it is one of the marks of neutral
// firmware, which name nobody.
func (s *session) magicboxVendor(a *answer, vendor string) {
	s.observe(a, "magicbox.vendor", vendor, "vendor")
	if strings.EqualFold(vendor, "General") || strings.EqualFold(vendor, "Private") {
		s.claim(a, attest.SubjectUnit, "vendor", vendor, "vendor")
		return
	}
	s.maker(a, vendor, "vendor")
}
