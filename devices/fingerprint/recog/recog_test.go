package recog

import (
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"assay/attest"
	"assay/devices/fingerprint"
)

// Every example that recog's own files carry must hold here too: five thousand
// banners, of which none is ours.
func TestEveryExampleOfTheShippedFilesHolds(t *testing.T) {
	entries, err := files.ReadDir("xml")
	if err != nil || len(entries) != len(banners) {
		t.Fatalf("%d files, %d places: %v", len(entries), len(banners), err)
	}
	fingerprints, examples, skipped := 0, 0, 0
	for _, e := range entries {
		raw, err := files.ReadFile(path.Join("xml", e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		d, err := Parse(raw)
		if err != nil {
			t.Errorf("%s: %v", e.Name(), err)
			continue
		}
		n, wrong := d.Verify()
		for _, err := range wrong {
			t.Errorf("%s: %v", e.Name(), err)
		}
		for _, s := range d.Skipped {
			t.Logf("%s: %s skipped: %s", e.Name(), s.Description, s.Why)
		}
		fingerprints, examples, skipped = fingerprints+len(d.fingerprints), examples+n, skipped+len(d.Skipped)
	}
	if fingerprints < 2900 || examples < 5000 || skipped != 0 {
		t.Errorf("%d fingerprints, %d examples, %d skipped", fingerprints, examples, skipped)
	}
}

func TestTheShippedFilesComeWithTheirLicence(t *testing.T) {
	licence, err := os.ReadFile("xml/LICENSE")
	if err != nil || !strings.Contains(string(licence), "Rapid7") {
		t.Errorf("%v", err)
	}
	notice, err := os.ReadFile("../../../NOTICE")
	if err != nil || !strings.Contains(string(notice), "devices/fingerprint/recog/xml") {
		t.Errorf("NOTICE does not name the folder: %v", err)
	}
}

func hints(on, value string) []attest.Mark {
	return Hints([]fingerprint.Observation{{On: on, Value: value, Source: "test", Raw: "sha256:aa"}})
}

func TestHints(t *testing.T) {
	for _, c := range []struct{ name, on, value, entity, says string }{
		{"Hikvision by its server", "http.server", "DNVRS-Webs", "hikvision", "Hikvision"},
		{"Hikvision by its realm", "http.realm", "hikvision", "hikvision", "Hikvision"},
		{"Hikvision by its telnet prompt", "telnet.banner", "192.0.0.64 login: ", "hikvision", "Hikvision"},
		{"Dahua by its RTSP server", "rtsp.server", "Dahua Rtsp Server", "dahua", "Dahua"},
		{"Xiongmai by its title", "http.title", "NETSurveillance WEB", "xiongmai", "Xiongmai"},
		{"Axis by its FTP greeting", "ftp.banner", "220 AXIS 214 PTZ Network Camera 4.49 (Jan 20 2011) ready.", "axis", "Axis"},
		{"Bosch by its certificate", "tls.subject", "CN=local.myboschcam.net,O=Bosch Sicherheitssysteme GmbH,L=Grasbrunn,ST=Bayern,C=DE", "keenfinity", "Bosch"},
		{"Avigilon by its RTSP server", "rtsp.server", "AvigilonOnvifNvt/2.6.0.130", "avigilon", "Avigilon"},
		{"Cross Web Server is not HiSilicon's", "http.server", "Cross Web Server", "tvt", "in truth"},
		{"nor is its page", "http.title", "DVR Components Download", "tvt", "in truth"},
		{"HiIpcam is not Foscam's", "rtsp.server", "HiIpcam/V100R003 VodServer/1.0.0", "hisilicon", "in truth"},
		{"Login to is not Lorex's", "http.realm", "Login to ND011811000000", "dahua", "in truth"},
	} {
		t.Run(c.name, func(t *testing.T) {
			marks := hints(c.on, c.value)
			if len(marks) != 1 || marks[0].Entity != c.entity || !strings.Contains(marks[0].Says, c.says) {
				t.Fatalf("%+v", marks)
			}
			if m := marks[0]; m.Strength != attest.C1 || m.Rule != Rule || m.Match != c.value || m.Source != "test" || m.Raw != "sha256:aa" {
				t.Errorf("%+v", m)
			}
		})
	}
}

func TestWhatIsNoCameraHintsAtNobody(t *testing.T) {
	for _, c := range []struct{ on, value, device string }{
		{"ssh.banner", "SSH-2.0-dropbear_2022.83", ""},
		{"ssh.banner", "OpenSSH without its prefix", ""},
		{"http.server", "lighttpd/1.4.69", ""},
		{"ftp.banner", "AXIS 560 FTP Network Print Server V6.00 Jul 7 1999 ready.", "Print Server"},
		{"snmp.sysdescr", "Canon iR-ADV C5235 /P", ""},
		{"http.server", "", ""},
		{"uboot.prompt", "HKVS #", ""},
	} {
		if marks := hints(c.on, c.value); len(marks) != 0 {
			t.Errorf("%s %q: %+v", c.on, c.value, marks)
		}
		r, _ := Identify(fingerprint.Observation{On: c.on, Value: c.value})
		if c.device != "" && r.Device() != c.device || r.Camera() {
			t.Errorf("%s %q is a %q", c.on, c.value, r.Device())
		}
	}
}

// No hint of recog's list may name the wrong maker of our own rules' examples
// where both speak: that is how its wrong labels are found.
func TestRecogAgreesWithOurRules(t *testing.T) {
	rules, _, _ := fingerprint.Embedded().All()
	for _, r := range rules {
		for _, on := range r.On {
			for _, x := range r.Examples {
				for _, m := range hints(on, x) {
					if m.Entity != r.Entity {
						t.Errorf("%s %q is %s by our rule %s, and %s by recog (%s)", on, x, r.Entity, r.ID, m.Entity, m.Says)
					}
				}
			}
		}
	}
}

func TestEveryOverrideIsOfALabelThatIsThere(t *testing.T) {
	for _, o := range embedded().Overrides {
		d := loaded[o.File]()
		if !slices.ContainsFunc(d.fingerprints, func(f *print) bool { return f.description == o.Description }) {
			t.Errorf("%s has no %q", o.File, o.Description)
		}
	}
}

func TestEveryEntityIsInTheEntityData(t *testing.T) {
	b, err := os.ReadFile("../../../attest/entity/data/entities.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Entities []struct{ ID string }
	}
	if err := yaml.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	known := func(id string) bool {
		return slices.ContainsFunc(file.Entities, func(e struct{ ID string }) bool { return e.ID == id })
	}
	for _, v := range embedded().Vendors {
		if !known(v.Entity) {
			t.Errorf("vendor %q is entity %q, which the entity data does not have", v.Vendor, v.Entity)
		}
	}
	for _, o := range embedded().Overrides {
		if !known(o.Entity) {
			t.Errorf("override %q is entity %q, which the entity data does not have", o.Description, o.Entity)
		}
	}
}

func TestEveryPlaceIsKnown(t *testing.T) {
	for _, b := range banners {
		if !slices.ContainsFunc(fingerprint.Places(), func(p fingerprint.Place) bool { return p.Name == b.on }) {
			t.Errorf("no place %q", b.on)
		}
	}
}

func TestParse(t *testing.T) {
	file := func(inside string) string {
		return `<fingerprints matches="x">` + inside + `</fingerprints>`
	}
	d, err := Parse([]byte(file(`
		<fingerprint pattern="^a(?!b)"><description>looks ahead</description></fingerprint>
		<fingerprint pattern="^Cam\.([0-9]+)$" flags="REG_ICASE"><description>a
		   camera</description>
		  <example a="7" cpe="x:7:-">cam.7</example>
		  <example _encoding="base64" a="8">Y2FtLjg=</example>
		  <param pos="0" name="cpe" value="x:{a}:{b}"/><param pos="1" name="a"/></fingerprint>
		<fingerprint pattern="first.second" flags="REG_DOT_NEWLINE"><description>lines</description></fingerprint>
		<fingerprint pattern="^only a line$"><description>one line</description></fingerprint>`)))
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Skipped) != 1 || d.Skipped[0].Description != "looks ahead" {
		t.Errorf("skipped %+v", d.Skipped)
	}
	if n, wrong := d.Verify(); n != 2 || len(wrong) != 0 {
		t.Errorf("%d examples: %v", n, wrong)
	}
	for banner, want := range map[string]string{"CAM.9": "a camera", "first\nsecond": "lines", "x\nonly a line\ny": "one line", "": "", "zzz": ""} {
		if r, _ := d.Match(banner); r.Description != want {
			t.Errorf("%q is %q, want %q", banner, r.Description, want)
		}
	}
	for name, c := range map[string]struct{ file, says string }{
		"no XML":               {"{", "recog"},
		"no pattern":           {file(`<fingerprint/>`), "no pattern"},
		"an unknown flag":      {file(`<fingerprint pattern="a" flags="REG_X"/>`), "REG_X"},
		"a group that is none": {file(`<fingerprint pattern="a"><param pos="1" name="b"/></fingerprint>`), "param"},
		"a negative group":     {file(`<fingerprint pattern="a"><param pos="-1" name="b"/></fingerprint>`), "param"},
		"broken base64":        {file(`<fingerprint pattern="a"><example _encoding="base64">?</example></fingerprint>`), "base64"},
		"a file outside":       {file(`<fingerprint pattern="a"><example _filename="/etc/passwd"/></fingerprint>`), "_filename"},
	} {
		if _, err := Parse([]byte(c.file)); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`<fingerprints matches="x"><fingerprint pattern="^(a+)\s(?:b|c){2,}$" flags="REG_ICASE"><description>d</description><example v="a">a bb</example><param pos="1" name="v"/><param pos="0" name="w" value="{v}{w}"/></fingerprint></fingerprints>`), "A BC")
	f.Add([]byte(`<fingerprints><fingerprint pattern="(?=x)"/></fingerprints>`), "x")
	f.Fuzz(func(t *testing.T, b []byte, banner string) {
		d, err := Parse(b)
		if err != nil {
			return
		}
		d.Verify()
		if r, ok := d.Match(banner); ok {
			for _, f := range d.fingerprints {
				if !strings.Contains(strings.ToLower(banner[:min(len(banner), maxBanner)]), f.needs) {
					if _, matches := f.match(banner[:min(len(banner), maxBanner)]); matches && isASCII(banner) {
						t.Errorf("%q matches %q, which was said to need %q", banner, f.expression, f.needs)
					}
				}
			}
			_ = r.Device()
		}
	})
}

func FuzzHints(f *testing.F) {
	for _, b := range banners {
		f.Add(b.on, "Hikvision-Webs")
	}
	f.Add("ssh.banner", "SSH-2.0-")
	f.Fuzz(func(t *testing.T, on, value string) {
		for _, m := range hints(on, value) {
			if m.Strength != attest.C1 || m.Entity == "" || m.Says == "" {
				t.Errorf("%+v", m)
			}
		}
	})
}

func isASCII(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r >= 128 }) < 0
}

func BenchmarkHints(b *testing.B) {
	seen := []fingerprint.Observation{
		{On: "http.server", Value: "nothing that anybody knows"}, {On: "http.title", Value: "Northgate Security"}, {On: "http.realm", Value: "IP Camera(A0001)"},
		{On: "tls.subject", Value: "CN=camera.example"}, {On: "rtsp.server", Value: "Rtsp Server/3.0"}, {On: "snmp.sysdescr", Value: "Linux camera 4.9.37 armv7l"},
	}
	b.ReportAllocs()
	for b.Loop() {
		Hints(seen)
	}
}
