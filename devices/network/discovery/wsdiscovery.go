package discovery

import (
	"net/netip"
	"net/url"
	"strings"

	"assay/attest"
	"assay/devices/network/internal/xmltext"
)

// WS-Discovery (April 2005) with the types and scopes of the ONVIF Core
// Specification, section 7.3. Cameras answer one of three questions: for the
// type of ONVIF's network specification, for that of its device service, and
// for no type at all; the fourth is that of the Devices Profile for Web
// Services, which computers and printers answer. Answers come from another port than the one asked, after
// a random delay. Printers and computers answer too, some without an address
// of any service (OnvifDeviceManager issue 14).
var wsDiscovery = &protocol{
	name:    "ws-discovery",
	groups:  []netip.Addr{netip.MustParseAddr("239.255.255.250"), netip.MustParseAddr("ff02::c")},
	unicast: true,
	requests: []*request{
		wsProbe("dn:NetworkVideoTransmitter"), wsProbe("tds:Device"), wsProbe(""), wsProbe("wsdp:Device"),
	},
	read: readWSDiscovery,
}

const wsPort = 3702

func wsProbe(types string) *request {
	asks := "Probe"
	if types != "" {
		asks += " " + types
		types = "<d:Types>" + types + "</d:Types>"
	}
	return &request{
		protocol: "ws-discovery", asks: asks, port: wsPort, hole: uuidHole,
		head: `<?xml version="1.0" encoding="UTF-8"?><s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"` +
			` xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing" xmlns:d="http://schemas.xmlsoap.org/ws/2005/04/discovery"` +
			` xmlns:dn="http://www.onvif.org/ver10/network/wsdl" xmlns:tds="http://www.onvif.org/ver10/device/wsdl"` +
			` xmlns:wsdp="http://schemas.xmlsoap.org/ws/2006/02/devprof"><s:Header>` +
			`<a:Action s:mustUnderstand="1">http://schemas.xmlsoap.org/ws/2005/04/discovery/Probe</a:Action><a:MessageID>urn:uuid:`,
		tail: `</a:MessageID><a:ReplyTo><a:Address>http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous</a:Address></a:ReplyTo>` +
			`<a:To s:mustUnderstand="1">urn:schemas-xmlsoap-org:ws:2005:04:discovery</a:To></s:Header><s:Body><d:Probe>` + types + `</d:Probe></s:Body></s:Envelope>`,
	}
}

// readWSDiscovery reads ProbeMatches, and the Hello of a unit that has just
// started. A message that breaks off keeps what was whole in it.
func readWSDiscovery(r *reading) error {
	doc, err := xmltext.Parse(r.b)
	if doc == nil {
		return err
	}
	matches := 0
	each := func(m *xmltext.Node) {
		matches++
		readMatch(r, m)
	}
	doc.Each("ProbeMatch", each)
	doc.Each("Hello", each)
	if matches == 0 {
		if doc.Find("ProbeMatches") != nil {
			return malformed("ProbeMatches without a match")
		}
		return errNotOurs
	}
	return nil
}

func readMatch(r *reading, m *xmltext.Node) {
	a := r.answer(KindUnknown)
	if id := m.Field("EndpointReference", "Address"); id != "" {
		a.endpoint = uuidOf(id)
		a.claim(attest.SubjectUnit, "endpoint", a.endpoint, "EndpointReference")
	}
	types := strings.ToLower(m.Field("Types"))
	if types != "" {
		a.claim(attest.SubjectUnit, "type", m.Field("Types"), "Types")
	}
	for _, t := range []struct {
		word string
		kind Kind
	}{
		{"networkvideotransmitter", KindCamera}, {"networkvideorecorder", KindRecorder}, {"networkvideostorage", KindRecorder},
		{"networkvideodisplay", KindOther}, {"printdevicetype", KindPrinter}, {"printbasic", KindPrinter}, {"scandevicetype", KindPrinter},
		{"computer", KindComputer},
	} {
		if strings.Contains(types, t.word) {
			a.role(t.kind)
		}
	}
	for _, x := range strings.Fields(strings.Join(m.All("XAddrs"), " ")) {
		a.service(x, "XAddrs")
		if u, err := url.Parse(x); err == nil {
			a.address(u.Hostname(), "XAddrs")
		}
	}
	for _, s := range strings.Fields(strings.Join(m.All("Scopes"), " ")) {
		readScope(a, s)
	}
}

// readScope reads one scope, as onvif://www.onvif.org/name/Front%20door. Scopes
// of other hosts are kept whole: they tell of the maker.
func readScope(a *answer, scope string) {
	u, err := url.Parse(scope)
	if err != nil || u.Scheme != "onvif" {
		return
	}
	if !strings.EqualFold(u.Host, "www.onvif.org") {
		a.claim(attest.SubjectUnit, "scope", scope, "Scopes")
		a.observe("onvif.scope", scope, "Scopes")
		return
	}
	a.role(KindCamera)
	category, value, _ := strings.Cut(strings.Trim(u.Path, "/"), "/")
	switch strings.ToLower(category) {
	case "name":
		a.label(value, "scope name")
	case "hardware":
		a.claim(attest.SubjectUnit, "onvif-hardware", value, "scope hardware")
		a.observe("onvif.hardware-scope", value, "scope hardware")
		a.observe("onvif.model", value, "scope hardware")
	case "location":
		a.claim(attest.SubjectUnit, "location", value, "scope location")
	case "manufacturer", "mfr":
		a.maker(value, "scope "+category)
		a.observe("onvif.manufacturer", value, "scope "+category)
	case "mac":
		a.mac(value, "scope "+category)
	case "type":
		if strings.Contains(strings.ToLower(value), "recorder") || strings.Contains(strings.ToLower(value), "storage") {
			a.role(KindRecorder)
		}
	}
}

// uuidOf is the UUID in an endpoint's name, or the name itself.
func uuidOf(s string) string {
	s = strings.ToLower(strings.TrimSpace(s))
	for _, prefix := range []string{"urn:", "uuid:"} {
		s = strings.TrimPrefix(s, prefix)
	}
	return s
}
