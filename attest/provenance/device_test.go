package provenance

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"assay/attest"
	"assay/devices"
	"assay/devices/network"
	"assay/internal/devicepki"
)

// shaker is a sink that keeps the first handshake.
type shaker struct{ got *devices.Handshake }

func (*shaker) Artefact(string, string, []byte) attest.Digest { return "" }
func (*shaker) Claim(attest.Claim) string                     { return "" }
func (*shaker) Mark(attest.Mark) string                       { return "" }
func (*shaker) Problem(attest.ProblemKind, string, string)    {}
func (s *shaker) Handshake(h devices.Handshake)               { s.got = &h }

// shake has the network channel meet a server.
func shake(t *testing.T, address string) devices.Handshake {
	t.Helper()
	target, err := devices.ParseTarget("https://" + address)
	if err != nil {
		t.Fatal(err)
	}
	s := &shaker{}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	// What follows the handshake is not of interest, and s_server answers slowly.
	o := network.Options{Timeout: 5 * time.Second, Pace: time.Millisecond, Progress: func(string) {
		if s.got != nil {
			cancel()
		}
	}}
	_ = network.Open(target, o).Identify(ctx, s)
	if s.got == nil {
		t.Fatal("no handshake came")
	}
	return *s.got
}

func anchorFile(t testing.TB, file, maker string, models ...string) *Anchor {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	a, err := NewAnchor(b, maker, PurposeDeviceIdentity, models, "test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func verify(t testing.TB, h devices.Handshake, anchors []*Anchor, serials, macs []string, now time.Time) *Device {
	t.Helper()
	d, err := VerifyDevice("test", h.Sent, h.Received, h.Secret, anchors, "FL-1", serials, macs, now)
	if err != nil {
		t.Fatal(err)
	}
	claim := attest.Claim{}
	d.Grade(&claim)
	if (claim.Origin() == attest.P5) != d.Proven() || d.Proven() != (d.Endorsement.Status == attest.StatusVerified) {
		t.Errorf("proven %v, origin %v, status %s", d.Proven(), claim.Origin(), d.Endorsement.Status)
	}
	return d
}

const (
	mac    = "00:00:5E:00:53:01"
	module = "1.3.6.1.4.1.32473.1.1" // the arc for documentation (RFC 5612)
)

// likeAxis is a certificate of the kind that Axis units have.
var likeAxis = devicepki.Device{
	CN: "axis-00005e005301-eccp256-1", Serial: "00005e005301", HardwareType: module, HardwareSerial: "04005001AABBCCDD",
}

func with(d devicepki.Device, change func(*devicepki.Device)) devicepki.Device {
	change(&d)
	return d
}

func TestEveryKindOfHandshakeProvesPossession(t *testing.T) {
	root := devicepki.Root(t, "Root")
	sub := root.Sub("Intermediate")
	anchors := []*Anchor{anchorFile(t, root.Cert, "fjordlens")}
	issued := map[string]devicepki.Issued{}
	for _, k := range []string{"P-256", "P-384", "RSA-2048", "RSA-4096", "ED25519"} {
		issued[k] = sub.Issue(with(likeAxis, func(d *devicepki.Device) { d.Key = k }))
	}
	for _, c := range []struct {
		name, key string
		settings  []string
		signed    string
	}{
		{"TLS 1.3 P-256", "P-256", []string{"-tls1_3"}, "TLS 1.3 CertificateVerify, ECDSAWithP256AndSHA256"},
		{"TLS 1.3 P-384", "P-384", []string{"-tls1_3", "-ciphersuites", "TLS_AES_256_GCM_SHA384"}, "TLS 1.3 CertificateVerify, ECDSAWithP384AndSHA384"},
		{"TLS 1.3 ChaCha", "P-256", []string{"-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"}, "TLS 1.3 CertificateVerify, ECDSAWithP256AndSHA256"},
		{"TLS 1.3 after a retry", "P-256", []string{"-tls1_3", "-groups", "P-384"}, "TLS 1.3 CertificateVerify, ECDSAWithP256AndSHA256"},
		{"TLS 1.3 RSA-2048", "RSA-2048", []string{"-tls1_3"}, "TLS 1.3 CertificateVerify, PSSWithSHA256"},
		{"TLS 1.3 RSA-4096", "RSA-4096", []string{"-tls1_3"}, "TLS 1.3 CertificateVerify, PSSWithSHA256"},
		{"TLS 1.3 Ed25519", "ED25519", []string{"-tls1_3"}, "TLS 1.3 CertificateVerify, Ed25519"},
		{"TLS 1.2 P-256", "P-256", []string{"-tls1_2"}, "TLS 1.2 ServerKeyExchange, ECDSAWithP256AndSHA256"},
		{"TLS 1.2 RSA-2048", "RSA-2048", []string{"-tls1_2"}, "TLS 1.2 ServerKeyExchange, PSSWithSHA256"},
		{"TLS 1.2 RSA-4096 PKCS#1", "RSA-4096", []string{"-tls1_2", "-sigalgs", "RSA+SHA512"}, "TLS 1.2 ServerKeyExchange, PKCS1WithSHA512"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := shake(t, issued[c.key].Serve(t, []string{sub.Cert}, c.settings...))
			d := verify(t, h, anchors, []string{"00005E005301"}, []string{mac}, time.Now())
			if !d.Proven() || d.Endorsement.Algorithm != c.signed || d.Endorsement.Maker != "fjordlens" {
				t.Errorf("%+v", d.Endorsement)
			}
			if m, ok := d.Mark(); !ok || m.Entity != "fjordlens" || m.Strength != attest.C3 {
				t.Errorf("mark %+v", m)
			}
			if d.Names.HardwareType != module || d.Names.HardwareSerial != "04005001AABBCCDD" {
				t.Errorf("names %+v", d.Names)
			}
			replayed(t, h, anchors)
		})
	}
}

