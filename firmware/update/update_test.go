package update_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"assay/firmware"
	_ "assay/firmware/filesystem"
	_ "assay/firmware/format"
	"assay/firmware/internal/formattest"
	_ "assay/firmware/update"
	"assay/internal/peer"
)

func TestEachFormatIsRecognisedAndSurvivesItsEnemies(t *testing.T) {
	formattest.Check(t, "assay/firmware/update", samples)
}

var samples = map[string]formattest.Sample{
	"rauc": {Make: func(t testing.TB) []byte { return makeRAUC(t, "plain", []byte("a root file system")) }, State: firmware.Proven, Role: firmware.RoleContainer, Fuzz: "FuzzRAUC"},
}

func fuzz(f *testing.F, name string) { formattest.Fuzz(f, samples[name].Make) }

func FuzzRAUC(f *testing.F) { fuzz(f, "rauc") }

// The shared sample collection lies beside a checkout, or not at all.
const corpus = "../../../shared/corpus/firmware/format"

func sampleOf(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(corpus, name))
	if err != nil {
		t.Skipf("no sample collection at %s", corpus)
	}
	return b
}

// run runs a program in a directory.
func run(t testing.TB, dir, program, pkg string, args ...string) {
	t.Helper()
	cmd := exec.Command(peer.Need(t, program, pkg), args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", program, args, err, out)
	}
}

func write(t testing.TB, dir, name string, b []byte) string {
	t.Helper()
	p := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return p
}

func read(t testing.TB, elem ...string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(elem...))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// makeKey makes a throw-away key and certificate in a directory.
func makeKey(t testing.TB, dir string) {
	t.Helper()
	run(t, dir, "openssl", "openssl", "req", "-batch", "-new", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "cert.pem", "-subj", "/CN=update test")
}
