package fingerprint

import (
	"bufio"
	"encoding/csv"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"assay/attest"
)

// corpus is a folder of captured answers beside the repository.
const corpus = "../../../shared/corpus/network"

func openCorpus(t *testing.T, name string) *os.File {
	t.Helper()
	f, err := os.Open(filepath.Join(corpus, name))
	if err != nil {
		t.Skipf("no corpus here: %v", err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func strongest(seen ...Observation) map[string]attest.Strength {
	out := map[string]attest.Strength{}
	for _, m := range Embedded().Match(seen) {
		out[m.Entity] = max(out[m.Entity], m.Strength)
	}
	return out
}

// Login challenges as units sent them: each names its maker as a hint, and those
// of others name nobody.
func TestChallengesOfTheField(t *testing.T) {
	maker := func(realm string) string {
		switch {
		case strings.HasPrefix(realm, "IP Camera("), realm == "Hikvision", realm == "DVRNVRDVS":
			return "hikvision"
		case regexp.MustCompile(`^Login to [0-9A-Za-z]{12,}$`).MatchString(realm):
			return "dahua"
		case strings.HasPrefix(realm, "AXIS_"):
			return "axis"
		case realm == "iPOLiS", realm == "NET-i":
			return "hanwha"
		case strings.HasPrefix(realm, "Use 'live'"):
			return "keenfinity"
		case strings.HasPrefix(realm, "MOBOTIX"):
			return "mobotix"
		}
		return ""
	}
	realms := regexp.MustCompile(`realm="([^"]*)"`)
	n := 0
	for lines := bufio.NewScanner(openCorpus(t, "digest/challenges_observed.txt")); lines.Scan(); {
		for _, m := range realms.FindAllStringSubmatch(lines.Text(), -1) {
			n++
			got, want := strongest(Observation{On: "http.realm", Value: m[1]}), maker(m[1])
			if want == "" && len(got) != 0 || want != "" && (len(got) != 1 || got[want] != attest.C1) {
				t.Errorf("%q is %v, want %q", m[1], got, want)
			}
		}
	}
	if n < 20 {
		t.Errorf("%d realms", n)
	}
}

// Favicons of makers in the entity data are hints of them. Those that brands put
// over another maker's pages are hints of that maker.
func TestFaviconsOfTheField(t *testing.T) {
	want := []struct{ label, entity string }{
		{"Uniview", "uniview"}, {"AXIS", "axis"}, {"Dahua", "dahua"}, {"Honeywell", "dahua"}, {"title is Dahua", "dahua"},
		{"Hikvision", "hikvision"}, {"truVision", "hikvision"}, {"Luma", "hikvision"}, {"ALIBI", "hikvision"},
		{"Ossia", "tvt"}, {"MOBOTIX", "mobotix"}, {"Vivotek", "vivotek"}, {"Reolink", "reolink"},
	}
	r := csv.NewReader(openCorpus(t, "camera_favicon_mmh3.csv"))
	r.LazyQuotes, r.FieldsPerRecord = true, -1
	rows, err := r.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows[1:] {
		got := strongest(Observation{On: "favicon.mmh3", Value: row[0]})
		i := slices.IndexFunc(want, func(w struct{ label, entity string }) bool {
			return strings.Contains(strings.Join(row, ","), w.label)
		})
		if i < 0 && len(got) != 0 || i >= 0 && (len(got) != 1 || got[want[i].entity] != attest.C1) {
			t.Errorf("%s (%s) is %v", row[0], row[1], got)
		}
	}
}

// The captured answers, by the values that a person reads in them.
func TestAnswersOfTheField(t *testing.T) {
	openCorpus(t, "dahua/dhip_VTO2000A.json")
	for _, c := range []struct {
		name string
		seen []Observation
		want map[string]attest.Strength
	}{
		{"Hikvision's ISAPI answer", []Observation{{On: "isapi.namespace", Value: "http://www.hikvision.com/ver20/XMLSchema"}, {On: "isapi.systemContact", Value: "Hikvision.China"},
			{On: "isapi.deviceLocation", Value: "hangzhou"}, {On: "isapi.firmwareVersionInfo", Value: "B-R-E8-0"}}, map[string]attest.Strength{"hikvision": attest.C2}},
		{"Dahua's magicBox answer", []Observation{{On: "magicbox.getSystemInfo", Value: "appAutoStart,deviceType,hardwareVersion,processor,serialNumber,updateSerial,updateSerialCloudUpgrade"},
			{On: "model", Value: "IPC-HDW5831R-ZE"}, {On: "soc", Value: "S3LM"}, {On: "version", Value: "2.800.0000016.0.R"}}, map[string]attest.Strength{"dahua": attest.C2}},
		{"a DHIP answer whose vendor is General", []Observation{{On: "dhip.answer", Value: "client.notifyDevInfo"}, {On: "magicbox.vendor", Value: "General"}, {On: "version", Value: "3.120.0000.0.R"}}, map[string]attest.Strength{"dahua": attest.C2}},
		{"Xiongmai's system information", []Observation{{On: "dvrip.answer", Value: "BuildTime,DeviceModel,HardWare,SerialNo,SoftWareVersion"}, {On: "dvrip.hardware", Value: "HI3516EV300_85H50AI"},
			{On: "soc", Value: "HI3516EV300"}, {On: "version", Value: "V5.00.R02.000529B2.10010.040600.0020000"}}, map[string]attest.Strength{"xiongmai": attest.C2, "hisilicon": attest.C1}},
		{"Reolink's device information", []Observation{{On: "reolink.answer", Value: "B485,IOInputNum,audioNum,buildDay,cfgVer,detail,firmVer,frameworkVer,hardVer,model,name,serial,type,wifi"},
			{On: "reolink.hardVer", Value: "IPC_523128M8MP"}, {On: "model", Value: "RLC-822A"}}, map[string]attest.Strength{"reolink": attest.C2}},
		{"Hanwha's device information", []Observation{{On: "sunapi.answer", Value: "BuildDate,CGIVersion,ConnectedMACAddress,DeviceType,FirmwareVersion,ISPVersion,Model,SerialNumber"},
			{On: "version", Value: "2.11.01_20211210_R251"}, {On: "model", Value: "XND-C9083RV"}}, map[string]attest.Strength{"hanwha": attest.C1}},
		{"an Axis camera's SNMP", []Observation{{On: "snmp.sysdescr", Value: "; AXIS P5534-E; PTZ Dome Network Camera; 5.40.9.2; May 15 2012 09:50; 188.1; 1;"}, {On: "snmp.sysobjectid", Value: ".1.3.6.1.4.1.368.4.1.7"}}, map[string]attest.Strength{"axis": attest.C1}},
		{"a Bosch camera's ONVIF", []Observation{{On: "onvif.manufacturer", Value: "BOSCH"}, {On: "model", Value: "FLEXIDOME indoor 5100i IR"}, {On: "version", Value: "8.71.0066"}, {On: "hardware", Value: "F000B543"}}, map[string]attest.Strength{}},
	} {
		got := strongest(c.seen...)
		for _, entity := range []string{"hikvision", "dahua", "xiongmai", "hisilicon", "reolink", "hanwha", "axis", "keenfinity", "tvt", "uniview"} {
			if got[entity] != c.want[entity] {
				t.Errorf("%s: %s is %s, want %s", c.name, entity, got[entity], c.want[entity])
			}
		}
	}
}

func BenchmarkMatch(b *testing.B) {
	seen := []Observation{
		{On: "isapi.namespace", Value: "http://www.std-cgi.com/ver20/XMLSchema"}, {On: "serial", Value: "NG-B412020190314CCRR000000001WCVU"}, {On: "http.server", Value: "App-webs/"},
		{On: "http.realm", Value: "IP Camera(A0001)"}, {On: "tls.subject", Value: "CN=camera.example"}, {On: "version", Value: "V5.7.3"}, {On: "model", Value: "NG-B4120"}, {On: "http.title", Value: "Northgate Security"},
	}
	b.ReportAllocs()
	for b.Loop() {
		Embedded().Match(seen)
	}
}
