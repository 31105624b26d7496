package network

import (
	"context"
	"crypto/ecdh"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"assay/attest"
	"assay/devices"
)

// A ClientHello of our own (RFC 5246, RFC 8446, and RFC 6101 for SSL 3.0) reads what
// Go's TLS cannot or does not tell: which versions and suites a unit takes, and,
// up to TLS 1.2, the certificates of a server that Go cannot talk to, which are sent
// in the clear. Nothing follows the ClientHello, so the unit has not shown that it
// holds the certificate's key.

// suites are what is offered, most protecting first: IANA's registry of TLS cipher
// suites, as far as servers of cameras are known to use it.
var suites = []struct {
	id   uint16
	name string // where Go's package does not know it
}{
	{0xc02c, ""}, {0xc030, ""}, {0xcca9, ""}, {0xcca8, ""}, {0xc02b, ""}, {0xc02f, ""},
	{0x009f, "TLS_DHE_RSA_WITH_AES_256_GCM_SHA384"}, {0x009e, "TLS_DHE_RSA_WITH_AES_128_GCM_SHA256"}, {0xccaa, "TLS_DHE_RSA_WITH_CHACHA20_POLY1305_SHA256"},
	{0xc024, "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA384"}, {0xc028, "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA384"}, {0xc023, ""}, {0xc027, ""},
	{0xc00a, ""}, {0xc014, ""}, {0xc009, ""}, {0xc013, ""},
	{0x006b, "TLS_DHE_RSA_WITH_AES_256_CBC_SHA256"}, {0x0067, "TLS_DHE_RSA_WITH_AES_128_CBC_SHA256"},
	{0x0039, "TLS_DHE_RSA_WITH_AES_256_CBC_SHA"}, {0x0033, "TLS_DHE_RSA_WITH_AES_128_CBC_SHA"}, {0x0038, "TLS_DHE_DSS_WITH_AES_256_CBC_SHA"}, {0x0032, "TLS_DHE_DSS_WITH_AES_128_CBC_SHA"},
	{0x009d, ""}, {0x009c, ""}, {0x003d, "TLS_RSA_WITH_AES_256_CBC_SHA256"}, {0x003c, ""}, {0x0035, ""}, {0x002f, ""},
	{0x0088, "TLS_DHE_RSA_WITH_CAMELLIA_256_CBC_SHA"}, {0x0045, "TLS_DHE_RSA_WITH_CAMELLIA_128_CBC_SHA"}, {0x0084, "TLS_RSA_WITH_CAMELLIA_256_CBC_SHA"}, {0x0041, "TLS_RSA_WITH_CAMELLIA_128_CBC_SHA"},
	{0xc012, ""}, {0x0016, "TLS_DHE_RSA_WITH_3DES_EDE_CBC_SHA"}, {0x0013, "TLS_DHE_DSS_WITH_3DES_EDE_CBC_SHA"}, {0x000a, ""},
	{0xc007, ""}, {0xc011, ""}, {0x0005, ""}, {0x0004, "TLS_RSA_WITH_RC4_128_MD5"},
	{0x0015, "TLS_DHE_RSA_WITH_DES_CBC_SHA"}, {0x0009, "TLS_RSA_WITH_DES_CBC_SHA"},
	{0x0014, "TLS_DHE_RSA_EXPORT_WITH_DES40_CBC_SHA"}, {0x0008, "TLS_RSA_EXPORT_WITH_DES40_CBC_SHA"}, {0x0006, "TLS_RSA_EXPORT_WITH_RC2_CBC_40_MD5"}, {0x0003, "TLS_RSA_EXPORT_WITH_RC4_40_MD5"},
}

var suites13 = []uint16{tls.TLS_AES_256_GCM_SHA384, tls.TLS_AES_128_GCM_SHA256, tls.TLS_CHACHA20_POLY1305_SHA256}

func suiteName(id uint16) string {
	for _, s := range suites {
		if s.id == id && s.name != "" {
			return s.name
		}
	}
	return tls.CipherSuiteName(id)
}

const (
	recordAlert     = 21
	recordHandshake = 22

	helloClient      = 1
	helloServer      = 2
	helloCertificate = 11
	helloDone        = 14

	versionSSL3 = 0x0300
)

func versionName(v uint16) string {
	if v == versionSSL3 {
		return "SSL 3.0"
	}
	return tls.VersionName(v)
}

