package discovery

import (
	"encoding/hex"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"assay/attest"
	"assay/devices"
	"assay/devices/fingerprint"
)

// corpus reads a sample that is not part of the repository.
func corpus(t testing.TB, name string) []byte {
	b, err := os.ReadFile(filepath.Join("../../../../shared/corpus/network", name))
	if err != nil {
		t.Skip("no corpus here: ", err)
	}
	return b
}

func read(p *protocol, b []byte) (*reading, error) {
	r := &reading{protocol: p.name, from: netip.MustParseAddr("192.0.2.1"), b: b, raw: attest.DigestOf(b)}
	return r, p.read(r)
}

// values are the claims of an answer as "name value".
func (a *answer) values() []string {
	var out []string
	for _, c := range a.claims {
		out = append(out, c.Name+" "+c.Value)
	}
	return out
}

func has(t *testing.T, a *answer, want ...string) {
	t.Helper()
	for _, w := range want {
		if !slices.Contains(a.values(), w) {
			t.Errorf("no %q in\n  %s", w, strings.Join(a.values(), "\n  "))
		}
	}
}

func one(t *testing.T, p *protocol, b []byte) *answer {
	t.Helper()
	r, err := read(p, b)
	if err != nil || len(r.answers) != 1 {
		t.Fatalf("%d answers, %v", len(r.answers), err)
	}
	return r.answers[0]
}

func strongest(a *answer) (entity string, s attest.Strength) {
	for _, m := range fingerprint.Embedded().Match(a.seen) {
		if m.Strength > s {
			entity, s = m.Entity, m.Strength
		}
	}
	return
}

func TestAnswersOfTheField(t *testing.T) {
	for _, c := range []struct {
		file   string
		by     *protocol
		kind   Kind
		entity string
		want   []string
	}{
		{"discovery_udp/Hikvision.selftest", sadp, KindCamera, "hikvision", []string{"model Virtual", "serial Virtual-123456789", "mac 00:11:22:33:44:55", "address 240.0.5.0", "version V1.0build 200101", "activated true"}},
		{"discovery_udp/Wsdiscovery.selftest", wsDiscovery, KindUnknown, "", []string{"endpoint 11223344-5566-7788-9900-000000000002", "address 240.0.2.0", "xaddr http://240.0.2.0/"}},
		{"discovery_udp/Bosch.bin.selftest", bosch, KindCamera, "keenfinity", []string{"mac 00:11:22:33:44:55", "address 240.0.7.0"}},
		{"discovery_udp/Bosch.xml.selftest", bosch, KindCamera, "keenfinity", []string{"model Virtual (XML)", "serial 12345678:12345678", "mac 00:11:22:33:44:55", "address 240.0.7.1", "address fe80::1"}},
		{"discovery_udp/Dahua1.selftest", dahuaOld, KindCamera, "dahua", []string{"model Virtual", "mac 00:11:22:33:44:55", "serial 123456789", "address 240.0.3.0", "address fe80::1"}},
		{"discovery_udp/Foscam.selftest", foscam, KindCamera, "", []string{"serial 0123456789", "label Virtual device", "address 240.0.20.0", "port 80"}},
		{"discovery_udp/Foscam_cipher.selftest", foscam, KindCamera, "", []string{"address 240.0.20.1"}},
		{"discovery_udp/GigEVision.selftest", gigEVision, KindCamera, "", []string{"mac 00:11:22:33:44:55", "model Virtual device", "serial 123456789", "address 240.0.17.0"}},
		{"discovery_udp/Ubiquiti.selftest", ubiquiti, KindOther, "ubiquiti", []string{"mac 00:11:22:33:44:55", "model VIRTUAL", "label UBNT", "address 240.0.12.0", "version 1.0"}},
		{"discovery_udp/Vstarcam.selftest", vstarcam, KindCamera, "", []string{"serial 123456789", "label Virtual Camera", "address 240.0.18.0", "mac 11:22:33:44:55:66", "version 1.0"}},
		{"discovery_udp/360Vision.selftest", vision360, KindCamera, "360vision", []string{"model IPDOME", "mac 00:11:22:33:44:55", "serial 1234567890"}},
		{"discovery_udp/Axis.selftest", mdns, KindCamera, "axis", []string{"model Virtual", "mac 00:11:22:33:44:55", "serial 001122334455", "address 240.0.6.0"}},
		{"discovery_udp/Arecont.selftest", mdns, KindCamera, "", []string{"model AV 1000", "mac 00:1A:07:33:44:55", "address 240.0.16.0"}},
		{"discovery_udp/GoogleCast.selftest", mdns, KindMediaPlayer, "", []string{"model Google Virtual", "label Google-Home-Virtual"}},
		{"discovery_udp/SSDP.selftest", ssdp, KindUnknown, "", []string{"endpoint unique-id-12345678", "description http://240.0.1.0/rootDesc.xml", "address 240.0.1.0"}},
	} {
		t.Run(filepath.Base(c.file), func(t *testing.T) {
			a := one(t, c.by, corpus(t, c.file))
			has(t, a, c.want...)
			if a.kind != c.kind {
				t.Errorf("kind %q, want %q", a.kind, c.kind)
			}
			if e, s := strongest(a); e != c.entity {
				t.Errorf("maker %q by %v, want %q", e, s, c.entity)
			}
		})
	}
	t.Run("a Dahua door station", func(t *testing.T) {
		a := one(t, dhip, []byte(dhipFrame(string(corpus(t, "dahua/dhip_VTO2000A.json")))))
		has(t, a, "model VTO2000A", "serial 3C06520PAN00001", "version 3.120.0000.0.R", "address 192.168.0.232", "vendor-code General", "device-class VTO", "port 37777", "init 150")
		if e, s := strongest(a); e != "dahua" || s != attest.C2 || a.kind != KindIntercom || a.inactive {
			t.Errorf("%s %v %s, not activated: %v", e, s, a.kind, a.inactive)
		}
	})
}

