package network

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"assay/attest"
)

// Requests of Uniview's LAPI, by the answers in the tests of netbox-sync and the
// LAPI document that public clients follow: JSON in an envelope, whose
// ResponseCode says whether it is an answer. The status does not: errors come with
// 200, and a path that the firmware does not have with 599. LAPI writes with PUT
// and POST.
var (
	lapiDeviceInfo  = lapiRequest("/LAPI/V1.0/System/DeviceInfo")
	lapiBasicInfo   = lapiRequest("/LAPI/V1.0/System/DeviceBasicInfo")
	lapiDetailInfos = lapiRequest("/LAPI/V1.0/Channels/System/ChannelDetailInfos")
	lapiDeviceInfos = lapiRequest("/LAPI/V1.0/Channels/System/DeviceInfos")
)

func lapiRequest(uri string) *request { return &request{protocol: "lapi", method: "GET", uri: uri} }

var lapiProtocol = protocol{
	name: "lapi", maker: "uniview", kept: true,
	requests: []*request{lapiDeviceInfo, lapiBasicInfo, lapiDetailInfos, lapiDeviceInfos},
	open:     (*session).lapi,
	login:    (*session).lapiLogin,
}

func (s *session) lapi(ctx context.Context, ep *endpoint) {
	a := s.ask(ctx, ep, lapiDeviceInfo)
	if a == nil || s.page200(a) {
		return
	}
	answered := s.lapiRead(a) // an error in the envelope is LAPI too, also with 401
	switch {
	case a.status == http.StatusUnauthorized:
		s.later(lapiDeviceInfo)
	case answered:
		s.lapiRest(ctx, ep, s.ask)
	}
}

func (s *session) lapiLogin(ctx context.Context, ep *endpoint) {
	for _, r := range s.needsLogin["lapi"] {
		if a := s.login(ctx, ep, r); a != nil && !s.page200(a) && s.lapiRead(a) {
			s.lapiRest(ctx, ep, s.login)
		}
	}
}

// lapiRest asks for the older name of the same where the first told nothing, and
// for a recorder's cameras: one list has makers and addresses, the other serial
// numbers and firmware.
func (s *session) lapiRest(ctx context.Context, ep *endpoint, ask func(context.Context, *endpoint, *request) *answer) {
	if !s.lapiNamed {
		if a := ask(ctx, ep, lapiBasicInfo); a != nil && !isHTML(a.body) {
			s.lapiRead(a)
		}
	}
	if s.recorder == "" {
		return
	}
	a := ask(ctx, ep, lapiDetailInfos)
	if a == nil || !s.lapiChannels(a) {
		s.cannotList("ChannelDetailInfos was not answered or refused")
		return
	}
	if a := ask(ctx, ep, lapiDeviceInfos); a != nil {
		s.lapiSerials(a)
	}
}

// lapiReply is the envelope.
type lapiReply struct {
	Response *struct {
		ResponseURL    string          `json:"ResponseURL"`
		ResponseCode   *json.Number    `json:"ResponseCode"`
		ResponseString string          `json:"ResponseString"`
		StatusString   string          `json:"StatusString"`
		Data           json.RawMessage `json:"Data"`
	} `json:"Response"`
}

// lapiData returns the data of an answer. spoken says that it is LAPI, whatever
// it says; failure is what it says went wrong.
func lapiData(body []byte) (data json.RawMessage, failure string, spoken bool) {
	var reply lapiReply
	d := json.NewDecoder(bytes.NewReader(trimJSON(body)))
	d.UseNumber()
	if d.Decode(&reply) != nil || reply.Response == nil || reply.Response.ResponseCode == nil {
		return nil, "", false
	}
	r := reply.Response
	if code := r.ResponseCode.String(); code != "0" {
		return nil, strings.TrimSpace(code + " " + r.ResponseString + r.StatusString), true
	}
	return r.Data, "", true
}

func (s *session) lapiRead(a *answer) bool {
	data, failure, spoken := lapiData(a.body)
	if !spoken {
		return false
	}
	s.speaks(a)
	s.observe(a, "lapi.response", a.request.uri, "ResponseCode")
	s.observe(a, "lapi.answer", a.request.uri, "ResponseCode")
	if failure != "" {
		if a.status != http.StatusUnauthorized {
			s.sink.Problem(attest.ProblemIncomplete, a.request.source(), s.mask("answered with an error: "+clean(failure)))
		}
		return true
	}
	info, _ := flatJSON(data)
	s.lapiNamed = s.lapiNamed || info["DeviceModel"] != ""
	s.model(a, info["DeviceModel"], "DeviceModel")
	s.serial(a, info["SerialNumber"], "SerialNumber")
	s.firmware(a, info["FirmwareVersion"], "FirmwareVersion")
	s.mac(a, info["MAC"], "MAC")
	for _, f := range []struct {
		subject     attest.Subject
		name, field string
	}{
		{attest.SubjectUnit, "label", "DeviceName"},
		{attest.SubjectBoard, attest.NameHardware, "HardwareID"},
		{attest.SubjectBootLoader, attest.NameFirmwareVersion, "UbootVersion"},
	} {
		s.claim(a, f.subject, f.name, info[f.field], f.field)
	}
	return true
}

// lapiChannels reads a recorder's cameras. A free channel has no address.
func (s *session) lapiChannels(a *answer) bool {
	data, failure, spoken := lapiData(a.body)
	var list struct {
		DetailInfos []struct {
			ID           json.Number `json:"ID"`
			Manufacturer string      `json:"Manufacturer"`
			DeviceModel  string      `json:"DeviceModel"`
			SerialNumber string      `json:"SerialNumber"`
			Firmware     string      `json:"FirmwareVersion"`
			AddressInfo  struct {
				Address string `json:"Address"`
				MAC     string `json:"MAC"`
			} `json:"AddressInfo"`
		} `json:"DetailInfos"`
	}
	if !spoken || failure != "" || json.Unmarshal(data, &list) != nil || list.DetailInfos == nil {
		return false
	}
	for i, d := range list.DetailInfos {
		slot := d.ID.String()
		if slot == "" {
			slot = strconv.Itoa(i + 1)
		}
		s.child(a, attest.Child{
			Slot: slot, Maker: d.Manufacturer, Model: d.DeviceModel, Serial: d.SerialNumber, Firmware: d.Firmware,
			Address: d.AddressInfo.Address, MAC: d.AddressInfo.MAC, Source: "DetailInfos " + slot,
		})
	}
	s.recorderBy(a, fmt.Sprint(len(list.DetailInfos)), "DetailInfos")
	s.listed = true
	return true
}

func (s *session) lapiSerials(a *answer) {
	data, failure, spoken := lapiData(a.body)
	var list struct {
		DeviceInfos []struct {
			ID           json.Number `json:"ID"`
			DeviceModel  string      `json:"DeviceModel"`
			SerialNumber string      `json:"SerialNumber"`
			Firmware     string      `json:"FirmwareVersion"`
		} `json:"DeviceInfos"`
	}
	if !spoken || failure != "" || json.Unmarshal(data, &list) != nil {
		return
	}
	for _, d := range list.DeviceInfos {
		s.merge(a, d.ID.String(), attest.Child{Model: d.DeviceModel, Serial: d.SerialNumber, Firmware: d.Firmware})
	}
}
