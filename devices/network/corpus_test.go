package network

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"assay/attest"
	"assay/devices/simulator"
)

// The answers of real units, served as those units would and read whole, with
// login.

// isapiFields turns a captured DeviceInfo, which its source keeps as JSON, back
// into the fields of the document.
func isapiFields(t *testing.T, sample string) *simulator.ISAPI {
	t.Helper()
	var capture struct{ DeviceInfo json.RawMessage }
	if err := json.Unmarshal(corpus(t, sample), &capture); err != nil {
		t.Fatal(err)
	}
	info := &simulator.ISAPI{}
	d := json.NewDecoder(strings.NewReader(string(capture.DeviceInfo)))
	for name := ""; d.More() || name == ""; {
		token, err := d.Token()
		if err != nil {
			t.Fatal(err)
		}
		text, ok := token.(string)
		switch {
		case !ok: // the brace
			name = "{"
		case name == "{" || name == "value":
			name = text
		default:
			if name == "@xmlns" {
				info.Namespace = text
			} else if !strings.HasPrefix(name, "@") {
				info.Fields = append(info.Fields, simulator.Field{Name: name, Value: text})
			}
			name = "value"
		}
	}
	return info
}

func TestEverySampleServedAsTheUnitWould(t *testing.T) {
	sample := func(name string) string { return string(corpus(t, name)) }
	sample("hanwha/sunapi_deviceinfo_XND-C9083RV.txt") // without the corpus all of it is skipped
	for _, c := range []struct {
		name  string
		unit  func(*testing.T, *simulator.Camera)
		want  map[string]string
		marks map[string]string
	}{
		{"Hanwha XND-C9083RV", func(_ *testing.T, s *simulator.Camera) {
			s.Routes = []simulator.Route{{Path: "/stw-cgi/system.cgi", Login: true, Body: sample("hanwha/sunapi_deviceinfo_XND-C9083RV.txt")}}
		}, map[string]string{"model": "unit XND-C9083RV", "version": "firmware 2.11.01_20211210_R251", "serial": "unit ZR5K70GR700007A", "mac": "unit 00:09:18:6B:71:D7", "build-date": "firmware 2021-12-10"}, map[string]string{"hanwha": "c1"}},
		{"Hanwha XNF-9010RV", func(_ *testing.T, s *simulator.Camera) {
			s.Routes = []simulator.Route{{Path: "/stw-cgi/system.cgi", Login: true, Body: sample("hanwha/sunapi_deviceinfo_XNF-9010RV.txt")}}
		}, map[string]string{"model": "unit XNF-9010RV", "serial": "unit ZLNA70GKA0001JZ", "mac": "unit 00:09:18:5B:BD:3A", "version": "boot-loader U-Boot 2020.07-svn2693 (Jul 21 2020 - 18:09:00"}, nil},
		{"Hanwha PRN-4011, a recorder", func(_ *testing.T, s *simulator.Camera) {
			s.Routes = []simulator.Route{{Path: "/stw-cgi/system.cgi", Login: true, Headers: map[string]string{"Content-Type": "application/json"}, Body: sample("hanwha/sunapi_deviceinfo_PRN-4011_nvr.txt")}}
		}, map[string]string{"model": "unit PRN-4011", "version": "firmware v2.10_180329015157", "class": "unit NVR", "recorder": "unit cameras behind it are not listed: cameraregister was not answered, refused, or in a form that is not read"}, nil},
		{"Hanwha PNM-C7083RVD, in JSON", func(_ *testing.T, s *simulator.Camera) {
			s.Routes = []simulator.Route{{Path: "/stw-cgi/system.cgi", Login: true, Body: sample("hanwha/sunapi_deviceinfo_PNM-C7083RVD_partial.json")}}
		}, map[string]string{"model": "unit PNM-C7083RVD", "serial": "unit SEP70GRC0000SY", "mac": "unit 00:09:18:6E:12:B0"}, nil},
		{"Reolink RLC-822A", func(_ *testing.T, s *simulator.Camera) {
			s.HTTP.Realm = "Reolink"
			s.Routes = []simulator.Route{{Path: "/cgi-bin/api.cgi", Body: sample("reolink/GetDevInfo_RLC-822A.json")}}
		}, map[string]string{"model": "unit RLC-822A", "version": "firmware v3.1.0.956_22041507", "hardware": "board IPC_523128M8MP", "build-date": "firmware 2022-04-15", "label": "unit Gate"}, nil},
		{"Axis M1065-LW", func(_ *testing.T, s *simulator.Camera) {
			s.HTTP.Realm = "AXIS_ACCC12345678"
			s.Routes = []simulator.Route{{Path: "/axis-cgi/basicdeviceinfo.cgi", Body: sample("axis/basicdeviceinfo_M1065-LW.json")}}
		}, map[string]string{"maker": "unit AXIS", "model": "unit M1065-LW", "version": "firmware 9.80.1", "serial": "unit ACCC12345678", "mac": "unit AC:CC:12:34:56:78", "name": "soc Ambarella S2L"}, map[string]string{"axis": "c1", "hikvision": ""}},
		{"Axis of before basicdeviceinfo", func(_ *testing.T, s *simulator.Camera) {
			s.HTTP.Realm = "AXIS_ACCC12345678"
			s.Routes = []simulator.Route{{Path: "/axis-cgi/param.cgi", Login: true, Body: sample("axis/param_Properties_9.10.1.txt")}}
		}, map[string]string{"version": "firmware 9.10.1", "build-date": "firmware 2019-02-15"}, map[string]string{"axis": "c1"}},
		{"Dahua IPC-HDW5831R-ZE, which refuses its configuration", func(_ *testing.T, s *simulator.Camera) {
			s.HTTP.Realm = "Login to 4X7C5A1ZAG21L3F"
			s.Routes = []simulator.Route{
				{Path: "/cgi-bin/magicBox.cgi", Query: "action=getSystemInfo", Login: true, Body: sample("dahua/magicBox_getSystemInfo_IPC-HDW5831R-ZE.txt")},
				{Path: "/cgi-bin/magicBox.cgi", Query: "action=getSoftwareVersion", Login: true, Body: sample("dahua/magicBox_getSoftwareVersion_2.800.txt")},
				{Path: "/cgi-bin/configManager.cgi", Login: true, Status: http.StatusForbidden, Body: sample("dahua/configManager_unknown_name_403.json")},
			}
		}, map[string]string{"model": "unit IPC-HDW5831R-ZE", "serial": "unit 4X7C5A1ZAG21L3F", "name": "soc S3LM", "version": "firmware 2.800.0000016.0.R", "build-date": "firmware 2020-06-05", "update-serial": "unit IPC-HDW5830R-Z"}, map[string]string{"dahua": "c2"}},
		{"Hikvision DS-2CD2366G2-ISU/SL", func(t *testing.T, s *simulator.Camera) {
			s.HTTP.Realm = "IP Camera(90691)"
			s.ISAPI = isapiFields(t, "hikvision/hikvision_next_issue58_DS-2CD2366G2-ISU_SL.json")
		}, map[string]string{"maker": "unit hikvision", "model": "unit DS-2CD2366G2-ISU/SL", "serial": "unit DS-2CD2366G2-ISU/SL20210726AAWRG41390691", "mac": "unit 44:A6:42:46:67:24", "version": "firmware V5.7.13", "platform": "firmware B-R-G5-0", "region": "unit WR"}, map[string]string{"hikvision": "c2"}},
		{"Hikvision DS-2SC3Q140MY-TE, named in Chinese", func(t *testing.T, s *simulator.Camera) {
			s.ISAPI = isapiFields(t, "hikvision/hikvision_next_issue100_DS-2SC3Q140MY-TE.json")
		}, map[string]string{"model": "unit DS-2SC3Q140MY-TE", "label": "unit 书房", "version": "firmware V5.7.12", "platform": "firmware B-R-E8-0"}, map[string]string{"hikvision": "c2"}},
		{"Bosch FLEXIDOME indoor 5100i IR", func(_ *testing.T, s *simulator.Camera) {
			s.HTTP.Realm = "Use 'live' as User Name"
			s.ONVIF = &simulator.ONVIF{Login: "wsse", MACs: []string{"00:00:5e:00:53:53"}, MediaPath: "/onvif/media_service"}
			for operation, file := range map[string]string{"GetDeviceInformation": "001", "GetCapabilities": "003"} {
				s.Routes = append(s.Routes, simulator.Route{Path: "/onvif/device_service", Operation: operation, Body: sample("onvif/bosch_flexidome_5100i/capture_" + file + "_response.xml")})
			}
			s.Routes = append(s.Routes, simulator.Route{Path: "/onvif/media_service", Operation: "GetProfiles", Body: sample("onvif/bosch_flexidome_5100i/capture_005_response.xml")})
		}, map[string]string{"maker": "unit Bosch", "model": "unit FLEXIDOME indoor 5100i IR", "version": "firmware 8.71.0066", "serial": "unit 404754734001050102", "hardware": "board F000B543", "video-sources": "unit 1"}, nil},
		{"Dahua DH-2H3400-ADP over ONVIF", func(_ *testing.T, s *simulator.Camera) {
			s.HTTP.Realm = ""
			s.ONVIF = &simulator.ONVIF{Login: "none"}
			s.Routes = []simulator.Route{{Path: "/onvif/device_service", Operation: "GetDeviceInformation", Body: sample("onvif/snippets/dahua_DH-2H3400-ADP.xml")}}
		}, map[string]string{"maker": "unit Dahua", "model": "unit DH-2H3400-ADP", "version": "firmware 2.811.0000013.0.R", "build-date": "firmware 2023-12-20"}, map[string]string{"dahua": "c1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			camera, server := start(t, "hanwha", func(s *simulator.Camera) {
				s.Routes, s.HTTP.Title = nil, ""
				c.unit(t, s)
			})
			m, err := identify(t, server.URL, Options{Account: account(camera)})
			if err != nil {
				t.Fatal(err)
			}
			for name, want := range c.want {
				has(t, m, name, want)
			}
			for entity, want := range c.marks {
				if got := m.strongest(entity); got < want || want == "" && got != "" {
					t.Errorf("strongest mark of %s is %q, want %q at least", entity, got, want)
				}
			}
			if server.Refused() != 0 || len(server.Writes()) != 0 || len(m.values(attest.NameProtocol)) < 2 {
				t.Errorf("logins %v, writes %v", server.Logins(), server.Writes())
			}
			if t.Failed() {
				t.Logf("\n%s", m)
			}
		})
	}
}
