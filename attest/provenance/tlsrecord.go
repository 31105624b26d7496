package provenance

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/tls"
	"encoding/binary"
	"fmt"

	"golang.org/x/crypto/chacha20poly1305"
)

// This file takes the messages out of the records of a TLS handshake, and opens
// those that TLS 1.3 seals (RFC 8446 sections 5.1 to 5.3, 7.1 and 7.3).

// messages splits the records of one side into handshake messages.
type messages struct {
	records []byte
	open    func(header, sealed []byte) ([]byte, error) // nil while records are in the clear
	pending []byte
}

func (m *messages) want(kind byte) ([]byte, error) {
	got, err := m.next()
	if err != nil {
		return nil, err
	}
	if got[0] != kind {
		return nil, fmt.Errorf("%w: message %d where %d belongs", errTranscript, got[0], kind)
	}
	return got, nil
}

// next returns the next message, with its header of four bytes.
func (m *messages) next() ([]byte, error) {
	for {
		if len(m.pending) >= 4 {
			if n := 4 + int(m.pending[1])<<16 + int(m.pending[2])<<8 + int(m.pending[3]); len(m.pending) >= n {
				out := m.pending[:n]
				m.pending = m.pending[n:]
				return out, nil
			}
		}
		if err := m.record(); err != nil {
			return nil, err
		}
	}
}

func (m *messages) record() error {
	if len(m.records) < 5 {
		return fmt.Errorf("%w: it ends early", errTranscript)
	}
	header := m.records[:5]
	n := int(binary.BigEndian.Uint16(header[3:]))
	if n > 16384+256 || len(m.records) < 5+n {
		return fmt.Errorf("%w: a record of %d bytes", errTranscript, n)
	}
	body := m.records[5 : 5+n]
	m.records = m.records[5+n:]
	kind := header[0]
	switch {
	case kind == recordChangeCipherSpec:
		return nil // means nothing in TLS 1.3, and all that counts came before it in TLS 1.2
	case kind == recordApplicationData && m.open != nil:
		plain, err := m.open(header, body)
		if err != nil {
			return err
		}
		for len(plain) > 0 && plain[len(plain)-1] == 0 {
			plain = plain[:len(plain)-1]
		}
		if len(plain) == 0 {
			return fmt.Errorf("%w: an empty record", errTranscript)
		}
		kind, body = plain[len(plain)-1], plain[:len(plain)-1]
	case m.open != nil:
		return fmt.Errorf("%w: a record in the clear where none belongs", errTranscript)
	}
	if kind != recordHandshake {
		return fmt.Errorf("%w: a record of type %d", errTranscript, kind)
	}
	m.pending = append(m.pending, body...)
	return nil
}

// suite is a cipher suite of TLS 1.3 (RFC 8446 appendix B.4).
type suite struct {
	hash    crypto.Hash
	keySize int
	aead    func(key []byte) (cipher.AEAD, error)
}

func gcm(key []byte) (cipher.AEAD, error) {
	b, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(b)
}

func suiteOf(id uint16) (suite, error) {
	switch id {
	case tls.TLS_AES_128_GCM_SHA256:
		return suite{crypto.SHA256, 16, gcm}, nil
	case tls.TLS_AES_256_GCM_SHA384:
		return suite{crypto.SHA384, 32, gcm}, nil
	case tls.TLS_CHACHA20_POLY1305_SHA256:
		return suite{crypto.SHA256, chacha20poly1305.KeySize, chacha20poly1305.New}, nil
	}
	return suite{}, fmt.Errorf("%w: unknown cipher suite %#04x", errTranscript, id)
}

// opener opens the records of the server's handshake (sections 5.2, 5.3, 7.3).
func (s suite) opener(secret []byte) (func(header, sealed []byte) ([]byte, error), error) {
	if len(secret) != s.hash.Size() {
		return nil, fmt.Errorf("%w: no secret to open the unit's part with", errTranscript)
	}
	key, err := expandLabel(s.hash, secret, "key", s.keySize)
	if err != nil {
		return nil, err
	}
	iv, err := expandLabel(s.hash, secret, "iv", 12)
	if err != nil {
		return nil, err
	}
	aead, err := s.aead(key)
	if err != nil {
		return nil, err
	}
	var sequence uint64
	return func(header, sealed []byte) ([]byte, error) {
		nonce := append([]byte{}, iv...)
		binary.BigEndian.PutUint64(nonce[4:], binary.BigEndian.Uint64(nonce[4:])^sequence)
		sequence++
		plain, err := aead.Open(nil, nonce, sealed, header)
		if err != nil {
			return nil, fmt.Errorf("%w: a record that the secret does not open", errTranscript)
		}
		return plain, nil
	}, nil
}

func expandLabel(hash crypto.Hash, secret []byte, label string, n int) ([]byte, error) {
	info := []byte{byte(n >> 8), byte(n), byte(len("tls13 " + label))}
	info = append(info, "tls13 "+label...)
	return hkdf.Expand(hash.New, secret, string(append(info, 0)), n)
}