// replayed checks that the handshake proves nothing once any of its fresh parts
// is another: that is what a certificate without its key comes to.
func replayed(t *testing.T, h devices.Handshake, anchors []*Anchor) {
	t.Helper()
	other := h
	other.Sent = append([]byte{}, h.Sent...)
	other.Sent[5+4+2+7] ^= 1 // in the random of the ClientHello
	d, err := VerifyDevice("test", other.Sent, other.Received, other.Secret, anchors, "FL-1", nil, []string{mac}, time.Now())
	if err == nil && (d.Proven() || d.Endorsement.Status != attest.StatusFailed) {
		t.Errorf("with another random: %+v", d.Endorsement)
	}
	if _, ok := d.Mark(); ok {
		t.Error("a replay is no mark of the maker")
	}
	for _, cut := range []int{0, 5, len(h.Received) / 4, len(h.Received) / 2} {
		if d, err := VerifyDevice("test", h.Sent, h.Received[:cut], h.Secret, anchors, "FL-1", nil, nil, time.Now()); err == nil && d.Proven() {
			t.Errorf("proven by the first %d bytes", cut)
		}
	}
}

func TestWhatProvesNothing(t *testing.T) {
	root := devicepki.Root(t, "Root")
	sub := root.Sub("Intermediate")
	stranger := devicepki.Root(t, "Root") // the same name, another key
	strangersSub := stranger.Sub("Intermediate")
	leaf := sub.Issue(likeAxis)
	serial, macs := []string{"00005E005301"}, []string{mac}
	anchor := func(t *testing.T) []*Anchor { return []*Anchor{anchorFile(t, root.Cert, "fjordlens")} }
	for _, c := range []struct {
		name    string
		issued  devicepki.Issued
		chain   []string
		tls     []string
		anchors func(*testing.T) []*Anchor
		serials []string
		macs    []string
		now     time.Time
		status  attest.Status
		says    string
	}{
		{name: "no intermediate", issued: leaf, status: attest.StatusUnanchored, says: `its issuer "CN=Intermediate,O=Fjordlens AS" was not presented`},
		{name: "the wrong intermediate", issued: leaf, chain: []string{strangersSub.Cert}, status: attest.StatusUnanchored, says: "none of the 1 anchors"},
		{name: "another maker's root of the same name", issued: strangersSub.Issue(likeAxis), chain: []string{strangersSub.Cert, stranger.Cert}, status: attest.StatusUnanchored, says: "none of the 1 anchors"},
		{name: "an empty trust store", issued: leaf, chain: []string{sub.Cert}, anchors: func(*testing.T) []*Anchor { return nil }, status: attest.StatusUnanchored, says: "no anchor for device-identity"},
		{name: "an anchor of another purpose", issued: leaf, chain: []string{sub.Cert}, anchors: func(t *testing.T) []*Anchor {
			b, _ := os.ReadFile(root.Cert)
			a, err := NewAnchor(b, "fjordlens", PurposeMediaSigning, nil, "", time.Now())
			if err != nil {
				t.Fatal(err)
			}
			return []*Anchor{a}
		}, status: attest.StatusUnanchored, says: "no anchor for device-identity"},
		{name: "an anchor of another model", issued: leaf, chain: []string{sub.Cert}, anchors: func(t *testing.T) []*Anchor {
			return []*Anchor{anchorFile(t, root.Cert, "fjordlens", "FL-2")}
		}, status: attest.StatusUnanchored, says: "does not speak for model"},
		{name: "another unit's serial number", issued: leaf, chain: []string{sub.Cert}, serials: []string{"00005E005302"}, macs: []string{"00:00:5E:00:53:02"}, status: attest.StatusUnmatched, says: "of another unit"},
		{name: "nothing in it that the unit goes by", issued: sub.Issue(devicepki.Device{CN: "camera", HardwareType: module, HardwareSerial: "0405"}), chain: []string{sub.Cert}, status: attest.StatusUnmatched, says: "no name in it"},
		{name: "expired", issued: sub.Issue(with(likeAxis, func(d *devicepki.Device) { d.From, d.To = "20200101000000Z", "20240101000000Z" })), chain: []string{sub.Cert}, status: attest.StatusUnanchored, says: "(from 2020-01-01 to 2024-01-01)"},
		{name: "an authority that has expired since", issued: leaf, chain: []string{sub.Cert}, now: time.Now().AddDate(20, 0, 0), status: attest.StatusUnanchored, says: "is not valid on"},
		{name: "a root that has nothing to do with it", issued: leaf, chain: []string{sub.Cert}, anchors: func(t *testing.T) []*Anchor { return []*Anchor{anchorFile(t, stranger.Cert, "fjordlens")} }, status: attest.StatusUnanchored},
		{name: "RSA key exchange", issued: sub.Issue(with(likeAxis, func(d *devicepki.Device) { d.Key = "RSA-2048" })), chain: []string{sub.Cert}, tls: []string{"-tls1_2", "-cipher", "AES128-SHA:@SECLEVEL=0"}, status: attest.StatusUnsupported, says: "only shows that it can decrypt"},
		{name: "TLS 1.0", issued: sub.Issue(with(likeAxis, func(d *devicepki.Device) { d.Key = "RSA-2048" })), chain: []string{sub.Cert}, tls: []string{"-tls1", "-cipher", "DEFAULT:@SECLEVEL=0"}, status: attest.StatusUnsupported, says: "SHA-1 or MD5"},
		{name: "an intermediate whose names it breaks", issued: root.Sub("Narrow", "nameConstraints=critical,permitted;DNS:fjordlens.example").Issue(with(likeAxis, func(d *devicepki.Device) { d.HardwareType, d.More = "", []string{"subjectAltName=DNS:other.example"} })), status: attest.StatusUnanchored},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := shake(t, c.issued.Serve(t, c.chain, c.tls...))
			anchors := anchor(t)
			if c.anchors != nil {
				anchors = c.anchors(t)
			}
			if c.serials == nil {
				c.serials, c.macs = serial, macs
			}
			if c.now.IsZero() {
				c.now = time.Now()
			}
			d := verify(t, h, anchors, c.serials, c.macs, c.now)
			if d.Proven() || d.Endorsement.Status != c.status || !strings.Contains(d.Endorsement.Detail, c.says) {
				t.Errorf("%+v", d.Endorsement)
			}
		})
	}
}

