package network

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"assay/attest"
	"assay/devices"
	"assay/devices/simulator"
	"assay/internal/peer"
)

// Servers that nobody here wrote, for the protocols with a socket of their own.

// beside identifies a unit with a web server of no interest, and a peer at a port.
func beside(t *testing.T, o Options) (*memory, *simulator.Server) {
	t.Helper()
	_, server := start(t, "onvif-plain", func(c *simulator.Camera) { c.ONVIF = nil })
	m, err := identify(t, server.URL, o)
	if err != nil {
		t.Fatal(err)
	}
	return m, server
}

// gstServer serves "/" by GStreamer's RTSP server, behind a login.
const gstServer = `
import sys, gi
gi.require_version("Gst", "1.0"); gi.require_version("GstRtspServer", "1.0"); gi.require_version("GstRtsp", "1.0")
from gi.repository import Gst, GstRtsp, GstRtspServer, GLib, Gio
Gst.init(None)
port, method, cert = sys.argv[1], sys.argv[2], sys.argv[3]
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1"); server.set_service(port)
factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch("( videotestsrc ! rtpvrawpay name=pay0 )")
factory.add_role_from_structure(Gst.Structure.new_from_string("user, media.factory.access=(boolean)true, media.factory.construct=(boolean)true"))
server.get_mount_points().add_factory("/", factory)
auth = GstRtspServer.RTSPAuth()
auth.set_realm("peer realm")
token = GstRtspServer.RTSPToken(); token.set_string("media.factory.role", "user")
if method == "digest":
    auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
    auth.add_digest("admin", "correct horse", token)
else:
    auth.set_supported_methods(GstRtsp.RTSPAuthMethod.BASIC)
    auth.add_basic(GstRtspServer.RTSPAuth.make_basic("admin", "correct horse"), token)
if cert:
    auth.set_tls_certificate(Gio.TlsCertificate.new_from_file(cert))
server.set_auth(auth)
server.attach(None)
GLib.MainLoop().run()
`

func gstreamer(t *testing.T, method, cert string) int {
	const program = "/usr/bin/python3" // Debian's, which has the bindings
	peer.Need(t, program, "python3-gi")
	if exec.Command(program, "-c", `import gi; gi.require_version("GstRtspServer", "1.0"); from gi.repository import GstRtspServer`).Run() != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("GStreamer's RTSP server is not installed: install Debian packages gir1.2-gst-rtsp-server-1.0 python3-gi gstreamer1.0-plugins-good")
		}
		t.Skip("GStreamer's RTSP server is not installed: install Debian packages gir1.2-gst-rtsp-server-1.0 python3-gi gstreamer1.0-plugins-good")
	}
	port := freePort(t)
	run(t, port, program, "-c", gstServer, fmt.Sprint(port), method, cert)
	return port
}

func TestRTSPAtGStreamer(t *testing.T) {
	for _, c := range []struct {
		method string
		allow  bool
	}{{"digest", false}, {"basic", true}} {
		t.Run(c.method, func(t *testing.T) {
			t.Parallel()
			ports := map[string][]int{"rtsp": {gstreamer(t, c.method, "")}}
			m, _ := beside(t, Options{Ports: ports, Account: devices.NewAccount("admin", "correct horse"), AllowBasic: c.allow})
			has(t, m, "rtsp-server", "network GStreamer RTSP server")
			has(t, m, "rtsp-realm", "network peer realm")
			has(t, m, "rtsp-session", "network Session streamed with GStreamer")
			has(t, m, "rtsp-tool", "network GStreamer")
			wrong := devices.NewAccount("admin", "wrong horse")
			m, _ = beside(t, Options{Ports: ports, Account: wrong, AllowBasic: c.allow})
			if wrong.Refused() == "" || len(m.values("rtsp-tool")) != 0 {
				t.Errorf("wrong password\n%s", m)
			}
			m, _ = beside(t, Options{Ports: ports})
			has(t, m, "rtsp-realm", "network peer realm")
			if len(m.about("network")) != 1 {
				t.Errorf("that a login would open more is not said\n%s", m)
			}
		})
	}
	t.Run("over TLS basic needs no consent", func(t *testing.T) {
		t.Parallel()
		cert := filepath.Join(t.TempDir(), "cert.pem")
		if out, err := exec.Command(peer.Need(t, "openssl", "openssl"), "req", "-x509", "-nodes", "-newkey", "rsa:2048", "-subj", "/CN=rtsps.example", "-keyout", cert+".key", "-out", cert+".crt").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		var both []byte
		for _, part := range []string{cert + ".key", cert + ".crt"} {
			b, err := os.ReadFile(part)
			if err != nil {
				t.Fatal(err)
			}
			both = append(both, b...)
		}
		if err := os.WriteFile(cert, both, 0o600); err != nil {
			t.Fatal(err)
		}
		m, _ := beside(t, Options{Ports: map[string][]int{"rtsps": {gstreamer(t, "basic", cert)}}, Account: devices.NewAccount("admin", "correct horse")})
		has(t, m, "tls-subject", "network CN=rtsps.example")
		has(t, m, "rtsp-tool", "network GStreamer")
	})
}

