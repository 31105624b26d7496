package network

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"assay/attest"
	"assay/devices"
	"assay/devices/simulator"
)

func TestWrongPasswordIsTriedOnce(t *testing.T) {
	for _, name := range []string{"axis-like", "hikvision", "dahua", "relabelled", "onvif-plain", "vendor-signed"} {
		t.Run(name, func(t *testing.T) {
			_, server := start(t, name, nil)
			a := devices.NewAccount("admin", "not-the-password")
			m, err := identify(t, server.URL, Options{Account: a})
			if err != nil {
				t.Fatal(err)
			}
			if len(server.Logins()) != 1 || server.Refused() != 1 {
				t.Errorf("logins %v", server.Logins())
			}
			refusals := slices.DeleteFunc(slices.Clone(m.problems), func(p attest.Problem) bool { return p.Kind != attest.ProblemAccess })
			if len(refusals) != 1 || !strings.Contains(refusals[0].Says, "refused the login of account admin; not tried again, since cameras lock an account") || a.Refused() == "" {
				t.Errorf("problems %v, account refused by %q", m.problems, a.Refused())
			}
			if len(m.claims) == 0 {
				t.Error("what needs no login is lost")
			}
			// A second session with the same account asks nobody again.
			if _, err := identify(t, server.URL, Options{Account: a}); err != nil || len(server.Logins()) != 1 {
				t.Errorf("second session: %v, logins %v", err, server.Logins())
			}
		})
	}
}

func TestONVIFWithItsOwnUserIsOneRefusalAfterISAPI(t *testing.T) {
	camera, server := start(t, "hikvision", func(c *simulator.Camera) { c.ONVIF.Clock = 0 })
	// The ONVIF user does not exist on this camera, as with Hikvision's factory setting.
	denied := simulator.Route{Path: "/onvif/device_service", Operation: "GetDeviceInformation", Status: http.StatusBadRequest,
		Body: `<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"><s:Body><s:Fault><s:Code><s:Value>s:Sender</s:Value><s:Subcode><s:Value>ter:NotAuthorized</s:Value></s:Subcode></s:Code></s:Fault></s:Body></s:Envelope>`}
	camera.Routes = append(camera.Routes, denied)
	m, err := identify(t, server.URL, Options{Account: account(camera)})
	if err != nil {
		t.Fatal(err)
	}
	if p := m.about("onvif GetDeviceInformation"); len(p) != 1 || !strings.Contains(p[0].Says, "its ONVIF user is missing or disabled") {
		t.Errorf("problems %v", m.problems)
	}
	if !slices.Contains(m.values(attest.NameSerial), "unit DS-2CD2143G2-I20230512AAWRL00000011") {
		t.Error("what ISAPI gave is lost")
	}
}

func TestNoAccountNamesWhatALoginWouldOpen(t *testing.T) {
	_, server := start(t, "hikvision", nil)
	m, err := identify(t, server.URL, Options{})
	if err != nil || len(server.Logins()) != 0 {
		t.Fatalf("%v, logins %v", err, server.Logins())
	}
	if len(m.problems) != 1 || m.problems[0].Kind != attest.ProblemIncomplete ||
		m.problems[0].Says != "isapi /ISAPI/System/deviceInfo, onvif GetDeviceInformation, onvif GetNetworkInterfaces: need a login, and none was given" {
		t.Errorf("problems %v", m.problems)
	}
	if m.strongest("hikvision") != "c2" {
		t.Errorf("realm and server without login:\n%s", m)
	}
}

