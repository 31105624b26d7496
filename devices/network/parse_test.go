package network

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"assay/attest"
	"assay/devices"
	"assay/devices/network/internal/field"
)

// read gives an answer to a reader of a protocol.
func read(r *request, body string, by func(*session, *answer)) *memory {
	m := new(memory)
	s := newSession(Open(devices.Target{}, Options{}), m)
	a := &answer{request: r, status: http.StatusOK, header: http.Header{}, body: []byte(body), raw: m.Artefact("", "", []byte(body))}
	by(s, a)
	s.conclude()
	return m
}

func readISAPI(s *session, a *answer) { s.isapiRead(a) }
func readAxis(s *session, a *answer)  { s.axisRead(a) }
func readLines(s *session, a *answer) { s.magicboxRead(a) }
func readSOAP(s *session, a *answer) {
	if doc, ok := s.soap(a); ok {
		s.onvifRead(a, doc)
	}
}

func has(t *testing.T, m *memory, name string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !slices.Contains(m.values(name), w) {
			t.Errorf("%s is %q, want %q", name, m.values(name), w)
		}
	}
}

func TestONVIFOfTheField(t *testing.T) {
	t.Run("Dahua", func(t *testing.T) {
		m := read(onvifInformation, string(corpus(t, "onvif/snippets/dahua_DH-2H3400-ADP.xml")), readSOAP)
		has(t, m, attest.NameFirmwareVersion, "firmware 2.811.0000013.0.R")
		has(t, m, attest.NameBuildDate, "firmware 2023-12-20")
		has(t, m, attest.NameMaker, "unit Dahua")
		if m.strongest("dahua") != "c1" || len(m.problems) != 0 {
			t.Errorf("\n%s", m)
		}
	})
	t.Run("Bosch, with xmlns written twice", func(t *testing.T) {
		m := read(onvifInformation, string(corpus(t, "onvif/bosch_flexidome_5100i/capture_001_response.xml")), readSOAP)
		has(t, m, attest.NameModel, "unit FLEXIDOME indoor 5100i IR")
		has(t, m, attest.NameHardware, "board F000B543")
		has(t, m, attest.NameSerial, "unit 404754734001050102")
	})
	t.Run("Bosch's clock, years behind", func(t *testing.T) {
		m := read(onvifTime, string(corpus(t, "onvif/bosch_flexidome_5100i/capture_002_response.xml")), func(s *session, a *answer) {
			doc, _ := s.soap(a)
			a.sent = s.now()
			s.onvifClock(a, doc)
		})
		if got := m.values(attest.NameClockOffset); len(got) != 1 || !strings.HasPrefix(got[0], "unit -1") || len(got[0]) < len("unit -70000000") {
			t.Errorf("clock offset %q", got)
		}
	})
	t.Run("Bosch's capabilities", func(t *testing.T) {
		m := read(onvifCapabilities, string(corpus(t, "onvif/bosch_flexidome_5100i/capture_003_response.xml")), readSOAP)
		has(t, m, "xaddr", "network http://192.168.1.201")
	})
	t.Run("Bosch's other answers break nothing", func(t *testing.T) {
		for i := 1; i <= 18; i++ {
			doc, err := parseXML(corpus(t, fmt.Sprintf("onvif/bosch_flexidome_5100i/capture_%03d_response.xml", i)))
			if err != nil || doc.find("Body") == nil {
				t.Errorf("capture %d: %v", i, err)
			}
		}
	})
}

func TestONVIFInterfaces(t *testing.T) {
	m := read(onvifInterfaces, `<SOAP-ENV:Envelope><SOAP-ENV:Body><tds:GetNetworkInterfacesResponse><tds:NetworkInterfaces token="eth0"><tt:Info><tt:HwAddress>00-00-5e-00-53-0a</tt:HwAddress></tt:Info></tds:NetworkInterfaces>`+
		`<tds:NetworkInterfaces><tt:Info><tt:HwAddress>00:00:00:00:00:00</tt:HwAddress></tt:Info></tds:NetworkInterfaces></tds:GetNetworkInterfacesResponse></SOAP-ENV:Body></SOAP-ENV:Envelope>`, readSOAP)
	if got := m.values(attest.NameMAC); !slices.Equal(got, []string{"unit 00:00:5E:00:53:0A"}) {
		t.Errorf("MAC %q", got)
	}
}