// snmpd answers as two makers at once: Axis's description, Hikvision's objects.
func snmpd(t *testing.T) int {
	program := peer.Need(t, "/usr/sbin/snmpd", "snmpd")
	port, dir := freePort(t), t.TempDir()
	conf := filepath.Join(dir, "snmpd.conf")
	if err := os.WriteFile(conf, []byte(`
agentaddress udp:127.0.0.1:`+fmt.Sprint(port)+`
rocommunity demo-community 127.0.0.1
createUser reader SHA "correct horse" AES "battery staple"
rouser reader priv
createUser plain MD5 "correct horse"
rouser plain auth
sysobjectid .1.3.6.1.4.1.368.4.1.7
override 1.3.6.1.2.1.1.1.0 octet_str "; AXIS P5534-E; PTZ Dome Network Camera; 5.40.9.2; May 15 2012 09:50; 188.1; 1;"
override 1.3.6.1.4.1.39165.1.1.0 octet_str "DS-2CD2143G2-I"
override 1.3.6.1.4.1.39165.1.4.0 octet_str "00:00:5e:00:53:72"
`), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-f", "-Lo", "-C", "-c", conf, "-I", "-smux,mteTrigger,mteTriggerConf", "-p", filepath.Join(dir, "pid"))
	cmd.Env = append(os.Environ(), "SNMP_PERSISTENT_DIR="+dir, "SNMPCONFPATH="+dir)
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("snmpd said:\n%s", said.String())
		}
	})
	for range 100 { // until the port is taken
		l, err := net.ListenPacket("udp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			return port
		}
		l.Close()
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("snmpd does not listen:\n%s", said.String())
	return 0
}

func TestSNMPAtNetSNMP(t *testing.T) {
	port := snmpd(t)
	for _, c := range []struct {
		name  string
		o     SNMP
		known bool
	}{
		{"a community", SNMP{Community: "demo-community"}, true},
		{"version 3 with privacy", SNMP{User: "reader", Auth: "SHA", AuthPassword: "correct horse", Priv: "AES", PrivPassword: "battery staple"}, true},
		{"version 3 without", SNMP{User: "plain", Auth: "MD5", AuthPassword: "correct horse"}, true},
		{"a wrong password of version 3", SNMP{User: "reader", Auth: "SHA", AuthPassword: "wrong horse", Priv: "AES", PrivPassword: "battery staple"}, false},
		{"a user that is not there", SNMP{User: "nobody", Auth: "SHA", AuthPassword: "correct horse"}, false},
		{"public", SNMP{Public: true}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, _ := beside(t, Options{Ports: map[string][]int{"snmp": {port}}, SNMP: c.o, Timeout: time.Second})
			if !c.known {
				if p := m.about("snmp GET system"); len(p) != 1 || len(m.values("snmp-description")) != 0 || strings.Contains(m.String(), "wrong horse") {
					t.Errorf("\n%s", m)
				}
				return
			}
			has(t, m, "snmp-object-id", "network 1.3.6.1.4.1.368.4.1.7")
			has(t, m, attest.NameModel, "unit P5534-E", "unit DS-2CD2143G2-I")
			has(t, m, attest.NameMAC, "unit 00:00:5E:00:53:72")
			if len(m.problems) != 0 {
				t.Errorf("\n%s", m)
			}
		})
	}
}

