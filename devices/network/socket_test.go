package network

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
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
		for _, protocol := range []string{"rtsp", "dvrip", "snmp", "ssh", "telnet", "ftp"} {
			if quirk == simulator.TooLong && protocol != "rtsp" && protocol != "dvrip" {
				continue
			}
			t.Run(string(quirk)+" "+protocol, func(t *testing.T) {
				t.Parallel()
				_, server := start(t, "axis-sockets", func(c *simulator.Camera) {
					c.Sockets = []simulator.Socket{{Protocol: protocol, Banner: "SSH-2.0-a", Server: "a", SDP: "v=0\r\ns=kept\r\n", Community: "community", Hostile: quirk,
						Info: simulator.Fields{{Name: "HardWare", Value: "XM530_50X50"}}}}
				})
				begin := time.Now()
				m := identifySockets(t, server, Options{Timeout: time.Second, SNMP: SNMP{Community: "community"}})
				if spent := time.Since(begin); spent > 20*time.Second {
					t.Errorf("took %s", spent)
				}
				for digest, raw := range m.artefacts {
					if len(raw) > 1<<20 {
						t.Errorf("artefact %s of %d bytes", digest, len(raw))
					}
				}
				quietly := quirk == simulator.Silent && (protocol == "telnet" || protocol == "ftp" || protocol == "ssh") || quirk == simulator.Reset && (protocol == "telnet" || protocol == "ftp")
				if len(m.problems) == 0 && !quietly {
					t.Errorf("no problem reported\n%s", m)
				}
				if quirk == simulator.TooLong {
					has(t, m, map[string]string{"rtsp": "rtsp-session", "dvrip": attest.NameBoard}[protocol], map[string]string{"rtsp": "network kept", "dvrip": "board XM530_50X50"}[protocol])
				}
				for _, p := range m.problems {
					if len(p.Says) > 600 || strings.ContainsAny(p.Says, "\r\n\x00") {
						t.Errorf("problem %q", p.Says)
					}
				}
			})
		}
	}
}

