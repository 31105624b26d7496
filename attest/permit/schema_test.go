package permit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"assay/attest"
)

func TestThePublishedSchemaIsTheEmbeddedOne(t *testing.T) {
	published, err := os.ReadFile("../../docs/schema/permit-v1.json")
	if err != nil || !bytes.Equal(published, Schema) {
		t.Errorf("docs/schema/permit-v1.json differs from attest/permit/permit-v1.json, of which it is a copy: %v", err)
	}
}

func TestThePredicateFollowsItsSchema(t *testing.T) {
	schema := parseSchema(t)
	key := newKey(t, ECDSAP256)
	full := sampleResult()
	full.Verdict = attest.Inconclusive
	full.Unit.DeviceKeys = []attest.Digest{attest.DigestOf(nil)}
	full.Unit.Images = []attest.Digest{attest.DigestOf(nil)}
	full.Next = []string{"read the flash"}
	full.Reasons = append(full.Reasons, attest.Reason{Rule: "r", Effect: attest.EffectHold, Text: "t", Citation: "c", Next: "n"})
	bare := sampleResult()
	bare.Parameters, bare.Data, bare.Reasons, bare.Grades, bare.Firmware, bare.Limits = nil, nil, nil, nil, nil, nil
	for name, r := range map[string]attest.Result{"a full one": full, "a bare one": bare, "the sample": sampleResult()} {
		p, err := Issue(r, sampleOptions(key))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.check(schema, asJSON(t, p.Predicate), "$"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTheSchemaKnowsEveryFieldOfThePredicate(t *testing.T) {
	got := parseSchema(t).fields()
	if want := fieldsOf(reflect.TypeFor[Predicate]()); !slices.Equal(got, want) {
		t.Errorf("schema has %v, the predicate %v", got, want)
	}
	unit := parseSchema(t).Defs["unit"]
	if want := fieldsOf(reflect.TypeFor[attest.Unit]()); !slices.Equal(unit.fields(), want) {
		t.Errorf("schema has %v, the unit %v", unit.fields(), want)
	}
}

func TestTheSchemaRefusesWhatCheckRefuses(t *testing.T) {
	schema := parseSchema(t)
	sample := asJSON(t, samplePermit(t, newKey(t, Ed25519)).Predicate)
	for name, spoil := range map[string]func(map[string]any){
		"an unknown field":               func(p map[string]any) { p["note"] = 1 },
		"a missing field":                func(p map[string]any) { delete(p, "notAfter") },
		"an unknown verdict":             func(p map[string]any) { p["verdict"] = "tolerated" },
		"a newer version":                func(p map[string]any) { p["schemaVersion"] = 2.0 },
		"a digest of another form":       func(p map[string]any) { p["evidence"] = "sha256:00" },
		"a time with a fraction":         func(p map[string]any) { p["issued"] = "2026-11-23T09:30:00.5Z" },
		"a permit for nobody":            func(p map[string]any) { p["identified"] = false },
		"a list that is null":            func(p map[string]any) { p["limits"] = nil },
		"an unknown field in the unit":   func(p map[string]any) { p["unit"].(map[string]any)["x"] = 1 },
		"a MAC address in another form":  func(p map[string]any) { p["unit"].(map[string]any)["macs"] = []any{"00005E005301"} },
		"a station without a name":       func(p map[string]any) { p["station"].(map[string]any)["name"] = "" },
		"a trust claim beyond its range": func(p map[string]any) { p["ar4si"].(map[string]any)["hardware"] = 300.0 },
	} {
		p := asJSON(t, sample)
		spoil(p.(map[string]any))
		if schema.check(schema, p, "$") == nil {
			t.Errorf("%s passes", name)
		}
	}
}

// jsonSchema is the part of JSON Schema that ours uses. The test reads it
// strictly, so that a keyword that it cannot check cannot slip in.
type jsonSchema struct {
	Schema               string                 `json:"$schema"`
	ID                   string                 `json:"$id"`
	Ref                  string                 `json:"$ref"`
	Title                string                 `json:"title"`
	Description          string                 `json:"description"`
	Type                 string                 `json:"type"`
	Const                any                    `json:"const"`
	Enum                 []any                  `json:"enum"`
	Pattern              string                 `json:"pattern"`
	MinLength            int                    `json:"minLength"`
	MinItems             int                    `json:"minItems"`
	UniqueItems          bool                   `json:"uniqueItems"`
	Minimum              *float64               `json:"minimum"`
	Maximum              *float64               `json:"maximum"`
	Items                *jsonSchema            `json:"items"`
	Properties           map[string]*jsonSchema `json:"properties"`
	Required             []string               `json:"required"`
	AdditionalProperties *bool                  `json:"additionalProperties"`
	AllOf                []*jsonSchema          `json:"allOf"`
	If                   *jsonSchema            `json:"if"`
	Then                 *jsonSchema            `json:"then"`
	Defs                 map[string]*jsonSchema `json:"$defs"`
}

func parseSchema(t *testing.T) *jsonSchema {
	t.Helper()
	var s jsonSchema
	d := json.NewDecoder(bytes.NewReader(Schema))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		t.Fatal(err)
	}
	return &s
}

func (s *jsonSchema) fields() []string {
	var names []string
	for name := range s.Properties {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func fieldsOf(t reflect.Type) []string {
	var names []string
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func asJSON(t *testing.T, v any) any {
	t.Helper()
	b, err := attest.Canonical(v)
	if err != nil {
		t.Fatal(err)
	}
	var out any
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func (s *jsonSchema) check(root *jsonSchema, v any, at string) error {
	if s.Ref != "" {
		return root.Defs[strings.TrimPrefix(s.Ref, "#/$defs/")].check(root, v, at)
	}
	if s.Const != nil && s.Const != v || s.Enum != nil && !slices.Contains(s.Enum, v) {
		return fmt.Errorf("%s: %v is not allowed", at, v)
	}
	for _, all := range s.AllOf {
		if all.If.check(root, v, at) == nil {
			if err := all.Then.check(root, v, at); err != nil {
				return err
			}
		}
	}
	switch v := v.(type) {
	case map[string]any:
		return s.checkObject(root, v, at)
	case []any:
		return s.checkArray(root, v, at)
	case string:
		if s.Type != "" && s.Type != "string" || len(v) < s.MinLength || s.Pattern != "" && !regexp.MustCompile(s.Pattern).MatchString(v) {
			return fmt.Errorf("%s: %q", at, v)
		}
	case float64:
		if s.Type != "" && s.Type != "integer" || s.Minimum != nil && v < *s.Minimum || s.Maximum != nil && v > *s.Maximum {
			return fmt.Errorf("%s: %v", at, v)
		}
	case bool:
		if s.Type != "" && s.Type != "boolean" {
			return fmt.Errorf("%s: %v", at, v)
		}
	case nil:
		return fmt.Errorf("%s: null", at)
	}
	return nil
}

func (s *jsonSchema) checkObject(root *jsonSchema, v map[string]any, at string) error {
	if s.Type != "" && s.Type != "object" {
		return fmt.Errorf("%s: an object", at)
	}
	for _, name := range s.Required {
		if _, ok := v[name]; !ok {
			return fmt.Errorf("%s: no %s", at, name)
		}
	}
	for name, value := range v {
		p := s.Properties[name]
		if p == nil && s.AdditionalProperties != nil {
			return fmt.Errorf("%s: unknown %s", at, name)
		}
		if p == nil {
			continue
		}
		if err := p.check(root, value, at+"."+name); err != nil {
			return err
		}
	}
	return nil
}

func (s *jsonSchema) checkArray(root *jsonSchema, v []any, at string) error {
	if s.Type != "" && s.Type != "array" || len(v) < s.MinItems {
		return fmt.Errorf("%s: a list of %d", at, len(v))
	}
	for i, value := range v {
		if s.UniqueItems && slices.Contains(v[:i], value) {
			return fmt.Errorf("%s: %v twice", at, value)
		}
		if err := s.Items.check(root, value, fmt.Sprintf("%s[%d]", at, i)); err != nil {
			return err
		}
	}
	return nil
}
