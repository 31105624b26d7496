package fingerprint

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestParseHikvisionSerial(t *testing.T) {
	for _, c := range []struct{ name, in, model, made, region, tail string }{
		{"a camera", "DS-2CD2366G2-ISU/SL20210726AAWRG00000001", "DS-2CD2366G2-ISU/SL", "2021-07-26", "WR", "G00000001"},
		{"a recorder with channels before the date", "DS-7616NI-K21620200102CCRR000000001WCVU", "DS-7616NI-K216", "2020-01-02", "RR", "000000001"},
		{"a mainland unit", "DS-2CD2042WD-I20160402AACH000000002", "DS-2CD2042WD-I", "2016-04-02", "CH", "000000002"},
		{"another brand's model", "NG-B412020190314CCRR000000001", "NG-B4120", "2019-03-14", "RR", "000000001"},
		{"two letters in the tail", "DS-2CD120200102AAWRAE0000001", "DS-2CD1", "2020-01-02", "WR", "AE0000001"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, ok := ParseHikvisionSerial(c.in)
			if !ok || s.Model != c.model || s.Made.Format("2006-01-02") != c.made || s.Region != c.region || s.Tail != c.tail {
				t.Errorf("%q reads %+v, %v", c.in, s, ok)
			}
		})
	}
	for _, in := range []string{"", "20210726AAWRG00000001", "DS-2CD1202102310AAWR000000001", "DS-2CD120210231AAWR000000001", "DS-2CD120210726AAXX000000001", "FLB2-000117"} {
		if s, ok := ParseHikvisionSerial(in); ok {
			t.Errorf("%q is taken for a serial: %+v", in, s)
		}
	}
}

func TestParseFirmware(t *testing.T) {
	for _, c := range []struct{ in, version, built string }{
		{"V5.6.3 build 200909", "V5.6.3", "2020-09-09"},
		{"V5.5.82build 190910", "V5.5.82", "2019-09-10"},
		{"V5.5.82_build190910", "V5.5.82", "2019-09-10"},
		{"2.800.0000016.0.R,build:2020-06-05", "2.800.0000016.0.R", "2020-06-05"},
		{"2.811.0000013.0.R, Build Date 2023-12-20", "2.811.0000013.0.R", "2023-12-20"},
		{"2.420.Dahua 00.14.R, build: 2016-06-18", "2.420.Dahua 00.14.R", "2016-06-18"},
		{"2.01.00_20200721_R201", "2.01.00_20200721_R201", "2020-07-21"},
		{"V2.420.AC00.18.R, Build Date: 2020-02-17", "V2.420.AC00.18.R", "2020-02-17"},
		{"v2.10_180329015157", "v2.10_180329015157", "2018-03-29"},
		{"v3.1.0.956_22041507", "v3.1.0.956_22041507", "2022-04-15"},
		{" 9.80.1 ", "9.80.1", "0001-01-01"},
		{"V5.6.3 build 209909", "V5.6.3 build 209909", "0001-01-01"},
	} {
		version, built := ParseFirmware(c.in)
		if version != c.version || built.Format("2006-01-02") != c.built {
			t.Errorf("%q reads %q of %s", c.in, version, built.Format("2006-01-02"))
		}
	}
}

// said is what [Decode] makes of a value, in a line a test can compare.
func said(on, value string) []string {
	var out []string
	for _, f := range Decode(on, value) {
		out = append(out, fmt.Sprintf("%s: %s %s %s", f.Grammar, f.Subject, f.Name, f.Value))
	}
	return out
}

