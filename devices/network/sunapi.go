package network

import (
	"bytes"
	"context"
	"strings"

	"assay/attest"
)

// sunapiDeviceInfo is the one request of Hanwha Vision's SUNAPI 2.6 that
// identifies, by its document and answers of four units. SUNAPI writes with
// action=set and action=control, so the query is part of what is allowed.
var sunapiDeviceInfo = &request{protocol: "sunapi", method: "GET", uri: "/stw-cgi/system.cgi?msubmenu=deviceinfo&action=view"}

var sunapiProtocol = protocol{
	name: "sunapi", maker: "hanwha",
	requests: []*request{sunapiDeviceInfo},
	open: func(s *session, ctx context.Context, ep *endpoint) {
		s.question(ctx, ep, (*session).sunapiRead, sunapiDeviceInfo)
	},
	login: func(s *session, ctx context.Context, ep *endpoint) {
		s.questionAgain(ctx, ep, "sunapi", (*session).sunapiRead)
	},
}

// sunapiRead looks at the body for whether it is JSON: the declared type is wrong
// on recorders.
func (s *session) sunapiRead(a *answer) bool {
	found, ok := map[string]string(nil), false
	if bytes.HasPrefix(trimJSON(a.body), []byte("{")) {
		found, ok = flatJSON(a.body)
	} else {
		found, ok = keyValues(a.body), true
	}
	if !ok || found["Model"] == "" || found["FirmwareVersion"] == "" || found["CGIVersion"]+found["ConnectedMACAddress"] == "" {
		return false
	}
	s.speaks(a)
	s.observe(a, "sunapi.answer", names(found), "keys")
	s.observe(a, "sunapi.deviceType", found["DeviceType"], "DeviceType")
	s.model(a, found["Model"], "Model")
	s.serial(a, found["SerialNumber"], "SerialNumber")
	s.mac(a, found["ConnectedMACAddress"], "ConnectedMACAddress")
	s.firmware(a, found["FirmwareVersion"], "FirmwareVersion")
	s.claim(a, attest.SubjectFirmware, attest.NameBuildDate, strings.ReplaceAll(found["BuildDate"], ".", "-"), "BuildDate")
	s.claim(a, attest.SubjectFirmware, "isp-version", found["ISPVersion"], "ISPVersion")
	s.claim(a, attest.SubjectBootLoader, attest.NameFirmwareVersion, strings.TrimPrefix(found["BootloaderVersion"], "ver="), "BootloaderVersion")
	s.claim(a, attest.SubjectUnit, "label", found["DeviceName"], "DeviceName")
	s.claim(a, attest.SubjectUnit, "class", found["DeviceType"], "DeviceType")
	s.isRecorder(a, found["DeviceType"], "DeviceType")
	if s.recorder != "" {
		s.cannotList("SUNAPI's list of cameras is not read")
	}
	return true
}
