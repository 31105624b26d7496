package network

import (
	"context"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

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
)

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

// clock is the difference between the unit's clock and ours.
type clock struct{ offset time.Duration }

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
	}
	for _, r := range []*request{onvifScopes, onvifCapabilities, onvifInformation, onvifInterfaces} {
		a := s.ask(ctx, ep, r)
		if a == nil {
			continue
		}
		doc, ok := s.soap(a)
		switch {
		case unauthorized(a, doc):
			s.needsLogin.onvif = append(s.needsLogin.onvif, r)
			s.onvifHTTP = s.onvifHTTP || s.wantsHTTP(a, doc)
		case ok:
			s.onvifRead(a, doc)
		}
	}
}

// wantsHTTP tells an answer that asks for HTTP authentication. Where a SOAP
// fault comes with the challenge both ways are open, and a UsernameToken is the
// one that firmware has had longest, if its clock is known.
func (s *session) wantsHTTP(a *answer, doc *node) bool {
	return a.status == http.StatusUnauthorized && a.header.Get("WWW-Authenticate") != "" && (doc.find("Fault") == nil || !s.clockKnown)
}

// onvifLogin asks with login for what was refused without: by WS-UsernameToken,
// or by HTTP authentication where the unit wants that. Never both in one request
// (Core §5.9.1), and never one after the other.
func (s *session) onvifLogin(ctx context.Context, ep *endpoint) {
	for _, r := range s.needsLogin.onvif {
		user, password, ok := s.o.Account.Login()
		switch {
		case !ok:
			s.locked = append(s.locked, r.source())
		case s.onvifHTTP:
			if a := s.login(ctx, ep, r); a != nil {
				if doc, ok := s.soap(a); ok {
					s.onvifRead(a, doc)
				}
			}
		default:
			s.onvifToken(ctx, ep, r, user, password)
		}
	}
}

func (s *session) onvifToken(ctx context.Context, ep *endpoint, r *request, user, password string) {
	nonce, err := s.nonce()
	if err != nil {
		s.problem(r, err)
		return
	}
	security := usernameToken(user, password, nonce, s.now().Add(s.clock.offset))
	a, err := s.send(ctx, ep, r, credential{security: security})
	if errors.Is(err, errGivenUp) {
		s.locked = append(s.locked, r.source()) // nothing was sent
		return
	}
	if a = s.received(ep, r, a, err); a == nil {
		if !s.onvifAccepted {
			s.uncertain(ep, r)
		}
		return
	}
	doc, ok := s.soap(a)
	switch {
	case unauthorized(a, doc):
		s.refuse(ep, r)
	case ok:
		s.onvifAccepted = true
		s.onvifRead(a, doc)
	case !s.onvifAccepted:
		s.uncertain(ep, r)
	}
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
	case onvifCapabilities:
		for _, x := range doc.all("XAddr") {
			s.onvifXAddr(a, x)
		}
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

// onvifClock reads the unit's clock. Some firmware gives its local time as UTC,
// so the difference is a claim, and never a reason to distrust.
func (s *session) onvifClock(a *answer, doc *node) {
	utc := doc.find("UTCDateTime")
	var n [6]int
	for i, path := range [][]string{{"Date", "Year"}, {"Date", "Month"}, {"Date", "Day"}, {"Time", "Hour"}, {"Time", "Minute"}, {"Time", "Second"}} {
		v, err := strconv.Atoi(utc.field(path...))
		if err != nil {
			return
		}
		n[i] = v
	}
	if n[0] < 1970 || n[0] > 2200 || n[1] < 1 || n[1] > 12 || n[2] < 1 || n[2] > 31 || n[3] < 0 || n[3] > 23 || n[4] < 0 || n[4] > 59 || n[5] < 0 || n[5] > 60 {
		s.sink.Problem(attest.ProblemMalformed, a.request.source(), fmt.Sprintf("UTCDateTime %v is no time", n))
		return
	}
	t := time.Date(n[0], time.Month(n[1]), n[2], n[3], n[4], n[5], 0, time.UTC)
	t = t.Add(time.Second / 2) // the unit cut off the fraction
	s.clock, s.clockKnown = clock{t.Sub(a.sent.Add(a.took / 2))}, true
	s.claim(a, attest.SubjectUnit, attest.NameClockOffset, strconv.FormatFloat(s.clock.offset.Round(time.Second).Seconds(), 'f', -1, 64), "UTCDateTime")
}

// usernameToken is the security header of the OASIS Web Services Security
// UsernameToken Profile 1.0 §3.1 with a password digest. created is in the
// unit's own time, since most firmware refuses a token that is seconds off.
func usernameToken(user, password string, nonce []byte, created time.Time) string {
	const (
		wsse   = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd"
		wsu    = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd"
		digest = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-username-token-profile-1.0#PasswordDigest"
		base   = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-soap-message-security-1.0#Base64Binary"
	)
	at := created.UTC().Format("2006-01-02T15:04:05Z")
	sum := sha1.Sum([]byte(string(nonce) + at + password))
	return `<s:Header><wsse:Security xmlns:wsse="` + wsse + `" xmlns:wsu="` + wsu + `" s:mustUnderstand="1"><wsse:UsernameToken>` +
		`<wsse:Username>` + html.EscapeString(user) + `</wsse:Username>` +
		`<wsse:Password Type="` + digest + `">` + base64.StdEncoding.EncodeToString(sum[:]) + `</wsse:Password>` +
		`<wsse:Nonce EncodingType="` + base + `">` + base64.StdEncoding.EncodeToString(nonce) + `</wsse:Nonce>` +
		`<wsu:Created>` + at + `</wsu:Created></wsse:UsernameToken></wsse:Security></s:Header>`
}
