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
		`GET /`, `GET /doc/page/login\.asp`, `GET /doc/index\.html`, `GET /favicon\.ico`,
		`POST /onvif/device_service <tds:Get(SystemDateAndTime|Scopes|DeviceInformation|NetworkInterfaces)></tds:Get[A-Za-z]+>`,
		`POST /onvif/device_service <tds:GetCapabilities><tds:Category>All</tds:Category></tds:GetCapabilities>`,
		`POST /onvif/device_service <tds:GetServices><tds:IncludeCapability>false</tds:IncludeCapability></tds:GetServices>`,
		`POST /onvif/(device_service|media_service|[Mm]edia|services) <trt:GetProfiles xmlns:trt="http://www\.onvif\.org/ver10/media/wsdl"></trt:GetProfiles>`,
		`POST /axis-cgi/basicdeviceinfo\.cgi {"apiVersion":"1\.0","method":"getAll(Unrestricted)?Properties"}`,
		`POST /axis-cgi/systemready\.cgi {"apiVersion":"1\.0","method":"systemready","params":{"timeout":1}}`,
		`POST /axis-cgi/apidiscovery\.cgi {"apiVersion":"1\.0","method":"getApiList"}`,
		`GET /axis-cgi/param\.cgi\?action=list&group=(Brand,Properties|Network\.RTSP)`,
		`GET /config/(discover|rest/cert/v1/certificates)`,
		`GET /ISAPI/(System/(deviceInfo|capabilities)|ContentMgmt/InputProxy/channels|Security/userCheck)`, `GET /SDK/webLanguage`,
		`GET /cgi-bin/magicBox\.cgi\?action=get(SystemInfo|SoftwareVersion|HardwareVersion|Vendor|SerialNo|MachineName|DeviceType|DeviceClass)`,
		`GET /cgi-bin/configManager\.cgi\?action=getConfig&name=(Network|RemoteDevice)`,
		`POST /RPC2_Login {"method":"global\.login","params":{"userName":"admin","password":"","clientType":"Web3\.0"},"id":1}`,
		`GET /LAPI/V1\.0/(System/Device(Info|BasicInfo)|Channels/System/(ChannelDetail|Device)Infos)`,
		`POST /GetDeviceInfo`,
		`GET /stw-cgi/(system\.cgi\?msubmenu=deviceinfo|media\.cgi\?msubmenu=cameraregister)&action=view`,
		`GET /rcp\.xml\?command=0x(0019&type=P_UNICODE|0ae7&type=P_OCTET|00bc&type=P_OCTET)&direction=READ&num=1`,
		`GET /cgi-bin/admin/getparam\.cgi\?system_info_modelname&system_info_firmwareversion&system_info_serialnumber`,
		`GET /cgi-bin/getinfo\?FILE=1`, `GET /command/inquiry\.cgi\?inq=system`, `GET /cgi-bin/CGIProxy\.fcgi\?cmd=getDevInfo`,
		`POST /cgi-bin/api\.cgi\?cmd=GetDevInfo \[{"cmd":"GetDevInfo","action":0,"param":{}}\]`,
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
	s := newSession(Open(target(t, url), Options{Timeout: time.Second}), new(memory))
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
		{"a Bosch write", "GET", "/rcp.xml?command=0x0019&type=P_UNICODE&direction=WRITE&num=1&payload=0x41", "", false},
		{"the language of Hikvision, put", "PUT", "/SDK/webLanguage", "<language>a</language>", false},
		{"a login to RPC2 with a password", "POST", "/RPC2_Login", strings.Replace(dahuaChallenge.body, `"password":""`, `"password":"x"`, 1), false},
		{"a name of configManager that was not looked up", "GET", "/cgi-bin/configManager.cgi?action=getConfig&name=All", "", false},
		{"a setting of TVT", "POST", "/SetDeviceInfo", "", false},
		{"a login in the address", "GET", "/cgi-bin/CGIProxy.fcgi?cmd=getDevInfo&usr=a&pwd=b", "", false},
		{"another command of Reolink", "POST", "/cgi-bin/api.cgi?cmd=GetDevInfo", `[{"cmd":"Reboot"}]`, false},
		{"the users of ONVIF", "POST", onvifPath, envelopeOpen + bodyOpen + "<tds:GetUsers></tds:GetUsers>" + envelopeClose, false},
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
