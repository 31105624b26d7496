package network

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"assay/attest"
	"assay/devices"
	"assay/devices/simulator"
)

// about returns the problems of one source.
func (m *memory) about(source string) []attest.Problem {
	return slices.DeleteFunc(slices.Clone(m.problems), func(p attest.Problem) bool { return p.Source != source })
}

func TestHostileAnswerIsOneProblemAndTheRestGoesOn(t *testing.T) {
	for _, c := range []struct {
		camera string
		kind   attest.ProblemKind
		says   string
	}{
		{"hostile-endless", attest.ProblemHostile, "answer of more than 1048576 bytes: reading stopped"},
		{"hostile-header", attest.ProblemHostile, "header of more than 64 KiB"},
		{"hostile-drip", attest.ProblemHostile, "answer drips"},
		{"hostile-redirect", attest.ProblemHostile, "redirects to another host, http://192.0.2.99/ISAPI/System/deviceInfo: not followed"},
		{"hostile-entities", attest.ProblemHostile, "<!DOCTYPE> could declare entities"},
		{"hostile-html200", attest.ProblemMalformed, "a web page with status 200"},
		{"hostile-length", attest.ProblemMalformed, "before the end of the answer"},
		{"hostile-reset", attest.ProblemMalformed, "before the end of the answer"},
		{"hostile-packed", attest.ProblemHostile, `packed with "gzip"`},
	} {
		t.Run(c.camera, func(t *testing.T) {
			camera, server := start(t, c.camera, nil)
			m, err := identify(t, server.URL, Options{Account: account(camera)})
			if err != nil {
				t.Fatal(err)
			}
			problems := m.about("isapi /ISAPI/System/deviceInfo")
			if len(problems) != 1 || problems[0].Kind != c.kind || !strings.Contains(problems[0].Says, c.says) {
				t.Errorf("problems %v, want one %s that says %q", problems, c.kind, c.says)
			}
			if got := m.values(attest.NameMAC); len(got) != 1 || !strings.HasPrefix(got[0], "unit 00:00:5E:00:53:A") {
				t.Errorf("MAC %q, want the one that ONVIF gives", got)
			}
			if c.camera != "hostile-html200" && len(m.problems) != 1 {
				t.Errorf("problems elsewhere:\n%s", m)
			}
		})
	}
}

