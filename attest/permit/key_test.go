package permit

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func fixed(passphrase string) func() ([]byte, error) {
	return func() ([]byte, error) { return []byte(passphrase), nil }
}

func TestAKeyPairIsWrittenOnceForItsOwnerOnly(t *testing.T) {
	for _, kind := range []KeyKind{ECDSAP256, Ed25519} {
		dir := filepath.Join(t.TempDir(), "keys")
		key := newKey(t, kind)
		if err := WriteKeyPair(dir, "station", key, []byte("correct horse")); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, "station.key")
		if s, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && s.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", kind, s.Mode(), err)
		}
		file, _ := os.ReadFile(path)
		if !bytes.HasPrefix(file, []byte("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----")) {
			t.Errorf("%s: %s", kind, file)
		}
		back, err := LoadPrivate(file, fixed("correct horse"))
		if err != nil || Fingerprint(back.Public()) != Fingerprint(key.Public()) {
			t.Errorf("%s: %v", kind, err)
		}
		if _, err := LoadPrivate(file, fixed("battery staple")); !errors.Is(err, ErrPassphrase) || strings.Contains(err.Error(), "battery") {
			t.Errorf("%s: a wrong passphrase: %v", kind, err)
		}
		if err := WriteKeyPair(dir, "station", newKey(t, kind), []byte("x")); !errors.Is(err, fs.ErrExist) {
			t.Errorf("%s: overwritten: %v", kind, err)
		}
		if again, _ := os.ReadFile(path); !bytes.Equal(again, file) {
			t.Errorf("%s: the key has changed", kind)
		}
		public, _ := os.ReadFile(filepath.Join(dir, "station.pub"))
		if keys, err := LoadPublic(public); err != nil || len(keys) != 1 || Fingerprint(keys[0]) != Fingerprint(key.Public()) {
			t.Errorf("%s: public key: %v", kind, err)
		}
		if entries, _ := os.ReadDir(dir); len(entries) != 2 {
			t.Errorf("%s: left behind: %v", kind, entries)
		}
	}
}

