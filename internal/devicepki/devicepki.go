// Package devicepki makes device certificates (IEEE 802.1AR) with openssl, and
// serves them with openssl s_server, for tests.
package devicepki

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"assay/internal/peer"
)

// Authority issues certificates.
type Authority struct {
	t       testing.TB
	dir     string
	name    string
	program string
	Cert    string // PEM file
	key     string
}

// Issued is a certificate with its key.
type Issued struct{ Cert, Key string } // PEM files

// Forever is the end of validity that IEEE 802.1AR-2018 section 8.7 asks for.
const Forever = "99991231235959Z"

// Device says what a device certificate holds.
type Device struct {
	CN, Serial     string // of the subject; both may be empty
	HardwareType   string // object identifier; empty for no hardwareModuleName
	HardwareSerial string // hexadecimal
	CriticalName   bool
	From, To       string   // as ASN.1 has them; now and Forever where empty
	Key            string   // "P-256" (where empty), "P-384", "RSA-2048", "RSA-4096", "ED25519"
	More           []string // further lines of extensions
}

// Root makes an authority that nobody vouches for.
func Root(t testing.TB, name string) *Authority {
	t.Helper()
	a := &Authority{t: t, dir: t.TempDir(), name: name, program: peer.Need(t, "openssl", "openssl")}
	a.prepare()
	a.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", a.key, "-out", a.Cert,
		"-days", "3650", "-subj", "/O=Fjordlens AS/CN="+name, "-addext", "keyUsage=critical,keyCertSign")
	return a
}

// Sub makes an authority that this one certifies. More are further extensions.
func (a *Authority) Sub(name string, more ...string) *Authority {
	a.t.Helper()
	sub := &Authority{t: a.t, dir: a.t.TempDir(), name: name, program: a.program}
	sub.prepare()
	request := filepath.Join(sub.dir, "request")
	sub.openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384", "-nodes", "-keyout", sub.key, "-out", request, "-subj", "/O=Fjordlens AS/CN="+name)
	a.sign(request, sub.Cert, "", "", append([]string{"basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign"}, more...))
	return sub
}

func (a *Authority) prepare() {
	a.Cert, a.key = filepath.Join(a.dir, "ca.pem"), filepath.Join(a.dir, "ca.key")
	a.write("index", "")
	a.write("index.attr", "unique_subject = no\n")
	a.write("config", fmt.Sprintf(`
[ca]
default_ca = this
[this]
database = %[1]s/index
new_certs_dir = %[1]s
rand_serial = yes
default_md = sha256
policy = any
email_in_dn = no
[any]
organizationName = optional
commonName = optional
serialNumber = optional
`, a.dir))
}

// Issue makes a device certificate.
func (a *Authority) Issue(d Device) Issued {
	a.t.Helper()
	dir := a.t.TempDir()
	out := Issued{filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")}
	key := []string{"-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"}
	switch {
	case strings.HasPrefix(d.Key, "RSA-"):
		key = []string{"-newkey", "rsa:" + d.Key[4:]}
	case d.Key == "ED25519":
		key = []string{"-newkey", "ed25519"}
	case d.Key != "":
		key[3] = "ec_paramgen_curve:" + d.Key
	}
	subject := "/O=Fjordlens AS"
	if d.CN == "" && d.Serial == "" {
		subject = "/"
	}
	if d.CN != "" {
		subject += "/CN=" + d.CN
	}
	if d.Serial != "" {
		subject += "/serialNumber=" + d.Serial
	}
	request := filepath.Join(dir, "request")
	a.openssl(append([]string{"req", "-nodes", "-keyout", out.Key, "-out", request, "-subj", subject}, key...)...)
	more := []string{"authorityKeyIdentifier=keyid"}
	if d.HardwareType != "" {
		critical := ""
		if d.CriticalName {
			critical = "critical,"
		}
		more = append(more, "subjectAltName="+critical+"otherName:1.3.6.1.5.5.7.8.4;SEQ:module")
	}
	more = append(more, d.More...)
	if d.HardwareType != "" {
		more = append(more, "[module]", "type=OID:"+d.HardwareType, "serial=FORMAT:HEX,OCT:"+d.HardwareSerial)
	}
	a.sign(request, out.Cert, d.From, d.To, more)
	return out
}

func (a *Authority) sign(request, out, from, to string, extensions []string) {
	a.t.Helper()
	file := filepath.Join(filepath.Dir(out), "extensions")
	if err := os.WriteFile(file, []byte(strings.Join(extensions, "\n")+"\n"), 0o600); err != nil {
		a.t.Fatal(err)
	}
	if from == "" {
		from = time.Now().Add(-time.Hour).UTC().Format("20060102150405Z")
	}
	if to == "" {
		to = Forever
	}
	a.openssl("ca", "-batch", "-notext", "-config", filepath.Join(a.dir, "config"), "-cert", a.Cert, "-keyfile", a.key,
		"-startdate", from, "-enddate", to, "-extfile", file, "-in", request, "-out", out, "-preserveDN")
}

func (a *Authority) write(name, content string) {
	if err := os.WriteFile(filepath.Join(a.dir, name), []byte(content), 0o600); err != nil {
		a.t.Fatal(err)
	}
}

func (a *Authority) openssl(args ...string) {
	a.t.Helper()
	if out, err := exec.Command(a.program, args...).CombinedOutput(); err != nil {
		a.t.Fatalf("openssl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// Serve serves HTTPS with the certificate, the chain after it, and openssl's
// settings, until the end of the test. It returns the address.
func (i Issued) Serve(t testing.TB, chain []string, settings ...string) string {
	t.Helper()
	program := peer.Need(t, "openssl", "openssl")
	port := freePort(t)
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	args := append([]string{"s_server", "-quiet", "-www", "-accept", address, "-cert", i.Cert, "-key", i.Key}, settings...)
	if len(chain) > 0 {
		var all []byte
		for _, c := range chain {
			b, err := os.ReadFile(c)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, b...)
		}
		file := filepath.Join(t.TempDir(), "chain.pem")
		if err := os.WriteFile(file, all, 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "-cert_chain", file)
	}
	cmd := exec.Command(program, args...)
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	in, err := cmd.StdinPipe() // s_server ends with its input
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, _ = io.WriteString(in, "")
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("s_server said:\n%s", said.String())
		}
	})
	for range 100 {
		if conn, err := net.DialTimeout("tcp", address, time.Second); err == nil {
			conn.Close()
			return address
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatal("s_server does not listen")
	return ""
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