func TestHostKeysOfSSHServers(t *testing.T) {
	dir := t.TempDir()
	keygen := peer.Need(t, "ssh-keygen", "openssh-client")
	key := func(t *testing.T, kind string) (file, fingerprint string) {
		file = filepath.Join(dir, kind)
		if out, err := exec.Command(keygen, "-q", "-t", kind, "-N", "", "-m", "PEM", "-f", file).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		out, err := exec.Command(keygen, "-l", "-f", file+".pub").Output()
		if err != nil {
			t.Fatal(err)
		}
		return file, strings.Fields(string(out))[1]
	}
	check := func(t *testing.T, port int, banner, fingerprint string) {
		m, _ := beside(t, Options{Ports: map[string][]int{"ssh": {port}}})
		if got := m.values("ssh-banner"); len(got) != 1 || !regexp.MustCompile(banner).MatchString(got[0]) {
			t.Errorf("banner %q", got)
		}
		if got := m.values("ssh-host-key"); len(got) != 1 || !strings.HasSuffix(got[0], " "+fingerprint) {
			t.Errorf("host key %q, want %s\n%s", got, fingerprint, m)
		}
		if len(m.values("ssh-host-key-algorithms")) != 1 || len(m.problems) != 0 {
			t.Errorf("\n%s", m)
		}
	}
	t.Run("OpenSSH", func(t *testing.T) {
		program := peer.Need(t, "/usr/sbin/sshd", "openssh-server")
		if os.Getuid() == 0 {
			os.MkdirAll("/run/sshd", 0o755) // its privilege separation wants it
		}
		file, fingerprint := key(t, "ed25519")
		port := freePort(t)
		run(t, port, program, "-D", "-e", "-f", "/dev/null", "-h", file, "-p", fmt.Sprint(port), "-o", "ListenAddress=127.0.0.1", "-o", "PidFile=none")
		check(t, port, `^network SSH-2\.0-OpenSSH_`, fingerprint)
	})
	t.Run("dropbear", func(t *testing.T) {
		program := peer.Need(t, "/usr/sbin/dropbear", "dropbear-bin")
		convert := peer.Need(t, "/usr/lib/dropbear/dropbearconvert", "dropbear-bin")
		file, fingerprint := key(t, "rsa")
		if out, err := exec.Command(convert, "openssh", "dropbear", file, file+".db").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		port := freePort(t)
		run(t, port, program, "-F", "-E", "-r", file+".db", "-p", fmt.Sprintf("127.0.0.1:%d", port), "-P", filepath.Join(dir, "pid"))
		check(t, port, `^network SSH-2\.0-dropbear_`, fingerprint)
	})
}

func TestBannerOfAnFTPServer(t *testing.T) {
	program := peer.Need(t, "/usr/sbin/vsftpd", "vsftpd")
	if os.Getuid() != 0 {
		t.Skip("vsftpd wants to be root")
	}
	port := freePort(t)
	conf := filepath.Join(t.TempDir(), "conf")
	if err := os.WriteFile(conf, []byte(fmt.Sprintf("listen=YES\nlisten_address=127.0.0.1\nlisten_port=%d\nbackground=NO\nftpd_banner=AXIS 214 PTZ Network Camera 4.49 ready.\nsecure_chroot_dir=%s\n", port, filepath.Dir(conf))), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, port, program, conf)
	m, _ := beside(t, Options{Ports: map[string][]int{"ftp": {port}}})
	has(t, m, "ftp-banner", "network AXIS 214 PTZ Network Camera 4.49 ready.")
	if len(m.problems) != 0 {
		t.Errorf("\n%s", m)
	}
}

func TestBannerOfATelnetServer(t *testing.T) {
	program := peer.Need(t, "/usr/sbin/telnetd", "inetutils-telnetd")
	if runtime.GOOS != "linux" {
		t.Skip("a server of inetd")
	}
	prompt := filepath.Join(t.TempDir(), "login")
	if err := os.WriteFile(prompt, []byte("#!/bin/sh\nprintf '192.0.0.64 login: '\nread name\nexit 0\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan error, 1)
	go func() { // as inetd would
		conn, err := l.Accept()
		if err != nil {
			done <- err
			return
		}
		defer conn.Close()
		file, err := conn.(*net.TCPConn).File()
		if err != nil {
			done <- err
			return
		}
		defer file.Close()
		cmd := exec.Command(program, "-h", "-E", prompt)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = file, file, file
		err = cmd.Run()
		done <- err
	}()
	m, _ := beside(t, Options{Ports: map[string][]int{"telnet": {l.Addr().(*net.TCPAddr).Port}}, Timeout: 5 * time.Second})
	if got := m.values("telnet-banner"); len(got) != 1 || !strings.HasSuffix(got[0], "192.0.0.64 login:") {
		t.Errorf("banner %q\n%s", got, m)
	}
	if slices.Contains(m.values(attest.NameProtocol), "network telnet") == (len(m.values("telnet-banner")) == 0) {
		t.Error("protocol")
	}
	select {
	case err := <-done:
		if t.Failed() {
			t.Log(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("telnetd does not end")
	}
}
