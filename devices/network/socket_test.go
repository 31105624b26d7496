package network

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"assay/attest"
	"assay/devices"
	"assay/devices/simulator"
)

// identifySockets is identify with the ports of a simulated camera's sockets.
func identifySockets(t testing.TB, server *simulator.Server, o Options) *memory {
	t.Helper()
	o.Ports = server.Ports
	m, err := identify(t, server.URL, o)
	if err != nil {
		t.Fatal(err)
	}
	if w := server.Writes(); len(w) != 0 {
		t.Errorf("not known to read: %v", w)
	}
	if n := server.MostSockets(); n > 2 {
		t.Errorf("%d sockets open at once", n)
	}
	return m
}

func TestIdentifyOverSockets(t *testing.T) {
	t.Run("Xiongmai with its login", func(t *testing.T) {
		camera, server := start(t, "xiongmai", nil)
		m := identifySockets(t, server, Options{Account: account(camera), AllowBasic: true})
		has(t, m, attest.NameModel, "unit HI3516EV300_85H50AI")
		has(t, m, attest.NameSerial, "unit a166379674a30053")
		has(t, m, attest.NameFirmwareVersion, "firmware V5.00.R02.000529B2.10010.040600.0020000")
		has(t, m, attest.NameBuildDate, "firmware 2020-01-08")
		has(t, m, attest.NameBoard, "soc HI3516EV300", "board HI3516EV300_85H50AI")
		has(t, m, attest.NameProtocol, "network dvrip", "network rtsp", "network telnet")
		if got := m.strongest("xiongmai"); got != "c2" {
			t.Errorf("strongest mark of xiongmai is %q", got)
		}
		has(t, m, "rtsp-server", "network H264DVR 1.0")
		has(t, m, "telnet-banner", "network LocalHost login:")
		if len(m.problems) != 0 || server.Refused() != 0 || len(server.Logins()) != 1 {
			t.Errorf("logins %v\n%s", server.Logins(), m)
		}
	})
	t.Run("Xiongmai's login is not given without consent", func(t *testing.T) {
		camera, server := start(t, "xiongmai", nil)
		m := identifySockets(t, server, Options{Account: account(camera)})
		p := m.about("dvrip login")
		if len(server.Logins()) != 0 || len(p) != 1 || p[0].Kind != attest.ProblemAccess || !strings.Contains(p[0].Says, "allow a readable password") {
			t.Errorf("logins %v\n%s", server.Logins(), m)
		}
		has(t, m, attest.NameProtocol, "network dvrip")
	})
	t.Run("Reolink, by its own protocol", func(t *testing.T) {
		_, server := start(t, "reolink", nil)
		m := identifySockets(t, server, Options{})
		has(t, m, attest.NameProtocol, "network baichuan")
		if got := m.strongest("reolink"); got != "c2" {
			t.Errorf("strongest mark of reolink is %q\n%s", got, m)
		}
	})
	t.Run("an Axis camera", func(t *testing.T) {
		camera, server := start(t, "axis-sockets", nil)
		m := identifySockets(t, server, Options{Account: account(camera), SNMP: SNMP{Community: "demo-community"}})
		has(t, m, attest.NameModel, "unit P5534-E")
		has(t, m, attest.NameFirmwareVersion, "firmware 5.40.9.2")
		has(t, m, attest.NameBuildDate, "firmware 2012-05-15")
		has(t, m, "snmp-object-id", "network 1.3.6.1.4.1.368.4.1.7")
		has(t, m, "rtsp-realm", "network AXIS_00005E005361")
		has(t, m, "rtsp-session", "network Session streamed with GStreamer")
		has(t, m, "rtsp-tool", "network GStreamer")
		has(t, m, "ssh-banner", "network SSH-2.0-dropbear_2022.83")
		has(t, m, "ftp-banner", "network AXIS P5534-E PTZ Dome Network Camera 5.40.9.2 (May 15 2012) ready.")
		has(t, m, "tls-subject", "network CN=axis-sockets")
		has(t, m, attest.NameProtocol, "network rtsps", "network snmp", "network ssh", "network ftp")
		if key := m.values(attest.NameSSHKey); len(key) != 1 || !attest.Digest(strings.TrimPrefix(key[0], "network ")).Valid() {
			t.Errorf("SSH key %q", key)
		}
		if key := m.values("ssh-host-key"); len(key) != 1 || !strings.HasPrefix(key[0], "network ecdsa-sha2-nistp256 SHA256:") {
			t.Errorf("host key %q", key)
		}
		if slices.Contains(m.values("rtsp-session"), "network not this") || m.strongest("axis") != "c1" {
			t.Error("session or mark")
		}
		if len(m.problems) != 0 || len(server.Logins()) != 1 || server.Refused() != 0 {
			t.Errorf("logins %v", server.Logins())
		}
		if t.Failed() {
			t.Logf("\n%s", m)
		}
	})
}

