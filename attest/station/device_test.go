package station

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"assay/attest"
	"assay/attest/appraise"
	"assay/attest/provenance"
	"assay/devices"
	"assay/devices/simulator"
	"assay/internal/devicepki"
)

// newHome is a station that knows Fjordlens, the maker of the simulated camera.
func newHome(t *testing.T) Home {
	t.Helper()
	h := Home(t.TempDir())
	b, err := os.ReadFile("../../testdata/demo/fjordlens.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(h.path("data"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(h.path("data", "fjordlens.yaml"), b, 0o600); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h Home) trusts(t *testing.T, cert, maker string, models ...string) {
	t.Helper()
	b, err := os.ReadFile(cert)
	if err != nil {
		t.Fatal(err)
	}
	a, err := provenance.NewAnchor(b, maker, provenance.PurposeDeviceIdentity, models, "test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	store, err := h.Trust()
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Add(a); err != nil {
		t.Fatal(err)
	}
}

func (h Home) endorses(t *testing.T, maker, model string) {
	t.Helper()
	m, err := provenance.NewModelEndorsement(maker, []string{model}, "data sheet of the test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	store, err := h.Trust()
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Endorse(m); err != nil {
		t.Fatal(err)
	}
}

// camera is the simulated Fjordlens FD-220, serial number FLB2-000117, with a
// device certificate.
func camera(t *testing.T, issued devicepki.Issued, chain ...string) string {
	t.Helper()
	c, err := simulator.Load("vendor-signed")
	if err != nil {
		t.Fatal(err)
	}
	c.TLS = &simulator.TLS{}
	for _, f := range append([]string{issued.Cert}, chain...) {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		c.TLS.Chain += string(b)
	}
	key, err := os.ReadFile(issued.Key)
	if err != nil {
		t.Fatal(err)
	}
	c.TLS.Key = string(key)
	s, err := c.Start(context.Background(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s.URL
}

// site is compiled once: it takes longer than the rest.
var site = sync.OnceValues(func() (*appraise.Profile, error) { return appraise.Load("uk-sensitive-site", nil) })

// appraised collects from one address and appraises for a sensitive site.
func appraised(t *testing.T, h Home, url string) (*attest.Evidence, *attest.Result) {
	t.Helper()
	target, err := devices.ParseTarget(url)
	if err != nil {
		t.Fatal(err)
	}
	ev, err := h.Collect(context.Background(), Request{
		Targets: []devices.Target{target}, Account: devices.NewAccount("service", "demo-fjordlens"), Dir: filepath.Join(t.TempDir(), "session"),
	})
	if err != nil {
		t.Fatal(err)
	}
	profile, err := site()
	if err != nil {
		t.Fatal(err)
	}
	data, err := h.Entities()
	if err != nil {
		t.Fatal(err)
	}
	r, err := appraise.Appraise(ev, profile, data, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return ev, r
}

func explain(t *testing.T, ev *attest.Evidence, r *attest.Result) {
	t.Helper()
	for _, x := range r.Reasons {
		met := ""
		if x.Met != nil && !*x.Met {
			met = " (unmet)"
		}
		t.Logf("%s %s%s: %s", x.Effect, x.Rule, met, x.Text)
	}
	for _, e := range ev.Endorsements {
		t.Logf("%s %s: %s", e.Scheme, e.Status, e.Detail)
	}
}

const deviceModule = "1.3.6.1.4.1.32473.1.1" // the arc for documentation (RFC 5612)

// genuine is the certificate that Fjordlens gave the unit.
var genuine = devicepki.Device{CN: "FD-220 FLB2-000117", Serial: "FLB2-000117", HardwareType: deviceModule, HardwareSerial: "04005001AABBCC"}

func TestADeviceKeyAndAnEndorsedModelPermit(t *testing.T) {
	root := devicepki.Root(t, "Fjordlens Root")
	sub := root.Sub("Fjordlens Devices 1")
	other := devicepki.Root(t, "Other Root")
	hikvision := devicepki.Root(t, "Covered Root")
	both := func(h Home) {
		h.trusts(t, root.Cert, "fjordlens")
		h.endorses(t, "fjordlens", "FD-220")
	}
	change := func(f func(*devicepki.Device)) devicepki.Device {
		d := genuine
		f(&d)
		return d
	}
	unit := sub.Issue(genuine)
	for _, c := range []struct {
		name    string
		issued  devicepki.Issued
		chain   []string
		trust   func(Home)
		verdict attest.Verdict
		rule    string // the reason that decides
		status  attest.Status
	}{
		{"certified, and the model endorsed", unit, []string{sub.Cert}, both, attest.Permitted, "require.boot-chain", attest.StatusVerified},
		{"the model not endorsed", unit, []string{sub.Cert}, func(h Home) { h.trusts(t, root.Cert, "fjordlens") }, attest.Inconclusive, "require.boot-chain", attest.StatusVerified},
		{"another model endorsed", unit, []string{sub.Cert}, func(h Home) {
			h.trusts(t, root.Cert, "fjordlens")
			h.endorses(t, "fjordlens", "FD-221")
		}, attest.Inconclusive, "require.boot-chain", attest.StatusVerified},
		{"the model endorsed for another maker", unit, []string{sub.Cert}, func(h Home) {
			h.trusts(t, root.Cert, "fjordlens")
			h.endorses(t, "axis", "FD-220")
		}, attest.Inconclusive, "require.boot-chain", attest.StatusVerified},
		{"nobody trusted", unit, []string{sub.Cert}, func(h Home) { h.endorses(t, "fjordlens", "FD-220") }, attest.Inconclusive, "require.boot-chain", attest.StatusUnanchored},
		{"the root is trusted for another maker", unit, []string{sub.Cert}, func(h Home) {
			h.trusts(t, root.Cert, "axis")
			h.endorses(t, "fjordlens", "FD-220")
			h.endorses(t, "axis", "FD-220")
		}, attest.Inconclusive, "hold.contradiction", attest.StatusVerified},
		{"a covered maker certified it", hikvision.Issue(genuine), nil, func(h Home) {
			both(h)
			h.trusts(t, hikvision.Cert, "hikvision")
		}, attest.Refused, "refuse.covered-maker", attest.StatusVerified},
		{"another root", other.Issue(genuine), nil, both, attest.Inconclusive, "require.boot-chain", attest.StatusUnanchored},
		{"no intermediate", unit, nil, both, attest.Inconclusive, "require.boot-chain", attest.StatusUnanchored},
		{"expired", sub.Issue(change(func(d *devicepki.Device) { d.From, d.To = "20200101000000Z", "20240101000000Z" })), []string{sub.Cert}, both, attest.Inconclusive, "require.boot-chain", attest.StatusUnanchored},
		{"the certificate of its twin", sub.Issue(change(func(d *devicepki.Device) { d.CN, d.Serial = "FD-220 FLB2-000118", "FLB2-000118" })), []string{sub.Cert}, both, attest.Inconclusive, "hold.contradiction", attest.StatusUnmatched},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel() // requests are paced, so this waits mostly
			h := newHome(t)
			c.trust(h)
			ev, r := appraised(t, h, camera(t, c.issued, c.chain...))
			i := slices.IndexFunc(ev.Endorsements, func(e attest.Endorsement) bool { return e.Scheme == provenance.SchemeDevice })
			decides := slices.ContainsFunc(r.Reasons, func(x attest.Reason) bool {
				return x.Rule == c.rule && (x.Met == nil || *x.Met == (c.verdict == attest.Permitted))
			})
			if r.Verdict != c.verdict || !decides || i < 0 || ev.Endorsements[i].Status != c.status {
				explain(t, ev, r)
				t.Fatalf("verdict %s, want %s by %s", r.Verdict, c.verdict, c.rule)
			}
			if keyed := len(ev.Unit.DeviceKeys) == 1; keyed != (c.status == attest.StatusVerified) {
				t.Errorf("device keys of the unit: %v", ev.Unit.DeviceKeys)
			}
			if c.verdict == attest.Permitted && r.AR4SI.InstanceIdentity != 2 {
				t.Errorf("%+v", r.AR4SI)
			}
		})
	}
}

// A certificate without its key gets no further than the handshake.
func TestAReplayedCertificateWithoutItsKey(t *testing.T) {
	root := devicepki.Root(t, "Fjordlens Root")
	real := root.Issue(genuine)
	imposter := root.Issue(genuine) // another key of the same names
	h := newHome(t)
	h.trusts(t, root.Cert, "fjordlens")
	h.endorses(t, "fjordlens", "FD-220")
	// tls.X509KeyPair refuses to serve a foreign key, so the pair is put
	// together by hand.
	l := replayer(t, real.Cert, imposter.Key)
	target, err := devices.ParseTarget("https://" + l)
	if err != nil {
		t.Fatal(err)
	}
	ev, err := h.Collect(context.Background(), Request{Targets: []devices.Target{target}, Dir: filepath.Join(t.TempDir(), "session")})
	if ev == nil {
		t.Fatal(err)
	}
	if len(ev.Unit.DeviceKeys) != 0 || slices.ContainsFunc(ev.Claims, func(c attest.Claim) bool { return c.Name == attest.NameDeviceKey }) {
		t.Errorf("a device key without its possession: %+v", ev.Claims)
	}
	if slices.ContainsFunc(ev.Endorsements, func(e attest.Endorsement) bool { return e.Status == attest.StatusVerified }) || len(ev.Marks) != 0 {
		t.Errorf("endorsements: %+v, marks: %+v", ev.Endorsements, ev.Marks)
	}
	if !slices.ContainsFunc(ev.Problems, func(p attest.Problem) bool { return strings.Contains(p.Says, "signature") }) && err == nil {
		t.Errorf("problems: %+v", ev.Problems)
	}
}

func replayer(t *testing.T, cert, key string) (address string) {
	t.Helper()
	own, err := tls.LoadX509KeyPair(strings.Replace(key, "key.pem", "cert.pem", 1), key)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(cert)
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := tls.X509KeyPair(b, mustRead(t, strings.Replace(cert, "cert.pem", "key.pem", 1)))
	if err != nil {
		t.Fatal(err)
	}
	foreign.PrivateKey = own.PrivateKey
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{foreign}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func(c net.Conn) {
				defer c.Close()
				_, _ = io.Copy(io.Discard, c)
			}(c)
		}
	}()
	return l.Addr().String()
}

func mustRead(t *testing.T, file string) []byte {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
