package permit

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/sigstore/sigstore/pkg/cryptoutils"

	"assay/attest"
	"assay/internal/durable"
)

// KeyKind is a kind of key that permits are signed with.
type KeyKind string

// The kinds. cosign verifies both; with a bare key it fixes SHA-256, which
// rules out P-384. RSA is left out: its signatures do not fit a label.
const (
	ECDSAP256 KeyKind = "ecdsa-p256"
	Ed25519   KeyKind = "ed25519"
)

// maxKeyFile is far over the size of any key file.
const maxKeyFile = 64 << 10

// NewKey makes a private key.
func NewKey(kind KeyKind) (crypto.Signer, error) {
	switch kind {
	case ECDSAP256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case Ed25519:
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	}
	return nil, fmt.Errorf("permit: %w, not %q", ErrKeyKind, kind)
}

// checkKind says whether permits are signed with keys such as key.
func checkKind(key crypto.PublicKey) error {
	switch k := key.(type) {
	case ed25519.PublicKey:
		if len(k) == ed25519.PublicKeySize {
			return nil
		}
		return fmt.Errorf("%w, not an Ed25519 key of %d bytes", ErrKeyKind, len(k))
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() {
			return nil
		}
		return fmt.Errorf("%w, not ECDSA %s: cosign verifies bare keys with SHA-256 only", ErrKeyKind, k.Params().Name)
	case *rsa.PublicKey:
		return fmt.Errorf("%w, not RSA: its signatures are too long for a label", ErrKeyKind)
	}
	return fmt.Errorf("%w, not %T", ErrKeyKind, key)
}

// KeyOption changes how a private key is written.
type KeyOption func(*keyOptions)

type keyOptions struct{ emptyPassphrase bool }

// UnsafeEmptyPassphrase allows a private key that anyone who gets its file can
// sign permits with. It is for demonstrations and tests.
func UnsafeEmptyPassphrase() KeyOption {
	return func(o *keyOptions) { o.emptyPassphrase = true }
}

// EncodePrivate returns the key as cosign keeps it, a PEM block ENCRYPTED
// SIGSTORE PRIVATE KEY: PKCS#8 under NaCl secretbox, with a key that scrypt
// derives from the passphrase (secure-systems-lab/go-securesystemslib
// encrypted/encrypted.go).
func EncodePrivate(key crypto.Signer, passphrase []byte, options ...KeyOption) ([]byte, error) {
	var o keyOptions
	for _, set := range options {
		set(&o)
	}
	if len(passphrase) == 0 && !o.emptyPassphrase {
		return nil, fmt.Errorf("permit: %w", ErrNoPassphrase)
	}
	if err := checkKind(key.Public()); err != nil {
		return nil, fmt.Errorf("permit: %w", err)
	}
	given := append([]byte{}, passphrase...) // sigstore takes nil for no encryption at all
	der, err := cryptoutils.MarshalPrivateKeyToEncryptedDER(key, func(bool) ([]byte, error) { return given, nil })
	if err != nil {
		return nil, fmt.Errorf("permit: encrypt private key: %w", err)
	}
	return cryptoutils.PEMEncode(cryptoutils.EncryptedSigstorePrivateKeyPEMType, der), nil
}

// LoadPrivate reads a private key: one written by [EncodePrivate] or by cosign
// generate-key-pair, PKCS#8 plain or encrypted, or SEC 1. It asks for the
// passphrase only where one is needed. A wrong one is [ErrPassphrase].
// The file must be one's own: an encrypted PKCS#8 file says itself how much
// work deriving its key shall cost, and that is not bounded.
func LoadPrivate(file []byte, passphrase func() ([]byte, error)) (crypto.Signer, error) {
	block, err := privateBlock(file)
	if err != nil {
		return nil, fmt.Errorf("permit: private key: %w", err)
	}
	encrypted := strings.Contains(block.Type, "ENCRYPTED") || block.Headers["DEK-Info"] != ""
	ask := func(bool) ([]byte, error) { return nil, ErrNoPassphrase }
	if passphrase != nil {
		ask = func(bool) ([]byte, error) {
			p, err := passphrase()
			return append([]byte{}, p...), err
		}
	}
	var asked error
	parsed, err := cryptoutils.UnmarshalPEMToPrivateKey(pem.EncodeToMemory(block), func(confirm bool) ([]byte, error) {
		p, err := ask(confirm)
		asked = err
		return p, err
	})
	if asked != nil {
		return nil, fmt.Errorf("permit: private key: passphrase: %w", asked)
	}
	if err != nil && encrypted {
		return nil, fmt.Errorf("permit: private key: %w", ErrPassphrase)
	}
	if err != nil {
		return nil, fmt.Errorf("permit: private key: %w", err)
	}
	key, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("permit: private key: %w, not %T", ErrKeyKind, parsed)
	}
	if err := checkKind(key.Public()); err != nil {
		return nil, fmt.Errorf("permit: private key: %w", err)
	}
	return key, nil
}