func TestONVIFScopes(t *testing.T) {
	m := read(onvifScopes, envelope(`<GetScopesResponse><Scopes><ScopeItem>onvif://www.onvif.org/name/ACME%20X-1 onvif://www.onvif.org/hardware/X-1
		onvif://www.onvif.org/hardware/MSTAR_IPNC dvtel://www.dvtel.com/quasar/gen2/a onvif://www.onvif.org/mac/00:00:5e:00:53:0b</ScopeItem></Scopes></GetScopesResponse>`), readSOAP)
	has(t, m, attest.NameMAC, "unit 00:00:5E:00:53:0B")
	if got := m.values(attest.NameBoard); !slices.Equal(got, []string{"board MSTAR_IPNC"}) {
		t.Errorf("boards %q", got)
	}
	if m.strongest("sigmastar") != "c1" {
		t.Errorf("\n%s", m)
	}
}

func TestFaultsOfEveryStatusAskForLogin(t *testing.T) {
	for _, c := range []struct {
		status int
		body   string
	}{
		{400, `<Fault><Code><Value>Sender</Value><Subcode><Value>ter:NotAuthorized</Value></Subcode></Code></Fault>`},
		{500, `<SOAP-ENV:Fault><faultcode>wsse:FailedAuthentication</faultcode></SOAP-ENV:Fault>`},
		{200, `<Fault><Reason><Text>Sender Not Authorized</Text></Reason></Fault>`},
		{401, ``},
	} {
		doc, _ := parseXML([]byte(envelope(c.body)))
		if !unauthorized(&answer{status: c.status}, doc) {
			t.Errorf("status %d with %s does not ask for a login", c.status, c.body)
		}
	}
}

func envelope(body string) string {
	return `<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"><s:Body>` + body + `</s:Body></s:Envelope>`
}

func TestISAPIOfTheField(t *testing.T) {
	for file, want := range map[string][2]string{
		"hikvision/hikvision_next_issue58_DS-2CD2366G2-ISU_SL.json": {"firmware V5.7.13", "firmware 2023-05-04"},
		"hikvision/hikvision_next_issue100_DS-2SC3Q140MY-TE.json":   {"firmware V5.7.12", "firmware 2022-08-19"},
	} {
		t.Run(file, func(t *testing.T) {
			m := read(isapiDeviceInfo, asXML(t, corpus(t, file)), readISAPI)
			has(t, m, attest.NameFirmwareVersion, want[0], "boot-loader V1.3.4")
			has(t, m, attest.NameBuildDate, want[1])
			if m.strongest("hikvision") != "c2" || len(m.problems) != 0 {
				t.Errorf("\n%s", m)
			}
		})
	}
}

// asXML turns the attribute-and-element JSON of the corpus back into the answer.
func asXML(t *testing.T, b []byte) string {
	t.Helper()
	var file struct{ DeviceInfo map[string]string }
	if err := json.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	var x strings.Builder
	fmt.Fprintf(&x, `<?xml version="1.0" encoding="UTF-8"?><DeviceInfo version="2.0" xmlns="%s">`, file.DeviceInfo["@xmlns"])
	for k, v := range file.DeviceInfo {
		if !strings.HasPrefix(k, "@") {
			fmt.Fprintf(&x, "<%s>%s</%s>", k, v, k)
		}
	}
	return x.String() + "</DeviceInfo>"
}

func TestISAPI(t *testing.T) {
	t.Run("the neutral namespace and the serial of a relabelled recorder decide together", func(t *testing.T) {
		m := read(isapiDeviceInfo, `<DeviceInfo xmlns="http://www.std-cgi.com/ver20/XMLSchema"><model>NG-4</model><serialNumber>NG-40420190314CCRR000000001WCVU</serialNumber></DeviceInfo>`, readISAPI)
		if m.strongest("hikvision") != "c2" {
			t.Errorf("\n%s", m)
		}
	})
	t.Run("a Chinese name without a declared encoding", func(t *testing.T) {
		m := read(isapiDeviceInfo, "<DeviceInfo><deviceName>\xca\xe9\xb7\xbf</deviceName><model>X-1</model></DeviceInfo>", readISAPI)
		has(t, m, "label", "unit 书房")
	})
	t.Run("a declared encoding", func(t *testing.T) {
		m := read(isapiDeviceInfo, "<?xml version=\"1.0\" encoding=\"GB2312\"?><DeviceInfo><deviceName>\xca\xe9\xb7\xbf</deviceName></DeviceInfo>", readISAPI)
		has(t, m, "label", "unit 书房")
	})
	t.Run("fields before a broken place", func(t *testing.T) {
		m := read(isapiDeviceInfo, "<DeviceInfo><model>X-1</model><serialNumber>12<", readISAPI)
		has(t, m, attest.NameModel, "unit X-1")
		if len(m.problems) != 1 || m.problems[0].Kind != attest.ProblemMalformed {
			t.Errorf("\n%s", m)
		}
	})
	t.Run("another document", func(t *testing.T) {
		m := read(isapiDeviceInfo, "<Weather/>", readISAPI)
		if len(m.claims) != 0 || len(m.problems) != 1 || !strings.Contains(m.problems[0].Says, "no DeviceInfo") {
			t.Errorf("\n%s", m)
		}
	})
	t.Run("values that would break a terminal", func(t *testing.T) {
		m := read(isapiDeviceInfo, "<DeviceInfo><model>X\u202e-1\x1b[2J"+strings.Repeat("y", 5000)+"</model></DeviceInfo>", readISAPI)
		if got := m.values(attest.NameModel); len(got) != 1 || len(got[0]) > field.MaxValue+20 || strings.ContainsAny(got[0], "\x1b\u202e") {
			t.Errorf("model %q", got)
		}
	})
}