// clientHello is one ClientHello of a version, in its record.
func clientHello(version uint16, offer []uint16, name string, random []byte) []byte {
	u16 := binary.BigEndian.AppendUint16
	sized := func(b, content []byte) []byte { return append(u16(b, uint16(len(content))), content...) }
	extension := func(b []byte, id uint16, content []byte) []byte { return sized(u16(b, id), content) }
	list := func(values ...uint16) (b []byte) {
		for _, v := range values {
			b = u16(b, v)
		}
		return b
	}
	legacy := min(version, tls.VersionTLS12)
	hello := append(u16(nil, legacy), random[:32]...)
	if version == tls.VersionTLS13 {
		hello = append(append(hello, 32), random[32:64]...) // as middle boxes want it
	} else {
		hello = append(hello, 0)
	}
	hello = sized(hello, list(offer...))
	hello = append(hello, 1, 0) // no compression
	var extensions []byte
	if name != "" {
		extensions = extension(extensions, 0, sized(nil, sized([]byte{0}, []byte(name))))
	}
	extensions = extension(extensions, 10, sized(nil, list(29, 23, 24, 25))) // X25519, P-256, P-384, P-521
	extensions = extension(extensions, 11, []byte{1, 0})                     // uncompressed points
	if version >= tls.VersionTLS12 {
		extensions = extension(extensions, 13, sized(nil, list(0x0403, 0x0503, 0x0603, 0x0807, 0x0804, 0x0805, 0x0806, 0x0401, 0x0501, 0x0601, 0x0203, 0x0201, 0x0202)))
	}
	if version == tls.VersionTLS13 {
		extensions = extension(extensions, 43, append([]byte{2}, list(tls.VersionTLS13)...))
		extensions = extension(extensions, 51, sized(nil, sized(list(29), random[64:96])))
	}
	if version > versionSSL3 { // which has no extensions
		hello = sized(hello, extensions)
	}
	message := append([]byte{helloClient, 0, byte(len(hello) >> 8), byte(len(hello))}, hello...)
	return sized(u16([]byte{recordHandshake}, min(legacy, tls.VersionTLS10)), message)
}

// helloGate lets through one ClientHello and nothing after it.
func helloGate() gateFunc {
	sent := false
	return func(b []byte) bool {
		one := !sent && len(b) > 9 && b[0] == recordHandshake && int(binary.BigEndian.Uint16(b[3:])) == len(b)-5 &&
			b[5] == helloClient && int(b[6])<<16|int(b[7])<<8|int(b[8]) == len(b)-9
		sent = true
		return one
	}
}

// flight is what a server said to a ClientHello, in the clear.
type flight struct {
	version, suite uint16
	certificates   [][]byte // DER
	alert          byte     // 0 when none came
	hello          bool     // a ServerHello came
	whole          bool     // nothing more comes in the clear
}

var errNoTLS = errors.New("does not speak TLS")

const maxCertificates = 16

// parseFlight reads the records of a server's first flight as far as they came.
func parseFlight(raw []byte) (f flight, err error) {
	var messages []byte
	for rest := raw; ; {
		if len(rest) > 0 && rest[0] != recordAlert && rest[0] != recordHandshake {
			if f.messages(messages); !f.hello {
				return f, errNoTLS
			}
			f.whole = true // TLS 1.3 goes on encrypted
			return f, nil
		}
		if len(rest) < 5 {
			break
		}
		length := int(binary.BigEndian.Uint16(rest[3:]))
		if rest[1] != 3 || length > 1<<14+2048 {
			return f, errNoTLS
		}
		content := rest[5:min(len(rest), 5+length)]
		if rest[0] == recordAlert && len(content) >= 2 {
			f.alert, f.whole = content[1], true
			if f.alert == 0 {
				f.alert = 0xff // close_notify in place of an answer
			}
			break
		}
		if rest[0] == recordHandshake {
			messages = append(messages, content...)
		}
		if len(rest) < 5+length {
			break
		}
		rest = rest[5+length:]
	}
	f.messages(messages)
	return f, nil
}

// messages reads the handshake messages, each with a type and a length of three
// bytes.
func (f *flight) messages(b []byte) {
	for len(b) >= 4 {
		length := int(b[1])<<16 | int(b[2])<<8 | int(b[3])
		if length > len(b)-4 {
			return
		}
		content := b[4 : 4+length]
		switch b[0] {
		case helloServer:
			f.server(content)
		case helloCertificate:
			f.chain(content)
		case helloDone:
			f.whole = true
		}
		b = b[4+length:]
	}
}

func (f *flight) server(b []byte) {
	const fixed = 2 + 32
	if len(b) < fixed+1 || len(b) < fixed+1+int(b[fixed])+3 {
		return
	}
	f.hello, f.version = true, binary.BigEndian.Uint16(b)
	b = b[fixed+1+int(b[fixed]):]
	f.suite = binary.BigEndian.Uint16(b)
	if b = b[3:]; len(b) < 2 {
		return
	}
	for b = b[2:]; len(b) >= 4; {
		id, length := binary.BigEndian.Uint16(b), int(binary.BigEndian.Uint16(b[2:]))
		if length > len(b)-4 {
			return
		}
		if id == 43 && length == 2 { // supported_versions: this is TLS 1.3
			f.version = binary.BigEndian.Uint16(b[4:])
			f.whole = true
		}
		b = b[4+length:]
	}
}

