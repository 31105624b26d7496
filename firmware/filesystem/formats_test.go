//go:build linux

package filesystem_test

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"assay/firmware"
)

// samples are sound images by the name of their format, with the name of the
// target that fuzzes it.
var samples = map[string]struct {
	fuzz string
	make func(t testing.TB) []byte
}{
	"squashfs": {"FuzzSquashFS", func(testing.TB) []byte { return small() }},
	"cpio":     {"FuzzCpio", func(t testing.TB) []byte { return cpio(t, littleTree(t), "newc") }},
	"ubifs":    {"FuzzUBIFS", func(t testing.TB) []byte { return mkfsUBIFS(t, littleTree(t), smallPages...) }},
	"cramfs":   {"FuzzCramFS", func(testing.TB) []byte { return smallCramFS(binary.LittleEndian) }},
	"romfs":    {"FuzzROMFS", func(testing.TB) []byte { return smallROMFS() }},
	"jffs2":    {"FuzzJFFS2", func(testing.TB) []byte { return handmade(binary.LittleEndian) }},
}

func TestEachFileSystemHasASampleThatIsProvenAndAFuzzTarget(t *testing.T) {
	var tests strings.Builder
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		code, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		tests.Write(code)
	}
	for _, f := range firmware.Formats() {
		// Tests of a file system inside a container import package format.
		if f.Parse == nil || !strings.HasPrefix(runtime.FuncForPC(reflect.ValueOf(f.Parse).Pointer()).Name(), "assay/firmware/filesystem.") {
			continue
		}
		t.Run(f.Name, func(t *testing.T) {
			s, ok := samples[f.Name]
			if !ok {
				t.Fatal("there is no sample")
			}
			if !strings.Contains(tests.String(), "\nfunc "+s.fuzz+"(") {
				t.Errorf("there is no %s", s.fuzz)
			}
			if f.Source == "" {
				t.Error("it does not say where its layout is specified")
			}
			r := analyse(t, s.make(t)).Regions[0]
			if r.Format != f.Name || r.State != firmware.Proven || r.FS == nil || len(r.Problems) > 0 {
				t.Errorf("the sample is %q, %s: %q", r.Format, r.State, r.Problems)
			}
		})
	}
}
