package network

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"assay/attest"
	"assay/devices"
)

// Requests of VAPIX: the basic device information API 1.0, whose unrestricted
// properties need no login, and for firmware before AXIS OS 8.40 the parameter
// groups that hold the same. param.cgi also writes; only these queries of it are
// allowed.
var (
	axisUnrestricted = axisRequest("getAllUnrestrictedProperties")
	axisAll          = axisRequest("getAllProperties")
	axisParameters   = &request{protocol: "axis", method: "GET", uri: "/axis-cgi/param.cgi?action=list&group=Brand,Properties"}
)

var axisProtocol = protocol{
	name: "axis", maker: "axis",
	requests: append([]*request{axisUnrestricted, axisAll, axisParameters}, axisMore...),
	open:     (*session).axis,
	login:    (*session).axisLogin,
}

func axisRequest(method string) *request {
	return &request{protocol: "axis", method: "POST", uri: "/axis-cgi/basicdeviceinfo.cgi", contentType: "application/json",
		body: `{"apiVersion":"1.0","method":"` + method + `"}`}
}

func (s *session) axis(ctx context.Context, ep *endpoint) {
	a := s.ask(ctx, ep, axisUnrestricted)
	if a == nil || s.page200(a) {
		return
	}
	switch {
	case a.status == http.StatusUnauthorized:
		s.later(axisAll)
	case a.status == http.StatusOK && s.axisRead(a):
		s.later(axisAll)
		s.axisReady(ctx, ep)
	case a.status == http.StatusNotFound:
		s.axisOld(ctx, ep)
	}
}

func (s *session) axisOld(ctx context.Context, ep *endpoint) {
	a := s.ask(ctx, ep, axisParameters)
	switch {
	case a == nil || s.page200(a):
	case a.status == http.StatusUnauthorized:
		s.later(axisParameters)
	case a.status == http.StatusOK:
		s.axisParameters(a)
	}
}

func (s *session) axisLogin(ctx context.Context, ep *endpoint) {
	for _, r := range s.needsLogin["axis"] {
		a := s.login(ctx, ep, r)
		switch {
		case a == nil || s.page200(a) || a.status != http.StatusOK:
		case r == axisParameters:
			s.axisParameters(a)
		case s.axisRead(a) && s.accepted[way(r, s.o.Account)]:
			s.axisConfiguration(ctx, ep)
		}
	}
}

// axisRead reads the answer of basicdeviceinfo.cgi and reports whether it is
// one. Errors come with status 200.
func (s *session) axisRead(a *answer) bool {
	properties, failure, err := parseAxis(a.body)
	if err != nil {
		if !a.cut {
			s.problem(a.request, err)
		}
		return false
	}
	s.speaks(a)
	if failure != "" {
		s.sink.Problem(attest.ProblemIncomplete, a.request.source(), s.mask("answered with an error: "+clean(failure)))
		return true
	}
	s.observe(a, "axis.answer", names(properties), "propertyList keys")
	s.axisProperties(a, properties, func(name string) string { return name })
	return true
}

// parseAxis returns the properties, or the error that the answer states. Values
// that are no strings are left out.
func parseAxis(body []byte) (properties map[string]string, failure string, err error) {
	var reply struct {
		Data *struct {
			PropertyList map[string]any `json:"propertyList"`
		} `json:"data"`
		Error *struct {
			Code    json.Number `json:"code"`
			Message string      `json:"message"`
		} `json:"error"`
	}
	if err := json.Unmarshal(trimJSON(body), &reply); err != nil {
		return nil, "", fmt.Errorf("%w: json: %s", devices.ErrMalformed, reason(err))
	}
	if reply.Error != nil {
		return nil, strings.TrimSpace(reply.Error.Code.String() + " " + reply.Error.Message), nil
	}
	if reply.Data == nil || reply.Data.PropertyList == nil {
		return nil, "", fmt.Errorf("%w: json: no data.propertyList", devices.ErrMalformed)
	}
	properties = map[string]string{}
	for k, v := range reply.Data.PropertyList {
		if text, ok := v.(string); ok {
			properties[k] = text
		}
	}
	return properties, "", nil
}

// axisParameters reads the older root.Brand and root.Properties lists.
func (s *session) axisParameters(a *answer) {
	lines := keyValues(a.body)
	place := map[string]string{
		"Brand": "root.Brand.Brand", "ProdNbr": "root.Brand.ProdNbr", "ProdFullName": "root.Brand.ProdFullName",
		"Version": "root.Properties.Firmware.Version", "BuildDate": "root.Properties.Firmware.BuildDate",
		"SerialNumber": "root.Properties.System.SerialNumber", "HardwareID": "root.Properties.System.HardwareID",
		"Soc": "root.Properties.System.Soc", "Architecture": "root.Properties.System.Architecture",
	}
	properties := map[string]string{}
	for name, key := range place {
		if v, ok := lines[key]; ok {
			properties[name] = v
		}
	}
	if len(properties) == 0 {
		s.sink.Problem(attest.ProblemMalformed, a.request.source(), "none of the root.Brand and root.Properties that were asked for")
		return
	}
	s.speaks(a)
	s.observe(a, "axis.answer", names(properties), "keys")
	s.axisProperties(a, properties, func(name string) string { return place[name] })
}

func (s *session) axisProperties(a *answer, p map[string]string, field func(string) string) {
	s.maker(a, p["Brand"], field("Brand"))
	s.observe(a, "axis.brand", p["Brand"], field("Brand"))
	s.model(a, p["ProdNbr"], field("ProdNbr"))
	s.claim(a, attest.SubjectUnit, "label", p["ProdFullName"], field("ProdFullName"))
	s.serial(a, p["SerialNumber"], field("SerialNumber"))
	s.mac(a, p["SerialNumber"], field("SerialNumber")) // an Axis serial number is the MAC
	s.firmware(a, p["Version"], field("Version"))
	s.claim(a, attest.SubjectFirmware, attest.NameBuildDate, axisDate(p["BuildDate"]), field("BuildDate"))
	s.claim(a, attest.SubjectBoard, attest.NameHardware, p["HardwareID"], field("HardwareID"))
	s.soc(a, strings.TrimSuffix(p["Soc"], " (Flattened Device Tree)"), field("Soc"))
	s.claim(a, attest.SubjectSoC, attest.NameSerial, p["SocSerialNumber"], field("SocSerialNumber"))
	s.claim(a, attest.SubjectSoC, "architecture", p["Architecture"], field("Architecture"))
}

// axisDate turns "Apr 29 2020 06:50" into a date; what it cannot read stays as
// it is.
func axisDate(v string) string {
	if t, err := time.Parse("Jan _2 2006 15:04", strings.TrimSpace(v)); err == nil {
		return t.Format(isoDate)
	}
	return v
}