// privateBlock passes over the EC PARAMETERS that OpenSSL writes before a key.
func privateBlock(file []byte) (*pem.Block, error) {
	if len(file) > maxKeyFile {
		return nil, fmt.Errorf("file of %d bytes is over %d", len(file), maxKeyFile)
	}
	for {
		block, rest := pem.Decode(file)
		if block == nil {
			return nil, errors.New("file holds no PEM block with a private key")
		}
		if strings.HasSuffix(block.Type, "PRIVATE KEY") {
			return block, nil
		}
		file = rest
	}
}

// EncodePublic returns the key as a PEM block PUBLIC KEY.
func EncodePublic(key crypto.PublicKey) ([]byte, error) {
	b, err := cryptoutils.MarshalPublicKeyToPEM(key)
	if err != nil {
		return nil, fmt.Errorf("permit: public key: %w", err)
	}
	return b, nil
}

// LoadPublic reads one or more PEM blocks PUBLIC KEY, of keys of any kind. Text
// around the blocks is ignored, as a place for remarks.
func LoadPublic(file []byte) ([]crypto.PublicKey, error) {
	if len(file) > maxKeyFile {
		return nil, fmt.Errorf("permit: public key: file of %d bytes is over %d", len(file), maxKeyFile)
	}
	whole := file
	var keys []crypto.PublicKey
	for {
		block, rest := pem.Decode(file)
		if block == nil {
			break
		}
		if block.Type != "PUBLIC KEY" {
			return nil, fmt.Errorf("permit: public key: block %d is %q, not PUBLIC KEY", len(keys)+1, block.Type)
		}
		key, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("permit: public key: block %d: %w", len(keys)+1, err)
		}
		keys, file = append(keys, key), rest
	}
	if n := bytes.Count(whole, []byte("-----BEGIN")); n > len(keys) {
		return nil, fmt.Errorf("permit: public key: %d of %d blocks are damaged", n-len(keys), n)
	}
	if len(keys) == 0 {
		return nil, errors.New("permit: public key: file holds no PEM block PUBLIC KEY")
	}
	return keys, nil
}

// Fingerprint is the SHA-256 of the key's SubjectPublicKeyInfo (RFC 5280
// section 4.1), and empty for a key that has none.
func Fingerprint(key crypto.PublicKey) attest.Digest {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return ""
	}
	return attest.DigestOf(der)
}

// WriteKeyPair writes dir/name.key, readable by its owner only, and
// dir/name.pub. It never overwrites: the error is then [fs.ErrExist]. The
// private key is written first, so a public key is never published whose
// private key was lost.
func WriteKeyPair(dir, name string, key crypto.Signer, passphrase []byte, options ...KeyOption) error {
	if name == "" || name != filepath.Base(name) {
		return fmt.Errorf("permit: key pair: %q is not a plain file name", name)
	}
	private, err := EncodePrivate(key, passphrase, options...)
	if err != nil {
		return err
	}
	public, err := EncodePublic(key.Public())
	if err != nil {
		return err
	}
	if err := durable.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("permit: key pair: %w", err)
	}
	path := filepath.Join(dir, name)
	if _, err := os.Lstat(path + ".pub"); err == nil {
		return fmt.Errorf("permit: key pair: %s.pub: %w", path, fs.ErrExist)
	}
	if err := durable.Create(path+".key", 0o600, durable.Bytes(private)); err != nil {
		return fmt.Errorf("permit: key pair: %w", err)
	}
	if err := durable.Create(path+".pub", 0o644, durable.Bytes(public)); err != nil {
		return fmt.Errorf("permit: key pair: %w", err)
	}
	return nil
}
