package entity

import (
	"strings"
	"testing"
	"testing/fstest"
)

func load(t *testing.T) *Data {
	t.Helper()
	d, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestNamesAsLabelsSpellThem(t *testing.T) {
	d := load(t)
	for name, want := range map[string]string{
		"AXIS":                   "axis",
		"Axis Communications AB": "axis",
		"axis communications":    "axis",
		"HIKVISION":              "hikvision",
		"Hangzhou Hikvision Digital Technology Co.,Ltd.": "hikvision",
		"海康威视":                 "hikvision",
		"EZVIZ":                "hikvision",
		"Dahua":                "dahua",
		"Uniview":              "uniview",
		"Hanwha Vision":        "hanwha",
		"TP-Link Systems Inc.": "tplink_systems",
		"TP-LINK Technologies": "tplink_technologies",
		"Lorex":                "lorex",
		"i-PRO":                "ipro",
	} {
		e := d.Lookup(name)
		if e == nil || e.ID != want && !(name == "EZVIZ" && e.ID == "ezviz") {
			t.Errorf("%q is %v, want %s", name, e, want)
		}
	}
	for _, unknown := range []string{"", "Northgate Security", "Communications AB", "Technology", "H264", "General", "TP-Link"} {
		if e := d.Lookup(unknown); e != nil {
			t.Errorf("%q must not be anybody, is %s", unknown, e.ID)
		}
	}
}

func TestPrefixesByTheirRegistrant(t *testing.T) {
	d := load(t)
	for mac, want := range map[string]string{
		"AC:CC:8E:00:00:01": "axis",
		"accc8e000001":      "axis",
		"84-8A-59-00-00-01": "hisilicon",
		"EC:71:DB:00:00:01": "reolink",
	} {
		if r, ok := d.OUI(mac); !ok || r.Entity != want {
			t.Errorf("%s is %+v, want %s", mac, r, want)
		}
	}
	for _, mac := range []string{"00:00:5E:00:53:01", "", "12:34", "not a mac at all"} {
		if r, ok := d.OUI(mac); ok {
			t.Errorf("%q must not be registered: %+v", mac, r)
		}
	}
}

func TestUnverifiedFactsCarryTheMark(t *testing.T) {
	d := load(t)
	if !d.Get("xiongmai").Unverified {
		t.Error("xiongmai's seat has no source and must be marked")
	}
	if d.Get("hikvision").Unverified || len(d.Get("hikvision").Listings) == 0 {
		t.Error("hikvision is sourced and listed")
	}
	if d.Get("tplink_systems").Contested == nil {
		t.Error("TP-Link Systems is contested")
	}
}

func TestAFolderAddsAndReplaces(t *testing.T) {
	d, err := Load(fstest.MapFS{"mine.yaml": {Data: []byte(`
schema: assay.entities/v1
date: "2026-11-01"
sources: {HERE: {title: t, url: u, date: d}}
entities:
- {id: fjordlens, role: maker, names: [{name: Fjordlens AS, source: HERE}], jurisdictions: ["NO"], source: HERE}
- {id: axis, role: maker, names: [{name: Axis Communications AB, source: HERE}], jurisdictions: [XX], source: HERE}
`)}})
	if err != nil {
		t.Fatal(err)
	}
	if e := d.Lookup("Fjordlens AS"); e == nil || e.ID != "fjordlens" {
		t.Fatalf("fjordlens = %v", e)
	}
	if d.Get("axis").Jurisdictions[0] != "XX" {
		t.Fatal("a later file must replace an entity")
	}
	if len(d.Refs()) != 3 {
		t.Fatalf("refs = %+v", d.Refs())
	}
}

func TestBadDataNamesTheFileAndTheEntity(t *testing.T) {
	for text, want := range map[string]string{
		"schema: assay.entities/v9\ndate: x":              "schema",
		"schema: assay.entities/v1":                       "no date",
		"schema: assay.entities/v1\ndate: x\nsurprise: 1": "surprise",
		"schema: assay.entities/v1\ndate: x\nentities: [{id: a, role: maker, jurisdictions: [SE]}]":                                   `entity "a"`,
		"schema: assay.entities/v1\ndate: x\nentities: [{id: a, role: maker, jurisdictions: [SE], unverified: true, parent: nobody}]": "nobody",
		"schema: assay.entities/v1\ndate: x\nentities: [{id: a, role: maker, jurisdictions: [SE], source: S}]":                        `source "S"`,
	} {
		_, err := Load(fstest.MapFS{"bad.yaml": {Data: []byte(text)}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// A prefix of a radio module names who made the module. Its maker may make no
// cameras at all, or be a maker that sells modules too.
func TestMakersOfModulesAreMarked(t *testing.T) {
	d := load(t)
	for _, mac := range []string{"10:5A:17:00:00:01", "0C:8C:24:00:00:01"} { // Tuya, Bilian
		r, ok := d.OUI(mac)
		if !ok {
			t.Errorf("%s is not in the data", mac)
			continue
		}
		if e := d.Get(r.Entity); e == nil || e.Role != "component" && !e.Modules {
			t.Errorf("%s is of %s, which would be taken for the camera's maker", mac, r.Registrant)
		}
	}
	if d.Get("hikvision").Modules {
		t.Error("Hikvision's prefixes are of cameras")
	}
}
