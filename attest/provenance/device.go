package provenance

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"assay/attest"
	"assay/attest/internal/proof"
)

// SchemeDevice is the scheme of an endorsement that is a device certificate
// (IEEE 802.1AR) with a handshake signed by its key.
const SchemeDevice = "802.1ar-tls"

// Device is what a unit's handshake proves of it.
type Device struct {
	Endorsement attest.Endorsement
	Chain       []*x509.Certificate // as the unit presented it
	Names       DeviceNames
	Comparison  Comparison

	signed, anchored, proven bool
}

// SelfSigned reports whether the unit vouches for itself: a certificate as web
// servers make them, which endorses nothing.
func (d *Device) SelfSigned() bool {
	return len(d.Chain) == 1 && bytes.Equal(d.Chain[0].RawIssuer, d.Chain[0].RawSubject) &&
		d.Chain[0].CheckSignature(d.Chain[0].SignatureAlgorithm, d.Chain[0].RawTBSCertificate, d.Chain[0].Signature) == nil
}

// Proven reports whether the unit holds a key that its maker certified for a
// unit of the names that it goes by.
func (d *Device) Proven() bool { return d.proven }

// Grade raises a claim to possession of a vendor-certified key, where that was proven.
func (d *Device) Grade(c *attest.Claim) {
	if d.proven {
		c.Raise(proof.KeyPossession(), d.Endorsement.ID)
	}
}

// Mark is the sign of its maker that a proven device certificate is; nothing
// where none was verified. It stands where the names contradict, too: a
// genuine key of a maker is in there.
func (d *Device) Mark() (attest.Mark, bool) {
	return attest.Mark{
		Entity: d.Endorsement.Maker, Subject: attest.SubjectUnit, Strength: attest.C3, Rule: "device-certificate",
		Says:  "the unit holds a device key that " + d.Endorsement.Maker + " certified",
		Match: d.Names.Subject, Source: d.Endorsement.Source,
	}, d.signed && d.anchored
}

// VerifyDevice checks a TLS handshake against the anchors for device identity
// that speak for the model, and the certificate's names against the serial
// numbers and MAC addresses that the unit says of itself.
//
// It does not check that whatever else answers at that address is the same
// unit, other than by these names; revocation, which no vendor of device
// certificates publishes; and name constraints on directory names, of which a
// critical one makes the chain unusable.
func VerifyDevice(source string, sent, received, secret []byte, anchors []*Anchor, model string, serials, macs []string, now time.Time) (*Device, error) {
	h, err := readHandshake(sent, received, secret)
	if h == nil {
		return nil, err
	}
	leaf := h.chain[0]
	d := &Device{Chain: h.chain, signed: err == nil}
	d.Endorsement = attest.Endorsement{
		Scheme: SchemeDevice, Subject: attest.SubjectUnit, Algorithm: h.signed, Source: source,
		Key: string(attest.DigestOf(leaf.RawSubjectPublicKeyInfo)),
	}
	e := &d.Endorsement
	names, nameErr := ReadDeviceNames(leaf)
	d.Names = names
	a, status, why := anchorOf(h.chain, anchors, PurposeDeviceIdentity, model, now)
	if a != nil {
		e.Maker, e.Anchor = a.Maker, a.ID
	}
	d.anchored = status == attest.StatusVerified
	d.Comparison = names.compare(serials, macs)
	what := "the certificate of " + quote(names.Subject)
	switch {
	case errors.Is(err, errBadSignature):
		d.anchored = false
		e.Status, e.Detail = attest.StatusFailed, what+" was presented, and the handshake is not signed by its key"
	case status != attest.StatusVerified:
		e.Status, e.Detail = status, what+": "+why
	case err != nil:
		e.Status, e.Detail = attest.StatusUnsupported, fmt.Sprintf("%s chains to anchor %s, but possession of its key is not proven: %v", what, a.ID, err)
	case leaf.KeyUsage != 0 && leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		d.anchored = false
		e.Status, e.Detail = attest.StatusUnmatched, what+" is for a key that may not sign, and it signed the handshake"
	case nameErr != nil:
		e.Status, e.Detail = attest.StatusUnsupported, fmt.Sprintf("%s: %v", what, nameErr)
	case len(d.Comparison.Against) > 0:
		e.Status, e.Detail = attest.StatusUnmatched, what+" is genuine and of another unit: it says "+strings.Join(d.Comparison.Against, "; ")
	case d.Comparison.Compared && len(d.Comparison.Agree) == 0:
		e.Status, e.Detail = attest.StatusUnmatched, what+" is genuine, but no name in it is one by which the unit goes"
	default:
		d.proven = true
		e.Status, e.Detail = attest.StatusVerified, "a fresh handshake is signed by the key of "+quote(names.Subject)
		if len(d.Comparison.Agree) > 0 {
			e.Detail += "; the unit's own words agree: " + strings.Join(d.Comparison.Agree, ", ")
		} else {
			e.Detail += "; the unit said neither serial number nor MAC address to compare"
		}
	}
	return d, nil
}

