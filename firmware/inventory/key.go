package inventory

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math/big"
	"strings"
)

// addKey keeps a key. The private half was never put into it.
func (p *pass) addKey(k Key, pos int64) bool {
	k.Path, k.Offset = p.where, p.origin+pos
	p.report.Keys = append(p.report.Keys, k)
	return true
}

// algorithm names a public key, "" for one of an unknown type.
func algorithm(key any) string {
	switch k := key.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA %d", k.N.BitLen())
	case *ecdsa.PublicKey:
		return "ECDSA " + k.Curve.Params().Name
	case ed25519.PublicKey:
		return "Ed25519"
	}
	return ""
}

// public fills in what a public key says.
func (k *Key) public(key any) {
	k.Algorithm = algorithm(key)
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil || k.Algorithm == "" {
		k.Problem = "its type is not known"
		return
	}
	k.SPKI = spkiSum(der)
}

// publicKey reads a SubjectPublicKeyInfo. Only what holds is reported of bare DER.
func (p *pass) publicKey(der []byte, format string, pos int64) bool {
	k := Key{Format: format}
	key, err := x509.ParsePKIXPublicKey(der)
	if err == nil {
		k.public(key)
		k.SPKI = spkiSum(der)
	} else if strings.HasPrefix(format, "PEM") {
		k.Problem = "broken: " + word(err.Error())
	} else {
		return false
	}
	return p.addKey(k, pos)
}

const maxRSA = 16384 // bits

func soundRSA(n *big.Int, e int) bool {
	return n.Sign() > 0 && n.BitLen() >= 256 && n.BitLen() <= maxRSA && n.Bit(0) == 1 && e > 1 && e&1 == 1
}

func (k *Key) rsaPublic(der []byte) {
	key, err := x509.ParsePKCS1PublicKey(der)
	if err != nil || !soundRSA(key.N, key.E) {
		k.Problem = "broken: no RSA public key"
		return
	}
	k.public(key)
}

// private reads what a private key says of its public half. The problem names
// no byte of it.
func (k *Key) private(kind string, der []byte) {
	k.Problem = "broken: it cannot be read"
	if len(der) > maxDER {
		return
	}
	switch kind {
	case "RSA PRIVATE KEY":
		// RFC 8017 appendix A.1.2. crypto/x509 would check and precompute more
		// than an inventory needs.
		var n struct {
			Version          int
			N                *big.Int
			E                int
			D, P, Q          *big.Int
			DP, DQ, QInv     *big.Int
			AdditionalPrimes asn1.RawValue `asn1:"optional"`
		}
		if _, err := asn1.Unmarshal(der, &n); err != nil || !soundRSA(n.N, n.E) || new(big.Int).Mul(n.P, n.Q).Cmp(n.N) != 0 {
			return
		}
		k.Problem = ""
		k.public(&rsa.PublicKey{N: n.N, E: n.E})
	case "EC PRIVATE KEY":
		if key, err := x509.ParseECPrivateKey(der); err == nil {
			k.Problem = ""
			k.public(&key.PublicKey)
		}
	case "DSA PRIVATE KEY":
		k.Algorithm, k.Problem = "DSA", "its public half is not read"
	case "PRIVATE KEY":
		var pkcs8 struct {
			Version   int
			Algorithm struct {
				ID         asn1.ObjectIdentifier
				Parameters asn1.RawValue `asn1:"optional"`
			}
			Key  []byte
			Rest []asn1.RawValue `asn1:"optional,omitempty,tag:0"`
		}
		if _, err := asn1.Unmarshal(der, &pkcs8); err != nil {
			return
		}
		if pkcs8.Algorithm.ID.Equal(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}) {
			k.private("RSA PRIVATE KEY", pkcs8.Key)
			return
		}
		key, err := x509.ParsePKCS8PrivateKey(der)
		if err != nil {
			return
		}
		if half, ok := key.(crypto.Signer); ok {
			k.Problem = ""
			k.public(half.Public())
		}
	}
}

// rsaVersions are how RSAPrivateKey goes on behind its header, for moduli of
// 1024, 2048, 3072 and 4096 bits.
var rsaVersions = []string{"\x02\x01\x00\x02\x81\x81\x00", "\x02\x01\x00\x02\x82\x01\x01\x00", "\x02\x01\x00\x02\x82\x01\x81\x00", "\x02\x01\x00\x02\x82\x02\x01\x00"}

