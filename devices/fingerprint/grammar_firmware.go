package fingerprint

import (
	"regexp"
	"strings"
	"time"
)

// firmwareGrammars are how makers write a build date into a version. A first
// group that is empty means that the date is part of the version itself.
var firmwareGrammars = []struct {
	re     *regexp.Regexp
	layout string
}{
	// Hikvision: "V5.6.3 build 200909", and without the blank on some firmware.
	{regexp.MustCompile(`^(V\d+\.\d+\.\d+)\s*_?build\s?(\d{6})$`), "060102"},
	// Dahua: "2.800.0000016.0.R,build:2020-06-05", "2.811.0000013.0.R, Build Date 2023-12-20".
	{regexp.MustCompile(`^(V?\d\.\d{2,3}\.[^,]{1,40}?),\s*[Bb]uild(?: [Dd]ate)?:?\s*(\d{4}-\d{2}-\d{2})$`), "2006-01-02"},
	// Hanwha: "2.01.00_20200721_R201", and its recorders "v2.10_180329015157" to the second.
	{regexp.MustCompile(`^()v?\d+\.\d+\.\d+_(20\d{6})_R\d+$`), "20060102"},
	{regexp.MustCompile(`^()v\d+\.\d+_(\d{12})$`), "060102150405"},
	// Reolink: "v3.1.0.956_22041507", with the hour.
	{regexp.MustCompile(`^()v\d+\.\d+\.\d+\.\d+_(\d{6})\d{2}$`), "060102"},
}

// ParseFirmware parts a firmware version from its build date, so that the same
// firmware compares equal however a protocol writes it. built is zero when s
// follows no grammar that is known here; version is then all of s.
func ParseFirmware(s string) (version string, built time.Time) {
	s = strings.TrimSpace(s)
	for _, g := range firmwareGrammars {
		m := g.re.FindStringSubmatch(s)
		if m == nil {
			continue
		}
		t, err := time.Parse(g.layout, m[2])
		if err != nil {
			continue
		}
		if m[1] == "" {
			return s, t
		}
		return m[1], t
	}
	return s, time.Time{}
}
