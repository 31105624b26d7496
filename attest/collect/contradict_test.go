package collect

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"assay/attest"
	"assay/attest/entity"
	"assay/devices/fingerprint"
)

// unit is what a test writes of a unit: claims, observations that rules and
// grammars look at, and what else the session knows.
type unit struct {
	claims  []attest.Claim
	seen    []fingerprint.Observation
	marks   []attest.Mark
	country string
	holders []attest.Unit
}

func says(subject attest.Subject, name, value, source string) attest.Claim {
	return attest.Claim{Subject: subject, Name: name, Value: value, Source: source}
}

func maker(v, source string) attest.Claim {
	return says(attest.SubjectUnit, attest.NameMaker, v, source)
}
func model(v, source string) attest.Claim {
	return says(attest.SubjectUnit, attest.NameModel, v, source)
}
func serial(v, source string) attest.Claim {
	return says(attest.SubjectUnit, attest.NameSerial, v, source)
}
func mac(v, source string) attest.Claim {
	return says(attest.SubjectUnit, attest.NameMAC, v, source)
}
func built(v, source string) attest.Claim {
	return says(attest.SubjectFirmware, attest.NameBuildDate, v, source)
}
func version(v, source string) attest.Claim {
	return says(attest.SubjectFirmware, attest.NameFirmwareVersion, v, source)
}
func seen(on, v, source string) fingerprint.Observation {
	return fingerprint.Observation{On: on, Value: v, Source: source}
}

// channel is a channel that finds the unit as the network does: the marks of the
// rules and the facts of the grammars are made of what was observed.
func (u unit) channel() *fake {
	f := &fake{claims: u.claims, marks: slices.Concat(u.marks, fingerprint.Embedded().Match(u.seen))}
	for _, o := range u.seen {
		for _, x := range fingerprint.Decode(o.On, o.Value) {
			f.claims = append(f.claims, says(x.Subject, x.Name, x.Value, "grammar "+x.Grammar+" of "+o.Source))
		}
	}
	return f
}

var today = time.Date(2026, 11, 26, 9, 0, 0, 0, time.UTC)

func (u unit) evidence(t *testing.T) *attest.Evidence {
	t.Helper()
	o := Options{Country: u.country, Now: func() time.Time { return today }}
	if u.holders != nil {
		o.KeyHolders = func(context.Context, attest.Digest) ([]attest.Unit, error) { return u.holders, nil }
	}
	ev, _ := collect(t, o, map[string]*fake{"192.0.2.1": u.channel()}, "192.0.2.1")
	return ev
}

const (
	isapiInfo = "isapi /ISAPI/System/deviceInfo"
	onvifInfo = "onvif GetDeviceInformation"
	keyA      = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
)

// hikvision is an honest unit, with changes that a test makes.
func hikvision(change func(*unit)) unit {
	const number = "DS-2CD2143G2-I20230512AAWRL00000011"
	u := unit{
		claims: []attest.Claim{
			maker("hikvision", isapiInfo+" manufacturer"), maker("HIKVISION", onvifInfo+" Manufacturer"),
			model("DS-2CD2143G2-I", isapiInfo+" model"), model("DS-2CD2143G2-I", onvifInfo+" Model"),
			serial(number, isapiInfo+" serialNumber"), serial(number, onvifInfo+" SerialNumber"),
			says(attest.SubjectUnit, NameSubSerial, "L00000011", isapiInfo+" subSerialNumber"),
			mac("4C:BD:8F:00:00:11", isapiInfo+" macAddress"), mac("4C:BD:8F:00:00:11", "onvif GetNetworkInterfaces HwAddress"),
			version("V5.7.12", isapiInfo+" firmwareVersion"), version("V5.7.12", onvifInfo+" FirmwareVersion"),
			built("2022-08-19", isapiInfo+" firmwareVersion"), // older than the unit, as factories have it
		},
		seen: []fingerprint.Observation{
			seen("isapi.namespace", "http://www.hikvision.com/ver20/XMLSchema", isapiInfo+" xmlns"),
			seen("serial", number, isapiInfo+" serialNumber"),
			seen("isapi.deviceID", "00000000-0000-11b4-82d6-4cbd8f000011", isapiInfo+" deviceID"),
			seen("http.realm", "IP Camera(L0011)", "http / header WWW-Authenticate realm"),
		},
		country: "GB",
	}
	if change != nil {
		change(&u)
	}
	return u
}

