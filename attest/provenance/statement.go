package provenance

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	"github.com/sigstore/sigstore/pkg/signature"

	"assay/attest"
	"assay/firmware"
)

// Document is a vendor's signed statement that came beside an image: a raw
// signature over the whole image, a DSSE envelope, or a Sigstore bundle.
type Document struct {
	Name  string // where it came from, for messages
	Bytes []byte
}

// MaxDocument bounds a statement; one subject a partition needs a few kilobytes.
const MaxDocument = 4 << 20

// inTotoType is the payload type of an in-toto statement.
const inTotoType = "application/vnd.in-toto+json"

// bundle is what of a Sigstore bundle is needed to verify it with a key
// (sigstore/protobuf-specs, protos/sigstore_bundle.proto). Certificates and log
// entries are not looked at: the anchor is the operator's.
type bundle struct {
	MediaType string         `json:"mediaType"`
	Envelope  *dsse.Envelope `json:"dsseEnvelope"`
	Message   *struct {
		Digest struct {
			Algorithm string `json:"algorithm"`
			Digest    []byte `json:"digest"`
		} `json:"messageDigest"`
		Signature []byte `json:"signature"`
	} `json:"messageSignature"`
}

// statement is an in-toto Statement v1 (in-toto/attestation, spec/v1).
type statement struct {
	Type    string `json:"_type"`
	Subject []struct {
		Name        string            `json:"name"`
		Digest      map[string]string `json:"digest"`
		Annotations map[string]any    `json:"annotations"`
	} `json:"subject"`
	PredicateType string `json:"predicateType"`
}

// The annotations by which a subject names its place in the flash, in bytes.
// Without them a subject is looked for among the image's regions.
const (
	AnnotationOffset = "assay.offset"
	AnnotationSize   = "assay.size"
)

// verifyDocument checks one document against an image.
func verifyDocument(img *firmware.Image, doc Document, anchors []*Anchor) attest.Endorsement {
	e := attest.Endorsement{Subject: attest.SubjectFirmware, Source: doc.Name}
	if len(doc.Bytes) > MaxDocument {
		e.Scheme, e.Status, e.Detail = "unknown", attest.StatusUnsupported, fmt.Sprintf("%d bytes are too many for a signature", len(doc.Bytes))
		return e
	}
	if trimmed := bytes.TrimSpace(doc.Bytes); len(trimmed) > 0 && trimmed[0] == '{' {
		var b bundle
		if err := json.Unmarshal(trimmed, &b); err != nil {
			e.Scheme, e.Status, e.Detail = "unknown", attest.StatusUnsupported, "not a DSSE envelope or Sigstore bundle: "+err.Error()
			return e
		}
		switch {
		case b.Envelope != nil:
			return verifyEnvelope(img, b.Envelope, "sigstore-bundle", e, anchors)
		case b.Message != nil:
			e.Scheme = "sigstore-bundle"
			return verifyRaw(img, b.Message.Signature, e, anchors)
		}
		var env dsse.Envelope
		if err := json.Unmarshal(trimmed, &env); err == nil && env.PayloadType != "" {
			return verifyEnvelope(img, &env, "dsse", e, anchors)
		}
		e.Scheme, e.Status, e.Detail = "unknown", attest.StatusUnsupported, "JSON that is neither a DSSE envelope nor a Sigstore bundle"
		return e
	}
	e.Scheme = "detached"
	return verifyRaw(img, doc.Bytes, e, anchors)
}

// verifyRaw checks a signature over the whole image.
func verifyRaw(img *firmware.Image, sig []byte, e attest.Endorsement, anchors []*Anchor) attest.Endorsement {
	whole := []attest.Extent{{Offset: 0, Size: img.Size}}
	open := func() io.Reader { return io.NewSectionReader(img, 0, img.Size) }
	a, alg, other := findSigner(anchors, sig, open)
	switch {
	case a != nil:
		e.Status, e.Covered, e.Detail = attest.StatusVerified, whole, "signature over the whole image"
		e.Maker, e.Anchor, e.Key, e.Algorithm = a.Maker, a.ID, string(a.Fingerprint), alg
	case other != nil:
		e.Status, e.Detail = attest.StatusUnmatched, fmt.Sprintf("a signature by anchor %s (%s) over other bytes than this image", other.ID, other.Maker)
		e.Maker, e.Anchor, e.Key = other.Maker, other.ID, string(other.Fingerprint)
	default:
		e.Status, e.Detail = attest.StatusUnanchored, fmt.Sprintf("the signature holds under none of the %d anchors for firmware", len(anchors))
	}
	return e
}

func verifyEnvelope(img *firmware.Image, env *dsse.Envelope, scheme string, e attest.Endorsement, anchors []*Anchor) attest.Endorsement {
	e.Scheme = scheme
	payload, err := env.DecodeB64Payload()
	if err != nil {
		e.Status, e.Detail = attest.StatusUnsupported, "its payload is not base64"
		return e
	}
	var a, other *Anchor
	var alg string
	for _, s := range env.Signatures {
		raw, err := decodeBase64(s.Sig)
		if err != nil {
			continue
		}
		pae := dsse.PAE(env.PayloadType, payload)
		if a, alg, other = findSigner(anchors, raw, func() io.Reader { return bytes.NewReader(pae) }); a != nil {
			break
		}
	}
	switch {
	case a == nil && other != nil:
		e.Status, e.Detail = attest.StatusFailed, fmt.Sprintf("the statement was signed with the key of anchor %s (%s) and changed afterwards", other.ID, other.Maker)
		e.Maker, e.Anchor, e.Key = other.Maker, other.ID, string(other.Fingerprint)
		return e
	case a == nil:
		e.Status, e.Detail = attest.StatusUnanchored, fmt.Sprintf("the statement's signature holds under none of the %d anchors for firmware", len(anchors))
		return e
	}
	e.Maker, e.Anchor, e.Key, e.Algorithm = a.Maker, a.ID, string(a.Fingerprint), alg
	if env.PayloadType != inTotoType {
		e.Status, e.Detail = attest.StatusUnsupported, fmt.Sprintf("genuine, but its payload is %q and not an in-toto statement", env.PayloadType)
		return e
	}
	return matchStatement(img, payload, e)
}

