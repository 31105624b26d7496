package provenance

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"assay/attest"
)

const mediaCorpus = "../../../shared/corpus/attestation/onvif-media-signing"

func media(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(mediaCorpus, name))
	if err != nil {
		t.Skipf("no corpus: %v", err)
	}
	return b
}

// The certificates of the samples were valid for a year.
var mediaTime = time.Date(2025, 6, 1, 0, 0, 0, 0, time.UTC)

func mediaAnchor(t testing.TB, b []byte) *Anchor {
	t.Helper()
	a, err := NewAnchor(b, "fjordlens", PurposeMediaSigning, nil, "test", mediaTime)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// annexB writes a byte stream. The messages in the samples stand without
// emulation prevention, which a byte stream must have.
func annexB(units [][]byte, h265 bool) []byte {
	var b bytes.Buffer
	for _, u := range units {
		if unitKind(u, h265) == unitSEI {
			u = escape(u)
		}
		b.Write([]byte{0, 0, 0, 1})
		b.Write(u)
	}
	return b.Bytes()
}

func escape(b []byte) []byte {
	var out []byte
	zeros := 0
	for _, c := range b {
		if zeros == 2 && c <= 3 {
			out, zeros = append(out, 3), 0
		}
		if c == 0 {
			zeros++
		} else {
			zeros = 0
		}
		out = append(out, c)
	}
	return out
}

func TestSignedSamples(t *testing.T) {
	root := mediaAnchor(t, media(t, "ca.pem"))
	for name, pictures := range map[string]int{"test_signed_h264.mp4": 256, "test_signed_h265.mp4": 302} {
		file := media(t, name)
		r, err := readRecording(file)
		if err != nil {
			t.Fatal(err)
		}
		for kind, b := range map[string][]byte{"mp4": file, "byte stream": annexB(r.units, r.h265)} {
			m, err := VerifyMedia(name, b, []*Anchor{root}, "", mediaTime)
			if err != nil {
				t.Fatal(err)
			}
			if m.Endorsement.Status != attest.StatusVerified || m.Verified != pictures || m.Altered+m.Missing+m.Outside+m.Open != 0 || m.Firmware != "v0.0.4" {
				t.Errorf("%s as %s: %+v", name, kind, m)
			}
		}
		for want, at := range map[attest.Status]time.Time{attest.StatusVerified: mediaTime, attest.StatusUnanchored: mediaTime.AddDate(1, 0, 0)} {
			if m, _ := VerifyMedia(name, file, []*Anchor{root}, "", at); m.Endorsement.Status != want {
				t.Errorf("%s on %s: %+v", name, at, m.Endorsement)
			}
		}
		if m, _ := VerifyMedia(name, file, nil, "", mediaTime); m.Endorsement.Status != attest.StatusUnanchored {
			t.Errorf("%s with no anchor: %+v", name, m.Endorsement)
		}
	}
}

// signer makes streams of H.264 as the framework does.
type signer struct {
	key     crypto.Signer
	chain   []byte
	every   int  // groups that one signature vouches for
	partial bool // two messages a group
	escaped bool // hashed with emulation prevention
	list    bool

	counter uint32
	units   [][]byte
	hashes  [][]byte
	anchor  []byte
	firsts  [][]byte // of each group, for the linked hash
}

func newSigner(t testing.TB, key crypto.Signer) (*signer, *Anchor) {
	t.Helper()
	caKey, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Media Root"}, IsCA: true, BasicConstraintsValid: true, NotBefore: mediaTime, NotAfter: mediaTime.AddDate(1, 0, 0)}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "Camera", SerialNumber: "FL0001"}, NotBefore: mediaTime, NotAfter: mediaTime.AddDate(1, 0, 0)}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), caKey)
	if err != nil {
		t.Fatal(err)
	}
	return &signer{key: key, chain: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), every: 1, list: true},
		mediaAnchor(t, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER}))
}

func (s *signer) slice(unit []byte, first bool) {
	sum := sha256.Sum256(unit)
	h := sum[:]
	if first {
		s.anchor = h
	} else {
		sum = sha256.Sum256(append(slices.Clone(s.anchor), h...))
		h = sum[:]
	}
	s.units, s.hashes = append(s.units, unit), append(s.hashes, h)
}

func tlv(tag byte, value ...[]byte) []byte {
	v := bytes.Join(value, nil)
	return append([]byte{tag, byte(len(v) >> 8), byte(len(v))}, v...)
}