// set changes the claims of a name, or those whose source begins as said.
func (u *unit) set(name, source, value string) {
	for i, c := range u.claims {
		if c.Name == name && strings.HasPrefix(c.Source, source) {
			u.claims[i].Value = value
		}
	}
}

func (u *unit) see(on, value string) {
	for i, o := range u.seen {
		if o.On == on {
			u.seen[i].Value = value
		}
	}
}

func (u *unit) add(claims ...attest.Claim) { u.claims = append(u.claims, claims...) }

func TestAnHonestUnitOfEachMakerContradictsNothing(t *testing.T) {
	for name, u := range map[string]unit{
		"Hikvision": hikvision(nil),
		"Hikvision in mainland China": hikvision(func(u *unit) {
			const number = "DS-2CD2143G2-I20230512AACHL00000011"
			u.set(attest.NameSerial, "", number)
			u.see("serial", number)
			u.country = "CN"
		}),
		"a Hikvision recorder": {claims: []attest.Claim{
			maker("hikvision", isapiInfo), model("DS-7616NI-K2", isapiInfo), serial("DS-7616NI-K21620200102CCRRG00000001WCVU", isapiInfo),
			mac("4C:BD:8F:00:00:21", isapiInfo+" macAddress"), built("2024-01-08", isapiInfo),
		}, seen: []fingerprint.Observation{
			seen("serial", "DS-7616NI-K21620200102CCRRG00000001WCVU", isapiInfo), seen("http.realm", "DVRNVRDVS", "http /"),
			seen("isapi.deviceID", "48473030-3030-0000-0000-4cbd8f000021", isapiInfo+" deviceID"),
		}},
		"EZVIZ on Hikvision's firmware": {claims: []attest.Claim{maker("EZVIZ", onvifInfo), maker("hikvision", isapiInfo)}, seen: hikvision(nil).seen[:2]},
		"Dahua": {claims: []attest.Claim{
			maker("Dahua", onvifInfo), model("IPC-HDW5831R-ZE", "magicbox getSystemInfo deviceType"), model("IPC-HDW5831R-ZE", onvifInfo),
			serial("4X00000ZAG2000F", "magicbox getSystemInfo serialNumber"), serial("4X00000ZAG2000F", onvifInfo),
			version("2.800.0000016.0.R", "magicbox getSoftwareVersion"), built("2020-06-05", "magicbox getSoftwareVersion"),
			mac("3C:EF:8C:00:00:01", "onvif GetNetworkInterfaces"),
		}, seen: []fingerprint.Observation{
			seen("magicbox.getSystemInfo", "deviceType,hardwareVersion,processor,serialNumber,updateSerial", "magicbox getSystemInfo keys"),
			seen("magicbox.updateSerial", "IPC-HDW5830R-Z", "magicbox getSystemInfo updateSerial"), seen("version", "2.800.0000016.0.R", "magicbox getSoftwareVersion"),
			seen("http.realm", "Login to 4X00000ZAG2000F", "http /"),
		}},
		"Axis": {claims: []attest.Claim{
			maker("AXIS", "axis Brand"), maker("AXIS", onvifInfo), model("M1065-LW", "axis ProdNbr"), model("M1065-LW", onvifInfo),
			serial("ACCC8E000001", "axis SerialNumber"), mac("AC:CC:8E:00:00:01", "axis SerialNumber"), mac("AC:CC:8E:00:00:01", "onvif GetNetworkInterfaces"),
			version("9.80.1", "axis Version"), built("2020-04-29", "axis BuildDate"), says(attest.SubjectSoC, attest.NameBoard, "Ambarella S2L", "axis Soc"),
		}, seen: []fingerprint.Observation{
			seen("serial", "ACCC8E000001", "axis SerialNumber"), seen("http.realm", "AXIS_ACCC8E000001", "http /"), seen("axis.brand", "AXIS", "axis Brand"),
			seen("tls.subject", "CN=axis-accc8e000001-eccp256-1,O=Axis Communications AB", "tls handshake subject"),
		}},
		"an Axis camera reached by radio": {claims: []attest.Claim{
			maker("AXIS", "axis Brand"), serial("ACCC8E000001", "axis SerialNumber"), mac("AC:CC:8E:00:00:01", "axis SerialNumber"),
			mac("00:00:5E:00:53:01", "arp 192.0.2.1"), mac("AC:CC:8E:00:00:02", "onvif GetNetworkInterfaces"),
		}, seen: []fingerprint.Observation{seen("serial", "ACCC8E000001", "axis SerialNumber")}},
		"Hanwha": {claims: []attest.Claim{
			maker("Hanwha Vision", onvifInfo), model("XNF-9010RV", "sunapi deviceinfo Model"), serial("ZLNA00GKA0001JZ", "sunapi deviceinfo SerialNumber"),
			mac("00:09:18:00:00:01", "sunapi deviceinfo ConnectedMACAddress"), built("2020-07-21", "sunapi deviceinfo BuildDate"),
		}, seen: []fingerprint.Observation{
			seen("serial", "ZLNA00GKA0001JZ", "sunapi deviceinfo"), seen("version", "2.01.00_20200721_R201", "sunapi deviceinfo"), seen("http.realm", "iPOLiS", "http /"),
		}},
		"Bosch": {claims: []attest.Claim{
			maker("BOSCH", onvifInfo), maker("Keenfinity", "label"), model("FLEXIDOME indoor 5100i IR", onvifInfo), serial("404700000001050102", onvifInfo),
			mac("00:07:5F:00:00:01", "onvif GetNetworkInterfaces"), version("8.71.0066", onvifInfo),
		}, seen: []fingerprint.Observation{seen("version", "8.71.0066", onvifInfo), seen("http.realm", "Use 'live' as User Name", "http /")}},
		"Uniview": {claims: []attest.Claim{
			maker("UNIVIEW", onvifInfo), model("IPC2122LB-SF28-A", "lapi DeviceInfo"), serial("210235C3EN3193000001", "lapi DeviceInfo"),
			version("IPC_Q1207-B0006D1904", "lapi DeviceInfo"), built("2019-04-11", "lapi DeviceInfo"),
		}, seen: []fingerprint.Observation{
			seen("serial", "210235C3EN3193000001", "lapi DeviceInfo"), seen("version", "IPC_Q1207-B0006D1904", "lapi DeviceInfo"), seen("lapi.answer", "/LAPI/V1.0/System/DeviceInfo", "lapi"),
		}},
		"unbranded Xiongmai": {claims: []attest.Claim{
			maker("H264", onvifInfo), model("XM530_50X50-WG_8M", onvifInfo), model("XM530_50X50-WG_8M", "dvrip SystemInfo"),
			says(attest.SubjectSoC, attest.NameBoard, "XM530", "dvrip SystemInfo"), mac("00:12:31:00:00:01", "onvif"),
		}, seen: []fingerprint.Observation{
			seen("onvif.manufacturer", "H264", onvifInfo), seen("onvif.model", "XM530_50X50-WG_8M", onvifInfo),
			seen("version", "V5.00.R02.00030747.10010.349f17", onvifInfo), seen("dvrip.answer", "AliveInterval,SessionID", "dvrip"),
		}},
		"Reolink": {claims: []attest.Claim{
			maker("Reolink", onvifInfo), model("RLC-822A", "reolink GetDevInfo"), model("RLC-822A", onvifInfo), mac("EC:71:DB:00:00:01", "reolink GetLocalLink"),
			built("2022-04-15", "reolink GetDevInfo"),
		}, seen: []fingerprint.Observation{seen("reolink.hardVer", "IPC_523128M8MP", "reolink GetDevInfo"), seen("reolink.answer", "firmVer,hardVer,model", "reolink GetDevInfo")}},
		"TVT": {claims: []attest.Claim{maker("TVT", "tvt GetDeviceInfo"), model("TD-9452", "tvt GetDeviceInfo")},
			seen: []fingerprint.Observation{seen("tvt.namespace", "http://www.ipc.com/ver10", "tvt GetDeviceInfo"), seen("http.server", "Cross Web Server", "http /")}},
		"a camera with a radio module": {claims: []attest.Claim{maker("Mobotix", onvifInfo), mac("10:5A:17:00:00:01", "onvif GetNetworkInterfaces")}}, // Tuya's
		"a maker's name that means nothing": {claims: []attest.Claim{maker("General", onvifInfo), maker("Dahua", "dhip Vendor")},
			seen: []fingerprint.Observation{seen("dhip.answer", "client.notifyDevInfo", "dhip")}},
		"a key that this unit had before": hikvision(func(u *unit) {
			u.add(says(attest.SubjectNetwork, attest.NameTLSKey, keyA, "tls handshake"))
			u.holders = []attest.Unit{{Serials: []string{"L00000011"}}, {MACs: []string{"4C:BD:8F:00:00:11"}, Serials: []string{"renamed"}}, {Maker: "unidentified"}}
		}),
		"nothing known": {},
	} {
		t.Run(name, func(t *testing.T) {
			for _, x := range u.evidence(t).Contradictions {
				t.Errorf("%s: %s", x.Rule, x.Says)
			}
		})
	}
}

