package sbom

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"

	"assay/firmware/inventory"
)

// Certificates and keys are cryptographic assets. Of private keys there is only
// the fingerprint of their public half.

func (b *bill) certificates(report *inventory.Report) (list []cdx.Component) {
	for _, c := range report.Certificates {
		name := c.Subject
		if name == "" {
			name = "X.509 certificate"
		}
		asset := cdx.Component{
			BOMRef: b.ref(fmt.Sprintf("certificate:%s:%#x", c.Path, c.Offset)), Type: cdx.ComponentTypeCryptographicAsset, Name: name, Hashes: hashes(c.SHA256),
			CryptoProperties: &cdx.CryptoProperties{
				AssetType: cdx.CryptoAssetTypeCertificate,
				CertificateProperties: &cdx.CertificateProperties{
					SubjectName: c.Subject, IssuerName: c.Issuer, NotValidBefore: date(c.NotBefore), NotValidAfter: date(c.NotAfter), CertificateFormat: "X.509",
				},
			},
			Evidence:   &cdx.Evidence{Occurrences: occurrence(c.Path, c.Offset)},
			Properties: properties("serial", c.Serial, "algorithm", c.Algorithm, "signature", c.Signature, "spki-sha256", c.SPKI, "problem", c.Problem),
		}
		list = append(list, asset)
	}
	return list
}

func date(t time.Time) string {
	if t.IsZero() || t.Year() > 9999 {
		return ""
	}
	return t.Format(time.RFC3339)
}

func (b *bill) keys(report *inventory.Report) (list []cdx.Component) {
	for _, k := range report.Keys {
		kind, name := cdx.RelatedCryptoMaterialTypePublicKey, "public key"
		if k.Private {
			kind, name = cdx.RelatedCryptoMaterialTypePrivateKey, "private key"
		}
		if k.Algorithm != "" {
			name = k.Algorithm + " " + name
		}
		m := &cdx.RelatedCryptoMaterialProperties{Type: kind, ID: k.SPKI, Format: k.Format}
		if bits, err := strconv.Atoi(strings.TrimPrefix(k.Algorithm, "RSA ")); err == nil {
			m.Size = &bits
		}
		encrypted := ""
		if k.Encrypted {
			encrypted = "true"
		}
		list = append(list, cdx.Component{
			BOMRef: b.ref(fmt.Sprintf("key:%s:%#x", k.Path, k.Offset)), Type: cdx.ComponentTypeCryptographicAsset, Name: name,
			CryptoProperties: &cdx.CryptoProperties{AssetType: cdx.CryptoAssetTypeRelatedCryptoMaterial, RelatedCryptoMaterialProperties: m},
			Evidence:         &cdx.Evidence{Occurrences: occurrence(k.Path, k.Offset)},
			Properties:       properties("spki-sha256", k.SPKI, "encrypted", encrypted, "problem", k.Problem),
		})
	}
	return list
}