// The samples here are made up in the shape that the sources describe.
func TestAnswersByTheirDescription(t *testing.T) {
	t.Run("a Hikvision camera, old, not activated, with raw text", func(t *testing.T) {
		a := one(t, sadp, []byte("<?xml version=\"1.0\" encoding=\"UTF-8\"?><ProbeMatch><Uuid>X</Uuid><DeviceDescription>DS-2CD2042WD-I</DeviceDescription>"+
			"<devicesn>DS-2CD2042WD-I20160402AACH000000002</devicesn><MAC>00-00-5e-00-53-02</MAC><IPv4Address>192.0.0.64</IPv4Address>"+
			"<SoftwareVersion>V5.3.0build 150513</SoftwareVersion><OEMinfo>Nord & S\xc3\xb8n</OEMinfo><Activated>false</Activated><DigitalChannelNum>1</DigitalChannelNum></ProbeMatch>"))
		has(t, a, "serial DS-2CD2042WD-I20160402AACH000000002", "region CH", "version V5.3.0", "build-date 2015-05-13", "oem Nord & Søn", "activated false")
		if !a.inactive || a.kind != KindCamera {
			t.Errorf("not activated: %v, %s", a.inactive, a.kind)
		}
		if e, s := strongest(a); e != "hikvision" || s != attest.C2 {
			t.Errorf("%s %v", e, s)
		}
	})
	t.Run("a recorder of sixteen channels", func(t *testing.T) {
		a := one(t, sadp, []byte("<ProbeMatch><DeviceDescription>DS-7616</DeviceDescription><DeviceSN>X</DeviceSN><CommandPort>8000</CommandPort><AnalogChannelNum>0</AnalogChannelNum><DigitalChannelNum>16</DigitalChannelNum></ProbeMatch>"))
		if a.kind != KindRecorder {
			t.Error(a.kind)
		}
	})
	t.Run("a Dahua camera that is not initialised", func(t *testing.T) {
		a := one(t, dhip, []byte(dhipFrame(`{"mac":"00:00:5e:00:53:03","method":"client.notifyDevInfo","params":{"deviceInfo":{"DeviceClass":"IPC","DeviceType":"IPC-HX1","SerialNo":"4X00000PAG00001","Vendor":"Fjordlens","Version":"2.800.030000000.3.R","Init":149,"IPv4Address":{"IPAddress":"192.168.1.108"},"IPv6Address":{"IPAddress":"fe80::1\/64"}}}}`)))
		has(t, a, "maker Fjordlens", "address fe80::1", "address 192.168.1.108", "serial 4X00000PAG00001")
		if !a.inactive {
			t.Error("activated")
		}
	})
	t.Run("a Xiongmai camera", func(t *testing.T) {
		body := `{"NetWork.NetCommon":{"BuildDate":"2021-05-01","ChannelNum":1,"DeviceType ":1,"HostIP":"0x0A01A8C0","HostName":"LocalHost","HttpPort":80,"MAC":"00:00:5e:00:53:04","SN":"aabbccddeeff0011","TCPPort":34567,"Version":"V5.00.R02.00030747.10010.349f17"},"Ret":100}` + "\n\x00"
		a := one(t, xiongmai, []byte(bytesOf(0xff, "\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", 0xfb, 0x05, len(body), 1, 0, 0) + body)[:20+len(body)])
		has(t, a, "address 192.168.1.10", "mac 00:00:5E:00:53:04", "serial aabbccddeeff0011", "port 34567")
		if e, s := strongest(a); e != "xiongmai" || s != attest.C2 {
			t.Errorf("%s %v", e, s)
		}
	})
	t.Run("a Hanwha camera", func(t *testing.T) {
		b := make([]byte, 262)
		b[0] = 0x0b
		copy(b[0x13:], "00:00:5E:00:53:05")
		copy(b[0x25:], "192.0.2.5")
		copy(b[0x6d:], "XNF-9010RV")
		copy(b[0x85:], "http://192.0.2.5/")
		has(t, one(t, hanwha, b), "mac 00:00:5E:00:53:05", "address 192.0.2.5", "model XNF-9010RV", "xaddr http://192.0.2.5/")
	})
	t.Run("a VIVOTEK camera", func(t *testing.T) {
		b := bytesOf(1, vivotekMagic, 1, 5, "Lobby", 2, 6, "\x00\x00\x5e\x00\x53\x06", 3, 4, "\xc0\x00\x02\x06", 4, 0x1b, 6, 2, "\x50\x00", 9, 6, "FD8166")
		has(t, one(t, vivotek, []byte(b)), "label Lobby", "mac 00:00:5E:00:53:06", "address 192.0.2.6", "model FD8166")
	})
	t.Run("a Sony camera", func(t *testing.T) {
		has(t, one(t, sony, []byte("\x02MAC:00-00-5e-00-53-07\xffMODEL:SNC-X1\xffSERIAL:401234\xffINFO:allinfo\xffIPADR:192.0.2.7\xffSOFTVERSION:3.0.0\xff\x03")),
			"mac 00:00:5E:00:53:07", "model SNC-X1", "serial 401234", "address 192.0.2.7", "version 3.0.0")
	})
	t.Run("an i-PRO camera", func(t *testing.T) {
		b := bytesOf("\x00\x01\x01\x75\x00\x0e", "\x00\x00\x5e\x00\x53\x08", strings.Repeat("\x00", 41), uint16(0x20), uint16(4), "\xc0\x00\x02\x08", uint16(0xa7), uint16(16), "WV-S1536L\x00\x00\x00\x00\x00\x00\x00", uint16(0xa9), uint16(4), "1.46", uint16(0xffff), uint16(0x3017))
		has(t, one(t, uniPRO, []byte(b)), "mac 00:00:5E:00:53:08", "address 192.0.2.8", "model WV-S1536L", "version 1.46")
	})
	t.Run("a D-Link camera", func(t *testing.T) {
		b := make([]byte, 400)
		copy(b, "\xee\xfe\x00\x00\xa1\x00")
		copy(b[22+64:], "DCS-932L")
		copy(b[22+268:], "\xc0\x00\x02\x09")
		a := one(t, dlink, b)
		has(t, a, "model DCS-932L", "address 192.0.2.9")
		if a.kind != KindCamera {
			t.Error(a.kind)
		}
	})
	t.Run("an ONVIF camera by its scopes", func(t *testing.T) {
		a := one(t, wsDiscovery, []byte(probeMatch("urn:uuid:00000000-0000-0000-0000-00005e005310", "dn:NetworkVideoTransmitter tds:Device",
			"onvif://www.onvif.org/name/Front%20door onvif://www.onvif.org/hardware/MSTAR_IPNC\n\tonvif://www.onvif.org/MAC/00:00:5e:00:53:10 onvif://www.onvif.org/mfr/H264 flir://www.flir.com/security/x onvif://www.dvtel.com/quasar/gen2/x", "http://192.0.2.16/onvif/device_service")))
		has(t, a, "label Front door", "onvif-hardware MSTAR_IPNC", "mac 00:00:5E:00:53:10", "maker H264", "scope onvif://www.dvtel.com/quasar/gen2/x")
		if a.kind != KindCamera {
			t.Error(a.kind)
		}
	})
	t.Run("a computer and a printer without an address", func(t *testing.T) {
		a := one(t, wsDiscovery, []byte(probeMatch("urn:uuid:1", "wsdp:Device pub:Computer", "", "")))
		b := one(t, wsDiscovery, []byte(probeMatch("urn:uuid:2", "wsdp:Device wprt:PrintDeviceType", "", "")))
		if a.kind != KindComputer || b.kind != KindPrinter {
			t.Error(a.kind, b.kind)
		}
	})
	t.Run("a proxy that answers for two", func(t *testing.T) {
		m := probeMatch("urn:uuid:3", "tds:Device", "", "http://192.0.2.31/")
		two := strings.Replace(m, "</d:ProbeMatches>", m[strings.Index(m, "<d:ProbeMatch>"):strings.Index(m, "</d:ProbeMatches>")]+"</d:ProbeMatches>", 1)
		if r, err := read(wsDiscovery, []byte(two)); err != nil || len(r.answers) != 2 {
			t.Error(len(r.answers), err)
		}
	})
	t.Run("a UPnP camera's description", func(t *testing.T) {
		a := one(t, upnp, []byte(`<root xmlns="urn:schemas-upnp-org:device-1-0"><device><deviceType>urn:schemas-upnp-org:device:Basic:1</deviceType><friendlyName>Yard</friendlyName><manufacturer>Fjordlens</manufacturer><modelName>F-1</modelName><modelDescription>Network Camera</modelDescription><serialNumber>FL00117</serialNumber><UDN>uuid:ABC-1</UDN><deviceList><device><modelName>inner</modelName></device></deviceList></device></root>`))
		has(t, a, "maker Fjordlens", "model F-1", "serial FL00117", "endpoint abc-1")
		if a.kind != KindCamera || slices.Contains(a.values(), "model inner") {
			t.Error(a.kind, a.values())
		}
	})
}

