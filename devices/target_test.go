package devices

import (
	"fmt"
	"strings"
	"testing"

	"assay/attest"
)

func TestTargetsThatTechniciansType(t *testing.T) {
	for in, want := range map[string]Target{
		"192.0.2.10":                            {Kind: KindNetwork, Host: "192.0.2.10"},
		"192.0.2.10:8000":                       {Kind: KindNetwork, Host: "192.0.2.10", Port: 8000},
		"cam-7.lab":                             {Kind: KindNetwork, Host: "cam-7.lab"},
		"[fe80::1]:80":                          {Kind: KindNetwork, Host: "fe80::1", Port: 80},
		"fe80::1":                               {Kind: KindNetwork, Host: "fe80::1"},
		"https://192.0.2.10/":                   {Kind: KindNetwork, Host: "192.0.2.10", TLS: true},
		"serial:/dev/ttyUSB0":                   {Kind: KindSerial, Device: "/dev/ttyUSB0"},
		"serial:COM3?baud=57600":                {Kind: KindSerial, Device: "COM3", Baud: 57600},
		"serial:tcp://192.0.2.20:3001":          {Kind: KindSerial, Device: "tcp://192.0.2.20:3001"},
		"serial:RFC2217://Lab-1:3001?baud=9600": {Kind: KindSerial, Device: "rfc2217://Lab-1:3001", Baud: 9600},
		"serial:tcp://[fe80::1%eth0]:3001":      {Kind: KindSerial, Device: "tcp://[fe80::1%eth0]:3001"},
		"file:dump.bin":                         {Kind: KindFile, Path: "dump.bin"},
		"file:/a/what?.bin":                     {Kind: KindFile, Path: "/a/what?.bin"},
		"file:C:\\dumps\\x.bin?acquired=A4":     {Kind: KindFile, Path: "C:\\dumps\\x.bin", Acquired: attest.A4},
		"spi:ch341a_spi":                        {Kind: KindSPI, Programmer: "ch341a_spi"},
		"spi:linux_spi:dev=/dev/spidev0.0":      {Kind: KindSPI, Programmer: "linux_spi:dev=/dev/spidev0.0"},
		"spi:ft2232_spi:type=232H,port=A?chip=MX25L6406E/MX25L6408E": {
			Kind: KindSPI, Programmer: "ft2232_spi:type=232H,port=A", Chip: "MX25L6406E/MX25L6408E",
		},
	} {
		if got, err := ParseTarget(in); err != nil || got != want {
			t.Errorf("%q = %+v, %v; want %+v", in, got, err, want)
		}
	}
}

func TestATargetThatIsNoneSaysWhatToWrite(t *testing.T) {
	for in, hint := range map[string]string{
		"":                                      "want host",
		"/dev/ttyUSB0":                          "serial:/dev/ttyUSB0",
		"dumps/x.bin":                           "file:dumps/x.bin",
		"192.0.2.10:99999":                      "port",
		"ftp://192.0.2.10":                      "not http or https",
		"http://admin:secret@cam":               "--user",
		"serial:":                               "nothing after",
		"serial:/dev/x?baud=fast":               "baud",
		"serial:/dev/x?baud=":                   "baud",
		"serial:tcp://host:1?baud=9600":         "set it there",
		"serial:tcp://host":                     "not host:port",
		"serial:tcp://:3001":                    "not a host",
		"serial:tcp://a b:3001":                 "not a host",
		"serial:rfc2217://host:0":               "port",
		"serial:rfc2217://host:+1":              "port",
		"serial:telnet://host:23":               "rfc2217://host:port",
		"serial:tcp://admin:secret@host:1":      "must not hold",
		"serial:tcp://u:secret@h:1?baud=1&y=@z": "must not hold",
		"file:x?acquired=A9":                    "A0 to A4",
		"file:x?acquired=A1&baud=1":             "only ?acquired",
		"host name":                             "not a host",
		"spi:":                                  "spi:ch341a_spi",
		"spi:/dev/spidev0.0":                    "spi:linux_spi:dev=/dev/spidev0.0",
		"spi:internal":                          "chip of this machine",
		"spi:-w":                                "not the name of a programmer",
		"spi:CH341A":                            "not the name of a programmer",
		"spi:ch341a_spi?chip=":                  "flashrom -L",
		"spi:dummy:image=a\nb":                  "printable",
	} {
		_, err := ParseTarget(in)
		if err == nil || !strings.Contains(err.Error(), hint) {
			t.Errorf("%q: %v, want a hint of %q", in, err, hint)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: the password is in the message: %v", in, err)
		}
	}
}

func FuzzParseTarget(f *testing.F) {
	for _, s := range []string{"192.0.2.10:80", "serial:COM3?baud=57600", "file:x?acquired=A4", "https://[::1]:8443", "spi:linux_spi:dev=/dev/spidev0.0?chip=W25Q128.V", "serial:tcp://h:1", "serial:rfc2217://[::1]:2?baud=300"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		target, err := ParseTarget(s)
		if err != nil {
			return
		}
		if target.Kind == "" {
			t.Fatalf("%q has no kind", s)
		}
		if target.Kind != KindSerial || strings.Contains(target.Device, "?baud=") {
			return
		}
		if again, err := ParseTarget(target.String()); err != nil || again.Device != target.Device {
			t.Fatalf("%q is named %q, which reads as %+v, %v", s, target, again, err)
		}
	})
}

func TestAnAccountIsOfferedUntilItIsRefusedOnce(t *testing.T) {
	a := NewAccount("admin", "s3cret")
	if _, _, ok := a.Login(); !ok {
		t.Fatal("a fresh account must be offered")
	}
	a.Refuse("isapi")
	a.Refuse("onvif")
	if _, _, ok := a.Login(); ok || a.Refused() != "isapi" {
		t.Fatalf("offered %v after refusal by %q", ok, a.Refused())
	}
	if s := fmt.Sprintf("%v %+v %#v %s", a, a, a, a); strings.Contains(s, "s3cret") {
		t.Fatalf("password printed: %s", s)
	}
	var none *Account
	if _, _, ok := none.Login(); ok {
		t.Fatal("a nil account offers nothing")
	}
}
