package permit

import (
	"bytes"
	"crypto"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// cosign returns the path of the program that scripts/cosign.sh builds.
func cosign(t testing.TB) string {
	t.Helper()
	peers := os.Getenv("ASSAY_PEERS")
	if peers == "" {
		home, _ := os.UserHomeDir()
		peers = filepath.Join(home, ".cache", "assay-peers")
	}
	path := filepath.Join(peers, "bin", "cosign")
	if _, err := os.Stat(path); err == nil {
		return path
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("cosign is not built: run scripts/cosign.sh")
	}
	t.Skip("cosign is not built: run scripts/cosign.sh")
	return ""
}

// verifyWithCosign runs the command that docs/permit.md gives to third parties.
func verifyWithCosign(t testing.TB, bundle, identity, public []byte) error {
	t.Helper()
	dir := t.TempDir()
	for name, b := range map[string][]byte{BundleFile: bundle, IdentityFile: identity, "station.pub": public} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	program := cosign(t)
	c := exec.Command("sh", "-c", documentedCommand(t))
	c.Dir = dir
	c.Env = append(offline(dir), "PATH="+filepath.Dir(program)+":"+os.Getenv("PATH"))
	out, err := c.CombinedOutput()
	if err == nil && !bytes.Contains(out, []byte("Verified OK")) {
		t.Fatalf("cosign says: %s", out)
	}
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

func documentedCommand(t testing.TB) string {
	t.Helper()
	doc, err := os.ReadFile("../../docs/permit.md")
	if err != nil {
		t.Fatal(err)
	}
	_, command, ok := strings.Cut(string(doc), "```sh\ncosign ")
	command, _, closed := strings.Cut(command, "```")
	if !ok || !closed {
		t.Fatal("docs/permit.md has no cosign command")
	}
	return "cosign " + command
}

// offline is an environment in which nothing can be fetched.
func offline(home string) []string {
	return []string{"HOME=" + home, "HTTPS_PROXY=http://127.0.0.1:1", "HTTP_PROXY=http://127.0.0.1:1", "COSIGN_PASSWORD=correct horse"}
}

func TestStockCosignVerifiesAPermit(t *testing.T) {
	for _, kind := range []KeyKind{ECDSAP256, Ed25519} {
		t.Run(string(kind), func(t *testing.T) {
			dir := t.TempDir()
			if err := WriteKeyPair(dir, "station", newKey(t, kind), []byte("correct horse")); err != nil {
				t.Fatal(err)
			}
			key, pub := loadPair(t, dir, "station")
			p := samplePermit(t, key)
			if err := verifyWithCosign(t, p.Bundle, p.Identity, pub); err != nil {
				t.Error(err)
			}
			if err := verifyWithCosign(t, p.Bundle, append(bytes.Clone(p.Identity), '\n'), pub); err == nil {
				t.Error("cosign passes another identity record")
			}
		})
	}
}

func TestAKeyPairMadeByCosignSignsPermits(t *testing.T) {
	dir := t.TempDir()
	c := exec.Command(cosign(t), "generate-key-pair")
	c.Dir, c.Env = dir, offline(dir)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	key, pub := loadPair(t, dir, "cosign")
	p := samplePermit(t, key)
	if err := verifyWithCosign(t, p.Bundle, p.Identity, pub); err != nil {
		t.Error(err)
	}
}

// TestAKeyThatWeWriteSignsInCosign shows that the encrypted form is cosign's.
func TestAKeyThatWeWriteSignsInCosign(t *testing.T) {
	dir := t.TempDir()
	if err := WriteKeyPair(dir, "station", newKey(t, ECDSAP256), []byte("correct horse")); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(cosign(t), "public-key", "--key", "station.key")
	c.Dir, c.Env = dir, offline(dir)
	out, err := c.Output()
	want, _ := os.ReadFile(filepath.Join(dir, "station.pub"))
	if err != nil || !bytes.Equal(bytes.TrimSpace(out), bytes.TrimSpace(want)) {
		t.Errorf("%v: %s", err, out)
	}
}

// TestCosignRefusesForgeries compares our refusals with those of the stock
// verifier. Where it passes a forgery, that is a limit which docs/permit.md
// names: it does not look into the predicate.
func TestCosignRefusesForgeries(t *testing.T) {
	key := newKey(t, ECDSAP256)
	pub, err := EncodePublic(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	identity := samplePermit(t, key).Identity
	for _, f := range forgeries(t) {
		err := verifyWithCosign(t, f.bundle(t, key), identity, pub)
		if (err == nil) != f.cosign {
			t.Errorf("%s: %v", f.name, err)
		}
	}
}

func loadPair(t *testing.T, dir, name string) (crypto.Signer, []byte) {
	t.Helper()
	file, err := os.ReadFile(filepath.Join(dir, name+".key"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := LoadPrivate(file, func() ([]byte, error) { return []byte("correct horse"), nil })
	if err != nil {
		t.Fatal(err)
	}
	pub, err := os.ReadFile(filepath.Join(dir, name+".pub"))
	if err != nil {
		t.Fatal(err)
	}
	return key, pub
}
