package ports

import (
	"cmp"
	"slices"
	"strings"
	"testing"
)

func TestTheAdaptersAreAsTheirExamplesSay(t *testing.T) {
	entries, err := parseAdapters(adapterData)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if len(e.Examples) == 0 {
			t.Errorf("%s has no example", e.Chip)
		}
		for _, x := range e.Examples {
			a := lookUp(x.ID, x.Serial, cmp.Or(x.System, "linux"))
			if a == nil || a.Chip != e.Chip || len(a.Traps) != x.Traps {
				t.Errorf("%+v of %s is %+v", x, e.Chip, a)
			}
		}
		for _, id := range e.IDs {
			if lookUp(id, "x", "linux") == nil {
				t.Errorf("%s is not found", id)
			}
		}
	}
	if lookUp("ffff:ffff", "", "linux") != nil {
		t.Error("an unknown adapter is known")
	}
}

func TestAdapterDataThatIsWrongIsRefused(t *testing.T) {
	for text, says := range map[string]string{
		"adapters: [{chip: X, ids: ['1A86:7523'], source: s}]":                                        "malformed",
		"adapters: [{chip: X, ids: ['1a86:7523', '1a86:7523'], source: s}]":                           "twice",
		"adapters: [{chip: X, ids: ['1a86:7523']}]":                                                   "lacks",
		"adapters: [{chip: X, ids: ['1a86:7523'], source: s, traps: [{says: beware of the source}]}]": "trap",
		"adapters: 7": "adapters",
	} {
		if _, err := parseAdapters([]byte(text)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestTextOfAnAdapterIsOneLineThatATerminalMayHave(t *testing.T) {
	for in, want := range map[string]string{
		"USB Serial\n":                  "USB Serial",
		"\x1b]0;owned\x07CH340\x1b[31m": "]0;owned CH340 [31m",
		"a\xff\u202eb\u009b6n":          "a? b 6n",
		strings.Repeat("x", 500):        strings.Repeat("x", maxText) + "…",
		"  \t ":                         "",
	} {
		if got := printable(in); got != want {
			t.Errorf("%q is %q, want %q", in, got, want)
		}
	}
}

func FuzzParseAdapters(f *testing.F) {
	f.Add(adapterData)
	f.Add([]byte("adapters: [{chip: X}]"))
	f.Fuzz(func(t *testing.T, b []byte) {
		entries, err := parseAdapters(b)
		if err == nil && slices.ContainsFunc(entries, func(e adapterEntry) bool { return e.Source == "" }) {
			t.Fatal("an entry without a source")
		}
	})
}
