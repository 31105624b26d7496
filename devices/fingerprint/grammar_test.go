package fingerprint

import "testing"

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
		{" 9.80.1 ", "9.80.1", "0001-01-01"},
		{"V5.6.3 build 209909", "V5.6.3 build 209909", "0001-01-01"},
	} {
		version, built := ParseFirmware(c.in)
		if version != c.version || built.Format("2006-01-02") != c.built {
			t.Errorf("%q reads %q of %s", c.in, version, built.Format("2006-01-02"))
		}
	}
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