func TestACertificateThatAnAnchorDidNotIssueIsAForgery(t *testing.T) {
	root := devicepki.Root(t, "Root")
	leaf := root.Issue(likeAxis)
	b, _ := os.ReadFile(leaf.Cert)
	block, _ := pem.Decode(b)
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	forged := append([]byte{}, c.Raw...)
	forged[len(forged)-1] ^= 1
	if c, err = x509.ParseCertificate(forged); err != nil {
		t.Fatal(err)
	}
	a, status, why := anchorOf([]*x509.Certificate{c}, []*Anchor{anchorFile(t, root.Cert, "fjordlens")}, PurposeDeviceIdentity, "FL-1", time.Now())
	if a == nil || status != attest.StatusFailed || !strings.Contains(why, "the signature does not hold") {
		t.Errorf("%v %s %s", a, status, why)
	}
}

func TestAnEmptySubjectWithACriticalModuleName(t *testing.T) {
	root := devicepki.Root(t, "Root")
	leaf := root.Issue(devicepki.Device{HardwareType: module, HardwareSerial: "464C3030303142", CriticalName: true}) // "FL0001B"
	h := shake(t, leaf.Serve(t, nil))
	d := verify(t, h, []*Anchor{anchorFile(t, root.Cert, "fjordlens")}, []string{"FL0001B"}, nil, time.Now())
	if !d.Proven() || d.Names.HardwareSerial != "FL0001B" {
		t.Errorf("%+v %+v", d.Endorsement, d.Names)
	}
}

