package network

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"assay/attest"
	"assay/devices"
)

// Operations of the device service, ONVIF Core Specification 24.12 §8, read
// only. By §5.9 the time, the scopes and the capabilities need no login; that
// the others do is not kept by all firmware, so they are asked without first.
var (
	onvifTime         = onvifRequest("GetSystemDateAndTime", "")
	onvifScopes       = onvifRequest("GetScopes", "")
	onvifCapabilities = onvifRequest("GetCapabilities", "<tds:Category>All</tds:Category>")
	onvifInformation  = onvifRequest("GetDeviceInformation", "")
	onvifInterfaces   = onvifRequest("GetNetworkInterfaces", "")
	// GetServices is for newer units that no longer have GetCapabilities.
	onvifServices = onvifRequest("GetServices", "<tds:IncludeCapability>false</tds:IncludeCapability>")
)

// GetProfiles of the media service (ONVIF Media Specification 24.12 §5.2) tells
// how many cameras are in a unit. The path of that service is the unit's to say;
// these are the ones that firmware has, and no other is asked.
var onvifMediaPaths = []string{onvifPath, "/onvif/media_service", "/onvif/Media", "/onvif/media", "/onvif/services"}

var onvifProfiles = func() (all []*request) {
	for _, path := range onvifMediaPaths {
		all = append(all, &request{
			protocol: "onvif", method: "POST", uri: path, operation: "GetProfiles",
			contentType: `application/soap+xml; charset=utf-8; action="http://www.onvif.org/ver10/media/wsdl/GetProfiles"`,
			body:        `<trt:GetProfiles xmlns:trt="http://www.onvif.org/ver10/media/wsdl"></trt:GetProfiles>`,
		})
	}
	return all
}()

// Not among them: GetUsers, GetRemoteUser, and whatever begins with another word
// than Get.
var onvifProtocol = protocol{
	name:     "onvif",
	requests: append([]*request{onvifTime, onvifScopes, onvifCapabilities, onvifServices, onvifInformation, onvifInterfaces}, onvifProfiles...),
	open:     (*session).onvif,
	login:    (*session).onvifLogin,
}

const (
	onvifPath     = "/onvif/device_service"
	envelopeOpen  = `<?xml version="1.0" encoding="utf-8"?><s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" xmlns:tds="http://www.onvif.org/ver10/device/wsdl">`
	bodyOpen      = `<s:Body>`
	envelopeClose = `</s:Body></s:Envelope>`
)

func onvifRequest(operation, content string) *request {
	return &request{
		protocol: "onvif", method: "POST", uri: onvifPath, operation: operation,
		contentType: `application/soap+xml; charset=utf-8; action="http://www.onvif.org/ver10/device/wsdl/` + operation + `"`,
		body:        "<tds:" + operation + ">" + content + "</tds:" + operation + ">",
	}
}

// onvif asks without login.
func (s *session) onvif(ctx context.Context, ep *endpoint) {
	a := s.ask(ctx, ep, onvifTime)
	if a == nil {
		return
	}
	doc, ok := s.soap(a)
	switch {
	case ok:
		s.onvifClock(a, doc)
	case !unauthorized(a, doc):
		return
	case doc.find("Envelope") == nil: // many servers answer so whatever the path
		s.onvifHTTP = true
		s.later(onvifScopes, onvifCapabilities, onvifInformation, onvifInterfaces)
		return
	}
	for _, r := range []*request{onvifScopes, onvifCapabilities, onvifInformation, onvifInterfaces} {
		a := s.ask(ctx, ep, r)
		if a == nil {
			continue
		}
		s.onvifAnswer(ctx, ep, a, s.ask)
	}
}