func TestHTTPLogin(t *testing.T) {
	for _, c := range []struct {
		name   string
		login  []string
		qop    string
		change func(*simulator.HTTP)
		used   string
	}{
		{"MD5 without qop, as RFC 2069", []string{"digest"}, "", nil, "digest accepted"},
		{"MD5 with qop auth", []string{"digest MD5"}, "auth", nil, "digest accepted"},
		{"MD5-sess", []string{"digest MD5-sess"}, "auth", nil, "digest accepted"},
		{"SHA-256", []string{"digest SHA-256"}, "auth", nil, "digest accepted"},
		{"SHA-256-sess", []string{"digest SHA-256-sess"}, "auth", nil, "digest accepted"},
		{"both qualities of protection, no blank", []string{"digest"}, "auth,auth-int", nil, "digest accepted"},
		{"both qualities of protection, the other first", []string{"digest"}, "auth-int, auth", nil, "digest accepted"},
		{"a comma in the realm", []string{"digest"}, "auth", func(h *simulator.HTTP) { h.Realm = "Login to device, channel 1" }, "digest accepted"},
		{"no quotes around qop and nc", []string{"digest"}, "auth", func(h *simulator.HTTP) { h.Unquoted = true }, "digest accepted"},
		{"basic offered before digest", []string{"basic", "digest"}, "auth", nil, "digest accepted"},
	} {
		t.Run(c.name, func(t *testing.T) {
			camera, server := start(t, "hikvision", func(s *simulator.Camera) {
				s.HTTP.Login, s.HTTP.QOP, s.ONVIF = c.login, c.qop, nil
				if c.change != nil {
					c.change(&s.HTTP)
				}
			})
			m, err := identify(t, server.URL, Options{Account: account(camera)})
			if err != nil {
				t.Fatal(err)
			}
			logins := server.Logins()
			if len(logins) != 1 || logins[0].Login != c.used || len(m.problems) != 0 {
				t.Errorf("logins %v\n%s", logins, m)
			}
		})
	}
}

func TestONVIFLogin(t *testing.T) {
	t.Run("by HTTP where the unit wants that", func(t *testing.T) {
		camera, server := start(t, "onvif-plain", func(c *simulator.Camera) {
			c.ONVIF.Login, c.HTTP.Login, c.HTTP.Realm, c.HTTP.QOP = "http", []string{"digest"}, "onvif", "auth"
		})
		m, err := identify(t, server.URL, Options{Account: account(camera)})
		if err != nil || server.Refused() != 0 || server.Logins()[0].Login != "digest accepted" || len(m.problems) != 0 {
			t.Errorf("%v, logins %v\n%s", err, server.Logins(), m)
		}
		has(t, m, attest.NameSerial, "unit ZZZZ70GW000031A")
	})
	t.Run("with our own clock where the unit does not tell its own", func(t *testing.T) {
		camera, server := start(t, "onvif-plain", func(c *simulator.Camera) {
			c.ONVIF.Clock = 0
			c.Routes = []simulator.Route{{Path: "/onvif/device_service", Operation: "GetSystemDateAndTime", Status: http.StatusBadRequest, Body: envelope("<Fault><Value>ter:NotAuthorized</Value></Fault>")}}
		})
		m, err := identify(t, server.URL, Options{Account: account(camera)})
		if err != nil || server.Logins()[0].Login != "wsse accepted" || len(m.problems) != 0 {
			t.Errorf("%v, logins %v\n%s", err, server.Logins(), m)
		}
	})
	t.Run("makes no refusal of paths that are not there", func(t *testing.T) {
		server := serveFunc(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") == "" {
				w.Header().Set("WWW-Authenticate", `Digest realm="a", nonce="b"`)
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			http.NotFound(w, r)
		})
		a := devices.NewAccount("admin", "p4ssw0rd")
		m, err := identify(t, server, Options{Account: a})
		if err != nil || a.Refused() != "" || len(m.problems) != 0 {
			t.Errorf("%v, refused by %q\n%s", err, a.Refused(), m)
		}
	})
}

func TestStrongestDigestIsTaken(t *testing.T) {
	camera, server := start(t, "vendor-signed", nil) // SHA-256 and MD5 on two lines
	m, err := identify(t, server.URL, Options{Account: account(camera)})
	if err != nil || server.Refused() != 0 || len(m.problems) != 0 {
		t.Errorf("%v, logins %v\n%s", err, server.Logins(), m)
	}
}

func TestStaleNonceIsAnsweredOnceAndIsNoRefusal(t *testing.T) {
	camera, server := start(t, "hikvision", func(c *simulator.Camera) { c.HTTP.StaleFirst, c.ONVIF = true, nil })
	a := account(camera)
	m, err := identify(t, server.URL, Options{Account: a})
	if err != nil {
		t.Fatal(err)
	}
	var how []string
	for _, l := range server.Logins() {
		how = append(how, l.Login)
	}
	if !slices.Equal(how, []string{"digest stale", "digest accepted"}) || a.Refused() != "" || len(m.problems) != 0 {
		t.Errorf("logins %v, refused by %q\n%s", how, a.Refused(), m)
	}
}