// message makes the message over what was hashed since the last.
func (s *signer) message(hashes [][]byte, partial, signed bool) []byte {
	linked := make([]byte, 32)
	if len(s.firsts) > 0 {
		linked = s.firsts[len(s.firsts)-1]
	}
	s.firsts = append(s.firsts, hashes[0])
	s.counter++
	group := sha256.Sum256(bytes.Join(hashes, nil))
	times := make([]byte, 16)
	binary.BigEndian.PutUint64(times, uint64(mediaTime.Unix()+11_644_473_600)*1e7)
	binary.BigEndian.PutUint64(times[8:], uint64(mediaTime.Unix()+11_644_473_600+int64(s.counter))*1e7)
	numbers := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint32(nil, s.counter), uint16(len(hashes)))
	p := byte(0)
	if partial {
		p = 1
	}
	body := append(tlv(mediaVendor, []byte{1, 1, '1', 6}, []byte("FL0001"), []byte{9}, []byte("Fjordlens")), tlv(mediaCertificates, []byte{1, 0}, s.chain)...)
	body = append(body, tlv(mediaGeneral, []byte{2, 25, 12, 3, p}, times, numbers, group[:], linked)...)
	if s.list {
		body = append(body, tlv(mediaHashList, []byte{1}, bytes.Join(hashes, nil))...)
	}
	const room = 600 // for a signature
	size := len(mediaUUID) + 1 + len(body)
	if signed {
		size += 3 + 3 + room
	}
	unit := []byte{6, 5}
	for n := size; ; n -= 255 {
		if n < 255 {
			unit = append(unit, byte(n))
			break
		}
		unit = append(unit, 255)
	}
	flags := byte(0)
	if s.escaped {
		flags = flagEscaped
	}
	unit = append(append(append(unit, mediaUUID...), flags), body...)
	if signed {
		hashable := unit
		if s.escaped {
			hashable = escape(unit)
		}
		digest := sha256.Sum256(hashable)
		var o crypto.SignerOpts = crypto.SHA256
		if _, ok := s.key.(*rsa.PrivateKey); ok {
			o = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthAuto, Hash: crypto.SHA256}
		}
		sig, _ := s.key.Sign(rand.Reader, digest[:], o)
		field := make([]byte, room)
		copy(field, sig)
		unit = append(unit, tlv(mediaSignature, []byte{1, byte(len(sig) >> 8), byte(len(sig))}, field)...)
	}
	unit = append(unit, 0x80)
	if s.escaped {
		return escape(unit)
	}
	return unit
}

// stream makes groups of four slices. A group's message stands in the next.
func (s *signer) stream(groups int) [][]byte {
	n := byte(0)
	p := func() []byte { n++; return []byte{0x41, 0x9a, n, 7, 0x80} }
	for g := range groups {
		before := s.hashes
		if g == 0 {
			before = nil
		}
		s.hashes = nil
		n++
		s.slice([]byte{0x65, 0x88, n, byte(g), 0x80}, true)
		if before != nil {
			signed := g%s.every == 0
			m := s.message(before, false, signed)
			s.units = append(s.units, m)
			if !signed {
				sum := sha256.Sum256(m)
				s.hashes = append(s.hashes, sum[:])
			}
		}
		s.slice(p(), false)
		if s.partial {
			m := s.message(s.hashes, true, true)
			s.hashes = nil
			s.units = append(s.units, m)
		}
		s.slice(p(), false)
		s.slice(p(), false)
	}
	return s.units
}