// Each gate lets through what its protocol sends, and nothing that sets something.
func TestGatesOfSockets(t *testing.T) {
	ep := &endpoint{scheme: "rtsp", address: "192.0.2.1:554"}
	packet := func(version byte, pdu byte) []byte {
		inner := []byte{pdu, 11, 2, 1, 1, 2, 1, 0, 2, 1, 0, 0x30, 0}
		body := append([]byte{2, 1, version, 4, 1, 'a'}, inner...)
		return append([]byte{0x30, byte(len(body))}, body...)
	}
	scoped := func(pdu byte) []byte {
		body := []byte{2, 1, 3, 0x30, 0, 4, 0, 0x30, 6, 4, 0, 4, 0, pdu, 0}
		return append([]byte{0x30, byte(len(body))}, body...)
	}
	sshPacket := func(kind byte) []byte { return []byte{0, 0, 0, 6, 4, kind, 0, 0, 0, 0} }
	identified := func() gateFunc {
		g := sshGate()
		g([]byte(sshIdentification + "\r\n"))
		return g
	}
	hello := clientHello(0x0303, offers(nil), "", bytes.Repeat([]byte{7}, 96))
	for _, c := range []struct {
		name    string
		gate    gateFunc
		message []byte
		through bool
	}{
		{"RTSP OPTIONS", rtspGate(ep), []byte("OPTIONS rtsp://192.0.2.1:554/ RTSP/1.0\r\nCSeq: 1\r\nUser-Agent: assay\r\n\r\n"), true},
		{"RTSP DESCRIBE with a login", rtspGate(ep), []byte("DESCRIBE rtsp://192.0.2.1:554/ RTSP/1.0\r\nCSeq: 3\r\nUser-Agent: assay\r\nAccept: application/sdp\r\nAuthorization: Digest a\r\n\r\n"), true},
		{"RTSP SETUP", rtspGate(ep), []byte("SETUP rtsp://192.0.2.1:554/ RTSP/1.0\r\nCSeq: 1\r\nUser-Agent: assay\r\n\r\n"), false},
		{"RTSP SET_PARAMETER after OPTIONS", rtspGate(ep), []byte("OPTIONS rtsp://192.0.2.1:554/ RTSP/1.0\r\nCSeq: 1\r\nUser-Agent: assay\r\n\r\nSET_PARAMETER rtsp://192.0.2.1:554/ RTSP/1.0\r\n\r\n"), false},
		{"RTSP for another host", rtspGate(ep), []byte("OPTIONS rtsp://192.0.2.2:554/ RTSP/1.0\r\nCSeq: 1\r\nUser-Agent: assay\r\n\r\n"), false},
		{"RTSP with a body", rtspGate(ep), []byte("OPTIONS rtsp://192.0.2.1:554/ RTSP/1.0\r\nCSeq: 1\r\nUser-Agent: assay\r\n\r\nx"), false},
		{"DVRIP SystemInfo", dvripGate, dvripFrame(1020, 0, 0, `{"Name":"SystemInfo","SessionID":"0x00000000"}`), true},
		{"DVRIP login", dvripGate, dvripFrame(1000, 0, 0, `{"EncryptType":"MD5","LoginType":"DVRIP-Web","PassWord":"tlJwpbo6","UserName":"a\"b"}`), true},
		{"DVRIP OPMachine (reboot)", dvripGate, dvripFrame(1450, 0, 0, `{"Name":"OPMachine","OPMachine":{"Action":"Reboot"}}`), false},
		{"DVRIP ConfigSet", dvripGate, dvripFrame(1040, 0, 0, `{"Name":"SystemInfo","SessionID":"0x00000000"}`), false},
		{"DVRIP SystemInfo with more", dvripGate, dvripFrame(1020, 0, 0, `{"Name":"SystemInfo","SessionID":"0x00000000"},"x":1}`), false},
		{"two frames of DVRIP", dvripGate, slices.Concat(dvripFrame(1020, 0, 0, `{"Name":"SystemInfo","SessionID":"0x00000000"}`), dvripFrame(1450, 0, 0, `{}`)), false},
		{"SNMP GetRequest", snmpGate, packet(1, 0xa0), true},
		{"SNMP SetRequest", snmpGate, packet(1, 0xa3), false},
		{"SNMP version 1 SetRequest", snmpGate, packet(0, 0xa3), false},
		{"SNMP GetBulk", snmpGate, packet(1, 0xa5), false},
		{"SNMP version 3 GetRequest", snmpGate, scoped(0xa0), true},
		{"SNMP version 3 SetRequest", snmpGate, scoped(0xa3), false},
		{"SNMP with something after it", snmpGate, append(packet(1, 0xa0), 0), false},
		{"SSH identification", sshGate(), []byte(sshIdentification + "\r\n"), true},
		{"SSH packet before it", sshGate(), sshPacket(20), false},
		{"SSH KEXINIT", identified(), sshPacket(20), true},
		{"SSH NEWKEYS", identified(), sshPacket(21), false},
		{"SSH service request", identified(), sshPacket(5), false},
		{"SSH user authentication", identified(), sshPacket(50), false},
		{"Telnet refusals", telnetGate, []byte{255, 252, 1, 255, 254, 3}, true},
		{"Telnet DO", telnetGate, []byte{255, 253, 1}, false},
		{"Telnet text", telnetGate, []byte("root\r\n"), false},
		{"Telnet refusal and text", telnetGate, []byte("\xff\xfc\x01root\r\n"), false},
		{"FTP QUIT", ftpGate, []byte("QUIT\r\n"), true},
		{"FTP USER", ftpGate, []byte("USER anonymous\r\n"), false},
		{"one ClientHello", helloGate(), hello, true},
		{"something after a ClientHello", helloGate(), append(slices.Clone(hello), 22), false},
		{"TLS application data", helloGate(), append([]byte{23}, hello[1:]...), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			here, there := net.Pipe()
			defer here.Close()
			defer there.Close()
			got := make(chan int, 1)
			go func() {
				n, _ := there.Read(make([]byte, 64<<10))
				got <- n
			}()
			w := &wire{Conn: here, ep: ep, gate: c.gate}
			_, err := w.Write(c.message)
			here.Close()
			var refused errNotAllowed
			if errors.As(err, &refused) == c.through || (<-got > 0) != c.through {
				t.Errorf("error %v", err)
			}
		})
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

// sslRecords are a ServerHello and a Certificate of SSL 3.0, which no server that
// can be installed speaks any more.
func sslRecords(certificate []byte) []byte {
	message := func(kind byte, body []byte) []byte {
		return append([]byte{kind, byte(len(body) >> 16), byte(len(body) >> 8), byte(len(body))}, body...)
	}
	sized := func(b []byte) []byte {
		return append([]byte{byte(len(b) >> 16), byte(len(b) >> 8), byte(len(b))}, b...)
	}
	hello := append(append([]byte{3, 0}, bytes.Repeat([]byte{9}, 32)...), 0, 0, 0x0a, 0)
	all := slices.Concat(message(helloServer, hello), message(helloCertificate, sized(sized(certificate))), message(helloDone, nil))
	var records []byte
	for len(all) > 0 {
		n := min(len(all), 200) // over several records
		records = append(binary.BigEndian.AppendUint16(append(records, recordHandshake, 3, 0), uint16(n)), all[:n]...)
		all = all[n:]
	}
	return records
}

func TestCertificateOfAnSSL3Server(t *testing.T) {
	_, tlsServer := start(t, "vendor-signed", nil)
	probe := newSession(Open(target(t, tlsServer.URL), Options{}), new(memory))
	state, err := probe.tryHandshake(t.Context(), &endpoint{scheme: "https", host: "127.0.0.1", address: tlsServer.Addr}, weakConfig())
	if err != nil {
		t.Fatal(err)
	}
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
			hello := make([]byte, 4096)
			n, _ := conn.Read(hello)
			switch {
			case n < 11 || hello[0] != recordHandshake:
			case hello[9] == 3 && hello[10] == 0:
				conn.Write(sslRecords(state.PeerCertificates[0].Raw))
				conn.Read(hello)
			default:
				conn.Write([]byte{recordAlert, 3, 0, 0, 2, 2, 70})
			}
			conn.Close()
		}
	}()
	m, err := identify(t, "https://"+l.Addr().String(), Options{Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if got := m.values("tls-version"); len(got) != 1 || !strings.HasPrefix(got[0], "network SSL 3.0 TLS_RSA_WITH_3DES_EDE_CBC_SHA (transport not authenticated") {
		t.Errorf("version %q\n%s", got, m)
	}
	has(t, m, "tls-subject", "network CN=flb2-000117.fjordlens.example,O=Fjordlens AS")
}

func FuzzRTSP(f *testing.F) {
	f.Add([]byte("RTSP/1.0 200 OK\r\nCSeq: 1\r\nServer: a\r\nContent-Length: 3\r\n\r\nabc"))
	f.Add([]byte("RTSP/1.0 401 Unauthorized\nserver: a\n b\n\n"))
	f.Add([]byte("RTSP/1.0 200 OK\r\nContent-Type: application/sdp\r\n\r\nv=0\r\ns=a\r\na=tool:b\r\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		a, err := parseRTSP(raw)
		if err != nil {
			return
		}
		if len(a.body) > len(raw) || a.whole && a.missing > 0 {
			t.Errorf("%+v", a)
		}
		m := new(memory)
		s := newSession(Open(devices.Target{}, Options{}), m)
		r := &request{protocol: "rtsp", operation: "DESCRIBE", method: "DESCRIBE"}
		s.rtspHeard(&endpoint{scheme: "rtsp"}, r, &answer{request: r, status: a.status, header: a.header, body: a.body, raw: m.Artefact("", "", raw)}, nil)
		sound(t, m)
	})
}

func FuzzDVRIP(f *testing.F) {
	f.Add(dvripFrame(1021, 1, 2, `{"Ret":100,"SystemInfo ":{"HardWare":"XM530_50X50","DigChannel":4}}`))
	f.Add(dvripFrame(1001, 1, 2, `{"AliveInterval":21,"DeviceType ":"IPC","Ret":203}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		reply, _, err := parseDVRIP(raw)
		if err != nil || reply.fields == nil {
			return
		}
		m := new(memory)
		s := newSession(Open(devices.Target{}, Options{}), m)
		reply.answer = &answer{request: dvripInfo, raw: m.Artefact("", "", raw)}
		s.observe(reply.answer, "dvrip.answer", strings.Join(reply.names(), ","), "keys")
		s.dvripRead(reply)
		s.conclude()
		sound(t, m)
	})
}

func FuzzFlight(f *testing.F) {
	f.Add(sslRecords([]byte("certificate")))
	f.Add([]byte{recordAlert, 3, 1, 0, 2, 2, 40})
	f.Fuzz(func(t *testing.T, raw []byte) {
		got, err := parseFlight(raw)
		n := 0
		for _, c := range got.certificates {
			n += len(c)
		}
		if err == nil && n > len(raw) {
			t.Errorf("%d bytes of certificates in %d", n, len(raw))
		}
	})
}

func FuzzBanners(f *testing.F) {
	f.Add([]byte("\xff\xfd\x01\xff\xfb\x03192.0.0.64 login: "))
	f.Add([]byte("220-a\r\n220 b\r\n"))
	f.Add([]byte("hello\r\nSSH-2.0-x\r\n\x00\x00\x00\x2c\x04\x14" + strings.Repeat("a", 16) + "\x00\x00\x00\x01a\x00\x00\x00\x0bssh-rsa,dss"))
	f.Add([]byte("SSH-2.0-x\r\n\x00\x00\x00\x00\x01\x14" + strings.Repeat("a", 16))) // a packet shorter than its own header
	f.Add([]byte("\x30\x0d\x02\x01\x01\x04\x01a\xa0\x05\x02\x01\x01"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, o := range telnetOffers(raw) {
			if !telnetGate([]byte{telnetIAC, o[0], o[1]}) {
				t.Errorf("%v would not be sent", o)
			}
		}
		telnetText(raw)
		ftpText(raw)
		snmpGate(raw)
		if heard := parseSSH(raw); len(heard.identification) > 255 {
			t.Errorf("%+v", heard)
		}
	})
}

func FuzzSNMPRead(f *testing.F) {
	f.Add(oidDescr, "; AXIS P5534-E; PTZ Dome Network Camera; 5.40.9.2; May 15 2012 09:50; 188.1; 1;")
	f.Add(oidHikSerial, "DS-2CD2143G2-I20230512AAWRL00000011")
	f.Add(oidHikMAC, "00:00:5e:00:53:71")
	f.Fuzz(func(t *testing.T, oid, value string) {
		sound(t, read(snmpSystem, value, func(s *session, a *answer) { s.snmpRead([]snmpObject{{a, oid, value}}) }))
	})
}
