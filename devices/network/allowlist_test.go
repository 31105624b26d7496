package network

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func serveFunc(t *testing.T, f http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	return server.URL
}

// What the list may hold is said a second time here: a new request must be added
// in both places, by somebody who has looked at what it does.
func TestAllowlistOnlyReads(t *testing.T) {
	reads := regexp.MustCompile(`^(` + strings.Join([]string{
		`GET /`, `GET /doc/page/login\.asp`, `GET /doc/index\.html`,
		`POST /onvif/device_service <tds:Get(SystemDateAndTime|Scopes|DeviceInformation|NetworkInterfaces)></tds:Get[A-Za-z]+>`,
		`POST /onvif/device_service <tds:GetCapabilities><tds:Category>All</tds:Category></tds:GetCapabilities>`,
		`POST /axis-cgi/basicdeviceinfo\.cgi {"apiVersion":"1\.0","method":"getAll(Unrestricted)?Properties"}`,
		`GET /axis-cgi/param\.cgi\?action=list&group=Brand,Properties`,
		`GET /ISAPI/System/deviceInfo`,
		`GET /cgi-bin/magicBox\.cgi\?action=get(SystemInfo|SoftwareVersion|HardwareVersion|Vendor|SerialNo|MachineName|DeviceType|DeviceClass)`,
	}, "|") + `)$`)
	for _, r := range allowlist {
		if line := strings.TrimSpace(r.method + " " + r.uri + " " + r.body); !reads.MatchString(line) {
			t.Errorf("%s is not known to read only", line)
		}
	}
}

func TestGateLetsNothingElseThrough(t *testing.T) {
	var arrived atomic.Int32
	url := serveFunc(t, func(http.ResponseWriter, *http.Request) { arrived.Add(1) })
	s := &session{Channel: Open(target(t, url), Options{Timeout: time.Second}), sink: new(memory), said: map[string]bool{}}
	ep := &endpoint{scheme: "http", host: "127.0.0.1", address: strings.TrimPrefix(url, "http://")}
	client, _ := s.client(ep)
	token := usernameToken(`a<b>"&`, "secret", []byte("nonce"), time.Unix(0, 0))
	for _, c := range []struct {
		name, method, uri, body string
		through                 bool
	}{
		{"a request of the list", "GET", "/ISAPI/System/deviceInfo", "", true},
		{"a SOAP request with a token", "POST", onvifPath, envelopeOpen + token + bodyOpen + onvifScopes.body + envelopeClose, true},
		{"another method", "PUT", "/ISAPI/System/deviceInfo", "", false},
		{"a body where none belongs", "GET", "/ISAPI/System/deviceInfo", "x", false},
		{"a query that writes", "GET", "/axis-cgi/param.cgi?action=update&root.Network.Enabled=no", "", false},
		{"an action that reboots", "GET", "/cgi-bin/magicBox.cgi?action=reboot", "", false},
		{"a query added to a known one", "GET", "/cgi-bin/magicBox.cgi?action=getVendor&action=reboot", "", false},
		{"another SOAP operation", "POST", onvifPath, envelopeOpen + bodyOpen + "<tds:SystemReboot/>" + envelopeClose, false},
		{"a second SOAP operation", "POST", onvifPath, envelopeOpen + bodyOpen + "<tds:SystemReboot/>" + onvifScopes.body + envelopeClose, false},
		{"an operation in the SOAP header", "POST", onvifPath, envelopeOpen + token + "<tds:SystemReboot/>" + bodyOpen + onvifScopes.body + envelopeClose, false},
		{"another JSON method", "POST", "/axis-cgi/basicdeviceinfo.cgi", `{"apiVersion":"1.0","method":"set"}`, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := arrived.Load()
			req, err := http.NewRequestWithContext(context.Background(), c.method, url+c.uri, strings.NewReader(c.body))
			if err != nil {
				t.Fatal(err)
			}
			resp, err := client.Do(req)
			if err == nil {
				resp.Body.Close()
			}
			var refused errNotAllowed
			if errors.As(err, &refused) == c.through || (arrived.Load() > before) != c.through {
				t.Errorf("error %v, arrived %v", err, arrived.Load() > before)
			}
		})
	}
}
