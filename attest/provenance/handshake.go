package provenance

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	_ "crypto/sha256"
	_ "crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
)

// This file checks, from the bytes of a TLS handshake, that the server signed
// it with the key of the certificate that it presented. Sources: RFC 8446
// (TLS 1.3) sections 4.4.1 to 4.4.3, 5.2 and 7.1 to 7.3; RFC 5246 (TLS 1.2)
// section 7.4.3 with RFC 8422 section 5.4 for elliptic curves.
//
// What proves possession differs. TLS 1.3: CertificateVerify, a signature over
// the whole transcript. TLS 1.2 with (EC)DHE: ServerKeyExchange, a signature
// over both randoms and the server's parameters. TLS 1.2 with RSA key exchange
// signs nothing: the server shows that it, or somebody whom it can ask, can
// decrypt, which flaws such as Bleichenbacher's turn into a service for
// strangers; that is no proof here. TLS 1.0 and 1.1 sign with SHA-1 and MD5,
// which are none either.
//
// That the random in the ClientHello is fresh is the word of the program that
// made the connection.

// maxHandshake bounds each side of a handshake.
const maxHandshake = 256 << 10

// signedHandshake is a handshake whose signature holds.
type signedHandshake struct {
	chain  []*x509.Certificate // as presented, the unit's own first
	signed string              // what was signed and how, as in "TLS 1.3 CertificateVerify, ECDSAWithP256AndSHA256"
	random []byte              // the 32 fresh bytes of ours that the signature covers
}

var (
	errNotSigned    = errors.New("the key signed nothing")           // no proof of possession, by the protocol's design
	errBadSignature = errors.New("the signature does not hold")      // the key did not sign this handshake
	errTranscript   = errors.New("not a whole handshake transcript") // cannot be read
)

// Messages, extensions and record types (RFC 8446 sections 4, 4.2 and 5.1).
const (
	typeClientHello       = 1
	typeServerHello       = 2
	typeCertificate       = 11
	typeServerKeyExchange = 12
	typeServerHelloDone   = 14
	typeCertificateVerify = 15
	typeMessageHash       = 254

	extensionSupportedVersions = 43

	recordChangeCipherSpec = 20
	recordAlert            = 21
	recordHandshake        = 22
	recordApplicationData  = 23
)

// helloRetry is the random of a ServerHello that is a HelloRetryRequest: SHA-256
// of that word (RFC 8446 section 4.1.3).
var helloRetry = [32]byte{
	0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
	0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
}

// readHandshake returns the chain and what was signed. With an error that wraps
// errNotSigned or errBadSignature the chain is there, too.
func readHandshake(sent, received, secret []byte) (*signedHandshake, error) {
	if len(sent) > maxHandshake || len(received) > maxHandshake {
		return nil, fmt.Errorf("%w: over %d bytes", errTranscript, maxHandshake)
	}
	client := &messages{records: sent}
	server := &messages{records: received}
	hello, err := client.want(typeClientHello)
	if err != nil {
		return nil, err
	}
	answer, err := server.want(typeServerHello)
	if err != nil {
		return nil, err
	}
	ours, err := parseClientHello(hello)
	if err != nil {
		return nil, err
	}
	theirs, err := parseServerHello(answer)
	if err != nil {
		return nil, err
	}
	if theirs.version == tls.VersionTLS13 {
		return readTLS13(client, server, hello, answer, theirs, ours, secret)
	}
	return readTLS12(server, theirs, ours)
}

type serverHello struct {
	version, suite uint16
	random         []byte
}

func parseClientHello(message []byte) (random []byte, err error) {
	s := cryptobyte.String(message[4:])
	if !s.Skip(2) || !s.ReadBytes(&random, 32) {
		return nil, fmt.Errorf("%w: ClientHello", errTranscript)
	}
	return random, nil
}

