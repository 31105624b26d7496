package simulator

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

func start(t *testing.T, name string, change func(*Camera)) *Server {
	t.Helper()
	c, err := Load(name)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(c)
	}
	s, err := c.Start(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestEveryCameraStartsAndClosesAndInventsItsAddresses(t *testing.T) {
	documentation := regexp.MustCompile(`(?i)^00[:-]?00[:-]?5e[:-]?00[:-]?53`)
	address := regexp.MustCompile(`(?i)\b[0-9a-f]{2}([:-][0-9a-f]{2}){5}\b`)
	for _, name := range List() {
		t.Run(name, func(t *testing.T) {
			b, err := os.ReadFile(filepath.Join("cameras", name+".yaml"))
			if err != nil {
				t.Fatal(err)
			}
			for _, mac := range address.FindAllString(string(b), -1) {
				if !documentation.MatchString(mac) && mac != "ff:ff:ff:ff:ff:ff" { // nobody's
					t.Errorf("%s is outside the documentation range", mac)
				}
			}
			s := start(t, name, nil)
			if s.camera.Name != name || s.camera.Description == "" {
				t.Errorf("name %q, description %q", s.camera.Name, s.camera.Description)
			}
			for range 2 {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			}
			if conn, err := net.Dial("tcp", s.Addr); err == nil {
				conn.Close()
				t.Error("still listens after Close")
			}
		})
	}
}

func TestLoadOfAPathAndOfNothing(t *testing.T) {
	file := filepath.Join(t.TempDir(), "mine.yaml")
	if err := os.WriteFile(file, []byte("name: mine\nhttp: {server: mine}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if c, err := Load(file); err != nil || c.Name != "mine" {
		t.Errorf("%v, %v", c, err)
	}
	if _, err := Load("nowhere"); err == nil || !strings.Contains(err.Error(), "axis-like") {
		t.Errorf("error %v does not list the cameras", err)
	}
}

func TestParseRefuses(t *testing.T) {
	for name, c := range map[string]struct{ file, says string }{
		"an unknown field":         {"name: a\ncolour: red", "colour"},
		"no name":                  {"description: a", "no name"},
		"an unknown login":         {"name: a\nhttp: {login: [ntlm]}", "ntlm"},
		"an unknown quirk":         {"name: a\nroutes: [{path: /, quirk: sings}]", "sings"},
		"a route to nowhere":       {"name: a\nroutes: [{path: x}]", "not a path"},
		"an ONVIF without a login": {"name: a\nonvif: {model: b}", "onvif login"},
		"fields that are no text":  {"name: a\nisapi: {fields: {a: [1]}}", "line 2"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Parse([]byte(c.file)); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %v does not say %q", err, c.says)
			}
		})
	}
}

func get(t *testing.T, url, authorization string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp
}

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

func TestAccountLocksAfterRefusals(t *testing.T) {
	s := start(t, "hikvision", func(c *Camera) { c.HTTP.Login, c.Account.LockAfter = []string{"basic"}, 3 })
	right := basic(s.camera.Account.User, s.camera.Account.Password)
	if got := get(t, s.URL+isapiPath, right).StatusCode; got != http.StatusOK {
		t.Fatalf("right password: status %d", got)
	}
	for range 3 {
		if got := get(t, s.URL+isapiPath, basic("admin", "wrong")).StatusCode; got != http.StatusUnauthorized {
			t.Fatalf("wrong password: status %d", got)
		}
	}
	if got := get(t, s.URL+isapiPath, right).StatusCode; got != http.StatusUnauthorized {
		t.Errorf("locked account: status %d", got)
	}
	if s.Refused() != 4 || len(s.Logins()) != 5 {
		t.Errorf("%d refused of %d", s.Refused(), len(s.Logins()))
	}
}

