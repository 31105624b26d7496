package update

import (
	"crypto"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"assay/firmware"
)

// The Cryptographic Message Syntax as far as update bundles use it: RFC 5652,
// section 5 (signed-data) and 6 (enveloped-data), in DER. It is read to say who
// claims to have signed what; nothing is verified but the message digest.

// maxCMS bounds a message: RAUC's own limit on a signature is 64 KiB.
const maxCMS = 64 << 10

// maxElements bounds the elements of one SET or SEQUENCE.
const maxElements = 256

const (
	oidData       = "1.2.840.113549.1.7.1"
	oidSigned     = "1.2.840.113549.1.7.2"
	oidEnveloped  = "1.2.840.113549.1.7.3"
	oidDigest     = "1.2.840.113549.1.9.4"
	oidSigningAt  = "1.2.840.113549.1.9.5"
	oidAuthEnvelo = "1.2.840.113549.1.9.16.1.23"
)

var cmsNames = map[string]string{
	oidData: "data", oidSigned: "signed-data", oidEnveloped: "enveloped-data", oidAuthEnvelo: "authenticated-enveloped-data",
	"1.3.14.3.2.26": "SHA-1", "2.16.840.1.101.3.4.2.1": "SHA-256", "2.16.840.1.101.3.4.2.2": "SHA-384", "2.16.840.1.101.3.4.2.3": "SHA-512",
	"1.2.840.113549.1.1.1": "RSA PKCS#1 v1.5", "1.2.840.113549.1.1.10": "RSA-PSS", "1.2.840.113549.1.1.7": "RSA-OAEP",
	"1.2.840.113549.1.1.11": "RSA PKCS#1 v1.5 with SHA-256", "1.2.840.113549.1.1.12": "RSA PKCS#1 v1.5 with SHA-384", "1.2.840.113549.1.1.13": "RSA PKCS#1 v1.5 with SHA-512",
	"1.2.840.10045.4.3.2": "ECDSA with SHA-256", "1.2.840.10045.4.3.3": "ECDSA with SHA-384", "1.2.840.10045.4.3.4": "ECDSA with SHA-512", "1.3.101.112": "Ed25519",
	"2.16.840.1.101.3.4.1.2": "AES-128-CBC", "2.16.840.1.101.3.4.1.42": "AES-256-CBC", "2.16.840.1.101.3.4.1.46": "AES-256-GCM",
}

var cmsHashes = map[string]crypto.Hash{"SHA-1": crypto.SHA1, "SHA-256": crypto.SHA256, "SHA-384": crypto.SHA384, "SHA-512": crypto.SHA512}

// message is a ContentInfo.
type message struct {
	kind         string // of cmsNames
	content      []byte // of signed-data; nil when it is detached
	signers      []signer
	certificates []string // subject and validity, as the message has them
	cipher       string   // of enveloped-data
	recipients   []string
}

// signer is a SignerInfo.
type signer struct {
	id, hash, algorithm string
	digest              []byte // the signed message-digest attribute; nil without signed attributes
	at                  time.Time
	size                int // bytes of the signature
}

var errCMS = errors.New("no CMS message")

// elements splits a constructed value.
func elements(v asn1.RawValue) ([]asn1.RawValue, error) {
	if !v.IsCompound {
		return nil, errCMS
	}
	var list []asn1.RawValue
	for rest := v.Bytes; len(rest) > 0; {
		var e asn1.RawValue
		var err error
		if rest, err = asn1.Unmarshal(rest, &e); err != nil {
			return nil, fmt.Errorf("%w: %w", errCMS, err)
		}
		if list = append(list, e); len(list) > maxElements {
			return nil, fmt.Errorf("%w: more than %d elements", errCMS, maxElements)
		}
	}
	return list, nil
}

// need is elements with at least n of them.
func need(v asn1.RawValue, n int) ([]asn1.RawValue, error) {
	list, err := elements(v)
	if err == nil && len(list) < n {
		err = fmt.Errorf("%w: %d elements where %d are needed", errCMS, len(list), n)
	}
	return list, err
}