func TestSocketsOfATargetThatNamesItsPortAreLeftAlone(t *testing.T) {
	_, server := start(t, "xiongmai", nil)
	if _, err := identify(t, server.URL, Options{}); err != nil {
		t.Fatal(err)
	}
	for _, r := range server.Log() {
		if r.Protocol != "" {
			t.Errorf("asked %v", r)
		}
	}
}

func TestUnitWithoutHTTPIsKnownByItsSockets(t *testing.T) {
	_, server := start(t, "xiongmai", nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	l.Close()
	m, err := identify(t, closed, Options{Ports: server.Ports})
	if err != nil || len(m.about("http /")) != 1 || m.about("http /")[0].Kind != attest.ProblemUnreachable {
		t.Errorf("%v\n%s", err, m)
	}
	has(t, m, attest.NameProtocol, "network dvrip")
}

func TestWrongPasswordOverSocketsIsTriedOnceInAll(t *testing.T) {
	_, server := start(t, "xiongmai", func(c *simulator.Camera) {
		c.HTTP.Realm, c.HTTP.Login = "a", []string{"digest"}
		c.Sockets[1].Login = true
	})
	a := devices.NewAccount("admin", "not-the-password")
	m := identifySockets(t, server, Options{Account: a, AllowBasic: true})
	if len(server.Logins()) != 1 || server.Refused() != 1 || a.Refused() == "" {
		t.Errorf("logins %v\n%s", server.Logins(), m)
	}
}

func TestRTSPLogin(t *testing.T) {
	for _, c := range []struct {
		name   string
		login  []string
		change func(*simulator.Camera)
		allow  bool
		want   []string
	}{
		{"digest", []string{"digest"}, nil, false, []string{"digest accepted"}},
		{"SHA-256", []string{"digest SHA-256"}, nil, false, []string{"digest accepted"}},
		{"digest before basic", []string{"basic", "digest"}, nil, true, []string{"digest accepted"}},
		{"a stale nonce", []string{"digest"}, func(c *simulator.Camera) { c.HTTP.StaleFirst = true }, false, []string{"digest stale", "digest accepted"}},
		{"a unit that hangs up after each answer", []string{"digest"}, func(c *simulator.Camera) { c.Sockets[0].Hangup = true }, false, []string{"digest accepted"}},
		{"basic without consent", []string{"basic"}, nil, false, nil},
		{"basic with consent", []string{"basic"}, nil, true, []string{"basic accepted"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			camera, server := start(t, "axis-sockets", func(s *simulator.Camera) {
				s.HTTP.Login = c.login
				s.Sockets = s.Sockets[:1]
				if c.change != nil {
					c.change(s)
				}
			})
			m := identifySockets(t, server, Options{Account: account(camera), AllowBasic: c.allow})
			var got []string
			for _, r := range server.Logins() {
				got = append(got, r.Login)
			}
			if !slices.Equal(got, c.want) || (len(m.values("rtsp-tool")) == 1) != (len(c.want) > 0) {
				t.Errorf("logins %q\n%s", got, m)
			}
		})
	}
}

func TestHostileSockets(t *testing.T) {
	for _, quirk := range simulator.SocketQuirks {
		t.Run(string(quirk), func(t *testing.T) {
			t.Parallel()
			var wg sync.WaitGroup // all at once: they wait, mostly
			for _, protocol := range []string{"rtsp", "dvrip", "baichuan", "snmp", "ssh", "telnet", "ftp"} {
				if quirk == simulator.TooLong && protocol != "rtsp" && protocol != "dvrip" && protocol != "baichuan" {
					continue
				}
				_, server := start(t, "axis-sockets", func(c *simulator.Camera) {
					c.Sockets = []simulator.Socket{{Protocol: protocol, Banner: "SSH-2.0-a", Server: "a", SDP: "v=0\r\ns=kept\r\n", Community: "community", Hostile: quirk,
						Info: simulator.Fields{{Name: "HardWare", Value: "XM530_50X50"}}}}
				})
				wg.Go(func() { hostileSocket(t, server, quirk, protocol) })
			}
			wg.Wait()
		})
	}
}

func hostileSocket(t *testing.T, server *simulator.Server, quirk simulator.Quirk, protocol string) {
	begin := time.Now()
	m, err := identify(t, server.URL, Options{Timeout: time.Second, SNMP: SNMP{Community: "community"}, Ports: server.Ports})
	if spent := time.Since(begin); err != nil || spent > 30*time.Second {
		t.Errorf("%s: %v after %s", protocol, err, spent)
	}
	for digest, raw := range m.artefacts {
		if len(raw) > 1<<20 {
			t.Errorf("%s: artefact %s of %d bytes", protocol, digest, len(raw))
		}
	}
	// A banner that never comes is no answer, and one that is broken off may be whole.
	banner := slices.Contains([]string{"telnet", "ftp"}, protocol)
	quietly := quirk == simulator.Silent && (banner || protocol == "ssh" || protocol == "baichuan") || quirk == simulator.Reset && banner
	if len(m.problems) == 0 && !quietly || len(server.Writes()) != 0 {
		t.Errorf("%s: no problem reported, or writes %v\n%s", protocol, server.Writes(), m)
	}
	if quirk == simulator.TooLong && protocol != "baichuan" {
		has(t, m, map[string]string{"rtsp": "rtsp-session", "dvrip": attest.NameBoard}[protocol], map[string]string{"rtsp": "network kept", "dvrip": "board XM530_50X50"}[protocol])
	}
	for _, p := range m.problems {
		if len(p.Says) > 600 || strings.ContainsAny(p.Says, "\r\n\x00") {
			t.Errorf("%s: problem %q", protocol, p.Says)
		}
	}
}

func TestRTSPAnswersOfTheField(t *testing.T) {
	for _, c := range []struct {
		name, raw string
		status    int
		server    string
		body      string
		whole     bool
		missing   int
	}{
		{"as RFC 2326 has it", "RTSP/1.0 200 OK\r\nCSeq: 1\r\nServer: Dahua Rtsp Server\r\nContent-Length: 3\r\n\r\nabc", 200, "Dahua Rtsp Server", "abc", true, 0},
		{"Hipcam's letter case", "RTSP/1.0 200 OK\r\nSERVER: Hipcam RealServer/V1.0\r\nContent-length:3\r\n\r\nabcd", 200, "Hipcam RealServer/V1.0", "abc", true, 0},
		{"line feeds alone", "RTSP/1.0 401 Unauthorized\nserver: a\n\n", 401, "a", "", true, 0},
		{"no empty line", "RTSP/1.0 401 Unauthorized\r\nServer: a\r\n", 401, "a", "", false, 1},
		{"no end of the last line", "RTSP/1.0 401 Unauthorized\r\nServer: a", 401, "a", "", false, 1},
		{"a folded line", "RTSP/1.0 200 OK\r\nServer: a\r\n b\r\n\r\n", 200, "a b", "", true, 0},
		{"SDP without a length", "RTSP/1.0 200 OK\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n", 200, "", "v=0\r\n", false, 0},
		{"a body that is cut", "RTSP/1.0 200 OK\r\nContent-Length: 10\r\n\r\nabc", 200, "", "abc", false, 7},
		{"a length below zero", "RTSP/1.0 200 OK\r\nContent-Length: -1\r\n\r\n", 200, "", "", true, 0},
		{"an empty line first", "\r\nRTSP/1.0 404 Not Found\r\n\r\n", 404, "", "", true, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, err := parseRTSP([]byte(c.raw))
			if err != nil {
				t.Fatal(err)
			}
			if a.status != c.status || a.header.Get("Server") != c.server || string(a.body) != c.body || a.whole != c.whole || a.missing != c.missing {
				t.Errorf("%+v", a)
			}
		})
	}
	for _, raw := range []string{"HTTP/1.1 400 Bad Request\r\n\r\n", "RTSP/1.0 OK\r\n\r\n", "SSH-2.0-x\r\n", "RTSP/1.0 200 OK\r\nX: " + strings.Repeat("a", 65<<10)} {
		if _, err := parseRTSP([]byte(raw)); err == nil {
			t.Errorf("%.30q is taken for RTSP", raw)
		}
	}
}

