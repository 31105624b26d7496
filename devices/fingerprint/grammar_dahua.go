package fingerprint

import (
	"regexp"
	"strings"

	"assay/attest"
)

// Dahua's grammars. The third group of a version is a field for the customer:
// 0000000 and numbers that count builds are Dahua's own.
var dahuaGrammars = []grammar{
	{
		id: "dahua-version", on: []string{"version", "firmware.string"},
		says:   "whom the firmware was built for: AC Amcrest, IB Intelbras, 106F BCS, 03 Lorex, and so on",
		source: "rroller/dahua issues; release notes of Amcrest, Intelbras, BCS and Lorex",
		read: func(v string) []Fact {
			m := dahuaVersion.FindStringSubmatch(v)
			if m == nil || dahuaOwn.MatchString(m[1]) {
				return nil
			}
			return []Fact{fact(attest.SubjectFirmware, FactCustomer, dahuaCustomer(m[1]))}
		},
	},
	{
		id: "dahua-update-serial", on: []string{"magicbox.updateSerial"},
		says:   "the model that updates go by; relabelling does not change it",
		source: "rroller/dahua issues (a Lorex recorder that is a DHI-NVR4108HS)",
		read: func(v string) []Fact {
			if !dahuaUpdateSerial.MatchString(v) {
				return nil
			}
			return []Fact{fact(attest.SubjectUnit, FactFactoryModel, v)}
		},
	},
	{
		id: "dahua-realm", on: []string{"http.realm", "rtsp.realm"},
		says:   "old firmware names its serial number in the login realm, newer a digest",
		source: "login challenges in AlexxIT/go2rtc and Home Assistant issues",
		read: func(v string) []Fact {
			if m := dahuaRealm.FindStringSubmatch(v); m != nil {
				return []Fact{fact(attest.SubjectUnit, FactRealmSerial, m[1])}
			}
			return nil
		},
	},
}

var (
	dahuaVersion      = regexp.MustCompile(`^V?\d\.\d{3}\.([0-9A-Z]{4,9})\.\d+\.R\b`)
	dahuaOwn          = regexp.MustCompile(`^0{4,}\d{0,4}$`)
	dahuaUpdateSerial = regexp.MustCompile(`^[A-Z][A-Z0-9]{1,7}-[A-Z0-9][A-Z0-9/+-]{2,40}$`)
	dahuaRealm        = regexp.MustCompile(`^Login to ([0-9A-Z]{12,16})$`)
	dahuaLetters      = regexp.MustCompile(`^0*([A-Z]{2})\d{2,4}$`)
	dahuaMixed        = regexp.MustCompile(`^0*(\d{1,3}[A-Z])\d{3}$`)
	dahuaDigits       = regexp.MustCompile(`^(\d{2,3}?)0{6,}\d{0,2}$`)
)

// dahuaCustomer cuts the count of builds off a customer field, where it can be
// told from the customer's code.
func dahuaCustomer(field string) string {
	for _, re := range []*regexp.Regexp{dahuaLetters, dahuaMixed, dahuaDigits} {
		if m := re.FindStringSubmatch(field); m != nil {
			return m[1]
		}
	}
	return strings.TrimRight(field, " ")
}
