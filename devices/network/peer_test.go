//go:debug rsa1024min=0

package network

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"assay/attest"
	"assay/devices"
	"assay/internal/peer"
)

// freePort is a port that was free a moment ago.
func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// run starts a server program, waits until it listens, and stops it at the end
// of the test.
func run(t testing.TB, port int, program string, args ...string) {
	t.Helper()
	cmd := exec.Command(program, args...)
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	in, err := cmd.StdinPipe() // openssl s_server ends with its input
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		io.WriteString(in, "")
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("%s said:\n%s", program, said.String())
		}
	})
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	for range 100 {
		if conn, err := net.DialTimeout("tcp", address, time.Second); err == nil {
			conn.Close()
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("%s does not listen", program)
}

// lighttpd serves an ISAPI document behind mod_auth.
func lighttpd(t *testing.T, method, algorithm string) string {
	program := peer.Need(t, "lighttpd", "lighttpd")
	dir, port := t.TempDir(), freePort(t)
	page := filepath.Join(dir, "www", "ISAPI", "System")
	if err := os.MkdirAll(page, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		filepath.Join(page, "deviceInfo"): `<DeviceInfo xmlns="http://www.isapi.org/ver20/XMLSchema"><model>LT-1</model><serialNumber>LT000001</serialNumber></DeviceInfo>`,
		filepath.Join(dir, "users"):       "admin:correct horse\n",
		filepath.Join(dir, "conf"): fmt.Sprintf(`
server.document-root = "%[1]s/www"
server.bind = "127.0.0.1"
server.port = %[2]d
server.modules = ("mod_auth", "mod_authn_file")
auth.backend = "plain"
auth.backend.plain.userfile = "%[1]s/users"
auth.require = ("/ISAPI" => ("method" => "%[3]s", "algorithm" => "%[4]s", "realm" => "peer, with a comma", "require" => "valid-user"))
`, dir, port, method, algorithm),
	} {
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	run(t, port, program, "-D", "-f", filepath.Join(dir, "conf"))
	return fmt.Sprintf("http://127.0.0.1:%d", port)
}

func TestLoginAtLighttpd(t *testing.T) {
	for _, c := range []struct{ method, algorithm string }{{"digest", "MD5"}, {"digest", "SHA-256"}, {"digest", "MD5|SHA-256"}, {"basic", ""}} {
		t.Run(c.method+" "+c.algorithm, func(t *testing.T) {
			url := lighttpd(t, c.method, c.algorithm)
			m, err := identify(t, url, Options{Account: devices.NewAccount("admin", "correct horse"), AllowBasic: true})
			if err != nil {
				t.Fatal(err)
			}
			has(t, m, attest.NameSerial, "unit LT000001")
			has(t, m, "http-realm", "network peer, with a comma")
			wrong := devices.NewAccount("admin", "wrong horse")
			m, err = identify(t, url, Options{Account: wrong, AllowBasic: true})
			if err != nil || wrong.Refused() == "" || len(m.values(attest.NameSerial)) != 0 {
				t.Errorf("wrong password: %v\n%s", err, m)
			}
		})
	}
}

// openssl serves TLS with one certificate and these settings.
func openssl(t *testing.T, key []string, settings ...string) string {
	program := peer.Need(t, "openssl", "openssl")
	dir, port := t.TempDir(), freePort(t)
	args := append([]string{"req", "-x509", "-nodes", "-days", "30", "-subj", "/O=Peer/CN=peer.example", "-keyout", dir + "/key", "-out", dir + "/cert"}, key...)
	if out, err := exec.Command(program, args...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	run(t, port, program, append([]string{"s_server", "-quiet", "-www", "-accept", fmt.Sprintf("127.0.0.1:%d", port), "-cert", dir + "/cert", "-key", dir + "/key"}, settings...)...)
	return fmt.Sprintf("https://127.0.0.1:%d", port)
}

func TestTLSOfItsTime(t *testing.T) {
	ecdsa := []string{"-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"}
	p521 := []string{"-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-521"}
	rsa := func(bits string) []string { return []string{"-newkey", "rsa:" + bits} }
	for _, c := range []struct {
		name     string
		key      []string
		settings []string
		version  string // begins so
		weak     bool
	}{
		{"TLS 1.3", ecdsa, nil, "TLS 1.3", false},
		{"TLS 1.2, curve P-521 only", p521, []string{"-tls1_2", "-named_curve", "P-521"}, "TLS 1.2", false},
		{"TLS 1.2 with RSA key exchange and CBC", rsa("2048"), []string{"-tls1_2", "-cipher", "AES128-SHA:@SECLEVEL=0"}, "TLS 1.2 TLS_RSA_WITH_AES_128_CBC_SHA", true},
		{"TLS 1.0", rsa("1024"), []string{"-tls1", "-cipher", "DEFAULT:@SECLEVEL=0"}, "TLS 1.0", true},
		{"TLS 1.1", rsa("1024"), []string{"-tls1_1", "-cipher", "DEFAULT:@SECLEVEL=0"}, "TLS 1.1", true},
		{"TLS 1.0 with a key of 512 bits", rsa("512"), []string{"-tls1", "-cipher", "AES128-SHA:@SECLEVEL=0"}, "TLS 1.0", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			// s_server leaves a POST unanswered, so the protocols would only wait.
			m := new(memory)
			s := newSession(Open(target(t, openssl(t, c.key, c.settings...)), Options{Timeout: 5 * time.Second}), m)
			if _, err := s.reach(t.Context()); err != nil {
				t.Fatal(err)
			}
			m.check(t, nil)
			has(t, m, "tls-subject", "network CN=peer.example,O=Peer")
			got := m.values("tls-version")
			if len(got) != 1 || !strings.HasPrefix(got[0], "network "+c.version) || strings.Contains(got[0], "weak") != c.weak {
				t.Errorf("version %q, want %s, weak %v", got, c.version, c.weak)
			}
			if key := m.values("tls-key"); len(key) != 1 || !attest.Digest(strings.TrimPrefix(key[0], "network ")).Valid() {
				t.Errorf("key %q", key)
			}
			if !slices.Contains(m.values("http-status"), "network 200") {
				t.Errorf("no HTTP over it:\n%s", m)
			}
		})
	}
	t.Run("of one with only finite-field Diffie-Hellman the certificate is read, and that is said", func(t *testing.T) {
		url := openssl(t, rsa("2048"), "-tls1_2", "-cipher", "DHE-RSA-AES128-SHA:@SECLEVEL=0")
		m, err := identify(t, url, Options{Timeout: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		has(t, m, "tls-subject", "network CN=peer.example,O=Peer")
		if got := m.values("tls-version"); len(got) != 1 || !strings.HasPrefix(got[0], "network TLS 1.2 TLS_DHE_RSA_WITH_AES_128_CBC_SHA (transport not authenticated") {
			t.Errorf("version %q", got)
		}
		if len(m.problems) != 1 || !strings.Contains(m.problems[0].Says, "its certificate was read, and nothing over it") {
			t.Errorf("problems %v", m.problems)
		}
	})
}

func TestVersionsAndSuitesThatAServerTakes(t *testing.T) {
	ecdsa := []string{"-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"}
	rsa := []string{"-newkey", "rsa:2048"}
	for _, c := range []struct {
		name     string
		key      []string
		settings []string
		want     map[string]string
	}{
		{"of today", ecdsa, []string{"-alpn", "h2,http/1.1"}, map[string]string{"tls-versions": "TLS 1.3, TLS 1.2", "tls-alpn": "h2"}},
		{"two suites of the last decade, in the server's order", rsa, []string{"-tls1_2", "-serverpref", "-cipher", "DHE-RSA-AES128-SHA:AES256-SHA:AES128-SHA:@SECLEVEL=0"},
			map[string]string{"tls-versions": "TLS 1.2", "tls-suites": "TLS 1.2: TLS_DHE_RSA_WITH_AES_128_CBC_SHA, TLS_RSA_WITH_AES_256_CBC_SHA, TLS_RSA_WITH_AES_128_CBC_SHA", "tls-alpn": ""}},
		{"all versions that openssl has", rsa, []string{"-cipher", "AES128-SHA:@SECLEVEL=0"}, map[string]string{"tls-versions": "TLS 1.3, TLS 1.2, TLS 1.1, TLS 1.0", "tls-suites": "TLS 1.2: TLS_RSA_WITH_AES_128_CBC_SHA"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m := new(memory)
			s := newSession(Open(target(t, openssl(t, c.key, c.settings...)), Options{Timeout: 5 * time.Second, Pace: time.Millisecond}), m)
			ep, err := s.reach(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			s.survey(t.Context(), ep)
			m.check(t, nil)
			for name, want := range c.want {
				if got := strings.Join(m.values(name), "|"); got != strings.TrimSuffix("network "+want, "network ") {
					t.Errorf("%s is %q, want %q", name, got, want)
				}
			}
			if t.Failed() {
				t.Log(m)
			}
		})
	}
}