func parseServerHello(message []byte) (h serverHello, err error) {
	s := cryptobyte.String(message[4:])
	var session, extensions cryptobyte.String
	if !s.ReadUint16(&h.version) || !s.ReadBytes(&h.random, 32) || !s.ReadUint8LengthPrefixed(&session) || !s.ReadUint16(&h.suite) || !s.Skip(1) {
		return h, fmt.Errorf("%w: ServerHello", errTranscript)
	}
	if s.Empty() {
		return h, nil
	}
	if !s.ReadUint16LengthPrefixed(&extensions) {
		return h, fmt.Errorf("%w: ServerHello extensions", errTranscript)
	}
	for !extensions.Empty() {
		var kind uint16
		var body cryptobyte.String
		if !extensions.ReadUint16(&kind) || !extensions.ReadUint16LengthPrefixed(&body) {
			return h, fmt.Errorf("%w: ServerHello extensions", errTranscript)
		}
		if kind == extensionSupportedVersions && !body.ReadUint16(&h.version) {
			return h, fmt.Errorf("%w: ServerHello version", errTranscript)
		}
	}
	return h, nil
}

// readTLS12 reads what a server says in the clear.
func readTLS12(server *messages, hello serverHello, random []byte) (*signedHandshake, error) {
	out := &signedHandshake{random: random}
	for {
		m, err := server.next()
		if err != nil {
			return nil, err
		}
		switch m[0] {
		case typeCertificate:
			if out.chain, err = parseChain(m, false); err != nil {
				return nil, err
			}
		case typeServerKeyExchange:
			if out.chain == nil {
				return nil, fmt.Errorf("%w: no certificate before the key exchange", errTranscript)
			}
			return out, out.verifyKeyExchange(m, hello)
		case typeServerHelloDone:
			if out.chain == nil {
				return nil, fmt.Errorf("%w: no certificate", errTranscript)
			}
			return out, fmt.Errorf("%w: %s with RSA key exchange only shows that it can decrypt", errNotSigned, tls.VersionName(hello.version))
		}
	}
}

// verifyKeyExchange checks the signature over ECDHE parameters.
func (h *signedHandshake) verifyKeyExchange(message []byte, hello serverHello) error {
	if hello.version != tls.VersionTLS12 {
		return fmt.Errorf("%w: %s signs with SHA-1 or MD5, which proves nothing", errNotSigned, tls.VersionName(hello.version))
	}
	body := cryptobyte.String(message[4:])
	whole := []byte(body)
	var curveType uint8
	var point, signature cryptobyte.String
	if !body.ReadUint8(&curveType) || curveType != 3 || !body.Skip(2) || !body.ReadUint8LengthPrefixed(&point) {
		return fmt.Errorf("%w: a key exchange that is not ECDHE on a named curve", errTranscript)
	}
	params := whole[:len(whole)-len(body)]
	var scheme uint16
	if !body.ReadUint16(&scheme) || !body.ReadUint16LengthPrefixed(&signature) {
		return fmt.Errorf("%w: ServerKeyExchange", errTranscript)
	}
	h.signed = "TLS 1.2 ServerKeyExchange, " + tls.SignatureScheme(scheme).String()
	signed := append(append(append([]byte{}, h.random...), hello.random...), params...)
	return verifyScheme(h.chain[0].PublicKey, tls.SignatureScheme(scheme), signed, signature, false)
}

func readTLS13(client, server *messages, hello, answer []byte, theirs serverHello, ours, secret []byte) (*signedHandshake, error) {
	suite, err := suiteOf(theirs.suite)
	if err != nil {
		return nil, err
	}
	transcript := suite.hash.New()
	if [32]byte(theirs.random) == helloRetry {
		// The first ClientHello counts by its hash (section 4.4.1), and the
		// random is the same in the second (section 4.1.2).
		first := suite.hash.New()
		first.Write(hello)
		transcript.Write([]byte{typeMessageHash, 0, 0, byte(first.Size())})
		transcript.Write(first.Sum(nil))
		transcript.Write(answer)
		if hello, err = client.want(typeClientHello); err != nil {
			return nil, err
		}
		if ours, err = parseClientHello(hello); err != nil {
			return nil, err
		}
		if answer, err = server.want(typeServerHello); err != nil {
			return nil, err
		}
		if theirs, err = parseServerHello(answer); err != nil {
			return nil, err
		}
	}
	transcript.Write(hello)
	transcript.Write(answer)
	if server.open, err = suite.opener(secret); err != nil {
		return nil, err
	}
	out := &signedHandshake{random: ours}
	for {
		m, err := server.next()
		if err != nil {
			return nil, err
		}
		switch m[0] {
		case typeCertificate:
			if out.chain, err = parseChain(m, true); err != nil {
				return nil, err
			}
		case typeCertificateVerify:
			if out.chain == nil {
				return nil, fmt.Errorf("%w: no certificate before its signature", errTranscript)
			}
			s := cryptobyte.String(m[4:])
			var scheme uint16
			var signature cryptobyte.String
			if !s.ReadUint16(&scheme) || !s.ReadUint16LengthPrefixed(&signature) {
				return nil, fmt.Errorf("%w: CertificateVerify", errTranscript)
			}
			signed := make([]byte, 64, 64+34+64)
			for i := range signed {
				signed[i] = ' '
			}
			signed = append(signed, "TLS 1.3, server CertificateVerify\x00"...)
			signed = transcript.Sum(signed)
			out.signed = "TLS 1.3 CertificateVerify, " + tls.SignatureScheme(scheme).String()
			return out, verifyScheme(out.chain[0].PublicKey, tls.SignatureScheme(scheme), signed, signature, true)
		}
		transcript.Write(m)
	}
}