// onvifAnswer reads an answer, or keeps its request for the login.
func (s *session) onvifAnswer(ctx context.Context, ep *endpoint, a *answer, ask func(context.Context, *endpoint, *request) *answer) {
	doc, ok := s.soap(a)
	switch {
	case unauthorized(a, doc):
		s.later(a.request)
		s.onvifHTTP = s.onvifHTTP || s.wantsHTTP(a, doc)
	case ok:
		s.onvifRead(a, doc)
	case a.request == onvifCapabilities && doc != nil:
		if a := ask(ctx, ep, onvifServices); a != nil {
			s.onvifAnswer(ctx, ep, a, ask)
		}
	}
}

// wantsHTTP tells an answer that asks for HTTP authentication. Where a SOAP
// fault comes with the challenge both ways are open, and a UsernameToken is the
// one that firmware has had longest, if its clock is known.
func (s *session) wantsHTTP(a *answer, doc *node) bool {
	return a.status == http.StatusUnauthorized && a.header.Get("WWW-Authenticate") != "" && (doc.find("Fault") == nil || !s.clockKnown)
}

// soap parses an answer and says whether it is one of ONVIF. Faults come with
// status 400, 401, 500 or even 200, so the status says nothing.
func (s *session) soap(a *answer) (*node, bool) {
	if s.page200(a) || isHTML(a.body) || len(a.body) == 0 {
		return nil, false
	}
	doc, err := parseXML(a.body)
	body := doc.find("Body")
	if doc.find("Envelope") == nil || body == nil {
		if a.status == http.StatusOK && !a.cut {
			if err == nil {
				err = fmt.Errorf("%w: no SOAP envelope", devices.ErrMalformed)
			}
			s.problem(a.request, err)
		}
		return nil, false
	}
	s.protocol(a, "onvif")
	if err != nil && !a.cut {
		s.problem(a.request, err)
	}
	if fault := body.find("Fault"); fault != nil {
		if !unauthorized(a, doc) {
			s.sink.Problem(attest.ProblemIncomplete, a.request.source(), s.mask("answered with a fault: "+clean(faultText(fault))))
		}
		return doc, false
	}
	if body.find(a.request.operation+"Response") == nil {
		s.sink.Problem(attest.ProblemMalformed, a.request.source(), "SOAP answer without "+a.request.operation+"Response")
		return doc, false
	}
	return doc, true
}

func faultText(fault *node) string {
	return strings.Join(append(append(fault.all("Value"), fault.all("Text")...), fault.all("faultstring")...), " ")
}

// unauthorized tells a refused login, or the want of one, in all the ways that
// firmware says so.
func unauthorized(a *answer, doc *node) bool {
	if a.status == http.StatusUnauthorized {
		return true
	}
	fault := doc.find("Fault")
	if fault == nil {
		return false
	}
	text := strings.ToLower(faultText(fault) + " " + strings.Join(fault.all("faultcode"), " "))
	for _, word := range []string{"notauthorized", "failedauthentication", "not authorized", "unauthorized", "failedcheck", "operationprohibited"} {
		if strings.Contains(text, word) {
			return true
		}
	}
	return false
}

func (s *session) onvifRead(a *answer, doc *node) {
	switch a.request {
	case onvifScopes:
		s.onvifScopes(a, doc)
	case onvifCapabilities, onvifServices:
		for _, x := range doc.all("XAddr") {
			s.onvifXAddr(a, x)
		}
		s.onvifMedia(doc)
	case onvifInformation:
		s.maker(a, doc.field("Manufacturer"), "Manufacturer")
		s.observe(a, "onvif.manufacturer", doc.field("Manufacturer"), "Manufacturer")
		s.model(a, doc.field("Model"), "Model")
		s.observe(a, "onvif.model", doc.field("Model"), "Model")
		s.firmware(a, doc.field("FirmwareVersion"), "FirmwareVersion")
		s.serial(a, doc.field("SerialNumber"), "SerialNumber")
		s.claim(a, attest.SubjectBoard, attest.NameHardware, doc.field("HardwareId"), "HardwareId")
	case onvifInterfaces:
		for _, mac := range doc.all("HwAddress") {
			s.mac(a, mac, "HwAddress")
		}
	default:
		if a.request.operation == "GetProfiles" {
			s.onvifProfiles(a, doc)
		}
	}
}