// The corpus has the answer's SystemInfo as a client saved it; a unit sends it in
// its envelope.
func TestDVRIPOfTheCorpus(t *testing.T) {
	saved := corpus(t, "xiongmai/systeminfo_HI3516EV300.json")
	for name, body := range map[string]string{
		"in its envelope":                 fmt.Sprintf(`{ "Name" : "SystemInfo", "Ret" : 100, "SessionID" : "0x00000017", "SystemInfo" : %s }`, saved),
		"without it":                      string(saved),
		"with blanks at the ends of keys": strings.ReplaceAll(string(saved), `":`, ` ":`),
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				defer conn.Close()
				conn.Read(make([]byte, 4096))
				frame := dvripFrame(1021, 0x17, 0, body)
				frame[1] = 1
				conn.Write(frame[:30])
				time.Sleep(10 * time.Millisecond)
				conn.Write(frame[30:])
				conn.Read(make([]byte, 1))
			}()
			_, server := start(t, "onvif-plain", func(c *simulator.Camera) { c.ONVIF = nil })
			m, err := identify(t, server.URL, Options{Ports: map[string][]int{"dvrip": {l.Addr().(*net.TCPAddr).Port}}})
			if err != nil {
				t.Fatal(err)
			}
			has(t, m, attest.NameModel, "unit HI3516EV300_85H50AI")
			has(t, m, attest.NameSerial, "unit a166379674a3b447")
			has(t, m, attest.NameFirmwareVersion, "firmware V5.00.R02.000529B2.10010.040600.0020000")
			has(t, m, attest.NameBuildDate, "firmware 2020-01-08")
			has(t, m, attest.NameBoard, "soc HI3516EV300", "board HI3516EV300_85H50AI")
			if len(m.problems) != 0 || len(m.values(attest.NameRecorder)) != 0 {
				t.Errorf("\n%s", m)
			}
		})
	}
}

