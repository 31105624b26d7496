package fingerprint

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"assay/attest"
)

// Parse itself runs every example; this keeps what it ran visible by name.
func TestEveryRuleHoldsItsExamples(t *testing.T) {
	for i := range Embedded().rules {
		rule := &Embedded().rules[i]
		t.Run(rule.ID, func(t *testing.T) {
			if len(rule.Counterexamples) == 0 {
				t.Error("no counterexample: what must it not be taken for?")
			}
			for _, on := range rule.On {
				if rule.Part {
					continue
				}
				for _, x := range rule.Examples {
					if !Embedded().makes(rule.ID, []Seen{{on, x}}) {
						t.Errorf("%s = %q makes no mark", on, x)
					}
				}
				for _, x := range rule.Counterexamples {
					if Embedded().makes(rule.ID, []Seen{{on, x}}) {
						t.Errorf("%s = %q makes a mark", on, x)
					}
				}
			}
		})
	}
}

func TestEveryEntityIsInTheEntityData(t *testing.T) {
	b, err := os.ReadFile("../../attest/entity/data/entities.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Entities []struct{ ID string }
	}
	if err := yaml.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, e := range file.Entities {
		known[e.ID] = true
	}
	for _, id := range Embedded().Entities() {
		if !known[id] {
			t.Errorf("rules name entity %q, which the entity data does not have", id)
		}
	}
}

func TestMatch(t *testing.T) {
	relabelled := []Observation{
		{On: "onvif.manufacturer", Value: "Northgate Security", Source: "onvif GetDeviceInformation Manufacturer"},
		{On: "isapi.namespace", Value: "http://www.std-cgi.com/ver20/XMLSchema", Source: "isapi /ISAPI/System/deviceInfo xmlns", Raw: "sha256:aa"},
		{On: "serial", Value: "NG-B412020190314CCRR000000001WCVU", Source: "isapi /ISAPI/System/deviceInfo serialNumber"},
		{On: "serial", Value: "NG-B412020190314CCRR000000001WCVU", Source: "onvif GetDeviceInformation SerialNumber"},
	}
	marks := Embedded().Match(relabelled)
	var rules []string
	for _, m := range marks {
		rules = append(rules, m.Rule+" "+m.Strength.String())
	}
	want := []string{"isapi-namespace-neutral c1", "hikvision-serial c1", "hikvision-namespace-and-serial c2", "hikvision-two-tells c2"}
	if !slices.Equal(rules, want) {
		t.Fatalf("marks %v, want %v", rules, want)
	}
	together := marks[2]
	if together.Entity != "hikvision" || together.Raw != "sha256:aa" || !strings.Contains(together.Source, "; isapi") || together.Channel != "" {
		t.Errorf("mark of two rules is %+v", together)
	}
}

// Parse itself refuses rules that break one; here each is named, and no more
// than the hints that are said aloud may be left.
func TestFalseTellsAccuseNobody(t *testing.T) {
	_, _, tells := Embedded().All()
	for _, f := range tells {
		t.Run(f.ID, func(t *testing.T) {
			for i, x := range f.Examples {
				for _, m := range Embedded().Match(observations(x)) {
					if slices.Contains(f.LooksLike, m.Entity) || m.Strength > attest.C1 {
						t.Errorf("example %d makes mark %s (%s) of %s", i+1, m.Rule, m.Strength, m.Entity)
					}
				}
			}
		})
	}
	for _, o := range []Observation{
		{On: "model", Value: "DS-2CD2042WD-I"},
		{On: "serial", Value: "210235"},
		{On: "snmp.sysobjectid", Value: ".1.3.6.1.4.1.8072.3.2.10"}, // net-snmp
		{On: "ssh.banner", Value: "SSH-2.0-dropbear_2022.83"},
	} {
		if marks := Embedded().Match([]Observation{o}); len(marks) != 0 {
			t.Errorf("%s = %q makes mark %s", o.On, o.Value, marks[0].Rule)
		}
	}
}