func probeMatch(endpoint, types, scopes, xaddrs string) string {
	return `<e:Envelope xmlns:e="http://www.w3.org/2003/05/soap-envelope" xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing" xmlns:d="http://schemas.xmlsoap.org/ws/2005/04/discovery"><e:Body><d:ProbeMatches><d:ProbeMatch><wsa:EndpointReference><wsa:Address>` +
		endpoint + `</wsa:Address></wsa:EndpointReference><d:Types>` + types + `</d:Types><d:Scopes>` + scopes + `</d:Scopes><d:XAddrs>` + xaddrs + `</d:XAddrs></d:ProbeMatch></d:ProbeMatches></e:Body></e:Envelope>`
}

func TestQuestionsAreNoAnswers(t *testing.T) {
	for _, p := range protocols {
		for _, q := range p.requests {
			if r, err := read(p, q.bytes(newUUID(q))); !errors.Is(err, errNotOurs) || len(r.answers) != 0 {
				t.Errorf("%s: %d answers, %v", q.source(), len(r.answers), err)
			}
		}
	}
}

func TestHostileAnswersAreMalformed(t *testing.T) {
	for name, c := range map[string]struct {
		by *protocol
		b  string
	}{
		"DNS names that point at themselves":     {mdns, "\x00\x00\x84\x00\x00\x00\x00\x01\x00\x00\x00\x00\xc0\x0c\x00\x0c\x00\x01\x00\x00\x00\x00\x00\x02\xc0\x0c"},
		"DNS with more records than it has":      {mdns, "\x00\x00\x84\x00\x00\x00\xff\xff\x00\x00\x00\x00"},
		"SADP with a document type":              {sadp, "<!DOCTYPE x [<!ENTITY a 'b'>]><ProbeMatch/>"},
		"DHIP whose JSON breaks off":             {dhip, dhipFrame(`{"method":"client.notifyDevInfo","params":{`)},
		"Vivotek whose field runs past":          {vivotek, bytesOf(1, vivotekMagic, 1, 255, "x")},
		"an i-PRO field longer than all":         {uniPRO, bytesOf("\x00\x01", strings.Repeat("\x00", 51), uint16(0x20), uint16(0xfff0), "xx")},
		"old Dahua parts longer than all":        {dahuaOld, bytesOf(0xb3, 0, 0xff, strings.Repeat("\xff", 200))},
		"Hanwha of three bytes":                  {hanwha, "\x0b\x00\x00"},
		"a description of something else":        {upnp, "<html><body>hello</body></html>"},
		"SSDP that is a login page":              {ssdp, "HTTP/1.1 404 Not Found\r\n\r\n"},
		"Ubiquiti of another length":             {ubiquiti, "\x02\x06\x00\x10\x01\x00\x06"},
		"GigE Vision of a status, not an answer": {gigEVision, "\x80\x01\x00\x03\x00\x00\x00\x01"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := read(c.by, []byte(c.b)); !errors.Is(err, devices.ErrMalformed) && !errors.Is(err, devices.ErrHostile) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestLongAnswersAreCut(t *testing.T) {
	var scopes strings.Builder
	for range 10_000 {
		scopes.WriteString("onvif://www.onvif.org/name/")
		scopes.WriteString(strings.Repeat("x", 20))
		scopes.WriteString(hex.EncodeToString([]byte{byte(scopes.Len()), byte(scopes.Len() >> 8), byte(scopes.Len() >> 16)}))
		scopes.WriteString(" ")
	}
	a := one(t, wsDiscovery, []byte(probeMatch("urn:uuid:4", "tds:Device", scopes.String(), "")))
	if len(a.claims) > maxClaims {
		t.Errorf("%d claims", len(a.claims))
	}
}

// Every parser reads every protocol's bytes.
func FuzzRead(f *testing.F) {
	for _, p := range append(slices.Clone(protocols), upnp) {
		for _, q := range p.requests {
			f.Add(q.bytes(newUUID(q)))
		}
	}
	f.Add([]byte(probeMatch("urn:uuid:4", "tds:Device", "onvif://www.onvif.org/name/x", "http://192.0.2.1/")))
	f.Add([]byte(dhipFrame(`{"method":"client.notifyDevInfo","params":{"deviceInfo":{"Init":1}}}`)))
	f.Add([]byte("\x00\x00\x84\x00\x00\x00\x00\x01\x00\x00\x00\x00\xc0\x0c\x00\x0c\x00\x01\x00\x00\x00\x00\x00\x02\xc0\x0c"))
	f.Add([]byte("\x02MAC:00-00-5e-00-53-07\xffMODEL:SNC-X1\xff\x03"))
	f.Add([]byte("<root><device><UDN>uuid:1</UDN></device></root>"))
	f.Add([]byte("HTTP/1.1 200 OK\r\nUSN: uuid:1::x\r\nLOCATION: http://192.0.2.1/a.xml\r\n\r\n"))
	if files, err := filepath.Glob("../../../../shared/corpus/network/discovery_udp/*"); err == nil {
		for _, name := range files {
			if b, err := os.ReadFile(name); err == nil {
				f.Add(b)
			}
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, p := range append(slices.Clone(protocols), upnp) {
			r, err := read(p, b)
			for _, a := range r.answers {
				if len(a.claims) > maxClaims || len(a.seen) > maxClaims {
					t.Errorf("%s: %d claims", p.name, len(a.claims))
				}
				a.content()
			}
			if err == nil && len(r.answers) == 0 {
				t.Errorf("%s: neither an answer nor an error", p.name)
			}
		}
	})
}

func FuzzARP(f *testing.F) {
	f.Add("? (192.0.2.1) at 0:0:5e:0:53:1 on en0 ifscope [ethernet]\n")
	f.Add("  192.0.2.1           00-00-5e-00-53-01     dynamic\n")
	f.Fuzz(func(t *testing.T, s string) { parseARP(s) })
}

func TestARPOfOtherSystems(t *testing.T) {
	got := parseARP("? (192.0.2.1) at 0:0:5e:0:53:1 on en0 ifscope [ethernet]\n? (192.0.2.2) at (incomplete) on en0\n\nInterface: 192.0.2.9 --- 0x5\n  Internet Address      Physical Address      Type\n  192.0.2.3           00-00-5e-00-53-03     dynamic\n")
	want := []neighbour{{netip.MustParseAddr("192.0.2.1"), "00:00:5e:00:53:01", "en0"}, {netip.MustParseAddr("192.0.2.3"), "00-00-5e-00-53-03", ""}}
	want[1].mac = "00:00:5e:00:53:03"
	if !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
}