func TestAPublicKeyAloneIsNotOverwritten(t *testing.T) {
	dir := t.TempDir()
	os.WriteFile(filepath.Join(dir, "station.pub"), []byte("another"), 0o600)
	if err := WriteKeyPair(dir, "station", newKey(t, Ed25519), []byte("x")); !errors.Is(err, fs.ErrExist) {
		t.Error(err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("a private key was left without its public key: %v", entries)
	}
}

func TestAKeyNameIsNotAPath(t *testing.T) {
	for _, name := range []string{"", "../station", "a/b", "/etc/station"} {
		if err := WriteKeyPair(t.TempDir(), name, newKey(t, Ed25519), []byte("x")); err == nil {
			t.Errorf("%q was taken", name)
		}
	}
}

func TestAnEmptyPassphraseMustBeAskedFor(t *testing.T) {
	key := newKey(t, Ed25519)
	for _, empty := range [][]byte{nil, {}} {
		if _, err := EncodePrivate(key, empty); !errors.Is(err, ErrNoPassphrase) {
			t.Error(err)
		}
		file, err := EncodePrivate(key, empty, UnsafeEmptyPassphrase())
		if err != nil {
			t.Fatal(err)
		}
		back, err := LoadPrivate(file, func() ([]byte, error) { return empty, nil })
		if err != nil || Fingerprint(back.Public()) != Fingerprint(key.Public()) {
			t.Error(err)
		}
	}
}

func TestPrivateKeysOfOtherProgramsAreRead(t *testing.T) {
	key := newKey(t, ECDSAP256)
	pkcs8, _ := x509.MarshalPKCS8PrivateKey(key)
	sec1, _ := x509.MarshalECPrivateKey(key.(*ecdsa.PrivateKey))
	encrypted, err := EncodePrivate(key, []byte("correct horse"))
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	for name, file := range map[string]string{
		"PKCS#8":                            block("PRIVATE KEY", pkcs8),
		"SEC 1":                             block("EC PRIVATE KEY", sec1),
		"SEC 1 after OpenSSL's parameters":  block("EC PARAMETERS", []byte{6, 8, 42, 134, 72, 206, 61, 3, 1, 7}) + block("EC PRIVATE KEY", sec1),
		"that of cosign before version 2.0": strings.ReplaceAll(string(encrypted), "SIGSTORE", "COSIGN"),
		"encrypted PKCS#8":                  encryptedPKCS8,
	} {
		got, err := LoadPrivate([]byte(file), fixed("correct horse"))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if name != "encrypted PKCS#8" && Fingerprint(got.Public()) != Fingerprint(key.Public()) {
			t.Errorf("%s: another key", name)
		}
	}
}

func TestPrivateKeysThatCannotSignPermitsAreRefused(t *testing.T) {
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	rsaKey, _ := rsa.GenerateKey(rand.Reader, 2048)
	encode := func(key crypto.PrivateKey) []byte {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	}
	sealed, _ := EncodePrivate(newKey(t, Ed25519), []byte("x"))
	errAsked := errors.New("no terminal")
	for _, c := range []struct {
		name string
		file []byte
		pass func() ([]byte, error)
		want error
	}{
		{"P-384", encode(p384), nil, ErrKeyKind},
		{"RSA", encode(rsaKey), nil, ErrKeyKind},
		{"nothing", nil, nil, nil},
		{"a public key", []byte("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"), nil, nil},
		{"a damaged key", []byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"), nil, nil},
		{"too large a file", make([]byte, maxKeyFile+1), nil, nil},
		{"encrypted, and nobody to ask", sealed, nil, ErrNoPassphrase},
		{"encrypted, and asking fails", sealed, func() ([]byte, error) { return nil, errAsked }, errAsked},
		{"encrypted, and damaged", []byte("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\ne30=\n-----END ENCRYPTED SIGSTORE PRIVATE KEY-----\n"), fixed("x"), ErrPassphrase},
	} {
		_, err := LoadPrivate(c.file, c.pass)
		if err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestAPassphraseIsAskedForOnlyWhereOneIsNeeded(t *testing.T) {
	der, _ := x509.MarshalPKCS8PrivateKey(newKey(t, Ed25519))
	_, err := LoadPrivate(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), func() ([]byte, error) {
		t.Error("asked")
		return nil, nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestSeveralPublicKeysInOneFileAreAllRead(t *testing.T) {
	a, _ := EncodePublic(newKey(t, ECDSAP256).Public())
	b, _ := EncodePublic(newKey(t, Ed25519).Public())
	both := append([]byte("bench 3\n"), append(bytes.Clone(a), append([]byte("bench 4\n"), b...)...)...)
	if keys, err := LoadPublic(both); err != nil || len(keys) != 2 {
		t.Errorf("%d keys, %v", len(keys), err)
	}
	for name, file := range map[string][]byte{
		"nothing":                      nil,
		"text":                         []byte("ssh-ed25519 AAAA"),
		"a private key":                []byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
		"a damaged block":              []byte("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"),
		"a second block that is cut":   both[:len(both)-10],
		"a first block that is broken": bytes.Replace(both, []byte("-----END"), []byte("----END"), 1),
		"too large a file":             make([]byte, maxKeyFile+1),
	} {
		if keys, err := LoadPublic(file); err == nil {
			t.Errorf("%s: %d keys", name, len(keys))
		}
	}
}

func TestAKeyWithoutAPublicFormHasNoFingerprint(t *testing.T) {
	if f := Fingerprint("text"); f != "" {
		t.Error(f)
	}
	if _, err := NewKey("rsa"); !errors.Is(err, ErrKeyKind) {
		t.Error(err)
	}
}

// encryptedPKCS8 was made for this test:
// openssl genpkey -algorithm ED25519 | openssl pkcs8 -topk8 -passout "pass:correct horse"
const encryptedPKCS8 = `-----BEGIN ENCRYPTED PRIVATE KEY-----
MIGbMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAjqnzb7Yuqt/wICCAAw
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEF0BPGYgK5g0be/vUd4/sUUEQL3c
g/8N3God3a2KX9XNRaC4wzU3mFCOEUmUo3yb5QLFgeTI9dDpIlkEwzKQ/+M+W/ZM
cSMuwCy3ZhVs53i+hKw=
-----END ENCRYPTED PRIVATE KEY-----
`
