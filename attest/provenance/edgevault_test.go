package provenance

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"assay/attest"
)

const axisCorpus = "../../../shared/corpus/attestation/axis"

func sample(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(axisCorpus, name))
	if err != nil {
		t.Skipf("no corpus: %v", err)
	}
	return b
}

// The report, chip certificate and attested key of a real unit. The certificate
// of the authority between chip and root is not in the corpus.
func TestTheReportOfARealUnit(t *testing.T) {
	report := sample(t, "attestation-report.bin")
	chain, err := ParseChain(sample(t, "device-chain-1.pem"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := parseKey(sample(t, "attested-public-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	root, err := NewAnchor(sample(t, "axis-root-0.pem"), "axis", PurposeAttestation, nil, "test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC)
	e := VerifyEdgeVault("corpus", report, key, chain, []*Anchor{root}, "", nil, nil, now)
	if e.Status != attest.StatusUnanchored || !strings.Contains(e.Detail, "signed by the chip's key") || !strings.Contains(e.Detail, "Axis Edge Vault Attestation CA ECC 1") {
		t.Errorf("%+v", e)
	}
	for i := range report {
		bad := append([]byte{}, report...)
		bad[i] ^= 1
		e := VerifyEdgeVault("corpus", bad, key, chain, []*Anchor{root}, "", nil, nil, now)
		if e.Status != attest.StatusFailed && e.Status != attest.StatusUnsupported && i >= 4 {
			t.Errorf("with byte %d changed: %+v", i, e)
		}
	}
	other, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if e := VerifyEdgeVault("corpus", report, other.Public(), chain, nil, "", nil, nil, now); e.Status != attest.StatusFailed {
		t.Errorf("of another key: %+v", e)
	}
}

// chipAuthority is one made up, with a chip of its own.
func chip(t testing.TB) (root *Anchor, chain []*x509.Certificate, sign func([]byte) []byte) {
	t.Helper()
	make := func(template, parent *x509.Certificate, pub, by *ecdsa.PrivateKey) *x509.Certificate {
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
		der, err := x509.CreateCertificate(rand.Reader, template, parent, pub.Public(), by)
		if err != nil {
			t.Fatal(err)
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	rootKey, _ := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	chipKey, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Root"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	top := make(ca, ca, rootKey, rootKey)
	leaf := make(&x509.Certificate{
		SerialNumber: big.NewInt(2), KeyUsage: x509.KeyUsageDigitalSignature,
		Subject: pkix.Name{CommonName: "Axis Edge Vault Attestation 040050010102030405060708090A0B0C0D0E", SerialNumber: "00005E005301"},
	}, top, chipKey, rootKey)
	a, err := NewAnchor(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: top.Raw}), "axis", PurposeAttestation, nil, "", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return a, []*x509.Certificate{leaf}, func(b []byte) []byte {
		sum := sha256.Sum256(b)
		sig, err := ecdsa.SignASN1(rand.Reader, chipKey, sum[:])
		if err != nil {
			t.Fatal(err)
		}
		return sig
	}
}

func TestAReportToItsAnchor(t *testing.T) {
	root, chain, sign := chip(t)
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	point, _ := key.PublicKey.Bytes()
	r := edgeVaultReport{object: [4]byte{0x7b, 0, 2, 1}, timestamp: [12]byte{0, 1}}
	id := []byte{4, 0, 0x50, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14}
	signature := sign(r.signed(point, id))
	report := append([]byte{0xff, 1, 0, 1, 0x7b, 0, 2, 1, 1}, r.timestamp[:]...)
	report = append(append(report, 0, byte(len(signature))), signature...)
	for _, c := range []struct {
		name    string
		anchors []*Anchor
		serials []string
		status  attest.Status
	}{
		{"of this unit", []*Anchor{root}, []string{"00005E005301"}, attest.StatusVerified},
		{"of another unit", []*Anchor{root}, []string{"00005E005302"}, attest.StatusUnmatched},
		{"with no anchor", nil, nil, attest.StatusUnanchored},
	} {
		e := VerifyEdgeVault("test", report, key.Public(), chain, c.anchors, "", c.serials, nil, time.Now())
		if e.Status != c.status {
			t.Errorf("%s: %+v", c.name, e)
		}
	}
}

func FuzzEdgeVaultReport(f *testing.F) {
	f.Add([]byte{0xff, 1, 0, 1, 0x7b, 0, 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0x30, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := parseEdgeVaultReport(b); err == nil && len(r.signature) != len(b)-23 {
			t.Error("the signature is not the rest")
		}
	})
}