func TestDVRIPHashAsOthersPrintIt(t *testing.T) {
	for password, want := range map[string]string{"": "tlJwpbo6", "admin": "6QNMIQGe"} {
		if got := dvripHash(password); got != want {
			t.Errorf("%q is %q, want %q", password, got, want)
		}
	}
}

func TestSNMPOfTheCorpus(t *testing.T) {
	var objects simulator.Fields
	for line := range strings.Lines(string(corpus(t, "snmp/axiscam.snmprec"))) {
		parts := strings.SplitN(strings.TrimRight(line, "\r\n"), "|", 3)
		if len(parts) != 3 {
			continue
		}
		if parts[1] == "6" {
			parts[2] = "oid " + parts[2]
		}
		objects = append(objects, simulator.Field{Name: parts[0], Value: parts[2]})
	}
	_, server := start(t, "axis-sockets", func(c *simulator.Camera) {
		c.Sockets = []simulator.Socket{{Protocol: "snmp", Community: "public", Objects: objects}}
	})
	m := identifySockets(t, server, Options{SNMP: SNMP{Public: true}})
	has(t, m, attest.NameModel, "unit P5534-E")
	has(t, m, attest.NameMaker, "unit AXIS")
	has(t, m, attest.NameFirmwareVersion, "firmware 5.40.9.2")
	has(t, m, attest.NameBuildDate, "firmware 2012-05-15")
	has(t, m, "snmp-object-id", "network 1.3.6.1.4.1.368")
}

