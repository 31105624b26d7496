package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// jsonField checks a field of a document: that it is there, or that it, or one
// of several that the path leads to, has the value. With "!" none may.
func jsonField(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 && len(args) != 3 {
		ts.Fatalf("usage: [!] json FILE PATH [VALUE]")
	}
	doc, err := oneDocument(ts.ReadFile(args[0]))
	if err != nil {
		ts.Fatalf("%s: %v", args[0], err)
	}
	got := pick(doc, args[1])
	found := len(got) > 0
	if len(args) == 3 {
		found = slices.Contains(got, args[2])
	}
	if found == neg {
		ts.Fatalf("%s: %s is %q", args[0], args[1], got)
	}
}

// jsonValue sets a variable to the first value of a field.
func jsonValue(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) == 3, "value NAME FILE PATH")
	doc, err := oneDocument(ts.ReadFile(args[1]))
	ts.Check(err)
	got := pick(doc, args[2])
	if len(got) == 0 {
		ts.Fatalf("%s has no %s", args[1], args[2])
	}
	ts.Setenv(args[0], got[0])
}

// oneDocument reads s, which must be a single JSON document.
func oneDocument(s string) (any, error) {
	d := json.NewDecoder(strings.NewReader(s))
	d.UseNumber()
	var doc any
	if err := d.Decode(&doc); err != nil {
		return nil, fmt.Errorf("not JSON: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("more than one JSON document")
	}
	return doc, nil
}

// pick follows a path of steps with slashes between them: NAME is a field, * is
// every element, and NAME=VALUE those elements whose field has the value. It
// returns the values as text: a string as it is, an array or object as its
// number of elements.
func pick(doc any, path string) []string {
	at := []any{doc}
	for _, step := range strings.Split(path, "/") {
		var next []any
		for _, v := range at {
			next = append(next, follow(v, step)...)
		}
		at = next
	}
	var out []string
	for _, v := range at {
		switch v := v.(type) {
		case []any:
			out = append(out, fmt.Sprint(len(v)))
		case map[string]any:
			out = append(out, fmt.Sprint(len(v)))
		default:
			out = append(out, fmt.Sprint(v))
		}
	}
	return out
}

func follow(v any, step string) []any {
	if object, ok := v.(map[string]any); ok {
		if field, ok := object[step]; ok {
			return []any{field}
		}
		return nil
	}
	array, _ := v.([]any)
	name, value, filter := strings.Cut(step, "=")
	var out []any
	for _, x := range array {
		switch object, _ := x.(map[string]any); {
		case step == "*":
			out = append(out, x)
		case filter && object != nil && fmt.Sprint(object[name]) == value:
			out = append(out, x)
		}
	}
	return out
}