func TestXMLBounds(t *testing.T) {
	for name, c := range map[string]struct {
		body string
		want error
	}{
		"a document type":        {`<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>`, devices.ErrHostile},
		"an entity in the body":  {`<a><!ENTITY b "c"></a>`, devices.ErrHostile},
		"a million elements":     {"<a>" + strings.Repeat("<b/>", 1_000_000) + "</a>", devices.ErrHostile},
		"a million deep":         {strings.Repeat("<a>", 1_000_000), devices.ErrHostile},
		"no element":             {"hello", devices.ErrMalformed},
		"an end without a start": {"</a>", devices.ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := parseXML([]byte(c.body)); !errors.Is(err, c.want) {
				t.Errorf("error %v, want %v", err, c.want)
			}
		})
	}
}

func TestAxis(t *testing.T) {
	t.Run("of the field", func(t *testing.T) {
		m := read(axisAll, string(corpus(t, "axis/basicdeviceinfo_M1065-LW.json")), readAxis)
		has(t, m, attest.NameBoard, "soc Ambarella S2L")
		has(t, m, attest.NameHardware, "board 70E")
		has(t, m, attest.NameBuildDate, "firmware 2020-04-29")
		has(t, m, attest.NameMAC, "unit AC:CC:12:34:56:78")
		if m.strongest("axis") != "c1" {
			t.Errorf("\n%s", m)
		}
	})
	t.Run("parameters of the field", func(t *testing.T) {
		m := read(axisParameters, string(corpus(t, "axis/param_Properties_9.10.1.txt")), func(s *session, a *answer) { s.axisParameters(a) })
		has(t, m, attest.NameFirmwareVersion, "firmware 9.10.1")
		has(t, m, attest.NameBuildDate, "firmware 2019-02-15")
	})
	t.Run("an error with status 200", func(t *testing.T) {
		m := read(axisAll, `{"apiVersion":"1.0","error":{"code":2004,"message":"Method not supported"}}`, readAxis)
		if len(m.problems) != 1 || m.problems[0].Says != "answered with an error: 2004 Method not supported" {
			t.Errorf("\n%s", m)
		}
	})
	t.Run("no properties", func(t *testing.T) {
		m := read(axisAll, `{}`, readAxis)
		if len(m.claims) != 0 || len(m.problems) != 1 {
			t.Errorf("\n%s", m)
		}
	})
}

func TestMagicbox(t *testing.T) {
	t.Run("of the field", func(t *testing.T) {
		m := read(magicboxSystemInfo, string(corpus(t, "dahua/magicBox_getSystemInfo_IPC-HDW5831R-ZE.txt")), readLines)
		has(t, m, attest.NameBoard, "soc S3LM")
		has(t, m, "update-serial", "unit IPC-HDW5830R-Z")
		if m.strongest("dahua") != "c2" {
			t.Errorf("\n%s", m)
		}
	})
	t.Run("a version of the field", func(t *testing.T) {
		m := read(magicboxSoftwareVersion, string(corpus(t, "dahua/magicBox_getSoftwareVersion_2.800.txt")), readLines)
		has(t, m, attest.NameFirmwareVersion, "firmware 2.800.0000016.0.R")
		has(t, m, attest.NameBuildDate, "firmware 2020-06-05")
	})
	t.Run("a relabelled recorder keeps its model in updateSerial", func(t *testing.T) {
		m := read(magicboxSystemInfo, "deviceType=31\r\nprocessor=ST7108\r\nserialNumber=ND0000000000001\r\nupdateSerial=DHI-NVR4108HS-8P-4KS2\r\n\x00", readLines)
		if len(m.values(attest.NameModel)) != 0 || m.strongest("dahua") != "c2" {
			t.Errorf("\n%s", m)
		}
	})
	t.Run("a neutral vendor is no maker", func(t *testing.T) {
		m := read(magicboxVendor, "vendor=General\r\n", readLines)
		if len(m.values(attest.NameMaker)) != 0 {
			t.Errorf("\n%s", m)
		}
		has(t, m, "vendor", "unit General")
	})
	t.Run("a refusal in JSON", func(t *testing.T) {
		m := read(magicboxSystemInfo, string(corpus(t, "dahua/configManager_unknown_name_403.json")), readLines)
		if len(m.claims) != 0 || len(m.problems) != 1 {
			t.Errorf("\n%s", m)
		}
	})
}