func (f *flight) chain(b []byte) {
	if len(b) < 3 || f.certificates != nil {
		return
	}
	for b = b[3:]; len(b) >= 3 && len(f.certificates) < maxCertificates; {
		length := int(b[0])<<16 | int(b[1])<<8 | int(b[2])
		if length > len(b)-3 {
			return
		}
		f.certificates = append(f.certificates, b[3:3+length])
		b = b[3+length:]
	}
}

var helloRequest = &request{protocol: "tls", operation: "ClientHello"}

// greet sends one ClientHello and reads what is said in the clear. ok is false when
// nothing of TLS came back.
func (s *session) greet(ctx context.Context, ep *endpoint, version uint16, offer []uint16) (f flight, raw []byte, ok bool) {
	random := make([]byte, 64, 96)
	if _, err := s.random.Read(random); err != nil {
		return f, nil, false
	}
	key, err := ecdh.X25519().GenerateKey(s.random)
	if err != nil {
		return f, nil, false
	}
	name := ep.host
	if _, err := netip.ParseAddr(name); err == nil {
		name = "" // RFC 6066 §3: no addresses
	}
	bare := *ep
	bare.config = nil
	w := s.connect(ctx, &bare, helloGate())
	if w == nil {
		return f, nil, false
	}
	defer w.Close()
	if _, err := w.Write(clientHello(version, offer, name, append(random, key.PublicKey().Bytes()...))); err != nil {
		return f, nil, false
	}
	raw, err = s.receive(w, 256<<10, func(raw []byte) bool {
		f, err := parseFlight(raw)
		return f.whole || err != nil
	})
	if errors.Is(err, devices.ErrHostile) {
		s.problem(helloRequest, err)
	}
	f, err = parseFlight(raw)
	return f, raw, err == nil && (f.hello || f.alert != 0)
}

// maxHellos bounds a survey: each costs the unit a signature.
const maxHellos = 14

// survey finds the versions that a unit takes, and the suites of the newest one
// whose choice is made in the clear, in the unit's order.
func (s *session) survey(ctx context.Context, ep *endpoint) {
	if ep.scheme != "https" {
		return
	}
	hellos := 0
	var versions []string
	var newest uint16
	var taken []uint16
	var last *answer
	for _, version := range []uint16{tls.VersionTLS13, tls.VersionTLS12, tls.VersionTLS11, tls.VersionTLS10, versionSSL3} {
		offer := suites13
		if version != tls.VersionTLS13 {
			offer = offers(nil)
		}
		f, raw, ok := s.greet(ctx, ep, version, offer)
		if hellos++; !ok || !f.hello || f.version != version {
			continue
		}
		versions = append(versions, versionName(version))
		last = s.saidOver(helloRequest, "application/octet-stream", raw)
		if newest == 0 && version != tls.VersionTLS13 {
			newest, taken = version, []uint16{f.suite}
		}
	}
	if last == nil || ctx.Err() != nil {
		return
	}
	s.claim(last, attest.SubjectNetwork, "tls-versions", strings.Join(versions, ", "), "versions")
	complete := false
	for newest != 0 && hellos < maxHellos && ctx.Err() == nil {
		f, _, ok := s.greet(ctx, ep, newest, offers(taken))
		if hellos++; !ok || !f.hello || slices.Contains(taken, f.suite) {
			complete = ok && f.alert != 0
			break
		}
		taken = append(taken, f.suite)
	}
	if newest == 0 {
		return
	}
	var names []string
	for _, id := range taken {
		names = append(names, suiteName(id))
	}
	if !complete {
		names = append(names, "and maybe more")
	}
	s.claim(last, attest.SubjectNetwork, "tls-suites", versionName(newest)+": "+strings.Join(names, ", "), "suites")
}

// offers are the suites of [suites] that were not taken yet.
func offers(taken []uint16) (ids []uint16) {
	for _, s := range suites {
		if !slices.Contains(taken, s.id) {
			ids = append(ids, s.id)
		}
	}
	return ids
}

// bareCertificate reads the certificates of a server that Go's TLS cannot talk to,
// and reports whether there were any.
func (s *session) bareCertificate(ctx context.Context, ep *endpoint) bool {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS11, tls.VersionTLS10, versionSSL3} {
		f, _, ok := s.greet(ctx, ep, version, offers(nil))
		if !ok || !f.hello || len(f.certificates) == 0 {
			continue
		}
		leaf, err := x509.ParseCertificate(f.certificates[0])
		if err != nil {
			s.problem(helloRequest, fmt.Errorf("%w: %s: certificate: %s", devices.ErrMalformed, ep, reason(err)))
			return false
		}
		s.presented(ep, leaf, f.certificates, versionName(f.version)+" "+suiteName(f.suite)+
			" (transport not authenticated: only the start of a handshake was read, so the unit has not shown that it holds the key)")
		return true
	}
	return false
}