func TestContradictions(t *testing.T) {
	for _, c := range []struct {
		rule, name string
		unit       unit
		quotes     []string
	}{
		{"two-makers", "ONVIF and ISAPI name two makers", hikvision(func(u *unit) { u.set(attest.NameMaker, "onvif", "Axis") }), []string{"hikvision", "Axis"}},
		{"same-value", "two models", hikvision(func(u *unit) { u.set(attest.NameModel, "onvif", "DS-2CD9999-XX") }), []string{"DS-2CD2143G2-I", "DS-2CD9999-XX"}},
		{"same-value", "two versions", hikvision(func(u *unit) { u.set(attest.NameFirmwareVersion, "onvif", "V5.5.0") }), []string{"V5.7.12", "V5.5.0"}},
		{"label-against-marks", "a brand that nobody knows over Hikvision's code", hikvision(func(u *unit) { u.set(attest.NameMaker, "", "Northgate Security") }), []string{"Northgate Security", "Hikvision"}},
		{"label-against-grammar", "a known brand and a namespace of another", unit{claims: []attest.Claim{maker("Bosch", onvifInfo)},
			seen: []fingerprint.Observation{seen("isapi.namespace", "http://www.isapi.org/ver20/XMLSchema", isapiInfo+" xmlns")}}, []string{"Bosch", "isapi.org"}},
		{"label-against-grammar", "Lorex on a version of Dahua's", unit{claims: []attest.Claim{maker("Lorex", onvifInfo)},
			seen: []fingerprint.Observation{seen("version", "2.800.030000000.3.R", onvifInfo)}}, []string{"Lorex", "2.800.030000000.3.R"}},
		{"marks-of-two-makers", "two discovery protocols of two makers answer", unit{seen: []fingerprint.Observation{
			seen("sadp.answer", "DeviceDescription,DeviceSN,MAC", "sadp inquiry"), seen("dhip.answer", "client.notifyDevInfo", "dhip search")}}, []string{"Hikvision", "Dahua"}},
		{"maker-against-registrant", "an Axis label and Hikvision's prefix", unit{claims: []attest.Claim{maker("Axis", onvifInfo), mac("4C:BD:8F:00:00:11", "onvif GetNetworkInterfaces")}}, []string{"Axis", "Hangzhou Hikvision"}},
		{"mac-against-identifier", "another MAC than the deviceID's", hikvision(func(u *unit) { u.set(attest.NameMAC, "", "4C:BD:8F:00:99:11") }), []string{"4C:BD:8F:00:00:11", "4C:BD:8F:00:99:11"}},
		{"mac-against-identifier", "an Axis serial number and another MAC", unit{claims: []attest.Claim{maker("AXIS", "axis Brand"), mac("AC:CC:8E:00:00:01", "axis SerialNumber"), mac("00:00:5E:00:53:01", "onvif GetNetworkInterfaces")},
			seen: []fingerprint.Observation{seen("serial", "ACCC8E000001", "axis SerialNumber")}}, []string{"AC:CC:8E:00:00:01", "00:00:5E:00:53:01"}},
		{"mac-against-identifier", "an Axis certificate of another unit", unit{claims: []attest.Claim{mac("AC:CC:8E:00:00:01", "axis SerialNumber")},
			seen: []fingerprint.Observation{seen("tls.subject", "CN=axis-accc8e770001", "tls handshake subject")}}, []string{"AC:CC:8E:77:00:01"}},
		{"mac-against-wire", "Axis's address claimed, Dahua's on the wire", unit{claims: []attest.Claim{mac("AC:CC:8E:00:00:01", "onvif GetNetworkInterfaces"), mac("3C:EF:8C:00:00:01", "arp 192.0.2.1")}}, []string{"3C:EF:8C:00:00:01", "AC:CC:8E:00:00:01"}},
		{"serial-tail", "a short serial number of another unit", hikvision(func(u *unit) { u.set(NameSubSerial, "", "L00000099") }), []string{"L00000099", "L00000011"}},
		{"realm-against-serial", "a realm of another unit", hikvision(func(u *unit) { u.see("http.realm", "IP Camera(J0042)") }), []string{"J0042", "L00000011"}},
		{"realm-against-serial", "a Dahua realm of another unit", unit{claims: []attest.Claim{serial("4X00000ZAG2000F", "magicbox")},
			seen: []fingerprint.Observation{seen("rtsp.realm", "Login to 4X00000ZAG20FFF", "rtsp DESCRIBE")}}, []string{"4X00000ZAG20FFF", "4X00000ZAG2000F"}},
		{"realm-against-serial", "an Axis realm of another unit", unit{claims: []attest.Claim{serial("ACCC8E000001", "axis SerialNumber")},
			seen: []fingerprint.Observation{seen("http.realm", "AXIS_ACCC8E000002", "http /")}}, []string{"ACCC8E000002"}},
		{"model-against-serial", "another model in the serial number", hikvision(func(u *unit) {
			u.set(attest.NameSerial, "", "ACR4-400420230512CCWRL00000011")
			u.see("serial", "ACR4-400420230512CCWRL00000011")
		}), []string{"ACR4-4004", "DS-2CD2143G2-I"}},
		{"model-against-factory", "a brand's model over a factory model", unit{claims: []attest.Claim{model("N841A8", onvifInfo)},
			seen: []fingerprint.Observation{seen("magicbox.updateSerial", "DHI-NVR4108HS-8P-4KS2", "magicbox getSystemInfo updateSerial")}}, []string{"N841A8", "DHI-NVR4108HS-8P-4KS2"}},
		{"region-abroad", "a mainland unit in Britain", hikvision(func(u *unit) {
			u.see("serial", "DS-2CD2143G2-I20230512AACHL00000011")
			u.set(attest.NameSerial, "", "DS-2CD2143G2-I20230512AACHL00000011")
		}), []string{"CH", "GB"}},
		{"date-in-future", "firmware of next year", hikvision(func(u *unit) { u.set(attest.NameBuildDate, "", "2027-03-01") }), []string{"2027-03-01", "2026-11-26"}},
		{"date-in-future", "a unit of next month", unit{seen: []fingerprint.Observation{seen("serial", "210235C3EN327C000001", "lapi DeviceInfo")}}, []string{"2027-12"}},
		{"firmware-before-unit", "a unit much younger than its firmware", hikvision(func(u *unit) { u.set(attest.NameBuildDate, "", "2016-05-01") }), []string{"2016-05-01", "2023-05-12"}},
		{"key-shared", "another unit's TLS key", hikvision(func(u *unit) {
			u.add(says(attest.SubjectNetwork, attest.NameTLSKey, keyA, "tls handshake"))
			u.holders = []attest.Unit{{Maker: "Hikvision", Serials: []string{"OTHER-1"}}}
		}), []string{keyA, "OTHER-1"}},
	} {
		t.Run(c.rule+": "+c.name, func(t *testing.T) {
			ev := c.unit.evidence(t)
			i := slices.IndexFunc(ev.Contradictions, func(x attest.Contradiction) bool { return x.Rule == c.rule })
			if i < 0 {
				t.Fatalf("not among %+v", ev.Contradictions)
			}
			x := ev.Contradictions[i]
			if len(x.Sides) != 2 || x.Subject == "" || x.Name == "" || x.ID == "" {
				t.Errorf("%+v", x)
			}
			for _, s := range x.Sides {
				if s.Value == "" || s.Source == "" {
					t.Errorf("a side without its value or source: %+v", x)
				}
			}
			for _, q := range c.quotes {
				if !strings.Contains(fmt.Sprint(x.Says, x.Sides), q) {
					t.Errorf("%q is not in %s %+v", q, x.Says, x.Sides)
				}
			}
			for _, other := range ev.Contradictions {
				if other.Rule != c.rule && !expectedBeside[c.rule+"+"+other.Rule] {
					t.Errorf("also %s: %s", other.Rule, other.Says)
				}
			}
		})
	}
}