func TestSNMPOfHikvision(t *testing.T) {
	_, server := start(t, "axis-sockets", func(c *simulator.Camera) {
		c.Sockets = []simulator.Socket{{Protocol: "snmp", Community: "demo", Objects: simulator.Fields{
			{Name: oidDescr, Value: "Linux"}, {Name: oidHikModel, Value: "DS-2DF8C832MX-ZDK"}, {Name: oidHikFirmware, Value: "V5.10.0 build 260519"},
			{Name: oidHikMAC, Value: "00:00:5e:00:53:71"}, {Name: oidHikMaker, Value: "Hikvision"},
		}}}
	})
	m := identifySockets(t, server, Options{SNMP: SNMP{Community: "demo"}})
	has(t, m, attest.NameModel, "unit DS-2DF8C832MX-ZDK")
	has(t, m, attest.NameFirmwareVersion, "firmware V5.10.0")
	has(t, m, attest.NameBuildDate, "firmware 2026-05-19")
	has(t, m, attest.NameMAC, "unit 00:00:5E:00:53:71")
	has(t, m, attest.NameMaker, "unit Hikvision")
}

func TestSNMPIsAskedOnlyAsTheOperatorSays(t *testing.T) {
	for _, c := range []struct {
		name string
		o    SNMP
		most int
	}{
		{"nothing", SNMP{}, 0},
		{"public, once and once again for a lost packet", SNMP{Public: true}, 2},
		{"a community in two versions", SNMP{Community: "wrong"}, 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, server := start(t, "axis-sockets", func(s *simulator.Camera) { s.Sockets = s.Sockets[2:3] })
			m := identifySockets(t, server, Options{SNMP: c.o, Timeout: 300 * time.Millisecond})
			asked := slices.DeleteFunc(server.Log(), func(r simulator.Request) bool { return r.Protocol != "snmp" })
			if len(asked) > c.most || (len(m.about("snmp GET system")) == 1) != (c.most > 0) {
				t.Errorf("asked %d times\n%s", len(asked), m)
			}
		})
	}
	for _, bad := range []SNMP{{Auth: "MD5"}, {User: "a", Auth: "MD4"}, {User: "a", Priv: "AES", PrivPassword: "12345678"}, {User: "a", Auth: "SHA", AuthPassword: "short"}, {User: "a", Priv: "ROT13"}} {
		if bad.Check() == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
}

func TestTelnetText(t *testing.T) {
	for raw, want := range map[string]string{
		"\xff\xfd\x01\xff\xfb\x03192.0.0.64 login: ": "192.0.0.64 login:",
		"a\xff\xffb":                            "a b",
		"\xff\xfa\x18\x01\xff\xf0(none) login:": "(none) login:",
		"\xff":                                  "",
		"\xff\xfa\x18":                          "",
		"a\r\x00\r\nb":                          "a b",
	} {
		if got := telnetText([]byte(raw)); got != want {
			t.Errorf("%q is %q, want %q", raw, got, want)
		}
	}
}
