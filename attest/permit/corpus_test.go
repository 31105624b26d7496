package permit

import (
	"crypto"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// corpus holds bundles that another program made, of which the expectations
// with cosign are known. Their predicate is not ours.
const corpus = "../../../shared/corpus/attestation/permit-poc"

func TestBundlesOfAnotherProgramAreReadAsWhatTheyAre(t *testing.T) {
	if _, err := os.Stat(corpus); err != nil {
		t.Skipf("no sample bundles: %v", err)
	}
	keys := map[string][]crypto.PublicKey{}
	for _, name := range []string{"p256", "ed25519", "p384"} {
		k, err := LoadPublic(fromCorpus(t, name+".pub"))
		if err != nil {
			t.Fatal(err)
		}
		keys[name] = k
	}
	for _, c := range []struct {
		bundle string
		want   error
	}{
		// The envelope and its signature hold, so the first to stop them is
		// that they are no permits.
		{"p256", ErrPredicateType},
		{"ed25519", ErrPredicateType},
		{"p256.log", ErrPredicateType},
		{"ed25519.log", ErrPredicateType},
		{"p384", ErrKeyKind},
		{"p384.log", ErrKeyKind},
		{"p256.cert", ErrMaterial},
		{"ed25519.cert", ErrMaterial},
		{"p256.certlog", ErrMaterial},
		{"neg-n2", ErrFields},
		{"neg-n3", ErrSignatureCount},
		{"neg-n10", ErrKeyID},
		// What is wrong with these is their proof of inclusion, which is not
		// looked at yet.
		{"neg-n1", ErrPredicateType},
		{"neg-n4", ErrPredicateType},
		{"neg-n7", ErrPredicateType},
		{"neg-n9", ErrPredicateType},
	} {
		kind, _, _ := strings.Cut(c.bundle, ".")
		if strings.HasPrefix(kind, "neg") {
			kind = "p256"
		}
		_, err := Check(fromCorpus(t, c.bundle+".sigstore.json"), CheckOptions{Keys: keys[kind]})
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v; want %v", c.bundle, err, c.want)
		}
	}
	if _, err := Check(fromCorpus(t, "p256.sigstore.json"), CheckOptions{Keys: keys["ed25519"]}); !errors.Is(err, ErrSignature) {
		t.Errorf("by another key: %v", err)
	}
}

func fromCorpus(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(corpus, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}