func TestFieldsBeforeAWrongLengthAreKept(t *testing.T) {
	_, server := start(t, "hostile-length", nil)
	m, err := identify(t, server.URL, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(m.claims, func(c attest.Claim) bool {
		return c.Source == "isapi /ISAPI/System/deviceInfo model" && c.Value == "HX-1"
	}) {
		t.Errorf("no model from the short answer:\n%s", m)
	}
}

func TestSilentUnitIsGivenUpEarly(t *testing.T) {
	_, server := start(t, "onvif-plain", func(c *simulator.Camera) {
		c.Routes = []simulator.Route{{Path: "/onvif/device_service", Quirk: simulator.Silent}, {Path: "*", Quirk: simulator.Silent}}
	})
	m, err := identify(t, server.URL, Options{Timeout: 200 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if got := len(server.Log()); got > 1+maxStrikes {
		t.Errorf("%d requests sent", got)
	}
	last := m.problems[len(m.problems)-1]
	if last.Kind != attest.ProblemIncomplete || !strings.Contains(last.Says, "the last 3 answers") {
		t.Errorf("last problem %+v", last)
	}
	if len(m.values("http-server")) == 0 {
		t.Error("the banner is lost")
	}
}

func TestRedirectFromStartPage(t *testing.T) {
	redirect := func(to string) func(*simulator.Camera) {
		return func(c *simulator.Camera) {
			c.Routes = []simulator.Route{{Path: "/", Status: http.StatusFound, Headers: map[string]string{"Location": to}}}
		}
	}
	t.Run("to another host is hostile and not followed", func(t *testing.T) {
		_, other := start(t, "dahua", nil)
		_, server := start(t, "onvif-plain", redirect(strings.Replace(other.URL, "127.0.0.1", "localhost", 1)+"/"))
		m, err := identify(t, server.URL, Options{})
		if err != nil || len(m.about("http /")) != 1 || m.about("http /")[0].Kind != attest.ProblemHostile {
			t.Errorf("%v\n%s", err, m)
		}
		if len(other.Log()) != 0 {
			t.Errorf("the other host was asked %v", other.Log())
		}
	})
	t.Run("to https of the same host is followed once", func(t *testing.T) {
		_, back := start(t, "onvif-plain", nil)
		_, secure := start(t, "vendor-signed", func(c *simulator.Camera) { c.HTTP.LoginPage = back.URL + "/" })
		_, plain := start(t, "onvif-plain", redirect(secure.URL+"/"))
		m, err := identify(t, plain.URL, Options{})
		if err != nil || !slices.Contains(m.values(attest.NameMaker), "unit Fjordlens AS") || len(m.values("tls-key")) != 1 {
			t.Errorf("%v\n%s", err, m)
		}
		if p := m.about("http /"); len(p) != 1 || !strings.Contains(p[0].Says, "name it as the target") || len(back.Log()) != 0 {
			t.Errorf("problems %v, asked %v", p, back.Log())
		}
	})
	t.Run("to a login page of Hikvision reads its title", func(t *testing.T) {
		_, server := start(t, "hikvision", func(c *simulator.Camera) { c.HTTP.Title = "Login" })
		m, err := identify(t, server.URL, Options{})
		if err != nil || !slices.Contains(m.values("http-title"), "network Login") {
			t.Errorf("%v\n%s", err, m)
		}
	})
}

func TestPortThatSpeaksTLSIsFoundOut(t *testing.T) {
	_, server := start(t, "vendor-signed", nil)
	m, err := identify(t, server.Addr, Options{})
	if err != nil || !slices.Contains(m.values(attest.NameProtocol), "network https") {
		t.Errorf("%v\n%s", err, m)
	}
}

func TestNothingThere(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	l.Close()
	m, err := identify(t, closed, Options{})
	if !errors.Is(err, devices.ErrUnreachable) || !strings.Contains(err.Error(), "http://"+closed+": connection refused") || len(m.problems) != 0 {
		t.Errorf("error %v, problems %v", err, m.problems)
	}
}

func TestSomethingElseThere(t *testing.T) {
	for name, says := range map[string]string{
		"an SSH server":                "SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n",
		"a server that only hangs up":  "",
		"a server that sends a novel":  strings.Repeat("It was a dark and stormy night. ", 4096),
		"a server that sends its zero": strings.Repeat("\x00", 100),
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() {
				for {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					fmt.Fprint(conn, says)
					conn.(*net.TCPConn).CloseWrite()
					time.AfterFunc(50*time.Millisecond, func() { conn.Close() })
				}
			}()
			_, err = identify(t, l.Addr().String(), Options{})
			want := devices.ErrNotUnit
			switch {
			case says == "":
				want = devices.ErrUnreachable
			case len(says) > 64<<10:
				want = devices.ErrHostile
			}
			if !errors.Is(err, want) || strings.ContainsAny(err.Error(), "\r\n\x00") || len(err.Error()) > 600 {
				t.Errorf("error %q, want %v", err, want)
			}
		})
	}
}

func TestPlainTextHintAtHTTPSIsFollowed(t *testing.T) {
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	m, err := identify(t, server.Listener.Addr().String(), Options{})
	if err != nil || len(m.values("tls-key")) != 1 {
		t.Errorf("%v\n%s", err, m)
	}
}

func TestCancelledSessionKeepsWhatItHas(t *testing.T) {
	_, server := start(t, "hikvision", nil)
	target, _ := devices.ParseTarget(server.URL)
	ctx, cancel := context.WithCancel(t.Context())
	m := new(memory)
	err := Open(target, Options{Pace: time.Millisecond, Progress: func(step string) {
		if strings.Contains(step, "ISAPI") {
			cancel()
		}
	}}).Identify(ctx, m)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if len(m.claims) == 0 || m.strongest("hikvision") != "c2" || len(m.about("isapi /ISAPI/System/deviceInfo")) != 0 {
		t.Errorf("kept:\n%s", m)
	}
}

func TestXAddrIsRecordedAndNeverAsked(t *testing.T) {
	_, other := start(t, "onvif-plain", nil)
	_, server := start(t, "onvif-plain", func(c *simulator.Camera) { c.ONVIF.XAddr, c.ONVIF.Login = other.URL, "none" })
	m, err := identify(t, server.URL, Options{})
	if err != nil || !slices.Contains(m.values("xaddr"), "network "+other.URL) || len(other.Log()) != 0 {
		t.Errorf("%v, asked %v\n%s", err, other.Log(), m)
	}
}

func TestChangedTLSKeyEndsTheSession(t *testing.T) {
	_, first := start(t, "vendor-signed", nil)
	camera, second := start(t, "vendor-signed", nil)
	c := Open(devices.Target{Kind: devices.KindNetwork, Host: "127.0.0.1", TLS: true}, Options{Account: account(camera), Pace: time.Millisecond, Timeout: time.Second})
	s := newSession(c, new(memory))
	ep := &endpoint{scheme: "https", host: "127.0.0.1", address: first.Addr}
	if _, err := s.handshake(t.Context(), ep); err != nil {
		t.Fatal(err)
	}
	ep.address = second.Addr
	if _, err := s.send(t.Context(), ep, landingPage, credential{}); !errors.Is(err, devices.ErrHostile) || !errors.Is(err, errKeyChanged) {
		t.Errorf("error %v", err)
	}
}

func TestTargetWithoutPort(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux answers on all of 127.0.0.0/8")
	}
	serve := func(t *testing.T, name, addr string) {
		camera, err := simulator.Load(name)
		if err != nil {
			t.Fatal(err)
		}
		server, err := camera.Start(t.Context(), addr)
		if err != nil {
			t.Skipf("the usual ports are not ours to listen on: %v", err)
		}
		t.Cleanup(func() { server.Close() })
	}
	t.Run("reads http and takes the certificate of https along", func(t *testing.T) {
		serve(t, "hikvision", "127.0.0.83:80")
		serve(t, "vendor-signed", "127.0.0.83:443")
		m, err := identify(t, "127.0.0.83", Options{})
		if err != nil || len(m.values("tls-key")) != 1 || m.strongest("hikvision") != "c2" || slices.Contains(m.values(attest.NameMaker), "unit Fjordlens AS") {
			t.Errorf("%v\n%s", err, m)
		}
	})
	t.Run("reads https where http is closed", func(t *testing.T) {
		serve(t, "vendor-signed", "127.0.0.84:443")
		m, err := identify(t, "127.0.0.84", Options{})
		if err != nil || !slices.Contains(m.values(attest.NameMaker), "unit Fjordlens AS") || len(m.about("http /")) != 0 {
			t.Errorf("%v\n%s", err, m)
		}
	})
	t.Run("says what was tried where both are closed", func(t *testing.T) {
		_, err := identify(t, "127.0.0.85", Options{})
		if !errors.Is(err, devices.ErrUnreachable) || !strings.Contains(err.Error(), "http://127.0.0.85:80: connection refused; https://127.0.0.85:443: connection refused") {
			t.Errorf("error %v", err)
		}
	})
}