// pkcs1 looks at the RSAPrivateKey whose version stands at buf[i].
func (p *pass) pkcs1(buf []byte, i int, pos int64) {
	if pos < p.derEnd || i < 4 || buf[i-4] != 0x30 || buf[i-3] != 0x82 {
		return
	}
	p.der(i, 4, buf, pos, func(der []byte, at int64) bool {
		k := Key{Private: true, Format: "DER PKCS #1"}
		k.private("RSA PRIVATE KEY", der)
		return k.Problem == "" && p.addKey(k, at)
	})
}

// sshLines are how public keys of OpenSSH begin (RFC 4253 section 6.6 in base64).
var sshLines = []string{"ssh-rsa AAAAB3NzaC1yc2E", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5", "ecdsa-sha2-nistp256 AAAAE2VjZHNh", "ecdsa-sha2-nistp384 AAAAE2VjZHNh", "ecdsa-sha2-nistp521 AAAAE2VjZHNh"}

func (p *pass) sshLine(_ []byte, pos int64) {
	line := p.bytes(pos, 4<<10)
	_, text, _ := bytes.Cut(line, []byte(" "))
	n := 0
	for n < len(text) && (wordByte(text[n]) && text[n] != '_' || text[n] == '+' || text[n] == '/' || text[n] == '=') {
		n++
	}
	k := Key{Format: "OpenSSH"}
	if blob, err := base64.StdEncoding.DecodeString(string(text[:n])); err == nil && k.sshPublic(blob) {
		p.addKey(k, pos)
	}
}

// sshString cuts a length-prefixed string (RFC 4251 section 5).
func sshString(b []byte) (s, rest []byte, ok bool) {
	if len(b) < 4 {
		return nil, nil, false
	}
	n := binary.BigEndian.Uint32(b)
	if uint64(n) > uint64(len(b)-4) {
		return nil, nil, false
	}
	return b[4 : 4+n], b[4+n:], true
}

// sshPublic reads a public key as SSH encodes it: RFC 4253 section 6.6, RFC 5656
// section 3.1, RFC 8709 section 4.
func (k *Key) sshPublic(blob []byte) bool {
	name, rest, ok := sshString(blob)
	if !ok {
		return false
	}
	first, rest, ok1 := sshString(rest)
	second, _, ok2 := sshString(rest)
	curves := map[string]elliptic.Curve{"ecdsa-sha2-nistp256": elliptic.P256(), "ecdsa-sha2-nistp384": elliptic.P384(), "ecdsa-sha2-nistp521": elliptic.P521()}
	switch curve := curves[string(name)]; {
	case string(name) == "ssh-rsa" && ok1 && ok2 && len(first) <= 4 && len(second) <= maxRSA/8+1:
		n, e := new(big.Int).SetBytes(second), int(new(big.Int).SetBytes(first).Int64())
		if !soundRSA(n, e) {
			return false
		}
		k.public(&rsa.PublicKey{N: n, E: e})
	case string(name) == "ssh-ed25519" && ok1 && len(first) == ed25519.PublicKeySize:
		k.public(ed25519.PublicKey(bytes.Clone(first)))
	case curve != nil && ok1 && ok2:
		key, err := ecdsa.ParseUncompressedPublicKey(curve, second)
		if err != nil {
			return false
		}
		k.public(key)
	default:
		return false
	}
	return true
}

// openSSH reads the public key that stands in clear in a private key of OpenSSH
// (its PROTOCOL.key): magic, cipher, KDF, its options, number of keys, public key.
func (k *Key) openSSH(b []byte) {
	k.Problem = "broken: it cannot be read"
	b, ok := bytes.CutPrefix(b, []byte("openssh-key-v1\x00"))
	if !ok {
		return
	}
	cipher, b, ok := sshString(b)
	if !ok {
		return
	}
	for range 2 {
		if _, b, ok = sshString(b); !ok {
			return
		}
	}
	if len(b) < 4 {
		return
	}
	if blob, _, ok := sshString(b[4:]); ok && k.sshPublic(blob) {
		k.Encrypted, k.Problem = string(cipher) != "none", ""
	}
}

// dropbearKey reads the public half of a host key of dropbear: its file is the
// public key as SSH encodes it with the private numbers behind (src/signkey.c).
func (p *pass) dropbearKey() {
	if p.size > 8<<10 {
		return
	}
	k := Key{Private: true, Format: "dropbear"}
	if b := p.bytes(0, p.size); strings.Contains(p.base, "key") && k.sshPublic(b) {
		p.addKey(k, 0)
	}
}
