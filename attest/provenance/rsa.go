package provenance

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"hash"
	"math/big"
)

// signedSomethingElse reports whether sig was made with the private half of k,
// over whatever bytes. RSA lets one tell: a signature opened with the right key
// shows the padding of EMSA-PKCS1-v1_5 or EMSA-PSS (RFC 8017, sections 9.1 and
// 9.2), and one opened with another key shows noise. So "these bytes were
// changed" and "this is another key" need not be confused, as they must be for
// curves. h is the hash of the PSS mask.
func signedSomethingElse(k *rsa.PublicKey, sig []byte, h crypto.Hash) bool {
	if len(sig) != k.Size() {
		return false
	}
	s := new(big.Int).SetBytes(sig)
	if s.Cmp(k.N) >= 0 {
		return false
	}
	em := make([]byte, k.Size())
	new(big.Int).Exp(s, big.NewInt(int64(k.E)), k.N).FillBytes(em)
	return hasPKCS1Padding(em) || hasPSSPadding(em, k.N.BitLen(), h)
}

func hasPKCS1Padding(em []byte) bool {
	if em[0] != 0 || em[1] != 1 {
		return false
	}
	rest := bytes.TrimLeft(em[2:], "\xff")
	return len(em)-2-len(rest) >= 8 && len(rest) > 1 && rest[0] == 0 && rest[1] == 0x30
}

func hasPSSPadding(em []byte, bits int, h crypto.Hash) bool {
	if (bits-1)%8 == 0 {
		em = em[1:]
	}
	var digest hash.Hash
	switch h {
	case crypto.SHA256:
		digest = sha256.New()
	case crypto.SHA384:
		digest = sha512.New384()
	case crypto.SHA512:
		digest = sha512.New()
	default:
		return false
	}
	n := digest.Size()
	if len(em) < n+2 || em[len(em)-1] != 0xbc {
		return false
	}
	db, mask := bytes.Clone(em[:len(em)-n-1]), em[len(em)-n-1:len(em)-1]
	for i, counter := 0, byte(0); i < len(db); counter++ {
		digest.Reset()
		digest.Write(mask)
		digest.Write([]byte{0, 0, 0, counter})
		for _, b := range digest.Sum(nil) {
			if i < len(db) {
				db[i] ^= b
				i++
			}
		}
	}
	db[0] &= 0xff >> (8*len(em) - (bits - 1))
	// The longest salt leaves no zeros: the byte behind them is 1 in any case,
	// and that alone would be chance.
	rest := bytes.TrimLeft(db, "\x00")
	return len(rest) > 0 && rest[0] == 1 && len(db)-len(rest) >= 8
}
