package network

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the table of docs/network.md")

const (
	networkDoc = "../../docs/network.md"
	tableBegin = "<!-- requests: written by go test ./devices/network -update -->\n"
	tableEnd   = "<!-- end of requests -->\n"
)

// requestTable is the allowlist as people read it.
func requestTable() string {
	var b strings.Builder
	b.WriteString("| protocol | of | kept | request |\n|---|---|---|---|\n")
	for _, p := range protocols {
		maker, kept := p.maker, ""
		if maker == "" {
			maker = "anybody"
		}
		if p.kept {
			kept = "yes"
		}
		for _, r := range p.requests {
			what := r.method + " " + r.uri
			switch {
			case r.operation != "":
				what += " " + r.operation
			case r.body != "":
				what += " " + r.body
			}
			fmt.Fprintf(&b, "| %s | %s | %s | `%s` |\n", p.name, maker, kept, what)
		}
		for _, m := range p.messages {
			fmt.Fprintf(&b, "| %s (%s) | %s | %s | `%s` |\n", p.name, m.transport, maker, kept, m.text)
		}
	}
	return b.String()
}

func TestDocumentNamesEveryRequest(t *testing.T) {
	raw, err := os.ReadFile(networkDoc)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(raw), tableBegin)
	table, tail, ok2 := strings.Cut(rest, tableEnd)
	if !ok || !ok2 {
		t.Fatal("docs/network.md has no table of requests")
	}
	if *update {
		if err := os.WriteFile(networkDoc, []byte(head+tableBegin+requestTable()+tableEnd+tail), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if table != requestTable() {
		t.Error("docs/network.md is not what the protocols say: go test ./devices/network -run Document -update rewrites it")
	}
	if want := fmt.Sprintf("An unknown unit gets %d requests", unknownRequests); !strings.Contains(head, want) {
		t.Errorf("docs/network.md does not say %q", want)
	}
}