func oid(v asn1.RawValue) string {
	var id asn1.ObjectIdentifier
	if _, err := asn1.Unmarshal(v.FullBytes, &id); err != nil {
		return ""
	}
	return id.String()
}

// named is the algorithm that an AlgorithmIdentifier or a bare OID names.
func named(v asn1.RawValue) string {
	if list, err := need(v, 1); err == nil {
		v = list[0]
	}
	id := oid(v)
	if name := cmsNames[id]; name != "" {
		return name
	}
	return id
}

func tagged(v asn1.RawValue, tag int) bool {
	return v.Class == asn1.ClassContextSpecific && v.Tag == tag
}

// parseCMS reads a message that takes all of b.
func parseCMS(b []byte) (*message, error) {
	if len(b) > maxCMS {
		return nil, fmt.Errorf("%w: %d bytes are more than %d", errCMS, len(b), maxCMS)
	}
	var top asn1.RawValue
	rest, err := asn1.Unmarshal(b, &top)
	if err != nil || len(rest) > 0 {
		return nil, fmt.Errorf("%w: the outer element does not fill the %d bytes", errCMS, len(b))
	}
	info, err := need(top, 2)
	if err != nil {
		return nil, err
	}
	wrapped, err := need(info[1], 1)
	if err != nil || !tagged(info[1], 0) {
		return nil, errCMS
	}
	m := &message{kind: cmsNames[oid(info[0])]}
	switch oid(info[0]) {
	case oidSigned:
		err = m.signed(wrapped[0])
	case oidEnveloped, oidAuthEnvelo:
		err = m.enveloped(wrapped[0])
	default:
		err = errCMS
	}
	return m, err
}

func (m *message) signed(v asn1.RawValue) error {
	list, err := need(v, 4)
	if err != nil {
		return err
	}
	inner, err := need(list[2], 1)
	if err != nil {
		return err
	}
	if len(inner) > 1 {
		content, err := need(inner[1], 1)
		if err != nil || content[0].Tag != asn1.TagOctetString || content[0].IsCompound {
			return errCMS
		}
		m.content = content[0].Bytes
	}
	for _, e := range list[3:] {
		if tagged(e, 0) {
			if m.certificates, err = subjects(e); err != nil {
				return err
			}
		}
	}
	infos, err := elements(list[len(list)-1])
	if err != nil || list[len(list)-1].Tag != asn1.TagSet {
		return errCMS
	}
	for _, e := range infos {
		s, err := parseSigner(e)
		if err != nil {
			return err
		}
		m.signers = append(m.signers, s)
	}
	return nil
}

func parseSigner(v asn1.RawValue) (s signer, err error) {
	list, err := need(v, 5)
	if err != nil {
		return s, err
	}
	s.id, s.hash = identifier(list[1]), named(list[2])
	list = list[3:]
	if tagged(list[0], 0) {
		if err := s.attributes(list[0]); err != nil {
			return s, err
		}
		list = list[1:]
	}
	if len(list) < 2 || list[1].Tag != asn1.TagOctetString {
		return s, errCMS
	}
	s.algorithm, s.size = named(list[0]), len(list[1].Bytes)
	return s, nil
}

func (s *signer) attributes(v asn1.RawValue) error {
	list, err := elements(v)
	if err != nil {
		return err
	}
	for _, e := range list {
		attribute, err := need(e, 2)
		if err != nil {
			return err
		}
		values, err := need(attribute[1], 1)
		if err != nil {
			return err
		}
		switch oid(attribute[0]) {
		case oidDigest:
			s.digest = values[0].Bytes
		case oidSigningAt:
			asn1.Unmarshal(values[0].FullBytes, &s.at)
		}
	}
	return nil
}

// identifier is the issuer and serial number, or the subject key identifier,
// that names a certificate.
func identifier(v asn1.RawValue) string {
	if tagged(v, 0) {
		return fmt.Sprintf("key %x", v.Bytes[:min(len(v.Bytes), 64)])
	}
	list, err := need(v, 2)
	if err != nil {
		return "unreadable"
	}
	var serial *big.Int
	if _, err := asn1.Unmarshal(list[1].FullBytes, &serial); err != nil || serial.BitLen() > 512 {
		return "unreadable"
	}
	return fmt.Sprintf("%s, serial %x", distinguished(list[0]), serial)
}