// onvifXAddr notes an address that the unit gives for a service. Firmware often
// gives a wrong one, and it is the unit's word: nothing is ever sent to it.
func (s *session) onvifXAddr(a *answer, xaddr string) {
	u, err := url.Parse(strings.TrimSpace(xaddr))
	if err != nil || u.Host == "" || !s.once("xaddr "+u.Host) {
		return
	}
	s.claim(a, attest.SubjectNetwork, "xaddr", u.Scheme+"://"+u.Host, "XAddr")
}

// onvifMedia notes the path of the media service, by either way to ask for it.
// Host and port are the ones that were reached, whatever the unit says.
func (s *session) onvifMedia(doc *node) {
	xaddr := doc.field("Capabilities", "Media", "XAddr")
	for _, service := range doc.find("GetServicesResponse").elements() {
		if service.field("Namespace") == "http://www.onvif.org/ver10/media/wsdl" {
			xaddr = service.field("XAddr")
		}
	}
	if u, err := url.Parse(strings.TrimSpace(xaddr)); err == nil && u.Path != "" {
		s.mediaPath = u.Path
	}
}

// onvifProfiles claims how many cameras a unit has and what it calls its streams.
// A recorder has many; so has a camera with several lenses, so it decides nothing.
func (s *session) onvifProfiles(a *answer, doc *node) {
	var names, sources []string
	for _, p := range doc.find("GetProfilesResponse").elements() {
		if p.local() != "Profiles" {
			continue
		}
		names = append(names, clean(p.field("Name")))
		if source := clean(p.field("VideoSourceConfiguration", "SourceToken")); source != "" && !slices.Contains(sources, source) {
			sources = append(sources, source)
		}
	}
	if len(sources) > 0 {
		s.claim(a, attest.SubjectUnit, "video-sources", strconv.Itoa(len(sources)), "SourceToken")
	}
	s.claim(a, attest.SubjectFirmware, "media-profiles", strings.Join(names[:min(len(names), 16)], ", "), "Name")
}

// hardwareScope is a hardware scope that may name a board.
type hardwareScope struct {
	from  *answer
	value string
}

// onvifScopes reads ONVIF Core §7.3.2.2 scopes, and those of the same shape
// that vendors add.
func (s *session) onvifScopes(a *answer, doc *node) {
	for _, item := range doc.all("ScopeItem") {
		for _, scope := range strings.Fields(item) {
			u, err := url.Parse(scope)
			if err != nil {
				continue
			}
			s.observe(a, "onvif.scope", scope, "ScopeItem")
			if u.Scheme != "onvif" {
				continue
			}
			category, value, _ := strings.Cut(strings.Trim(u.Path, "/"), "/")
			switch strings.ToLower(category) {
			case "name":
				s.names = append(s.names, strings.ToLower(clean(value)))
				s.claim(a, attest.SubjectUnit, "label", value, "scope name")
			case "hardware":
				s.scopes = append(s.scopes, hardwareScope{a, value})
				s.observe(a, "onvif.hardware-scope", value, "scope hardware")
			case "manufacturer", "mfr":
				s.maker(a, value, "scope "+category)
			case "mac":
				s.mac(a, value, "scope "+category)
			case "soc":
				s.soc(a, value, "scope soc")
			}
		}
	}
}

// boards claims a board for each hardware scope that does not just repeat the
// product's name, as most firmware does. It needs all names, so it comes last.
func (s *session) boards() {
	for _, h := range s.scopes {
		isName := func(name string) bool { return strings.Contains(name, strings.ToLower(clean(h.value))) }
		if !slices.ContainsFunc(s.names, isName) {
			s.claim(h.from, attest.SubjectBoard, attest.NameBoard, h.value, "scope hardware")
		}
	}
}
