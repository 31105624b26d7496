// Package house holds the rules of the house (docs/architecture.md): which room
// may import which.
package house

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

// rooms are listed from the top of the house down. A package may import only
// from rooms below its own, or from its own room where same says so.
var rooms = []struct {
	prefix string
	floor  int
	same   bool // packages of this room may import each other
}{
	{"assay/cmd/", 60, false},
	{"assay/attest/station", 50, false},
	{"assay/attest/register", 45, false},
	{"assay/attest/permit", 40, false},
	{"assay/attest/appraise", 40, false},
	{"assay/attest/collect", 35, false},
	{"assay/attest/reference", 32, false},
	{"assay/attest/provenance", 30, false},
	{"assay/attest/analysis", 25, false},
	{"assay/attest/entity", 15, false},
	{"assay/attest/internal/proof", 5, false},
	{"assay/attest", 10, false},
	{"assay/devices", 20, true},
	{"assay/firmware", 20, true},
	{"assay/internal/", 0, true}, // tools without knowledge of cameras, and the tests' own
}

func room(pkg string) (floor int, prefix string, same, ok bool) {
	best := ""
	for _, r := range rooms {
		if (pkg == strings.TrimSuffix(r.prefix, "/") || strings.HasPrefix(pkg, strings.TrimSuffix(r.prefix, "/")+"/")) && len(r.prefix) > len(best) {
			floor, prefix, same, ok, best = r.floor, r.prefix, r.same, true, r.prefix
		}
	}
	return
}

type pkg struct {
	ImportPath string
	Imports    []string
}

func packages(t *testing.T) []pkg {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "assay/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

func TestImportsRunDownward(t *testing.T) {
	for _, p := range packages(t) {
		floor, prefix, same, ok := room(p.ImportPath)
		if !ok {
			t.Errorf("%s is in no room: add it to the list, and to docs/architecture.md", p.ImportPath)
			continue
		}
		for _, i := range p.Imports {
			if !strings.HasPrefix(i, "assay/") {
				continue
			}
			to, toPrefix, _, ok := room(i)
			if !ok {
				t.Errorf("%s imports %s, which is in no room", p.ImportPath, i)
				continue
			}
			if prefix == toPrefix && same {
				continue
			}
			if to >= floor {
				t.Errorf("%s (floor %d) must not import %s (floor %d)", p.ImportPath, floor, i, to)
			}
		}
	}
}

func TestFirmwareImportsNothingOfOursButItself(t *testing.T) {
	for _, p := range packages(t) {
		if !strings.HasPrefix(p.ImportPath, "assay/firmware") {
			continue
		}
		for _, i := range p.Imports {
			if strings.HasPrefix(i, "assay/") && !strings.HasPrefix(i, "assay/firmware") {
				t.Errorf("%s imports %s: the firmware library must be usable alone", p.ImportPath, i)
			}
		}
	}
}

func TestDevicesImportTheVocabularyOnly(t *testing.T) {
	for _, p := range packages(t) {
		if !strings.HasPrefix(p.ImportPath, "assay/devices") {
			continue
		}
		for _, i := range p.Imports {
			if strings.HasPrefix(i, "assay/") && !strings.HasPrefix(i, "assay/devices") && i != "assay/attest" && !strings.HasPrefix(i, "assay/internal/") {
				t.Errorf("%s imports %s", p.ImportPath, i)
			}
		}
	}
}

// Peers are programs that we did not write and prove ourselves against; their
// Go modules are never linked in.
func TestPeersAreNotLinked(t *testing.T) {
	for _, p := range packages(t) {
		for _, i := range p.Imports {
			if strings.HasPrefix(i, "github.com/sigstore/cosign") || strings.HasPrefix(i, "github.com/sigstore/sigstore-go") {
				t.Errorf("%s imports %s", p.ImportPath, i)
			}
		}
	}
}