// What one ONVIF answer says is one witness, however many tells are in it.
func TestAnONVIFProxyDoesNotDecide(t *testing.T) {
	for _, m := range Embedded().Match([]Observation{
		{On: "onvif.manufacturer", Value: "H264", Source: "onvif GetDeviceInformation Manufacturer"},
		{On: "version", Value: "2.800.0000016.0.R", Source: "onvif GetDeviceInformation FirmwareVersion"},
		{On: "version", Value: "V5.00.R02.00030747.10010.349f17", Source: "onvif GetDeviceInformation FirmwareVersion"},
		{On: "serial", Value: "4K00000PAG00001", Source: "onvif GetDeviceInformation SerialNumber"},
	}) {
		if m.Strength > attest.C1 {
			t.Errorf("%s is %s", m.Rule, m.Strength)
		}
	}
}

// A namespace is easily imitated: alone it hints.
func TestANamespaceAloneDoesNotDecide(t *testing.T) {
	for _, m := range Embedded().Match([]Observation{{On: "isapi.namespace", Value: "http://www.hikvision.com/ver20/XMLSchema"}, {On: "xml.namespace", Value: "http://www.hikvision.com/ver20/XMLSchema"}}) {
		if m.Strength > attest.C1 {
			t.Errorf("%s is %s", m.Rule, m.Strength)
		}
	}
}

// Who observes must use the names that rules look at: a name that is written
// otherwise is a tell that is never seen.
func TestWhatTheChannelsObserveIsAPlace(t *testing.T) {
	call := regexp.MustCompile(`(?:[oO]bserve\([^"\n]*|\bOn: )"([a-z0-9]+(?:\.[A-Za-z0-9-]+)?)"`)
	found := 0
	for _, dir := range []string{"../network", "../console", "../console/uboot", "../console/shell", "../console/bootlog"} {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v, %d files", dir, err, len(files))
		}
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range call.FindAllStringSubmatch(string(b), -1) {
				found++
				if !knownPlace(m[1]) {
					t.Errorf("%s observes on %q, which is not in places.go", name, m[1])
				}
			}
		}
	}
	if found < 20 {
		t.Errorf("only %d observations found: is the expression still right?", found)
	}
}

func TestParseRefuses(t *testing.T) {
	rule := func(change func(*Rule)) string {
		r := Rule{ID: "x", On: []string{"serial"}, Match: "^a$", Entity: "axis", Subject: attest.SubjectUnit, Strength: attest.C1,
			Says: "s", Source: "s", Examples: []string{"a"}, Counterexamples: []string{"b"}}
		change(&r)
		b, err := yaml.Marshal(map[string]any{"schema": Schema, "date": "2026-11-23", "rules": []Rule{r}})
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	if _, err := Parse([]byte(rule(func(*Rule) {}))); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ file, says string }{
		"an empty file":                             {"", "empty file"},
		"another schema":                            {"schema: x", "schema"},
		"an unknown field":                          {"schema: " + Schema + "\nweight: 3", "weight"},
		"an expression that does not compile":       {rule(func(r *Rule) { r.Match = "(" }), "match"},
		"an expression that matches nothing":        {rule(func(r *Rule) { r.Match = "a*" }), "empty string"},
		"an example that does not match":            {rule(func(r *Rule) { r.Examples = []string{"z"} }), `example "z"`},
		"a counterexample that matches":             {rule(func(r *Rule) { r.Counterexamples = []string{"a"} }), `counterexample "a"`},
		"a string that claims to prove":             {rule(func(r *Rule) { r.Strength = attest.C3 }), "proves nothing"},
		"a rule that looks nowhere":                 {rule(func(r *Rule) { r.On = []string{"rtsp.Server"} }), `no place "rtsp.Server"`},
		"a part with a strength":                    {rule(func(r *Rule) { r.Part = true }), "no strength"},
		"a rule that a false tell breaks":           {rule(func(*Rule) {}) + "false_tells: [{id: f, looks_like: [axis], says: s, source: s, examples: [[{on: serial, value: a}]]}]\n", "makes mark x of axis"},
		"a rule that does not say where from":       {rule(func(r *Rule) { r.Source = "" }), "source"},
		"two rules with the same id":                {strings.Replace(rule(func(*Rule) {}), "rules:\n", "rules:\n    - {id: x, \"on\": [serial], match: b, entity: axis, subject: unit, strength: c1, says: s, source: s, examples: [b]}\n", 1), "twice"},
		"a combination of rules that are not there": {"schema: " + Schema + "\ndate: d\ntogether: [{id: t, among: [nobody, none], needs: 2}]", "no rule"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Parse([]byte(c.file)); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %v does not say %q", err, c.says)
			}
		})
	}
}