func TestTitle(t *testing.T) {
	for in, want := range map[string]string{
		"<html><TITLE >\n WEB  SERVICE </Title>":   "WEB SERVICE",
		"<title>a &amp; b</title><title>c</title>": "a & b",
		"<title>no end":    "",
		"<title":           "",
		"":                 "",
		"<title>İ</title>": "İ",
	} {
		if got := title([]byte(in)); got != want {
			t.Errorf("title of %q is %q, want %q", in, got, want)
		}
	}
}

// sound holds what must be true of whatever a reader made of its input.
func sound(t *testing.T, m *memory) {
	t.Helper()
	m.check(t, nil)
	for _, c := range m.claims {
		if c.Value != clean(c.Value) && !strings.HasSuffix(c.Value, "…") {
			t.Errorf("claim %s = %q is not clean", c.Name, c.Value)
		}
	}
	for _, c := range m.children {
		if _, kept := m.artefacts[c.Raw]; c.Name() != clean(c.Name()) && len(c.Name()) < field.MaxValue || !kept || c.Source == "" {
			t.Errorf("child %+v", c)
		}
	}
}

func FuzzSOAP(f *testing.F) {
	f.Add(envelope(`<GetDeviceInformationResponse><Manufacturer>a</Manufacturer></GetDeviceInformationResponse>`))
	f.Add(envelope(`<GetScopesResponse><Scopes><ScopeItem>onvif://www.onvif.org/hardware/a%20b</ScopeItem></Scopes></GetScopesResponse>`))
	f.Add(envelope(`<GetSystemDateAndTimeResponse><UTCDateTime><Time><Hour>1</Hour><Minute>2</Minute><Second>3</Second></Time><Date><Year>2026</Year><Month>2</Month><Day>31</Day></Date></UTCDateTime></GetSystemDateAndTimeResponse>`))
	f.Add(envelope(`<Fault><Code><Value>ter:NotAuthorized</Value></Code></Fault>`))
	f.Add("<?xml version='1.0' encoding='utf-16'?><!DOCTYPE a>")
	f.Fuzz(func(t *testing.T, body string) {
		for _, r := range []*request{onvifTime, onvifScopes, onvifCapabilities, onvifInformation, onvifInterfaces} {
			sound(t, read(r, body, func(s *session, a *answer) {
				doc, ok := s.soap(a)
				unauthorized(a, doc)
				if ok {
					s.onvifClock(a, doc)
					s.onvifRead(a, doc)
				}
			}))
		}
	})
}

func FuzzISAPI(f *testing.F) {
	f.Add(`<DeviceInfo xmlns="http://www.hikvision.com/ver20/XMLSchema"><serialNumber>DS-2CD120210726AAWR000000001</serialNumber><firmwareVersion>V5.5.0</firmwareVersion></DeviceInfo>`)
	f.Add("<?xml version=\"1.0\" encoding=\"GB2312\"?><DeviceInfo><deviceName>\xca\xe9</deviceName>")
	f.Fuzz(func(t *testing.T, body string) { sound(t, read(isapiDeviceInfo, body, readISAPI)) })
}

func FuzzAxis(f *testing.F) {
	f.Add(`{"apiVersion":"1.1","data":{"propertyList":{"Brand":"AXIS","SerialNumber":"00005E005301","BuildDate":"Apr 29 2020 06:50"}}}`)
	f.Add(`{"error":{"code":1000,"message":"x"}}`)
	f.Add("root.Brand.Brand=AXIS\nroot.Properties.System.Soc=\"a\"\n")
	f.Fuzz(func(t *testing.T, body string) {
		sound(t, read(axisAll, body, readAxis))
		sound(t, read(axisParameters, body, func(s *session, a *answer) { s.axisParameters(a) }))
	})
}

func FuzzMagicBox(f *testing.F) {
	f.Add("deviceType=31\r\nprocessor=ST7108\r\nserialNumber=a\r\nupdateSerial=DHI-1\r\n\x00")
	f.Add("version=2.800.0000016.0.R,build:2020-06-05")
	f.Fuzz(func(t *testing.T, body string) {
		for r := range magicboxKeys {
			sound(t, read(r, body, readLines))
		}
	})
}

func FuzzTitle(f *testing.F) {
	f.Add("<html><head><title>WEB SERVICE</title>")
	f.Add("<title>&#x0;&lt;</title")
	f.Fuzz(func(t *testing.T, page string) {
		if got := title([]byte(page)); got != clean(got) && !strings.HasSuffix(got, "…") {
			t.Errorf("title %q is not clean", got)
		}
		isHTML([]byte(page))
	})
}