func TestDecode(t *testing.T) {
	for _, c := range []struct {
		on, value string
		want      []string
	}{
		{"serial", "DS-7616NI-K21620200102CCRR000000001WCVU", []string{"hikvision-serial: unit build-date 2020-01-02", "hikvision-serial: unit region RR", "hikvision-serial: unit short-serial 000000001"}},
		{"serial", "NG-B412020190314CCCHG00000001", []string{"hikvision-serial: unit build-date 2019-03-14", "hikvision-serial: unit region CH", "hikvision-serial: unit short-serial G00000001"}},
		{"isapi.deviceID", "00000000-0000-11b4-82d6-00005e005301", []string{"hikvision-device-id: unit id-mac 00:00:5E:00:53:01"}},
		{"isapi.deviceID", "48473030-3030-0000-0000-00005e005301", []string{"hikvision-device-id: unit id-mac 00:00:5E:00:53:01", "hikvision-device-id: unit id-serial-start G0000"}},
		{"isapi.deviceID", "88", nil},
		{"isapi.deviceID", "00000000-0000-0000-0000-000000000000", nil},
		{"isapi.firmwareVersionInfo", "B-R-G5-0", []string{"hikvision-platform: firmware platform-code G5"}},
		{"isapi.firmwareVersionInfo", "G5", nil},
		{"http.realm", "IP Camera(A0001)", []string{"hikvision-realm: unit serial-end A0001"}},
		{"rtsp.realm", "Login to 4K00000PAG00001", []string{"dahua-realm: unit realm-serial 4K00000PAG00001"}},
		{"http.realm", "Login to 11839e10161ff4ebab8e3260b8779f14", nil},
		{"http.realm", "Login to the router", nil},
		{"rtsp.realm", "AXIS_00005E005301", []string{"axis-realm: unit realm-serial 00005E005301"}},
		{"rtsp.realm", "AXIS_WS_00005E005301", []string{"axis-realm: unit realm-serial 00005E005301"}},
		{"http.realm", "AXIS", nil},
		{"version", "2.860.00IB000.0.R", []string{"dahua-version: firmware customer IB"}},
		{"version", "2.800.106F004.0.R", []string{"dahua-version: firmware customer 106F"}},
		{"version", "2.800.030000000.3.R", []string{"dahua-version: firmware customer 03"}},
		{"version", "2.420.AC00.18.R", []string{"dahua-version: firmware customer AC"}},
		{"version", "2.620.00AC003.3.R", []string{"dahua-version: firmware customer AC"}},
		{"version", "2.800.0000016.0.R", nil},
		{"version", "2.800.0000000.8.R", nil},
		{"version", "3.120.0000.0.R", nil},
		{"magicbox.updateSerial", "DHI-NVR4108HS-8P-4KS2", []string{"dahua-update-serial: unit factory-model DHI-NVR4108HS-8P-4KS2"}},
		{"magicbox.updateSerial", "31", nil},
		{"serial", "210235C3EN3193000001", []string{"uniview-serial: unit platform-code C3EN", "uniview-serial: unit made-month 2019-03", "uniview-serial: unit short-serial 000001"}},
		{"serial", "210235C3EN321C000001", []string{"uniview-serial: unit platform-code C3EN", "uniview-serial: unit made-month 2021-12", "uniview-serial: unit short-serial 000001"}},
		{"serial", "210235C3EN321D000001", nil}, // no thirteenth month
		{"version", "IPC_Q1207-B0006D1904", []string{"uniview-version: firmware platform-code Q1207"}},
		{"version", "NVR-B3601.20.5.201020", []string{"uniview-version: firmware platform-code NVR-B3601", "uniview-version: firmware build-date 2020-10-20"}},
		{"version", "V5.00.R02.000529B2.10010.040600.0020000", []string{"xiongmai-version: firmware platform-code 000529B2"}},
		{"dvrip.hardware", "HI3516EV300_85H50AI", []string{"xiongmai-hardware: soc name HI3516EV300", "xiongmai-hardware: board platform-code 85H50AI"}},
		{"onvif.model", "XM530_50X50-WG_8M", []string{"xiongmai-hardware: soc name XM530", "xiongmai-hardware: board platform-code 50X50-WG_8M"}},
		{"model", "HI-100", nil},
		{"reolink.hardVer", "IPC_523128M8MP", []string{"reolink-hardware: board platform-code 523", "reolink-hardware: unit megapixels 8"}},
		{"reolink.hardVer", "IPC_515B16M5M", []string{"reolink-hardware: board platform-code 515", "reolink-hardware: soc name NT98515", "reolink-hardware: unit megapixels 5"}},
		{"reolink.hardVer", "IPC_560SD88MP", []string{"reolink-hardware: board platform-code 560", "reolink-hardware: unit megapixels 8"}},
		{"reolink.hardVer", "IPC_Q1207-B0006D1904", nil},
		{"serial", "ACCC8E000001", []string{"axis-serial: unit id-mac AC:CC:8E:00:00:01"}},
		{"serial", "00005E005301", nil}, // no prefix of Axis's
		{"tls.subject", "CN=axis-00005e005301-eccp256-1,O=Axis Communications AB", []string{"axis-certificate: unit certificate-mac 00:00:5E:00:53:01"}},
		{"version", "8.71.0066", []string{"bosch-version: firmware release 8.71", "bosch-version: firmware build 0066"}},
		{"version", "9.80.1", nil},
		{"version", strings.Repeat("1", 1<<20), nil},
	} {
		if got := said(c.on, c.value); !slices.Equal(got, c.want) {
			t.Errorf("%s %.60q says\n %q, want\n %q", c.on, c.value, got, c.want)
		}
	}
}

