package fingerprint

import (
	"fmt"
	"regexp"
	"strings"

	"assay/attest"
)

// otherGrammars are those of makers that have one or two.
var otherGrammars = []grammar{
	{
		id: "axis-serial", on: []string{"serial"},
		says:   "an Axis serial number is the MAC address",
		source: "VAPIX basic device information API; the prefixes are Axis's in the IEEE registry",
		read: func(v string) []Fact {
			if mac, ok := macOf(v); ok && axisPrefix.MatchString(v) {
				return []Fact{fact(attest.SubjectUnit, FactIDMAC, mac)}
			}
			return nil
		},
	},
	{
		id: "axis-realm", on: []string{"http.realm", "rtsp.realm"},
		says:   "an Axis login realm holds the serial number",
		source: "login challenges in AlexxIT/go2rtc issues; ngraziano/SharpRTSP",
		read: func(v string) []Fact {
			if m := axisRealm.FindStringSubmatch(v); m != nil {
				return []Fact{fact(attest.SubjectUnit, FactRealmSerial, m[1])}
			}
			return nil
		},
	},
	{
		id: "axis-certificate", on: []string{"tls.subject"},
		says:   "an Axis certificate names the MAC address",
		source: "rapid7/recog x509_subjects.xml; certificates of AXIS OS 12",
		read: func(v string) []Fact {
			if m := axisCertificate.FindStringSubmatch(v); m != nil {
				if mac, ok := macOf(m[1]); ok {
					return []Fact{fact(attest.SubjectUnit, FactCertificate, mac)}
				}
			}
			return nil
		},
	},
	{
		id: "uniview-serial", on: []string{"serial"},
		says:   "210235, an item code of four characters, a digit, year and month of making (hexadecimal), a number",
		source: "ONVIF answers of relabelled units; the same barcode rule as of H3C, from which Uniview came",
		read: func(v string) []Fact {
			m := univiewSerial.FindStringSubmatch(v)
			if m == nil {
				return nil
			}
			out := []Fact{fact(attest.SubjectUnit, FactPlatform, m[1])}
			month := strings.IndexByte("0123456789ABC", m[3][0])
			if t, ok := date("06-1", fmt.Sprintf("%s-%d", m[2], month)); ok {
				out = append(out, fact(attest.SubjectUnit, FactMadeMonth, t.Format("2006-01")))
			}
			return append(out, fact(attest.SubjectUnit, FactShortSerial, m[4]))
		},
	},
	{
		id: "uniview-version", on: []string{"version", "firmware.string"},
		says:   "the platform, and of a recorder the date in the last group",
		source: "ONVIF answers of relabelled units; LAPI answers of recorders",
		read: func(v string) []Fact {
			if m := univiewCamera.FindStringSubmatch(v); m != nil {
				return []Fact{fact(attest.SubjectFirmware, FactPlatform, m[1])}
			}
			if m := univiewRecorder.FindStringSubmatch(v); m != nil {
				out := []Fact{fact(attest.SubjectFirmware, FactPlatform, m[1])}
				if t, ok := date("060102", m[2]); ok {
					out = append(out, fact(attest.SubjectFirmware, attest.NameBuildDate, t.Format(isoDate)))
				}
				return out
			}
			return nil
		},
	},
	{
		id: "xiongmai-version", on: []string{"version", "firmware.string"},
		says:   "the third group is a code of the product",
		source: "NeiroNx/python-dvr README",
		read: func(v string) []Fact {
			if m := xiongmaiVersion.FindStringSubmatch(v); m != nil {
				return []Fact{fact(attest.SubjectFirmware, FactPlatform, m[1])}
			}
			return nil
		},
	},
	{
		id: "xiongmai-hardware", on: []string{"dvrip.hardware", "onvif.model", "model"},
		says:   "system on chip and board layout, as in HI3516EV300_85H50AI",
		source: "NeiroNx/python-dvr README; ONVIF answers of units in the field",
		read: func(v string) []Fact {
			m := xiongmaiHardware.FindStringSubmatch(v)
			if m == nil {
				return nil
			}
			return []Fact{fact(attest.SubjectSoC, attest.NameBoard, m[1]), fact(attest.SubjectBoard, FactPlatform, m[2])}
		},
	},
	{
		id: "reolink-hardware", on: []string{"reolink.hardVer", "hardware", "onvif.hardware-scope"},
		says:   "the platform's number (515 is Novatek's NT98515), and the sensor's megapixels at the end",
		source: "AT0myks/reolink-fw-archive; hn/reolink-camera for 515",
		read: func(v string) []Fact {
			m := reolinkHardware.FindStringSubmatch(v)
			if m == nil {
				return nil
			}
			out := []Fact{fact(attest.SubjectBoard, FactPlatform, m[1])}
			if m[1] == "515" {
				out = append(out, fact(attest.SubjectSoC, attest.NameBoard, "NT98515"))
			}
			return append(out, fact(attest.SubjectUnit, "megapixels", m[2]))
		},
	},
	{
		id: "bosch-version", on: []string{"version"},
		says:   "release and build, as in 8.71.0066",
		source: "0x524a/onvif-go testdata/captures; Bosch release letters",
		read: func(v string) []Fact {
			if m := boschVersion.FindStringSubmatch(v); m != nil {
				return []Fact{fact(attest.SubjectFirmware, "release", m[1]), fact(attest.SubjectFirmware, "build", m[2])}
			}
			return nil
		},
	},
}

var (
	axisPrefix       = regexp.MustCompile(`^(?i:00408C|ACCC8E|B8A44F|E82725)`)
	axisRealm        = regexp.MustCompile(`^AXIS_(?:WS_)?([0-9A-F]{12})$`)
	axisCertificate  = regexp.MustCompile(`\bCN=axis-([0-9a-f]{12})\b`)
	univiewSerial    = regexp.MustCompile(`^210235([0-9A-Z]{4})[0-9A-Z](\d{2})([1-9A-C])([0-9A-Z]{6})$`)
	univiewCamera    = regexp.MustCompile(`^IPC_(Q\d{4})-B\d{4}`)
	univiewRecorder  = regexp.MustCompile(`^(NVR-B\d{4})\.\d+\.\d+\.(\d{6})$`)
	xiongmaiVersion  = regexp.MustCompile(`^V\d\.\d{2}\.R\d{2}\.([0-9A-F]{8})\.`)
	xiongmaiHardware = regexp.MustCompile(`^(HI35\d{2}[A-Z]{0,2}\d{0,3}|XM\d{3}[A-Z]{0,2}|GK\d{4}[A-Z]\d{3})_([0-9A-Z]+X?[0-9A-Z]*(?:[-_][0-9A-Z]+)*)$`)
	reolinkHardware  = regexp.MustCompile(`^(?:IPC|NVR|DB)_(5\d{2})[0-9A-Z]*?([4-9]|1[0-6])M[PX]?$`)
	boschVersion     = regexp.MustCompile(`^(\d{1,2}\.\d{2})\.(\d{4})$`)
)
