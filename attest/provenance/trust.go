// Package provenance verifies where firmware comes from: vendor signatures
// against a store of trust anchors, and which bytes of an image they cover.
//
// A key that is found only inside the image that it signs proves nothing, and
// neither does an encryption layer or a checksum. A signature counts only by an
// anchor that the operator imported, bound to a maker and a purpose.
package provenance

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"assay/attest"
	"assay/internal/durable"
)

// AnchorSchema is the schema of an anchor's file.
const AnchorSchema = "https://assay.example/anchor/v1"

// The purposes of anchors. An anchor speaks for one: a maker's key for firmware
// says nothing about devices, and the other way round.
const (
	PurposeFirmware       = "firmware"        // a key that signs firmware
	PurposeDeviceIdentity = "device-identity" // a certificate over devices' certificates (IEEE 802.1AR)
	PurposeAttestation    = "attestation"     // a certificate over chips that attest keys (Axis Edge Vault)
	PurposeMediaSigning   = "media-signing"   // a certificate over keys that sign video (ONVIF Media Signing)
)

// Purposes lists the purposes, for people.
var Purposes = []string{PurposeFirmware, PurposeDeviceIdentity, PurposeAttestation, PurposeMediaSigning}

// Anchor is a public key that the operator trusts to speak for a maker. Where it
// speaks for devices it is a certificate, since a chain is built to that.
type Anchor struct {
	Schema      string        `json:"schema"`
	ID          string        `json:"id"`    // first 16 hexadecimal digits of the key's fingerprint; of fingerprint and purpose, where it is a certificate
	Maker       string        `json:"maker"` // id in the entity data
	Purpose     string        `json:"purpose"`
	Models      []string      `json:"models,omitempty"`      // empty: every model
	Fingerprint attest.Digest `json:"fingerprint"`           // of the SubjectPublicKeyInfo
	Key         string        `json:"key"`                   // PEM, PKIX
	Certificate string        `json:"certificate,omitempty"` // PEM; of every purpose but firmware
	Source      string        `json:"source,omitempty"`      // where the operator has it from
	Added       time.Time     `json:"added"`

	public      crypto.PublicKey
	certificate *x509.Certificate
}

// Public is the anchor's key.
func (a *Anchor) Public() crypto.PublicKey { return a.public }

// Vouches reports whether the anchor speaks for the model. An empty model is
// one that is not known, for which only an anchor of every model speaks.
func (a *Anchor) Vouches(model string) bool {
	return len(a.Models) == 0 || slices.ContainsFunc(a.Models, func(m string) bool { return strings.EqualFold(m, model) })
}

// Algorithm names the key's kind and size for people.
func (a *Anchor) Algorithm() string { return keyName(a.public) }

func keyName(k crypto.PublicKey) string {
	switch k := k.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA-%d", k.N.BitLen())
	case *ecdsa.PublicKey:
		return "ECDSA " + k.Curve.Params().Name
	case ed25519.PublicKey:
		return "Ed25519"
	}
	return fmt.Sprintf("%T", k)
}

// NewAnchor makes an anchor of a public key or certificate in PEM or DER. For
// firmware it takes of a certificate the key alone: its names and dates are not
// looked at. Every other purpose takes the certificate of an authority.
func NewAnchor(key []byte, maker, purpose string, models []string, source string, now time.Time) (*Anchor, error) {
	pub, err := parseKey(key)
	if err != nil {
		return nil, err
	}
	if maker == "" {
		return nil, errors.New("an anchor must name the maker it speaks for")
	}
	if !slices.Contains(Purposes, purpose) {
		return nil, fmt.Errorf("purpose %q is none of %s", purpose, strings.Join(Purposes, ", "))
	}
	if err := acceptable(pub); err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return nil, fmt.Errorf("public key: %w", err)
	}
	fp := attest.DigestOf(der)
	a := &Anchor{
		Schema: AnchorSchema, ID: fp.Hex()[:16], Maker: maker, Purpose: purpose, Models: models, Fingerprint: fp,
		Key: string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), Source: source,
		Added: now.UTC().Truncate(time.Second), public: pub,
	}
	if purpose == PurposeFirmware {
		return a, nil
	}
	if a.certificate, err = parseAuthority(key); err != nil {
		return nil, fmt.Errorf("an anchor for %s: %w", purpose, err)
	}
	a.ID = attest.DigestOf([]byte(purpose + " " + string(fp))).Hex()[:16]
	a.Certificate = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.certificate.Raw}))
	return a, nil
}

// parseAuthority reads a certificate that may certify others.
func parseAuthority(b []byte) (*x509.Certificate, error) {
	if block, rest := pem.Decode(b); block != nil {
		if more, _ := pem.Decode(rest); more != nil {
			return nil, errors.New("the file has more than one certificate; import them one by one, each with its own source")
		}
		b = block.Bytes
	}
	c, err := x509.ParseCertificate(b)
	if err != nil {
		return nil, errors.New("not a certificate; a bare key cannot be the end of a chain")
	}
	if !c.BasicConstraintsValid || !c.IsCA || c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageCertSign == 0 {
		return nil, errors.New("the certificate is of no authority (CA:TRUE, keyCertSign): import the one that issued it")
	}
	return c, nil
}