// expectedBeside are the rules that one lie breaks together.
var expectedBeside = map[string]bool{
	"two-makers+label-against-marks":      true,
	"two-makers+maker-against-registrant": true,
	"same-value+model-against-serial":     true, // the second model is of another family
}

func TestEveryContradictionRuleIsTested(t *testing.T) {
	ids := map[string]bool{}
	for _, r := range ContradictionRules() {
		if ids[r.ID] || r.Says == "" {
			t.Errorf("%+v", r)
		}
		ids[r.ID] = true
	}
	if len(ids) != 16 {
		t.Errorf("%d rules", len(ids))
	}
}

// Without a country there is nothing to hold the region against.
func TestTheRegionAloneIsAHint(t *testing.T) {
	u := hikvision(func(u *unit) {
		u.see("serial", "DS-2CD2143G2-I20230512AACHL00000011")
		u.set(attest.NameSerial, "", "DS-2CD2143G2-I20230512AACHL00000011")
		u.country = ""
	})
	ev := u.evidence(t)
	if len(ev.Contradictions) != 0 {
		t.Errorf("%+v", ev.Contradictions)
	}
	if !slices.ContainsFunc(ev.Marks, func(m attest.Mark) bool {
		return m.Rule == "hikvision-mainland-serial" && m.Strength == attest.C1
	}) {
		t.Error("no hint says that it is a mainland unit")
	}
}

