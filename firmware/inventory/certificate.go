package inventory

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"encoding/pem"
	"strings"
)

// Certificates and keys are found as PEM blocks (RFC 7468) and, as bare DER, by
// the object identifiers of their algorithms, wherever they stand: in files of
// their own, compiled into programs, in raw flash.

const (
	maxPEM = 64 << 10
	maxDER = 16 << 10
)

// pem reads the block that begins at pos. A block ends before the next dashes, so
// that the cost is in what is read.
func (p *pass) pem(pos int64) {
	raw := p.bytes(pos, 1<<10)
	kind, _, ok := strings.Cut(string(raw[len("-----BEGIN "):min(len(raw), 64)]), "-----")
	if !ok || !isLabel(kind) {
		return
	}
	begin := len("-----BEGIN ") + len(kind) + len("-----")
	if p.body(raw[begin:]) < 16 {
		return // a text of a program that reads such blocks
	}
	end := bytes.Index(raw[begin:], []byte("-----"))
	if end < 0 {
		raw = p.bytes(pos, maxPEM)
		end = bytes.Index(raw[begin:], []byte("-----"))
	}
	tail := []byte("-----END " + kind + "-----")
	if end < 0 || !bytes.HasPrefix(raw[begin+end:], tail) {
		p.cut(kind, pos)
		return
	}
	raw = raw[:begin+end+len(tail)]
	if bytes.Contains(raw, []byte(`\n`)) { // in a configuration or a script
		raw = bytes.ReplaceAll(bytes.ReplaceAll(raw, []byte(`\r`), nil), []byte(`\n`), []byte("\n"))
	}
	block, _ := pem.Decode(append(bytes.Clone(raw), '\n'))
	if block == nil {
		p.cut(kind, pos)
		return
	}
	p.block(block, pos)
}

func isLabel(s string) bool {
	for i := range len(s) {
		if s[i] != ' ' && (s[i] < 'A' || s[i] > 'Z') && (s[i] < '0' || s[i] > '9') {
			return false
		}
	}
	return s != ""
}

// body counts the bytes of base64, or of a header, that a block begins with.
func (p *pass) body(b []byte) int {
	b = bytes.TrimLeft(bytes.TrimPrefix(bytes.TrimPrefix(b, []byte(`\r`)), []byte(`\n`)), "\r\n \t")
	n := 0
	for n < len(b) && n < 64 && (b[n] == '+' || b[n] == '/' || b[n] == '=' || wordByte(b[n]) && b[n] != '_' || n > 3 && strings.IndexByte("-:, ", b[n]) >= 0) {
		n++
	}
	return n
}

// cut notes a block that is there and cannot be decoded.
func (p *pass) cut(kind string, pos int64) {
	switch {
	case strings.HasSuffix(kind, "CERTIFICATE"):
		p.report.Certificates = append(p.report.Certificates, Certificate{Path: p.where, Offset: p.origin + pos, Problem: "the PEM block is cut short or broken"})
	case strings.HasSuffix(kind, "KEY"):
		p.addKey(Key{Private: strings.HasSuffix(kind, "PRIVATE KEY"), Format: "PEM " + kind, Problem: "the PEM block is cut short or broken"}, pos)
	}
}

func (p *pass) block(b *pem.Block, pos int64) {
	if b.Type == "TRUSTED CERTIFICATE" { // OpenSSL's: a certificate and what it is trusted for
		if n := derSize(b.Bytes); n > 0 && n <= len(b.Bytes) {
			b.Bytes = b.Bytes[:n]
		}
	}
	switch b.Type {
	case "CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE":
		p.certificate(b.Bytes, pos)
	case "PUBLIC KEY":
		p.publicKey(b.Bytes, "PEM "+b.Type, pos)
	case "RSA PUBLIC KEY":
		k := Key{Format: "PEM " + b.Type}
		k.rsaPublic(b.Bytes)
		p.addKey(k, pos)
	case "PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "DSA PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "OPENSSH PRIVATE KEY":
		k := Key{Private: true, Format: "PEM " + b.Type}
		switch {
		case b.Type == "ENCRYPTED PRIVATE KEY" || strings.Contains(b.Headers["Proc-Type"], "ENCRYPTED"):
			k.Encrypted = true
		case b.Type == "OPENSSH PRIVATE KEY":
			k.openSSH(b.Bytes)
		default:
			k.private(b.Type, b.Bytes)
		}
		p.addKey(k, pos)
	}
}

