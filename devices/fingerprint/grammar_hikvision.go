package fingerprint

import (
	"encoding/hex"
	"regexp"
	"strings"
	"time"

	"assay/attest"
)

// Hikvision's grammars, by ipcamtalk thread 12108 and the answers in the
// fixtures of maciej-or/hikvision_next.
var hikvisionGrammars = []grammar{
	{
		id: "hikvision-serial", on: []string{"serial"},
		says:   "model, date of making, batch, region (CH is mainland China), short serial number",
		source: "ipcamtalk thread 12108; maciej-or/hikvision_next tests/fixtures",
		read: func(v string) []Fact {
			s, ok := ParseHikvisionSerial(v)
			if !ok {
				return nil
			}
			return []Fact{
				fact(attest.SubjectUnit, attest.NameBuildDate, s.Made.Format(isoDate)),
				fact(attest.SubjectUnit, FactRegion, s.Region),
				fact(attest.SubjectUnit, FactShortSerial, s.Tail),
			}
		},
	},
	{
		id: "hikvision-device-id", on: []string{"isapi.deviceID"},
		says:   "ends with the MAC address; a recorder's begins with H and five characters of its short serial number, in ASCII",
		source: "maciej-or/hikvision_next tests/fixtures: the end in 3 of 3 answers that were not made unreadable, the letters of the beginning in 6 of 6 recorders",
		read:   hikvisionDeviceID,
	},
	{
		id: "hikvision-realm", on: []string{"http.realm", "rtsp.realm"},
		says:   "some characters of the short serial number, in brackets",
		source: "login challenges in AlexxIT/go2rtc issues 2344 and 2451",
		read: func(v string) []Fact {
			if m := hikvisionRealm.FindStringSubmatch(v); m != nil {
				return []Fact{fact(attest.SubjectUnit, FactSerialEnd, m[1])}
			}
			return nil
		},
	},
	{
		id: "hikvision-platform", on: []string{"isapi.firmwareVersionInfo"},
		says:   "the platform that the firmware is for, as in B-R-G5-0",
		source: "maciej-or/hikvision_next tests/fixtures",
		read: func(v string) []Fact {
			if m := hikvisionPlatform.FindStringSubmatch(v); m != nil {
				return []Fact{fact(attest.SubjectFirmware, FactPlatform, m[1])}
			}
			return nil
		},
	},
}

var (
	hikvisionRealm    = regexp.MustCompile(`^IP Camera\(([A-Z0-9]{5,9})\)$`)
	hikvisionPlatform = regexp.MustCompile(`^B-R-([A-Z][A-Z0-9]{1,5})-\d+$`)
	hikvisionID       = regexp.MustCompile(`^([0-9a-fA-F]{8})-([0-9a-fA-F]{4})-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-([0-9a-fA-F]{12})$`)
	serialStart       = regexp.MustCompile(`^H[A-Z0-9]{5}$`)
)

func hikvisionDeviceID(v string) []Fact {
	m := hikvisionID.FindStringSubmatch(v)
	if m == nil {
		return nil
	}
	var out []Fact
	if mac, ok := macOf(m[3]); ok {
		out = append(out, fact(attest.SubjectUnit, FactIDMAC, mac))
	}
	if head, err := hex.DecodeString(m[1] + m[2]); err == nil && serialStart.Match(head) {
		out = append(out, fact(attest.SubjectUnit, FactIDSerialStart, string(head[1:])))
	}
	return out
}

// HikvisionSerial is what a serial number of Hikvision's grammar says:
//
//	MODEL [channels] YYYYMMDD [A-C]{2} REGION TAIL [WCVU]
//
// Makers that relabel keep the grammar with a model of their own, so it is the
// grammar that tells, not a model that starts with DS-.
type HikvisionSerial struct {
	Model  string // of a recorder with the count of its channels, so not equal to the model elsewhere
	Made   time.Time
	Region string // market code; "CH" is mainland China
	Tail   string // the short serial number
}

var hikvisionSerial = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9/().+_-]{2,47}?)(20\d{6})([A-C]{2})(WR|RR|CH|TW|JP|EU)(\d{9}|[A-Z]\d{8}|[A-Z]{2}\d{7})[WCVU]{0,4}$`)

// ParseHikvisionSerial reads a serial number of Hikvision's grammar. ok is
// false when s is not one, which includes an impossible date.
func ParseHikvisionSerial(s string) (serial HikvisionSerial, ok bool) {
	m := hikvisionSerial.FindStringSubmatch(s)
	if m == nil {
		return HikvisionSerial{}, false
	}
	made, err := time.Parse("20060102", m[2])
	if err != nil {
		return HikvisionSerial{}, false
	}
	return HikvisionSerial{Model: m[1], Made: made, Region: m[4], Tail: m[5]}, true
}

// SerialEnd reports whether the characters that a Hikvision login realm has in
// its brackets can be of the short serial number. They are its last ones where
// it is all digits. Where it begins with letters, so do they, and whether the
// digits are its next or its last is not published: both are taken.
func SerialEnd(tail, end string) bool {
	if strings.HasSuffix(tail, end) || strings.HasPrefix(tail, end) {
		return true
	}
	letters := func(s string) string { return s[:len(s)-len(strings.TrimLeft(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"))] }
	return letters(end) != "" && letters(end) == letters(tail) && strings.HasSuffix(tail, strings.TrimPrefix(end, letters(end)))
}
