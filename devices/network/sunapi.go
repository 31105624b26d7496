package network

import (
	"bytes"
	"context"
	"encoding/json"
	"strconv"
	"strings"

	"assay/attest"
)

// Requests of Hanwha Vision's SUNAPI 2.6, by its document, answers of four units,
// and public clients of recorders for the list of cameras, which comes as JSON
// where that is asked for. SUNAPI writes with action=set and action=control, so
// the query is part of what is allowed.
var (
	sunapiDeviceInfo = &request{protocol: "sunapi", method: "GET", uri: "/stw-cgi/system.cgi?msubmenu=deviceinfo&action=view"}
	sunapiCameras    = &request{protocol: "sunapi", method: "GET", uri: "/stw-cgi/media.cgi?msubmenu=cameraregister&action=view", accept: "application/json"}
)

var sunapiProtocol = protocol{
	name: "sunapi", maker: "hanwha",
	requests: []*request{sunapiDeviceInfo, sunapiCameras},
	open: func(s *session, ctx context.Context, ep *endpoint) {
		s.question(ctx, ep, (*session).sunapiRead, sunapiDeviceInfo)
		s.sunapiRest(ctx, ep, s.ask)
	},
	login: func(s *session, ctx context.Context, ep *endpoint) {
		s.questionAgain(ctx, ep, "sunapi", (*session).sunapiRead)
		s.sunapiRest(ctx, ep, s.login)
	},
}

// sunapiRest asks a recorder for its cameras.
func (s *session) sunapiRest(ctx context.Context, ep *endpoint, ask func(context.Context, *endpoint, *request) *answer) {
	if s.recorder == "" || s.listed || !s.spoken["sunapi"] {
		return
	}
	a := ask(ctx, ep, sunapiCameras)
	if a == nil || !s.sunapiChannels(a) {
		s.cannotList("cameraregister was not answered, refused, or in a form that is not read")
	}
}

// sunapiChannels reads the cameras of a recorder. The list names no maker.
func (s *session) sunapiChannels(a *answer) bool {
	var list struct {
		RegisteredCameras []map[string]any `json:"RegisteredCameras"`
	}
	d := json.NewDecoder(bytes.NewReader(trimJSON(a.body)))
	d.UseNumber()
	if d.Decode(&list) != nil || list.RegisteredCameras == nil {
		return false
	}
	for i, object := range list.RegisteredCameras {
		c := flat(object)
		slot := strconv.Itoa(i + 1)
		if n, err := strconv.Atoi(c["Channel"]); err == nil {
			slot = strconv.Itoa(n + 1) // as in its answers, channels count from 0
		}
		s.child(a, attest.Child{Slot: slot, Model: c["Model"], Address: c["IPAddress"], MAC: c["MACAddress"], Protocol: c["Protocol"], Source: "RegisteredCameras " + clean(c["Channel"])})
	}
	s.listed = true
	return true
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
	return true
}