func (p *pass) certificate(der []byte, pos int64) {
	c := Certificate{Path: p.where, Offset: p.origin + pos}
	if len(der) > maxDER {
		c.Problem = "larger than the certificates that are read"
		p.report.Certificates = append(p.report.Certificates, c)
		return
	}
	sum := sha256.Sum256(der)
	c.SHA256 = hex.EncodeToString(sum[:])
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		c.Problem = "broken: " + word(err.Error())
	} else {
		c.Subject, c.Issuer = word(cert.Subject.String()), word(cert.Issuer.String())
		c.Serial = word(cert.SerialNumber.Text(16))
		c.NotBefore, c.NotAfter = cert.NotBefore.UTC(), cert.NotAfter.UTC()
		c.Signature, c.CA = cert.SignatureAlgorithm.String(), cert.IsCA
		c.Algorithm = algorithm(cert.PublicKey)
		if c.Algorithm == "" {
			c.Algorithm = cert.PublicKeyAlgorithm.String()
		}
		c.SPKI = spkiSum(cert.RawSubjectPublicKeyInfo)
		for _, i := range symbolRules.certificates {
			if m := rules[i].certificate.FindString(cert.Subject.String()); m != "" {
				p.addMark(i, c.Offset, word(m))
			}
		}
	}
	p.report.Certificates = append(p.report.Certificates, c)
}

func spkiSum(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

// keyOIDs are how the AlgorithmIdentifiers of PKCS #1 (RFC 8017 appendix C) and of
// elliptic curves (RFC 5480, RFC 5758) begin, with their tags and lengths.
var keyOIDs = []string{
	"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01", // RSA
	"\x06\x08\x2a\x86\x48\xce\x3d\x04\x03",     // ECDSA with SHA-2
	"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01",     // a key on an elliptic curve
}

// derSize is the size of a DER element of at most 64 KiB with its header, or 0.
func derSize(b []byte) int {
	switch {
	case len(b) < 4 || b[0] != 0x30:
		return 0
	case b[1] < 0x80:
		return 2 + int(b[1])
	case b[1] == 0x81 && b[2] >= 0x80:
		return 3 + int(b[2])
	case b[1] == 0x82 && b[2] != 0:
		return 4 + int(binary.BigEndian.Uint16(b[2:]))
	}
	return 0
}

// headerSize is the size of the header of a DER sequence whose size is known.
func headerSize(b []byte) int {
	if b[1] < 0x80 {
		return 2
	}
	return 2 + int(b[1]&0x7f)
}

// oid looks at the element that an object identifier at buf[i] belongs to: a key
// (RFC 5280 SubjectPublicKeyInfo, RFC 5958 OneAsymmetricKey), or a certificate,
// whose first identifier is that of its signature, behind its serial number.
func (p *pass) oid(buf []byte, i int, pos int64) {
	if pos < p.derEnd {
		return
	}
	if i < 4 || buf[i-2] != 0x30 || buf[i-1] >= 0x80 { // the AlgorithmIdentifier
		return
	}
	for back := 4; back <= min(i, 56); back++ {
		head := buf[i-back : i-2]
		if head[0] != 0x30 || derSize(buf[i-back:]) < back+8 {
			continue
		}
		inner := head[min(len(head), headerSize(head)):]
		switch {
		case len(inner) == 0:
			p.der(i, back, buf, pos, func(der []byte, at int64) bool { return p.publicKey(der, "DER SubjectPublicKeyInfo", at) })
		case string(inner) == "\x02\x01\x00":
			p.der(i, back, buf, pos, func(der []byte, at int64) bool {
				k := Key{Private: true, Format: "DER PKCS #8"}
				k.private("PRIVATE KEY", der)
				return k.Problem == "" && p.addKey(k, at)
			})
		case len(inner) > 5 && isSerial(inner):
			p.der(i, back, buf, pos, func(der []byte, at int64) bool {
				if _, err := x509.ParseCertificate(der); err != nil {
					return false
				}
				p.certificate(der, at)
				return true
			})
		default:
			continue
		}
		return
	}
}

// isSerial tells whether these bytes are how a TBSCertificate begins: its header,
// the version unless it is 1, and a serial number up to the end.
func isSerial(b []byte) bool {
	if b[0] != 0x30 || derSize(b) == 0 {
		return false
	}
	b = b[headerSize(b):]
	b = bytes.TrimPrefix(bytes.TrimPrefix(b, []byte("\xa0\x03\x02\x01\x02")), []byte("\xa0\x03\x02\x01\x01"))
	return len(b) > 2 && b[0] == 2 && b[1] > 0 && b[1] < 32 && len(b) == 2+int(b[1])
}

// der reads the element that begins back bytes before buf[i] and skips it if take
// takes it. In all, no more is parsed than four times what is searched.
func (p *pass) der(i, back int, buf []byte, pos int64, take func(der []byte, at int64) bool) {
	n := int64(derSize(buf[i-back:]))
	at := pos - int64(back)
	if at < 0 || n > maxDER || n > p.size-at || p.tried+n > 4*p.size+maxDER {
		return
	}
	p.tried += n
	if der := p.bytes(at, n); int64(len(der)) == n && take(der, at) {
		p.derEnd = at + n
	}
}