func TestARegisterThatCannotBeReadIsAProblem(t *testing.T) {
	f := &fake{claims: []attest.Claim{says(attest.SubjectNetwork, attest.NameTLSKey, keyA, "tls")}}
	ev, _ := collect(t, Options{KeyHolders: func(context.Context, attest.Digest) ([]attest.Unit, error) {
		return nil, errors.New("the disk is gone")
	}}, map[string]*fake{"192.0.2.1": f}, "192.0.2.1")
	if len(ev.Contradictions) != 0 || len(ev.Problems) != 1 || !strings.Contains(ev.Problems[0].Says, "the disk is gone") {
		t.Errorf("%+v %+v", ev.Contradictions, ev.Problems)
	}
}

// A unit decides how much it says: neither the time nor the answer may grow with
// the square of it.
func TestAUnitThatSaysTenThousandThingsIsBounded(t *testing.T) {
	var u unit
	for i := range 2000 {
		n := fmt.Sprintf("%04d", i)
		u.add(maker("Brand "+n, "onvif "+n), model("M"+n, "onvif "+n), serial("DS-2CD2143G2-I20230512AACHL0000"+n, "onvif "+n), mac("00:00:5E:"+n[:2]+":53:"+n[2:], "onvif "+n))
	}
	ev := u.evidence(t)
	if n := len(ev.Contradictions); n == 0 || n > maxContradictions*len(ContradictionRules()) {
		t.Errorf("%d contradictions", n)
	}
}