func TestSignedStreams(t *testing.T) {
	ec, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	rs, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	flip := func(i, at int) func([][]byte) [][]byte {
		return func(u [][]byte) [][]byte {
			u[i] = slices.Clone(u[i])
			u[i][at] ^= 4
			return u
		}
	}
	drop := func(i ...int) func([][]byte) [][]byte {
		return func(u [][]byte) [][]byte {
			for _, x := range i {
				u = slices.Delete(u, x, x+1)
			}
			return u
		}
	}
	// Units: I0 P P P, I4 m5 P P P, I9 m10 P P P, I14 m15 P P P, I19 m20 P P P.
	for _, c := range []struct {
		name   string
		with   func(*signer)
		change func([][]byte) [][]byte
		status attest.Status
		want   [4]int // verified, altered, missing, open
	}{
		{"as it was", nil, nil, attest.StatusVerified, [4]int{16, 0, 0, 4}},
		{"by RSA", func(s *signer) { s.key = rs }, nil, attest.StatusVerified, [4]int{16, 0, 0, 4}},
		{"hashed with emulation prevention", func(s *signer) { s.escaped = true }, nil, attest.StatusVerified, [4]int{16, 0, 0, 4}},
		{"without lists", func(s *signer) { s.list = false }, nil, attest.StatusVerified, [4]int{16, 0, 0, 4}},
		{"two groups a signature", func(s *signer) { s.every = 2 }, nil, attest.StatusVerified, [4]int{16, 0, 0, 4}},
		{"two signatures a group", func(s *signer) { s.partial = true }, nil, attest.StatusVerified, [4]int{18, 0, 0, 2}},
		{"a picture changed", nil, flip(7, 2), attest.StatusFailed, [4]int{12, 4, 0, 4}},
		{"the first group changed", nil, flip(2, 2), attest.StatusFailed, [4]int{12, 4, 0, 4}},
		{"a hash changed", nil, flip(10, 500), attest.StatusFailed, [4]int{}},
		{"a picture missing", nil, drop(7), attest.StatusVerified, [4]int{15, 0, 1, 4}},
		{"a picture missing without lists", func(s *signer) { s.list = false }, drop(7), attest.StatusFailed, [4]int{12, 3, 0, 4}},
		{"a signature missing", nil, drop(10), attest.StatusVerified, [4]int{12, 0, 0, 8}},
		{"begun in the middle", nil, drop(0, 0, 0, 0, 0), attest.StatusVerified, [4]int{8, 0, 0, 7}},
		{"two pictures swapped", nil, func(u [][]byte) [][]byte { u[7], u[8] = u[8], u[7]; return u }, attest.StatusFailed, [4]int{12, 4, 0, 4}},
		{"a picture put in", nil, func(u [][]byte) [][]byte { return slices.Insert(u, 8, []byte{0x41, 0x9a, 1, 1, 0x80}) }, attest.StatusFailed, [4]int{12, 5, 0, 4}},
		{"a picture of a kind that is not signed", nil, func(u [][]byte) [][]byte { return slices.Insert(u, 8, []byte{0x42, 0x9a, 1, 1, 0x80}) }, attest.StatusUnmatched, [4]int{16, 0, 0, 4}},
		{"two groups swapped", nil, func(u [][]byte) [][]byte {
			return slices.Concat(u[:4], u[9:14], u[4:9], u[14:])
		}, attest.StatusFailed, [4]int{}},
		{"a group and its signature cut out", nil, func(u [][]byte) [][]byte { return slices.Delete(u, 9, 14) }, attest.StatusFailed, [4]int{}},
		{"without signatures", nil, drop(5, 9, 13, 17), attest.StatusUnsupported, [4]int{0, 0, 0, 20}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, root := newSigner(t, ec)
			if c.with != nil {
				c.with(s)
				if s.key != crypto.Signer(ec) {
					var other *signer
					other, root = newSigner(t, s.key)
					s.chain = other.chain
				}
			}
			units := s.stream(5)
			if c.change != nil {
				units = c.change(units)
			}
			var b bytes.Buffer
			for _, u := range units {
				if unitKind(u, false) == unitSEI && !s.escaped {
					u = escape(u)
				}
				b.Write([]byte{0, 0, 1})
				b.Write(u)
			}
			m, err := VerifyMedia("test", b.Bytes(), []*Anchor{root}, "", mediaTime)
			if err != nil {
				t.Fatal(err)
			}
			got := [4]int{m.Verified, m.Altered, m.Missing, m.Open}
			if m.Endorsement.Status != c.status || c.want != [4]int{} && got != c.want {
				t.Errorf("%s %v, want %s %v: %s", m.Endorsement.Status, got, c.status, c.want, m.Endorsement.Detail)
			}
			if c.status == attest.StatusVerified && (m.Serial != "FL0001" || !m.From.Equal(mediaTime)) {
				t.Errorf("%+v", m)
			}
		})
	}
}

func FuzzRecording(f *testing.F) {
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	s, _ := newSigner(f, key)
	f.Add(annexB(s.stream(3), false))
	s, _ = newSigner(f, key)
	s.every, s.partial = 2, true
	f.Add(annexB(s.stream(4), false))
	if b, err := os.ReadFile(filepath.Join(mediaCorpus, "test_signed_h265.mp4")); err == nil {
		f.Add(b)
	}
	f.Add([]byte{0, 0, 0, 16, 'f', 't', 'y', 'p', 'i', 's', 'o', 'm', 0, 0, 0, 0, 0, 0, 0, 8, 'm', 'o', 'o', 'v'})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := VerifyMedia("fuzz", b, nil, "", mediaTime)
		if err == nil && m.Endorsement.Status == attest.StatusVerified {
			t.Error("verified without an anchor")
		}
	})
}
