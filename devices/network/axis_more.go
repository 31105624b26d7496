package network

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"assay/attest"
)

// What Axis units tell beyond their names, by developer.axis.com/vapix: whether
// they are set up (Systemready API, open to all), which interfaces they have (API
// discovery), where RTSP over TLS is (parameter group Network.RTSP), and which
// certificates they hold (Device Configuration API, AXIS OS 11.8 and later).
//
// Whether firmware of another signer is allowed is a matter of the custom firmware
// certificate. Its interface is not public; that the unit has it at all is in the
// list of interfaces, and is all that is read of it here.
var (
	axisSystemReady  = &request{protocol: "axis", method: "POST", uri: "/axis-cgi/systemready.cgi", contentType: "application/json", body: `{"apiVersion":"1.0","method":"systemready","params":{"timeout":1}}`}
	axisList         = &request{protocol: "axis", method: "POST", uri: "/axis-cgi/apidiscovery.cgi", contentType: "application/json", body: `{"apiVersion":"1.0","method":"getApiList"}`}
	axisRTSP         = &request{protocol: "axis", method: "GET", uri: "/axis-cgi/param.cgi?action=list&group=Network.RTSP"}
	axisDiscover     = &request{protocol: "axis", method: "GET", uri: "/config/discover"}
	axisCertificates = &request{protocol: "axis", method: "GET", uri: "/config/rest/cert/v1/certificates"}
)

var axisMore = []*request{axisSystemReady, axisList, axisRTSP, axisDiscover, axisCertificates}

// axisReady asks whether the unit is set up. One without a password yet is
// reported, and not given one.
func (s *session) axisReady(ctx context.Context, ep *endpoint) {
	a := s.ask(ctx, ep, axisSystemReady)
	if a == nil || a.status != http.StatusOK || isHTML(a.body) {
		return
	}
	s.axisReadyRead(a)
}

func (s *session) axisReadyRead(a *answer) {
	var reply struct {
		Data struct {
			NeedSetup   string `json:"needsetup"`
			SystemReady string `json:"systemready"`
		} `json:"data"`
	}
	if json.Unmarshal(trimJSON(a.body), &reply) != nil || reply.Data.SystemReady == "" {
		return
	}
	if strings.EqualFold(reply.Data.NeedSetup, "yes") {
		s.claim(a, attest.SubjectUnit, "activation", "not activated", "needsetup")
	}
}

// axisConfiguration asks what needs the login, each for itself: older firmware
// has none of it.
func (s *session) axisConfiguration(ctx context.Context, ep *endpoint) {
	for _, q := range []struct {
		r    *request
		read func(*answer)
	}{
		{axisList, s.axisListRead}, {axisRTSP, s.axisRTSPRead}, {axisDiscover, s.axisDiscoverRead}, {axisCertificates, s.axisCertificatesRead},
	} {
		if q.r == axisCertificates && ep.scheme != "https" {
			continue // the interface asks for a secured channel
		}
		if a := s.login(ctx, ep, q.r); a != nil && a.status == http.StatusOK && !isHTML(a.body) {
			q.read(a)
		}
	}
}

func (s *session) axisListRead(a *answer) {
	var reply struct {
		Data struct {
			APIs []struct {
				ID      string `json:"id"`
				Version string `json:"version"`
			} `json:"apiList"`
		} `json:"data"`
	}
	if json.Unmarshal(trimJSON(a.body), &reply) != nil || len(reply.Data.APIs) == 0 {
		return
	}
	s.claim(a, attest.SubjectFirmware, "interfaces", fmt.Sprint(len(reply.Data.APIs)), "apiList")
	custom := "no interface for it"
	for _, api := range reply.Data.APIs {
		if api.ID == "custom-firmware-certificate" {
			custom = "the unit can be given one; whether it has is not read"
		}
	}
	s.claim(a, attest.SubjectFirmware, "custom-firmware-certificate", custom, "apiList")
}

func (s *session) axisRTSPRead(a *answer) {
	for key, value := range keyValues(a.body) {
		if name, ok := strings.CutPrefix(key, "root.Network.RTSP."); ok && strings.Contains(strings.ToLower(name), "port") {
			s.claim(a, attest.SubjectNetwork, "rtsp-"+strings.ToLower(clean(name)), value, key)
		}
	}
}

func (s *session) axisDiscoverRead(a *answer) {
	var reply struct {
		APIs map[string]json.RawMessage `json:"apis"`
	}
	if json.Unmarshal(trimJSON(a.body), &reply) != nil || len(reply.APIs) == 0 {
		return
	}
	s.claim(a, attest.SubjectFirmware, "configuration-interfaces", fmt.Sprint(len(reply.APIs)), "apis")
}

// axisCertificatesRead names the certificates with a private key and where the
// key is kept. That a unit lists a device certificate proves nothing; a handshake
// with it does.
func (s *session) axisCertificatesRead(a *answer) {
	var reply struct {
		Data []struct {
			Alias    string `json:"alias"`
			Keystore string `json:"keystore"`
		} `json:"data"`
	}
	if json.Unmarshal(trimJSON(a.body), &reply) != nil {
		return
	}
	for i, c := range reply.Data {
		if i == 32 || c.Alias == "" {
			break
		}
		s.claim(a, attest.SubjectUnit, "certificate", strings.TrimSpace(c.Alias+" in keystore "+c.Keystore), "data alias")
	}
}