func FuzzContradictions(f *testing.F) {
	d, err := entity.Load()
	if err != nil {
		f.Fatal(err)
	}
	f.Add("serial", "DS-2CD2143G2-I20230512AACHL00000011", "mac", "4C:BD:8F:00:00:11", "http.realm", "IP Camera(L0011)")
	f.Add("maker", "Axis", "mac", "4cbd8f000011", "serial", "ACCC8E000001")
	f.Add("build-date", "2027-03-01", "model", "N841A8", "magicbox.updateSerial", "DHI-NVR4108HS")
	f.Fuzz(func(t *testing.T, name1, value1, name2, value2, on, observed string) {
		e := &attest.Evidence{Started: today}
		for i, c := range []attest.Claim{says(attest.SubjectUnit, name1, value1, "a"), says(attest.SubjectUnit, name2, value2, "arp b"), says(attest.SubjectFirmware, name1, value2, "c")} {
			c.ID, c.Channel = fmt.Sprint(i), "network:x"
			e.Claims = append(e.Claims, c)
		}
		u := unit{seen: []fingerprint.Observation{seen(on, observed, "d")}}
		e.Claims, e.Marks = append(e.Claims, u.channel().claims...), u.channel().marks
		for _, x := range crossCheck(e, d, nil) {
			if x.Rule == "" || x.Says == "" || len(x.Sides) != 2 {
				t.Errorf("%+v", x)
			}
		}
	})
}
