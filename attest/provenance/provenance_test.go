package provenance

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"

	"assay/attest"
	"assay/firmware"
)

func publicPEM(t testing.TB, k crypto.PublicKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func rsaKey(t testing.TB) []byte {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return publicPEM(t, k.Public())
}

func open(t testing.TB, b []byte) *firmware.Image {
	t.Helper()
	img, err := firmware.Open(context.Background(), bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func sign(t testing.TB, k crypto.Signer, message []byte, opts crypto.SignerOpts) []byte {
	t.Helper()
	digest := sha256.Sum256(message)
	in := digest[:]
	if opts == crypto.Hash(0) {
		in = message
	}
	sig, err := k.Sign(rand.Reader, in, opts)
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

func TestDetachedSignaturesOfEachAlgorithm(t *testing.T) {
	image := bytes.Repeat([]byte("firmware"), 4096)
	rsaKey, _ := rsa.GenerateKey(rand.Reader, 2048)
	ecKey, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	_, edKey, _ := ed25519.GenerateKey(rand.Reader)
	for name, c := range map[string]struct {
		key  crypto.Signer
		opts crypto.SignerOpts
		want string
		// tampering is told from a foreign key only with RSA
		tampered attest.Status
	}{
		"RSA PKCS#1 v1.5": {rsaKey, crypto.SHA256, "RSA-2048 PKCS#1 v1.5 SHA-256", attest.StatusUnmatched},
		"RSA PSS":         {rsaKey, &rsa.PSSOptions{SaltLength: 32, Hash: crypto.SHA256}, "RSA-2048 PSS SHA-256", attest.StatusUnmatched},
		"ECDSA":           {ecKey, crypto.SHA256, "ECDSA P-256 SHA-256", attest.StatusUnanchored},
		"Ed25519":         {edKey, crypto.Hash(0), "Ed25519", attest.StatusUnanchored},
	} {
		t.Run(name, func(t *testing.T) {
			a := anchor(t, publicPEM(t, c.key.Public()), "fjordlens")
			doc := Document{"image.sig", sign(t, c.key, image, c.opts)}
			if e := verifyDocument(open(t, image), doc, []*Anchor{a}); e.Status != attest.StatusVerified || e.Algorithm != c.want || e.Covered[0].Size != int64(len(image)) {
				t.Errorf("%+v", e)
			}
			changed := bytes.Clone(image)
			changed[100] ^= 1
			if e := verifyDocument(open(t, changed), doc, []*Anchor{a}); e.Status != c.tampered {
				t.Errorf("changed image: %s, want %s", e.Status, c.tampered)
			}
			stranger := anchor(t, publicPEM(t, mustEC(t).Public()), "axis")
			if e := verifyDocument(open(t, image), doc, []*Anchor{stranger}); e.Status != attest.StatusUnanchored {
				t.Errorf("another anchor: %s", e.Status)
			}
		})
	}
}

func mustEC(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// envelope signs a statement about extents of an image.
func envelope(t testing.TB, k *ecdsa.PrivateKey, image []byte, extents map[string]attest.Extent) []byte {
	t.Helper()
	var subjects []map[string]any
	for name, x := range extents {
		subjects = append(subjects, map[string]any{
			"name":        name,
			"digest":      map[string]string{"sha256": fmt.Sprintf("%x", sha256.Sum256(image[x.Offset:x.Offset+x.Size]))},
			"annotations": map[string]any{AnnotationOffset: x.Offset, AnnotationSize: x.Size},
		})
	}
	payload, err := json.Marshal(map[string]any{
		"_type": "https://in-toto.io/Statement/v1", "subject": subjects, "predicateType": "https://assay.example/firmware/v1",
	})
	if err != nil {
		t.Fatal(err)
	}
	sig := sign(t, k, dsse.PAE(inTotoType, payload), crypto.SHA256)
	b, err := json.Marshal(dsse.Envelope{
		PayloadType: inTotoType, Payload: base64.StdEncoding.EncodeToString(payload),
		Signatures: []dsse.Signature{{Sig: base64.StdEncoding.EncodeToString(sig)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAStatementCoversWhatItNames(t *testing.T) {
	image := bytes.Repeat([]byte{1, 2, 3, 4, 5, 6, 7}, 5000)
	k := mustEC(t)
	a := anchor(t, publicPEM(t, k.Public()), "fjordlens")
	doc := envelope(t, k, image, map[string]attest.Extent{"loader": {Offset: 0, Size: 4096}, "app": {Offset: 8192, Size: 4096}})
	e := verifyDocument(open(t, image), Document{"v.dsse", doc}, []*Anchor{a})
	if e.Status != attest.StatusVerified || len(e.Covered) != 2 || e.Covered[1] != (attest.Extent{Offset: 8192, Size: 4096}) {
		t.Fatalf("%+v", e)
	}
	bundled := fmt.Appendf(nil, `{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{},"dsseEnvelope":%s}`, doc)
	if e := verifyDocument(open(t, image), Document{"v.sigstore.json", bundled}, []*Anchor{a}); e.Status != attest.StatusVerified || e.Scheme != "sigstore-bundle" {
		t.Errorf("%+v", e)
	}

	image[5] ^= 1
	e = verifyDocument(open(t, image), Document{"v.dsse", doc}, []*Anchor{a})
	if e.Status != attest.StatusVerified || len(e.Covered) != 1 || !strings.Contains(e.Detail, "not in this image: loader") {
		t.Errorf("a changed loader must not be covered: %+v", e)
	}
	image[9000] ^= 1
	if e := verifyDocument(open(t, image), Document{"v.dsse", doc}, []*Anchor{a}); e.Status != attest.StatusUnmatched || len(e.Covered) != 0 {
		t.Errorf("nothing is left to cover: %+v", e)
	}
}

func TestDocumentsThatAreNone(t *testing.T) {
	image := open(t, make([]byte, 8192))
	a := anchor(t, rsaKey(t), "axis")
	for name, b := range map[string][]byte{
		"empty":             {},
		"a word":            []byte("hello"),
		"json":              []byte(`{"a":1}`),
		"broken json":       []byte(`{"dsseEnvelope":`),
		"envelope of air":   []byte(`{"payloadType":"x","payload":"","signatures":[]}`),
		"payload no base64": []byte(`{"payloadType":"x","payload":"!!","signatures":[{"sig":"AA=="}]}`),
		"too large":         make([]byte, MaxDocument+1),
		"message signature": []byte(`{"messageSignature":{"signature":"AAAA"}}`),
	} {
		e := verifyDocument(image, Document{name, b}, []*Anchor{a})
		if e.Status == attest.StatusVerified || e.Detail == "" || len(e.Covered) > 0 {
			t.Errorf("%s: %+v", name, e)
		}
	}
}

func FuzzDocument(f *testing.F) {
	image := bytes.Repeat([]byte{7}, 8192)
	k := mustEC(f)
	a := anchor(f, publicPEM(f, k.Public()), "axis")
	f.Add(envelope(f, k, image, map[string]attest.Extent{"x": {Offset: 0, Size: 4096}}))
	f.Add([]byte(`{"messageSignature":{"signature":"AAAA"}}`))
	f.Add([]byte("raw"))
	img := open(f, image)
	f.Fuzz(func(t *testing.T, b []byte) {
		e := verifyDocument(img, Document{"fuzz", b}, []*Anchor{a})
		if e.Status == "" {
			t.Fatal("no status")
		}
	})
}

func FuzzFIT(f *testing.F) {
	if b, err := os.ReadFile("../../../shared/corpus/firmware/format/fit_uboot_signed/conf_rsa2048_sha256.itb"); err == nil {
		f.Add(b)
	}
	f.Add([]byte("\xd0\x0d\xfe\xed"))
	a := anchor(f, rsaKey(f), "axis")
	f.Fuzz(func(t *testing.T, b []byte) {
		ends, _ := verifyFIT(bytes.NewReader(b), 0, int64(len(b)), "", []*Anchor{a})
		for _, e := range ends {
			if e.Status == attest.StatusVerified {
				t.Fatal("a stranger's FIT verified")
			}
		}
	})
}

func TestTrustStoreKeepsWhatItWasGiven(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "trust")
	s, err := OpenStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	a, err := NewAnchor(rsaKey(t), "axis", PurposeFirmware, []string{"M1065"}, "vendor's page", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Add(a); err != nil {
		t.Fatal(err)
	}
	if err := s.Add(a); err == nil || !strings.Contains(err.Error(), "there already") {
		t.Errorf("a second anchor of the same key: %v", err)
	}
	s, err = OpenStore(dir)
	if err != nil || len(s.Anchors()) != 1 || s.Anchors()[0].Maker != "axis" || !s.Anchors()[0].Vouches("m1065") || s.Anchors()[0].Vouches("") {
		t.Fatalf("%v %+v", err, s.Anchors())
	}

	name := filepath.Join(dir, a.ID+".json")
	b, _ := os.ReadFile(name)
	if err := os.WriteFile(name, bytes.Replace(b, []byte(a.Fingerprint), []byte("sha256:"+strings.Repeat("0", 64)), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenStore(dir); err == nil || !strings.Contains(err.Error(), "fingerprint") {
		t.Errorf("a store with an exchanged fingerprint: %v", err)
	}
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove("../../etc/passwd"); !errors.Is(err, ErrNoAnchor) {
		t.Errorf("a path as id: %v", err)
	}
	if err := s.Remove(a.ID); err != nil || len(s.Anchors()) != 0 {
		t.Errorf("%v %v", err, s.Anchors())
	}
	if err := s.Remove(a.ID); !errors.Is(err, ErrNoAnchor) {
		t.Errorf("twice: %v", err)
	}
}

func TestKeysThatAnAnchorMayNotBe(t *testing.T) {
	private, _ := x509.MarshalPKCS8PrivateKey(mustEC(t))
	for name, b := range map[string][]byte{
		"private": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
		"1024":    publicPEM(t, weakKey(t, 1024)),
		"nothing": nil,
		"text":    []byte("ssh-ed25519 AAAA"),
	} {
		if _, err := NewAnchor(b, "axis", PurposeFirmware, nil, "", time.Now()); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := NewAnchor(rsaKey(t), "axis", "tea", nil, "", time.Now()); err == nil {
		t.Error("an unknown purpose was accepted")
	}
}

func weakKey(t *testing.T, bits int) crypto.PublicKey {
	t.Helper()
	t.Setenv("GODEBUG", "rsa1024min=0")
	k, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return k.Public()
}

func TestExtentsMergeAndSubtract(t *testing.T) {
	m := merge([]attest.Extent{{Offset: 10, Size: 5}, {Offset: 0, Size: 4}, {Offset: 4, Size: 2}, {Offset: 12, Size: 1}, {Offset: 30, Size: 0}})
	if fmt.Sprint(m) != "[{0 6} {10 5}]" {
		t.Fatalf("merge = %v", m)
	}
	if got := fmt.Sprint(subtract(attest.Extent{Offset: 2, Size: 20}, m)); got != "[{6 4} {15 7}]" {
		t.Fatalf("subtract = %s", got)
	}
	if got := subtract(attest.Extent{Offset: 1, Size: 3}, m); len(got) != 0 {
		t.Fatalf("covered whole, left %v", got)
	}
}

func TestWhatMayStayUncoveredIsNarrow(t *testing.T) {
	region := func(format, role, state string, size int64) attest.Region {
		return attest.Region{Extent: attest.Extent{Size: size}, Format: format, Role: role, State: state}
	}
	for name, c := range map[string]struct {
		uncovered []attest.Region
		blocks    bool
	}{
		"nothing":                            {nil, false},
		"the environment":                    {[]attest.Region{region("u-boot-env", "environment", "proven", 65536)}, false},
		"a FIT's own header":                 {[]attest.Region{region("fit", "container", "proven", 600)}, false},
		"a FIT with room to hide code in":    {[]attest.Region{region("fit", "container", "proven", 6000), region("fit", "container", "proven", 6000)}, true},
		"a compressed stream is its content": {[]attest.Region{region("gzip", "container", "proven", 600)}, true},
		"opaque bytes":                       {[]attest.Region{region("", "", "opaque", 1)}, true},
		"residue":                            {[]attest.Region{region("", "", "residue", 1)}, true},
		"data":                               {[]attest.Region{region("squashfs", "data", "proven", 4096)}, true},
		"a kernel":                           {[]attest.Region{region("u-boot-env", "environment", "proven", 1), region("linux", "kernel", "parsed", 1)}, true},
	} {
		if got := blocking(c.uncovered) != nil; got != c.blocks {
			t.Errorf("%s: blocks %v, want %v", name, got, c.blocks)
		}
	}
}