func TestDigestIsVerified(t *testing.T) {
	s := start(t, "hikvision", nil)
	resp := get(t, s.URL+isapiPath, "")
	nonce := regexp.MustCompile(`nonce="([^"]+)"`).FindStringSubmatch(resp.Header.Get("WWW-Authenticate"))[1]
	for name, header := range map[string]string{
		"a wrong response":        `Digest username="admin", realm="IP Camera(00011)", nonce="` + nonce + `", uri="` + isapiPath + `", qop=auth, nc=00000001, cnonce="a", response="00000000000000000000000000000000"`,
		"a nonce of somebody":     `Digest username="admin", realm="IP Camera(00011)", nonce="abc", uri="` + isapiPath + `", qop=auth, nc=00000001, cnonce="a", response="0"`,
		"basic where not offered": basic(s.camera.Account.User, s.camera.Account.Password),
		"nothing of sense":        "Bearer abc",
	} {
		if got := get(t, s.URL+isapiPath, header).StatusCode; got != http.StatusUnauthorized {
			t.Errorf("%s: status %d", name, got)
		}
	}
	if s.Refused() != 4 {
		t.Errorf("%d refused", s.Refused())
	}
}

func TestUsernameTokenIsVerified(t *testing.T) {
	c, err := Load("hikvision")
	if err != nil {
		t.Fatal(err)
	}
	a := newAuthority(c)
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	// base64(sha1("nonce" + "2026-11-23T12:00:00Z" + password)) by openssl.
	good := usernameToken{Username: "admin", Nonce: "bm9uY2U=", Created: "2026-11-23T12:00:00Z", Password: "Q1PiNgbGF6qdyfXQ6BIem7RDgrA="}
	if got := a.wsse(usernameToken{}, now); got != "" {
		t.Errorf("no token is %q", got)
	}
	for _, step := range []struct {
		name string
		t    usernameToken
		now  time.Time
		want string
	}{
		{"six seconds off", good, now.Add(6 * time.Second), refused},
		{"in time", good, now.Add(4 * time.Second), accepted},
		{"a second time", good, now, refused},
		{"another user", usernameToken{"root", good.Password, "bm9uY2Uy", good.Created}, now, refused},
	} {
		if got := a.wsse(step.t, step.now); got != step.want {
			t.Errorf("%s: %s, want %s", step.name, got, step.want)
		}
	}
}

func TestWritesAreSeen(t *testing.T) {
	s := start(t, "onvif-plain", nil)
	for _, r := range []struct{ method, path, body string }{
		{"PUT", "/ISAPI/System/time", ""},
		{"POST", onvifPath, `<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"><s:Body><SystemReboot/></s:Body></s:Envelope>`},
		{"POST", onvifPath, `<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"><s:Body><GetScopes/></s:Body></s:Envelope>`},
		{"GET", "/", ""},
	} {
		req, _ := http.NewRequestWithContext(t.Context(), r.method, s.URL+r.path, strings.NewReader(r.body))
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	var writes []string
	for _, w := range s.Writes() {
		writes = append(writes, w.Method+" "+w.Operation)
	}
	if !slices.Equal(writes, []string{"PUT ", "POST SystemReboot"}) {
		t.Errorf("writes %q of %v", writes, s.Log())
	}
}

func TestQuirksEndWithTheCamera(t *testing.T) {
	for _, q := range []Quirk{Endless, Drip, Silent} {
		t.Run(string(q), func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			c, err := Load("onvif-plain")
			if err != nil {
				t.Fatal(err)
			}
			c.Routes = []Route{{Path: "/x", Quirk: q}}
			s, err := c.Start(ctx, "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			conn, err := net.Dial("tcp", s.Addr)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			io.WriteString(conn, "GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
			if q != Silent {
				if _, err := bufio.NewReader(conn).ReadString('\n'); err != nil {
					t.Fatal(err)
				}
			} else {
				time.Sleep(20 * time.Millisecond)
			}
			cancel()
			s.Close()
			conn.SetReadDeadline(time.Now().Add(5 * time.Second))
			if _, err := io.Copy(io.Discard, conn); err != nil && strings.Contains(err.Error(), "timeout") {
				t.Error("the connection is still open")
			}
		})
	}
}
