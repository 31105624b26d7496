package format_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"testing"

	"assay/firmware"
)

// of this package; file systems have their own tests.
func ownFormats(t testing.TB) []string {
	var names []string
	for _, f := range firmware.Formats() {
		if f.Source == "" {
			t.Errorf("format %s does not say where its layout is specified", f.Name)
		}
		switch f.Name {
		case "squashfs", "cpio", "ubifs", "jffs2", "cramfs", "romfs":
		default:
			names = append(names, f.Name)
		}
	}
	return names
}

func TestEachFormatHasASampleThatIsRecognised(t *testing.T) {
	for _, name := range ownFormats(t) {
		s, ok := samples[name]
		if !ok {
			t.Errorf("format %s has no sample", name)
			continue
		}
		t.Run(name, func(t *testing.T) {
			b := s.make(t)
			img := open(t, b)
			r := first(img, name)
			if r == nil {
				t.Fatalf("not found in its sample: %v", outline(img))
			}
			if top := img.Regions[0]; top.Size != int64(len(b)) || top.State != s.want || top.Role != s.role {
				t.Fatalf("%s of %d bytes is %s, %q; want %d, %s, %q (%v)", top.Format, top.Size, top.State, top.Role, len(b), s.want, s.role, top.Problems)
			}
			if len(r.Problems) > 0 {
				t.Fatalf("problems in a sound sample: %q", r.Problems)
			}
		})
	}
}

func TestEachFormatHasAFuzzTarget(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), "fuzz_test.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	fuzzed := map[string]bool{}
	ast.Inspect(f, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || len(call.Args) != 2 {
			return true
		}
		if id, ok := call.Fun.(*ast.Ident); ok && id.Name == "fuzzFormat" {
			if lit, ok := call.Args[1].(*ast.BasicLit); ok {
				name, _ := strconv.Unquote(lit.Value)
				fuzzed[name] = true
			}
		}
		return true
	})
	for _, name := range ownFormats(t) {
		if !fuzzed[name] {
			t.Errorf("format %s has no fuzz target", name)
		}
	}
}