// acceptable refuses keys that a stranger could forge for. U-Boot's smallest
// signing key is RSA-2048; an exponent of 1 makes every signature hold.
func acceptable(k crypto.PublicKey) error {
	if r, ok := k.(*rsa.PublicKey); ok {
		if n := r.N.BitLen(); n < 2048 || n > 16384 {
			return fmt.Errorf("RSA key of %d bits: an anchor needs 2048 to 16384", n)
		}
		if r.E < 3 || r.E%2 == 0 {
			return fmt.Errorf("RSA key with exponent %d", r.E)
		}
	}
	return nil
}

// ParsePublicKey reads a public key, or that of a certificate, in PEM or DER.
func ParsePublicKey(b []byte) (crypto.PublicKey, error) { return parseKey(b) }

func parseKey(b []byte) (crypto.PublicKey, error) {
	der := b
	if block, _ := pem.Decode(b); block != nil {
		if strings.Contains(block.Type, "PRIVATE KEY") {
			return nil, errors.New("this is a private key; an anchor is the public one")
		}
		der = block.Bytes
	}
	if pub, err := x509.ParsePKIXPublicKey(der); err == nil {
		return pub, nil
	}
	if cert, err := x509.ParseCertificate(der); err == nil {
		return cert.PublicKey, nil
	}
	if pub, err := x509.ParsePKCS1PublicKey(der); err == nil {
		return pub, nil
	}
	return nil, errors.New("not a public key or certificate in PEM or DER")
}

// Store is a folder of anchors and model endorsements, a file each.
type Store struct {
	dir     string
	anchors []*Anchor
	models  []*ModelEndorsement
}

// ErrNoAnchor is wrapped by the error for an id that no anchor has.
var ErrNoAnchor = errors.New("no such trust anchor")

// OpenStore reads the anchors in dir, which need not exist. A file that does
// not hold is an error: a trust store is not read in part.
func OpenStore(dir string) (*Store, error) {
	s := &Store{dir: dir}
	names, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		a, err := readAnchor(name)
		if err != nil {
			return nil, fmt.Errorf("trust store: %s: %w", name, err)
		}
		s.anchors = append(s.anchors, a)
	}
	slices.SortFunc(s.anchors, func(a, b *Anchor) int { return strings.Compare(a.ID, b.ID) })
	if s.models, err = readModels(dir); err != nil {
		return nil, err
	}
	return s, nil
}

func readAnchor(name string) (*Anchor, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var a Anchor
	if err := json.Unmarshal(b, &a); err != nil {
		return nil, err
	}
	if a.Schema != AnchorSchema {
		return nil, fmt.Errorf("schema %q is not %q", a.Schema, AnchorSchema)
	}
	material := a.Key
	if a.Purpose != PurposeFirmware {
		material = a.Certificate
	}
	again, err := NewAnchor([]byte(material), a.Maker, a.Purpose, a.Models, a.Source, a.Added)
	if err != nil {
		return nil, err
	}
	if again.Fingerprint != a.Fingerprint || again.ID != a.ID || a.Purpose != PurposeFirmware && again.Key != a.Key || filepath.Base(name) != a.ID+".json" {
		return nil, errors.New("its key does not have the fingerprint, id or file name that it says")
	}
	return again, nil
}

// Anchors returns the anchors, by id.
func (s *Store) Anchors() []*Anchor { return s.anchors }

// Add keeps an anchor. The key of an anchor that is there already is refused,
// so that a second maker cannot be slipped under a trusted key; one maker's key
// may have several purposes.
func (s *Store) Add(a *Anchor) error {
	if i := slices.IndexFunc(s.anchors, func(b *Anchor) bool {
		return b.ID == a.ID || b.Fingerprint == a.Fingerprint && b.Maker != a.Maker
	}); i >= 0 {
		return fmt.Errorf("trust store: this key is there already, for %s; remove it first with: assay trust rm %s", s.anchors[i].Maker, s.anchors[i].ID)
	}
	b, err := json.MarshalIndent(a, "", "  ")
	if err != nil {
		return err
	}
	if err := durable.MkdirAll(s.dir, 0o700); err != nil {
		return fmt.Errorf("trust store: %w", err)
	}
	if err := durable.Create(filepath.Join(s.dir, a.ID+".json"), 0o600, durable.Bytes(append(b, '\n'))); err != nil {
		return fmt.Errorf("trust store: %w", err)
	}
	s.anchors = append(s.anchors, a)
	return nil
}

var anchorID = regexp.MustCompile(`^[0-9a-f]{16}$`)

// Remove forgets the anchor or model endorsement of an id.
func (s *Store) Remove(id string) error {
	if !anchorID.MatchString(id) {
		return fmt.Errorf("%w: %q is not an id of 16 hexadecimal digits", ErrNoAnchor, id)
	}
	err := os.Remove(filepath.Join(s.dir, id+".json"))
	if errors.Is(err, fs.ErrNotExist) {
		err = os.Remove(filepath.Join(s.dir, modelFolder, id+".json"))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %s", ErrNoAnchor, id)
	}
	if err == nil {
		s.anchors = slices.DeleteFunc(s.anchors, func(a *Anchor) bool { return a.ID == id })
		s.models = slices.DeleteFunc(s.models, func(m *ModelEndorsement) bool { return m.ID == id })
	}
	return err
}
