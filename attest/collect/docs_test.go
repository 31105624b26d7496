package collect

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"assay/devices/fingerprint"
	"assay/devices/fingerprint/recog"
)

var update = flag.Bool("update", false, "rewrite docs/attribution.md")

const (
	attributionDoc = "../../docs/attribution.md"
	generated      = "<!-- generated: do not edit below -->\n"
)

// TestAttributionIsDocumented holds the tables of docs/attribution.md to the
// rules, grammars and contradictions that the program has.
func TestAttributionIsDocumented(t *testing.T) {
	b, err := os.ReadFile(attributionDoc)
	if err != nil {
		t.Fatal(err)
	}
	head, _, ok := strings.Cut(string(b), generated)
	if !ok {
		t.Fatalf("%s has no line %q", attributionDoc, generated)
	}
	want := head + generated + attributionTables()
	if want == string(b) {
		return
	}
	if !*update {
		t.Fatalf("docs/attribution.md is not what the rules say: go test ./attest/collect -run Attribution -update rewrites it")
	}
	if err := os.WriteFile(attributionDoc, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}

func attributionTables() string {
	var w strings.Builder
	row := func(cells ...string) {
		for i, c := range cells {
			cells[i] = strings.ReplaceAll(strings.Join(strings.Fields(c), " "), "|", `\|`)
		}
		fmt.Fprintf(&w, "| %s |\n", strings.Join(cells, " | "))
	}
	table := func(title string, columns ...string) {
		fmt.Fprintf(&w, "\n## %s\n\n", title)
		row(columns...)
		fmt.Fprintf(&w, "|%s\n", strings.Repeat("---|", len(columns)))
	}
	rules, together, tells := fingerprint.Embedded().All()
	table("Rules", "rule", "looks at", "names", "grade", "what was seen", "source")
	for _, r := range rules {
		grade := "part"
		if !r.Part {
			grade = r.Strength.String()
		}
		if r.Grammar {
			grade += ", grammar"
		}
		row(r.ID, strings.Join(r.On, ", "), r.Entity+" ("+string(r.Subject)+")", grade, r.Says, r.Source)
	}
	table("Combinations", "rule", "needs", "names", "grade", "what was seen")
	for _, r := range together {
		row(r.ID, fmt.Sprintf("%d of %s, in different places", r.Needs, strings.Join(r.Among, ", ")), r.Entity+" ("+string(r.Subject)+")", r.Strength.String(), r.Says)
	}
	table("False tells", "tell", "looks like", "and is not, because", "source")
	for _, f := range tells {
		row(f.ID, strings.Join(f.LooksLike, ", "), f.Says, f.Source)
	}
	table("Contradictions", "rule", "the two sides")
	for _, r := range ContradictionRules() {
		row(r.ID, r.Says)
	}
	table("Grammars", "grammar", "looks at", "what it says", "source")
	for _, g := range fingerprint.Grammars() {
		row(g.ID, strings.Join(g.On, ", "), g.Says, g.Source)
	}
	table("Corrections of recog", "file", "its label", "maker", "why", "source")
	for _, c := range recog.Corrections() {
		row(c.File, c.Description, c.Entity, c.Why, c.Source)
	}
	table("Places", "place", "carries")
	for _, p := range fingerprint.Places() {
		row(p.Name, p.Carries)
	}
	return w.String()
}