func TestNamesAreHeldAgainstTheUnitsWords(t *testing.T) {
	axis := DeviceNames{Serial: "00005e005301", MACs: []string{"00005e005301"}}
	plain := DeviceNames{Serial: "PID:FL-1 SN:FCW123456"}
	for _, c := range []struct {
		name           string
		names          DeviceNames
		serials, macs  []string
		agree, against int
	}{
		{"the serial number is the address", axis, []string{"00005E005301"}, nil, 1, 0},
		{"the address alone", axis, nil, []string{mac}, 1, 0},
		{"another serial number, of another grammar, and the address", axis, []string{"FL0001"}, []string{mac}, 1, 0},
		{"a serial number that cannot be compared", axis, []string{"FL0001"}, nil, 0, 0},
		{"one of two interfaces", axis, nil, []string{"00:00:5E:00:53:09", mac}, 1, 0},
		{"another address", axis, nil, []string{"00:00:5E:00:53:09"}, 0, 1},
		{"nothing said", axis, nil, nil, 0, 0},
		{"with a prefix", plain, []string{"FCW123456"}, nil, 1, 0},
		{"too short to mean anything", plain, []string{"456"}, nil, 0, 1},
		{"another", plain, []string{"FCW123457"}, nil, 0, 1},
		{"twelve digits that are a serial number", DeviceNames{MACs: []string{"123456789012"}, Serial: "123456789012"}, []string{"123456789012"}, []string{mac}, 1, 0},
		{"twelve digits and only an address", DeviceNames{MACs: []string{"123456789012"}, Serial: "123456789012"}, nil, []string{mac}, 0, 0},
	} {
		got := c.names.compare(c.serials, c.macs)
		if len(got.Agree) != c.agree || len(got.Against) != c.against {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
}

func FuzzHardwareModuleName(f *testing.F) {
	f.Add([]byte{0x30, 0x19, 0xa0, 0x17, 0x06, 0x08, 0x2b, 6, 1, 5, 5, 7, 8, 4, 0xa0, 0x0b, 0x30, 0x09, 0x06, 0x03, 0x2a, 3, 4, 0x04, 0x02, 1, 2})
	f.Add([]byte{0x30, 0x00})
	f.Fuzz(func(t *testing.T, b []byte) {
		kind, serial, err := hardwareModuleName(b)
		if err == nil && kind == "" && serial != "" {
			t.Errorf("a serial number %q of nothing", serial)
		}
	})
}

func FuzzHandshake(f *testing.F) {
	f.Add([]byte{22, 3, 1, 0, 4, 1, 0, 0, 0}, []byte{22, 3, 3, 0, 4, 2, 0, 0, 0}, []byte{})
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		sent, received, secret := ownHandshake(f, version)
		if h, err := readHandshake(sent, received, secret); err != nil {
			f.Fatal(h, err)
		}
		f.Add(sent, received, secret)
	}
	f.Fuzz(func(t *testing.T, sent, received, secret []byte) {
		h, err := readHandshake(sent, received, secret)
		if h == nil && err == nil || h != nil && len(h.chain) == 0 {
			t.Errorf("%v %v", h, err)
		}
		if err != nil && !errors.Is(err, errTranscript) && !errors.Is(err, errNotSigned) && !errors.Is(err, errBadSignature) {
			t.Errorf("error of no kind: %v", err)
		}
	})
}

// tap keeps what a side reads and writes.
type tap struct {
	net.Conn
	in, out bytes.Buffer
}

func (c *tap) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.in.Write(b[:n])
	return n, err
}

func (c *tap) Write(b []byte) (int, error) {
	c.out.Write(b)
	return c.Conn.Write(b)
}

// ownHandshake is one between two ends of this program.
func ownHandshake(t testing.TB, version uint16) (sent, received, secret []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	near, far := net.Pipe()
	done := make(chan error, 1)
	go func() {
		s := tls.Server(far, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, SessionTicketsDisabled: true})
		done <- s.Handshake()
	}()
	var log bytes.Buffer
	c := &tap{Conn: near}
	if err := tls.Client(c, &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version, KeyLogWriter: &log}).Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	near.Close()
	for line := range strings.Lines(log.String()) {
		if f := strings.Fields(line); f[0] == "SERVER_HANDSHAKE_TRAFFIC_SECRET" {
			secret, _ = hex.DecodeString(f[2])
		}
	}
	return c.out.Bytes(), c.in.Bytes(), secret
}
