package all_test

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"assay/firmware"
	_ "assay/firmware/all"
)

var update = flag.Bool("update", false, "rewrite docs/formats.md")

const (
	formatsDoc  = "../../docs/formats.md"
	formatsHead = `# Formats

What the firmware analysis reads, one row a format. The table is generated from
the registered formats, each of which is one file or a few in ` + "`firmware/format`" + `,
` + "`firmware/filesystem`, `firmware/update`" + ` or ` + "`firmware/camera`" + `; a test holds it to them, and
` + "`go test ./firmware/all -update`" + ` rewrites it.

Integrity is what in the format tells that bytes are whole. Anyone can compute
it, so it proves no origin, whatever a vendor calls it: neither does an encryption
under a key that is published or comes with every unit. Origin is what a maker's
key could prove; the analysis lists it and does not verify it.

| format | what it is | integrity | origin, and what it is worth | specified in |
|---|---|---|---|---|
`
)

func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }

// table is the document as the registry has it.
func table() string {
	formats := firmware.Formats()
	slices.SortFunc(formats, func(a, b firmware.Format) int { return cmp.Compare(a.Name, b.Name) })
	var b strings.Builder
	b.WriteString(formatsHead)
	for _, f := range formats {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", cell(f.Name), cell(f.About), cell(f.Integrity), cell(f.Authenticity), cell(f.Source))
	}
	return b.String()
}

func TestTheTableOfFormatsIsThatOfTheRegistry(t *testing.T) {
	want := table()
	if *update {
		if err := os.WriteFile(formatsDoc, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	b, err := os.ReadFile(formatsDoc)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.ReplaceAll(string(b), "\r\n", "\n"); got != want {
		t.Errorf("docs/formats.md is not what the formats say: go test ./firmware/all -update rewrites it")
	}
}

func TestEachFormatIsDescribedUnderANameOfItsOwn(t *testing.T) {
	seen := make(map[string]bool)
	for _, f := range firmware.Formats() {
		if f.About == "" || f.Integrity == "" || f.Authenticity == "" || f.Source == "" {
			t.Errorf("%s does not say what it is, what guards it, what that is worth, and where it is specified", f.Name)
		}
		if seen[f.Name] {
			t.Errorf("%s is registered twice", f.Name)
		}
		seen[f.Name] = true
	}
}
