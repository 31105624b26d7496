package provenance

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"assay/attest"
)

// Axis Edge Vault attestation: the secure element of an Axis unit states, with a
// key that Axis certified, that another key was made in it and cannot leave it.
// Source: AxisCommunications/signed-video-framework (MIT),
// lib/src/sv_axis_communications.c, and the sample of a real unit there.
//
// The freshness in what is signed is a constant. A report says where a key
// lives, and not that it was made now, nor that the unit that it came from is
// the one that has the chip.

// SchemeEdgeVault is the scheme of an endorsement that is such a report.
const SchemeEdgeVault = "axis-edge-vault"

// edgeVaultReport is a report (version 2):
//
//	header 2, version 2, object id 4, count of signatures 1 (always 1),
//	timestamp 12, length of the signature 2, signature
type edgeVaultReport struct {
	object    [4]byte
	timestamp [12]byte
	signature []byte
}

func parseEdgeVaultReport(b []byte) (r edgeVaultReport, err error) {
	const fixed = 2 + 2 + 4 + 1 + 12 + 2
	if len(b) < fixed {
		return r, fmt.Errorf("an Axis attestation report has at least %d bytes, and this has %d", fixed, len(b))
	}
	if b[8] != 1 {
		return r, fmt.Errorf("an Axis attestation report has one signature, and this has %d", b[8])
	}
	r.object, r.timestamp = [4]byte(b[4:8]), [12]byte(b[9:21])
	r.signature = b[fixed:]
	if n := int(binary.BigEndian.Uint16(b[21:])); n != len(r.signature) || n == 0 {
		return r, fmt.Errorf("an Axis attestation report whose signature of %d bytes has %d", n, len(r.signature))
	}
	return r, nil
}

// The constants of what the secure element signs: the read command with room
// for the object id at 9 and the freshness at 24, and the object's attributes,
// whose first four bytes are its id.
var (
	edgeVaultCommand = []byte{
		0x80, 0x22, 0, 0, 0, 0, 0x21, 0x41, 0x04, 0xf0, 0, 0, 0x12, 0x45, 0x04, 0xf0, 0, 0, 0x12, 0x46, 0x01, 0x21, 0x47, 0x10,
		0x92, 0xbb, 0xed, 0xfb, 0x98, 0x82, 0xac, 0x16, 0xc7, 0xf0, 0x1a, 0xe4, 0x59, 0x05, 0x96, 0x04,
	}
	edgeVaultAttributes = []byte{
		0x7b, 0x00, 0x02, 0x01, 0x29, 0x01, 0, 0, 0x7b, 0, 0, 0x03, 0, 0, 0x08, 0x7b, 0, 0, 0x03, 0x1f, 0x3c, 0, 0,
		0x08, 0, 0, 0, 0, 0, 0x20, 0, 0, 0x02, 0, 0, 0, 0,
	}
)

// signed builds what the secure element signed about a key.
func (r edgeVaultReport) signed(key, chip []byte) []byte {
	command := slices.Clone(edgeVaultCommand)
	copy(command[9:], r.object[:])
	attributes := slices.Clone(edgeVaultAttributes)
	copy(attributes, r.object[:])
	sum := sha256.Sum256(command)
	out := sum[:]
	field := func(tag byte, value []byte) {
		out = append(out, tag, 0x82, byte(len(value)>>8), byte(len(value)))
		out = append(out, value...)
	}
	field(0x41, key)
	field(0x42, chip)
	field(0x43, attributes)
	field(0x44, []byte{0, 0x20}) // the key's size in bytes
	field(0x4f, r.timestamp[:])
	return out
}

// chipInName finds the chip's id in "Axis Edge Vault Attestation 0400…".
var chipInName = regexp.MustCompile(`^Axis Edge Vault Attestation (04005001[0-9A-Fa-f]{28})$`)

// VerifyEdgeVault checks that a report attests the key, by the chain's first
// certificate, and that chain to an anchor for attestation. The anchor is the
// operator's: none is shipped.
func VerifyEdgeVault(source string, report []byte, attested crypto.PublicKey, chain []*x509.Certificate, anchors []*Anchor, model string, serials, macs []string, now time.Time) attest.Endorsement {
	e := attest.Endorsement{Scheme: SchemeEdgeVault, Subject: attest.SubjectUnit, Source: source}
	unsupported := func(format string, args ...any) attest.Endorsement {
		e.Status, e.Detail = attest.StatusUnsupported, fmt.Sprintf(format, args...)
		return e
	}
	r, err := parseEdgeVaultReport(report)
	if err != nil {
		return unsupported("%v", err)
	}
	key, ok := attested.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return unsupported("an attested key is ECDSA P-256, and this is %s", keyName(attested))
	}
	point, err := key.Bytes()
	if err != nil {
		return unsupported("attested key: %v", err)
	}
	if len(chain) == 0 {
		return unsupported("no certificate of the chip came with the report")
	}
	leaf := chain[0]
	signer, ok := leaf.PublicKey.(*ecdsa.PublicKey)
	name := chipInName.FindStringSubmatch(leaf.Subject.CommonName)
	if !ok || name == nil {
		return unsupported("%s is no certificate of an Axis secure element", quote(leaf.Subject.String()))
	}
	chip, _ := hex.DecodeString(name[1])
	der, _ := x509.MarshalPKIXPublicKey(key)
	e.Key, e.Algorithm = string(attest.DigestOf(der)), "ECDSA "+signer.Curve.Params().Name+" SHA-256"
	what := fmt.Sprintf("the report that the key lives in chip %s", name[1])
	sum := sha256.Sum256(r.signed(point, chip))
	if !ecdsa.VerifyASN1(signer, sum[:], r.signature) {
		e.Status, e.Detail = attest.StatusFailed, what+" is not signed by the chip's key"
		return e
	}
	a, status, why := anchorOf(chain, anchors, PurposeAttestation, model, now)
	if a != nil {
		e.Maker, e.Anchor = a.Maker, a.ID
	}
	names, _ := ReadDeviceNames(leaf)
	compared := names.compare(serials, macs)
	switch {
	case status != attest.StatusVerified:
		e.Status, e.Detail = status, what+" is signed by the chip's key, but of its certificate: "+why
	case leaf.KeyUsage != 0 && leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		e.Status, e.Detail = attest.StatusUnmatched, what+" is signed by a key that may not sign"
	case len(compared.Against) > 0:
		e.Status, e.Detail = attest.StatusUnmatched, what+" is genuine and of another unit: it says "+strings.Join(compared.Against, "; ")
	default:
		e.Status, e.Detail = attest.StatusVerified, what+" of unit "+names.Serial+" holds; it is not fresh, and proves no possession"
	}
	return e
}

// ParseChain reads certificates in PEM, at most as many as a chain has.
func ParseChain(b []byte) ([]*x509.Certificate, error) {
	var chain []*x509.Certificate
	for {
		block, rest := pem.Decode(b)
		if block == nil {
			break
		}
		b = rest
		if block.Type != "CERTIFICATE" {
			continue
		}
		if len(chain) == maxChain {
			return nil, fmt.Errorf("more than %d certificates", maxChain)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(chain)+1, err)
		}
		chain = append(chain, c)
	}
	if len(chain) == 0 {
		return nil, errors.New("no certificate in PEM")
	}
	return chain, nil
}