func TestSerialEnd(t *testing.T) {
	for _, c := range []struct {
		tail, end string
		want      bool
	}{
		{"000000042", "00042", true},
		{"000012345", "12345", true},
		{"000012345", "12346", false},
		{"G12345678", "G1234", true}, // the first, or a letter and the last
		{"G12345678", "G5678", true},
		{"G12345678", "G9999", false},
		{"GH1234567", "GH567", true},
		{"GH1234567", "GJ567", false},
		{"G12345678", "45678", true},
	} {
		if got := SerialEnd(c.tail, c.end); got != c.want {
			t.Errorf("%q of %q: %v", c.end, c.tail, got)
		}
	}
}

func TestEveryGrammarLooksAtPlacesAndSaysWhereFrom(t *testing.T) {
	ids := map[string]bool{}
	for _, g := range Grammars() {
		if ids[g.ID] || g.Says == "" || g.Source == "" || len(g.On) == 0 {
			t.Errorf("%+v", g)
		}
		ids[g.ID] = true
		for _, on := range g.On {
			if !knownPlace(on) {
				t.Errorf("%s: no place %q", g.ID, on)
			}
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, on := range []string{"serial", "version", "firmware.string", "http.realm", "isapi.deviceID", "isapi.firmwareVersionInfo", "magicbox.updateSerial", "tls.subject", "dvrip.hardware", "reolink.hardVer"} {
		for _, v := range []string{"210235C3EN3193000001", "48473030-3030-0000-0000-00005e005301", "AXIS_00005E005301", "2.860.00IB000.0.R", "XM530_50X50-WG_8M", "IPC_560SD88MP", "CN=axis-00005e005301"} {
			f.Add(on, v)
		}
	}
	f.Fuzz(func(t *testing.T, on, value string) {
		for _, fact := range Decode(on, value) {
			if fact.Grammar == "" || fact.Subject == "" || fact.Name == "" || fact.Value == "" || len(fact.Value) > len(value)+10 {
				t.Errorf("%s %q says %+v", on, value, fact)
			}
		}
		SerialEnd(on, value)
	})
}

func FuzzSerialGrammar(f *testing.F) {
	f.Add("DS-2CD2366G2-ISU/SL20210726AAWRG00000001")
	f.Add("DS-7616NI-K21620200102CCRR000000001WCVU")
	f.Add("V5.6.3 build 200909")
	f.Add("2.811.0000013.0.R, Build Date 2023-12-20")
	f.Fuzz(func(t *testing.T, s string) {
		if serial, ok := ParseHikvisionSerial(s); ok {
			if serial.Made.Year() < 2000 || serial.Made.Year() > 2099 || len(serial.Tail) != 9 || serial.Model == "" {
				t.Errorf("%q reads %+v", s, serial)
			}
			if len(Embedded().Match([]Observation{{On: "serial", Value: s}})) == 0 {
				t.Errorf("%q is of the grammar, and the rule misses it", s)
			}
		}
		ParseFirmware(s)
	})
}