func TestBasicNeedsProtectionOrConsent(t *testing.T) {
	basic := func(c *simulator.Camera) { c.HTTP.Login, c.ONVIF = []string{"basic"}, nil }
	t.Run("plain HTTP without consent sends no password", func(t *testing.T) {
		camera, server := start(t, "hikvision", basic)
		m, err := identify(t, server.URL, Options{Account: account(camera)})
		if err != nil || len(server.Logins()) != 0 || !strings.Contains(m.String(), "takes the password only readable (HTTP Basic)") {
			t.Errorf("%v, logins %v\n%s", err, server.Logins(), m)
		}
	})
	t.Run("plain HTTP with consent", func(t *testing.T) {
		camera, server := start(t, "hikvision", basic)
		if _, err := identify(t, server.URL, Options{Account: account(camera), AllowBasic: true}); err != nil || server.Logins()[0].Login != "basic accepted" {
			t.Errorf("%v, logins %v", err, server.Logins())
		}
	})
	t.Run("TLS of today", func(t *testing.T) {
		camera, server := start(t, "vendor-signed", basic)
		if _, err := identify(t, server.URL, Options{Account: account(camera)}); err != nil || server.Logins()[0].Login != "basic accepted" {
			t.Errorf("%v, logins %v", err, server.Logins())
		}
	})
}

func TestUnreadableChallengeIsNoBadPassword(t *testing.T) {
	for name, header := range map[string]string{
		"a quote that does not close":       `Digest realm="IP Camera(A0001), nonce=1`,
		"no nonce":                          `Digest realm="DVRNVRDVS", ...`,
		"an unknown algorithm":              `Digest realm="a", nonce="b", algorithm=SHA3-512`,
		"an unreadable digest beside basic": `Digest realm="a", Basic realm="a"`,
		"a scheme of another world":         `Negotiate`,
	} {
		t.Run(name, func(t *testing.T) {
			camera, server := start(t, "hikvision", func(c *simulator.Camera) {
				c.ONVIF = nil
				c.Routes = []simulator.Route{{Path: "/ISAPI/System/deviceInfo", Status: http.StatusUnauthorized, Headers: map[string]string{"WWW-Authenticate": header}}}
			})
			a := account(camera)
			m, err := identify(t, server.URL, Options{Account: a, AllowBasic: true})
			if err != nil {
				t.Fatal(err)
			}
			p := m.about("isapi /ISAPI/System/deviceInfo")
			if len(p) != 1 || p[0].Kind != attest.ProblemMalformed || !strings.Contains(p[0].Says, "login challenge cannot be read") || len(server.Logins()) != 0 || a.Refused() != "" {
				t.Errorf("problems %v, logins %v, refused by %q", m.problems, server.Logins(), a.Refused())
			}
		})
	}
}

func TestLoginWithoutClearAnswerIsNotRepeated(t *testing.T) {
	var attempts atomic.Int32
	camera, err := simulator.Load("hikvision")
	if err != nil {
		t.Fatal(err)
	}
	a := account(camera)
	server := serveFunc(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "" {
			w.Header().Set("WWW-Authenticate", `Digest realm="a", nonce="b"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		attempts.Add(1)
		panic(http.ErrAbortHandler)
	})
	m, err := identify(t, server, Options{Account: a})
	if err != nil || attempts.Load() != 1 || a.Refused() == "" || !strings.Contains(m.String(), "gave no clear answer to the login") {
		t.Errorf("%v, %d attempts\n%s", err, attempts.Load(), m)
	}
}

func TestPasswordThatAUnitSendsBackIsMasked(t *testing.T) {
	const password = "correct horse"
	server := serveFunc(t, func(w http.ResponseWriter, r *http.Request) {
		if _, got, ok := r.BasicAuth(); ok {
			fmt.Fprintf(w, `<DeviceInfo><model>%s</model><serialNumber>%s</serialNumber></DeviceInfo>`, got, r.Header.Get("Authorization"))
			return
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="a"`)
		w.WriteHeader(http.StatusUnauthorized)
	})
	m, err := identify(t, server, Options{Account: devices.NewAccount("admin", password), AllowBasic: true})
	if err != nil || !slices.Contains(m.values(attest.NameModel), "unit ********") || !slices.Contains(m.values(attest.NameSerial), "unit Basic ********") {
		t.Errorf("%v\n%s", err, m)
	}
}