func quote(s string) string {
	const most = 200
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return fmt.Sprintf("%q", s)
}

// anchorOf builds the path from a chain's first certificate, through the others
// in any order, to an anchor of the purpose that speaks for the model. The
// anchor is returned with what the path came to, where one is concerned.
func anchorOf(chain []*x509.Certificate, anchors []*Anchor, purpose, model string, now time.Time) (*Anchor, attest.Status, string) {
	leaf := chain[0]
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	var usable []*Anchor
	for _, a := range anchors {
		if a.Purpose == purpose && a.certificate != nil {
			usable = append(usable, a)
			roots.AddCert(a.certificate)
		}
	}
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	if leaf.IsCA {
		return nil, attest.StatusUnanchored, "it is an authority's and not a device's"
	}
	// Go leaves a critical subjectAltName of otherNames unhandled. RFC 5280 makes
	// it critical where the subject is empty; ReadDeviceNames handles it.
	handled := *leaf
	handled.UnhandledCriticalExtensions = slices.DeleteFunc(slices.Clone(leaf.UnhandledCriticalExtensions), oidSubjectAltName.Equal)
	// An 802.1AR certificate need not name a use, and one that names 802.1X's
	// (client authentication) proves the device as well.
	paths, err := handled.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	var other *Anchor
	for _, p := range paths {
		for _, a := range usable {
			if !a.certificate.Equal(p[len(p)-1]) {
				continue
			}
			if a.Vouches(model) {
				return a, attest.StatusVerified, ""
			}
			other = a
		}
	}
	switch {
	case other != nil:
		return other, attest.StatusUnanchored, fmt.Sprintf("anchor %s (%s) issued it, and does not speak for model %q", other.ID, other.Maker, model)
	case len(usable) == 0:
		return nil, attest.StatusUnanchored, "no anchor for " + purpose + " is in the trust store"
	}
	if a, forged := forgedIssue(chain, usable); forged != nil {
		return a, attest.StatusFailed, fmt.Sprintf("%s says that anchor %s (%s) issued it, and the signature does not hold", quote(forged.Subject.String()), a.ID, a.Maker)
	}
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return nil, attest.StatusUnanchored, fmt.Sprintf("%s is not valid on %s (from %s to %s)", quote(invalid.Cert.Subject.String()),
			now.UTC().Format(time.DateOnly), invalid.Cert.NotBefore.Format(time.DateOnly), invalid.Cert.NotAfter.Format(time.DateOnly))
	case errors.As(err, new(x509.UnknownAuthorityError)):
		last := topOf(chain)
		return nil, attest.StatusUnanchored, fmt.Sprintf("none of the %d anchors for %s vouches for it; its issuer %s was not presented", len(usable), purpose, quote(last.Issuer.String()))
	}
	return nil, attest.StatusUnanchored, fmt.Sprintf("its chain does not hold: %v", err)
}

// topOf follows the issuers from the first certificate as far as they are there.
func topOf(chain []*x509.Certificate) *x509.Certificate {
	top := chain[0]
	for range chain {
		i := slices.IndexFunc(chain[1:], func(c *x509.Certificate) bool {
			return c != top && bytes.Equal(c.RawSubject, top.RawIssuer) && !bytes.Equal(top.RawIssuer, top.RawSubject)
		})
		if i < 0 {
			break
		}
		top = chain[1+i]
	}
	return top
}

// forgedIssue finds a certificate that names an anchor's very key as its issuer
// and was not signed by it. Names alone are not enough: an authority may have
// renewed its key under its old name.
func forgedIssue(chain []*x509.Certificate, anchors []*Anchor) (*Anchor, *x509.Certificate) {
	for _, c := range chain {
		for _, a := range anchors {
			by := a.certificate
			if !bytes.Equal(c.RawIssuer, by.RawSubject) || len(c.AuthorityKeyId) == 0 || !bytes.Equal(c.AuthorityKeyId, by.SubjectKeyId) {
				continue
			}
			if err := by.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature); err != nil && !errors.As(err, new(x509.InsecureAlgorithmError)) && !errors.Is(err, x509.ErrUnsupportedAlgorithm) {
				return a, c
			}
		}
	}
	return nil, nil
}