// matchStatement finds the subjects of a genuine statement in the image.
func matchStatement(img *firmware.Image, payload []byte, e attest.Endorsement) attest.Endorsement {
	var st statement
	if err := json.Unmarshal(payload, &st); err != nil || st.Type != "https://in-toto.io/Statement/v1" && st.Type != "https://in-toto.io/Statement/v0.1" {
		e.Status, e.Detail = attest.StatusUnsupported, "genuine, but not an in-toto statement"
		return e
	}
	var found, missing []string
	for _, s := range st.Subject {
		want := strings.ToLower(s.Digest["sha256"])
		if want == "" {
			missing = append(missing, s.Name+" (no SHA-256)")
			continue
		}
		extents, err := findSubject(img, want, s.Annotations)
		if err != nil {
			missing = append(missing, fmt.Sprintf("%s (%v)", s.Name, err))
			continue
		}
		found = append(found, s.Name)
		e.Covered = append(e.Covered, extents...)
	}
	e.Covered = merge(e.Covered)
	switch {
	case len(found) == 0:
		e.Status, e.Detail = attest.StatusUnmatched, "a genuine statement, but about other bytes: "+strings.Join(missing, ", ")
	default:
		e.Status, e.Detail = attest.StatusVerified, "statement about "+strings.Join(found, ", ")
		if len(missing) > 0 {
			e.Detail += "; not in this image: " + strings.Join(missing, ", ")
		}
	}
	return e
}

func findSubject(img *firmware.Image, want string, annotations map[string]any) ([]attest.Extent, error) {
	offset, hasOffset := annotatedInt(annotations, AnnotationOffset)
	size, hasSize := annotatedInt(annotations, AnnotationSize)
	if hasOffset && hasSize {
		if offset < 0 || size <= 0 || offset > img.Size || size > img.Size-offset {
			return nil, fmt.Errorf("%d bytes at %#x are not in the image", size, offset)
		}
		h := sha256.New()
		if _, err := io.Copy(h, io.NewSectionReader(img, offset, size)); err != nil {
			return nil, err
		}
		if fmt.Sprintf("%x", h.Sum(nil)) != want {
			return nil, fmt.Errorf("other bytes at %#x", offset)
		}
		return []attest.Extent{{Offset: offset, Size: size}}, nil
	}
	if img.SHA256 == want {
		return []attest.Extent{{Offset: 0, Size: img.Size}}, nil
	}
	var out []attest.Extent
	err := img.Walk(func(_ []*firmware.Region, holder *firmware.Image, r *firmware.Region) error {
		if holder == img && r.SHA256 == want {
			out = append(out, attest.Extent{Offset: r.Offset, Size: r.Size})
		}
		return nil
	})
	if err == nil && len(out) == 0 {
		err = errors.New("no region has its digest")
	}
	return out, err
}

// annotatedInt reads a number, or a string with a number as JSON needs for
// those over 2^53.
func annotatedInt(m map[string]any, key string) (int64, bool) {
	switch v := m[key].(type) {
	case float64:
		return int64(v), v == float64(int64(v))
	case string:
		n, err := strconv.ParseInt(v, 0, 64)
		return n, err == nil
	}
	return 0, false
}

// findSigner returns the anchor under whose key sig holds over the message, and
// the algorithm; or, in other, an RSA anchor that made it over something else.
func findSigner(anchors []*Anchor, sig []byte, message func() io.Reader) (a *Anchor, algorithm string, other *Anchor) {
	for _, a := range anchors {
		for _, v := range verifiers(a.public) {
			if v.verifier.VerifySignature(bytes.NewReader(sig), message()) == nil {
				return a, v.name, nil
			}
		}
		if k, ok := a.public.(*rsa.PublicKey); ok && signedSomethingElse(k, sig, crypto.SHA256) {
			other = a
		}
	}
	return nil, "", other
}

type namedVerifier struct {
	name     string
	verifier signature.Verifier
}

// verifiers are the ways in which a key may have signed. A detached signature
// does not say which; none accepts what another made.
func verifiers(key crypto.PublicKey) []namedVerifier {
	var out []namedVerifier
	add := func(name string, v signature.Verifier, err error) {
		if err == nil {
			out = append(out, namedVerifier{name, v})
		}
	}
	switch k := key.(type) {
	case *rsa.PublicKey:
		for _, h := range []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512} {
			v1, err := signature.LoadRSAPKCS1v15Verifier(k, h)
			add(fmt.Sprintf("RSA-%d PKCS#1 v1.5 %s", k.N.BitLen(), h), v1, err)
			v2, err := signature.LoadRSAPSSVerifier(k, h, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthAuto, Hash: h})
			add(fmt.Sprintf("RSA-%d PSS %s", k.N.BitLen(), h), v2, err)
		}
	case *ecdsa.PublicKey:
		for _, h := range []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512} {
			v, err := signature.LoadECDSAVerifier(k, h)
			add(fmt.Sprintf("ECDSA %s %s", k.Curve.Params().Name, h), v, err)
		}
	case ed25519.PublicKey:
		v, err := signature.LoadED25519Verifier(k)
		add("Ed25519", v, err)
		ph, err := signature.LoadED25519phVerifier(k)
		add("Ed25519ph", ph, err)
	}
	return out
}