const maxDN = 200

func distinguished(v asn1.RawValue) string {
	var name pkix.RDNSequence
	if _, err := asn1.Unmarshal(v.FullBytes, &name); err != nil {
		return "unreadable name"
	}
	s := printable(name.String())
	return s[:min(len(s), maxDN)]
}

// subjects lists the certificates' subjects: RFC 5280, section 4.1.
func subjects(v asn1.RawValue) ([]string, error) {
	certificates, err := elements(v)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, c := range certificates {
		parts, err := need(c, 3)
		if err != nil {
			return nil, err
		}
		body, err := elements(parts[0])
		if err != nil {
			return nil, err
		}
		if len(body) > 0 && tagged(body[0], 0) {
			body = body[1:] // the version
		}
		if len(body) < 6 {
			return nil, errCMS
		}
		names = append(names, fmt.Sprintf("%s, issued by %s", distinguished(body[4]), distinguished(body[2])))
	}
	return names, nil
}

func (m *message) enveloped(v asn1.RawValue) error {
	list, err := need(v, 3)
	if err != nil {
		return err
	}
	list = list[1:]
	if tagged(list[0], 0) {
		list = list[1:] // originator's certificates
	}
	if len(list) < 2 {
		return errCMS
	}
	recipients, err := elements(list[0])
	if err != nil {
		return err
	}
	for _, r := range recipients {
		if parts, err := need(r, 3); err == nil && r.Tag == asn1.TagSequence {
			m.recipients = append(m.recipients, fmt.Sprintf("%s by %s", identifier(parts[1]), named(parts[2])))
		} else {
			m.recipients = append(m.recipients, "of another kind than key transport")
		}
	}
	content, err := need(list[1], 2)
	if err != nil {
		return err
	}
	m.cipher = named(content[1])
	return nil
}

// describe lists who signed, or for whom it is encrypted.
func (m *message) describe(r *firmware.Region) {
	r.AddField("message", "CMS %s", m.kind)
	for _, s := range m.signers[:min(len(m.signers), maxListed)] {
		claim := fmt.Sprintf("%s, hash %s, %s, %d bytes", s.id, s.hash, s.algorithm, s.size)
		if !s.at.IsZero() {
			claim += ", signed at " + s.at.UTC().Format(time.RFC3339)
		}
		r.AddField("signature", "%s; %s", claim, notVerified)
	}
	for _, c := range m.certificates[:min(len(m.certificates), maxListed)] {
		r.AddField("certificate", "%s", c)
	}
	for _, to := range m.recipients[:min(len(m.recipients), maxListed)] {
		r.AddField("encrypted for", "%s", to)
	}
	if m.cipher != "" {
		r.AddField("cipher", "%s", m.cipher)
	}
}

// hashes are the known algorithms that the signers' message digests are made
// with, each once.
func (m *message) hashes() []crypto.Hash {
	var list []crypto.Hash
	for _, s := range m.signers {
		if h := cmsHashes[s.hash]; h != 0 && s.digest != nil && !slices.Contains(list, h) {
			list = append(list, h)
		}
	}
	return list
}

// check compares what the signers say the content's digest is. It returns
// false when none says so, or one says otherwise.
func (m *message) check(r *firmware.Region, of string, sums map[crypto.Hash][]byte) bool {
	compared, ok := 0, true
	for _, s := range m.signers {
		sum := sums[cmsHashes[s.hash]]
		if s.digest == nil || sum == nil {
			continue
		}
		compared++
		match := string(sum) == string(s.digest)
		ok = ok && match
		if compared <= maxListed {
			r.AddCheck(strings.TrimSpace("message digest "+s.hash), match, "over %s; computed %x", of, sum)
		}
	}
	return compared > 0 && ok
}