// maxChain bounds the certificates of one handshake.
const maxChain = 16

func parseChain(message []byte, tls13 bool) ([]*x509.Certificate, error) {
	s := cryptobyte.String(message[4:])
	var context, list cryptobyte.String
	if tls13 && !s.ReadUint8LengthPrefixed(&context) || !s.ReadUint24LengthPrefixed(&list) {
		return nil, fmt.Errorf("%w: Certificate", errTranscript)
	}
	var chain []*x509.Certificate
	for !list.Empty() {
		var der, extensions cryptobyte.String
		if !list.ReadUint24LengthPrefixed(&der) || tls13 && !list.ReadUint16LengthPrefixed(&extensions) {
			return nil, fmt.Errorf("%w: Certificate", errTranscript)
		}
		if len(chain) == maxChain {
			return nil, fmt.Errorf("%w: more than %d certificates", errTranscript, maxChain)
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("%w: certificate %d: %v", errTranscript, len(chain)+1, err)
		}
		chain = append(chain, c)
	}
	if len(chain) == 0 {
		return nil, fmt.Errorf("%w: no certificate", errTranscript)
	}
	return chain, nil
}

// verifyScheme checks a signature by the schemes of RFC 8446 section 4.2.3. In
// TLS 1.3 a scheme names its curve, and PKCS#1 v1.5 is out.
func verifyScheme(key crypto.PublicKey, scheme tls.SignatureScheme, signed, signature []byte, tls13 bool) error {
	var hash crypto.Hash
	curve, pss := "", false
	switch scheme {
	case tls.ECDSAWithP256AndSHA256:
		hash, curve = crypto.SHA256, "P-256"
	case tls.ECDSAWithP384AndSHA384:
		hash, curve = crypto.SHA384, "P-384"
	case tls.ECDSAWithP521AndSHA512:
		hash, curve = crypto.SHA512, "P-521"
	case tls.PSSWithSHA256:
		hash, pss = crypto.SHA256, true
	case tls.PSSWithSHA384:
		hash, pss = crypto.SHA384, true
	case tls.PSSWithSHA512:
		hash, pss = crypto.SHA512, true
	case tls.PKCS1WithSHA256:
		hash = crypto.SHA256
	case tls.PKCS1WithSHA384:
		hash = crypto.SHA384
	case tls.PKCS1WithSHA512:
		hash = crypto.SHA512
	case tls.Ed25519:
	default:
		return fmt.Errorf("%w: scheme %v proves nothing", errNotSigned, scheme)
	}
	var digest []byte
	if hash != 0 {
		h := hash.New()
		h.Write(signed)
		digest = h.Sum(nil)
	}
	ok := false
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		ok = curve != "" && (!tls13 || k.Curve.Params().Name == curve) && ecdsa.VerifyASN1(k, digest, signature)
	case *rsa.PublicKey:
		switch {
		case acceptable(k) != nil:
			return fmt.Errorf("%w: %v", errNotSigned, acceptable(k))
		case pss:
			ok = rsa.VerifyPSS(k, hash, digest, signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
		case curve == "" && hash != 0 && !tls13:
			ok = rsa.VerifyPKCS1v15(k, hash, digest, signature) == nil
		}
	case ed25519.PublicKey:
		ok = scheme == tls.Ed25519 && ed25519.Verify(k, signed, signature)
	}
	if !ok {
		return errBadSignature
	}
	return nil
}
